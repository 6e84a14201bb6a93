"""D-Bus: a server that dispatches by the contract's XML. The only module that imports dbus_next.

Not dbus_next's ServiceInterface: that sends tracebacks to callers, logs every refusal and hides the sender,
without which nobody can be asked for permission.
"""

import asyncio
import xml.etree.ElementTree as ET
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from dbus_next.aio.message_bus import MessageBus
from dbus_next.constants import MessageFlag, MessageType, NameFlag, RequestNameReply
from dbus_next.introspection import Interface, Method, Node, Property
from dbus_next.message import Message
from dbus_next.signature import Variant

from agentd.core.model import Refused

NAME = "org.agentd1"
PATH = "/org/agentd1"
CONTRACT = Path(__file__).with_name("org.agentd1.xml")
_PROPERTIES = "org.freedesktop.DBus.Properties"
_INTROSPECTABLE = "org.freedesktop.DBus.Introspectable"

Handler = Callable[..., Any]
Authorize = Callable[[str, str, bool], Awaitable[None]]
"""(member, sender, interactive): raises Refused AccessDenied when the sender may not call the member."""


class BusError(Exception):
    """The bus cannot be reached or used; the text is a sentence."""


def record(values: Mapping[str, Any], types: Mapping[str, str]) -> dict[str, Variant]:
    """An a{sv} of the values that are not None, with the D-Bus type that `types` names for each key."""
    return {key: Variant(types[key], clean(value)) for key, value in values.items() if value is not None}


def clean(value: Any) -> Any:
    """Text as D-Bus can carry it: without NUL and lone surrogates."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode(errors="replace").decode()
    return [clean(item) for item in value] if isinstance(value, list | tuple) else value


class Server:
    """Owns the name and answers calls with the handlers given for the members of the contract.

    Handlers are named "Interface.Member" without the common prefix; methods get the arguments (coroutines are
    awaited) and return what the contract says, several values as a tuple. Raises BusError when the contract
    has a member without a handler or the other way round.
    """

    def __init__(
        self,
        methods: Mapping[str, Handler],
        properties: Mapping[str, Callable[[], Any]],
        on_defect: Callable[[str, BaseException], None],
        authorize: Authorize | None = None,
    ) -> None:
        self._methods = methods
        self._properties = properties
        self._on_defect = on_defect
        self._authorize = authorize
        self._xml = CONTRACT.read_text()
        self._interfaces: dict[str, Interface] = {i.name: i for i in Node.parse(self._xml).interfaces}
        self._tasks: set[asyncio.Task[None]] = set()
        self._bus: MessageBus | None = None
        self._outbox: deque[Message] = deque()
        self._changed: dict[str, set[str]] = {}
        wanted = {
            f"{interface.name.removeprefix(NAME + '.')}.{member}"
            for interface in self._interfaces.values()
            for member in (*(m.name for m in interface.methods), *(p.name for p in interface.properties))
        }
        different = wanted ^ {*methods, *properties}
        if different:
            raise BusError(f"the D-Bus contract and the daemon differ in {', '.join(sorted(different))}")

    async def connect(self, address: str, patience: float = 10.0) -> None:
        """Connects and takes the name. Raises BusError."""
        deadline = asyncio.get_running_loop().time() + patience
        while True:
            try:
                self._bus = await asyncio.wait_for(MessageBus(bus_address=address).connect(), 5)
                break
            except (OSError, EOFError, TimeoutError) as error:
                # A bus that was started a moment ago may not listen yet.
                if asyncio.get_running_loop().time() > deadline:
                    raise BusError(f"the bus at {address} does not answer: {error}") from None
                await asyncio.sleep(0.01)
        self._bus.add_message_handler(self._on_message)
        reply = await self._bus.request_name(NAME, NameFlag.DO_NOT_QUEUE)
        if reply not in (RequestNameReply.PRIMARY_OWNER, RequestNameReply.ALREADY_OWNER):
            raise BusError(f"another agentd owns {NAME} on the bus at {address}")

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

    def emit(self, interface: str, member: str, *body: Any) -> None:
        """Sends a signal of the contract."""
        signal = next(s for s in self._interfaces[f"{NAME}.{interface}"].signals if s.name == member)
        self._send(Message.new_signal(PATH, f"{NAME}.{interface}", member, signal.signature, [*map(clean, body)]))

    def changed(self, *names: str) -> None:
        """Tells that properties ("Interface.Name") have new values: once for all that change within a moment."""
        if not self._changed and self._bus is not None:
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
            self._send(Message.new_signal(PATH, _PROPERTIES, "PropertiesChanged", "sa{sv}as", body))

    def _send(self, message: Message) -> None:
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

    # Calls

    def _on_message(self, message: Message) -> bool:
        if message.message_type is not MessageType.METHOD_CALL or message.interface == "org.freedesktop.DBus.Peer":
            return False
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
            self._send(reply)

    async def _call(self, message: Message) -> tuple[str, list[Any]]:
        if message.interface == _INTROSPECTABLE and message.member == "Introspect":
            return "s", [self._introspect(message.path)]
        if message.path != PATH:
            raise Refused("UnknownObject", f"there is no object {message.path}; agentd's is {PATH}")
        if message.interface == _PROPERTIES:
            return self._properties_call(message)
        interface, method = self._find(message)
        if message.signature != method.in_signature:
            raise Refused(
                "InvalidArgument",
                f"{method.name} takes ({method.in_signature}), it was called with ({message.signature})",
            )
        if self._authorize is not None:
            interactive = bool(message.flags & MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION)
            await self._authorize(method.name, message.sender, interactive)
        result = self._methods[f"{interface.removeprefix(NAME + '.')}.{method.name}"](*map(_plain, message.body))
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


def _plain(value: Any) -> Any:
    """An argument without variants: options become a dictionary of plain values."""
    if isinstance(value, Variant):
        return _plain(value.value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
