"""The schedulers of this machine: the catalogue, the programs that are installed, and what keeps each from running."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from agentd.config.problems import Problems
from agentd.core.schedulers import choosing
from agentd.core.schedulers import kernel as kernels
from agentd.core.schedulers.catalogue import OWN, Catalogue
from agentd.core.schedulers.model import Chosen
from agentd.core.schedulers.settings import Choice, SchedulerSettings
from agentd.schedulers.own import Own
from agentd.schedulers.programs import Program, Programs


class Seen(Struct, frozen=True, kw_only=True):
    """The findings of a look. `warnings` are sentences about files of the catalogue that are not used."""

    catalogue: Catalogue = {}
    programs: Mapping[str, Program] = {}
    facts: "kernels.KernelFacts | None" = None
    warnings: tuple[str, ...] = ()

    def obstacles(self, name: str) -> tuple[str, ...]:
        """Returns the sentences why this kernel or machine cannot run a scheduler of the catalogue."""
        return () if self.facts is None else kernels.obstacles(self.catalogue[name], self.facts)

    def kernel(self) -> tuple[str, ...]:
        """Returns the sentences why this kernel can run none."""
        return () if self.facts is None else kernels.kernel_obstacles(self.facts)


class Inventory:
    """The last look, and how to take one. `why_none` says why agentd starts no scheduler at all in this mode, or ""."""

    def __init__(self, programs: Programs, own: Own, why_none: str, root: Path) -> None:
        self.seen = Seen()
        self.why_none = why_none
        self._programs, self._own, self._root = programs, own, root
        self._known: tuple[object, Any] = None, None  # the stamp of the catalogue's files, and what they held

    def look(self) -> Seen:
        """Returns what there is now. To be called on a thread, one look after the other: programs are asked, and the
        kernel's types read once."""
        from agentd.schedulers import catalogues, kernel  # noqa: PLC0415 - with YAML 1.3 MiB, where somebody asks

        folder = self._root / catalogues.FOLDER.relative_to("/")
        stamp = catalogues.stamp(folder)
        try:
            # To read them takes 40 ms of a processor, and there is a look at each switch.
            loaded = self._known[1] if self._known[0] == stamp else catalogues.load(folder=folder)
        except Problems as error:  # the file that comes with agentd
            return Seen(warnings=tuple(str(problem) for problem in error.found))
        self._known = stamp, loaded
        own = self._own.look()
        return Seen(
            catalogue={**loaded.catalogue, **own.schedulers},
            programs={**self._programs.look(loaded.catalogue), **own.programs},
            facts=kernel.gather(self._root),
            warnings=(*loaded.warnings, *own.warnings),
        )

    def cannot(self) -> dict[str, str]:
        """Returns a sentence for each scheduler that cannot be started here as things are."""
        found = {name: self._why_not(name) for name in self.seen.catalogue}
        return {name: why for name, why in found.items() if why}

    def _why_not(self, name: str) -> str:
        if self.why_none:
            return self.why_none
        if in_the_way := self.seen.obstacles(name):
            return in_the_way[0]
        program = self.seen.programs.get(name)
        if program is None or not program.path or program.trouble:
            return program.trouble if program and program.trouble else f"{name} is not installed"
        return ""

    def choose(self, choice: Choice, settings: SchedulerSettings) -> Chosen:
        """Returns a scheduler with checked flags. Raises Refused."""
        mode = choice.mode or settings.mode
        chosen = choosing.choose(self.seen.catalogue, choice.name, mode, choice.flags, settings.modes)
        scheduler = self.seen.catalogue[chosen.name]
        return replace(chosen, ops=scheduler.ops, timeout=scheduler.timeout)

    def recheck(self, name: str) -> str:
        """Returns why a scheduler cannot be started, as its program and the kernel are at this moment; "" where it can.
        To be called on a thread."""
        if why := self._why_not(name):
            return why
        if name.startswith(OWN):
            return self._own.recheck(name)
        found = self._programs.locate(self.seen.catalogue[name])
        return "" if found.path else found.trouble or f"{name} is not installed any more"
