"""The users, groups and programs that jobs need: whether this machine has them, as it is now."""

import grp
import os
import pwd
from collections.abc import Callable, Iterator, Mapping

from agentd.core.jobs.settings import Job

_FOLDERS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # where systemd looks for a program


def unstartable(jobs: Mapping[str, Job]) -> Iterator[str]:
    """Yields a sentence for each thing that a job needs and that is not there."""
    for name, job in jobs.items():
        if job.has_own_root:  # which has users and programs of its own
            continue
        if job.user is not None and not _known(pwd.getpwnam, job.user):
            yield f"jobs.{name}.user: there is no user {job.user} on this machine, so no run of it could start"
        if job.group is not None and not _known(grp.getgrnam, job.group):
            yield f"jobs.{name}.group: there is no group {job.group} on this machine, so no run of it could start"
        if not _found(job.run[0]):
            yield f"jobs.{name}.run: there is no program {job.run[0]} on this machine, so no run of it could start"


def _known(by_name: Callable[[str], object], name: str) -> bool:
    """Tells whether the machine knows a user or group; to a number a unit needs no name."""
    if name.isdecimal():
        return True
    try:
        by_name(name)
    except (KeyError, OverflowError):
        return False
    return True


def _found(program: str) -> bool:
    """Tells whether a program is there, as far as whoever asks may look."""
    if "/" not in program:
        import shutil  # noqa: PLC0415 - with its compressions half a MiB, which a daemon that only serves does not need

        return shutil.which(program, path=f"{os.environ.get('PATH', '')}:{_FOLDERS}") is not None
    try:
        os.stat(program)  # noqa: PTH116 - whatever the path, its absence is all that counts
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True
