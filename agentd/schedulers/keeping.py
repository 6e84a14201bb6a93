"""The folder of verified schedulers: custom/NAME/ in the state directory, with source.bpf.c, object.bpf.o and
metadata.json.

metadata.json is written last and names the SHA-256 of the others. What does not fit together, such as after a power cut
between two files, is told and not listed.
"""

import contextlib
from pathlib import Path

import msgspec

from agentd.core.schedulers import objects, sources
from agentd.core.schedulers.catalogue import OWN
from agentd.core.schedulers.custom import Metadata, digest, not_here
from agentd.schedulers.files import put, take

SOURCE, OBJECT, METADATA = "source.bpf.c", "object.bpf.o", "metadata.json"
MOST = 100
"""The schedulers that are kept."""
_LARGEST_METADATA = 256 << 10


class Damaged(Exception):
    """A stored scheduler that cannot be used, as a sentence."""


class Kept:
    """The verified schedulers of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, name: str) -> Path:
        """Returns the file that has a scheduler's metadata."""
        return self._folder / name / METADATA

    def put(self, stored: Metadata, source: bytes, made: bytes) -> None:
        """Keeps a scheduler, in place of one of that name. Raises OSError, and Damaged where too many are kept."""
        folder = self._folder / stored.name
        if not folder.exists() and len(self.names()) >= MOST:
            raise Damaged(f"{MOST} schedulers of one's own are kept already: remove one")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        put(folder / SOURCE, source, 0o600)
        put(folder / OBJECT, made, 0o600)
        put(folder / METADATA, msgspec.json.encode(stored), 0o600)

    def read(self, name: str) -> Metadata:
        """Returns what is kept of a scheduler. Raises Damaged."""
        file = self.path(name)
        again = f"verify {OWN}{name} again, or remove it"
        try:
            stored = msgspec.json.decode(take(file, _LARGEST_METADATA), type=Metadata)
        except OSError as error:
            raise Damaged(f"{file} cannot be read ({error.strerror}): {again}") from None
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise Damaged(f"{file}: {error}: {again}") from None
        if stored.name != name:
            raise Damaged(f"{file} is of another scheduler, {stored.name[:20]!r}: {again}")
        return stored

    def source(self, name: str) -> bytes:
        """Returns the source of a scheduler. Raises Damaged."""
        return self._whole(name, SOURCE, sources.LARGEST, self.read(name).source)

    def object(self, name: str) -> bytes:
        """Returns the object of a scheduler. Raises Damaged."""
        return self._whole(name, OBJECT, objects.LARGEST, self.read(name).object)

    def hand_out(self, name: str, kernel: str, folder: Path) -> Path:
        """Writes the object of a scheduler, for a kernel of that release, into the folder that its unit reads; returns
        the file. Raises OSError and Damaged."""
        if why := not_here(self.read(name), kernel):
            raise Damaged(why)
        file = folder / f"{OWN}{name}.bpf.o"
        put(file, self.object(name))
        return file

    def listed(self) -> tuple[dict[str, Metadata], tuple[str, ...]]:
        """Returns the schedulers that are kept, by their names, and sentences about those that cannot be used."""
        found, told = {}, []
        for name in self.names():
            try:
                found[name] = self.read(name)
            except Damaged as error:
                told.append(str(error))
        return found, tuple(told)

    def names(self) -> tuple[str, ...]:
        """Returns the names of the schedulers that are kept, whether they can be used or not."""
        try:
            return tuple(sorted(path.name for path in self._folder.iterdir() if sources.is_name(path.name)))
        except FileNotFoundError:
            return ()

    def remove(self, name: str) -> bool:
        """Removes a scheduler; tells whether there was one. Raises OSError."""
        folder = self._folder / name
        if not sources.is_name(name) or not folder.is_dir():
            return False
        for file in (METADATA, OBJECT, SOURCE):  # the one that makes it a whole goes first
            (folder / file).unlink(missing_ok=True)
            (folder / f".{file}.new").unlink(missing_ok=True)
        folder.rmdir()
        return True

    def _whole(self, name: str, file: str, largest: int, expected: str) -> bytes:
        path = self._folder / name / file
        with contextlib.suppress(OSError):
            data = take(path, largest)
            if digest(data) == expected:
                return data
        raise Damaged(f"{path} is not what was verified: verify {OWN}{name} again, or remove it")
