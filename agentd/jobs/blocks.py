"""Blocks of runs that are all over, and the latest instant in each: where neither what is still open nor what began
since an instant has to be looked for.

With 1,000,000 runs kept the look for open ones at the start took 170 ms of processor time and grew with the history, as
did the question for the runs of the last hour (190 ms): both now look at the newest block and what came after it. An
index on the instant would cost 8 KB of -wal a run; blocks are noted by the pruning, one row for 512 runs.
"""

import contextlib
import sqlite3
from collections.abc import Iterator

SIZE = 512
"""Numbers of runs in a block."""
_LOOK = (
    "SELECT count(*) FILTER (WHERE state IS NOT 'ended'), coalesce(max(max(due, started)), 0) "
    "FROM runs NOT INDEXED WHERE seq > ? AND seq <= ?"
)
INSTANT = "max(due, started)"
"""The instant of a run, as the blocks and the question for runs since an instant have it."""


def closed(db: sqlite3.Connection) -> int:
    """Returns the number up to which all runs are over; 0 where that is not known. A last block that is not as it was
    noted, as after damage, or because its runs are being forgotten, counts for nothing, and the blocks begin anew."""
    (upto,) = db.execute("SELECT coalesce(max(upto), 0) FROM blocks").fetchone()
    found = db.execute("SELECT latest FROM blocks WHERE upto = ?", (upto,)).fetchone()
    if found is not None and db.execute(_LOOK, (upto - SIZE, upto)).fetchone() == (0, *found):
        return int(upto)
    with contextlib.suppress(sqlite3.OperationalError):  # a full disk: they are not trusted at the next start either
        db.execute("DELETE FROM blocks")
    return 0


def close(db: sqlite3.Connection, highest: int) -> Iterator[None]:
    """Notes the blocks of runs that are all over by now, a block in a step; `highest` is the number of the last run."""
    while True:
        (lowest,) = db.execute("SELECT coalesce(min(seq), ? + 1) FROM runs", (highest,)).fetchone()
        (upto,) = db.execute("SELECT coalesce(max(upto), 0) FROM blocks").fetchone()
        begin = upto or (lowest - 1) // SIZE * SIZE
        db.execute("DELETE FROM blocks WHERE upto < ? AND upto != ?", (lowest, upto))  # whose runs are forgotten
        if begin + SIZE > highest:
            return
        still_open, latest = db.execute(_LOOK, (begin, begin + SIZE)).fetchone()
        if still_open:
            return
        db.execute("INSERT INTO blocks VALUES (?, ?)", (begin + SIZE, latest))
        yield


def reopen(db: sqlite3.Connection, lowest: int) -> None:
    """Takes note that the run with that number, or ones above it, are written: their blocks are not noted any more."""
    db.execute("DELETE FROM blocks WHERE upto >= ?", (lowest,))


def before(db: sqlite3.Connection, since: int) -> int:
    """Returns a number up to which no run was due or started at the instant `since` or later."""
    noted = "SELECT coalesce((SELECT min(upto) - ? FROM blocks WHERE latest >= ?), max(upto), 0) FROM blocks"
    (number,) = db.execute(noted, (SIZE, since)).fetchone()
    return int(number)
