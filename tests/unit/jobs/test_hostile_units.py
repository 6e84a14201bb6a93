"""Any configuration, read by systemd's rules: what is accepted becomes units that say what was meant, and no more.

AGENTD_FUZZ=SECONDS looks for about as long; without it a few hundred examples do.
"""

import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agentd.config import files
from agentd.config.problems import Problems
from agentd.core.jobs.settings import WRITTEN_BY_AGENTD, Job
from agentd.jobs.generator import units_of
from tests.examples import examples

SECONDS = float(os.environ.get("AGENTD_FUZZ", "0"))
EXAMPLES = settings(
    max_examples=int(SECONDS * 15) or examples(300), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
_BLANK = " \t\n\r"
_LONGEST_LINE = 1 << 20  # bytes, LONG_LINE_MAX of systemd
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"', "'": "'",
            "s": " "}  # fmt: skip


# systemd's reader (config_parse, extract_first_word, specifier_printf), as far as units of agentd need it


def no_text(text: str) -> bool:
    """Whether systemd finds the text no UTF-8 (unichar_is_valid)."""
    return any(
        0xD800 <= ord(sign) < 0xE000 or 0xFDD0 <= ord(sign) <= 0xFDEF or ord(sign) & 0xFFFE == 0xFFFE for sign in text
    )


def assignments(unit: str) -> Iterator[tuple[str, str, str]]:
    """Yields section, name and value of what systemd takes from a unit's text."""
    section, before = "", ""
    for line in re.split(r"[\n\r\0]", unit):
        assert len(line.encode(errors="surrogatepass")) < _LONGEST_LINE, "the whole unit is unreadable"
        if not before and line.lstrip(_BLANK)[:1] in {"#", ";"}:
            continue
        text = before + line.lstrip(_BLANK) if not before else before + line
        if len(re.search(r"\\*$", text)[0]) % 2:  # type: ignore[index] # it matches everywhere
            before = f"{text[:-1]} "
            continue
        before = ""
        assert not no_text(text), f"systemd ignores this line: {text!r}"
        text = text.strip(_BLANK)
        if text.startswith("["):
            assert text.endswith("]"), text
            section = text[1:-1]
        elif text:
            name, found, value = text.partition("=")
            assert found, f"no assignment: {text!r}"
            yield section, name.rstrip(_BLANK), value.lstrip(_BLANK)


def words(value: str) -> list[str]:
    """Returns the words of a value, without quotes and escapes, as systemd takes them apart."""
    found, word, quote, at, begun = list[str](), "", "", 0, False
    while at < len(value):
        sign = value[at]
        at += 1
        if sign == "\\":
            if value[at] == "x":
                assert value[at + 1 : at + 3] != "00", "systemd takes no NUL"
                word, at = word + chr(int(value[at + 1 : at + 3], 16)), at + 3
            else:
                word, at = word + _ESCAPES[value[at]], at + 1
        elif quote and sign == quote:
            quote = ""
        elif not quote and sign in "\"'":
            quote, begun = sign, True
        elif not quote and sign in _BLANK:
            found += [word] * (begun or bool(word))
            word, begun = "", False
        else:
            word += sign
    assert not quote, "the quotes are never closed"
    return found + [word] * (begun or bool(word))


def without_specifiers(value: str) -> str:
    """Returns a value after systemd replaced its specifiers; there must be none but %%."""
    assert not re.search(r"(?<!%)(%%)*%(?!%)", value), f"a specifier is left: {value!r}"
    return value.replace("%%", "%")


def read(unit: str) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for section, name, value in assignments(unit):
        found.setdefault((section, name), []).append(value)
    return found


def one(found: dict[tuple[str, str], list[str]], name: str, section: str = "Service") -> str | None:
    values = found.get((section, name), [])
    assert len(values) < 2, f"{name} is there {len(values)} times"
    return values[0] if values else None


# What was meant


def judge(job: Job, instance: str, unit: str) -> None:
    """Fails where systemd reads the unit otherwise than the job was meant."""
    found = read(unit)
    assert {section for section, _ in found} == {"Unit", "Service"}
    command = one(found, "ExecStart") or ""
    assert command.startswith(":"), "$ would be replaced"
    start = [] if job.has_own_root else ["/usr/lib/agentd/start-job", instance]
    assert [without_specifiers(word) for word in words(command[1:])] == [*start, *job.run]
    environment = [without_specifiers(word) for value in found["Service", "Environment"] for word in words(value)]
    assert environment == [f"AGENTD_JOB={job.name}", *(f"{name}={value}" for name, value in job.environment.items())]
    assert (one(found, "User"), one(found, "Group")) == (job.user, job.group)
    folder = one(found, "WorkingDirectory")
    is_meant = (folder and without_specifiers(folder)) == job.working_directory
    assert is_meant, f"WorkingDirectory is {folder!r}, not {job.working_directory!r}"
    if folder is not None:
        parts = folder.split("/")
        assert not {".", ".."} & set(parts), "systemd does not start it: the path is not normalized"
        assert len(folder.encode()) < 4096, "systemd ignores it: the path is too long"
        assert all(len(part.encode()) <= 255 for part in parts), "systemd ignores it: a name in the path is too long"
    about = without_specifiers(one(found, "Description", "Unit") or "")
    assert about.startswith(f"agentd job {job.name}")
    for name in ("MemoryMax", "CPUWeight", "TasksMax"):
        value = one(found, name)
        assert value is None or 0 < int(value) < (1 << 64) - 1, f"systemd ignores {name}"
    for name in ("TimeoutStopSec", "RuntimeMaxSec"):
        value = one(found, name)
        assert value is None or 0 < int(value.removesuffix("us")) < (1 << 63), f"systemd ignores {name}"
    for name, values in job.systemd.items():
        assert found["Service", name] == [value.strip(_BLANK) for value in values]
    own = {"Type", "ExecStart", "Slice", "StandardInput", "SyslogIdentifier", "User", "Group", "WorkingDirectory",
           "Environment", "TimeoutStopSec", "RuntimeMaxSec", "MemoryMax", "CPUWeight", "TasksMax"}  # fmt: skip
    assert own <= WRITTEN_BY_AGENTD
    written = {name for section, name in found if section == "Service"}
    assert written <= own | set(job.systemd), "the unit says more than was meant"


# Any settings

PIECES = st.sampled_from([
    "", " ", "\n", "\r", "\0", "\t", "\x7f", "\x85", "\u2028", "\ufeff", "\ufdd0", "\ufffe", "\U0001ffff", "\ud800",
    "\\", "\\\\", '"', "'", "%", "%h", "%%", "$HOME", "${A}", ";", " ; ", "#", "=", "[Service]", "[Unit]\n",
    "User=root", "\nUser=root\n", "ExecStartPre=+/bin/sh",
    "+", "!", "-", "@", ":", "|", "/", "..", "/../", "/bin/x", "~", "a", "é",
    "\U0001f600", "{", "}", "*", "&", "\\x0a", "\\n", "a" * 300,
])  # fmt: skip
TEXTS = st.one_of(st.lists(PIECES, max_size=6).map("".join), st.text(max_size=20), PIECES)
PATHS = TEXTS.map(lambda text: f"/{text}")
DURATIONS = st.sampled_from(["0s", "1us", "1ms", "5min", "36500d", "100y", "99999999999999999999d"]) | TEXTS
NUMBERS = st.integers(min_value=-1, max_value=1 << 70) | TEXTS
SETTINGS = st.sampled_from([
    "ProtectHome", "ExecStartPre", "ExecStopPost", "BindPaths", "RootDirectory", "RootImage", "EnvironmentFile", "Nice",
    "User", "X", "LoadCredential", "PermissionsStartOnly", "OOMPolicy",
])  # fmt: skip
JOBS = st.fixed_dictionaries(
    {"run": st.one_of(TEXTS, st.lists(TEXTS, max_size=4), st.just(["/bin/true"]))},
    optional={
        "description": TEXTS | st.just("x" * 2_000_000),
        "user": TEXTS,
        "group": TEXTS,
        "working_directory": PATHS | TEXTS,
        "environment": st.dictionaries(st.sampled_from(["A", "PATH", "HOME"]) | TEXTS, TEXTS, max_size=3),
        "timeout": DURATIONS,
        "stop_timeout": DURATIONS,
        "concurrency": st.sampled_from([1, 2]),
        "limits": st.fixed_dictionaries(
            {}, optional={"memory": st.sampled_from(["1", "1G", "999999T"]) | TEXTS, "cpu_weight": NUMBERS,
                          "tasks": NUMBERS},
        ),
        "systemd": st.dictionaries(SETTINGS | TEXTS, TEXTS | PATHS | st.lists(TEXTS, max_size=3), max_size=3),
    },
)  # fmt: skip
NAMES = st.sampled_from(["a", "a.b", "a:b", "a-1", "9", "a@2"]) | TEXTS


def accepted(configuration: dict[str, Any]) -> Any:
    """Returns the configuration, None where it is refused."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump({"timezone": "UTC", **configuration}, file)
        file.flush()
        try:
            return files.load(Path(file.name)).config
        except Problems:
            return None


def judged(config: Any) -> int:
    """Judges all units of a configuration; returns how many there are."""
    made = units_of(config)
    for name, unit in made.items():
        unit.encode()
        assert re.fullmatch(r"agentd-(job|restart)@[A-Za-z0-9:_.\\@-]+\.service", name), name
        assert len(name) < 256
        if name.startswith("agentd-job@"):
            instance = name.removeprefix("agentd-job@").removesuffix(".service")
            judge(config.jobs[instance.partition("@")[0]], instance, unit)
        else:
            (restarted,) = words(one(read(unit), "ExecStart") or "")[3:]
            assert f"agentd-restart@{without_specifiers(restarted)}.service" == name
    return len(made)


@EXAMPLES
@given(st.dictionaries(NAMES, JOBS, min_size=1, max_size=2), st.lists(TEXTS, max_size=2))
@example({"a": {"run": ["/bin/echo", "\ufdd0"]}}, [])
@example({"a": {"run": ["/bin/echo", "a\U0010ffff"]}}, [])
@example({"a": {"run": ["/bin/true"], "working_directory": "/srv/../etc"}}, [])
@example({"a": {"run": ["/bin/true"], "working_directory": "/" + "a" * 300}}, [])
@example({"a": {"run": ["/bin/true"], "description": "x" * 2_000_000}}, [])
@example({"a": {"run": ["/bin/true"], "limits": {"tasks": 10**30}}}, [])
@example({"a": {"run": ["/bin/true"], "systemd": {"X": "x" * 1_200_000}}}, [])
@example({"a": {"run": ["/bin/true"]}}, ["a\\x2db.service", "b.service"])
def test_what_is_accepted_is_read_by_systemd_as_it_was_meant(jobs: dict[str, Any], may_restart: list[str]) -> None:
    config = accepted({"jobs": jobs, "may_restart": may_restart})
    if config is not None:
        assert judged(config) >= len(jobs)


# A job that is accepted more often than not, so that what is judged is not only the simplest
FINE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30) | TEXTS


@EXAMPLES
@given(st.lists(FINE, max_size=5), FINE, st.dictionaries(st.sampled_from("ABC"), FINE), PATHS)
def test_words_and_variables_reach_the_program_as_they_were_written(
    arguments: list[str], description: str, environment: dict[str, str], folder: str
) -> None:
    whole = {"description": description, "environment": environment, "working_directory": folder}
    for job in ({}, *({name: value} for name, value in whole.items()), whole):
        config = accepted({"jobs": {"a": {"run": ["/bin/x", *arguments], **job}}})
        if config is not None:
            assert judged(config) == 1


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("User=root\n", "User is there"),
        ("ExecStartPre=/bin/x\n", "says more"),
        ("WorkingDirectory=/a\\\n", "WorkingDirectory"),
        ("Environment=A=%h\n", "specifier"),
    ],
)
def test_the_judge_finds_what_was_not_meant(damage: str, told: str) -> None:
    job = Job(name="a", run=("/bin/x",), user="alice")
    ((_, unit),) = units_of(accepted({"jobs": {"a": {"run": ["/bin/x"], "user": "alice"}}})).items()
    judge(job, "a", unit)
    with pytest.raises(AssertionError, match=told):
        judge(job, "a", unit.replace("Slice=", f"{damage}Slice="))
