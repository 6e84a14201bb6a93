"""What the tests ask of sched_ext in a machine: which scheduler the kernel says it has, and real ones to load."""

import contextlib
import io
import json
import shlex
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.vm.emulated import Emulated, cached_disk, command_line
from tests.vm.guest import MachineError
from tests.vm.machine import Machine, build_image

OBJECTS = "/usr/local/share/scx"
"""The machine's folder with the objects made of tests/vm/scx."""
REFUSED_QMAP = "/usr/local/lib/scx/scx_qmap"
"""The scx_qmap that the verifier refuses; /usr/bin has one that runs."""
PINS = "/sys/fs/bpf/scx"
"""Where `register` pins links."""
LOG = "/run/by-hand.log"
PIECE = 6 << 20
"""Bytes that go over the guest agent's line at once."""


@dataclass(frozen=True)
class Scheduler:
    """What the kernel says: whether a scheduler is enabled, its name or "", and how many were since the boot."""

    state: str
    ops: str
    enabled: int


@dataclass(frozen=True)
class End:
    """How a program that was started by hand ended."""

    code: int
    log: str


def build_schedulers() -> dict[str, Any]:
    """Where real schedulers are on this host (see the script); builds them when they are not there."""
    script = str(Path(__file__).with_name("schedulers"))
    done = subprocess.run(["sh", script], stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise MachineError("the schedulers could not be built; the lines above say why")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def disk_with_schedulers() -> Path:
    """Returns the disk of a machine that was booted and kept with real schedulers in it; makes it once."""
    built = build_schedulers()  # the paths of what is built have a hash of its recipe
    recipe = command_line("sched_ext") + json.dumps(built) + Path(__file__).read_text()
    return cached_disk(
        build_image(), "schedulers", recipe, lambda: Emulated("sched_ext"), lambda one: install_schedulers(one, built)
    )


def install_schedulers(machine: Machine, built: dict[str, Any]) -> None:
    """Puts the programs and the objects into the machine, and mounts debugfs there, at each of its boots."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for file in map(Path, built["programs"]):
            place = REFUSED_QMAP if file.suffix == ".clang-19" else f"/usr/bin/{file.name}"
            archive.add(file, place, filter=of_root)
        for file in map(Path, built["objects"]):
            archive.add(file, f"{OBJECTS}/{file.name}", filter=of_root)
    for start in range(0, packed.tell(), PIECE):
        piece = packed.getvalue()[start : start + PIECE]
        machine.run("sh", "-c", "cat >>/var/tmp/schedulers.tar.gz", input=piece)
    machine.sh("cd /; tar -xzf /var/tmp/schedulers.tar.gz; rm /var/tmp/schedulers.tar.gz")
    machine.run("systemctl", "unmask", "sys-kernel-debug.mount")
    machine.run("systemctl", "start", "sys-kernel-debug.mount")


def of_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry


def scheduler(machine: Machine) -> Scheduler:
    """Asks the kernel."""
    # Asked for again and again, by a shell that starts no program for it.
    look = "cd /sys/kernel/sched_ext; read s <state; read n <enable_seq; { read o <root/ops; } 2>/dev/null || o="
    told = machine.sh(f'{look}; echo "$s $n $o"').split()
    state, enabled, *ops = told
    return Scheduler(state, "".join(ops), int(enabled))


def wait_for(machine: Machine, state: str, ops: str = "", timeout: float = 60) -> Scheduler:
    """Waits until the kernel says that state, and that name's beginning."""

    def found() -> Scheduler | None:
        now = scheduler(machine)
        return now if now.state == state and now.ops.startswith(ops) else None

    reached = machine.wait_until(found, timeout, f"sched_ext to be {state} {ops}")
    assert reached is not None
    return reached


@contextlib.contextmanager
def by_hand(machine: Machine, *argv: str) -> Iterator[None]:
    """Starts a scheduler as a person would, without agentd. `end` tells how it ended; whatever is left is killed."""
    machine.run(
        *("systemd-run", "--quiet", "--unit=by-hand", "-p", "RemainAfterExit=yes"),
        *("-p", f"StandardOutput=truncate:{LOG}", "-p", "StandardError=inherit", *argv),
    )
    try:
        yield
    finally:
        left = "systemctl kill -s KILL by-hand; systemctl stop by-hand; systemctl reset-failed by-hand"
        machine.run("sh", "-c", left, check=False)


def end(machine: Machine, *, signal: str = "", timeout: float = 60) -> End:
    """Waits until what was started by hand has ended, of a signal where one is named."""
    if signal:
        machine.run("systemctl", "kill", "-s", signal, "by-hand")
    show = ("systemctl", "show", "by-hand", "-p", "ExecMainCode,ExecMainStatus")

    def told() -> dict[str, str]:
        lines = machine.run(*show).out.splitlines()
        shown = dict(line.split("=", 1) for line in lines)
        return shown if shown["ExecMainCode"] != "0" else {}

    shown = machine.wait_until(told, timeout, "the scheduler by hand to end")
    killed = shown["ExecMainCode"] != "1"  # CLD_EXITED
    return End(int(shown["ExecMainStatus"]) + 128 * killed, machine.read(LOG))


def kernel_log(machine: Machine) -> str:
    """What the kernel said about schedulers since it booted."""
    return machine.sh("dmesg | grep -F sched_ext: || true")


def register(machine: Machine, name: str, **how: Any) -> Any:
    """Loads an object with bpftool and pins its link; returns bpftool's result."""
    words = shlex.join(["bpftool", "struct_ops", "register", f"{OBJECTS}/{name}.bpf.o", PINS])
    return machine.run("sh", "-c", f"mkdir -p {PINS}; exec {words}", check=False, **how)


def unregister(machine: Machine) -> None:
    """Removes what `register` pinned, which ends the scheduler."""
    machine.sh(f"rm -rf {PINS}")
