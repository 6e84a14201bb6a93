"""The monitor, which tells how the machine fares under a scheduler: figures from differences of the kernel's counters,
and their summary.

A figure that cannot be known is missing, with the reason; it is never 0. What was measured across a switch belongs to
neither scheduler, and counts for none.
"""

from collections.abc import Iterable, Mapping
from math import ceil

from msgspec import Struct, field

UNITS = {
    "cpu_busy": "share",
    "cpu_iowait": "share",
    "cpu_steal": "share",
    "context_switches": "1/s",
    "runnable": "tasks",
    "memory_used": "share",
    "cpu_some": "share",
    "cpu_full": "share",
    "memory_some": "share",
    "memory_full": "share",
    "io_some": "share",
    "io_full": "share",
    "run_delay": "share",
    "run_delay_mean": "s",
    "slices": "1/s",
    "slice_mean": "s",
    "cpus": "CPUs",
    "throttled": "share",
    "pressure": "share",
}
"""The unit of each figure; the last three are those of control groups. Shares lie between 0 and 1: cpu_* are shares of
the processors' time; *_some and *_full, and `pressure`, of the time in which some or all tasks waited for the resource
(PSI); run_delay is the share that tasks waited for a processor of the time in which they wanted one. run_delay_mean is
the wait before a slice, slice_mean its length."""
MOST = 600
"""Samples of a figure that are kept for its percentile."""
_MOST_OF_GROUPS = 100
_MOST_STRETCHES = 32
_BACKWARDS = "the kernel counted backwards"
_NO_TIME = "no time went by"


class Reading(Struct, frozen=True, kw_only=True):
    """The kernel's counters at an instant: `at` in seconds of a clock that is never set, `instant` in microseconds
    since 1970. `seq` and `ops` tell which scheduler runs, `name` what the catalogue calls it. `counters` only rise;
    `levels` are figures as they are now; `missing` has why one is not there, and under "/NAME" why a control group is
    not. `groups` are the counters of control groups, `events` those of the scheduler."""

    at: float
    instant: int = 0
    seq: int = 0
    ops: str = ""
    name: str = ""
    counters: Mapping[str, int] = {}
    levels: Mapping[str, float] = {}
    missing: Mapping[str, str] = {}
    groups: Mapping[str, Mapping[str, int]] = {}
    events: Mapping[str, int] = {}

    @property
    def scheduler(self) -> tuple[int, str]:
        """Tells one scheduler from the next: one that is loaded again is another."""
        return self.seq, self.ops


class Sample(Struct, frozen=True, kw_only=True):
    """The figures of the time from one reading to the next, which is `span` seconds."""

    span: float
    figures: Mapping[str, float] = {}
    missing: Mapping[str, str] = {}
    groups: Mapping[str, Mapping[str, float]] = {}
    events: Mapping[str, int] = {}


class Stat(Struct, frozen=True):
    """A figure's summary: the mean over time, the largest sample, and the least one that 95 % of the samples do not
    exceed."""

    mean: float
    max: float
    p95: float


class Summary(Struct, frozen=True, kw_only=True):
    """The measurements of the time under one scheduler: `ops` is empty for the kernel's own. `since` and `until` are
    instants, `seconds` is how long `samples` together are. `missing` has why a figure, or under "/NAME" a control
    group, was not there in any sample. `events` are sums."""

    seq: int
    ops: str
    name: str
    since: int
    until: int
    seconds: float
    samples: int
    figures: Mapping[str, Stat] = {}
    missing: Mapping[str, str] = {}
    groups: Mapping[str, Mapping[str, Stat]] = {}
    events: Mapping[str, int] = {}


def sample(before: Reading, after: Reading) -> Sample:
    """Returns the figures of the time between two readings of one scheduler."""
    span = after.at - before.at
    missing = dict(after.missing)
    if span <= 0:
        return Sample(span=0.0, missing={**missing, **dict.fromkeys(after.levels, _NO_TIME)})
    deltas = {name: after.counters[name] - old for name, old in before.counters.items() if name in after.counters}
    backwards = {name for name, delta in deltas.items() if delta < 0}
    figures = dict(after.levels)
    for name, value in _rates(deltas, backwards, span).items():
        if isinstance(value, str):
            missing[name] = value
        else:
            figures[name] = value
    groups = {name: _group(before.groups.get(name, {}), counters, span) for name, counters in after.groups.items()}
    events = {name: count - before.events.get(name, 0) for name, count in after.events.items()}
    return Sample(
        span=span,
        figures=figures,
        missing={name: why for name, why in missing.items() if name not in figures},
        groups={name: found for name, found in groups.items() if found},
        events={name: count for name, count in events.items() if count > 0},
    )


def _rates(deltas: Mapping[str, int], backwards: set[str], span: float) -> dict[str, float | str]:
    """Returns what follows from how far counters rose, or why it does not."""
    found: dict[str, float | str] = {}

    def derive(name: str, part: Iterable[str], whole: float | Iterable[str], unit: float = 1.0) -> None:
        """Sets a figure to a sum of counters over another sum, or over a number."""
        parts = [*part]
        wholes = [] if isinstance(whole, float) else [*whole]
        if any(counter not in deltas for counter in (*parts, *wholes)):
            return
        below = whole if isinstance(whole, float) else float(sum(deltas[counter] for counter in wholes))
        if backwards & {*parts, *wholes}:
            found[name] = _BACKWARDS
        elif below > 0:
            found[name] = sum(deltas[counter] for counter in parts) * unit / below
        else:
            found[name] = _NO_TIME if name.startswith("cpu_") else "no task ran"

    ticks = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
    derive("cpu_busy", ("user", "nice", "system", "irq", "softirq"), ticks)
    derive("cpu_iowait", ("iowait",), ticks)
    derive("cpu_steal", ("steal",), ticks)
    derive("context_switches", ("ctxt",), span)
    for resource in ("cpu", "memory", "io"):
        for kind in ("some", "full"):
            derive(f"{resource}_{kind}", (f"{resource}_{kind}",), span * 1e6)
    derive("run_delay", ("delay",), ("delay", "run"))
    derive("run_delay_mean", ("delay",), ("slices",), 1e-9)
    derive("slices", ("slices",), span)
    derive("slice_mean", ("run",), ("slices",), 1e-9)
    return {name: _bounded(name, value) for name, value in found.items()}


def _bounded(name: str, value: float | str) -> float | str:
    """Returns a share without what two clocks that are read one after the other may add."""
    return min(1.0, value) if isinstance(value, float) and UNITS[name] == "share" else value


def _group(before: Mapping[str, int], after: Mapping[str, int], span: float) -> dict[str, float]:
    """Returns the figures of a control group that can be known; all its counters are in microseconds."""
    deltas = {name: after[name] - old for name, old in before.items() if name in after and after[name] >= old}
    names = {"usage": "cpus", "throttled": "throttled", "some": "pressure"}
    found = {names[name]: delta / (span * 1e6) for name, delta in deltas.items() if name in names}
    return {name: value if name == "cpus" else min(1.0, value) for name, value in found.items()}


class Series:
    """The samples of one figure: their mean and maximum, and at most `most` of them for the percentile. When there are
    more, every other one goes, and of those to come only as many stay."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._kept: list[float] = []
        self._every = 1
        self._count = 0
        self._weight = self._sum = 0.0
        self._max = float("-inf")

    def add(self, value: float, span: float) -> None:
        """Takes a sample that stands for `span` seconds."""
        self._sum += value * span
        self._weight += span
        self._max = max(self._max, value)
        if self._count % self._every == 0:
            self._kept.append(value)
        self._count += 1
        if len(self._kept) >= self._most:
            self._kept = self._kept[::2]
            self._every *= 2

    def stat(self) -> Stat:
        """Returns the summary of at least one sample."""
        ranked = sorted(self._kept)
        return Stat(self._sum / self._weight, self._max, ranked[ceil(0.95 * len(ranked)) - 1])


class _Stretch(Struct):
    """The time under one scheduler, as far as it was measured."""

    since: int
    until: int
    name: str = ""
    seconds: float = 0.0
    samples: int = 0
    figures: dict[str, Series] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    groups: dict[str, dict[str, Series]] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        """Tells whether there was a figure, or a control group "/NAME", in any sample."""
        return name in self.figures or name.removeprefix("/") in self.groups


class Session:
    """Measures for as long as readings are added. Its memory is bounded: of very many schedulers the first are
    forgotten, which `forgotten` counts; `switches` counts the samples that belong to no scheduler."""

    def __init__(self, most: int = MOST) -> None:
        self.switches = 0
        self.forgotten = 0
        self._most = most
        self._last: Reading | None = None
        self._stretches: dict[tuple[int, str], _Stretch] = {}

    def add(self, reading: Reading) -> Sample | None:
        """Takes a reading; returns the sample since the one before, None where there is none of one scheduler."""
        last, self._last = self._last, reading
        if last is None:
            return None
        if last.scheduler != reading.scheduler:
            self.switches += 1
            return None
        found = sample(last, reading)
        if found.span > 0:
            self._count(last, reading, found)
        return found

    def _count(self, last: Reading, reading: Reading, found: Sample) -> None:
        stretch = self._stretches.setdefault(reading.scheduler, _Stretch(last.instant, last.instant))
        if len(self._stretches) > _MOST_STRETCHES:
            del self._stretches[next(iter(self._stretches))]
            self.forgotten += 1
        stretch.until = reading.instant
        stretch.name = reading.name or stretch.name
        stretch.seconds += found.span
        stretch.samples += 1
        for name, value in found.figures.items():
            stretch.figures.setdefault(name, Series(self._most)).add(value, found.span)
        stretch.missing |= found.missing
        for group, figures in found.groups.items():
            series = stretch.groups.setdefault(group, {})
            for name, value in figures.items():
                series.setdefault(name, Series(min(self._most, _MOST_OF_GROUPS))).add(value, found.span)
        for name, count in found.events.items():
            stretch.events[name] = stretch.events.get(name, 0) + count

    def summaries(self) -> list[Summary]:
        """Returns what was measured under each scheduler, in the order in which they ran first."""
        return [
            Summary(
                seq=seq,
                ops=ops,
                name=stretch.name,
                since=stretch.since,
                until=stretch.until,
                seconds=stretch.seconds,
                samples=stretch.samples,
                figures={name: series.stat() for name, series in stretch.figures.items()},
                missing={name: why for name, why in stretch.missing.items() if not stretch.has(name)},
                groups={
                    group: {name: series.stat() for name, series in figures.items()}
                    for group, figures in stretch.groups.items()
                },
                events=dict(stretch.events),
            )
            for (seq, ops), stretch in self._stretches.items()
        ]


class Recent:
    """The figures of the last `seconds`, for the guards of a new scheduler: from readings that come more often."""

    def __init__(self, seconds: float = 10.0) -> None:
        self._seconds = seconds
        self._readings: list[Reading] = []

    def add(self, reading: Reading) -> Sample | None:
        """Takes a reading; returns the figures since the oldest one that is needed, None where there is none of the
        same scheduler."""
        kept = [one for one in self._readings if one.scheduler == reading.scheduler and one.at < reading.at]
        edge = reading.at - self._seconds
        while len(kept) > 1 and kept[1].at <= edge:
            del kept[0]
        self._readings = [*kept, reading]
        return sample(kept[0], reading) if kept else None
