"""The last good configuration: a copy of the files as they were accepted, for a start while the files have errors.

The copy lies in the state directory. A copy that is not of this user's own, or of another configuration, is none.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
from msgspec.structs import replace

from agentd.config.files import Loaded, path_of
from agentd.config.kinds import PARTS, Settings
from agentd.config.problems import Problems
from agentd.core.config import Config

NAME = "configuration.kept"
_PIECE = 1 << 16
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, OSError)


class _Head(msgspec.Struct, frozen=True):
    """The first line of a copy: the path that the files were found by, when they were accepted (in microseconds), and
    how many bytes each has. The files themselves follow, in that order."""

    given: str
    accepted: int
    files: dict[str, Annotated[int, msgspec.Meta(ge=0)]]


def keep(folder: Path, loaded: Loaded, now: int) -> None:
    """Writes the files of a configuration that was accepted into the folder, unless they are there already.

    Raises OSError.
    """
    if _holds(folder / NAME, loaded):
        return
    new = folder / f"{NAME}.new"
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
        file.write(msgspec.json.encode(_Head(loaded.given, now, _sizes(loaded))) + b"\n")
        file.writelines(loaded.texts)
        file.flush()
        os.fsync(file.fileno())
    new.replace(folder / NAME)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def last_good(
    folder: Path,
    given: Path | None,
    errors: Problems,
    whole: type[Config] = Config,
    parts: Sequence[Settings] = PARTS,
) -> Loaded | None:
    """Returns the configuration that was accepted last, where the files have those errors now; None: there is none."""
    from agentd.config.layers import decoded  # noqa: PLC0415 - as files.load

    try:
        with _open(folder / NAME) as copy:
            head, rest = _head(copy), copy.read()
    except _UNREADABLE:
        return None
    if head.given != path_of(given) or sum(head.files.values()) != len(rest):
        return None
    ends = accumulate(head.files.values())
    texts = {name: rest[end - size : end] for (name, size), end in zip(head.files.items(), ends, strict=True)}
    try:
        loaded = decoded(tuple(texts), texts.__getitem__, whole, parts)
    except Problems:
        return None  # it was accepted by another version of agentd
    return replace(loaded, given=head.given, errors=str(errors), accepted=head.accepted)


def _holds(file: Path, loaded: Loaded) -> bool:
    """Tells whether a copy is of that configuration; however large it is, only a piece of it is in memory."""
    try:
        with _open(file) as copy:
            head = _head(copy)
            if (head.given, [*head.files.items()]) != (loaded.given, [*_sizes(loaded).items()]):
                return False
            return all(copy.read(len(piece)) == piece for piece in _pieces(loaded.texts)) and not copy.read(1)
    except _UNREADABLE:
        return False


def _sizes(loaded: Loaded) -> dict[str, int]:
    return {name: len(text) for name, text in zip(loaded.files, loaded.texts, strict=True)}


def _pieces(texts: Sequence[bytes]) -> Iterator[bytes]:
    return (text[at : at + _PIECE] for text in texts for at in range(0, len(text), _PIECE))


def _open(file: Path) -> BinaryIO:
    """Opens the copy. Raises OSError where it cannot be read, or is not this user's own."""
    stream = os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY), "rb")
    status = os.fstat(stream.fileno())
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        stream.close()
        raise PermissionError("is somebody else's")
    return stream


def _head(copy: BinaryIO) -> _Head:
    """Reads the first line. Raises one of _UNREADABLE."""
    return msgspec.json.decode(copy.readline(), type=_Head)
