"""The daemon's own object on the bus: calls are checked against the contract, permitted, and dispatched.

dbus_next's ServiceInterface is not used: it sends tracebacks to callers, logs every refusal and hides the sender,
without which polkit cannot be asked for permission.
"""

import asyncio
import inspect
import xml.etree.ElementTree as ET
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dbus_next.constants import MessageFlag, NameFlag, RequestNameReply
from dbus_next.message import Message
from dbus_next.signature import Variant
from msgspec import Struct

from agentd.bus.arguments import clean
from agentd.bus.connection import NAME, PATH, PROPERTIES, Bus, BusError, CallFailed, plain
from agentd.core.part import Refused
from agentd.tasks import Tasks

FREE = "none"
"""The polkit action of what everybody may call."""
_INTROSPECTABLE = "org.freedesktop.DBus.Introspectable"
_ACTION = f"{NAME}.PolkitAction"  # the annotation that names what a caller needs
_EMITS = "org.freedesktop.DBus.Property.EmitsChangedSignal"
_NODE = f'<node name="{PATH}">\n'
_MOMENT = 0.05  # seconds within which changes of properties are told together

Handler = Callable[..., Any]
"""Takes a method's arguments, and the Caller where it has a parameter `caller`; returns what the contract says, several
values as a tuple, or is a coroutine function that does."""
Getter = Callable[[], Any]
"""Returns a property's value; raises Refused where there is none to be had."""


class Caller(Struct, frozen=True):
    """A caller and its call. `sender` is the unique name on the bus, `action` the polkit action that the contract names
    for the member, `interactive` whether a person may be asked for a password."""

    sender: str
    member: str
    action: str
    arguments: tuple[Any, ...]
    interactive: bool


Authorize = Callable[[Caller], Awaitable[None]]
"""Raises Refused AccessDenied when the caller may not do that."""


class Offer(Struct, frozen=True):
    """An interface and what answers for its members, by their names. `contract` is the XML file of the interface."""

    contract: Path
    methods: Mapping[str, Handler]
    properties: Mapping[str, Getter]


class _Method(Struct, frozen=True):
    name: str
    takes: str
    returns: tuple[str, ...]
    action: str
    handler: Handler
    wants_caller: bool


class _Property(Struct, frozen=True):
    type: str
    only_announced: bool
    """Whether a change is signalled without the value."""
    get: Getter


class Server:
    """Owns the name and answers calls with the handlers of the offers.

    `on_defect` is told of errors that are no refusals, with the name of the member. Raises BusError when a contract has
    a member without a handler or the other way round, or does not say who may call a method.
    """

    def __init__(
        self,
        bus: Bus,
        offers: Sequence[Offer],
        on_defect: Callable[[str, BaseException], None],
        authorize: Authorize | None = None,
    ) -> None:
        self._bus = bus
        self._on_defect = on_defect
        self._authorize = authorize
        self._xml = joined([offer.contract for offer in offers])
        self._methods: dict[tuple[str, str], _Method] = {}  # by interface and member
        self._properties: dict[str, dict[str, _Property]] = {}  # by interface, by member
        self._signals: dict[tuple[str, str], str] = {}  # by interface and member: the types of the arguments
        self._changed: dict[str, set[str]] = {}
        self._refused: dict[str, str] = {}  # by interface: the reason why it was shut off
        self._tasks = Tasks(lambda error: on_defect("answering a call", error))
        for offer in offers:
            self._add(offer)

    def _add(self, offer: Offer) -> None:
        (interface,) = ET.parse(offer.contract).getroot().iter("interface")  # noqa: S314 - our own file
        name = interface.attrib["name"]
        methods, properties, signals = (_members(interface, kind) for kind in ("method", "property", "signal"))
        different = (methods.keys() ^ offer.methods.keys()) | (properties.keys() ^ offer.properties.keys())
        if different:
            where = name.removeprefix(f"{NAME}.")
            members = ", ".join(f"{where}.{member}" for member in sorted(different))
            raise BusError(f"the D-Bus contract and the daemon differ in {members}")
        if unguarded := [member for member, element in methods.items() if not _annotation(element, _ACTION)]:
            raise BusError(f"the D-Bus contract does not say who may call {', '.join(unguarded)}")
        for member, element in methods.items():
            self._methods[name, member] = _method(element, offer.methods[member])
        for member, element in signals.items():
            self._signals[name, member] = "".join(_types(element))
        self._properties[name] = {
            member: _property(element, offer.properties[member]) for member, element in properties.items()
        }

    async def start(self) -> None:
        """Takes the name and answers from now on. Raises BusError."""
        self._bus.serve(self._on_call)
        try:
            reply = await self._bus.call_bus("RequestName", "su", NAME, NameFlag.DO_NOT_QUEUE.value)
        except CallFailed as error:
            raise BusError(f"the bus does not let this user own {NAME}: {error}") from None
        if reply not in (RequestNameReply.PRIMARY_OWNER.value, RequestNameReply.ALREADY_OWNER.value):
            raise BusError(f"another agentd owns {NAME} on this bus")

    def refuse(self, contract: Path, why: str) -> None:
        """Answers every call and every question for a property of an interface with PartFailed and a sentence."""
        self._refused[contract.stem] = why

    def emit(self, interface: str, member: str, *body: Any) -> None:
        """Sends a signal of the contract; `interface` is without the common prefix, as in "Jobs"."""
        name = f"{NAME}.{interface}"
        self._bus.send(Message.new_signal(PATH, name, member, self._signals[name, member], [*map(clean, body)]))

    def changed(self, *names: str) -> None:
        """Tells that properties ("Interface.Name") have new values: once for all that change within a moment."""
        if not self._changed:
            asyncio.get_running_loop().call_later(_MOMENT, self._tell_changes)
        for name in names:
            interface, _, member = name.rpartition(".")
            self._changed.setdefault(f"{NAME}.{interface}", set()).add(member)

    def _tell_changes(self) -> None:
        changes, self._changed = self._changed, {}
        for interface, names in changes.items():
            told = {
                member: self._told(f"{interface}.{member}", found)
                for member, found in self._properties[interface].items()
                if member in names
            }
            values = {member: value for member, value in told.items() if value is not None}
            body = [interface, values, [member for member in told if member not in values]]
            self._bus.send(Message.new_signal(PATH, PROPERTIES, "PropertiesChanged", "sa{sv}as", body))

    def _told(self, name: str, found: _Property) -> Variant | None:
        """Returns the value that a change is told with, or None: clients then ask, and get the error if any."""
        if found.only_announced:
            return None
        try:
            return _value(found)
        except Refused:
            return None
        except Exception as error:  # noqa: BLE001 - a defect in one property must not keep the others back
            self._on_defect(name, error)
            return None

    # Calls

    def _on_call(self, message: Message) -> bool:
        self._tasks.do(self._answer(message))
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
        if message.interface == PROPERTIES:
            return self._properties_call(message)
        interface, method = self._find(message)
        self._check(interface)
        if message.signature != method.takes:
            raise Refused(
                "InvalidArgument", f"{method.name} takes ({method.takes}), it was called with ({message.signature})"
            )
        arguments = tuple(map(plain, message.body))
        interactive = bool(message.flags & MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION)
        caller = Caller(message.sender, method.name, method.action, arguments, interactive)
        if self._authorize is not None and method.action != FREE:
            await self._authorize(caller)
        result = method.handler(*arguments, caller=caller) if method.wants_caller else method.handler(*arguments)
        if asyncio.iscoroutine(result):
            result = await result
        if not method.returns:
            return "", []
        return "".join(method.returns), list(result) if len(method.returns) > 1 else [result]

    def _check(self, interface: str) -> None:
        """Raises Refused PartFailed where the interface was shut off."""
        if interface in self._refused:
            raise Refused("PartFailed", self._refused[interface])

    def _find(self, message: Message) -> tuple[str, _Method]:
        # Without an interface, the last that has the member is meant: ListDecisions was that of Jobs before Manager's.
        interfaces = reversed(self._properties) if message.interface is None else (message.interface,)
        for interface in interfaces:
            if (method := self._methods.get((interface, message.member))) is not None:
                return interface, method
        raise Refused("UnknownMethod", f"{message.interface} has no method {message.member}")

    def _properties_call(self, message: Message) -> tuple[str, list[Any]]:
        interface = message.body[0] if message.signature.startswith("s") else ""
        properties = self._properties.get(interface)
        if properties is None:
            raise Refused("UnknownInterface", f"there is no interface {interface}")
        self._check(interface)
        if message.member == "GetAll" and message.signature == "s":
            return "a{sv}", [{member: _value(found) for member, found in properties.items()}]
        if message.member == "Get" and message.signature == "ss":
            if (found := properties.get(message.body[1])) is None:
                raise Refused("UnknownProperty", f"{interface} has no property {message.body[1]}")
            return "v", [_value(found)]
        if message.member == "Set":
            raise Refused("AccessDenied", f"the properties of {interface} are read only; its methods change things")
        raise Refused("UnknownMethod", f"{PROPERTIES} has no method {message.member} ({message.signature})")

    def _introspect(self, path: str) -> str:
        if path == PATH:
            return self._xml
        parts, here = PATH.strip("/").split("/"), [part for part in path.split("/") if part]
        if here != parts[: len(here)] or len(here) >= len(parts):
            raise Refused("UnknownObject", f"there is no object {path}")
        top = ET.Element("node")
        ET.SubElement(top, "node", name=parts[len(here)])
        return ET.tostring(top, encoding="unicode")


# The contract


def joined(contracts: Sequence[Path]) -> str:
    """Returns one document with what all contracts have within their node; the rest is the first's."""
    parts = [contract.read_text().partition(_NODE) for contract in contracts]
    bodies = [rest.rpartition("</node>")[0] for _, _, rest in parts]
    return f"{parts[0][0] if parts else ''}{_NODE}{chr(10).join(bodies)}</node>\n"


def _members(interface: ET.Element, kind: str) -> dict[str, ET.Element]:
    return {member.attrib["name"]: member for member in interface.iter(kind)}


def _types(member: ET.Element, direction: str = "") -> list[str]:
    return [arg.attrib["type"] for arg in member.iter("arg") if arg.get("direction", "") == direction]


def _annotation(member: ET.Element, name: str) -> str:
    found = (note.attrib["value"] for note in member.iter("annotation") if note.attrib["name"] == name)
    return next(found, "")


def _method(member: ET.Element, handler: Handler) -> _Method:
    return _Method(
        name=member.attrib["name"],
        takes="".join(_types(member, "in")),
        returns=tuple(_types(member, "out")),
        action=_annotation(member, _ACTION),
        handler=handler,
        wants_caller="caller" in inspect.signature(handler).parameters,
    )


def _property(member: ET.Element, get: Getter) -> _Property:
    return _Property(member.attrib["type"], _annotation(member, _EMITS) == "invalidates", get)


def _value(found: _Property) -> Variant:
    return Variant(found.type, clean(found.get()))
