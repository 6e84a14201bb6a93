"""agentctl sched monitor, against a fake daemon on a real bus."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.shell_completion import ShellComplete

from agentctl.commands import cli
from agentctl.schedulers import monitoring
from agentd.core.quantities import MINUTE, SECOND
from tests.unit.agentctl.fake import NOW, Ctl, FakeDaemon, Refused

SESSION = {
    "on": False,
    "keep": False,
    "since": NOW - MINUTE,
    "until": NOW,
    "interval": SECOND,
    "groups": [],
    "samples": 58,
    "switches": 1,
    "forgotten": 0,
    "trouble": "",
    "ended": "the time was over",
}
ON = {**SESSION, "on": True, "until": NOW + MINUTE, "ended": ""}
SUMMARIES = [
    {
        "name": "none",
        "ops": "",
        "seq": 0,
        "since": NOW - MINUTE,
        "until": NOW - 30 * SECOND,
        "samples": 30,
        "seconds": 30.0,
        "events": {},
    },
    {
        "name": "scx_\x1b[2J",
        "ops": "x_1",
        "seq": 1,
        "since": NOW - 28 * SECOND,
        "until": NOW,
        "samples": 1,
        "seconds": 28.0,
        "events": {},
    },
]


def measured(summary: int, name: str, value: float, unit: str, group: str = "") -> dict[str, Any]:
    stat = {"mean": value, "p95": 2 * value, "max": 4 * value, "unit": unit}
    return {"summary": summary, "group": group, "name": name, **stat}


def missing(summary: int, name: str, why: str, group: str = "") -> dict[str, Any]:
    return {"summary": summary, "group": group, "name": name, "why": why}


FIGURES = [
    measured(0, "cpu_busy", 0.125, "share"),
    measured(0, "context_switches", 12345.6, "1/s"),
    measured(0, "run_delay_mean", 0.000_25, "s"),
    measured(0, "slice_mean", 1e-7, "s"),
    measured(0, "cpus", 0.0, "CPUs", "system.slice"),
    measured(1, "runnable", 3.0, "tasks"),
    *(missing(0, name, "the kernel keeps no /proc/pressure") for name in ("cpu_some", "cpu_full")),
    missing(1, "", "there is none", "x.slice"),
]


@pytest.fixture
def monitor(daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> FakeDaemon:
    """A daemon whose session is over at the second look."""
    monkeypatch.setattr(monitoring, "now", lambda: NOW)
    monkeypatch.setattr(monitoring, "POLL_SECONDS", 0.0)
    looks: Iterator[tuple[Any, ...]] = iter([(ON, [], [])])
    daemon.answers |= {
        "StartMonitor": ON,
        "StopMonitor": True,
        "GetMonitor": lambda: next(looks, (SESSION, SUMMARIES, FIGURES)),
    }
    return daemon


def called(daemon: FakeDaemon) -> list[tuple[Any, ...]]:
    return [call for call in daemon.calls if "Monitor" in call[0]]


def test_the_summary_is_a_table_for_each_scheduler(monitor: FakeDaemon, ctl: Ctl) -> None:
    ended = ctl(
        "sched", "monitor", "--for", "1min", "--interval", "2s", "--group", "system.slice", "--group", "x.slice"
    )
    assert ended.code == 0
    assert ended.err == "measuring from 00:25:40 to 00:27:40, every 1s; Ctrl-C ends it\n"
    assert ended.out == (
        "measured from 00:25:40 to 00:26:40: the time was over\n"
        "another scheduler came once (agentctl sched history tells why); the time across a switch counts for neither\n"
        "\n"
        "the kernel's own scheduler: 00:25:40 to 00:26:10, 30 samples in 30s\n"
        "FIGURE             MEAN    P95     MAX     UNIT\n"
        "cpu_busy           12.5    25      50      %\n"
        "context_switches   12346   24691   49382   1/s\n"
        "run_delay_mean     0.25    0.5     1       ms\n"
        "slice_mean         <0.001  <0.001  <0.001  ms\n"
        "system.slice cpus  0       0       0       CPUs\n"
        "missing: cpu_some, cpu_full: the kernel keeps no /proc/pressure\n"
        "\n"
        "scx_\\x1b[2J: 00:26:12 to 00:26:40, 1 sample in 28s\n"
        "FIGURE    MEAN  P95  MAX  UNIT\n"
        "runnable  3     6    12   tasks\n"
        "missing: x.slice: there is none\n"
    )
    wanted = {"interval": 2 * SECOND, "for": MINUTE, "groups": ["system.slice", "x.slice"]}
    assert called(monitor) == [("StartMonitor", wanted), *[("GetMonitor",)] * 3]


def test_the_summary_as_json_has_figures_by_name(monitor: FakeDaemon, ctl: Ctl) -> None:
    found = ctl("sched", "monitor", "--json").json
    own, other = found.pop("summaries")
    assert found["interval_s"] == 1.0
    assert found["since"].startswith("2026-10-25T00:25:40")
    assert own["figures"]["cpu_busy"] == {"mean": 0.125, "p95": 0.25, "max": 0.5, "unit": "share"}
    assert own["control_groups"]["system.slice"]["cpus"]["mean"] == 0
    assert own["missing"]["cpu_full"] == "the kernel keeps no /proc/pressure"
    assert (other["name"], other["missing"]) == ("scx_\x1b[2J", {"x.slice": "there is none"})


def test_a_terminal_sees_how_it_goes(monitor: FakeDaemon, ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    ended = ctl("sched", "monitor")
    assert ended.err == "\rmeasuring: 58 samples, 1min left; Ctrl-C ends it\x1b[K\r\x1b[K"


def interrupt(_seconds: float) -> None:
    raise KeyboardInterrupt


def test_ctrl_c_stops_the_session_and_shows_it(monitor: FakeDaemon, ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", interrupt)
    ended = ctl("sched", "monitor")
    assert (ended.code, ended.out.count("FIGURE")) == (0, 2)
    assert called(monitor) == [("StartMonitor", {}), ("GetMonitor",), ("StopMonitor",), ("GetMonitor",)]


def test_a_command_is_measured_to_its_end(monitor: FakeDaemon, ctl: Ctl) -> None:
    monitor.answers["GetMonitor"] = (SESSION, SUMMARIES, FIGURES)
    ended = ctl("sched", "monitor", "--", "sh", "-c", "exit 3")
    assert (ended.code, ended.out, ended.err.count("FIGURE")) == (3, "", 2)
    assert called(monitor) == [("StartMonitor", {"for": 24 * 60 * MINUTE}), ("StopMonitor",), ("GetMonitor",)]
    ended = ctl("sched", "monitor", "--", "/nonexistent")
    assert (ended.code, called(monitor)[-1]) == (2, ("StopMonitor",)), "the session goes on"


def test_a_session_in_the_background_is_begun_shown_and_ended(monitor: FakeDaemon, ctl: Ctl) -> None:
    begun = ctl("sched", "monitor", "--background")
    assert begun.out.splitlines() == [
        "measuring from 00:25:40 to 00:27:40, every 1s",
        "to see the figures: agentctl sched monitor --status; to end the session: agentctl sched monitor --stop",
    ]
    assert ctl("sched", "monitor", "--status").out.splitlines() == [
        "measuring from 00:25:40 to 00:27:40, every 1s",
        "there are no figures: they need two readings under one scheduler",
        "another scheduler came once (agentctl sched history tells why); the time across a switch counts for neither",
    ]
    assert "the time was over" in ctl("sched", "monitor", "--stop").out
    assert [call[0] for call in called(monitor)] == ["StartMonitor", "GetMonitor", "StopMonitor", "GetMonitor"]
    assert called(monitor)[0][1] == {"keep": True}


def test_what_a_person_should_know_of_the_figures_is_told(monitor: FakeDaemon, ctl: Ctl) -> None:
    events = [{**SUMMARIES[0], "events": {"SCX_EV_B": 2, "SCX_EV_A": 1}}]
    session = {**SESSION, "switches": 40, "forgotten": 8, "trouble": "/sys cannot be read"}
    monitor.answers["GetMonitor"] = (session, events, FIGURES)
    lines = ctl("sched", "monitor", "--status").out.splitlines()
    assert lines[1].startswith("another scheduler came 40 times")
    assert lines[2:4] == [
        "8 schedulers that ran first are left out",
        "the last reading failed: /sys cannot be read",
    ]
    assert lines[-1] == "events: SCX_EV_A 1, SCX_EV_B 2"


def test_without_a_session_agentctl_says_how_to_begin_one(monitor: FakeDaemon, ctl: Ctl) -> None:
    monitor.answers["GetMonitor"] = ({}, [], [])
    shown = ctl("sched", "monitor", "--status").out
    assert shown == "nothing was measured since agentd was started; to begin: agentctl sched monitor\n"
    found = ctl("sched", "monitor", "--status", "--json").json
    assert (found["on"], found["summaries"]) == (None, [])


def test_figures_of_another_session_are_not_passed_off_as_ones_own(monitor: FakeDaemon, ctl: Ctl) -> None:
    for other in ({}, {**SESSION, "since": NOW}):
        monitor.answers["GetMonitor"] = (other, [], [])
        ended = ctl("sched", "monitor")
        assert (ended.code, ended.out) == (1, "")
        assert "the figures are lost: agentd was restarted meanwhile" in ended.err


def test_a_session_that_is_refused_ends_with_the_daemons_sentence(monitor: FakeDaemon, ctl: Ctl) -> None:
    def busy(_: object) -> None:
        raise Refused("org.agentd1.Error.Busy", "the monitor measures already")

    monitor.answers["StartMonitor"] = busy
    assert ctl("sched", "monitor", "--", "touch", "x") == (1, "", "agentctl: the monitor measures already\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--status", "--stop"), "exclude each other"),
        (("--background", "--", "true"), "exclude each other"),
        (("--stop", "--for", "1h"), "for a session that begins"),
        (("--status", "--group", "x"), "for a session that begins"),
        (("--interval", "fast"), "fast"),
        (("--for", "0s"), "too short"),
    ],
)
def test_wrong_usage_begins_nothing(monitor: FakeDaemon, ctl: Ctl, words: tuple[str, ...], says: str) -> None:
    ended = ctl("sched", "monitor", *words)
    assert ended.code == 2
    assert says in ended.err
    assert called(monitor) == []


@pytest.mark.parametrize(
    ("begun", "offers"),
    [
        ("s", ["system.slice"]),
        ("", ["init.scope", "system.slice"]),
        ("system.slice/", ["system.slice/ssh.service"]),
        ("system.slice/x", []),
        ("nothing/", []),
        ("\0", []),
    ],
)
def test_control_groups_are_completed_level_by_level(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: str, offers: list[str]
) -> None:
    for name in ("system.slice/ssh.service", "init.scope"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "cgroup.procs").touch()
    monkeypatch.setattr(monitoring, "GROUPS", str(tmp_path))
    complete: Callable[..., Any] = ShellComplete(cli, {}, "agentctl", "_AGENTCTL_COMPLETE").get_completions
    assert [one.value for one in complete(["sched", "monitor", "--group"], begun)] == offers
