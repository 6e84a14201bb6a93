"""Reading the store on a thread and a connection of its own, so that no question delays what is to be stored."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import msgspec

from agentd.core.part import Decided, Refused
from agentd.daemon.damage import ERRORS, is_damage
from agentd.daemon.store import UNUSUAL, USUAL, Store
from agentd.part import where

_NONE = object()
_STORED = ("at", "part", "kind", "about", "reason", "run_id")  # of a decision
_PATIENCE = 1.0  # seconds that a question waits for a lock; readers need none but while a database is opened


class Reader:
    """Answers questions from what is stored. `on_damage` is told in which opening of the store the database turned out
    to be damaged, and why.

    `call` runs something on the storing thread: where there is no room for another connection, on the disk or among the
    descriptors, questions are answered there.
    """

    def __init__(
        self, store: Store, on_damage: Callable[[int, str], None], call: Callable[..., Awaitable[Any]]
    ) -> None:
        self._store = store
        self._call = call
        self._on_damage = on_damage
        self._thread = ThreadPoolExecutor(1, "reader")
        self._db: sqlite3.Connection | None = None
        self._opening = 0  # of the store, for which the connection was made

    async def ask(self, question: Callable[..., Any], wanted: Mapping[str, Any]) -> Any:
        """Returns question(db, **wanted). Raises Refused StoreUnavailable."""
        loop, opening = asyncio.get_running_loop(), self._store.opening
        try:
            answer = await loop.run_in_executor(self._thread, self._answer, question, wanted)
            return answer if answer is not _NONE else await self._call(lambda: question(self._store.db, **wanted))
        except ERRORS as error:
            if is_damage(error):
                self._on_damage(opening, str(error))
            raise Refused("StoreUnavailable", f"the state in {self._store.folder} cannot be read: {error}") from None

    def close(self) -> None:
        """Interrupts the question under way, and closes the connection."""
        if self._db is not None:
            self._db.interrupt()
        self._thread.submit(self._forget)
        self._thread.shutdown()

    def _open(self) -> bool:
        """Opens the connection, where the one that there is belongs to a database of before; returns whether it can."""
        if self._db is None or self._opening != self._store.opening:
            self._forget()
            self._opening = self._store.opening
            try:
                self._db = self._store.reading(_PATIENCE)
                self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            except sqlite3.OperationalError:
                self._forget()
        return self._db is not None

    def _answer(self, question: Callable[..., Any], wanted: Mapping[str, Any]) -> Any:
        """Returns the answer, or _NONE where there is no connection."""
        if not self._open():
            return _NONE
        try:
            return question(self._db, **wanted)
        except ERRORS:
            self._forget()
            raise

    def _forget(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


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
    if run_id:  # of which a decision is about the run's job: that has an index
        job = run_id.rpartition(".")[0]
        if not job or about not in {"", job}:
            return []
        about = job
    of_part = "part = ?" if part == USUAL else f"{UNUSUAL} AND part = ?"
    condition, values = where({of_part: part, "about = ?": about, "run_id = ?": run_id, "id < ?": before})
    select = "SELECT id, at, part, kind, about, reason, run_id FROM decisions"
    rows = db.execute(f"{select} {condition} ORDER BY id DESC", values)
    read = ((number, decision) for number, *row in rows if (decision := _decided(row)) is not None)
    return list(islice(read, limit))  # a page is full also where rows cannot be read


def _decided(row: Sequence[object]) -> Decided | None:
    """Returns a decision as it is stored; None where that cannot be read."""
    try:
        decision = msgspec.convert(dict(zip(_STORED, row, strict=True)), Decided)
    except msgspec.ValidationError:
        return None
    return decision if decision.at >= 0 else None
