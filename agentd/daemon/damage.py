"""Damage to the database: which errors tell of it, and what is done with a file that is damaged."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Sequence
from itertools import count
from pathlib import Path

_DISK = {
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY),
    *(sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PERM, sqlite3.SQLITE_PROTOCOL),
}
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""The errors of SQLite; one that quotes damaged bytes comes as UnicodeDecodeError."""
EXAMINED_AT_ONCE = 4 << 20
"""The size in bytes up to which a database is examined in full before it is used: a tenth of a second's work. Of a
larger one that is done with the tables that decide what runs, and with all of it beside the work: to look through the
rest for torn pages takes 800 ms where 1,000,000 runs are kept, and what is found later is replaced from memory."""
ALL = ("1",)
"""The tables of a database, for examine(): one fault is enough."""


class Damaged(Exception):
    """The file is not a sound database of ours; the text is a sentence."""


class Newer(sqlite3.DatabaseError):
    """The tables of a part are a newer agentd's, which are left as they are; the text is a sentence."""


def of_the_disk(error: BaseException) -> bool:
    """Returns whether SQLite could not read or write for now, though nothing is wrong with the database."""
    return not is_damage(error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in _DISK


def is_damage(error: BaseException) -> bool:
    """Returns whether SQLite found the database damaged, or its -wal shorter than what was written there."""
    code = getattr(error, "sqlite_errorcode", 0)
    broken = isinstance(error, Damaged | UnicodeDecodeError) or code == sqlite3.SQLITE_IOERR_SHORT_READ
    return broken or code & 0xFF in _DAMAGE


def examine(db: sqlite3.Connection, tables: Sequence[str] = ALL, *, in_full: bool = True) -> str:
    """Returns what is wrong with a database, or with some of its tables, in SQLite's words, or "". In full, indexes are
    compared with their tables, which takes two seconds for 100 MB. Raises sqlite3.Error."""
    check = "integrity_check" if in_full else "quick_check"
    for table in tables:
        (found,) = db.execute(f"PRAGMA {check}({table})").fetchone()
        if found != "ok":
            return str(found).replace("\n", " ")
    return ""


async def examine_apart(db: sqlite3.Connection) -> str:
    """Returns what examine() finds in full, on a thread of its own; closes the connection. Whoever cancels that ends it
    at once. Raises sqlite3.Error."""
    looking = asyncio.ensure_future(asyncio.to_thread(examine, db, in_full=True))
    try:
        return await asyncio.shield(looking)
    except asyncio.CancelledError:
        db.interrupt()
        raise
    finally:
        await asyncio.wait({looking})
        db.close()


def set_aside(file: Path, at: int) -> Path:
    """Renames a database that is damaged, or what is left of it; returns its new name, of the instant `at` or the next
    second that no name has yet: renaming would replace what has it."""
    names = (file.with_name(f"{file.name}.damaged-{second}") for second in count(at // 1_000_000))
    target = next(name for name in names if not (name.exists() or any(file.parent.glob(f"{name.name}-*"))))
    for suffix in ("-wal", "-shm", ""):  # the file itself last: without it, this is looked for at the next start
        with contextlib.suppress(FileNotFoundError):
            file.with_name(f"{file.name}{suffix}").rename(f"{target}{suffix}")
    return target


def remove(file: Path) -> None:
    """Removes a database that was begun and not finished. Raises OSError."""
    for suffix in ("", "-wal", "-shm"):
        file.with_name(f"{file.name}{suffix}").unlink(missing_ok=True)


def left_aside(file: Path) -> str:
    """Returns the database that an agentd set aside which was killed before it began a new one, or ""."""
    if file.exists():
        return ""
    damaged = [str(one) for one in file.parent.glob(f"{file.name}.damaged-*[0-9]") if one.is_file()]
    return max(damaged, key=lambda name: (len(name), name), default="")


def readable(raw: bytes) -> str | bytes:
    """Returns a text of the database; as bytes where it is none, so that the one row that has it can be told."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw
