"""The types of reboots: the ledger's records, what is in a reboot's way, what was observed, and the effects."""

from msgspec import Struct

from agentd.core.part import Effect, Stored
from agentd.core.reboots.policy import Kind

FINAL = frozenset({"verified", "deferred", "cancelled", "superseded"})


class Reboot(Struct, frozen=True, kw_only=True):
    """One reboot, from the wish until it is over. Instants are 0 until they are known.

    It may be carried out in [begin, until]; `at` is the instant that was announced, `boot` the boot it is to end,
    `down` the last sign of life before it. `health` is "pending" until the machine was looked at after its boot.
    """

    id: int
    cause: str  # nightly | manual | what a request named
    reason: str
    kind: Kind = "reboot"
    automatic: bool = True
    occurrence: str = ""
    force_users: bool = False
    owner: str = ""  # whose sessions do not hold it: who asked for it
    requested: int = 0
    begin: int = 0
    until: int = 0
    at: int = 0
    state: str = "waiting"
    boot: str = ""
    issued: int = 0
    down: int = 0
    up: int = 0
    led_to: str = ""  # the boot that it led to
    attempts: int = 0
    note: str = ""
    health: str = ""

    @property
    def downtime(self) -> int:
        """Microseconds from the last sign of life to agentd's start; 0 where it did not happen."""
        return max(0, self.up - (self.down or self.issued)) if self.up else 0


class Blocker(Struct, frozen=True):
    """Something in the way of a reboot: who holds it, and why, as a sentence."""

    kind: str
    who: str
    why: str
    since: int = 0


class Session(Struct, frozen=True):
    """Somebody who is logged in; `idle_since` is 0 where they are not idle."""

    user: str
    place: str
    idle_since: int = 0


class Facts(Struct, frozen=True, kw_only=True):
    """What was observed of the machine: `blockers` hold every reboot (inhibitors, package manager, logind), sessions
    hold it where the policy says so, `clock` (a reason to distrust it) and `ledger` hold the automatic ones."""

    blockers: tuple[Blocker, ...] = ()
    sessions: tuple[Session, ...] = ()
    clock: str = ""
    required: bool = False


class Boot(Struct, frozen=True):
    """Which boot of the machine this is, and when it was by the wall clock."""

    id: str
    at: int


class Ledger(Struct, frozen=True, kw_only=True):
    """What is taken up at start: the newest reboots, and what is remembered beside them.

    `lost` tells why the ledger cannot be trusted; `breakers` are the causes that must not reboot again, with the
    reason; `slot` whether the machine may hold one of its fleet; a reboot up to `forgiven` opens no breaker any more.
    """

    reboots: tuple[Reboot, ...] = ()
    breakers: dict[str, str] = {}
    lost: str = ""
    slot: bool = False
    forgiven: int = 0
    next_id: int = 1


# Effects. The first two are stored before any other is asked for.


class RebootSaved(Stored, frozen=True):
    reboot: Reboot


class LedgerSaved(Stored, frozen=True):
    """What is remembered beside the reboots, as in Ledger."""

    breakers: dict[str, str]
    lost: str
    slot: bool
    forgiven: int = 0


class RebootLooks(Effect, frozen=True):
    """The facts are wanted: Reboots.observed()."""


class RebootWarns(Effect, frozen=True):
    """People are to be told that a reboot comes at `at`."""

    reason: str
    at: int


class RebootWithdrawn(Effect, frozen=True):
    """People were told that a reboot comes, and it does not."""

    why: str


class SlotWanted(Effect, frozen=True):
    """The fleet's slot is wanted: Reboots.slot_answered()."""

    reason: str


class SlotFreed(Effect, frozen=True):
    """The fleet's slot is no longer needed: Reboots.slot_freed()."""


class RebootIssues(Effect, frozen=True):
    """logind is to reboot the machine: Reboots.refused() when it does not."""

    reboot: Reboot


class RebootOver(Effect, frozen=True):
    reboot: Reboot


class RebootChanged(Effect, frozen=True):
    """The state or the blockers are others."""
