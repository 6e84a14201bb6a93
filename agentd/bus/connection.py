"""A connection to D-Bus, for calls and signals. Only this package imports dbus_next.

Anybody may send agentd any message: of a body only that is parsed which agentd wants from that sender, which is an
answer to a call of its own, a signal that somebody listens to, or a call that the server has let in.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

from dbus_next.constants import MessageFlag, MessageType
from dbus_next.message import Message
from dbus_next.signature import SignatureTree, Variant
from msgspec import Struct

from agentd.bus.outbox import Done
from agentd.bus.reading import CALL, ERROR, RETURN, SIGNAL, Head, Unreadable, body
from agentd.bus.wire import Wire, close

NAME = "org.agentd1"
PATH = "/org/agentd1"
PROPERTIES = "org.freedesktop.DBus.Properties"
TIMEOUT = 25.0  # seconds for an answer, as libdbus has it
_DBUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
_CALLS = 96  # at once; the system bus allows 128 answers to be awaited
LARGEST = 64 << 10
"""Bytes that the arguments of a call may have."""
_AWAY = {"NoReply", "ServiceUnknown", "NameHasNoOwner", "Disconnected", "NoServer", "LimitsExceeded"}

Remote = tuple[str, str, str]
"""An interface of a peer: the peer's name on the bus, the object's path, the interface."""
Listener = Callable[[list[Any]], None]
"""Takes the arguments of a signal."""
OnCall = Callable[[Head, bytes | None], None]
"""Takes a call, and its body where that is at most LARGEST."""
Undo = Callable[[], None]
"""Ends what it was returned for; to call it again does nothing."""


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
        """Whether the peer was not there, or left before it answered: the call may or may not have had its effect."""
        return self.name.rpartition(".")[2] in _AWAY


def variant(signature: str, value: Any) -> Variant:
    """Returns a value with its D-Bus type, as the arguments of peers' methods and the values of records need it.

    The value is looked at when it is written, not here: records have thousands of them.
    """
    made: Variant = Variant.__new__(Variant)
    made.signature, made.value = signature, value
    made.type = SignatureTree._get(signature).types[0]  # noqa: SLF001 - as Variant does
    return made


def plain(value: Any) -> Any:
    """Returns an argument without variants: options become a dictionary of plain values."""
    if isinstance(value, Variant):
        return plain(value.value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


class Answer(Struct, frozen=True):
    """An answer to a call: the values, or those of an error with its name, and descriptors for the caller to close."""

    error: str
    values: list[Any]
    files: list[int]


class Bus:
    """A connection to a bus. A connection that is lost stays lost: `lost` tells."""

    def __init__(self) -> None:
        self._bus: Wire | None = None
        self._address: str | None = None
        self._pending: dict[int, asyncio.Future[Answer]] = {}
        self._room = asyncio.Semaphore(_CALLS)
        self._matching = asyncio.Lock()
        self._rules: Counter[str] = Counter()  # how many listeners each match rule has
        self._listeners: dict[tuple[str, str, str], dict[object, tuple[str, Listener]]] = {}
        self._owners: dict[str, str] = {}  # of the names that are followed
        self._on_call: OnCall | None = None

    async def connect(self, address: str | None, patience: float = 10.0, *, files: bool = False) -> None:
        """Connects to the bus at the address, or to the system bus; `files`: answers may hold files. Raises BusError.

        `patience` is in seconds.
        """
        self._address = address
        deadline = asyncio.get_running_loop().time() + patience
        while True:
            try:
                bus = Wire(address, self._wants, self._got, files=files)
                await asyncio.wait_for(bus.connect(), 5)
                self._bus = bus
                break
            except (OSError, EOFError, TimeoutError) as error:
                # A bus that was started a moment ago may not listen yet.
                if asyncio.get_running_loop().time() > deadline:
                    where = f"bus at {address}" if address else "system bus"
                    raise BusError(f"the {where} does not answer: {error}") from None
                await asyncio.sleep(0.01)

    async def beside(self) -> "Bus":
        """Returns another connection to the same bus. Raises BusError."""
        bus = Bus()
        await bus.connect(self._address)
        return bus

    @property
    def unique_name(self) -> str:
        """The unique name of this connection on the bus."""
        return "" if self._bus is None else self._bus.unique_name or ""

    async def lost(self) -> None:
        """Returns when the connection to the bus is lost."""
        if self._bus is None:
            return
        try:
            await self._bus.wait_for_disconnect()  # type: ignore[no-untyped-call] # the library's
        except (OSError, EOFError):
            return

    def close(self) -> None:
        """Leaves the bus."""
        if self._bus is not None and self._bus.connected:
            self._bus.disconnect()

    def serve(self, on_call: OnCall) -> None:
        """Hands method calls to `on_call` from now on, which answers them."""
        self._on_call = on_call

    # Calls

    async def call(
        self, remote: Remote, member: str, signature: str = "", *body: Any, patience: float = TIMEOUT
    ) -> list[Any]:
        """Calls a method of a peer; returns the values of the answer.

        Raises CallFailed, also when there is no answer after `patience` seconds.
        """
        reply = await self._request(remote, member, signature, body, patience)
        close(reply.files)
        return reply.values

    async def call_for_file(self, remote: Remote, member: str, signature: str, *body: Any) -> int:
        """Calls a method that answers with a file; returns the descriptor, for the caller to close.

        Raises CallFailed.
        """
        reply = await self._request(remote, member, signature, body, TIMEOUT)
        if not reply.files:
            raise CallFailed("org.freedesktop.DBus.Error.InconsistentMessage", f"{member} gave no file")
        close(reply.files[1:])
        return reply.files[0]

    async def call_bus(self, member: str, signature: str, *body: Any) -> Any:
        """Asks the bus itself; returns its one answer. Raises CallFailed."""
        (answer,) = await self.call(_DBUS, member, signature, *body) or [None]
        return answer

    async def get(self, remote: Remote, name: str, *, patience: float = TIMEOUT) -> Any:
        """Returns a property of a peer. Raises CallFailed, also when there is no answer after `patience` seconds."""
        peer = (remote[0], remote[1], PROPERTIES)
        (value,) = await self.call(peer, "Get", "ss", remote[2], name, patience=patience)
        return value

    async def _request(
        self, remote: Remote, member: str, signature: str, values: tuple[Any, ...], patience: float
    ) -> Answer:
        async with self._room:
            if self._bus is None or not self._bus.connected:
                raise CallFailed("org.freedesktop.DBus.Error.Disconnected", "the connection to the bus is lost")
            name, path, interface = remote
            serial = self._bus.next_serial()
            message = Message(name, path, interface, member, signature=signature, body=list(values), serial=serial)
            answer = self._pending[serial] = asyncio.get_running_loop().create_future()
            self.send(message)
            try:
                reply: Answer = await asyncio.wait_for(answer, patience)
            except TimeoutError:
                text = f"{name} did not answer {member} within {patience:g} s"
                raise CallFailed("org.freedesktop.DBus.Error.Timeout", text) from None
            finally:
                del self._pending[serial]
        if reply.error:
            close(reply.files)
            text = reply.values[0] if reply.values and isinstance(reply.values[0], str) else ""
            raise CallFailed(reply.error, text, name)
        return reply

    # Signals

    async def watch(self, remote: Remote, member: str, listener: Listener) -> Undo:
        """Has the arguments of a peer's signal handed to the listener, until the function returned is called.

        From then on the listener hears nothing more, not even of a signal under way. Raises CallFailed.
        """
        name, path, interface = remote
        # Only what the owner of the name sends counts: who that is must be known.
        unfollow = await self.follow(name, lambda _: None)
        try:
            async with self._matching:
                rule = f"type='signal',sender='{name}',path='{path}',interface='{interface}',member='{member}'"
                unlisten = await self._listen(remote, member, rule, listener)
        except BaseException:
            unfollow()
            raise

        def unwatch() -> None:
            unlisten()
            unfollow()

        return unwatch

    async def follow(self, name: str, on_owner: Callable[[str], None]) -> Undo:
        """Keeps up with who owns a name, until the function returned is called. Raises CallFailed.

        `on_owner` is told of each change: the new owner's unique name, or "" where nobody owns the name any more. Ask
        owner() for who has it at first: a client whose unique name is followed may have left before.
        """

        def changed(arguments: list[Any]) -> None:
            if arguments[0] == name:
                self._owners[name] = arguments[2]
                on_owner(arguments[2])

        rule = f"type='signal',sender='{_DBUS[0]}',member='NameOwnerChanged',arg0='{name}'"
        async with self._matching:
            unlisten = await self._listen(_DBUS, "NameOwnerChanged", rule, changed)

            def unfollow() -> None:
                unlisten()
                if rule not in self._rules:
                    self._owners.pop(name, None)

            try:
                if name not in self._owners:
                    owner = await self._ask_owner(name)
                    self._owners.setdefault(name, owner)  # a change that was told meanwhile is newer
            except BaseException:
                unfollow()
                raise
        return unfollow

    def owner(self, name: str) -> str:
        """Returns the unique name of the owner of a name that is followed or watched, or ""."""
        return self._owners.get(name, "")

    async def _ask_owner(self, name: str) -> str:
        try:
            return str(await self.call_bus("GetNameOwner", "s", name))
        except CallFailed as error:
            if not error.name.endswith(".NameHasNoOwner"):
                raise
            return ""

    async def _listen(self, remote: Remote, member: str, rule: str, listener: Listener) -> Undo:
        """Adds a listener, and the match rule where it is the first one of it. Is called with `_matching` held: a
        second listener of a rule waits until the bus has answered the first. Raises CallFailed."""
        name, path, interface = remote
        key, token = (path, interface, member), object()
        listeners = self._listeners.setdefault(key, {})
        listeners[token] = name, listener
        self._rules[rule] += 1

        def unlisten() -> None:
            if listeners.pop(token, None) is None:
                return
            if not listeners:
                del self._listeners[key]
            self._rules[rule] -= 1
            if not self._rules[rule]:
                del self._rules[rule]
                # The answer is not awaited: a bus that is lost has forgotten the rule anyway.
                no_reply = MessageFlag.NO_REPLY_EXPECTED
                self.send(Message(*_DBUS, "RemoveMatch", flags=no_reply, signature="s", body=[rule]))

        try:
            if self._rules[rule] == 1:
                await self.call_bus("AddMatch", "s", rule)
        except BaseException:
            unlisten()
            raise
        return unlisten

    # Messages that come

    def _wants(self, head: Head) -> bool:
        """Returns whether the body of a message is worth keeping: nothing of it was parsed yet."""
        if head.kind == CALL:
            return head.size <= LARGEST
        if head.kind == SIGNAL:
            listeners = self._listeners.get((head.path, head.interface, head.member), {})
            return any(head.sender in {name, self.owner(name)} for name, _ in listeners.values())
        return head.kind in (RETURN, ERROR) and head.reply_to in self._pending

    def _got(self, head: Head, content: bytes | None, files: list[int]) -> None:
        if head.kind in (RETURN, ERROR) and content is not None:
            self._answered(head, content, files)
            return
        close(files)
        if head.kind == CALL and self._on_call is not None:
            self._on_call(head, content)
        elif head.kind == SIGNAL and content is not None:
            self._tell(head, content)

    def _answered(self, head: Head, content: bytes, files: list[int]) -> None:
        answer = self._pending[head.reply_to]
        if answer.done():  # nobody waits for it any more
            close(files)
            return
        try:
            error = (head.error or "org.freedesktop.DBus.Error.Failed") if head.kind == ERROR else ""
            answer.set_result(Answer(error, body(head, content, stranger=False), files))
        except Unreadable as unreadable:
            close(files)
            text = f"the answer cannot be read: {unreadable}"
            answer.set_exception(CallFailed("org.freedesktop.DBus.Error.InconsistentMessage", text))

    def _tell(self, head: Head, content: bytes) -> None:
        """Hands a signal to its listeners."""
        try:
            arguments = body(head, content, stranger=False)
        except Unreadable as error:
            self._defect(f"a signal {head.member} of {head.sender} that cannot be read", error)
            return
        listeners = self._listeners.get((head.path, head.interface, head.member), {})
        for token, (name, listener) in list(listeners.items()):
            # Anybody may send us a signal of any interface: only the peer that we listen to counts. A listener that was
            # told before may have ended this one.
            if token in listeners and head.sender in {name, self.owner(name)}:
                try:
                    listener(list(arguments))
                except Exception as error:  # noqa: BLE001 - a defect in one listener must not keep the others from hearing
                    self._defect(f"a defect in a listener to {head.member}", error)

    # Messages that go

    def send(self, message: Message) -> None:
        """Sends a message after those before it. What cannot be written is the caller's error where it is a call, and
        told otherwise; it keeps nothing back."""
        try:
            data = self.packed(message)
        except Exception as error:  # noqa: BLE001 - whatever the library says of a value that does not fit its type
            answer = self._pending.get(message.serial) if message.message_type is MessageType.METHOD_CALL else None
            if answer is not None and not answer.done():
                answer.set_exception(error)
            else:
                self._defect(f"a defect in sending {message.member or 'an answer'}", error)
        else:
            self.write(data, message.destination or "")

    def packed(self, message: Message) -> bytes:
        """Returns a message as it is written, with a serial. Raises what dbus_next raises for values of wrong types."""
        if not message.serial:
            message.serial = self.next_serial()
        return bytes(message._marshall())  # type: ignore[no-untyped-call]  # noqa: SLF001 - so that it is done once

    def next_serial(self) -> int:
        """Returns the serial of the next message."""
        return 1 if self._bus is None else self._bus.next_serial()

    def write(self, data: bytes, to: str, done: Done | None = None) -> None:
        """Writes a packed message for a peer, "" for all, and calls `done` once the bus has it; a message is lost, and
        nothing called, where the connection is."""
        if self._bus is not None:
            self._bus.write(data, to, done)

    def _defect(self, text: str, error: Exception) -> None:
        asyncio.get_running_loop().call_exception_handler({"message": text, "exception": error})
