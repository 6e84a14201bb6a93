"""The past of a KPI as a line of bars and as a small plot, in Unicode blocks or in ASCII."""

from collections.abc import Sequence

from agentctl.client import Record

Column = float | None
"""The mean in one column of a plot; None where there is no sample."""
_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII = "_.-~=+*#"


def columns(rows: Sequence[Record], end: int, width: int) -> list[Column]:
    """Returns the means of rows in equal parts of the time from the first row to `end` (microseconds).

    There are `width` parts, or fewer where the rows are so few that most parts would be empty.
    """
    if not rows:
        return []
    begin = rows[0]["at"]
    width = min(width, max(1, len(rows) // 2))
    counts, totals = [0] * width, [0.0] * width
    for row in rows:
        place = min(width - 1, max(0, (row["at"] - begin) * width // max(1, end - begin)))
        counts[place] += row["count"]
        totals[place] += row["count"] * row["mean"]
    return [total / count if count else None for count, total in zip(counts, totals, strict=True)]


def can_show(encoding: str | None) -> bool:
    """Tells whether an output in this encoding has the blocks."""
    try:
        _BLOCKS.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def sparkline(found: Sequence[Column], *, blocks: bool) -> str:
    """Returns a line with a bar for each column, the least the lowest; a space where there is none."""
    levels = _levels(found, len(_BLOCKS))
    marks = _BLOCKS if blocks else _ASCII
    return "".join(" " if level is None else marks[level] for level in levels)


def plot(found: Sequence[Column], height: int, *, blocks: bool) -> list[str]:
    """Returns `height` lines of bars, the uppermost first."""
    steps = len(_BLOCKS) if blocks else 1
    marks = _BLOCKS if blocks else "#"
    levels = _levels(found, height * steps)
    lines = []
    for row in reversed(range(height)):
        inside = [-1 if level is None else min(steps - 1, level - row * steps) for level in levels]
        lines.append("".join(" " if level < 0 else marks[level] for level in inside))
    return lines


def _levels(found: Sequence[Column], count: int) -> list[int | None]:
    """Returns the height of each bar, from 0 to below `count`; all are in the middle where they are equal."""
    known = [value for value in found if value is not None]
    if not known:
        return [None] * len(found)
    least, most = min(known), max(known)
    if least == most:
        return [None if value is None else count // 2 for value in found]
    return [None if value is None else round((value - least) / (most - least) * (count - 1)) for value in found]
