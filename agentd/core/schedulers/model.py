"""The records and the effects of schedulers. Instants and spans are in microseconds."""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from agentd.core.part import Beginning, Effect, Stored, Urgent
from agentd.core.quantities import SECOND
from agentd.core.schedulers.catalogue import NONE, Value
from agentd.core.schedulers.settings import Choice

PART = "schedulers"
LAUNCHER = "start-scheduler"
"""The name before what root's launcher says when it starts nothing."""
State = Literal["absent", "disabled", "enabling", "enabled", "disabling"]
Source = Literal["lease", "person", "job", "rule", "follow", "default"]
"""The sources of wishes, in the order in which they win."""


class Times(Struct, frozen=True, kw_only=True):
    """The times for which schedulers wait for things; tests have less time than machines."""

    check: int = 30 * SECOND
    """For the answer to SchedulerChecked."""
    start: int = 45 * SECOND
    """From SchedulerStarts until the kernel says that it is enabled; scx_lavd takes 21 s on a slow machine."""
    stop: int = 30 * SECOND
    """From SchedulerStops until nothing is left of it; then it is asked for again, and told."""
    look: int = SECOND // 10
    """Between two looks while something is under way, fewer as it lasts: the kernel tells when it begins to disable
    a scheduler, and not when it has."""
    guards: int = 2 * SECOND
    """Between two looks at the guards while a scheduler is on probation."""
    reason: int = 3 * SECOND
    """For the answer to EndingWanted, after the scheduler is gone."""
    calm: int = 10 * SECOND
    """Between two switches that nobody asked for, such as those for jobs; and after somebody else's scheduler left, for
    its owner may be about to load another."""
    waking: int = 30 * SECOND
    """After a suspend: an end up to then is the suspend's."""


TIMES = Times()


class Observed(Struct, frozen=True, kw_only=True):
    """The kernel's word: what /sys/kernel/sched_ext says. `absent`: this kernel has no sched_ext. `seq` is enable_seq,
    how many schedulers were enabled since the boot; `hotplugs` is hotplug_seq."""

    state: State = "absent"
    ops: str = ""
    seq: int = 0
    switched_all: bool = True
    rejected: int = 0
    hotplugs: int = 0

    @property
    def on(self) -> bool:
        """Whether a scheduler is enabled."""
        return self.state == "enabled"

    @property
    def moving(self) -> bool:
        """Whether the kernel is between two states."""
        return self.state in {"enabling", "disabling"}


class Figures(Struct, frozen=True, kw_only=True):
    """The figures that guards bound (settings.Guards), as measured; None: not known, which breaks no bound."""

    pressure: float | None = None
    run_delay: float | None = None
    program: float | None = None
    loop_lag: int | None = None


class Exit(Struct, frozen=True):
    """The end of the process of a scheduler's unit, in systemd's words: Result, ExecMainCode (exited, killed, dumped or
    "") and ExecMainStatus, which is a signal where it was killed."""

    result: str = ""
    code: Literal["exited", "killed", "dumped", ""] = ""
    status: int = 0


class Ending(Struct, frozen=True, kw_only=True):
    """The end of a scheduler, as far as somebody told it. `reason` and `message` are the kernel's or the program's own
    words.

    `kind` is the kernel's word made short: unregistered, sysrq, error, bpf-error, stall, hotplug, lockup, refused (the
    verifier or the kernel did not take it), killed, exited, unstarted (its unit was not started for this tenure),
    unknown; or agentd's: stopped (agentd had it leave), timeout (it was not enabled in time), guard (a guard tripped),
    mistaken (the kernel shows another name), reloaded (its program loaded it again), reboot (it ended with its boot).
    """

    kind: str = "unknown"
    reason: str = ""
    message: str = ""
    restart: bool = False
    """The kernel ended it for a reason that is no fault (CPU hotplug) and asks for it again."""


class Chosen(Struct, frozen=True, kw_only=True):
    """A scheduler with the flags that it gets, all of them checked against the catalogue. `ops` and `timeout` are those
    of the catalogue's Scheduler."""

    name: str = NONE
    mode: str = ""
    flags: Mapping[str, Value] = {}
    ops: str = ""
    timeout: int = 30 * SECOND

    def same(self, other: "Chosen") -> bool:
        """Tells whether the other choice runs the same program with the same flags."""
        return (self.name, self.flags) == (other.name, other.flags)

    def shown_by(self, seen: Observed) -> bool:
        """Tells whether the kernel shows this scheduler: bpfland as bpfland or bpfland_1.1.4_x86_64_unknown_linux."""
        return seen.on and bool(self.ops) and f"{seen.ops}_".startswith(f"{self.ops}_")


KERNELS_OWN = Chosen()
"""The kernel's own scheduler: nothing is loaded."""


class Want(Struct, frozen=True, kw_only=True):
    """A wish for a scheduler. `holder` tells one of a source from another: a bus name, a person, a run, a rule, "power
    profile performance". `until` is when the wish ends by itself; 0: it does not.

    A wish of a person that is `proven` has had a scheduler that outlived its probation: the wish stays however that one
    fails later. One that is not goes with the first failure, and the person's wish before it counts again.
    """

    source: Source
    holder: str
    choice: Choice
    reason: str = ""
    since: int = 0
    until: int = 0
    proven: bool = False


class Tenure(Struct, frozen=True, kw_only=True):
    """A scheduler's time on the machine, for the history: from `since`, when its start was decided, over `enabled` to
    `ended` (0: not yet) with how it ended.

    `loaded_by` is "agentd", or "other" for one that somebody else loaded. `source` and `wanted_by` are those of the
    wish. `seq` is the kernel's enable_seq: before the start while it starts, its own from then on. It is on probation
    until `probation`; 0: that is over, or has not begun. An `ending` without `ended` says that agentd has it leave.
    `orderly`: agentd ended in order while it was on. `gap` is the time without a scheduler before it in a switch,
    `noticed` how long after the kernel's own word its end was seen (-1: not known).
    """

    number: int
    chosen: Chosen
    ops: str = ""
    loaded_by: Literal["agentd", "other"] = "agentd"
    source: Source | Literal[""] = ""
    wanted_by: str = ""
    reason: str = ""
    since: int = 0
    enabled: int = 0
    seq: int = 0
    probation: int = 0
    gap: int = -1
    ended: int = 0
    ending: Ending | None = None
    noticed: int = -1
    boot: str = ""
    orderly: bool = False


class Quarantine(Struct, frozen=True, kw_only=True):
    """A scheduler that failed at `failed`, with these flags, and is not tried again before `until`; `failures` counts
    those in a row."""

    name: str
    flags: Mapping[str, Value] = {}
    failed: int
    until: int
    failures: int
    why: str


class Saved(Struct, frozen=True, kw_only=True):
    """The past that the core takes up at its start: the wishes that were held, and the boot in which they were stored;
    the quarantines; the tenure that has not ended, the number of the last tenure, and the last scheduler that ended its
    probation well."""

    wants: tuple[Want, ...] = ()
    boot: str = ""
    quarantines: tuple[Quarantine, ...] = ()
    tenure: Tenure | None = None
    number: int = 0
    last_good: Chosen | None = None


class Standing(Struct, frozen=True, kw_only=True):
    """A wish as it stands: the scheduler that it comes to (None: the catalogue refuses it), whether the wish wins, and
    why it does not, as a sentence."""

    want: Want
    chosen: Chosen | None
    wins: bool
    why: str = ""


# Effects


class WantsSaved(Stored, frozen=True):
    """The wishes that are held: those of persons and rules outlive agentd and the boot, leases agentd in this boot."""

    wants: tuple[Want, ...]
    boot: str


class TenureSaved(Stored, frozen=True):
    """A tenure as it is now."""

    tenure: Tenure


class QuarantineSaved(Stored, frozen=True):
    """A quarantine as it is now; one that is lifted has `failures` 0."""

    quarantine: Quarantine


class LastGoodSaved(Stored, frozen=True):
    """The last scheduler that ended its probation well."""

    chosen: Chosen


class SchedulerChecked(Effect, frozen=True):
    """Asks the shell to look whether a scheduler can be started here, before the one that runs leaves: answered with
    Schedulers.checked()."""

    chosen: Chosen


class SchedulerStarts(Beginning, frozen=True):
    """Asks for the start of agentd-scx@NAME.service with these flags, where Schedulers.starts() still says so: the
    effect may have waited for room on the disk. The answer comes as observed(), or as start_failed()."""

    chosen: Chosen

    @property
    def subject(self) -> str:
        """The scheduler that starts."""
        return self.chosen.name


class SchedulerStops(Urgent, frozen=True):
    """Asks for the stop of agentd-scx@NAME.service and for what it left behind to be removed. Always answered with
    unit_ended(), also where the unit is down already, and with observed() where the kernel says something else then."""

    name: str

    @property
    def subject(self) -> str:
        """The scheduler that stops."""
        return self.name


class SchedulerLooks(Urgent, frozen=True):
    """Wants the kernel's state looked at now: answered with observed(). With `guards`, their figures too: guarded().
    A scheduler that does harm is to be found also while the disk is full."""

    guards: bool = False

    @property
    def subject(self) -> str:
        """The kernel."""
        return "the kernel"


class EndingWanted(Urgent, frozen=True):
    """Wants to know why the scheduler of a tenure ended: answered with ending_known(), once the kernel and systemd have
    had a moment to tell."""

    tenure: Tenure

    @property
    def subject(self) -> str:
        """The end of the scheduler."""
        return f"the end of {self.tenure.chosen.name}"


class SchedulerChanged(Effect, frozen=True):
    """A change of what `status` shows: properties are told anew."""


class SchedulerFailed(Effect, frozen=True):
    """A scheduler was ejected, did not start or broke a guard: to be told to people. `until` is the instant before
    which it is not tried again."""

    name: str
    ending: Ending
    sentence: str
    until: int
