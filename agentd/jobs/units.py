"""systemd: jobs as units. agentd may start and stop them, systemd does the rest and outlives agentd.

A run's way: agentd notes which run a unit is started for (/run/agentd/runs), asks for the start, and systemd tells
whether it succeeded (JobRemoved). However it ends, end-job, run by systemd, leaves how (/run/agentd-ended): with the
note of which invocation was the last before, agentd finds the end of its run there, also after it was away.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from msgspec.structs import replace

from agentd.bus.connection import Bus, CallFailed
from agentd.core.config import Config
from agentd.core.jobs import unitfile
from agentd.core.jobs.model import Outcome, Run, Saved
from agentd.core.jobs.settings import Job
from agentd.core.part import Refused
from agentd.core.quantities import SECOND
from agentd.core.reboots.model import Boot
from agentd.jobs import spool
from agentd.linux import Arrivals, boot_time, now

NAME = "org.freedesktop.systemd1"
MANAGER = (NAME, "/org/freedesktop/systemd1", f"{NAME}.Manager")
GENERATED = Path("/run/systemd/generator")
RELOAD_TIMEOUT = 180.0  # seconds; every generator of the machine runs
_AGAIN = 0.5  # seconds between two tries while PID 1 executes itself anew
_TRIES = 120
_ROUND = 60.0  # seconds between two looks after what runs
_T = TypeVar("_T")


async def this_boot(bus: Bus, boot_id: str) -> Boot:
    """This boot of the machine, or of its user space alone: that has the same kernel, and so the same boot id.

    Raises CallFailed.
    """
    try:
        count = int(await _insist(lambda: bus.get(MANAGER, "SoftRebootsCount")))
    except CallFailed as error:
        if not error.name.endswith((".UnknownProperty", ".UnknownInterface")):
            raise
        count = 0  # a systemd before 256
    if not count:
        return Boot(boot_id, boot_time())
    return Boot(f"{boot_id}+{count}", int(await _insist(lambda: bus.get(MANAGER, "UserspaceTimestamp"))))


async def _insist(question: Callable[[], Awaitable[_T]]) -> _T:
    """The answer to a question that may be asked twice: while PID 1 executes itself anew, it does not answer.

    Raises CallFailed.
    """
    for _ in range(_TRIES - 1):
        try:
            return await question()
        except CallFailed as error:
            if not error.away or error.name.endswith(".Disconnected"):
                raise
        await asyncio.sleep(_AGAIN)
    return await question()


class _Place:
    """A unit while a run of ours has it: from the decision until the end is stored."""

    def __init__(self, run: Run, instance: str, before: str = "") -> None:
        self.run_id = run.run_id
        self.instance = instance
        self.unit = unitfile.unit(instance)
        self.before = before  # the invocation that ended last, before this run
        self.planned: asyncio.TimerHandle | None = None
        self.state = "planned"  # planned | asked | running (systemd is done with the start) | ended
        self.asked = 0
        self.job = ""  # systemd's, of our start
        self.early: dict[str, str] = {}  # what became of systemd's jobs while we did not know which is ours
        self.told = False  # that it began
        self.verdict = ""
        self.by_systemd: bool | None = False  # whether somebody else has it stopped; None: nobody looked

    @property
    def peer(self) -> tuple[str, str, str]:
        """The unit on the bus: systemd escapes its name for the object path."""
        plain = "".join(c if c.isascii() and c.isalnum() else f"_{ord(c):02x}" for c in self.unit)
        return NAME, f"/org/freedesktop/systemd1/unit/{plain}", f"{NAME}.Unit"


class Systemd:
    """Starts and stops the units of jobs; reports reach the callbacks on the event loop. Runs outlive agentd."""

    mode = "system"
    outlives = True

    def __init__(
        self,
        bus: Bus,
        on_started: Callable[[str, int, str], None],
        on_ended: Callable[[str, Outcome], None],
        on_trouble: Callable[[str], None],
    ) -> None:
        self._bus = bus
        self._on_started = on_started
        self._on_ended = on_ended
        self._on_trouble = on_trouble
        self._places: dict[str, _Place] = {}  # by run id
        self._units: dict[str, _Place] = {}  # by unit
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrivals: Arrivals | None = None
        self._round: asyncio.TimerHandle | None = None
        self._kept = False  # whether root has a copy of the units
        self._hears = False
        self._closing = False

    @property
    def under_way(self) -> int:
        """How many runs still need this process: those whose start was not confirmed."""
        return sum(place.state in {"planned", "asked"} for place in self._places.values())

    def warnings(self, config: Config) -> list[str]:
        """What of the configuration has no effect in this mode."""
        del config
        return []

    async def take_up(self, saved: Saved, *, rebooted: bool) -> Saved:
        """What the store has, with what became of the runs that were under way: their ends, those that still are, and
        those that were never asked for, which wait again. Raises CallFailed, OSError."""
        self._arrivals = Arrivals(spool.ENDED, self._end_arrived)
        await self._bus.follow(NAME, self._systemd_came)
        await self._bus.watch(MANAGER, "JobNew", self._job_new)
        await self._bus.watch(MANAGER, "JobRemoved", self._job_removed)
        await self._bus.watch(MANAGER, "UnitRemoved", self._unit_removed)
        await self._subscribe()
        noted = {note.run_id: note for note in spool.read_notes()}
        runs, outcomes, under_way = [], {}, []
        for run in saved.open_runs:
            runs.append(run)
            if run.state != "running":
                continue
            note = noted.pop(run.run_id, None)
            if note is None:
                # The note is written first and goes last: without one the start was never asked for, in this boot.
                runs[-1] = run if rebooted else replace(run, state="queued")
                continue
            place = _Place(run, note.instance, note.before)
            self._places[run.run_id] = self._units[place.unit] = place
            found = await self._find(place, run)
            if isinstance(found, Outcome):
                outcomes[run.run_id] = found
            elif found is not None:
                under_way.append(found)
            else:
                self.stored(run.run_id)
                runs[-1] = replace(run, state="queued")
        for note in noted.values():  # of runs whose end is stored
            spool.forget_note(note.instance)
        return replace(saved, open_runs=tuple(runs), outcomes=outcomes, under_way=tuple(under_way))

    async def _find(self, place: _Place, run: Run) -> Run | Outcome | None:
        """What became of a run whose unit an agentd before this one was about to ask for: it is still under way, or how
        it ended, or None: it never began."""
        alive = await _insist(lambda: self._is_alive(place))
        at, invocation = await self._beginning(place)
        end = spool.read_end(place.instance)  # only now: it may have ended while we asked
        place.state = "ended"
        if end is not None and end.invocation != place.before:
            return end.outcome("", by_systemd=None, began=True)
        if alive:
            place.state, place.told = "running", True
            self._patrol()
            return replace(run, started=at or run.started, invocation=invocation)
        if invocation not in {"", place.before}:
            return Outcome(result="interrupted", reason="how it ended was not noted", invocation=invocation)
        return None

    async def prepare(self, config: Config) -> None:
        """Makes sure that systemd has the units that the configuration asks for. Raises Refused PeerFailed."""
        wanted = dict(unitfile.units(config.jobs))
        if self._differ(wanted):
            try:
                await _insist(lambda: self._bus.call(MANAGER, "Reload", patience=RELOAD_TIMEOUT))
            except CallFailed as error:
                raise Refused("PeerFailed", f"systemd did not read its units anew: {error}") from None
            if different := self._differ(wanted):
                text = f"systemd's generator did not write {different[0]} as the configuration has it"
                raise Refused("PeerFailed", f"{text}; see: journalctl -b -t agentd-generator -t systemd")
        elif self._kept:
            return
        with contextlib.suppress(CallFailed):  # without the copy, errors in the files cost more; nothing else
            await self._bus.call(MANAGER, "StartUnit", "ss", unitfile.KEEP, "replace")
            self._kept = True

    def _differ(self, wanted: dict[str, str]) -> list[str]:
        """The units that the generator wrote otherwise than wanted, or did not. A unit too many is one of a job that
        left the configuration; it stays while the job runs."""
        found = {file.name for file in GENERATED.glob("agentd-job@*.service")} - self._units.keys()
        return sorted(name for name in found | wanted.keys() if wanted.get(name) != _text(GENERATED / name))

    def start(self, run: Run, job: Job, output: Path, cap: int, folder: str) -> None:
        """Starts a run's unit when it is due. Output goes to the journal, so the other arguments are not needed."""
        del output, cap, folder
        free = [name for name in unitfile.instances(job) if unitfile.unit(name) not in self._units]
        if not free:
            reason = "every unit of the job is taken by a run that has not ended"
            self._on_ended(run.run_id, Outcome(result="start-failed", reason=reason))
            return
        place = _Place(run, free[0])
        self._places[run.run_id] = self._units[place.unit] = place
        wait = (run.due - now()) / SECOND
        if wait > 0:
            place.planned = asyncio.get_running_loop().call_later(wait, self._begin, place, run)
        else:
            self._begin(place, run)

    def stop(self, run_id: str, result: str) -> None:
        """Has a run's unit stopped; it will be reported with that result."""
        place = self._places.get(run_id)
        if place is None:
            return
        place.verdict = place.verdict or result
        if place.planned is not None and place.state == "planned":
            place.planned.cancel()
            self._over(place, Outcome(result=result, reason="it had not begun yet"))
        elif place.state in {"asked", "running"}:
            self._do(self._stop(place))

    def stored(self, run_id: str) -> None:
        """The end of a run is stored: its unit is free for the next."""
        place = self._places.pop(run_id, None)
        if place is not None:
            if self._units.get(place.unit) is place:
                del self._units[place.unit]
            spool.forget_note(place.instance)

    def taken_up(self) -> None:
        """agentd is ready to hear of ends; of those that came meanwhile, now."""
        self._hears = True
        self._end_arrived("")

    def unit_of(self, run_id: str) -> str:
        """The object path of the unit that a run has, or ""."""
        place = self._places.get(run_id)
        return place.peer[1] if place else ""

    def close(self) -> None:
        """Leaves everything as it is: the runs go on."""
        self._closing = True
        if self._round is not None:
            self._round.cancel()
        for task in self._tasks:
            task.cancel()
        if self._arrivals is not None:
            self._arrivals.close()

    # Starting and stopping

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_trouble(f"a defect in talking to systemd: {type(error).__name__}: {error}; please report it")

    def _begin(self, place: _Place, run: Run) -> None:
        place.planned = None
        place.state, place.asked = "asked", now()
        end = spool.read_end(place.instance)
        place.before = end.invocation if end else "-"
        try:
            spool.write_note(place.instance, run, place.before)
        except OSError as error:
            text = f"which run it is could not be noted in {spool.NOTES}: {error.strerror}"
            self._over(place, Outcome(result="start-failed", reason=text))
            return
        self._do(self._start(place))

    async def _start(self, place: _Place) -> None:
        for _ in range(_TRIES):
            answer = await self._ask("StartUnit", place)
            if isinstance(answer, str):
                place.job = answer
                if place.state == "asked" and place.job in place.early:
                    self._start_done(place, place.early[place.job])
                return  # else JobRemoved tells how it went
            if not answer.away:
                break
            await asyncio.sleep(_AGAIN)
            # It may have heard all the same: then a second start could be a second run.
            await self._look(place, away=True)
            if place.state != "asked":
                return
        reason = f"systemd did not start {place.unit}: {answer}"
        self._over(place, Outcome(result=place.verdict or "start-failed", reason=reason))

    async def _stop(self, place: _Place) -> None:
        for _ in range(_TRIES):
            answer = await self._ask("StopUnit", place)
            if isinstance(answer, str) or place.state == "ended":
                return
            if not answer.away:
                break
            await asyncio.sleep(_AGAIN)
        self._on_trouble(f"{place.run_id} could not be stopped: {answer}")

    async def _ask(self, verb: str, place: _Place) -> str | CallFailed:
        """The job that systemd makes of it. It is given its time: what it has heard must not be asked for twice."""
        try:
            (job,) = await self._bus.call(MANAGER, verb, "ss", place.unit, "replace", patience=RELOAD_TIMEOUT)
        except CallFailed as error:
            return error
        return str(job)

    # What systemd tells

    def _job_new(self, arguments: list[Any]) -> None:
        place = self._units.get(arguments[2])
        if place is not None and place.state == "running":
            place.by_systemd = True  # nobody starts what runs: somebody stops it

    def _job_removed(self, arguments: list[Any]) -> None:
        _, job, unit, result = arguments
        place = self._units.get(unit)
        if place is None or place.state != "asked":
            return
        if not place.job:
            place.early[job] = result  # the answer to our call is still on its way
        elif job == place.job:
            self._start_done(place, result)

    def _start_done(self, place: _Place, result: str) -> None:
        """Systemd is done with our start, one way or the other: from here on an end is the end of this run."""
        place.state = "running"
        self._patrol()
        if self._take_end(place):
            return
        self._do(self._began(place) if result == "done" else self._look(place, why=result))

    def _unit_removed(self, arguments: list[Any]) -> None:
        place = self._units.get(arguments[0])
        if place is not None and place.state == "running":
            self._do(self._look(place))  # the job was taken out of the configuration while it ran

    async def _began(self, place: _Place) -> None:
        at, invocation = await self._beginning(place)
        if place.state == "running" and not place.told:
            place.told = True
            self._on_started(place.run_id, at or now(), invocation)

    async def _beginning(self, place: _Place) -> tuple[int, str]:
        """When the unit began (0: it has not), and the id of its invocation."""
        try:
            at, invocation = await asyncio.gather(
                self._bus.get(place.peer, "InactiveExitTimestamp"), self._bus.get(place.peer, "InvocationID")
            )
        except CallFailed:
            return 0, ""  # the end will tell the invocation
        return at, bytes(invocation).hex() if any(invocation) else ""

    def _end_arrived(self, instance: str) -> None:
        places = list(self._units.values()) if not instance else [self._units.get(unitfile.unit(instance))]
        for place in places:
            if place is not None:
                self._take_end(place)

    def _take_end(self, place: _Place) -> bool:
        """Whether the run has ended, by what end-job left."""
        end = spool.read_end(place.instance) if place.state == "running" and self._hears else None
        if end is not None and end.invocation != place.before:
            outcome = end.outcome(place.verdict, by_systemd=place.by_systemd, began=place.told or bool(end.code))
            if not place.told:  # it was over before systemd could be asked when it began
                outcome = replace(outcome, started=place.asked)
                if outcome.result != "start-failed":
                    self._on_started(place.run_id, place.asked, end.invocation)
            self._over(place, outcome)
        return place.state == "ended"

    def _over(self, place: _Place, outcome: Outcome) -> None:
        if place.state != "ended":
            place.state = "ended"
            self._on_ended(place.run_id, outcome)

    def _patrol(self) -> None:
        """Looks after what runs now and then: a drop-in, a full /run or too little memory may keep end-job silent."""
        if self._round is None:
            self._round = asyncio.get_running_loop().call_later(_ROUND, self._look_round)

    def _look_round(self) -> None:
        self._round = None
        for place in [place for place in self._places.values() if place.state == "running"]:
            self._patrol()
            self._do(self._look(place))

    async def _look(self, place: _Place, *, why: str = "", away: bool = False) -> None:
        """Finds out what a unit does, after something was unusual. `away`: systemd may not have heard of the start."""
        if place.state == "running" and not self._hears:
            return
        try:
            alive = await self._is_alive(place)
        except CallFailed as error:
            if not error.away:
                self._on_trouble(f"systemd does not say what became of {place.unit}: {error}")
            return
        end = spool.read_end(place.instance)
        if away and place.state == "asked" and (alive or (end is not None and end.invocation != place.before)):
            self._start_done(place, "done")
        elif place.state == "running" and not self._take_end(place) and not alive:
            if place.told:
                # Never success: a unit that systemd collected reads like one that never ran.
                result, reason = "interrupted", "it is not running, and how it ended was not noted"
            else:
                status = await self._status(place)
                result, reason = "start-failed", f"systemd did not start it ({status or why or 'it does not run'})"
            reason = f"{reason}: systemctl status {place.unit}"
            self._over(place, Outcome(result=place.verdict or result, reason=reason))

    async def _status(self, place: _Place) -> str:
        """Why a start failed, as a word of systemd's and the status of systemd.exec(5); empty when it does not say."""
        service = (place.peer[0], place.peer[1], f"{NAME}.Service")
        try:
            result, status = await self._bus.get(service, "Result"), await self._bus.get(service, "ExecMainStatus")
        except CallFailed:
            return ""
        return f"{result}, status {status}" if status else str(result)

    async def _is_alive(self, place: _Place) -> bool:
        state, job = await self._bus.get(place.peer, "ActiveState"), await self._bus.get(place.peer, "Job")
        return state not in {"inactive", "failed"} or job[0] != 0

    def _systemd_came(self, owner: str) -> None:
        """PID 1 executed itself anew: what it told meanwhile was not heard."""
        if owner and not self._closing:
            self._do(self._catch_up())

    async def _subscribe(self) -> None:
        """Has systemd tell what becomes of its jobs and units. Raises CallFailed."""
        try:
            await _insist(lambda: self._bus.call(MANAGER, "Subscribe", patience=RELOAD_TIMEOUT))
        except CallFailed as error:
            if not error.name.endswith(".AlreadySubscribed"):  # it had heard the try before
                raise

    async def _catch_up(self) -> None:
        try:
            await self._subscribe()
        except CallFailed as error:
            self._on_trouble(f"systemd does not tell what becomes of units, agentd looks itself: {error}")
        for place in list(self._places.values()):
            if place.state == "running":
                await self._look(place)
            elif place.state == "asked":
                await self._look(place, away=True)


def _text(file: Path) -> str | None:
    try:
        return file.read_text()
    except OSError:
        return None
