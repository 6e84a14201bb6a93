"""The kernel's word about schedulers: /sys/kernel/sched_ext. What stands there may change between two reads, and the
folder root/ vanishes with its scheduler: a look is repeated until nothing changed while it was taken."""

import errno
import os
from pathlib import Path
from typing import get_args

from agentd.core.schedulers.model import Observed, State

FOLDER = "sys/kernel/sched_ext"
_TRIES = 5
_LONGEST = 65536  # bytes of a file; the longest is the list of events
_GONE = {errno.ENODEV, errno.ENOENT}  # of a file that was open as its scheduler left
_MOST_SCHEDULERS = 256  # sub-schedulers that are looked at


class Unreadable(Exception):
    """The kernel's state cannot be read, or not understood; the text is a sentence."""


def observe(root: Path = Path("/")) -> Observed:
    """Returns which scheduler the kernel has now. Raises Unreadable.

    A look during which the scheduler changed is taken again, at most five times; then the last counts: the change that
    goes on is told by a uevent, and looked at anew.
    """
    folder = f"{root}/{FOLDER}"
    before = _state(folder)
    for _ in range(_TRIES):
        if before[0] == "absent":
            return Observed()
        try:
            found = Observed(
                state=before[0],
                ops=_text(f"{folder}/root/ops"),
                seq=before[1],
                # While none is loaded, it stands at 0 as well.
                switched_all=before[0] == "disabled" or _text(f"{folder}/switch_all") != "0",
                rejected=_number(f"{folder}/nr_rejected"),
                hotplugs=_number(f"{folder}/hotplug_seq"),
            )
        except OSError as error:
            raise Unreadable(f"{error.filename or folder} cannot be read: {error.strerror}") from error
        after = _state(folder)
        if after == before and (found.ops or found.state != "enabled"):
            break
        before = after
    return found


def events(root: Path = Path("/")) -> dict[str, int]:
    """Returns how often things happened since the scheduler was loaded, by the kernel's names (SCX_EV_...); empty where
    none is loaded, or where the kernel does not count (before Linux 6.15). Raises Unreadable."""
    path = f"{root}/{FOLDER}/root/events"
    try:
        lines = [line.split() for line in _text(path).splitlines()]
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror}") from error
    return {line[0]: int(line[1]) for line in lines if len(line) == 2 and line[1].isdigit()}


def sub_schedulers(root: Path = Path("/")) -> dict[str, str]:
    """Returns the schedulers of control groups (CONFIG_EXT_SUB_SCHED): the name that the kernel shows, by the folder
    below /sys/kernel/sched_ext that has it. Those that vanish meanwhile are left out."""
    top = Path(root) / FOLDER
    found: dict[str, str] = {}
    # Newer kernels have them in sub/ of the scheduler above; older ones beside root/.
    for pattern in ("*/sub/**/ops", "sub-*/ops"):
        for file in top.glob(pattern):
            if len(found) >= _MOST_SCHEDULERS:
                return found
            try:
                name = _text(str(file))
            except OSError:
                continue
            if name:
                found[str(file.parent.relative_to(top))] = name
    return found


def _state(folder: str) -> tuple[State, int]:
    """Returns the state and how many schedulers were enabled since the boot. Raises Unreadable."""
    try:
        word, seq = _text(f"{folder}/state"), _number(f"{folder}/enable_seq")
    except OSError as error:
        raise Unreadable(f"{error.filename or folder} cannot be read: {error.strerror}") from error
    if not word and not Path(folder).is_dir():
        return "absent", 0
    for state in get_args(State):
        if word == state:
            return state, seq
    raise Unreadable(f'{folder}/state says "{word[:40]}", which agentd does not know: this kernel is newer than agentd')


def _number(path: str) -> int:
    text = _text(path)
    return int(text) if text.isdigit() else 0


def _text(path: str) -> str:
    """Returns what a file holds, without the end of its line; "" where it does not exist (any more). Raises OSError."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    try:
        found = b""
        while len(found) < _LONGEST and (more := os.read(file, _LONGEST - len(found))):
            found += more
    except OSError as error:
        if error.errno in _GONE:
            return ""
        error.filename = path
        raise
    finally:
        os.close(file)
    return found.decode(errors="replace").strip()
