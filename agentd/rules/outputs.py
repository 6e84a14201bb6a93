"""The last line that a run printed: from its file, or from the journal."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from agentd.core.jobs.model import Run
from agentd.peers.journal import last_lines

_END = 64 << 10
"""Bytes at the end of a file that are looked at."""
_LINES = 20  # of the journal: a job's last lines may be empty

LastLine = Callable[[Run], Awaitable[str]]


def from_files(folder: Path) -> LastLine:
    """Returns what reads the last line from the files of runs' output; "" where there is none."""

    def read(run: Run) -> str:
        try:
            # A Path would intern the name, see jobs/output.py.
            with open(f"{folder}/{run.run_id}.log", "rb") as file:  # noqa: PTH123
                file.seek(max(0, file.seek(0, os.SEEK_END) - _END))
                return _last(file.read().decode(errors="replace").splitlines())
        except OSError:
            return ""

    return lambda run: asyncio.to_thread(read, run)


def from_journal() -> LastLine:
    """Returns what reads the last line from the journal; "" where there is none, or where agentd may not read it."""

    return lambda run: asyncio.to_thread(lambda: _last(last_lines(run, _LINES)))


def _last(lines: list[str]) -> str:
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
