"""The members of org.agentd1.Notices: the handlers and the records that callers get."""

from collections.abc import Callable
from typing import Any

from agentd.bus.arguments import Records, limit_of, only, record
from agentd.bus.contract import Handler
from agentd.core import events
from agentd.core.events import Event
from agentd.core.notices.model import Message, Pinged
from agentd.core.notices.notices import Notices
from agentd.core.notices.settings import Channel
from agentd.core.part import Refused
from agentd.notices.tables import find_message, list_messages
from agentd.part import Host

_MESSAGE = {
    **dict.fromkeys(("id", "count", "attempts"), "u"),
    **dict.fromkeys(("made", "ended", "again_at"), "t"),
    **dict.fromkeys(("channel", "state", "event", "about", "run_id", "title", "priority", "sort", "why", "text"), "s"),
}
_CHANNEL = {
    **dict.fromkeys(("name", "credential", "trouble"), "s"),
    **dict.fromkeys(("sent", "next"), "t"),
    **dict.fromkeys(("waiting", "lost"), "u"),
    "default": "b",
}
_PINGED = {
    **dict.fromkeys(("kind", "name", "credential", "trouble"), "s"),
    **dict.fromkeys(("sent", "next"), "t"),
    **dict.fromkeys(("waiting", "failed"), "u"),
}
_STATES = ("waiting", "sent", "failed", "dropped")
_PRIORITIES = tuple(events.RANK)


class Api:
    """The members of the interface. `job_of` tells the job of a run that is under way, "" for none."""

    def __init__(self, host: Host, core: Notices, job_of: Callable[[str], str]) -> None:
        self._host, self._core, self._job_of = host, core, job_of

    def methods(self) -> dict[str, Handler]:
        """Returns the handlers by their members' names."""
        handlers = (self.ListNotices, self.GetNotice, self.ListChannels, self.ListPings, self.Tell, self.Drop)
        return {handler.__name__: handler for handler in handlers}

    def properties(self) -> dict[str, Callable[[], Any]]:
        """Returns the getters by their properties' names."""
        return {"Waiting": lambda: len(self._core.waiting())}

    async def ListNotices(self, filter: dict[str, Any]) -> Records[Message]:
        only(filter, channel=str, state=str, before=int, limit=int)
        if (state := filter.get("state", "")) not in ("", *_STATES):
            raise Refused("InvalidArgument", f'"{state}" is no state: expected one of {", ".join(_STATES)}')
        wanted = {**filter, "limit": limit_of(filter)}
        return Records(self._values, await self._host.ask(list_messages, **wanted), _MESSAGE)

    async def GetNotice(self, id: int) -> dict[str, Any]:
        found = next((one for one in self._core.waiting() if one.id == id), None)
        if found is None and (found := await self._host.ask(find_message, identity=id)) is None:
            raise Refused("NoSuchNotice", f"there is no message {id} (agentctl notices lists them)")
        return record({**self._values(found), "text": found.body}, _MESSAGE)

    async def ListChannels(self) -> list[dict[str, Any]]:
        waiting, channels = self._core.waiting(), self._core.settings.notices.channels
        found = []
        for _, channel in sorted(channels.items()):
            sent = await self._host.ask(list_messages, channel=channel.name, state="sent", limit=1)
            found.append(self._channel(channel, waiting, sent))
        return found

    def _channel(self, channel: Channel, waiting: list[Message], sent: list[Message]) -> dict[str, Any]:
        own = [message for message in waiting if message.channel == channel.name]
        tried = next((message for message in own if message.attempts), None)
        values = {
            "name": channel.name,
            "credential": channel.credential,
            "default": channel.name == self._core.settings.notices.usual,
            "waiting": len(own),
            "lost": self._core.lost().get(channel.name, 0),
            "sent": sent[0].ended if sent else None,
            "next": tried.again_at if tried else None,
            "trouble": tried.why if tried else "",
        }
        return record(values, _CHANNEL)

    async def ListPings(self) -> list[dict[str, Any]]:
        return [record(_of_check(one), _PINGED) for one in self._core.pings.listed()]

    async def Tell(self, run_id: str, text: str, options: dict[str, Any]) -> list[int]:
        only(options, title=str, priority=str, to=str)
        self._host.ready()
        priority = options.get("priority", "normal")
        if priority not in _PRIORITIES:
            raise Refused("InvalidArgument", f'"{priority}" is no priority: expected {", ".join(_PRIORITIES)}')
        job = self._job_of(run_id) if run_id else ""
        if run_id and not job:
            raise Refused("NoSuchRun", f"the run {run_id} is not under way")
        first, _, rest = text.strip().partition("\n")
        title, text = (options["title"], text) if options.get("title", "").strip() else (first, rest)
        if not (title.strip() or text.strip()):
            raise Refused("InvalidArgument", "the message is empty: expected a text")
        named = f"{job}: {title}" if job else title
        # Of a job: routes for jobs choose by its name.
        part = "jobs" if job else events.PART
        event = Event(
            at=self._host.now(), part=part, name="message", about=job, title=named, text=text, priority=priority
        )
        to = [options["to"]] if "to" in options else ()
        ids = self._core.tell(event, self._host.now(), to, at_once=not job)
        await self._host.settle()
        return ids

    async def Drop(self, ids: list[int]) -> int:
        self._host.ready()
        known = {message.id for message in self._core.waiting()}
        ids = list(dict.fromkeys(ids))
        for identity in ids:
            if identity not in known:
                raise Refused("NoSuchNotice", f"no message {identity} waits (agentctl notices --state waiting)")
        dropped = [one for identity in ids or (0,) for one in self._core.drop(identity, self._host.now())]
        await self._host.settle()
        return len(dropped)

    def _values(self, message: Message) -> dict[str, Any]:
        instants = {key: getattr(message, key) or None for key in ("made", "ended")}
        texts = {key: getattr(message, key) or None for key in ("event", "about", "run_id", "why")}
        plain = {key: getattr(message, key) for key in ("id", "channel", "state", "title", "priority", "sort", "count")}
        found = {**plain, **texts, **instants, "attempts": message.attempts or None}
        if message.state != "waiting":
            return found
        ahead = next((one for one in self._core.waiting() if one.channel == message.channel and one.attempts), message)
        behind = f"behind message {ahead.id}: {ahead.why}" if ahead.id < message.id else message.why
        return {**found, "again_at": max(message.again_at, ahead.again_at) or None, "why": behind or None}


def _of_check(pinged: Pinged) -> dict[str, Any]:
    check = pinged.check
    return {
        "kind": pinged.kind,
        "name": pinged.name,
        "credential": check.credential,
        "waiting": pinged.waiting,
        "failed": check.failed,
        "sent": check.sent or None,
        "next": (check.again_at or None) if check.failed else None,
        "trouble": check.why,
    }
