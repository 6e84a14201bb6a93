"""The probation of a scheduler that has just been enabled: its length, and the guards that it must keep."""

from collections.abc import Callable

from msgspec.structs import replace

from agentd.core.quantities import SECOND, format_duration
from agentd.core.schedulers.book import Book
from agentd.core.schedulers.judge import Judge
from agentd.core.schedulers.model import Chosen, Figures, SchedulerLooks, Tenure, Times
from agentd.core.schedulers.settings import Guards, SchedulerSettings

MARGIN = 10 * SECOND
"""A probation is longer by this than the time after which the kernel ends a scheduler that starves a task."""


class Probation:
    """`settings` are those in force. The tenure on probation is the book's."""

    def __init__(self, book: Book, judge: Judge, settings: SchedulerSettings, times: Times) -> None:
        self.settings = settings
        self._book = book
        self._judge = judge
        self._times = times
        self._looked = 0  # when the guards were last looked at

    def span(self, chosen: Chosen) -> int:
        """Returns for how long a scheduler is on probation, in microseconds."""
        return max(self.settings.probation, chosen.timeout + MARGIN)

    def agenda(self, tenure: Tenure | None) -> list[tuple[int, Callable[[int], None]]]:
        """Returns what is due for a tenure, and when."""
        if tenure is None or not tenure.probation:
            return []
        if not self.settings.guards.any:
            return [(tenure.probation, self.end)]
        # The guards have the last word: under a scheduler that hardly lets agentd run, the time may be over before they
        # were looked at even once.
        looked = max(self._looked, tenure.enabled)
        due = looked + self._times.guards
        return [(min(due, tenure.probation) if looked < tenure.probation else due, self._look)]

    def end(self, now: int) -> None:
        """Ends the probation of the tenure: it has proved good."""
        tenure = self._book.tenure
        if tenure is not None and tenure.probation:
            self._book.save(replace(tenure, probation=0))
            self._judge.proved(tenure, now)

    def kept(self, now: int) -> None:
        """Takes note that figures break no guard: a probation whose time is over ends."""
        tenure = self._book.tenure
        if tenure is not None and 0 < tenure.probation <= now:
            self.end(now)

    def tripped(self, figures: Figures) -> str:
        """Returns the guards that figures break, as a sentence; empty where they break none."""
        return "; ".join(_broken(self.settings.guards, figures))

    def woke(self, now: int) -> None:
        """Begins the probation anew: the machine was suspended, and nobody saw how it fared."""
        tenure = self._book.tenure
        if tenure is not None and tenure.probation:
            self._book.save(replace(tenure, probation=max(tenure.probation, now + self.span(tenure.chosen))))

    def clock_stepped(self, delta: int) -> None:
        """Moves the instants along: the wall clock was set by `delta`."""
        self._looked += delta

    def _look(self, now: int) -> None:
        self._looked = now
        self._book.effects.append(SchedulerLooks(guards=True))


def _broken(guards: Guards, figures: Figures) -> list[str]:
    found = []
    for what, bound, figure in (
        ("the pressure on processors (guards.pressure)", guards.pressure, figures.pressure),
        ("the time that tasks wait for a processor (guards.run_delay)", guards.run_delay, figures.run_delay),
        ("the time that its program keeps a processor busy (guards.program)", guards.program, figures.program),
    ):
        if bound and figure is not None and figure > bound:
            found.append(f"{what} is {figure:.0%} of the time, more than {bound:.0%}")
    lag = figures.loop_lag
    if guards.loop_lag and lag is not None and lag > guards.loop_lag:
        most = format_duration(guards.loop_lag)
        found.append(f"agentd itself was kept waiting for {format_duration(lag)}, more than {most} (guards.loop_lag)")
    return found
