"""systemd's journal: the lines that a run wrote."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from agentd.core.jobs.model import Run
from agentd.core.jobs.unitfile import is_unit_of
from agentd.core.quantities import SECOND

_LATE = SECOND
"""Microseconds after the end of a run until when lines of it are looked for."""


def last_lines(run: Run, number: int) -> list[str]:
    """Returns the last lines of a run: at most so many, the oldest first, and none where agentd may not read them.
    Reading may take a while."""
    from systemd import journal  # noqa: PLC0415 - only where lines of a job are wanted

    if not run.invocation:
        return []
    try:
        with journal.Reader() as reader:
            reader.add_match(_SYSTEMD_INVOCATION_ID=run.invocation)
            reader.seek_tail()
            entries = [*islice(_back(reader), number)] or [*islice(unnamed(reader, run), number)]
    except OSError:
        return []
    return [_text(entry.get("MESSAGE", "")) for entry in reversed(entries)]


def unnamed(reader: Any, run: Run) -> Iterator[dict[str, Any]]:
    """Yields the entries of a run that do not say so, the newest first, for whoever found none that does.

    journald looks for the invocation when it takes the first line. By then a short run on a busy machine has ended, and
    the unit is all that is known of it. Where a job may have several runs at once, lines may be those of one beside it.
    """
    reader.flush_matches()
    reader.add_match(SYSLOG_IDENTIFIER=run.job)
    reader.seek_realtime((run.ended + _LATE) / SECOND)
    for entry in _back(reader):
        if entry["__REALTIME_TIMESTAMP"].timestamp() < run.started / SECOND:
            return
        if "_SYSTEMD_INVOCATION_ID" not in entry and is_unit_of(str(entry.get("_SYSTEMD_UNIT", "")), run.job):
            yield entry


def _back(reader: Any) -> Iterator[dict[str, Any]]:
    while entry := reader.get_previous():
        yield entry


def _text(message: object) -> str:
    return message.decode(errors="replace") if isinstance(message, bytes) else str(message)
