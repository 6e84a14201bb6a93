"""Notices, plugged in: couriers are sent, and what became of messages is told."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from agentd import log as logging
from agentd.core.config import Config
from agentd.core.notices.model import PART, CourierWanted, Message, NoticeChanged, Outcome
from agentd.core.notices.notices import Notices, Slice
from agentd.core.part import Effect
from agentd.notices.api import Api
from agentd.notices.checks import checks
from agentd.notices.couriers import Couriers, Start
from agentd.notices.doubts import Doubts
from agentd.notices.tables import NoticeTables
from agentd.part import Host, Part
from agentd.tasks import Tasks, Threads

log = logging.get()

CONTRACT = Path(__file__).with_name("org.agentd1.Notices.xml")
_STUCK = 3  # attempts after which a person should know
_LINES = "the last lines of its output:"


@dataclass(frozen=True, kw_only=True)
class Reach:
    """The reach of the part to others: the folder where couriers find messages, what starts one, the last lines that a
    run printed ("" for none), the job of a run that is under way ("" for none), and why couriers cannot use a
    credential, as far as agentd can see ("": nothing is known against it)."""

    folder: Path
    start: Start
    lines: Callable[[str], Awaitable[str]]
    job_of: Callable[[str], str]
    doubt: Callable[[str], str]


class Shell:
    """Carries out what the core of notices wants."""

    def __init__(self, host: Host, core: Notices, reach: Reach) -> None:
        self._host, self._core, self._reach = host, core, reach
        self._tasks = Tasks(lambda error: host.defect("what sends messages", error))
        self._threads = Threads()
        self.couriers = Couriers(reach.folder, self._threads, reach.start)

    def does(self) -> dict[type[Effect], Callable[[Any], object]]:
        """Returns how each effect is carried out."""
        return {CourierWanted: lambda effect: self._tasks.do(self._deliver(effect)), NoticeChanged: self._tell}

    def close(self) -> None:
        """Waits for no courier any more."""
        self._tasks.close()
        self._threads.close()

    async def _deliver(self, wanted: CourierWanted) -> None:
        """Sends a courier with messages, and tells the core what became of them."""
        why = "a defect of agentd's own, which the log names"
        try:
            texts = [(message, await self._text(message)) for message in wanted.messages]
            why = await self.couriers.deliver(wanted.credential, wanted.channel, texts, self._told)
        except OSError as error:
            why = f"{error.filename or 'the courier'}: {error.strerror or error}"
        finally:
            self._host.hear(PART, lambda: self._core.courier_ended(wanted.channel, why, self._host.now()))

    def _told(self, identity: int, outcome: Outcome) -> None:
        self._host.hear(PART, lambda: self._core.delivered(identity, outcome, self._host.now()))

    async def _text(self, message: Message) -> str:
        """Returns the text of a message, with the last lines of what its run printed."""
        lines = await self._reach.lines(message.run_id) if message.run_id and message.count == 1 else ""
        return f"{message.body}\n\n{_LINES}\n{lines}".strip() if lines else message.body

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
    api = Api(host, core, config.notices, reach.job_of)
    doubts = Doubts(reach.doubt, config.notices, host.now())

    def configure(changed: Config, now: int) -> Sequence[str]:
        api.settings = changed.notices
        doubts.configure(changed.notices, now)
        return core.configure(slice_of(changed), now)

    def warnings() -> list[str]:
        doubted = doubts.of_channels(host.now())
        others = [one for one in core.waiting() if one.channel not in doubted]
        return [text for text in (tables.warning, *doubted.values(), *stuck(others)) if text]

    return Part(
        name=PART,
        core=core,
        does=shell.does(),
        contract=CONTRACT,
        methods=api.methods(),
        properties=api.properties(),
        configure=configure,
        warnings=warnings,
        close=shell.close,
        checks=checks(lambda: api.settings, shell.couriers.try_out),
    )


def stuck(waiting: Sequence[Message]) -> list[str]:
    """Returns a sentence for each channel to which nothing gets through, at once where a person has to mend that."""
    tried = {one.channel: one for one in reversed(waiting) if _is_stuck(one)}
    return [
        f"nothing gets through to the channel {name} since {_counted(one.attempts)}: {one.why}"
        for name, one in sorted(tried.items())
    ]


def _is_stuck(message: Message) -> bool:
    """Tells whether a message is, or was until now, what a person should know of."""
    return message.mend or message.attempts >= _STUCK


def _counted(attempts: int) -> str:
    return "1 attempt" if attempts == 1 else f"{attempts} attempts"


def slice_of(config: Config) -> Slice:
    """Returns the settings of the part."""
    return Slice(notices=config.notices, jobs=config.jobs, zone=ZoneInfo(config.timezone or "UTC"))
