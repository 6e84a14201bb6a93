"""Root's side of agentd-scx@NAME.service: checks what agentd asks for, and becomes the scheduler.

Nothing is believed. agentd wrote a file that names a scheduler and its flags: it is data of bounded size and form. What
may be started, and with which arguments, says root's catalogue alone; the program is root's, in a folder of root's, and
nobody else may write to either. Waits, a while, until no other scheduler is loaded: some take down the one that runs.

A scheduler of one's own is in no catalogue: where root allowed such, agentd hands its object over beside the request,
and loading.py, which trusts that no more, loads and holds it.
"""

import os
import pwd
import re
import signal
import stat
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from agentd.config.problems import Problems
from agentd.core.part import Refused
from agentd.core.schedulers.catalogue import OWN, Scheduler, Value
from agentd.core.schedulers.choosing import argv, choose
from agentd.core.schedulers.model import LAUNCHER
from agentd.schedulers import catalogues
from agentd.schedulers.allowing import ALLOWED, forbidden
from agentd.schedulers.folders import BPFTOOL, FOLDERS, OBJECTS

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_:-]{0,99}")
_LARGEST = 16 << 10  # bytes of a request
_MOST_FLAGS = 100
_PATIENCE = 10.0  # seconds until another scheduler has left
_PAUSE = 0.01
_PYTHON = "/usr/bin/python3"
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
_ENDS = {signal.SIGINT, signal.SIGTERM}
_OTHERS = stat.S_IWGRP | stat.S_IWOTH
Execute = Callable[[str, list[str], dict[str, str]], object]


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    """A choice as agentd wrote it: the mode is for people, its flags are among the flags."""

    name: str
    mode: str = ""
    flags: dict[str, Value] = {}


class Places(Struct, frozen=True, kw_only=True):
    """The places where things are. `owner` is root; whatever lies below `top` must be the owner's alone to write.
    Requests may be the `writer`'s as well ("": the owner's only)."""

    requests: str = "/run/agentd/schedulers"
    catalogue: str = str(catalogues.INSTALLED)
    catalogue_folder: str = str(catalogues.FOLDER)
    programs: tuple[str, ...] = tuple(map(str, FOLDERS))
    objects: tuple[str, ...] = tuple(map(str, OBJECTS))
    pins: str = "/sys/fs/bpf/agentd"
    kernel: str = "/sys/kernel/sched_ext"
    allowed: str = str(ALLOWED)
    owner: int = 0
    writer: str = "agentd"
    top: str = "/"


class Untrusted(Exception):
    """Something is not as it must be for root to act on it; the text is a sentence."""


def main(name: str, places: Places | None = None, execute: Execute = os.execve) -> int:
    """Becomes the scheduler of that name, or says in a sentence why not; returns the exit status then."""
    places = places or Places()
    try:
        request = read_request(name, places)
        tool, path, arguments = by_python(request, places) if name.startswith(OWN) else by_catalogue(request, places)
        wait_for_none(places)
    except (Refused, Untrusted, Problems) as error:
        return _say(str(error))
    sys.stderr.flush()
    try:
        if tool:
            return hold(tool, path, Path(places.pins, name))
        execute(path, [path, *arguments], _ENVIRONMENT)
    except OSError as error:
        return _say(f"{error.filename or path} could not be executed: {(error.strerror or str(error)).lower()}")
    return 0  # in a test: a program that was executed does not come back


def by_catalogue(request: Request, places: Places) -> tuple[str, str, list[str]]:
    """Returns what holds the scheduler of a request where that is a BPF object, or "", with its file and arguments.

    Raises Refused, Untrusted, Problems.
    """
    loaded = load(places, request.name)
    for warning in loaded.warnings:
        print(f"catalogue: {warning}", file=sys.stderr)
    chosen = choose(loaded.catalogue, request.name, flags=request.flags)
    scheduler = loaded.catalogue.get(request.name)
    if scheduler is None or chosen.name != request.name:
        raise Untrusted(f"{request.name} is not the name of a scheduler in the catalogue")
    arguments = argv(scheduler, chosen.flags)
    path = find(scheduler, places)
    tool = find_in(places.programs, BPFTOOL, places) if scheduler.language == "bpf" else ""
    return tool, path, arguments


def by_python(request: Request, places: Places) -> tuple[str, str, list[str]]:
    """Returns the same of a scheduler of one's own: loading.py loads its object and holds it. Raises Untrusted."""
    from agentd.core.schedulers.custom import own_name  # noqa: PLC0415 - few have any

    own = own_name(request.name)
    if not own:
        raise Untrusted(f"{request.name} is not the name of a scheduler of one's own")
    if request.flags:
        raise Untrusted(f"{request.name} is a scheduler of one's own, which takes no flags")
    if why := forbidden(Path(places.allowed), places.owner):
        raise Untrusted(why)
    made = f"{places.requests}/{request.name}.bpf.o"
    return "", _PYTHON, ["-I", "-B", "-m", "agentd.schedulers.loading", own, made]


def load(places: Places, only: str = "") -> catalogues.Loaded:
    """Returns root's catalogue, or of what comes with agentd the one scheduler. Raises Problems, Untrusted."""
    check(places.catalogue, places)
    if os.path.lexists(places.catalogue_folder):
        check(places.catalogue_folder, places)
    return catalogues.load(Path(places.catalogue), Path(places.catalogue_folder), places.owner, only)


def read_request(name: str, places: Places) -> Request:
    """Returns what agentd asks for. Raises Untrusted."""
    if not _NAME.fullmatch(name):
        raise Untrusted(f"{name[:100]!r} is not the name of a scheduler")
    path = f"{places.requests}/{name}.json"
    try:
        # No link is followed, and a pipe is not waited for.
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Untrusted(f"{path}, where agentd writes what to start, cannot be read: {error.strerror}") from error
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise Untrusted(f"{path} is not a file")
        if status.st_uid not in {places.owner, _user(places.writer)}:
            raise Untrusted(f"{path} belongs to the user {status.st_uid}, not to root or {places.writer}")
        if status.st_mode & _OTHERS:
            raise Untrusted(f"{path} may be written by others than its owner")
        text = os.read(file, _LARGEST + 1) if status.st_size <= _LARGEST else b"x" * (_LARGEST + 1)
    finally:
        os.close(file)
    if len(text) > _LARGEST:
        raise Untrusted(f"{path} is larger than {_LARGEST >> 10} KiB")
    try:
        request = msgspec.json.decode(text, type=Request)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Untrusted(f"{path} is not a request of agentd's: {str(error)[:200]}") from error
    if request.name != name:
        raise Untrusted(f"{path} asks for {request.name[:100]!r}, not for {name}")
    if len(request.flags) > _MOST_FLAGS:
        raise Untrusted(f"{path} has more than {_MOST_FLAGS} flags")
    return request


def find(scheduler: Scheduler, places: Places) -> str:
    """Returns the path of a scheduler's program, or of its BPF object. Raises Untrusted."""
    if scheduler.language == "bpf":
        return find_in(places.objects, f"{scheduler.name}.bpf.o", places, executable=False)
    return find_in(places.programs, scheduler.name, places)


def find_in(folders: Sequence[str], name: str, places: Places, *, executable: bool = True) -> str:
    """Returns the first file of that name in the folders, which nobody but root can change. Raises Untrusted."""
    for folder in folders:
        path = f"{folder}/{name}"
        if not os.path.lexists(path):
            continue
        check(path, places)
        try:
            mode = Path(path).stat().st_mode
        except OSError as error:
            raise Untrusted(f"{path} cannot be looked at: {error.strerror}") from error
        if not stat.S_ISREG(mode):
            raise Untrusted(f"{path} is not a file: it is not started")
        if executable and not mode & stat.S_IXUSR:
            raise Untrusted(f"{path} is not executable: it is not started")
        return path
    raise Untrusted(f"{name} is not installed: it is in none of {', '.join(folders)}")


def check(path: str, places: Places) -> None:
    """Raises Untrusted unless a path, whatever it leads to, and all folders on the way are root's alone to change."""
    for one in (path, os.path.realpath(path)):
        for step in _steps(one, places.top):
            try:
                status = os.lstat(step)
            except OSError as error:
                raise Untrusted(f"{step} cannot be looked at: {error.strerror}") from error
            if status.st_uid != places.owner:
                raise Untrusted(f"{step} belongs to the user {status.st_uid}, not to root: {path} is not used")
            if status.st_mode & _OTHERS and not stat.S_ISLNK(status.st_mode):
                raise Untrusted(f"{step} may be written by others than root: {path} is not used")


def _steps(path: str, top: str) -> list[str]:
    """Returns a path and the folders above it, up to `top`; all of them where it does not lie below that."""
    steps = [path, *map(str, Path(path).parents)]
    return steps[: steps.index(top) + 1] if top in steps else steps


def wait_for_none(places: Places) -> None:
    """Returns once the kernel has no scheduler. Raises Untrusted where it keeps one, or cannot have any."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            state = Path(places.kernel, "state").read_text(encoding="ascii", errors="replace").strip()
        except OSError as error:
            raise Untrusted(f"this kernel has no sched_ext: {places.kernel}/state: {error.strerror}") from error
        if state == "disabled":
            return
        if time.monotonic() > end:
            raise Untrusted(
                f"another scheduler is loaded: the kernel says {state[:20]}, and one can be loaded at a time"
            )
        time.sleep(_PAUSE)


def hold(tool: str, path: str, pins: Path) -> int:
    """Loads a BPF object and holds it, by its pins, until asked to end; returns the exit status. Raises OSError."""
    import subprocess  # noqa: PLC0415 - few schedulers are BPF objects

    # Asked to end while bpftool works: it is asked as well, and the signal waits here.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
    try:
        _remove(pins)  # those of one that was ejected: the kernel takes no new ones of their names
        pins.mkdir(parents=True)  # bpffs is root's alone
        command = [tool, "struct_ops", "register", path, str(pins)]
        done = subprocess.run(command, env=_ENVIRONMENT, check=False, preexec_fn=_unblock)
        if done.returncode < 0:
            return _say(f"bpftool was ended by signal {-done.returncode} before it had loaded {path}")
        if done.returncode:
            return 1  # bpftool has said why
        signal.sigwait(_ENDS)
        return 0
    finally:
        _remove(pins)


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDS)


def _remove(pins: Path) -> None:
    """Removes the pins of a scheduler, which unloads it where it is loaded. Raises OSError."""
    if pins.is_dir():
        for pin in pins.iterdir():
            pin.unlink()
        pins.rmdir()


def _user(name: str) -> int:
    """Returns the number of a user; -1 where there is none of that name."""
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return -1


def _say(sentence: str) -> int:
    for line in sentence.splitlines():
        print(f"{LAUNCHER}: {line}", file=sys.stderr)
    return 1
