"""A third part, plugged into a real agentd: what a newcomer needs is there, and its defect is its own."""

from pathlib import Path
from typing import Any

import pytest
from jeepney import MatchRule, message_bus

from tests.bus.harness import Agentd, CallError

CONFIG = """
timezone: UTC
jobs:
  hello: {run: [/bin/true]}
"""


@pytest.fixture
def counting(agentd: Agentd) -> Agentd:
    agentd.program = ("tests.bus.counts", "--standalone")
    return agentd


def run(agentd: Agentd) -> None:
    """Runs a job until its end is stored."""
    run_id = agentd.call("Jobs.RunJob", "sa{sv}", "hello", {})
    agentd.until(lambda: agentd.runs(run_id=("s", run_id))[0]["state"] == "ended", f"{run_id} to end")


def decisions(agentd: Agentd, part: str) -> list[Any]:
    found = agentd.call("Manager.ListDecisions", "a{sv}", {"part": ("s", part)})
    return [(record["kind"][1], record["about"][1], record["reason"][1]) for record in found]


def test_it_is_small() -> None:
    assert len((Path(__file__).parent / "counts/part.py").read_text().splitlines()) < 60


def test_it_hears_decides_stores_and_carries_out(counting: Agentd) -> None:
    counting.start(CONFIG + "counts: {limit: 5}\n")
    rule = MatchRule(type="signal", interface="org.agentd1.Counts", member="Changed")
    counting.bus.send_and_get_reply(message_bus.AddMatch(rule))
    with counting.bus.filter(rule, bufsize=10) as changed:
        run(counting)
        run(counting)
        assert [counting.bus.recv_until_filtered(changed, timeout=10).body for _ in range(2)] == [(1,), (2,)]
    assert counting.property("Counts.Total") == 2
    assert decisions(counting, "counts") == [("count", "runs", "2 have ended"), ("count", "runs", "1 have ended")]
    counting.stop()
    counting.start()
    assert counting.property("Counts.Total") == 2


def test_its_defect_shuts_it_off_and_the_others_go_on(counting: Agentd) -> None:
    counting.start(CONFIG + "  often: {run: [/bin/true], when: {every: 1s}}\ncounts: {limit: 2}\n")
    counting.until(lambda: len(counting.runs(job=("s", "often"))) >= 3, "three runs")
    counting.until(lambda: counting.property("Manager.Warnings"), "a warning")
    (warning,) = counting.property("Manager.Warnings")
    assert warning.startswith(
        "the part counts is shut off because of a defect in it (OverflowError: cannot count so far)"
    )
    assert "restart" in warning
    with pytest.raises(CallError, match="the part counts is shut off") as refused:
        counting.property("Counts.Total")
    assert refused.value.name == "org.agentd1.Error.PartFailed"
    before = len(counting.runs(job=("s", "often")))
    counting.until(lambda: len(counting.runs(job=("s", "often"))) >= before + 2, "more runs")
    run(counting)
    assert "Traceback" not in counting.log.read_text()
    assert "a defect in the part counts: OverflowError: cannot count so far (part.py:" in counting.log.read_text()
    assert [about for _, about, _ in decisions(counting, "counts")] == ["runs", "runs"]
    assert counting.stop() == 0
