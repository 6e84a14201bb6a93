"""Storing before carrying out: while the disk is full, nothing starts and what runs goes on."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

from agentd import log as logging
from agentd.core.config import History
from agentd.core.part import Beginning, Effect, Refused, Sampled, Stored, Urgent
from agentd.core.quantities import counted
from agentd.daemon.damage import ERRORS, Damaged, is_damage
from agentd.daemon.room import is_full
from agentd.daemon.store import Store
from agentd.daemon.upkeep import Upkeep
from agentd.linux import now

log = logging.get()


FLUSH, LATER = 60.0, 10.0
"""Seconds that samples are collected before they are stored together: with the next one that comes, so that agentd does
not wake up for it, or without one so much later."""
MOST_SAMPLES = 10_000
"""The most samples that are kept while they cannot be stored; the oldest go first."""


class Host(Protocol):
    """The daemon, as storing needs it."""

    @property
    def history(self) -> History: ...
    def carry_out(self, effect: Effect) -> None: ...
    def everything(self) -> list[Effect]:
        """Returns all that should be stored, for a new database in the place of a damaged one."""

    def trouble_changed(self) -> None: ...
    def defect(self, where: str, error: BaseException) -> None: ...
    def failed(self, part: str, error: Exception) -> None:
        """Learns of a defect in a part."""

    def lost(self, why: str) -> None: ...


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
        self._settled: list[asyncio.Future[None]] = []  # callers that wait for the next batch
        self._waiting: list[asyncio.Future[None]] = []  # callers whose batch is being stored
        self._performing: asyncio.Task[None] | None = None
        self._carrying = False  # at once; what is added meanwhile comes after that
        self._defects: dict[str, Exception] = {}  # in the tables of parts, as the storing thread found them
        self._samples: list[Sampled] = []
        self._leaving: list[Sampled] = []  # samples that are being stored
        self._writing: Future[None] | None = None  # these
        self._flush: asyncio.TimerHandle | None = None
        self._first = 0.0  # when the first of the samples came, on the loop's clock
        self._upkeep = Upkeep(store, host, self.call, self.damaged)
        self._replacing: asyncio.Task[None] | None = None

    def call(self, function: Callable[..., Any], *arguments: Any, **more: Any) -> Awaitable[Any]:
        """Runs something on the storing thread, after what is there before it."""
        return asyncio.get_running_loop().run_in_executor(self._thread, partial(function, *arguments, **more))

    def start(self) -> None:
        """Begins to look after the store, once parts have taken up their tables."""
        self._upkeep.start()

    def add(self, effects: Iterable[Effect]) -> None:
        """Has effects stored and carried out."""
        for effect in effects:
            if isinstance(effect, Sampled):
                self._collect(effect)
            elif self.trouble and isinstance(effect, Urgent) and effect.subject not in self._begun():
                self._host.carry_out(effect)  # a job that fills the disk must not wait for room on it
            else:
                self._queue.append(effect)
        while self._queue and self._performing is None and not self._carrying:
            if self._defects or any(isinstance(effect, Stored) for effect in self._queue):
                self._performing = asyncio.get_running_loop().create_task(self._perform())
                self._performing.add_done_callback(self._performed)
            else:
                self._carry_out_at_once()

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

        The executor of the jobs leaves a note for the next daemon of each end that cannot be stored.
        """
        if self._performing is not None:
            await asyncio.wait((self._performing,), timeout=2 if self.trouble else None)

    async def done(self) -> None:
        """Waits until all is carried out, however long that takes."""
        while self._performing is not None:
            await asyncio.wait((self._performing,))

    def damaged(self, opening: int, why: str) -> None:
        """Learns that the database is damaged or gone: a new one takes its place, with all that is known. `opening` is
        the one of the store in which that was found; a report of one before is of a database that was replaced."""
        if self._replacing is None or self._replacing.done():
            self._replacing = asyncio.get_running_loop().create_task(self._replace(opening, why))
            self._replacing.add_done_callback(self._performed)

    async def _replace(self, opening: int, why: str) -> None:
        try:
            if not await self.call(self._recover, opening, why):
                return
        except (*ERRORS, OSError) as error:  # as on a full disk: what has to be written tells of that, and tries
            log.error(f"the state in {self._store.folder} is lost ({why}): {error}", id="state-trouble")
            return
        log.error(self._store.warning, id="state-trouble")
        self.add(self._host.everything())
        self._host.trouble_changed()

    def _recover(self, opening: int, why: str) -> bool:
        """Goes on with a new database, on the storing thread, unless that has been done meanwhile; returns whether."""
        if self._store.opening != opening:
            return False
        self._store.recover(now(), why)
        return True

    async def close(self) -> None:
        """Stores the samples collected so far and closes the store."""
        self._upkeep.close()
        for task in filter(None, (self._performing, self._replacing)):
            task.cancel()
        if self._flush is not None:
            self._flush.cancel()
            await self.call(self._write_samples, self._samples)
        await self.call(self._store.close)
        self._thread.shutdown()

    def _begun(self) -> set[str]:
        """Returns the subjects whose beginning itself waits for room on the disk: their end waits with it."""
        return {effect.subject for effect in (*self._batch, *self._queue) if isinstance(effect, Beginning)}

    def _let_urgent_pass(self) -> None:
        """Carries out what may not wait of the effects that were to be stored when the disk was found full."""
        begun = self._begun()
        for waiting in (self._batch, self._queue):
            passing = [isinstance(effect, Urgent) and effect.subject not in begun for effect in waiting]
            urgent = [effect for effect, passes in zip(waiting, passing, strict=True) if passes]
            waiting[:] = [effect for effect, passes in zip(waiting, passing, strict=True) if not passes]
            for effect in urgent:
                self._host.carry_out(effect)

    # Samples

    def _collect(self, sample: Sampled) -> None:
        """Keeps a sample until the minute is over; the timer runs only while there is one."""
        self._samples.append(sample)
        loop = asyncio.get_running_loop()
        if self._flush is None:
            self._first, self._flush = loop.time(), loop.call_later(FLUSH + LATER, self._store_samples)
        elif loop.time() - self._first >= FLUSH:
            self._store_samples()
        elif len(self._samples) > MOST_SAMPLES:
            del self._samples[0]

    def collected(self, type_: type[Sampled]) -> list[Any]:
        """Returns the samples of a type that may not be stored yet, older ones first."""
        self._look_after_samples()
        return [sample for sample in (*self._leaving, *self._samples) if isinstance(sample, type_)]

    def _store_samples(self) -> None:
        if self._flush is not None:
            self._flush.cancel()
        self._look_after_samples()
        self._flush, samples, self._samples = None, self._samples, []
        if not self.trouble:  # samples are for people and never cost the schedule: without room they go first
            self._leaving = samples
            self._writing = self._thread.submit(self._write_samples, samples)  # the loop need not wake up at its end

    def _look_after_samples(self) -> None:
        """Lets go the samples that are stored."""
        if self._writing is not None and self._writing.done():
            if (error := self._writing.exception()) is not None:
                self._host.defect("storing samples", error)
            self._writing, self._leaving = None, []

    def _write_samples(self, samples: Sequence[Sampled]) -> None:
        """Stores samples, on the storing thread."""
        try:
            self._defects |= self._store.sample(samples)
        except ERRORS as error:
            lost = counted(len(samples), "sample")
            log.warning(f"{lost} could not be stored in {self._store.folder}: {error}", id="state-trouble")

    # Effects

    def _carry_out_at_once(self) -> None:
        """Carries out what need not be stored, such as the looks of each second, for which a task would be dear."""
        batch, self._queue = self._queue, []
        self._carrying = True
        try:
            for effect in batch:
                self._host.carry_out(effect)
        except Exception as error:  # noqa: BLE001 - whatever it is, agentd ends
            self._lose(error)
        finally:
            self._carrying = False

    async def _perform(self) -> None:
        while self._queue or self._settled:
            batch = self._batch = self._queue
            self._queue = []
            self._waiting, self._settled = self._settled, []
            stored = [effect for effect in batch if isinstance(effect, Stored)]
            if stored:
                await self._store_until_done(stored)
                self._upkeep.stored()
            while self._defects:  # what such a part wanted done is not done: nothing of it is stored
                self._host.failed(*self._defects.popitem())
            for effect in batch:
                self._host.carry_out(effect)
            for future in self._waiting:
                if not future.done():
                    future.set_result(None)
            self._batch = []
        self._performing = None

    def _performed(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._lose(error)

    def _lose(self, error: BaseException) -> None:
        """Ends agentd because of a defect: without its effects it would only seem to live."""
        self._host.defect("carrying out effects", error)
        self._host.lost("of a defect, which is in the log")

    async def _store_until_done(self, effects: Sequence[Effect]) -> None:
        """Stores effects; while that fails, what they lead to waits and what runs goes on."""
        pause = 0.5
        while (error := await self.call(self._write, effects)) is not None:
            if isinstance(error, Damaged):
                log.error(self._store.warning, id="state-trouble")
                self.add(self._host.everything())
                continue
            if not self.trouble:
                where = self._store.folder
                log.error(f"nothing starts: the state cannot be stored in {where}: {error}", id="state-trouble")
            self.trouble = f"nothing starts: the state cannot be stored: {error}"
            self._let_urgent_pass()
            for future in (*self._waiting, *self._settled):  # also callers that came meanwhile
                if not future.done():
                    text = f"{self.trouble}; your request is kept and carried out once it can be stored"
                    future.set_exception(Refused("StoreUnavailable", text))
            self._host.trouble_changed()
            await asyncio.sleep(pause)
            pause = min(30.0, pause * 2)
        if self.trouble:
            self.trouble = ""
            log.info("the state can be stored again", id="state-trouble")
            self._host.trouble_changed()

    def _write(self, effects: Sequence[Effect]) -> Exception | None:
        """Stores effects, on the storing thread; returns the error where that fails. A damaged store is replaced; on a
        full disk, what is kept for people goes first."""
        told = False
        while True:
            try:
                if self._store.lost:
                    self._store.recover(now(), self._store.lost)
                    return Damaged(self._store.warning)
                self._defects |= self._store.write(effects)
            except (Damaged, *ERRORS, OSError) as error:
                if is_damage(error):
                    self._store.lost = str(error)
                    continue
                if not (is_full(error, self._store.folder) and self._store.make_room()):
                    return error
                if not told:
                    where = self._store.folder
                    log.warning(f"the disk of {where} is full: old output of runs is removed", id="state-trouble")
                told = True
            else:
                return None
