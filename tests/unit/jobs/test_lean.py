"""The standard library as a supervisor has it: the same as the usual one, and small."""

import json
import os
import signal
import socket
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.jobs.supervisor import lean, wire
from agentd.jobs.supervisor.signals import name_of

PROGRAM = Path(wire.__file__).with_name("__main__.py")
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
FIELDS = st.dictionaries(st.text(), st.none() | st.integers() | st.text(st.characters()) | FLOATS)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | st.text(),
    lambda below: st.lists(below) | st.dictionaries(st.text(), below),
    max_leaves=20,  # most of the time went into drawing hundreds of values for an order, each nested no other way
)
DEAR = {"typing", "enum", "re", "collections", "functools", "contextlib", "json", "socket", "selectors", "signal"}
"""The modules that took 2.1 MiB of each supervisor."""


@given(FIELDS)
def test_reports_are_written_as_json_has_them(report: dict[str, Any]) -> None:
    assert lean.encoded(report) == json.dumps(report).encode()


@given(st.dictionaries(st.text(), VALUES, max_size=6))
def test_orders_are_read_as_json_has_them(order: dict[str, Any]) -> None:
    assert lean.decoded(json.dumps(order).encode()) == order
    assert lean.decoded(json.dumps(order, ensure_ascii=False).encode()) == order


def test_signals_have_the_names_of_the_enumeration() -> None:
    assert {number: name_of(number) for number in signal.Signals} == {one: one.name for one in signal.Signals}


def test_errors_that_are_expected_are_suppressed_and_no_others() -> None:
    with lean.suppress(ProcessLookupError, PermissionError):
        raise PermissionError
    with pytest.raises(ValueError, match="another"), lean.suppress(OSError):
        raise ValueError("another")


def test_a_message_is_read_whole_with_no_more_room_than_it_needs() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    with ours, theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        for message in (b"a", b"bc" * 1_000, b"d" * wire.LARGEST_MESSAGE):
            theirs.send(message)
            tracemalloc.start()
            assert wire.receive(ours) == message
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert peak < 10_000 + len(message)
        assert wire.receive(ours) is None
        theirs.close()
        assert wire.receive(ours) == b""


def test_a_running_supervisor_has_loaded_nothing_that_is_dear(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    files = (theirs.fileno(), lock)
    program = [sys.executable, "-X", "importtime", "-I", "-S", str(PROGRAM), *map(str, files), str(tmp_path / "note")]
    with (
        ours,
        subprocess.Popen([*program, "state"], pass_fds=files, stderr=subprocess.PIPE, text=True) as process,
    ):
        theirs.close()
        os.close(lock)
        usual: dict[str, object] = {
            "env": {},
            "cwd": "/",
            "user": None,
            "group": None,
            "output": None,
            "cap": 9,
            "kill_after": 1.0,
        }
        for name, script in (("a.1", "exit 3"), ("a.2", "kill -9 $$")):
            order = {"op": "start", "id": name, "argv": ["/bin/sh", "-c", script], "timeout": 9.0, "at": None, **usual}
            ours.send(json.dumps(order).encode())
        reports = [json.loads(ours.recv(wire.LARGEST_MESSAGE)) for _ in range(4)]
        assert {report.get("signal", report.get("exit_code")) for report in reports} == {None, 3, "SIGKILL"}
        ours.close()
        _, told = process.communicate()
    assert len((tmp_path / "note").read_text().splitlines()) == 2
    loaded = {line.rpartition("|")[2].strip() for line in told.splitlines() if line.startswith("import time:")}
    assert "agentd.jobs.supervisor.loop" in loaded
    assert not {name.partition(".")[0] for name in loaded} & DEAR
