"""D-Bus: a connection for calls and signals, and a server that dispatches by the contract's XML.

The only module that imports dbus_next. Not its ServiceInterface: that sends tracebacks to callers, logs every refusal
and hides the sender, without which nobody can be asked for permission.
"""

import asyncio
import contextlib
import xml.etree.ElementTree as ET
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from dbus_next.aio.message_bus import MessageBus
from dbus_next.constants import BusType, MessageFlag, MessageType, NameFlag, RequestNameReply
from dbus_next.introspection import Interface, Method, Node, Property
from dbus_next.message import Message
from dbus_next.signature import Variant
from msgspec import Struct

from agentd.core.model import Refused

NAME = "org.agentd1"
PATH = "/org/agentd1"
CONTRACT = Path(__file__).with_name("org.agentd1.xml")
_PROPERTIES = "org.freedesktop.DBus.Properties"
_INTROSPECTABLE = "org.freedesktop.DBus.Introspectable"

_DBUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
_ACTION = f"{NAME}.PolkitAction"  # the annotation that names what a caller needs
FREE = "none"
TIMEOUT = 25.0  # seconds for an answer, as libdbus has it
_CALLS = 96  # at once; the system bus allows 128 answers to be awaited

Handler = Callable[..., Any]


class Caller(Struct, frozen=True):
    """Who calls what: `action` is the polkit action that the contract names for the member."""

    sender: str
    member: str
    action: str
    arguments: tuple[Any, ...]
    interactive: bool


SENDER: ContextVar[str] = ContextVar("sender", default="")
"""The unique name of whose call is being answered."""
Authorize = Callable[[Caller], Awaitable[None]]
"""Raises Refused AccessDenied when the caller may not do that."""


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


def record(values: Mapping[str, Any], types: Mapping[str, str]) -> dict[str, Variant]:
    """An a{sv} of the values that are not None, with the D-Bus type that `types` names for each key."""
    return {key: Variant(types[key], clean(value)) for key, value in values.items() if value is not None}


def clean(value: Any) -> Any:
    """Text as D-Bus can carry it: without NUL and lone surrogates."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode(errors="replace").decode()
    return [clean(item) for item in value] if isinstance(value, list | tuple) else value


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


class Server:
    """Owns the name and answers calls with the handlers given for the members of the contract.

    Handlers are named "Interface.Member" without the common prefix; methods get the arguments (coroutines are
    awaited) and return what the contract says, several values as a tuple. Raises BusError when the contract
    has a member without a handler or the other way round.
    """

    def __init__(
        self,
        bus: Bus,
        methods: Mapping[str, Handler],
        properties: Mapping[str, Callable[[], Any]],
        on_defect: Callable[[str, BaseException], None],
        authorize: Authorize | None = None,
    ) -> None:
        self._bus = bus
        self._methods = methods
        self._properties = properties
        self._on_defect = on_defect
        self._authorize = authorize
        self._xml = CONTRACT.read_text()
        self._interfaces: dict[str, Interface] = {i.name: i for i in Node.parse(self._xml).interfaces}
        self._actions = _actions(self._xml)
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed: dict[str, set[str]] = {}
        wanted = {
            f"{interface.name.removeprefix(NAME + '.')}.{member}"
            for interface in self._interfaces.values()
            for member in (*(m.name for m in interface.methods), *(p.name for p in interface.properties))
        }
        different = wanted ^ {*methods, *properties}
        if different:
            raise BusError(f"the D-Bus contract and the daemon differ in {', '.join(sorted(different))}")
        if unguarded := [m.name for i in self._interfaces.values() for m in i.methods if m.name not in self._actions]:
            raise BusError(f"the D-Bus contract does not say who may call {', '.join(unguarded)}")

    async def start(self) -> None:
        """Takes the name and answers from now on. Raises BusError."""
        self._bus.serve(self._on_call)
        try:
            reply = await self._bus.call_bus("RequestName", "su", NAME, NameFlag.DO_NOT_QUEUE.value)
        except CallFailed as error:
            raise BusError(f"the bus does not let this user own {NAME}: {error}") from None
        if reply not in (RequestNameReply.PRIMARY_OWNER.value, RequestNameReply.ALREADY_OWNER.value):
            raise BusError(f"another agentd owns {NAME} on this bus")

    def emit(self, interface: str, member: str, *body: Any) -> None:
        """Sends a signal of the contract."""
        signal = next(s for s in self._interfaces[f"{NAME}.{interface}"].signals if s.name == member)
        self._bus.send(Message.new_signal(PATH, f"{NAME}.{interface}", member, signal.signature, [*map(clean, body)]))

    def changed(self, *names: str) -> None:
        """Tells that properties ("Interface.Name") have new values: once for all that change within a moment."""
        if not self._changed:
            asyncio.get_running_loop().call_later(0.05, self._tell_changes)
        for name in names:
            interface, _, member = name.rpartition(".")
            self._changed.setdefault(f"{NAME}.{interface}", set()).add(member)

    def _tell_changes(self) -> None:
        changes, self._changed = self._changed, {}
        for interface, names in changes.items():
            values, invalidated = {}, []
            for prop in self._interfaces[interface].properties:
                if prop.name in names:
                    # The library's parser drops annotations: a property of a container of records is only announced.
                    if prop.signature.startswith("aa"):
                        invalidated.append(prop.name)
                    else:
                        values[prop.name] = self._property(interface, prop)
            body = [interface, values, invalidated]
            self._bus.send(Message.new_signal(PATH, _PROPERTIES, "PropertiesChanged", "sa{sv}as", body))

    # Calls

    def _on_call(self, message: Message) -> bool:
        task = asyncio.get_running_loop().create_task(self._answer(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _answer(self, message: Message) -> None:
        try:
            signature, body = await self._call(message)
            reply = Message.new_method_return(message, signature, body)
            reply._marshall()  # type: ignore[no-untyped-call]  # noqa: SLF001 - a value that cannot be sent must become an error, not silence
        except Refused as refusal:
            prefix = "org.freedesktop.DBus.Error" if refusal.name.startswith("Unknown") else f"{NAME}.Error"
            reply = Message.new_error(message, f"{prefix}.{refusal.name}", clean(str(refusal)))
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the caller gets an answer without insides
            self._on_defect(f"{message.interface}.{message.member}", error)
            text = f"{message.member} failed inside agentd; its log has the details (journalctl -u agentd)"
            reply = Message.new_error(message, f"{NAME}.Error.Internal", text)
        if not message.flags & MessageFlag.NO_REPLY_EXPECTED:
            self._bus.send(reply)

    async def _call(self, message: Message) -> tuple[str, list[Any]]:
        if message.interface == _INTROSPECTABLE and message.member == "Introspect":
            return "s", [self._introspect(message.path)]
        if message.path != PATH:
            raise Refused("UnknownObject", f"there is no object {message.path}; agentd's is {PATH}")
        if message.interface == _PROPERTIES:
            return self._properties_call(message)
        interface, method = self._find(message)
        SENDER.set(message.sender)
        if message.signature != method.in_signature:
            raise Refused(
                "InvalidArgument",
                f"{method.name} takes ({method.in_signature}), it was called with ({message.signature})",
            )
        arguments = tuple(map(_plain, message.body))
        action = self._actions[method.name]
        if self._authorize is not None and action != FREE:
            interactive = bool(message.flags & MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION)
            await self._authorize(Caller(message.sender, method.name, action, arguments, interactive))
        result = self._methods[f"{interface.removeprefix(NAME + '.')}.{method.name}"](*arguments)
        if asyncio.iscoroutine(result):
            result = await result
        if not method.out_args:
            return "", []
        return method.out_signature, list(result) if len(method.out_args) > 1 else [result]

    def _find(self, message: Message) -> tuple[str, Method]:
        for name, interface in self._interfaces.items():
            if message.interface in (None, name):
                for method in interface.methods:
                    if method.name == message.member:
                        return name, method
        raise Refused("UnknownMethod", f"{message.interface} has no method {message.member}")

    def _properties_call(self, message: Message) -> tuple[str, list[Any]]:
        interface = self._interfaces.get(message.body[0]) if message.body else None
        if interface is None:
            raise Refused("UnknownInterface", f"there is no interface {message.body[0] if message.body else ''}")
        if message.member == "GetAll" and message.signature == "s":
            return "a{sv}", [{p.name: self._property(interface.name, p) for p in interface.properties}]
        if message.member == "Get" and message.signature == "ss":
            for prop in interface.properties:
                if prop.name == message.body[1]:
                    return "v", [self._property(interface.name, prop)]
            raise Refused("UnknownProperty", f"{interface.name} has no property {message.body[1]}")
        if message.member == "Set":
            raise Refused(
                "AccessDenied", f"the properties of {interface.name} are read only; its methods change things"
            )
        raise Refused("UnknownMethod", f"{_PROPERTIES} has no method {message.member} ({message.signature})")

    def _property(self, interface: str, prop: Property) -> Variant:
        value = self._properties[f"{interface.removeprefix(NAME + '.')}.{prop.name}"]()
        return Variant(prop.signature, clean(value))

    def _introspect(self, path: str) -> str:
        if path == PATH:
            return self._xml
        parts, here = PATH.strip("/").split("/"), [part for part in path.split("/") if part]
        if here != parts[: len(here)] or len(here) >= len(parts):
            raise Refused("UnknownObject", f"there is no object {path}")
        top = ET.Element("node")
        ET.SubElement(top, "node", name=parts[len(here)])
        return ET.tostring(top, encoding="unicode")


def _actions(xml: str) -> dict[str, str]:
    """The polkit action of every method, as the contract's annotations say; the library's parser drops those."""
    return {
        method.attrib["name"]: annotation.attrib["value"]
        for method in ET.fromstring(xml).iter("method")  # noqa: S314 - our own file
        for annotation in method.iter("annotation")
        if annotation.attrib["name"] == _ACTION
    }


def _plain(value: Any) -> Any:
    """An argument without variants: options become a dictionary of plain values."""
    if isinstance(value, Variant):
        return _plain(value.value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
