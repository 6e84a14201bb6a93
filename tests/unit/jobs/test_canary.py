"""The run of the self-test: the executor runs it as any other, and nobody else hears of it."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from agentd.core.jobs import unitfile
from agentd.core.jobs.model import Outcome
from agentd.core.jobs.unitfile import CANARY
from agentd.part import CheckFailed
from tests.unit.jobs.test_part import NOW, Executor, carry_out, plugged

UNIT = Path(__file__).parents[3] / "units" / unitfile.unit(CANARY.name)


async def fly(report: Callable[[str], object], executor: Executor, look: Callable[[], Awaitable[str]]) -> str:
    """Runs the check; `report` gets the id of its run and tells of it."""
    flight = asyncio.ensure_future(look())
    await asyncio.sleep(0)
    (run,) = executor.runs
    report(run.run_id)
    return await flight


def test_a_run_that_ends_well_passes_and_neither_core_nor_store_hears_of_it() -> None:
    _, executor, shell, part = plugged()
    (check,) = [one for one in part.checks() if one.name == "canary"]

    def report(run_id: str) -> None:
        shell.started(run_id, NOW)
        shell.ended(run_id, Outcome(result="success", exit_code=0))

    assert asyncio.run(fly(report, executor, check.look)).startswith("a run of /bin/true began and ended within 0.0")
    assert executor.done == [f"@canary.{NOW}"]
    assert carry_out(shell, part) == []
    assert list(shell.core.entries) == ["q"]


def test_every_self_test_has_a_run_also_one_that_a_rule_triggers() -> None:
    _, _, _, part = plugged()
    assert [check.name for check in part.checks() if check.full] == []


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (Outcome(result="start-failed", reason="no systemd"), "start-failed: no systemd"),
        (Outcome(result="timeout"), "timeout: no reason"),
    ],
)
def test_a_run_that_fails_is_told_with_its_reason(outcome: Outcome, told: str) -> None:
    _, executor, shell, part = plugged()
    (check,) = [one for one in part.checks() if one.name == "canary"]
    with pytest.raises(CheckFailed, match=f"a run of /bin/true ended with {told}"):
        asyncio.run(fly(lambda run_id: shell.ended(run_id, outcome), executor, check.look))
    assert carry_out(shell, part) == []


def test_a_run_that_takes_too_long_is_stopped_and_its_end_is_nothing_later() -> None:
    _, executor, shell, part = plugged()
    (check,) = [one for one in part.checks() if one.name == "canary"]

    async def main() -> None:
        flight = asyncio.ensure_future(check.look())
        await asyncio.sleep(0)
        flight.cancel()
        with pytest.raises(asyncio.CancelledError):
            await flight
        (run,) = executor.runs
        assert executor.stopped == [run.run_id]
        shell.ended(run.run_id, Outcome(result="stopped"))

    asyncio.run(main())


def test_its_unit_is_the_one_that_a_job_would_have() -> None:
    wanted = unitfile.text(CANARY, CANARY.name)
    assert UNIT.read_text().partition("[Unit]")[2] == wanted.partition("[Unit]")[2]
    assert unitfile.unit(CANARY.name) not in dict(unitfile.units({}))
