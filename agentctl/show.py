"""Output: JSON, tables (rich on a terminal, aligned text in a pipe) and single lines."""

import sys
from collections.abc import Collection, Iterable, Sequence

import click

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

    click.echo(json.dumps(value, indent=2))


def print_line(text: str, colour: str | None = None, bold: bool = False) -> None:
    """Prints one line, coloured on a terminal only."""
    click.secho(safe(text), fg=colour, bold=bold)


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a table, whose cells may hold any text."""
    cells = [[safe(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_rich(header, cells)
    else:
        _print_plain(header, cells)


def _print_plain(header: Sequence[str], rows: list[list[str]]) -> None:
    lines = [list(header), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


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
