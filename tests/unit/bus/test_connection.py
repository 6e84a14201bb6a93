"""The connection to the bus on a real dbus-daemon: whom it listens to, and what it takes back."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from dbus_next.errors import SignatureBodyMismatchError
from dbus_next.message import Message
from msgspec.structs import replace

from agentd.bus.connection import Bus, CallFailed, Undo
from agentd.bus.reading import head, sizes
from tests.unit.bus.conftest import RULES, connected

PEER = "org.example.Peer"
REMOTE = (PEER, "/org/example", "org.example.Peer")


def on_two(address: str, scenario: Callable[[Bus, Bus], Awaitable[None]]) -> None:
    """Runs a scenario with agentd's connection and a peer's, which owns PEER."""

    async def run() -> None:
        async with connected(address) as ours, connected(address) as theirs:
            await theirs.call_bus("RequestName", "su", PEER, 0)
            await scenario(ours, theirs)

    asyncio.run(run())


async def emitted(ours: Bus, theirs: Bus, text: str, path: str = REMOTE[1]) -> None:
    """The peer emits a signal; returns once whoever listens has heard it."""
    theirs.send(Message.new_signal(path, REMOTE[2], "Said", "s", [text]))
    await theirs.call_bus("GetId", "")  # the bus has passed the signal on
    await ours.call_bus("GetId", "")


def noted(bus: Bus) -> list[tuple[str, str]]:
    """The match rules that the connection asks for and takes back from now on, in their order."""
    found: list[tuple[str, str]] = []
    send = bus.send

    def noting(message: Message) -> None:
        if message.member in {"AddMatch", "RemoveMatch"}:
            found.append((message.member, message.body[0]))
        send(message)

    bus.send = noting  # type: ignore[method-assign] # a spy
    return found


def test_a_thousand_clients_are_followed_and_let_go_on_a_bus_that_allows_few_rules(address: str) -> None:
    async def scenario(ours: Bus, _: Bus) -> None:
        for number in range(1000):
            unfollow = await ours.follow(f":9.{number}", lambda _: None)
            unfollow()
        kept = [await ours.follow(f":8.{number}", lambda _: None) for number in range(RULES)]
        with pytest.raises(CallFailed, match="max_match_rules_per_connection"):
            await ours.follow(":8.8", lambda _: None)
        kept.pop()()
        kept.append(await ours.follow(":8.8", lambda _: None))
        assert (len(ours._rules), len(ours._owners)) == (RULES, RULES), "a rule or an owner was not forgotten"

    on_two(address, scenario)


def test_a_thousand_signals_are_watched_and_no_more_on_a_bus_that_allows_few_rules(address: str) -> None:
    async def scenario(ours: Bus, theirs: Bus) -> None:
        heard: list[str] = []
        for number in range(1000):
            unwatch = await ours.watch(REMOTE, f"Said{number}", lambda _: None)
            unwatch()
        await ours.watch(REMOTE, "Said", lambda arguments: heard.append(arguments[0]))
        await emitted(ours, theirs, "still heard")
        assert heard == ["still heard"]
        assert len(ours._listeners) == 2

    on_two(address, scenario)


def test_two_listeners_share_a_rule_and_the_last_takes_it_back(address: str) -> None:
    async def scenario(ours: Bus, theirs: Bus) -> None:
        rules = noted(ours)
        heard: list[str] = []
        first, second = await asyncio.gather(
            ours.watch(REMOTE, "Said", lambda arguments: heard.append(f"first {arguments[0]}")),
            ours.watch(REMOTE, "Said", lambda arguments: heard.append(f"second {arguments[0]}")),
        )
        assert [verb for verb, _ in rules] == ["AddMatch", "AddMatch"]  # the signal, and who owns the name
        assert len({rule for _, rule in rules}) == 2
        await emitted(ours, theirs, "a")
        first()
        first()  # again: nothing
        await emitted(ours, theirs, "b")
        assert len(rules) == 2, "a rule that somebody needs was taken back"
        second()
        await emitted(ours, theirs, "c")
        assert heard == ["first a", "second a", "second b"]
        added, removed = ({rule for verb, rule in rules if verb == wanted} for wanted in ("AddMatch", "RemoveMatch"))
        assert added == removed
        assert (len(rules), ours.owner(PEER), ours._listeners) == (4, "", {})

    on_two(address, scenario)


def test_a_listener_that_another_one_ended_does_not_hear_the_signal_under_way(address: str) -> None:
    async def scenario(ours: Bus, theirs: Bus) -> None:
        heard: list[str] = []
        undo: list[Undo] = []

        def once(arguments: list[Any]) -> None:
            heard.append(arguments[0])
            for one in undo:
                one()

        await ours.watch(REMOTE, "Other", lambda _: None)  # so that the owner of the name stays known
        undo += [await ours.watch(REMOTE, "Said", once), await ours.watch(REMOTE, "Said", once)]
        await emitted(ours, theirs, "a")
        await emitted(ours, theirs, "b")
        assert heard == ["a"]

    on_two(address, scenario)


def test_only_the_owner_of_the_name_is_heard_and_only_from_the_object_that_is_watched(address: str) -> None:
    async def scenario(ours: Bus, theirs: Bus) -> None:
        heard: list[str] = []
        await ours.watch(REMOTE, "Said", lambda arguments: heard.append(arguments[0]))
        await ours.watch((PEER, "/other", REMOTE[2]), "Said", lambda arguments: heard.append(f"other {arguments[0]}"))
        await emitted(ours, theirs, "theirs")
        await emitted(ours, theirs, "theirs", "/other")
        async with connected(address) as stranger:
            signal = Message.new_signal(REMOTE[1], REMOTE[2], "Said", "s", ["a stranger's"])
            signal.destination = unique_name(ours)
            stranger.send(signal)
            await stranger.call_bus("GetId", "")
            await ours.call_bus("GetId", "")
        assert heard == ["theirs", "other theirs"]

    on_two(address, scenario)


def unique_name(bus: Bus) -> str:
    assert bus._bus is not None
    return str(bus._bus.unique_name)


def test_a_client_that_leaves_is_told_once_also_where_it_left_before(address: str) -> None:
    async def scenario(ours: Bus, _: Bus) -> None:
        told: list[str] = []
        async with connected(address) as client:
            name = unique_name(client)
            unfollow = await ours.follow(name, told.append)
            assert ours.owner(name) == name
        while not told:
            await ours.call_bus("GetId", "")
        assert (told, ours.owner(name)) == ([""], "")
        unfollow()
        await ours.follow(name, told.append)
        assert (told, ours.owner(name)) == ([""], ""), "a client that is gone has an owner"

    on_two(address, scenario)


def test_a_change_that_comes_with_the_answer_to_who_owns_the_name_counts() -> None:
    class Answering(Bus):
        """Answers as the bus does, with a change on the heels of the answer."""

        async def call_bus(self, member: str, *_: Any) -> Any:
            if member == "GetNameOwner":
                said = Message.new_signal(
                    *("/org/freedesktop/DBus", "org.freedesktop.DBus", "NameOwnerChanged", "sss", [PEER, ":1.7", ""])
                )
                data = bytearray(self.packed(said))
                whole, header = sizes(data, 0)
                heard = replace(head(data, 0, header), sender="org.freedesktop.DBus")
                assert self._wants(heard)
                self._got(heard, bytes(data[header:whole]), [])
            return ":1.7"

    async def scenario() -> None:
        bus, told = Answering(), list[str]()
        await bus.follow(PEER, told.append)
        assert (told, bus.owner(PEER)) == ([""], "")

    asyncio.run(scenario())


def test_what_cannot_be_followed_leaves_nothing_behind(address: str) -> None:
    async def scenario(ours: Bus, _: Bus) -> None:
        rules = noted(ours)
        with pytest.raises(CallFailed, match="match rule"):
            await ours.follow("not a 'name", lambda _: None)
        with pytest.raises(CallFailed, match="invalid"):
            await ours.watch((PEER, "no path", REMOTE[2]), "Said", lambda _: None)
        assert (ours._listeners, ours._rules, ours._owners) == ({}, {}, {})
        assert [verb for verb, _ in rules].count("RemoveMatch") >= 2

    on_two(address, scenario)


def test_to_listen_no_more_on_a_bus_that_is_lost_is_no_error(address: str) -> None:
    async def scenario(ours: Bus, _: Bus) -> None:
        undo = [await ours.follow(":9.9", lambda _: None), await ours.watch(REMOTE, "Said", lambda _: None)]
        ours.close()
        await ours.lost()
        for one in undo:
            one()
        assert ours._bus is not None
        assert (ours._listeners, ours._rules, len(ours._bus._outbox)) == ({}, {}, 0)
        with pytest.raises(CallFailed, match="lost"):
            await ours.follow(":9.9", lambda _: None)

    on_two(address, scenario)


def test_a_defect_in_a_listener_keeps_no_other_from_hearing(address: str) -> None:
    async def scenario(ours: Bus, theirs: Bus) -> None:
        heard: list[str] = []
        defects: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: defects.append(context))

        def broken(_: list[Any]) -> None:
            raise ZeroDivisionError

        await ours.watch(REMOTE, "Said", broken)
        await ours.watch(REMOTE, "Said", lambda arguments: heard.append(arguments[0]))
        await emitted(ours, theirs, "a")
        assert heard == ["a"]
        assert [(context["message"], type(context["exception"])) for context in defects] == [
            ("a defect in a listener to Said", ZeroDivisionError)
        ]

    on_two(address, scenario)


def test_a_message_that_cannot_be_written_keeps_no_other_back(address: str) -> None:
    async def scenario(ours: Bus, _: Bus) -> None:
        defects: list[str] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: defects.append(context["message"]))
        ours.send(Message.new_signal("/a", "a.b", "Broken", "s", [1]))
        with pytest.raises(SignatureBodyMismatchError):
            await ours.call_bus("GetNameOwner", "s", 1)
        assert await ours.call_bus("GetId", "")
        assert defects == ["a defect in sending Broken"]

    on_two(address, scenario)
