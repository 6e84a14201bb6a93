"""The core of notices: events of all parts go in, messages for couriers come out."""

from collections.abc import Collection, Mapping, Sequence
from zoneinfo import ZoneInfo

from msgspec import Struct

from agentd.core import events
from agentd.core.events import Event, Hears
from agentd.core.jobs import events as jobs
from agentd.core.jobs.settings import Job
from agentd.core.notices import outbox
from agentd.core.notices.manners import Manners, taken_up
from agentd.core.notices.model import Draft, Message, Outcome, Saved, Trouble
from agentd.core.notices.outbox import Outbox
from agentd.core.notices.pings import Pings
from agentd.core.notices.routes import Routes
from agentd.core.notices.settings import NoticeSettings
from agentd.core.part import Core, Effect, Refused
from agentd.core.quantities import nearest
from agentd.core.reboots import events as reboots
from agentd.core.rules import events as rules
from agentd.core.schedulers import events as schedulers

HEARS: Hears = {**jobs.HEARS, **reboots.HEARS, **schedulers.HEARS, **rules.HEARS}
"""The makers of events by the types of all parts' effects."""


class Slice(Struct, frozen=True, kw_only=True):
    """The settings of the part: its section of the configuration, the jobs, and the time zone of the quiet hours."""

    notices: NoticeSettings
    jobs: Mapping[str, Job]
    zone: ZoneInfo


class Notices(Core):
    """Decides who is told what, and when. The shell carries CourierWanted out, and tells what became of it."""

    def __init__(self, settings: Slice, saved: Saved, now: int) -> None:
        self._now = now
        self._effects: list[Effect] = []
        self.settings = settings
        self._draining = False
        self._unstorable = ""
        past = tuple(outbox.taken_up(one, now) for one in saved.messages)
        self._outbox = Outbox(past, saved.next_id, self._effects)
        self._manners = Manners(taken_up(saved.troubles, now), self._put, self._effects)
        self.pings = Pings(saved.pings, saved.checks, now, self._effects)
        self._take(settings, now)
        self._forget_jobs(settings.jobs, {})
        self._outbox.hand_out(now)
        self.pings.hand_out(now)

    # As every core

    def effects(self) -> list[Effect]:
        """Returns the effects since the last call."""
        taken = self._effects.copy()
        self._effects.clear()
        return taken

    def wakeup(self) -> int | None:
        """Returns when somebody is next to be told something; None while nothing waits and nothing is wrong."""
        if self._draining:
            return None
        told = (self._outbox.wakeup(self._now), self._manners.wakeup()) if self._outbox.lines else ()
        wanted = (*told, self.pings.wakeup())
        return min((when for when in wanted if when is not None), default=None)

    def tick(self, now: int) -> None:
        """Tells what is due."""
        self._now = now
        if not self._draining:
            self.pings.tick(now)
        if self._draining or not self._outbox.lines:
            return
        self._manners.tick(now)
        self._outbox.hand_out(now)

    def heard(self, effects: Sequence[Effect], now: int) -> None:
        """Tells of the effects that are events; messages and pings are stored together with what they tell of."""
        self.pings.heard(effects, now)
        if not self._outbox.lines:
            return
        for effect in effects:
            make = HEARS.get(type(effect))
            if make is not None and (event := make(effect, now)) is not None:
                self.happen(event, now)

    def clock_stepped(self, delta: int, now: int) -> None:
        """Moves along with the wall clock; the quiet hours go by it."""
        self._now = now
        self._manners.clock_stepped(delta)
        self._outbox.clock_stepped(delta)
        self.pings.clock_stepped(delta)
        self.tick(now)

    def storable(self, trouble: str, now: int) -> None:
        """Tells that nothing can be stored, and that everything can be again."""
        self.pings.hold(trouble)
        if trouble != self._unstorable:
            self._unstorable = trouble
            self.happen(events.store(trouble, now), now)

    def configuration_read(self, errors: str, now: int) -> None:
        """Tells that the configuration was refused, and that one was taken again."""
        self.happen(events.configuration(errors, now), now)

    def gone(self, part: str, now: int) -> None:
        """Tells that another part was shut off."""
        self.happen(events.shut_off(part, now), now)

    def drain(self) -> None:
        """Hands nothing out from here on: what waits is stored for the next agentd."""
        self._draining = True
        self.pings.drain()

    def save_all(self) -> None:
        """Wants everything stored once more."""
        self._manners.save_all()
        self._outbox.save_all()
        self.pings.save_all()

    # What happens

    def configure(self, settings: Slice, now: int) -> list[str]:
        """Takes other settings; returns a sentence for each channel that is another. Troubles go on."""
        before, self.settings = self.settings, settings
        self._take(settings, now)
        self._forget_jobs(settings.jobs, before.jobs)
        self._let_go(now)
        old, new = before.notices.channels, settings.notices.channels
        return [
            *(f"channel {name}: removed" for name in old if name not in new),
            *(f"channel {name}: added" for name in new if name not in old),
            *(f"channel {name}: changed" for name in new if name in old and old[name] != new[name]),
            *(["heartbeat: changed"] if before.notices.heartbeat != settings.notices.heartbeat else []),
        ]

    def happen(self, event: Event, now: int) -> list[int]:
        """Tells of an event by the manners, where there is a channel; returns the ids of the messages."""
        if not self._outbox.lines:
            return []
        self._manners.purge(now)
        if ids := self._manners.take(event, now):
            self._let_go(now)
        return ids

    def tell(self, event: Event, now: int, to: Collection[str] = (), *, at_once: bool = False) -> list[int]:
        """Tells of an event that somebody asks to be told, by the manners, or as it is to the channels `to`; returns
        the ids of the messages. A message told `at_once` is gathered with no other, and the messages that wait
        there are tried as well.

        Raises Refused Unsupported, NoSuchChannel.
        """
        channels = self._outbox.lines
        if not channels:
            raise Refused("Unsupported", "there is no channel to tell anybody: name one in notices.channels")
        for name in to:
            if name not in channels:
                raise Refused("NoSuchChannel", f'there is no channel "{name}"{nearest(name, channels)}')
        if not to:
            return self.happen(event, now)
        draft = Draft(
            channels=tuple(dict.fromkeys(to)),
            title=event.title,
            text=event.text,
            priority=event.priority,
            sort="news",
            event=event.name,
            about=event.about,
            run_id=event.run_id,
            at_once=at_once,
        )
        ids = self._put(draft, now)
        for name in draft.channels if at_once else ():
            self._outbox.retry(name, now)
        self._let_go(now)
        return ids

    def delivered(self, message_id: int, outcome: Outcome, now: int) -> None:
        """Takes note of what became of a message that a courier had."""
        self._now = now
        self._outbox.delivered(message_id, outcome, now)

    def courier_ended(self, channel: str, why: str, now: int) -> None:
        """Takes note that a courier is no more; `why` is a sentence where it did not do its work."""
        self._outbox.courier_ended(channel, why, now)
        self._let_go(now)

    def drop(self, message_id: int, now: int) -> list[int]:
        """Drops a message that waits, or with 0 all of them; returns their ids. Raises Refused NoSuchMessage."""
        return self._outbox.drop(message_id, now)

    # For others to read

    def waiting(self) -> list[Message]:
        """Returns the messages that wait, in the order in which they came."""
        found = (one for line in self._outbox.lines.values() for one in line.waiting.values())
        return sorted(found, key=lambda one: one.id)

    def troubles(self) -> list[Trouble]:
        """Returns the troubles that people were told of and that last."""
        return self._manners.lasting()

    def lost(self) -> Mapping[str, int]:
        """Returns by channel how many events nobody was told of, where no message that waits tells so."""
        return {name: line.lost for name, line in self._outbox.lines.items() if line.lost}

    # Inside

    def _put(self, draft: Draft, now: int) -> list[int]:
        return self._outbox.put(draft, now)

    def _let_go(self, now: int) -> None:
        self._now = now
        if not self._draining:
            self._outbox.hand_out(now)

    def _take(self, settings: Slice, now: int) -> None:
        its = settings.notices
        self._outbox.configure(its, settings.zone, now)
        self.pings.configure(its, settings.jobs, now)
        self._manners.configure(Routes(its), its.remind, its.channels, its.usual, settings.zone)

    def _forget_jobs(self, after: Mapping[str, Job], before: Mapping[str, Job]) -> None:
        """Forgets the troubles of jobs that were removed, or disabled in the configuration just now: on purpose."""
        for trouble in self._manners.lasting():
            name = trouble.about
            gone = name not in after or (name in before and before[name].enabled and not after[name].enabled)
            if trouble.part == "jobs" and gone:
                self._manners.forget(trouble.key)
