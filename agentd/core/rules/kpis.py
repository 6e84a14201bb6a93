"""The KPIs that there are: each with its unit, a help text, the facts that it needs, and how it follows from them.

A KPI whose facts somebody gathers already is a line here and nothing else. Facts are what `agentd/rules/facts/` sees,
by source; a source that has nothing to tell on this machine says why, and its KPIs are missing for that reason.
"""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from agentd.core.rules.units import BYTES, CELSIUS, COUNT, PER_HOUR, PERCENT, SECONDS, YES_OR_NO, Unit


class Missing(Exception):
    """A KPI has no value; the text says why, as a part of a sentence: "no swap"."""


class Kpi(Struct, frozen=True):
    """The declaration of a KPI.

    `needs` is the source of its facts; `of` returns the value in `unit` from what that source saw and the instance, or
    raises Missing. `instance` is the word for what stands after the colon of its name, where something does; `choices`
    are all instances that there can be, where they are known, and `usual` those that people are shown though no rule
    names them. A `counter` only grows, until it begins anew; a KPI that is `by_runs` has another value only where a run
    of a job has ended.
    """

    unit: Unit
    help: str
    needs: str
    of: Callable[[Any, str], float]
    instance: str = ""
    choices: tuple[str, ...] = ()
    usual: tuple[str, ...] = ()
    counter: bool = False
    by_runs: bool = False


LLM_STATES = ("down", "loading", "ok", "busy", "wedged", "misconfigured", "sleeping")
"""The states of a llama.cpp server."""
LLM_STATE = Unit("a state of the LLM", {}, words=LLM_STATES)
RESOURCES = ("cpu", "memory", "io", "cpu-full", "memory-full", "io-full")
"""The resources of which the kernel tells the pressure: for some tasks, and for all that would run."""


class Memory(Struct, frozen=True):
    """Sizes in bytes. `available` is what could be had without swapping."""

    total: int
    available: int


class Swap(Struct, frozen=True):
    """Sizes in bytes."""

    total: int
    used: int


class Disk(Struct, frozen=True):
    """A file system as an ordinary user sees it: bytes in use and left for users, inodes and those left."""

    used: int
    free: int
    inodes: int
    inodes_free: int


class Service(Struct, frozen=True):
    """A unit of systemd: whether it is active, its memory in bytes and its automatic restarts, None where unknown."""

    active: bool
    memory: int | None
    restarts: int | None


class Agent(Struct, frozen=True):
    """agentd itself: bytes of its working set, percent of one processor since the look before, tasks, open files,
    seconds by which its loop was late at most since the look before, bytes of its store, seconds since its start. None
    where unknown: the loop is late for something only where something was due."""

    memory: float
    cpu: float | None
    tasks: float
    open_files: float
    lag: float | None
    store: float | None
    uptime: float


class Work(Struct, frozen=True):
    """The runs of the last hour and what waits: runs per hour, percent that failed, runs that wait, and how long the
    first of them has (seconds). None where there is too little to tell."""

    per_hour: float | None
    failed: float | None
    queued: int
    oldest: float


class JobFacts(Struct, frozen=True):
    """A job: failures in a row, seconds since its last success; None: it never had one."""

    failures: int
    since_success: float | None


class Llm(Struct, frozen=True):
    """A llama.cpp server: its state, seconds that an answer took on average, percent of calls that failed, tokens per
    second; None where too little was seen."""

    state: str
    response: float | None
    failed: float | None
    speed: float | None


def _swap(swap: Swap) -> float:
    if not swap.total:
        raise Missing("there is no swap")
    return 100 * swap.used / swap.total


def _share(used: int, free: int) -> float:
    if not used + free:
        raise Missing("the file system does not count them")
    return 100 * used / (used + free)


def _known(value: float | None, why: str) -> float:
    if value is None:
        raise Missing(why)
    return float(value)


_FEW_RUNS = "fewer than 5 runs have ended in the last hour"
_NO_HOUR = "agentd has watched the runs for less than 5 minutes"
_FEW_CALLS = "too few answers in the last quarter of an hour"

KPIS: Mapping[str, Kpi] = {
    # The host.
    "MemoryUsage": Kpi(
        PERCENT,
        "memory in use: all but what could be had without swapping",
        "memory",
        lambda seen, _: 100 * (seen.total - seen.available) / seen.total,
    ),
    "SwapUsage": Kpi(PERCENT, "swap in use", "swap", lambda seen, _: _swap(seen)),
    "CpuUsage": Kpi(PERCENT, "time of all processors that was not idle", "cpu", lambda seen, _: seen),
    "LoadPerCpu": Kpi(
        COUNT, "tasks that run or wait for a disk, per processor, averaged over a minute", "load", lambda seen, _: seen
    ),
    "DiskUsage": Kpi(
        PERCENT,
        "space in use on the file system of a path, as users have it (df says the same)",
        "disk",
        lambda seen, _: _share(seen.used, seen.free),
        instance="path",
        usual=("/",),
    ),
    "InodeUsage": Kpi(
        PERCENT,
        "inodes in use on the file system of a path",
        "disk",
        lambda seen, _: _share(seen.inodes - seen.inodes_free, seen.inodes_free),
        instance="path",
        usual=("/",),
    ),
    "Temperature": Kpi(CELSIUS, "the hottest sensor of the machine", "temperature", lambda seen, _: seen),
    "Pressure": Kpi(
        PERCENT,
        "time in which some task waited for a resource, or with -full all of them",
        "pressure",
        lambda seen, _: seen,
        instance="resource",
        choices=RESOURCES,
        usual=RESOURCES[:3],
    ),
    "OomKills": Kpi(
        COUNT,
        "processes that the kernel killed for want of memory since the boot",
        "oom",
        lambda seen, _: seen,
        counter=True,
    ),
    "FailedUnits": Kpi(COUNT, "units that failed", "units", lambda seen, _: seen),
    "UnitActive": Kpi(YES_OR_NO, "whether a unit is active", "unit", lambda seen, _: seen.active, instance="unit"),
    "UnitMemory": Kpi(
        BYTES,
        "memory of a unit",
        "unit",
        lambda seen, _: _known(seen.memory, "systemd does not count its memory"),
        instance="unit",
    ),
    "UnitRestarts": Kpi(
        COUNT,
        "automatic restarts of a service",
        "unit",
        lambda seen, _: _known(seen.restarts, "only a service is restarted"),
        instance="unit",
        counter=True,
    ),
    "RebootRequired": Kpi(YES_OR_NO, "whether an upgrade wants a reboot", "reboot-required", lambda seen, _: seen),
    "ClockSynchronised": Kpi(YES_OR_NO, "whether the clock is kept by a server", "clock", lambda seen, _: seen),
    "HostUptime": Kpi(SECONDS, "time since the boot, suspend included", "uptime", lambda seen, _: seen),
    # agentd itself.
    "AgentMemory": Kpi(BYTES, "agentd's working set", "agent", lambda seen, _: seen.memory),
    "AgentCpu": Kpi(
        PERCENT, "agentd's share of one processor", "agent", lambda seen, _: _known(seen.cpu, "no look before this one")
    ),
    "AgentTasks": Kpi(COUNT, "agentd's threads and processes", "agent", lambda seen, _: seen.tasks),
    "AgentOpenFiles": Kpi(COUNT, "files that agentd has open", "agent", lambda seen, _: seen.open_files),
    "LoopLag": Kpi(
        SECONDS,
        "by how much agentd's own timer was late at most",
        "agent",
        lambda seen, _: _known(seen.lag, "only samples that rules need show how late the loop is"),
    ),
    "StoreSize": Kpi(
        BYTES,
        "agentd's database",
        "agent",
        lambda seen, _: _known(seen.store, "agentd's database file is not there, or cannot be looked at"),
    ),
    "AgentUptime": Kpi(SECONDS, "time since agentd started", "agent", lambda seen, _: seen.uptime),
    # Jobs.
    "TaskThroughput": Kpi(
        PER_HOUR, "runs that ended, per hour", "work", lambda seen, _: _known(seen.per_hour, _NO_HOUR)
    ),
    "ErrorRate": Kpi(
        PERCENT,
        "runs of the last hour that failed or ran out of time",
        "work",
        lambda seen, _: _known(seen.failed, _FEW_RUNS),
    ),
    "QueueDepth": Kpi(COUNT, "runs that wait", "work", lambda seen, _: seen.queued),
    "OldestPending": Kpi(SECONDS, "how long the first run that waits has waited", "work", lambda seen, _: seen.oldest),
    "JobFailing": Kpi(
        COUNT, "failures of a job in a row", "job", lambda seen, _: seen.failures, instance="job", by_runs=True
    ),
    "JobAge": Kpi(
        SECONDS,
        "time since the last success of a job",
        "job",
        lambda seen, _: _known(seen.since_success, "the job has had no success yet"),
        instance="job",
    ),
    # A llama.cpp server.
    "LlmState": Kpi(LLM_STATE, "state of the LLM's server", "llm", lambda seen, _: LLM_STATES.index(seen.state)),
    "LlmAvgResponseTime": Kpi(
        SECONDS, "how long the LLM's answers took on average", "llm", lambda seen, _: _known(seen.response, _FEW_CALLS)
    ),
    "LlmFailureRate": Kpi(
        PERCENT, "calls of the LLM that failed", "llm", lambda seen, _: _known(seen.failed, _FEW_CALLS)
    ),
    "LlmTokensPerSecond": Kpi(
        COUNT,
        "tokens that the LLM makes in a second",
        "llm",
        lambda seen, _: _known(seen.speed, "nothing was generated"),
    ),
    "SelfTestFailed": Kpi(
        YES_OR_NO,
        "whether a check of the latest self-test failed",
        "self-test",
        lambda seen, _: _known(seen, "there was no self-test yet"),
    ),
}
USUAL = tuple(
    f"{name}:{instance}" if instance else name
    for name, kpi in KPIS.items()
    for instance in (kpi.usual if kpi.instance else ("",))
)
"""The KPIs that people are shown though no rule needs them."""
