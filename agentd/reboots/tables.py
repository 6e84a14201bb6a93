"""The ledger of reboots on disk."""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from agentd.core.part import Effect
from agentd.core.reboots.model import PART, Ledger, LedgerSaved, Reboot, RebootSaved
from agentd.part import Tables, where

_REMEMBERED_AS = "reboot-guards"  # the fact in which stands what is remembered beside the reboots
_IN_MIND = 1000  # reboots that the core knows of: nightly ones of almost three years
_LOST = "the ledger of reboots was lost with a damaged database"
_BEHIND = "the newest records in the ledger of reboots were lost: the database is older than what was stored last"


class RebootTables(Tables):
    """The tables of reboots. A ledger that cannot be read is told to be lost, never guessed; nothing of it is ever
    forgotten, as it keeps a machine from rebooting again and again."""

    part = PART
    vital = ("reboots",)
    migrations: tuple[str, ...] = (
        """
        CREATE TABLE reboots (
            id INTEGER PRIMARY KEY, state TEXT NOT NULL, cause TEXT NOT NULL, record TEXT NOT NULL);
        """,
    )

    def load(self, db: sqlite3.Connection) -> Ledger:
        """Returns the ledger, with the newest reboots. Records that cannot be read are removed, which the ledger tells
        until somebody clears that."""
        beside, lost = LedgerSaved({}, "", slot=False), ""
        (text,) = db.execute("SELECT value FROM facts WHERE name = ?", (_REMEMBERED_AS,)).fetchone() or (None,)
        try:
            beside = beside if text is None else msgspec.json.decode(text, type=LedgerSaved)
        except msgspec.MsgspecError as error:
            lost = f"the record of breakers and of the fleet's slot cannot be read ({error})"
        rows = db.execute("SELECT id, record FROM reboots").fetchall()
        if damaged := [key for key, record in rows if _reboot(record) is None]:
            lost = f"{len(damaged)} of {len(rows)} records in the ledger of reboots cannot be read"
            with _together(db):
                _remember(db, replace(beside, lost=lost))
                db.executemany("DELETE FROM reboots WHERE id = ?", [(key,) for key in damaged])
        (highest,) = db.execute("SELECT coalesce(max(id), 0) FROM reboots").fetchone()
        self.number = max(highest, self.number)
        return Ledger(
            reboots=tuple(list_reboots(db, limit=_IN_MIND)),
            breakers=beside.breakers,
            lost=lost or beside.lost,
            slot=beside.slot,
            forgiven=beside.forgiven,
            uncounted=beside.uncounted,
            fresh=text is None and not self.number,
            next_id=self.number + 1,
        )

    def afresh(self, db: sqlite3.Connection, aside: Path) -> None:  # noqa: ARG002 - the store tells where the old one is
        """Notes in a new database, from its first moment on, that the ledger of reboots was lost."""
        _remember(db, LedgerSaved({}, _LOST, slot=False))

    def behind(self, db: sqlite3.Connection, upto: int) -> None:  # noqa: ARG002 - no reboot is due in a ledger
        """Notes that the newest reboots are not in the ledger: until somebody clears that, nothing reboots."""
        (text,) = db.execute("SELECT value FROM facts WHERE name = ?", (_REMEMBERED_AS,)).fetchone() or (None,)
        with contextlib.suppress(msgspec.MsgspecError):  # load() tells of that
            beside = msgspec.json.decode(text, type=LedgerSaved) if text else LedgerSaved({}, "", slot=False)
            _remember(db, replace(beside, lost=beside.lost or _BEHIND))

    def write(self, db: sqlite3.Connection, effects: Sequence[Effect]) -> int:
        """Stores reboots and what is remembered beside them, of each the last word; returns how many reboots."""
        reboots = {effect.reboot.id: effect.reboot for effect in effects if isinstance(effect, RebootSaved)}
        db.executemany(
            "INSERT OR REPLACE INTO reboots VALUES (?, ?, ?, ?)",
            ((key, one.state, one.cause, msgspec.json.encode(one).decode()) for key, one in reboots.items()),
        )
        self.number = max(self.number, *reboots) if reboots else self.number
        for beside in [effect for effect in effects if isinstance(effect, LedgerSaved)][-1:]:
            _remember(db, beside)
        return len(reboots)


def list_reboots(
    db: sqlite3.Connection, *, state: str = "", cause: str = "", before: int = 0, limit: int = 50
) -> list[Reboot]:
    """Returns reboots, newest first, without those whose record is damaged: those before the one with the id `before`,
    if that is not 0."""
    condition, values = where({"state = ?": state, "cause = ?": cause, "id < ?": before})
    rows = db.execute(f"SELECT record FROM reboots {condition} ORDER BY id DESC LIMIT ?", (*values, limit))  # noqa: S608 - our own words
    return [reboot for (record,) in rows if (reboot := _reboot(record)) is not None]


def _remember(db: sqlite3.Connection, beside: LedgerSaved) -> None:
    text = msgspec.json.encode(beside).decode()
    db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (_REMEMBERED_AS, text))


def _reboot(record: str) -> Reboot | None:
    """Returns a reboot as it is stored; None where that cannot be read."""
    try:
        return msgspec.json.decode(record, type=Reboot)
    except msgspec.MsgspecError:
        return None


@contextlib.contextmanager
def _together(db: sqlite3.Connection) -> Iterator[None]:
    """Has changes made all or not at all, within a transaction or without one."""
    db.execute("SAVEPOINT reboots")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK TO reboots")
        raise
    finally:
        db.execute("RELEASE reboots")
