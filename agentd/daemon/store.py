"""The state on disk: SQLite in WAL mode, every commit on the disk before the effects that depend on it.

The store itself knows decisions and facts; the other tables belong to parts. All methods block; the daemon calls them
from its one storing thread, but for reading(), which makes connections for other threads.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from string import ascii_letters, digits
from typing import Any

from agentd.core.config import History
from agentd.core.part import Decided, Effect, Sampled
from agentd.core.quantities import iso
from agentd.daemon import room
from agentd.daemon.damage import (
    ALL,
    ERRORS,
    EXAMINED_AT_ONCE,
    Damaged,
    Newer,
    examine,
    is_damage,
    left_aside,
    of_the_disk,
    readable,
    remove,
    set_aside,
)
from agentd.daemon.mark import Mark, MarkFile
from agentd.linux import now
from agentd.part import Tables, forget_rows

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
USUAL = "jobs"
UNUSUAL = f"part != '{USUAL}'"
"""The part of which most decisions are, and the condition of the index that has the others: it costs those nothing."""
_INDEX = f"CREATE INDEX IF NOT EXISTS decisions_of_others ON decisions (part, id) WHERE {UNUSUAL}"
_BEFORE_PARTS = {"jobs": (0, 1, 2, 2), "reboots": (0, 0, 0, 1)}
"""How many of a part's migrations a database of version 0 to 3 has seen."""
_VITAL = ("facts", "versions")  # beside those of parts
_ASIDE = "set-aside"
_BATCH = "batch"  # the fact that says which batch was the last, as the mark does
_COUNT = f"UPDATE facts SET value = ? WHERE name = '{_BATCH}'"  # noqa: S608 - our own word
_WAL = 1 << 20  # bytes of the -wal that stay on the disk when their contents are in the database
_CHANGES = 200  # rows that are forgotten after which the -wal is emptied
_WAL_PAGES = 512  # pages after which a commit itself moves the -wal into the database: Upkeep does so before


class Store:
    """An open store.

    `warning` tells of a state that was lost, wholly or in part, or is empty; `lost` why the database is no good any
    more, until recover() began another. `anew` tells that a database was begun while agentd ran, `opening` counts the
    databases that were opened, and `rows` what was written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / FILE
        self.warning = ""
        self.lost = ""
        self.opening = 0
        self.anew = False
        self.rows = 0  # written so far
        self._mark = Mark()
        self._mark_file = MarkFile(folder)
        self._seen = 0  # when the agentd before this one stored something last
        self._behind: Mark | None = None  # the mark, where the database is older
        self._aside = ""  # the database that was set aside, until the one in its place is whole
        self._tables: dict[str, Tables] = {}
        self._lazy: sqlite3.Connection | None = None
        self._unremembered: dict[str, str] = {}
        self._cramped = False
        self._small = True  # so it was examined in full when it was opened
        self._identity = (0, 0)

    # Opening

    def open(self, at: int) -> None:
        """Opens the database, and sets a damaged one aside before. `at`, in microseconds since 1970, names that one.

        A database on a full disk is opened too, without its -shm if need be; then it can be read. Raises OSError and
        sqlite3.Error where the folder cannot be used, or not for now.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._mark = self._mark_file.open()
        self._seen = self._mark.at
        room.keep_reserve(self.folder)
        try:
            self._open(at)
        except sqlite3.Error as error:
            if not (of_the_disk(error) and room.is_full(error, self.folder)):
                raise
            room.give_reserve_up(self.folder)
            try:
                self._open(at)
            except sqlite3.Error as again:
                if self._aside or not of_the_disk(again):
                    raise  # where the database was set aside, there is none that could be read
                self._open_cramped()

    def _open_cramped(self) -> None:
        try:
            self._connect(cramped=True)
        except (Damaged, UnicodeDecodeError) as error:  # to be set aside once there is room for another
            raise sqlite3.DatabaseError(str(error)) from None

    def _open(self, at: int) -> None:
        if not self._aside and (aside := left_aside(self.file)):
            self._aside = aside
            self.warning = f"the state was set aside as {aside}, because it was damaged; history starts afresh"
        if self._aside or (self._mark.batch and not self.file.exists()):
            self._start_afresh(at, self._nothing_left())
            return
        try:
            self._connect()
        except (Damaged, *ERRORS) as error:
            if of_the_disk(error):  # a full disk or a lock: nothing is wrong with the file
                raise
            self._start_afresh(at, str(error))

    def _connect(self, aside: str = "", *, cramped: bool = False) -> None:
        """Opens the file. One that is new because the database `aside` was set aside records that from its first moment
        on, gets the tables of all parts, and is removed again where it cannot be finished."""
        self.db = self._connection()
        self.opening += 1
        self._cramped = cramped
        try:
            if cramped:
                self.db.execute("PRAGMA locking_mode=EXCLUSIVE")  # the -shm is then in memory
            self.db.execute("PRAGMA journal_mode=WAL")
            self.db.execute("PRAGMA synchronous=FULL")  # a power cut must not forget that a run was started
            self.db.execute("PRAGMA cache_size=-512")  # KiB: the daemon is small, the page cache is the kernel's
            version = self.db.execute("PRAGMA user_version").fetchone()[0]
            if not version and self._mark.batch and not aside:  # an empty file, or its first -wal was lost
                raise Damaged(self._nothing_left())
            if version > VERSION:
                raise Damaged(f"was written by a newer agentd (version {version}, this one knows {VERSION})")
            self._small = self.file.stat().st_size <= EXAMINED_AT_ONCE
            vital = ALL if self._small or version < VERSION else _VITAL
            if version and (wrong := examine(self.db, vital)):
                raise Damaged(wrong)
            if version < VERSION:
                self._begin(version, aside)
            if not cramped:
                self.db.execute(_INDEX)
            self._look_back()
            found = self.file.stat()
            self._identity = (found.st_dev, found.st_ino)
            for tables in self._tables.values() if aside else ():
                self._migrate(tables)
        except BaseException:
            self.db.close()
            if aside:
                remove(self.file)
            raise

    def _nothing_left(self) -> str:
        return f"{self.file} is gone or empty, though agentd stored there until {iso(self._mark.at)}"

    def _connection(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.file, isolation_level=None, check_same_thread=False)
        db.text_factory = readable
        db.execute(f"PRAGMA journal_size_limit={_WAL}")
        db.execute(f"PRAGMA wal_autocheckpoint={_WAL_PAGES}")
        return db

    def _begin(self, version: int, aside: str) -> None:
        """Makes the store's own tables, of a new database or of one of that older version."""
        with transaction(self.db, _OWN):
            seen = ((part, numbers[version]) for part, numbers in _BEFORE_PARTS.items())
            self.db.executemany("INSERT INTO versions VALUES (?, ?)", seen)
            if aside:
                self._put(_ASIDE, aside)
            self._put(_BATCH, str(self._mark.batch))
            self.db.execute(f"PRAGMA user_version={VERSION}")

    def _look_back(self) -> None:
        """Compares the database with the mark: is it as new as what was carried out?"""
        self.db.execute("SELECT at, part, kind, about, run_id, reason FROM decisions LIMIT 0")  # the words are right
        known = self.fact(_BATCH) or ""
        batch = int(known) if known.isdecimal() else 0
        if batch < self._mark.batch:
            self._behind = self._mark
            self.warning = (
                f"the state in {self.folder} is older than what was stored there last: of {self._mark.batch - batch} "
                f"batches nothing is left. Nothing that was due until {iso(self._mark.upto)} is made up for"
            )
        self._mark = Mark(max(batch, self._mark.batch), self._mark.at, self._mark.numbers)

    def take_up(self, tables: Tables) -> Any:
        """Brings the tables of a part up to date and returns what they load. Where they cannot be read, or are not of
        the version that the database names, the database is set aside. Raises sqlite3.Error."""
        self._tables[tables.part] = tables
        tables.number, tables.seen = self._mark.numbers.get(tables.part, 0), self._seen
        try:
            self._migrate(tables)
            if not self._small and (wrong := examine(self.db, tables.vital)):
                raise sqlite3.DatabaseError(wrong)
        except ERRORS as error:
            if isinstance(error, Newer) or of_the_disk(error):
                raise
            self.recover(now(), f"the tables of {tables.part}: {error}")
        try:
            return tables.load(self.db)
        except ERRORS as error:
            if of_the_disk(error):
                raise
            self.recover(now(), f"the tables of {tables.part}: {error}")
            return tables.load(self.db)

    def _migrate(self, tables: Tables) -> None:
        row = self.db.execute("SELECT version FROM versions WHERE part = ?", (tables.part,)).fetchone()
        version = row[0] if row else 0
        if not isinstance(version, int) or version < 0:
            raise sqlite3.DataError(f"their version is {version!r}")
        if version > len(tables.migrations):
            known = len(tables.migrations)
            raise Newer(f"the tables of {tables.part} are a newer agentd's (version {version}, this one knows {known})")
        aside = "" if version else self.fact(_ASIDE) or ""
        for number, script in enumerate(tables.migrations[version:], version + 1):
            with transaction(self.db, script):
                if aside:  # together with the first tables, so that no crash hides that something was lost
                    tables.number = 0
                    tables.afresh(self.db, Path(aside))
                    aside = ""
                self.db.execute("INSERT OR REPLACE INTO versions VALUES (?, ?)", (tables.part, number))
        if version and self._behind is not None:
            with transaction(self.db):
                tables.behind(self.db, self._behind.upto)

    @property
    def warnings(self) -> list[str]:
        """The things about the state that somebody should see to, as sentences."""
        return [text for text in (self.warning, *(one.warning for one in self._tables.values())) if text]

    def taken_up(self) -> None:
        """Learns that all parts have taken up their tables: a part that comes later has lost nothing."""
        self.db.execute("DELETE FROM facts WHERE name = ?", (_ASIDE,))

    # Losing the database

    def _start_afresh(self, at: int, why: str) -> None:
        """Starts a new database that records at once that the one before was lost. A try that fails leaves nothing but
        what was set aside: the next try, of this agentd or another, names that one."""
        target = set_aside(self.file, at)
        if not self._aside:
            kept = f" and was set aside as {target}" if target.exists() else ""
            self.warning = f"the state could not be read ({why}){kept}; history starts afresh"
            self._aside = str(target)
        self._behind, self._mark = None, Mark(self._mark.batch, self._mark.at)
        self._connect(self._aside)
        self._aside = ""

    def recover(self, at: int, why: str = "the database is damaged") -> None:
        """Goes on with a new database after this one was found damaged, or is not there any more."""
        self.lost = why
        self._close()
        self.anew = True
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        mark, _ = self._mark, self._mark_file.open()
        self._mark_file.write(mark)
        self._start_afresh(at, why)
        self.lost = ""

    def missing(self) -> str:
        """Returns a sentence where the file of the database is gone, or another one stands there; else ""."""
        try:
            found = self.file.stat()
        except FileNotFoundError:
            return f"{self.file} was removed while agentd ran"
        except OSError:
            return ""  # for now nobody can tell
        same = (found.st_dev, found.st_ino) == self._identity
        return "" if same else f"{self.file} was replaced while agentd ran"

    def close(self) -> None:
        """Writes everything into the main file and closes it."""
        with contextlib.suppress(sqlite3.Error):
            self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._close()
        self._mark_file.close()

    def _close(self) -> None:
        if self._lazy is not None:
            self._lazy.close()
            self._lazy = None
        self.db.close()

    # Writing

    def write(self, effects: Sequence[Effect]) -> dict[str, Exception]:
        """Stores effects in one transaction; returns the defects of tables by part, of which nothing is stored and
        which are asked nothing more. Raises sqlite3.Error; then nothing of the effects is stored."""
        if self._cramped:
            self._widen()
        decisions = [effect for effect in effects if isinstance(effect, Decided)]
        batch = self._mark.batch + 1
        with transaction(self.db):
            self.db.executemany(
                "INSERT INTO decisions (at, part, kind, about, run_id, reason) VALUES (?,?,?,?,?,?)",
                ((one.at, one.part, one.kind, one.about, one.run_id, one.reason) for one in decisions),
            )
            rows, defects = self._write(self.db, effects)
            for name, value in self._unremembered.items():
                self._put(name, value)
            if not self.db.execute(_COUNT, (str(batch),)).rowcount:
                self._put(_BATCH, str(batch))  # the first batch since agentd counts them
        self._unremembered.clear()
        self._mark = Mark(batch, now(), {part: tables.number for part, tables in self._tables.items()})
        self._mark_file.write(self._mark)
        self.rows += rows + len(decisions)
        return defects

    def _widen(self) -> None:
        """Opens a database anew that was opened without room. Raises sqlite3.Error while there is none."""
        self._close()
        try:
            self._connect()
        except BaseException:
            self._connect(cramped=True)
            raise

    def sample(self, effects: Sequence[Sampled]) -> dict[str, Exception]:
        """Stores samples in one transaction that the disk need not have written when this returns: none of them costs
        an fsync. Returns and raises what write() does."""
        lazy = self._without_fsync()
        with transaction(lazy):
            return self._write(lazy, effects)[1]

    def _without_fsync(self) -> sqlite3.Connection:
        """Returns the connection for what a power cut may take back."""
        if self._lazy is None:
            self._lazy = self._connection()
            self._lazy.execute("PRAGMA synchronous=NORMAL")  # in WAL mode a commit then waits for no disk
            self._lazy.execute("PRAGMA cache_size=-64")
            self._lazy.execute("PRAGMA wal_autocheckpoint=0")
        return self._lazy

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
        """Returns a remembered fact, such as the id of the boot; None where there is none that can be read."""
        row = self.db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return row[0] if row is not None and isinstance(row[0], str) else None

    def remember(self, name: str, value: str) -> None:
        """Remembers a fact; while the disk is full, with what is written next. Raises sqlite3.Error."""
        try:
            self._put(name, value)
        except sqlite3.Error as error:
            if not of_the_disk(error):
                raise
            self._unremembered[name] = value

    def _put(self, name: str, value: str) -> None:
        self.db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    # Room

    def checkpoint(self) -> None:
        """Moves what is in the -wal into the database, as far as nobody reads it: a -wal that is lost then takes
        nothing with it. Raises sqlite3.Error."""
        self.db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def make_room(self) -> bool:
        """Frees some room on a full disk: that of the -wal, whose contents go to the database, and the oldest of what
        is kept for people. Returns whether something became free."""
        wal = self.file.with_name(f"{FILE}-wal")
        before = _size(wal)
        with contextlib.suppress(sqlite3.Error):
            self.db.execute("PRAGMA busy_timeout=0")  # no reader is waited for
            self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        with contextlib.suppress(sqlite3.Error):
            self.db.execute("PRAGMA busy_timeout=5000")
            freed = [tables.make_room(self.db) for tables in self._tables.values()]
            return any(freed) or _size(wal) < before
        return _size(wal) < before

    def crowded(self, history: History) -> bool:
        """Returns whether more is kept than `history` says, as far as that is known at once."""
        return any(tables.crowded(history) for tables in self._tables.values())

    def pruning(self, history: History, at: int, *, whole: bool) -> Iterator[None]:
        """Forgets what is beyond `history`, step by step: decisions, and what each part's tables hold. A step takes a
        few milliseconds, commits, and costs no fsync. `whole` looks at everything, else at the oldest alone."""
        db = self._without_fsync()
        (highest,) = db.execute("SELECT coalesce(max(id), 0) FROM decisions").fetchone()
        dead, bounds = "at < ? OR id <= ?", (at - history.keep, highest - history.runs)
        emptied = db.total_changes
        own: Iterator[object] = forget_rows(db, "decisions", "id", dead, bounds, whole=whole)
        for steps in (own, *(tables.forget(db, history, at, whole=whole) for tables in list(self._tables.values()))):
            while db is self._lazy:  # else another database took the place of this one
                with transaction(db):
                    if next(steps, _DONE) is _DONE:
                        break
                yield
                if db.total_changes - emptied > _CHANGES:
                    emptied = db.total_changes
                    self.checkpoint()
                    yield

    def prune(self, history: History, now: int) -> None:
        """Forgets what is beyond `history`, all at once."""
        for _ in self.pruning(history, now, whole=True):
            pass

    # Reading

    def reading(self, patience: float) -> sqlite3.Connection:
        """Returns another connection that can only read; it waits for a lock up to `patience` seconds, and may be used
        on another thread. Texts that are none are shown with U+FFFD. Raises sqlite3.Error."""
        address = f"file:{''.join(_PLAIN[byte] for byte in os.fsencode(self.file.absolute()))}?mode=ro"
        db = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False, timeout=patience)
        db.text_factory = lambda raw: raw.decode(errors="replace")
        db.execute("PRAGMA cache_size=-64")
        return db


_DONE = object()
_SAFE = {*ascii_letters, *digits, *"/._-"}
_PLAIN = [chr(byte) if chr(byte) in _SAFE else f"%{byte:02x}" for byte in range(256)]
"""Bytes as a URI has them. Path.as_uri() would load urllib.parse, for which no descriptor may be left."""


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


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
