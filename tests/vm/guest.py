"""The guest agent of a machine, the lines that it is asked over, and programs that it starts there."""

import contextlib
import itertools
import json
import socket
import time
from pathlib import Path
from typing import Any

# Runs a program on a terminal of its own and answers what it asks; a transcript is all that it prints.
CONVERSATION = """
import json, sys, pexpect
order = json.load(sys.stdin)
child = pexpect.spawn(order["argv"][0], order["argv"][1:], timeout=order["timeout"], encoding="utf-8", echo=True,
                      dimensions=(40, 160))
child.logfile_read = sys.stdout
try:
    for expected, answer in order["dialogue"]:
        child.expect(expected)
        child.sendline(answer)
    child.expect(pexpect.EOF)
except (pexpect.TIMEOUT, pexpect.EOF) as problem:
    print(f"\\nthe conversation broke off: {type(problem).__name__} while waiting for {child.searcher}",
          file=sys.stderr)
    child.close(force=True)
    sys.exit(125)
child.close()
sys.exit(child.exitstatus if child.exitstatus is not None else 128 + child.signalstatus)
"""


# Brings a session to the front, or another there, as the text in the middle does it; becomes a command of the session.
# logind and polkit find a process's session by its control group.
ENTER = """
state() { loginctl show-session "$session" -p State --value; }
session=$1
%s
echo $$ >"/sys/fs/cgroup$2/cgroup.procs"
shift 2
exec "$@"
"""


class MachineError(Exception):
    """The machine does not do what a test relies on, or a command in it failed."""


class Channel:
    """JSON lines over a Unix socket: what QEMU's monitor and its guest agent both speak."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._received = b""

    @classmethod
    def to(cls, path: Path) -> "Channel":
        """Connects to whoever listens there."""
        connected = socket.socket(socket.AF_UNIX)
        try:
            connected.connect(str(path))
        except OSError:
            connected.close()
            raise
        return cls(connected)

    def close(self) -> None:
        self._socket.close()

    def send(self, order: dict[str, Any], before: bytes = b"") -> None:
        self._socket.settimeout(10)
        self._socket.sendall(before + json.dumps(order).encode() + b"\n")

    def line(self, deadline: float) -> bytes:
        while b"\n" not in self._received:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            block = self._socket.recv(1 << 20)
            if not block:
                raise ConnectionError("the machine closed the line")
            self._received += block
        line, _, self._received = self._received.partition(b"\n")
        return line

    def answer(self, deadline: float) -> Any:
        """The next answer to an order; what QEMU tells unasked is passed over."""
        while True:
            message = json.loads(self.line(deadline))
            if "error" in message:
                raise MachineError(message["error"]["desc"])
            if "return" in message:
                return message["return"]


class Agent:
    """The guest agent. It is silent while the machine boots, and may lose an answer when it reboots."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._numbers = itertools.count(1)
        self._in_step = False

    def close(self) -> None:
        self._channel.close()

    def synchronise(self, seconds: float) -> bool:
        """Whether the agent answers; drops whatever was said before."""
        number = next(self._numbers)
        deadline = time.monotonic() + seconds
        try:
            # The byte makes the agent forget a half-read order; it answers with the same byte before its JSON.
            self._channel.send({"execute": "guest-sync-delimited", "arguments": {"id": number}}, before=b"\xff")
            while True:
                line = self._channel.line(deadline)
                with contextlib.suppress(ValueError):
                    if json.loads(line.rpartition(b"\xff")[2]).get("return") == number:
                        self._in_step = True
                        return True
        except TimeoutError:
            return False

    def ask(self, command: str, seconds: float = 30, **arguments: Any) -> Any:
        if not self._in_step and not self.synchronise(seconds):
            raise MachineError(f"the guest agent does not answer within {seconds:g} s ({command})")
        self._in_step = False
        try:
            self._channel.send({"execute": command, "arguments": arguments})
            answer = self._channel.answer(time.monotonic() + seconds)
        except TimeoutError:
            raise MachineError(f"the guest agent did not answer {command} within {seconds:g} s") from None
        except MachineError:
            self._in_step = True
            raise
        self._in_step = True
        return answer
