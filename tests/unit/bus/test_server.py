"""The server on a real bus: the contract is joined and checked, callers are passed on, failing properties are told."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from dbus_next.message import Message

from agentd.bus.connection import NAME, PATH, PROPERTIES, Bus, BusError, CallFailed, plain
from agentd.bus.contract import Offer, joined
from agentd.bus.reading import head, sizes
from agentd.bus.server import Admit, Caller, Object, Server
from agentd.core.part import Refused
from tests.unit.bus.conftest import connected

ROOT = Path(__file__).parents[3]
DOCTYPE = '<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN" "introspect.dtd">\n'
ONE = """  <interface name="org.agentd1.One">
    <property name="Good" type="s" access="read"/>
    <property name="Bad" type="s" access="read"/>
    <property name="Wrong" type="s" access="read"/>
    <property name="Off" type="s" access="read"/>
    <property name="Many" type="as" access="read">
      <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="invalidates"/>
    </property>
    <!-- Says who calls. -->
    <method name="Who">
      <annotation name="org.agentd1.PolkitAction" value="org.agentd1.ask"/>
      <arg name="text" type="s" direction="in"/>
      <arg name="sender" type="s" direction="out"/>
      <arg name="member" type="s" direction="out"/>
    </method>
    <method name="List">
      <annotation name="org.agentd1.PolkitAction" value="org.agentd1.one"/>
      <arg name="found" type="s" direction="out"/>
    </method>
    <signal name="Said"><arg name="text" type="s"/><arg name="number" type="u"/></signal>
  </interface>
"""
TWO = """  <!-- Introduces Two. -->
  <interface name="org.agentd1.Two">
    <property name="Good" type="u" access="read"/>
    <method name="List">
      <annotation name="org.agentd1.PolkitAction" value="none"/>
      <arg name="found" type="s" direction="out"/>
    </method>
  </interface>
"""


def contract(folder: Path, name: str, interface: str, head: str = "") -> Path:
    file = folder / f"{NAME}.{name}.xml"
    file.write_text(f'{DOCTYPE}{head}<node name="/org/agentd1">\n{interface}</node>\n')
    return file


def fail() -> str:
    raise ZeroDivisionError


def off() -> str:
    raise Refused("PartFailed", "the part was shut off")


async def who(text: str, caller: Caller) -> tuple[str, str]:
    assert caller.arguments == (text,)
    return caller.sender, f"{caller.member} {caller.action} {caller.interactive}"


def offers(folder: Path, **methods: Any) -> list[Offer]:
    properties = {"Good": lambda: "fine", "Bad": fail, "Wrong": lambda: 1, "Off": off, "Many": lambda: ["a"]}
    return [
        Offer(
            contract(folder, "One", ONE, "<!-- Holds for all. -->\n"),
            {"Who": who, "List": lambda: "one", **methods},
            properties,
        ),
        Offer(contract(folder, "Two", TWO), {"List": lambda: "two"}, {"Good": lambda: 2}),
    ]


def serve(
    address: str,
    given: list[Offer],
    scenario: Callable[[Server, Bus], Awaitable[None]],
    admit: Admit | None = None,
) -> list[str]:
    """Runs a scenario with a server and a client's connection; returns the defects that were told."""
    defects: list[str] = []

    async def run() -> None:
        async with connected(address) as ours, connected(address) as client:
            server = Server(ours, given, lambda where, error: defects.append(f"{where}: {type(error).__name__}"), admit)
            await server.start()
            await scenario(server, client)

    asyncio.run(run())
    return defects


def one(member: str = "One") -> tuple[str, str, str]:
    return NAME, PATH, f"{NAME}.{member}"


# The contract


def test_the_contracts_are_introspected_as_one_document_with_their_comments(address: str, tmp_path: Path) -> None:
    async def scenario(_: Server, client: Bus) -> None:
        (shown,) = await client.call((NAME, PATH, "org.freedesktop.DBus.Introspectable"), "Introspect")
        head = f'{DOCTYPE}<!-- Holds for all. -->\n<node name="/org/agentd1">\n'
        assert shown == f"{head}{ONE}\n{TWO}</node>\n"
        assert [interface.get("name") for interface in ET.fromstring(shown)] == ["org.agentd1.One", "org.agentd1.Two"]
        (parent,) = await client.call((NAME, "/org", "org.freedesktop.DBus.Introspectable"), "Introspect")
        assert 'name="agentd1"' in parent

    assert serve(address, offers(tmp_path), scenario) == []


def test_each_part_has_its_interface_in_its_own_file() -> None:
    files = sorted((ROOT / "agentd").glob("*/org.agentd1.*.xml"))
    assert [file.parent.name for file in files[:5]] == ["daemon", "jobs", "learning", "notices", "reboots"]
    for file in files:
        (interface,) = ET.parse(file).getroot()
        assert file.name == f"{interface.get('name')}.xml"
    assert len(ET.fromstring(joined(files))) == len(files)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"methods": {"Who": who}}, "differ in One.List$"),
        ({"methods": {"Who": who, "List": str, "More": str}}, "differ in One.More$"),
        ({"properties": {}}, "differ in One.Bad, One.Good, One.Many, One.Off, One.Wrong$"),
        ({"properties": {"Good": str, "Bad": str, "Wrong": str, "Off": str, "Many": str, "List": str}}, "One.List$"),
        ({"text": ONE.replace("org.agentd1.PolkitAction", "org.agentd1.Other", 1)}, "does not say who may call Who$"),
    ],
)
def test_a_contract_and_handlers_that_differ_are_refused_at_the_start(
    change: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    (given, _) = offers(tmp_path)
    file = contract(tmp_path, "One", change.get("text", ONE))
    different = Offer(file, change.get("methods", given.methods), change.get("properties", given.properties))
    with pytest.raises(BusError, match=sentence):
        Server(Bus(), [different], lambda *_: None)


# Calls


def test_two_interfaces_may_have_a_method_of_the_same_name_with_permissions_of_their_own(
    address: str, tmp_path: Path
) -> None:
    asked: list[Caller] = []

    async def admit(caller: Caller) -> str:
        asked.append(caller)
        if caller.action == "org.agentd1.one":
            raise Refused("AccessDenied", "not that one")
        return ""

    async def scenario(_: Server, client: Bus) -> None:
        assert await client.call(one("Two"), "List") == ["two"]
        with pytest.raises(CallFailed, match="not that one") as refused:
            await client.call(one(), "List")
        assert refused.value.name == "org.agentd1.Error.AccessDenied"

    assert serve(address, offers(tmp_path), scenario, admit) == []
    assert [(caller.member, caller.action) for caller in asked] == [("List", "org.agentd1.one")]


def test_a_handler_that_asks_for_the_caller_gets_it_also_when_it_is_wrapped(address: str, tmp_path: Path) -> None:
    @functools.wraps(who)
    async def wrapped(*arguments: Any, **more: Any) -> Any:
        return await who(*arguments, **more)

    async def scenario(_: Server, client: Bus) -> None:
        assert client._bus is not None
        said = await client.call(one(), "Who", "s", "a text")
        assert said == [client._bus.unique_name, "Who org.agentd1.ask False"]

    for handler in (who, wrapped):
        assert serve(address, offers(tmp_path, Who=handler), scenario) == []


def test_a_call_without_an_interface_means_the_last_that_has_the_member(address: str, tmp_path: Path) -> None:
    async def scenario(server: Server, _: Bus) -> None:
        calls = [Message(NAME, PATH, member="List", serial=1), Message(NAME, PATH, f"{NAME}.One", "List", serial=1)]
        found = []
        for message in calls:
            data = bytearray(message._marshall())  # type: ignore[no-untyped-call] # the library's
            found.append(server._find(head(data, 0, sizes(data, 0)[1]))[0])
        assert found == [f"{NAME}.Two", f"{NAME}.One"]

    assert serve(address, offers(tmp_path), scenario) == []


def test_what_goes_wrong_in_a_call_is_an_error_without_insides(address: str, tmp_path: Path) -> None:
    async def scenario(_: Server, client: Bus) -> None:
        for call, name, text in (
            ((one(), "List"), "org.agentd1.Error.Internal", "List failed inside agentd; its log has the details"),
            ((one(), "Who", "u", 1), "org.agentd1.Error.InvalidArgument", r"Who takes \(s\), it was called with \(u\)"),
            ((one(), "More"), "org.freedesktop.DBus.Error.UnknownMethod", "org.agentd1.One has no method More"),
            (((NAME, "/other", NAME), "List"), "org.freedesktop.DBus.Error.UnknownObject", "no object /other"),
        ):
            with pytest.raises(CallFailed, match=text) as failed:
                await client.call(*call)
            assert failed.value.name == name

    assert serve(address, offers(tmp_path, List=fail), scenario) == ["org.agentd1.One.List: ZeroDivisionError"]


# Properties


def test_a_property_that_is_refused_is_that_error_for_whoever_asks(address: str, tmp_path: Path) -> None:
    async def scenario(_: Server, client: Bus) -> None:
        assert await client.get(one(), "Good") == "fine"
        assert await client.call((NAME, PATH, PROPERTIES), "GetAll", "s", "org.agentd1.Two") == [{"Good": 2}]
        with pytest.raises(CallFailed, match="the part was shut off") as refused:
            await client.get(one(), "Off")
        assert refused.value.name == "org.agentd1.Error.PartFailed"
        for name in ("Bad", "Wrong"):
            with pytest.raises(CallFailed, match="Get failed inside agentd"):
                await client.get(one(), name)

    defects = serve(address, offers(tmp_path), scenario)
    assert [defect.partition(":")[0] for defect in defects] == ["org.freedesktop.DBus.Properties.Get"] * 2


def test_all_properties_of_a_part_that_was_shut_off_are_its_error(address: str, tmp_path: Path) -> None:
    given = offers(tmp_path)
    given[1] = Offer(given[1].contract, given[1].methods, {"Good": off})

    async def scenario(_: Server, client: Bus) -> None:
        with pytest.raises(CallFailed, match="the part was shut off") as refused:
            await client.call((NAME, PATH, PROPERTIES), "GetAll", "s", "org.agentd1.Two")
        assert refused.value.name == "org.agentd1.Error.PartFailed"

    assert serve(address, given, scenario) == []


def test_a_property_that_fails_keeps_no_other_change_from_being_told(address: str, tmp_path: Path) -> None:
    heard: list[list[Any]] = []

    async def scenario(server: Server, client: Bus) -> None:
        both = asyncio.Event()

        def changed(arguments: list[Any]) -> None:
            heard.append(arguments)
            if len(heard) == 2:
                both.set()

        await client.watch((NAME, PATH, PROPERTIES), "PropertiesChanged", changed)
        server.changed("One.Bad", "One.Good", "Two.Good")
        server.changed("One.Wrong", "One.Off", "One.Many", "One.Good")
        await asyncio.wait_for(both.wait(), 10)

    defects = serve(address, offers(tmp_path), scenario)
    assert heard == [
        ["org.agentd1.One", {"Good": "fine"}, ["Bad", "Wrong", "Off", "Many"]],
        ["org.agentd1.Two", {"Good": 2}, []],
    ]
    assert [defect.partition(":")[0] for defect in defects] == ["org.agentd1.One.Bad", "org.agentd1.One.Wrong"]


def test_a_signal_has_the_types_of_the_contract(tmp_path: Path) -> None:
    sent: list[Message] = []

    class Silent(Bus):
        def send(self, message: Message) -> None:
            sent.append(message)

    Server(Silent(), offers(tmp_path), lambda *_: None).emit("One", "Said", "a\0b", 3)
    (signal,) = sent
    assert (signal.interface, signal.member, signal.signature) == ("org.agentd1.One", "Said", "su")
    assert plain(signal.body) == ["a\ufffdb", 3]


# Other objects

OTHER = Object(name="org.else.Three", path="/org/else/Three", asks=True)


def other(folder: Path) -> Offer:
    interface = """  <interface name="org.else.Three">
    <property name="Now" type="s" access="read"/>
    <method name="Who">
      <annotation name="org.agentd1.PolkitAction" value="org.agentd1.ask"/>
      <arg name="text" type="s" direction="in"/>
      <arg name="sender" type="s" direction="out"/>
      <arg name="member" type="s" direction="out"/>
    </method>
  </interface>
"""
    file = folder / "org.else.Three.xml"
    file.write_text(f'{DOCTYPE}<node name="/org/else/Three">\n{interface}</node>\n')
    return Offer(file, {"Who": who}, {"Now": lambda: "now"})


def three(interface: str = "org.else.Three") -> tuple[str, str, str]:
    return OTHER.name, OTHER.path, interface


def test_another_object_has_a_name_a_path_and_a_connection_of_its_own(address: str, tmp_path: Path) -> None:
    async def scenario(server: Server, client: Bus) -> None:
        async with connected(address) as bus:
            second = server.beside(bus, [other(tmp_path)], OTHER)
            await second.start()
            assert await client.call_bus("GetNameOwner", "s", OTHER.name) == bus.unique_name
            assert await client.call_bus("GetNameOwner", "s", NAME) == server._bus.unique_name != bus.unique_name
            (shown,) = await client.call(three("org.freedesktop.DBus.Introspectable"), "Introspect")
            assert [found.get("name") for found in ET.fromstring(shown)] == ["org.else.Three"]
            told: list[Any] = []
            await client.watch(three(PROPERTIES), "PropertiesChanged", told.append)
            second.changed("Three.Now")
            while not told:
                await asyncio.sleep(0.01)
            assert plain(told) == [["org.else.Three", {"Now": "now"}, []]]
            for name, path, missing in ((OTHER.name, PATH, OTHER.path), (NAME, OTHER.path, PATH)):
                with pytest.raises(CallFailed, match=f"there is no object {path}; agentd's is {missing}"):
                    await client.call((name, path, "org.else.Three"), "Who", "s", "x")

    assert serve(address, offers(tmp_path), scenario) == []


def test_callers_of_another_object_need_permission_too_and_may_be_asked_for_a_password(
    address: str, tmp_path: Path
) -> None:
    asked: list[Caller] = []

    async def admit(caller: Caller) -> str:
        asked.append(caller)
        raise Refused("AccessDenied", "not that one")

    async def scenario(server: Server, client: Bus) -> None:
        async with connected(address) as bus:
            await server.beside(bus, [other(tmp_path)], OTHER).start()
            with pytest.raises(CallFailed, match="not that one") as refused:
                await client.call(three(), "Who", "s", "x")
            assert refused.value.name == "org.agentd1.Error.AccessDenied"

    assert serve(address, offers(tmp_path), scenario, admit) == []
    assert [(caller.action, caller.interactive) for caller in asked] == [("org.agentd1.ask", True)]


def test_a_server_that_waits_for_its_name_gets_it_when_the_other_leaves(address: str, tmp_path: Path) -> None:
    async def scenario(server: Server, client: Bus) -> None:
        async with connected(address) as second:
            async with connected(address) as first:
                await first.call_bus("RequestName", "su", OTHER.name, 0)
                with pytest.raises(BusError, match=r"another agentd owns org\.else\.Three"):
                    await server.beside(second, [other(tmp_path)], OTHER).start()
                await server.beside(second, [other(tmp_path)], OTHER).start(wait=True)
                assert await client.call_bus("GetNameOwner", "s", OTHER.name) == first.unique_name
            while await client.call_bus("GetNameOwner", "s", OTHER.name) != second.unique_name:
                await asyncio.sleep(0.01)

    assert serve(address, offers(tmp_path), scenario) == []
