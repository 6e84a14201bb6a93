"""The types of rules beside their settings: what is remembered, and the effects."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from msgspec import Struct

from agentd.core.jobs.model import Run
from agentd.core.part import Effect, Sampled, Stored, Urgent
from agentd.core.rules.settings import Action
from agentd.core.rules.spans import Learned
from agentd.core.rules.work import WorkMemory

PART = "rules"
State = Literal["unknown", "inactive", "pending", "firing", "clearing"]


class Moment(Struct, frozen=True):
    """An instant on all clocks, in microseconds: CLOCK_MONOTONIC, which stands still in a suspend, CLOCK_BOOTTIME,
    which does not, and the wall clock; and the boot that the first two count from."""

    at: int
    alive: int
    wall: int
    boot: str

    def since(self, before: "Moment") -> int:
        """Returns the time since another moment. Across a boot the wall clock counts, and one set back counts as no
        time: nothing is allowed again because the clock was set back."""
        return max(0, self.alive - before.alive if self.boot == before.boot else self.wall - before.wall)


class Source(Struct, frozen=True, order=True):
    """A source of facts: "memory", or "disk" with a path as its instance."""

    name: str
    instance: str = ""


class Gone(Struct, frozen=True):
    """The reason why a source has nothing to tell, as a part of a sentence."""

    why: str


class Remembered(Struct, frozen=True, kw_only=True):
    """The memory of a rule across restarts. Instants are microseconds since 1970 but for `at` (monotonic) and
    `alive` (boottime), which are those of the boot `boot`, at the latest look.

    `spans` and `learned` have a place for each part of its conditions: what holds, and what outlives a boot. `began`,
    `base`, `counted` and `done` are those of the ladder, whose steps are written in `steps`. `fires` are the instants
    at which the rule last acted, each on the boottime and the wall clock and with its boot.
    """

    when: str
    clear: str = ""
    boot: str = ""
    at: int = 0
    state: State = "unknown"
    since: int = 0
    clearing: tuple[int, int] | None = None
    learned: tuple[tuple[Learned, ...], ...] = ()
    spans: tuple[tuple[int, ...] | None, ...] = ()
    steps: tuple[str, ...] = ()
    began: tuple[int, int, int] | None = None  # at, alive, wall
    base: int = 0
    counted: bool = False
    done: tuple[int, ...] = ()
    fires: tuple[tuple[int, int, str], ...] = ()
    edges: tuple[tuple[int, int, str], ...] = ()


class Evidence(Struct, frozen=True, kw_only=True):
    """The evidence as a rule acted: the action, the rule's text, what its comparisons saw, the KPIs, the largest
    processes."""

    at: int
    rule: str
    action: str = ""
    when: str
    seen: tuple[str, ...]
    kpis: Mapping[str, float]
    processes: tuple[str, ...] = ()


# Effects


class KpisWanted(Urgent, frozen=True):
    """The facts of these sources are wanted, for Rules.observed(), and were due `late` microseconds ago. A look changes
    nothing, and who cannot store is not blind."""

    heard: ClassVar[bool] = False
    sources: tuple[Source, ...]
    late: int = 0

    @property
    def subject(self) -> str:
        return PART


class WitnessWanted(Effect, frozen=True):
    """The largest processes are wanted, for Rules.witnessed(): a rule is about to act."""

    number: int


class OutputWanted(Effect, frozen=True):
    """The last line of a run's output is wanted, for Rules.output()."""

    run: Run


class WorkSaved(Stored, frozen=True):
    """The memory of how the jobs do is another."""

    memory: WorkMemory


class SelfTestEnded(Stored, frozen=True):
    """A self-test is over: when, and whether a check failed."""

    moment: Moment
    failed: bool


class KpisSampled(Sampled, frozen=True):
    """The values of KPIs at an instant (microseconds since 1970)."""

    at: int
    values: Mapping[str, float]


class RuleSaved(Stored, frozen=True):
    """A rule as it is to be remembered."""

    rule: str
    remembered: Remembered


class RuleForgotten(Stored, frozen=True):
    """A rule that is no more is not to be remembered any longer."""

    rule: str


class EvidenceSaved(Stored, frozen=True):
    """The evidence of a rule that acts."""

    evidence: Evidence


class RuleActs(Effect, frozen=True):
    """A rule has something done; `reason` is a sentence."""

    action: Action
    rule: str
    reason: str
    at: int


class RuleChanged(Effect, frozen=True):
    """A rule has another state, for listeners; `why` is a sentence. A change that `matters` is one of whether the rule
    fires."""

    rule: str
    state: State
    at: int
    why: str
    matters: bool


class RuleOver(Effect, frozen=True):
    """The episode of a rule is over, in which the rule did something; `why` is a sentence."""

    rule: str
    at: int
    why: str
