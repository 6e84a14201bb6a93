"""The command that prints signals as they come, as a process of its own against a fake daemon on a real bus."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from jeepney.bus_messages import message_bus

from agentctl import client
from agentctl.rules.watching import SIGNALS, sentence
from agentd.core.quantities import MINUTE
from tests.unit.agentctl.fake import CONTRACT, NOW, ROOT, FakeDaemon, Stranger

SINCE_BOTH = ("JobStarted", "ss", ("feed", "feed.7"))


@contextmanager
def watching(*options: str) -> Iterator["subprocess.Popen[str]"]:
    """The command, as it listens already."""
    command = ["env", "--default-signal=INT", sys.executable, "-m", "agentctl", "watch", *options]
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=environment, **pipes) as process:
        assert process.stderr
        assert process.stderr.readline() == "watching agentd; Ctrl-C ends it\n"
        try:
            yield process
        finally:
            process.kill()


def read(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline()


def test_signals_of_all_parts_are_a_line_each_and_ctrl_c_is_success(daemon: FakeDaemon) -> None:
    with watching() as process:
        daemon.emit("org.freedesktop.DBus.Properties", "PropertiesChanged", "s", ("x",))
        daemon.emit("org.agentd1.Jobs", *SINCE_BOTH)
        assert read(process).split(maxsplit=1)[1] == "JobStarted        feed.7 started\n"
        daemon.emit("org.agentd1.Rules", "RuleActed", "sss", ("high", "RunJob:x", "\x1b[2J"))
        assert read(process).split(maxsplit=1)[1] == "RuleActed         rule high had RunJob:x done: \\x1b[2J\n"
        daemon.emit("org.agentd1.Reboot", "RebootWithdrawn", "s", ("alice logged in",))
        assert read(process).endswith("the reboot does not come for the time being: alice logged in\n")
        daemon.emit("org.agentd1.New", "Unheard", "su", ("of", 5))
        assert read(process).split(maxsplit=1)[1] == "Unheard           of, 5\n"
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
        assert process.stderr
        assert process.stderr.read() == ""


def test_json_is_an_object_a_line(daemon: FakeDaemon) -> None:
    with watching("--json") as process:
        daemon.emit("org.agentd1.Jobs", *SINCE_BOTH)
        found = json.loads(read(process))
        assert found.pop("at").startswith("20")
        assert found == {"signal": "JobStarted", "job": "feed", "run_id": "feed.7"}
        daemon.emit("org.agentd1.Reboot", "RebootAnnounced", "st", ("a reason", NOW))
        assert json.loads(read(process))["due"] == "2026-10-25T00:26:40.000000+02:00"
        finished = ("feed", "feed.7", "success", {"exit_code": ("i", 0)})
        daemon.emit("org.agentd1.Jobs", "JobFinished", "sssa{sv}", finished)
        assert json.loads(read(process))["run"] == {"exit_code": 0}
        daemon.emit("org.agentd1.Jobs", "JobStarted", "s", ("of another version",))
        assert json.loads(read(process))["0"] == "of another version"


def test_signals_of_strangers_are_passed_over_whatever_they_hold(daemon: FakeDaemon, stranger: Stranger) -> None:
    with watching("--json") as process:
        stranger.forge("org.agentd1.Rules", "RuleActed", "sss", ("high", "RunJob:x", "forged"))
        stranger.forge("org.agentd1.Reboot", "RebootAnnounced", "ss", ("of wrong types", "soon"))
        stranger.forge("org.agentd1.Rules", "RuleChanged", "u", (0,))
        stranger.forge("org.agentd1.Jobs", "JobStarted", "a{ss}", ({"a": "b"},))
        stranger.forge("org.freedesktop.DBus", "NameOwnerChanged", "sss", (client.NAME, "", ":1.0"))
        daemon.emit("org.agentd1.Jobs", *SINCE_BOTH)
        assert json.loads(read(process))["run_id"] == "feed.7"


def test_a_new_agentd_is_listened_to_and_the_old_one_no_more(daemon: FakeDaemon, bus: str) -> None:
    with watching("--json") as process:
        daemon.connection.send(message_bus.ReleaseName(client.NAME))
        new = FakeDaemon(bus)
        try:
            daemon.emit("org.agentd1.Jobs", "JobStarted", "ss", ("feed", "feed.8"))
            new.emit("org.agentd1.Jobs", *SINCE_BOTH)
            assert json.loads(read(process))["run_id"] == "feed.7"
        finally:
            new.close()


@pytest.mark.parametrize(
    ("name", "signature", "values"),
    [
        ("RebootAnnounced", "ss", ("a reason", "soon")),
        ("RebootFinished", "s", ("verified",)),
        ("SelfTestFinished", "u", (5,)),
        ("RuleActed", "sas", ("high", ["x"])),
        ("IntervalChanged", "ssss", ("feed", "soon", "on", "why")),
        ("Unheard", "a{ss}a(ss)", ({"a": "b"}, [("c", "d")])),
        ("Unheard", "", ()),
    ],
)
def test_signals_of_another_version_are_told_by_position(
    daemon: FakeDaemon, name: str, signature: str, values: tuple[Any, ...]
) -> None:
    for options in ((), ("--json",)):
        with watching(*options) as process:
            daemon.emit("org.agentd1.Reboot", name, signature, values)
            daemon.emit("org.agentd1.Jobs", *SINCE_BOTH)
            assert name in read(process)
            assert "feed.7" in read(process)


def test_the_end_of_agentds_bus_is_told(daemon: FakeDaemon, bus: str) -> None:
    code = (
        "import agentctl.client as c, sys; from agentctl.__main__ import main\n"
        "def gone(self, signals): raise c._gone()\n"
        "c.Client.await_any = gone; sys.exit(main(['watch']))"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 3
    assert ended.stderr.endswith("the connection to agentd was lost: agentd ended, or its bus did\n")


def test_the_values_are_named_and_typed_as_in_the_contract() -> None:
    declared = {
        one.attrib["name"]: {arg.attrib["name"]: arg.attrib["type"] for arg in one.findall("arg")}
        for one in CONTRACT.iter("signal")
    }
    assert declared == SIGNALS


def test_each_signal_tells_something() -> None:
    values: dict[str, Any] = {name: name.upper() for names in SIGNALS.values() for name in names}
    values |= {
        "at": NOW,
        "interval": 5 * MINUTE,
        "failed": ["bus"],
        "run": {"result": "x"},
        "reboot": {"state": "verified", "reason": "why"},
    }
    for name, names in SIGNALS.items():
        text = sentence(name, {key: values[key] for key in names})
        assert text
        assert "{" not in text
    learnt = {"job": "feed", "interval": 5 * MINUTE, "mode": "on", "reason": "the network says so"}
    assert sentence("IntervalChanged", learnt) == "feed now runs every 5min: the network says so"
    shadow = {**learnt, "mode": "shadow"}
    assert sentence("IntervalChanged", shadow) == "feed (shadow) would run every 5min: the network says so"
    assert sentence("SelfTestFinished", {"failed": []}) == "no check failed"
    assert sentence("SelfTestFinished", {"failed": ["bus", "store"]}) == "failed: bus, store"
    assert sentence("RebootFinished", {"reboot": values["reboot"]}) == "verified: why"
