"""Schedulers of one's own beside those of the catalogue: which are verified, and what keeps each from running here.

The code that deals with them is loaded where there are any, and not before.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from agentd.core.schedulers.catalogue import OWN, Scheduler
from agentd.core.schedulers.model import Chosen
from agentd.schedulers.allowing import ALLOWED, forbidden
from agentd.schedulers.programs import Program

if TYPE_CHECKING:
    from agentd.core.schedulers.custom import Metadata
    from agentd.schedulers.keeping import Kept


class Places(Struct, frozen=True, kw_only=True):
    """The places outside of the state directory: `requests`, where a start finds the object; of a verification what is
    `handed` to its units and what they leave, `compiled` and `tried`; root's word `allowed`, a file of `owner`'s."""

    requests: Path = Path("/run/agentd/schedulers")
    handed: Path = Path("/run/agentd/verify")
    compiled: Path = Path("/run/agentd-verify")
    tried: Path = Path("/run/agentd-try")
    allowed: Path = ALLOWED
    owner: int = 0


PLACES = Places()


class Listed(Struct, frozen=True, kw_only=True):
    """The verified schedulers, their objects as programs, and sentences about what is damaged."""

    schedulers: Mapping[str, Scheduler] = {}
    programs: Mapping[str, Program] = {}
    warnings: tuple[str, ...] = ()


def any_version(name: str) -> Chosen:
    """Returns a scheduler of one's own of which the name alone is known, as the kernel shows each version of it."""
    return Chosen(name=f"{OWN}{name}", ops=f"custom_{name}")


class Own:
    """The verified schedulers that are kept in a folder. All but `places` is to be used on a thread."""

    def __init__(self, folder: Path, places: Places) -> None:
        self.places = places
        self._folder = folder

    def kept(self) -> "Kept":
        """Returns the folder as what keeps them."""
        from agentd.schedulers.keeping import Kept  # noqa: PLC0415 - few have any

        return Kept(self._folder)

    def look(self) -> Listed:
        """Returns what there is now."""
        if not self._folder.is_dir():
            return Listed()
        from agentd.core.schedulers.custom import scheduler  # noqa: PLC0415 - few have any
        from agentd.schedulers.keeping import OBJECT  # noqa: PLC0415

        kept = self.kept()
        found, warnings = kept.listed()
        schedulers = {f"{OWN}{name}": scheduler(stored, str(kept.path(name))) for name, stored in found.items()}
        programs = {
            f"{OWN}{name}": Program(
                name=f"{OWN}{name}",
                path=str(kept.path(name).with_name(OBJECT)),
                version=stored.object[:8],
                trouble=self.why_not(stored),
            )
            for name, stored in found.items()
        }
        return Listed(schedulers=schedulers, programs=programs, warnings=warnings)

    def why_not(self, stored: "Metadata") -> str:
        """Returns why a verified scheduler cannot be started here, as a sentence; "": it can."""
        from agentd.core.schedulers.custom import not_here  # noqa: PLC0415 - few have any

        return forbidden(self.places.allowed, self.places.owner) or not_here(stored, os.uname().release)

    def recheck(self, name: str) -> str:
        """Returns why the scheduler custom:NAME cannot be started, as its files are at this moment; "" where it can."""
        from agentd.schedulers.keeping import Damaged  # noqa: PLC0415 - few have any

        own = name.removeprefix(OWN)
        try:
            self.kept().object(own)
            return self.why_not(self.kept().read(own))
        except Damaged as error:
            return str(error)

    def hand_out(self, name: str) -> str:
        """Puts the object of custom:NAME where its unit reads it; returns "" or why that failed, as a sentence."""
        from agentd.schedulers.keeping import Damaged  # noqa: PLC0415 - few have any

        try:
            self.kept().hand_out(name.removeprefix(OWN), os.uname().release, self.places.requests)
        except Damaged as error:
            return str(error)
        except OSError as error:
            return f"{error.filename} cannot be written: {error.strerror}"
        return ""
