"""The rule of places: no caller keeps the others waiting, and nobody keeps root waiting."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.bus.places import OF_ALL, OF_CONNECTION, OF_OTHERS, OF_USER, Place, Places
from agentd.core.part import Refused


def user_of(sender: str) -> int:
    return int(sender.partition("/")[0])


async def told(sender: str) -> int:
    await asyncio.sleep(0)
    return user_of(sender)


async def taken(places: Places, sender: str) -> Place | None:
    """A call of a connection such as "1000/3", with its place; None where it is refused."""
    place = None
    try:
        place = places.enter(sender)
        await places.seat(place)
    except Refused as refused:
        if place is not None:
            places.release(place)
        if refused.name != "LimitsExceeded":
            raise
        return None
    return place


def run(scenario: Callable[[Places], Awaitable[None]], ask: Callable[[str], Awaitable[int]] = told) -> None:
    async def within() -> None:
        await scenario(Places(ask))

    asyncio.run(within())


def test_a_connection_has_eight_and_a_user_thirty_two() -> None:
    async def scenario(places: Places) -> None:
        first = [await taken(places, "1000/1") for _ in range(OF_CONNECTION)]
        assert None not in first
        assert await taken(places, "1000/1") is None
        more = [await taken(places, f"1000/{number}") for number in range(2, 200)]
        assert len([place for place in (*first, *more) if place]) == OF_USER
        assert first[0] is not None
        places.release(first[0])
        assert await taken(places, "1000/1") is not None

    run(scenario)


def test_however_many_users_ask_root_has_places_left() -> None:
    async def scenario(places: Places) -> None:
        held = [await taken(places, f"{user}/{number}") for user in range(1000, 1010) for number in range(256)]
        assert len([place for place in held if place]) == OF_OTHERS
        root = [await taken(places, f"0/{number}") for number in range(100)]
        assert len([place for place in root if place]) == OF_ALL - OF_OTHERS

    run(scenario)


def test_whose_a_connection_is_is_asked_once_and_few_questions_are_open() -> None:
    asked: Counter[str] = Counter()
    open_questions = most = 0

    async def ask(sender: str) -> int:
        nonlocal open_questions, most
        asked[sender] += 1
        open_questions += 1
        most = max(most, open_questions)
        await asyncio.sleep(0.001)
        open_questions -= 1
        return user_of(sender)

    async def scenario(places: Places) -> None:
        senders = [f"{1000 + number}/1" for number in range(40)]
        held = await asyncio.gather(*(taken(places, sender) for sender in senders * 3))
        assert len([place for place in held if place]) == OF_OTHERS
        assert await taken(places, senders[0]) is None
        assert set(asked.values()) == {1}
        assert most == 8

    run(scenario, ask)


def test_a_connection_that_the_bus_does_not_know_leaves_nothing_behind() -> None:
    async def unknown(sender: str) -> int:
        raise Refused("AccessDenied", sender)

    async def scenario(places: Places) -> None:
        for _ in range(1000):
            place = places.enter(":1.5")
            with pytest.raises(Refused, match=r":1\.5"):
                await places.seat(place)
            places.release(place)
        assert (places._calls, places._taken, places._users, places._questions) == ({}, {}, {}, {})
        assert places._newcomers == 0

    run(scenario, unknown)


def test_newcomers_are_few_and_users_are_not_remembered_for_ever() -> None:
    async def never(_: str) -> int:
        await asyncio.sleep(3600)
        return 0

    async def scenario(places: Places) -> None:
        for number in range(256):
            places.enter(f"1000/{number}")
        with pytest.raises(Refused, match="256 calls of new connections are under way"):
            places.enter("1000/256")

    run(scenario, never)

    async def many(places: Places) -> None:
        for number in range(5000):
            place = await taken(places, f"1000/{number}")
            assert place is not None
            places.release(place)
        assert len(places._users) <= 1024

    run(many)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6), st.booleans()), max_size=300))
def test_the_rule_holds_whoever_comes_and_goes(steps: list[tuple[int, int, bool]]) -> None:
    async def scenario(places: Places) -> None:
        held: list[Place] = []
        for user, number, leaves in steps:
            sender = f"{user}/{number}"
            if leaves and held:
                places.release(held.pop(0))
                continue
            place = await taken(places, sender)
            users = Counter(user_of(one.sender) for one in held)
            full = (
                Counter(one.sender for one in held)[sender] >= OF_CONNECTION
                or (user != 0 and users[user] >= OF_USER)
                or len(held) >= (OF_ALL if user == 0 else OF_OTHERS)
            )
            assert (place is None) == full
            held += [] if place is None else [place]

    run(scenario)
