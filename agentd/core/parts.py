"""The cores of all parts as one: the daemon, the tests and the benches drive them by this alone."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from agentd.core.part import Core, Effect

_T = TypeVar("_T")
ROUNDS = 100
"""The most times that parts may answer each other before that counts as a defect."""


class Parts:
    """Cores by the names of their parts, in the order of parts. A core that raises is asked nothing any more, the
    others go on, and `on_defect` is told of its name and the error."""

    def __init__(self, cores: Mapping[str, Core], on_defect: Callable[[str, Exception], None]) -> None:
        self._cores = dict(cores)
        self._on_defect = on_defect

    def tick(self, now: int) -> None:
        """Has everything dealt with that is due at `now`."""
        self._each(lambda core: core.tick(now))

    def wakeup(self) -> int | None:
        """Returns when the first core has something to do; None: not before something else happens."""
        return min((when for when in self._each(lambda core: core.wakeup()) if when is not None), default=None)

    def effects(self, now: int) -> list[Effect]:
        """Returns what all cores want, in order, after each has heard what the others want.

        Parts that answer each other without end are a defect of the last that spoke, which is shut off.
        """
        taken: list[Effect] = []
        for _ in range(ROUNDS):
            fresh = self._fresh()
            if not fresh:
                return taken
            taken += fresh
            self._tell(fresh, now)
        speakers = [name for name, core in self._cores.items() if core.effects()]
        for name in speakers[-1:]:
            self._fail(name, RecursionError("the parts answer each other without end"))
        return taken

    def clock_stepped(self, delta: int, now: int) -> None:
        """Tells that the wall clock was set by `delta` microseconds and shows `now`."""
        self._each(lambda core: core.clock_stepped(delta, now))

    def drain(self) -> None:
        """Has nothing new begun from here on."""
        self._each(lambda core: core.drain())

    def save_all(self) -> None:
        """Has everything stored once more."""
        self._each(lambda core: core.save_all())

    def shut(self, name: str) -> None:
        """Asks the core of that part nothing any more."""
        self._cores.pop(name, None)

    def _fail(self, name: str, error: Exception) -> None:
        self.shut(name)
        self._on_defect(name, error)

    def _fresh(self) -> list[Effect]:
        return [effect for effects in self._each(lambda core: core.effects()) for effect in effects]

    def _tell(self, fresh: Sequence[Effect], now: int) -> None:
        self._each(lambda core: core.heard(fresh, now))

    def _each(self, ask: Callable[[Core], _T]) -> list[_T]:
        answers = []
        for name, core in list(self._cores.items()):
            try:
                answers.append(ask(core))
            except Exception as error:  # noqa: BLE001 - whatever it is, the other parts go on
                self._fail(name, error)
        return answers
