"""How the jobs do, as KPIs have it."""

import pytest
from msgspec.structs import replace

from agentd.core.jobs.model import Run
from agentd.core.quantities import HOUR, MINUTE, SECOND
from agentd.core.rules.work import Watch, WorkMemory
from tests.unit.rules.test_rules import NOW, Jobs


def run(result: str = "success", job: str = "backup", ended: int = NOW, seq: int = 1) -> Run:
    return Run(seq=seq, job=job, due=NOW, cause="schedule", state="ended", result=result, ended=ended)


def test_a_share_of_failures_needs_five_runs_that_ended() -> None:
    watch = Watch(Jobs(), WorkMemory(), NOW)
    for result in ("exit-code", "success", "timeout", "success"):
        watch.ended(run(result), NOW)
    assert watch.work(NOW).failed is None
    watch.ended(run("success"), NOW)
    assert watch.work(NOW).failed == 40.0


@pytest.mark.parametrize("result", ["stopped", "cancelled"])
def test_what_somebody_stopped_is_neither_success_nor_failure(result: str) -> None:
    watch = Watch(Jobs(), WorkMemory(), NOW)
    watch.ended(run("exit-code"), NOW)
    for _ in range(9):
        watch.ended(run(result), NOW)
    assert watch.work(NOW).failed is None
    assert watch.job("backup", NOW).failures == 1


def test_runs_count_for_an_hour() -> None:
    watch = Watch(Jobs(), WorkMemory(), NOW)
    for _ in range(6):
        watch.ended(run("exit-code"), NOW)
    assert watch.work(NOW + 58 * MINUTE).failed == 100.0
    assert watch.work(NOW + 61 * MINUTE).failed is None


def test_a_number_per_hour_is_of_the_time_that_was_watched() -> None:
    watch = Watch(Jobs(), WorkMemory(), NOW)
    for minute in range(10):
        watch.ended(run(), NOW + minute * MINUTE)
    assert watch.work(NOW + 4 * MINUTE).per_hour is None
    assert watch.work(NOW + 10 * MINUTE).per_hour == 60.0
    assert watch.work(NOW + 50 * MINUTE).per_hour == 12.0


def test_failures_in_a_row_and_the_last_success_are_known_of_each_job() -> None:
    watch = Watch(Jobs(), WorkMemory(), NOW)
    assert (watch.job("backup", NOW).failures, watch.job("backup", NOW).since_success) == (0, None)
    watch.ended(run(), NOW)
    for _ in range(3):
        watch.ended(run("exit-code"), NOW + HOUR)
    watch.ended(run("exit-code", job="other"), NOW)
    assert (watch.job("backup", NOW + HOUR).failures, watch.job("backup", NOW + HOUR).since_success) == (3, 3600.0)
    assert watch.job("other", NOW).failures == 1
    watch.ended(run(ended=NOW + 2 * HOUR), NOW + 2 * HOUR)
    assert watch.job("backup", NOW + 2 * HOUR).failures == 0


def test_all_of_it_outlives_a_restart_but_not_the_time_that_nobody_watched() -> None:
    watch = Watch(Jobs(), WorkMemory(), NOW)
    for minute in range(30):
        watch.ended(run("exit-code"), NOW + minute * MINUTE)
    now = NOW + 30 * MINUTE
    soon = Watch(Jobs(), watch.memory(now), now + MINUTE)
    assert soon.work(now + MINUTE).failed == 100.0
    assert soon.work(now + MINUTE).per_hour == pytest.approx(30 * 60 / 31)
    assert soon.job("backup", now).failures == 30
    late = Watch(Jobs(), watch.memory(now), now + 20 * MINUTE)
    assert late.work(now + 20 * MINUTE).per_hour is None


def test_a_job_that_ended_before_rules_were_there_is_known_by_its_last_run() -> None:
    jobs = Jobs()
    jobs.runs = [run("exit-code")]
    assert Watch(jobs, WorkMemory(), NOW).job("backup", NOW).failures == 1


def test_runs_that_wait_are_counted_with_how_long_the_first_has_waited() -> None:
    jobs = Jobs()
    queued = replace(run(), state="queued", result="", ended=0)
    jobs.runs = [queued, replace(queued, due=NOW - 30 * SECOND), replace(queued, not_before=NOW + HOUR), run()]
    work = Watch(jobs, WorkMemory(), NOW).work(NOW)
    assert (work.queued, work.oldest) == (2, 30.0)


def test_jobs_that_are_no_more_are_forgotten() -> None:
    watch = Watch(Jobs(), WorkMemory(), NOW)
    watch.ended(run("exit-code"), NOW)
    watch.keep(["other"])
    assert watch.memory(NOW).jobs == {}
