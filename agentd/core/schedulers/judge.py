"""The judge: what the end of a scheduler means, a failure or nobody's fault, and what follows from either."""

from agentd.core.quantities import format_duration
from agentd.core.schedulers import story
from agentd.core.schedulers.book import Book
from agentd.core.schedulers.catalogue import NONE
from agentd.core.schedulers.model import Chosen, Ending, SchedulerFailed, Tenure, Times, Want
from agentd.core.schedulers.quarantine import MOST_RESTARTS, WITHIN, Quarantines
from agentd.core.schedulers.settings import Choice
from agentd.core.schedulers.wants import Wants

_OF_A_SUSPEND = {"error", "stall", "lockup", "unknown"}
"""The ends that a suspend may bring about: tasks and CPUs stand still meanwhile."""


class Judge:
    """The judge of ends. `asleep` tells whether the machine is about to be suspended, `slept` is when it came back."""

    def __init__(self, book: Book, wants: Wants, quarantines: Quarantines, times: Times) -> None:
        self.asleep = False
        self.slept = 0
        self._book = book
        self._wants = wants
        self._quarantines = quarantines
        self._times = times

    def ended(self, tenure: Tenure, ending: Ending, now: int) -> None:
        """Judges the end of a tenure that agentd did not want."""
        name = tenure.chosen.name
        if self._nobodys_fault(ending, now):
            if self._quarantines.may_restart(name, now):
                text = f"{name} ended and may be started again at once: {self._excuse(ending)}"
                self._book.decide(now, "end", name, text)
                return
            often = f"{MOST_RESTARTS + 1} times within {format_duration(WITHIN)}"
            ending = Ending(kind=ending.kind, reason=f"{ending.reason}; it ended so {often}", message=ending.message)
        self._fail(tenure.chosen, tenure.source, tenure.since, ending, now)
        if ending.kind == "sysrq":
            self._obey_sysrq(now)

    def ended_with_its_boot(self, tenure: Tenure, now: int) -> Ending:
        """Judges a tenure of another boot, and returns its end. One that did not outlive its probation, and agentd with
        it, may have taken the machine down."""
        proven = bool(tenure.enabled) and not tenure.probation
        if tenure.ending is not None or proven or tenure.orderly or tenure.loaded_by == "other":
            return tenure.ending or Ending(kind="reboot", reason="the machine was booted anew")
        ending = Ending(kind="reboot", reason="the machine went down before its probation was over")
        self.ended(tenure, ending, now)
        return ending

    def unfit(self, chosen: Chosen, want: Want, trouble: str, now: int) -> None:
        """Judges a scheduler that was looked at before its start and cannot be started."""
        self._fail(chosen, want.source, now, Ending(kind="refused", reason=trouble), now)

    def reloaded(self, tenure: Tenure, now: int) -> bool:
        """Judges a program that loaded its scheduler again by itself; tells whether it may go on."""
        return self._quarantines.may_restart(tenure.chosen.name, now)

    def proved(self, tenure: Tenure, now: int) -> None:
        """Notes that a scheduler has outlived its probation."""
        self._quarantines.lift(tenure.chosen.name)
        self._book.proved(tenure.chosen)
        self._book.decide(now, "prove", tenure.chosen.name, f"{tenure.chosen.name} has ended its probation well")

    def clock_stepped(self, delta: int) -> None:
        """Moves the instants along: the wall clock was set by `delta`."""
        self.slept = self.slept and self.slept + delta

    def _nobodys_fault(self, ending: Ending, now: int) -> bool:
        kind = ending.kind
        return ending.restart or kind in {"hotplug", "unstarted"} or (kind in _OF_A_SUSPEND and self._waking(now))

    def _waking(self, now: int) -> bool:
        return self.asleep or (self.slept > 0 and now - self.slept < self._times.waking)

    def _excuse(self, ending: Ending) -> str:
        own = ending.restart or ending.kind in {"hotplug", "unstarted"}
        return story.ended(ending) if own else "the machine was suspended"

    def _fail(self, chosen: Chosen, source: str, since: int, ending: Ending, now: int) -> None:
        """Has a failed scheduler left alone for a while, and goes back to the person's choice before it."""
        name, why = chosen.name, story.ended(ending)
        found = self._quarantines.fail(chosen, why, now)
        text = f"{name} failed: {why}; it is not tried again for {format_duration(found.until - now)}"
        dropped = self._wants.failed(name, source, since)
        if dropped is not None:
            text += f", and the wish of {dropped.holder} for it is dropped"
        self._book.decide(now, "fail", name, text)
        self._book.effects.append(SchedulerFailed(name, ending, text, found.until))

    def _obey_sysrq(self, now: int) -> None:
        """Has the kernel's own scheduler stay: somebody at the keyboard wanted the others off, and had no other way."""
        reason = "SysRq-S was pressed; agentctl sched restore takes that back"
        self._wants.put(Want(source="person", holder="SysRq-S", choice=Choice(NONE), reason=reason, since=now))
