"""A machine with a clock, a disk, a daemon and an executor of its own, each of which may misbehave; the core of jobs is
real. The machine knows by itself what runs and what was due: that is what the core's words are measured by."""

from collections import Counter
from collections.abc import Sequence

from msgspec.structs import replace

from agentd.core.config import Config
from agentd.core.jobs.jobs import Jobs
from agentd.core.jobs.model import Outcome, Run, RunChanged, RunSaved, RunStarts, RunStops, Saved
from agentd.core.jobs.settings import Job
from agentd.core.part import Beginning, Decided, Effect, Urgent
from agentd.core.quantities import SECOND
from tests.unit.jobs.simulation import Memory

LEAD = 300_000
TROUBLE = "nothing starts: the state cannot be stored: the disk is full"
UNTIL_A_PROCESS = 5_000  # microseconds from a start to its process


class Process:
    """A process of a run, by elapsed time; `schedule` counts the schedules of its job up to the run's own."""

    def __init__(self, run: Run, begins: int, ends: int, outcome: Outcome, schedule: int) -> None:
        self.run = run
        self.begins = begins
        self.ends = ends
        self.outcome = outcome
        self.schedule = schedule
        self.alive = False


class World:
    """`elapsed` goes on steadily, `now` is what the clock shows. `takes` says how long a run of a job takes."""

    def __init__(
        self, jobs: Sequence[Job], now: int, concurrency: int = 100, takes: dict[str, int] | None = None
    ) -> None:
        self.config = Config(jobs={job.name: job for job in jobs}, concurrency=concurrency)
        self.takes = takes or {}
        self.results: dict[str, str] = {}
        self.now, self.elapsed = now, 0
        self.memory = Memory()
        self.full = False
        self.stops: list[tuple[int, int]] = []  # instants between which nothing could be stored
        self.processes: dict[str, Process] = {}
        self.begun: list[Run] = []  # each process that ever was
        self._once: Counter[tuple[str, int, int, int]] = Counter()  # by job, its schedules, due time and attempt
        self._schedules: Counter[str] = Counter()
        self._set_back = 0  # how often the clock was
        self._decided: dict[int, int] = {}  # by the number of a run, the schedule that it was decided for
        self.ended: list[Run] = []  # each end as it was told
        self.decisions: list[Decided] = []
        self.shown: list[tuple[int, int]] = []  # the spans that the clock has shown
        self.jumped: list[tuple[int, int]] = []  # the spans that the clock passed over
        self._since = now
        self._waiting: list[Effect] = []  # for the disk
        self._start(Saved())

    def _start(self, saved: Saved) -> None:
        self.core = Jobs(self.config.jobs, saved, self.now, concurrency=self.config.concurrency, host="here", lead=LEAD)
        self.carry_out()

    # What happens

    def pass_time(self, span: int) -> None:
        """Time goes by, with all that happens meanwhile."""
        end = self.elapsed + span
        while (at := self._next()) is not None and at <= end:
            self._go_to(max(at, self.elapsed))
            self._processes_go_on()
            self.core.tick(self.now)
            self.carry_out()
        self._go_to(end)

    def sleep(self, span: int) -> None:
        """The machine sleeps: time goes by, and nobody notices before it wakes."""
        self._go_to(self.elapsed + span)
        self.pass_time(0)

    def set_clock(self, now: int) -> None:
        delta = now - self.now
        self._show(now)
        self.core.clock_stepped(delta, now)
        self.carry_out()

    def fill_disk(self) -> None:
        self.full = True

    def free_disk(self) -> None:
        self.full = False
        self.carry_out()

    def configure(self, jobs: Sequence[Job]) -> None:
        for job in jobs:  # due times of another schedule are others, also where they are the same
            self._schedules[job.name] += job != self.config.jobs.get(job.name)
        self.config = Config(jobs={job.name: job for job in jobs}, concurrency=self.config.concurrency)
        self.core.configure(self.config.jobs, self.config.concurrency, "UTC", self.now)
        self.carry_out()

    def kill(self, later: int = 0, now: int | None = None) -> None:
        """The daemon is killed, its processes end with it; what its executor knows is found by the next one, which
        starts `later` with a clock that shows `now`."""
        outcomes = {name: Outcome(result="interrupted") for name, process in self.processes.items() if process.alive}
        not_begun = self.processes.keys() - outcomes.keys()
        self.processes.clear()
        self._waiting.clear()
        self._decided = {seq: self._decided[seq] for seq in self.memory.runs}
        self._go_to(self.elapsed + later)
        self._show(self.now if now is None else now)
        self.full = False
        saved = self.memory.saved()
        runs = [replace(run, state="queued") if run.run_id in not_begun else run for run in saved.open_runs]
        self._start(replace(saved, open_runs=tuple(runs), outcomes=outcomes))
        self.core.tick(self.now)
        self.carry_out()

    # What is known

    def alive(self, job: str = "") -> list[str]:
        """The runs that have a process, of one job or of all."""
        return [name for name, process in self.processes.items() if process.alive and job in ("", process.run.job)]

    def ran(self, job: str) -> list[int]:
        """The due times that led to a process."""
        return [run.due for run in self.begun if run.job == job]

    def reasons(self, kind: str, job: str = "") -> list[str]:
        return [one.reason for one in self.decisions if one.kind == kind and job in ("", one.about)]

    def check(self) -> None:
        """What is shown is what there is; no run waits for more than the lead once it was decided; nothing twice."""
        seen = {run.run_id: self.core.seen(run).state for run in self.core.running()}
        assert {name for name, state in seen.items() if state == "running"} == set(self.alive())
        assert self.processes.keys() <= seen.keys()
        for process in self.processes.values():
            assert process.alive or process.begins <= self.elapsed + LEAD + UNTIL_A_PROCESS
        if not self.full:
            assert seen.keys() == self.processes.keys()
        assert [key for key, count in self._once.items() if count > 1] == []
        for run in self.core.all_seen():
            assert bool(self.core.waits(run)) == (run.state in {"queued", "starting"})
            assert self.core.known(run.run_id) == run
            assert run not in self.core.all_seen(above=run.seq)
        queued = [run for run in self.core.all_seen() if run.state == "queued"]
        waiting = [run.run_id for run in self.core.waiting(self.now)]
        assert {run.run_id for run in queued if run.not_before <= self.now} <= set(waiting)
        assert {*waiting} <= {run.run_id for run in queued}  # a clock that was set back does not end their waiting
        assert len({*waiting}) == len(waiting)
        running = {run.job for run in self.core.running()}
        assert {name for name in self.core.entries if self.core.is_running(name)} == running & self.core.entries.keys()

    # How it is done

    def carry_out(self) -> None:
        """Stores what is wanted and does it, as the daemon does: while the disk is full, nothing but what is urgent."""
        self._take_effects()
        while self._waiting:
            if self.full:
                self._wait_for_room()
                return
            batch, self._waiting = self._waiting, []
            self.memory.write(batch)
            if self.core._places.trouble:
                self.stops.append((self._stopped_at, self.elapsed))
                self.core.storable("", self.now)
            for effect in batch:
                self._do(effect)
            self._take_effects()

    def _take_effects(self) -> None:
        for effect in self.core.effects():
            if isinstance(effect, Decided):
                self._judge(effect)  # as it is decided: a full disk keeps it while the world goes on
            elif isinstance(effect, RunSaved):
                self._decided.setdefault(effect.run.seq, self._schedule(effect.run.job))
            self._waiting.append(effect)

    def _schedule(self, name: str) -> int:
        """The number of the schedule that a job has now."""
        job = self.config.jobs.get(name)
        # Elapsed time never comes twice: what the clock shows again is another instant for an interval.
        again = self._set_back if job is not None and job.trigger.elapsed else 0
        return self._schedules[name] + again

    def _wait_for_room(self) -> None:
        if not self.core._places.trouble:
            self._stopped_at = self.elapsed
        self.core.storable(TROUBLE, self.now)
        begun = {effect.subject for effect in self._waiting if isinstance(effect, Beginning)}
        for effect in [e for e in self._waiting if isinstance(e, Urgent) and e.subject not in begun]:
            self._waiting.remove(effect)
            self._do(effect)

    def _do(self, effect: Effect) -> None:
        if isinstance(effect, Decided):
            self.decisions.append(effect)
        elif isinstance(effect, RunStarts):
            if self.core.asked(effect.run.run_id):
                wait = min(max(0, effect.run.due - self.now), LEAD)  # as both executors do
                begins = self.elapsed + wait + UNTIL_A_PROCESS
                takes = self.takes.get(effect.run.job, SECOND)
                outcome = Outcome(result=self.results.get(effect.run.job, "success"))
                schedule = self._decided[effect.run.seq]
                self.processes[effect.run.run_id] = Process(effect.run, begins, begins + takes, outcome, schedule)
        elif isinstance(effect, RunStops):
            process = self.processes.get(effect.run_id)
            if process is not None and process.alive:
                process.ends, process.outcome = self.elapsed, Outcome(result=effect.result)
            elif process is not None:
                self._end(process, Outcome(result=effect.result, reason="it had not begun yet"))
        elif isinstance(effect, RunChanged) and effect.event == "finished":
            self.ended.append(effect.run)

    def _judge(self, decided: Decided) -> None:
        """A due time that was passed over was so for the reason that is told."""
        if decided.kind == "skip" and "(overlap: skip)" in decided.reason:
            job = self.config.jobs.get(decided.about)
            if "still under way" in decided.reason and job is not None:
                starts = [effect.run for effect in self._waiting if isinstance(effect, RunStarts)]
                of_it = [run for run in (*starts, *(p.run for p in self.processes.values())) if run.job == job.name]
                assert len(of_it) >= job.concurrency, decided
        if decided.kind == "skip" and "nothing could be stored" in decided.reason:
            assert self.stops, decided

    def _next(self) -> int | None:
        """The next instant, by elapsed time, at which something happens."""
        wakeup = self.core.wakeup()
        wanted = [] if wakeup is None else [self.elapsed + max(0, wakeup - self.now)]
        wanted += [process.ends if process.alive else process.begins for process in self.processes.values()]
        return min(wanted, default=None)

    def _show(self, now: int) -> None:
        self.shown.append((self._since, self.now))
        self.jumped.append((self.now, now))
        self._set_back += now < self.now
        self.now = self._since = now

    def _go_to(self, at: int) -> None:
        self.now += at - self.elapsed
        self.elapsed = at

    def _processes_go_on(self) -> None:
        for process in list(self.processes.values()):
            if not process.alive and process.begins <= self.elapsed:
                process.alive = True
                self.begun.append(process.run)
                if process.run.cause in {"schedule", "missed"}:
                    run = process.run
                    self._once[run.job, process.schedule, run.due, run.attempt] += 1
                self.core.started(process.run.run_id, self.now)
            if process.alive and process.ends <= self.elapsed:
                self._end(process, process.outcome)
        self.carry_out()

    def _end(self, process: Process, outcome: Outcome) -> None:
        del self.processes[process.run.run_id]
        self.core.ended(process.run.run_id, outcome, self.now)
