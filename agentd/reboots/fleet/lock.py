"""A slot of the machine's group, held while the machine reboots: no more machines of a fleet reboot at once than the
group has slots.

A keeper of slots is a server that speaks FleetLock (zincati's protocol: airlock and others), or an etcd with airlock's
own key, so that both kinds of machines can share a group. Whatever goes wrong, the answer is no. Every question blocks:
the daemon asks in a thread.
"""

import hmac
import re
import uuid
from typing import Literal, Protocol

from msgspec import Struct

APPLICATION = bytes.fromhex("ad284f005f91496899d2f8fe3603450e")
"""agentd's own number, by which its id of a machine differs from that of other programs; the number never changes."""
OWN = "that is this machine, which gives its slot back by itself (agentctl reboot cancel, agentctl reboot clear)"
State = Literal["rebooting", "overdue", "unknown"]


class Holder(Struct, frozen=True):
    """A machine that holds a slot: "overdue" where it did not come back in time, "unknown" where only its id is known.

    `host` is empty where unknown, `since`, in microseconds since 1970, is 0 where unknown.
    """

    id: str
    host: str
    since: int
    state: State
    mine: bool


class Fleet(Protocol):
    """A keeper of slots. Each question raises Unavailable where the keeper does not do it."""

    def acquire(self, reason: str) -> None:
        """Takes a slot, or keeps the one that is held. After Unavailable the slot may be held all the same (the answer
        got lost): call release() before giving up."""

    def release(self) -> None:
        """Gives the slot back where one is held."""

    def holders(self) -> list[Holder]:
        """Returns the machines that hold the group's slots, by their ids."""

    def evict(self, holder: str) -> str:
        """Frees the slot of another machine, by its id or, where the keeper knows it, its host's name; returns the id.

        Raises Refused NoSuchHolder, Busy, InvalidArgument.
        """


def application_id(machine_id: str) -> str:
    """Returns agentd's id of a machine, as sd_id128_get_machine_app_specific(3) computes it. Raises ValueError."""
    if not re.fullmatch(r"[0-9a-f]{32}", machine_id) or not int(machine_id, 16):
        raise ValueError("the machine has no id that a fleet could know it by; see machine-id(5)")
    digest = hmac.digest(bytes.fromhex(machine_id), APPLICATION, "sha256")
    return uuid.UUID(bytes=digest[:16], version=4).hex
