"""What the core of jobs decides: overlap, missed runs, retries, places, overrides, another configuration, restarts."""

from collections.abc import Callable
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agentd.core.config import Config
from agentd.core.jobs import interval
from agentd.core.jobs.jobs import Jobs
from agentd.core.jobs.model import (
    FAILURES,
    JobSaved,
    Notified,
    Outcome,
    Run,
    RunChanged,
    RunSaved,
    RunStarts,
    RunStops,
    Saved,
)
from agentd.core.jobs.runs import QUEUE, backoff
from agentd.core.jobs.schedule import CATCH_UP
from agentd.core.jobs.settings import Job, Missed, Retries
from agentd.core.jobs.triggers import Adaptive, After, AnyTrigger, At, Boot, Cron, Every, Manual
from agentd.core.part import Decided, Effect, Refused, Stored
from agentd.core.quantities import DAY, HOUR, MINUTE, SECOND
from agentd.core.times import jitter_offset
from agentd.jobs.api import _due_after
from tests.unit.jobs.simulation import Memory

NOW = 1_800_000_000 * SECOND  # 15 January 2027, 08:00 UTC
SUCCESS = Outcome(result="success")
FAILURE = Outcome(result="exit-code", exit_code=1, reason="exit code 1")


def job(name: str = "backup", when: AnyTrigger | None = None, **settings: Any) -> Job:
    return Job(name=name, run=("true",), when=when or Every(HOUR), timezone="UTC", **settings)


class Host:
    """A core of jobs, what became of its effects, and a store that keeps what is to be stored."""

    def __init__(
        self, *jobs: Job, now: int = NOW, saved: Saved | None = None, concurrency: int = 100, **more: Any
    ) -> None:
        self.config = Config(jobs={job.name: job for job in jobs}, concurrency=concurrency)
        self.more = more
        self.memory = Memory()
        self.log: list[Effect] = []
        self.engine = Jobs(self.config.jobs, saved or Saved(), now, concurrency=concurrency, **more)

    def take(self) -> list[Effect]:
        effects = self.engine.effects()
        self.memory.write(effects)
        self.log += effects
        return effects

    def starts(self) -> list[Run]:
        """The runs started since the last look."""
        return [effect.run for effect in self.take() if isinstance(effect, RunStarts)]

    def tick(self, now: int) -> list[Run]:
        self.engine.tick(now)
        return self.starts()

    def end(self, run: Run, now: int, outcome: Outcome = SUCCESS) -> list[Run]:
        self.engine.ended(run.run_id, outcome, now)
        return self.starts()

    def restart(self, *jobs: Job, now: int, **more: Any) -> "Host":
        """Another daemon with what the store of this one has."""
        self.take()
        after = Host(*(jobs or self.config.jobs.values()), now=now, saved=self.memory.saved(), **(self.more | more))
        after.memory = self.memory
        return after

    def saved(self, run: Run) -> Run:
        self.take()
        return self.memory.runs[run.seq]

    def decided(self, kind: str) -> list[str]:
        """The reasons of the decisions of that kind."""
        self.take()
        return [effect.reason for effect in self.log if isinstance(effect, Decided) and effect.kind == kind]

    def of(self, kind: type) -> list[Any]:
        self.take()
        return [effect for effect in self.log if isinstance(effect, kind)]


def told(host: Host) -> list[Notified]:
    """What the log and the D-Bus signal tell."""
    return [effect for effect in host.of(Notified) if effect.wanted]


def only(runs: list[Run]) -> Run:
    (run,) = runs
    return run


def dues(runs: list[Run]) -> list[int]:
    return [(run.due - NOW) // HOUR for run in runs]


# Due times and overlap


def test_a_job_starts_at_its_due_time_and_not_before() -> None:
    host = Host(job())
    assert host.engine.wakeup() == NOW + HOUR
    assert host.tick(NOW + HOUR - 1) == []
    run = only(host.tick(NOW + HOUR))
    assert (run.due, run.cause, run.attempt, run.state) == (NOW + HOUR, "schedule", 1, "running")
    assert host.engine.wakeup() == NOW + 2 * HOUR
    assert host.tick(NOW + HOUR) == []


def test_overlap_skip_passes_over_a_due_time_while_the_run_before_is_under_way() -> None:
    host = Host(job(overlap="skip"))
    first = only(host.tick(NOW + HOUR))
    assert host.tick(NOW + 2 * HOUR) == []
    assert host.decided("skip") == ["the run before was still under way (overlap: skip)"]
    state = host.engine.entry("backup").state
    assert (state.last_skip, state.last_skip_at) == (host.decided("skip")[0], NOW + 2 * HOUR)
    assert host.end(first, NOW + 2 * HOUR + 1) == []
    assert dues(host.tick(NOW + 3 * HOUR)) == [3]


def test_overlap_queue_runs_every_due_time_one_after_the_other() -> None:
    host = Host(job(overlap="queue"))
    run = only(host.tick(NOW + HOUR))
    assert host.tick(NOW + 2 * HOUR) == []
    assert host.tick(NOW + 3 * HOUR) == []
    assert [saved.state for saved in host.memory.runs.values()] == ["running", "queued", "queued"]
    host.engine.tick(NOW + 3 * HOUR)
    assert host.take() == []  # what is stored is not stored again
    second = only(host.end(run, NOW + 3 * HOUR + 1))
    third = only(host.end(second, NOW + 3 * HOUR + 2))
    assert dues([second, third]) == [2, 3]
    assert host.end(third, NOW + 3 * HOUR + 3) == []


def test_overlap_queue_holds_a_bounded_number_of_runs() -> None:
    host = Host(job(overlap="queue"))
    for hour in range(QUEUE + 5):
        host.tick(NOW + (hour + 1) * HOUR)
    assert len(host.engine.entry("backup").waiting) == QUEUE
    assert len(host.decided("skip")) == 4


def test_overlap_replace_stops_the_run_and_starts_the_newer_one_once_it_is_over() -> None:
    host = Host(job(overlap="replace"))
    first = only(host.tick(NOW + HOUR))
    assert host.tick(NOW + 2 * HOUR) == []
    assert host.of(RunStops) == [RunStops(first.run_id, "stopped")]
    assert host.tick(NOW + 3 * HOUR) == []
    second = only(host.end(first, NOW + 3 * HOUR + 1, Outcome(result="stopped")))
    assert dues([second]) == [3]
    replaced = [run for run in host.memory.runs.values() if run.result == "cancelled"]
    assert dues(replaced) == [2]


def test_a_job_may_run_several_times_at_once_where_its_concurrency_says_so() -> None:
    host = Host(job(concurrency=2))
    assert dues(host.tick(NOW + HOUR) + host.tick(NOW + 2 * HOUR) + host.tick(NOW + 3 * HOUR)) == [1, 2]


# Places


def test_runs_wait_for_a_place_in_the_order_in_which_they_became_due() -> None:
    names = ["d", "a", "c", "b"]
    jobs = [job(name, Every(HOUR + at * SECOND)) for at, name in enumerate(names)]
    host = Host(*jobs, concurrency=1)
    order = host.tick(NOW + HOUR + 10 * SECOND)
    while host.engine.running():
        assert len(host.engine.running()) == 1
        order += host.end(order[-1], NOW + HOUR + 11 * SECOND)
    assert [run.job for run in order] == names


def test_a_job_that_is_at_its_own_limit_does_not_hold_up_those_behind_it() -> None:
    host = Host(job("slow", overlap="queue"), job("quick", Every(3 * HOUR)), concurrency=2)
    slow = only(host.tick(NOW + HOUR))
    assert host.tick(NOW + 2 * HOUR) == []
    assert [run.job for run in host.tick(NOW + 3 * HOUR)] == ["quick"]
    assert [run.job for run in host.end(slow, NOW + 3 * HOUR + 1)] == ["slow"]


def test_more_places_are_used_at_once() -> None:
    jobs = [job(name) for name in "abc"]
    host = Host(*jobs, concurrency=1)
    assert len(host.tick(NOW + HOUR)) == 1
    host.engine.configure(host.config.jobs, 3, "UTC", NOW + HOUR + 1)
    assert len(host.starts()) == 2


# Missed due times


@pytest.mark.parametrize(
    ("missed", "down", "expected"),
    [
        (Missed("skip"), 5 * HOUR + 20 * MINUTE, []),
        (Missed("skip"), 5 * HOUR + 20 * SECOND, [5]),
        (Missed("once"), 5 * HOUR + 20 * MINUTE, [5]),
        (Missed("once"), HOUR + 20 * MINUTE, [1]),
        (Missed("once"), 20 * MINUTE, []),
        (Missed("all"), 5 * HOUR + 20 * MINUTE, [1, 2, 3, 4, 5]),
        (Missed("within", 30 * MINUTE), 5 * HOUR + 20 * MINUTE, [5]),
        (Missed("within", 30 * MINUTE), 5 * HOUR + 40 * MINUTE, []),
        (Missed("all"), 500 * HOUR, list(range(401, 501))),
    ],
    ids=lambda value: value.policy if isinstance(value, Missed) else None,
)
@pytest.mark.parametrize(
    "when", [Every(HOUR), Cron("0 * * * *"), At(tuple(range(0, 86400, 3600)))], ids=lambda t: t.key
)
def test_after_downtime_the_policy_says_what_is_made_up_for(
    when: AnyTrigger, missed: Missed, down: int, expected: list[int]
) -> None:
    host = Host(job(when=when, missed=missed)).restart(now=NOW + down)
    order = host.tick(NOW + down)
    while host.engine.running():
        order += host.end(order[-1], NOW + down)
    assert dues(order) == expected
    assert len(order) <= CATCH_UP
    on_time = not down % HOUR
    assert {run.cause for run in order} <= {"missed", "schedule"} if on_time else {"missed", "schedule"}
    following = host.engine.wakeup()
    assert following == NOW + (down // HOUR + 1) * HOUR
    assert dues(host.tick(following)) == [down // HOUR + 1]


def test_what_is_made_up_for_is_told_apart_from_what_is_on_time() -> None:
    host = Host(job()).restart(now=NOW + 2 * HOUR + 5 * MINUTE)
    run = only(host.tick(NOW + 2 * HOUR + 5 * MINUTE))
    assert (run.cause, run.reason) == ("missed", "made up for once (missed: once)")


def test_a_late_tick_is_no_missed_run() -> None:
    assert only(Host(job(missed=Missed("skip"))).tick(NOW + HOUR + 59 * SECOND)).cause == "schedule"


def test_a_job_seen_for_the_first_time_makes_up_for_nothing() -> None:
    assert Host(job(missed=Missed("all"))).tick(NOW + 59 * MINUTE) == []


# Retries


def test_retries_wait_twice_as_long_each_time_up_to_a_maximum() -> None:
    host = Host(job(when=Every(DAY), retries=Retries(count=5, backoff=MINUTE, max=5 * MINUTE), notify=("failure",)))
    run = only(host.tick(NOW + DAY))
    now = NOW + DAY
    pauses = []
    for attempt in range(2, 7):
        host.end(run, now, FAILURE)
        wakeup = host.engine.wakeup()
        assert wakeup is not None
        pauses.append((wakeup - now) // MINUTE)
        assert told(host) == []
        now = wakeup
        run = only(host.tick(now))
        assert (run.attempt, run.cause, run.due) == (attempt, "retry", NOW + DAY)
    assert pauses == [1, 2, 4, 5, 5]
    host.end(run, now, FAILURE)
    assert host.engine.wakeup() == NOW + 2 * DAY
    assert [effect.event for effect in told(host)] == ["failure"]


@given(st.builds(Retries, backoff=st.integers(0, DAY), max=st.integers(0, DAY)), st.integers(1, 100))
def test_no_pause_is_longer_than_the_maximum_nor_shorter_than_the_one_before(retries: Retries, attempt: int) -> None:
    assert backoff(retries, attempt) <= backoff(retries, attempt + 1) <= retries.max


@pytest.mark.parametrize("result", ["success", "stopped", "cancelled"])
def test_what_succeeded_or_was_stopped_is_not_tried_again(result: str) -> None:
    host = Host(job(retries=Retries(count=3)))
    host.end(only(host.tick(NOW + HOUR)), NOW + HOUR, Outcome(result=result))
    assert host.engine.wakeup() == NOW + 2 * HOUR


@pytest.mark.parametrize("result", sorted(FAILURES))
def test_every_failure_is_tried_again(result: str) -> None:
    host = Host(job(retries=Retries(count=3)))
    host.end(only(host.tick(NOW + HOUR)), NOW + HOUR, Outcome(result=result))
    assert host.engine.wakeup() == NOW + HOUR + MINUTE


def failed_once(**settings: Any) -> tuple[Host, Run]:
    """A job whose first run failed, and the retry that waits for its time."""
    host = Host(job(retries=Retries(count=3, backoff=90 * MINUTE, max=DAY), **settings))
    host.end(only(host.tick(NOW + HOUR)), NOW + HOUR, FAILURE)
    retry = host.engine.entry("backup").retry
    assert retry is not None
    return host, retry


def test_a_retry_is_given_up_when_the_next_due_time_comes() -> None:
    host, retry = failed_once()
    assert dues(host.tick(NOW + 2 * HOUR)) == [2]
    assert (host.saved(retry).state, host.saved(retry).result) == ("ended", "cancelled")
    assert host.saved(retry).reason == "the next due time came"


def test_a_due_time_goes_before_the_retry_when_both_have_passed() -> None:
    """As when a machine wakes up in the morning."""
    host, retry = failed_once()
    assert dues(host.tick(NOW + 5 * HOUR)) == [5]
    assert host.saved(retry).result == "cancelled"


def test_a_due_time_goes_before_the_retry_when_both_passed_while_the_daemon_was_down() -> None:
    host, retry = failed_once()
    host = host.restart(now=NOW + 5 * HOUR)
    assert dues(host.tick(NOW + 5 * HOUR)) == [5]
    assert host.saved(retry).result == "cancelled"


@pytest.mark.parametrize(
    ("retries", "minutes"),
    [(Retries(count=3, backoff=90 * MINUTE, max=DAY), 150), (Retries(count=3, backoff=MINUTE, max=20 * MINUTE), 120)],
    ids=["as configured", "no farther away than the longest pause of now"],
)
def test_a_retry_survives_a_restart(retries: Retries, minutes: int) -> None:
    host, retry = failed_once()
    host = host.restart(job(when=Every(DAY), retries=retries), now=NOW + 100 * MINUTE)
    assert host.engine.wakeup() == NOW + minutes * MINUTE
    assert only(host.tick(NOW + minutes * MINUTE)).run_id == retry.run_id


def test_the_retry_of_a_later_failure_takes_the_place_of_an_earlier_one() -> None:
    """Else the earlier one would be forgotten while the store says that it waits."""
    host, retry = failed_once()
    host.end(host.engine.run("backup", NOW + 61 * MINUTE), NOW + 62 * MINUTE, FAILURE)
    assert host.saved(retry).reason == "a later run failed"
    later = host.engine.entry("backup").retry
    assert later is not None
    assert later.seq > retry.seq
    assert [run.run_id for run in host.memory.saved().open_runs] == [later.run_id]


def test_a_retry_keeps_its_distance_when_the_clock_is_set() -> None:
    host = Host(job(when=Cron("0 9 * * *"), retries=Retries(count=1, backoff=30 * MINUTE)))
    host.end(only(host.tick(NOW + HOUR)), NOW + HOUR, FAILURE)
    host.engine.clock_stepped(-2 * DAY, NOW + HOUR - 2 * DAY)
    assert host.engine.wakeup() == NOW + 90 * MINUTE - 2 * DAY
    assert only(host.tick(NOW + 90 * MINUTE - 2 * DAY)).cause == "retry"


# Restarts


def test_queued_runs_survive_a_restart_and_running_ones_were_cut_off() -> None:
    host = Host(job(overlap="queue"), job("other", Manual()), concurrency=1)
    cut = only(host.tick(NOW + HOUR))
    waiting = host.engine.run("other", NOW + HOUR)
    host = host.restart(now=NOW + HOUR + 1, concurrency=1)
    assert [run.run_id for run in host.starts()] == [waiting.run_id]
    assert (host.saved(cut).state, host.saved(cut).result) == ("ended", "interrupted")
    assert host.engine.entry("backup").last == host.saved(cut)


@pytest.mark.parametrize(
    ("seen", "ended"),
    [
        (HOUR + 5 * MINUTE, HOUR + 5 * MINUTE),
        (HOUR - MINUTE, HOUR),  # it had begun since
        (3 * HOUR, 2 * HOUR),  # by a clock that was ahead
    ],
)
def test_a_run_that_was_cut_off_ended_no_later_than_the_last_sign_of_life(seen: int, ended: int) -> None:
    host = Host(job())
    cut = only(host.tick(NOW + HOUR))
    saved = replace(host.memory.saved(), seen=NOW + seen)
    after = Host(*host.config.jobs.values(), now=NOW + 2 * HOUR, saved=saved)
    assert (after.saved(cut).started, after.saved(cut).ended) == (NOW + HOUR, NOW + ended)


def test_a_run_that_was_cut_off_is_tried_again_where_retries_are_configured() -> None:
    host = Host(job(retries=Retries(count=1)))
    run = only(host.tick(NOW + HOUR))
    host = host.restart(now=NOW + HOUR + 1)
    retry = only(host.tick(NOW + HOUR + MINUTE + 1))
    assert (retry.attempt, retry.due) == (2, run.due)


def test_an_end_that_the_executor_saw_counts_although_nobody_stored_it() -> None:
    host = Host(job(), job("next", After("backup")))
    run = only(host.tick(NOW + HOUR))
    host.take()
    saved = host.memory.saved()
    saved = Saved(
        **{name: getattr(saved, name) for name in ("states", "open_runs", "next_seq")}, outcomes={run.run_id: SUCCESS}
    )
    after = Host(*host.config.jobs.values(), now=NOW + HOUR + MINUTE, saved=saved)
    assert [start.job for start in after.starts()] == ["next"]
    assert after.saved(run).result == "success"


def test_runs_of_a_job_that_is_gone_are_concluded_at_the_restart() -> None:
    host = Host(job(overlap="queue"))
    cut = only(host.tick(NOW + HOUR))
    host.tick(NOW + 2 * HOUR)
    host = host.restart(job("other"), now=NOW + 2 * HOUR + 1)
    assert host.starts() == []
    assert host.saved(cut).result == "interrupted"
    assert host.memory.saved().open_runs == ()


@pytest.mark.parametrize("enabled", [True, False])
def test_another_time_zone_means_nothing_to_an_interval(enabled: bool) -> None:
    """Due times that passed meanwhile are told and made up for as without it."""
    there = replace(job(missed=Missed("all"), overlap="queue", enabled=enabled), timezone="Europe/Berlin")
    host = Host(job(missed=Missed("all"), overlap="queue", enabled=enabled))
    for hour in range(1, 3) if enabled else ():
        host.end(only(host.tick(NOW + hour * HOUR)), NOW + hour * HOUR)
    host = host.restart(there, now=NOW + 5 * HOUR)
    run = host.tick(NOW + 5 * HOUR)
    assert dues([*run, *host.engine.entry("backup").waiting]) == ([3, 4, 5] if enabled else [])
    assert host.engine.configure({"backup": job(enabled=enabled)}, 100, "UTC", NOW + 5 * HOUR + 1) == ["backup changed"]
    assert (host.engine.entry("backup").due == NOW + 6 * HOUR) is enabled


def test_numbers_of_runs_are_never_used_again() -> None:
    host = Host(job())
    host.end(only(host.tick(NOW + HOUR)), NOW + HOUR)
    run = only(host.restart(now=NOW + 2 * HOUR).tick(NOW + 2 * HOUR))
    assert run.run_id == "backup.2"


def test_one_due_time_starts_one_run_whatever_crashes_in_between() -> None:
    host = Host(job(when=Cron("0 9 * * *")))
    only(host.tick(NOW + HOUR))
    for minutes in (0, 1, 30):
        host = host.restart(now=NOW + HOUR + minutes * MINUTE)
        assert host.tick(NOW + HOUR + minutes * MINUTE) == []


# A little ahead


def test_with_a_lead_a_run_that_can_start_at_once_is_decided_ahead() -> None:
    host = Host(job(), lead=SECOND)
    assert host.engine.wakeup() == NOW + HOUR - SECOND
    run = only(host.tick(NOW + HOUR - SECOND))
    assert run.due == NOW + HOUR
    assert host.engine.wakeup() == NOW + 2 * HOUR - SECOND


def test_with_a_lead_what_is_in_the_way_has_until_the_due_time_to_end() -> None:
    host = Host(job(), lead=SECOND)
    run = only(host.tick(NOW + HOUR))
    assert host.tick(NOW + 2 * HOUR - SECOND) == []
    assert host.engine.wakeup() == NOW + 2 * HOUR
    host.end(run, NOW + 2 * HOUR - 1)
    assert dues(host.tick(NOW + 2 * HOUR)) == [2]
    assert host.decided("skip") == []


@pytest.mark.parametrize("when", [Every(HOUR), Cron("0 * * * *")], ids=lambda trigger: trigger.key)
def test_a_restart_or_a_change_between_decision_and_due_time_neither_repeats_nor_shifts_anything(
    when: AnyTrigger,
) -> None:
    host = Host(job(when=when), lead=SECOND)
    only(host.tick(NOW + HOUR - SECOND))
    after = host.restart(now=NOW + HOUR - SECOND // 2)
    assert after.engine.wakeup() == NOW + 2 * HOUR - SECOND
    again = host.restart(job(when=when, jitter=1), now=NOW + HOUR - SECOND // 2)
    assert again.engine.wakeup() == NOW + 2 * HOUR - SECOND


# By hand


def test_a_disabled_job_runs_only_by_hand() -> None:
    host = Host(job(enabled=False))
    assert host.engine.wakeup() is None
    assert host.tick(NOW + 5 * HOUR) == []
    run = host.engine.run("backup", NOW + 5 * HOUR)
    assert only(host.starts()).run_id == run.run_id
    assert (run.cause, run.due) == ("manual", NOW + 5 * HOUR)


def test_a_job_disabled_by_hand_stays_so_until_reset() -> None:
    host = Host(job(missed=Missed("all")))
    host.engine.set_enabled("backup", False, NOW)
    assert host.tick(NOW + 3 * HOUR) == []
    host = host.restart(now=NOW + 4 * HOUR)
    assert host.tick(NOW + 4 * HOUR) == []
    host.engine.reset("backup", NOW + 4 * HOUR + MINUTE)
    assert host.tick(NOW + 4 * HOUR + MINUTE) == []  # what came due while it was off is not made up for
    assert host.engine.wakeup() == NOW + 5 * HOUR  # and an interval keeps its grid
    assert host.decided("reset") == ["back to the configuration"]


@pytest.mark.parametrize("when", [Every(HOUR), Cron("0 * * * *")], ids=lambda trigger: trigger.key)
def test_what_came_due_while_a_job_was_disabled_is_not_made_up_for(when: AnyTrigger) -> None:
    host = Host(job(when=when, missed=Missed("all")))
    host.engine.set_enabled("backup", False, NOW)
    host.engine.set_enabled("backup", True, NOW + 3 * HOUR + MINUTE)
    assert host.tick(NOW + 3 * HOUR + MINUTE) == []
    assert dues(host.tick(NOW + 4 * HOUR)) == [4]


def test_enabling_what_is_enabled_misses_nothing() -> None:
    host = Host(job())
    host.engine.set_enabled("backup", True, NOW + HOUR + 1)
    assert dues(host.tick(NOW + HOUR + 2)) == [1]


def test_a_run_by_hand_is_refused_while_the_job_runs() -> None:
    host = Host(job())
    only(host.tick(NOW + HOUR))
    with pytest.raises(
        Refused, match=r"backup was not started: the run before .*: backup\.1; stop it with: agentctl stop"
    ) as no:
        host.engine.run("backup", NOW + HOUR)
    assert no.value.name == "Busy"


def test_a_run_by_hand_waits_or_replaces_as_the_jobs_overlap_says() -> None:
    host = Host(job("queued", overlap="queue"), job("replaced", overlap="replace"))
    first, second = host.tick(NOW + HOUR)
    host.engine.run("queued", NOW + HOUR)
    host.engine.run("replaced", NOW + HOUR)
    assert host.starts() == []
    assert host.of(RunStops) == [RunStops(second.run_id, "stopped")]
    assert only(host.end(first, NOW + HOUR)).cause == only(host.end(second, NOW + HOUR)).cause == "manual"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("backupp", 'there is no job "backupp" (did you mean backup?)'), ("xyz", 'there is no job "xyz"')],
)
@pytest.mark.parametrize(
    "ask",
    [
        lambda engine, name: engine.run(name, NOW),
        lambda engine, name: engine.stop(name, NOW),
        lambda engine, name: engine.step_interval(name, 1, NOW),
        lambda engine, name: engine.set_interval(name, HOUR, NOW),
        lambda engine, name: engine.set_enabled(name, True, NOW),
        lambda engine, name: engine.reset(name, NOW),
    ],
    ids=["run", "stop", "step", "set", "enable", "reset"],
)
def test_an_unknown_job_is_refused_with_the_nearest_name(
    ask: Callable[[Jobs, str], object], name: str, sentence: str
) -> None:
    host = Host(job())
    with pytest.raises(Refused) as no:
        ask(host.engine, name)
    assert (no.value.name, str(no.value)) == ("NoSuchJob", sentence)


# Stopping


def test_stopping_a_job_stops_what_runs_and_takes_back_what_waits() -> None:
    host = Host(job(overlap="queue"))
    running = only(host.tick(NOW + HOUR))
    host.tick(NOW + 2 * HOUR)
    assert sorted(host.engine.stop("backup", NOW + 2 * HOUR)) == ["backup.1", "backup.2"]
    assert host.of(RunStops) == [RunStops(running.run_id, "stopped")]
    assert host.memory.runs[2].result == "cancelled"
    assert host.end(running, NOW + 2 * HOUR, Outcome(result="stopped")) == []
    assert dues(host.tick(NOW + 3 * HOUR)) == [3]


def test_one_run_is_stopped_by_its_id() -> None:
    host = Host(job(overlap="queue"))
    only(host.tick(NOW + HOUR))
    host.tick(NOW + 2 * HOUR)
    host.tick(NOW + 3 * HOUR)
    assert host.engine.stop("backup.2", NOW + 3 * HOUR) == ["backup.2"]
    assert host.of(RunStops) == []
    assert host.engine.stop("backup.1", NOW + 3 * HOUR) == ["backup.1"]
    assert host.of(RunStops) == [RunStops("backup.1", "stopped")]
    assert [run.run_id for run in host.memory.saved().open_runs] == ["backup.1", "backup.3"]


def test_a_retry_that_waits_for_its_time_is_taken_back() -> None:
    for target in ("backup", "backup.2"):
        host, retry = failed_once()
        assert host.engine.stop(target, NOW + 70 * MINUTE) == [retry.run_id]
        assert host.saved(retry).result == "cancelled"
        assert host.engine.wakeup() == NOW + 2 * HOUR


def test_a_run_that_is_not_under_way_cannot_be_stopped() -> None:
    host = Host(job())
    host.end(only(host.tick(NOW + HOUR)), NOW + HOUR)
    with pytest.raises(Refused, match=r"the run backup\.1 is not under way") as no:
        host.engine.stop("backup.1", NOW + HOUR)
    assert no.value.name == "NoSuchRun"
    assert host.engine.stop("backup", NOW + HOUR) == []


@pytest.mark.parametrize("number", ["²", "٣", "x", ""])
def test_a_run_has_a_number_in_ascii_digits(number: str) -> None:
    with pytest.raises(Refused) as no:
        Host(job()).engine.stop(f"backup.{number}", NOW)
    assert (no.value.name, str(no.value)) == (
        "NoSuchJob", f'there is no job "backup.{number}" (did you mean backup?)'
    )  # fmt: skip


def test_a_job_whose_name_looks_like_a_run_can_be_stopped() -> None:
    host = Host(job(), job("backup.7", Manual()))
    run = host.engine.run("backup.7", NOW)
    assert host.engine.stop("backup.7", NOW) == [run.run_id]


def test_stop_all_stops_everything_under_way() -> None:
    host = Host(job("a"), job("b"), job("c", Manual()))
    ids = {run.run_id for run in host.tick(NOW + HOUR)}
    host.engine.stop_all("stopped", "agentd is stopping", NOW + HOUR)
    assert {effect.run_id for effect in host.of(RunStops)} == ids


# How often


def test_increase_and_decrease_change_the_interval_by_half_and_can_be_undone() -> None:
    host = Host(job())
    assert host.engine.step_interval("backup", 1, NOW) == (HOUR, 40 * MINUTE)
    assert host.engine.wakeup() == NOW + 40 * MINUTE
    assert host.engine.step_interval("backup", -1, NOW) == (40 * MINUTE, HOUR)
    assert host.engine.step_interval("backup", -1, NOW) == (HOUR, 90 * MINUTE)
    assert host.engine.entry("backup").state.preference == -1
    host = host.restart(now=NOW)
    assert host.engine.wakeup() == NOW + 90 * MINUTE
    host.engine.reset("backup", NOW)
    assert host.engine.wakeup() == NOW + HOUR
    assert (host.engine.entry("backup").state.interval, host.engine.entry("backup").state.preference) == (None, 0)


def test_another_interval_counts_from_the_last_due_time() -> None:
    host = Host(job())
    host.end(only(host.tick(NOW + HOUR)), NOW + HOUR)
    host.engine.set_interval("backup", 2 * HOUR, NOW + 90 * MINUTE)
    assert host.engine.wakeup() == NOW + 3 * HOUR


def test_a_job_with_a_time_of_day_has_no_interval_to_change_but_can_be_given_one() -> None:
    host = Host(job(when=At((0,))))
    with pytest.raises(Refused, match="it runs at 00:00; give it one with: agentctl set backup --every 2h") as no:
        host.engine.step_interval("backup", 1, NOW)
    assert no.value.name == "Unsupported"
    assert host.engine.set_interval("backup", 2 * HOUR, NOW) == 0
    assert host.engine.wakeup() == NOW + 2 * HOUR
    host.engine.reset("backup", NOW + HOUR)
    assert host.engine.wakeup() == NOW + 16 * HOUR


@pytest.mark.parametrize("new", [MINUTE - 1, HOUR + 1, 0])
def test_an_interval_outside_the_bounds_is_refused(new: int) -> None:
    host = Host(job(when=Adaptive(5 * MINUTE, MINUTE, HOUR)))
    with pytest.raises(Refused, match="backup can run every 1min to every 1h, not every") as no:
        host.engine.set_interval("backup", new, NOW)
    assert no.value.name == "InvalidArgument"


def test_at_its_bound_an_interval_moves_no_further() -> None:
    host = Host(job(when=Adaptive(5 * MINUTE, 4 * MINUTE, 6 * MINUTE)))
    assert host.engine.step_interval("backup", 1, NOW) == (5 * MINUTE, 4 * MINUTE)
    with pytest.raises(Refused, match="backup already runs every 4min, the shortest it may"):
        host.engine.step_interval("backup", 1, NOW)


def test_a_much_shorter_interval_makes_up_for_one_due_time_and_not_for_all_it_would_have_had() -> None:
    host = Host(job(when=Every(DAY), missed=Missed("all")))
    host.engine.set_interval("backup", MINUTE, NOW + 23 * HOUR)
    assert len(host.tick(NOW + 23 * HOUR)) == 1
    assert host.engine.entry("backup").waiting == []
    assert host.engine.wakeup() == NOW + 23 * HOUR + MINUTE


def test_bounds_of_a_new_configuration_hold_for_an_interval_set_before() -> None:
    host = Host(job(when=Adaptive(HOUR, MINUTE, DAY)))
    host.engine.set_interval("backup", 12 * HOUR, NOW)
    host = host.restart(job(when=Adaptive(HOUR, MINUTE, 2 * HOUR)), now=NOW)
    assert host.engine.entry("backup").schedule.trigger.interval == 2 * HOUR


PERIODS = st.integers(SECOND, 400 * DAY) | st.integers(1, 10_000).map(lambda seconds: seconds * SECOND)


@st.composite
def intervals(draw: st.DrawFn) -> AnyTrigger:
    low, start, high = sorted(draw(st.tuples(PERIODS, PERIODS, PERIODS)))
    return draw(st.sampled_from([Every(start), Adaptive(start, low, high)]))


@given(
    intervals(), st.sampled_from([1, -1]), st.integers(0, HOUR), st.floats(0, 0.999), st.integers(1, 3), st.booleans()
)
def test_increase_never_lengthens_and_decrease_never_shortens(
    trigger: AnyTrigger, direction: int, jitter: int, part: float, times: int, off: bool
) -> None:
    """Neither the interval nor the time until the next run; by no more than the bound, and within the limits."""
    host = Host(job(when=trigger, jitter=jitter), host="somewhere")
    wakeup = host.engine.wakeup()
    assert wakeup is not None
    now = NOW + int((wakeup - NOW) * (part + 3 * off))
    if off:
        host.engine.set_enabled("backup", False, NOW)
        host.engine.set_enabled("backup", True, now)
    for _ in range(times):
        before = host.engine.wakeup()
        old = host.engine.entry("backup").schedule.trigger.interval
        assert before is not None
        assert old is not None
        try:
            assert host.engine.step_interval("backup", direction, now)[0] == old
        except Refused:
            assert (host.engine.wakeup(), host.engine.entry("backup").schedule.trigger.interval) == (before, old)
            continue
        new, after = host.engine.entry("backup").schedule.trigger.interval, host.engine.wakeup()
        assert new is not None
        assert after is not None
        low, high = trigger.bounds
        assert low <= new <= high
        assert new < old if direction > 0 else new > old
        assert max(old / new, new / old) <= interval.STEP
        assert max(now, after) <= max(now, before) if direction > 0 else after >= before


# Another configuration


def test_the_changes_of_a_configuration_are_told_and_what_did_not_change_goes_on() -> None:
    host = Host(job("same"), job("gone"), job("other"))
    jobs = {"same": job("same"), "other": job("other", Every(2 * HOUR)), "new": job("new", Every(5 * HOUR))}
    changes = host.engine.configure(jobs, 100, "UTC", NOW + 30 * MINUTE)
    assert changes == ["gone removed", "other changed", "new added: every 5h"]
    assert [run.job for run in host.tick(NOW + HOUR)] == ["same"]
    assert [run.job for run in host.tick(NOW + 2 * HOUR)] == ["other"]
    assert [run.job for run in host.tick(NOW + 5 * HOUR + 30 * MINUTE - 1)] == []
    assert [run.job for run in host.tick(NOW + 5 * HOUR + 30 * MINUTE)] == ["new"]


def test_a_changed_calendar_makes_up_for_nothing() -> None:
    host = Host(job(when=Cron("0 20 * * *")))
    host.engine.configure({"backup": job(when=Cron("30 8 * * *"))}, 100, "UTC", NOW + HOUR)
    assert host.engine.wakeup() == NOW + DAY + 30 * MINUTE


def test_a_job_that_is_enabled_by_the_configuration_makes_up_for_nothing() -> None:
    host = Host(job(enabled=False, missed=Missed("all")))
    host.engine.configure({"backup": job(missed=Missed("all"))}, 100, "UTC", NOW + 3 * HOUR + MINUTE)
    assert host.starts() == []
    assert host.engine.wakeup() == NOW + 4 * HOUR


def test_a_removed_job_takes_back_what_waits_and_lets_its_run_end() -> None:
    host = Host(job(overlap="queue", retries=Retries(count=1), notify=("success", "failure")))
    run = only(host.tick(NOW + HOUR))
    host.tick(NOW + 2 * HOUR)
    host.engine.configure({}, 100, "UTC", NOW + 2 * HOUR)
    assert host.starts() == []
    assert host.memory.runs[2].reason == "the job was removed"
    assert host.of(RunStops) == []
    assert [known.run_id for known in host.engine.running()] == [run.run_id]
    assert len(host.engine.running()) == 1
    host.engine.progress(run.run_id, "half", NOW)
    assert host.end(run, NOW + 3 * HOUR, FAILURE) == []
    assert host.saved(run).result == "exit-code"
    assert (len(host.engine.running()), host.engine.wakeup(), host.memory.saved().open_runs) == (0, None, ())


def test_who_asks_for_a_removed_job_is_told_of_its_run() -> None:
    host = Host(job())
    run = only(host.tick(NOW + HOUR))
    host.engine.configure({}, 100, "UTC", NOW + HOUR)
    with pytest.raises(Refused, match=r'there is no job "backup" any more; still under way: backup\.1 '):
        host.engine.entry("backup")
    host.end(run, NOW + 2 * HOUR)
    with pytest.raises(Refused, match='there is no job "backup"'):
        host.engine.entry("backup")


def test_the_run_of_a_removed_job_can_be_stopped_by_its_id() -> None:
    host = Host(job())
    run = only(host.tick(NOW + HOUR))
    host.engine.configure({}, 100, "UTC", NOW + HOUR)
    assert host.engine.stop(run.run_id, NOW + HOUR) == [run.run_id]
    with pytest.raises(Refused, match='there is no job "backup"'):
        host.engine.stop("backup", NOW + HOUR)


@pytest.mark.parametrize("overlap", ["skip", "queue"])
def test_a_job_that_comes_back_meanwhile_still_has_its_run(overlap: Literal["skip", "queue"]) -> None:
    host = Host(job(overlap=overlap))
    run = only(host.tick(NOW + HOUR))
    host.engine.configure({}, 100, "UTC", NOW + HOUR + 1)
    host.engine.configure(host.config.jobs, 100, "UTC", NOW + HOUR + 2)
    assert host.tick(NOW + 2 * HOUR) == []
    after = host.end(run, NOW + 2 * HOUR + 1)
    assert dues(after) == ([2] if overlap == "queue" else [])
    assert host.saved(run).result == "success"
    assert host.engine.entry("backup").last == host.saved(run)
    assert dues([*host.tick(NOW + 3 * HOUR), *(host.end(after[0], NOW + 3 * HOUR) if after else [])]) == [3]


def test_a_job_that_comes_back_remembers_what_was_set_at_run_time() -> None:
    host = Host(job())
    host.engine.set_interval("backup", 3 * HOUR, NOW)
    host.engine.configure({}, 100, "UTC", NOW + 1)
    host.engine.configure(host.config.jobs, 100, "UTC", NOW + 2)
    assert host.engine.wakeup() == NOW + 3 * HOUR


# Draining


def test_nothing_starts_while_draining_and_what_waits_is_kept() -> None:
    host = Host(job(overlap="queue", retries=Retries(count=1)), job("next", After("backup")))
    run = only(host.tick(NOW + HOUR))
    host.tick(NOW + 2 * HOUR)
    host.engine.drain()
    assert host.engine.wakeup() is None
    assert host.tick(NOW + 3 * HOUR) == []
    with pytest.raises(Refused, match="agentd is stopping") as no:
        host.engine.run("next", NOW + 3 * HOUR)
    assert no.value.name == "Draining"
    host.engine.clock_stepped(HOUR, NOW + 4 * HOUR)
    assert host.end(run, NOW + 4 * HOUR) == []
    host = host.restart(now=NOW + 4 * HOUR + MINUTE)
    assert dues(host.starts()) == [2]


# Effects


def test_effects_that_are_stored_come_before_all_others() -> None:
    host = Host(
        job(overlap="replace", notify=("start", "success", "failure", "progress")), job("next", After("backup"))
    )
    groups: list[list[Effect]] = []
    run = host.tick(NOW + HOUR)[0]
    host.engine.started(run.run_id, NOW + HOUR)
    host.engine.progress(run.run_id, "half", NOW)
    host.engine.tick(NOW + 2 * HOUR)
    groups.append(host.take())
    host.engine.ended(run.run_id, SUCCESS, NOW + 2 * HOUR)
    groups.append(host.take())
    for effects in groups:
        kinds = [isinstance(effect, Stored) for effect in effects]
        assert kinds == sorted(kinds, reverse=True)
        assert True in kinds
        assert False in kinds
    assert host.take() == []


def test_a_start_is_stored_as_under_way_before_it_is_asked_for() -> None:
    host = Host(job())
    host.engine.tick(NOW + HOUR)
    effects = host.take()
    (start,) = [effect for effect in effects if isinstance(effect, RunStarts)]
    assert RunSaved(start.run) in effects[: effects.index(start)]
    assert any(isinstance(effect, JobSaved) and effect.state.handled == start.run.due for effect in effects)


def test_a_run_ends_as_whoever_ran_it_saw_it() -> None:
    host = Host(job())
    run = only(host.tick(NOW + HOUR))
    seen: dict[str, Any] = {
        "started": NOW + HOUR + 3,
        "ended": NOW + HOUR + 9,
        "cpu_usec": 5,
        "peak_memory": 7,
        "tail": "bye",
    }
    host.end(run, NOW + HOUR + 20, Outcome(result="signal", signal="SIGSEGV", **seen))
    saved = host.saved(run)
    assert {name: getattr(saved, name) for name in seen} == seen
    assert (saved.state, saved.result, saved.signal) == ("ended", "signal", "SIGSEGV")
    assert [effect.run for effect in host.of(RunChanged) if effect.event == "finished"] == [saved]
    assert host.end(run, NOW + HOUR + 30) == []  # a second end of the same run says nothing
    assert host.saved(run) == saved


def test_progress_is_stored_and_told() -> None:
    host = Host(job(notify=("progress",)))
    run = only(host.tick(NOW + HOUR))
    host.engine.progress(run.run_id, "40 %", NOW + HOUR)
    assert host.saved(run).progress == "40 %"
    assert [(effect.event, effect.run.progress) for effect in host.of(RunChanged)] == [("progress", "40 %")]
    assert [effect.text for effect in told(host)] == ["40 %"]
    host.end(run, NOW + HOUR)
    with pytest.raises(Refused, match=r"the run backup\.1 is not under way"):
        host.engine.progress(run.run_id, "50 %", NOW + HOUR)


def test_the_use_of_a_tool_is_progress_and_an_event_of_its_own() -> None:
    host = Host(job(notify=("tool",)))
    run = only(host.tick(NOW + HOUR))
    host.engine.progress(run.run_id, "looking for news", NOW + HOUR, "web-search")
    host.engine.progress(run.run_id, "3 of 7 done", NOW + HOUR + SECOND)
    host.engine.progress(run.run_id, "", NOW + HOUR + 2 * SECOND, "calendar")
    assert [(effect.event, effect.run.progress) for effect in host.of(RunChanged)] == [
        ("progress", "web-search: looking for news"),
        ("progress", "3 of 7 done"),
        ("progress", "calendar"),
    ]
    assert [(effect.event, effect.text) for effect in told(host)] == [
        ("tool", "web-search: looking for news"),
        ("tool", "calendar"),
    ]


@pytest.mark.parametrize("asked", [("start", "success", "failure"), ("failure",), ()])
@pytest.mark.parametrize(("result", "event"), [("success", "success"), ("timeout", "failure"), ("stopped", None)])
def test_people_are_told_of_the_events_that_they_asked_for(
    asked: tuple[Literal["start", "success", "failure"], ...], result: str, event: str | None
) -> None:
    host = Host(job(notify=asked))
    run = only(host.tick(NOW + HOUR))
    host.engine.started(run.run_id, NOW + HOUR)
    host.end(run, NOW + HOUR, Outcome(result=result))
    assert [effect.event for effect in told(host)] == [name for name in ("start", event) if name in asked]


def test_save_all_stores_everything_once_more() -> None:
    host, retry = failed_once(overlap="queue", concurrency=1)
    host.engine.run("backup", NOW + 61 * MINUTE)
    host.engine.run("backup", NOW + 61 * MINUTE)
    host.take()
    known = host.memory.saved()
    host.memory = Memory()
    host.engine.save_all()
    host.take()
    again = host.memory.saved()
    assert (again.states, again.open_runs, again.next_seq) == (known.states, known.open_runs, known.next_seq)
    assert {run.state for run in again.open_runs} == {"running", "queued"}
    assert retry in again.open_runs


# Jitter and boot


@given(st.text(max_size=8), st.text(min_size=1, max_size=8), st.integers(0, DAY))
def test_jitter_is_the_same_each_time_and_within_its_span(host: str, name: str, jitter: int) -> None:
    offset = jitter_offset(host, name, jitter)
    assert offset == jitter_offset(host, name, jitter)
    assert 0 <= offset <= max(0, jitter - 1)


def test_jitter_delays_each_due_time_by_the_same_and_differs_between_hosts_and_jobs() -> None:
    offsets = {jitter_offset(host, name, HOUR) for host in "abc" for name in "xyz"}
    assert len(offsets) == 9
    host = Host(job(when=Cron("0 * * * *"), jitter=10 * MINUTE), host="a")
    offset = jitter_offset("a", "backup", 10 * MINUTE)
    for hour in range(3):
        wakeup = host.engine.wakeup()
        assert wakeup == NOW + hour * HOUR + offset
        run = only(host.tick(wakeup))
        assert run.due == wakeup
        host.end(run, wakeup)


def test_a_boot_job_runs_once_after_each_boot() -> None:
    host = Host(job(when=Boot(2 * MINUTE)), boot=NOW - SECOND)
    host.end(only(host.tick(NOW + 2 * MINUTE)), NOW + 2 * MINUTE)
    assert host.engine.wakeup() is None
    host = host.restart(now=NOW + HOUR)
    assert (host.tick(NOW + HOUR), host.engine.wakeup()) == ([], None)
    host.engine.clock_stepped(-DAY, NOW - DAY)
    host.engine.clock_stepped(DAY, NOW)
    assert (host.tick(NOW + HOUR), host.engine.wakeup()) == ([], None)
    host = host.restart(now=NOW + DAY, boot=NOW + DAY - SECOND)
    assert dues(host.tick(NOW + DAY + 2 * MINUTE)) == [24]


@pytest.mark.parametrize("noise", range(-3, 4))
@pytest.mark.parametrize("away", [False, True], ids=["while agentd runs", "while agentd is away"])
def test_an_interval_is_never_due_at_an_instant_from_before_the_clock_was_set_back(noise: int, away: bool) -> None:
    host = Host(job(when=Every(HOUR)))
    seen, now = [], NOW
    for step in (4 * HOUR, -3 * HOUR, 2 * HOUR, -3 * HOUR, HOUR, -HOUR, -HOUR):
        delta = step + (noise if step < 0 else 0)
        now += delta
        if step < 0 and away:
            host = host.restart(now=now)
        elif step < 0:
            host.engine.clock_stepped(delta, now)
        for _ in range(step // HOUR):
            run = only(host.tick(wakeup)) if (wakeup := host.engine.wakeup()) is not None else None
            assert run is not None
            seen.append(run.due)
            host.end(run, run.due)
    assert len(seen) == len(set(seen))


def test_another_interval_is_not_due_either_at_an_instant_from_before_the_clock_was_set_back() -> None:
    host = Host(job(when=Every(2 * HOUR)))

    def take(count: int) -> list[int]:
        taken = []
        for _ in range(count):
            wakeup = host.engine.wakeup()
            assert wakeup is not None
            run = only(host.tick(wakeup))
            taken.append(run.due)
            host.end(run, run.due)
        return taken

    before = take(4)
    now = before[-1] - 5 * HOUR
    host.engine.clock_stepped(-5 * HOUR, now)
    host.engine.set_interval("backup", HOUR, now)
    assert set(before).isdisjoint(take(10))


def test_nothing_starts_while_anybody_holds_the_jobs() -> None:
    host = Host(job())
    host.engine.hold("rules", "a rule paused the jobs")
    host.engine.hold("reboots", "the machine is about to reboot")
    host.engine.release("reboots", NOW + MINUTE)  # the reboot was cancelled
    assert host.engine.held == "a rule paused the jobs"
    assert host.tick(NOW + HOUR) == []
    with pytest.raises(Refused, match="a rule paused the jobs"):
        host.engine.run("backup", NOW + HOUR)
    host.engine.release("rules", NOW + HOUR + MINUTE)
    assert [run.due for run in host.starts()] == [NOW + HOUR]
    assert host.engine.held == ""


def test_a_release_by_somebody_who_holds_nothing_changes_nothing() -> None:
    host = Host(job())
    host.engine.hold("rules", "a rule paused the jobs")
    host.engine.release("reboots", NOW + HOUR)
    assert (host.starts(), host.engine.held) == ([], "a rule paused the jobs")


def test_the_next_times_of_a_job_end_before_the_calendars_do() -> None:
    entry = Host(job(when=Every(36500 * DAY))).engine.entry("backup")
    times = [NOW]
    while (due := _due_after(entry, times[-1])) is not None:
        times.append(due)
    assert len(times) - 1 == (9000 - 2027) * 365 // 36500
    assert times == sorted(set(times))
