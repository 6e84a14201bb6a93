"""A run of no job, which shows the self-test that runs begin and end, and that their ends are heard of."""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from agentd.core.jobs.model import Outcome, Run
from agentd.core.jobs.unitfile import CANARY
from agentd.part import CheckFailed

if TYPE_CHECKING:
    from agentd.jobs.part import Executor


class Canary:
    """Has the executor run CANARY. Neither the core nor the store hears of such a run, and people do not see it."""

    def __init__(self, executor: "Executor", now: Callable[[], int]) -> None:
        self._executor = executor
        self._now = now
        self._ends: dict[str, asyncio.Future[Outcome]] = {}

    @staticmethod
    def is_one(run_id: str) -> bool:
        """Tells whether a run is one of the canary."""
        return run_id.startswith(f"{CANARY.name}.")

    async def fly(self) -> str:
        """Starts a run and waits for its end. Raises CheckFailed."""
        due, begin = self._now(), time.monotonic()
        run = Run(seq=due, job=CANARY.name, due=due, cause="manual", state="running")
        end = self._ends[run.run_id] = asyncio.get_running_loop().create_future()
        try:
            self._executor.start(run, CANARY)
            outcome = await end
        except asyncio.CancelledError:  # it took too long
            self._executor.stop(run.run_id, "stopped")
            raise
        if outcome.result != "success":
            raise CheckFailed(f"a run of {CANARY.run[0]} ended with {outcome.result}: {outcome.reason or 'no reason'}")
        return f"a run of {CANARY.run[0]} began and ended within {time.monotonic() - begin:.2f} s"

    def ended(self, run_id: str, outcome: Outcome) -> None:
        """Takes the end of a run."""
        self._executor.stored(run_id)
        if self._executor.output is not None:
            (self._executor.output / f"{run_id}.log").unlink(missing_ok=True)
        end = self._ends.pop(run_id, None)
        if end is not None and not end.done():
            end.set_result(outcome)
