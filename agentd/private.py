"""Standalone mode: the lock of the state directory, the private bus and where agentctl finds it."""

import asyncio
import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

_OWN = ("agentd.*", "bus.*", "configuration.*", "ended-*", "lock", "output", "unstored-*")
"""What agentd has in its state directory. It leaves alone what else lies there."""
_LONGEST_SOCKET = 107  # bytes, of which unix(7) has one more, for the end
_MOST_LINKS = 40  # on the way to a folder
BUS_CONFIG = Path(__file__).with_name("private-bus.conf")
"""What the private bus allows: writing.LONGEST_ANSWER leaves room for a header below its longest message."""


class PrivateBus:
    """The bus of a standalone agentd, which only its user may use. `state` is the state directory."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._folder = runtime()
        self._socket = self._folder / f"bus-{os.getpid()}"
        self.address = f"unix:path={self._socket}"

    def _check_length(self) -> None:
        """Raises Unusable where the kernel takes no socket of that name: the bus would say so to nobody."""
        if (length := len(os.fsencode(self._socket))) > _LONGEST_SOCKET:
            text = (
                f"the socket {self._socket} would have a name of {length} bytes, {_LONGEST_SOCKET} at most are possible"
            )
            raise Unusable(f"{text}: set XDG_RUNTIME_DIR to a shorter folder")

    def start(self, keep: Callable[[str, str, Sequence[str], Path], None]) -> None:
        """Has the bus started by `keep`, as Children.keep. Raises Unusable where it cannot be."""
        self._check_length()
        # Not shutil.which: with its compressions half a MiB stays, for one look.
        found = (f"{folder}/dbus-daemon" for folder in os.get_exec_path())
        program = next((path for path in found if os.path.isfile(path) and os.access(path, os.X_OK)), None)  # noqa: PTH113
        if program is None:
            raise Unusable("dbus-daemon is not installed (apt install dbus-daemon)")
        take_folder(self._folder, "runtime")
        self._socket.unlink(missing_ok=True)
        (self._state / "bus.conf").unlink(missing_ok=True)  # of an agentd that wrote one for each start
        options = ["--nofork", "--nopidfile", "--nosyslog"]
        argv = [program, f"--config-file={BUS_CONFIG}", f"--address={self.address}", *options]
        keep("bus", "the private bus", argv, self._state / "bus.log")

    def publish(self) -> None:
        """Tells agentctl where the bus is, and whose state it is, once agentd answers there. Raises Unusable."""
        new = self._folder / f"new.{os.getpid()}"
        try:
            new.unlink(missing_ok=True)
            with new.open("xb") as file:  # never what somebody put there
                file.write(b"%s\n%d\n%s\n" % (self.address.encode(), os.getpid(), os.fsencode(self._state)))
            new.rename(self._folder / address_file(self._state))
        except OSError as error:
            why = (error.strerror or "").lower()
            raise Unusable(f"{new}, by which agentctl finds agentd, cannot be written: {why}") from None

    def close(self) -> None:
        """Takes back what tells of the bus."""
        with contextlib.suppress(FileNotFoundError):  # nothing was told yet, or somebody took the state away
            published = self._folder / address_file(self._state)
            if published.read_bytes().startswith(self.address.encode() + b"\n"):
                published.unlink(missing_ok=True)
        self._socket.unlink(missing_ok=True)


class Unusable(Exception):
    """Standalone mode cannot start here; the text is a sentence."""


def runtime() -> Path:
    """Returns the folder of the bus's socket and its address; agentctl looks there.

    Raises Unusable where the user has neither a runtime directory nor a home.
    """
    given = os.environ.get("XDG_RUNTIME_DIR")
    try:
        return Path(given) / "agentd" if given else Path.home() / ".cache/agentd"
    except RuntimeError:
        raise Unusable("this user has no home: set XDG_RUNTIME_DIR to a folder of the user's own") from None


def address_file(state: Path) -> str:
    """Returns the name of the file that tells of the agentd with that state directory: each directory has its own,
    whichever way leads to it. Raises OSError where there is none."""
    status = state.stat()
    return f"address-{status.st_dev:x}-{status.st_ino:x}"


def take_folder(folder: Path, kind: str) -> None:
    """Makes the folder where it is missing. `kind` is "state" or "runtime".

    Raises Unusable where it is not this user's alone to change, or somebody else may put another in its place.
    """
    try:
        with contextlib.suppress(FileNotFoundError):
            _check_way(folder, kind)  # before anything is made behind a link of somebody else
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_way(folder, kind)
    except OSError as error:
        raise Unusable(f"the {kind} directory {folder} cannot be used: {(error.strerror or '').lower()}") from None


def _check_way(folder: Path, kind: str) -> None:
    """Looks at the folder and at each folder and link on the way to it. Raises OSError, Unusable."""

    def unusable(why: str) -> Unusable:
        return Unusable(f"the {kind} directory {folder} cannot be used: {why}; choose another")

    here, links, own = Path("/"), 0, os.geteuid()
    todo = [*folder.parts[1:]][::-1]
    while todo:
        if why := _replaceable(here):
            raise unusable(why)
        name = todo.pop()
        here = here.parent if name == ".." else here / name
        status = here.lstat()
        if stat.S_ISLNK(status.st_mode):
            if status.st_uid not in {0, own}:
                raise unusable(f"{here} is a link of somebody else (uid {status.st_uid})")
            links += 1
            if links > _MOST_LINKS:
                raise unusable("too many links lead to it")
            target = here.readlink()
            todo += [part for part in target.parts if part != "/"][::-1]
            here = Path("/") if target.is_absolute() else here.parent
    status = here.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise unusable(f"{here} is not a folder")
    if status.st_uid != own:
        raise unusable(f"{here} belongs to somebody else (uid {status.st_uid}, and agentd runs as uid {own})")
    if status.st_mode & 0o022:
        raise unusable(f"others may write in {here} (chmod go-w, if nobody else did)")


def _replaceable(folder: Path) -> str:
    """Returns why somebody else may put another file in the place of one in that folder, or "". Raises OSError."""
    status = folder.lstat()
    sticky = status.st_mode & stat.S_ISVTX
    # Where users are mapped, root's files are nobody's: whoever owns / is trusted as root is.
    if status.st_uid not in {0, os.geteuid(), Path("/").lstat().st_uid}:
        return f"somebody else (uid {status.st_uid}) may put another in its place, because {folder} is theirs"
    if status.st_mode & 0o002 and not sticky:
        return f"everybody may put another in its place, because {folder} is open to everybody (chmod o-w)"
    if status.st_mode & 0o020 and not sticky and status.st_gid not in {0, os.getegid()}:
        return f"others may put another in its place, because {folder} is open to the group {status.st_gid} (chmod g-w)"
    return ""


def _take_files(state: Path) -> None:
    """Makes what an earlier agentd left in the state directory this user's alone to read.

    Raises Unusable where a file there is somebody else's, or a link.
    """
    for file in [found for pattern in _OWN for found in state.glob(pattern)]:
        status = file.lstat()
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)) or status.st_uid != os.geteuid():
            raise Unusable(f"{file} is a link or belongs to somebody else: expected a file of agentd; remove it")
        if status.st_mode & 0o077:
            file.chmod(status.st_mode & 0o700)


def _open_lock(file: Path) -> int:
    """Returns the descriptor of the lock's file, which is made where it is missing. Raises Unusable."""
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
        descriptor = os.open(file, flags, 0o600)
    except OSError as error:
        what = "is a link" if error.errno == errno.ELOOP else (error.strerror or "").lower()
        raise Unusable(f"{file} cannot be used: {what}; expected a file of agentd: remove it") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
        os.close(descriptor)
        raise Unusable(f"{file} is no file of this user's own: expected a file of agentd: remove it")
    return descriptor


async def lock(state: Path, patience: float = 15.0) -> int:
    """Takes the state directory for this daemon and its supervisor; waits while the jobs of a killed one end.

    Returns the locked file's descriptor. Raises Unusable when another agentd lives there, or the directory is not this
    user's own.
    """
    take_folder(state, "state")
    descriptor = _open_lock(state / "lock")
    deadline = asyncio.get_running_loop().time() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode(errors="replace").partition("\n")[0].strip()
            alive = holder.isdecimal() and _is_agentd(int(holder))
            if alive or asyncio.get_running_loop().time() > deadline:
                os.close(descriptor)
                uses = (
                    f"another agentd (process {holder}) uses" if alive else "the jobs of an agentd that was killed use"
                )
                raise Unusable(f"{uses} the state directory {state}; choose another with --state-dir") from None
            await asyncio.sleep(0.02)
        else:
            try:
                _take_files(state)
            except Unusable:
                os.close(descriptor)
                raise
            # In the place of the one before, which takes no room of a full disk. Without it, nobody else is told which
            # process has the directory; the lock holds all the same.
            with contextlib.suppress(OSError):
                os.pwrite(descriptor, f"{os.getpid():>10}\n".encode(), 0)
            return descriptor


def _is_agentd(pid: int) -> bool:
    """Tells whether the process lives (a zombie does not, and has no command line) and is an agentd."""
    with contextlib.suppress(OSError):
        return b"agentd" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False
