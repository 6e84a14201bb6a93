"""The section `notices` of the configuration: who is told what, when and how often."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated

from msgspec import Meta, Struct, field

from agentd.core import events
from agentd.core.events import Kind, Priority
from agentd.core.fields import Fault, Invalid, Keys, Parser, PositiveDuration, Raw, as_text, by_name, parse_text
from agentd.core.jobs import events as jobs
from agentd.core.jobs.settings import Job
from agentd.core.patterns import matcher
from agentd.core.quantities import DAY, MINUTE, nearest, parse_duration
from agentd.core.reboots import events as reboots
from agentd.core.rules import events as rules
from agentd.core.schedulers import events as schedulers

KINDS_OF_EVENTS: tuple[Kind, ...] = (*jobs.KINDS, *reboots.KINDS, *schedulers.KINDS, *rules.KINDS, *events.KINDS)
"""All events that there are, in the order of parts."""
TOLD = frozenset(kind.name for kind in KINDS_OF_EVENTS if kind.told)
"""The names of those that are told where nobody says."""

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_NAME_RULE = "1 to 32 small letters, digits and -, and no - first"
_LEAST_REMIND = MINUTE
_MOST_RATE = 3600
_LEAST_EVERY = MINUTE

CredentialName = Annotated[str, Meta(extra={"kind": "credential"})]
EventName = Annotated[str, Meta(extra={"kind": "event"})]
TimeOfDay = Annotated[int, Meta(extra={"kind": "time-of-day"})]
"""Seconds since local midnight."""


class Channel(Struct, frozen=True, kw_only=True):
    """A way to people. `credential` names the secret address, `rate` is the most messages an hour."""

    name: str
    credential: CredentialName
    rate: Annotated[int, Meta(ge=1, le=_MOST_RATE)] = 30


class Route(Struct, frozen=True, kw_only=True):
    """A choice of events, and the channels that are told them. Without `events` those that are told anyway, without
    `jobs`, a pattern, those of everything."""

    events: tuple[EventName, ...] = ()
    jobs: str = ""
    to: tuple[str, ...]
    priority: Priority | None = None


class Quiet(Struct, frozen=True, kw_only=True):
    """The hours of each day in which nobody is told anything below the priority `breaks`."""

    from_: TimeOfDay = field(name="from")
    to: TimeOfDay
    breaks: Priority = "high"


class Heartbeat(Struct, frozen=True, kw_only=True):
    """The check outside that hears each `every` microseconds that agentd works. `credential` names its address."""

    credential: CredentialName
    every: PositiveDuration = 5 * MINUTE


class NoticeSettings(Struct, frozen=True, kw_only=True):
    """The section `notices`. A trouble that lasts is told again each `remind` microseconds (0: never); what could not
    be delivered for `keep` is dropped, and counted."""

    channels: Annotated[dict[str, Channel], by_name("channel")] = {}
    default: str = ""
    """The channel for what no route sends elsewhere; "": the first."""
    routes: tuple[Route, ...] = ()
    quiet: Quiet | None = None
    remind: Annotated[int, Meta(extra={"kind": "remind"})] = DAY
    keep: PositiveDuration = 3 * DAY
    heartbeat: Heartbeat | None = None

    @property
    def usual(self) -> str:
        """The channel for what no route sends elsewhere; "" while there is no channel."""
        return self.default or next(iter(self.channels), "")


def faults(settings: NoticeSettings, jobs: Mapping[str, Job]) -> Iterator[Fault]:
    """Yields a fault for each channel that is called what no channel can be, each name of one that is none, and for
    what cannot be pinged."""
    for name in settings.channels:
        if not NAME.fullmatch(name):
            yield Fault(("notices", "channels", name), f'"{name}" cannot be the name of a channel: {_NAME_RULE}')
    named: list[tuple[Keys, str]] = [(("notices", "default"), settings.default)] if settings.default else []
    for position, route in enumerate(settings.routes):
        named += [(("notices", "routes", position, "to", at), name) for at, name in enumerate(route.to)]
        if not route.to:
            yield Fault(("notices", "routes", position, "to"), "names no channel: expected one at least")
    for path, name in named:
        if name not in settings.channels:
            there = nearest(name, settings.channels) or "; name it in notices.channels"
            yield Fault(path, f'there is no channel "{name}"{there}')
    if settings.quiet is not None and settings.quiet.from_ == settings.quiet.to:
        yield Fault(("notices", "quiet"), "begins and ends at the same time of day: expected two times")
    yield from _pinging(settings, jobs)


def _pinging(settings: NoticeSettings, jobs: Mapping[str, Job]) -> Iterator[Fault]:
    """Yields a fault for each credential that is to be pinged and is taken, and for a heartbeat that beats too fast."""
    taken = {one.credential: f"the channel {one.name} has" for one in settings.channels.values()}
    rule = "expected a credential of its own, with the URL of a check"
    if (beat := settings.heartbeat) is not None:
        if beat.every < _LEAST_EVERY:
            yield Fault(("notices", "heartbeat", "every"), "is shorter than a minute: expected a longer duration")
        if beat.credential in taken:
            yield Fault(("notices", "heartbeat", "credential"), f"{taken[beat.credential]} this credential: {rule}")
        taken[beat.credential] = "the heartbeat (notices.heartbeat) has"
    for name, job in jobs.items():
        if job.ping is not None and job.ping.credential in taken:
            yield Fault(("jobs", name, "ping", "credential"), f"{taken[job.ping.credential]} this credential: {rule}")


def doubts(settings: NoticeSettings, jobs: Mapping[str, Job]) -> Iterator[str]:
    """Yields a sentence for each setting that is allowed and does not do what it seems to say."""
    if not settings.channels and (settings.routes or settings.quiet is not None):
        yield "notices: tells nobody anything: there is no channel (notices.channels)"
    for position, route in enumerate(settings.routes):
        if route.jobs and not any(map(matcher(route.jobs), jobs)):
            yield f'notices.routes[{position}]: no job has a name like "{route.jobs}"'
    first: dict[str, str] = {}
    for name, job in jobs.items():
        if job.ping is not None and (other := first.setdefault(job.ping.credential, name)) != name:
            yield f"jobs.{name}.ping: pings the same check as {other}: while one of them does, the other is not missed"


class Use(Struct, frozen=True):
    """A use of a credential: the setting that names it, whom a courier reaches with it, and whether by a ping."""

    setting: str
    credential: str
    whom: str
    ping: bool = False


def uses(settings: NoticeSettings, jobs: Mapping[str, Job]) -> list[Use]:
    """Returns each use of a credential that is configured: of channels, of the heartbeat, and of the pings of jobs."""
    channels = settings.channels.values()
    found = [Use(channel_setting(one.name), one.credential, f"the channel {one.name}") for one in channels]
    if settings.heartbeat is not None:
        found.append(Use(HEARTBEAT_SETTING, settings.heartbeat.credential, "the check of the heartbeat", ping=True))
    pinging = [(name, job.ping.credential) for name, job in jobs.items() if job.ping is not None]
    found += [Use(ping_setting(name), credential, f"the check of {name}", ping=True) for name, credential in pinging]
    return found


HEARTBEAT_SETTING = "notices.heartbeat"


def channel_setting(name: str) -> str:
    """Returns the setting of a channel."""
    return f"notices.channels.{name}"


def ping_setting(job: str) -> str:
    """Returns the setting by which a job pings a check."""
    return f"jobs.{job}.ping"


def _credential(raw: Raw) -> str:
    text = as_text(raw, "the name of a credential such as ntfy")
    if not NAME.fullmatch(text):  # not repeated: whoever misreads this setting writes the secret address here
        raise Invalid(f"is not the name of a credential: {_NAME_RULE}; the address itself stands in the credential")
    return text


def _event(raw: Raw) -> str:
    text = as_text(raw, "the name of an event such as failure")
    names = [kind.name for kind in KINDS_OF_EVENTS]
    if text not in names:
        raise Invalid(f'there is no event "{text}"{nearest(text, names) or "; there are " + ", ".join(names)}')
    return text


def _remind(raw: Raw) -> int:
    if isinstance(raw, str) and raw.lower() in {"no", "false", "off"}:
        return 0
    span = parse_text(raw, parse_duration, "a duration such as 24h, or no")
    if span < _LEAST_REMIND:
        raise Invalid("is shorter than a minute: expected a longer duration, or no")
    return span


KINDS: Mapping[str, Parser] = {"credential": _credential, "event": _event, "remind": _remind}
"""The parsers of the kinds that only notices have; "time-of-day" is that of reboots."""
