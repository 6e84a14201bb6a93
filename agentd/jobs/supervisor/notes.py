"""The file for the ends that a daemon did not live to store."""

import os
import sys

from agentd.jobs.supervisor.child import Order
from agentd.jobs.supervisor.lean import encoded, suppress

ROOM = 1 << 16
"""Bytes that are taken at the start: enough for some 250 ends without their output."""


class Note:
    """A file of its own, whose room is taken while there is some: a disk that is full later loses no end."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = -1
        with suppress(OSError):  # said when there is something to write
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            os.posix_fallocate(self._file, 0, ROOM)

    def write(self, reports: list[Order]) -> None:
        """Writes the reports, a line each, without the output that there is no room for; without reports, removes the
        file."""
        if not reports:
            with suppress(OSError):
                os.unlink(self._path)
            return
        try:
            try:
                self._put(reports)
            except OSError:
                self._put([{**report, "tail": ""} for report in reports])
        except OSError as error:
            text = f"the ends of {len(reports)} runs could not be kept in {self._path}: {error.strerror}"
            print(f"agentd: {text}; these runs will count as interrupted", file=sys.stderr)

    def _put(self, reports: list[Order]) -> None:
        data = b"".join(encoded(report) + b"\n" for report in reports)
        done = 0
        while done < len(data):
            done += os.pwrite(self._file, data[done:], done)
        os.ftruncate(self._file, done)
        os.fsync(self._file)
