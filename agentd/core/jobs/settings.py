"""The section `jobs` of the configuration: a job's settings, their parsers, and who may follow whom."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from agentd.core.fields import (
    CONTROL,
    AbsolutePath,
    Duration,
    Fault,
    Invalid,
    Parser,
    PositiveDuration,
    Raw,
    Size,
    UserName,
    ZoneName,
    absolute_path,
    parse_text,
)
from agentd.core.jobs import triggers
from agentd.core.jobs.triggers import AnyTrigger, Manual, Trigger
from agentd.core.quantities import MINUTE, SECOND, format_duration, nearest, parse_duration

_SECRET = re.compile(r"PASSWORD|PASSWD|PASSPHRASE|TOKEN|SECRET|API_?KEY|PRIVATE_?KEY|ACCESS_?KEY", re.IGNORECASE)
_PLACE = re.compile(r"_?(FILE|PATH|DIR|COMMAND|URL|NAME|ID)$", re.IGNORECASE)
"""The end of a variable that tells where a secret is, or whose, and not the secret."""
Event = Literal["start", "success", "failure", "recovered", "progress", "tool", "late", "too-long", "too-short"]
Mode = Literal["on", "shadow", "off"]

WRITTEN_BY_AGENTD = frozenset({
    "Type", "ExecStart", "Slice", "User", "Group", "WorkingDirectory", "Environment", "StandardInput",
    "SyslogIdentifier", "RuntimeMaxSec", "TimeoutStopSec", "MemoryMax", "CPUWeight", "TasksMax", "Restart",
    "RestartForceExitStatus", "RemainAfterExit", "Delegate",
})  # fmt: skip
"""Settings of [Service] that a job's `systemd:` may not name, because they follow from the job's own settings."""
OWN_ROOT = frozenset({"RootDirectory", "RootImage"})
"""Settings of [Service] that give a job another root directory than the machine's."""
_LONGEST = 30_000  # characters of a value; escaped and in UTF-8 far below the MiB that systemd reads of a line
_OF_THE_SHELL = {"IFS", "OPTIND", "PWD", "PPID"}
_OF_SYSTEMD = re.compile(
    r"(MONITOR|TRIGGER|LISTEN|WATCHDOG|MEMORY_PRESSURE)_.+|(RUNTIME|STATE|CACHE|LOGS|CONFIGURATION|CREDENTIALS)_DIRECTORY"
    r"|(MAIN|MANAGER)PID(FDID)?|SYSTEMD_EXEC_PID|INVOCATION_ID|DEBUG_INVOCATION|NOTIFY_SOCKET|FDSTORE|JOURNAL_STREAM"
    r"|LOG_NAMESPACE|SERVICE_RESULT|EXIT_CODE|EXIT_STATUS"
)
"""Variables in which systemd tells a service about itself (systemd.exec(5)): a value of one's own would be a lie."""
_OVERLAPS_OF_OTHERS = {"allow": "set concurrency: 2 or more", "forbid": "say skip"}
"""Words of Kubernetes' CronJobs, and what says the same here."""
_WHEN = ("cron", "schedule", "every", "at", "interval")
_EXIT_CODES = 255
_NO_COMMANDS = {"ExecPaths", "ExecSearchPath"}
_WITH_ROOTS_RIGHTS = re.compile(r"""(^|;)[-@:|"'\s]*[+!\\]""")
"""The beginning of a command, or of one behind a semicolon, with systemd's sign for rights that the user lacks; a
backslash there could be such a sign in disguise."""


class Missed(Struct, frozen=True):
    """The policy for due times that passed while nothing could start; `within` is in microseconds."""

    policy: Literal["skip", "once", "all", "within"] = "once"
    within: int = 0


class Retries(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Attempts after a failed one. The pause doubles from `backoff` up to `max`."""

    count: Annotated[int, Meta(ge=0, le=100)] = 0
    backoff: Duration = MINUTE
    max: Duration = 30 * MINUTE


class Limits(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Resource limits of a run, enforced by systemd where it runs the jobs."""

    memory: Size | None = None
    cpu_weight: Annotated[int, Meta(ge=1, le=10000)] | None = None
    tasks: Annotated[int, Meta(ge=1, le=1_000_000_000)] | None = None


class Expect(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The expectations of a job, in microseconds: a run begins so soon after each due time, and takes at least and at
    most so long."""

    start_within: PositiveDuration | None = None
    at_least: PositiveDuration | None = None
    at_most: PositiveDuration | None = None


class PingSettings(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The check outside that hears when runs begin and end. `credential` names its secret address, as of a channel of
    notices."""

    credential: Annotated[str, Meta(extra={"kind": "credential"})]


class Job(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A job as the configuration describes it."""

    name: str  # its key in `jobs`
    run: Annotated[tuple[str, ...], Meta(extra={"kind": "command", "synonyms": ("command", "cmd", "exec", "script")})]
    when: Annotated[AnyTrigger, Meta(extra={"kind": "when", "synonyms": _WHEN})] = Manual()
    description: Annotated[str, Meta(max_length=10_000)] = ""
    timezone: ZoneName = ""  # empty: that of the configuration
    enabled: bool = True
    user: UserName | None = None
    group: UserName | None = None
    working_directory: AbsolutePath | None = None
    environment: Annotated[dict[str, str], Meta(extra={"kind": "environment"})] = {}
    timeout: PositiveDuration | None = None
    stop_timeout: Duration = 10 * SECOND
    overlap: Annotated[Literal["skip", "queue", "replace"], Meta(extra={"instead": _OVERLAPS_OF_OTHERS})] = "skip"
    concurrency: Annotated[int, Meta(ge=1, le=1000)] = 1
    missed: Annotated[Missed, Meta(extra={"kind": "missed"})] = Missed()
    retries: Retries = Retries()
    jitter: Duration = 0
    limits: Limits = Limits()
    critical: bool = False  # the machine is not rebooted while it runs
    expect: Expect | None = None
    notify: tuple[Event, ...] | None = None  # None: as the routes of notices say
    ping: PingSettings | None = None
    useful: Annotated[str | None, Meta(extra={"kind": "useful"})] = None
    learning: Mode | None = None  # None: as `learning.mode` says
    scheduler: Annotated[Any, Meta(extra={"kind": "scheduler"})] = None  # a Choice of core.schedulers, for its runs
    systemd: Annotated[dict[str, tuple[str, ...]], Meta(extra={"kind": "directives"})] = {}

    @property
    def trigger(self) -> Trigger:
        """`when`, as the core sees every kind of it."""
        return self.when

    @property
    def has_own_root(self) -> bool:
        """Whether the job, as a unit, has another root directory than the machine's."""
        return not OWN_ROOT.isdisjoint(self.systemd)


def faults(jobs: Mapping[str, Job]) -> Iterator[Fault]:
    """Yields a fault for each job that follows a job which does not exist, or itself in the end, for each with a root
    directory of its own whose program is not named by a path, and for each that is to take more time than it may."""
    for name, job in jobs.items():
        least, most = (job.expect.at_least, job.expect.at_most) if job.expect is not None else (None, None)
        if least is not None and most is not None and least >= most:
            text = f"expected a duration below that of at_most, which is {format_duration(most)}"
            yield Fault(("jobs", name, "expect", "at_least"), text)
        if job.has_own_root and not job.run[0].startswith("/"):
            setting = min(OWN_ROOT.intersection(job.systemd))
            text = f'with {setting} in systemd, expected the path of the program within that root, not "{job.run[0]}"'
            yield Fault(("jobs", name, "run"), text)
        yield from _misread(jobs, name)
        if job.retries.backoff > job.retries.max:
            first, longest = format_duration(job.retries.backoff), format_duration(job.retries.max)
            sentence = f"the first pause of {first} is longer than the longest, {longest} (max): set max as well"
            yield Fault(("jobs", name, "retries", "backoff"), sentence)
    upstreams = {name: job.trigger.upstream for name, job in jobs.items() if job.trigger.upstream is not None}
    for name, upstream in upstreams.items():
        if upstream not in jobs:
            yield Fault(_followed(jobs[name]), f'there is no job "{upstream}"{nearest(upstream, jobs)}')
    for circle in _circles(upstreams):
        for position, name in enumerate(circle):
            around = " after ".join((*circle[position:], *circle[:position], name))
            yield Fault(_followed(jobs[name]), f"the jobs go round in a circle: {around}")


def _misread(jobs: Mapping[str, Job], name: str) -> Iterator[Fault]:
    """Yields a fault where the name of a job is also the id of a run of another."""
    other, dot, number = name.rpartition(".")
    if dot and number.isdecimal() and other in jobs:
        yield Fault(("jobs", name), f"run {number} of the job {other} has the same name: call one of the two otherwise")


def doubts(jobs: Mapping[str, Job]) -> Iterator[str]:
    """Yields a sentence for each variable of a job that looks like a secret, which everybody could see, and for each
    expectation that says nothing: what would break it never comes, or always."""
    for name, job in jobs.items():
        for variable, value in job.environment.items():
            if _SECRET.search(variable) and not (_PLACE.search(variable) or value == "" or value.startswith("/")):
                hint = "keep secrets in systemd: {LoadCredential: NAME:/PATH}, or in a file of the job's user"
                yield f"jobs.{name}.environment.{variable} is for everybody on this machine to see: {hint}"
        if (expect := job.expect) is None:
            continue
        if expect.start_within is not None and job.trigger.key == Manual.key:
            yield f"jobs.{name}.expect.start_within has no effect: the job has no due times (when)"
        if job.timeout is None:
            continue
        if expect.at_most is not None and expect.at_most >= job.timeout:
            yield f"jobs.{name}.expect.at_most has no effect: timeout ends a run after {format_duration(job.timeout)}"
        if expect.at_least is not None and expect.at_least >= job.timeout:
            ends = f"timeout ends a run after {format_duration(job.timeout)}"
            yield f"jobs.{name}.expect.at_least is never met: {ends}"


def _followed(job: Job) -> tuple[str, ...]:
    return ("jobs", job.name, "when", job.trigger.key)


def _circles(upstreams: Mapping[str, str]) -> Iterator[list[str]]:
    """Yields the names on each circle once, each after its follower."""
    seen: set[str] = set()
    for first in upstreams:
        chain: list[str] = []
        name = first
        while name in upstreams and name not in seen:
            seen.add(name)
            chain.append(name)
            name = upstreams[name]
        if name in chain:
            yield chain[chain.index(name) :]


def _command(raw: Raw) -> tuple[str, ...]:
    words = ["/bin/sh", "-c", raw] if isinstance(raw, str) else raw
    if not isinstance(words, list):
        raise Invalid("expected a list of a program and its arguments, or a text for /bin/sh -c")
    if not words or (isinstance(raw, str) and not raw.strip()):
        raise Invalid("is empty: expected a program to run")
    command = tuple(_word(word, *(() if isinstance(raw, str) else (position,))) for position, word in enumerate(words))
    if sum(len(word.encode()) for word in command) > 100_000:
        raise Invalid("is longer than 100,000 bytes: put it into a script")
    return command


def _word(raw: Raw, *keys: int) -> str:
    if not isinstance(raw, str):
        raise Invalid("expected a text: the program or one of its arguments", *keys)
    if keys == (0,) and not raw.strip():
        raise Invalid("is empty: expected a program to run", *keys)
    if "\0" in raw:
        raise Invalid("has a NUL character, which no argument can have", *keys)
    return raw


def _missed(raw: Any) -> Missed:
    if raw in ("skip", "once", "all"):
        return Missed(raw)
    if isinstance(raw, dict) and set(raw) == {"within"} and isinstance(raw["within"], str):
        within = parse_text(raw["within"], parse_duration, "a duration", "within")
        if within < MINUTE:
            sentence = f'"{raw["within"]}" is shorter than a minute, by which any due time may be late: expected more'
            raise Invalid(sentence, "within")
        return Missed("within", within)
    raise _none_of(raw, "skip, once, all, {within: 1h}")


def _useful(raw: Raw) -> str:
    """Returns output, exit-code, reported, exit-code:10,11 or file:/path."""
    if raw in ("output", "exit-code", "reported"):
        return str(raw)
    if isinstance(raw, dict) and set(raw) == {"file"}:
        return f"file:{absolute_path(raw['file'], 'file')}"
    if isinstance(raw, dict) and set(raw) == {"exit-code"}:
        codes = raw["exit-code"] if isinstance(raw["exit-code"], list) else [raw["exit-code"]]
        return f"exit-code:{','.join(str(_exit_code(code)) for code in codes)}"
    raise _none_of(raw, "output, exit-code, reported, {exit-code: [10, 11]}, {file: /path}")


def _exit_code(raw: Raw) -> int:
    if isinstance(raw, str) and raw.isascii() and raw.isdecimal() and len(raw) <= 3 and int(raw) <= _EXIT_CODES:
        return int(raw)
    raise Invalid(f"expected exit codes between 0 and {_EXIT_CODES}", "exit-code")


def _none_of(raw: Raw, words: str) -> Invalid:
    return Invalid(f'"{raw}" is not one of {words}' if isinstance(raw, str) else f"expected one of {words}")


def _environment(raw: Raw) -> dict[str, str]:
    if not isinstance(raw, dict):
        raise Invalid("expected a mapping of names to texts")
    found = {}
    for name, value in raw.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or name.startswith("AGENTD_"):
            own = " (AGENTD_ names are agentd's own)" if name.startswith("AGENTD_") else ""
            raise Invalid(f'"{name}" is not a name for an environment variable{own}', name, is_key=True)
        if name in _OF_THE_SHELL:
            raise Invalid(f"{name} belongs to the shell that starts the job", name, is_key=True)
        if _OF_SYSTEMD.fullmatch(name):
            raise Invalid(f"{name} belongs to systemd, which tells the job about itself in it", name, is_key=True)
        if not isinstance(value, str):
            raise Invalid(f"expected a text, got a {'list' if isinstance(value, list) else 'mapping'}", name)
        if re.search(r"[\x00-\x08\x0b-\x1f\x7f]", value) or len(value) > _LONGEST:
            raise Invalid(f"expected at most {_LONGEST:,} characters, no control characters", name)
        found[name] = value
    return found


def _directives(raw: Raw) -> dict[str, tuple[str, ...]]:
    """Settings for the [Service] section of the job's unit, passed on as they are."""
    if not isinstance(raw, dict):
        raise Invalid("expected a mapping of settings of [Service] to texts or lists of them")
    found = {}
    for name, value in raw.items():
        if not re.fullmatch(r"[A-Z][A-Za-z0-9]*", name):
            raise Invalid(f'"{name}" is not the name of a setting such as ProtectHome', name, is_key=True)
        if name in WRITTEN_BY_AGENTD:
            raise Invalid(f"{name} follows from the job's own settings and cannot be set here", name, is_key=True)
        if name == "PermissionsStartOnly":
            raise Invalid(f"{name} would have root run commands from the job's environment", name, is_key=True)
        if isinstance(value, list):
            found[name] = tuple(
                _setting(name, item, "a text of one line", position) for position, item in enumerate(value)
            )
        else:
            found[name] = (_setting(name, value, "a text of one line, or a list of them"),)
    return found


def _setting(name: str, raw: Raw, expected: str, *keys: int) -> str:
    if not isinstance(raw, str) or CONTROL.search(raw) or raw.endswith("\\"):
        raise Invalid(f"expected {expected}", name, *keys)
    if len(raw) > _LONGEST:
        raise Invalid(
            f"expected at most {_LONGEST:,} characters: systemd reads no unit with a longer line", name, *keys
        )
    if name.startswith("Exec") and name not in _NO_COMMANDS and _WITH_ROOTS_RIGHTS.search(raw):
        text = "begins a command with + or !: root would run it from the job's environment, which is its user's"
        raise Invalid(f"{text}; root's work is a job of its own", name, *keys)
    return raw


KINDS: dict[str, Parser] = {
    "when": triggers.parse,
    "command": _command,
    "environment": _environment,
    "missed": _missed,
    "useful": _useful,
    "directives": _directives,
}
"""The parsers of the kinds that only jobs have."""
