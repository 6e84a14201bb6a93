"""The programs of schedulers: which are installed where only root can have put them, and what they tell of themselves.

A program is asked for its version and its help without any rights, as one that reads no arguments would start its
scheduler otherwise.
"""

import contextlib
import os
import selectors
import signal
import stat
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal

from msgspec import Struct

from agentd.core.schedulers import help as helps
from agentd.core.schedulers import sound
from agentd.core.schedulers.catalogue import Catalogue, Scheduler, legible
from agentd.schedulers.folders import BPFTOOL, FOLDERS, OBJECTS

_NOBODY = 65534
_LIMIT = 5.0
_MOST = 256 << 10
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "NO_COLOR": "1"}


class CannotAsk(Exception):
    """A program cannot be asked, or did not answer; the text is a sentence's end: "was not asked ..."."""


class Found(Struct, frozen=True):
    """A program's file, with links followed; empty where there is none that may be used. `trouble` tells why not."""

    path: str = ""
    trouble: str = ""


class Program(Struct, frozen=True, kw_only=True):
    """A scheduler's program on this machine, or the object of one of one's own. `path` is empty where it is not
    installed; `trouble` tells why one that is there is not used. `version` is empty where the program tells none,
    `short` has the short names that it tells of its options ({"-s": "--slice-us"}); `warnings` are sentences about
    where it and the catalogue differ, or why that is not known."""

    name: str
    path: str = ""
    trouble: str = ""
    version: str = ""
    short: Mapping[str, str] = {}
    warnings: tuple[str, ...] = ()


def locate(
    name: str,
    folders: Sequence[Path] = FOLDERS,
    owner: int = 0,
    top: Path = Path("/"),
    suffix: Literal["", ".bpf.o"] = "",
) -> Found:
    """Returns the program of that name, or the object with that suffix, in the first folder that has one which is the
    owner's alone to change: the file, and each folder from `top` down to it. Reads only."""
    if not sound.NAME.fullmatch(name):
        return Found(trouble=f'"{legible(name)}" is not the name of a program')
    troubles = []
    for folder in folders:
        try:
            real = (folder / f"{name}{suffix}").resolve(strict=True)
            if trouble := _trouble(real, owner, top, executable=not suffix):
                troubles.append(trouble)
            else:
                return Found(str(real))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, RuntimeError) as error:  # RuntimeError: links that go round in a circle, until Python 3.12
            troubles.append(f"{folder / name} cannot be looked at: {error}")
    return Found(trouble="; ".join(troubles))


def _trouble(real: Path, owner: int, top: Path, *, executable: bool) -> str:
    """Returns why a file may not be used; empty where it may. Raises OSError."""
    status = real.stat()
    if not stat.S_ISREG(status.st_mode) or (executable and not status.st_mode & stat.S_IXOTH):
        return f"{real} is not {'a program that everybody may start' if executable else 'a file'}"
    if status.st_mode & (stat.S_ISUID | stat.S_ISGID):
        return f"{real} runs with the rights of its owner, whoever starts it (chmod ug-s)"
    for path in (real, *real.parents):
        if not path.is_relative_to(top):
            break
        status = path.stat()
        if status.st_uid != owner:
            return f"{path} belongs to the user {status.st_uid}, not to {'root' if owner == 0 else owner}"
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return f"{path} may be written by others than its owner (chmod go-w)"
    return ""


class Programs:
    """The programs of the catalogue, each asked anew only when its file or its entry in the catalogue is another."""

    def __init__(
        self,
        folders: Sequence[Path] = FOLDERS,
        owner: int = 0,
        top: Path = Path("/"),
        objects: Sequence[Path] = OBJECTS,
    ) -> None:
        self._folders = folders
        self._objects = objects
        self._owner = owner
        self._top = top
        self._known: dict[str, tuple[tuple[object, ...], Scheduler, Program]] = {}

    def look(self, catalogue: Catalogue) -> dict[str, Program]:
        """Returns the programs by the names of their schedulers, also those that are not installed. To be called on a
        thread, and not on two at once: a program that is asked may take 5 s for each of two questions."""
        return {name: self._one(scheduler) for name, scheduler in catalogue.items()}

    def locate(self, scheduler: Scheduler) -> Found:
        """Returns the program of a scheduler, or its BPF object, as the function does. Reads only."""
        if scheduler.language != "bpf":
            return locate(scheduler.name, self._folders, self._owner, self._top)
        found = locate(scheduler.name, self._objects, self._owner, self._top, ".bpf.o")
        tool = locate(BPFTOOL, self._folders, self._owner, self._top)
        if not found.path or tool.path:
            return found
        missing = tool.trouble or "which is not installed (apt install bpftool)"
        return Found(trouble=f"{found.path} is loaded by {BPFTOOL}, {missing}")

    def _one(self, scheduler: Scheduler) -> Program:
        found = self.locate(scheduler)
        if not found.path:
            return Program(name=scheduler.name, trouble=found.trouble)
        try:
            status = os.stat(found.path)  # noqa: PTH116
        except OSError as error:
            return Program(name=scheduler.name, trouble=f"{found.path} cannot be looked at: {error.strerror}")
        key = (found.path, status.st_mtime_ns, status.st_size)
        known = self._known.get(scheduler.name)
        if known is not None and known[:2] == (key, scheduler):
            return known[2]
        program = _asked(scheduler, found.path)
        self._known[scheduler.name] = (key, scheduler, program)
        return program


def _asked(scheduler: Scheduler, path: str) -> Program:
    """Returns what a program tells of itself; the examples of the kernel's source have -h alone."""
    if not scheduler.help or scheduler.language == "bpf":
        return Program(name=scheduler.name, path=path)
    has_version = scheduler.language == "rust"
    told = ""
    try:
        told = helps.version(ask(path, "--version")) if has_version else ""
        text = ask(path, "--help" if has_version else "-h")
    except CannotAsk as error:
        return Program(name=scheduler.name, path=path, version=told, warnings=(f"{path} {error}",))
    if not helps.options(text):
        said = legible(next((line.strip() for line in text.splitlines() if line.strip()), "nothing"))
        warnings: tuple[str, ...] = (f"{path} does not tell its flags; it says: {said}",)
    else:
        warnings = helps.differences(scheduler, text).sentences
    return Program(name=scheduler.name, path=path, version=told, short=helps.short(text), warnings=warnings)


def ask(path: str, argument: str, limit: float = _LIMIT) -> str:
    """Returns what a program writes when it is called with one argument, to either output and whatever its exit status,
    256 KiB at most. The program has no rights and nothing to read; what it started is killed with it.

    Raises CannotAsk where it cannot be called without rights, or writes nothing final within the limit in seconds.
    """
    rights = _without_rights(path)
    try:
        process = subprocess.Popen(
            [path, argument],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
            env=_ENVIRONMENT,
            **rights,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise CannotAsk(f"cannot be asked for {argument}: {error}") from None
    try:
        text = _answer(process.stdout, limit) if process.stdout else b""
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # all of its processes have ended
            os.killpg(process.pid, signal.SIGKILL)  # before it is waited for: its number is its own until then
        process.wait()
    if text is None:
        raise CannotAsk(f"did not answer {argument} within {limit:g} s")
    return text.decode(errors="replace")


def _answer(output: IO[bytes], limit: float) -> bytes | None:
    """Returns what a process writes until it closes its outputs; None where that takes longer than the limit."""
    text = b""
    until = time.monotonic() + limit
    with output, selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        while len(text) < _MOST:
            if not selector.select(max(0, until - time.monotonic())):
                return None
            part = os.read(output.fileno(), _MOST - len(text))
            if not part:
                break
            text += part
    return text


def _without_rights(path: str) -> dict[str, Any]:
    """Returns how to call a program so that it has no rights, even one that reads no arguments. Raises CannotAsk."""
    with contextlib.suppress(OSError):
        if os.getxattr(path, "security.capability"):
            raise CannotAsk("was not asked for its flags: the file has capabilities of its own")
    if os.geteuid() == 0:
        return {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}
    if _has_ambient():
        raise CannotAsk("was not asked for its flags: agentd itself has capabilities that the program would get")
    return {}


def _has_ambient() -> bool:
    """Tells whether this process hands capabilities on to what it starts."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return True
    return any(line.startswith("CapAmb:") and int(line.split()[1], 16) for line in lines)
