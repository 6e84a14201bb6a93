"""Command lines that go without click end as click has them end, with a real agentd and without one."""

import os
import pty
import re
import subprocess
import sys

import pytest

from tests.bus.harness import Agentd

CONFIG = """timezone: Europe/Berlin
jobs:
  backup: {run: [/bin/sleep, "60"], when: {cron: "30 2 * * *"}, description: "Of all \u20ac"}
  feed: {run: "exit 3", when: {adaptive: {start: 2h, min: 1h, max: 6h}}}
  off: {run: [/bin/true], when: {every: 1h}, enabled: false}
rules: {high: {when: "MemoryUsage > 99.9%", do: TriggerSelfTest}}
"""
LINES = (
    *("", "--json", "status", "status --json", "status backup", "status feed --json", "status nothing", "run nothing"),
    *("kpi", "kpi --json", "kpi Nothing", "status --state-dir /nowhere"),
    "status --address unix:path=/nowhere",
)
AGE = re.compile(r"\bnow\b|(in )?(\d[\d.]*(d|h|min|s)\b ?)+(ago)?")  # which both ways tell a moment apart
NUMBER = re.compile(r"\d[\d.:-]*")  # of a clock, or of a value, likewise


@pytest.mark.parametrize("no_colour", ["", "1"])
def test_both_ways_print_the_same(agentd: Agentd, no_colour: str) -> None:
    agentd.start(CONFIG)
    agentd.ctl("run", "feed", "--wait")
    agentd.until(lambda: agentd.ctl_json("kpi")[0]["value"] is not None, "the first sample")
    agentd.environment["NO_COLOR"] = no_colour
    for line in LINES:
        quick, click = (agentd.ctl(*line.split(), *end) for end in ([], ["--"]))
        assert quick.returncode == click.returncode, line
        for ours, theirs in ((quick.stdout, click.stdout), (quick.stderr, click.stderr)):
            assert words(ours) == words(theirs), line


def words(text: str) -> list[str]:
    """A text without the numbers that the next moment changes, and without the width of columns."""
    return NUMBER.sub("0", AGE.sub(" 0 ", text)).split()


def test_both_ways_start_a_job(agentd: Agentd) -> None:
    agentd.start(CONFIG)
    assert agentd.ctl("run", "backup").stdout == "backup.1\n"
    for number, end in ((2, []), (3, ["--"])):
        assert agentd.ctl("run", "off", "--json", *end).stdout == f'{{\n  "run_id": "off.{number}"\n}}\n'


def test_both_ways_tell_that_no_agentd_runs(agentd: Agentd) -> None:
    agentd.environment["DBUS_SYSTEM_BUS_ADDRESS"] = f"unix:path={agentd.folder}/none"
    quick, click = (agentd.ctl("status", *end) for end in ([], ["--"]))
    assert (quick.returncode, quick.stdout, quick.stderr) == (click.returncode, click.stdout, click.stderr)
    assert quick.returncode == 3
    assert "agentd is not running" in quick.stderr


def test_a_terminal_gets_the_same_bytes(agentd: Agentd) -> None:
    agentd.start(CONFIG)
    for no_colour in ("", "1"):
        agentd.environment["NO_COLOR"] = no_colour
        quick, click = (on_a_terminal(agentd, *end) for end in ([], ["--"]))
        assert words(quick) == words(click)
        assert ("\x1b[1m" in quick.splitlines()[0]) == (not no_colour)


def on_a_terminal(agentd: Agentd, *end: str) -> str:
    """The status as a terminal gets it."""
    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "agentctl", "status", *end]
    environment = {**agentd.environment, "TERM": "xterm-256color", "COLUMNS": "200"}
    with subprocess.Popen(command, stdout=terminal, env=environment) as process:
        os.close(terminal)
        process.wait()
    shown = os.read(controller, 1 << 16).decode()
    os.close(controller)
    return shown
