"""Places for calls: how many calls a caller may have under way, so that nobody keeps the others waiting.

The rule, which stands here and nowhere else:

- a connection has at most 8 calls under way; the calls of all connections of a user take at most 32 places;
- there are 64 places; 16 of them are root's, so that whoever else asks leaves root room to look and to act;
- a call beyond that is refused at once (LimitsExceeded); a call keeps its place until its answer is with the bus;
- whose a connection is, the bus says, once for a connection; calls that wait for that have no place yet, and are at
  most 256. At most 8 such questions are open, so that agentd's own calls do not queue behind them.

Alone on its private bus agentd has one user, whose clients share the 32 places.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

from agentd.core.part import Refused

OF_CONNECTION = 8
OF_USER = 32
OF_OTHERS = 48
OF_ALL = 64
_NEWCOMERS = 256
_QUESTIONS = 8
_REMEMBERED = 1024  # connections whose users are known
_ROOT = 0
_Key = TypeVar("_Key", str, int)


class Place:
    """A call that is under way. `user` is None until the call has a place."""

    __slots__ = ("sender", "user")

    def __init__(self, sender: str) -> None:
        self.sender = sender
        self.user: int | None = None


class Places:
    """The places. `ask` returns the user of a connection, and raises Refused where the bus does not know it."""

    def __init__(self, ask: Callable[[str], Awaitable[int]]) -> None:
        self._ask = ask
        self._calls: Counter[str] = Counter()  # by connection
        self._taken: Counter[int] = Counter()  # places, by user
        self._users: dict[str, int] = {}
        self._newcomers = 0  # calls of connections whose users are not known yet
        self._questions: dict[str, asyncio.Future[int]] = {}
        self._room = asyncio.Semaphore(_QUESTIONS)

    def enter(self, sender: str) -> Place:
        """Lets a call of a connection in: with a place, unless its user is not known yet; release() ends that.

        Raises Refused LimitsExceeded.
        """
        if self._calls[sender] >= OF_CONNECTION:
            raise _full(f"{OF_CONNECTION} calls of this connection")
        place, user = Place(sender), self._users.get(sender)
        if user is not None:
            self._take(place, user)
        elif self._newcomers >= _NEWCOMERS:
            raise _full(f"{_NEWCOMERS} calls of new connections")
        else:
            self._newcomers += 1
        self._calls[sender] += 1
        return place

    async def seat(self, place: Place) -> None:
        """Sees to it that a call that was let in has a place; is called once.

        Raises Refused LimitsExceeded, and what asking for the user raises.
        """
        if place.user is not None:
            return
        try:
            user = await self._user(place.sender)
        finally:
            self._newcomers -= 1
        self._take(place, user)

    def release(self, place: Place) -> None:
        """Ends a call that was let in."""
        _less(self._calls, place.sender)
        if place.user is not None:
            _less(self._taken, place.user)

    def _take(self, place: Place, user: int) -> None:
        if user != _ROOT and self._taken[user] >= OF_USER:
            raise _full(f"{OF_USER} calls of this user")
        if self._taken.total() >= (OF_ALL if user == _ROOT else OF_OTHERS):
            raise _full("as many calls as agentd answers at a time")
        self._taken[user] += 1
        place.user = user

    async def _user(self, sender: str) -> int:
        """Returns the user of a connection, asked of the bus once for all its calls."""
        if (known := self._users.get(sender)) is not None:
            return known
        question = self._questions.get(sender)
        if question is None:
            question = self._questions[sender] = asyncio.ensure_future(self._learn(sender))
        return await asyncio.shield(question)

    async def _learn(self, sender: str) -> int:
        try:
            async with self._room:
                user = await self._ask(sender)
        finally:
            del self._questions[sender]
        if len(self._users) >= _REMEMBERED:
            del self._users[next(iter(self._users))]
        self._users[sender] = user
        return user


def _less(counter: Counter[_Key], key: _Key) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]


def _full(what: str) -> Refused:
    return Refused("LimitsExceeded", f"{what} are under way; wait for their answers")
