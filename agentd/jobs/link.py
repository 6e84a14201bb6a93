"""The daemon's side of the link to a supervisor process."""

import asyncio
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec

from agentd.jobs.supervisor import tree, wire

_PROGRAM = Path(wire.__file__).with_name("__main__.py")
_PAUSE = 0.01  # seconds until reports that are left unread are looked at again


class Link:
    """The link to one supervisor process; `note` is where it leaves the ends that nobody stored, `state` the value of
    AGENTD_STATE in its runs, `umask` theirs (-1: as here). Reports stay unread while `may_wait` says so. Raises OSError
    where there is no room for one more."""

    def __init__(
        self,
        note: Path,
        state: str,
        lock_file: int,
        umask: int,
        on_report: Callable[[dict[str, object]], None],
        on_lost: Callable[["Link"], None],
        may_wait: Callable[["Link"], bool],
    ) -> None:
        self.under_way: set[str] = set()
        self.unstored: set[str] = set()  # runs under way, and ended ones whose end is not stored yet
        self._on_report = on_report
        self._on_lost = on_lost
        self._may_wait = may_wait
        self._encode = msgspec.json.Encoder().encode
        self._outbox: deque[bytes] = deque()
        self._closed = False
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            for end in (self._socket, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
            files = (theirs.fileno(), lock_file)
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_PROGRAM), *map(str, files), str(note), state],
                pass_fds=files,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the daemon alone
                umask=umask,
            )
        self._socket.setblocking(False)
        self._listen()

    @property
    def pid(self) -> int:
        """The supervisor process."""
        return self._process.pid

    @property
    def is_stopped(self) -> bool:
        """Whether somebody stopped the supervisor process."""
        return tree.is_stopped(self.pid)

    @property
    def has_reports(self) -> bool:
        """Whether there is something to read of the supervisor, if only that it is gone."""
        try:
            return not self._closed and self._socket.recv_into(bytearray(1), 1, socket.MSG_PEEK) >= 0
        except OSError as error:
            return not isinstance(error, BlockingIOError)

    def order(self, **order: object) -> None:
        """Sends an order, as the package `supervisor` describes them; to nobody, when the supervisor is gone."""
        if self._closed:
            return
        self._outbox.append(self._encode(order))
        if len(self._outbox) == 1:
            self._write()

    def read_all(self) -> None:
        """Hands on what the supervisor has reported so far."""
        while not self._closed and (data := wire.receive(self._socket)):
            self._on_report(msgspec.json.decode(data))

    def close(self) -> Callable[[], int]:
        """Makes the process end, and with it whatever it runs; returns what waits for that."""
        if not self._closed:
            self._closed = True
            asyncio.get_running_loop().remove_reader(self._socket)
            asyncio.get_running_loop().remove_writer(self._socket)
            self._socket.close()
            self._process.send_signal(signal.SIGCONT)  # one that somebody stopped would never end
        return self._process.wait

    def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while self._outbox:
            try:
                self._socket.send(self._outbox[0])
            except BlockingIOError:
                loop.add_writer(self._socket, self._write)
                return
            except ConnectionError:
                self._outbox.clear()  # the supervisor is gone, as _read notices too
                break
            except OSError as error:
                run_id = msgspec.json.decode(self._outbox[0])["id"]
                reason = f"the job's command and environment cannot be passed on: {error.strerror}"
                loop.call_soon(
                    self._on_report, {"ev": "ended", "id": run_id, "result": "start-failed", "reason": reason}
                )
            self._outbox.popleft()
        loop.remove_writer(self._socket)

    def _listen(self) -> None:
        if not self._closed:
            asyncio.get_running_loop().add_reader(self._socket, self._read)

    def _read(self) -> None:
        if self._may_wait(self):
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._socket)
            loop.call_later(_PAUSE, self._listen)
            return
        # A bounded number at a time, so that the timer gets its turn among thousands of reports.
        for _ in range(64):
            data = wire.receive(self._socket)
            if data is None:
                return
            if not data:
                self._on_lost(self)
                return
            self._on_report(msgspec.json.decode(data))
