"""The kinds of worlds: a configuration each, and what of a world's jobs a judge must know."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.truth import Known

JOB = Path(__file__).with_name("job.sh")
RARE = "stop_timeout: 2s\nhistory: {keep: 36500d, runs: 1000000, total_output: 1G}\n"
"""Settings with which nothing is forgotten."""


@dataclass(frozen=True)
class Job:
    """A job of a world: the arguments of job.sh, its further settings as YAML, and what judging needs."""

    does: str
    settings: str
    known: Known = field(default_factory=Known)


@dataclass(frozen=True)
class Profile:
    """A kind of world. `top` are the settings beside the jobs, `disk` the size of a file system of its own ("" for
    none), `shifts` whether its clock is moved, `patience` the seconds that its longest job takes to end."""

    name: str
    top: str
    jobs: Mapping[str, Job]
    disk: str = ""
    shifts: bool = False
    patience: float = 4.0

    def text(self, folder: Path, more: Mapping[str, Job]) -> str:
        """Returns the configuration as YAML, with further jobs, for a world in `folder`."""
        lines = [self.top, "jobs:"]
        for name, job in {**self.jobs, **more}.items():
            facts = f"CHAOS_WORLD: {folder}, CHAOS_TRUTH: {folder}/truth, CHAOS_ALIVE: {folder}/alive"
            run = ", ".join(["/bin/sh", str(JOB), *(f'"{word}"' for word in job.does.split())])
            lines.append(f"  {name}: {{run: [{run}], environment: {{{facts}}}, {job.settings}}}")
        return "\n".join(lines) + "\n"


def _every(seconds: int, does: str, settings: str = "overlap: skip", timeout: float = 0, **more: int) -> Job:
    known = Known(seconds, timeout, bool(more.get("lingers")), more.get("abreast", 1))
    bound = f", timeout: {timeout:g}s" if timeout else ""
    several = f", concurrency: {known.abreast}" if known.abreast > 1 else ""
    return Job(does, f"when: {{every: {seconds}s}}, {settings}{bound}{several}", known)


NOON = Job("quick", 'when: {at: "12:00"}')
METRONOME = _every(1, "quick", "missed: skip")
"""The job whose beats tell whether anything starts at all; every world has one."""
MIXED = {
    "metronome": METRONOME,
    "varied": _every(1, "varied"),
    "varied2": _every(2, "varied", "missed: all"),
    "waits": _every(1, "sleep 1.7", "overlap: queue"),
    "replaced": _every(2, "sleep 3", "overlap: replace"),
    "fails": _every(3, "fails", "retries: {count: 3, backoff: 1s, max: 2s}"),
    "twice": _every(3, "twice", "retries: {count: 2, backoff: 1s}"),
    "follower": Job("varied", "when: {after: metronome}"),
    "slow": _every(4, "sleep 60", "stop_timeout: 1s", 1),
    "hidden": _every(5, "hides", "stop_timeout: 1s", 1),
    "stubborn": _every(6, "stubborn 30", "stop_timeout: 1s", 1, lingers=True),
    "long": _every(3, "sleep 40", "stop_timeout: 1s"),
    "minutely": Job("quick", 'when: {cron: "* * * * *"}, missed: all'),
    "by-hand": Job("varied", "overlap: queue"),
}
BURST = {
    "metronome": METRONOME,
    **{f"short{number}": _every(1, "sleep 0.02") for number in range(40)},
    "follower": Job("quick", "when: {after: short0}"),
}
WAITING = {
    "metronome": METRONOME,
    "all": _every(1, "quick", "missed: all"),
    "once": _every(1, "varied", "missed: once"),
    "within": _every(2, "quick", "missed: {within: 60s}"),
    "queue": _every(1, "sleep 1.6", "overlap: queue"),
    "queue2": _every(1, "sleep 0.9", "overlap: queue, missed: all"),
    "pair": _every(1, "sleep 1.4", "overlap: queue", abreast=2),
    "fails": _every(2, "fails", "retries: {count: 5, backoff: 1s, max: 1s}"),
    "minutely": Job("quick", 'when: {cron: "* * * * *"}, missed: all'),
}
PRINTING = {
    "metronome": METRONOME,
    "other": _every(2, "varied", "missed: skip"),
    "chatty": _every(2, "prints 300000"),
    "fails": _every(3, "fails", "retries: {count: 1, backoff: 1s}"),
    "long": _every(3, "sleep 40", "stop_timeout: 1s"),
}
QUIET = {
    "metronome": METRONOME,
    "noon": NOON,
    "varied": _every(2, "varied"),
    "queue": _every(2, "sleep 2.4", "overlap: queue"),
    "fails": _every(3, "fails", "retries: {count: 3, backoff: 1s, max: 2s}"),
    "by-hand": Job("varied", "overlap: queue"),
}
PROFILES = (
    Profile("mixed", RARE, MIXED),
    Profile("burst", RARE, BURST),
    Profile("quiet", RARE, QUIET),  # neither killed nor stopped: its files, its memory and its answers are looked at
    Profile("disk", "stop_timeout: 2s\n", PRINTING, disk="6m"),
    Profile("waiting", f"{RARE}concurrency: 6\n", WAITING),
    Profile("clock", RARE, {**WAITING, "slow": MIXED["slow"]}, shifts=True),
)
