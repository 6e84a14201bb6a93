"""The types of reboots: the ledger's records, what is in a reboot's way, what was observed, and the effects."""

from msgspec import Struct
from msgspec.structs import replace

from agentd.core.part import Beginning, Effect, Stored, Urgent
from agentd.core.quantities import MINUTE, SECOND
from agentd.core.reboots.policy import Kind

PART = "reboots"
"""The part, as it signs its decisions and holds jobs."""
FINAL = frozenset({"verified", "deferred", "cancelled", "superseded"})
LEGAL = {
    "waiting": {"announced", "draining", *FINAL},
    "announced": {"waiting", "draining", *FINAL},
    "draining": {"waiting", "locked", *FINAL},
    "locked": {"waiting", "issued", *FINAL},
    "issued": {"waiting", "verified", "cancelled"},
}
"""Where each state of a reboot may lead. A reboot that is over stays so."""


class Times(Struct, frozen=True, kw_only=True):
    """The times for which reboots wait for things, in microseconds; tests have less time than machines."""

    look: int = 10 * SECOND
    """Between two looks at what is in the way."""
    look_required: int = MINUTE
    """Between two looks whether the machine asks for a reboot, within a window."""
    ask_required: int = 10 * MINUTE
    """Before a job that said that no reboot is required is asked again, within a window."""
    answer: int = 2 * MINUTE
    """After logind was asked: by then the machine goes down, or the reboot did not happen."""
    stays_up: int = MINUTE
    """After logind took a shutdown back: by then the machine has stayed up, or it goes down all the same. logind gives
    systemd 25 s to begin a shutdown (the D-Bus default), then says that none comes; a systemd that was only slow begins
    it a little later, and agentd is among the first that it stops."""
    hook_again: int = 5 * MINUTE
    """Before a hook that said no is asked again."""
    check: int = 30 * SECOND
    """From agentd's start in a new boot until the machine is checked."""
    calm: int = MINUTE
    """After a reboot was withdrawn, nothing has to be in the way for so long before it is announced again. What waits
    is noted in the decisions as often at most."""
    slot_kept: int = 10 * MINUTE
    """For so long the fleet's slot is kept while something else is in the way of the reboot."""


TIMES = Times()


class Reboot(Struct, frozen=True, kw_only=True):
    """A reboot, from the wish until it is over. Instants are in microseconds since 1970, and 0 until they are known.

    The reboot may be carried out in [begin, until]; `at` is the instant that was announced, `boot` the boot that the
    reboot is to end, `down` the last sign of life before it, `led_to` the boot after it. The sessions of its `owner`,
    who asked for it, do not hold it. `health` is "pending" until the machine was checked after its boot. An issued
    reboot has a `note` where logind said, at the instant `down`, that it does not come.
    """

    id: int
    cause: str  # nightly | manual | what a request named
    reason: str
    kind: Kind = "reboot"
    automatic: bool = True
    occurrence: str = ""
    force_users: bool = False
    owner: str = ""
    requested: int = 0
    begin: int = 0
    until: int = 0
    at: int = 0
    state: str = "waiting"
    boot: str = ""
    issued: int = 0
    down: int = 0
    up: int = 0
    led_to: str = ""
    attempts: int = 0
    note: str = ""
    health: str = ""

    @property
    def taken_back(self) -> int:
        """The instant at which logind said that this reboot, which was issued, does not come; 0 where it did not."""
        return self.down if self.state == "issued" and self.note else 0

    @property
    def downtime(self) -> int:
        """Microseconds from the last sign of life to agentd's start; 0 for a reboot that did not happen."""
        return max(0, self.up - (self.down or self.issued)) if self.up else 0

    def stepped(self, delta: int) -> "Reboot":
        """Returns the reboot after the wall clock was set by `delta`: instants that were meant as elapsed time move
        along, those of the wall clock stay."""
        moved = replace(self, issued=self.issued and self.issued + delta, down=self.down and self.down + delta)
        if self.begin == self.requested and not self.occurrence:  # at once, not at an instant of the wall clock
            begin, until = self.begin + delta, self.until + delta
            moved = replace(moved, requested=begin, begin=begin, until=until)
        return moved


class Blocker(Struct, frozen=True):
    """Something in the way of a reboot: the program, user, job or host that holds the reboot, why, as a sentence, and
    since when (0: unknown). `plainly` is `why` without words that a stranger chose, where those are in it: what is
    written to other people's terminals."""

    kind: str
    who: str
    why: str
    since: int = 0
    plainly: str = ""


class Session(Struct, frozen=True):
    """A person who is logged in; `terminal` is that or the seat, `idle_since` an instant, or 0 for a session in use.

    `unsure` tells why it is not known whether that is so, as a sentence; `system` whether the user is one that a
    package made, such as nagios.
    """

    user: str
    terminal: str
    idle_since: int = 0
    unsure: str = ""
    system: bool = False


class Facts(Struct, frozen=True, kw_only=True):
    """The machine as it was observed: `blockers` hold every reboot (inhibitors, package manager, logind), `sessions`
    hold one where the policy says so, `clock`, a reason to distrust the clock, holds automatic ones. `required` tells
    whether the machine asks for a reboot, `forgets` why what is stored does not outlive a boot, as a sentence."""

    blockers: tuple[Blocker, ...] = ()
    sessions: tuple[Session, ...] = ()
    clock: str = ""
    required: bool = False
    forgets: str = ""


class Boot(Struct, frozen=True):
    """A boot of the machine: its id, and its instant by the wall clock."""

    id: str
    at: int


class Ledger(Struct, frozen=True, kw_only=True):
    """The newest reboots, newest first, and what is remembered beside them, as taken up at start.

    `lost` tells why the ledger cannot be trusted; `breakers` are the causes that must not reboot again, with the
    reason; `slot` tells whether the machine may hold a slot of its fleet; a reboot with an id up to `forgiven` opens no
    breaker any more, and the `uncounted` ones, dated ahead by a wrong clock, count for no limit. `fresh` tells that
    this ledger was just made.
    """

    reboots: tuple[Reboot, ...] = ()
    breakers: dict[str, str] = {}
    lost: str = ""
    slot: bool = False
    forgiven: int = 0
    uncounted: tuple[int, ...] = ()
    fresh: bool = False
    next_id: int = 1


# Effects. A reboot that was announced may be withdrawn, and the fleet's slot given back, while nothing can be stored:
# an agentd that is started anew then finds the reboot pending and the slot held, looks at the machine afresh and asks
# the fleet again. Nothing else is done before it is stored, least of all a reboot.


class RebootSaved(Stored, frozen=True):
    """A reboot as it is now."""

    reboot: Reboot


class LedgerSaved(Stored, frozen=True):
    """The rest of the ledger, beside the reboots; the fields are those of Ledger."""

    breakers: dict[str, str]
    lost: str
    slot: bool
    forgiven: int = 0
    uncounted: tuple[int, ...] = ()


class RebootLooks(Effect, frozen=True):
    """The machine is to be looked at; the facts go to Reboots.observed()."""


class RebootWarns(Beginning, frozen=True):
    """People are to be told that a reboot comes at the instant `at`."""

    reboot: int
    reason: str
    at: int

    @property
    def subject(self) -> str:
        return f"reboot {self.reboot}"


class RebootWithdrawn(Urgent, frozen=True):
    """People are to be told that a reboot that was announced does not come for now. `plainly` is for terminals: there
    stand no words that a stranger chose."""

    reboot: int
    why: str
    plainly: str

    @property
    def subject(self) -> str:
        return f"reboot {self.reboot}"


class SlotWanted(Beginning, frozen=True):
    """The fleet is to be asked for a slot; its answer goes to Reboots.slot_answered()."""

    reason: str

    @property
    def subject(self) -> str:
        return "slot"


class SlotFreed(Urgent, frozen=True):
    """The fleet is to be given its slot back; Reboots.slot_freed() is told once it has it."""

    @property
    def subject(self) -> str:
        return "slot"


class RebootIssues(Beginning, frozen=True):
    """logind is to be asked for a reboot; Reboots.refused() is told why it does not come."""

    reboot: Reboot

    @property
    def subject(self) -> str:
        return f"reboot {self.reboot.id}"


class NothingRuns(Urgent, frozen=True):
    """The machine goes down, and no job runs any more: agentd need not delay the shutdown."""

    @property
    def subject(self) -> str:
        return "shutdown"


class RebootOver(Effect, frozen=True):
    """Listeners are to be told that a reboot is over, or was found well or ill after its boot."""

    reboot: Reboot


class RebootChanged(Effect, frozen=True):
    """Listeners are to be told that the state or the blockers are others."""
