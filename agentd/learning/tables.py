"""Learning on disk: what is remembered of jobs, the rows that a network learns from, and which network is in force."""

import re
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from agentd.core.config import History
from agentd.core.learning import learner
from agentd.core.learning.model import (
    MOST_ROWS,
    PART,
    Learnt,
    LearntSaved,
    NetworkChosen,
    OutcomeKept,
    Saved,
    TrainingWanted,
)
from agentd.core.part import Effect
from agentd.part import Tables, forget_rows

_WHOLE = re.compile(r"-1|\d{1,9}", re.ASCII)
_NETWORK = "network"  # the fact in which stands the number of the network in force
_TRAINED = "trained"  # that of the newest row at the last training


class LearningTables(Tables):
    """The tables of learning. What cannot be read of a job is left out: the job begins to learn anew."""

    part = PART
    migrations: tuple[str, ...] = (
        """
        CREATE TABLE learnt (job TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
        CREATE TABLE outcomes (
            id INTEGER PRIMARY KEY, at INTEGER NOT NULL, job TEXT NOT NULL, rate REAL NOT NULL, span REAL NOT NULL,
            useful INTEGER NOT NULL, cpu REAL NOT NULL, features TEXT NOT NULL);
        """,
    )

    def load(self, db: sqlite3.Connection) -> Saved:
        """Returns what the core takes up at its start."""
        jobs, damaged = {}, 0
        for job, record in db.execute("SELECT job, record FROM learnt"):
            try:
                learnt = msgspec.json.decode(record, type=Learnt)
            except msgspec.MsgspecError:
                damaged += 1
            else:
                if learnt.state is not None and not learner.sound(learnt.state):
                    damaged, learnt.state = damaged + 1, None
                jobs[str(job)] = learnt
        if damaged:
            some, they = ("1 job", "it begins") if damaged == 1 else (f"{damaged} jobs", "they begin")
            self.warning = f"what was learnt of {some} could not be read: {they} to learn anew"
        (rows,) = db.execute("SELECT count(*) FROM outcomes").fetchone()
        (fresh,) = db.execute("SELECT count(*) FROM outcomes WHERE id > ?", (_fact(db, _TRAINED),)).fetchone()
        return Saved(jobs=jobs, rows=rows, fresh=fresh, network=_fact(db, _NETWORK))

    def behind(self, db: sqlite3.Connection, upto: int) -> None:
        """Leaves everything as it is: nothing of learning is due."""

    def write(self, db: sqlite3.Connection, effects: Sequence[Effect]) -> int:
        """Stores what is remembered of jobs, of each the last word, and what runs found; returns how many rows."""
        learnt = {effect.job: effect.record for effect in effects if isinstance(effect, LearntSaved)}
        outcomes = [effect.outcome for effect in effects if isinstance(effect, OutcomeKept)]
        db.executemany(
            "INSERT OR REPLACE INTO learnt VALUES (?, ?)", ((job, record.decode()) for job, record in learnt.items())
        )
        db.executemany(
            "INSERT INTO outcomes (at, job, rate, span, useful, cpu, features) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    *(one.at, one.job, one.row.rate, one.row.span, one.row.useful, one.cpu),
                    msgspec.json.encode([float(f"{value:.6g}") for value in one.row.features]).decode(),
                )
                for one in outcomes
            ),
        )
        for chosen in [effect.number for effect in effects if isinstance(effect, NetworkChosen)][-1:]:
            db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (_NETWORK, str(chosen)))
        if any(isinstance(effect, TrainingWanted) for effect in effects):
            newest = "SELECT coalesce(max(id), 0) FROM outcomes"
            db.execute(f"INSERT OR REPLACE INTO facts VALUES (?, ({newest}))", (_TRAINED,))  # noqa: S608 - our own words
        return len(learnt) + len(outcomes)

    def forget(self, db: sqlite3.Connection, history: History, now: int, *, whole: bool = True) -> Iterator[object]:
        """Removes all but the newest rows that a network learns from."""
        del history, now
        (newest,) = db.execute("SELECT coalesce(max(id), 0) FROM outcomes").fetchone()
        yield from forget_rows(db, "outcomes", "id", "id <= ?", (newest - MOST_ROWS,), whole=whole)


def _fact(db: sqlite3.Connection, name: str) -> int:
    """Returns the number in a fact; 0 where there is none."""
    (value,) = db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone() or ("0",)
    return int(value) if _WHOLE.fullmatch(str(value)) else 0


def list_rows(db: sqlite3.Connection) -> list[tuple[Any, ...]]:
    """Returns the rows that a network learns from, oldest first: at, job, rate, span, useful, the features as JSON."""
    newest = "SELECT id, at, job, rate, span, useful, features FROM outcomes ORDER BY id DESC LIMIT ?"
    return [tuple(row[1:]) for row in reversed(db.execute(newest, (MOST_ROWS,)).fetchall())]


def list_looks(db: sqlite3.Connection, *, job: str) -> list[tuple[int, float, int, float]]:
    """Returns what the runs of a job found, oldest first: at (microseconds), the span before (seconds), whether the run
    was of use, and its seconds of processor time."""
    wanted = "SELECT at, span, useful, cpu FROM outcomes WHERE job = ? ORDER BY at"
    return [(int(at), float(span), int(useful), float(cpu)) for at, span, useful, cpu in db.execute(wanted, (job,))]
