"""The state directory of agentd 0.1.0 is taken up as it is: nothing of it is lost, doubled or set aside."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.bus.harness import Agentd
from tests.bus.machine import plain
from tests.compat.conftest import RECORDED
from tests.compat.playing import of_machine, standalone
from tests.compat.state import DATABASE
from tests.compat.wire import Client

ALL = {"limit": ["u", 10_000], "tail": ["b", True]}


@pytest.fixture(scope="module")
def taken_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Agentd, Client]]:
    """An agentd that took the state up, to be asked only."""
    with standalone(tmp_path_factory.mktemp("c"), RECORDED) as both:
        yield both


@pytest.fixture(scope="module")
def database() -> Iterator[sqlite3.Connection]:
    """The recorded database."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.row_factory = sqlite3.Row
        database.executescript((RECORDED / "state" / f"{DATABASE}.sql").read_text())
        yield database


def rows(database: sqlite3.Connection, query: str) -> list[dict[str, Any]]:
    return [dict(row) for row in database.execute(query)]


def ask(client: Client, member: str, signature: str = "", *body: Any) -> Any:
    """The one value of an answer; its instants are in the time of the recorded state."""
    found = client.call({"call": f"org.agentd1.{member}", "signature": signature, "body": list(body)})
    return found["answer"][1][0]


def test_the_state_holds_what_a_state_can_hold(database: sqlite3.Connection) -> None:
    """So that the other tests mean something."""
    results = {row["result"] for row in rows(database, "SELECT result FROM runs")}
    assert results == {
        "success", "exit-code", "signal", "timeout", "start-failed", "stopped", "interrupted", "cancelled", "",
    }  # fmt: skip
    causes = {row["cause"] for row in rows(database, "SELECT cause FROM runs")}
    assert causes == {"schedule", "missed", "manual", "retry", "after", "hook"}
    waiting = rows(database, "SELECT * FROM runs WHERE state != 'ended'")
    assert sorted(row["state"] for row in waiting) == ["queued", "queued", "queued", "running"]
    states = [json.loads(row["state"]) for row in rows(database, "SELECT state FROM jobs")]
    for key in ("past", "interval", "preference", "last_skip", "last_skip_at"):
        assert any(state[key] for state in states), key
    assert [state["enabled"] for state in states].count(False) == 1
    reboots = [json.loads(row["record"]) for row in rows(database, "SELECT record FROM reboots")]
    assert {one["state"] for one in reboots} == {"verified", "cancelled", "deferred", "superseded", "waiting"}
    (guards,) = rows(database, "SELECT value FROM facts WHERE name = 'reboot-guards'")
    assert json.loads(guards["value"])["slot"] is True
    assert [*json.loads(guards["value"])["breakers"]] == ["rule leak"]
    assert rows(database, "PRAGMA user_version") == [{"user_version": 3}]


def test_runs_and_their_output_are_as_they_were(taken_up: tuple[Agentd, Client], database: sqlite3.Connection) -> None:
    agentd, client = taken_up
    old = {f"{row['job']}.{row['seq']}": row for row in rows(database, "SELECT * FROM runs")}
    found = {run["run_id"][1]: plain(run) for run in ask(client, "Jobs.ListRuns", "a{sv}", ALL)}
    assert found.keys() == old.keys()  # no due time led to another run, in this boot or by the calendar
    for run_id, row in old.items():
        if row["state"] == "ended":
            shown = {key: value for key, value in row.items() if value is not None and key in found[run_id]}
            assert shown.items() <= found[run_id].items()
            assert row.keys() - shown.keys() <= {"seq", "not_before", "exit_code"}
    for file in (RECORDED / "state/output").iterdir():
        assert ask(client, "Jobs.ReadOutput", "st", file.stem, 0) == {"bytes": file.read_text()}
    assert agentd.property("Manager.Warnings") == []
    assert not [*agentd.state.glob("*damaged*")]


def test_runs_that_were_cut_off_end_as_their_supervisor_saw_and_the_others_wait_again(
    taken_up: tuple[Agentd, Client], database: sqlite3.Connection
) -> None:
    agentd, client = taken_up
    running, *queued = rows(database, "SELECT * FROM runs WHERE state != 'ended' ORDER BY state DESC, seq")
    end = json.loads((RECORDED / "state/ended-0.jsonl").read_text())
    found: dict[str, Any] = {}

    def begun() -> bool:
        found.update({run["run_id"][1]: plain(run) for run in ask(client, "Jobs.ListRuns", "a{sv}", ALL)})
        return all(run["state"] != "starting" for run in found.values())

    agentd.until(begun, "what is to begin to have a process")
    cut = found[end["id"]]
    assert cut["run_id"] == f"{running['job']}.{running['seq']}"
    same = ("result", "started", "ended", "cpu_usec", "signal")
    assert [cut[key] for key in same] == ["interrupted", *(end[key] for key in same[1:])]
    retry, first, second = (f"{row['job']}.{row['seq']}" for row in queued)
    assert [found[run_id]["state"] for run_id in (first, second, retry)] == ["running", "queued", "queued"]
    assert plain(ask(client, "Jobs.GetJob", "s", "later"))["state"] == "retrying"
    assert not [*agentd.state.glob("ended-*.jsonl")]


def test_changes_of_run_time_and_decisions_are_as_they_were(
    taken_up: tuple[Agentd, Client], database: sqlite3.Connection
) -> None:
    _, client = taken_up
    states = {row["job"]: json.loads(row["state"]) for row in rows(database, "SELECT * FROM jobs")}
    found = {job["name"][1]: plain(job) for job in ask(client, "Jobs.ListJobs", "a{sv}", {})}
    assert found.keys() == states.keys()
    for name, state in states.items():
        changed = [key for key in ("interval", "enabled") if state[key] is not None]
        assert (found[name]["overridden"], found[name]["preference"]) == (changed, state["preference"])
        assert found[name].get("last_skip", "") == state["last_skip"]
        assert found[name].get("last_skip_at", 0) == state["last_skip_at"]
        if state["interval"] is not None:
            assert found[name]["interval"] == state["interval"]
        if found[name]["interval"] and found[name]["next"]:  # on the same grid as before
            assert (found[name]["next"] - state["anchor"]) % found[name]["interval"] == 0
    assert sum(bool(job["interval"] and job["next"]) for job in found.values()) == 4
    decisions = [plain(one) for one in ask(client, "Jobs.ListDecisions", "a{sv}", {"limit": ["u", 10_000]})]
    old = rows(database, "SELECT at, kind, job, run_id, reason FROM decisions ORDER BY id DESC")
    assert decisions[-len(old) :] == old


def test_a_second_start_finds_the_same_and_goes_on_counting(tmp_path: Path, database: sqlite3.Connection) -> None:
    """The first may have brought the database into another form."""
    (highest,) = database.execute("SELECT max(seq) FROM runs").fetchone()
    with standalone(tmp_path, RECORDED) as (agentd, client):
        before = {run["run_id"][1]: run for run in ask(client, "Jobs.ListRuns", "a{sv}", ALL)}
        ledger = agentd.call("Reboot.ListReboots", "a{sv}", {})
        assert agentd.call("Jobs.RunJob", "sa{sv}", "ok", {}) == f"ok.{highest + 1}"
        agentd.kill()
        agentd.start()
        again = {run["run_id"]: run for run in agentd.runs(tail=("b", True))}
        ended = [run_id for run_id, run in before.items() if run["state"][1] == "ended"]
        assert ended
        for run_id in ended:
            assert again[run_id]["state"] == "ended"
            assert again[run_id]["tail"] == before[run_id]["tail"][1]
        assert agentd.call("Reboot.ListReboots", "a{sv}", {}) == ledger
        assert agentd.property("Manager.Warnings") == []


def test_the_ledger_of_reboots_its_breaker_its_slot_and_what_is_pending(
    tmp_path: Path, database: sqlite3.Connection
) -> None:
    old = [json.loads(row["record"]) for row in rows(database, "SELECT record FROM reboots ORDER BY id DESC")]
    (guards,) = rows(database, "SELECT value FROM facts WHERE name = 'reboot-guards'")
    with of_machine(tmp_path, RECORDED) as (machine, client):
        found = [plain(one) for one in ask(client, "Reboot.ListReboots", "a{sv}", {})]
        for one, before in zip(found, old, strict=True):
            same = {key: value for key, value in before.items() if key in one}
            assert same.items() <= one.items()
            assert same.keys() >= {"id", "cause", "reason", "kind", "automatic", "state", "note", "health", "begin"}
        status = plain(ask(client, "Reboot.GetStatus"))
        why = json.loads(guards["value"])["breakers"]["rule leak"]
        assert (status["breakers"], status["slot"], status["ledger"]) == ([f"rule leak: {why}"], True, "")
        assert (status["last_day"], status["last_week"]) == (2, 2)
        assert (status["state"], status["pending_id"], status["pending_begin"]) == ("waiting", 8, old[0]["begin"])
        assert machine.cancel()["id"] == 8
        assert machine.request() == 9
        machine.boot()
        assert plain(machine.until_told("RebootFinished")[0])["state"] == "cancelled"
        assert plain(machine.until_told("RebootFinished")[0])["state"] == "superseded"
