"""A connection to a D-Bus daemon that calls methods, one after the other, and waits for the answer of each."""

import os
import time

# socket is this with names for its numbers, and takes 3 ms to be imported: a quarter of Python's own start.
from _socket import AF_UNIX, SOCK_STREAM, socket
from collections.abc import Iterator
from typing import Any, NamedTuple

from agentctl import wire
from agentctl.client import BUS, BUS_PATH
from agentctl.wire import Unreadable

_SYSTEM = "unix:path=/var/run/dbus/system_bus_socket"
_CALL, _RETURN, _ERROR = 1, 2, 3  # kinds of messages
_PATH, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY_TO, _DESTINATION, _SIGNATURE = 1, 2, 3, 4, 5, 6, 8  # of the header
_MAY_ASK = 4  # the flag of a call for which a person may be asked for a password
_LONGEST = 1 << 27  # bytes of a message, as the specification has it
_PIECE = 1 << 18  # bytes that are read at once


class Message(NamedTuple):
    """A message as it came. Its values are read when they are asked for."""

    kind: int
    fields: dict[int, Any]  # of the header
    data: bytes
    at: int  # where its values begin
    order: str  # of the bytes

    @property
    def error(self) -> str:
        """The name of the error that the message is, "" where it is none."""
        return str(self.fields.get(_ERROR_NAME, "")) if self.kind == _ERROR else ""

    def values(self) -> tuple[Any, ...]:
        """Returns the values of the message. Raises Unreadable."""
        return wire.read(self.fields.get(_SIGNATURE, ""), self.data, self.at, self.order)

    def last(self) -> tuple[int, dict[str, Any]]:
        """Returns how many records the message has, which is a list of them, and the last. Raises Unreadable."""
        return wire.last(self.data, self.at, self.order)


class Bus:
    """A connection that is authenticated and has a name on the bus. Messages that are no answers are passed over."""

    def __init__(self, address: str, timeout: float) -> None:
        """Connects to the bus at an address, "SYSTEM" for that of the machine, within `timeout` seconds.

        Raises OSError, and ValueError where the address is none that can be connected to.
        """
        self.address = address
        self._serial = 0
        self._came = bytearray()
        deadline = time.monotonic() + timeout
        self._socket = _connected(address, timeout)
        try:
            self._authenticate(deadline)
            self.call(BUS, BUS_PATH, BUS, "Hello", "", (), timeout).values()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends the connection."""
        self._socket.close()

    def call(
        self,
        name: str,
        path: str,
        interface: str,
        member: str,
        signature: str,
        values: tuple[Any, ...],
        patience: float,
        *,
        asks: bool = False,
    ) -> Message:
        """Calls a method of who has the name on the bus and returns the answer, which may take `patience` seconds.

        `asks`: a person may be asked for a password for it. Raises TimeoutError, OSError where the connection is lost,
        Unreadable where what comes is no answer, and UnicodeEncodeError where a text among the values is no UTF-8.
        """
        return self.answer(self.ask(name, path, interface, member, signature, values, asks=asks), patience)

    def ask(
        self,
        name: str,
        path: str,
        interface: str,
        member: str,
        signature: str,
        values: tuple[Any, ...],
        *,
        asks: bool = False,
    ) -> int:
        """Sends a call and returns its number, by which `answer` gives the answer. Raises as `call` does."""
        self._serial += 1
        fields = [(_PATH, ("o", path)), (_INTERFACE, ("s", interface)), (_MEMBER, ("s", member))]
        fields += [(_DESTINATION, ("s", name)), *([(_SIGNATURE, ("g", signature))] if signature else ())]
        body = wire.packed(signature, values)
        start = (ord("l"), _CALL, _MAY_ASK if asks else 0, 1, len(body), self._serial, fields)
        header = wire.packed("yyyyuua(yv)", start)
        self._socket.settimeout(None)
        self._socket.sendall(header + bytes(-len(header) & 7) + body)
        return self._serial

    def answer(self, number: int, patience: float) -> Message:
        """Returns the answer to the call of this number, and passes over all else. Raises as `call` does."""
        deadline = time.monotonic() + patience
        while True:
            message = self._message(deadline)
            if message.fields.get(_REPLY_TO) == number and message.kind in {_RETURN, _ERROR}:
                return message

    def _message(self, deadline: float) -> Message:
        """Returns the next message; one whose header cannot be read is of the kind 0. Raises Unreadable where not even
        its length is known, TimeoutError, OSError."""
        self._await(16, deadline)
        order = {"l": "<", "B": ">"}.get(chr(self._came[0]))
        if order is None:
            raise Unreadable("what came is no message of D-Bus")
        size, _, length = wire.read("uuu", bytes(self._came[:16]), 4, order)
        at = 16 + length + (-length & 7)
        if at + size > _LONGEST:
            raise Unreadable("a message is longer than D-Bus allows")
        self._await(at + size, deadline)
        data = bytes(self._came[: at + size])
        del self._came[: at + size]
        try:
            (fields,) = wire.read("a(yv)", data, 12, order)
        except Unreadable:
            return Message(0, {}, data, at, order)
        return Message(data[1], dict(fields), data, at, order)

    def _await(self, count: int, deadline: float) -> None:
        """Waits until so many bytes have come. Raises TimeoutError, OSError."""
        while len(self._came) < count:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            piece = self._socket.recv(_PIECE)
            if not piece:
                raise ConnectionResetError
            self._came += piece

    def _authenticate(self, deadline: float) -> None:
        """Tells the bus who calls, which the kernel confirms. Raises OSError, ValueError."""
        self._socket.sendall(b"\0AUTH EXTERNAL %b\r\n" % str(os.geteuid()).encode().hex().encode())
        while not self._came.endswith(b"\r\n"):
            if len(self._came) > 8192:
                break
            self._await(len(self._came) + 1, deadline)
        if not self._came.startswith(b"OK "):
            raise ValueError("the bus does not let us in")
        self._came.clear()
        self._socket.sendall(b"BEGIN\r\n")


def _connected(address: str, timeout: float) -> socket:
    """Returns a socket that is connected to the first of the addresses where somebody answers. Raises OSError,
    ValueError."""
    if address == "SYSTEM":
        address = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS") or _SYSTEM
    failed: Exception = ValueError("the address has no socket of this machine")
    for place in _places(address):
        connection = socket(AF_UNIX, SOCK_STREAM)
        try:
            connection.settimeout(timeout)
            connection.connect(place)
        except OSError as error:
            connection.close()
            failed = error
        else:
            return connection
    raise failed


def _places(address: str) -> Iterator[bytes]:
    """Yields the sockets of this machine among the addresses of a bus, as the kernel names them. Raises ValueError."""
    for one in address.split(";"):
        transport, _, rest = one.partition(":")
        keys = dict(key.split("=", 1) for key in rest.split(",")) if transport == "unix" else {}
        if "abstract" in keys:
            yield b"\0" + _unescaped(keys["abstract"])
        elif "path" in keys:
            yield _unescaped(keys["path"])


def _unescaped(text: str) -> bytes:
    first, *others = os.fsencode(text).split(b"%")
    return first + b"".join(bytes.fromhex(other[:2].decode()) + other[2:] for other in others)
