"""The state on disk: SQLite in WAL mode, every commit on the disk before its effects are asked for.

All methods block; the daemon calls them from its one storing thread.
"""

import contextlib
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from agentd.core.config import History
from agentd.core.jobs.model import JobSaved, JobState, Run, RunSaved, Saved
from agentd.core.part import Decided, Effect
from agentd.core.reboots.model import Ledger, LedgerSaved, Reboot, RebootSaved

FILE = "agentd.db"
_MIGRATIONS = (
    """
    CREATE TABLE runs (
        seq INTEGER PRIMARY KEY, job TEXT NOT NULL, due INTEGER NOT NULL, cause TEXT NOT NULL,
        attempt INTEGER NOT NULL, state TEXT NOT NULL, not_before INTEGER NOT NULL, started INTEGER NOT NULL,
        ended INTEGER NOT NULL, result TEXT NOT NULL, exit_code INTEGER, signal TEXT NOT NULL,
        cpu_usec INTEGER NOT NULL, peak_memory INTEGER NOT NULL, progress TEXT NOT NULL, reason TEXT NOT NULL,
        tail TEXT NOT NULL);
    CREATE INDEX runs_by_job ON runs (job, seq);
    CREATE INDEX runs_open ON runs (state) WHERE state != 'ended';
    CREATE UNIQUE INDEX runs_once ON runs (job, due, attempt) WHERE cause IN ('schedule', 'missed');
    CREATE TABLE jobs (job TEXT PRIMARY KEY, state TEXT NOT NULL);
    CREATE TABLE decisions (
        id INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, job TEXT NOT NULL,
        run_id TEXT NOT NULL, reason TEXT NOT NULL);
    CREATE INDEX decisions_by_job ON decisions (job, id);
    CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
    """,
    "ALTER TABLE runs ADD COLUMN invocation TEXT NOT NULL DEFAULT '';",
    """
    CREATE TABLE reboots (id INTEGER PRIMARY KEY, state TEXT NOT NULL, cause TEXT NOT NULL, record TEXT NOT NULL);
    """,
)
VERSION = len(_MIGRATIONS)
_GUARDS = "reboot-guards"
_REMEMBERED = 1000  # reboots that the daemon has in mind: nightly ones of almost three years
_COLUMNS = Run.__struct_fields__
_SAVE_RUN = f"INSERT OR REPLACE INTO runs ({','.join(_COLUMNS)}) VALUES ({','.join('?' * len(_COLUMNS))})"  # noqa: S608


class Damaged(Exception):
    """The file is not a sound database of ours; the text is a sentence."""


class Store:
    """An open store. `warning` tells of a damaged one that was set aside, or is empty."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "output"
        self.warning = ""
        self.lost = ""  # why the ledger of reboots cannot be trusted
        self._writes = 0

    def open(self, at: int) -> None:
        """Opens the database, sets a damaged one aside first. `at` (microseconds) names what is set aside."""
        self.output.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._connect()
        except (Damaged, sqlite3.DatabaseError) as error:
            if isinstance(error, sqlite3.OperationalError) and "unable to open" in str(error):
                raise
            self._start_afresh(at, str(error))

    def _connect(self) -> None:
        self._db = sqlite3.connect(self.folder / FILE, isolation_level=None, check_same_thread=False)
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")  # a power cut must not forget that a run was started
            self._db.execute("PRAGMA cache_size=-512")  # KiB: the daemon is small, the page cache is the kernel's
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                raise Damaged(f"was written by a newer agentd (version {version}, this one knows {VERSION})")
            if version and (check := self._db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise Damaged(check)
            for number in range(version, VERSION):
                self._db.executescript(
                    f"BEGIN IMMEDIATE;{_MIGRATIONS[number]};PRAGMA user_version={number + 1};COMMIT;"
                )
        except BaseException:
            self._db.close()
            raise

    def _start_afresh(self, at: int, why: str) -> None:
        """With a new database, in which it stands from the first moment on that reboots were lost."""
        self._set_aside(at, why)
        self._connect()
        self.remember(_GUARDS, msgspec.json.encode(LedgerSaved({}, self.lost, slot=False)).decode())

    def _set_aside(self, at: int, why: str) -> None:
        target = self.folder / f"{FILE}.damaged-{at // 1_000_000}"
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                (self.folder / f"{FILE}{suffix}").rename(f"{target}{suffix}")
        with contextlib.suppress(OSError):
            # Numbers of runs begin again: output of the old ones must not be taken for theirs.
            self.output.rename(f"{target}-output")
            self.output.mkdir(mode=0o700)
        self.lost = "the ledger of reboots was lost with a damaged database"
        self.warning = f"the state could not be read ({why}) and was set aside as {target}; history starts afresh"

    def recover(self, at: int) -> None:
        """Goes on with a new database after this one was found damaged."""
        self._db.close()
        self._start_afresh(at, "the database is damaged")

    def close(self) -> None:
        """Writes everything into the main file and closes it."""
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.close()

    def load(self) -> Saved:
        """What the engine needs at start."""
        states = {
            job: msgspec.json.decode(state, type=JobState) for job, state in self._db.execute("SELECT * FROM jobs")
        }
        columns = ",".join(_COLUMNS)
        opened = self._runs(f"SELECT {columns} FROM runs WHERE state != 'ended' ORDER BY seq")  # noqa: S608
        last = self._runs(
            f"SELECT {columns} FROM runs WHERE seq IN "  # noqa: S608
            "(SELECT max(seq) FROM runs WHERE state = 'ended' GROUP BY job)"
        )
        (highest,) = self._db.execute("SELECT max(seq) FROM runs").fetchone()
        remembered = int(self.fact("next_seq") or 1)
        return Saved(
            states=states,
            open_runs=tuple(opened),
            last_runs={run.job: run for run in last},
            next_seq=max(remembered, (highest or 0) + 1),
        )

    def write(self, effects: Iterable[Effect]) -> None:
        """Stores effects in one transaction. Raises sqlite3.Error; then nothing of them is stored."""
        runs, jobs, decisions, reboots = {}, {}, [], {}
        guards: LedgerSaved | None = None
        for effect in effects:
            if isinstance(effect, RunSaved):
                runs[effect.run.seq] = effect.run
            elif isinstance(effect, JobSaved):
                jobs[effect.job] = effect.state
            elif isinstance(effect, Decided):
                decisions.append((effect.at, effect.kind, effect.about, effect.run_id, effect.reason))
            elif isinstance(effect, RebootSaved):
                reboots[effect.reboot.id] = effect.reboot
            elif isinstance(effect, LedgerSaved):
                guards = effect
        if not (runs or jobs or reboots or guards or decisions):
            return
        with self._transaction():
            self._db.executemany(_SAVE_RUN, (msgspec.structs.astuple(run) for run in runs.values()))
            self._db.executemany(
                "INSERT OR REPLACE INTO jobs VALUES (?, ?)",
                ((job, msgspec.json.encode(state).decode()) for job, state in jobs.items()),
            )
            self._db.executemany("INSERT INTO decisions (at, kind, job, run_id, reason) VALUES (?,?,?,?,?)", decisions)
            self._db.executemany(
                "INSERT OR REPLACE INTO reboots VALUES (?, ?, ?, ?)",
                ((key, one.state, one.cause, msgspec.json.encode(one).decode()) for key, one in reboots.items()),
            )
            if guards is not None:
                self.remember(_GUARDS, msgspec.json.encode(guards).decode())
        self._writes += len(runs) + len(decisions)

    @contextlib.contextmanager
    def _transaction(self) -> Any:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise

    def fact(self, name: str) -> str | None:
        """A remembered fact, such as the id of the boot."""
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def remember(self, name: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def ledger(self) -> Ledger:
        """The ledger of reboots as it is taken up at start. What cannot be read is told in `lost`, never guessed."""
        guards, lost = LedgerSaved({}, "", slot=False), self.lost
        try:
            if (text := self.fact(_GUARDS)) is not None:
                guards = msgspec.json.decode(text, type=LedgerSaved)
        except msgspec.MsgspecError as error:
            lost = f"what was remembered beside the reboots cannot be read ({error})"
        rows = self._db.execute("SELECT id, record FROM reboots").fetchall()
        if damaged := [key for key, record in rows if _reboot(record) is None]:
            lost = f"{len(damaged)} of {len(rows)} records in the ledger of reboots cannot be read"
            with self._transaction():  # they are told of once, and that until it is cleared
                self.remember(_GUARDS, msgspec.json.encode(replace(guards, lost=lost)).decode())
                self._db.executemany("DELETE FROM reboots WHERE id = ?", [(key,) for key in damaged])
        (highest,) = self._db.execute("SELECT coalesce(max(id), 0) FROM reboots").fetchone()
        return Ledger(
            reboots=tuple(self.reboots(limit=_REMEMBERED)),
            breakers=guards.breakers,
            lost=lost or guards.lost,
            slot=guards.slot,
            forgiven=guards.forgiven,
            next_id=highest + 1,
        )

    def reboots(self, *, state: str = "", cause: str = "", limit: int = 50) -> list[Reboot]:
        """Reboots, newest first, without those whose record is damaged."""
        rows = self._db.execute(
            "SELECT record FROM reboots WHERE (? = '' OR state = ?) AND (? = '' OR cause = ?) ORDER BY id DESC LIMIT ?",
            (state, state, cause, cause, limit),
        )
        return [reboot for (record,) in rows if (reboot := _reboot(record)) is not None]

    def runs(
        self, *, job: str = "", seq: int = 0, result: str = "", failed: bool = False, since: int = 0, limit: int = 50
    ) -> list[Run]:
        """Runs, newest first. `since` is an instant; runs that were due or started before it are left out."""
        wanted: list[tuple[str, Any]] = []
        if job:
            wanted.append(("job = ?", job))
        if seq:
            wanted.append(("seq = ?", seq))
        if result:
            wanted.append(("result = ?", result))
        if since:
            wanted.append(("max(due, started) >= ?", since))
        where = " AND ".join(["state != ''", *(text for text, _ in wanted)])
        if failed:
            where += " AND result NOT IN ('', 'success', 'stopped', 'cancelled')"
        return self._runs(
            f"SELECT {','.join(_COLUMNS)} FROM runs WHERE {where} ORDER BY seq DESC LIMIT ?",  # noqa: S608
            *(value for _, value in wanted),
            limit,
        )

    def decisions(self, *, job: str = "", run_id: str = "", limit: int = 50) -> list[Decided]:
        """Decisions, newest first."""
        rows = self._db.execute(
            "SELECT at, kind, job, reason, run_id FROM decisions WHERE (? = '' OR job = ?) AND (? = '' OR run_id = ?) "
            "ORDER BY id DESC LIMIT ?",
            (job, job, run_id, run_id, limit),
        )
        return [Decided(at, "jobs" if kind != "reboot" else "reboots", kind, *rest) for at, kind, *rest in rows]

    def prune_if_due(self, history: History, now: int) -> None:
        """Forgets what is older or more than the configuration keeps; looks after every thousand writes."""
        if self._writes < 1000:
            return
        self._writes = 0
        self.prune(history, now)

    def prune(self, history: History, now: int) -> None:
        """Forgets runs, decisions and output beyond `history`; never a run that is not over."""
        (highest,) = self._db.execute("SELECT coalesce(max(seq), 0) FROM runs").fetchone()
        with self._transaction():
            self.remember("next_seq", str(highest + 1))
            self._db.execute(
                "DELETE FROM runs WHERE state = 'ended' AND (ended < ? OR seq <= "
                "coalesce((SELECT seq FROM runs ORDER BY seq DESC LIMIT 1 OFFSET ?), 0))",
                (now - history.keep, history.runs),
            )
            self._db.execute(
                "DELETE FROM decisions WHERE at < ? OR id <= (SELECT max(id) FROM decisions) - ?",
                (now - history.keep, history.runs),
            )
        self._prune_output(history.total_output)

    def _prune_output(self, most: int) -> None:
        """Removes the output of forgotten runs, then the oldest until it is no more than `most` bytes."""
        known = {f"{job}.{seq}.log" for job, seq in self._db.execute("SELECT job, seq FROM runs")}
        total = 0
        files = [(file.stat(), file) for file in self.output.iterdir()]
        for status, file in sorted(files, key=lambda pair: pair[0].st_mtime, reverse=True):
            total += status.st_size
            if file.name not in known or total > most:
                file.unlink(missing_ok=True)

    def _runs(self, query: str, *values: Any) -> list[Run]:
        return [Run(**dict(zip(_COLUMNS, row, strict=True))) for row in self._db.execute(query, values)]


def _reboot(record: str) -> Reboot | None:
    """A reboot as it is stored; None where that cannot be read."""
    try:
        return msgspec.json.decode(record, type=Reboot)
    except msgspec.MsgspecError:
        return None
