"""CPU schedulers, as people and programs meet them: a real agentd on a machine that is made of files."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bus.harness import ROOT, Agentd, CallError
from tests.bus.scheduling import KERNEL, show
from tests.unit.schedulers import btf_files

CONFIG = """
timezone: UTC
jobs:
  render: {run: 'sleep 1000', scheduler: scx_rusty}
"""


@pytest.fixture
def world(agentd: Agentd) -> Agentd:
    """An agentd that is not started, on a machine with sched_ext and the programs of three schedulers."""
    root = agentd.folder / "root"
    for folder in ("usr/bin", KERNEL + "/root", "sys/kernel/btf", "proc"):
        (root / folder).mkdir(parents=True)
    kernel = root / KERNEL
    for name, text in (("enable_seq", "0"), ("state", "disabled"), ("switch_all", "1"), ("nr_rejected", "0")):
        (kernel / name).write_text(text)
    (kernel / "root/ops").write_text("")
    (root / "sys/kernel/btf/vmlinux").write_bytes(btf_files.kernel(2))
    for name in ("scx_simple", "scx_bpfland", "scx_rusty"):
        program = root / "usr/bin" / name
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    (agentd.folder / "does").mkdir()
    agentd.program = ("tests.bus.scheduling", "--standalone")
    return agentd


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: plain(one[1] if isinstance(one, tuple) else one) for key, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list) else value


def status(world: Agentd) -> dict[str, Any]:
    found, wants, quarantines = world.call("Scheduler.GetStatus")
    return {**plain(found), "wants": plain(wants), "quarantines": plain(quarantines)}


def switch(world: Agentd, name: str, **options: Any) -> dict[str, Any]:
    given = {key: ({bool: "b", int: "t", str: "s"}[type(one)], one) for key, one in options.items()}
    found: dict[str, Any] = plain(world.call("Scheduler.Switch", "sa{sv}a{sv}", name, {}, given))
    return found


def does(world: Agentd, name: str, what: str) -> None:
    (world.folder / "does" / name).write_text(what)


def current(world: Agentd) -> str:
    return str(status(world)["current"])


def agentctl(world: Agentd, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agentctl", *words]
    return subprocess.run(
        command, env={**world.environment, "AGENTD_ADDRESS": world.address}, cwd=ROOT, text=True, capture_output=True,
        check=False,
    )  # fmt: skip


def test_a_start_is_done_when_the_kernel_says_so(world: Agentd) -> None:
    world.start(CONFIG)
    tenure = switch(world, "simple", keep=True, reason="to try it")
    assert (tenure["name"], tenure["ops"], tenure["loaded_by"]) == ("scx_simple", "simple_1.0_test", "agentd")
    assert tenure["enabled"] >= tenure["since"] > 0
    found = status(world)
    assert (found["state"], found["current"], found["wanted"], found["waits"]) == (
        *("enabled", "scx_simple", "scx_simple"),
        "",
    )
    assert found["probation"] > 0
    assert [(one["source"], one["wins"]) for one in found["wants"]] == [("person", True), ("default", False)]


def test_a_switch_goes_back_to_the_choice_before_it_where_the_new_one_fails(world: Agentd) -> None:
    world.start(CONFIG)
    switch(world, "simple", keep=True)
    does(world, "scx_rusty", "refuses")
    with pytest.raises(CallError, match=r"scx_rusty does not run: .*was told so") as refused:
        switch(world, "rusty", keep=True)
    assert refused.value.name.endswith(".Failed")
    world.until(lambda: current(world) == "scx_simple", "the one before to come back")
    assert [one["name"] for one in status(world)["quarantines"]] == ["scx_rusty"]


def test_an_ejection_is_told_with_the_kernels_reason(world: Agentd) -> None:
    world.start(CONFIG)
    does(world, "scx_bpfland", "ejected")
    world.call("Scheduler.Switch", "sa{sv}a{sv}", "scx_bpfland", {}, {"keep": ("b", True)})
    world.until(lambda: status(world)["quarantines"], "the end to be dealt with")
    (failed,) = status(world)["quarantines"]
    assert "failed to run for 5.1s" in failed["why"]
    (tenure,) = plain(world.call("Scheduler.ListTenures", "a{sv}", {}))
    assert (tenure["kind"], tenure["message"]) == ("stall", "bash[7] failed to run for 5.1s")
    assert current(world) == "none"
    assert world.call("Scheduler.Clear", "s", "bpfland") == ["scx_bpfland"]
    assert status(world)["quarantines"] == []


def test_a_lease_ends_as_its_client_leaves_the_bus(world: Agentd) -> None:
    world.start(CONFIG)
    switch(world, "simple")
    assert current(world) == "scx_simple"
    assert status(world)["wants"][0]["source"] == "lease"
    world.disconnect()
    world.until(lambda: current(world) == "none", "the lease to end")


def test_a_lease_for_a_time_outlives_its_client_and_ends(world: Agentd) -> None:
    world.start(CONFIG)
    switch(world, "simple", **{"for": 3_000_000})
    world.disconnect()
    assert current(world) == "scx_simple"
    world.until(lambda: current(world) == "none", "the time to be over")


def test_a_job_has_its_scheduler_while_it_runs(world: Agentd) -> None:
    world.start(CONFIG)
    run = world.call("Jobs.RunJob", "sa{sv}", "render", {})
    world.until(lambda: current(world) == "scx_rusty", "the job's scheduler")
    (want,) = [one for one in status(world)["wants"] if one["wins"]]
    assert (want["source"], want["holder"]) == ("job", run)
    world.call("Jobs.StopJob", "s", "render")
    world.until(lambda: current(world) == "none", "the kernel's own")


def test_a_scheduler_of_somebody_else_is_left_alone(world: Agentd) -> None:
    world.start(CONFIG)
    show(world.folder / "root", "enabled", "flash_9", another=True)
    world.until(lambda: status(world)["loaded_by"] == "other", "agentd to see it")
    assert current(world) == "flash_9"
    with pytest.raises(CallError, match="flash_9 was loaded by somebody else"):
        switch(world, "simple")
    assert (world.folder / "root" / KERNEL / "root/ops").read_text() == "flash_9\n"


def test_what_runs_is_taken_up_by_an_agentd_that_was_killed(world: Agentd) -> None:
    world.start(CONFIG)
    switch(world, "simple", keep=True)
    world.kill()
    world.start()
    assert (current(world), status(world)["loaded_by"]) == ("scx_simple", "agentd")
    (tenure,) = plain(world.call("Scheduler.ListTenures", "a{sv}", {}))
    assert tenure["ended"] == 0


def test_start_replaces_nothing_and_what_is_not_in_the_catalogue_starts_nothing(world: Agentd) -> None:
    world.start(CONFIG)
    world.call("Scheduler.Start", "sa{sv}a{sv}", "scx_bpfland", {}, {"keep": ("b", True)})
    with pytest.raises(CallError, match="scx_bpfland runs already; to replace it: agentctl sched switch scx_simple"):
        world.call("Scheduler.Start", "sa{sv}a{sv}", "simple", {}, {})
    for name, flags, error, says in (
        ("scx_bpfand", {}, "NoSuchScheduler", "did you mean"),
        ("../../bin/sh", {}, "NoSuchScheduler", "there is no scheduler"),
        ("scx_bpfland", {"slice-us": ("s", "1 --x")}, "InvalidArgument", "slice-us"),
        ("scx_bpfland", {"slice-us": ("t", 1 << 40)}, "InvalidArgument", "expected a whole number"),
        ("scx_bpfland", {"kconfig": ("s", "/dev/zero")}, "InvalidArgument", 'has no flag "kconfig"'),
        ("scx_bpfland", {"slice-us": ("as", ["1"])}, "InvalidArgument", "one value"),
        ("scx_flash", {}, "Unavailable", "is not installed"),
    ):
        with pytest.raises(CallError, match=says) as refused:
            world.call("Scheduler.Switch", "sa{sv}a{sv}", name, flags, {})
        assert refused.value.name.rpartition(".")[2] == error
    assert current(world) == "scx_bpfland"


def test_the_commands_tell_people_what_runs(world: Agentd) -> None:
    world.start(CONFIG)
    started = agentctl(world, "sched", "start", "bpfland", "--mode", "gaming", "--reason", "a game")
    assert (started.returncode, started.stderr) == (0, "")
    assert started.stdout.startswith("scx_bpfland (gaming")
    shown = agentctl(world, "sched").stdout
    assert shown.startswith("scx_bpfland (gaming")
    assert "person " + ("root" if os.getuid() == 0 else "") in shown
    listed = json.loads(agentctl(world, "sched", "list", "--installed", "--json").stdout)
    assert [(one["name"], one["runs"]) for one in listed] == [
        ("scx_bpfland", True), ("scx_rusty", False), ("scx_simple", False),
    ]  # fmt: skip
    told = agentctl(world, "sched", "info", "bpfland").stdout
    assert "slice-us" in told
    assert "gaming: primary-domain=all" in told
    kept = agentctl(world, "sched", "keep")
    assert kept.stdout.startswith("scx_bpfland stays")
    assert agentctl(world, "sched", "restart").returncode == 0
    stopped = agentctl(world, "sched", "stop")
    assert stopped.stdout.startswith("the kernel's own scheduler runs")
    assert "scx_bpfland" in agentctl(world, "sched", "history").stdout
    assert agentctl(world, "sched", "restore").returncode == 0
    assert current(world) == "none"


def test_a_command_runs_under_a_scheduler_and_ends_with_its_own_status(world: Agentd) -> None:
    world.start(CONFIG)
    note = world.folder / "note"
    script = f"cat {world.folder}/root/{KERNEL}/root/ops >{note}; exit 7"
    done = agentctl(world, "sched", "run", "simple", "--", "sh", "-c", script)
    assert (done.returncode, done.stderr) == (7, "")
    assert note.read_text() == "simple_1.0_test\n"
    world.until(lambda: current(world) == "none", "the lease to end")


def test_without_the_right_to_start_any_a_start_is_refused_with_a_sentence(agentd: Agentd, tmp_path: Path) -> None:
    del tmp_path
    agentd.start("timezone: UTC\n")
    with pytest.raises(CallError, match="scx_simple cannot be had: ") as refused:
        agentd.call("Scheduler.Start", "sa{sv}a{sv}", "simple", {}, {})
    assert refused.value.name.endswith(".Unavailable")
    assert len(agentd.call("Scheduler.ListSchedulers", "a{sv}", {"ready": ("b", True)})) >= 3
