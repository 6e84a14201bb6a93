"""The cores of all parts as one: the daemon, the tests and the benches drive them by this alone."""

from collections.abc import Callable, Mapping, Sequence
from operator import methodcaller
from typing import TypeVar

from agentd.core.part import Core, Effect

_T = TypeVar("_T")
_EFFECTS, _WAKEUP = methodcaller("effects"), methodcaller("wakeup")  # each look asks these: they are no calls of Python
ROUNDS = 100
"""The most times that parts may answer each other before that counts as a defect."""


class Parts:
    """Cores by the names of their parts, in the order of parts. A core that raises is asked nothing any more, the
    others go on, and `on_defect` is told of its name and the error."""

    def __init__(self, cores: Mapping[str, Core], on_defect: Callable[[str, Exception], None]) -> None:
        self._cores = dict(cores)
        self._on_defect = on_defect
        self._last = ""  # the last part that wanted something
        self._due: dict[str, int | None] = {}  # when each core wants a tick, as it said when it was last asked

    def due(self, now: int) -> list[str]:
        """Returns the parts, in order, whose cores want a tick by `now`, as they said at the last wakeup(), and those
        that were never asked."""
        return [name for name in self._cores if (due := self._due.get(name, 0)) is not None and due <= now]

    def tick(self, now: int, of: Sequence[str] | None = None) -> None:
        """Has everything dealt with that is due at `now`; a core that wants no tick by then gets none. `of` are the
        parts that are asked, in order; None: all."""
        self._ask(lambda core: _tick(core, now), of)

    def wakeup(self, of: Sequence[str] | None = None) -> int | None:
        """Returns when the first core has something to do; None: not before something else happens. `of` are the parts
        that are asked, None all: the others want what they wanted before."""
        self._due.update(self._ask(_WAKEUP, of))
        return min((due for due in self._due.values() if due is not None), default=None)

    def effects(self, now: int, of: Sequence[str] | None = None) -> list[Effect]:
        """Returns what all cores want, in order, after each has heard what the others want, but for samples and looks.
        Where the parts `of` want such alone, the others are not asked at all.

        Parts that answer each other without end are a defect of the last that spoke, which is shut off.
        """
        taken: list[Effect] = []
        for _ in range(ROUNDS):
            fresh: list[Effect] = []
            self._last = ""
            for name, effects in self._ask(_EFFECTS, of):
                if effects:
                    self._last = name
                    fresh += effects
            taken += fresh
            news = [effect for effect in fresh if effect.heard]
            if news:
                self._tell(news, now)
            elif fresh or of is None:
                return taken
            of = None
        if self._last:
            self._fail(self._last, RecursionError("the parts answer each other without end"))
        return taken

    def clock_stepped(self, delta: int, now: int) -> None:
        """Tells that the wall clock was set by `delta` microseconds and shows `now`."""
        self._ask(lambda core: core.clock_stepped(delta, now))

    def storable(self, trouble: str, now: int) -> None:
        """Tells why nothing can be stored, or with "" that everything can be again."""
        self._ask(lambda core: core.storable(trouble, now))

    def configuration_read(self, errors: str, now: int) -> None:
        """Tells why the configuration that was just read was refused, or with "" that it was taken."""
        self._ask(lambda core: core.configuration_read(errors, now))

    def drain(self) -> None:
        """Has nothing new begun from here on."""
        self._ask(lambda core: core.drain())

    def save_all(self) -> None:
        """Has everything stored once more."""
        self._ask(lambda core: core.save_all())

    def gone(self, name: str, now: int) -> None:
        """Asks the core of that part nothing any more, and tells the others that the part is gone."""
        self._cores.pop(name, None)
        self._due.pop(name, None)
        self._ask(lambda core: core.gone(name, now))

    def _fail(self, name: str, error: Exception) -> None:
        self._due.pop(name, None)
        if self._cores.pop(name, None) is not None:
            self._on_defect(name, error)

    def _tell(self, news: Sequence[Effect], now: int) -> None:
        self._ask(lambda core: core.heard(news, now))

    def _ask(self, ask: Callable[[Core], _T], of: Sequence[str] | None = None) -> list[tuple[str, _T]]:
        answers = []
        for name in [*(self._cores if of is None else of)]:
            if (core := self._cores.get(name)) is None:  # shut off meanwhile
                continue
            try:
                answers.append((name, ask(core)))
            except Exception as error:  # noqa: BLE001 - whatever it is, the other parts go on
                self._fail(name, error)
        return answers


def _tick(core: Core, now: int) -> None:
    due = core.wakeup()
    if due is not None and due <= now:
        core.tick(now)
