"""The files of the catalogue: the one that comes with agentd, and those of the administrator over it.

    scx_bpfland: {flags: {slice-us: {high: 2000000}}}      # changes what it names of a scheduler that is there
    scx_mine: {ops: mine, summary: ..., ...}               # adds one

Root's side of a start reads them as well, so this needs neither asyncio nor the rest of agentd.
"""

import os
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import UNSET, Struct
from yaml import MappingNode, Node, ScalarNode

from agentd.config.compose import compose
from agentd.config.nodes import Decoder, locate
from agentd.config.problems import Problem, Problems
from agentd.core import fields
from agentd.core.schedulers import catalogue as records
from agentd.core.schedulers.catalogue import Catalogue, Scheduler
from agentd.core.schedulers.sound import typed

INSTALLED = Path("/usr/share/agentd/schedulers.yaml")
FOLDER = Path("/etc/agentd/schedulers.d")
_CHECKOUT = Path(__file__).parents[2] / "config/schedulers.yaml"
_MOST = 1 << 20
_DEEP = 3  # a scheduler, its flags, a flag
_WITHIN = {b"", b" ", b"#", b"\r"}
"""The beginnings of lines at which no scheduler begins."""
_KINDS = {**fields.KINDS, **records.KINDS}


class Loaded(Struct, frozen=True):
    """A catalogue, and a warning for each error in a file of the administrator: none of that file is used."""

    catalogue: Catalogue
    warnings: tuple[str, ...] = ()


def shipped() -> Path:
    """Returns the file that comes with agentd: that of the source tree which runs, or the installed one."""
    return _CHECKOUT if _CHECKOUT.exists() else INSTALLED


def load(file: Path | None = None, folder: Path = FOLDER, owner: int | None = None, only: str = "") -> Loaded:
    """Reads the catalogue: the shipped file, then those of the folder in the order of their names.

    With `owner`, files and folders that belong to somebody else, or that others may write, are errors as well. Of the
    shipped file `only` the scheduler of that name is wanted, where one is given, and no other is even parsed but those
    that the files of the folder name; all of them would take most of the time. Raises Problems where the shipped file
    has errors.
    """
    nodes: dict[str, Node] = {}
    found: dict[str, Scheduler] = {}
    warnings: dict[Path, list[str]] = {}
    tops: dict[Path, MappingNode] = {}
    try:
        names = _files(folder, owner)
    except Problems as error:
        names, warnings[folder] = [], [str(problem) for problem in error.found]
    for name in names:
        with _telling(name, warnings):
            tops[name] = compose(_read(name, owner), str(name))
    base = file or shipped()
    text, wanted = _read(base, owner), {only}.union(*map(_keys, tops.values()))
    _take(base, compose(_without_others(text, wanted) if only else text, str(base)), nodes, found, only)
    for name, top in tops.items():
        with _telling(name, warnings):
            _take(name, top, nodes, found)
    return Loaded(found, tuple(warning for file in (folder, *names) for warning in warnings.get(file, ())))


def stamp(folder: Path = FOLDER) -> tuple[tuple[object, ...], ...]:
    """Returns a value that is another one once a file of the catalogue has changed, or has come or gone."""
    try:
        names = _files(folder, None)
    except Problems:
        names = []
    return tuple(_stamp(path) for path in (shipped(), folder, *names))


def _stamp(path: Path) -> tuple[object, ...]:
    try:
        found = path.stat()
    except OSError as error:
        return path, error.errno
    mode, inode, device, _, user, group, size, *_ = found
    return path, mode, inode, device, user, group, size, found.st_mtime_ns, found.st_ctime_ns


def _files(folder: Path, owner: int | None) -> list[Path]:
    """Returns the files of a folder, none where there is no such folder. Raises Problems."""
    try:
        if owner is not None:
            _check(folder, folder.stat(), owner)
        return sorted(file for file in folder.iterdir() if file.suffix == ".yaml" and not file.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unread(folder, error) from None


def _take(file: Path, top: MappingNode, nodes: dict[str, Node], found: dict[str, Scheduler], only: str = "") -> None:
    """Adds the schedulers of a file, or the one that is wanted, to those found: all or none. Raises Problems."""
    decoder = Decoder(_KINDS)
    _check_keys(decoder, top, 1 + _DEEP)
    new: dict[str, Scheduler] = {}
    over: dict[str, Node] = {}
    for name, key, node in () if decoder.problems else decoder.items(top, ()):
        over[name] = merged = _over(nodes.get(name), node, _DEEP)
        if only and name != only:
            continue
        scheduler = decoder.struct(merged, Scheduler, (name,), name=name, file=str(file))
        if scheduler is UNSET:
            continue
        new[name], faults = typed(scheduler)
        for fault in faults:
            place, path = locate(merged, fault.path) if fault.path else (key, ())
            decoder.problem(place, (name, *path), fault.sentence, fault.at)
    if decoder.problems:
        raise Problems(decoder.problems)
    nodes |= over
    found |= new


def _without_others(text: bytes, names: Collection[str]) -> bytes:
    """Returns a file of the catalogue with the schedulers of those names alone, each line at its place; the whole file
    where a line at the margin is no name with a colon. Relies on how the shipped file is written: no scheduler has an
    alias of what is written in another, and no text goes on at the margin."""
    kept, wanted, begun = [], False, False
    for line in text.split(b"\n"):
        if line[:1] not in _WITHIN:
            name, colon, _ = line.decode(errors="replace").partition(":")
            if not (colon and name.isidentifier()):
                return text
            wanted, begun = name in names, True
        elif not begun and line.strip() and not line.lstrip().startswith(b"#"):
            return text
        kept.append(line if wanted else b"#")  # a comment ends a text that keeps the empty lines behind it
    return b"\n".join(kept)


def _keys(top: MappingNode) -> set[str]:
    return {key.value for key, _ in top.value if isinstance(key, ScalarNode)}


@contextmanager
def _telling(file: Path, warnings: dict[Path, list[str]]) -> Iterator[None]:
    """Makes the Problems of a file its warnings."""
    try:
        yield
    except Problems as error:
        warnings[file] = [f"{problem}; {file} is not used" for problem in error.found]


def _check_keys(decoder: Decoder, node: Node, depth: int) -> None:
    """Finds keys that come twice, which would be lost as files are laid over each other."""
    if isinstance(node, MappingNode) and depth:
        for _, _, value in decoder.items(node, ()):
            _check_keys(decoder, value, depth - 1)


def _over(base: Node | None, node: Node, depth: int) -> Node:
    """Returns the settings of both, those of `node` over those of `base`, key by key as deep as a flag is."""
    if not (isinstance(base, MappingNode) and isinstance(node, MappingNode) and depth):
        return node
    merged = {key.value: (key, value) for key, value in base.value if isinstance(key, ScalarNode)}
    for key, value in node.value:
        if isinstance(key, ScalarNode):
            below = merged.get(key.value)
            merged[key.value] = (key, value if below is None else _over(below[1], value, depth - 1))
    return MappingNode(node.tag, list(merged.values()), node.start_mark, node.end_mark)


def _read(file: Path, owner: int | None) -> bytes:
    """Returns what a file holds. Raises Problems where it cannot be read or trusted, or is larger than 1 MiB."""
    try:
        # A pipe of that name is no reason to wait for a writer.
        with open(file, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _problem(file, "is not a file")
            if owner is not None:
                _check(file, status, owner)
            text = stream.read(_MOST + 1)
    except OSError as error:
        raise _unread(file, error) from None
    if len(text) > _MOST:
        raise _problem(file, f"is larger than {_MOST >> 20} MiB")
    return text


def _check(path: Path, status: os.stat_result, owner: int) -> None:
    """Raises Problems where a file or folder is not the owner's alone to write."""
    if status.st_uid != owner:
        raise _problem(path, f"belongs to the user {status.st_uid}, not to {owner}")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise _problem(path, "may be written by others than its owner: chmod go-w")


def _unread(path: Path, error: OSError) -> Problems:
    return _problem(path, f"cannot be read: {(error.strerror or str(error)).lower()}")


def _problem(path: Path, sentence: str) -> Problems:
    return Problems([Problem(str(path), 0, 0, sentence)])
