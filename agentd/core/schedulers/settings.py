"""The section `scheduler` of the configuration, and the scheduler that a job wants while it runs."""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, Struct, field

from agentd.core.fields import CONTROL, Duration, Fault, Invalid, Parser, Raw
from agentd.core.quantities import HOUR, MINUTE, SECOND, nearest
from agentd.core.schedulers.catalogue import MODES, NONE, Value

if TYPE_CHECKING:  # root's side of a start reads choices, and needs nothing of jobs
    from agentd.core.jobs.settings import Job

Mode = Literal["auto", "gaming", "lowlatency", "powersave", "server"]
ModeFlags = Mapping[str, Mapping[str, Mapping[str, Value]]]
"""Flags by mode and by scheduler."""

NAME = re.compile(r"(custom:)?[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
_FLAG = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_LONGEST_VALUE = 200
_PERCENT = re.compile(r"\s*(\d{1,6}(?:\.\d{1,6})?)\s*%\s*", re.ASCII)
_EXAMPLE = "none, a name such as scx_bpfland, {scx_bpfland: gaming} or {scx_bpfland: {mode: gaming, slice-us: 5000}}"
_OFTEN = MINUTE  # a job that runs more often than this does little but switch


class Choice(Struct, frozen=True):
    """A scheduler with its flags: those of `mode`, then `flags` over them. Written as a name, or as
    {scx_bpfland: gaming} or {scx_bpfland: {mode: gaming, slice-us: 5000}}.

    Flags from a file are texts as they were written: their types are the catalogue's to know.
    """

    name: str = NONE
    mode: str = ""
    """Empty: `scheduler.mode` of the configuration."""
    flags: Mapping[str, Value] = {}


OptionalChoice = Annotated[Choice | None, Meta(extra={"kind": "scheduler"})]
Share = Annotated[float, Meta(extra={"kind": "scheduler-share"})]


class PowerProfiles(Struct, frozen=True, kw_only=True):
    """The choices that follow the profile of power-profiles-daemon or tuned-ppd."""

    performance: OptionalChoice = None
    balanced: OptionalChoice = None
    power_saver: OptionalChoice = field(default=None, name="power-saver")


class Power(Struct, frozen=True, kw_only=True):
    """The choices that follow where the power comes from."""

    ac: OptionalChoice = None
    battery: OptionalChoice = None


class Follow(Struct, frozen=True, kw_only=True):
    """The choices that follow the machine: by its power profile, and by where the power comes from. Where both say
    something, the profile wins."""

    power_profile: PowerProfiles = field(default=PowerProfiles(), name="power-profile")
    power: Power = Power()

    def by_profile(self, profile: str) -> Choice | None:
        """Returns the choice for a power profile, as power-profiles-daemon calls it."""
        by = self.power_profile
        return {"performance": by.performance, "balanced": by.balanced, "power-saver": by.power_saver}.get(profile)

    def by_power(self, power: str) -> Choice | None:
        """Returns the choice for power from "ac" or "battery"."""
        return {"ac": self.power.ac, "battery": self.power.battery}.get(power)


class Guards(Struct, frozen=True, kw_only=True):
    """The bounds that a new scheduler must keep while on probation: `pressure` and `run_delay` are shares of time (0.8:
    80 %) over the last ten seconds, `program` is how much of one processor the scheduler's own program takes meanwhile,
    `loop_lag` is microseconds by which agentd's own loop is late. 0: no bound."""

    pressure: Share = 0.0
    run_delay: Share = 0.0
    program: Share = 0.0
    loop_lag: Duration = 2 * SECOND

    @property
    def any(self) -> bool:
        """Whether there is a bound to look at."""
        return bool(self.pressure or self.run_delay or self.program or self.loop_lag)


class SchedulerSettings(Struct, frozen=True, kw_only=True):
    """The settings of schedulers. `modes` has flags over those of the catalogue's modes."""

    default: Annotated[Choice, Meta(extra={"kind": "scheduler"})] = Choice()
    mode: Mode = "auto"
    probation: Annotated[int, Meta(ge=5 * SECOND, le=HOUR, extra={"kind": "duration"})] = 60 * SECOND
    guards: Guards = Guards()
    follow: Follow = Follow()
    modes: Annotated[ModeFlags, Meta(extra={"kind": "scheduler-modes"})] = {}
    serve_scx_loader: bool = False
    """Whether agentd answers to scxctl and other callers of org.scx.Loader as well."""


def wanted_by(job: "Job") -> Choice | None:
    """Returns the scheduler that a job wants while it runs: jobs come before schedulers and cannot name the type."""
    choice: Choice | None = job.scheduler
    return choice


def faults(settings: SchedulerSettings) -> Iterator[Fault]:
    """Yields a fault for each bound of the guards that no machine keeps to, or that none could break."""
    for key in ("pressure", "run_delay", "program"):
        if 0 < getattr(settings.guards, key) < 0.01:
            yield Fault(
                ("scheduler", "guards", key), "expected at least 1%, or 0% for no bound: no machine keeps to less"
            )
    if settings.guards.pressure > 1:
        yield Fault(("scheduler", "guards", "pressure"), "expected at most 100%: pressure is a share of time")
    if 0 < settings.guards.loop_lag < SECOND // 10:
        text = "expected at least 100ms, or 0 for no bound: agentd itself is late by as much now and then"
        yield Fault(("scheduler", "guards", "loop_lag"), text)


def doubts(jobs: "Mapping[str, Job]") -> Iterator[str]:
    """Yields a sentence for each job that would switch the scheduler all the time."""
    for name, job in jobs.items():
        often = job.trigger.interval
        if wanted_by(job) is not None and often is not None and often < _OFTEN:
            yield f"jobs.{name}: switches the scheduler at each run, and runs more than once a minute"


def _choice(raw: Raw) -> Choice:
    if isinstance(raw, str):
        return Choice(_name(raw))
    if not isinstance(raw, dict) or len(raw) != 1:
        raise Invalid(f"expected {_EXAMPLE}")
    ((name, how),) = raw.items()
    name = _name(name, name, is_key=True)
    if name == NONE:
        raise Invalid("the kernel's own scheduler (none) has no mode and no flags", name, is_key=True)
    if isinstance(how, str):
        return Choice(name, _mode(how, name))
    if not isinstance(how, dict):
        raise Invalid("expected a mode, or flags such as {mode: gaming, slice-us: 5000}", name)
    mode = _mode(how["mode"], name, "mode") if "mode" in how else ""
    return Choice(name, mode, _flags({key: value for key, value in how.items() if key != "mode"}, name))


def _name(text: str, *keys: str, is_key: bool = False) -> str:
    if not NAME.fullmatch(text):
        raise Invalid(f'"{text}" cannot be the name of a scheduler: expected {_EXAMPLE}', *keys, is_key=is_key)
    return text


def _mode(raw: Raw, *keys: str) -> str:
    if not isinstance(raw, str) or raw not in MODES:
        shown = f'"{raw}" is not' if isinstance(raw, str) else "expected"
        raise Invalid(f"{shown} one of {', '.join(MODES)}{nearest(raw, MODES) if isinstance(raw, str) else ''}", *keys)
    return raw


def _flags(raw: Raw, *keys: str) -> dict[str, Value]:
    """Returns flags as they were written: which there are and what they take is the catalogue's to say."""
    if not isinstance(raw, dict):
        raise Invalid("expected flags such as {slice-us: 5000}", *keys)
    found: dict[str, Value] = {}
    for flag, value in raw.items():
        if not _FLAG.fullmatch(flag):
            raise Invalid(f'"{flag}" cannot be a flag: expected a name such as slice-us', *keys, flag, is_key=True)
        if not isinstance(value, str) or not value or len(value) > _LONGEST_VALUE or CONTROL.search(value):
            raise Invalid(f"expected one value of at most {_LONGEST_VALUE} characters", *keys, flag)
        found[flag] = value
    return found


def _modes(raw: Raw) -> ModeFlags:
    if not isinstance(raw, dict):
        raise Invalid("expected flags by mode and scheduler, such as {gaming: {scx_bpfland: {slice-us: 5000}}}")
    found: dict[str, dict[str, dict[str, Value]]] = {}
    for mode, schedulers in raw.items():
        if mode not in MODES:
            text = f'"{mode}" is not one of {", ".join(MODES)}{nearest(mode, MODES)}'
            raise Invalid(text, mode, is_key=True)
        if not isinstance(schedulers, dict):
            raise Invalid("expected flags by scheduler, such as {scx_bpfland: {slice-us: 5000}}", mode)
        for name in schedulers:
            if NAME.fullmatch(name) is None or name == NONE:
                raise Invalid(f'"{name}" cannot be the name of a scheduler with flags', mode, name, is_key=True)
        found[mode] = {name: _flags(flags, mode, name) for name, flags in schedulers.items()}
    return found


def _share(raw: Any) -> float:
    found = _PERCENT.fullmatch(raw) if isinstance(raw, str) else None
    if found is None:
        raise Invalid("expected percents of the time, such as 80%")
    return float(found[1]) / 100


KINDS: Mapping[str, Parser] = {"scheduler": _choice, "scheduler-modes": _modes, "scheduler-share": _share}
"""The parsers of the kinds that only schedulers have, and jobs that want one."""
