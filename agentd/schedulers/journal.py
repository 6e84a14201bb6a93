"""The reason of an end, from the journal: the kernel's lines about schedulers and what the scheduler's unit printed.

agentd reads both by its group systemd-journal. What the journal does not have yet is waited for, a few seconds at most.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import Struct

from agentd.core.schedulers import endings
from agentd.core.schedulers.model import Ending, Exit
from agentd.linux import now

PAUSES = (0.05, 0.15, 0.3, 0.5, 0.5, 0.5)
"""Seconds between the looks into the journal, together less than the core waits for a reason."""
_LINES = 400  # of each kind; a scheduler prints a dump before it says why it ended
_ENTRIES = 20_000  # of the kernel that are looked through
_LONGEST = 2000  # characters of a line
_LATE = 2.0  # seconds by which the journal may have a line later than it was printed


class Found(Struct, frozen=True):
    """The end of a scheduler, and when the kernel said so, in microseconds since 1970 (0: not known)."""

    ending: Ending
    told: int = 0


class Lines(Struct, frozen=True):
    """Lines of the journal, the oldest first; `told` are the instants of those of the kernel, in microseconds."""

    kernel: tuple[str, ...] = ()
    told: tuple[int, ...] = ()
    output: tuple[str, ...] = ()


def reader() -> Any:
    """Returns a reader of this machine's journal. Raises OSError."""
    from systemd import journal  # noqa: PLC0415 - only where a scheduler ended

    return journal.Reader()


def read(unit: str, since: int, until: int, open_: Callable[[], Any] = reader) -> Lines:
    """Returns what the journal has of schedulers between two instants (microseconds since 1970; `until` 0: now): of the
    kernel, and of a unit ("": of none). Is to be called on a thread. Raises OSError."""
    kernel, told, output = [], [], []
    offset = time.time() - time.monotonic()
    for entry in _entries(open_, {"_TRANSPORT": "kernel"}, since, until):
        line = _text(entry)
        if "sched_ext: " in line:
            kernel.append(line)
            told.append(_instant(entry, offset))
            if len(kernel) >= _LINES:
                break
    if unit:
        for entry in _entries(open_, {"_SYSTEMD_UNIT": unit}, since, until):
            output.append(_text(entry))
            if len(output) >= _LINES:
                break
    return Lines(tuple(kernel[::-1]), tuple(told[::-1]), tuple(output[::-1]))


async def why(
    unit: str,
    ops: str,
    since: int,
    until: int = 0,
    process: Exit | None = None,
    *,
    look: Callable[[str, int, int], Lines] = read,
) -> Found:
    """Returns why a scheduler ended that began at `since` and was gone at `until` (0: a moment ago). `unit` is empty
    for one that somebody else loaded; `process` is how systemd says that the unit ended.

    Where agentd may not read the journal, the reason is what systemd knows.
    """

    def conclude() -> tuple[Found, bool]:
        """Returns what is known now, and whether it is all that there will be. Runs on a thread: lines may be many."""
        try:
            lines = look(unit, since, until)
        except OSError:
            return Found(endings.ending((), (), process, ops)), True
        at, printed = endings.last_end(lines.kernel, ops), endings.of_output(lines.output)
        found = Found(endings.ending(lines.kernel, lines.output, process, ops), lines.told[at] if at >= 0 else 0)
        return found, at >= 0 or (printed is not None and printed.kind == "refused")

    found, whole = await asyncio.to_thread(conclude)
    for pause in PAUSES:
        if whole:
            break
        await asyncio.sleep(pause)
        found, whole = await asyncio.to_thread(conclude)
    return found


def _entries(open_: Callable[[], Any], matches: Mapping[str, str], since: int, until: int) -> Any:
    """Yields the entries that match, the newest first."""
    first = datetime.fromtimestamp(since / 1e6, UTC)
    with open_() as journal:
        journal.this_boot()
        journal.add_match(**matches)
        if until and now() - until > _LATE * 1e6:
            journal.seek_realtime(until / 1e6 + _LATE)
        else:
            journal.seek_tail()
        for _ in range(_ENTRIES):
            entry = journal.get_previous()
            if not entry or entry["__REALTIME_TIMESTAMP"].astimezone(UTC) < first:
                return
            yield entry


def _text(entry: Mapping[str, Any]) -> str:
    message = entry.get("MESSAGE", "")
    text = message.decode(errors="replace") if isinstance(message, bytes) else str(message)
    return text[:_LONGEST]


def _instant(entry: Mapping[str, Any], offset: float) -> int:
    """Returns when the kernel printed a line: its own clock tells, the journal gets the line later. `offset` is how far
    the wall clock is before the monotonic one, in seconds."""
    printed = entry.get("_SOURCE_MONOTONIC_TIMESTAMP")
    if isinstance(printed, timedelta):
        return round((printed.total_seconds() + offset) * 1e6)
    came: datetime = entry["__REALTIME_TIMESTAMP"]
    return round(came.timestamp() * 1e6)
