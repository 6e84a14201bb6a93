"""What was decided is stored before it is carried out; while the disk is full, nothing starts and what runs goes on."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from agentd import log as logging
from agentd.core.config import History
from agentd.core.jobs.model import RunStarts, RunStops
from agentd.core.part import Effect, Refused, Stored
from agentd.daemon.store import Damaged, Store
from agentd.linux import now

log = logging.get()


class Host(Protocol):
    """What storing needs of the daemon."""

    @property
    def history(self) -> History: ...
    def carry_out(self, effect: Effect) -> None: ...
    def everything(self) -> list[Effect]:
        """All that should be stored, for a new database in the place of a damaged one."""

    def trouble_changed(self) -> None: ...
    def defect(self, member: str, error: BaseException) -> None: ...
    def executor_lost(self, why: str) -> None: ...


class Storing:
    """Takes effects in order, in batches: of each batch, those of part.Stored are on the disk before any other is
    carried out. `trouble` is why nothing can be stored just now, or empty."""

    def __init__(self, store: Store, host: Host) -> None:
        self.trouble = ""
        self._store = store
        self._host = host
        self._thread = ThreadPoolExecutor(1, "store")
        self._queue: list[Effect] = []
        self._batch: list[Effect] = []
        self._settled: list[asyncio.Future[None]] = []  # of callers that wait for the next batch
        self._waiting: list[asyncio.Future[None]] = []  # of those whose batch is being stored
        self._performing: asyncio.Task[None] | None = None

    def call(self, function: Callable[..., Any], *arguments: Any) -> Awaitable[Any]:
        """Runs something on the storing thread, after what is there before it."""
        return asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    def add(self, effects: Iterable[Effect]) -> None:
        """Has effects stored and carried out."""
        for effect in effects:
            if self.trouble and isinstance(effect, RunStops) and not self._starts(effect.run_id):
                self._host.carry_out(effect)  # a job that fills the disk must not wait for room on it
            else:
                self._queue.append(effect)
        if self._queue and self._performing is None:
            self._performing = asyncio.get_running_loop().create_task(self._perform())
            self._performing.add_done_callback(self._performed)

    async def settle(self) -> None:
        """Returns once all is carried out, or known not to be storable for now.

        Raises Refused StoreUnavailable when that turns out while it waits.
        """
        if self._performing is not None and not self.trouble:
            stored = asyncio.get_running_loop().create_future()
            self._settled.append(stored)
            await stored

    async def finish(self) -> None:
        """Waits until all is carried out; not for ever for a disk that is full.

        What cannot be stored then is left by those who run the jobs as a note for the next daemon.
        """
        if self._performing is not None:
            await asyncio.wait((self._performing,), timeout=2 if self.trouble else None)

    async def close(self) -> None:
        """Closes the store."""
        if self._performing is not None:
            self._performing.cancel()
        await self.call(self._store.close)
        self._thread.shutdown()

    def _starts(self, run_id: str) -> bool:
        """Whether the run's start itself waits for room on the disk."""
        waiting = (*self._batch, *self._queue)
        return any(isinstance(effect, RunStarts) and effect.run.run_id == run_id for effect in waiting)

    async def _perform(self) -> None:
        while self._queue or self._settled:
            batch = self._batch = self._queue
            self._queue = []
            self._waiting, self._settled = self._settled, []
            stored = [effect for effect in batch if isinstance(effect, Stored)]
            if stored:
                await self._store_until_done(stored)
            for effect in batch:
                self._host.carry_out(effect)
            for future in self._waiting:
                if not future.done():
                    future.set_result(None)
            self._batch = []
        self._performing = None

    def _performed(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            # Effects that nobody carries out would be a daemon that only seems to live.
            self._host.defect("carrying out effects", error)
            self._host.executor_lost("of a defect, which is in the log")

    async def _store_until_done(self, effects: Sequence[Effect]) -> None:
        """Stores effects; while that fails, what they lead to waits and what runs goes on."""
        pause = 0.5
        while (error := await self.call(self._write, effects)) is not None:
            if isinstance(error, Damaged):
                log.error(self._store.warning, id="state-trouble")
                self._queue += self._host.everything()
                continue
            if not self.trouble:
                where = self._store.folder
                log.error(f"nothing starts: the state cannot be stored in {where}: {error}", id="state-trouble")
            self.trouble = f"nothing starts: the state cannot be stored: {error}"
            for future in (*self._waiting, *self._settled):  # also who came while it was tried
                if not future.done():
                    text = f"{self.trouble}; what was asked for is done as soon as it can be"
                    future.set_exception(Refused("StoreUnavailable", text))
            self._host.trouble_changed()
            await asyncio.sleep(pause)
            pause = min(30.0, pause * 2)
        if self.trouble:
            self.trouble = ""
            log.info("the state can be stored again", id="state-trouble")
            self._host.trouble_changed()

    def _write(self, effects: Sequence[Effect]) -> Exception | None:
        """On the storing thread: stores effects; returns what prevented it. A damaged store is replaced."""
        try:
            self._store.write(effects)
        except sqlite3.Error as error:
            if "malformed" in str(error) or "not a database" in str(error):
                self._store.recover(now())
                return Damaged(str(error))
            return error
        try:
            self._store.prune_if_due(self._host.history, now())
        except (sqlite3.Error, OSError) as error:
            log.warning(f"old runs could not be removed from {self._store.folder}: {error}", id="state-trouble")
        return None
