"""The configuration: which files, how they lie over each other, what their values mean."""

import gc
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from msgspec import UNSET, Struct
from msgspec.structs import replace
from yaml import MappingNode, Node, ScalarNode

from agentd.config.nodes import Decoder, Parser, Problem, Problems, compose
from agentd.core.config import Config
from agentd.core.fields import Invalid
from agentd.core.jobs import triggers
from agentd.core.jobs.settings import Job, Missed
from agentd.core.jobs.unitfile import WRITTEN_BY_AGENTD
from agentd.core.quantities import nearest, parse_duration, parse_size, parse_time_of_day, parse_weekdays
from agentd.core.reboots.policy import check_url, parse_dates
from agentd.core.times import timezone

SYSTEM_DIRECTORIES = tuple(Path(folder) for folder in ("/usr/lib/agentd", "/run/agentd", "/etc/agentd"))
"""Rising precedence: a file hides those of the same name before it; a link to /dev/null masks them."""
_OF_THE_SHELL = {"IFS", "OPTIND", "PWD", "PPID"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
MAIN_FILE = "agentd.yaml"
DROP_INS = "conf.d"
_SUFFIXES = {".yaml", ".yml"}


class Loaded(Struct, frozen=True):
    """A configuration and the files that it was read from, in order of rising precedence."""

    config: Config
    files: tuple[str, ...]


def sources(given: Path | None) -> list[Path]:
    """The files that make up the configuration: of one file, of one folder, or of the system's folders.

    A folder holds agentd.yaml and conf.d/*.yaml (or .yml); drop-ins are read in the order of their names.
    """
    if given is not None and not given.is_dir():
        return [given]
    found: dict[str, Path] = {}
    for folder in SYSTEM_DIRECTORIES if given is None else [given]:
        for file in (folder / MAIN_FILE, *_drop_ins(folder / DROP_INS)):
            if file.exists() or file.is_symlink():
                found["" if file.parent == folder else file.name] = file
    return [found[name] for name in sorted(found) if not found[name].is_char_device()]  # /dev/null


def _drop_ins(folder: Path) -> list[Path]:
    try:
        # A name with a dot first is an editor's.
        return [file for file in folder.iterdir() if file.suffix in _SUFFIXES and not file.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []


def folders(given: Path | None) -> list[Path]:
    """The folders in which a change may alter the configuration."""
    if given is not None and not given.is_dir():
        return [given.parent]
    return [path for top in (SYSTEM_DIRECTORIES if given is None else [given]) for path in (top, top / DROP_INS)]


def load(given: Path | None = None) -> Loaded:
    """Reads the configuration. Raises Problems with every error of every file."""
    # Nodes refer to nothing that refers to them: looking for cycles only doubles the time for many jobs.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return _load(given)
    finally:
        if collecting:
            gc.enable()


def _load(given: Path | None) -> Loaded:
    try:
        files = sources(given)
    except OSError as error:
        reason = f"cannot be read: {(error.strerror or str(error)).lower()}"
        raise Problems([Problem(str(error.filename or given), 0, 0, reason)]) from None
    if not files:
        where = given or SYSTEM_DIRECTORIES[-1]
        raise Problems([Problem(str(where), 0, 0, f"no configuration: expected {MAIN_FILE} in this folder")])
    decoder = Decoder(KINDS)
    top: MappingNode | None = None
    whole = True
    for file in files:
        try:
            layer = compose(file, str(file))
        except Problems as error:
            decoder.problems += error.found
            whole = False
            continue
        if layer is not None:
            if len(files) > 1:  # before they are laid over each other, each must be sound by itself
                _walk(decoder, layer, "", depth=3)
            top = layer if top is None else _merge(top, layer, depth=3)
    if not whole:  # what is missing would only make for more errors
        raise Problems(decoder.problems)
    config = Config() if top is None else _decode(decoder, top)
    if config is not None:
        _check_references(decoder, top, config)
        _check_reboot(decoder, top, config)
    if decoder.problems or config is None:
        raise Problems(decoder.problems)
    return Loaded(config, tuple(str(file) for file in files))


def _walk(decoder: Decoder, node: Node, path: str, depth: int) -> None:
    """Finds keys that come twice at the levels that are laid over each other: merging would hide them."""
    if depth and isinstance(node, MappingNode):
        for key, _, value in decoder.items(node, path):
            _walk(decoder, value, f"{path}.{key}" if path else key, depth - 1)


def _merge(base: Node, over: Node, depth: int) -> Any:
    """Mappings are laid over each other key by key down to a job's settings; anything else is replaced."""
    if depth == 0 or not (isinstance(base, MappingNode) and isinstance(over, MappingNode)):
        return over
    merged = {key.value: (key, value) for key, value in base.value if isinstance(key, ScalarNode)}
    for key, value in over.value:
        if isinstance(key, ScalarNode):
            old = merged.get(key.value)
            merged[key.value] = (key, value if old is None else _merge(old[1], value, depth - 1))
    return MappingNode(over.tag, list(merged.values()), over.start_mark, over.end_mark)


def _decode(decoder: Decoder, top: MappingNode) -> Config | None:
    jobs: dict[str, Job] = {}
    rest = MappingNode(top.tag, [], top.start_mark, top.end_mark)
    broken = False
    for key, key_node, value in decoder.items(top, ""):
        if key != "jobs":
            rest.value.append((key_node, value))
        elif not isinstance(value, MappingNode):
            decoder.problem(value, "jobs", "expected a mapping of job names to jobs (with no job: {})")
        else:
            for name, name_node, node in decoder.items(value, "jobs"):
                if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,99}", name):
                    sentence = "is not a job name (1 to 100 letters, digits, _ . : - and none of . : - first)"
                    decoder.problem(name_node, "jobs", f'"{name}" {sentence}')
                job = decoder.struct(node, Job, f"jobs.{name}", name=name)
                broken = broken or job is UNSET
                jobs[name] = job
    config = decoder.struct(rest, Config, jobs={})
    if broken or config is UNSET:
        return None
    default = config.timezone or local_timezone()
    filled = {name: job if job.timezone else replace(job, timezone=default) for name, job in jobs.items()}
    result: Config = replace(config, jobs=filled, timezone=default)
    return result


def _check_references(decoder: Decoder, top: MappingNode | None, config: Config) -> None:
    """A job that follows another: the other must exist, and no job may follow itself in the end."""
    for name, job in config.jobs.items():
        upstream = job.trigger.upstream
        if upstream is None:
            continue
        node = _find(top, ("jobs", name, "when", job.trigger.key))
        path = f"jobs.{name}.when.{job.trigger.key}"
        if upstream not in config.jobs:
            decoder.problem(node, path, f'there is no job "{upstream}"{nearest(upstream, config.jobs)}')
            continue
        chain = [name]
        while upstream is not None and upstream not in chain and upstream in config.jobs:
            chain.append(upstream)
            upstream = config.jobs[upstream].trigger.upstream
        if upstream == name:
            decoder.problem(node, path, f"the jobs go round in a circle: {' after '.join((*chain, name))}")


def _find(node: Any, path: Iterable[str]) -> Any:
    for part in path:
        node = next((value for key, value in node.value if key.value == part), node)
    return node


def local_timezone() -> str:
    """The machine's time zone by name: $TZ, else what /etc/localtime links to, else UTC."""
    target = os.environ.get("TZ", "").lstrip(":") or str(Path("/etc/localtime").resolve()).partition("zoneinfo/")[2]
    try:
        timezone(target)
    except ValueError:
        return "UTC"
    return target


def _command(raw: Any) -> tuple[str, ...]:
    words = ("/bin/sh", "-c", raw) if isinstance(raw, str) else raw
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
        raise Invalid("expected a list of a program and its arguments, or a text for /bin/sh -c")
    if not words or not words[0].strip() or (isinstance(raw, str) and not raw.strip()):
        raise Invalid("is empty: expected a program to run")
    if any("\0" in word for word in words):
        raise Invalid("has a NUL character, which no argument can have")
    if sum(len(word.encode()) for word in words) > 100_000:
        raise Invalid("is longer than 100,000 bytes: put it into a script")
    return tuple(words)


def _timezone(raw: Any) -> str:
    if not isinstance(raw, str):
        raise Invalid("expected a time zone such as Europe/Berlin")
    timezone(raw)
    return raw


def _path(raw: Any) -> str:
    if not isinstance(raw, str) or not raw.startswith("/"):
        raise Invalid(f'"{raw}" is not an absolute path' if isinstance(raw, str) else "expected a path")
    if _CONTROL.search(raw) or raw != raw.strip() or raw.endswith("\\"):
        raise Invalid("has a control character, or a space or backslash at its end")
    return raw


def _text(parse: Any, what: str) -> Parser:
    def parser(raw: Any) -> object:
        if not isinstance(raw, str):
            raise Invalid(f"expected {what}")
        result: object = parse(raw)
        return result

    return parser


def _missed(raw: Any) -> Missed:
    if raw in ("skip", "once", "all"):
        return Missed(raw)
    if isinstance(raw, dict) and set(raw) == {"within"} and isinstance(raw["within"], str):
        try:
            return Missed("within", parse_duration(raw["within"]))
        except ValueError as error:
            raise Invalid(str(error), "within") from None
    shown = f'"{raw}" is not one of' if isinstance(raw, str) else "expected one of"
    raise Invalid(f"{shown} skip, once, all, {{within: 1h}}")


def _useful(raw: Any) -> str:
    if raw in ("output", "exit-code"):
        return str(raw)
    if isinstance(raw, dict) and set(raw) == {"file"}:
        try:
            return f"file:{_path(raw['file'])}"
        except Invalid as error:
            raise Invalid(str(error), "file") from None
    shown = f'"{raw}" is not one of' if isinstance(raw, str) else "expected one of"
    raise Invalid(f"{shown} output, exit-code, {{file: /path}}")


def _environment(raw: Any) -> dict[str, str]:
    if not isinstance(raw, dict):
        raise Invalid("expected a mapping of names to texts")
    for name, value in raw.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or name.startswith("AGENTD_"):
            own = " (AGENTD_ names are agentd's own)" if name.startswith("AGENTD_") else ""
            raise Invalid(f'"{name}" is not a name for an environment variable{own}', name, is_key=True)
        if name in _OF_THE_SHELL:
            raise Invalid(f"{name} belongs to the shell that starts the job", name, is_key=True)
        if not isinstance(value, str) or re.search(r"[\x00-\x08\x0b-\x1f\x7f]", value) or len(value) > 30_000:
            raise Invalid("expected at most 30,000 characters, no control characters", name)
    return raw


def _directives(raw: Any) -> dict[str, tuple[str, ...]]:
    """Settings for the [Service] section of the job's unit, passed on as they are."""
    if not isinstance(raw, dict):
        raise Invalid("expected a mapping of settings of [Service] to texts or lists of them")
    found = {}
    for name, value in raw.items():
        if not re.fullmatch(r"[A-Z][A-Za-z0-9]*", name):
            raise Invalid(f'"{name}" is not the name of a setting such as ProtectHome', name, is_key=True)
        if name in WRITTEN_BY_AGENTD:
            raise Invalid(f"{name} follows from the job's own settings and cannot be set here", name, is_key=True)
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(item, str) and not _CONTROL.search(item) and not item.endswith("\\") for item in values):
            raise Invalid("expected a text of one line, or a list of them", name)
        found[name] = tuple(values)
    return found


def _patience(raw: Any) -> int | None:
    if raw == "window":
        return None
    if not isinstance(raw, str):
        raise Invalid('expected a duration such as 30min, or "window"')
    return parse_duration(raw)


def _weekdays(raw: Any) -> tuple[int, ...]:
    days = raw if isinstance(raw, list) else [raw]
    if not days or not all(isinstance(day, str) for day in days):
        raise Invalid("expected weekdays such as mon-fri")
    return parse_weekdays(",".join(days))


def _dates(raw: Any) -> tuple[tuple[str, str], ...]:
    dates = raw if isinstance(raw, list) else [raw]
    if not all(isinstance(day, str) for day in dates):
        raise Invalid("expected dates such as [2026-12-24, 2026-12-31/2027-01-02]")
    return tuple(map(parse_dates, dates))


def _url(text: str) -> str:
    try:
        check_url(text)
    except ValueError as error:
        raise Invalid(str(error)) from None
    return text


def _check_reboot(decoder: Decoder, top: MappingNode | None, config: Config) -> None:
    """What parts of `reboot` mean together."""
    policy = config.reboot

    def wrong(path: str, sentence: str) -> None:
        decoder.problem(_find(top, path.partition("[")[0].split(".")), path, sentence)

    for path, name in (("reboot.hooks.before", policy.hooks.before), ("reboot.hooks.after", policy.hooks.after)):
        if name is not None and name not in config.jobs:
            wrong(path, f'there is no job "{name}"{nearest(name, config.jobs)}')
    named = (("nightly", policy.nightly), *((f"windows[{i}]", one) for i, one in enumerate(policy.windows)))
    for key, window in named:
        if window is not None and window.at is not None and (window.hour, window.minute) != (None, None):
            wrong(f"reboot.{key}", "has both at and hour or minute: say it once")
        if window is not None and window.jitter >= window.window:
            wrong(f"reboot.{key}", "has a jitter that is not shorter than its window")
    fleet = policy.fleet
    if fleet is not None and bool(fleet.fleetlock) == bool(fleet.etcd):
        wrong("reboot.fleet", "needs exactly one of fleetlock and etcd")
    if policy.wait_for.inhibitors is not None:
        wrong("reboot.wait_for.inhibitors", "inhibitors hold a reboot as long as they last: the only value is window")


KINDS: dict[str, Parser] = {
    "when": triggers.parse,
    "duration": _text(parse_duration, "a duration such as 5min"),
    "size": _text(parse_size, "a size such as 512M"),
    "command": _command,
    "timezone": _timezone,
    "path": _path,
    "missed": _missed,
    "useful": _useful,
    "environment": _environment,
    "directives": _directives,
    "patience": _patience,
    "weekdays": _weekdays,
    "dates": _dates,
    "time-of-day": _text(parse_time_of_day, 'a time of day such as "02:30"'),
    "url": _text(_url, "a URL such as https://lock.example"),
}
