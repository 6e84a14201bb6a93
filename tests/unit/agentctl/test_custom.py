"""The commands about schedulers of one's own, against a fake daemon."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.shell_completion import ShellComplete

from agentctl.commands import cli
from agentctl.schedulers import custom
from agentctl.schedulers.calls import SCHEDULER
from agentd.core.schedulers.sources import LARGEST
from tests.unit.agentctl.fake import NOW, Ctl, FakeDaemon, Refused

OK: list[dict[str, Any]] = [
    {"name": name, "state": "ok", "seconds": 0.25, "sentence": f"{name} went well", "excerpt": []}
    for name in ("source", "compile", "object", "load", "trial", "store")
]
REPORT = {
    "name": "custom:fifo",
    "ok": True,
    "sentence": "custom:fifo is verified on 7.2.12",
    "source": "ab" * 32,
    "kernel": "7.2.12",
    "compiler": "clang 19",
    "at": NOW,
}
BAD = {**REPORT, "ok": False, "sentence": "custom:fifo is not verified: compile: fifo.bpf.c:1:1: no\x1b[2J"}
FAILED: list[dict[str, Any]] = [
    OK[0],
    {
        "name": "compile",
        "state": "failed",
        "seconds": 0.0,
        "sentence": "fifo.bpf.c:1:1: no",
        "excerpt": ["fifo.bpf.c:1:1: error: no", "  1 | \x1b[31mint"],
    },
    *({**one, "state": "skipped", "sentence": ""} for one in OK[2:]),
]
OWN = {
    "name": "custom:fifo",
    "usable": True,
    "why": "",
    "runs": False,
    "summary": "in order",
    "kernel": "7.2.12",
    "verified": NOW,
}


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "fifo.bpf.c"
    path.write_bytes(b"int x;\n")
    return str(path)


def test_a_verified_one_is_told_step_by_step(daemon: FakeDaemon, ctl: Ctl, file: str) -> None:
    daemon.answers["Verify"] = (REPORT, OK)
    ended = ctl("sched", "verify", "fifo", file, "--summary", "in order", "--limit", "one queue", "--limit", "old")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0].split() == ["STEP", "RESULT", "SECONDS", "WHAT"]
    assert [line.split()[:3] for line in lines[1:7]] == [[one["name"], "ok", "0.25"] for one in OK]
    assert lines[7:] == ["", REPORT["sentence"], "to start it: agentctl sched start custom:fifo"]
    (call,) = [one for one in daemon.calls if one[0] == "Verify"]
    assert call[1:] == ("fifo", b"int x;\n", {"summary": "in order", "limits": ["one queue", "old"]})


def test_one_that_is_not_verified_is_status_1_with_the_compilers_words(daemon: FakeDaemon, ctl: Ctl, file: str) -> None:
    daemon.answers["Verify"] = (BAD, FAILED)
    ended = ctl("sched", "verify", "fifo", file)
    assert ended.code == 1
    assert "compile:\n  fifo.bpf.c:1:1: error: no\n    1 | \\x1b[31mint\n" in ended.out
    assert ended.out.endswith("custom:fifo is not verified: compile: fifo.bpf.c:1:1: no\\x1b[2J\n")
    as_json = ctl("sched", "verify", "fifo", file, "--json")
    assert as_json.code == 1
    assert as_json.json["ok"] is False
    assert as_json.json["steps"][1] == {**FAILED[1], "seconds": 0.0}


def test_a_person_at_a_terminal_sees_how_it_goes(
    daemon: FakeDaemon, ctl: Ctl, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(*_: object) -> Any:
        for told in (
            ("custom:fifo", "compile", "running", "the source is compiled"),
            ("custom:fifo", "compile", "ok", "clang made\x07 it"),
            ("custom:fifo", "trial", "running", "it is tried"),
        ):
            daemon.emit(SCHEDULER, "VerificationStep", "ssss", told)
        daemon.emit(SCHEDULER, "VerificationStep", "u", (7,))  # an agentd of another version
        return REPORT, OK

    daemon.answers["Verify"] = answer
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    ended = ctl("sched", "verify", "fifo", file, "--json")
    assert ended.err == "the source is compiled ...\ncompile: ok: clang made\\x07 it\nit is tried ...\n"
    assert ended.json["ok"] is True


def test_a_file_that_cannot_be_a_source_is_not_sent(daemon: FakeDaemon, ctl: Ctl, tmp_path: Path) -> None:
    large = tmp_path / "large.c"
    large.write_bytes(b"x" * (61 << 10))
    ended = ctl("sched", "verify", "fifo", str(large))
    assert (ended.code, ended.err) == (
        1,
        f"agentctl: {large} is larger than 60 KiB, the most that agentd takes\n",
    )
    assert ctl("sched", "verify", "fifo", str(tmp_path / "none.c")).code == 2
    assert "Verify" not in [call[0] for call in daemon.calls]


def test_ones_own_are_listed_with_what_keeps_them_from_running(daemon: FakeDaemon, ctl: Ctl) -> None:
    damaged = {"name": "custom:old", "usable": False, "runs": False, "why": "it is damaged: verify custom:old again"}
    daemon.answers["ListCustom"] = [OWN, damaged]
    lines = ctl("sched", "custom").out.splitlines()
    assert lines[1].split()[:2] == ["custom:fifo", "yes"]
    assert lines[2].split() == ["custom:old", "no", "-", "-", "-"]
    assert lines[3:] == ["custom:old cannot run here: it is damaged: verify custom:old again"]
    first, second = ctl("sched", "custom", "--json").json
    assert (first["verified"][:10], second["verified"]) == ("2026-10-25", None)
    daemon.answers["ListCustom"] = []
    assert "agentctl sched verify NAME FILE" in ctl("sched", "custom").out


def test_a_source_is_printed_as_it_is_and_one_is_removed(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers |= {"GetCustomSource": b"int x;\n", "RemoveCustom": None}
    assert ctl("sched", "source", "fifo").out == "int x;\n"
    assert json.loads(ctl("sched", "source", "fifo", "--json").out) == {"name": "fifo", "source": "int x;\n"}
    assert ctl("sched", "remove", "fifo").out == "fifo is removed\n"

    def refuse(_: str) -> None:
        raise Refused("org.agentd1.Error.Busy", "custom:fifo runs: first agentctl sched stop")

    daemon.answers["RemoveCustom"] = refuse
    ended = ctl("sched", "remove", "custom:fifo")
    assert (ended.code, ended.err) == (1, "agentctl: custom:fifo runs: first agentctl sched stop\n")


def test_the_names_of_ones_own_are_completed(daemon: FakeDaemon) -> None:
    daemon.answers["ListCustom"] = [OWN]
    found = ShellComplete(cli, {}, "agentctl", "_AGENTCTL_COMPLETE").get_completions(["sched", "source"], "f")
    assert [one.value for one in found] == ["fifo"]


def test_agentctl_and_agentd_take_sources_of_the_same_size() -> None:
    assert custom.LARGEST == LARGEST
