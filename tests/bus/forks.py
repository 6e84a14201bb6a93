"""Agentds that are forks of a process which has loaded all of agentd already: see loaded.py. Each worker has one."""

import atexit
import contextlib
import marshal
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]
_LARGEST = 1 << 18  # bytes of a message


class Loaded:
    """The process that has loaded agentd, from here on until this one ends."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", "tests.bus.loaded", "agentd", str(theirs.fileno())]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], cwd=ROOT, env=environment)
        self._codes: dict[int, int] = {}
        atexit.register(self.close)

    def close(self) -> None:
        """Ends the process; its children live on, as after any parent."""
        self._socket.close()
        self._process.wait()

    def start(self, module: str, arguments: Sequence[str], environment: Mapping[str, str], errors: IO[bytes]) -> int:
        """Runs a module as `python -m` does, with a file for standard error; returns the number of the process."""
        order = marshal.dumps((module, list(arguments), dict(environment)))
        socket.send_fds(self._socket, [order], [errors.fileno()])
        while True:
            pid, code = self._told()
            if code is None:
                self._codes.pop(pid, None)  # of another process that had the number
                return pid
            self._codes[pid] = code

    def code(self, pid: int, seconds: float = 0) -> int | None:
        """Returns the exit code of a process, and waits so long for it; None: it has not ended."""
        deadline = time.monotonic() + seconds
        while pid not in self._codes:
            if not select.select([self._socket], [], [], max(0, deadline - time.monotonic()))[0]:
                return None
            ended, code = self._told()
            assert code is not None
            self._codes[ended] = code
        return self._codes[pid]

    def _told(self) -> tuple[int, int | None]:
        message = self._socket.recv(_LARGEST)
        assert message, "the process that has loaded agentd has ended"
        told: tuple[int, int | None] = marshal.loads(message)
        return told


loaded = cache(Loaded)
"""The process of this worker, which is started when the first agentd is."""


class Fork:
    """An agentd, for whoever would have its subprocess.Popen."""

    def __init__(
        self, module: str, arguments: Sequence[str], environment: Mapping[str, str], errors: IO[bytes]
    ) -> None:
        self.pid = loaded().start(module, arguments, environment, errors)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Returns the exit code, or None where it has not ended."""
        if self.returncode is None:
            self.returncode = loaded().code(self.pid)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end, and returns the exit code. Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            self.returncode = loaded().code(self.pid, 3600 if timeout is None else timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(["agentd"], timeout or 3600)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Sends a signal, unless the process has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Sends SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Sends SIGKILL."""
        self.send_signal(signal.SIGKILL)
