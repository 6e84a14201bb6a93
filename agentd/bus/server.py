"""What answers on the bus: calls are checked against the contract, permitted, and dispatched by its XML."""

import asyncio
import xml.etree.ElementTree as ET
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from dbus_next.constants import MessageFlag, NameFlag, RequestNameReply
from dbus_next.introspection import Interface, Method, Node, Property
from dbus_next.message import Message
from dbus_next.signature import Variant
from msgspec import Struct

from agentd.bus.connection import _PROPERTIES, NAME, PATH, Bus, BusError, CallFailed, _plain
from agentd.core.part import Refused

CONTRACT = Path(__file__).parents[1] / "org.agentd1.xml"
_INTROSPECTABLE = "org.freedesktop.DBus.Introspectable"
_ACTION = f"{NAME}.PolkitAction"  # the annotation that names what a caller needs
FREE = "none"
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
