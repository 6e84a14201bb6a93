"""The decisions about what a person wanted name the person."""

from collections.abc import Callable

import pytest

from agentd.core.jobs.jobs import Jobs
from agentd.core.jobs.triggers import Adaptive
from agentd.core.part import Decided
from agentd.core.quantities import HOUR, MINUTE
from tests.unit.jobs.test_jobs import NOW, Host, job

WISHES: dict[str, tuple[Callable[[Jobs, str], object], list[tuple[str, str]]]] = {
    "run": (lambda jobs, by: jobs.run("backup", NOW, by=by), [("start", "asked to run by alice")]),
    "disable": (
        lambda jobs, by: jobs.set_enabled("backup", enabled=False, now=NOW, by=by),
        [("disable", "disabled by hand (by alice)")],
    ),
    "enable": (
        lambda jobs, by: jobs.set_enabled("backup", enabled=True, now=NOW, by=by),
        [("enable", "enabled by hand (by alice)")],
    ),
    "reset": (lambda jobs, by: jobs.reset("backup", NOW, by), [("reset", "back to the configuration (by alice)")]),
    "set": (
        lambda jobs, by: jobs.set_interval("backup", 2 * HOUR, NOW, by),
        [("interval", "set to every 2h (by alice)")],
    ),
}


@pytest.mark.parametrize("wish", WISHES)
def test_a_wish_is_a_decision_with_the_name_of_whose_it_is(wish: str) -> None:
    host = Host(job())
    carry_out, expected = WISHES[wish]
    carry_out(host.engine, "alice")
    decided = host.of(Decided)
    assert [(one.kind, one.reason) for one in decided] == expected
    assert {one.by for one in decided} == {"alice"}


def test_steps_and_preferences_of_an_adaptive_job_name_the_person() -> None:
    host = Host(job(when=Adaptive(HOUR, MINUTE, 24 * HOUR)))
    host.engine.step_interval("backup", 1, NOW, "alice")
    host.engine.step_interval("backup", -1, NOW, "bob")
    host.engine.prefer("backup", 2, NOW, "carol")
    decided = host.of(Decided)
    assert [one.by for one in decided] == ["alice", "bob", "carol"]
    assert [one.reason.rpartition(" (")[2] for one in decided] == ["by alice)", "by bob)", "by carol)"]


def test_a_stop_names_who_asked_for_it_for_what_runs_and_for_what_waits() -> None:
    host = Host(job(overlap="queue"))
    runs = [host.engine.run("backup", NOW), host.engine.run("backup", NOW)]
    host.take()
    host.engine.stop("backup", NOW, "alice")
    stops = [one for one in host.of(Decided) if one.kind == "stop"]
    assert {one.run_id for one in stops} == {run.run_id for run in runs}
    assert {(one.reason, one.by) for one in stops} == {("asked to stop by alice", "alice")}


def test_where_nobody_is_known_nobody_is_named_and_a_rule_is_no_person() -> None:
    host = Host(job(), job("other"))
    host.engine.run("backup", NOW)
    host.engine.run("other", NOW, "rule")  # which has a decision of its own
    host.engine.stop("backup", NOW)
    assert [(one.reason, one.by) for one in host.of(Decided)] == [("asked to run", ""), ("asked to stop", "")]
