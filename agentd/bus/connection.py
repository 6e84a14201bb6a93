"""D-Bus: a connection for calls and signals, and a server that dispatches by the contract's XML.

The only module that imports dbus_next. Not its ServiceInterface: that sends tracebacks to callers, logs every refusal
and hides the sender, without which nobody can be asked for permission.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any

from dbus_next.aio.message_bus import MessageBus
from dbus_next.constants import BusType, MessageType
from dbus_next.message import Message
from dbus_next.signature import Variant

NAME = "org.agentd1"
PATH = "/org/agentd1"
_PROPERTIES = "org.freedesktop.DBus.Properties"

_DBUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
TIMEOUT = 25.0  # seconds for an answer, as libdbus has it
_CALLS = 96  # at once; the system bus allows 128 answers to be awaited


class BusError(Exception):
    """The bus cannot be reached or used; the text is a sentence."""


class CallFailed(Exception):
    """A peer answered with an error, or not at all. `name` is the D-Bus error's; the text is what the peer said."""

    def __init__(self, name: str, text: str, peer: str = "") -> None:
        super().__init__(text or name)
        self.name = name
        self.peer = peer

    @property
    def away(self) -> bool:
        """The peer was not there, or left before it answered: what was asked for may or may not have happened."""
        return self.name.rpartition(".")[2] in _AWAY


_AWAY = {"NoReply", "ServiceUnknown", "NameHasNoOwner", "Disconnected", "NoServer", "LimitsExceeded"}


def variant(signature: str, value: Any) -> Variant:
    """A value with its type, for arguments of peers' methods."""
    return Variant(signature, value)


class Bus:
    """A connection to a bus. Once it is lost, it stays lost: `lost` tells."""

    def __init__(self) -> None:
        self._bus: MessageBus | None = None
        self._outbox: deque[Message] = deque()
        self._pending: dict[int, asyncio.Future[Message]] = {}
        self._room = asyncio.Semaphore(_CALLS)
        self._listeners: dict[tuple[str, str], list[tuple[str, Callable[[list[Any]], None]]]] = {}
        self._owners = {_DBUS[0]: _DBUS[0]}
        self._on_call: Callable[[Message], bool] = lambda _: False

    async def connect(self, address: str | None, patience: float = 10.0, *, files: bool = False) -> None:
        """Connects to the bus at the address, or to the system bus; `files`: answers may hold files. Raises BusError.

        Files of messages that nobody expects are never closed (dbus_next): not for a connection that listens.
        """
        deadline = asyncio.get_running_loop().time() + patience
        while True:
            try:
                # No address is the system bus, which the library's signature does not say.
                bus = MessageBus(address or "", BusType.SYSTEM, negotiate_unix_fd=files)
                self._bus = await asyncio.wait_for(bus.connect(), 5)
                break
            except (OSError, EOFError, TimeoutError) as error:
                # A bus that was started a moment ago may not listen yet.
                if asyncio.get_running_loop().time() > deadline:
                    where = f"bus at {address}" if address else "system bus"
                    raise BusError(f"the {where} does not answer: {error}") from None
                await asyncio.sleep(0.01)
        self._bus.add_message_handler(self._on_message)

    async def lost(self) -> None:
        """Returns when the connection to the bus is lost."""
        if self._bus is None:
            return
        try:
            await self._bus.wait_for_disconnect()  # type: ignore[no-untyped-call]
        except (OSError, EOFError):
            return

    def close(self) -> None:
        """Leaves the bus."""
        if self._bus is not None and self._bus.connected:
            self._bus.disconnect()  # type: ignore[no-untyped-call]

    def serve(self, on_call: Callable[[Message], bool]) -> None:
        """Method calls go to `on_call` from now on; it tells whether it answers them."""
        self._on_call = on_call

    async def call(
        self, peer: tuple[str, str, str], member: str, signature: str = "", *body: Any, patience: float = TIMEOUT
    ) -> list[Any]:
        """Calls a method of a peer, (name, path, interface); returns what it answers. Raises CallFailed."""
        reply = await self._request(peer, member, signature, body, patience)
        return [_plain(value) for value in reply.body]

    async def call_for_file(self, peer: tuple[str, str, str], member: str, signature: str, *body: Any) -> int:
        """The same for a method that answers with a file: its descriptor, for the caller to close."""
        reply = await self._request(peer, member, signature, body, TIMEOUT)
        if not reply.unix_fds:
            raise CallFailed("org.freedesktop.DBus.Error.InconsistentMessage", f"{member} gave no file")
        return int(reply.unix_fds[0])

    async def _request(
        self, peer: tuple[str, str, str], member: str, signature: str, body: tuple[Any, ...], patience: float
    ) -> Message:
        async with self._room:
            if self._bus is None or not self._bus.connected:
                raise CallFailed("org.freedesktop.DBus.Error.Disconnected", "the connection to the bus is lost")
            name, path, interface = peer
            serial = self._bus.next_serial()
            message = Message(name, path, interface, member, signature=signature, body=list(body), serial=serial)
            answer = self._pending[serial] = asyncio.get_running_loop().create_future()
            self.send(message)
            try:
                reply: Message = await asyncio.wait_for(answer, patience)
            except TimeoutError:
                text = f"{name} did not answer {member} within {patience:g} s"
                raise CallFailed("org.freedesktop.DBus.Error.Timeout", text) from None
            finally:
                del self._pending[serial]
        if reply.message_type is MessageType.ERROR:
            text = reply.body[0] if reply.body and isinstance(reply.body[0], str) else ""
            raise CallFailed(reply.error_name or "", text, name)
        return reply

    async def call_bus(self, member: str, signature: str, *body: Any) -> Any:
        """Asks the bus itself; returns its one answer. Raises CallFailed."""
        (answer,) = await self.call(_DBUS, member, signature, *body) or [None]
        return answer

    async def get(self, peer: tuple[str, str, str], name: str) -> Any:
        """A property of a peer. Raises CallFailed."""
        (value,) = await self.call((peer[0], peer[1], _PROPERTIES), "Get", "ss", peer[2], name)
        return value

    async def watch(self, peer: tuple[str, str, str], member: str, listener: Callable[[list[Any]], None]) -> None:
        """Has the arguments of a peer's signal handed to the listener. Raises CallFailed."""
        name, path, interface = peer
        self._listeners.setdefault((interface, member), []).append((name, listener))
        rule = f"type='signal',sender='{name}',path='{path}',interface='{interface}',member='{member}'"
        await self.call_bus("AddMatch", "s", rule)
        # Only what the owner of the name sends counts: who that is must be known.
        if name not in self._owners:
            await self.follow(name, lambda _: None)

    async def follow(self, name: str, on_owner: Callable[[str], None]) -> None:
        """Keeps up with who owns a name, and tells: the unique name, or "" when it is gone. Raises CallFailed."""

        def changed(arguments: list[Any]) -> None:
            if arguments[0] == name:
                self._owners[name] = arguments[2]
                on_owner(arguments[2])

        self._listeners.setdefault((_DBUS[2], "NameOwnerChanged"), []).append((_DBUS[0], changed))
        rule = f"type='signal',sender='{_DBUS[0]}',member='NameOwnerChanged',arg0='{name}'"
        await self.call_bus("AddMatch", "s", rule)
        with contextlib.suppress(CallFailed):  # nobody owns it yet
            self._owners[name] = await self.call_bus("GetNameOwner", "s", name)

    def owner(self, name: str) -> str:
        """The unique name of who owns a name that is followed or watched, or ""."""
        return self._owners.get(name, "")

    def send(self, message: Message) -> None:
        """Sends a message after those before it."""
        self._outbox.append(message)
        if len(self._outbox) == 1:
            self._send_next()

    def _send_next(self) -> None:
        """Hands over one message at a time: dbus_next takes a full socket between two messages for a broken one."""
        if self._bus is None or not self._bus.connected:
            self._outbox.clear()  # lost with the bus, as `lost` tells
            return
        self._bus.send(self._outbox[0]).add_done_callback(self._sent)

    def _sent(self, sent: asyncio.Future[None]) -> None:
        if sent.cancelled() or sent.exception() is not None:
            self._outbox.clear()
            return
        self._outbox.popleft()
        if self._outbox:
            self._send_next()

    def _on_message(self, message: Message) -> bool:
        if message.message_type is MessageType.METHOD_CALL:
            return message.interface != "org.freedesktop.DBus.Peer" and self._on_call(message)
        if message.message_type is MessageType.SIGNAL:
            # Anybody may send us a signal of any interface: only the one that we listen to counts.
            for name, listener in self._listeners.get((message.interface, message.member), ()):
                if self._owners.get(name) == message.sender:
                    listener([_plain(value) for value in message.body])
            return False
        answer = self._pending.get(message.reply_serial)
        if answer is None:
            return False  # the library's own
        if not answer.done():
            answer.set_result(message)
        return True


def _plain(value: Any) -> Any:
    """An argument without variants: options become a dictionary of plain values."""
    if isinstance(value, Variant):
        return _plain(value.value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
