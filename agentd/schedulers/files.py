"""Files that are put in place at once, and files of others that are read with care."""

import errno
import os
import stat
from pathlib import Path


def put(file: Path, data: bytes, mode: int = 0o644) -> None:
    """Puts data in place of a file at once: whoever reads it finds the old or the new. Raises OSError."""
    new = file.with_name(f".{file.name}.new")  # one name: what a kill leaves, the next one takes away
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with open(descriptor, "wb") as opened:  # noqa: PTH123 - a descriptor
        os.fchmod(descriptor, mode)
        opened.write(data)
        opened.flush()
        os.fsync(descriptor)
    new.replace(file)


def take(file: Path, largest: int) -> bytes:
    """Returns what is in a plain file of at most `largest` bytes: no link, no pipe. Raises OSError."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as opened:  # noqa: PTH123 - a descriptor
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "no plain file", str(file))
        data = opened.read(largest + 1)
    if len(data) > largest:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(file))
    return data
