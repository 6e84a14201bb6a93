"""A training as a child process: what becomes of it, and of it where agentd is killed."""

import asyncio
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agentd.learning import training
from agentd.learning.networks import Networks

REPOSITORY = Path(__file__).parents[3]
PARENT = """
import asyncio, sys
from pathlib import Path
from agentd.learning import training
from agentd.learning.networks import Networks
asyncio.run(training.as_child(Networks(Path(sys.argv[1]))))
"""


@pytest.mark.parametrize(("code", "failed"), [(0, ""), (3, ""), (1, "the process ended with 1")])
def test_a_training_fails_where_its_process_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, failed: str
) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\nexit {code}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    assert asyncio.run(training.as_child(Networks(tmp_path))) == failed


def test_a_training_ends_with_an_agentd_that_is_killed(tmp_path: Path) -> None:
    files = Networks(tmp_path / "networks")
    files.prepare(b"[]", -1)
    files.rows.unlink()
    os.mkfifo(files.rows)  # the training waits for somebody to write there
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with (
        subprocess.Popen([sys.executable, "-c", PARENT, str(files.folder)], env=environment) as parent,
        files.rows.open("wb"),  # once the training has opened it as well
    ):
        (child,) = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        ended = os.pidfd_open(int(child))
        parent.send_signal(signal.SIGKILL)
        assert select.select([ended], [], [], 60)[0], "the training goes on"
        os.close(ended)
