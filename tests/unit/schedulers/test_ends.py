"""What the end of a scheduler means: a failure with its quarantine, or nobody's fault."""

import pytest

from agentd.core.part import Decided, Refused
from agentd.core.quantities import format_duration
from agentd.core.schedulers import story
from agentd.core.schedulers.model import Ending, EndingWanted, Figures, SchedulerFailed, SchedulerLooks
from agentd.core.schedulers.settings import Choice, Guards, SchedulerSettings
from tests.unit.schedulers.world import DAY, HOUR, MINUTE, MS, SECOND, Program, World

RUSTY = SchedulerSettings(default=Choice("scx_rusty"))
STALL = Ending(kind="stall", reason="runnable task stall", message="x[1] failed to run for 5.0s")


def test_a_failure_in_a_row_quarantines_for_longer_each_time_up_to_a_day() -> None:
    world = World(RUSTY)
    world.programs["scx_rusty"].does = "refuses"
    world.after(20 * DAY)
    at = [decided.at for decided in world.told_of(Decided) if decided.kind == "fail"]
    until = [failed.until for failed in world.told_of(SchedulerFailed)]
    spans = [format_duration(end - begin) for begin, end in zip(at, until, strict=True)]
    assert spans[:8] == ["1min", "4min", "16min", "1h 4min", "4h 16min", "17h 4min", "1d", "1d"]
    assert world.counts["started"] < 30
    assert f"failed {len(spans)} times in a row" in world.core.waits(world.now)


def test_a_tenure_that_outlives_its_probation_has_failures_counted_anew() -> None:
    world = World(RUSTY)
    for _ in range(3):
        world.after(5 * MINUTE)
        world.eject(STALL)
        world.after(30 * SECOND)
        found = world.quarantine("scx_rusty")
        assert found is not None
        assert found.failures == 1
        assert found.why == "a task could not run for too long (runnable task stall: x[1] failed to run for 5.0s)"


def test_who_asks_anew_for_what_failed_is_heard_after_a_minute_others_when_the_quarantine_ends() -> None:
    world = World(RUSTY)
    world.programs["scx_rusty"].does = "exits"
    world.after(10 * MINUTE)
    found = world.quarantine("scx_rusty")
    assert found is not None
    assert found.failures == 3  # until 21 min after the start
    world.programs["scx_rusty"].does = "runs"
    world.after(5 * MINUTE)
    assert world.on == "none"
    world.want("scx_rusty")
    world.after(10 * SECOND)
    assert world.on == "scx_rusty"


def test_who_asks_within_a_minute_of_the_failure_is_refused() -> None:
    world = World()
    world.programs["scx_rusty"].does = "exits"
    world.want("scx_rusty")
    world.after(10 * SECOND)
    with pytest.raises(
        Refused, match=r"scx_rusty failed: its program ended \(exit code 1\); it is not tried again for"
    ):
        world.want("scx_rusty")
    world.after(MINUTE)
    world.programs["scx_rusty"].does = "runs"
    world.want("scx_rusty")
    world.after(10 * SECOND)
    assert world.on == "scx_rusty"


def test_hotplug_is_no_failure_unless_it_never_ends() -> None:
    world = World(RUSTY)
    world.after(5 * MINUTE)
    for _ in range(5):
        world.eject(Ending(kind="hotplug", reason="cpu 1 going offline", restart=True))
        world.after(5 * SECOND)
        assert world.on == "scx_rusty"
    assert world.told_of(SchedulerFailed) == []
    world.eject(Ending(kind="hotplug", reason="cpu 1 going offline", restart=True))
    world.after(5 * SECOND)
    (failed,) = world.told_of(SchedulerFailed)
    assert "it ended so 6 times within 10min" in failed.sentence
    assert world.on == "none"


def test_a_program_that_loads_its_scheduler_again_begins_another_tenure() -> None:
    world = World(RUSTY)
    world.after(5 * MINUTE)
    first = world.core.tenure
    assert first is not None
    world.reasons["scx_rusty"] = Ending(kind="hotplug", reason="cpu 1 going offline", restart=True)
    world.reload()
    world.after(SECOND)
    assert world.core.tenure is not None
    assert world.core.tenure.number == first.number + 1
    assert world.core.tenure.seq == first.seq + 1
    assert world.core.tenure.probation
    ending = world.disk.tenures[first.number].ending
    assert ending is not None
    assert ending.kind == "hotplug"
    assert world.told_of(SchedulerFailed) == []
    for _ in range(5):
        world.reload()
        world.after(SECOND)
    assert len(world.told_of(SchedulerFailed)) == 1
    world.after(20 * SECOND)
    assert world.on == "none"


@pytest.mark.parametrize("first", ["ended", "woke"])
def test_an_end_around_a_suspend_is_no_failure(first: str) -> None:
    world = World(RUSTY)
    world.after(5 * MINUTE)
    world.core.sleeping(asleep=True, now=world.now)
    if first == "woke":
        world.now += 8 * HOUR
        world.core.sleeping(asleep=False, now=world.now)
        world.after(5 * SECOND)
    world.eject(STALL)
    if first == "ended":
        world.core.sleeping(asleep=False, now=world.now)
    world.after(10 * SECOND)
    assert world.told_of(SchedulerFailed) == []
    assert "the machine was suspended" in world.reasons_told()
    assert world.on == "scx_rusty"
    world.after(MINUTE)
    world.eject(STALL)
    world.after(10 * SECOND)
    assert len(world.told_of(SchedulerFailed)) == 1


def test_a_program_that_was_killed_after_a_suspend_has_failed_all_the_same() -> None:
    world = World(RUSTY)
    world.after(5 * MINUTE)
    world.core.sleeping(asleep=False, now=world.now)
    world.kill()
    world.after(10 * SECOND)
    assert len(world.told_of(SchedulerFailed)) == 1


def test_sysrq_s_has_the_kernels_own_scheduler_stay_until_a_person_says_otherwise() -> None:
    world = World(RUSTY)
    world.after(5 * MINUTE)
    world.eject(Ending(kind="sysrq", reason="disabled by sysrq-S"))
    world.after(2 * DAY)
    assert world.on == "none"
    world.core.restore(world.now)
    world.after(MINUTE)
    assert world.on == "scx_rusty"


def test_nobody_waits_for_ever_for_the_reason_of_an_end() -> None:
    world = World(RUSTY)
    world.after(5 * MINUTE)
    world.reason_after = 20 * SECOND
    world.eject(STALL)
    world.after(10 * SECOND)
    (failed,) = world.told_of(SchedulerFailed)
    assert failed.ending.kind == "unknown"
    (number,) = [one.tenure.number for one in world.told_of(EndingWanted)]
    world.after(30 * SECOND)
    assert world.disk.tenures[number].ending == STALL  # what became known later is kept for people
    assert world.disk.tenures[number].noticed == MS


def test_the_reason_of_a_kill_is_waited_for_before_anything_else_is_started() -> None:
    world = World(SchedulerSettings(default=Choice("scx_rusty")))
    world.want("scx_lavd")
    world.after(5 * MINUTE)
    world.kill()
    world.after(50 * MS)
    assert world.core.phase == "stopping"
    assert world.core.waits(world.now) == "scx_lavd ends: the reason is not known yet"
    world.after(5 * SECOND)
    assert world.on == "scx_rusty"


@pytest.mark.parametrize(
    ("guards", "figures", "words"),
    [
        (
            Guards(pressure=0.8),
            Figures(pressure=0.95),
            "the pressure on processors (guards.pressure) is 95% of the time",
        ),
        (Guards(run_delay=0.5), Figures(run_delay=0.6), "the time that tasks wait for a processor"),
        (Guards(program=0.5), Figures(program=0.98), "its program keeps a processor busy (guards.program) is 98%"),
        (Guards(), Figures(loop_lag=3 * SECOND), "agentd itself was kept waiting for 3s, more than 2s"),
    ],
)
def test_a_guard_that_trips_on_probation_has_the_old_one_back(guards: Guards, figures: Figures, words: str) -> None:
    world = World(SchedulerSettings(default=Choice("scx_rusty"), guards=guards))
    world.figures = Figures(pressure=0.1, run_delay=0.1, loop_lag=0)
    world.after(5 * MINUTE)
    world.want("scx_lavd")
    world.after(10 * SECOND)
    assert world.on == "scx_lavd"
    world.figures = figures
    world.after(2 * SECOND + 900 * MS)
    world.figures = Figures(pressure=0.1)
    world.after(20 * SECOND)
    assert world.on == "scx_rusty"
    (failed,) = world.told_of(SchedulerFailed)
    assert failed.ending.kind == "guard"
    assert words in failed.sentence


def test_a_probation_is_not_over_before_the_guards_were_looked_at_however_late_agentd_could_run() -> None:
    world = World(SchedulerSettings(default=Choice("scx_rusty")))
    world.after(5 * MINUTE)
    world.want("scx_lavd")
    world.after(SECOND)
    assert world.on == "scx_lavd"
    world.figures = Figures(loop_lag=MINUTE)
    world.now += 10 * MINUTE  # all that was due comes at once
    world.after(100 * MS)
    world.figures = Figures()
    world.after(20 * SECOND)
    assert world.on == "scx_rusty"
    (failed,) = world.told_of(SchedulerFailed)
    assert failed.ending.kind == "guard"


def test_figures_that_nobody_knows_break_no_guard_and_after_the_probation_none_counts() -> None:
    world = World(SchedulerSettings(default=Choice("scx_rusty"), guards=Guards(pressure=0.5)))
    world.figures = Figures()
    world.after(5 * MINUTE)
    assert world.core.tenure is not None
    assert world.core.tenure.probation == 0
    world.core.guarded(Figures(pressure=1.0), world.now)
    world.after(MINUTE)
    assert world.on == "scx_rusty"
    looks = len(world.told_of(SchedulerLooks))
    world.after(HOUR)
    assert len(world.told_of(SchedulerLooks)) == looks


def test_the_probation_is_longer_than_the_patience_of_the_kernels_watchdog() -> None:
    world = World(SchedulerSettings(default=Choice("scx_rusty"), probation=5 * SECOND))
    world.programs["scx_rusty"] = Program(does="ejects", lives=14 * SECOND)
    world.after(20 * SECOND)
    assert world.core.last_good is None


def test_an_agentd_without_bounds_is_not_woken_to_look_at_them() -> None:
    guards = Guards(loop_lag=0)
    world = World(SchedulerSettings(default=Choice("scx_rusty"), guards=guards))
    world.after(10 * SECOND)
    assert world.core.tenure is not None
    assert world.core.wakeup() == world.core.tenure.probation


@pytest.mark.parametrize(
    ("ending", "told"),
    [
        (Ending(), "nobody says why"),
        (Ending(kind="stall"), "a task could not run for too long"),
        (Ending(kind="error", reason="runtime error", message="non-existent DSQ 0x1267"),
         "the kernel ended it for an error (runtime error: non-existent DSQ 0x1267)"),
        (Ending(kind="guard", reason="the pressure is high"), "the pressure is high"),
        (Ending(kind="something new"), "something new"),
    ],
)  # fmt: skip
def test_an_end_is_told_in_agentds_words_and_the_kernels(ending: Ending, told: str) -> None:
    assert story.ended(ending) == told
