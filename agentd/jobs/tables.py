"""Jobs on disk: the tables of runs and of what is remembered of jobs, and the files of the runs' output."""

import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from agentd.core.config import History
from agentd.core.jobs.model import JobSaved, JobState, Run, RunSaved, Saved
from agentd.core.part import Effect
from agentd.part import Tables

_NUMBER = "next_seq"  # the fact that keeps numbers of forgotten runs from being used again
_COLUMNS = Run.__struct_fields__
_SELECT = f"SELECT {','.join(_COLUMNS)} FROM runs"  # noqa: S608 - the names of our own columns
_SAVE_RUN = f"INSERT OR REPLACE INTO runs ({','.join(_COLUMNS)}) VALUES ({','.join('?' * len(_COLUMNS))})"  # noqa: S608 - our own names


class JobTables(Tables):
    """The tables of jobs. `folder` is the state directory, where the output of runs is kept too."""

    part = "jobs"
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
    )

    def __init__(self, folder: Path) -> None:
        self.output = folder / "output"

    def load(self, db: sqlite3.Connection) -> Saved:
        """Returns what the core of jobs takes up at its start."""
        self.output.mkdir(mode=0o700, parents=True, exist_ok=True)
        states = {job: msgspec.json.decode(state, type=JobState) for job, state in db.execute("SELECT * FROM jobs")}
        last = _found(db, f"{_SELECT} WHERE seq IN (SELECT max(seq) FROM runs WHERE state = 'ended' GROUP BY job)")  # noqa: S608 - our own words
        (highest,) = db.execute("SELECT coalesce(max(seq), 0) FROM runs").fetchone()
        (remembered,) = db.execute("SELECT value FROM facts WHERE name = ?", (_NUMBER,)).fetchone() or (1,)
        return Saved(
            states=states,
            open_runs=tuple(_found(db, f"{_SELECT} WHERE state != 'ended' ORDER BY seq")),
            last_runs={run.job: run for run in last},
            next_seq=max(int(remembered), highest + 1),
        )

    def afresh(self, db: sqlite3.Connection, aside: Path) -> None:  # noqa: ARG002 - nothing needs to be written
        """Sets the output of runs aside: their numbers begin again, and old output must not be taken for new."""
        with contextlib.suppress(OSError):  # as after a crash in between: set aside already
            self.output.rename(f"{aside}-output")
        self.output.mkdir(mode=0o700, exist_ok=True)

    def write(self, db: sqlite3.Connection, effects: Sequence[Effect]) -> int:
        """Stores runs and what is remembered of jobs, of each the last word; returns how many runs."""
        runs = {effect.run.seq: effect.run for effect in effects if isinstance(effect, RunSaved)}
        jobs = {effect.job: effect.state for effect in effects if isinstance(effect, JobSaved)}
        db.executemany(_SAVE_RUN, map(msgspec.structs.astuple, runs.values()))
        db.executemany(
            "INSERT OR REPLACE INTO jobs VALUES (?, ?)",
            ((job, msgspec.json.encode(state).decode()) for job, state in jobs.items()),
        )
        return len(runs)

    def forget(self, db: sqlite3.Connection, history: History, now: int) -> None:
        """Forgets runs and output beyond `history`; never a run that is not over."""
        (highest,) = db.execute("SELECT coalesce(max(seq), 0) FROM runs").fetchone()
        db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (_NUMBER, str(highest + 1)))
        db.execute(
            "DELETE FROM runs WHERE state = 'ended' AND (ended < ? OR seq <= "
            "coalesce((SELECT seq FROM runs ORDER BY seq DESC LIMIT 1 OFFSET ?), 0))",
            (now - history.keep, history.runs),
        )
        self._forget_output(db, history.total_output)

    def _forget_output(self, db: sqlite3.Connection, most: int) -> None:
        """Removes the output of forgotten runs, then the oldest until it is no more than `most` bytes."""
        known = {f"{job}.{seq}.log" for job, seq in db.execute("SELECT job, seq FROM runs")}
        total = 0
        files = [(file.stat(), file) for file in self.output.iterdir()]
        for status, file in sorted(files, key=lambda pair: pair[0].st_mtime, reverse=True):
            total += status.st_size
            if file.name not in known or total > most:
                file.unlink(missing_ok=True)


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
    wanted: list[tuple[str, Any]] = []
    if job:
        wanted.append(("job = ?", job))
    if seq:
        wanted.append(("seq = ?", seq))
    if before:
        wanted.append(("seq < ?", before))
    if result:
        wanted.append(("result = ?", result))
    if since:
        wanted.append(("max(due, started) >= ?", since))
    where = " AND ".join(["state != ''", *(text for text, _ in wanted)])
    if failed:
        where += " AND result NOT IN ('', 'success', 'stopped', 'cancelled')"
    return _found(db, f"{_SELECT} WHERE {where} ORDER BY seq DESC LIMIT ?", *(value for _, value in wanted), limit)


def _found(db: sqlite3.Connection, query: str, *values: Any) -> list[Run]:
    return [Run(**dict(zip(_COLUMNS, row, strict=True))) for row in db.execute(query, values)]
