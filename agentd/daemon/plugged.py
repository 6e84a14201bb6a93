"""The parts that are plugged into the daemon: asked, obeyed, and shut off one by one where they fail."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar

from agentd import log as logging
from agentd.core.part import Effect, Refused, Stored
from agentd.core.parts import Parts
from agentd.part import Part

log = logging.get()

_T = TypeVar("_T")


class Plugged:
    """Parts in their order. A part that raises is shut off, and the others go on; without a vital part agentd ends.

    `on_defect` is told of the part and the error, `on_lost` why agentd must end, `on_shut` which part is off and the
    sentence about that. Refused is no defect: a core said no to what another part wants of it.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        now: Callable[[], int],
        on_defect: Callable[[str, BaseException], None],
        on_lost: Callable[[str], None],
        on_shut: Callable[[Part, str], None],
    ) -> None:
        self._parts = {part.name: part for part in parts}
        self._now = now
        self._on_defect = on_defect
        self._on_lost = on_lost
        self._on_shut = on_shut
        self._off: dict[str, str] = {}
        self._broken: set[str] = set()  # vital parts: agentd is about to end
        self._does: dict[type[Effect], tuple[str, Callable[[Any], object]]] = {}
        for part in parts:
            for effect, do in part.does.items():
                if effect in self._does:
                    raise TypeError(f"{effect.__name__} is carried out by {self._does[effect][0]} and by {part.name}")
                self._does[effect] = (part.name, do)
        self.cores = Parts({part.name: part.core for part in parts if part.core is not None}, self.fail)

    @property
    def warnings(self) -> list[str]:
        """A sentence for each part that is shut off."""
        return list(self._off.values())

    # Asking

    def each(self, ask: Callable[[Part], _T]) -> list[_T]:
        """Returns what the parts that work answer. Raises Refused."""
        answers = []
        for part in self._working():
            try:
                answers.append(ask(part))
            except Refused:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, the other parts go on
                self.fail(part.name, error)
        return answers

    async def await_each(self, ask: Callable[[Part], Awaitable[object]], *fatal: type[Exception]) -> None:
        """Awaits something of each part that works. Raises Refused, and the errors named `fatal` of vital parts."""
        for part in self._working():
            try:
                await ask(part)
            except Refused:
                raise
            except Exception as error:
                if part.vital and isinstance(error, fatal):
                    raise
                self.fail(part.name, error)

    def hear(self, name: str, deed: Callable[[], object]) -> None:
        """Lets a report of a peer reach the core of a part."""
        if name not in self._off and name not in self._broken:
            self._try(name, deed)

    def carry_out(self, effect: Effect) -> None:
        """Does what an effect leads to; an effect that is only stored leads to nothing else."""
        name, do = self._does.get(type(effect), ("", None))
        if do is not None:
            self.hear(name, partial(do, effect))
        elif not isinstance(effect, Stored):
            raise TypeError(f"no part carries out {type(effect).__name__}")

    def close(self) -> None:
        """Closes all parts, the last first; those that were shut off are closed already."""
        for part in reversed([part for name, part in self._parts.items() if name not in self._off]):
            self._close(part)

    # Failing

    def fail(self, name: str, error: Exception) -> None:
        """Shuts a part off because of a defect; without a vital part agentd ends, and systemd starts it anew."""
        if name in self._off or name in self._broken:
            return
        part = self._parts[name]
        if part.vital:
            self._broken.add(name)
        else:
            self._off[name] = shut_off(name, error)
        self._on_defect(f"the part {name}", error)
        self.cores.gone(name, self._now())
        if part.vital:
            self._on_lost(f"of a defect in the part {name}, which is in the log")
        else:
            self._on_shut(part, self._off[name])
            self._close(part)

    def _try(self, name: str, deed: Callable[[], object]) -> None:
        try:
            deed()
        except Refused as refusal:
            log.info(f"{name}: {refusal}", id="decision")
        except Exception as error:  # noqa: BLE001 - whatever it is, the other parts go on
            self.fail(name, error)

    def _close(self, part: Part) -> None:
        try:
            part.close()
        except Exception as error:  # noqa: BLE001 - the part is off either way, and so are the others soon
            self._on_defect(f"closing the part {part.name}", error)

    def _working(self) -> Iterable[Part]:
        """Returns the parts that were not shut off."""
        return [part for name, part in self._parts.items() if name not in self._off and name not in self._broken]


def shut_off(name: str, error: Exception) -> str:
    """Returns the sentence about a part that is off."""
    return (
        f"the part {name} is shut off because of a defect in it ({type(error).__name__}: {error}); the others go on. "
        "Please report the defect; a restart of agentd starts the part again"
    )
