"""The contract: what the XML files of the interfaces say of their members, and the one document made of them."""

import inspect
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from agentd.bus.connection import NAME, PATH, BusError

FREE = "none"
"""The polkit action of what everybody may call: it only reads."""
_ACTION = f"{NAME}.PolkitAction"  # the annotation that names what a caller needs
_LONGEST = f"{NAME}.LongestText"  # the annotation of how many characters a caller's texts may have
_SHORT = "120"  # the name of a job has up to 100, a run's id its number more
_EMITS = "org.freedesktop.DBus.Property.EmitsChangedSignal"

Handler = Callable[..., Any]
"""Takes a method's arguments, and the Caller where it has a parameter `caller`; returns what the contract says, several
values as a tuple, or is a coroutine function that does."""
Getter = Callable[[], Any]
"""Returns a property's value; raises Refused where there is none to be had."""


class Offer(Struct, frozen=True):
    """An interface and what answers for its members, by their names. `contract` is the XML file of the interface."""

    contract: Path
    methods: Mapping[str, Handler]
    properties: Mapping[str, Getter]


class Method(Struct, frozen=True):
    """A method: the types that it takes and returns, the polkit action that a caller needs, and how many characters a
    text of a caller's may have."""

    name: str
    takes: str
    returns: tuple[str, ...]
    action: str
    longest: int
    handler: Handler
    wants_caller: bool


class Property(Struct, frozen=True):
    """A property and its type."""

    type: str
    only_announced: bool
    """Whether a change is signalled without the value."""
    get: Getter


class Interface(Struct, frozen=True):
    """An interface: its members by their names, of signals the types of the arguments."""

    name: str
    methods: dict[str, Method]
    properties: dict[str, Property]
    signals: dict[str, str]


def interface_of(offer: Offer) -> Interface:
    """Returns the interface of an offer.

    Raises BusError when the contract has a member without a handler or the other way round, or does not say who may
    call a method.
    """
    (found,) = ET.parse(offer.contract).getroot().iter("interface")  # noqa: S314 - our own file
    name = found.attrib["name"]
    methods, properties, signals = (_members(found, kind) for kind in ("method", "property", "signal"))
    different = (methods.keys() ^ offer.methods.keys()) | (properties.keys() ^ offer.properties.keys())
    if different:
        where = name.removeprefix(f"{NAME}.")
        members = ", ".join(f"{where}.{member}" for member in sorted(different))
        raise BusError(f"the D-Bus contract and the daemon differ in {members}")
    if unguarded := [member for member, element in methods.items() if not _annotation(element, _ACTION)]:
        raise BusError(f"the D-Bus contract does not say who may call {', '.join(unguarded)}")
    return Interface(
        name=name,
        methods={member: _method(element, offer.methods[member]) for member, element in methods.items()},
        properties={member: _property(element, offer.properties[member]) for member, element in properties.items()},
        signals={member: "".join(_types(element)) for member, element in signals.items()},
    )


def joined(contracts: Sequence[Path], path: str = PATH) -> str:
    """Returns one document with what all contracts have within their node, which is that of the object at the path; the
    rest is the first's."""
    node = f'<node name="{path}">\n'
    parts = [contract.read_text().partition(node) for contract in contracts]
    bodies = [rest.rpartition("</node>")[0] for _, _, rest in parts]
    return f"{parts[0][0] if parts else ''}{node}{chr(10).join(bodies)}</node>\n"


def _members(interface: ET.Element, kind: str) -> dict[str, ET.Element]:
    return {member.attrib["name"]: member for member in interface.iter(kind)}


def _types(member: ET.Element, direction: str = "") -> list[str]:
    return [arg.attrib["type"] for arg in member.iter("arg") if arg.get("direction", "") == direction]


def _annotation(member: ET.Element, name: str) -> str:
    found = (note.attrib["value"] for note in member.iter("annotation") if note.attrib["name"] == name)
    return next(found, "")


def _method(member: ET.Element, handler: Handler) -> Method:
    return Method(
        name=member.attrib["name"],
        takes="".join(_types(member, "in")),
        returns=tuple(_types(member, "out")),
        action=_annotation(member, _ACTION),
        longest=int(_annotation(member, _LONGEST) or _SHORT),
        handler=handler,
        wants_caller="caller" in inspect.signature(handler).parameters,
    )


def _property(member: ET.Element, get: Getter) -> Property:
    return Property(member.attrib["type"], _annotation(member, _EMITS) == "invalidates", get)
