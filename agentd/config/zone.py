"""The time zone of the machine, told by its name in the time zone database: by the rules of the C library, which the
programs of jobs follow.
"""

import os
import re
import stat
import zoneinfo
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from msgspec import Struct

from agentd.core.quantities import nearest
from agentd.core.times import timezone

LOCALTIME = Path("/etc/localtime")
TIMEZONE = Path("/etc/timezone")
"""Debian's note of the zone's name, for those who read no links."""
_UTC_ITSELF = re.compile(r"([A-Za-z]{3,}|<[A-Za-z0-9+-]+>)[+-]?0{1,2}(:00){0,2}")  # such as UTC0 and GMT-0
_OTHER_CLOCKS = re.compile("^(posix|right)/")  # folders that have every zone once more
_NO_ZONES = {"localtime", "posixrules", "Factory"}  # of the database, and names of no zone
_MOST_LINKS = 40
_MOST_FILES = 5000
_LARGEST = 1 << 16  # bytes of a zone's file


class Zone(Struct, frozen=True):
    """A time zone of the machine. `warning` is a sentence where `name` is a guess."""

    name: str
    warning: str = ""


def local() -> Zone:
    """Returns the machine's time zone: that of $TZ, else that of /etc/localtime."""
    given = os.environ.get("TZ")
    if given is None:
        return _of_localtime()
    text = given.removeprefix(":")
    if _known(text):
        return Zone(text)
    if not text or _UTC_ITSELF.fullmatch(text):
        return Zone("UTC")
    for folder in zoneinfo.TZPATH:
        if name := _of_file(os.path.join(folder, text)):  # noqa: PTH118 - a path of its own stands for itself
            return Zone(name)
    near = "" if text.startswith("/") else nearest(text, zoneinfo.available_timezones())
    return _guess(f'TZ is "{given}", which names no time zone of the database{near}', "UTC")


def _of_localtime() -> Zone:
    if not os.path.lexists(LOCALTIME):
        return Zone("UTC")
    if name := _of_file(str(LOCALTIME)):
        return Zone(name)
    if LOCALTIME.is_symlink():
        return _guess(f"{LOCALTIME} leads to {LOCALTIME.readlink()}, which is no zone of the database", "UTC")
    noted = _noted()
    also = f", but {TIMEZONE} names {noted}" if noted else ""
    return _guess(f"{LOCALTIME} is a file that is like no zone of the database{also}", noted or "UTC")


def _guess(why: str, name: str) -> Zone:
    write = 'write "timezone: NAME" into the configuration, such as timezone: Europe/Berlin'
    return Zone(name, f"the time zone of this machine cannot be told: {why}; {name} is used: {write}")


def places() -> list[Path]:
    """Returns the files in which a change may be another time zone."""
    given = os.environ.get("TZ")
    if given is None:
        return [LOCALTIME, TIMEZONE]
    path = Path(given.removeprefix(":"))
    return [path] if path.is_absolute() else []


def _known(name: str) -> bool:
    try:
        timezone(name)
    except ValueError:
        return False
    return name not in _NO_ZONES


def _noted() -> str:
    """Returns the name in /etc/timezone; "" where there is none of a zone."""
    name = _read(str(TIMEZONE)).decode(errors="replace").strip()
    return name if _known(name) else ""


def _of_file(path: str) -> str:
    """Returns the name of the zone whose file is at a path, by the links or else by the content; "" for none."""
    for step in _steps(path):
        _, found, below = step.rpartition("/zoneinfo/")
        name = _OTHER_CLOCKS.sub("", below)
        if found and _known(name):
            return name
    content = _read(path)
    return _alike(content) if content.startswith(b"TZif") else ""


def _steps(path: str) -> Iterator[str]:
    """Returns a path, what its links lead to one after the other, and where they end."""
    step = path
    for _ in range(_MOST_LINKS):
        yield step
        try:
            target = os.readlink(step)  # noqa: PTH115 - as text
        except OSError:
            break
        step = os.path.normpath(os.path.join(os.path.dirname(step), target))  # noqa: PTH118, PTH120 - the same
    yield os.path.realpath(path)


def _alike(content: bytes) -> str:
    """Returns a zone of the database whose file has that content; "" for none.

    Of several the one that /etc/timezone names comes first, then one that is in use today: the others are old names.
    """
    for folder in zoneinfo.TZPATH:
        noted = _noted()
        if noted and _read(f"{folder}/{noted}") == content:
            return noted
        names = islice(_files(folder, len(content)), _MOST_FILES)
        found = [name for name in names if _read(f"{folder}/{name}") == content and _known(name)]
        if found:
            listed = _read(f"{folder}/zone1970.tab") or _read(f"{folder}/zone.tab")
            today = set(re.findall(r"^[A-Z,]+\t[0-9+-]+\t(\S+)", listed.decode(errors="replace"), re.MULTILINE))
            return min(found, key=lambda name: (name not in today, name != "UTC", name))
    return ""


def _files(folder: str, size: int) -> Iterator[str]:
    """Returns the names of the files of that size below a folder of the database."""
    for top, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if top != folder or name not in {"posix", "right"}]
        for name in names:
            path = f"{top}/{name}"
            try:
                fits = os.stat(path).st_size == size  # noqa: PTH116 - a Path for each of a thousand files is dear
            except OSError:
                continue  # a link to nothing
            if fits:
                yield os.path.relpath(path, folder)


def _read(path: str) -> bytes:
    """Returns the content of a plain file that is not too large to be a zone's; b"" for none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError):
        return b""
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return b""
        content = file.read(_LARGEST + 1)
    return content if len(content) <= _LARGEST else b""
