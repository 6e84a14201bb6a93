"""The socket of a connection: bytes become messages of which only the wanted are kept, answers go out in their order.

dbus_next 0.2.3 connects and is authenticated; reading and writing are ours. The library reads until nothing more comes,
so that a flood keeps every timer waiting, keeps open what descriptors strangers send, and takes a full socket between
two messages for a broken one.
"""

import contextlib
import os
import socket
from collections.abc import Callable

from dbus_next.aio.message_bus import MessageBus
from dbus_next.constants import BusType, MessageType
from dbus_next.message import Message

from agentd.bus.outbox import Done, Outbox
from agentd.bus.reading import ERROR, FIXED, LONGEST_HEADER, RETURN, Head, Unreadable, body, head, sizes

_PIECE = 16 << 10  # bytes that are read before the loop has its turn: a hundred small messages
_LARGE_PIECE = 256 << 10  # of a message that is known to be long
_MOST_FILES = 253  # as the kernel passes at once
_SENT_AHEAD = 16 << 10  # bytes that the kernel keeps for the bus, which reads 4 KiB in a turn: what is there goes first

Wanted = Callable[[Head], bool]
"""Returns whether the body of a message is to be kept."""
Got = Callable[[Head, bytes | None, list[int]], None]
"""Takes a message: its header, its body, which is None where it was skipped, and its descriptors, for it to close."""


class Wire(MessageBus):
    """A connection. `files`: messages may come with descriptors."""

    def __init__(self, address: str | None, wanted: Wanted, got: Got, *, files: bool) -> None:
        # No address is the system bus, which the library's signature does not say.
        super().__init__(address or "", BusType.SYSTEM, negotiate_unix_fd=files)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SENT_AHEAD)
        self._wanted = wanted
        self._got = got
        self._buffer = bytearray()
        self._skip = 0  # bytes that are still to come of a message that nobody wants
        self._missing = 0  # bytes that are still to come of one that somebody wants
        self._files: list[int] = []  # descriptors of messages that are not complete
        self._outbox = Outbox()
        self._piece = memoryview(b"")  # what is being written
        self._done: list[Done] = []  # to be told once that is written
        self._flushing = False

    # Reading

    def _message_reader(self) -> None:
        """Reads what is there, up to a piece: then timers and other files have their turn."""
        try:
            self._take(self._receive())
        except (BlockingIOError, InterruptedError):
            return
        except (OSError, EOFError, Unreadable) as error:
            self._finalize(error)

    def _receive(self) -> bytes:
        size = max(_PIECE, min(_LARGE_PIECE, self._skip or self._missing))
        if self._negotiate_unix_fd:
            flags = socket.MSG_CMSG_CLOEXEC
            data, files, _, _ = socket.recv_fds(self._sock, size, _MOST_FILES, flags)
            self._files += files
        else:
            data = self._sock.recv(size)
        if not data:
            raise EOFError("the bus has ended the connection")
        return data

    def _take(self, data: bytes) -> None:
        if self._skip >= len(data):
            self._skip -= len(data)
            return
        self._buffer += memoryview(data)[self._skip :] if self._skip else data
        self._skip = self._missing = at = 0
        while len(self._buffer) - at >= FIXED:
            whole, header = sizes(self._buffer, at)
            there = len(self._buffer) - at
            if there < header <= LONGEST_HEADER:
                break
            found = self._head(at, header)
            wanted = found is not None and (self._greets(found) or self._wanted(found))
            if wanted and there < whole:
                self._missing = whole - there
                break
            content = bytes(self._buffer[at + header : at + whole]) if wanted else None
            at += min(whole, there)
            self._skip = max(0, whole - there)
            self._pass_on(found, content)
        del self._buffer[:at]

    def _head(self, at: int, header: int) -> Head | None:
        try:
            return head(self._buffer, at, header)
        except Unreadable:
            return None

    def _greets(self, found: Head) -> bool:
        """Returns whether a message is the bus's answer to the greeting, which is the library's."""
        return found.kind in (RETURN, ERROR) and found.reply_to in self._method_return_handlers

    def _pass_on(self, found: Head | None, content: bytes | None) -> None:
        """Passes a message on with its descriptors. One without a readable header is nobody's."""
        count = len(self._files) if found is None else found.files
        files, self._files = self._files[:count], self._files[count:]
        try:
            if found is None:
                close(files)
            elif self._greets(found):
                self._greet(found, content or b"")
            else:
                self._got(found, content, files)
        except Exception as error:  # noqa: BLE001 - a defect over one message must not keep those behind it
            context = {"message": "a defect in taking a message", "exception": error}
            self._loop.call_exception_handler(context)

    def _greet(self, found: Head, content: bytes) -> None:
        answer = Message(
            message_type=MessageType(found.kind),
            reply_serial=found.reply_to,
            error_name=found.error or None,  # type: ignore[arg-type] # as the library has it itself
            signature=found.signature,
            body=body(found, content, stranger=False),
        )
        self._on_message(answer)  # type: ignore[no-untyped-call] # the library's

    # Writing

    def write(self, data: bytes, to: str, done: Done | None = None) -> None:
        """Writes a message for a peer ("" for all) when it is its turn, and then calls `done`; never where the
        connection is lost before."""
        if self._disconnected:
            return
        self._outbox.put(data, to, done)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        try:
            while self._piece or self._outbox:
                if not self._piece:
                    self._piece = memoryview(self._next_piece())
                self._piece = self._piece[self._sock.send(self._piece) :]
                if not self._piece:
                    told, self._done = self._done, []
                    for done in told:
                        done()
        except (BlockingIOError, InterruptedError):
            self._loop.add_writer(self._fd, self._flush)
            return
        except OSError as error:
            self._finalize(error)
            return
        self._flushing = False
        self._loop.remove_writer(self._fd)

    def _next_piece(self) -> bytes:
        """Returns the next messages, together where they are small."""
        messages: list[bytes] = []
        length = 0
        while self._outbox and length < _PIECE:
            data, done = self._outbox.take()
            messages.append(data)
            length += len(data)
            if done is not None:
                self._done.append(done)
        return messages[0] if len(messages) == 1 else b"".join(messages)

    def _finalize(self, err: BaseException | None = None) -> None:
        super()._finalize(err)  # type: ignore[no-untyped-call] # the library's
        if not self._disconnect_future.cancelled():
            # Looked at, so that asyncio takes a loss that nobody waits for, as after a failed start, for no defect.
            self._disconnect_future.exception()
        close(self._files)
        self._files = []
        self._outbox = Outbox()

    def disconnect(self) -> None:
        """Leaves the bus, after what is to be written."""
        if self._flushing and not self._disconnected:
            self._flush()
        super().disconnect()  # type: ignore[no-untyped-call] # the library's


def close(files: list[int]) -> None:
    """Closes descriptors."""
    for file in files:
        with contextlib.suppress(OSError):
            os.close(file)
