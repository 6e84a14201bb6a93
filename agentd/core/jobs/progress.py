"""The progress of runs: known at once, stored and told once a second at most for each. The last word is never lost."""

from agentd.core.jobs.ends import Ends
from agentd.core.jobs.model import Run, RunChanged, RunSaved
from agentd.core.jobs.roster import Entry, Roster
from agentd.core.part import Effect
from agentd.core.quantities import SECOND

PAUSE = SECOND


class Progress:
    """The words of runs about how far they are; effects go to `effects`, and through `ends` to people."""

    def __init__(self, roster: Roster, ends: Ends, effects: list[Effect]) -> None:
        self._roster = roster
        self._ends = ends
        self._effects = effects
        self._quiet: dict[str, int] = {}  # by run, until when nothing more of it is told
        self._untold: dict[str, bool] = {}  # the runs that spoke meanwhile, and whether people know of it already

    def said(self, entry: Entry, run: Run, now: int, *, tool: bool) -> None:
        """Takes note of what a run says. People are told of each use of a `tool` at once: each counts as an event, and
        how many of those reach anybody is for the notices to say; what is bounded is what the disk is asked for."""
        if tool:
            self._ends.notify(entry, "tool", run, run.progress)
        self._untold[run.run_id] = tool
        if not now < self._quiet.get(run.run_id, 0) <= now + PAUSE:
            self._quiet[run.run_id] = now + PAUSE
            self._tell(entry, run)

    def wakeup(self) -> int | None:
        """Returns when something is to be told next."""
        return min((self._quiet[run_id] for run_id in self._untold), default=None)

    def tick(self, now: int) -> None:
        """Tells what may be told by now, and forgets whoever was silent since."""
        for run_id in [run_id for run_id, until in self._quiet.items() if until <= now]:
            entry = self._roster.running(run_id) if run_id in self._untold else None
            if entry is None:
                self._forget(run_id)
            else:
                self._quiet[run_id] = now + PAUSE
                self._tell(entry, entry.running[run_id])

    def over(self, entry: Entry, run: Run) -> None:
        """Tells the last word of a run that ends."""
        if run.run_id in self._untold:
            self._tell(entry, run)
        self._forget(run.run_id)

    def drain(self) -> None:
        """Tells everything: agentd stops."""
        for run_id in list(self._untold):
            if (entry := self._roster.running(run_id)) is not None:
                self._tell(entry, entry.running[run_id])

    def clock_stepped(self, delta: int) -> None:
        """Takes note that the clock was set by `delta`."""
        self._quiet = {run_id: until + delta for run_id, until in self._quiet.items()}

    def _tell(self, entry: Entry, run: Run) -> None:
        known = self._untold.pop(run.run_id)
        self._effects += [RunSaved(run), RunChanged("progress", run)]
        if not known:
            self._ends.notify(entry, "progress", run, run.progress)

    def _forget(self, run_id: str) -> None:
        self._quiet.pop(run_id, None)
        self._untold.pop(run_id, None)
