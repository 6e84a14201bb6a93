"""What waits begins or is taken back, whatever the clock, the disk or a person does, and is told of truly."""

from typing import Any

import pytest

from agentd.core.jobs.settings import Job, Missed, Retries
from agentd.core.jobs.triggers import After, AnyTrigger, Cron, Every, Manual
from agentd.core.part import Refused
from agentd.core.quantities import DAY, HOUR, MINUTE, SECOND
from tests.unit.jobs.world import TROUBLE, World

NOW = 1_800_000_000 * SECOND  # 15 January 2027, 08:00 UTC
YEAR = 365 * DAY


def job(name: str = "backup", when: AnyTrigger | None = None, **settings: Any) -> Job:
    return Job(name=name, run=("true",), when=when or Every(MINUTE), timezone="UTC", **settings)


# A clock that is set back


@pytest.mark.parametrize("back", [2 * HOUR, 30 * YEAR], ids=["2h", "30y"])
@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("overlap", ["queue", "no place"])
def test_a_run_that_waits_begins_at_once_although_the_clock_was_set_back(
    back: int, restarted: bool, overlap: str
) -> None:
    jobs = [job(overlap="queue")] if overlap == "queue" else [job("a"), job("b"), job("c")]
    takes = {"backup": 150 * SECOND, "a": 10 * SECOND, "b": 10 * SECOND, "c": 10 * SECOND}
    world = World(jobs, NOW + back, concurrency=1, takes=takes)
    world.pass_time(3 * MINUTE + SECOND)
    waiting = [run.run_id for entry in world.core.entries.values() for run in entry.waiting]
    assert waiting
    if restarted:
        world.kill(SECOND, NOW)
    else:
        world.set_clock(NOW)
    for _ in waiting:
        world.pass_time(151 * SECOND)
        world.check()
    begun = {run.run_id for run in world.begun}
    assert set(waiting) <= begun


@pytest.mark.parametrize("restarted", [False, True])
def test_a_retry_comes_after_its_pause_although_the_clock_was_set_back(restarted: bool) -> None:
    world = World([job(when=Every(HOUR), retries=Retries(count=1, backoff=5 * MINUTE))], NOW + 30 * YEAR)
    world.results["backup"] = "exit-code"
    world.pass_time(HOUR + MINUTE)
    if restarted:
        world.kill(SECOND, NOW)
        world.pass_time(31 * MINUTE)  # no farther away than the longest pause
    else:
        world.set_clock(NOW)
        world.pass_time(5 * MINUTE)
    assert [run.attempt for run in world.begun] == [1, 2]


@pytest.mark.parametrize("policy", ["skip", "once", "all"])
@pytest.mark.parametrize("when", [Every(HOUR), Cron("0 * * * *")], ids=lambda trigger: trigger.key)
def test_a_first_start_with_a_clock_years_ahead_silences_no_schedule(when: AnyTrigger, policy: Any) -> None:
    world = World([job(when=when, missed=Missed(policy))], NOW + 30 * YEAR)
    world.pass_time(3 * HOUR + MINUTE)
    assert len(world.begun) == 3
    world.kill(SECOND, NOW)
    assert any("the clock was set back while agentd was away" in reason for reason in world.reasons("clock"))
    world.pass_time(MINUTE)
    for hour in range(1, 4):
        world.pass_time(HOUR)
        assert len(world.begun) == 3 + hour
    world.kill(SECOND)
    assert len(world.reasons("clock")) == 1  # told once
    world.check()


# A disk that is full


@pytest.mark.parametrize(
    ("missed", "made_up"),
    [("skip", 0), ("once", 1), ("all", 10), (Missed("within", MINUTE), 0), (Missed("within", HOUR), 1)],
)
def test_after_a_time_in_which_nothing_could_be_stored_the_policy_decides(missed: Any, made_up: int) -> None:
    """The due times are those of 08:05 to 08:14; by 08:15:30 the first has been decided and could not begin."""
    missed = missed if isinstance(missed, Missed) else Missed(missed)
    world = World([job(when=Cron("5-14 8 * * *"), missed=missed)], NOW)
    world.pass_time(4 * MINUTE)
    world.fill_disk()
    world.pass_time(11 * MINUTE + 30 * SECOND)
    assert (world.begun, world.decisions) == ([], [])
    world.free_disk()
    world.pass_time(MINUTE)
    world.check()
    assert len(world.begun) == made_up
    assert {run.cause for run in world.begun[-1:]} <= {"missed"}
    told = [reason for reason in world.reasons("skip") + world.reasons("stop") if "nothing could be stored" in reason]
    assert all(reason.startswith("nothing could be stored from 08:04:59 to 08:15:30") for reason in told)
    if not made_up:
        assert world.reasons("skip") == [
            f"nothing could be stored from 08:04:59 to 08:15:30: 9 due times passed (missed: {missed.policy})"
        ]
        assert [run.result for run in world.ended] == ["cancelled"]
    assert not any("under way" in reason for reason in world.reasons("skip"))


def test_of_two_due_times_that_could_not_be_stored_all_are_made_up_for() -> None:
    """The first of them was decided already."""
    world = World([job(missed=Missed("all"))], NOW, takes={"backup": 10 * SECOND})
    world.fill_disk()
    world.pass_time(2 * MINUTE + 30 * SECOND)
    world.free_disk()
    world.pass_time(25 * SECOND)
    assert world.ran("backup") == [NOW + MINUTE, NOW + 2 * MINUTE]
    assert world.reasons("skip") == []


def test_a_short_time_in_which_nothing_could_be_stored_delays_what_is_due_and_no_more() -> None:
    world = World([job(missed=Missed("skip"))], NOW)
    world.pass_time(MINUTE - SECOND)
    world.fill_disk()
    world.pass_time(20 * SECOND)
    assert [run.state for run in world.core.all_seen()] == ["starting"]
    world.free_disk()
    world.pass_time(SECOND)
    assert world.ran("backup") == [NOW + MINUTE]
    assert world.begun[0].cause == "schedule"
    assert world.reasons("skip") == []


def test_each_second_of_a_stop_is_told_in_one_sentence_and_one_run_goes_on() -> None:
    """As with a full disk for two minutes and a job of each second."""
    world = World([job(when=Every(SECOND), missed=Missed("skip"))], NOW, takes={"backup": 300_000})
    world.pass_time(43 * SECOND)
    world.fill_disk()
    world.pass_time(2 * MINUTE)
    before = len(world.decisions)
    world.free_disk()
    after = world.decisions[before:]
    assert len([one for one in after if one.kind == "skip"]) == 1
    assert "more than 100 due times passed (missed: skip)" in after[-1].reason
    world.pass_time(10 * SECOND)
    assert len(world.ran("backup")) >= 43 + 10
    assert world.reasons("skip") == [after[-1].reason]


def test_a_request_is_kept_while_nothing_can_be_stored_and_a_stop_takes_it_back() -> None:
    for stopped in (False, True):
        world = World([job(when=Manual())], NOW)
        world.fill_disk()
        run = world.core.run("backup", world.now)
        world.carry_out()
        with pytest.raises(Refused, match="the disk is full") as no:
            world.core.run("backup", world.now)
        assert no.value.name == "StoreUnavailable"
        if stopped:
            assert world.core.stop("backup", world.now) == [run.run_id]
            world.carry_out()
        world.pass_time(HOUR)
        world.free_disk()
        world.pass_time(MINUTE)
        world.check()
        assert [run.cause for run in world.begun] == ([] if stopped else ["manual"])
        assert world.core.running() == []


def test_a_follower_of_a_run_that_ends_on_a_full_disk_begins_once_there_is_room() -> None:
    world = World([job(when=Cron("5 8 * * *")), job("next", After("backup"))], NOW, takes={"backup": MINUTE})
    world.pass_time(5 * MINUTE + 10 * SECOND)
    world.fill_disk()
    world.pass_time(5 * MINUTE)
    world.free_disk()
    world.pass_time(MINUTE)
    assert [run.job for run in world.begun] == ["backup", "next"]


# Disabled


@pytest.mark.parametrize("how", ["by hand", "in the configuration"])
@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("waiting", ["retry", "queue"])
def test_a_disabled_job_has_nothing_that_waits_but_what_was_asked_for(how: str, restarted: bool, waiting: str) -> None:
    retries = Retries(count=3, backoff=30 * SECOND)
    settings: dict[str, Any] = {"retries": retries} if waiting == "retry" else {"overlap": "queue"}
    takes = {"backup": SECOND if waiting == "retry" else HOUR}
    world = World([job(when=Every(10 * MINUTE), **settings)], NOW, takes=takes)
    world.results["backup"] = "exit-code"
    world.pass_time((10 if waiting == "retry" else 20) * MINUTE + 5 * SECOND)
    back = [run.run_id for run in world.core.entry("backup").pending]
    assert len(back) == 1
    asked = world.core.run("backup", world.now) if waiting == "queue" else None
    world.carry_out()
    off = [job(when=Every(10 * MINUTE), enabled=False, **settings)]
    if how == "by hand":
        assert world.core.set_enabled("backup", False, world.now) == back
        world.carry_out()
        if restarted:
            world.kill(SECOND)
    elif restarted:
        world.config = type(world.config)(jobs={one.name: one for one in off}, concurrency=100)
        world.kill(SECOND)
    else:
        world.configure(off)
    taken = [run for run in world.memory.runs.values() if run.run_id in back]
    assert [(run.result, run.reason) for run in taken] == [("cancelled", f"disabled {how}")]
    world.pass_time(3 * HOUR)
    later = [run.run_id for run in world.begun][1:]
    assert later == ([] if asked is None else [asked.run_id])
    world.check()


def test_a_run_that_fails_after_its_job_was_disabled_is_not_tried_again() -> None:
    world = World([job(retries=Retries(count=3))], NOW, takes={"backup": 30 * SECOND})
    world.results["backup"] = "exit-code"
    world.pass_time(MINUTE + SECOND)
    assert world.core.set_enabled("backup", False, world.now) == []
    world.pass_time(HOUR)
    assert len(world.begun) == 1
    assert world.reasons("retry") == ["no other attempt: disabled by hand"]


def test_a_reset_that_disables_takes_back_as_well() -> None:
    world = World([job(enabled=False, overlap="queue")], NOW, takes={"backup": HOUR})
    world.core.set_enabled("backup", True, world.now)
    world.carry_out()
    world.pass_time(2 * MINUTE + SECOND)
    assert world.core.reset("backup", world.now) == ["backup.2"]
    world.carry_out()
    assert world.memory.runs[2].reason == "disabled in the configuration"


# missed: all


def test_due_times_of_now_wait_behind_those_that_are_made_up_for() -> None:
    """As "all" says, until all of those have begun; and nothing is said to be under way that is not."""
    world = World([job(missed=Missed("all"))], NOW, takes={"backup": 50 * SECOND})
    world.kill(5 * MINUTE + 30 * SECOND)
    world.pass_time(3 * MINUTE)
    assert world.reasons("skip") == []
    world.pass_time(HOUR)
    assert world.ran("backup")[:8] == [NOW + minute * MINUTE for minute in range(1, 9)]
    assert world.ran("backup")[-1] == world.now // MINUTE * MINUTE  # and the job caught up
    assert "the run before still waited for a place (overlap: skip)" in world.reasons("skip")


# Told truly


def test_what_a_run_waits_for_is_told() -> None:
    world = World([job(overlap="queue", when=Manual()), job("other", Manual())], NOW, concurrency=1)
    world.takes = {"backup": MINUTE, "other": MINUTE}
    first, second = (world.core.run("backup", world.now) for _ in range(2))
    third = world.core.run("other", world.now)
    assert [world.core.waits(run) for run in (first, second, third)] == [
        "its process is being started",
        "the run before is not over: backup.1",
        "no place is free: 1 of 1 are taken (concurrency)",
    ]
    world.carry_out()
    world.pass_time(SECOND)
    assert world.core.waits(world.core.running()[0]) == ""
    world.core.hold("reboots", "the machine is about to reboot; nothing new starts")
    assert world.core.waits(third) == "the machine is about to reboot; nothing new starts"
    world.core.storable(TROUBLE, world.now)
    assert world.core.waits(third) == TROUBLE
    world.core.storable("", world.now)
    world.core.release("reboots", world.now)
    world.core.drain()
    assert world.core.waits(third) == "agentd is stopping; nothing new starts"


def test_a_retry_says_when_its_time_comes() -> None:
    world = World([job(when=Every(HOUR), retries=Retries(count=2, backoff=MINUTE))], NOW)
    world.results["backup"] = "exit-code"
    world.pass_time(HOUR + 10 * SECOND)
    (retry,) = world.core.entry("backup").pending
    assert world.core.waits(retry) == ("its time has not come: attempt 1 ended with exit-code; retry 1 of 2 in 1min")


def test_a_run_is_shown_running_from_its_process_on() -> None:
    world = World([job()], NOW)
    world.pass_time(MINUTE)
    (run,) = world.core.running()
    assert (world.core.seen(run).state, world.core.seen(run).started) == ("starting", 0)
    world.pass_time(SECOND // 2)
    (run,) = world.core.running()
    assert (world.core.seen(run).state, bool(run.started)) == ("running", True)
