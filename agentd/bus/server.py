"""The daemon's own object on the bus: calls are checked against the contract, permitted, and dispatched. Another object
has another server.

dbus_next's ServiceInterface is not used: it sends tracebacks to callers, logs every refusal and hides the sender,
without which polkit cannot be asked for permission.
"""

import asyncio
import errno
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dbus_next.constants import NameFlag, RequestNameReply
from dbus_next.message import Message
from dbus_next.signature import Variant
from msgspec import Struct
from msgspec.structs import replace

from agentd.bus import writing
from agentd.bus.arguments import bounded, clean, shortened
from agentd.bus.connection import LARGEST, NAME, PATH, PROPERTIES, Bus, BusError, CallFailed
from agentd.bus.contract import FREE, Handler, Method, Offer, Property, interface_of, joined
from agentd.bus.places import Place, Places
from agentd.bus.reading import INTERACTIVE, NO_REPLY, Head, Unreadable, body
from agentd.core.part import Refused
from agentd.tasks import Tasks

_INTROSPECTABLE = "org.freedesktop.DBus.Introspectable"
_PEER = "org.freedesktop.DBus.Peer"
_MOMENT = 0.05  # seconds within which changes of properties are told together


class Caller(Struct, frozen=True):
    """A caller and its call. `sender` is the unique name on the bus, `action` the polkit action that the contract names
    for the member, `interactive` whether a person may be asked for a password, `who` the user, as they logged in: "" of
    a member that only reads, and where that is not known."""

    sender: str
    member: str
    action: str
    arguments: tuple[Any, ...]
    interactive: bool
    who: str = ""


Admit = Callable[[Caller], Awaitable[str]]
"""Returns who calls, "" where that is not known. Raises Refused AccessDenied when the caller may not do that."""


class Object(Struct, frozen=True, kw_only=True):
    """An object, and the name on the bus at which it is found. `asks`: a person may be asked for a password whether the
    call says so or not, for callers that never do."""

    name: str = NAME
    path: str = PATH
    asks: bool = False


_AGENTD = Object()


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
        admit: Admit | None = None,
        own: Object = _AGENTD,
    ) -> None:
        self._bus = bus
        self._own = own
        self._on_defect = on_defect
        self._admit = admit
        self._contracts = [offer.contract for offer in offers]
        self._names: dict[str, str] = {}  # the interfaces, by the last word of the name
        self._methods: dict[tuple[str, str], Method] = {}  # by interface and member
        self._properties: dict[str, dict[str, Property]] = {}  # by interface, by member
        self._signals: dict[tuple[str, str], str] = {}  # by interface and member: the types of the arguments
        self._changed: dict[str, set[str]] = {}
        self._refused: dict[str, str] = {}  # by interface: the reason why it was shut off
        self._tasks = Tasks(lambda error: on_defect("answering a call", error))
        self._places = Places(self._user)
        self._turn = asyncio.Lock()  # for answers that are long
        for offer in offers:
            self._add(offer)

    def _add(self, offer: Offer) -> None:
        found = interface_of(offer)
        self._names[found.name.rpartition(".")[2]] = found.name
        self._methods |= {(found.name, member): method for member, method in found.methods.items()}
        self._signals |= {(found.name, member): types for member, types in found.signals.items()}
        self._properties[found.name] = found.properties

    async def _user(self, sender: str) -> int:
        try:
            return int(await self._bus.call_bus("GetConnectionUnixUser", "s", sender))
        except CallFailed as error:
            raise Refused("AccessDenied", f"the bus does not know who asks: {error}") from None

    def beside(self, bus: Bus, offers: Sequence[Offer], own: Object) -> "Server":
        """Returns a server of another object, on a connection of its own. Its callers need permission as these do."""
        return Server(bus, offers, self._on_defect, self._admit, own)

    async def start(self, *, wait: bool = False) -> None:
        """Takes the name and answers from now on. Raises BusError, where another has the name as well, unless agentd is
        to `wait`: then the bus hands the name over when that one leaves it."""
        name, flags = self._own.name, 0 if wait else NameFlag.DO_NOT_QUEUE.value
        self._bus.serve(self._on_call)
        try:
            reply = await self._bus.call_bus("RequestName", "su", name, flags)
        except CallFailed as error:
            raise BusError(f"the bus does not let this user own {name}: {error}") from None
        if reply == RequestNameReply.EXISTS.value:
            raise BusError(f"another agentd owns {name} on this bus")

    def refuse(self, contract: Path, why: str) -> None:
        """Answers every call and every question for a property of an interface with PartFailed and a sentence."""
        self._refused[contract.stem] = why

    def emit(self, interface: str, member: str, *body: Any) -> None:
        """Sends a signal of the contract; `interface` is the last word of its name, as in "Jobs"."""
        name = self._names[interface]
        self._bus.send(
            Message.new_signal(self._own.path, name, member, self._signals[name, member], [*map(clean, body)])
        )

    def changed(self, *names: str) -> None:
        """Tells that properties ("Interface.Name") have new values: once for all that change within a moment."""
        if not self._changed:
            asyncio.get_running_loop().call_later(_MOMENT, self._tell_changes)
        for name in names:
            interface, _, member = name.rpartition(".")
            self._changed.setdefault(self._names[interface], set()).add(member)

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
            self._bus.send(Message.new_signal(self._own.path, PROPERTIES, "PropertiesChanged", "sa{sv}as", body))

    def _told(self, name: str, found: Property) -> Variant | None:
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

    def _on_call(self, head: Head, content: bytes | None) -> None:
        """Lets a call in, or refuses it at once. Nothing of its body was parsed yet."""
        try:
            method = self._meant(head, content)
            if head.flags & NO_REPLY and method.action == FREE:
                return  # a question whose answer nobody wants
            place = self._places.enter(head.sender)
        except Refused as refusal:
            self._refuse(head, refusal)
        else:
            self._tasks.do(self._answer(head, content or b"", method, place))

    def _meant(self, head: Head, content: bytes | None) -> Method:
        """Returns the method that a call means. Raises Refused also where the arguments cannot be the method's."""
        method = self._standard(head) or self._find(head)[1]
        if head.signature != method.takes:
            text = f"{method.name} takes ({method.takes}), it was called with ({head.signature})"
            raise Refused("InvalidArgument", text)
        if content is None:
            text = f"{method.name} was called with more than {LARGEST >> 10} KiB of arguments"
            raise Refused("LimitsExceeded", text)
        return method

    async def _answer(self, head: Head, content: bytes, method: Method, place: Place) -> None:
        texts: list[Any] = []
        data = None
        try:
            await self._places.seat(place)
            try:
                texts += body(head, content, stranger=True)
            except Unreadable as error:
                raise Refused("InvalidArgument", f"the arguments of {method.name} cannot be read: {error}") from None
            values = await self._call(head, method, tuple(texts))
            if not head.flags & NO_REPLY:
                signature, serial = "".join(method.returns), self._bus.next_serial()
                data = await writing.answer(serial, head.serial, head.sender, signature, values, self._turn)
        except Refused as refusal:
            self._refuse(head, refusal, texts)
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the caller gets an answer without insides
            self._failed(head, error)
        finally:
            if data is None:
                self._places.release(place)
            else:
                self._bus.write(data, head.sender, partial(self._places.release, place))

    def _failed(self, head: Head, error: Exception) -> None:
        """Answers that a member could not do what it was called for. No descriptor left is no defect of the member."""
        if isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}:
            text = f"{head.member} needs a file, and agentd can open no more; see LimitNOFILE= in systemd.exec(5)"
            self._refuse(head, Refused("LimitsExceeded", text))
            return
        self._on_defect(f"{head.interface}.{head.member}", error)
        text = f"{head.member} failed inside agentd; its log has the details (of the service: journalctl -u agentd)"
        self._refuse(head, Refused("Internal", text))

    def _refuse(self, head: Head, refusal: Refused, arguments: Sequence[Any] = ()) -> None:
        """Answers with an error, which repeats little of what the caller said."""
        if head.flags & NO_REPLY:
            return
        prefix = "org.freedesktop.DBus.Error" if refusal.name.startswith("Unknown") else f"{NAME}.Error"
        text = shortened(clean(str(refusal)), [head.path, head.interface, head.member, head.signature, *arguments])
        serial = self._bus.next_serial()
        data = writing.error(serial, head.serial, head.sender, f"{prefix}.{refusal.name}", text)
        self._bus.write(data, head.sender)

    async def _call(self, head: Head, method: Method, arguments: tuple[Any, ...]) -> list[Any]:
        """Calls the method; returns the values of the answer. Raises Refused."""
        bounded(arguments, method.longest)
        interactive = self._own.asks or bool(head.flags & INTERACTIVE)
        caller = Caller(head.sender, method.name, method.action, arguments, interactive)
        if self._admit is not None and method.action != FREE:
            caller = replace(caller, who=await self._admit(caller))
        result = method.handler(*arguments, caller=caller) if method.wants_caller else method.handler(*arguments)
        if asyncio.iscoroutine(result):
            result = await result
        if not method.returns:
            return []
        return list(result) if len(method.returns) > 1 else [result]

    def _check(self, interface: str) -> None:
        """Raises Refused PartFailed where the interface was shut off."""
        if interface in self._refused:
            raise Refused("PartFailed", self._refused[interface])

    def _find(self, head: Head) -> tuple[str, Method]:
        """Returns the method of the contract that a call names, and its interface. Raises Refused."""
        if head.path != self._own.path:
            raise Refused("UnknownObject", f"there is no object {head.path}; agentd's is {self._own.path}")
        # Without an interface, the last that has the member is meant: ListDecisions was that of Jobs before Manager's.
        interfaces = [head.interface] if head.interface else reversed(self._properties)
        for interface in interfaces:
            if (method := self._methods.get((interface, head.member))) is not None:
                self._check(interface)
                return interface, method
        raise Refused("UnknownMethod", f"{head.interface or head.path} has no method {head.member}")

    # The interfaces of every object

    def _standard(self, head: Head) -> Method | None:
        """Returns the method of one of D-Bus's own interfaces that a call names, None where it names none of those."""
        if (head.interface, head.member) == (_INTROSPECTABLE, "Introspect"):
            return _standard(head, "", "s", partial(self._introspect, head.path))
        if head.interface == _PEER:
            if head.member == "Ping":
                return _standard(head, "", "", _nothing)
            if head.member == "GetMachineId":
                return _standard(head, "", "s", self._machine_id)
        if head.interface != PROPERTIES or head.path != self._own.path:
            return None
        for member, takes, returns, handler in (
            ("Get", "ss", "v", self._get), ("GetAll", "s", "a{sv}", self._get_all), ("Set", "ssv", "", self._set)
        ):  # fmt: skip
            if (head.member, head.signature) == (member, takes):
                return _standard(head, takes, returns, handler)
        raise Refused("UnknownMethod", f"{PROPERTIES} has no method {head.member} ({head.signature})")

    def _properties_of(self, interface: str) -> dict[str, Property]:
        properties = self._properties.get(interface)
        if properties is None:
            raise Refused("UnknownInterface", f"there is no interface {interface}")
        self._check(interface)
        return properties

    def _get(self, interface: str, name: str) -> Variant:
        found = self._properties_of(interface).get(name)
        if found is None:
            raise Refused("UnknownProperty", f"{interface} has no property {name}")
        return _value(found)

    def _get_all(self, interface: str) -> dict[str, Variant]:
        return {member: _value(found) for member, found in self._properties_of(interface).items()}

    def _set(self, interface: str, _name: str, _to: object) -> None:
        self._properties_of(interface)
        raise Refused("AccessDenied", f"the properties of {interface} are read only; its methods change things")

    async def _machine_id(self) -> Any:
        bus = ("org.freedesktop.DBus", "/org/freedesktop/DBus", _PEER)
        return (await self._bus.call(bus, "GetMachineId"))[0]

    def _introspect(self, path: str) -> str:
        if path == self._own.path:
            return joined(self._contracts, path)
        parts, here = self._own.path.strip("/").split("/"), [part for part in path.split("/") if part]
        if here != parts[: len(here)] or len(here) >= len(parts):
            raise Refused("UnknownObject", f"there is no object {path}")
        return f'<node><node name="{parts[len(here)]}"/></node>'


def _standard(head: Head, takes: str, returns: str, handler: Handler) -> Method:
    """Returns a method of D-Bus's own, as if the contract had it: it changes nothing, and everybody may call it."""
    types = (returns,) if returns else ()
    return Method(head.member, takes, types, FREE, longest=255, handler=handler, wants_caller=False)


def _nothing() -> None:
    """Does nothing."""


def _value(found: Property) -> Variant:
    return Variant(found.type, clean(found.get()))
