"""Output: JSON, tables (rich on a terminal, aligned text in a pipe) and single lines."""

import codecs
import os
import sys
from collections.abc import Collection, Iterable, Sequence

from agentctl.client import Record, safe
from agentctl.times import iso

_STYLES = {
    "running": "cyan",
    "queued": "cyan",
    "retrying": "yellow",
    "disabled": "dim",
    "success": "green",
    "stopped": "yellow",
    "cancelled": "yellow",
    **dict.fromkeys(
        ("exit-code", "signal", "core-dump", "timeout", "oom-kill", "interrupted", "start-failed"),
        "red",
    ),
    # of reboots
    **dict.fromkeys(("announced", "draining", "locked", "issued", "rebooting"), "cyan"),
    "verified": "green",
    **dict.fromkeys(("waiting", "deferred", "superseded"), "yellow"),
    "overdue": "bold red",
}
_STYLED = {"STATE", "LAST", "RESULT"}
_COLOURS = {"red": 31, "green": 32, "yellow": 33, "cyan": 36}


def picked(record: Record, *keys: str, instants: Collection[str] = ()) -> Record:
    """Returns these keys of a record for JSON: `instants` as ISO 8601, null for what is missing."""
    return {key: iso(record.get(key)) if key in instants else record.get(key) for key in keys}


def size(count: int) -> str:
    """Returns bytes for a person, in powers of 1024: "512 B", "1.4 MiB"."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def print_json(value: object) -> None:
    """Prints one JSON document in ASCII, so that no text in it can steer a terminal."""
    import json

    echo(json.dumps(value, indent=2))


def echo(text: str = "", *, err: bool = False) -> None:
    """Prints a text and ends the line, at once, as click does it: where Python takes the output for one of ASCII it
    was told nothing better, and UTF-8 is written; an output that is closed from the start gets nothing."""
    stream = getattr(sys, "stderr" if err else "stdout")
    if stream is None:
        return
    if codecs.lookup(stream.encoding or "ascii").name == "ascii":
        stream.buffer.write(f"{text}\n".encode(errors="replace"))
    else:
        stream.write(f"{text}\n")
    stream.flush()


def print_line(text: str, colour: str | None = None, bold: bool = False) -> None:
    """Prints one line, coloured on a terminal only, and there only where NO_COLOR is not set."""
    text = safe(text)
    if _on_terminal() and not os.environ.get("NO_COLOR"):
        begin = f"\x1b[{_COLOURS[colour]}m" if colour else ""
        text = f"{begin}\x1b[{1 if bold else 22}m{text}\x1b[0m"
    echo(text)


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a table, whose cells may hold any text."""
    cells = [[safe(cell) for cell in row] for row in rows]
    if _on_terminal():
        _print_rich(header, cells)
    else:
        _print_plain(header, cells)


def _on_terminal() -> bool:
    """Tells whether stdout is a terminal; there may be none."""
    return bool(getattr(sys.stdout, "isatty", bool)())


def _print_plain(header: Sequence[str], rows: list[list[str]]) -> None:
    lines = [tuple(header), *map(tuple, rows)]
    line = "  ".join(f"%-{max(map(len, column))}s" for column in zip(*lines, strict=True))
    # At once: a write for each of 10,000 lines takes 0.03 s of processor time.
    echo("\n".join([(line % cells).rstrip() for cells in lines]))


def _print_rich(header: Sequence[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in header:
        table.add_column(title, overflow="fold")
    for row in rows:
        # Text, not str: a job's name or output is never read as markup.
        table.add_row(*(Text(cell, style=_style(title, cell)) for title, cell in zip(header, row, strict=True)))
    Console(highlight=False).print(table)


def _style(title: str, cell: str) -> str:
    word = cell.replace(":", " ").replace(",", " ").partition(" ")[0]
    return _STYLES.get(word, "") if title in _STYLED else ""
