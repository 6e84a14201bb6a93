"""The types of the policy for reboots, as the configuration says it."""

import re
from datetime import date
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct, field

from agentd.core.quantities import DAY, HOUR, MINUTE, format_duration, format_time_of_day, format_weekdays

Kind = Literal["reboot", "soft-reboot", "kexec"]
Duration = Annotated[int, Meta(ge=0, extra={"kind": "duration"})]
Patience = Annotated[int | None, Meta(extra={"kind": "patience"})]
"""How long something may hold a reboot; None: for as long as the window lasts ("window")."""
Days = Annotated[tuple[int, ...], Meta(extra={"kind": "weekdays"})]
Dates = Annotated[tuple[tuple[str, str], ...], Meta(extra={"kind": "dates"})]
TimeOfDay = Annotated[int, Meta(extra={"kind": "time-of-day"})]
JobName = Annotated[str, Meta(min_length=1, max_length=100)]

_EVERY_DAY = (0, 1, 2, 3, 4, 5, 6)


class Window(Struct, frozen=True, kw_only=True):
    """A time of day at which the machine is rebooted, or a while later where something holds it.

    `at` is in seconds since local midnight, or said as hour and minute. Of `except_`, each is a first and last date.
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
        """The window in words."""
        days = "" if self.days == _EVERY_DAY else f" {format_weekdays(self.days)}"
        return f"{format_time_of_day(self.begin)}{days}, for {format_duration(self.window)}"


class WaitFor(Struct, frozen=True, kw_only=True):
    """How long what runs and who works may hold a reboot."""

    jobs: Duration = 10 * MINUTE
    users: Patience = None
    inhibitors: Patience = None
    idle: Annotated[int, Meta(ge=MINUTE, extra={"kind": "duration"})] | None = None


class Caps(Struct, frozen=True, kw_only=True):
    """What bounds automatic reboots, whatever asks for them."""

    min_uptime: Duration = HOUR
    per_day: Annotated[int, Meta(ge=0, le=1000)] = 2
    per_week: Annotated[int, Meta(ge=0, le=1000)] = 8


class Hooks(Struct, frozen=True, kw_only=True):
    """Names of jobs: one that prepares a reboot or says no to it by failing, one that checks the machine after it."""

    before: JobName | None = None
    after: JobName | None = None


class FleetPolicy(Struct, frozen=True, kw_only=True):
    """Where the slots of the machine's group are; `slots` is used only where nobody has set their number yet."""

    fleetlock: Annotated[str, Meta(extra={"kind": "url"})] = ""
    etcd: tuple[Annotated[str, Meta(extra={"kind": "url"})], ...] = ()
    group: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9.-]+\Z", max_length=100)] = "default"
    slots: Annotated[int, Meta(ge=1, le=100_000)] = 1
    user: str = ""


class RebootPolicy(Struct, frozen=True, kw_only=True):
    """The part `reboot` of the configuration."""

    nightly: Window | None = None
    windows: tuple[Window, ...] = ()
    kind: Kind = "reboot"
    only_if_required: bool = False
    latest: Annotated[int, Meta(ge=HOUR, extra={"kind": "duration"})] | None = None
    grace: Duration = 10 * MINUTE
    warnings: tuple[Duration, ...] = (10 * MINUTE, MINUTE)
    wait_for: WaitFor = WaitFor()
    limits: Caps = Caps()
    hooks: Hooks = Hooks()
    fleet: FleetPolicy | None = None

    @property
    def all_windows(self) -> tuple[Window, ...]:
        """Those that are enabled."""
        nightly = () if self.nightly is None else (self.nightly,)
        return tuple(window for window in (*nightly, *self.windows) if window.enabled)


def parse_dates(text: str) -> tuple[str, str]:
    """First and last date from "2026-12-24" or "2026-12-24/2027-01-02". Raises ValueError with a sentence."""
    first, slash, last = text.partition("/")
    try:
        found = date.fromisoformat(first).isoformat(), date.fromisoformat(last if slash else first).isoformat()
    except ValueError:
        found = ("1", "0")
    if found[0] > found[1] or len(first) != 10:
        raise ValueError(f'"{text}" is not a date (try 2026-12-24, or 2026-12-24/2027-01-02)')
    return found


def check_url(text: str) -> None:
    """Raises ValueError with a sentence. It never repeats the text, which may hold a password."""
    if not re.fullmatch(r"https?://[!-~]+", text, re.IGNORECASE):
        raise ValueError("the URL must begin with http:// or https:// and hold no spaces or characters beyond ASCII")
    if "@" in text:
        raise ValueError("the URL must hold no user and no password: see CREDENTIALS in agentd(8)")
    if "?" in text or "#" in text:
        raise ValueError("the URL must end with the path; no ? and no # may follow")
    try:
        parts = urlsplit(text)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:  # its text may quote what stands after the colon
        usable = False
    if not usable:
        raise ValueError("the URL must name a host and, where it has one, a port from 1 to 65535")
