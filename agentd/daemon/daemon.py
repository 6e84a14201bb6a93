"""The shell around the engine: feeds it what happened, and has what it decided stored and carried out."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from agentd import __version__
from agentd import log as logging
from agentd.bus.arguments import limit_of, only, record
from agentd.bus.connection import Bus
from agentd.bus.server import Authorize, Offer, Server
from agentd.config.files import Loaded
from agentd.config.nodes import Problems
from agentd.core.config import Config, History
from agentd.core.jobs.jobs import Jobs
from agentd.core.jobs.model import FAILURES, Notified, Outcome, Run, RunChanged, RunStarts, RunStops, Saved
from agentd.core.jobs.settings import Job
from agentd.core.part import Decided, Effect, Refused
from agentd.core.quantities import SECOND, format_duration
from agentd.core.reboots.model import Boot
from agentd.core.reboots.reboots import Reboots
from agentd.daemon.store import Store
from agentd.daemon.storing import Storing
from agentd.jobs.api import Api, run_record
from agentd.linux import WallTimer, Watch, now
from agentd.reboots.api import RebootApi
from agentd.reboots.part import Rebooter

log = logging.get()

LEAD = 300_000
"""Microseconds before a due time at which its run is decided and stored: more than a slow disk takes, and than a
thousand runs that are due together take."""


class Executor(Protocol):
    """Who runs the jobs: standalone.Standalone or systemd.Systemd."""

    mode: str
    outlives: bool
    """Whether runs go on when agentd ends."""

    @property
    def under_way(self) -> int:
        """How many runs need agentd's process to go on."""

    def warnings(self, config: Config) -> list[str]: ...
    async def prepare(self, config: Config) -> None: ...
    async def take_up(self, saved: Saved, *, rebooted: bool) -> Saved: ...
    def taken_up(self) -> None: ...
    def start(self, run: Run, job: Job, *more: Any) -> None: ...
    def stop(self, run_id: str, result: str) -> None: ...
    def stored(self, run_id: str) -> None: ...
    def close(self) -> None: ...


class Daemon:
    """One running agentd. `load` reads the configuration; `folder` is where jobs work by default; `alive` is called
    at least every `watchdog` microseconds while due times are dealt with, `on_configured` after every try to reload,
    `on_stopping` when it begins to stop."""

    def __init__(
        self,
        loaded: Loaded,
        load: Callable[[], Loaded],
        watched: Callable[[], list[Path]],
        folder: str,
        *,
        watchdog: int | None = None,
        alive: Callable[[], None] = lambda: None,
        on_configured: Callable[[], None] = lambda: None,
        on_stopping: Callable[[], None] = lambda: None,
    ) -> None:
        self._load = load
        self._watched = watched
        self._folder = folder
        self._loaded = loaded
        self._loaded_at = self._started_at = now()
        self._watchdog = watchdog
        self._alive = alive
        self._alive_due = 0.0  # on the monotonic clock
        self._on_configured = on_configured
        self._on_stopping = on_stopping
        self.error = ""
        self._reading = asyncio.Lock()
        self._pumping = False
        self._watch: Watch | None = None
        self._idle = asyncio.Event()
        self.failure = ""
        self.ending = asyncio.Event()
        self.engine: Jobs
        self.store: Store
        self.storing: Storing
        self.server: Server
        self.executor: Executor
        self.reboots: Reboots | None = None
        self.rebooter: Rebooter | None = None
        self.timer: WallTimer

    # Life

    async def start(
        self,
        state: Path,
        host: str,
        boot: Boot,
        executor: Executor,
        bus: Bus,
        authorize: Authorize | None = None,
        rebooter: Rebooter | None = None,
    ) -> None:
        """Opens the store, takes up the schedule and answers on the bus. Without a rebooter it never reboots.

        Raises BusError, CallFailed, OSError, Problems, Refused, sqlite3.Error.
        """
        self.executor = executor
        self.store = Store(state)
        self.storing = Storing(self.store, self)
        await self.storing.call(self.store.open, now())
        if self.store.warning:
            log.error(self.store.warning, id="state-trouble")
        booted_at, rebooted = await self.storing.call(self._boot, boot)
        saved = await executor.take_up(await self.storing.call(self.store.load), rebooted=rebooted)
        self._loaded = await self._prepared(self._loaded)
        self.engine = Jobs(self._loaded.config, saved, now(), host=host, boot=booted_at, lead=LEAD)
        api, own = Api(self), RebootApi(self, rebooter)
        methods = {**api.methods(), **own.methods(), "Manager.ListDecisions": self._list_decisions}
        self.server = Server(
            bus, list(_offers(methods, {**api.properties(), **own.properties()})), self.defect, authorize
        )
        self.timer = WallTimer(self._tick, self._clock_stepped)
        if rebooter is not None:
            self.rebooter = rebooter
            ledger = await self.storing.call(self.store.ledger)
            self.reboots = Reboots(self.engine, ledger, boot, now(), host=host)
            self._host = host
            rebooter.configure(self._loaded.config.reboot.fleet, host)
            await rebooter.start(self.reboots, self.server)
        await self.server.start()
        self._watch_files()
        await self.settle()
        executor.taken_up()
        jobs = len(self.engine.entries)
        log.info(f"agentd {__version__} started with {jobs} jobs from {', '.join(self._loaded.files)}", id="started")

    def _boot(self, boot: Boot) -> tuple[int, bool]:
        """The instant of the boot, and whether it is new to us: kept as it was first seen, so that it stays the same
        instant for every restart."""
        known, _, instant = (self.store.fact("boot") or "").partition(" ")
        if known != boot.id:
            instant = str(boot.at)
            self.store.remember("boot", f"{boot.id} {instant}")
        return int(instant), known != boot.id

    async def drain(self) -> None:
        """Starts nothing new, waits for what runs up to the configured limit, stops the rest, saves."""
        self._on_stopping()
        self.engine.drain()
        self.server.changed("Manager.State")
        await self.storing.finish()
        limit, busy = self._loaded.config.stop_timeout, self.executor.under_way
        if busy and not (self.failure and self.executor.outlives):
            verb = "be started" if self.executor.outlives else "end"
            text = f"waiting up to {format_duration(limit)} for {busy} runs to {verb}"
            log.info(f"stopping: {text} (again: stop them now)", id="stopped")
            self.ending.clear()
            self._idle.clear()
            hurry = asyncio.create_task(self.ending.wait())
            nobody = asyncio.create_task(self._idle.wait())
            await asyncio.wait((hurry, nobody), timeout=limit / SECOND, return_when=asyncio.FIRST_COMPLETED)
            hurry.cancel()
            if self.executor.under_way and not self.executor.outlives:
                self.engine.stop_all("interrupted", "agentd was stopped", now())
                self.pump()
                longest = max((job.stop_timeout for job in self._loaded.config.jobs.values()), default=0)
                await asyncio.wait((nobody,), timeout=longest / SECOND + 5)
            nobody.cancel()
        await self.storing.finish()

    async def close(self) -> None:
        """Ends everything in the order that loses nothing."""
        if self._watch is not None:
            self._watch.close()
        self.timer.close()
        if self.rebooter is not None:
            self.rebooter.close()
        self.executor.close()
        await self.storing.close()
        log.info("agentd stopped", id="stopped")

    async def _list_decisions(self, filter: dict[str, Any]) -> list[dict[str, Any]]:  # noqa: A002 - the contract's name
        only(filter, part=str, about=str, run_id=str, limit=int)
        wanted = {"job": filter.get("about", ""), "run_id": filter.get("run_id", ""), "limit": limit_of(filter)}
        found = await self.ask(self.store.decisions, **wanted)
        types = {"at": "t", **dict.fromkeys(("part", "kind", "about", "run_id", "reason"), "s")}
        records = ({name: getattr(decision, name) for name in types} for decision in found)
        return [record(one, types) for one in records if one["part"] == filter.get("part", one["part"])]

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
            "Mode": self.executor.mode,
            "State": "draining" if self.engine.draining or self.engine.held else "running",
            "StartedUSec": self._started_at,
            "ConfigurationFiles": list(self._loaded.files),
            "ConfigurationLoadedUSec": self._loaded_at,
            "ConfigurationError": self.error,
            "Warnings": self._warnings(),
            "StateDirectory": str(self.store.folder),
        }

    def _warnings(self) -> list[str]:
        own = [text for text in (self.storing.trouble, self.store.warning) if text]
        return own + self.executor.warnings(self._loaded.config)

    async def ask(self, question: Callable[..., Any], /, **wanted: Any) -> Any:
        """Asks the store something, after what was decided before is stored (or while nothing can be stored)."""
        await self.settle()
        return await self.storing.call(lambda: question(**wanted))

    def ready(self) -> None:
        """Raises Refused StoreUnavailable while nothing can be stored and so nothing can be done."""
        if self.storing.trouble:
            raise Refused("StoreUnavailable", self.storing.trouble)

    async def settle(self) -> None:
        """Carries out what the engine decided; returns once it is stored, or known not to be storable for now.

        Raises Refused StoreUnavailable when that turns out while it waits.
        """
        self.pump()
        await self.storing.settle()

    async def reload(self) -> list[str]:
        """Reads the configuration again, all or nothing. Raises Refused InvalidConfig, PeerFailed."""
        async with self._reading:  # what was read last is what is applied last
            try:
                return await self._reload()
            finally:
                self._on_configured()

    async def _reload(self) -> list[str]:
        try:
            loaded = await self._prepared(await self._read())
        except (Problems, Refused) as error:
            self.error = str(error)
            log.error(f"the configuration was not changed:\n{error}", id="configuration-refused")
            self.server.changed("Manager.ConfigurationError")
            raise Refused(error.name if isinstance(error, Refused) else "InvalidConfig", str(error)) from None
        self._loaded, self.error, self._loaded_at = loaded, "", now()
        changes = self.engine.reconfigure(loaded.config, now())
        if self.reboots is not None and self.rebooter is not None:
            self.rebooter.configure(loaded.config.reboot.fleet, self._host)
            self.reboots.reconfigured(now())
        self.server.changed(*(f"Manager.Configuration{name}" for name in ("Error", "Files", "LoadedUSec")))
        self.server.changed("Manager.Warnings")
        self._watch_files()
        await self.settle()
        if changes:
            log.info(f"configuration read: {'; '.join(changes)}", id="configuration")
        else:  # the files are read again after every change, by whomever
            log.debug("configuration read: nothing changed", id="configuration")
        return changes

    async def _read(self) -> Loaded:
        return await asyncio.get_running_loop().run_in_executor(None, self._load)

    async def _prepared(self, loaded: Loaded) -> Loaded:
        """The configuration, or a newer one that came meanwhile, once its jobs can be started.

        Raises Problems, Refused.
        """
        while True:
            try:
                await self.executor.prepare(loaded.config)
            except Refused:
                # Its units are made of the files as they are at that moment: have they changed since they were read?
                newer = await self._read()
                if newer == loaded:
                    raise
                loaded = newer
            else:
                return loaded

    # Events

    def _tick(self) -> None:
        self.engine.tick(now())
        if self._watchdog and time.monotonic() >= self._alive_due:
            self._alive()
            self._alive_due = time.monotonic() + self._watchdog / SECOND / 2
        self.pump()

    def _clock_stepped(self, delta: int) -> None:
        log.warning(f"the clock was set by {delta / SECOND:+.3f} s; due times were worked out anew", id="decision")
        self.engine.clock_stepped(delta, now())
        if self.reboots is not None:
            self.reboots.clock_stepped(delta, now())
        self.pump()

    def run_started(self, run_id: str, at: int, invocation: str = "") -> None:
        self.engine.started(run_id, at, invocation)
        self._pump_soon()

    def run_ended(self, run_id: str, outcome: Outcome) -> None:
        self.engine.ended(run_id, outcome, now())
        self._pump_soon()

    def trouble(self, text: str) -> None:
        """A peer did something unexpected; what runs goes on."""
        log.error(text, id="peer-trouble")

    def executor_lost(self, why: str) -> None:
        """Without the one that runs the jobs nothing can go on: says so and ends."""
        self.failure = why
        self.ending.set()

    def reload_soon(self, done: Callable[[], None] = lambda: None) -> None:
        """Reads the configuration again, because somebody sent SIGHUP or changed a file; then calls `done`."""

        async def reload() -> None:
            try:
                await self.reload()
            except Refused as refusal:
                log.debug(f"not reloaded: {refusal.name}")  # reload and the store have said why
            finally:
                done()

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
        wanted = [self.engine.wakeup()]
        effects = self.engine.effects()
        if self.reboots is not None:
            self.reboots.tick(now())
            effects += [*self.engine.effects(), *self.reboots.effects()]
            wanted = [self.engine.wakeup(), self.reboots.wakeup()]
            if self.rebooter is not None:
                self.rebooter.jobs_changed()
        self.storing.add(effects)
        if self._watchdog:  # by elapsed time: what happens meanwhile, to the clock too, must not put it off
            wanted.append(now() + round(max(0.0, self._alive_due - time.monotonic()) * SECOND))
        self.timer.set(min((when for when in wanted if when is not None), default=None))
        if not self.executor.under_way:
            self._idle.set()

    @property
    def history(self) -> History:
        """How much of the past the configuration wants kept."""
        return self._loaded.config.history

    def everything(self) -> list[Effect]:
        """All that should be stored, for a new database in the place of a damaged one."""
        self.engine.save_all()
        if self.reboots is not None:
            self.reboots.save_all()
        return [*self.engine.effects(), *(self.reboots.effects() if self.reboots is not None else ())]

    def trouble_changed(self) -> None:
        """Whether things can be stored has changed."""
        self.server.changed("Manager.Warnings")

    def carry_out(self, effect: Effect) -> None:
        if isinstance(effect, RunStarts):
            output = self.output / f"{effect.run.run_id}.log"
            more = () if self.executor.outlives else (output, self.history.output, self._folder)
            self.executor.start(effect.run, effect.job, *more)
        elif isinstance(effect, RunStops):
            self.executor.stop(effect.run_id, effect.result)
        elif isinstance(effect, RunChanged):
            self._tell(effect.event, effect.run)
        elif isinstance(effect, Notified):
            log.info(effect.text, id="notice", job=effect.run.job, run_id=effect.run.run_id)
            self.server.emit("Jobs", "Notified", effect.run.job, effect.run.run_id, effect.event, effect.text)
        elif isinstance(effect, Decided):
            about = f"{effect.about}: " if effect.about else ""
            log.info(f"{about}{effect.kind}: {effect.reason}", id="decision", job=effect.about, run_id=effect.run_id)
        elif self.rebooter is not None:
            self.rebooter.carry_out(effect)

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

    async def saved(self) -> None:
        """Returns when what was decided is stored and carried out."""
        await self.storing.finish()

    @staticmethod
    def defect(member: str, error: BaseException) -> None:
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        place = f"{Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno}" if where is not None else "?"
        log.error(f"a defect in {member}: {type(error).__name__}: {error} ({place}); please report it", id="defect")


def _offers(methods: dict[str, Any], properties: dict[str, Any]) -> Iterator[Offer]:
    """The members of each interface, which `methods` and `properties` have as "Interface.Member"."""
    for folder, name in (("daemon", "Manager"), ("jobs", "Jobs"), ("reboots", "Reboot")):
        contract = Path(__file__).parents[1] / folder / f"org.agentd1.{name}.xml"
        own = (
            {k[len(name) + 1 :]: v for k, v in all_.items() if k.startswith(f"{name}.")}
            for all_ in (methods, properties)
        )
        yield Offer(contract, *own)


def _sentence(run: Run) -> str:
    took = format_duration(max(0, run.ended - run.started) // 1000 * 1000)
    how = {
        "exit-code": f"failed with exit code {run.exit_code}",
        "signal": f"was ended by {run.signal}",
        "success": "succeeded",
    }.get(run.result, run.result)
    reason = f" ({run.reason})" if run.reason and run.result in {"start-failed", "interrupted", "cancelled"} else ""
    return f"{run.run_id} {how}{f' after {took}' if run.started else ''}{reason}"
