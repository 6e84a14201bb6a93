"""The monitor, as people and programs meet it: a real agentd that measures a machine made of files."""

import json
import signal
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
from jeepney.io.blocking import open_dbus_connection

from tests.bus import test_schedulers
from tests.bus.harness import ROOT, Agentd, CallError
from tests.bus.scheduling import KERNEL, show
from tests.bus.test_schedulers import CONFIG, agentctl, plain, switch
from tests.unit.schedulers.test_monitor import machine

world = test_schedulers.world
OFTEN = ("t", 10_000)
SELDOM = {"interval": ("t", 60_000_000), "for": ("t", 600_000_000)}


@pytest.fixture
def measured(world: Agentd) -> Agentd:
    """An agentd that runs, on a machine of two processors with counters."""
    root = world.folder / "root"
    own = {f"{KERNEL}/{name}": (root / KERNEL / name).read_text() for name in ("state", "enable_seq", "root/ops")}
    machine(root, **own, **{f"{KERNEL}/root/events": ""})
    return world.start(CONFIG)


def begin(world: Agentd, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = plain(world.call("Scheduler.StartMonitor", "a{sv}", {**SELDOM, **options}))
    return found


def told(world: Agentd) -> dict[str, Any]:
    """The session, its summaries and their figures."""
    session, summaries, figures = (plain(one) for one in world.call("Scheduler.GetMonitor"))
    return {**session, "summaries": summaries, "figures": figures}


def figure(found: dict[str, Any], name: str, group: str = "") -> dict[str, Any]:
    (one,) = [one for one in found["figures"] if (one["name"], one["group"]) == (name, group)]
    return dict(one)


def ticks(world: Agentd, user: int, idle: int, *, runnable: int = 3) -> None:
    """Has the processors worked so long since the boot."""
    text = f"cpu  {user} 1 5 {idle} 2 0 1 1 0 0\nctxt 5711\nprocs_running {runnable}\n"
    (world.folder / "root/proc/stat").write_text(text)


def test_what_is_measured_between_start_and_stop_is_told(measured: Agentd) -> None:
    assert told(measured) == {"summaries": [], "figures": []}
    begun = begin(measured)
    assert (begun["on"], begun["samples"], begun["interval"]) == (True, 0, 60_000_000)
    assert begun["until"] - begun["since"] == pytest.approx(600_000_000, abs=1_000_000)
    ticks(measured, 40, 110, runnable=9)
    assert measured.call("Scheduler.StopMonitor") is True
    found = told(measured)
    assert (found["on"], found["samples"], found["ended"], found["since"]) == (
        *(False, 1, "stopped"),
        begun["since"],
    )
    (summary,) = found["summaries"]
    assert (summary["name"], summary["ops"], summary["samples"]) == ("none", "", 1)
    assert summary["since"] == begun["since"] <= summary["until"] <= found["until"]
    busy = figure(found, "cpu_busy")
    assert {key: busy[key] for key in ("summary", "unit", "mean", "max", "p95")} == {
        "summary": 0,
        "unit": "share",
        **dict.fromkeys(("mean", "max", "p95"), 0.5),
    }
    assert figure(found, "runnable")["max"] == 9
    assert "full" in figure(found, "io_full")["why"]
    assert figure(found, "cpus", "system.slice")["unit"] == "CPUs"
    assert measured.call("Scheduler.StopMonitor") is False
    assert told(measured) == found


def test_a_session_ends_by_its_time_and_gives_way_to_the_next(measured: Agentd) -> None:
    begin(measured, interval=OFTEN, **{"for": ("t", 30_000)})
    measured.until(lambda: not told(measured)["on"], "the time to be over")
    first = told(measured)
    assert (first["ended"], first["samples"] > 0) == ("the time was over", True)
    assert begin(measured)["since"] > first["since"]
    assert told(measured)["summaries"] == []


def test_a_session_over_a_switch_has_a_summary_for_each_scheduler(measured: Agentd) -> None:
    begin(measured, interval=OFTEN)
    measured.until(lambda: told(measured)["samples"] > 2, "some samples")
    switch(measured, "simple", keep=True)
    measured.until(lambda: len(told(measured)["summaries"]) == 2, "samples under the new one")
    (measured.folder / "root" / KERNEL / "root/events").write_text("SCX_EV_X 12\n")
    measured.until(lambda: told(measured)["summaries"][1]["events"], "events")
    measured.call("Scheduler.StopMonitor")
    found = told(measured)
    own, simple = found["summaries"]
    assert (own["name"], simple["name"], simple["ops"]) == ("none", "scx_simple", "simple_1.0_test")
    assert simple["events"] == {"SCX_EV_X": 12}
    assert own["until"] <= simple["since"]
    assert found["switches"] == 1
    assert Counter(one["summary"] for one in found["figures"] if one["name"] == "cpu_some") == {0: 1, 1: 1}


def test_one_of_somebody_else_has_the_kernels_name(measured: Agentd) -> None:
    show(measured.folder / "root", "enabled", "flash_9", another=True)
    begin(measured)
    measured.call("Scheduler.StopMonitor")
    assert [one["name"] for one in told(measured)["summaries"]] == ["flash_9"]


def test_a_session_ends_as_its_client_leaves_unless_it_is_to_stay(measured: Agentd) -> None:
    begin(measured)
    measured.disconnect()
    measured.until(lambda: not told(measured)["on"], "the session to end")
    assert told(measured)["ended"] == "the client left"
    begin(measured, keep=("b", True))
    measured.disconnect()
    other = open_dbus_connection(bus=measured.address)  # whose name the bus gives away after that of who left
    assert told(measured)["on"]
    other.close()
    assert measured.call("Scheduler.StopMonitor") is True


def test_one_session_is_on_at_a_time(measured: Agentd) -> None:
    begun = begin(measured)
    with pytest.raises(CallError, match="measures already; to end that: agentctl sched monitor --stop") as refused:
        begin(measured)
    assert refused.value.name.endswith(".Busy")
    assert told(measured)["since"] == begun["since"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"interval": ("t", 0)}, "expected an interval between"),
        ({"interval": ("t", 1 << 50)}, "expected an interval between"),
        ({"interval": ("s", "1s")}, "of type int"),
        ({"for": ("t", 1)}, "expected a session of at least its interval"),
        ({"for": ("x", -1)}, "expected a session of at least its interval"),
        ({"groups": ("s", "system.slice")}, "of type list"),
        ({"groups": ("ai", [1])}, "path of a control group"),
        ({"groups": ("as", ["../../../etc"])}, "path of a control group"),
        ({"groups": ("as", ["a.slice"] * 17)}, "at most 16"),
        ({"groups": ("as", ["a" * 5000])}, "at most 1000"),
        ({"keep": ("t", 1)}, "of type bool"),
        ({"span": ("t", 1)}, "not an option"),
    ],
)
def test_options_that_cannot_be_are_refused_and_nothing_begins(
    measured: Agentd, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(CallError, match=says) as refused:
        begin(measured, **options)
    assert refused.value.name.endswith(".InvalidArgument")
    assert told(measured) == {"summaries": [], "figures": []}


def test_only_the_groups_that_were_asked_for_are_measured(measured: Agentd) -> None:
    begun = begin(measured, groups=("as", ["system.slice", "nothing.slice/a.service"]))
    assert begun["groups"] == ["system.slice", "nothing.slice/a.service"]
    measured.call("Scheduler.StopMonitor")
    found = told(measured)
    assert {one["group"] for one in found["figures"]} == {"", "system.slice", "nothing.slice/a.service"}
    assert "no control group" in figure(found, "", "nothing.slice/a.service")["why"]


def test_a_kernel_that_cannot_be_understood_is_not_measured(measured: Agentd) -> None:
    begin(measured)
    measured.call("Scheduler.StopMonitor")
    before = told(measured)
    (measured.folder / "root" / KERNEL / "state").write_text("dreaming\n")
    with pytest.raises(CallError, match=r"nothing can be measured: .*dreaming") as refused:
        begin(measured)
    assert refused.value.name.endswith(".Failed")
    assert told(measured) == before


def test_agentd_ends_at_once_while_a_session_is_on(measured: Agentd) -> None:
    begin(measured, keep=("b", True))
    assert measured.stop() == 0
    measured.start()
    assert told(measured) == {"summaries": [], "figures": []}
    assert "Traceback" not in measured.log.read_text()


# The command


def test_the_command_measures_for_a_time(measured: Agentd) -> None:
    done = agentctl(measured, "sched", "monitor", "--interval", "20ms", "--for", "100ms")
    assert done.returncode == 0
    assert done.stderr.startswith("measuring from ")
    lines = done.stdout.splitlines()
    assert "the time was over" in lines[0]
    assert lines[2].startswith("the kernel's own scheduler: ")
    assert lines[3].split() == ["FIGURE", "MEAN", "P95", "MAX", "UNIT"]
    assert ["runnable", "3", "3", "3", "tasks"] in [line.split() for line in lines]
    assert any(line.startswith("missing: ") and "io_full" in line for line in lines)
    assert agentctl(measured, "sched", "monitor", "--status").stdout == done.stdout


def test_the_command_measures_while_another_runs_and_has_its_status(measured: Agentd) -> None:
    stat = measured.folder / "root/proc/stat"
    script = f"echo output; sed -i 's/procs_running 3/procs_running 8/' {stat}; exit 7"
    done = agentctl(measured, "sched", "monitor", "--", "sh", "-c", script)
    assert (done.returncode, done.stdout) == (7, "output\n")
    assert ["runnable", "8", "8", "8", "tasks"] in [line.split() for line in done.stderr.splitlines()]
    done = agentctl(measured, "sched", "monitor", "--json", "--", "echo", "output")
    assert (done.returncode, done.stderr) == (0, "output\n")
    (summary,) = json.loads(done.stdout)["summaries"]
    assert summary["figures"]["runnable"] == {"mean": 8.0, "p95": 8.0, "max": 8.0, "unit": "tasks"}
    assert summary["control_groups"]["system.slice"]["cpus"]["mean"] == 0
    missing = agentctl(measured, "sched", "monitor", "--", "/nonexistent")
    assert (missing.returncode, missing.stderr) == (
        2,
        "agentctl: /nonexistent cannot be run: No such file or directory\n",
    )
    assert not told(measured)["on"]


def test_a_session_in_the_background_is_shown_and_ended(measured: Agentd) -> None:
    begun = agentctl(measured, "sched", "monitor", "--background", "--for", "1h", "--group", "init.scope")
    assert (begun.returncode, begun.stderr) == (0, "")
    assert begun.stdout.startswith("measuring from ")
    shown = json.loads(agentctl(measured, "sched", "monitor", "--status", "--json").stdout)
    assert (shown["on"], shown["keep"], shown["groups"], shown["interval_s"]) == (True, True, ["init.scope"], 1.0)
    ended = agentctl(measured, "sched", "monitor", "--stop").stdout
    assert ": stopped" in ended.splitlines()[0]
    assert "init.scope cpus" in ended


def test_ctrl_c_ends_the_session_and_shows_it(measured: Agentd) -> None:
    # Whoever runs the tests in the background may have SIGINT ignored, which processes inherit.
    command = ["env", "--default-signal=INT", sys.executable, "-m", "agentctl", "sched", "monitor"]
    environment = {**measured.environment, "AGENTD_ADDRESS": measured.address}
    with subprocess.Popen(
        command, env=environment, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        assert "Ctrl-C ends it" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    assert ": stopped" in out.splitlines()[0]
