"""agentctl's commands about what was learnt: the events of files go to agentd's own program, without a daemon."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.agentctl import fake
from tests.unit.agentctl.fake import Ctl


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The arguments of programs that are started, of which none is."""
    found: list[list[str]] = []

    def run(arguments: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        assert options["env"]["PYTHONPATH"].split(os.pathsep)[0] == str(fake.ROOT)
        found.append(arguments)
        return subprocess.CompletedProcess(arguments, 2 if "missing" in arguments else 0)

    monkeypatch.setattr(subprocess, "run", run)
    return found


def test_the_program_next_to_agentctl_gets_files_and_options(ctl: Ctl, started: list[list[str]]) -> None:
    assert ctl("learning", "simulate", "--events", "a", "b", "--events", "-").code == 0
    assert ctl("learning", "simulate", "--events", "a", "--cost", "-1", "--min", "1s", "--json").code == 0
    assert [one[:4] for one in started] == [[sys.executable, "-P", "-m", "agentd.learning.simulate"]] * 2
    assert started[0][4:] == ["--cost=1", "--start=5min", "--min=30s", "--max=6h", "--", "a", "-", "b"]
    assert started[1][4:] == ["--json", "--cost=-1", "--start=5min", "--min=1s", "--max=6h", "--", "a"]


def test_the_verdict_is_the_programs(ctl: Ctl, started: list[list[str]]) -> None:
    assert ctl("learning", "simulate", "--events", "missing").code == 2


def test_there_is_nothing_to_simulate_without_events(ctl: Ctl, started: list[list[str]]) -> None:
    ended = ctl("learning", "simulate")
    assert (ended.code, started) == (2, [])
    assert "--events" in ended.err


def test_events_are_replayed_without_a_daemon(tmp_path: Path) -> None:
    log = tmp_path / "deploys.log"
    log.write_text("".join(f"{3600 * number}\n" for number in range(50)))
    command = [sys.executable, "-m", "agentctl", "learning", "simulate", "--json", "--events", str(log)]
    environment = {key: value for key, value in os.environ.items() if key != "AGENTD_ADDRESS"}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=fake.ROOT, env=environment)
    assert ended.returncode == 0
    assert json.loads(ended.stdout)["files"][str(log)]["events"] == 50
    log.write_text("soon\n")
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=fake.ROOT, env=environment)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert f'{log}:1: "soon": expected a time' in ended.stderr
