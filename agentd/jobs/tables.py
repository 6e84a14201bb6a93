"""Jobs on disk: the tables of runs and of what is remembered of jobs, and the files of the runs' output."""

import contextlib
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from agentd.core.config import History
from agentd.core.jobs.model import JobSaved, JobState, Run, RunSaved, Saved
from agentd.core.part import Effect
from agentd.core.quantities import counted
from agentd.jobs import blocks
from agentd.jobs.output import Output
from agentd.linux import now
from agentd.part import Tables, forget_rows, set_aside, where

Row = Sequence[object]
_NUMBER = "next_seq"  # the fact that keeps numbers of forgotten runs from being used again
_RUN_STATES = {"queued", "running", "ended"}
_NEEDED = {"schedule", "anchor", "since", "handled"}  # of a job's memory: without these, due times would come again
_SUM = ',"sum":"'
_UNKNOWN = "what became of the run is not known: a part of the state was lost"
_COLUMNS = Run.__struct_fields__
_SEQ = _COLUMNS.index("seq")
_SELECT = f"SELECT {','.join(_COLUMNS)} FROM runs"  # noqa: S608 - the names of our own columns
_FIXED = {"seq", "job", "due", "cause", "attempt"}  # what a run is, from its first row on
_CHANGES = ",".join(f"{name} = excluded.{name}" for name in _COLUMNS if name not in _FIXED)
_SAVE_RUN = (  # a row that is replaced would have two indexes written again for nothing, 8 KB of -wal at each end
    f"INSERT OR REPLACE INTO runs ({','.join(_COLUMNS)}) VALUES ({','.join('?' * len(_COLUMNS))}) "  # noqa: S608 - our own names
    f"ON CONFLICT (seq) DO UPDATE SET {_CHANGES}"
)
_UNUSUAL = "result NOT IN ('', 'success')"  # an index has the few results that are: it costs a success nothing
_LAST = """
    WITH RECURSIVE known (job) AS (
        SELECT min(job) FROM runs
        UNION ALL SELECT (SELECT min(job) FROM runs WHERE job > known.job) FROM known WHERE known.job IS NOT NULL)
    SELECT (SELECT seq FROM runs WHERE job = known.job AND state = 'ended' ORDER BY seq DESC LIMIT 1) FROM known
"""  # one look per job: with 1,000,000 runs of 200 jobs, to group them took 60 ms, this takes 1 ms


class JobTables(Tables):
    """The tables of jobs. `folder` is the state directory, where the output of runs is kept too; `noted` returns the
    ids of the runs of which there is word outside of the tables: a start that was asked for, or an end."""

    part = "jobs"
    vital = ("jobs", "blocks")
    migrations = (
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
        """,
        "ALTER TABLE runs ADD COLUMN invocation TEXT NOT NULL DEFAULT '';",
        """
        DROP INDEX runs_open;
        CREATE INDEX runs_unusual ON runs (seq, result) WHERE result NOT IN ('', 'success');
        CREATE TABLE blocks (upto INTEGER PRIMARY KEY, latest INTEGER NOT NULL);
        """,
    )

    def __init__(self, folder: Path, noted: Callable[[], set[str]] = set) -> None:
        self._noted = noted
        self.files = Output(folder / "output")
        self.output = self.files.folder

    def load(self, db: sqlite3.Connection) -> Saved:
        """Returns what the core of jobs takes up at its start. No index is trusted for what may start again."""
        self.files.make()
        states, lost = _states(db)
        ended, unread = _found_or_not(db, f"{_SELECT} WHERE seq IN ({_LAST})")
        maybe_open = f"{_SELECT} NOT INDEXED WHERE seq > {blocks.closed(db)} AND state IS NOT 'ended' ORDER BY seq"
        opened, unopened = _found_or_not(db, maybe_open)
        if unread or unopened:  # then all are looked through, so that the rest is not told at each start to come
            unread = {row[_SEQ]: row for row in db.execute(_SELECT) if _run(row) is None}
        self._set_aside(db, lost, unread)
        if unread:
            ended, _ = _found_or_not(db, f"{_SELECT} WHERE seq IN ({_LAST})")
        (highest,) = db.execute("SELECT coalesce(max(seq), 0) FROM runs").fetchone()
        (remembered,) = db.execute("SELECT value FROM facts WHERE name = ?", (_NUMBER,)).fetchone() or ("1",)
        if not (isinstance(remembered, str) and remembered.isdecimal()):
            self.warning = f"{self.warning}; the number of the next run could not be read".removeprefix("; ")
            remembered = "1"
        self.number = max(int(remembered) - 1, highest, self.number)
        return Saved(
            states=states,
            open_runs=tuple(opened),
            last_runs={run.job: run for run in ended if run.state == "ended"},
            next_seq=self.number + 1,
            seen=self.seen,
        )

    def _set_aside(self, db: sqlite3.Connection, jobs: dict[int, Row], runs: dict[int, Row]) -> None:
        """Sets rows aside that cannot be read, and tells so."""
        if not (jobs or runs):
            return
        forgotten = ", ".join(sorted(str(row[0]) for row in jobs.values()))
        of_jobs = f" (what was changed by hand of {forgotten} is forgotten, and nothing is made up for)" * bool(jobs)
        records = counted(len(jobs) + len(runs), "record")
        self.warning = (
            f"the state was damaged: {records} of jobs and runs could not be read{of_jobs}; "
            "they stand in the table unreadable of agentd.db"
        )
        with contextlib.suppress(sqlite3.OperationalError):  # a full disk: they stay, and are passed over
            set_aside(db, "jobs", jobs, now())
            set_aside(db, "runs", runs, now())

    def afresh(self, db: sqlite3.Connection, aside: Path) -> None:  # noqa: ARG002 - nothing needs to be written
        """Sets the output of runs aside: their numbers begin again, and old output must not be taken for new."""
        self.files.set_aside(f"{aside}-output")

    def behind(self, db: sqlite3.Connection, upto: int) -> None:
        """Has nothing started that was due until the instant `upto`: what became of it stood in what was lost."""
        for number, text in db.execute("SELECT rowid, state FROM jobs").fetchall():
            if (state := _state(text)) is not None and state.handled < upto:
                db.execute(
                    "UPDATE jobs SET state = ? WHERE rowid = ?", (_encoded(replace(state, handled=upto)), number)
                )
        noted = self._noted()
        opened = "SELECT seq, job || '.' || seq, state FROM runs NOT INDEXED WHERE state IN ('queued', 'running')"
        for seq, run_id, state in db.execute(opened).fetchall():
            if run_id not in noted:
                values = (upto, "interrupted" if state == "running" else "cancelled", _UNKNOWN, seq)
                db.execute("UPDATE runs SET state = 'ended', ended = ?, result = ?, reason = ? WHERE seq = ?", values)
            elif state == "queued":  # the start was decided since: the executor finds whether the run began, or ended
                decided = "UPDATE runs SET state = 'running', started = max(due, not_before) WHERE seq = ?"
                db.execute(decided, (seq,))

    def write(self, db: sqlite3.Connection, effects: Sequence[Effect]) -> int:
        """Stores runs and what is remembered of jobs, of each the last word; returns how many runs."""
        runs = {effect.run.seq: effect.run for effect in effects if isinstance(effect, RunSaved)}
        jobs = {effect.job: effect.state for effect in effects if isinstance(effect, JobSaved)}
        db.executemany(_SAVE_RUN, map(msgspec.structs.astuple, runs.values()))
        db.executemany(
            "INSERT INTO jobs VALUES (?, ?) ON CONFLICT (job) DO UPDATE SET state = excluded.state",
            ((job, _encoded(jobs[job])) for job in jobs),
        )
        if runs:
            blocks.reopen(db, min(runs))
            self.number = max(self.number, *runs)
        self.files.ended(run for run in runs.values() if run.state == "ended")
        return len(runs)

    def forget(self, db: sqlite3.Connection, history: History, now: int, *, whole: bool = True) -> Iterator[None]:
        """Forgets runs and output beyond `history`; never a run that is not over."""
        (highest,) = db.execute("SELECT coalesce(max(seq), 0) FROM runs").fetchone()
        db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (_NUMBER, str(max(self.number, highest) + 1)))
        dead, bounds = "state = 'ended' AND (ended < ? OR seq <= ?)", (now - history.keep, highest - history.runs)
        for gone in forget_rows(db, "runs", "seq", dead, bounds, whole=whole, also="job"):
            for seq, job in gone:
                self.files.remove(f"{job}.{seq}")
            yield
        yield from blocks.close(db, max(self.number, highest))
        if whole:
            yield from self.files.sweep(db)
        yield from self.files.trim(db, history.total_output)

    def crowded(self, history: History) -> bool:
        """Returns whether there is more output than `history` says."""
        return self.files.total > history.total_output

    def make_room(self, db: sqlite3.Connection) -> bool:
        """Removes the oldest output: a copy of output is worth less than the schedule."""
        return self.files.free(db)


def list_runs(
    db: sqlite3.Connection,
    *,
    job: str = "",
    seq: int = 0,
    result: str = "",
    failed: bool = False,
    since: int = 0,
    before: int = 0,
    limit: int = 50,
) -> list[Run]:
    """Returns runs, newest first. `since` is an instant; runs that were due or started before it are left out, as are
    those with the number `before` or a higher one, if that is not 0."""
    given = {"job = ?": job, "seq = ?": seq, "seq < ?": before, f"{blocks.INSTANT} >= ?": since}
    given |= {"seq > ?": blocks.before(db, since) if since else 0}
    given |= {"result = ?" if result == "success" else f"{_UNUSUAL} AND result = ?": result}
    given |= {f"{_UNUSUAL} AND result NOT IN ('stopped', 'cancelled') AND ?": failed}
    condition, values = where(given)
    rows = db.execute(f"{_SELECT} {condition} ORDER BY seq DESC", values)
    return list(islice(filter(None, map(_run, rows)), limit))  # a page is full also where rows cannot be read


def _found_or_not(db: sqlite3.Connection, query: str) -> tuple[list[Run], dict[int, Row]]:
    """Returns the runs that a query selects, and by number the rows that cannot be read."""
    found, unread = [], {}
    for row in db.execute(query):
        if (run := _run(row)) is not None:
            found.append(run)
        else:
            unread[row[_SEQ]] = row
    return found, unread


def _run(row: Row) -> Run | None:
    """Returns a run as it is stored; None where that is no run."""
    try:
        run = msgspec.convert(dict(zip(_COLUMNS, row, strict=True)), Run)
    except msgspec.ValidationError:
        return None
    numbers = (run.seq, run.due, run.not_before, run.started, run.ended, run.cpu_usec, run.peak_memory)
    small = abs(run.exit_code or 0) < 1 << 31 and 0 < run.attempt < 1 << 31
    return run if run.state in _RUN_STATES and min(numbers) >= 0 and small else None


def _states(db: sqlite3.Connection) -> tuple[dict[str, JobState], dict[int, Row]]:
    """Returns what is remembered of jobs, and by number the rows that cannot be read."""
    states: dict[str, JobState] = {}
    unread: dict[int, Row] = {}
    for number, job, text in db.execute("SELECT rowid, job, state FROM jobs"):
        state = _state(text)
        if state is not None and isinstance(job, str):
            states[job] = state
        else:
            unread[number] = (job, text)
    return states, unread


def _encoded(state: JobState) -> str:
    """Returns the memory of a job as it is stored, with a sum that tells a letter which was changed by accident."""
    return _summed(msgspec.json.encode(state).decode())


def _summed(text: str) -> str:
    return f'{text[:-1]}{_SUM}{zlib.crc32(text.encode()):08x}"}}'


def _state(text: object) -> JobState | None:
    """Returns the memory of a job as it is stored; None where that cannot be read, or is not what was written."""
    if not isinstance(text, str):
        return None
    head, summed, _ = text.rpartition(_SUM)
    if summed and text != _summed(f"{head}}}"):
        return None
    try:
        state = msgspec.json.decode(text, type=JobState)
        if summed:
            return state
        keys = msgspec.json.decode(text, type=dict[str, Any]).keys()
    except msgspec.MsgspecError:
        return None
    known = set(JobState.__struct_fields__)
    changed = keys - known and known - keys  # another agentd's has more keys or fewer, a changed letter does both
    return None if changed or not keys >= _NEEDED else state
