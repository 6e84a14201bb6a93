"""The networks on disk: the one that agentd brings along, number 0, and those that were trained here since."""

import contextlib
import errno
import os
import re
import stat
from pathlib import Path

from agentd.core.learning import weights
from agentd.core.learning.model import Network
from agentd.core.learning.weights import Model, Unusable

FIRST = Path(__file__).with_name("first-model.json")
KEPT = 10
"""The networks that are kept, beside number 0: the newest."""
_NAME = re.compile(r"(\d{6})\.json")


class Networks:
    """The folder of networks. Every method raises OSError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fresh = folder / "new.json"
        """The result of a training, until it is taken."""
        self.told = folder / "told"
        """The sentence that a training says of itself."""
        self.rows = folder / "rows.json"
        """The rows that a training learns from."""
        self._beside = folder / "rows.tmp"
        self.in_force = folder / "in-force.json"
        """A copy of the network that the result of a training must not be worse than."""

    def path(self, number: int) -> Path:
        """Returns the file of a network."""
        return self.folder / f"{number:06}.json" if number else FIRST

    def numbers(self) -> list[int]:
        """Returns the numbers of the networks that there are, the lowest first."""
        found = [match for name in self._names() if (match := _NAME.fullmatch(name))]
        return [0, *sorted(int(match[1]) for match in found if int(match[1]))]

    def read(self, number: int) -> Model:
        """Returns a network as its file has it. Raises OSError and Unusable."""
        return parse(self.path(number))

    def take(self) -> tuple[int, Model]:
        """Takes the result of a training among the networks; returns its number. Raises OSError and Unusable, and then
        the result is no more."""
        try:
            model = parse(self.fresh)
            number = self.numbers()[-1] + 1
            self.fresh.rename(self.path(number))
        except (OSError, Unusable):
            with contextlib.suppress(OSError):
                self.fresh.unlink(missing_ok=True)
            raise
        for old in self.numbers()[1:-KEPT]:
            self.path(old).unlink(missing_ok=True)
        return number, model

    def prepare(self, rows: bytes, in_force: int) -> None:
        """Writes what a training works with: rows, and the network in force by its number (-1: none)."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        for old in (self.fresh, self.told, self.in_force, self._beside):
            old.unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):  # then the result is compared with the counted rate alone
            if in_force >= 0:
                _write(self.in_force, _read(self.path(in_force)))
        _write(self._beside, rows)
        self._beside.rename(self.rows)

    def clear(self) -> str:
        """Removes what a training worked with; returns what it said, as one line."""
        said = ""
        with contextlib.suppress(OSError):
            said = " ".join(_read(self.told, 500).decode(errors="replace").split())
        for old in (self.rows, self.told, self.in_force, self._beside):
            with contextlib.suppress(OSError):
                old.unlink(missing_ok=True)
        return "".join(letter for letter in said if letter.isprintable())

    def _names(self) -> list[str]:
        try:
            return os.listdir(self.folder)  # noqa: PTH208 - each Path would intern its name, see jobs/output.py
        except FileNotFoundError:
            return []


def parse(path: Path) -> Model:
    """Returns the network in a file. Raises OSError and Unusable."""
    return weights.parse(_read(path), str(path))


def _read(path: Path, most: int = weights.LONGEST + 1) -> bytes:
    """Returns the beginning of a file. Raises OSError, also where that is no file: a pipe would never end, and a link
    that a training left would show what it may not read. An installation may have links."""
    more = os.O_NONBLOCK | (0 if path == FIRST else os.O_NOFOLLOW)
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | more)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a file", str(path))
        return file.read(most)


def _write(path: Path, data: bytes) -> None:
    """Writes a file that is not there yet. Raises OSError."""
    with path.open("xb") as file:  # never what a training linked there
        file.write(data)


def words(error: OSError | Unusable) -> str:
    """Returns why a network cannot be used, for people."""
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.strerror else str(error)


def network(number: int, model: Model) -> Network:
    """Returns a network as the core asks it."""
    return Network(number, weights.network(model))
