"""The last lines that a run printed, as people are told them."""

import asyncio
from collections.abc import Awaitable, Callable

from agentd.core.jobs.model import Run
from agentd.core.part import Refused
from agentd.jobs.tables import list_runs
from agentd.part import Host

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
        if not runs[0].invocation:
            return ""
        await asyncio.sleep(_SETTLES)
        return await asyncio.to_thread(_of_journal, runs[0].invocation)

    return find


def _of_journal(invocation: str) -> str:
    """Returns the last lines of a unit's start; "" where there are none, or where agentd may not read them."""
    from systemd import journal  # noqa: PLC0415 - only where a message has lines in it

    try:
        with journal.Reader() as reader:
            reader.add_match(_SYSTEMD_INVOCATION_ID=invocation)
            reader.seek_tail()
            entries = [reader.get_previous() for _ in range(MOST)]
    except OSError:
        return ""
    return "\n".join(_text(entry.get("MESSAGE", "")) for entry in reversed(entries) if entry)


def _text(message: object) -> str:
    return message.decode(errors="replace") if isinstance(message, bytes) else str(message)
