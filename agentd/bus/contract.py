"""The contract: what the XML files of the interfaces say of their members, and the one document made of them."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any
from xml.parsers import expat

from msgspec import Struct, field

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


class Member(Struct, frozen=True):
    """A member of an interface as its XML file has it: what it is (method, property or signal), the attributes of its
    element and of the arguments, and the annotations by their names."""

    kind: str
    attributes: Mapping[str, str]
    arguments: list[Mapping[str, str]] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The member's name."""
        return self.attributes["name"]

    def types(self, direction: str = "") -> list[str]:
        """Returns the types of the arguments, of a method those in one direction."""
        return [one["type"] for one in self.arguments if one.get("direction", "") == direction]


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
    name, found = _read(offer.contract)
    methods, properties, signals = (
        {one.name: one for one in found if one.kind == kind} for kind in ("method", "property", "signal")
    )
    compare(name, methods.keys() ^ offer.methods.keys(), properties.keys() ^ offer.properties.keys())
    if unguarded := [member for member, one in methods.items() if not one.notes.get(_ACTION)]:
        raise BusError(f"the D-Bus contract does not say who may call {', '.join(unguarded)}")
    return Interface(
        name=name,
        methods={member: _method(one, offer.methods[member]) for member, one in methods.items()},
        properties={member: _property(one, offer.properties[member]) for member, one in properties.items()},
        signals={member: "".join(one.types()) for member, one in signals.items()},
    )


def compare(name: str, *different: Iterable[str]) -> None:
    """Raises BusError where an interface has a member that is not in the contract, or the other way round."""
    where = name.removeprefix(f"{NAME}.")
    if found := ", ".join(f"{where}.{member}" for member in sorted(chain(*different))):
        raise BusError(f"the D-Bus contract and the daemon differ in {found}")


def wants_caller(handler: Handler) -> bool:
    """Returns whether a handler takes the Caller as well."""
    return "caller" in inspect.signature(handler).parameters


def members(contract: Path) -> tuple[list[str], list[str]]:
    """Returns the names of the methods and of the properties that a contract has."""
    _, found = _read(contract)
    methods, properties = ([one.name for one in found if one.kind == kind] for kind in ("method", "property"))
    return methods, properties


def _read(contract: Path) -> tuple[str, list[Member]]:
    """Returns the name of the interface in a contract, and its members.

    The parser is that of ElementTree, which is not loaded for a few attributes: 0.5 MiB.
    """
    names, found = list[str](), list[Member]()

    def begun(element: str, attributes: dict[str, str]) -> None:
        if element == "interface":
            names.append(attributes["name"])
        elif element == "arg":
            found[-1].arguments.append(attributes)
        elif element == "annotation":
            found[-1].notes[attributes["name"]] = attributes["value"]
        elif element != "node":
            found.append(Member(element, attributes))

    parser = expat.ParserCreate()
    parser.StartElementHandler = begun
    parser.Parse(contract.read_bytes(), True)
    (name,) = names
    return name, found


def joined(contracts: Sequence[Path], path: str = PATH) -> str:
    """Returns one document with what all contracts have within their node, which is that of the object at the path; the
    rest is the first's."""
    node = f'<node name="{path}">\n'
    parts = [contract.read_text().partition(node) for contract in contracts]
    bodies = [rest.rpartition("</node>")[0] for _, _, rest in parts]
    return f"{parts[0][0] if parts else ''}{node}{chr(10).join(bodies)}</node>\n"


def _method(member: Member, handler: Handler) -> Method:
    return Method(
        name=member.name,
        takes="".join(member.types("in")),
        returns=tuple(member.types("out")),
        action=member.notes[_ACTION],
        longest=int(member.notes.get(_LONGEST, _SHORT)),
        handler=handler,
        wants_caller=wants_caller(handler),
    )


def _property(member: Member, get: Getter) -> Property:
    return Property(member.attributes["type"], member.notes.get(_EMITS) == "invalidates", get)
