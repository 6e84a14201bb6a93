"""The outbox: messages wait in a line for each channel, go when people may be told, and come back where they could not
be delivered."""

from zoneinfo import ZoneInfo

from msgspec.structs import replace

from agentd.core.events import RANK
from agentd.core.notices import words
from agentd.core.notices.line import SINGLE, Line
from agentd.core.notices.model import (
    PART,
    CourierWanted,
    Draft,
    Message,
    MessageSaved,
    NoticeChanged,
    Outcome,
    State,
    shifted,
)
from agentd.core.notices.quiet import audible_at
from agentd.core.notices.settings import NoticeSettings
from agentd.core.part import Decided, Effect, Refused
from agentd.core.quantities import DAY, HOUR, MINUTE

MOST = 1000
"""The most messages that wait, over all channels."""
_BATCH = 20
"""The most messages that one courier gets."""
_AGAIN, _MOST_AGAIN = MINUTE, HOUR
"""Microseconds before the second attempt, and before any at most; doubled with each."""
_MOST_AFTER = DAY


class Outbox:
    """The messages that wait, by channel. Effects go to `effects`."""

    def __init__(self, past: tuple[Message, ...], next_id: int, effects: list[Effect]) -> None:
        self.lines: dict[str, Line] = {}
        self._past = past
        self._under_way: dict[int, Message] = {}
        """The messages that ended here while a courier had them, which may still deliver them."""
        self._next_id = next_id
        self._effects = effects
        self._settings: NoticeSettings
        self._zone: ZoneInfo

    def configure(self, settings: NoticeSettings, zone: ZoneInfo, now: int) -> None:
        """Takes other settings: what waits for a channel that is gone is dropped, and a credential that is another is
        tried at once."""
        self._settings, self._zone = settings, zone
        before, self.lines = self.lines, {}
        for name, channel in settings.channels.items():
            past = [one for one in self._past if one.channel == name]
            line = self.lines[name] = before.pop(name) if name in before else Line(channel, past)
            other, line.channel = line.channel.credential != channel.credential, channel
            if other:
                self.retry(name, now)
        gone = [one for line in before.values() for one in line.waiting.values()]
        flying = {number for line in before.values() for number in line.flight}
        gone += [one for one in self._past if one.state == "waiting" and one.channel not in self.lines]
        for message in gone:
            why = f"the channel {message.channel} is no more"
            ended = replace(message, state="dropped", ended=now, why=why)
            if message.id in flying:
                self._under_way[message.id] = ended
            self._effects.append(MessageSaved(ended))
            self._decide("drop", message, f"{why}: {message.title}", now)
        self._past = ()

    # Coming in

    def put(self, draft: Draft, now: int) -> list[int]:
        """Lets a message wait for each of the channels that there are; returns the ids of what tells it."""
        lines = [self.lines[name] for name in draft.channels if name in self.lines]
        return [self._put(line, draft, now) for line in lines]

    def _put(self, line: Line, draft: Draft, now: int) -> int:
        message = Message(
            id=self._next_id,
            channel=line.channel.name,
            made=now,
            latest=now,
            title=words.title(draft.title) or draft.event,
            text=words.body(draft.text),
            priority=draft.priority,
            sort=draft.sort,
            run_id=draft.run_id,
            event=draft.event,
            about=draft.about,
        )
        gathering = [one for one in line.gathering() if self._breaks(one) == self._breaks(message)]
        if draft.at_once:
            gathering = []
        elif gathering and line.hastens(message, gathering, now):
            for other in gathering:
                self._save(line, replace(other, again_at=now))
            gathering = []
        if any(one.count > 1 for one in gathering) or len(gathering) >= SINGLE:
            return self._join(line, gathering, message, now)
        self._next_id += 1
        again_at = now if draft.at_once else line.release(message, gathering, now)
        message = replace(message, again_at=again_at, lost=line.lost)
        line.lost = 0
        line.put(message, now)
        self._save(line, message)
        self._tell_made(line, message, now)
        self._bound(now)
        return message.id

    def _join(self, line: Line, gathering: list[Message], message: Message, now: int) -> int:
        """Makes one digest of what is gathered, which may be one already."""
        digest = line.merged([*gathering, message], now)
        for other in gathering[1:]:
            del line.waiting[other.id]
            told = f"told in the digest, message {digest.id}"
            self._effects.append(MessageSaved(replace(other, state="dropped", ended=now, why=told, count=0, lost=0)))
        if len(gathering) > 1:
            self._decide("message", digest, f"becomes a digest of {digest.count} events for {digest.channel}", now)
        self._save(line, digest)
        return digest.id

    def _tell_made(self, line: Line, message: Message, now: int) -> None:
        at = audible_at(self._settings.quiet, self._zone, message.priority, line.due(message, now))
        if at <= now:
            self._decide("message", message, f"to {message.channel}: {message.title}", now)
        else:
            waits = f"to {message.channel} waits until {words.at(at, self._zone)}: {message.title}"
            self._decide("hold", message, waits, now)

    def _bound(self, now: int) -> None:
        """Drops a message where too many wait: the oldest news of the lowest priority first."""
        all_of = [(line, one) for line in self.lines.values() for one in line.waiting.values()]
        if len(all_of) > MOST:
            free = [(line, one) for line, one in all_of if one.id not in line.flight]
            if not free:
                return
            line, least = min(free, key=lambda pair: (RANK[pair[1].priority], pair[1].sort != "news", pair[1].id))
            self._end(line, least, "dropped", f"more than {MOST} messages wait", now)

    # Going out

    def hand_out(self, now: int) -> None:
        """Gives couriers what may go."""
        for line in self.lines.values():
            audible = [one for one in line.go(now) if self._audible(one, now) <= now]
            if ready := audible[: min(_BATCH, line.room(now))]:
                line.busy, line.told, line.flight = True, False, {one.id for one in ready}
                self._effects.append(CourierWanted(line.channel.name, line.channel.credential, tuple(ready)))

    def retry(self, channel: str, now: int) -> None:
        """Has what could not be delivered to a channel tried at once."""
        line = self.lines[channel]
        for message in [one for one in line.waiting.values() if one.attempts and one.id not in line.flight]:
            self._save(line, replace(message, again_at=now))

    def wakeup(self, now: int) -> int | None:
        """Returns when the next message may go; None: none waits but for a courier."""
        return min(
            (
                self._audible(one, line.due(one, now))
                for line in self.lines.values()
                if not line.busy
                for one in line.waiting.values()
            ),
            default=None,
        )

    def delivered(self, message_id: int, outcome: Outcome, now: int) -> None:
        """Takes note of what became of a message that a courier had."""
        ended = self._under_way.pop(message_id, None)
        if ended is not None and outcome.became == "sent":
            self._arrive(ended, now)
        for line in self.lines.values():
            if message_id in line.flight:
                line.told = True
                line.flight.discard(message_id)
                if (message := line.waiting.get(message_id)) is not None:
                    self._deliver(line, message, outcome, now)

    def _deliver(self, line: Line, message: Message, outcome: Outcome, now: int) -> None:
        if outcome.became == "again":
            self._again(line, message, outcome, now)
        elif outcome.became == "refused":
            self._end(line, message, "failed", outcome.why or "the server refused the message", now)
        else:
            sent = replace(message, state="sent", ended=now, attempts=message.attempts + 1, why="")
            del line.waiting[message.id]
            line.sent(sent, now)
            self._effects += [MessageSaved(sent), NoticeChanged(sent)]

    def _arrive(self, ended: Message, now: int) -> None:
        """Takes note that a message was delivered which had ended here: what is shown of it is what happened."""
        why = f"a courier had the message already: {ended.why}"
        sent = replace(ended, state="sent", ended=now, attempts=ended.attempts + 1, why=why)
        if (line := self.lines.get(sent.channel)) is not None:
            line.sent(sent, now)
        self._effects += [MessageSaved(sent), NoticeChanged(sent)]
        self._decide("message", sent, f"to {sent.channel} is sent, {why}: {sent.title}", now)

    def courier_ended(self, channel: str, why: str, now: int) -> None:
        """Takes note that a courier is no more; `why` is a sentence where it did not do its work."""
        self._under_way = {number: one for number, one in self._under_way.items() if one.channel != channel}
        line = self.lines.get(channel)
        if line is None or not line.busy:
            return
        left = [one for one in line.waiting.values() if one.id in line.flight]
        line.busy, line.flight = False, set()
        if left and (why or not line.told) and not line.blocked(now):
            self._again(line, left[0], Outcome("again", why or "the courier ended without a word"), now)
        if line.blocked(now):
            self._age(line, now)

    def _again(self, line: Line, message: Message, outcome: Outcome, now: int) -> None:
        pause = max(min(outcome.after, _MOST_AFTER), min(_MOST_AGAIN, _AGAIN << min(message.attempts, 10)))
        tried = message.attempts + 1
        again = replace(message, attempts=tried, again_at=now + pause, why=outcome.why, mend=outcome.mend)
        self._save(line, again)
        self._effects.append(NoticeChanged(again))

    def _age(self, line: Line, now: int) -> None:
        """Drops what has waited for too long, once another attempt has failed: what waited while agentd or the machine
        was off gets one."""
        for number in list(line.waiting):
            message = line.waiting[number]  # as it is now: it may tell of the one before
            if message.latest + self._settings.keep <= now:
                why = f"not delivered for too long (notices.keep): {message.why or 'the channel failed'}"
                self._end(line, message, "dropped", why, now)

    # Ending

    def drop(self, message_id: int, now: int) -> list[int]:
        """Drops a message that waits, or with 0 all of them; returns their ids. Raises Refused NoSuchMessage."""
        found = [
            (line, one) for line in self.lines.values() for one in line.waiting.values() if message_id in {0, one.id}
        ]
        if not found and message_id:
            raise Refused("NoSuchMessage", f"no message {message_id} waits; see agentctl notices")
        for line, message in found:
            self._end(line, message, "dropped", "dropped by hand", now, counts=False)
        return [message.id for _, message in found]

    def _end(self, line: Line, message: Message, state: State, why: str, now: int, *, counts: bool = True) -> None:
        """Ends a message that was not delivered; the next one tells how many events that were."""
        lost = message.lost + (message.count if counts else 0)
        del line.waiting[message.id]
        ended = replace(message, state=state, ended=now, why=why, lost=lost)
        if message.id in line.flight:
            self._under_way[message.id] = ended
        self._effects += [MessageSaved(ended), NoticeChanged(ended)]
        self._decide("drop", message, f"to {message.channel}: {why}: {message.title}", now)
        following = next((one for one in line.waiting.values() if one.id not in line.flight), None)
        if following is None:
            line.lost += lost
        elif lost:
            self._save(line, replace(following, lost=following.lost + lost))

    # The rest

    def clock_stepped(self, delta: int) -> None:
        """Moves along with the wall clock: what counts is the time that went by."""
        for line in self.lines.values():
            line.clock_stepped(delta)
            for message in list(line.waiting.values()):
                self._save(line, shifted(message, delta))

    def save_all(self) -> None:
        """Wants everything that waits stored once more."""
        self._effects += [MessageSaved(one) for line in self.lines.values() for one in line.waiting.values()]

    def _breaks(self, message: Message) -> bool:
        """Returns whether a message breaks the quiet hours: such a one waits for none that does not."""
        quiet = self._settings.quiet
        return quiet is None or RANK[message.priority] >= RANK[quiet.breaks]

    def _audible(self, message: Message, at: int) -> int:
        return audible_at(self._settings.quiet, self._zone, message.priority, at)

    def _save(self, line: Line, message: Message) -> None:
        line.waiting[message.id] = message
        self._effects.append(MessageSaved(message))

    def _decide(self, kind: str, message: Message, told: str, now: int) -> None:
        self._effects.append(Decided(now, PART, kind, message.about, f"message {message.id} {told}", message.run_id))


def taken_up(message: Message, now: int) -> Message:
    """Returns a message as it was stored; it does not lie ahead of a clock that was set back meanwhile."""
    ahead = max(message.latest, message.ended) - now
    return message if ahead <= 0 else shifted(message, -ahead)
