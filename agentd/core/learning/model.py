"""The records and the effects of learning. Instants are in microseconds since 1970."""

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from agentd.core.jobs.model import Run
from agentd.core.jobs.roster import Entry
from agentd.core.learning.learner import Row, State
from agentd.core.learning.mlp import Mlp
from agentd.core.learning.outcomes import Watch
from agentd.core.part import Effect, Sampled, Stored

PART = "learning"
FEWEST_ROWS, MOST_ROWS = 500, 10_000
"""The rows from which a network can be trained, and those that are kept for that: the newest."""

BETTER, NOTHING, FAILED = "better", "nothing", "failed"
"""What came of a training: a better network, nothing better, or nothing at all."""


class JobsLearning(Protocol):
    """The core of jobs, as learning needs it."""

    @property
    def entries(self) -> Mapping[str, Entry]:
        """The configured jobs by name."""

    def adapt(self, name: str, new: int, now: int) -> None:
        """Gives an adaptive job another interval, in microseconds."""


class Learnt(Struct):
    """Everything that is remembered of a job, across restarts."""

    state: State | None = None
    """None until the first run whose use was looked at."""
    watched: str = ""
    """The setting `useful` that `mark` is of."""
    mark: str = ""
    """The content that the last run left, as text that tells one from another."""
    unknown: str = ""
    """The reason why the use of the last run is not known, as a sentence."""
    reported: list[str] = []
    """The runs under way that told that they found something."""
    preference: int = 0
    wish: int = 0
    """The direction of what a person wanted last: 1 more often, -1 less often, 0 nothing."""
    wish_until: int = 0
    wish_runs: int = 0
    given: float = 0.0
    """The interval in seconds that the job was given last; 0: none."""


class Network(Struct, frozen=True):
    """A network in force, and its number: 0 for the one that agentd brings along."""

    number: int
    mlp: Mlp


class Outcome(Struct, frozen=True, kw_only=True):
    """A run whose use is known, with what the network can learn from it."""

    at: int
    job: str
    row: Row
    cpu: float
    """Seconds of processor time."""


class Saved(Struct, frozen=True, kw_only=True):
    """The past that the core takes up at its start: what is remembered of jobs, how many rows there are to learn from
    and how many of them are newer than the last training, and the number of the network in force (0: the one that
    agentd brings along)."""

    jobs: dict[str, Learnt] = {}
    rows: int = 0
    fresh: int = 0
    network: int = 0


# Effects


class UseWanted(Effect, frozen=True):
    """The content that a run left is wanted, for Learning.looked(): whether the run was of use follows from that."""

    run: Run
    watch: Watch


class LearntSaved(Sampled, frozen=True):
    """The memory of a job, as JSON."""

    job: str
    record: bytes


class OutcomeKept(Sampled, frozen=True):
    """A row for the network to learn from."""

    outcome: Outcome


class NetworkChosen(Stored, frozen=True):
    """The network of that number is in force from now on."""

    number: int


class NetworkDoubted(Effect, frozen=True):
    """The network of that number foretells runs worse than the counted rate, by so many nats: the one before it is
    wanted."""

    number: int
    gain: float


class TrainingWanted(Stored, frozen=True):
    """A training is wanted, of the rows that there are; its end is told by Learning.trained()."""


class JobLearns(Effect, frozen=True):
    """The interval of a job is another, or would be, for listeners: in microseconds, with a sentence."""

    job: str
    interval: int
    mode: str
    reason: str
