"""agentd and real CPU schedulers: what it says runs is what the kernel says, whatever is asked for and whatever breaks.

AGENTD_SWITCHES sets how many starts, switches and stops there are in random order (8).
"""

import json
import os
import random
import re
from pathlib import Path

import pytest

from tests.vm.agentd import agentctl, answer, answers, call, configure, note
from tests.vm.machine import Machine
from tests.vm.sched_ext import OBJECTS, REFUSED_QMAP, by_hand, scheduler, wait_for
from tests.vm.scheduling import LONGEST, PINS, SETTINGS, newest, quarantined, running, shown, switch

ROOT = Path(__file__).parents[2]
SWITCHES = int(os.environ.get("AGENTD_SWITCHES", "8"))
CHOICES = ("scx_simple", "scx_flatcg", "scx_bpfland", "scx_cosmos", "none")
MISBEHAVING = {
    "stall": ("stall", "runnable task stall"),
    "wrong_dsq": ("error", "non-existent DSQ"),
    "explicit": ("bpf-error", "enough after"),
    "exits": ("unregistered", "unregistered from BPF"),
    "unsafe": ("refused", "Possibly NULL pointer"),
    "no_kfunc": ("refused", "scx_bpf_does_not_exist"),
    "no_scheduler": ("refused", "no struct_ops found"),
}
"""How each of these ends, and words of the reason."""
EATERS = {
    "eats_cpu": ("loop_lag: 100ms", "agentd itself was kept waiting for"),
    "spins": ("program: 50%", "its program keeps a processor busy"),
}
"""The guard that each of these breaks, and words of the reason."""
GONE = "until read state </sys/kernel/sched_ext/state; [ $state = disabled ]; do sleep 5; done"
"""Waits without asking much of a machine that can hardly run anything."""
SPINS = "#!/bin/sh\nscx_simple &\nwhile :; do :; done\n"
LOAD = "[Service]\nExecStart=/bin/sh -c 'while :; do /bin/true; done'\n"


@pytest.fixture(scope="module")
def machine(scx_agentd: Machine) -> Machine:
    scx_agentd.write("/run/systemd/system/load.service", LOAD)
    scx_agentd.run("systemctl", "daemon-reload", timeout=90)
    return scx_agentd


@pytest.fixture(autouse=True)
def calm(machine: Machine) -> None:
    """Each test begins with the kernel's own scheduler, wanted by nobody but the default, and no failures."""
    call(machine, "Scheduler", "Restore")
    call(machine, "Scheduler", "Clear", "s", "")
    wait_for(machine, "disabled", timeout=LONGEST)


def test_this_kernel_can_run_schedulers_and_agentd_says_which(machine: Machine) -> None:
    found = {one["name"]: one for one in answer(machine, "sched", "list", "--installed")}
    assert found["scx_bpfland"]["version"] == "1.1.4"
    assert found["scx_simple"]["obstacles"] == []
    assert found["scx_central"]["obstacles"] == ["scx_central needs 2 CPUs; this machine has 1"]
    told = answer(machine, "sched", "info", "cosmos")
    assert told["warnings"] == []


def test_what_is_shown_is_what_the_kernel_says_in_any_order_under_load(machine: Machine) -> None:
    order = random.Random(15)
    machine.run("systemctl", "start", "load")
    try:
        for _ in range(SWITCHES):
            name = order.choice(CHOICES)
            told, seen = switch(machine, name), shown(machine)
            now = scheduler(machine)
            assert (seen["state"], seen["ops"]) == (now.state, now.ops)
            assert seen["current"] == name
            if name != "none":
                assert now.ops.startswith(name.removeprefix("scx_"))
                assert told["ops"] == now.ops
    finally:
        machine.run("systemctl", "stop", "load")
    gaps = [one["gap"] / 1000 for one in call(machine, "Scheduler", "ListTenures", "a{sv}", "0") if "gap" in one]
    note("time without a scheduler in a switch (emulated), ms", sorted(map(round, gaps)))
    switch(machine, "none")
    assert scheduler(machine).state == "disabled"
    assert running(machine) == ([], [])


def test_one_that_the_verifier_refuses_leaves_the_one_before_it_and_a_reason(machine: Machine) -> None:
    switch(machine, "scx_simple")
    machine.sh(f"mv /usr/bin/scx_qmap /usr/bin/qmap.kept; cp {REFUSED_QMAP} /usr/bin/scx_qmap")
    try:
        done = agentctl(machine, "sched", "switch", "qmap", check=False, timeout=LONGEST)
    finally:
        machine.sh("mv /usr/bin/qmap.kept /usr/bin/scx_qmap")
    assert done.code == 1
    assert "scx_qmap does not run" in done.err
    wait_for(machine, "enabled", "simple", timeout=LONGEST)
    ended = call(machine, "Scheduler", "ListTenures", "a{sv}", "1", "name", "s", "scx_qmap")[0]
    assert (ended["kind"], ended["enabled"]) == ("refused", 0)
    assert "invalid mem access 'scalar'" in ended["message"]
    assert "qmap" in ended["cause"]


@pytest.mark.parametrize(("flag", "kind"), [("error-after", "bpf-error"), ("stall-user", "stall")])
def test_an_ejection_is_noticed_with_the_kernels_reason_and_not_tried_again(
    machine: Machine, flag: str, kind: str
) -> None:
    done = agentctl(machine, "sched", "switch", "qmap", "--set", f"{flag}=40", check=False, timeout=LONGEST)
    wait_for(machine, "disabled", timeout=LONGEST)
    machine.wait_until(lambda: newest(machine)["ended"], 60, "agentd to know the end")
    ended = newest(machine)
    assert (ended["name"], ended["kind"]) == ("scx_qmap", kind), done.err
    note(f"time to notice an ejection ({kind}, emulated), ms", round(ended["noticed"] / 1000))
    assert [one["name"] for one in answer(machine, "sched", "status")["quarantines"]] == ["scx_qmap"]


@pytest.fixture(scope="module")
def objects(machine: Machine) -> None:
    """The objects of tests/vm/scx and a program, in the catalogue as an administrator adds schedulers."""
    lines = []
    words = "summary: One of the tests, algorithm: None, use_cases: [tests], readiness: test, timeout: 5s"
    for name in ("fifo", "eats_cpu", *MISBEHAVING):
        machine.sh(f"install -D {OBJECTS}/{name}.bpf.o /usr/local/lib/agentd/schedulers/scx_{name}.bpf.o")
        lines.append(f"scx_{name}: {{ops: {name}, {words}, language: bpf}}\n")
    machine.write("/usr/local/bin/scx_spins", SPINS, 0o755)
    lines.append(f"scx_spins: {{ops: simple, {words}, language: c, help: false}}\n")
    machine.write("/etc/agentd/schedulers.d/tests.yaml", "".join(lines))


def test_a_bpf_object_is_started_and_stopped_as_programs_are(machine: Machine, objects: None) -> None:
    switch(machine, "scx_fifo")
    assert (scheduler(machine).ops, shown(machine)["current"]) == ("fifo", "scx_fifo")
    switch(machine, "none")
    assert scheduler(machine).state == "disabled"
    assert machine.sh(f"ls {PINS}") == ""


@pytest.mark.parametrize("name", MISBEHAVING)
def test_one_that_misbehaves_is_detected_explained_and_quarantined(machine: Machine, objects: None, name: str) -> None:
    kind, words = MISBEHAVING[name]
    agentctl(machine, "sched", "switch", f"scx_{name}", check=False, timeout=LONGEST)
    machine.sh("for i in $(seq 100); do /bin/true; done")
    machine.wait_until(lambda: newest(machine)["ended"], LONGEST, "agentd to know the end")
    wait_for(machine, "disabled", timeout=LONGEST)
    ended = newest(machine)
    assert (ended["name"], ended["kind"]) == (f"scx_{name}", kind)
    assert words in f"{ended['cause']} {ended['message']}"
    assert quarantined(machine) == [f"scx_{name}"]
    gone = f"! systemctl is-active -q agentd-scx@scx_{name} && ! ls {PINS}/* 2>/dev/null"
    machine.wait_until(gone, LONGEST, "nothing to be left of it")


@pytest.mark.parametrize("name", EATERS)
def test_one_that_eats_processors_breaks_a_guard_and_is_quarantined(machine: Machine, objects: None, name: str) -> None:
    guard, words = EATERS[name]
    configure(machine, SETTINGS.replace("probation", f"guards: {{{guard}}}, probation"))
    agentctl(machine, "sched", "switch", f"scx_{name}", check=False, timeout=LONGEST)
    machine.sh(GONE, timeout=LONGEST)
    machine.wait_until(lambda: newest(machine)["ended"], LONGEST, "agentd to know the end")
    ended = newest(machine)
    assert (ended["name"], ended["kind"]) == (f"scx_{name}", "guard")
    assert words in ended["cause"]
    assert scheduler(machine).state == "disabled"
    machine.wait_until(lambda: running(machine) == ([], []), LONGEST, "nothing of it to run")
    assert quarantined(machine) == [f"scx_{name}"]
    configure(machine, SETTINGS)


def test_a_loader_that_is_killed_is_noticed_and_the_choice_before_it_comes_back(machine: Machine) -> None:
    switch(machine, "scx_simple")
    switch(machine, "scx_flatcg")
    machine.run("systemctl", "kill", "-s", "KILL", "agentd-scx@scx_flatcg.service")
    wait_for(machine, "enabled", "simple", timeout=LONGEST)
    ended = call(machine, "Scheduler", "ListTenures", "a{sv}", "1", "name", "s", "scx_flatcg")[0]
    assert ended["ended"] >= ended["enabled"] > 0


def test_sysrq_takes_it_away_and_the_monitor_tells_of_it(machine: Machine) -> None:
    switch(machine, "scx_simple")
    command = "sleep 4; echo S >/proc/sysrq-trigger; sleep 4"
    done = agentctl(machine, "sched", "monitor", "--json", "--", "sh", "-c", command, timeout=LONGEST)
    machine.wait_until(lambda: newest(machine)["ended"], LONGEST, "agentd to know the end")
    assert newest(machine)["kind"] == "sysrq"
    session = json.loads(done.out)
    assert (session["on"], session["ended"], session["switches"]) == (False, "stopped", 1)
    assert [one["name"] for one in session["summaries"]] == ["scx_simple", "none"]
    assert "another scheduler came once" in agentctl(machine, "sched", "monitor", "--status").out


def test_a_lease_ends_with_its_client_however_that_ends(machine: Machine) -> None:
    machine.sh("systemd-run --quiet --unit=lease agentctl sched run simple -- sleep 1000", timeout=LONGEST)
    wait_for(machine, "enabled", "simple", timeout=LONGEST)
    machine.run("systemctl", "kill", "-s", "KILL", "lease")
    wait_for(machine, "disabled", timeout=LONGEST)


def test_one_that_somebody_else_loaded_is_shown_and_left_alone(machine: Machine) -> None:
    with by_hand(machine, "scx_simple"):
        wait_for(machine, "enabled", "simple")
        machine.wait_until(lambda: shown(machine)["loaded_by"] == "other", 60, "agentd to see it")
        done = agentctl(machine, "sched", "start", "flatcg", check=False, timeout=LONGEST)
        assert (done.code, "loaded by somebody else" in done.err) == (1, True)
        assert scheduler(machine).ops == "simple"
    wait_for(machine, "disabled", timeout=LONGEST)


def test_the_monitor_measures_the_scheduler_that_is_on(machine: Machine) -> None:
    switch(machine, "scx_simple")
    told = answer(machine, "sched", "monitor", "--for", "5s", "--group", "system.slice")
    (summary,) = told["summaries"]
    assert (summary["ops"], summary["samples"] > 0) == ("simple", True)
    figures = summary["figures"]
    assert 0 < figures["cpu_busy"]["mean"] <= 1
    assert figures["context_switches"]["mean"] > 0


def test_callers_of_scx_loader_are_served_where_that_is_wanted(machine: Machine) -> None:
    loader = ("org.scx.Loader", "/org/scx/Loader", "org.scx.Loader")
    assert machine.run("busctl", "call", *loader, "StopScheduler", check=False).code != 0
    configure(machine, SETTINGS.replace("probation", "serve_scx_loader: true, probation"))
    machine.run("busctl", "--timeout=200", "call", *loader, "SwitchScheduler", "su", "scx_simple", "0", timeout=LONGEST)
    assert scheduler(machine).ops == "simple"
    told = machine.run("busctl", "get-property", *loader, "CurrentScheduler").out
    assert told.strip() == 's "scx_simple"'
    refused = machine.run("busctl", "call", *loader, "StopScheduler", user="user", check=False)
    assert refused.code != 0
    machine.run("busctl", "--timeout=200", "call", *loader, "StopScheduler", timeout=LONGEST)
    assert scheduler(machine).state == "disabled"
    configure(machine, SETTINGS)


def test_a_scheduler_outlives_agentd_and_is_taken_up(machine: Machine) -> None:
    switch(machine, "scx_simple")
    before = scheduler(machine)
    machine.run("systemctl", "kill", "-s", "KILL", "agentd")
    answers(machine, 120)
    machine.wait_until(lambda: shown(machine)["loaded_by"] == "agentd", 120, "agentd to come back")
    assert scheduler(machine) == before
    assert shown(machine)["current"] == "scx_simple"


def test_the_readmes_commands_do_what_it_says(machine: Machine) -> None:
    (block,) = re.findall(r"```shell sched_ext\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    machine.write("/usr/local/bin/cargo", "#!/bin/sh\ncat /sys/kernel/sched_ext/root/ops\n", 0o755)
    said = [machine.run("bash", "-ec", command, timeout=LONGEST).out for command in block.splitlines()]
    assert said[0].startswith("scx_bpfland (gaming, primary-domain=all) runs, says the kernel")
    assert said[1].startswith("cosmos_")
    assert "root" in said[2]
    assert scheduler(machine).state == "disabled"
    ran = [re.findall(r"scx_\w+", line)[0] for line in said[4].splitlines()[1:4]]
    assert ran == ["scx_bpfland", "scx_cosmos", "scx_bpfland"]


def test_names_and_flags_that_are_none_start_nothing(machine: Machine) -> None:
    before = scheduler(machine)
    for words in (
        ("start", "../scx_simple"),
        ("start", "simple", "--set", "fifo=maybe"),
        ("start", "qmap", "--set", "slice-us=5"),
        ("start", "qmap", "--set", "slice-us=5000 -e 1"),
        ("start", "qmap", "--set", "verbose=1"),
    ):
        done = agentctl(machine, "sched", *words, check=False)
        assert done.code in {1, 5}, words
        assert done.err.startswith("agentctl: ")
    assert scheduler(machine) == before
