"""The upkeep of the store, off the way of what has to be stored: the -wal is emptied into the database, what is beyond
the history is forgotten, and somebody looks whether the database is still there.

Everything is done on the storing thread in steps of a few milliseconds, one at a time: a start that has to be stored
waits for at most one of them.
"""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Protocol

from agentd import log as logging
from agentd.core.config import History
from agentd.daemon import room
from agentd.daemon.damage import ERRORS, EXAMINED_AT_ONCE, examine, is_damage
from agentd.daemon.store import Store
from agentd.linux import now
from agentd.tasks import Tasks

log = logging.get()

QUIET = 1.0
"""Seconds without a write after which the -wal is emptied."""
_LATEST = 5.0  # seconds after a write at which it is emptied at the latest
_ROWS = 200  # rows after which it is emptied at once, beside the schedule
_PRUNED = 500  # rows after which the oldest is looked at
_MINUTE = 60.0
_HOUR, _DAY = 60, 24 * 60  # in minutes


class Host(Protocol):
    """The daemon, as upkeep needs it."""

    @property
    def history(self) -> History: ...
    def defect(self, where: str, error: BaseException) -> None: ...


class Upkeep:
    """Looks after an open store from start() to close(). `call` runs something on the storing thread; `on_damage` is
    told in which opening of the store the database was found damaged or gone, and why."""

    def __init__(
        self,
        store: Store,
        host: Host,
        call: Callable[..., Awaitable[Any]],
        on_damage: Callable[[int, str], None],
    ) -> None:
        self._store = store
        self._host = host
        self._call = call
        self._on_damage = on_damage
        self._tasks = Tasks(lambda error: host.defect("looking after the state", error))
        self._emptying: asyncio.TimerHandle | None = None
        self._unsaved = 0.0  # when the first write was that may be in the -wal alone, on the loop's clock
        self._emptied = self._pruned = 0  # rows that had been written then
        self._kept: History | None = None  # the bounds at the last pruning
        self._pruning: asyncio.Task[None] | None = None
        self._examined: sqlite3.Connection | None = None

    def start(self) -> None:
        """Begins, with a look at everything."""
        self._tasks.do(self._by_the_minute())
        self._tasks.do(self._examine())

    def close(self) -> None:
        """Stops, at once."""
        if self._emptying is not None:
            self._emptying.cancel()
        if self._examined is not None:
            self._examined.interrupt()
        self._tasks.close()

    def stored(self) -> None:
        """Learns that something was written."""
        loop = asyncio.get_running_loop()
        if self._emptying is None:
            self._unsaved = loop.time()
        else:
            self._emptying.cancel()
        pause = max(0.0, min(QUIET, self._unsaved + _LATEST - loop.time()))
        enough = self._store.rows - self._emptied >= _ROWS
        self._emptying = loop.call_later(0.0 if enough else pause, self._empty)
        if self._store.rows - self._pruned >= _PRUNED or self._store.crowded(self._host.history):
            self.prune()

    def prune(self, *, whole: bool = False) -> None:
        """Has what is beyond the history forgotten, unless that is under way."""
        if self._pruning is None or self._pruning.done():
            self._pruning = self._tasks.do(self._prune(whole))

    # The -wal

    def _empty(self) -> None:
        self._emptying, self._emptied = None, self._store.rows
        self._tasks.do(self._look())

    async def _look(self) -> None:
        """Empties the -wal, and sees whether the file is still where it was."""
        opening = self._store.opening
        if why := await self._call(self._checked):
            self._on_damage(opening, why)

    def _checked(self) -> str:
        """Returns why the database is no good any more, or "", on the storing thread."""
        why = self._store.missing()
        if not why:
            try:
                self._store.checkpoint()
            except ERRORS as error:
                why = str(error) if is_damage(error) else ""  # a full disk is told by what has to be written
        return why

    # What is forgotten

    async def _by_the_minute(self) -> None:
        minute = 0
        while True:
            if minute % _DAY == 0 or self._kept != self._host.history:
                self.prune(whole=True)
            elif minute % _HOUR == 0:
                self.prune()
            await self._call(room.keep_reserve, self._store.folder)
            await asyncio.sleep(_MINUTE)
            await self._look()
            minute += 1

    async def _prune(self, whole: bool) -> None:
        self._pruned, self._kept = self._store.rows, self._host.history
        try:
            steps = await self._call(self._store.pruning, self._kept, now(), whole=whole)
            took: float | None = 0.0
            while took is not None:
                await asyncio.sleep(took)  # the storing thread is for others, half of the time at least
                took = await self._call(_step, steps)
        except (*ERRORS, OSError) as error:  # what is kept for people never costs the schedule
            log.warning(f"old runs could not be removed from {self._store.folder}: {error}", id="state-trouble")

    # Damage

    async def _examine(self) -> None:
        """Examines a database in full that was too large for that when it was opened, on a thread of its own."""
        with contextlib.suppress(*ERRORS, OSError):  # interrupted, or told by what has to be written
            if self._store.file.stat().st_size > EXAMINED_AT_ONCE:
                opening = self._store.opening
                self._examined = self._store.reading(1.0)
                if why := await asyncio.to_thread(examine, self._examined, in_full=True):
                    self._on_damage(opening, why)
        if self._examined is not None:
            self._examined.close()
            self._examined = None


def _step(steps: Iterator[None]) -> float | None:
    """Takes a step on the storing thread; returns the seconds that it took, or None after the last."""
    begin = time.monotonic()
    try:
        next(steps)
    except StopIteration:
        return None
    return time.monotonic() - begin
