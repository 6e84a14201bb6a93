"""The shell around the engine: feeds it what happened, stores what it decided, carries out the rest."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from agentd import __version__
from agentd import log as logging
from agentd.api import Api, run_record
from agentd.bus import Server
from agentd.config import Loaded
from agentd.core.engine import Engine
from agentd.core.model import (
    FAILURES,
    STORED,
    Decided,
    Effect,
    Notified,
    Outcome,
    Refused,
    Run,
    RunStarts,
    RunStops,
    Told,
)
from agentd.core.units import SECOND, format_duration
from agentd.linux import WallTimer, Watch, boot_time, now
from agentd.nodes import Problems
from agentd.standalone import Standalone
from agentd.store import Damaged, Store

log = logging.get()

LEAD = 200_000
"""Microseconds before a due time at which its run is decided and stored: more than a slow disk takes."""


class Daemon:
    """One running agentd. `load` reads the configuration; `folder` is where jobs work by default."""

    def __init__(
        self, loaded: Loaded, load: Callable[[], Loaded], watched: Callable[[], list[Path]], folder: str
    ) -> None:
        self._load = load
        self._watched = watched
        self._folder = folder
        self._loaded = loaded
        self._loaded_at = self._started_at = now()
        self._error = ""
        self._reading = asyncio.Lock()
        self._storing = ThreadPoolExecutor(1, "store")
        self._queue: list[Effect] = []
        self._settled: list[asyncio.Future[None]] = []  # of callers that wait for the next batch
        self._waiting: list[asyncio.Future[None]] = []  # of those whose batch is being stored
        self._performing: asyncio.Task[None] | None = None
        self._pumping = False
        self._trouble = ""
        self._watch: Watch | None = None
        self._idle = asyncio.Event()
        self.failure = ""
        self.ending = asyncio.Event()
        self.engine: Engine
        self.store: Store
        self.server: Server
        self.executor: Standalone
        self.timer: WallTimer

    # Life

    async def start(self, state: Path, host: str, boot_id: str, executor: Standalone, address: str) -> None:
        """Opens the store, takes up the schedule and answers on the bus. Raises BusError, OSError, sqlite3.Error."""
        self.executor = executor
        self.store = Store(state)
        self._state = state
        await self._in_store(self.store.open, now())
        if self.store.warning:
            log.error(self.store.warning, id="state-trouble")
        saved = replace(await self._in_store(self.store.load), outcomes=executor.left_behind())
        boot = await self._in_store(self._boot, boot_id)
        self.engine = Engine(self._loaded.config, saved, now(), host=host, boot=boot, lead=LEAD)
        api = Api(self)
        self.server = Server(api.methods(), api.properties(), self._defect)
        await self.server.connect(address)
        self.timer = WallTimer(self._tick, self._clock_stepped)
        self._watch_files()
        await self.settle()
        executor.forget_left_behind()
        jobs = len(self.engine.entries)
        log.info(f"agentd {__version__} started with {jobs} jobs from {', '.join(self._loaded.files)}", id="started")

    def _boot(self, boot_id: str) -> int:
        """The instant of the boot: as it was first seen, so that it stays the same instant for every restart."""
        known, _, instant = (self.store.fact("boot") or "").partition(" ")
        if known != boot_id:
            instant = str(boot_time())
            self.store.remember("boot", f"{boot_id} {instant}")
        return int(instant)

    async def drain(self) -> None:
        """Starts nothing new, waits for what runs up to the configured limit, stops the rest, saves."""
        self.engine.drain()
        self.server.changed("Manager.State")
        await self._carried_out()
        limit, busy = self._loaded.config.stop_timeout, self.executor.under_way
        if busy:
            text = f"waiting up to {format_duration(limit)} for {busy} runs to end"
            log.info(f"stopping: {text} (again: stop them now)", id="stopped")
            self.ending.clear()
            self._idle.clear()
            hurry = asyncio.create_task(self.ending.wait())
            nobody = asyncio.create_task(self._idle.wait())
            await asyncio.wait((hurry, nobody), timeout=limit / SECOND, return_when=asyncio.FIRST_COMPLETED)
            hurry.cancel()
            if self.executor.under_way:
                self.engine.stop_all("interrupted", "agentd was stopped", now())
                self.pump()
                longest = max((job.stop_timeout for job in self._loaded.config.jobs.values()), default=0)
                await asyncio.wait((nobody,), timeout=longest / SECOND + 5)
            nobody.cancel()
        await self._carried_out()

    async def _carried_out(self) -> None:
        """Waits until what was decided is carried out; not for ever for a disk that is full.

        What cannot be stored then is left by the supervisor as a note for the next daemon.
        """
        if self._performing is not None:
            await asyncio.wait((self._performing,), timeout=2 if self._trouble else None)

    async def close(self) -> None:
        """Ends everything in the order that loses nothing."""
        if self._watch is not None:
            self._watch.close()
        self.timer.close()
        self.server.close()
        self.executor.close()
        if self._performing is not None:
            self._performing.cancel()
        await self._in_store(self.store.close)
        self._storing.shutdown()
        log.info("agentd stopped", id="stopped")

    # What the handlers of the bus need

    @property
    def output(self) -> Path:
        return self.store.output

    def now(self) -> int:
        return now()

    def facts(self) -> dict[str, Any]:
        """The values of the Manager's properties."""
        return {
            "Version": __version__,
            "Mode": "standalone",
            "State": "draining" if self.engine.draining else "running",
            "StartedUSec": self._started_at,
            "ConfigurationFiles": list(self._loaded.files),
            "ConfigurationLoadedUSec": self._loaded_at,
            "ConfigurationError": self._error,
            "Warnings": self._warnings(),
            "StateDirectory": str(self._state),
        }

    def _warnings(self) -> list[str]:
        limited = [job.name for job in self._loaded.config.jobs.values() if any(_limits(job.limits))]
        without = f"limits of {', '.join(limited)} have no effect: standalone mode runs jobs without systemd"
        return [text for text in (self._trouble, self.store.warning, without if limited else "") if text]

    async def ask(self, question: Callable[..., Any], /, **wanted: Any) -> Any:
        """Asks the store something, after what was decided before is stored (or while nothing can be stored)."""
        await self.settle()
        return await self._in_store(lambda: question(**wanted))

    def ready(self) -> None:
        """Raises Refused StoreUnavailable while nothing can be stored and so nothing can be done."""
        if self._trouble:
            raise Refused("StoreUnavailable", self._trouble)

    async def settle(self) -> None:
        """Carries out what the engine decided; returns once it is stored, or known not to be storable for now.

        Raises Refused StoreUnavailable when that turns out while it waits.
        """
        self.pump()
        if self._performing is not None and not self._trouble:
            stored = asyncio.get_running_loop().create_future()
            self._settled.append(stored)
            await stored

    async def reload(self) -> list[str]:
        """Reads the configuration again, all or nothing. Raises Refused InvalidConfig."""
        async with self._reading:  # what was read last is what is applied last
            return await self._reload()

    async def _reload(self) -> list[str]:
        try:
            loaded = await asyncio.get_running_loop().run_in_executor(None, self._load)
        except Problems as error:
            self._error = str(error)
            log.error(f"the configuration was not changed:\n{error}", id="configuration-refused")
            self.server.changed("Manager.ConfigurationError")
            raise Refused("InvalidConfig", str(error)) from None
        self._loaded, self._error, self._loaded_at = loaded, "", now()
        changes = self.engine.reconfigure(loaded.config, now())
        self.server.changed(*(f"Manager.Configuration{name}" for name in ("Error", "Files", "LoadedUSec")))
        self.server.changed("Manager.Warnings")
        self._watch_files()
        await self.settle()
        log.info("configuration read: " + ("; ".join(changes) or "nothing changed"), id="configuration")
        return changes

    # Events

    def _tick(self) -> None:
        self.engine.tick(now())
        self.pump()

    def _clock_stepped(self, delta: int) -> None:
        log.warning(f"the clock was set by {delta / SECOND:+.3f} s; due times were worked out anew", id="decision")
        self.engine.clock_stepped(delta, now())
        self.pump()

    def run_started(self, run_id: str, at: int) -> None:
        self.engine.started(run_id, at)
        self._pump_soon()

    def run_ended(self, run_id: str, outcome: Outcome) -> None:
        self.engine.ended(run_id, outcome, now())
        self._pump_soon()

    def executor_lost(self, why: str) -> None:
        """Without the one that runs the jobs nothing can go on: says so and ends."""
        self.failure = why
        self.ending.set()

    def reload_soon(self) -> None:
        """Reads the configuration again, because somebody sent SIGHUP or changed a file."""

        async def reload() -> None:
            try:
                await self.reload()
            except Refused as refusal:
                log.debug(f"not reloaded: {refusal.name}")  # reload and the store have said why

        self._reloading = asyncio.get_running_loop().create_task(reload())

    def _watch_files(self) -> None:
        if self._watch is not None:
            self._watch.close()
        self._watch = Watch(self._watched(), self.reload_soon) if self._loaded.config.watch else None

    # Effects

    def _pump_soon(self) -> None:
        """Pumps once for all reports that are read together."""
        if not self._pumping:
            self._pumping = True
            asyncio.get_running_loop().call_soon(self.pump)

    def pump(self) -> None:
        """Queues what the engine decided, has it carried out, and sets the timer for what comes next."""
        self._pumping = False
        for effect in self.engine.effects():
            if self._trouble and isinstance(effect, RunStops):
                self._carry_out(effect)  # a job that fills the disk must not wait for room on it
            else:
                self._queue.append(effect)
        if self._queue and self._performing is None:
            self._performing = asyncio.get_running_loop().create_task(self._perform())
            self._performing.add_done_callback(self._performed)
        self.timer.set(self.engine.wakeup())
        if not self.executor.under_way:
            self._idle.set()

    async def _perform(self) -> None:
        while self._queue or self._settled:
            batch, self._queue = self._queue, []
            self._waiting, self._settled = self._settled, []
            stored = [effect for effect in batch if isinstance(effect, STORED)]
            if stored:
                await self._store_until_done(stored)
            for effect in batch:
                self._carry_out(effect)
            for future in self._waiting:
                if not future.done():
                    future.set_result(None)
        self._performing = None

    def _performed(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            # Effects that nobody carries out would be a daemon that only seems to live.
            self._defect("carrying out effects", error)
            self.executor_lost("of a defect, which is in the log")

    async def _store_until_done(self, effects: Sequence[Effect]) -> None:
        """Stores effects; while that fails, what they lead to waits and what runs goes on."""
        pause = 0.5
        while (error := await self._in_store(self._write, effects)) is not None:
            if isinstance(error, Damaged):
                log.error(self.store.warning, id="state-trouble")
                self.engine.save_all()
                self._queue += self.engine.effects()
                continue
            if not self._trouble:
                log.error(f"nothing starts: the state cannot be stored in {self._state}: {error}", id="state-trouble")
            self._trouble = f"nothing starts: the state cannot be stored: {error}"
            for future in self._waiting:
                if not future.done():
                    text = f"{self._trouble}; what was asked for is done as soon as it can be"
                    future.set_exception(Refused("StoreUnavailable", text))
            self.server.changed("Manager.Warnings")
            await asyncio.sleep(pause)
            pause = min(30.0, pause * 2)
        if self._trouble:
            self._trouble = ""
            log.info("the state can be stored again", id="state-trouble")
            self.server.changed("Manager.Warnings")

    def _write(self, effects: Sequence[Effect]) -> Exception | None:
        """On the storing thread: stores effects; returns what prevented it. A damaged store is replaced."""
        try:
            self.store.write(effects)
        except sqlite3.Error as error:
            if "malformed" in str(error) or "not a database" in str(error):
                self.store.recover(now())
                return Damaged(str(error))
            return error
        try:
            self.store.prune_if_due(self._loaded.config.history, now())
        except (sqlite3.Error, OSError) as error:
            log.warning(f"old runs could not be removed from {self._state}: {error}", id="state-trouble")
        return None

    def _carry_out(self, effect: Effect) -> None:
        if isinstance(effect, RunStarts):
            output = self.output / f"{effect.run.run_id}.log"
            self.executor.start(effect.run, effect.job, output, self._loaded.config.history.output, self._folder)
        elif isinstance(effect, RunStops):
            self.executor.stop(effect.run_id, effect.result)
        elif isinstance(effect, Told):
            self._tell(effect.event, effect.run)
        elif isinstance(effect, Notified):
            log.info(effect.text, id="notice", job=effect.run.job, run_id=effect.run.run_id)
            self.server.emit("Jobs", "Notified", effect.run.job, effect.run.run_id, effect.event, effect.text)
        elif isinstance(effect, Decided):
            about = f"{effect.job}: " if effect.job else ""
            log.info(f"{about}{effect.kind}: {effect.reason}", id="decision", job=effect.job, run_id=effect.run_id)

    def _tell(self, event: str, run: Run) -> None:
        """Tells listeners and the log; what is told of here is stored."""
        if event == "started":
            log.debug(f"{run.run_id} started", id="run-started", job=run.job, run_id=run.run_id)
            self.server.emit("Jobs", "JobStarted", run.job, run.run_id)
        elif event == "finished":
            self.executor.stored(run.run_id)
            failed = run.result in FAILURES
            (log.warning if failed else log.info)(
                _sentence(run), id="run-failed" if failed else "run-finished", job=run.job, run_id=run.run_id
            )
            self.server.emit("Jobs", "JobFinished", run.job, run.run_id, run.result, run_record(run))
        else:
            self.server.emit("Jobs", "JobProgress", run.job, run.run_id, run.progress)
        self.server.changed("Jobs.Running")

    def _in_store(self, function: Callable[..., Any], *arguments: Any) -> Awaitable[Any]:
        return asyncio.get_running_loop().run_in_executor(self._storing, function, *arguments)

    @staticmethod
    def _defect(member: str, error: BaseException) -> None:
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        place = f"{Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno}" if where is not None else "?"
        log.error(f"a defect in {member}: {type(error).__name__}: {error} ({place}); please report it", id="defect")


def _limits(limits: Any) -> tuple[Any, ...]:
    return limits.memory, limits.cpu_weight, limits.tasks


def _sentence(run: Run) -> str:
    took = format_duration(max(0, run.ended - run.started) // 1000 * 1000)
    how = {
        "exit-code": f"failed with exit code {run.exit_code}",
        "signal": f"was ended by {run.signal}",
        "success": "succeeded",
    }.get(run.result, run.result)
    reason = f" ({run.reason})" if run.reason and run.result in {"start-failed", "interrupted", "cancelled"} else ""
    return f"{run.run_id} {how} after {took}{reason}"
