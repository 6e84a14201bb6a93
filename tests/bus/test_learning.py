"""Learning, as people meet it: a real agentd whose jobs watch what changes at rates of their own, in seconds."""

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bus.harness import Agentd, CallError

CONFIG = """
timezone: UTC
learning: {mode: on, cycle: 1s, aim: 30s, cpu_budget: 100%, training: no}
jobs:
  fast:
    run: 'echo "$(date) $(( $(date +%s) / 2 ))"'
    when: &when {adaptive: {start: 3s, min: 1s, max: 1min}}
    useful: output
  middle: {run: 'echo $(( $(date +%s) / 20 ))', when: *when, useful: output}
  slow: {run: 'echo "the same, pid $$, took 3 ms"', when: *when, useful: output}
"""
WATCHES = """
timezone: UTC
learning: {mode: on, cycle: 1s, aim: 30s, training: no}
jobs:
  file: {run: 'cp new watched', when: &when {adaptive: {start: 1h}}, useful: {file: FOLDER/watched}}
  codes: {run: 'exit $(cat code)', when: *when, useful: {exit-code: [10, 11]}}
  code: {run: 'exit $(cat code)', when: *when, useful: exit-code}
  reports: {run: 'cat says; if grep -q yes says; then AGENTCTL progress --changed; fi', when: *when, useful: reported}
  plain: {run: 'true', when: *when}
  hourly: {run: 'true', when: {every: 1h}}
"""


def values(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, (_, value) in record.items()}


def explained(agentd: Agentd, job: str) -> dict[str, Any]:
    return values(agentd.call("Learning.Explain", "s", job)[0])


def intervals(agentd: Agentd) -> dict[str, float]:
    found = map(values, agentd.call("Learning.ListLearners", "a{sv}", {}))
    return {one["name"]: one["interval"] / 1e6 for one in found}


def ordered(agentd: Agentd) -> bool:
    found = intervals(agentd)
    return found["fast"] * 1.4 <= found["middle"] and found["middle"] * 1.4 <= found["slow"]


def test_jobs_end_ordered_by_how_often_what_they_watch_changes_and_a_restart_keeps_that(agentd: Agentd) -> None:
    agentd.start(CONFIG)
    assert set(intervals(agentd).values()) == {3.0}
    agentd.until(lambda: ordered(agentd), "the jobs to be ordered", 120)
    before = {job: explained(agentd, job) for job in ("fast", "middle", "slow")}
    given = intervals(agentd)
    # An increase is there at once: the next run is sooner.
    slow = values(agentd.call("Jobs.GetJob", "s", "slow"))
    change = values(agentd.call("Jobs.Increase", "s", "slow"))
    assert change["new"] <= change["old"] / 1.25
    # Where the shorter interval is over already, a run begins now, and the one after it is next.
    now = values(agentd.call("Jobs.GetJob", "s", "slow"))
    assert change["next"] < slow["next"] or now["starting"] or now["running"] or now["last_due"] > slow["last_due"]
    decisions = [values(one) for one in agentd.call("Manager.ListDecisions", "a{sv}", {"part": ("s", "learning")})]
    assert {one["kind"] for one in decisions} == {"interval"}
    assert all("expects a change each" in one["reason"] for one in decisions)
    assert agentd.stop() == 0
    agentd.start()
    after = {job: explained(agentd, job) for job in ("fast", "middle", "slow")}
    for job in ("fast", "middle"):
        assert after[job]["runs"] >= before[job]["runs"]
        assert intervals(agentd)[job] <= given[job] * 2
    assert after["slow"]["preference"] == 1
    change = values(agentd.call("Learning.SetPreference", "si", "slow", 0))
    assert change["new"] >= change["old"] * 1.25


def run(agentd: Agentd, job: str) -> None:
    run_id = agentd.call("Jobs.RunJob", "sa{sv}", job, {})
    agentd.until(
        lambda: [one for one in agentd.runs(run_id=("s", run_id)) if one["state"] == "ended"], f"{run_id} to end"
    )


def test_each_way_to_be_of_use_is_told_from_none(agentd: Agentd) -> None:
    folder = agentd.folder
    agentctl = f"PYTHONPATH={Path(__file__).parents[2]} {sys.executable} -m agentctl"
    for name, text in (("new", "one"), ("code", "0"), ("says", "no")):
        (folder / name).write_text(text)
    agentd.start(WATCHES.replace("FOLDER", str(folder)).replace("AGENTCTL", agentctl))
    jobs = ("file", "codes", "code", "reports")

    def seen(job: str, runs: int) -> bool:
        return bool(explained(agentd, job).get("runs", 0) == runs)

    for job in jobs:
        run(agentd, job)
        run(agentd, job)
    # The first run of a job that compares has nothing to compare with.
    agentd.until(lambda: all(seen(job, 2 if job in ("codes", "reports") else 1) for job in jobs), "runs to be judged")
    assert [explained(agentd, job).get("changed", 0) for job in jobs] == [0, 0, 0, 0]
    (folder / "new").write_text("two")
    (folder / "code").write_text("10")
    (folder / "says").write_text("yes")
    for job in jobs:
        run(agentd, job)
    agentd.until(lambda: all(explained(agentd, job).get("changed") for job in jobs), "each change to be seen")
    assert [explained(agentd, job)["failures"] for job in jobs] == [0, 0, 0, 0]


def test_what_cannot_learn_says_what_to_set(agentd: Agentd, tmp_path: Path) -> None:
    agentd.start(WATCHES.replace("FOLDER", str(tmp_path)))
    run(agentd, "plain")
    assert explained(agentd, "plain")["unknown"] == (
        "nothing says when a run is of use: set useful of plain, such as useful: output"
    )
    with pytest.raises(CallError, match="hourly is not adaptive, it runs every 1h; give it when:"):
        explained(agentd, "hourly")
    with pytest.raises(CallError, match=r'there is no job "plane" \(did you mean plain\?\)'):
        explained(agentd, "plane")
    with pytest.raises(CallError, match="a preference lies between -4 and 4, not 9"):
        agentd.call("Learning.SetPreference", "si", "plain", 9)
    note = values(agentd.call("Learning.SetPreference", "si", "plain", 2))["note"]
    assert note == "plain has the preference +2 and runs every 26min 40s (was 1h)"


def test_a_damaged_network_is_told_and_what_counts_goes_on(agentd: Agentd) -> None:
    agentd.start(WATCHES.replace("FOLDER", "/nowhere"))
    assert agentd.property("Learning.Network") == 0
    assert agentd.stop() == 0
    folder = agentd.state / "networks"
    folder.mkdir(exist_ok=True)
    (folder / "000001.json").write_text('{"version": 1')
    agentd.start()
    (listed, first) = map(values, agentd.call("Learning.ListNetworks"))
    assert (listed["number"], listed["in_force"]) == (1, False)
    assert "000001.json" in listed["wrong"]
    assert (first["number"], first["in_force"], first["synthetic"]) == (0, True, True)
    with pytest.raises(CallError, match="there is no network before the one in force"):
        agentd.call("Learning.Rollback")
    assert agentd.property("Manager.Warnings") == []
