"""Places for runs: how many are taken, the runs that wait for one, and the holders that keep all from starting."""

from collections.abc import Collection, Mapping

from agentd.core.jobs.model import Run
from agentd.core.jobs.roster import Entry


class Places:
    """The places for runs of all jobs, `concurrency` of them, and the runs that wait for one in order of arrival."""

    def __init__(self, concurrency: int) -> None:
        self.concurrency = concurrency
        self.taken = 0
        self.trouble = ""  # why nothing can be stored just now
        self._waiting: dict[int, Run] = {}
        self._unsaved: dict[int, Run] = {}
        self._holds: dict[str, str] = {}
        self._pauses: set[str] = set()  # the holders with whom nothing ends

    # Holds

    @property
    def held(self) -> str:
        """The reason why nothing starts for the time being, as the latest holder's sentence; or empty."""
        return next(reversed(self._holds.values()), "")

    @property
    def closed(self) -> str:
        """The reason why no run gets a place, as a sentence: nothing can be stored, or somebody holds all; or empty."""
        return self.trouble or self.held

    @property
    def paused(self) -> bool:
        """Whether nothing starts for the time being and all goes on after that: nobody stops or reboots."""
        return bool(self._holds) and self._holds.keys() <= self._pauses

    @property
    def by_hand(self) -> bool:
        """Whether somebody paused the jobs, whatever else holds them."""
        return not self._holds.keys().isdisjoint(self._pauses)

    def hold(self, who: str, why: str, *, pause: bool = False) -> None:
        """Lets nothing start until `who` releases it, whatever others release; a `pause` is for no end."""
        self._holds.pop(who, None)
        self._holds[who] = why
        self._pauses = self._pauses | {who} if pause else self._pauses - {who}

    def release(self, who: str) -> bool:
        """Takes back the hold of `who`; returns whether things start again because of that."""
        return self._holds.pop(who, None) is not None and not self._holds

    # The line of runs that wait

    @property
    def waiting(self) -> Collection[Run]:
        """The runs that wait for a place, in order of arrival."""
        return self._waiting.values()

    def wait(self, entry: Entry, run: Run) -> None:
        """Puts a run at the end of the line."""
        entry.waiting.append(run)
        self._waiting[run.seq] = run
        self._unsaved[run.seq] = run

    def forget(self, entry: Entry, run: Run) -> None:
        """Takes a run out of the line, where it stands in it."""
        self._waiting.pop(run.seq, None)
        self._unsaved.pop(run.seq, None)
        entry.waiting = [other for other in entry.waiting if other.seq != run.seq]

    def unsaved(self) -> list[Run]:
        """Returns, once, the runs that came since the last call and still wait."""
        fresh = list(self._unsaved.values())
        self._unsaved.clear()
        return fresh

    # Admission

    def free_for(self, entry: Entry) -> bool:
        """Tells whether a run of this job would get a place at once."""
        return entry.active < entry.job.concurrency and self.taken + len(self._waiting) < self.concurrency

    def next(self, entries: Mapping[str, Entry]) -> list[tuple[Entry, Run]]:
        """Returns the runs that get a place now: first come first served, within each job's own concurrency."""
        chosen: list[tuple[Entry, Run]] = []
        going: dict[str, int] = {}
        for run in self._waiting.values():
            if self.taken + len(chosen) >= self.concurrency:
                break
            entry = entries[run.job]
            if len(entry.running) + going.get(run.job, 0) < entry.job.concurrency:
                chosen.append((entry, run))
                going[run.job] = going.get(run.job, 0) + 1
        return chosen
