"""A client of agentd 0.1.0 gets the answers and signals that it knows from this agentd, with the state of that one."""

from pathlib import Path
from typing import Any

import pytest

from tests.compat import state
from tests.compat.conftest import RECORDED
from tests.compat.playing import doings, of_machine, standalone
from tests.compat.rules import Rules
from tests.compat.sessions import replay


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a name that is short enough for sockets."""
    return tmp_path_factory.mktemp("c")


def rules(recorded: dict[str, Any]) -> Rules:
    return Rules(state.texts(RECORDED / "state"), recorded["about"]["recorded_at"])


def test_the_session_with_a_standalone_agentd_goes_as_with_0_1_0(folder: Path, recorded: dict[str, Any]) -> None:
    with standalone(folder, RECORDED) as (agentd, client):
        wrong = replay(client, recorded["session_jobs"], doings(agentd), rules(recorded))
        assert not wrong, "\n".join(wrong)
        assert "Traceback" not in agentd.log.read_text()


def test_the_session_about_reboots_goes_as_with_0_1_0(folder: Path, recorded: dict[str, Any]) -> None:
    """But for one answer: 0.1.0 swallowed a request while a plan was pending, and gave back the plan's number."""
    swallowed = ["the disk is worn", {}], ["t", [8]]
    session = [step for step in recorded["session_reboots"] if (step.get("body"), step.get("answer")) != swallowed]
    assert len(session) == len(recorded["session_reboots"]) - 1
    with of_machine(folder, RECORDED) as (machine, client):
        wrong = replay(client, session, doings(machine), rules(recorded))
        assert not wrong, "\n".join(wrong)
        assert "Traceback" not in machine.log.read_text()


def test_every_member_of_the_contract_of_0_1_0_is_in_a_session(recorded: dict[str, Any]) -> None:
    """Each method is called and answers once, each property is read, each signal is sent."""
    sessions = recorded["session_jobs"] + recorded["session_reboots"]
    introspected = next(step for step in sessions if step.get("call", "").endswith(".Introspect"))["answer"][1][0]
    seen = {step["call"] for step in sessions if "call" in step and "answer" in step}
    seen |= {".".join(step["body"]) for step in sessions if step.get("call", "").endswith("Properties.Get")}
    seen |= {signal["signal"] for step in sessions for signal in step.get("signals", [])}
    members = {
        f"{interface}.{name}"
        for interface, found in introspected["interface"].items()
        for kind in ("method", "property", "signal")
        for name in found.get(kind, {})
    }
    assert len(members) == 42
    assert sorted(members - seen) == ["org.agentd1.Reboot.ListHolders"]  # needs a fleet: its errors are recorded
