"""The loop around the parts: events reach their cores, their decisions are stored and then carried out."""

import asyncio
import contextlib
import gc
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from agentd import __version__
from agentd import log as logging
from agentd.bus.connection import Bus, BusError, CallFailed
from agentd.bus.contract import Offer
from agentd.bus.server import Admit, Server
from agentd.config.files import Loaded
from agentd.core.config import Config, History
from agentd.core.part import Decided, Effect, Refused, Sampled
from agentd.core.quantities import SECOND
from agentd.daemon.configuring import Configuring
from agentd.daemon.damage import ERRORS
from agentd.daemon.plugged import Plugged, shut_off
from agentd.daemon.reading import Reader, decisions
from agentd.daemon.store import Store
from agentd.daemon.storing import Storing
from agentd.linux import WallTimer, now
from agentd.part import Part, Tables
from agentd.tasks import Tasks

log = logging.get()

_LONGEST = 1000  # characters of a reason


def _nothing() -> None:
    """Does nothing."""


class Supervision(Struct, frozen=True, kw_only=True):
    """The signs that the service manager gets: `alive` at least every `watchdog` microseconds while due times are dealt
    with, `configured` after every try to reload, `stopping` when agentd begins to stop."""

    watchdog: int | None = None
    alive: Callable[[], None] = _nothing
    configured: Callable[[], None] = _nothing
    stopping: Callable[[], None] = _nothing


_ALONE = Supervision()
"""No service manager looks after agentd."""


class Daemon:
    """A running agentd, and the Host of its parts. `mode` is standalone or system, `load` reads the configuration
    again, `watched` names the folders and files in which a change may alter it."""

    def __init__(
        self,
        mode: str,
        loaded: Loaded,
        load: Callable[[], Loaded],
        watched: Callable[[], list[Path]],
        supervision: Supervision = _ALONE,
    ) -> None:
        self.mode = mode
        self.started_at = now()
        self.configuring = Configuring(self, loaded, load, watched)
        self.failure = ""
        self.draining = False
        self.ending = asyncio.Event()
        self.bus: Bus
        self.server: Server
        self._supervision = supervision
        self._alive_due = 0.0  # on the monotonic clock
        self._pumping = False  # one is under way, or comes soon
        self._heard = set[str]()  # the parts of which something was, since the last one began; "": any of them
        self._begun = Tasks(lambda error: self.defect("starting", error))
        self._plugged = self._plug([])
        self._store: Store
        self._storing: Storing
        self._reader: Reader
        self._timer: WallTimer

    # Life

    async def open(self, folder: Path, boot_id: str, booted: int) -> tuple[int, bool]:
        """Opens the store. Returns the instant of the boot as it was first seen, so that it stays the same for every
        restart, and whether the boot is new. Raises OSError, sqlite3.Error."""
        self._store = Store(folder)
        self._storing = Storing(self._store, self)
        await self._storing.call(self._store.open, now())
        self._reader = Reader(self._store, self._storing.damaged, self._storing.call)
        self._tell_of_state([])
        known, _, instant = (await self._storing.call(self._store.fact, "boot") or "").partition(" ")
        if known != boot_id or not instant.isdecimal():
            instant = str(booted)
            await self._storing.call(self._store.remember, "boot", f"{boot_id} {instant}")
        return int(instant), known != boot_id

    async def take_up(self, tables: Tables) -> Any:
        """Brings a part's tables up to date and returns what they load. Raises sqlite3.Error."""
        told = self._store.warnings
        saved = await self._storing.call(self._store.take_up, tables)
        self._tell_of_state(told)
        return saved

    def _tell_of_state(self, told: Sequence[str]) -> None:
        """Tells the log what is wrong with the state, beside what was `told` before."""
        for text in self._store.warnings:
            if text not in told:
                log.error(text, id="state-trouble")

    async def plug(self, name: str, making: Awaitable[Part]) -> Part:
        """Returns the part that `making` makes; where making it fails, a part that is shut off."""
        try:
            return await making
        except Exception as error:  # noqa: BLE001 - whatever it is, the other parts go on
            self.defect(f"the part {name}", error)
            warning = shut_off(name, error)
            return Part(name=name, warnings=lambda: [warning])

    async def start(self, parts: Sequence[Part], bus: Bus, admit: Admit | None = None) -> None:
        """Plugs the parts in, answers on the bus and lets time pass.

        Raises BusError, CallFailed, OSError, Refused, sqlite3.Error.
        """
        self._plugged = self._plug(parts)
        asyncio.get_running_loop().set_exception_handler(self._unhandled)
        offers = [Offer(part.contract, part.methods, part.properties) for part in parts if part.contract is not None]
        self.bus, self.server = bus, Server(bus, offers, self.defect, admit)
        self._timer = WallTimer(self._tick, self._clock_stepped)
        await self.configuring.make_ready()
        await self._plugged.await_each(lambda part: part.start(), CallFailed, BusError, OSError)
        await self.server.start()
        self.configuring.start()
        if self._store.anew:  # parts had taken up what was in the one before
            self._plugged.cores.save_all()
        self._storing.start()
        self._plugged.cores.configuration_read(self.configuring.error, now())
        with contextlib.suppress(Refused):  # on a full disk: nothing starts, which is told, until there is room
            await self.settle()
        self._begun.do(self._all_taken_up())  # not waited for: the disk may be full, now or in a moment
        what = ", ".join(filter(None, self._plugged.each(lambda part: part.status())))
        where = f"{', '.join(self.configuring.loaded.files)}, time zone {self.configuring.loaded.config.timezone}"
        log.info(f"agentd {__version__} started with {what} from {where}", id="started")
        self.configuring.tell()
        gc.freeze()  # what is there now stays: to look through it for cycles would hold the loop up, by 16 ms or more

    async def _all_taken_up(self) -> None:
        """Lets go what was left by the agentd before, once it is stored: whatever becomes of the store, parts hear then
        what they have to hear."""
        await self._storing.done()
        self._plugged.each(lambda part: part.started())
        with contextlib.suppress(*ERRORS):  # told by what has to be written; the fact stays until the next start
            await self._storing.call(self._store.taken_up)

    def _plug(self, parts: Sequence[Part]) -> Plugged:
        return Plugged(parts, now, self.defect, self.lost, self._shut)

    async def drain(self) -> None:
        """Begins nothing new, waits for what must not be cut off, up to the configured limit, and saves."""
        self._supervision.stopping()
        self.draining = True
        self._plugged.cores.drain()
        self.pump()  # what the parts want remembered is stored first: who stops agentd may be in a hurry
        self.server.changed("Manager.State")
        await self._storing.finish()
        await self._plugged.await_each(lambda part: part.finish())
        await self._storing.finish()

    async def close(self) -> None:
        """Ends everything in the order that loses nothing."""
        self.configuring.close()
        self._timer.close()
        self._begun.close()
        self._plugged.close()
        self._reader.close()
        await self._storing.close()
        log.info("agentd stopped", id="stopped")

    # For parts, as their Host

    @property
    def folder(self) -> Path:
        """The state directory."""
        return self._store.folder

    @property
    def history(self) -> History:
        """The bounds of the past that is kept."""
        return self.configuring.loaded.config.history

    def now(self) -> int:
        """Returns the instant, in microseconds since 1970."""
        return now()

    async def ask(self, question: Callable[..., Any], /, **wanted: Any) -> Any:
        """Calls question(db, **wanted) on the reading thread, after what was decided before is stored, or while nothing
        can be stored; `db` can only be read. Raises Refused StoreUnavailable."""
        with contextlib.suppress(Refused):  # what is stored can be read all the same
            await self.settle()
        return await self._reader.ask(question, wanted)

    def collected(self, type_: type[Sampled]) -> list[Any]:
        """Returns the samples of a type that may not be stored yet, older ones first."""
        return self._storing.collected(type_)

    def reading(self) -> Any:
        """Returns a connection of its own to the database, which can only read. Raises sqlite3.Error."""
        return self._store.reading(1.0)

    async def decisions(self, *, part: str = "", about: str = "", run_id: str = "", limit: int = 50) -> list[Decided]:
        """Returns decisions, newest first: of one part, about one subject or about one run where that is said."""
        found: list[Decided] = await self.ask(decisions, part=part, about=about, run_id=run_id, limit=limit)
        return found

    def ready(self) -> None:
        """Raises Refused StoreUnavailable while nothing can be stored and so nothing can be done."""
        if self._storing.trouble:
            raise Refused("StoreUnavailable", self._storing.trouble)

    async def settle(self) -> None:
        """Pumps; returns once what was decided is stored, or known not to be storable for now.

        Raises Refused StoreUnavailable when that turns out while it waits.
        """
        self.pump()
        await self._storing.settle()

    async def saved(self) -> None:
        """Returns once what was decided is stored and carried out; while nothing can be stored, after two seconds."""
        await self._storing.finish()

    def trouble(self, text: str) -> None:
        """Tells the log that a peer did something unexpected; what runs goes on."""
        log.error(text, id="peer-trouble")

    def lost(self, why: str) -> None:
        """Ends agentd: something without which it cannot go on is gone."""
        self.failure = self.failure or why
        self.ending.set()

    def hear(self, part: str, deed: Callable[[], object]) -> None:
        """Lets a report of a peer reach the core of a part, then pumps. A defect there is the part's."""
        self._plugged.hear(part, deed)
        self._pump_soon(part)

    # For people

    @property
    def state(self) -> str:
        """Whether anything new begins: running, paused or draining."""
        held = {"draining" if self.draining else "", *self._plugged.each(lambda part: part.held())}
        return next((state for state in ("draining", "paused") if state in held), "running")

    @property
    def status(self) -> str:
        """A line for `systemctl status`."""
        first, _, rest = self.configuring.error.partition("\n")
        more = f" (and {rest.count(chr(10)) + 1} more)" if rest else ""
        trouble = f"; the configuration has errors, the one before stays in force: {first}{more}" if first else ""
        return ", ".join(filter(None, self._plugged.each(lambda part: part.status()))) + trouble

    @property
    def warnings(self) -> list[str]:
        """The things that somebody should see to, as sentences."""
        of_parts = self._plugged.each(lambda part: part.warnings())
        own = [*([self._storing.trouble] if self._storing.trouble else []), *self._store.warnings]
        return [
            *own,
            *self.configuring.warnings,
            *self._plugged.warnings,
            *(text for texts in of_parts for text in texts),
        ]

    # The configuration

    async def prepare(self, config: Config) -> None:
        """Makes sure that the parts can work with a configuration. Raises Refused."""
        await self._plugged.await_each(lambda part: part.prepare(config))

    def take(self, config: Config) -> list[str]:
        """Gives the parts a configuration that is in force from now on; returns a sentence for each change."""
        changes = self._plugged.each(lambda part: part.configure(config, now()) or ())
        return [text for texts in changes for text in texts]

    def configured(self) -> None:
        """Tells the parts and the service manager that reading the configuration is over, and whether it was taken."""
        gc.unfreeze()  # of what was there, some may be of no use now
        gc.collect()
        gc.freeze()  # as at the start
        self._plugged.cores.configuration_read(self.configuring.error, now())
        self.pump_soon()
        self._supervision.configured()

    # Time

    def _tick(self) -> None:
        # Whoever reports something has a pump come, which asks all parts. Without one, only those can want something
        # that are due: to ask the others too took 75 us of the 1200 of a look.
        due = None if self._pumping else self._plugged.cores.due(now())
        self._plugged.cores.tick(now(), due)
        if self._supervision.watchdog and time.monotonic() >= self._alive_due:
            self._supervision.alive()
            self._alive_due = time.monotonic() + self._supervision.watchdog / SECOND / 2
        self._pump(due)

    def _clock_stepped(self, delta: int) -> None:
        log.warning(f"the clock was set by {delta / SECOND:+.3f} s; due times were worked out anew", id="decision")
        self.started_at += delta  # so that how long agentd has been running stays true
        self.server.changed("Manager.StartedUSec")
        self._plugged.cores.clock_stepped(delta, now())
        self.pump()

    # Effects

    def pump_soon(self) -> None:
        """Pumps once for all reports that are read together."""
        self._pump_soon("")

    def _pump_soon(self, part: str) -> None:
        self._heard.add(part)
        if not self._pumping:
            self._pumping = True
            asyncio.get_running_loop().call_soon(self.pump)

    def pump(self) -> None:
        """Has what was decided stored and carried out, and sets the timer for what comes next.

        What is heard while that is carried out, as from a look at KPIs, is not left to another turn of the loop, which
        is dear; what is heard of it in turn is, so that the loop gets on.
        """
        self._pump(None)

    def _pump(self, of: Sequence[str] | None) -> None:
        """Pumps. Where only the parts `of` can have changed, and they want looks and samples alone, which are news to
        nobody, the others are not asked."""
        self._pumping, self._heard = True, set()
        calm = self._take_effects(of)
        self._pumping = False
        if self._heard:
            calm = self._take_effects(of if calm and of is not None and self._heard.issubset(of) else None) and calm
        wanted = self._plugged.cores.wakeup(of if calm else None)
        if self._supervision.watchdog:  # by elapsed time: setting the clock must not delay the sign of life
            sign = now() + round(max(0.0, self._alive_due - time.monotonic()) * SECOND)
            wanted = sign if wanted is None else min(wanted, sign)
        self._timer.set(wanted)

    def decide(self, kind: str, reason: str, by: str) -> None:
        """Has a decision of the daemon's own remembered, which the user `by` wanted."""
        self._storing.add([Decided(now(), "manager", kind, "", reason[:_LONGEST], by=by)])

    def _take_effects(self, of: Sequence[str] | None) -> bool:
        """Has what was decided stored and carried out; returns whether that was looks and samples alone."""
        effects = self._plugged.cores.effects(now(), of)
        self._storing.add(effects)
        return bool(effects) and not any(effect.heard for effect in effects)

    def everything(self) -> list[Effect]:
        """Returns all that should be stored, for a new database in the place of a damaged one."""
        self._plugged.cores.save_all()
        return self._plugged.cores.effects(now())

    def trouble_changed(self) -> None:
        """Tells that things can, or cannot, be stored."""
        self._plugged.cores.storable(self._storing.trouble, now())
        self.server.changed("Manager.Warnings")
        if not self._storing.trouble:
            self.pump_soon()

    def carry_out(self, effect: Effect) -> None:
        """Does what an effect leads to."""
        self._plugged.carry_out(effect)

    # Defects

    def failed(self, part: str, error: Exception) -> None:
        """Shuts a part off because of a defect; without a vital part agentd ends."""
        self._plugged.fail(part, error)

    def _shut(self, part: Part, why: str) -> None:
        """Tells everybody that a part is off, and goes on with what it may have held."""
        if part.contract is not None:
            self.server.refuse(part.contract, why)
        self.server.changed("Manager.Warnings")
        self.pump_soon()

    def defect(self, where: str, error: BaseException) -> None:
        """Tells the log of a defect in agentd itself, as a sentence with its place."""
        frame = error.__traceback__
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        place = f"{Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}" if frame is not None else "?"
        log.error(f"a defect in {where}: {type(error).__name__}: {error} ({place}); please report it", id="defect")

    def _unhandled(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Tells of an error in a callback of the loop, where nobody else can."""
        error = context.get("exception")
        if error is not None:
            self.defect("the loop", error)
        else:
            log.error(f"a defect in the loop: {context['message']}; please report it", id="defect")
