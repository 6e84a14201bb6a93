"""A look at what a run left: its output, from its file or from the journal, or a file that it watches."""

import asyncio
import errno
import os
import stat
from collections.abc import Awaitable, Callable
from itertools import chain, islice
from pathlib import Path

from agentd.core.jobs.model import Run
from agentd.core.learning import outcomes
from agentd.peers.journal import unnamed

_SETTLES = 1.0  # seconds until the journal has the last lines of a run that has just ended
_ENTRIES = 10_000  # of the journal, that are looked at

Output = Callable[[Run], Awaitable[bytes]]
"""Reads the beginning of a run's output. Raises OSError."""


def from_files(folder: Path, is_kept: Callable[[Run], bool]) -> Output:
    """Returns what reads the files of runs' output; a run without a file printed nothing. `is_kept` tells whether the
    file has what the run printed, or the disk was too full for that."""

    def read(run: Run) -> bytes:
        if not is_kept(run):
            raise OSError(errno.ENOSPC, "the disk was too full to keep it")
        try:
            with (folder / f"{run.run_id}.log").open("rb") as file:
                return file.read(outcomes.MOST)
        except FileNotFoundError:
            return b""

    return lambda run: asyncio.to_thread(read, run)


def from_journal() -> Output:
    """Returns what reads the output of runs from the journal."""

    def read(run: Run) -> bytes:
        from systemd import journal  # noqa: PLC0415 - only where a job's output is watched

        lines, size = [], 0
        with journal.Reader() as reader:
            reader.add_match(_SYSTEMD_INVOCATION_ID=run.invocation)
            first = next(reader, None)
            found = chain([first], reader) if first else reversed([*islice(unnamed(reader, run), _ENTRIES)])
            for entry in islice(found, _ENTRIES):
                message = entry.get("MESSAGE", "")
                lines.append(message if isinstance(message, bytes) else str(message).encode())
                size += len(lines[-1]) + 1
                if size >= outcomes.MOST:
                    break
        return b"\n".join(lines)

    async def settled(run: Run) -> bytes:
        if not run.invocation:
            raise OSError("systemd told no invocation of the run")
        await asyncio.sleep(_SETTLES)
        return await asyncio.to_thread(read, run)

    return settled


async def mark(run: Run, watch: outcomes.Watch, output: Output) -> str:
    """Returns what is there now as text that tells one content from another. Raises OSError."""
    if watch.kind == "file":
        return await asyncio.to_thread(mark_of_file, Path(watch.path))
    return await asyncio.to_thread(outcomes.mark_of_output, await output(run), run.run_id)


def mark_of_file(path: Path) -> str:
    """Returns a text that tells one content of a file from another: by the content where it is small and agentd may
    read it, else by size and time of change. A file that is not there is a content as well. Raises OSError."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return "absent"
    seen = f"{found.st_ino} {found.st_size} {found.st_mtime_ns}"
    if stat.S_ISREG(found.st_mode) and found.st_size <= outcomes.MOST:
        try:
            # Whoever may write there may have put a pipe in its place meanwhile, which nobody ever ends.
            with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
                return outcomes.mark(file.read(outcomes.MOST + 1))
        except PermissionError:
            return seen
    return seen
