"""A job that follows another: due when the other succeeded, and only then."""

from pathlib import Path

import pytest
from msgspec import structs

from agentd.config import files
from agentd.config.problems import Problems
from agentd.core.jobs.jobs import Jobs
from agentd.core.jobs.model import Outcome, Run, RunStarts, Saved
from agentd.core.jobs.settings import Job, Retries
from agentd.core.jobs.triggers import After, Every
from agentd.core.part import Decided
from agentd.core.quantities import SECOND

JOBS = (
    Job(name="first", run=("x",), when=Every(60 * SECOND), timezone="UTC"),
    Job(name="second", run=("x",), when=After("first"), timezone="UTC"),
    Job(name="third", run=("x",), when=After("second"), timezone="UTC"),
)


def started(engine: Jobs) -> list[Run]:
    return [effect.run for effect in engine.effects() if isinstance(effect, RunStarts)]


def engine_with(*jobs: Job) -> Jobs:
    engine = Jobs({job.name: job for job in jobs}, Saved(), 0)
    engine.tick(60 * SECOND)
    return engine


def test_success_starts_the_follower_and_then_the_one_that_follows_it() -> None:
    engine = engine_with(*JOBS)
    order = []
    now = 60 * SECOND
    while runs := started(engine):
        for run in runs:
            now += SECOND
            order.append((run.job, run.cause, run.due))
            engine.ended(run.run_id, Outcome(result="success"), now)
    assert order == [
        ("first", "schedule", 60 * SECOND),
        ("second", "after", 61 * SECOND),
        ("third", "after", 62 * SECOND),
    ]


@pytest.mark.parametrize("result", ["exit-code", "timeout", "stopped", "start-failed"])
def test_anything_but_success_starts_no_follower(result: str) -> None:
    engine = engine_with(*JOBS)
    (run,) = started(engine)
    engine.ended(run.run_id, Outcome(result=result), 61 * SECOND)
    assert started(engine) == []


def test_a_disabled_follower_stays_off() -> None:
    engine = engine_with(*JOBS)
    engine.set_enabled("second", enabled=False, now=60 * SECOND)
    (run,) = started(engine)
    engine.ended(run.run_id, Outcome(result="success"), 61 * SECOND)
    assert started(engine) == []


def test_a_follower_has_no_due_time_of_its_own() -> None:
    engine = Jobs({JOBS[1].name: JOBS[1]}, Saved(), 0)
    assert engine.wakeup() is None


@pytest.mark.parametrize(
    ("jobs", "error"),
    [
        (
            "  a: {run: x}\n  b: {run: x, when: {after: aa}}\n",
            '3:29: jobs.b.when.after: there is no job "aa" (did you mean a?)',
        ),
        (
            "  a: {run: x, when: {after: a}}\n",
            "2:29: jobs.a.when.after: the jobs go round in a circle: a after a",
        ),
        (
            "  a: {run: x, when: {after: b}}\n  b: {run: x, when: {after: a}}\n",
            "2:29: jobs.a.when.after: the jobs go round in a circle: a after b after a",
        ),
    ],
    ids=["unknown job", "itself", "circle"],
)
def test_a_follower_of_nothing_or_of_itself_is_refused(tmp_path: Path, jobs: str, error: str) -> None:
    file = tmp_path / "agentd.yaml"
    file.write_text("jobs:\n" + jobs)
    with pytest.raises(Problems) as caught:
        files.load(file)
    assert str(caught.value.found[0]) == f"{file}:{error}"


def skips(engine: Jobs) -> list[tuple[str, str]]:
    return [(one.about, one.reason) for one in engine.effects() if isinstance(one, Decided) and one.kind == "skip"]


@pytest.mark.parametrize(
    ("outcome", "how"),
    [
        (Outcome(result="exit-code", exit_code=1), "exit-code 1"),
        (Outcome(result="signal", signal="SIGKILL"), "signal SIGKILL"),
        (Outcome(result="timeout"), "timeout"),
        (Outcome(result="stopped"), "stopped"),
    ],
)
def test_a_follower_is_told_once_why_it_does_not_run(outcome: Outcome, how: str) -> None:
    engine = engine_with(*JOBS)
    (run,) = started(engine)
    engine.ended(run.run_id, outcome, 61 * SECOND)
    reason = f"first.1 ended with {how}: nothing to follow"
    assert skips(engine) == [("second", reason)]  # and not the one that follows that
    assert engine.entry("second").state.last_skip == reason


def test_a_follower_is_told_nothing_before_the_last_attempt() -> None:
    engine = engine_with(structs.replace(JOBS[0], retries=Retries(count=1, backoff=SECOND)), JOBS[1])
    (run,) = started(engine)
    engine.ended(run.run_id, Outcome(result="timeout"), 61 * SECOND)
    assert skips(engine) == []
    engine.tick(62 * SECOND)
    (again,) = started(engine)
    engine.ended(again.run_id, Outcome(result="timeout"), 63 * SECOND)
    assert skips(engine) == [("second", "first.2 ended with timeout: nothing to follow")]


def test_a_disabled_follower_is_told_only_where_it_would_have_run() -> None:
    engine = engine_with(JOBS[0], structs.replace(JOBS[1], enabled=False))
    (run,) = started(engine)
    engine.ended(run.run_id, Outcome(result="timeout"), 61 * SECOND)
    assert skips(engine) == []
    engine.tick(120 * SECOND)
    (run,) = started(engine)
    engine.ended(run.run_id, Outcome(result="success"), 121 * SECOND)
    assert skips(engine) == [("second", "not after first.2: disabled in the configuration")]


def test_while_agentd_stops_nothing_is_said_to_have_nothing_to_follow() -> None:
    engine = engine_with(*JOBS)
    (run,) = started(engine)
    engine.drain()
    engine.ended(run.run_id, Outcome(result="interrupted"), 61 * SECOND)
    assert skips(engine) == []
