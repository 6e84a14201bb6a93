"""Real CPU schedulers in a machine whose kernel has sched_ext: each does there what the other tests rely on."""

import re
from collections.abc import Iterator

import pytest

from tests.vm.machine import Machine
from tests.vm.sched_ext import (
    PINS,
    REFUSED_QMAP,
    Scheduler,
    by_hand,
    end,
    kernel_log,
    register,
    scheduler,
    unregister,
    wait_for,
)

GOOD = {
    "scx_simple": "simple",
    "scx_cpu0": "cpu0",
    "scx_flatcg": "flatcg",
    "scx_central": "central",
    "scx_qmap": "qmap",
    "scx_bpfland": "bpfland_1.1.4_",
    "scx_cosmos": "cosmos_1.1.7_",
}
"""What the kernel's name of each begins with."""


@pytest.fixture(autouse=True)
def clean(scx_machine: Machine) -> Iterator[None]:
    assert scheduler(scx_machine).state == "disabled"
    yield
    unregister(scx_machine)
    wait_for(scx_machine, "disabled")


@pytest.mark.parametrize("program", GOOD)
def test_a_good_scheduler_runs_until_it_is_interrupted(scx_machine: Machine, program: str) -> None:
    before = scheduler(scx_machine).enabled
    with by_hand(scx_machine, program):
        loaded = wait_for(scx_machine, "enabled", GOOD[program])
        assert loaded.enabled == before + 1
        assert scx_machine.run("ls", "/").code == 0  # a program that is new runs under it
        assert scheduler(scx_machine) == loaded
        assert end(scx_machine, signal="INT").code == 0
    assert scheduler(scx_machine) == Scheduler("disabled", "", before + 1)


def test_a_loader_that_is_killed_takes_its_scheduler_along(scx_machine: Machine) -> None:
    with by_hand(scx_machine, "scx_simple"):
        wait_for(scx_machine, "enabled", "simple")
        assert end(scx_machine, signal="KILL").code == 128 + 9
        wait_for(scx_machine, "disabled")


def test_the_qmap_of_clang_19_is_refused_by_the_verifier(scx_machine: Machine) -> None:
    before = scheduler(scx_machine)
    with by_hand(scx_machine, REFUSED_QMAP):
        ended = end(scx_machine)
    assert ended.code == 1
    assert "invalid mem access 'scalar'" in ended.log
    assert scheduler(scx_machine) == before


@pytest.mark.parametrize(
    ("option", "reason"), [("-e50", "scx_bpf_error"), ("-t5", "runnable task stall")], ids=["error", "stall"]
)
def test_the_qmap_of_clang_22_is_ejected_on_demand(scx_machine: Machine, option: str, reason: str) -> None:
    before = scheduler(scx_machine).enabled
    with by_hand(scx_machine, "scx_qmap", option):
        ended = end(scx_machine, timeout=120)
    assert ended.code == 0  # as if nothing had been
    assert f"EXIT: {reason}" in ended.log
    assert scheduler(scx_machine) == Scheduler("disabled", "", before + 1)
    assert f'BPF scheduler "qmap" disabled ({reason})' in kernel_log(scx_machine)


def test_an_object_is_a_scheduler_while_its_link_is_pinned(scx_machine: Machine) -> None:
    before = scheduler(scx_machine).enabled
    assert register(scx_machine, "fifo").code == 0
    assert scheduler(scx_machine) == Scheduler("enabled", "fifo", before + 1)
    unregister(scx_machine)
    wait_for(scx_machine, "disabled")


def test_a_register_that_succeeded_says_nothing(scx_machine: Machine) -> None:
    before = scheduler(scx_machine).enabled
    done = register(scx_machine, "wrong_dsq")
    assert done.code == 0, done.err
    assert wait_for(scx_machine, "disabled") == Scheduler("disabled", "", before + 1)
    assert scx_machine.run("ls", PINS).out.split() == ["wrong_dsq_ops"]  # the pin of an ejected one stays
    assert 'BPF scheduler "wrong_dsq" disabled (runtime error)' in kernel_log(scx_machine)


@pytest.mark.parametrize(("name", "reason"), [("stall", "runnable task stall"), ("explicit", "scx_bpf_error")])
def test_a_bad_object_is_ejected(scx_machine: Machine, name: str, reason: str) -> None:
    before = scheduler(scx_machine).enabled
    assert register(scx_machine, name).code == 0
    scx_machine.sh("for i in $(seq 100); do /bin/true; done")
    assert wait_for(scx_machine, "disabled").enabled == before + 1
    assert f'BPF scheduler "{name}" disabled ({reason})' in kernel_log(scx_machine)


def test_an_object_exits_by_itself(scx_machine: Machine) -> None:
    assert register(scx_machine, "exits").code == 0
    scx_machine.sh("for i in $(seq 100); do /bin/true; done")
    wait_for(scx_machine, "disabled")
    assert 'BPF scheduler "exits" disabled (unregistered from BPF)' in kernel_log(scx_machine)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("no_kfunc", "'scx_bpf_does_not_exist': not found"), ("unsafe", "Possibly NULL pointer passed to trusted")],
)
def test_a_bad_object_is_not_loaded(scx_machine: Machine, name: str, sentence: str) -> None:
    before = scheduler(scx_machine)
    done = register(scx_machine, name)
    assert done.code == 255
    assert sentence in done.err
    assert scheduler(scx_machine) == before


def test_bpftool_minds_no_other_program_in_an_object(scx_machine: Machine) -> None:
    assert register(scx_machine, "wrong_type").code == 0
    assert scheduler(scx_machine).ops == "wrong_type"


def test_the_machine_is_as_the_schedulers_need_it(scx_machine: Machine) -> None:
    assert scx_machine.run("systemctl", "is-active", "agentd", check=False).out.strip() == "inactive"
    assert re.search(r"^debugfs /sys/kernel/debug ", scx_machine.read("/proc/mounts"), re.MULTILINE)
    assert scx_machine.run("dpkg", "-s", "agentd").code == 0
