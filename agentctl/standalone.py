"""The standalone daemons of this user, as each wrote down where it is."""

import contextlib
import os
import stat
from typing import NamedTuple

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class Standalone(NamedTuple):
    """A standalone daemon: the address of its bus, and its state directory ("": an agentd that does not tell)."""

    address: str
    state: str


def standalones(state: str | None = None) -> list[Standalone]:
    """Returns the daemons that this user's files tell of, alive or not, by their state directories; with one given that
    one's alone.

    A file must be a plain one, and both it and its folder the user's own and for nobody else to write: whoever may do
    so would choose whom agentctl believes. Raises OSError where that state directory is not there.
    """
    wanted = None if state is None else address_file(state)
    runtime = os.environ.get("XDG_RUNTIME_DIR") or os.path.expanduser("~/.cache")
    if runtime == "~/.cache":  # the user has no home
        return []
    with contextlib.ExitStack() as opened:
        try:
            folder = os.open(os.path.join(runtime, "agentd"), _FLAGS)
            opened.callback(os.close, folder)
            if not _own(os.fstat(folder)):
                return []
            names = os.listdir(folder)  # of the folder that was looked at, whatever has its name now
        except OSError:
            return []
        found = (_read(folder, name) for name in names if name.startswith("address") and wanted in {None, name})
        return sorted((daemon for daemon in found if daemon is not None), key=lambda daemon: daemon.state)


def address_file(state: str) -> str:
    """Returns the name of the file that tells of the daemon with that state directory, as agentd/private.py has it.

    Raises OSError where there is no such directory.
    """
    status = os.stat(state)
    return f"address-{status.st_dev:x}-{status.st_ino:x}"


def _read(folder: int, name: str) -> Standalone | None:
    """Returns the daemon that a file of the open folder tells of, None where it is not to be believed."""
    try:
        descriptor = os.open(name, _FLAGS, dir_fd=folder)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        text = os.read(descriptor, 8192) if stat.S_ISREG(status.st_mode) and _own(status) else b""
        address, _, state = [*text.decode(errors="surrogateescape").split("\n", 3), "", "", ""][:3]
        address.encode()  # what is not UTF-8 is no address
    except (OSError, UnicodeEncodeError):
        return None
    finally:
        os.close(descriptor)
    return Standalone(address.strip(), state) if address.strip() else None


def _own(status: os.stat_result) -> bool:
    """Tells whether a file or folder is this user's own, and nobody else may write there."""
    return status.st_uid == os.geteuid() and not status.st_mode & 0o022
