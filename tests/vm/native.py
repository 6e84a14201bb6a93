"""A machine whose kernel runs as an ordinary program of this host, at the processor's speed: nothing is emulated.

User Mode Linux boots the same disk; each program of the machine is a process of the host that its kernel has in its
hands. The kernel is none of Debian's: whoever needs one, sched_ext or virtual terminals takes a machine of emulated.py.
"""

import functools
import os
import platform
import shutil
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from tests.vm.guest import Agent, Channel, MachineError
from tests.vm.machine import KEPT, Machine, Session, build_image

MEMORY = 2 << 30
KERNEL = "linux"
"""The name of the kernel as a process of the host."""
# The kernel executes its argv[0] for a reboot, and ends with 0 when it powers off: so each has a code of its own.
REBOOTED = "/bin/false"
AS = 'exec -a "$0" "$@"'
# The clock is the host's, unless it is set. systemd.clock_usec= would set it again at a soft reboot.
INIT = "date --set @%.3f >/dev/null; exec /sbin/init"
FRONT = 'loginctl activate "$session"; until [ "$(state)" = active ]; do sleep 0.05; done'
WHERE = {"TMPDIR": "/dev/shm"}
"""Where the memory of the machine lies."""


class Native(Machine):
    """A machine with a kernel that is a program. A snapshot has no memory: the machine boots from each anew."""

    def __init__(self, *, kept: Path | None = None) -> None:
        """The first start of a machine goes on from one that was kept, or from the image."""
        super().__init__()
        self.console = self._log
        self._kept = kept
        self._disk = self._folder / "disk.cow"
        self._offsets: dict[str, timedelta] = {}

    # --- power

    def _switch_on(self, timeout: float) -> None:
        if self._kept is not None and not self._disk.exists():
            copy(self._kept / KEPT, self._disk)
        ours, theirs = socket.socketpair()
        self._line = ours
        clock = datetime.now(UTC) + self._offset
        words = [
            *general_words(self._folder),
            # What the machine flushed survives a SIGKILL: it is in the host's page cache. No lock ("c"): QEMU has one
            # of the image as well.
            *(f"mem={MEMORY >> 20}M", f"ubd0c={self._disk},{build_image()['disk']}", "rw", "rootflags=noinit_itable"),
            *(f"ssl0=fd:{theirs.fileno()}", "quiet", "init=/bin/sh", "--", "-c", f'"{INIT % clock.timestamp()}"'),
        ]
        with theirs:
            argv = ["taskset", "--cpu-list", str(processor()), "bash", "-c", AS, REBOOTED, build_kernel(), *words]
            self._boot(timeout, argv, pass_fds=[theirs.fileno()], env={**os.environ, **WHERE})

    def _connect(self, deadline: float) -> None:
        self._agent = Agent(Channel(self._line))

    def _gone_down(self, deadline: float) -> str:
        assert self._process is not None, "the machine is off"
        try:
            code = self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise MachineError(f"the machine did not go down; its console:\n{self.console_tail()}") from None
        return {0: "guest-shutdown", 1: "guest-reset"}.get(code, f"its kernel ended with code {code}")

    def outlive_soft_reboot(self) -> None:
        """Does nothing: the unit of the guest agent belongs to every boot."""

    # --- sessions: there are no terminals, but a seat at which one of the sessions is active

    def _sit_down(self, user: str) -> Sequence[str]:
        return ("Environment=XDG_SEAT=seat0 XDG_SESSION_TYPE=tty",)

    def _to_front(self, user: str, session: Session) -> str:
        if session != "active":
            raise MachineError("no session can be behind others where there are no terminals: take an emulated machine")
        return FRONT

    # --- snapshots

    def snapshot(self, name: str) -> None:
        self._rest()
        copy(self._disk, self._folder / f"{name}.cow")
        self._offsets[name] = self._offset
        self._switch_on(240)

    def restore(self, name: str) -> None:
        self.power_cut()
        taken = self._folder / f"{name}.cow"
        if name not in self._offsets and self._kept is not None:
            taken = self._kept / name
        copy(taken, self._disk)
        self._offset = self._offsets.get(name, timedelta())
        self._switch_on(240)

    def keep(self, path: Path) -> None:
        self._rest()
        part = path.with_suffix(".part")
        part.mkdir()
        for name in self._offsets:
            copy(self._folder / f"{name}.cow", part / name)
        copy(self._disk, part / KEPT)
        part.replace(path)

    def _rest(self) -> None:
        """Has the machine power itself off."""
        assert self._agent is not None, "the machine is off"
        self._agent.ask("guest-exec", path="systemctl", arg=["poweroff"])
        how = self._gone_down(time.monotonic() + 120)
        self.power_cut()
        if how != "guest-shutdown":
            raise MachineError(f"the machine did not power off, it went down: {how}")


def processor() -> int:
    """Returns the processor that has the fewest such machines.

    A machine's kernel and its programs take turns, at each system call. Where the host lets them do so on two
    processors, a boot takes 2.4 s instead of 1.5, and a quarter more of processor time.
    """
    pinned = Counter[int]()
    for process in psutil.process_iter(["name", "cpu_affinity"]):
        if process.info["name"] == KERNEL and len(process.info["cpu_affinity"] or ()) == 1:
            pinned[process.info["cpu_affinity"][0]] += 1
    return min(sorted(os.sched_getaffinity(0)), key=pinned.__getitem__)


def copy(disk: Path, to: Path) -> None:
    """Copies a disk, which is mostly holes."""
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", str(disk), str(to)], check=True)


@functools.cache
def build_kernel() -> str:
    """Where the kernel is; builds it when it is not there."""
    script = str(Path(__file__).with_name("native"))
    done = subprocess.run(["sh", script], stdout=subprocess.PIPE, check=False, text=True)
    if done.returncode:
        raise MachineError("the kernel could not be built; the lines above say why")
    return done.stdout.strip()


@functools.cache
def why_not() -> str:
    """Why this host runs no such machine; empty where it does."""
    if platform.machine() != "x86_64":
        return f"User Mode Linux is for x86_64, this host is {platform.machine()}"
    where = Path(WHERE["TMPDIR"])
    if not where.exists() or shutil.disk_usage(where).total < MEMORY:
        return f"{where}, where the memory of such a machine lies, is smaller than {MEMORY >> 20} MiB"
    try:
        kernel = build_kernel()
    except MachineError as error:
        return str(error)
    # Boots with a program that ends at once, of which the kernel panics: so it runs programs, and does all before that.
    with tempfile.TemporaryDirectory(prefix="agentd-vm-") as folder:
        disk = ("mem=64M", f"ubd0rc={build_image()['disk']}", "ro", "init=/bin/true")
        words = [kernel, *general_words(Path(folder)), *disk]
        how: dict[str, Any] = {"stdin": subprocess.DEVNULL, "env": {**os.environ, **WHERE}, "timeout": 60}
        try:
            done = subprocess.run(words, capture_output=True, check=False, **how)
        except subprocess.TimeoutExpired:
            return "its kernel does not come to an end here within 60 s"
    told = (done.stdout + done.stderr).decode(errors="replace")
    if "Attempted to kill init! exitcode=0x00000000" in told:
        return ""
    return f"its kernel does not run here:\n{told[-2000:]}"


def general_words(folder: Path) -> list[str]:
    """Returns what each kernel is told; its console is where its output goes, and no file of it lies elsewhere."""
    return [f"uml_dir={folder}", "root=/dev/ubda", "con0=null,fd:1", "con=null", "ssl=null", "seccomp=auto", "panic=-1"]
