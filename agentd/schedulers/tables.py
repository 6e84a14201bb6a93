"""Schedulers on disk: the time that each had on the machine, and what is remembered beside that."""

import sqlite3
from collections.abc import Iterator, Sequence
from typing import TypeVar

import msgspec
from msgspec import Struct

from agentd.core.config import History
from agentd.core.part import Effect
from agentd.core.quantities import counted
from agentd.core.schedulers.model import (
    PART,
    Chosen,
    LastGoodSaved,
    Quarantine,
    QuarantineSaved,
    Saved,
    Tenure,
    TenureSaved,
    Want,
    WantsSaved,
)
from agentd.part import Tables, forget_rows, where

_T = TypeVar("_T")
_WANTS, _GOOD = "scheduler-wants", "scheduler-good"  # the facts in which these stand


class _Wants(Struct, frozen=True):
    wants: tuple[Want, ...] = ()
    boot: str = ""


class SchedulerTables(Tables):
    """The tables of schedulers. What cannot be read is left out: no scheduler is started for it."""

    part = PART
    vital = ("quarantines",)
    migrations: tuple[str, ...] = (
        """
        CREATE TABLE tenures (
            number INTEGER PRIMARY KEY, since INTEGER NOT NULL, name TEXT NOT NULL, record TEXT NOT NULL);
        CREATE TABLE quarantines (name TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
        """,
    )

    def load(self, db: sqlite3.Connection) -> Saved:
        """Returns what the core takes up at its start."""
        damaged = 0
        quarantines = []
        for (record,) in db.execute("SELECT record FROM quarantines").fetchall():
            found = _decoded(record, Quarantine)
            damaged += found is None
            quarantines += [found] if found is not None else []
        (highest,) = db.execute("SELECT coalesce(max(number), 0) FROM tenures").fetchone()
        self.number = max(highest, self.number)
        newest = list_tenures(db, limit=1)
        wants, good = _fact(db, _WANTS, _Wants) or _Wants(), _fact(db, _GOOD, Chosen)
        if damaged:
            records = counted(damaged, "record")
            self.warning = f"{records} of schedulers that failed could not be read: these may be tried again"
        return Saved(
            wants=wants.wants,
            boot=wants.boot,
            quarantines=tuple(quarantines),
            tenure=newest[0] if newest and not newest[0].ended else None,
            number=self.number,
            last_good=good,
        )

    def behind(self, db: sqlite3.Connection, upto: int) -> None:
        """Leaves everything as it is: the kernel's word decides what runs."""

    def write(self, db: sqlite3.Connection, effects: Sequence[Effect]) -> int:
        """Stores tenures, quarantines, and the wishes of persons, of each the last word; returns how many rows."""
        tenures = {one.tenure.number: one.tenure for one in effects if isinstance(one, TenureSaved)}
        db.executemany(
            "INSERT OR REPLACE INTO tenures VALUES (?, ?, ?, ?)",
            ((one.number, one.since, one.chosen.name, _encoded(one)) for one in tenures.values()),
        )
        self.number = max(self.number, *tenures) if tenures else self.number
        quarantines = {one.quarantine.name: one.quarantine for one in effects if isinstance(one, QuarantineSaved)}
        db.executemany("DELETE FROM quarantines WHERE name = ?", ((name,) for name in quarantines))
        db.executemany(
            "INSERT INTO quarantines VALUES (?, ?)",
            ((name, _encoded(one)) for name, one in quarantines.items() if one.failures),
        )
        for saved in [one for one in effects if isinstance(one, WantsSaved)][-1:]:
            text = _encoded(_Wants(saved.wants, saved.boot))
            db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (_WANTS, text))
        for good in [one.chosen for one in effects if isinstance(one, LastGoodSaved)][-1:]:
            db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (_GOOD, _encoded(good)))
        return len(tenures) + len(quarantines)

    def forget(self, db: sqlite3.Connection, history: History, now: int, *, whole: bool = True) -> Iterator[object]:
        """Removes tenures that are older than what is kept, but for the newest."""
        (newest,) = db.execute("SELECT coalesce(max(number), 0) FROM tenures").fetchone()
        dead = "since < ? AND number < ?"
        yield from forget_rows(db, "tenures", "number", dead, (now - history.keep, newest), whole=whole)


def list_tenures(db: sqlite3.Connection, *, name: str = "", before: int = 0, limit: int = 50) -> list[Tenure]:
    """Returns tenures, newest first, without those whose record is damaged: those of one scheduler and those before a
    number, where that is said."""
    condition, values = where({"name = ?": name, "number < ?": before})
    rows = db.execute(f"SELECT record FROM tenures {condition} ORDER BY number DESC LIMIT ?", (*values, limit))  # noqa: S608 - our own words
    return [tenure for (record,) in rows if (tenure := _decoded(record, Tenure)) is not None]


def _fact(db: sqlite3.Connection, name: str, type_: type[_T]) -> _T | None:
    (text,) = db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone() or (None,)
    return None if text is None else _decoded(text, type_)


def _encoded(value: Struct) -> str:
    return msgspec.json.encode(value).decode()


def _decoded(text: str, type_: type[_T]) -> _T | None:
    """Returns a record as it is stored; None where that cannot be read."""
    try:
        return msgspec.json.decode(text, type=type_)
    except msgspec.MsgspecError:
        return None
