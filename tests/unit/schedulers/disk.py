"""agentd's disk: what is stored, and in which order effects are stored and carried out (agentd/daemon/storing.py)."""

from collections.abc import Callable

from msgspec.structs import replace

from agentd.core.part import Beginning, Decided, Effect, Stored, Urgent
from agentd.core.schedulers.model import LastGoodSaved, QuarantineSaved, Saved, Tenure, TenureSaved, WantsSaved


class Killed(Exception):
    """agentd is no more."""


class Disk:
    """`store` and `tenures` are what is stored. While the disk is `full`, effects wait, and `trouble` says so. agentd
    is killed after `dies_in` effects of a batch; -1: it is not."""

    def __init__(self) -> None:
        self.store = Saved()
        self.tenures: dict[int, Tenure] = {}
        self.full = False
        self.trouble = ""
        self.dies_in = -1
        self.decided: list[str] = []  # what the decisions of the last batch are about
        self._queue: list[Effect] = []

    @property
    def saved(self) -> Saved:
        """What agentd takes up at its start."""
        newest = self.tenures[max(self.tenures)] if self.tenures else None
        tenure = newest if newest is not None and not newest.ended else None
        return replace(self.store, tenure=tenure, number=max(self.tenures, default=0))

    def begin(self) -> None:
        """agentd starts: what waited is lost."""
        self._queue, self.trouble, self.dies_in = [], "", -1

    def add(self, effects: list[Effect], carry_out: Callable[[Effect], None]) -> str:
        """Stores and carries out effects. Returns why they wait, where that was just found. Raises Killed."""
        for effect in effects:
            if self.trouble and self._passes(effect):
                carry_out(effect)
            else:
                self._queue.append(effect)
        if self.full and any(isinstance(effect, Stored) for effect in self._queue):
            return "" if self.trouble else self._fill(carry_out)
        batch, self._queue = self._queue, []
        self.decided = [effect.about for effect in batch if isinstance(effect, Decided)]
        for effect in batch:
            self._write(effect)
        for effect in batch:
            self.dies_in -= 1
            if self.dies_in == 0:
                raise Killed
            if not isinstance(effect, Stored):
                carry_out(effect)
        return ""

    def _fill(self, carry_out: Callable[[Effect], None]) -> str:
        """The disk is found full: what may not wait passes."""
        self.trouble = "nothing can be stored: the disk is full"
        passing = [effect for effect in self._queue if self._passes(effect)]
        self._queue = [effect for effect in self._queue if effect not in passing]
        for effect in passing:
            carry_out(effect)
        return self.trouble

    def _passes(self, effect: Effect) -> bool:
        begun = {one.subject for one in self._queue if isinstance(one, Beginning)}
        return isinstance(effect, Urgent) and effect.subject not in begun

    def _write(self, effect: Effect) -> None:
        if isinstance(effect, WantsSaved):
            self.store = replace(self.store, wants=effect.wants, boot=effect.boot)
        elif isinstance(effect, TenureSaved):
            self.tenures[effect.tenure.number] = effect.tenure
        elif isinstance(effect, QuarantineSaved):
            others = [one for one in self.store.quarantines if one.name != effect.quarantine.name]
            kept = [effect.quarantine] if effect.quarantine.failures else []
            self.store = replace(self.store, quarantines=(*others, *kept))
        elif isinstance(effect, LastGoodSaved):
            self.store = replace(self.store, last_good=effect.chosen)
