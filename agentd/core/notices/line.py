"""The line of messages to one channel: their order, when each may go, and how a flood becomes one digest."""

from collections.abc import Sequence

from msgspec.structs import replace

from agentd.core.events import RANK
from agentd.core.notices import words
from agentd.core.notices.model import Message, Sort
from agentd.core.notices.settings import Channel
from agentd.core.quantities import HOUR, MINUTE

SINGLE = 3
"""The messages that may wait one by one: with another they become a digest."""
LISTED = 20
"""The events that a digest names."""
_ENTRY = 400
"""Characters of each."""
_SPAN = 5 * MINUTE
_AT_ONCE = {"news": 10, "trouble": 2, "over": 2}
"""The messages within that span that go at once. What comes beside them is gathered."""
_FREE = {"news": 30, "trouble": 6, "over": 6}
"""The messages within an hour before which what is gathered goes as soon as nothing else has come for CALM."""
_FREE_IN_FLOOD = 3
CALM = MINUTE
_SORTS: tuple[Sort, ...] = ("trouble", "over", "news")
"""The sorts of messages: a digest is of the first of these that is in it."""
GATHER, MOST_GATHER = 15 * MINUTE, HOUR
"""Microseconds for which events are gathered at most; doubled while a flood goes on."""


class Line:
    """The messages that wait for a channel, by id, and what is known of those before them."""

    def __init__(self, channel: Channel, past: Sequence[Message] = ()) -> None:
        self.channel = channel
        self.waiting: dict[int, Message] = {}
        self.flight: set[int] = set()
        """The messages that a courier has, of which nothing is known yet."""
        self.busy = False
        self.told = False
        """Whether the courier has told anything yet."""
        self.lost = 0
        """The events that nobody was told of, while no message waits that tells so."""
        ended = sorted(
            (one for one in past if one.state != "waiting" and one.count), key=lambda one: (one.ended, one.id)
        )
        self._sent = [one.ended for one in ended if one.state == "sent"]
        self._made = sorted((one.made, RANK[one.priority]) for one in past if one.count)
        self._digest = next((one for one in reversed(ended) if one.count > 1 and one.state == "sent"), None)
        self.waiting = {one.id: one for one in sorted(past, key=lambda one: one.id) if one.state == "waiting"}
        if not self.waiting and ended and ended[-1].state in {"dropped", "failed"}:
            self.lost = ended[-1].lost

    # Coming in

    def gathering(self) -> list[Message]:
        """Returns the messages that another can join: no courier ever had them."""
        return [one for one in self.waiting.values() if one.id not in self.flight and not one.attempts]

    def merged(self, messages: Sequence[Message], now: int) -> Message:
        """Returns the first of some messages as a digest of them all."""
        found = merged(messages)
        return replace(found, again_at=self._gathered(found.made, found, now))

    def hastens(self, message: Message, gathering: Sequence[Message], now: int) -> bool:
        """Tells whether a new message lets go what is gathered and follows at once: all of that is less urgent. What a
        run says while it works delays neither its end nor a failure."""
        return all(RANK[one.priority] < RANK[message.priority] for one in gathering) and self._few(message, now)

    def release(self, message: Message, gathering: Sequence[Message], now: int) -> int:
        """Returns when a new message may go: at once, or when some have been gathered."""
        held = [one.made for one in gathering if one.again_at > now]
        if not held and self._few(message, now):
            return now
        return self._gathered(min(held, default=now), message, now)

    def put(self, message: Message, now: int) -> None:
        """Lets a new message wait."""
        self.waiting[message.id] = message
        self._made.append((now, RANK[message.priority]))

    # Going out

    def go(self, now: int) -> list[Message]:
        """Returns the messages whose time has come, in order."""
        if self.busy or self.blocked(now):
            return []
        return [one for one in self.waiting.values() if one.again_at <= now]

    def room(self, now: int) -> int:
        """Returns how many messages may go within this hour."""
        self._forget(now)
        return max(0, self.channel.rate - len(self._sent))

    def blocked(self, now: int) -> int:
        """Returns until when nothing goes because the channel failed; 0 where it does not."""
        return max((one.again_at for one in self.waiting.values() if one.attempts and one.again_at > now), default=0)

    def due(self, message: Message, now: int) -> int:
        """Returns when a message that waits may go, if people may be told then."""
        full = self._sent[-self.channel.rate] + HOUR if len(self._sent) >= self.channel.rate else 0
        return max(message.again_at, self.blocked(now), full, now)

    def sent(self, message: Message, now: int) -> None:
        """Takes note of a message that was delivered."""
        self._sent.append(now)
        if message.count > 1:
            self._digest = message

    def clock_stepped(self, delta: int) -> None:
        """Moves along with the wall clock."""
        self._sent = [at + delta for at in self._sent]
        self._made = [(at + delta, rank) for at, rank in self._made]
        self._digest = None

    def _few(self, message: Message, now: int) -> bool:
        """Tells whether few messages came of late that were as urgent as this one."""
        self._forget(now)
        recent = sum(at > now - _SPAN and rank >= RANK[message.priority] for at, rank in self._made)
        return recent < _AT_ONCE[message.sort] and self._free(message, now)

    def _gathered(self, first: int, message: Message, now: int) -> int:
        last, window = self._digest, GATHER
        if last is not None and first - last.ended < HOUR:
            window = min(MOST_GATHER, max(GATHER, 2 * (last.again_at - last.made)))
        return min(now + CALM, first + window) if self._free(message, now) else first + window

    def _free(self, message: Message, now: int) -> bool:
        """Tells whether there were few messages as urgent within the hour; after a digest, a flood may go on."""
        rank, last = RANK[message.priority], self._digest
        flood = last is not None and RANK[last.priority] >= rank and now - last.ended < HOUR
        return sum(other >= rank for _, other in self._made) < (_FREE_IN_FLOOD if flood else _FREE[message.sort])

    def _forget(self, now: int) -> None:
        self._made = [(at, rank) for at, rank in self._made if at > now - HOUR]
        self._sent = [at for at in self._sent if at > now - HOUR]


def merged(messages: Sequence[Message]) -> Message:
    """Returns the first of some messages as a digest of them all."""
    first, count = messages[0], sum(one.count for one in messages)
    lines = [line for one in messages for line in one.lines or (_entry(one),)][:LISTED]
    more = [f"and {count - len(lines)} more"] if count > len(lines) else []
    events, sorts = {one.event for one in messages}, {one.sort for one in messages}
    event = events.pop() if len(events) == 1 else ""
    return replace(
        first,
        latest=max(one.latest for one in messages),
        title=words.title(f"{count} events{event and f' ({event})'}, the first: {lines[0]}"),
        text=words.body("\n".join([*(f"- {line}" for line in lines), *more])),
        lines=tuple(lines),
        priority=max((one.priority for one in messages), key=RANK.__getitem__),
        sort=next(sort for sort in _SORTS if sort in sorts),
        run_id="",
        event=event,
        about="",
        count=count,
        lost=sum(one.lost for one in messages),
    )


def _entry(message: Message) -> str:
    """Returns what a digest says of an event: news with their text, which nobody can look up."""
    text = " ".join(message.text.split()) if message.sort == "news" else ""
    entry = f"{message.title}: {text}" if text else message.title
    return entry if len(entry) <= _ENTRY else f"{entry[: _ENTRY - 1]}…"
