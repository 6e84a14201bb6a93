"""The trial of a scheduler in a kernel that is played, and the load that it is under."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from agentd.core.schedulers.custom import Step, Tried, digest
from agentd.core.schedulers.model import Observed
from agentd.schedulers import looks, trying
from agentd.schedulers.libbpf import Refused
from agentd.schedulers.trying import Machine, run
from tests.unit.schedulers.custom_fakes import OBJECT, Kernel, Library

ROOT = Path(__file__).parents[3]


class Load:
    """A load that comes on with the time of a played kernel."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.ended = False

    def progress(self) -> tuple[int, ...]:
        return (self._kernel.time, self._kernel.time * 2)

    def end(self) -> None:
        self.ended = True


def tried(kernel: Kernel, load: Load | None = None) -> tuple[Step, ...]:
    """The steps of a trial; the load has ended then, and the kernel is at its own scheduler where it can be."""
    load = load or Load(kernel)
    machine = Machine(
        observe=kernel.observe,
        events=lambda: {"DISPATCH_KEEP_LAST": 12, "SUB": 0},
        burden=lambda: load,  # type: ignore[arg-type, return-value]
        clock=kernel.clock,
        stopped=kernel.stopped,
    )
    report = run(Library(kernel), OBJECT, "fifo", machine)
    assert report.object == digest(OBJECT)
    assert kernel.calls[-1] == "close"
    assert load.ended or "attach" not in kernel.calls
    assert kernel.stuck or kernel.seen.state in {"disabled", "absent"} or "attach" not in kernel.calls
    return report.steps


def test_a_good_scheduler_holds_for_ten_seconds() -> None:
    kernel = Kernel()
    load, trial = tried(kernel)
    assert (load.state, trial.state) == ("ok", "ok")
    assert trial.seconds == pytest.approx(10.0, abs=0.3)
    assert trial.excerpt == ("DISPATCH_KEEP_LAST 12",)
    assert kernel.calls == ["open", "load", "close", "open", "load", "attach", "close"]


def test_one_that_stalls_is_ended_by_the_kernel_with_its_reason() -> None:
    def course(kernel: Kernel, passed: int) -> None:
        kernel.enable()
        if passed > 3000:
            kernel.eject(1026, b"runnable task stall", b"systemd-udevd[146] failed to run for 3.008s")

    _, trial = tried(Kernel(course))
    assert trial.state == "failed"
    assert trial.sentence == (
        "the kernel ended it after 3.0 s: runnable task stall (systemd-udevd[146] failed to run for 3.008s)"
    )


def test_one_that_is_ended_before_attach_returns_is_no_success() -> None:
    _, trial = tried(Kernel(lambda kernel, _: kernel.eject(1024, b"runtime error", b"non-existent DSQ 0x1267")))
    assert trial.sentence == "the kernel ended it within 0.1 s: runtime error (non-existent DSQ 0x1267)"


def test_the_trial_is_not_begun_where_the_verifier_refuses() -> None:
    kernel = Kernel()
    kernel.refuses["load"] = Refused("the kernel does not take it: Permission denied")
    (load,) = tried(kernel)
    assert load == Step(name="load", state="failed", sentence="the kernel does not take it: Permission denied")


def test_a_scheduler_that_is_on_already_is_left_alone() -> None:
    kernel = Kernel()
    kernel.seen = Observed(state="enabled", ops="bpfland_1.1.4", seq=7)
    load, trial = tried(kernel)
    assert load.state == "ok"
    assert trial.sentence == "a scheduler is on (bpfland_1.1.4), and only one can be: stop it first"
    assert "attach" not in kernel.calls


def test_a_kernel_without_sched_ext_is_told() -> None:
    kernel = Kernel()
    kernel.seen = Observed()
    assert "no sched_ext" in tried(kernel)[1].sentence


def test_one_that_cannot_be_attached_is_told() -> None:
    kernel = Kernel()
    kernel.refuses["attach"] = Refused("the kernel does not begin with it: Device or resource busy")
    assert tried(kernel)[1].sentence == "the kernel does not begin with it: Device or resource busy"


def test_whoever_ends_the_trial_ends_the_scheduler() -> None:
    kernel = Kernel()
    kernel.stop_at = 4_000_000
    _, trial = tried(kernel)
    assert trial.sentence == "the trial was ended from outside before its time"
    assert kernel.seen.state == "disabled"


def test_a_kernel_that_does_not_go_back_is_told() -> None:
    kernel = Kernel()
    kernel.stuck = True
    _, trial = tried(kernel)
    assert trial.state == "failed"
    assert trial.sentence.endswith("15 s after it was taken off the kernel says enabled")


def test_a_load_that_stands_still_ends_the_trial() -> None:
    class Still(Load):
        def progress(self) -> tuple[int, ...]:
            return (5, self._kernel.time)

    kernel = Kernel()
    assert "a task of the load did not run for 6.1 s" in tried(kernel, Still(kernel))[1].sentence


def test_the_program_leaves_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trying, "forbidden", lambda: "root has not allowed it")
    monkeypatch.setattr(trying, "waiting", lambda: lambda _: False)
    (tmp_path / "fifo.bpf.o").write_bytes(OBJECT)
    assert trying.main(["fifo", str(tmp_path / "fifo.bpf.o"), str(tmp_path)]) == 0
    report = msgspec.json.decode((tmp_path / "report.json").read_bytes(), type=Tried)
    assert report.object == digest(OBJECT)
    assert report.steps == (Step(name="load", state="failed", sentence="root has not allowed it"),)
    assert trying.main(["fifo", str(tmp_path / "missing"), str(tmp_path)]) == 1
    assert not (tmp_path / "report.json").exists()
    assert trying.main(["-x", "a", "b"]) == 2


LOADED = """
import os, time
from agentd.schedulers.burden import Burden
burden = Burden(1)
until = time.monotonic() + 60
while not all(burden.progress()) and time.monotonic() < until:
    time.sleep(0.01)
print(len(burden.progress()), all(burden.progress()))
burden.end()
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print("none left")
"""


def test_a_real_load_comes_on_and_ends() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "4 True\nnone left\n"


def test_the_kernels_word_is_read_from_sysfs(tmp_path: Path) -> None:
    assert looks.observed(tmp_path / "missing") == Observed()
    (tmp_path / "root").mkdir()
    for name, text in {
        "state": "enabled",
        "root/ops": "custom_fifo_12345678",
        "enable_seq": "8",
        "switch_all": "0",
        "nr_rejected": "3",
        "hotplug_seq": "1",
        "root/events": "SCX_EV_SELECT_CPU_FALLBACK 2\nodd\nSCX_EV_DISPATCH_KEEP_LAST 0",
    }.items():
        (tmp_path / name).write_text(f"{text}\n")
    assert looks.observed(tmp_path) == Observed(
        state="enabled", ops="custom_fifo_12345678", seq=8, switched_all=False, rejected=3, hotplugs=1
    )
    assert looks.events(tmp_path) == {"SELECT_CPU_FALLBACK": 2, "DISPATCH_KEEP_LAST": 0}
    (tmp_path / "state").write_text("new word\n")
    assert looks.observed(tmp_path).state == "absent"
