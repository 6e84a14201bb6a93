"""org.agentd1.Jobs: its members and their records. Arguments are checked, the core is asked, its answer is recorded."""

import asyncio
import heapq
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec import structs

from agentd.bus.arguments import PAGE, Records, limit_of, only, record
from agentd.bus.contract import Handler
from agentd.bus.server import Caller
from agentd.core.jobs.jobs import Jobs
from agentd.core.jobs.model import FAILURES, Run
from agentd.core.jobs.roster import Entry
from agentd.core.part import Decided, Refused
from agentd.core.patterns import matcher
from agentd.core.quantities import format_duration
from agentd.core.times import instant_of
from agentd.jobs.tables import list_runs
from agentd.part import Host

_CHUNK = 64 << 10
_PROGRESS = 200  # characters
_TOOL = 60  # characters
_SLICE = 20  # jobs
_LATEST = instant_of(datetime(9000, 1, 1, tzinfo=UTC))  # calendars end with the year 9999
_RUN = {
    **dict.fromkeys(("run_id", "job", "cause", "state", "result", "signal", "progress", "reason", "tail"), "s"),
    "invocation": "s",
    "waits": "s",
    **dict.fromkeys(("due", "started", "ended", "cpu_usec", "peak_memory"), "t"),
    "attempt": "u",
    "exit_code": "i",
}
_JOB = {
    **dict.fromkeys(("name", "description", "trigger", "kind", "timezone", "state", "progress"), "s"),
    **dict.fromkeys(("last_run_id", "last_result", "last_signal", "last_skip"), "s"),
    **dict.fromkeys(("next", "interval", "last_due", "last_started", "last_ended", "last_skip_at"), "t"),
    **dict.fromkeys(("enabled", "adaptive", "fixed"), "b"),
    **dict.fromkeys(("command", "overridden", "running", "starting"), "as"),
    "unmet": "a{ss}",
    "preference": "i",
    "last_exit_code": "i",
    "queued": "u",
}
_CHANGE = {"old": "t", "new": "t", "next": "t", "adaptive": "b", "note": "s"}
_DECISION = {"at": "t", "kind": "s", "job": "s", "run_id": "s", "reason": "s"}


def run_record(run: Run, *, tail: bool = False, waits: str = "") -> dict[str, Any]:
    """Returns a run as ListRuns describes it."""
    return record(_run_values(run, tail=tail, waits=waits), _RUN)


def _run_values(run: Run, *, tail: bool, waits: str) -> dict[str, Any]:
    values: dict[str, Any] = {"run_id": run.run_id, **structs.asdict(run)}
    if waits:
        values["waits"] = waits
    for key in ("seq", "not_before", *(() if tail else ("tail",))):
        del values[key]
    return values


def _job_values(entry: Entry, seen: Callable[[Run], Run]) -> dict[str, Any]:
    """Returns a job as ListJobs describes it; `seen` tells how a run of it is seen."""
    job, state, last, trigger = entry.job, entry.state, entry.last, entry.job.trigger
    values: dict[str, Any] = {
        "name": job.name,
        "description": job.description,
        "command": job.run,
        "trigger": trigger.phrase(),
        "kind": trigger.key,
        "timezone": entry.zone.key,
        "enabled": entry.enabled,
        "adaptive": trigger.key == "adaptive",
        "state": _state(entry),
        "next": entry.due or 0,
        "interval": entry.schedule.trigger.interval or 0,
        "overridden": (),
        "fixed": state.fixed,
        "preference": state.preference,
        "running": (),
        "starting": (),
        "queued": len(entry.waiting),
        "progress": "",
    }
    if state.interval is not None or state.enabled is not None:
        values["overridden"] = [name for name in ("interval", "enabled") if getattr(state, name) is not None]
    if entry.running:  # of thousands of jobs few are
        values |= _under_way(list(map(seen, entry.running.values())))
    if last is not None:
        values |= {
            "last_run_id": last.run_id,
            "last_due": last.due,
            "last_started": last.started,
            "last_ended": last.ended,
            "last_result": last.result,
            "last_exit_code": last.exit_code,
            "last_signal": last.signal,
        }
    if state.watched is not None:
        values["unmet"] = state.watched.unmet
    if state.last_skip:
        values |= {"last_skip": state.last_skip, "last_skip_at": state.last_skip_at}
    return values


def _under_way(runs: list[Run]) -> dict[str, Any]:
    """Returns what ListJobs says of the runs under way of a job."""
    return {
        "state": max(run.state for run in runs),  # "starting" only where none is "running" yet
        "running": [run.run_id for run in runs if run.state == "running"],
        "starting": [run.run_id for run in runs if run.state == "starting"],
        "progress": runs[-1].progress,
    }


def _state(entry: Entry) -> str:
    """Returns the state of a job without a run under way."""
    if entry.waiting:
        return "queued"
    if entry.retry is not None:
        return "retrying"
    return "idle" if entry.enabled else "disabled"


class JobsApi:
    """The members of org.agentd1.Jobs. `output` is the folder of the runs' output; None: the journal has it."""

    def __init__(self, host: Host, jobs: Jobs, output: Path | None) -> None:
        self._host = host
        self._jobs = jobs
        self._output = output

    def methods(self) -> dict[str, Handler]:
        """Returns the handlers by the names of the contract."""
        handlers = (
            self.ListJobs, self.GetJob, self.RunJob, self.StopJob, self.Increase, self.Decrease, self.SetInterval,
            self.SetEnabled, self.Reset, self.NextTimes, self.ListRuns, self.ListDecisions, self.ReadOutput,
            self.ReportProgress, self.ReportChange, self.Report,
        )  # fmt: skip
        return {handler.__name__: handler for handler in handlers}

    def properties(self) -> dict[str, Callable[[], Any]]:
        """Returns the getters by the names of the contract."""
        return {"Running": self._running}

    def _running(self) -> list[dict[str, Any]]:
        seen = map(self._jobs.seen, self._jobs.running())
        return [run_record(run, waits=self._jobs.waits(run)) for run in seen]

    async def ListJobs(self, filter: dict[str, Any]) -> Records[Entry]:
        only(filter, name=str, after=str)
        entries, after = self._jobs.entries, filter.get("after", "")
        names = sorted(name for name in entries if name > after)
        if "name" in filter:
            found = await self._matching(names, matcher(filter["name"]))
        else:
            found = [entries[name] for name in names[:PAGE]]
        return Records(lambda entry: _job_values(entry, self._jobs.seen), found, _JOB)

    async def _matching(self, names: list[str], matches: Callable[[str], bool]) -> list[Entry]:
        """Returns the first jobs among those of these names that match, up to a page."""
        found: list[Entry] = []
        for number, name in enumerate(names, 1):
            if (entry := self._jobs.entries.get(name)) is not None and matches(name):
                found.append(entry)
            if len(found) == PAGE:
                break
            if number % _SLICE == 0:
                await asyncio.sleep(0)  # the loop has its turn: a pattern may take a millisecond for a name
        return found

    def GetJob(self, job: str) -> dict[str, Any]:
        return record(_job_values(self._jobs.entry(job), self._jobs.seen), _JOB)

    async def RunJob(self, job: str, options: dict[str, Any], caller: Caller) -> str:
        only(options)
        self._host.ready()
        run = self._jobs.run(job, self._host.now(), by=caller.who)
        await self._host.settle()
        return run.run_id

    async def StopJob(self, job_or_run: str, caller: Caller) -> list[str]:
        run_ids = self._jobs.stop(job_or_run, self._host.now(), caller.who)
        await self._host.settle()
        return run_ids

    async def Increase(self, job: str, caller: Caller) -> dict[str, Any]:
        return await self._step(job, 1, caller)

    async def Decrease(self, job: str, caller: Caller) -> dict[str, Any]:
        return await self._step(job, -1, caller)

    async def _step(self, job: str, direction: int, caller: Caller) -> dict[str, Any]:
        self._host.ready()
        old, new = self._jobs.step_interval(job, direction, self._host.now(), caller.who)
        await self._host.settle()
        return self._interval_change(job, old, new, "more" if direction > 0 else "less")

    async def SetInterval(self, job: str, interval: int, caller: Caller) -> dict[str, Any]:
        self._host.ready()
        old = self._jobs.set_interval(job, interval, self._host.now(), caller.who)
        await self._host.settle()
        return self._interval_change(job, old, interval)

    def _interval_change(self, job: str, old: int, new: int, word: str = "") -> dict[str, Any]:
        entry = self._jobs.entry(job)
        adaptive = entry.schedule.trigger.key == "adaptive"
        before = f"every {format_duration(old)}" if old else entry.job.trigger.phrase()
        note = f"{job} now runs {word + ' often, ' if word else ''}every {format_duration(new)} (was {before})"
        note += (
            "; remembered as your preference"
            if adaptive and word
            else f"; this overrides the configuration until: agentctl reset {job}"
        )
        values = {"old": old, "new": new, "adaptive": adaptive, "next": entry.due or 0, "note": note}
        return record(values, _CHANGE)

    async def SetEnabled(self, job: str, enabled: bool, caller: Caller) -> dict[str, Any]:
        self._host.ready()
        already = self._jobs.entry(job).enabled == enabled
        back = self._jobs.set_enabled(job, enabled, self._host.now(), caller.who)
        await self._host.settle()
        entry = self._jobs.entry(job)
        word = "enabled" if enabled else "disabled"
        note = f"{job} {'was ' + word + ' already' if already else 'is ' + word}{_taken_back(back)}"
        return record({"note": note, "next": entry.due or 0}, _CHANGE)

    async def Reset(self, job: str, caller: Caller) -> dict[str, Any]:
        self._host.ready()
        back = self._jobs.reset(job, self._host.now(), caller.who)
        await self._host.settle()
        entry = self._jobs.entry(job)
        word = "" if entry.enabled else " (disabled)"
        note = f"{job} is as configured again: {entry.schedule.trigger.phrase()}{word}{_taken_back(back)}"
        return record({"note": note, "next": entry.due or 0}, _CHANGE)

    async def NextTimes(self, job: str, from_: int, count: int) -> list[list[Any]]:
        if not 1 <= count <= 1000:
            raise Refused("InvalidArgument", f"count must lie between 1 and 1000, not {count}")
        if from_ > _LATEST:
            raise Refused("InvalidArgument", f"from must be an instant before the year 9000, not {from_}")
        entries = [self._jobs.entry(job)] if job else list(self._jobs.entries.values())
        start = from_ or self._host.now()
        # One pending time for each job; the soonest is taken and replaced by its successor.
        pending: list[tuple[int, str, Entry]] = []
        for entry in entries:
            if entry.enabled and (due := _due_after(entry, start)) is not None:
                pending.append((due, entry.job.name, entry))
            await asyncio.sleep(0)  # the loop has its turn: the next time may be decades away, and take as long to find
        heapq.heapify(pending)
        times: list[list[Any]] = []
        while pending and len(times) < count:
            due, name, entry = pending[0]
            times.append([name, due])
            later = _due_after(entry, due)
            if later is None:
                heapq.heappop(pending)
            else:
                heapq.heapreplace(pending, (later, name, entry))
            await asyncio.sleep(0)
        return times

    async def ListRuns(self, filter: dict[str, Any]) -> Records[Run]:
        only(filter, job=str, run_id=str, result=str, failed=bool, since=int, before=int, limit=int, tail=bool)
        wanted = {key: value for key, value in filter.items() if key not in {"tail", "run_id", "limit"}}
        job, seq = _split(filter["run_id"]) if "run_id" in filter else (filter.get("job", ""), 0)
        wanted |= {"job": job, "seq": seq, "limit": limit_of(filter)}
        runs = await self._host.ask(list_runs, **wanted)
        tail = filter.get("tail", False)
        found = self._as_seen(runs, wanted)
        return Records(lambda run: _run_values(run, tail=tail, waits=self._jobs.waits(run)), found, _RUN)

    def _as_seen(self, stored: list[Run], wanted: dict[str, Any]) -> list[Run]:
        """Returns stored runs as they are seen now, after those that are too new to be stored: while nothing can be
        stored, the core alone knows of them."""
        fresh = [run for run in self._jobs.all_seen(stored[0].seq if stored else 0) if _matches(run, **wanted)]
        fresh.sort(key=lambda run: run.seq, reverse=True)
        return [*fresh, *(self._jobs.known(run.run_id) or run for run in stored)][: wanted["limit"]]

    async def ListDecisions(self, filter: dict[str, Any]) -> Records[Decided]:
        only(filter, job=str, run_id=str, limit=int)
        found = await self._host.decisions(
            about=filter.get("job", ""), run_id=filter.get("run_id", ""), limit=limit_of(filter)
        )
        return Records(_decision_values, found, _DECISION)

    async def ReadOutput(self, run_id: str, offset: int) -> tuple[bytes, int, bool]:
        run = await self._run(run_id)
        if self._output is None:
            text = f"the journal has the output: journalctl _SYSTEMD_INVOCATION_ID={run.invocation}"
            raise Refused("Unsupported", text)
        data = b""
        # The path is made of the run that the store knows, not of what the caller said.
        file = self._output / f"{run.run_id}.log"
        if file.exists():
            with file.open("rb") as stream:
                stream.seek(offset)
                data = stream.read(_CHUNK)
        return data, offset + len(data), run.state == "ended" and len(data) < _CHUNK

    async def ReportProgress(self, run_id: str, text: str) -> None:
        await self.Report(run_id, text, {})

    async def ReportChange(self, run_id: str) -> None:
        self._jobs.report_change(run_id)
        await self._host.settle()

    async def Report(self, run_id: str, text: str, options: dict[str, Any]) -> None:
        only(options, tool=str)
        tool = tool_name(options.get("tool", ""))
        if "tool" in options and not tool:
            raise Refused("InvalidArgument", "the name of the tool is empty: expected one such as web-search")
        self._jobs.progress(run_id, " ".join(text.split())[:_PROGRESS], self._host.now(), tool)
        await self._host.settle()

    async def _run(self, run_id: str) -> Run:
        if (known := self._jobs.known(run_id)) is not None:
            return known
        job, seq = _split(run_id)
        runs: list[Run] = await self._host.ask(list_runs, job=job, seq=seq)
        if not runs:
            raise Refused("NoSuchRun", f'there is no run "{run_id}" (agentctl history lists them)')
        return runs[0]


def tool_name(text: str) -> str:
    """Returns the name of a tool as people are shown it: a line of at most 60 characters, of which none is invisible or
    steers a terminal."""
    shown = "".join(one for one in text if one.isprintable() or one.isspace())
    return " ".join(shown.split())[:_TOOL].rstrip()


def _matches(
    run: Run,
    *,
    job: str,
    seq: int,
    limit: int,
    result: str = "",
    failed: bool = False,
    since: int = 0,
    before: int = 0,
) -> bool:
    """Tells whether a run is one of those that list_runs was asked for."""
    del limit
    is_it = job in ("", run.job) and seq in (0, run.seq) and max(run.due, run.started) >= since
    is_it = is_it and (not before or run.seq < before)
    return is_it and result in ("", run.result) and (not failed or run.result in FAILURES)


def _taken_back(run_ids: list[str]) -> str:
    return f"; taken back: {', '.join(run_ids)}" if run_ids else ""


def _decision_values(decision: Decided) -> dict[str, Any]:
    """Returns a decision as ListDecisions describes it."""
    values = {name: getattr(decision, name) for name in ("at", "kind", "run_id", "reason")}
    return {**values, "job": decision.about}


def _due_after(entry: Entry, t: int) -> int | None:
    """Returns the first due time later than t that a run will be started for, or would have been at that time; None
    where that is beyond all calendars."""
    due = entry.schedule.next_due(entry.state, t) if t >= entry.state.handled else entry.schedule.next_after(t)
    return due if due is not None and due <= _LATEST else None


def _split(run_id: str) -> tuple[str, int]:
    """Returns the job and the number of a run's id."""
    job, _, number = run_id.rpartition(".")
    # -1, the number of no run, also for a number that SQLite could not hold
    return job, int(number) if number.isascii() and number.isdigit() and len(number) < 16 else -1
