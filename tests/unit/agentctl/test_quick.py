"""The command lines that go without click: they mean what click would have them mean, or go to click."""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agentctl import commands, quick
from agentctl.session import Session
from tests.unit.agentctl.fake import NOW, ROOT, Ctl, FakeDaemon, NoAnswer, Refused
from tests.unit.agentctl.test_agentctl import start

Meant = tuple[str, dict[str, Any], tuple[str | None, str | None, bool]]
"""A command with the values of its own that are not their defaults, and the three of the session."""
OPTIONS = ["--address", "--state-dir", "--address=a", "--state-dir=/b", "--address=", "--json", "--all"]
OTHERS = ["--", "-", "-n", "-h", "--help", "--version", "--wait", "--js", "--json=1", "--since", "1h", "--all=1"]
NAMES = [*quick.COMMANDS, "feed", "MemoryUsage", "", "ä", "\udcff", "stop", "history"]
WORDS = st.sampled_from([*NAMES, *OPTIONS, *OTHERS])
PLAIN = [["status"], ["run"], ["kpi"], ["feed"], ["--json"], ["--address", "a"], ["--state-dir=/b"], ["--all"]]
PLAIN_LINES = st.lists(st.sampled_from(PLAIN), max_size=5).map(lambda groups: [word for one in groups for word in one])


def options(session: Session) -> tuple[str | None, str | None, bool]:
    return session.address, session.state_dir, session.json


def of_quick(arguments: list[str]) -> Meant | None:
    """What the reader makes of a command line."""
    asked = quick.read(arguments)
    if asked is None:
        return None
    (name,) = (name for name, command in quick.COMMANDS.items() if command is asked.command)
    return name, asked.values, options(asked.session)


def of_click(arguments: list[str]) -> Meant | None:
    """What click makes of it: None where that is no command, or an error."""
    found: list[Meant] = []

    def record(command: str, /, **values: Any) -> None:
        given = {key: value for key, value in values.items() if value not in {None, False}}
        found.append((command, given, options(click.get_current_context().find_root().ensure_object(Session))))

    with ExitStack() as patches:
        for name in quick.COMMANDS:
            patches.enter_context(patch.object(commands.cli.loaded(name), "callback", partial(record, name)))
        patches.enter_context(suppress(click.ClickException))
        commands.cli.main(arguments, prog_name="agentctl", standalone_mode=False)
    return found[0] if found else None


@given(st.lists(WORDS, max_size=6) | PLAIN_LINES)
@example([])
@example(["--json"])
@example(["status", "--address", "--json"])
@example(["--json", "status", "feed", "--address=a"])
@example(["run"])
@example(["run", "feed", "feed"])
@example(["kpi", "--all", "--json"])
@example(["--all", "kpi"])
@example(["status", "run"])
@example(["status", "--state-dir", "/b", "--state-dir", "c"])
def test_a_command_line_means_what_click_makes_of_it(arguments: list[str]) -> None:
    meant = of_quick(arguments)
    if meant is not None:
        assert meant == of_click(arguments)


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("", ("status", {}, (None, None, False))),
        ("--json", ("status", {}, (None, None, True))),
        ("status --json", ("status", {}, (None, None, True))),
        ("status feed", ("status", {"job": "feed"}, (None, None, False))),
        ("status --address=unix:path=/x feed", ("status", {"job": "feed"}, ("unix:path=/x", None, False))),
        ("--state-dir /s run feed", ("run", {"job": "feed"}, (None, "/s", False))),
        ("kpi", ("kpi", {}, (None, None, False))),
        ("--json kpi --all", ("kpi", {"every": True}, (None, None, True))),
        ("kpi MemoryUsage", ("kpi", {"name": "MemoryUsage"}, (None, None, False))),
    ],
)
def test_what_scripts_call_goes_without_click(line: str, meant: Meant) -> None:
    assert of_quick(line.split()) == meant


def test_completion_goes_to_click(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_AGENTCTL_COMPLETE", "bash_complete")
    assert quick.read(["status"]) is None


# Both ways end alike. With -- at its end a command line means the same, and goes to click.

WAYS: tuple[tuple[str, ...], ...] = ((), ("--",))


def ending(*arguments: str, **settings: Any) -> tuple[int, str]:
    with start(*arguments, **settings) as process:
        said = process.communicate()[1]
    return process.returncode, said


def test_a_closed_pipe_ends_both_alike(daemon: FakeDaemon) -> None:
    for way in WAYS:
        reading, writing = os.pipe()
        os.close(reading)
        assert ending("status", *way, stdout=writing) == (141, "")
        os.close(writing)


def test_a_full_disk_ends_both_alike(daemon: FakeDaemon) -> None:
    for way in WAYS:
        with Path("/dev/full").open("w") as full:
            sentence = "agentctl: the output could not be written: No space left on device\n"
            assert ending("status", *way, stdout=full) == (1, sentence)


def test_an_output_that_is_closed_from_the_start_gets_nothing(daemon: FakeDaemon) -> None:
    daemon.answers["RunJob"] = "feed.8"
    for line in ("status", "run feed"):
        for way in WAYS:
            command = f'exec "$0" -m agentctl {line} {" ".join(way)} >&-'
            ended = subprocess.run(["sh", "-c", command, sys.executable], cwd=ROOT, capture_output=True, check=False)
            assert (ended.returncode, ended.stderr) == (0, b"")


def test_ctrl_c_ends_both_alike(daemon: FakeDaemon) -> None:
    process: subprocess.Popen[str]

    def interrupt(_wanted: object) -> None:
        # Python looks for signals before it waits, and after: one that comes in between is seen when it has waited.
        while Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2][0] != "S":
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        raise NoAnswer

    daemon.answers["ListJobs"] = interrupt
    for way in WAYS:
        with start("status", *way, stdout=subprocess.DEVNULL) as process:
            assert process.communicate()[1] == "\n"
        assert process.returncode == 130


def test_a_failure_ends_both_alike(daemon: FakeDaemon, ctl: Ctl) -> None:
    def refuse(*_: object) -> None:
        raise Refused("org.agentd1.Error.NoSuchJob", 'there is no job "x"\x1b[2J')

    daemon.answers["RunJob"] = daemon.answers["GetJob"] = refuse
    nowhere = ("status", "--address", "unix:path=/nowhere"), ("kpi", "--state-dir", "/nowhere")
    for arguments in (*nowhere, ("run", "x"), ("status", "x"), ("run", "\udcff")):
        assert ctl(*arguments) == ctl(*arguments, "--")
        assert ctl(*arguments).code != 0


@pytest.mark.parametrize("line", ["status", "status --json", "kpi", "kpi --all --json", "run feed", "run feed --json"])
def test_the_same_is_called_and_printed(daemon: FakeDaemon, ctl: Ctl, line: str) -> None:
    kpi = {"name": "MemoryUsage", "unit": "percent", "sampled": True, "value": 5.0, "shown": "5%", "at": NOW}
    daemon.answers |= {"ListKpis": [kpi], "RunJob": "feed.8"}
    ended = ctl(*line.split())
    called = daemon.calls.copy()
    daemon.calls.clear()
    assert ended == ctl(*line.split(), "--")
    assert ended.code == 0
    assert daemon.calls == called


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_an_output_of_few_characters_gets_the_same_bytes_either_way(daemon: FakeDaemon, encoding: str) -> None:
    daemon.answers["ListJobs"] = [{"name": "ä€", "trigger": "", "state": "idle", "next": 0, "overridden": []}]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    written = []
    for way in WAYS:
        command = [sys.executable, "-m", "agentctl", "status", *way]
        ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)
        written.append(ended.stdout.splitlines()[2:])
    shown = {"ascii": "ä€", "latin-1": "ä\\u20ac", "utf-8": "ä€"}[encoding].encode(encoding.replace("ascii", "utf-8"))
    assert written[0] == written[1]
    assert written[0][-1].startswith(shown)
