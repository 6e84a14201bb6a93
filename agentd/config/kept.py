"""The last good configuration: a copy of the files as they were accepted, for a start while the files have errors.

The copy lies in the state directory. A copy that is not of this user's own, or of another configuration, is none.
"""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from agentd.config.compose import Problems
from agentd.config.files import Loaded, decoded, path_of
from agentd.config.kinds import PARTS, Settings
from agentd.core.config import Config

NAME = "configuration.kept"


class _Copy(msgspec.Struct, frozen=True):
    """The files by their names, the path that they were found by, and when they were accepted (in microseconds)."""

    given: str
    accepted: int
    files: dict[str, str]


def keep(folder: Path, loaded: Loaded, now: int) -> None:
    """Writes the files of a configuration that was accepted into the folder, unless they are there already.

    Raises OSError.
    """
    files = {name: text.decode() for name, text in zip(loaded.files, loaded.texts, strict=True)}
    before = _read(folder / NAME)
    if before is not None and (before.given, before.files) == (loaded.given, files):
        return
    new = folder / f"{NAME}.new"
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
        file.write(msgspec.json.encode(_Copy(loaded.given, now, files)))
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
    copy = _read(folder / NAME)
    if copy is None or copy.given != path_of(given):
        return None
    try:
        loaded = decoded(tuple(copy.files), lambda name: copy.files[name].encode(), whole, parts)
    except Problems:
        return None  # it was accepted by another version of agentd
    return replace(loaded, given=copy.given, errors=str(errors), accepted=copy.accepted)


def _read(file: Path) -> _Copy | None:
    """Returns the copy, where it can be read and is nobody else's; None for none."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        return None
    with open(descriptor, "rb") as stream:  # noqa: PTH123 - a descriptor
        status = os.fstat(descriptor)
        own = status.st_uid == os.geteuid() and not status.st_mode & 0o022
        if not stat.S_ISREG(status.st_mode) or not own:
            return None
        try:
            return msgspec.json.decode(stream.read(), type=_Copy)
        except (msgspec.MsgspecError, UnicodeDecodeError, OSError):
            return None
