"""The book of schedulers: the effects in the order in which they are wanted, and the tenures as they are stored."""

from msgspec.structs import replace

from agentd.core.part import Decided, Effect
from agentd.core.schedulers.model import (
    PART,
    Chosen,
    Ending,
    LastGoodSaved,
    Saved,
    SchedulerChanged,
    Tenure,
    TenureSaved,
)


class Book:
    """`tenure` is the one that has not ended, `last` the one that ended last, `last_good` the last scheduler that ended
    its probation well. `boot` is the id of this boot."""

    def __init__(self, saved: Saved, boot: str) -> None:
        self.effects: list[Effect] = []
        self.tenure = saved.tenure
        self.last: Tenure | None = None
        self.last_good = saved.last_good
        self.boot = boot
        self._number = saved.number

    def take(self) -> list[Effect]:
        """Returns the effects since the last call."""
        taken, self.effects = self.effects, []
        return taken

    def decide(self, now: int, kind: str, about: str, reason: str) -> None:
        """Notes a decision about a scheduler with its reason, a sentence."""
        self.effects.append(Decided(now, PART, kind, about, reason))

    def begin(self, tenure: Tenure) -> Tenure:
        """Keeps a new tenure under the next number."""
        self._number += 1
        return self.save(replace(tenure, number=self._number, boot=self.boot))

    def save(self, tenure: Tenure) -> Tenure:
        """Keeps the tenure that has not ended, as it is now."""
        self.tenure = tenure
        self.effects += [TenureSaved(tenure), SchedulerChanged()]
        return tenure

    def end(self, at: int, ending: Ending) -> None:
        """Keeps the tenure as one that ended."""
        if self.tenure is not None:
            self.last = self.save(replace(self.tenure, ended=at, ending=ending, probation=0))
            self.tenure = None

    def explain(self, number: int, ending: Ending, noticed: int) -> None:
        """Keeps what became known of the end of the last tenure after that had been dealt with."""
        last = self.last
        if last is not None and last.number == number and last.ending is not None and ending.kind != "unknown":
            known = ending if last.ending.kind in {"unknown", "reloaded"} else last.ending
            self.last = replace(last, ending=known, noticed=noticed)
            self.effects += [TenureSaved(self.last), SchedulerChanged()]

    def proved(self, chosen: Chosen) -> None:
        """Keeps the scheduler as the last one that ended its probation well."""
        if self.last_good is None or not self.last_good.same(chosen):
            self.effects.append(LastGoodSaved(chosen))
        self.last_good = chosen

    def clock_stepped(self, delta: int) -> None:
        """Moves the instants of the tenure along: the wall clock was set by `delta`."""
        if (tenure := self.tenure) is not None:
            moved = ("since", "enabled", "probation", "ended")
            self.save(replace(tenure, **{name: at + delta for name in moved if (at := getattr(tenure, name))}))
        if self.last is not None:
            self.last = replace(self.last, ended=self.last.ended + delta)

    def save_all(self) -> None:
        """Wants everything stored once more: the store that had it is gone."""
        self.effects += [TenureSaved(tenure) for tenure in (self.last, self.tenure) if tenure is not None]
        self.effects += [LastGoodSaved(self.last_good)] if self.last_good is not None else []
