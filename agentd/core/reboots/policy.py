"""The section `reboot` of the configuration: when and how the machine is rebooted, and which settings
contradict each other."""

import ipaddress
import re
from collections.abc import Collection, Iterator
from datetime import date
from typing import Annotated, Literal, get_args
from urllib import parse

from msgspec import Meta, Struct, field

from agentd.core.fields import (
    Duration,
    Fault,
    Parser,
    Raw,
    UserName,
    absolute_path,
    as_mapping,
    as_text,
    by_name,
    parse_each,
    parse_text,
    text_parser,
    weekdays,
)
from agentd.core.quantities import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    format_duration,
    format_time_of_day,
    format_weekdays,
    nearest,
    parse_duration,
    parse_time_of_day,
)

Kind = Literal["reboot", "soft-reboot", "kexec"]
KINDS_OF_REBOOT: tuple[Kind, ...] = get_args(Kind)
Patience = Annotated[int | None, Meta(extra={"kind": "patience"})]
"""How long something may hold a reboot, in microseconds; None: for as long as the window lasts ("window")."""
Days = Annotated[tuple[int, ...], Meta(extra={"kind": "weekdays"})]
"""Weekdays, Monday is 0."""
Dates = Annotated[tuple[tuple[str, str], ...], Meta(extra={"kind": "dates"})]
"""First and last date of each stretch, both included, as 2026-12-24."""
TimeOfDay = Annotated[int, Meta(extra={"kind": "time-of-day"})]
"""Seconds since local midnight."""
JobName = Annotated[str, Meta(min_length=1, max_length=100)]

REQUIRED = "/run/reboot-required"
"""The file that Debian's upgrades write where they want a reboot."""
WRITERS = (
    "/usr/share/unattended-upgrades",
    "/etc/kernel/postinst.d/unattended-upgrades",
    "/usr/share/update-notifier/notify-reboot-required",
)
"""The files of those who write REQUIRED: without any of them it tells nothing that REQUIRED is absent. reboot-notifier
has the last one as well."""
_EVERY_DAY = (0, 1, 2, 3, 4, 5, 6)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_WARNINGS = (10 * MINUTE, MINUTE)
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_GROUP = r"^[a-zA-Z0-9.-]+\Z"


class Window(Struct, frozen=True, kw_only=True):
    """A time of day at which the machine is rebooted, or a while later where something holds it.

    The time is said by `at` or by `hour` and `minute`. `window` is how long the reboot may wait and `jitter` the most
    that it is delayed on this host, in microseconds. On the dates of `except_` the window does not come.
    """

    enabled: bool = True
    at: TimeOfDay | None = None
    hour: Annotated[int, Meta(ge=0, le=23)] | None = None
    minute: Annotated[int, Meta(ge=0, le=59)] | None = None
    window: Annotated[int, Meta(ge=MINUTE, le=DAY, extra={"kind": "duration"})] = HOUR
    days: Days = _EVERY_DAY
    except_: Dates = field(default=(), name="except")
    jitter: Duration = 0

    @property
    def begin(self) -> int:
        """Seconds since local midnight."""
        return self.at if self.at is not None else (self.hour or 0) * 3600 + (self.minute or 0) * 60

    def phrase(self) -> str:
        """Returns the window in words."""
        days = "" if self.days == _EVERY_DAY else f" {format_weekdays(self.days)}"
        return f"{format_time_of_day(self.begin)}{days}, for {format_duration(self.window)}"


class WaitFor(Struct, frozen=True, kw_only=True):
    """The time that running jobs and people who are logged in may hold a reboot; a session without input for longer
    than `idle` does not hold the reboot, nor do those of `except_users`, by their names, and with `except_system_users`
    those of users whom packages made. Inhibitors hold a reboot as long as they last."""

    jobs: Duration = 10 * MINUTE
    users: Patience = None
    inhibitors: Patience = None
    idle: Annotated[int, Meta(ge=MINUTE, extra={"kind": "duration"})] | None = None
    except_users: tuple[UserName, ...] = ()
    except_system_users: bool = False


class RebootLimits(Struct, frozen=True, kw_only=True):
    """Bounds of automatic reboots, whatever asks for them."""

    min_uptime: Duration = HOUR
    per_day: Annotated[int, Meta(ge=0, le=1000)] = 2
    per_week: Annotated[int, Meta(ge=0, le=1000)] = 8


class Hooks(Struct, frozen=True, kw_only=True):
    """Names of jobs: `before` prepares a reboot, or prevents one by failing; `after` checks the machine afterwards, and
    has `after_within` microseconds for that, its retries included."""

    before: JobName | None = None
    after: JobName | None = None
    after_within: Annotated[int, Meta(ge=SECOND, extra={"kind": "duration"})] = HOUR


class FleetPolicy(Struct, frozen=True, kw_only=True):
    """The server that keeps the slots of the machine's group: a FleetLock server or an etcd, by their URLs.

    `slots` is used only where nobody has set their number yet. `user` is etcd's.
    """

    fleetlock: Annotated[str, Meta(extra={"kind": "url"})] = ""
    etcd: tuple[Annotated[str, Meta(extra={"kind": "url"})], ...] = ()
    group: Annotated[str, Meta(pattern=_GROUP, max_length=100)] = "default"
    slots: Annotated[int, Meta(ge=1, le=100_000)] = 1
    user: str = ""


class RequiredBy(Struct, frozen=True, kw_only=True):
    """The thing that says that the machine asks for a reboot: a `file` that exists, or a `job` that succeeds."""

    file: str = ""
    job: str = ""

    def phrase(self) -> str:
        """Returns what it is in words."""
        return f"the job {self.job}" if self.job else self.file


class RebootPolicy(Struct, frozen=True, kw_only=True):
    """The section `reboot` of the configuration."""

    nightly: Window | None = None
    windows: Annotated[dict[str, Window], by_name("window", or_list=True)] = {}
    kind: Kind = "reboot"
    only_if_required: Annotated[bool | RequiredBy, Meta(extra={"kind": "required"})] = False
    latest: Annotated[int, Meta(ge=HOUR, extra={"kind": "duration"})] | None = None
    grace: Duration = 10 * MINUTE
    warnings: tuple[Duration, ...] = _WARNINGS
    wait_for: WaitFor = WaitFor()
    limits: RebootLimits = RebootLimits()
    hooks: Hooks = Hooks()
    fleet: FleetPolicy | None = None

    @property
    def asks_job(self) -> str:
        """The job that says whether the machine asks for a reboot; "" where a file does."""
        return self.only_if_required.job if isinstance(self.only_if_required, RequiredBy) else ""

    @property
    def required_file(self) -> str:
        """The file that says by its presence that the machine asks for a reboot."""
        by = self.only_if_required
        return (by.file if isinstance(by, RequiredBy) else "") or REQUIRED

    @property
    def phrases(self) -> dict[str, str]:
        """The windows that are enabled, in words, by name."""
        named = {**({} if self.nightly is None else {"nightly": self.nightly}), **self.windows}
        return {name: window.phrase() for name, window in named.items() if window.enabled}

    @property
    def all_windows(self) -> tuple[Window, ...]:
        """The windows that are enabled."""
        nightly = () if self.nightly is None else (self.nightly,)
        return tuple(window for window in (*nightly, *self.windows.values()) if window.enabled)


def faults(policy: RebootPolicy, jobs: Collection[str]) -> Iterator[Fault]:
    """Yields a fault for each set of settings that make no sense together; `jobs` are the names of the jobs."""
    for key, hook in (("before", policy.hooks.before), ("after", policy.hooks.after)):
        if hook is not None and hook not in jobs:
            yield Fault(("reboot", "hooks", key), f'there is no job "{hook}"{nearest(hook, jobs)}')
    if (job := policy.asks_job) and job not in jobs:
        yield Fault(("reboot", "only_if_required", "job"), f'there is no job "{job}"{nearest(job, jobs)}')
    if policy.nightly is not None:
        yield from _of_window(policy.nightly, "nightly")
    for name, window in policy.windows.items():
        yield from _of_window(window, "windows", name)
    if policy.fleet is not None:
        try:
            check_fleet(policy.fleet)
        except ValueError as error:
            yield Fault(("reboot", "fleet"), str(error))
    if policy.wait_for.inhibitors is not None:
        sentence = "inhibitors hold a reboot as long as they last: the only value is window"
        yield Fault(("reboot", "wait_for", "inhibitors"), sentence)


def doubts(policy: RebootPolicy) -> Iterator[str]:
    """Yields a sentence for each setting that is allowed and cannot do what it seems to say."""
    hook, patience = policy.hooks.before, policy.wait_for.jobs
    windows = {} if policy.nightly is None else {"nightly": policy.nightly}
    windows |= {f"windows.{name}": window for name, window in policy.windows.items()}
    for name, window in windows.items():
        room = window.window - window.jitter
        if not window.enabled:
            continue
        has = f"reboot.{name}: the window, less its jitter, has {format_duration(room)}"
        if patience > room:
            less = f"less than running jobs get ({format_duration(patience)}, wait_for.jobs)"
            yield f"{has}, {less}: a job that still runs then is not stopped, and the machine is not rebooted that time"
        if hook is not None and room <= 2 * MINUTE:
            yield f"{has}, too little for {hook} (hooks.before), which gets a minute at least"

    for ahead in () if policy.warnings == _WARNINGS else policy.warnings:  # nobody wrote the default
        if ahead > policy.grace:
            longer = f"{format_duration(ahead)} is longer than the grace, {format_duration(policy.grace)}"
            yield f"reboot.warnings: {longer}: only of a reboot planned by hand are people told so early"


def _of_window(window: Window, *keys: str) -> Iterator[Fault]:
    if window.at is not None and (window.hour, window.minute) != (None, None):
        yield Fault(("reboot", *keys), "has both at and hour or minute: say it once")
    if window.jitter >= window.window:
        yield Fault(("reboot", *keys), "has a jitter that is not shorter than its window")


def check_fleet(fleet: FleetPolicy) -> None:
    """Raises ValueError with a sentence where no server of slots can be meant."""
    if bool(fleet.fleetlock) == bool(fleet.etcd):
        raise ValueError("needs exactly one of fleetlock and etcd")
    for url in fleet.etcd or (fleet.fleetlock,):
        check_url(url)
        if fleet.user and not (url.lower().startswith("https:") or is_own(parse.urlsplit(url).hostname or "")):
            raise ValueError("the password of user would go over http://, for all to read: expected https://")
    check_group(fleet.group)


def is_own(host: str) -> bool:
    """Tells whether a host of a URL is this machine, which what is said to it does not leave."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_group(text: str) -> None:
    """Raises ValueError with a sentence where no group of a fleet can have that name."""
    if not re.match(_GROUP, text):
        raise ValueError("the group must be of letters, digits, dots and hyphens")


def parse_dates(text: str) -> tuple[str, str]:
    """Returns the first and last date of "2026-12-24" or "2026-12-24/2027-01-02", both in that form.

    Raises ValueError with a sentence.
    """
    first, slash, last = text.partition("/")
    dates = (first, last if slash else first)
    try:  # this form of ISO 8601 alone: dates are compared as text later
        usable = all(_DATE.fullmatch(one) and date.fromisoformat(one) for one in dates) and first <= dates[1]
    except ValueError:  # a day that no calendar has
        usable = False
    if not usable:
        raise ValueError(f'"{text}" is not a date (try 2026-12-24, or 2026-12-24/2027-01-02)')
    return dates


def check_url(text: str) -> None:
    """Raises ValueError where the text is no URL of a server. The sentence never repeats the URL, which may hold a
    password."""
    if not re.fullmatch(r"https?://[!-~]+", text, re.IGNORECASE):
        raise ValueError("the URL must begin with http:// or https:// and hold no spaces or characters beyond ASCII")
    if "@" in text:
        raise ValueError("the URL must hold no user and no password: see CREDENTIALS in agentd(8)")
    if "?" in text or "#" in text:
        raise ValueError("the URL must end with the path; no ? and no # may follow")
    try:
        parts = parse.urlsplit(text)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:  # its text may quote what stands after the colon
        usable = False
    if not usable:
        raise ValueError("the URL must name a host and, where it has one, a port from 1 to 65535")


def _checked_url(text: str) -> str:
    check_url(text)
    return text


def _patience(raw: Raw) -> int | None:
    return None if raw == "window" else parse_text(raw, parse_duration, 'a duration such as 30min, or "window"')


def _dates(raw: Raw) -> tuple[tuple[str, str], ...]:
    return tuple(parse_each(raw, parse_dates, "a date such as 2026-12-24, or 2026-12-31/2027-01-02"))


def _required(raw: Raw) -> bool | RequiredBy:
    if isinstance(raw, str) and raw.lower() in _WORDS:
        return _WORDS[raw.lower()]
    found = as_mapping(raw, {"file", "job"}, "file: /run/reboot-required") if isinstance(raw, dict) else {}
    if len(found) != 1:
        raise ValueError("expected true, false, {file: /run/reboot-required} or {job: needs-reboot}")
    if "file" in found:
        return RequiredBy(file=absolute_path(found["file"], "file"))
    return RequiredBy(job=as_text(found["job"], "the name of a job", "job"))


KINDS: dict[str, Parser] = {
    "required": _required,
    "patience": _patience,
    "weekdays": weekdays,
    "dates": _dates,
    "time-of-day": text_parser(parse_time_of_day, 'a time of day such as "02:30"'),
    "url": text_parser(_checked_url, "a URL such as https://lock.example"),
}
"""The parsers of the kinds that only reboots have."""
