"""What a keeper of a group's slots can do, and who holds one."""

import hmac
import re
import uuid
from typing import Literal, Protocol

from msgspec import Struct

APPLICATION = bytes.fromhex("ad284f005f91496899d2f8fe3603450e")
"""What makes the ids here different from other programs' ids of the same machine; it never changes."""
State = Literal["rebooting", "overdue", "unknown"]


class Holder(Struct, frozen=True):
    """A machine that holds a slot. "overdue" did not come back in time; of an "unknown" one only the id is known."""

    id: str
    host: str  # "" where unknown
    since: int  # microseconds since 1970; 0 where unknown
    state: State
    mine: bool


class Fleet(Protocol):
    """What both kinds of keepers can do; all of it raises Unavailable."""

    def acquire(self, reason: str) -> None:
        """Takes a slot, or keeps the one that is held. After Unavailable one may be held nevertheless, as an answer
        may get lost: who gives up calls release."""

    def release(self) -> None:
        """Gives the slot back where one is held."""

    def holders(self) -> list[Holder]:
        """Who holds the group's slots, by id."""


def application_id(machine_id: str) -> str:
    """The machine's id for agentd, as sd_id128_get_machine_app_specific(3) computes it. Raises ValueError."""
    if not re.fullmatch(r"[0-9a-f]{32}", machine_id) or not int(machine_id, 16):
        raise ValueError("the machine has no id that a fleet could know it by; see machine-id(5)")
    digest = hmac.digest(bytes.fromhex(machine_id), APPLICATION, "sha256")
    return uuid.UUID(bytes=digest[:16], version=4).hex
