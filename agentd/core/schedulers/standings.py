"""The standings: which wish wins, and why each other does not."""

from collections.abc import Callable, Iterable, Mapping

from agentd.core.part import Refused
from agentd.core.schedulers import story
from agentd.core.schedulers.catalogue import NONE
from agentd.core.schedulers.course import Course
from agentd.core.schedulers.model import KERNELS_OWN, Chosen, Standing, Want
from agentd.core.schedulers.quarantine import Quarantines
from agentd.core.schedulers.settings import Choice, SchedulerSettings

Choose = Callable[[Choice, SchedulerSettings], Chosen]
"""Turns a choice into a scheduler with typed flags, by the catalogue and the modes of the settings. Raises Refused with
a sentence. The name `none` is never asked for."""

_UNSEEN = "agentd has not looked yet which schedulers this machine has"


class Standings:
    """The verdicts about wishes. `cannot` has a sentence for each scheduler that cannot run on this machine as it is,
    by name; None: nobody has looked yet. `trouble` tells why nothing can be stored, or is empty."""

    def __init__(self, choose: Choose, settings: SchedulerSettings, course: Course, quarantines: Quarantines) -> None:
        self.settings = settings
        self.cannot: Mapping[str, str] | None = None
        self.trouble = ""
        self._choose = choose
        self._course = course
        self._quarantines = quarantines

    def of(self, wants: Iterable[Want], now: int) -> list[Standing]:
        """Returns how wishes stand that come in their order: the first that can be served wins."""
        found: list[Standing] = []
        winner: Want | None = None
        for want in wants:
            chosen, why = self.verdict(want, now)
            if not why and winner is not None:
                why = f"the wish of {story.named(winner)} goes before"
            found.append(Standing(want=want, chosen=chosen, wins=not why, why=why))
            winner = winner if why else want
        return found

    def verdict(self, want: Want, now: int) -> tuple[Chosen | None, str]:
        """Returns the scheduler that a wish comes to, and why the wish cannot be served now, as a sentence or ""."""
        if self.unsure(want):
            return None, _UNSEEN
        try:
            chosen = self.chosen(want.choice)
        except Refused as refused:
            return None, str(refused)
        return chosen, self.why_not(chosen, want, now)

    def unsure(self, want: Want) -> bool:
        """Tells whether nobody knows yet what a wish comes to."""
        return self.cannot is None and want.choice.name != NONE

    def chosen(self, choice: Choice) -> Chosen:
        """Returns the scheduler that a choice comes to. Raises Refused."""
        if self.cannot is None and choice.name != NONE:
            raise Refused("Unavailable", _UNSEEN)
        return KERNELS_OWN if choice.name == NONE else self._choose(choice, self.settings)

    def why_not(self, chosen: Chosen, want: Want, now: int) -> str:
        """Returns why a scheduler cannot be had for a wish now, as a sentence; empty where it can."""
        foreign, runs = self._course.foreign, self._course.own or self._course.starts
        if self._course.phase == "asleep":
            return "agentd has not looked at the kernel yet"
        if foreign is not None:
            return story.foreign(foreign)
        if chosen.name == NONE or (runs is not None and runs.chosen.same(chosen)):
            return ""
        if self._course.seen.state == "absent":
            return "this kernel has no sched_ext"
        if why := (self.cannot or {}).get(chosen.name, ""):
            return why
        return self._quarantines.why_not(chosen, want, now) or self.trouble
