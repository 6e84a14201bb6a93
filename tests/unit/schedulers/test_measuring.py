"""A session of the monitor: when it reads, when it ends, and what it makes of a machine that is slow or silent."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agentd.core.part import Refused
from agentd.core.quantities import DAY, MINUTE, SECOND
from agentd.core.schedulers.measuring import Plan, planned
from agentd.core.schedulers.monitor import Reading
from agentd.schedulers import measuring, readings
from agentd.schedulers.measuring import Measuring
from agentd.schedulers.sysfs import Unreadable
from tests.unit.schedulers.test_monitor import machine


class Clock:
    """A clock that goes on while somebody waits, and `late` seconds further; `at` has what happens then."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.late = 0.0
        self.at: dict[float, Callable[[], object]] = {}

    def __call__(self) -> float:
        return self.now

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        until = self.now + max(0.0, seconds)
        for moment in sorted(moment for moment in self.at if moment <= until):
            self.now = max(self.now, moment)
            self.at.pop(moment)()
            if event.is_set():
                return
        self.now = until + self.late


class World:
    """A session on a machine of files; `reads` has when it read."""

    def __init__(self, root: Path, plan: Plan) -> None:
        self.clock, self.root = Clock(), machine(root)
        self.takes = 0.0  # seconds of a reading
        self.reads: list[float] = []
        self.measuring = Measuring(plan, self.read, self.known, self.clock, self.clock.wait)

    def read(self) -> asyncio.Future[Reading]:
        future: asyncio.Future[Reading] = asyncio.get_running_loop().create_future()
        self.reads.append(self.clock.now - 1000)
        try:
            future.set_result(readings.read(self.clock.now, self.root, self.measuring.plan.groups))
        except Unreadable as error:
            future.set_exception(error)
        self.clock.now += self.takes
        return future

    def known(self, reading: Reading) -> Reading:
        return replace(reading, instant=round(reading.at * SECOND), name=reading.ops or "none")

    def at(self, moment: float, deed: Callable[[], object]) -> None:
        self.clock.at[1000 + moment] = deed

    def writes(self, moment: float, file: str, text: str) -> None:
        self.at(moment, lambda: (self.root / file).write_text(text))

    def runs(self) -> "World":
        async def whole() -> None:
            await self.measuring.begin()
            await self.measuring.run()

        asyncio.run(whole())
        return self


def plan(interval: float = 1.0, span: float = 4.0) -> Plan:
    return Plan(interval=round(interval * SECOND), span=round(span * SECOND))


def test_readings_come_at_exact_periods_until_the_time_is_over(tmp_path: Path) -> None:
    world = World(tmp_path, plan())
    world.clock.late = world.takes = 0.01
    world.runs()
    assert [round(at) for at in world.reads] == [0, 1, 2, 3, 4]
    assert max(at % 1 for at in world.reads) < 0.02, "lateness adds up"
    assert (world.measuring.samples, world.measuring.ended) == (4, "the time was over")


@given(
    st.integers(SECOND, MINUTE),
    st.integers(1, 50),
    st.lists(st.floats(-1e-6, 200), min_size=1, max_size=100),
)
def test_every_reading_is_due_a_whole_number_of_intervals_after_the_first(
    interval: int, count: int, late: list[float]
) -> None:
    found, end = Plan(interval=interval, span=interval * count), interval * count / SECOND
    due = 0.0
    for lateness in late:
        before, now = due, due + lateness
        due = found.due_after(due, now, end)
        steps = due * SECOND / interval
        assert due == end or (before < due and due > now and steps == pytest.approx(round(steps)))
        if due == end:
            break


def test_a_time_that_is_no_multiple_of_the_interval_ends_with_a_reading(tmp_path: Path) -> None:
    assert World(tmp_path, plan(2.0, 5.0)).runs().reads == [0, 2, 4, 5]


def test_what_was_missed_is_passed_over(tmp_path: Path) -> None:
    world = World(tmp_path, plan(1.0, 6.0))
    world.at(2, lambda: setattr(world, "takes", 2.5))
    world.at(5, lambda: setattr(world, "takes", 0.0))
    assert world.runs().reads == [0, 1, 2, 5, 6]


def test_a_session_that_is_stopped_reads_once_more(tmp_path: Path) -> None:
    world = World(tmp_path, plan(60.0, 600.0))
    world.at(30, lambda: world.measuring.stop("enough"))
    world.runs()
    assert (world.reads, world.measuring.ended) == ([0, 30], "enough")
    assert [one.seconds for one in world.measuring.summaries()] == [30.0]


@pytest.mark.parametrize(("stop", "reads"), [(2.1, [0, 1, 2]), (2.3, [0, 1, 2, 2.3]), (0.1, [0, 0.1])])
def test_a_rest_that_says_little_is_left_out(tmp_path: Path, stop: float, reads: list[float]) -> None:
    world = World(tmp_path, plan())
    world.at(stop, lambda: world.measuring.stop("enough"))
    assert [round(at, 3) for at in world.runs().reads] == reads


def test_a_switch_during_a_session_makes_two_summaries(tmp_path: Path) -> None:
    world = World(tmp_path, plan(1.0, 6.0))
    world.writes(2.4, "sys/kernel/sched_ext/root/ops", "rusty\n")
    world.writes(2.5, "sys/kernel/sched_ext/enable_seq", "4\n")
    world.writes(4.5, "proc/stat", "cpu  60 1 5 130 2 0 1 1 0 0\nctxt 5711\nprocs_running 7\n")
    world.runs()
    before, after = world.measuring.summaries()
    assert [(one.name, one.seq, one.samples) for one in (before, after)] == [("simple", 3, 2), ("rusty", 4, 3)]
    assert (before.until, after.since) == (1002 * SECOND, 1003 * SECOND)
    assert world.measuring.switches == 1
    assert after.figures["cpu_busy"].max == 0.5
    assert after.figures["context_switches"].mean == pytest.approx(1000 / 3)
    assert before.figures["runnable"].max == 3


def test_a_kernel_that_tells_nothing_for_a_while_is_told_and_measured_again(tmp_path: Path) -> None:
    world = World(tmp_path, plan(1.0, 4.0))
    state = "sys/kernel/sched_ext/state"
    troubles: list[str] = []
    world.writes(0.5, state, "dreaming\n")
    world.at(1.5, lambda: troubles.append(world.measuring.trouble))
    world.writes(1.6, state, "enabled\n")
    world.runs()
    assert "dreaming" in troubles[0]
    assert (world.measuring.trouble, world.measuring.samples) == ("", 3)


def test_a_session_without_a_first_reading_does_not_begin(tmp_path: Path) -> None:
    world = World(tmp_path, plan())
    (world.root / "sys/kernel/sched_ext/state").write_text("dreaming\n")
    with pytest.raises(Unreadable, match="dreaming"):
        world.runs()
    assert world.measuring.since == 0


def test_no_reading_is_begun_while_one_does_not_return(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "PATIENCE", 0.0)
    world, begun = World(tmp_path, plan()), []

    def hangs() -> asyncio.Future[Reading]:
        begun.append(asyncio.get_running_loop().create_future())
        return begun[-1]

    async def whole() -> None:
        await world.measuring.begin()
        world.measuring._read = hangs
        await world.measuring.run()

    asyncio.run(whole())
    assert len(begun) == 1
    assert world.measuring.trouble == "the kernel's counters take longer than 0 s to read"
    assert world.measuring.ended == "the time was over"


# What may be asked for


def test_a_plan_has_what_was_asked_for_once() -> None:
    assert planned() == Plan(interval=SECOND, span=10 * MINUTE)
    found = planned(MINUTE, DAY, ["system.slice", "/user.slice/", "system.slice"], keep=True)
    assert found == Plan(interval=MINUTE, span=DAY, groups=("system.slice", "user.slice"), keep=True)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"interval": 0}, "expected an interval between 1s and 1min, not 0 microseconds"),
        ({"interval": -5}, "not -5 microseconds"),
        ({"interval": SECOND // 2}, "not 500ms"),
        ({"interval": MINUTE + 1}, "between 1s and 1min"),
        ({"interval": MINUTE, "span": SECOND}, r"at least its interval \(1min\) and at most 1d, not 1s"),
        ({"span": DAY + 1}, "at most 1d"),
        ({"groups": ["a.slice"] * 17}, "at most 16 control groups, not 17"),
        ({"groups": [7]}, "path of a control group"),
        *(({"groups": [name]}, "path of a control group") for name in ("", "/", "..", "a/../b", "a//b", "./a")),
    ],
)
def test_a_plan_that_cannot_be_is_refused_with_what_was_expected(options: dict[str, int], says: str) -> None:
    with pytest.raises(Refused, match=says) as refused:
        planned(**options)  # type: ignore[arg-type]
    assert refused.value.name == "InvalidArgument"
