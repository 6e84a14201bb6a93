"""Notices, plugged in: couriers are sent, and what became of messages is told."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from msgspec import Struct

from agentd import log as logging
from agentd.core.config import Config
from agentd.core.notices.model import (
    PART,
    BeatWanted,
    CourierWanted,
    Message,
    NoticeChanged,
    Outcome,
    Ping,
    Pinged,
    PingsWanted,
)
from agentd.core.notices.notices import Notices, Slice
from agentd.core.notices.settings import HEARTBEAT_SETTING, channel_setting, ping_setting, uses
from agentd.core.part import Effect
from agentd.core.quantities import counted
from agentd.notices import api, checks
from agentd.notices.bag import Letter
from agentd.notices.couriers import Couriers, Start
from agentd.notices.doubts import Doubts
from agentd.notices.tables import NoticeTables
from agentd.part import Host, Part, when_asked
from agentd.peers.packages import missing_for
from agentd.tasks import Tasks, Threads

log = logging.get()

CONTRACT = Path(__file__).with_name("org.agentd1.Notices.xml")
_STUCK = 3  # attempts after which a person should know
_LINES = "the last lines of its output:"
_RUNS = "6d1c2c0e-35f5-4b0a-9f5e-0d3c5b8a7e41"
"""The namespace of the runs of all agentds: a check outside knows a run by a UUID."""


class Reach(Struct, frozen=True, kw_only=True):
    """The reach of the part to others: the folder where couriers find messages, what starts one, the last lines that a
    run printed ("" for none), the job of a run that is under way ("" for none), and why couriers cannot use a
    credential, as far as agentd can see ("": nothing is known against it). `origin` is what tells the runs of this
    agentd from those of others."""

    folder: Path
    start: Start
    lines: Callable[[str], Awaitable[str]]
    job_of: Callable[[str], str]
    doubt: Callable[[str], str]
    origin: str = ""


class Shell:
    """Carries out what the core of notices wants."""

    def __init__(self, host: Host, core: Notices, reach: Reach) -> None:
        self._host, self._core, self._reach = host, core, reach
        self._tasks = Tasks(lambda error: host.defect("what sends messages", error))
        self._threads = Threads()
        self.couriers = Couriers(reach.folder, self._threads, reach.start)
        self._unheard: set[str] = set()
        """The credentials of the checks that do not answer, so that the log has that once."""

    def does(self) -> dict[type[Effect], Callable[[Any], object]]:
        """Returns how each effect is carried out."""
        return {
            CourierWanted: lambda effect: self._tasks.do(self._deliver(effect)),
            PingsWanted: lambda effect: self._tasks.do(self._ping(effect)),
            BeatWanted: self._beat,
            NoticeChanged: self._tell,
        }

    def close(self) -> None:
        """Waits for no courier any more."""
        self._tasks.close()
        self._threads.close()

    async def _deliver(self, wanted: CourierWanted) -> None:
        """Sends a courier with messages, and tells the core what became of them."""
        writing = (await self._letter(message) for message in wanted.messages)
        why = await self._send(wanted.credential, wanted.channel, writing, self._core.delivered)
        self._host.hear(PART, lambda: self._core.courier_ended(wanted.channel, why, self._host.now()))

    async def _ping(self, wanted: PingsWanted) -> None:
        """Sends a courier with pings, and tells the core what became of them."""
        pings, credential = self._core.pings, wanted.credential

        def told(identity: int, outcome: Outcome, now: int) -> None:
            self._log(credential, outcome)
            pings.delivered(credential, -identity, outcome, now)

        why = await self._send(credential, "", (await self._pinging(ping) for ping in wanted.pings), told)
        if why:
            self._log(credential, Outcome("again", why))
        self._host.hear(PART, lambda: pings.courier_ended(credential, why, self._host.now()))

    def _beat(self, wanted: BeatWanted) -> asyncio.Task[None] | None:
        """Sends the heartbeat, unless it has waited for something to be stored and tells of the past."""
        return self._tasks.do(self._beating(wanted)) if self._core.pings.beats.begin(wanted.at) else None

    async def _beating(self, wanted: BeatWanted) -> None:
        outcomes: list[Outcome] = []

        async def beat() -> AsyncIterator[Letter]:
            yield Letter(-wanted.at, ping="success")

        why = await self._send(wanted.credential, "", beat(), lambda _, outcome, __: outcomes.append(outcome))
        last = outcomes[-1] if outcomes else Outcome("again", why or "the courier ended without a word")
        self._log(wanted.credential, last)
        self._host.hear(PART, lambda: self._core.pings.beats.ended(wanted.at, last, self._host.now()))

    def _log(self, credential: str, outcome: Outcome) -> None:
        """Tells the log when a check begins not to answer, and when it does again."""
        if outcome.became == "sent" and credential in self._unheard:
            self._unheard.discard(credential)
            log.info(f"the check {credential} answers again", id="message")
        elif outcome.became != "sent" and credential not in self._unheard:
            self._unheard.add(credential)
            log.warning(f"the check {credential} does not hear of agentd: {outcome.why}", id="message")

    async def _send(
        self,
        credential: str,
        channel: str,
        writing: AsyncIterator[Letter],
        told: Callable[[int, Outcome, int], object],
    ) -> str:
        """Sends a courier with letters; returns why it did not do its work, as a sentence, or "". `told` hears, as of
        which instant, what became of each letter by its id."""

        def hear(identity: int, outcome: Outcome) -> None:
            self._host.hear(PART, lambda: told(identity, outcome, self._host.now()))

        try:
            letters = [letter async for letter in writing]
            return await self.couriers.deliver(credential, channel, letters, hear)
        except OSError as error:
            return f"{error.filename or 'the courier'}: {error.strerror or error}"
        except Exception as error:  # noqa: BLE001 - whatever it is, the other credentials go on
            self._host.defect("what sends messages", error)
            return "a defect of agentd's own, which the log names"

    async def _letter(self, message: Message) -> Letter:
        text = await self._text(message.body, message.run_id if message.count == 1 else "")
        return Letter(message.id, message.title, text, message.priority, message.sort)

    async def _pinging(self, ping: Ping) -> Letter:
        """Returns a ping as the courier gets it; the number is below 0, where no message has any."""
        text = await self._text(ping.text, ping.run_id if ping.ends else "")
        run = uuid.uuid5(uuid.UUID(_RUNS), f"{self._reach.origin} {ping.run_id}")
        return Letter(-ping.id, body=text, ping=ping.says, run=str(run))

    async def _text(self, text: str, run_id: str) -> str:
        """Returns a text with the last lines of what its run printed."""
        lines = await self._reach.lines(run_id) if run_id else ""
        return f"{text}\n\n{_LINES}\n{lines}".strip() if lines else text

    def _tell(self, effect: NoticeChanged) -> None:
        one = effect.message
        say = log.debug if one.state == "sent" else log.warning
        say(f"message {one.id} to {one.channel} {_state(one)}", id="message", channel=one.channel)
        self._host.server.emit("Notices", "NoticeChanged", one.id, one.channel, one.state, one.title, one.why)
        self._host.server.changed("Notices.Waiting", *(["Manager.Warnings"] if _is_stuck(one) else []))


def _state(message: Message) -> str:
    """Returns what became of a message: "is sent", or "waits: the server does not answer"."""
    word = "waits" if message.state == "waiting" else f"is {message.state}" if message.state != "failed" else "failed"
    return f"{word}: {message.why}" if message.why else word


async def plug(host: Host, config: Config, reach: Reach) -> Part:
    """Returns notices as a part. Raises sqlite3.Error."""
    tables = NoticeTables()
    saved = await host.take_up(tables)
    core = Notices(slice_of(config), saved, host.now())
    shell = Shell(host, core, reach)
    methods, properties = when_asked(CONTRACT, lambda: api.Api(host, core, reach.job_of))
    doubts = Doubts(reach.doubt, uses(config.notices, config.jobs), host.now())

    def configure(changed: Config, now: int) -> Sequence[str]:
        doubts.configure(uses(changed.notices, changed.jobs), now)
        return core.configure(slice_of(changed), now)

    def warnings() -> list[str]:
        doubted = doubts.by_setting(host.now())
        missing = missing_for(core.settings.notices.channels)
        waiting = [one for one in core.waiting() if channel_setting(one.channel) not in doubted and not missing]
        pinged = [one for one in core.pings.listed() if _setting(one) not in doubted]
        return [
            text for text in (tables.warning, missing, *doubted.values(), *stuck(waiting), *unheard(pinged)) if text
        ]

    return Part(
        name=PART,
        core=core,
        does=shell.does(),
        contract=CONTRACT,
        methods=methods,
        properties=properties,
        configure=configure,
        warnings=warnings,
        close=shell.close,
        checks=lambda: checks.checks(lambda: uses(core.settings.notices, core.settings.jobs), shell.couriers.try_out),
    )


def stuck(waiting: Sequence[Message]) -> list[str]:
    """Returns a sentence for each channel to which nothing gets through, at once where a person has to mend that."""
    tried = {one.channel: one for one in reversed(waiting) if _is_stuck(one)}
    return [
        f"nothing gets through to the channel {name} since {counted(one.attempts, 'attempt')}: {one.why}"
        for name, one in sorted(tried.items())
    ]


def _is_stuck(message: Message) -> bool:
    """Tells whether a message is, or was until now, what a person should know of."""
    return message.mend or message.attempts >= _STUCK


def _setting(pinged: Pinged) -> str:
    return HEARTBEAT_SETTING if pinged.kind == "heartbeat" else ping_setting(pinged.name)


def unheard(listed: Sequence[Pinged]) -> list[str]:
    """Returns a sentence for each check to which nothing gets through, at once where a person has to mend that."""
    silent = [(one.name, one.check) for one in listed if one.check.mend or one.check.failed >= _STUCK]
    return [
        f"nothing gets through to the check that {name} pings since {counted(check.failed, 'attempt')}: {check.why}"
        for name, check in silent
    ]


def slice_of(config: Config) -> Slice:
    """Returns the settings of the part."""
    return Slice(notices=config.notices, jobs=config.jobs, zone=ZoneInfo(config.timezone or "UTC"))
