"""The state on disk: SQLite in WAL mode, every commit on the disk before the effects that depend on it.

The store itself knows decisions and facts; the other tables belong to parts. All methods block; the daemon calls them
from its one storing thread.
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from agentd.core.config import History
from agentd.core.part import Decided, Effect, Sampled
from agentd.part import Tables

FILE = "agentd.db"
VERSION = 4
"""The layout of the store's own tables, as PRAGMA user_version; up to 3 that counted the tables of all parts."""
_OWN = """
    CREATE TABLE IF NOT EXISTS decisions (
        id INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, job TEXT NOT NULL,
        run_id TEXT NOT NULL, reason TEXT NOT NULL);
    CREATE INDEX IF NOT EXISTS decisions_by_job ON decisions (job, id);
    CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
    ALTER TABLE decisions RENAME COLUMN job TO about;
    ALTER TABLE decisions ADD COLUMN part TEXT NOT NULL DEFAULT 'jobs';
    UPDATE decisions SET part = 'reboots' WHERE kind = 'reboot';
    CREATE TABLE versions (part TEXT PRIMARY KEY, version INTEGER NOT NULL);
"""
_BEFORE_PARTS = {"jobs": (0, 1, 2, 2), "reboots": (0, 0, 0, 1)}
"""How many of a part's migrations a database of version 0 to 3 has seen."""


_ASIDE = "set-aside"


_DISK = {
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY),
    *(sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PERM, sqlite3.SQLITE_PROTOCOL),
}
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def of_the_disk(error: Exception) -> bool:
    """Returns whether SQLite could not read or write for now, though nothing is wrong with the database."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DISK


def is_damage(error: Exception) -> bool:
    """Returns whether SQLite found the database damaged."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE


class Damaged(Exception):
    """The file is not a sound database of ours; the text is a sentence."""


class Store:
    """An open store. `warning` tells of a damaged database that was set aside, or is empty."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.warning = ""
        self._tables: dict[str, Tables] = {}
        self._samples: sqlite3.Connection | None = None
        self._writes = 0

    def open(self, at: int) -> None:
        """Opens the database, and sets a damaged one aside before. `at`, in microseconds since 1970, names that one.

        Raises OSError and sqlite3.Error where the folder cannot be used, or not for now.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._connect(self._left_aside())
        except (Damaged, sqlite3.DatabaseError) as error:
            if of_the_disk(error):  # a full disk or a lock: nothing is wrong with the file
                raise
            self._start_afresh(at, str(error))

    def _left_aside(self) -> str:
        """Returns the database that an agentd set aside which was killed before it began a new one, or ""."""
        if (self.folder / FILE).exists():
            return ""
        damaged = [str(file) for file in self.folder.glob(f"{FILE}.damaged-*[0-9]") if file.is_file()]
        aside = max(damaged, key=lambda name: (len(name), name), default="")
        if aside:
            self.warning = f"the state was set aside as {aside}, because it was damaged; history starts afresh"
        return aside

    def take_up(self, tables: Tables) -> Any:
        """Brings the tables of a part up to date and returns what they load. Raises sqlite3.Error."""
        self._tables[tables.part] = tables
        self._migrate(tables)
        return tables.load(self.db)

    def _connect(self, aside: str = "") -> None:
        """Opens the file. A new one records from its first moment on that the database `aside` was set aside."""
        self.db = sqlite3.connect(self.folder / FILE, isolation_level=None, check_same_thread=False)
        try:
            self.db.execute("PRAGMA journal_mode=WAL")
            self.db.execute("PRAGMA synchronous=FULL")  # a power cut must not forget that a run was started
            self.db.execute("PRAGMA cache_size=-512")  # KiB: the daemon is small, the page cache is the kernel's
            version = self.db.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                raise Damaged(f"was written by a newer agentd (version {version}, this one knows {VERSION})")
            if version and (check := self.db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise Damaged(check)
            if version < VERSION:
                with transaction(self.db, _OWN):
                    seen = ((part, numbers[version]) for part, numbers in _BEFORE_PARTS.items())
                    self.db.executemany("INSERT INTO versions VALUES (?, ?)", seen)
                    if aside:
                        self.remember(_ASIDE, aside)
                    self.db.execute(f"PRAGMA user_version={VERSION}")
        except BaseException:
            self.db.close()
            raise

    def _migrate(self, tables: Tables) -> None:
        row = self.db.execute("SELECT version FROM versions WHERE part = ?", (tables.part,)).fetchone()
        version = row[0] if row else 0
        if version > len(tables.migrations):
            known = len(tables.migrations)
            text = f"the tables of {tables.part} are a newer agentd's (version {version}, this one knows {known})"
            raise sqlite3.DatabaseError(text)
        aside = "" if version else self.fact(_ASIDE) or ""
        for number, script in enumerate(tables.migrations[version:], version + 1):
            with transaction(self.db, script):
                if aside:  # together with the first tables, so that no crash hides that something was lost
                    tables.afresh(self.db, Path(aside))
                    aside = ""
                self.db.execute("INSERT OR REPLACE INTO versions VALUES (?, ?)", (tables.part, number))

    def _start_afresh(self, at: int, why: str) -> None:
        """Starts a new database that records at once that the one before was lost."""
        target = self.folder / f"{FILE}.damaged-{at // 1_000_000}"
        for suffix in ("-wal", "-shm", ""):  # the file itself last: without it, this is looked for at the next start
            with contextlib.suppress(FileNotFoundError):
                (self.folder / f"{FILE}{suffix}").rename(f"{target}{suffix}")
        self.warning = f"the state could not be read ({why}) and was set aside as {target}; history starts afresh"
        self._connect(str(target))
        for tables in self._tables.values():
            self._migrate(tables)

    def taken_up(self) -> None:
        """Learns that all parts have taken up their tables: a part that comes later has lost nothing."""
        self.db.execute("DELETE FROM facts WHERE name = ?", (_ASIDE,))

    def recover(self, at: int) -> None:
        """Goes on with a new database after this one was found damaged."""
        self._close()
        self._start_afresh(at, "the database is damaged")

    def close(self) -> None:
        """Writes everything into the main file and closes it."""
        with contextlib.suppress(sqlite3.Error):
            self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._close()

    def _close(self) -> None:
        if self._samples is not None:
            self._samples.close()
            self._samples = None
        self.db.close()

    def write(self, effects: Sequence[Effect]) -> dict[str, Exception]:
        """Stores effects in one transaction; returns the defects of tables by part, of which nothing is stored and
        which are asked nothing more. Raises sqlite3.Error; then nothing of the effects is stored."""
        decisions = [effect for effect in effects if isinstance(effect, Decided)]
        with transaction(self.db):
            self.db.executemany(
                "INSERT INTO decisions (at, part, kind, about, run_id, reason) VALUES (?,?,?,?,?,?)",
                ((one.at, one.part, one.kind, one.about, one.run_id, one.reason) for one in decisions),
            )
            rows, defects = self._write(self.db, effects)
        self._writes += rows + len(decisions)
        return defects

    def sample(self, effects: Sequence[Sampled]) -> dict[str, Exception]:
        """Stores samples in one transaction that the disk need not have written when this returns: none of them costs
        an fsync. Returns and raises what write() does."""
        if self._samples is None:
            self._samples = sqlite3.connect(self.folder / FILE, isolation_level=None, check_same_thread=False)
            self._samples.execute("PRAGMA synchronous=NORMAL")  # in WAL mode a commit then waits for no disk
            self._samples.execute("PRAGMA cache_size=-64")
        with transaction(self._samples):
            return self._write(self._samples, effects)[1]

    def _write(self, db: sqlite3.Connection, effects: Sequence[Effect]) -> tuple[int, dict[str, Exception]]:
        """Lets each part store what is its own, within a transaction; returns the number of rows, and the defects."""
        rows, defects = 0, {}
        for part, tables in list(self._tables.items()):
            db.execute("SAVEPOINT part")
            try:
                rows += tables.write(db, effects)
            except Exception as error:
                if of_the_disk(error) or is_damage(error):
                    raise
                db.execute("ROLLBACK TO part")
                defects[part] = error
                del self._tables[part]
            db.execute("RELEASE part")
        return rows, defects

    def fact(self, name: str) -> str | None:
        """Returns a remembered fact, such as the id of the boot; None where there is none."""
        row = self.db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def remember(self, name: str, value: str) -> None:
        """Remembers a fact."""
        self.db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def prune_if_due(self, history: History, now: int) -> None:
        """Forgets what is older or more than the configuration keeps; looks after every thousand rows written."""
        if self._writes >= 1000:
            self._writes = 0
            self.prune(history, now)

    def prune(self, history: History, now: int) -> None:
        """Forgets what is beyond `history`: decisions, and what each part's tables hold."""
        with transaction(self.db):
            self.db.execute(
                "DELETE FROM decisions WHERE at < ? OR id <= (SELECT max(id) FROM decisions) - ?",
                (now - history.keep, history.runs),
            )
            for tables in self._tables.values():
                tables.forget(self.db, history, now)


def decisions(
    db: sqlite3.Connection, *, part: str = "", about: str = "", run_id: str = "", limit: int = 50
) -> list[Decided]:
    """Returns decisions, newest first: of one part, about one subject or about one run where that is said."""
    found = numbered_decisions(db, part=part, about=about, run_id=run_id, limit=limit)
    return [decision for _, decision in found]


def numbered_decisions(
    db: sqlite3.Connection, *, part: str = "", about: str = "", run_id: str = "", before: int = 0, limit: int = 50
) -> list[tuple[int, Decided]]:
    """Returns decisions with their numbers as `decisions` does: those with a lower number than `before`, if not 0."""
    rows = db.execute(
        "SELECT id, at, part, kind, about, reason, run_id FROM decisions WHERE (? = '' OR part = ?) "
        "AND (? = '' OR about = ?) AND (? = '' OR run_id = ?) AND (? = 0 OR id < ?) ORDER BY id DESC LIMIT ?",
        (part, part, about, about, run_id, run_id, before, before, limit),
    )
    return [(number, Decided(*row)) for number, *row in rows]


@contextlib.contextmanager
def transaction(db: sqlite3.Connection, script: str = "") -> Iterator[None]:
    """Commits what a script and its body wrote, or nothing of it when one of them raises."""
    try:
        db.executescript(f"BEGIN IMMEDIATE;{script}") if script else db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise
