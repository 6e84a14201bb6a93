"""Messages that wait to be written, in the order in which the bus is to have them."""

from collections.abc import Callable
from heapq import heappop, heappush

AHEAD = 16 << 10
"""Bytes for one peer that go before what is written later for others."""

Done = Callable[[], None]
"""Hears that the bus has a message."""


class Outbox:
    """A line of messages, in which nobody's answer queues behind a megabyte for somebody who floods.

    Messages go in the order in which they were put in, except that a peer for which more than AHEAD bytes wait lets the
    others pass; those for one peer keep their order. This is start-time fair queueing (Goyal, Vin and Cheng, 1996) with
    AHEAD bytes of credit for each peer.
    """

    def __init__(self) -> None:
        self._line: list[tuple[int, int, bytes, Done | None]] = []  # a heap, by place and number
        self._number = 0
        self._place = 0  # bytes: how far the line has come
        self._ends: dict[str, int] = {}  # by peer: where in the line its messages end

    def __len__(self) -> int:
        return len(self._line)

    def put(self, data: bytes, to: str, done: Done | None) -> None:
        """Puts a message for a peer into the line."""
        begins = max(self._place, self._ends.get(to, 0))
        self._ends[to] = begins + len(data)
        self._number += 1
        heappush(self._line, (max(self._place, begins - AHEAD), self._number, data, done))

    def take(self) -> tuple[bytes, Done | None]:
        """Returns the next message, and what is to be called then. Raises IndexError where none waits."""
        self._place, _, data, done = heappop(self._line)
        if not self._line:
            self._place = 0
            self._ends.clear()
        return data, done
