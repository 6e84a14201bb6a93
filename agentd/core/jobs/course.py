"""The course of a run: wanted, waiting for a place, decided, asked for, begun; or taken back on the way."""

from collections.abc import Mapping

from msgspec.structs import replace

from agentd.core.jobs.model import Run, RunChanged, RunSaved, RunStarts, RunStops
from agentd.core.jobs.places import Places
from agentd.core.jobs.roster import Entry
from agentd.core.part import Decided, Effect

ASKED_FOR = frozenset({"manual", "hook"})
"""The causes of runs that somebody asked for: only a stop takes them back, not what is decided about the schedule."""


class Course:
    """The runs on their way to a process. `seq` is the number of the next run; effects go to `effects`."""

    def __init__(self, places: Places, seq: int, effects: list[Effect]) -> None:
        self._places = places
        self._seq = seq
        self._effects = effects
        self._decided: set[str] = set()  # the start is not carried out yet: it waits for the disk
        self._begun: set[str] = set()  # there is, or was, a process

    def number(self) -> int:
        """Returns the number for another run."""
        self._seq += 1
        return self._seq - 1

    def new(self, entry: Entry, due: int, cause: str, now: int, reason: str = "") -> Run:
        """Returns a new run, which waits for a place."""
        run = Run(seq=self.number(), job=entry.job.name, due=due, cause=cause, not_before=now, reason=reason)
        self._places.wait(entry, run)
        return run

    def admit(self, entries: Mapping[str, Entry], now: int) -> None:
        """Gives free places to the runs that wait, first come first served."""
        for entry, run in self._places.next(entries):
            self.start(entry, run, now)

    def start(self, entry: Entry, run: Run, now: int) -> None:
        """Decides that a run starts."""
        self._places.forget(entry, run)
        run = replace(run, state="running", started=now)
        self.take_up(entry, run, begun=False)
        self._decided.add(run.run_id)
        self._effects += [RunSaved(run), RunStarts(run, entry.job)]

    def take_up(self, entry: Entry, run: Run, *, begun: bool) -> None:
        """Takes note of a run under way, and whether there is a process of it."""
        self._places.taken += 1
        entry.running[run.run_id] = run
        if begun:
            self._begun.add(run.run_id)

    def ask(self, entry: Entry | None, run_id: str) -> bool:
        """Takes note that the start is carried out now; returns whether the run is still wanted."""
        self._decided.discard(run_id)
        return entry is not None

    def begin(self, run_id: str) -> None:
        """Takes note that there is a process of a run under way."""
        self._decided.discard(run_id)
        self._begun.add(run_id)

    def over(self, entry: Entry, run_id: str) -> Run:
        """Returns a run under way, which is no more: its place is free."""
        self._decided.discard(run_id)
        self._begun.discard(run_id)
        self._places.taken -= 1
        return entry.running.pop(run_id)

    # As it is seen

    def decided(self, entry: Entry) -> list[Run]:
        """Returns the runs whose start was decided and not carried out yet."""
        return [run for run_id, run in entry.running.items() if run_id in self._decided]

    def unbegun(self, entry: Entry) -> list[Run]:
        """Returns the runs that can be taken back as if nothing had been: those that wait, and those whose start waits
        for something to be stored."""
        return [*entry.pending, *(self.decided(entry) if self._places.trouble else ())]

    def stuck(self, entry: Entry) -> bool:
        """Tells whether all runs of a job that are under way wait for something to be stored."""
        return bool(self._places.trouble and entry.running) and len(self.decided(entry)) == len(entry.running)

    def seen(self, run: Run) -> Run:
        """Returns a run as it is seen: one under way of which there is no process yet is "starting"."""
        if run.state != "running" or run.run_id in self._begun:
            return run
        return replace(run, state="starting", started=0)

    def has_begun(self, run: Run) -> bool:
        """Tells whether there is, or was, a process of a run under way."""
        return run.run_id in self._begun

    def waits(self, entry: Entry, run: Run) -> str:
        """Returns why a run that has not begun still waits, as a sentence."""
        if self._places.closed:
            return self._places.closed
        if run.run_id in entry.running:
            return "its process is being started"
        if entry.retry is not None and entry.retry.seq == run.seq:
            return f"its time has not come: {run.reason}"
        others = [*entry.running, *(other.run_id for other in entry.waiting if other.seq < run.seq)]
        if len(others) >= entry.job.concurrency:
            return f"the run before is not over: {others[-1]}"
        return f"no place is free: {self._places.taken} of {self._places.concurrency} are taken (concurrency)"

    # Taken back

    def stop(self, entry: Entry, result: str, reason: str, now: int, only: str = "", by: str = "") -> list[str]:
        """Stops runs under way, and takes back runs that wait; returns their ids. `by` is the user who wants that."""
        ids = []
        for run in self.unbegun(entry):
            if only in ("", run.run_id):
                ids.append(run.run_id)
                self.cancel(entry, run, reason, now, by)
        for run_id in entry.running:
            if only in ("", run_id):
                ids.append(run_id)
                self._effects += [
                    Decided(now, "jobs", "stop", entry.job.name, reason, run_id, by),
                    RunStops(run_id, result),
                ]
        return ids

    def take_back(self, entry: Entry, reason: str, now: int, by: str = "") -> list[str]:
        """Takes back the runs that have not begun and that nobody asked for; returns their ids."""
        back = [run for run in self.unbegun(entry) if run.cause not in ASKED_FOR]
        for run in back:
            self.cancel(entry, run, reason, now, by)
        return [run.run_id for run in back]

    def cancel(self, entry: Entry, run: Run, reason: str, now: int, by: str = "") -> None:
        """Takes back a run that waits, or whose start was decided and not carried out."""
        if run.run_id in entry.running:
            run = replace(self.over(entry, run.run_id), started=0)
        self._places.forget(entry, run)
        if entry.retry is not None and entry.retry.seq == run.seq:
            entry.retry = None
        run = replace(run, state="ended", ended=now, result="cancelled", reason=reason)
        self._effects += [
            RunSaved(run),
            Decided(now, "jobs", "stop", run.job, reason, run.run_id, by),
            RunChanged("finished", run),
        ]

    def give_up_retry(self, entry: Entry, reason: str, now: int) -> None:
        """Takes back the retry that waits for its time, where there is one."""
        if entry.retry is not None:
            self.cancel(entry, entry.retry, reason, now)
