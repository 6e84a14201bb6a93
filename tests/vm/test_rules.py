"""Rules on a real machine: memory that fills up, jobs that fail, a unit that is wedged."""

import json
from typing import Any

import pytest

from tests.vm.agentd import answer, answers, call, configure
from tests.vm.machine import Machine

HUNGRY = "import time; held = b'x' * (1200 << 20); print(len(held)); time.sleep(600)"
WEDGED = """
[Service]
ExecStartPre=/bin/rm -f /run/wedged
ExecStart=/bin/sleep infinity
"""
"""Active whatever happens; healthy while there is no /run/wedged."""
FREE = {"min_uptime": "0", "per_day": 5, "per_week": 100}


def with_rules(machine: Machine, rules: dict[str, Any], **more: Any) -> None:
    configure(machine, json.dumps({"timezone": "UTC", "sampling": {"every": "1s"}, "rules": rules, **more}))


def state(machine: Machine, rule: str) -> str:
    (found,) = call(machine, "Rules", "ListRules", "a{sv}", "1", "name", "s", rule)
    return str(found["state"])


def decisions(machine: Machine) -> list[dict[str, Any]]:
    return list(call(machine, "Manager", "ListDecisions", "a{sv}", "1", "part", "s", "rules"))


def journal(machine: Machine) -> str:
    return machine.run("journalctl", "-b", "-u", "agentd", "-o", "cat", "--no-pager").out


def test_memory_that_fills_up_fires_after_its_span_and_has_the_self_test_run(machine: Machine) -> None:
    with_rules(machine, {"memory": {"when": "MemoryUsage > 60% CLEAR 50% for 10s", "do": "TriggerSelfTest"}})
    machine.wait_until(lambda: state(machine, "memory") == "inactive", 60, "the first sample")
    machine.run("systemd-run", "--unit=hungry", "python3", "-c", HUNGRY)
    machine.wait_until(lambda: state(machine, "memory") == "firing", 120, "the rule to fire")
    machine.wait_until(lambda: "the self-test is over" in journal(machine), 120, "the self-test to end")
    told = journal(machine)
    assert "memory fires and asks for TriggerSelfTest: MemoryUsage > 60% CLEAR 50%: " in told
    assert "self-test begins: rule memory" in told
    assert ", 0 failed" in told, told
    (evidence,) = call(machine, "Rules", "ListEvidence", "sa{sv}", "memory", "0")
    assert any("hungry.service" in line for line in evidence["processes"]), evidence
    machine.run("systemctl", "stop", "hungry")
    machine.wait_until(lambda: state(machine, "memory") == "inactive", 60, "the rule to end")
    assert [one["kind"] for one in decisions(machine)][:2] == ["inactive", "firing"]


def test_the_figures_of_units_are_systemds(machine: Machine) -> None:
    rules = {
        "memory": {"when": "UnitMemory:agentd.service > 1TiB", "do": "Notify"},
        "failed": {"when": "FailedUnits > 1000", "do": "Notify"},
        "restarts": {"when": "UnitRestarts:agentd.service > 1000", "do": "Notify"},
        "active": {"when": "UnitActive:agentd.service == no", "do": "Notify"},
        "own": {"when": "AgentMemory > 1TiB OR AgentTasks > 1000", "do": "Notify"},
    }
    with_rules(machine, rules)
    machine.wait_until(lambda: state(machine, "own") == "inactive", 60, "the first sample")

    def alike() -> tuple[dict[str, str], dict[str, Any]] | None:
        """Both, once neither is of a moment at which a reload or a question had a process or a thread of its own."""
        show = ("systemctl", "show", "agentd", "-p", "MemoryCurrent", "-p", "TasksCurrent", "-p", "NRestarts")
        systemd = dict(line.split("=") for line in machine.run(*show).out.split())
        kpis = {one["name"]: one for one in call(machine, "Rules", "ListKpis", "a{sv}", "0")}
        bytes_ = int(systemd["MemoryCurrent"])
        memory = kpis["UnitMemory:agentd.service"]["value"] == pytest.approx(bytes_, rel=0.1)
        memory = memory and kpis["AgentMemory"]["value"] <= bytes_ * 1.1
        return (systemd, kpis) if memory and kpis["AgentTasks"]["value"] == int(systemd["TasksCurrent"]) else None

    both = machine.wait_until(alike, 60, "what systemd shows to be the KPI's: the tasks, and the memory within a tenth")
    assert both is not None
    systemd, kpis = both
    assert kpis["AgentTasks"]["value"] == int(systemd["TasksCurrent"])
    assert kpis["UnitRestarts:agentd.service"]["value"] == int(systemd["NRestarts"])
    assert (kpis["UnitActive:agentd.service"]["value"], kpis["FailedUnits"]["missing"]) == (1, "")


def test_a_wedged_unit_is_restarted_and_only_one_that_root_named(machine: Machine) -> None:
    machine.write("/etc/systemd/system/wedged.service", WEDGED)
    machine.sh("systemctl daemon-reload; systemctl start wedged; touch /run/wedged")
    before = machine.run("systemctl", "show", "-P", "MainPID", "wedged").out
    with_rules(
        machine,
        {
            "wedged": {
                "when": "Wedged > 0 for 3s",
                "then": [{"do": "RestartUnit:wedged.service"}, {"after": "5min", "do": "Notify"}],
            }
        },
        jobs={"probe": {"run": "test ! -e /run/wedged", "when": {"every": "3s"}}},
        kpis={"Wedged": {"job": "probe", "value": "exit-code"}},
        may_restart=["wedged.service"],
    )
    machine.wait_until(lambda: "rule wedged: RestartUnit:wedged.service: " in journal(machine), 120, "the rule to act")
    machine.wait_until(lambda: state(machine, "wedged") == "inactive", 120, "the rule to end")
    after = machine.run("systemctl", "show", "-P", "MainPID", "wedged").out
    assert int(after) not in {0, int(before)}
    restarts = machine.journal("-b", "-u", "agentd-restart@wedged.service.service", "-o", "cat")
    assert restarts.count("Finished agentd-restart@wedged.service.service") == 1
    # The repair helped: nobody is told but the journal.
    assert [one["kind"] for one in decisions(machine)][:2] == ["inactive", "firing"]
    assert "Notify" not in journal(machine)
    assert "agentd-wall" not in machine.journal("-b", "-o", "cat")
    as_agentd = ("runuser", "-u", "agentd", "--", "busctl", "call", "org.freedesktop.systemd1")
    manager = ("/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "StartUnit", "ss")
    other = machine.run(*as_agentd, *manager, "agentd-restart@dbus.service.service", "replace", check=False)
    assert other.code != 0
    assert "not found" in other.err


def test_failing_jobs_have_the_machine_rebooted_once_and_not_again(machine: Machine) -> None:
    configured = {
        "jobs": {"fails": {"run": "exit $((${AGENTD_RUN_ID##*.} % 2))", "when": {"every": "1s"}}},
        "reboot": {"limits": FREE, "grace": "0"},
    }
    rules = {"errors": {"when": "ErrorRate > 40% for 5s", "do": "RequestReboot", "cooldown": "0s"}}
    boot_id = machine.boot_id
    with_rules(machine, rules, **configured)
    machine.wait_reboot(boot_id, 600)
    answers(machine, 120)
    refused = "RequestReboot was refused: rule errors"
    machine.wait_until(lambda: any(refused in one["reason"] for one in decisions(machine)), 240, "a refusal")
    done = [one for one in answer(machine, "reboot", "history") if one["cause"] == "rule errors"]
    assert [one["state"] for one in done] == ["verified"], [(one["state"], one.get("note")) for one in done]


def test_the_pack_loads(machine: Machine) -> None:
    machine.sh("gunzip -c /usr/share/doc/agentd/examples/rules.yaml.gz 2>/dev/null > /etc/agentd/conf.d/rules.yaml || "
               "cp /usr/share/doc/agentd/examples/rules.yaml /etc/agentd/conf.d/rules.yaml")  # fmt: skip
    with_rules(machine, {})
    assert len(call(machine, "Rules", "ListRules", "a{sv}", "0")) >= 15
