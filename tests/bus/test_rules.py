"""Rules, as people meet them: a real agentd that looks at this machine and at its own jobs."""

import json
from typing import Any

import pytest

from tests.bus.harness import Agentd

CONFIG = """
timezone: UTC
sampling: {every: 500ms}
jobs:
  clean: {run: echo cleaned}
  probe: {run: 'echo starting; echo 31.5', when: {every: 1s}}
  fails: {run: exit 1, when: {every: 1s}}
  steady: {run: 'true', when: {every: 1s}}
kpis:
  Room: {job: probe, value: output, unit: celsius}
rules:
  memory: {when: "MemoryUsage > 0.1% for 1s", do: RunJob:clean}
  room: {when: "Room > 30C", do: Notify}
  failing: {when: "JobFailing:fails >= 3", do: StopJob:fails, priority: high}
  never: {when: "MemoryUsage > 99.9%", do: RequestReboot}
  shy: {when: "MemoryUsage > 0.1%", do: RunJob:clean, shadow: true}
  nowhere: {when: "DiskUsage:/nowhere > 1%", do: Notify}
"""
PAUSE = """
timezone: UTC
sampling: {every: 500ms}
jobs:
  tick: {run: 'true', when: {every: 1s}}
rules:
  pause: {when: "MemoryUsage > 0.1% for 1s", do: PauseJobs}
"""

COUNTED = """
timezone: UTC
sampling: {every: 500ms}
jobs:
  fails: {run: exit 1, when: {every: 1s}}
rules:
  failing: {when: "JobFailing:fails >= 100", do: Notify}
"""


def rules(agentd: Agentd) -> dict[str, dict[str, Any]]:
    found = agentd.call("Rules.ListRules", "a{sv}", {})
    return {record["name"][1]: {key: value for key, (_, value) in record.items()} for record in found}


def test_rules_look_at_the_machine_and_at_jobs_and_act(agentd: Agentd) -> None:
    agentd.start(CONFIG)
    agentd.until(lambda: agentd.runs(job=("s", "clean")), "the rule to run a job")
    (run,) = agentd.runs(job=("s", "clean"))
    assert run["cause"] == "rule"
    agentd.until(lambda: rules(agentd)["room"]["state"] == "firing", "a KPI of one's own to be seen")
    agentd.until(lambda: rules(agentd)["failing"]["state"] == "firing", "a job that fails to be seen")
    seen = rules(agentd)
    assert [name for name, one in seen.items() if one["state"] == "firing"] == ["failing", "memory", "room", "shy"]
    assert (seen["never"]["state"], seen["nowhere"]["state"]) == ("inactive", "unknown")
    assert seen["room"]["sees"] == ["Room > 30C: 31.5C against 30C"]
    (sees,) = seen["nowhere"]["sees"]
    assert "/nowhere" in sees
    assert "no such file" in sees
    assert agentd.property("Rules.Firing") == ["failing", "memory", "room", "shy"]
    assert len(agentd.runs(job=("s", "clean"))) == 1, "a rule in shadow acted, or one acted twice"
    warnings = agentd.property("Manager.Warnings")
    assert any("the rule room fires" in warning for warning in warnings)


def test_a_rule_is_explained_part_by_part_with_the_kind_of_each(agentd: Agentd) -> None:
    agentd.start(f"{CONFIG}  odd: {{when: NOT MemoryUsage > 0.1% OR MemoryUsage IS anomalous, do: Notify}}\n")
    agentd.until(lambda: rules(agentd)["memory"]["state"] == "firing", "some samples")
    _, lines = agentd.call("Rules.ExplainRule", "s", "odd")
    assert [line["kind"][1] for line in lines] == ["or", "not", "compares", "anomalous"]
    shown = agentd.ctl("rules", "explain", "odd").stdout.partition("missing for it to fire:\n")[2].splitlines()
    assert shown[0].startswith("  NOT MemoryUsage > 0.1%: ")
    assert shown[1].startswith("  or MemoryUsage IS anomalous: ")
    assert "what is usual is known after a day, and agentd has looked for " in shown[1]


def test_the_evidence_of_what_a_rule_did_is_kept(agentd: Agentd) -> None:
    agentd.start(CONFIG)
    agentd.until(lambda: agentd.runs(job=("s", "clean")), "the rule to run a job")
    agentd.until(lambda: agentd.call("Rules.ListEvidence", "sa{sv}", "memory", {}), "the evidence")
    (evidence,) = agentd.call("Rules.ListEvidence", "sa{sv}", "memory", {})
    assert evidence["when"][1] == "MemoryUsage > 0.1% for 1s"
    assert any(kpi.startswith("MemoryUsage ") for kpi in evidence["kpis"][1])
    assert evidence["processes"][1]


def test_kpis_are_told_with_their_past(agentd: Agentd) -> None:
    agentd.start(CONFIG)
    agentd.until(lambda: agentd.runs(job=("s", "clean")), "some samples")
    found = {record["name"][1]: record for record in agentd.call("Rules.ListKpis", "a{sv}", {})}
    assert 0 < found["MemoryUsage"]["value"][1] < 100
    assert "no such file" in found["DiskUsage:/nowhere"]["missing"][1]
    assert not found["SwapUsage"]["sampled"][1]
    fresh = agentd.call("Rules.GetSamples", "sa{sv}", "MemoryUsage", {})
    assert fresh, "samples are seen before they are stored"
    agentd.stop()
    agentd.start(CONFIG)
    samples = agentd.call("Rules.GetSamples", "sa{sv}", "MemoryUsage", {})
    assert [sample["at"] for sample in samples[: len(fresh)]] == [sample["at"] for sample in fresh]
    assert 0 < samples[0]["mean"][1] < 100


def test_what_no_rule_needs_is_looked_at_when_somebody_asks(agentd: Agentd) -> None:
    agentd.start("timezone: UTC\n")
    found = {record["name"][1]: record for record in agentd.call("Rules.ListKpis", "a{sv}", {"look": ("b", True)})}
    assert 0 < found["MemoryUsage"]["value"][1] < 100
    assert 0 <= found["CpuUsage"]["value"][1] <= 100
    assert found["AgentCpu"]["value"][1] >= 0
    assert found["AgentMemory"]["value"][1] > 1 << 20
    assert found["LoopLag"]["missing"][1]
    assert 0 < found["DiskUsage:/"]["value"][1] < 100
    assert not any(record["sampled"][1] for record in found.values())
    assert agentd.call("Rules.GetSamples", "sa{sv}", "MemoryUsage", {}) == []
    shown = json.loads(agentd.ctl("kpi", "CpuUsage", "--json").stdout)
    assert (shown["sampled"], shown["missing"], shown["samples"]) == (False, "", [])


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_how_jobs_do_outlives_a_restart(agentd: Agentd, how: str) -> None:
    agentd.start(COUNTED)

    def failures() -> float:
        (kpi,) = agentd.call("Rules.ListKpis", "a{sv}", {"name": ("s", "JobFailing:*")})
        return float(kpi["value"][1]) if "value" in kpi else 0.0

    agentd.until(lambda: failures() >= 4, "four failures")
    if how == "stop":
        agentd.stop()
    else:
        agentd.until(lambda: not agentd.job("fails")["running"], "a moment without a run")
        agentd.kill()
    agentd.start(COUNTED.replace("every: 1s", "every: 1h"))
    agentd.until(lambda: failures() >= 4, "the failures to be known again")
    assert len([run for run in agentd.runs(job=("s", "fails")) if run["state"] == "ended"]) == failures()


def test_an_action_that_cannot_be_done_here_is_told_as_refused_and_not_as_done(agentd: Agentd) -> None:
    agentd.start(CONFIG.replace("99.9%", "0.1%"))
    agentd.until(lambda: rules(agentd)["never"]["withheld"], "the refusal")
    assert rules(agentd)["never"]["withheld"] == "RequestReboot was refused: agentd runs standalone here"
    assert any(
        "the rule never can never do its RequestReboot" in warning for warning in agentd.property("Manager.Warnings")
    )
    decisions = agentd.ctl_json("history", "--decisions", "-n", "100")
    told = [one["reason"] for one in decisions if one["about"] == "never"]
    assert "RequestReboot was refused: agentd runs standalone here" in told
    assert not any("done" in reason for reason in told)


def test_a_pause_of_jobs_outlives_a_restart_and_ends_with_the_rule(agentd: Agentd) -> None:
    agentd.start(PAUSE)
    agentd.until(lambda: agentd.property("Manager.State") == "paused", "the jobs to be paused")
    agentd.stop()
    agentd.start(PAUSE)
    agentd.until(lambda: agentd.property("Manager.State") == "paused", "the pause to be there again")
    (agentd.folder / "agentd.yaml").write_text(PAUSE.replace("0.1%", "99.9%"))
    agentd.call("Manager.Reload")
    agentd.until(lambda: agentd.property("Manager.State") == "running", "the pause to be over")


def test_the_self_test_passes_here_and_says_what_it_did(agentd: Agentd) -> None:
    agentd.start(CONFIG)
    results = agentd.call("Rules.SelfTest", "a{sv}", {})
    failed = [record for record in results if record["result"][1] == "failed"]
    assert not failed
    assert {record["name"][1] for record in results}
    assert agentd.property("Rules.SelfTestState") == "passed"
