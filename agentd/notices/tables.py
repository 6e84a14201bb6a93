"""Notices on disk: the messages, the pings that wait, and what is remembered of troubles and checks."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from agentd.core.config import History
from agentd.core.notices.model import (
    PART,
    Check,
    CheckForgotten,
    CheckSaved,
    Message,
    MessageSaved,
    Ping,
    PingForgotten,
    PingSaved,
    Saved,
    Trouble,
    TroubleForgotten,
    TroubleSaved,
)
from agentd.core.part import Effect
from agentd.core.quantities import HOUR
from agentd.linux import now as this_instant
from agentd.part import Tables, forget_rows, set_aside, where

_T = TypeVar("_T")

_REMEMBERED: dict[str, type[Any]] = {"troubles": Trouble, "pings": Ping, "checks": Check}
_KEYS = {"troubles": "trouble", "pings": "id", "checks": "credential"}
"""The tables beside that of messages, what is in a record of each, and the names of their keys."""
_WORDS: Mapping[type[Effect], Callable[[Any], tuple[str, str | int, object]]] = {
    TroubleSaved: lambda effect: ("troubles", effect.trouble.key, effect.trouble),
    TroubleForgotten: lambda effect: ("troubles", effect.key, None),
    PingSaved: lambda effect: ("pings", effect.ping.id, effect.ping),
    PingForgotten: lambda effect: ("pings", effect.id, None),
    CheckSaved: lambda effect: ("checks", effect.check.credential, effect.check),
    CheckForgotten: lambda effect: ("checks", effect.credential, None),
}
"""The row that an effect is the last word on: its table, its key, and its record; None: it is to go."""
MOST = 10_000
"""Messages that are kept, beside those that wait."""


class NoticeTables(Tables):
    """The tables of notices. What cannot be read is set aside: a trouble of which it is not known that people were told
    is told again."""

    part = PART
    migrations: tuple[str, ...] = (
        """
        CREATE TABLE notices (
            id INTEGER PRIMARY KEY, channel TEXT NOT NULL, state TEXT NOT NULL, made INTEGER NOT NULL,
            ended INTEGER NOT NULL, record TEXT NOT NULL);
        CREATE INDEX notices_waiting ON notices (id) WHERE state = 'waiting';
        CREATE INDEX notices_by_channel ON notices (channel, id);
        CREATE TABLE troubles (trouble TEXT PRIMARY KEY, record TEXT NOT NULL);
        """,
        """
        CREATE TABLE pings (id INTEGER PRIMARY KEY, record TEXT NOT NULL);
        CREATE TABLE checks (credential TEXT PRIMARY KEY, record TEXT NOT NULL);
        """,
    )

    def load(self, db: sqlite3.Connection) -> Saved:
        """Returns what the core takes up at its start."""
        newest = "SELECT max(id) FROM notices WHERE state != 'waiting' GROUP BY channel"
        wanted = f"state = 'waiting' OR ended >= ? OR id IN ({newest})"
        rows = db.execute(
            f"SELECT id, record FROM notices WHERE {wanted} ORDER BY id",  # noqa: S608 - our own words
            (this_instant() - HOUR,),
        ).fetchall()
        messages = {number: _decoded(record, Message) for number, record in rows}
        rest = {table: self._rows(db, table, type_) for table, type_ in _REMEMBERED.items()}
        lost: dict[int, Sequence[object]]
        unknown: dict[str, dict[int, Sequence[object]]]
        lost = {number: (number, dict(rows)[number]) for number, message in messages.items() if message is None}
        unknown = {table: {row: (row,) for row, one in found.items() if one is None} for table, found in rest.items()}
        if lost or any(unknown.values()):
            self.warning = (
                f"of what people were told {len(lost)} of the messages and {len(unknown['troubles'])} of the troubles"
                f"{_of_checks(unknown)} could not be read; they stand in the table unreadable of agentd.db"
            )
            for table, gone in {"notices": lost, **unknown}.items():
                if gone:
                    set_aside(db, table, gone, this_instant())
        (highest,) = db.execute("SELECT coalesce(max(id), 0) FROM notices").fetchone()
        self.number = max(highest, self.number)
        return Saved(
            messages=tuple(message for message in messages.values() if message is not None),
            troubles=_known(rest["troubles"]),
            next_id=self.number + 1,
            pings=_known(rest["pings"]),
            checks=_known(rest["checks"]),
        )

    @staticmethod
    def _rows(db: sqlite3.Connection, table: str, type_: type[Any]) -> dict[int, Any]:
        found = db.execute(f"SELECT rowid, record FROM {table} ORDER BY rowid")  # noqa: S608 - our own words
        return {row: _decoded(record, type_) for row, record in found}

    def behind(self, db: sqlite3.Connection, upto: int) -> None:
        """Leaves everything as it is: a message may then be sent a second time, which is better than never."""

    def write(self, db: sqlite3.Connection, effects: Sequence[Effect]) -> int:
        """Stores messages, troubles, pings and checks, of each the last word; returns how many rows."""
        messages = {effect.message.id: effect.message for effect in effects if isinstance(effect, MessageSaved)}
        db.executemany(
            "INSERT OR REPLACE INTO notices VALUES (?, ?, ?, ?, ?, ?)",
            (
                (one.id, one.channel, one.state, one.made, one.ended, msgspec.json.encode(one).decode())
                for one in messages.values()
            ),
        )
        self.number = max(self.number, *messages) if messages else self.number
        changed: dict[str, dict[str | int, object]] = {table: {} for table in _REMEMBERED}
        for effect in effects:
            if (word := _WORDS.get(type(effect))) is not None:
                table, key, one = word(effect)
                changed[table][key] = one
        for table, last in changed.items():
            gone = [(key,) for key, one in last.items() if one is None]
            kept = [(key, msgspec.json.encode(one).decode()) for key, one in last.items() if one is not None]
            db.executemany(f"DELETE FROM {table} WHERE {_KEYS[table]} = ?", gone)  # noqa: S608 - our own words
            db.executemany(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", kept)  # noqa: S608 - our own words
        return len(messages) + sum(map(len, changed.values()))

    def forget(self, db: sqlite3.Connection, history: History, now: int, *, whole: bool = True) -> Iterator[object]:
        """Forgets messages beyond `history`; never one that waits."""
        (highest,) = db.execute("SELECT coalesce(max(id), 0) FROM notices").fetchone()
        dead, bounds = "state != 'waiting' AND (ended < ? OR id <= ?)", (now - history.keep, highest - MOST)
        yield from forget_rows(db, "notices", "id", dead, bounds, whole=whole)


def list_messages(
    db: sqlite3.Connection, *, channel: str = "", state: str = "", before: int = 0, limit: int = 50
) -> list[Message]:
    """Returns messages, newest first, without those whose record is damaged: those before the one with the id `before`,
    if that is not 0."""
    condition, values = where({"channel = ?": channel, "state = ?": state, "id < ?": before})
    rows = db.execute(f"SELECT record FROM notices {condition} ORDER BY id DESC LIMIT ?", (*values, limit))  # noqa: S608 - our own words
    return [message for (record,) in rows if (message := _decoded(record, Message)) is not None]


def find_message(db: sqlite3.Connection, *, identity: int) -> Message | None:
    """Returns the message with that id; None where there is none that can be read."""
    (record,) = db.execute("SELECT record FROM notices WHERE id = ?", (identity,)).fetchone() or ("",)
    return _decoded(record, Message)


def _decoded(record: str | bytes, type_: type[_T]) -> _T | None:
    """Returns a record as it was stored; None where that is damaged: then it may be bytes, or nested without end."""
    try:
        return msgspec.json.decode(record, type=type_)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _known(rows: Mapping[int, _T | None]) -> tuple[_T, ...]:
    """Returns the records that could be read."""
    return tuple(one for one in rows.values() if one is not None)


def _of_checks(unknown: Mapping[str, Mapping[int, object]]) -> str:
    """Returns what the sentence about damage says of pings and checks, where something is wrong with any."""
    count = len(unknown["pings"]) + len(unknown["checks"])
    return f" and {count} of the pings" if count else ""
