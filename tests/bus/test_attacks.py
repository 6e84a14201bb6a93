"""Callers with bad intentions: whatever they send, others are answered, jobs start, and nothing of it stays.

agentd's own processor time is measured, which a busy machine changes little; the bounds are ten times what it takes.
"""

import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.bus.conftest import _end
from tests.bus.harness import Agentd, CallError
from tests.bus.stranger import (
    ATTACKS,
    CALL,
    ERROR,
    MIB,
    NAME,
    RETURN,
    Stranger,
    big_signal,
    message,
    options,
    padded,
    text,
)

JOBS = "".join(f"  number-{number:02d}: {{run: [/bin/true]}}\n" for number in range(60))
CONFIG = (
    f"timezone: UTC\njobs:\n  tick: {{run: [/bin/true], when: {{every: 1s}}}}\n  once: {{run: [/bin/true]}}\n{JOBS}"
)
HISTORY = 2500
# By attack: how often, and how many seconds of processor time agentd may take for each time.
GOES = {"big_signal": (5, 1.0), "wrong_call": (5, 1.0), "long_name": (5, 1.0), "long_path": (5, 1.0), "runs": (5, 3.0)}
# Large messages: of 31 MiB, which the system bus passes on and the private one does not, and of nearly 8.
LARGE = ("big_signal", "wrong_call", "long_name", "long_path")


@pytest.fixture(scope="module")
def besieged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agentd]:
    """An agentd with a long history, for the attacks one after the other."""
    agentd = Agentd(tmp_path_factory.mktemp("a"))
    try:
        agentd.start(CONFIG)
        agentd.call("Jobs.RunJob", "sa{sv}", "once", {})
        agentd.until(lambda: agentd.runs(job=("s", "once"))[0]["state"] == "ended", "a run to end")
        agentd.stop()
        with closing(sqlite3.connect(agentd.state / "agentd.db")) as database, database:
            columns = [row[1] for row in database.execute("PRAGMA table_info(runs)") if row[1] != "seq"]
            names = ", ".join(columns)
            database.execute(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
                f"INSERT INTO runs (seq, {names}) SELECT 1000 + i, {names} FROM n, "
                "(SELECT * FROM runs WHERE job = 'once' LIMIT 1)",
                (HISTORY,),
            )
        agentd.start()
        yield agentd
    finally:
        _end(agentd)


@pytest.fixture
def stranger(besieged: Agentd) -> Iterator[Stranger]:
    stranger = Stranger(besieged.address)
    yield stranger
    stranger.close()


def processor_time(agentd: Agentd) -> float:
    """The seconds of processor time that agentd has taken so far."""
    assert agentd.process is not None
    fields = Path(f"/proc/{agentd.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(agentd: Agentd) -> int:
    """The bytes of memory that agentd has."""
    assert agentd.process is not None
    return int(Path(f"/proc/{agentd.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("attack", "large"), [*((attack, 31) for attack in ATTACKS), *((attack, 8) for attack in LARGE)]
)
def test_while_somebody_attacks_others_are_answered_and_jobs_start(besieged: Agentd, attack: str, large: int) -> None:
    goes, seconds = GOES.get(attack, (10, 0.7))
    before, had, began = processor_time(besieged), memory(besieged), time.time()
    program = str(Path(__file__).with_name("stranger.py"))
    command = [sys.executable, program, besieged.address, attack, str(goes), str(large)]
    with subprocess.Popen(command) as attacker:
        slowest = 0.0
        while attacker.poll() is None:
            asked = time.monotonic()
            assert besieged.job("tick")["name"] == "tick"
            slowest = max(slowest, time.monotonic() - asked)
            time.sleep(0.02)
    assert attacker.returncode == 0
    assert besieged.job("tick")["name"] == "tick"
    took, grew = processor_time(besieged) - before, memory(besieged) - had
    runs = [run for run in besieged.runs(job=("s", "tick"), since=("t", int(began * 1e6))) if run.get("started")]
    late = max((run["started"] - run["due"] for run in runs), default=0) / 1e6
    figures = f"slowest answer {slowest:.3f} s, latest start {late:.3f} s, processor {took:.2f} s, {grew >> 10} KiB"
    print(f"{attack} ({large} MiB): {figures}" if attack in LARGE else f"{attack}: {figures}")
    assert took < goes * seconds
    assert late < 5
    assert slowest < 5
    assert grew < 24 * MIB


def test_a_hundred_attacks_take_no_more_memory_than_one(besieged: Agentd, stranger: Stranger) -> None:
    owner = stranger.owner()
    for name in ("patterns", "many_values", "unwanted_runs", "noise", "pings"):
        stranger.send(ATTACKS[name](stranger, owner))
    besieged.job("tick")
    had = memory(besieged)
    for name in ("patterns", "many_values", "unwanted_runs", "noise", "pings"):
        for _ in range(100):
            stranger.send(ATTACKS[name](stranger, owner))
            besieged.job("tick")
    assert memory(besieged) - had < 8 * MIB


def refusal(stranger: Stranger, **call: object) -> str:
    """The name and the sentence of the error that a call is answered with."""
    kind, answer = stranger.call(**call)
    assert kind == ERROR
    return answer.decode(errors="replace")


def test_what_cannot_be_meant_is_refused_without_being_repeated(besieged: Agentd, stranger: Stranger) -> None:
    job = {"member": "GetJob", "signature": "s"}
    for call, error, sentence in (
        (
            {"member": "GetJob", "signature": "aau", "body": padded(b"", 4) + bytes(4)},
            "InvalidArgument",
            "GetJob takes (s)",
        ),
        ({**job, "body": text("a" * (65 << 10))}, "LimitsExceeded", "GetJob was called with more than 64 KiB"),
        ({**job, "body": text("a" * 60_000)}, "InvalidArgument", "has 60000 characters; at most 120 are allowed"),
        ({**job, "body": text("a" * 110)}, "NoSuchJob", f'there is no job "{"a" * 100}…"'),
        ({"signature": "a{sv}", "body": options(name="*" * 121)}, "InvalidArgument", "has 121 characters"),
        ({"signature": "a{sv}", "body": options(**{"n" * 119: "x"})}, "InvalidArgument", f'"{"n" * 100}…" is not an'),
        ({"member": "N" * 200}, "UnknownMethod", f"has no method {'N' * 100}…"),
        ({"path": "/" + "p" * 10_000}, "UnknownObject", f"there is no object /{'p' * 99}…"),
    ):
        said = refusal(stranger, **call)
        assert f".Error.{error}" in said
        assert sentence in said
        assert len(said) < 700
    assert "defect" not in besieged.log.read_text()


def test_a_caller_has_eight_calls_under_way_and_the_ninth_is_told_at_once(besieged: Agentd, stranger: Stranger) -> None:
    run = {"member": "ListRuns", "signature": "a{sv}", "body": options()}
    serials = [stranger.serial() for _ in range(30)]
    stranger.send(b"".join(message(CALL, serial, **run) for serial in serials))  # type: ignore[arg-type] # of the names that message() has
    answers = dict(stranger.answers(set(serials)))
    refused = {serial for serial, (kind, _) in answers.items() if kind == ERROR}
    assert len(answers) == 30
    assert set(serials[:8]) & refused == set()
    assert refused
    for serial in refused:
        assert b"LimitsExceeded" in answers[serial][1]
        assert b"8 calls of this connection are under way; wait for their answers" in answers[serial][1]
    assert stranger.call(**run)[0] == RETURN


def test_the_private_bus_passes_on_no_more_calls_of_one_connection_than_the_system_bus(
    besieged: Agentd, stranger: Stranger
) -> None:
    ping = {"interface": "org.freedesktop.DBus.Peer", "member": "Ping"}
    serials = [stranger.serial() for _ in range(500)]
    assert besieged.process is not None
    besieged.process.send_signal(signal.SIGSTOP)  # none is answered before all are there
    try:
        stranger.send(b"".join(message(CALL, serial, **ping) for serial in serials))  # type: ignore[arg-type] # as above
        refused = dict(itertools.islice(stranger.answers(set(serials)), 500 - 128))
    finally:
        besieged.process.send_signal(signal.SIGCONT)
    answered = dict(stranger.answers(set(serials) - set(refused)))
    assert all(b"org.freedesktop.DBus.Error.LimitsExceeded" in answer for _, answer in refused.values())
    assert not any(b"org.freedesktop.DBus.Error" in answer for _, answer in answered.values())
    assert len(answered) == 128


def test_the_private_bus_ends_whoever_sends_more_than_agentd_ever_does(besieged: Agentd) -> None:
    stranger = Stranger(besieged.address, large=31)
    long = big_signal(stranger, stranger.owner())
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        stranger.send(long)
    stranger.close()
    largest = Stranger(besieged.address, large=8)
    largest.send(big_signal(largest, largest.owner()))
    assert largest.call()[0] == ERROR  # the signature that ListJobs takes is another
    largest.close()
    assert besieged.job("tick")["name"] == "tick"


def test_a_question_whose_answer_nobody_wants_is_not_worked_at_but_a_deed_is_done(
    besieged: Agentd, stranger: Stranger
) -> None:
    count = len(besieged.runs(job=("s", "number-07")))
    body = padded(text("number-07"), 8) + bytes(8)
    run = {"member": "RunJob", "signature": "sa{sv}", "body": body, "flags": 1}
    stranger.send(message(CALL, stranger.serial(), **run))  # type: ignore[arg-type] # as above
    besieged.until(lambda: len(besieged.runs(job=("s", "number-07"))) > count, "the run")


def test_lists_come_in_pages_and_agentctl_shows_all_that_is_asked_for(besieged: Agentd) -> None:
    assert len(besieged.call("Jobs.ListRuns", "a{sv}", {"job": ("s", "once"), "limit": ("u", 10_000)})) == 1000
    once = [int(run["run_id"].rpartition(".")[2]) for run in besieged.runs(job=("s", "once"))]
    assert once == [*range(1000 + HISTORY, 1000, -1), once[-1]]
    shown = besieged.ctl_json("history", "once", "-n", "2400")
    numbers = [int(run["run_id"].rpartition(".")[2]) for run in shown]
    assert numbers == list(range(1000 + HISTORY, 1000 + HISTORY - 2400, -1))
    assert len(besieged.ctl_json("history", "once", "-n", "10000")) == HISTORY + 1
    page = besieged.call("Jobs.ListJobs", "a{sv}", {"after": ("s", "number-57")})
    assert [job["name"][1] for job in page] == ["number-58", "number-59", "once", "tick"]


def test_what_anybody_can_say_is_no_defect(besieged: Agentd, stranger: Stranger) -> None:
    with pytest.raises(CallError, match="from must be an instant before the year 9000"):
        besieged.call("Jobs.NextTimes", "stu", "tick", 2**64 - 1, 3)
    properties = {"interface": "org.freedesktop.DBus.Properties", "member": "Get"}
    said = refusal(stranger, **properties, signature="as", body=b"\x08\0\0\0\3\0\0\0abc\0")
    assert "has no method Get (as)" in said
    said = refusal(stranger, **properties, signature="ss", body=padded(text(f"{NAME}.Jobs"), 4) + text("x" * 300))
    assert "InvalidArgument" in said
    assert "defect" not in besieged.log.read_text()
