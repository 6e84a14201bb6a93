"""Runs as systemd's units. agentd may start and stop the units, systemd does the rest and outlives agentd.

A run's way: agentd notes which run a unit is started for (/run/agentd/runs), asks for the start, and systemd tells
whether the start succeeded (JobRemoved). However the unit ends, systemd starts one of two units of root's own, which
note how (/run/agentd-ended): with the note of which invocation was the last before, agentd finds the end of its run
there, also after agentd was away. Where nothing could be noted, agentd asks systemd what it still knows of the unit.
"""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from agentd.bus.connection import CallFailed, Undo
from agentd.core.config import Config
from agentd.core.jobs import unitfile
from agentd.core.jobs.model import Outcome, Run, Saved
from agentd.core.jobs.settings import Job
from agentd.core.part import Refused
from agentd.core.quantities import SECOND
from agentd.jobs import generator, spool
from agentd.jobs.part import LEAD
from agentd.jobs.rununit import RunUnit
from agentd.linux import Arrivals, now
from agentd.peers.systemd import AGAIN, RELOAD_TIMEOUT, TRIES, Systemd, insist, unit_path
from agentd.tasks import Tasks

GENERATED = Path("/run/systemd/generator")
_NOT_BEGUN = "it had not begun yet"
_WENT_DOWN = Outcome(result="interrupted", reason="the machine went down before the end of the run was known")
_ROUND = 60.0  # seconds between two checks of what runs
_AT_ONCE = 16
"""Starts and stops that are asked for at once. systemd asks polkit about each and gives up on it after 25 seconds, and
answers everybody before it starts anything: of a thousand at once the last would be refused, and the first late."""


class Units:
    """Starts and stops the units of jobs; reports reach the callbacks on the event loop. Runs outlive agentd.

    `on_started` is told the run, the instant and systemd's id of the invocation; `on_trouble` a sentence when systemd
    does not do its part, `on_defect` of errors in dealing with it.
    """

    outlives = True
    output = None
    """The journal has the output of the runs."""

    def __init__(
        self,
        systemd: Systemd,
        on_started: Callable[[str, int, str], None],
        on_ended: Callable[[str, Outcome], None],
        on_trouble: Callable[[str], None],
        on_defect: Callable[[str, BaseException], None],
    ) -> None:
        self._systemd = systemd
        self._on_started = on_started
        self._on_ended = on_ended
        self._on_trouble = on_trouble
        self._by_run: dict[str, RunUnit] = {}
        self._by_unit: dict[str, RunUnit] = {}
        self._unnoted: dict[str, str] = {}  # by instance the last invocation whose end was not noted
        self._tasks = Tasks(lambda error: on_defect("talking to systemd", error))
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._arrivals: Arrivals | None = None
        self._unlisten: Undo = lambda: None
        self._round: asyncio.TimerHandle | None = None
        self._kept = False  # whether root has a copy of the units
        self._hears = False  # whether ends may be reported

    @property
    def under_way(self) -> int:
        """The number of runs whose start was not confirmed: they still need this process."""
        return sum(unit.state in {"planned", "asked"} for unit in self._by_run.values())

    def warnings(self, config: Config) -> list[str]:
        """Returns a sentence for each setting that has no effect in this mode: here all have one."""
        del config
        return []

    def configure(self, config: Config) -> None:
        """Does nothing: the units say it all."""

    def noted(self) -> set[str]:
        """Returns the ids of the runs whose units were to be asked for, of this boot. Raises OSError."""
        return {note.run_id for note in spool.read_notes()}

    async def take_up(self, saved: Saved, *, rebooted: bool) -> Saved:
        """Returns what the store has, with what became of the runs that were under way: their ends, those that still
        are, and those that were never asked for, which wait again. Raises CallFailed, OSError.

        `rebooted`: the machine booted since, and has no notes of what was asked for before.
        """
        self._arrivals = Arrivals(spool.ENDED, self._end_arrived)
        self._unlisten = await self._systemd.listen(
            self._catch_up, JobNew=self._job_new, JobRemoved=self._job_removed, UnitRemoved=self._unit_removed
        )
        noted = {note.run_id: note for note in spool.read_notes()}
        runs, outcomes, under_way = [], {}, []
        for run in saved.open_runs:
            runs.append(run)
            if run.state != "running":
                continue
            note = noted.pop(run.run_id, None)
            if note is None:
                # The note is written first and goes last: without one the start was never asked for, in this boot.
                if rebooted:
                    outcomes[run.run_id] = _WENT_DOWN
                else:
                    runs[-1] = replace(run, state="queued")
                continue
            unit = RunUnit(run, note.instance, note.before)
            self._by_run[run.run_id] = self._by_unit[unit.name] = unit
            found = await self._find(unit, run, rebooted=rebooted)
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

    async def _find(self, unit: RunUnit, run: Run, *, rebooted: bool) -> Run | Outcome | None:
        """Finds out what became of a run whose unit an agentd before this one was about to ask for.

        Returns the run where it is still under way, how it ended, or None where it never began. Raises CallFailed.
        """
        alive = await insist(lambda: self._is_alive(unit))
        at, invocation = await insist(lambda: self._systemd.beginning(unit.name))
        end = spool.read_end(unit.instance)  # only now: the run may have ended while we asked
        unit.state = "ended"
        if end is not None and unit.is_new(end.invocation):
            return end.outcome("", by_systemd=None, began=True)
        if alive:
            unit.state, unit.told = "running", True
            self._patrol_later()
            # One that waits for its turn still has the times of the invocation before.
            return replace(run, started=at, invocation=invocation) if unit.is_new(invocation) else run
        if rebooted:  # of the user space alone, which a note outlives: nobody knows whether the run began
            return _WENT_DOWN
        if not unit.is_new(invocation):
            return None
        if end := await insist(lambda: self._unnoted_end(unit)):
            return end.outcome("", by_systemd=None, began=True)
        return Outcome(result="interrupted", reason="how the run ended was not noted", invocation=invocation)

    async def prepare(self, config: Config) -> None:
        """Makes sure that systemd has the units that the configuration asks for. Raises Refused PeerFailed."""
        wanted = generator.units_of(config)
        if self._differ(wanted):
            try:
                await self._systemd.reload()
            except CallFailed as error:
                raise Refused("PeerFailed", f"systemd did not read its units anew: {error}") from None
            if different := self._differ(wanted):
                text = f"systemd's generator did not write {different[0]} as the configuration has it"
                raise Refused("PeerFailed", f"{text}; see: journalctl -b -t agentd-generator -t systemd")
        elif self._kept:
            return
        with contextlib.suppress(CallFailed):  # without the copy, errors in the files cost more; nothing else
            await self._systemd.start_unit(unitfile.KEEP)
            self._kept = True

    def _differ(self, wanted: dict[str, str]) -> list[str]:
        """Returns the units whose text differs from what the configuration asks for, or that are missing.

        A surplus unit that a run has stays: its job was removed and still runs.
        """
        found = {file.name for pattern in generator.PATTERNS for file in GENERATED.glob(pattern)} - self._by_unit.keys()
        return sorted(name for name in found | wanted.keys() if wanted.get(name) != _text(GENERATED / name))

    def start(self, run: Run, job: Job) -> None:
        """Starts a run's unit when the run is due, at most LEAD from now: a clock that was set back strands nothing."""
        free = [name for name in unitfile.instances(job) if unitfile.unit(name) not in self._by_unit]
        if not free:
            reason = "every unit of the job is taken by a run that has not ended"
            self._on_ended(run.run_id, Outcome(result="start-failed", reason=reason))
            return
        unit = RunUnit(run, free[0])
        self._by_run[run.run_id] = self._by_unit[unit.name] = unit
        wait = min(run.due - now(), LEAD) / SECOND
        if wait > 0:
            unit.planned = asyncio.get_running_loop().call_later(wait, self._begin, unit, run)
        else:
            self._begin(unit, run)

    def stop(self, run_id: str, result: str) -> None:
        """Has a run's unit stopped; the run's end will be reported with that result."""
        unit = self._by_run.get(run_id)
        if unit is None:
            return
        unit.verdict = unit.verdict or result
        if unit.planned is not None and unit.state == "planned":
            unit.planned.cancel()
            self._over(unit, Outcome(result=result, reason=_NOT_BEGUN))
        elif unit.state in {"asked", "running"}:
            self._tasks.do(self._stop(unit))

    def stored(self, run_id: str) -> None:
        """Frees the unit of a run whose end is stored, for the next run."""
        unit = self._by_run.pop(run_id, None)
        if unit is not None:
            if self._by_unit.get(unit.name) is unit:
                del self._by_unit[unit.name]
            spool.forget_note(unit.instance)

    def taken_up(self) -> None:
        """Reports ends from now on, and at once the ends that came meanwhile."""
        self._hears = True
        self._end_arrived("")

    def unit_of(self, run_id: str) -> str:
        """Returns the object path of the unit that a run has, or ""."""
        unit = self._by_run.get(run_id)
        return unit_path(unit.name) if unit else ""

    def close(self) -> None:
        """Leaves everything as it is: the runs go on."""
        if self._round is not None:
            self._round.cancel()
        self._tasks.close()
        self._unlisten()
        if self._arrivals is not None:
            self._arrivals.close()

    # Starting and stopping

    def _begin(self, unit: RunUnit, run: Run) -> None:
        unit.planned = None
        unit.state, unit.asked = "asked", now()
        end = spool.read_end(unit.instance)
        before = (end.invocation if end else "", self._unnoted.get(unit.instance, ""))
        unit.before = ",".join(filter(None, before)) or "-"
        try:
            spool.write_note(unit.instance, run, unit.before)
        except OSError as error:
            text = f"could not write the run's note in {spool.NOTES}: {error.strerror}"
            self._over(unit, Outcome(result="start-failed", reason=text))
            return
        self._tasks.do(self._start(unit))

    async def _start(self, unit: RunUnit) -> None:
        for _ in range(TRIES):
            try:
                async with self._room:
                    if unit.verdict:
                        self._over(unit, Outcome(result=unit.verdict, reason=_NOT_BEGUN))
                    if unit.state != "asked":
                        return
                    unit.asked = now()
                    # systemd is given its time: what it has heard must not be asked for twice.
                    unit.job = await self._systemd.start_unit(unit.name, patience=RELOAD_TIMEOUT)
            except CallFailed as error:
                failure = error
            else:
                if unit.state == "asked" and unit.job in unit.early:
                    self._start_done(unit, unit.early[unit.job])
                return  # else JobRemoved tells how it went
            if not failure.away:
                break
            await asyncio.sleep(AGAIN)
            # systemd may have heard all the same: then a second start could be a second run.
            await self._check_start(unit)
            if unit.state != "asked":
                return
        reason = f"systemd did not start {unit.name}: {failure}"
        self._over(unit, Outcome(result=unit.verdict or "start-failed", reason=reason))

    async def _stop(self, unit: RunUnit) -> None:
        async def stop() -> None:
            async with self._room:
                if unit.state != "ended":  # else the unit may be the next run's already
                    await self._systemd.stop_unit(unit.name, patience=RELOAD_TIMEOUT)

        try:
            await insist(stop)
        except CallFailed as error:
            if unit.state != "ended":
                self._on_trouble(f"{unit.run_id} could not be stopped: {error}")

    # Reports of systemd

    def _job_new(self, arguments: list[Any]) -> None:
        number, _, name = arguments
        unit = self._by_unit.get(name)
        if unit is not None and unit.state == "running":
            unit.others.append(number)  # a unit that runs is not started: somebody stops it
        elif (instance := unitfile.ended_instance(name)) and (ends := self._by_unit.get(unitfile.unit(instance))):
            ends.noting = number

    def _job_removed(self, arguments: list[Any]) -> None:
        _, job, name, result = arguments
        unit = self._by_unit.get(name)
        if unit is None or unit.state != "asked":
            return
        if not unit.job:
            unit.early[job] = result  # the answer to our call is still on its way
        elif job == unit.job:
            self._start_done(unit, result)

    def _start_done(self, unit: RunUnit, result: str) -> None:
        """Takes note that systemd is done with our start, one way or the other: an end is the end of this run now."""
        unit.state = "running"
        unit.executed = result == "done"
        self._patrol_later()
        if self._take_end(unit):
            return
        self._tasks.do(self._began(unit) if result == "done" else self._check(unit, why=result))

    def _unit_removed(self, arguments: list[Any]) -> None:
        unit = self._by_unit.get(arguments[0])
        if unit is not None and unit.state == "running":
            self._tasks.do(self._check(unit))  # the job was taken out of the configuration while it ran

    async def _began(self, unit: RunUnit) -> None:
        try:
            at, invocation = await self._systemd.beginning(unit.name)
        except CallFailed:
            at, invocation = 0, ""  # the end tells the invocation
        if unit.state == "running" and not unit.told:
            unit.told = True
            self._on_started(unit.run_id, at or now(), invocation)

    def _end_arrived(self, instance: str) -> None:
        """Takes the end that was noted of an instance, or all there are where it is ""."""
        units = list(self._by_unit.values()) if not instance else [self._by_unit.get(unitfile.unit(instance))]
        for unit in units:
            if unit is not None:
                self._take_end(unit)

    def _take_end(self, unit: RunUnit) -> bool:
        """Returns whether the run has ended, by what was noted."""
        end = spool.read_end(unit.instance) if unit.state == "running" and self._hears else None
        if end is not None and unit.is_new(end.invocation):
            self._ended(unit, end)
        return unit.state == "ended"

    def _ended(self, unit: RunUnit, end: spool.End) -> None:
        outcome = end.outcome(unit.verdict, by_systemd=unit.by_systemd, began=unit.told or unit.executed)
        if not unit.told:  # the run was over before systemd could be asked when it began
            outcome = replace(outcome, started=unit.asked)
            if outcome.result != "start-failed":
                self._on_started(unit.run_id, unit.asked, end.invocation)
        self._over(unit, outcome)

    def _over(self, unit: RunUnit, outcome: Outcome) -> None:
        if unit.state != "ended":
            unit.state = "ended"
            self._on_ended(unit.run_id, outcome)

    # Checking what was not told

    def _patrol_later(self) -> None:
        """Has what runs checked now and then: a drop-in, a full /run or too little memory may keep note-end silent."""
        if self._round is None:
            self._round = asyncio.get_running_loop().call_later(_ROUND, self._patrol)

    def _patrol(self) -> None:
        self._round = None
        for unit in [unit for unit in self._by_run.values() if unit.state == "running"]:
            self._patrol_later()
            self._tasks.do(self._check(unit))

    async def _catch_up(self) -> None:
        """Checks every run after PID 1 executed itself anew."""
        for unit in list(self._by_run.values()):
            if unit.state == "running":
                await self._check(unit)
            elif unit.state == "asked":
                await self._check_start(unit)

    async def _is_alive(self, unit: RunUnit) -> bool:
        """Returns whether a unit runs or its end is being noted. Raises CallFailed."""
        return await self._systemd.is_alive(unit.name, *unitfile.ended(unit.instance))

    async def _unnoted_end(self, unit: RunUnit) -> spool.End | None:
        """Returns the end of a run as systemd knows it where it was not noted. Raises CallFailed."""
        end = spool.end_of(await self._systemd.last_end(unit.name))
        noted = spool.read_end(unit.instance)
        if end is None or not unit.is_new(end.invocation) or (noted is not None and unit.is_new(noted.invocation)):
            return None
        self._unnoted[unit.instance] = end.invocation
        return end

    async def _check_start(self, unit: RunUnit) -> None:
        """Finds out whether a run began whose start systemd may not have heard, or may have done unheard."""
        try:
            _, invocation = await self._systemd.beginning(unit.name)
            end = spool.read_end(unit.instance)
            begun = unit.is_new(invocation) or (end is not None and unit.is_new(end.invocation))
            # A start that waits for its turn, as behind the noting of the end before, has not begun.
            waits = not begun and await self._systemd.is_alive(unit.name)
        except CallFailed as error:
            self._does_not_say(unit, error)
            return
        if unit.state != "asked":
            return
        if begun:
            self._start_done(unit, "done")
        elif unit.job and not waits:
            self._start_done(unit, "somebody took the start back")

    async def _check(self, unit: RunUnit, *, why: str = "") -> None:
        """Finds out what a unit does, after something was unusual; `why` is systemd's word for how our start went."""
        if not self._hears:
            return
        try:
            alive = await self._is_alive(unit)
            unnoted = None if alive else await self._unnoted_end(unit)
        except CallFailed as error:
            self._does_not_say(unit, error)
            return
        if unit.state != "running" or self._take_end(unit) or alive:
            return
        if unnoted is not None:
            self._ended(unit, unnoted)
            return
        if unit.told:
            # Never success: a unit that systemd collected reads like one that never ran.
            result, reason = "interrupted", "the unit does not run, and how the run ended was not noted"
        else:
            failure = await self._systemd.failure(unit.name) or why or "the unit does not run"
            result, reason = "start-failed", f"systemd did not start the unit ({failure})"
        reason = f"{reason}: systemctl status {unit.name}"
        self._over(unit, Outcome(result=unit.verdict or result, reason=reason))

    def _does_not_say(self, unit: RunUnit, error: CallFailed) -> None:
        """Tells of a question that systemd refuses; while systemd is away, there will be others."""
        if not error.away:
            self._on_trouble(f"systemd does not say what became of {unit.name}: {error}")


def _text(file: Path) -> str | None:
    try:
        return file.read_text()
    except OSError:
        return None
