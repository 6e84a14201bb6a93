"""Schedulers of one's own between agentd, systemd, polkit, clang, libbpf and the kernel: each step of a verification,
and what ends it.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.vm.agentd import agentctl, answer, call
from tests.vm.machine import Machine
from tests.vm.sched_ext import scheduler, wait_for

SOURCES = Path(__file__).with_name("scx")
ALLOWED = "/etc/agentd/custom-schedulers"
LONGEST = 300.0  # seconds for a verification under emulation
STEPS = ("source", "compile", "object", "load", "trial", "store")


@pytest.fixture(scope="module")
def machine(scx_agentd: Machine) -> Machine:
    return scx_agentd


def verify(machine: Machine, name: str) -> dict[str, Any]:
    """The report of a verification, after which nothing of it is left anywhere."""
    text = (SOURCES / f"{name}.bpf.c").read_text().replace("note_end", "record_end")  # as agentd's own scx.h has it
    machine.write(f"/root/{name}.bpf.c", text)
    words = ("sched", "verify", name, f"/root/{name}.bpf.c", "--json")
    done = agentctl(machine, *words, check=False, timeout=LONGEST)
    report: dict[str, Any] = json.loads(done.out)
    assert done.code == (0 if report["ok"] else 1), done.err
    assert machine.run("ls", "-A", "/run/agentd/verify").out == ""
    assert scheduler(machine).state == "disabled"
    report["steps"] = {step["name"]: step for step in report["steps"]}
    assert list(report["steps"]) == list(STEPS)
    return report


def failed(report: dict[str, Any]) -> tuple[str, str]:
    """The step that a verification ended with, after which nothing was done, and all that was said about it."""
    states = [report["steps"][name]["state"] for name in STEPS]
    at = states.index("failed")
    assert states == ["ok"] * at + ["failed"] + ["skipped"] * (len(STEPS) - at - 1)
    step = report["steps"][STEPS[at]]
    return STEPS[at], "\n".join([step["sentence"], *step.get("excerpt", ())])


def test_without_a_compiler_it_is_told_what_to_install(machine: Machine) -> None:
    machine.sh("mkdir /var/tmp/hidden; mv /usr/bin/clang* /var/tmp/hidden")
    steps = verify(machine, "fifo")["steps"]
    machine.sh("mv /var/tmp/hidden/* /usr/bin")
    assert steps["compile"]["state"] == "failed"
    assert "install clang and libbpf-dev" in steps["compile"]["sentence"]
    assert {steps[name]["state"] for name in STEPS if name != "compile"} == {"skipped"}
    assert machine.run("systemctl", "show", "-P", "User", "agentd-verify@fifo").out.strip() == "agentd-verify"


def test_what_compiles_is_loaded_only_where_root_allows_it(machine: Machine) -> None:
    step, said = failed(verify(machine, "fifo"))
    assert (step, f"touch {ALLOWED}" in said) == ("load", True)
    machine.run("touch", ALLOWED)
    assert call(machine, "Scheduler", "ListCustom") == []


def test_a_good_one_is_compiled_verified_listed_started_and_removed(machine: Machine) -> None:
    report = verify(machine, "fifo")
    assert [report["steps"][name]["state"] for name in STEPS] == ["ok"] * len(STEPS), report
    assert report["sentence"] == f"custom:fifo is verified on {machine.run('uname', '-r').out.strip()}"
    assert "custom:fifo" in {one["name"] for one in answer(machine, "sched", "list", "--installed")}
    agentctl(machine, "sched", "start", "custom:fifo", timeout=LONGEST)
    assert wait_for(machine, "enabled", "custom_fifo_").state == "enabled"
    call(machine, "Scheduler", "Stop", "a{sv}", "1", "keep", "b", "true", timeout=LONGEST)
    wait_for(machine, "disabled", timeout=LONGEST)
    agentctl(machine, "sched", "remove", "fifo")
    assert machine.run("ls", "-A", "/var/lib/agentd/custom").out == ""


@pytest.mark.parametrize(
    ("name", "step", "words"),
    [
        ("wrong_type", "source", "tracepoint"),
        ("compile_error", "compile", "scx_bpf_insert"),
        ("unsafe", "load", "Possibly NULL pointer"),
        ("wrong_dsq", "trial", "DSQ"),
        ("stall", "trial", "failed to run for"),
    ],
)
def test_a_bad_one_is_refused_where_it_is_bad_with_the_reason(
    machine: Machine, name: str, step: str, words: str
) -> None:
    at, said = failed(verify(machine, name))
    assert at == step, said
    assert words in said
    assert call(machine, "Scheduler", "ListCustom") == []
