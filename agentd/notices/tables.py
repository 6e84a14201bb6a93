"""Notices on disk: the messages, and what is remembered of troubles."""

import sqlite3
from collections.abc import Iterator, Sequence
from typing import TypeVar

import msgspec

from agentd.core.config import History
from agentd.core.notices.model import PART, Message, MessageSaved, Saved, Trouble, TroubleForgotten, TroubleSaved
from agentd.core.part import Effect
from agentd.core.quantities import HOUR
from agentd.linux import now as this_instant
from agentd.part import Tables, forget_rows, set_aside

_T = TypeVar("_T")

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
        troubles = {row: _decoded(record, Trouble) for row, record in db.execute("SELECT rowid, record FROM troubles")}
        lost = [number for number, message in messages.items() if message is None]
        unknown = [row for row, trouble in troubles.items() if trouble is None]
        if lost or unknown:
            self.warning = (
                f"of what people were told {len(lost)} of the messages and {len(unknown)} of the troubles could not be "
                "read; they stand in the table unreadable of agentd.db"
            )
            instant = this_instant()
            set_aside(db, "notices", {number: (number, dict(rows)[number]) for number in lost}, instant)
            set_aside(db, "troubles", {row: (row,) for row in unknown}, instant)
        (highest,) = db.execute("SELECT coalesce(max(id), 0) FROM notices").fetchone()
        self.number = max(highest, self.number)
        return Saved(
            messages=tuple(message for message in messages.values() if message is not None),
            troubles=tuple(trouble for trouble in troubles.values() if trouble is not None),
            next_id=self.number + 1,
        )

    def behind(self, db: sqlite3.Connection, upto: int) -> None:
        """Leaves everything as it is: a message may then be sent a second time, which is better than never."""

    def write(self, db: sqlite3.Connection, effects: Sequence[Effect]) -> int:
        """Stores messages and troubles, of each the last word; returns how many rows."""
        messages = {effect.message.id: effect.message for effect in effects if isinstance(effect, MessageSaved)}
        db.executemany(
            "INSERT OR REPLACE INTO notices VALUES (?, ?, ?, ?, ?, ?)",
            (
                (one.id, one.channel, one.state, one.made, one.ended, msgspec.json.encode(one).decode())
                for one in messages.values()
            ),
        )
        self.number = max(self.number, *messages) if messages else self.number
        troubles: dict[str, Trouble | None] = {}
        for effect in effects:
            if isinstance(effect, TroubleSaved):
                troubles[effect.trouble.key] = effect.trouble
            elif isinstance(effect, TroubleForgotten):
                troubles[effect.key] = None
        db.executemany("DELETE FROM troubles WHERE trouble = ?", ((key,) for key, one in troubles.items() if not one))
        db.executemany(
            "INSERT OR REPLACE INTO troubles VALUES (?, ?)",
            ((key, msgspec.json.encode(one).decode()) for key, one in troubles.items() if one),
        )
        return len(messages) + len(troubles)

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
    rows = db.execute(
        "SELECT record FROM notices WHERE (? = '' OR channel = ?) AND (? = '' OR state = ?) AND (? = 0 OR id < ?) "
        "ORDER BY id DESC LIMIT ?",
        (channel, channel, state, state, before, before, limit),
    )
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
