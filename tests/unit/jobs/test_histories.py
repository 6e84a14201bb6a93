"""Long random histories: clocks set by years, disks that fill, kills, people; what holds at every moment of them."""

import contextlib
import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, example, given, settings

from agentd.core.jobs.settings import Job, Missed, Retries
from agentd.core.jobs.triggers import Adaptive, After, AnyTrigger, At, Cron, Every, Manual
from agentd.core.part import Refused
from agentd.core.quantities import DAY, HOUR, MINUTE, SECOND
from tests.examples import examples
from tests.unit.jobs.simulation import fixed, on_the_wall
from tests.unit.jobs.world import World

UTC = ZoneInfo("UTC")
NOW = 1_800_000_000 * SECOND  # 15 January 2027, 08:00 UTC
YEAR = 365 * DAY
RETRIES = Retries(count=2, backoff=MINUTE, max=3 * MINUTE)


def job(name: str, when: AnyTrigger, **settings: Any) -> Job:
    return Job(name=name, run=("true",), when=when, timezone="UTC", **settings)


JOBS = [
    job("often", Cron("*/10 * * * *"), overlap="queue", retries=RETRIES, missed=Missed("all")),
    job("all", Cron("5,25 * * * *"), missed=Missed("all")),
    job("daily", At((2 * 3600, 43200)), missed=Missed("within", HOUR), retries=RETRIES),
    job("steady", Every(7 * MINUTE), jitter=30 * SECOND, missed=Missed("skip")),
    job("slow", Every(5 * MINUTE), overlap="queue"),
    job("supple", Adaptive(20 * MINUTE, MINUTE, HOUR), overlap="replace", concurrency=2, retries=RETRIES),
    job("next", After("often"), overlap="queue"),
    job("by-hand", Manual(), overlap="queue", retries=RETRIES),
]
NAMES = [one.name for one in JOBS]
PERIODS = {"steady": 7 * MINUTE, "slow": 5 * MINUTE, "supple": 20 * MINUTE}
CALENDARS: dict[str, Callable[[int, int], list[int]]] = {
    "often": lambda begin, end: on_the_wall(UTC, begin, end, range(0, 60, 10)),
    "all": lambda begin, end: on_the_wall(UTC, begin, end, range(5, 26, 20)),
    "daily": lambda begin, end: fixed(UTC, begin, end, ["02:00", "12:00"]),
}
TAKES = {"often": MINUTE, "all": 50 * SECOND, "slow": 4 * MINUTE, "supple": 30 * MINUTE, "by-hand": 3 * MINUTE}
SPANS = [0, SECOND, 20 * SECOND, MINUTE, 10 * MINUTE, HOUR, 3 * HOUR]
STEPS = [SECOND, MINUTE, HOUR, 2 * HOUR, DAY, 30 * DAY, YEAR, 30 * YEAR]


class History:
    """One thing after the other happens to a machine; after each, what is shown and told is compared with what is."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.world = World(JOBS, NOW, concurrency=4, takes=dict(TAKES))
        self.right = NOW  # what a right clock shows, less the time that has gone by
        self.deeds = (
            *[self.time_goes_by] * 6, *[self.somebody_asks] * 3, *[self.clock_is_set] * 3, *[self.disk] * 2,
            self.machine_sleeps, self.daemon_is_killed, self.results_change, self.somebody_configures,
        )  # fmt: skip

    def go_on(self, deeds: int) -> None:
        for _ in range(deeds):
            self.chance.choice(self.deeds)()
            self.world.check()

    def time_goes_by(self) -> None:
        self.world.pass_time(self.chance.choice(SPANS))

    def machine_sleeps(self) -> None:
        self.world.sleep(self.chance.choice(SPANS))

    def clock_is_set(self) -> None:
        world, right = self.world, self.right + self.world.elapsed
        # A step is measured by two clocks, which are not read in the same moment.
        wrong = world.now + self.chance.choice([-1, 1]) * self.chance.choice(STEPS) + self.chance.randint(-2, 2)
        world.set_clock(max(HOUR, self.chance.choice([right, wrong])))

    def disk(self) -> None:
        if self.world.full:
            self.world.free_disk()
        else:
            self.world.fill_disk()

    def daemon_is_killed(self) -> None:
        step = self.chance.choice([0, 0, *STEPS]) * self.chance.choice([-1, 1])
        self.world.kill(self.chance.choice(SPANS), max(HOUR, self.world.now + step))

    def results_change(self) -> None:
        self.world.results = {name: self.chance.choice(["success", "exit-code"]) for name in NAMES}

    def somebody_asks(self) -> None:
        world, name = self.world, self.chance.choice(NAMES)
        core, now = world.core, world.now
        deed: Callable[[], object] = self.chance.choice([
            lambda: core.run(name, now), lambda: core.run(name, now), lambda: core.stop(name, now),
            lambda: core.set_enabled(name, False, now), lambda: core.set_enabled(name, True, now),
        ])  # fmt: skip
        with contextlib.suppress(Refused):  # busy, or nothing can be stored
            deed()
        world.carry_out()
        entry = core.entry(name)
        assert entry.enabled or {run.cause for run in entry.pending} <= {"manual"}

    def somebody_configures(self) -> None:
        off = self.chance.choice(["", *NAMES])
        self.world.configure([one if one.name != off else job(one.name, one.when, enabled=False) for one in JOBS])

    def calm(self) -> None:
        """All is well again, and stays so: whatever waited begins or is taken back, and each schedule goes on."""
        world = self.world
        world.results = {}
        world.free_disk()
        world.configure(JOBS)
        for name in NAMES:
            world.core.reset(name, world.now)
        world.carry_out()
        waiting = {run.run_id for entry in world.core.entries.values() for run in entry.pending}
        seen = [*world.shown, (world._since, world.now)]
        begin, since, told, known_runs = world.now, len(world.begun), len(world.decisions), set(world.memory.runs)
        world.pass_time(DAY + HOUR)
        world.check()
        assert world.now == begin + DAY + HOUR
        over = {run.run_id for run in world.ended} | {run.run_id for run in world.memory.runs.values() if run.ended}
        assert waiting <= over
        for name, period in PERIODS.items():
            # Each due time leads to a run, or is passed over while a run before it waits for one of the four places:
            # those that are made up for take them for hours.
            runs = [run for run in world.memory.runs.values() if run.job == name]
            came = {run.due for run in runs if run.seq not in known_runs and run.cause in {"schedule", "missed"}}
            passed = [one for one in world.decisions[told:] if one.kind == "skip" and one.about == name]
            for skip in passed:
                before = [run for run in runs if run.seq in known_runs or run.due < skip.at]
                assert any(skip.at <= max(run.started, run.ended) for run in before), skip
                assert skip.at < begin + 5 * HOUR, skip
            dealt_with = sorted(at for at in came | {skip.at for skip in passed} if at > begin)
            gaps = [later - at for at, later in pairwise([begin, *dealt_with, world.now])]
            assert max(gaps) <= period + MINUTE, name
            assert any(run.job == name and run.due in came for run in world.begun[since:]), name
        for name, enumerate_dues in CALENDARS.items():
            # What a clock that was wrong passed over was dealt with as `missed` says: "all" of it, or the last hour.
            jumped = [(max(first, last - HOUR) if name == "daily" else first, last) for first, last in world.jumped]
            known = [(first - MINUTE, last + MINUTE) for first, last in (*seen, *jumped)]
            new = [
                due
                for due in enumerate_dues(begin + 5 * HOUR, begin + DAY)
                if not any(first <= due <= last for first, last in known)
            ]
            assert set(new) <= set(world.ran(name)), name


@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 1 << 32), st.integers(0, 40))
@example(848, 15)  # a run that was asked for waits for a place beyond the next due time
@example(2974509532, 35)  # an interval is due at an instant that the clock shows again
@example(243938737, 23)  # a run begins when its job has another schedule already
@example(23, 7)  # the same for one that was decided before the daemon died and began after the clock was set back
@example(3489678374, 12)  # a run begins when its job was turned off and on again
@example(272561090, 40)  # the run before is over when the disk lets a decision be told
def test_whatever_happened_what_is_shown_is_true_and_all_goes_on_once_it_is_over(seed: int, deeds: int) -> None:
    history = History(seed)
    history.go_on(deeds)
    history.calm()


@pytest.mark.parametrize("seed", range(2))
def test_a_long_history(seed: int) -> None:
    history = History(seed)
    for _ in range(5):
        history.go_on(60)
        history.calm()
    assert len(history.world.begun) > 1000
    assert history.world.elapsed > 5 * DAY
