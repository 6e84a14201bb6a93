"""A core of notices on a simulated clock, with couriers whose luck the test says, and a store that remembers."""

from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from agentd.core.events import Event
from agentd.core.jobs.settings import Job
from agentd.core.notices.model import (
    Check,
    CheckForgotten,
    CheckSaved,
    CourierWanted,
    Message,
    MessageSaved,
    Outcome,
    Ping,
    PingForgotten,
    PingSaved,
    Saved,
    Trouble,
    TroubleForgotten,
    TroubleSaved,
)
from agentd.core.notices.notices import Notices, Slice
from agentd.core.notices.settings import Channel, NoticeSettings
from agentd.core.part import Decided, Effect
from agentd.core.quantities import HOUR, SECOND

NOW = 1_774_600_000 * SECOND  # Friday 27 March 2026, 09:26:40 in Berlin, two days before the clocks of Europe change
BERLIN = ZoneInfo("Europe/Berlin")
SENT = Outcome("sent")


def channels(*names: str, **more: Any) -> dict[str, Channel]:
    return {name: Channel(name=name, credential=name, **more) for name in names}


def job(name: str, **more: Any) -> Job:
    return Job(name=name, run=("true",), **more)


def failed(name: str = "backup", error: str = "exit code 3", **more: Any) -> Event:
    given = {"title": f"{name} failed: {error}", "trouble": f"job {name}", "error": error, **more}
    return Event(at=0, part="jobs", name="failure", about=name, **given)


def succeeded(name: str = "backup", **more: Any) -> Event:
    given = {"trouble": f"job {name}", "over": True, "otherwise": "success", **more}
    return Event(at=0, part="jobs", name="recovered", about=name, title=f"{name} succeeded", **given)


class Store:
    """What is on the disk: the rows that the effects lead to, and what a start takes up of them."""

    def __init__(self) -> None:
        self.messages: dict[int, Message] = {}
        self.troubles: dict[str, Trouble] = {}
        self.pings: dict[int, Ping] = {}
        self.checks: dict[str, Check] = {}

    def write(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, MessageSaved):
                self.messages[effect.message.id] = effect.message
            elif isinstance(effect, TroubleSaved):
                self.troubles[effect.trouble.key] = effect.trouble
            elif isinstance(effect, TroubleForgotten):
                self.troubles.pop(effect.key, None)
            elif isinstance(effect, PingSaved):
                self.pings[effect.ping.id] = effect.ping
            elif isinstance(effect, PingForgotten):
                del self.pings[effect.id]
            elif isinstance(effect, CheckSaved):
                self.checks[effect.check.credential] = effect.check
            elif isinstance(effect, CheckForgotten):
                self.checks.pop(effect.credential, None)

    def saved(self, now: int) -> Saved:
        ended = sorted((one for one in self.messages.values() if one.ended), key=lambda one: (one.ended, one.id))
        last = {one.channel: one for one in ended}
        kept = [one for one in self.messages.values() if one.state == "waiting" or one.ended > now - HOUR]
        messages = {one.id: one for one in (*kept, *last.values())}
        number = max(self.messages, default=0) + 1
        return Saved(
            messages=tuple(messages.values()),
            troubles=tuple(self.troubles.values()),
            next_id=number,
            pings=tuple(self.pings.values()),
            checks=tuple(self.checks.values()),
        )


class Person:
    """A person with phones, told by a core of notices. `luck` says what becomes of each message."""

    def __init__(self, now: int = NOW, jobs: tuple[str, ...] = ("backup",), **settings: Any) -> None:
        self.now = now
        settings.setdefault("channels", channels("phone"))
        self.slice = Slice(notices=NoticeSettings(**settings), jobs={name: job(name) for name in jobs}, zone=BERLIN)
        self.store = Store()
        self.woken: list[int] = []
        self.got: list[tuple[int, Message]] = []
        """What was delivered, and when."""
        self.tried: list[tuple[int, Message]] = []
        self.log: list[Effect] = []
        self.luck: Callable[[Message, int], Outcome] = lambda _, __: SENT
        self.deliver: Callable[[CourierWanted], object] = self.post
        self.core = Notices(self.slice, Saved(), now)
        self.go_on()

    def go_on(self) -> None:
        """Stores and carries out what is wanted until nothing more is."""
        while effects := self.core.effects():
            self.store.write(effects)
            self.log += effects
            for effect in effects:
                if isinstance(effect, CourierWanted):
                    self.deliver(effect)

    def post(self, wanted: CourierWanted) -> None:
        for message in wanted.messages:
            outcome = self.luck(message, self.now)
            self.tried.append((self.now, message))
            if outcome.became == "sent":
                self.got.append((self.now, message))
            self.core.delivered(message.id, outcome, self.now)
            if outcome.became == "again":
                break
        self.core.courier_ended(wanted.channel, "", self.now)

    def happen(self, *events: Event) -> None:
        for event in events:
            self.core.happen(replace(event, at=self.now), self.now)
            self.go_on()

    def wait(self, span: int) -> None:
        """Lets time go by; the core is woken when it wants to be."""
        end, woken = self.now + span, len(self.woken)
        while (at := self.core.wakeup()) is not None and at <= end:
            self.now = max(self.now, at)
            self.woken.append(self.now)
            assert len(self.woken) - woken < 100_000, "the core is woken without end"
            self.core.tick(self.now)
            self.go_on()
        self.now = end

    def restart(self, away: int = 0) -> None:
        """Kills agentd and starts it anew with what is on the disk."""
        self.now += away
        self.core = Notices(self.slice, self.store.saved(self.now), self.now)
        self.go_on()

    def reload(self, **settings: Any) -> None:
        self.slice = replace(self.slice, notices=NoticeSettings(**settings))
        self.core.configure(self.slice, self.now)
        self.go_on()

    def titles(self, channel: str = "phone") -> list[str]:
        return [message.title for _, message in self.got if message.channel == channel]

    def take(self, channel: str = "phone") -> list[str]:
        """The titles since the last look."""
        found = self.titles(channel)
        self.got = [(at, message) for at, message in self.got if message.channel != channel]
        return found

    def decided(self, kind: str) -> list[str]:
        return [one.reason for one in self.log if isinstance(one, Decided) and one.kind == kind]
