"""The last lines that a run printed, as people are told them."""

import asyncio
from collections.abc import Awaitable, Callable

from agentd.core.jobs.model import Run
from agentd.core.part import Refused
from agentd.jobs.tables import list_runs
from agentd.part import Host
from agentd.peers.journal import last_lines as journalled

MOST = 10
"""Lines at most."""
_SETTLES = 1.0  # seconds until the journal has the last lines of a run that has just ended


def last_lines(host: Host, *, journal: bool) -> Callable[[str], Awaitable[str]]:
    """Returns what finds the last lines that a run printed, by its id: in the `journal`, or with the run; "" where
    there are none."""

    async def find(run_id: str) -> str:
        job, _, number = run_id.rpartition(".")
        try:
            runs: list[Run] = await host.ask(list_runs, job=job, seq=int(number))
        except (Refused, ValueError):
            return ""
        if not runs:
            return ""
        if not journal:
            return "\n".join(runs[0].tail.splitlines()[-MOST:])
        await asyncio.sleep(_SETTLES)
        return "\n".join(await asyncio.to_thread(journalled, runs[0], MOST))

    return find
