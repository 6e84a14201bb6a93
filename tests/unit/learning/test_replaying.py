"""The replay beside a training: the same rows as without it or none, and no process that outlives whoever waits."""

import contextlib
import os
import select
import signal
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest

from agentd.core.learning.weights import Unusable
from agentd.learning import synthetic
from agentd.learning.replaying import beside

ROOT = Path(__file__).parents[3]
DAY = 86_400.0
PARENT = """
from agentd.learning.replaying import beside
with beside(1_000_000, 0, 86400.0) as rows:
    print(flush=True)
    next(rows)
"""


@pytest.fixture(autouse=True)
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has processes find this agentd."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def instead(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Has a script run where the replay would."""
    program = folder / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_rows_are_those_of_a_replay_in_the_process_itself() -> None:
    with beside(2, 7, DAY) as rows:
        assert list(rows) == list(chain.from_iterable(synthetic.rows(2, 7, DAY)))


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("exit 1", "the process ended with 1, expected 0; to see why: {} -P -m agentd.learning.replaying 1 0 86400.0$"),
        ("kill -KILL $$", "the process ended with -9, expected 0"),
        ("echo '[]'; exit 1", "the process ended with 1, expected 0"),
        ("echo '['", "expected a JSON list of rows: .*; to see it: {} "),
        ("""echo '[{"features": [null], "rate": 1, "span": 1, "useful": true}]'""", "expected a JSON list of rows: "),
    ],
)
def test_where_the_process_fails_a_sentence_tells_it_and_no_row_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, told: str
) -> None:
    instead(tmp_path, monkeypatch, script)
    with (
        beside(1, 0, DAY) as rows,
        pytest.raises(Unusable, match="^synthetic histories could not be replayed: " + told.format(sys.executable)),
    ):
        next(rows)


def test_where_no_process_can_begin_a_sentence_tells_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    with (
        pytest.raises(Unusable, match=f"could not be replayed: {tmp_path}/none cannot be started: No such file"),
        beside(1, 0, 1),
    ):
        pass


def test_a_process_whose_rows_nobody_takes_ends_with_the_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    instead(tmp_path, monkeypatch, "exec sleep 300")
    before = children(os.getpid())
    with beside(1, 0, DAY):
        assert len(children(os.getpid())) == len(before) + 1
    assert children(os.getpid()) == before


def test_the_process_ends_soon_after_a_training_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        (child,) = children(parent.pid)
        ended = os.pidfd_open(child)
        parent.send_signal(signal.SIGKILL)
    try:
        assert select.select([ended], [], [], 60)[0], "the replay goes on"
    finally:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(ended, signal.SIGKILL)
        os.close(ended)
