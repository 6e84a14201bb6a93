"""A machine with kernels of Debian's own, emulated by QEMU without KVM."""

import fcntl
import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from tests.vm.guest import Agent, Channel, MachineError
from tests.vm.machine import KEPT, Login, Machine, Session, build_image

Kernel = Literal["trixie", "sched_ext"]

# root is mounted by the initrd; "quiet" because each line on the console costs emulated time.
KERNEL_WORDS = (
    "root=/dev/vda rw console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on net.ifnames=0 "
    # An emulator that has to wait for its host misses ticks: the kernel takes the timer for broken then, and panics.
    "no_timer_check "
    # A third of an emulated boot: code at addresses that change is translated anew, pages are cleared twice, and
    # every unmount waits for the processors.
    "nokaslr norandmaps init_on_alloc=0 rcupdate.rcu_expedited=1 "
    # A tenth of what systemd and agentd do: whole huge pages are cleared for programs that end at once, and the
    # emulator forgets all translations where one of them changes; the kernel tests its ciphers, checks what it copies,
    # and asks security modules that have no policy here (tomoyo, bpf, ipe).
    "transparent_hugepage=never cryptomgr.notests hardened_usercopy=off randomize_kstack_offset=off audit=0 "
    "lsm=landlock,yama,apparmor"
)
MORE_WORDS: dict[Kernel, str] = {
    "trixie": "",
    # A processor without cx16 has no memory for BPF's task and cgroup storage, timers and arenas, which most schedulers
    # need: the kernel's kmalloc_nolock() gives it none, but from caches that are debugged.
    "sched_ext": " slab_debug=F,kmalloc-*",
}
"""What the kernels are told beside that."""


# Each user's own virtual terminal: a session there belongs to seat0, and is active while its terminal is in front.
TERMINALS = {"admin": 8, "user": 9}
BACKGROUND_TERMINAL = 10
FRONT = """
if [ "$(cat /sys/class/tty/tty0/active)" != tty%d ]; then
    chvt %d
    until [ "$(state)" = %s ]; do sleep 0.05; done
fi
"""


def hardware(processors: int = 1) -> tuple[str, ...]:
    """Returns QEMU's options for a machine."""
    return (
        *("-nodefaults", "-no-user-config", "-display", "none", "-vga", "none", "-nic", "none"),
        # With two processors on a busy host, a kernel that patches itself at its boot traps now and then (int3), and
        # each spins for locks of the other while the host runs something else: the two then take turns on one thread.
        *("-accel", "tcg" if processors == 1 else "tcg,thread=single"),
        # QEMU 7.2 leaves garbage in the flags after a cmpxchg16b: spurious traps, then a panic of the kernel.
        # A processor that says "erms" makes kernel and libc move bytes one by one, which is slow to emulate.
        # What else it does not have is dear where it is emulated: five levels of page tables are walked at each miss;
        # with smap the kernel reads the memory of programs through other translations than its own; xsave brings AVX,
        # whose registers each switch of tasks stores one by one, and whose instructions numpy dies of here.
        *("-cpu", "max,-cx16,-erms,-la57,-smap,-pku,-xsave,-avx,-avx2,-fma,-f16c,-vaes"),
        *("-smp", str(processors), "-m", "2G"),
        *("-device", "virtio-rng-pci", "-device", "virtio-serial-pci"),
        # A machine that was reset in its process boots up to twenty times slower: it ends, and is started anew.
        *("-action", "reboot=shutdown,shutdown=pause"),
    )


class Emulated(Machine):
    """A machine that QEMU emulates: with a kernel of Debian's own, virtual terminals, snapshots of its memory."""

    def __init__(
        self, kernel: Kernel = "trixie", *, kept: Path | None = None, cold: bool = False, processors: int = 1
    ) -> None:
        """The first start of a machine goes on from one that was kept, where none is named a booted one, or boots cold,
        from the disk of one that was kept where that is named: one with more processors can do nothing else.

        Machines from the same kept one share their boot id until they boot themselves.
        """
        assert cold or processors == 1, "a machine with more than one processor has to boot cold"
        super().__init__()
        self.kernel = kernel
        self.processors = processors
        self._kept = kept
        self._cold = cold
        self._disk = self._folder / "disk.qcow2"
        self._monitor: Channel | None = None
        self._snapshots: dict[str, tuple[timedelta, dict[str, Login]]] = {}

    # --- power

    def _switch_on(self, timeout: float) -> None:
        # Not installed here: the workers of a test run would do so all at once.
        if not (shutil.which("qemu-system-x86_64") and shutil.which("qemu-img")):
            raise MachineError("the machine needs QEMU; install it with: .ci/system-packages vm")
        image = build_image()
        if self._disk.exists():
            self._emulate(image, timeout)
        elif self._cold:
            if self._kept:
                shutil.copyfile(self._kept, self._disk)
            else:
                create_overlay(image, self._disk)
            self._emulate(image, timeout)
        else:
            shutil.copyfile(self._kept or booted_disk(image, self.kernel), self._disk)
            self._emulate(image, timeout, "-loadvm", KEPT)
            self.set_clock(datetime.now(UTC) + self._offset)
            self._snapshots[KEPT] = self._offset, {}

    def _emulate(self, image: dict[str, Any], timeout: float, *options: str) -> None:
        for name in ("agent", "monitor"):
            (self._folder / name).unlink(missing_ok=True)
        self._boot(timeout, ["qemu-system-x86_64", *self._options(image["kernels"][self.kernel]), *options])

    def _options(self, kernel: dict[str, str]) -> list[str]:
        clock = (datetime.now(UTC) + self._offset).strftime("%Y-%m-%dT%H:%M:%S")
        return [
            *hardware(self.processors),
            *("-rtc", f"base={clock}", "-serial", f"file:{self.console}"),
            *("-kernel", kernel["vmlinux"], "-initrd", kernel["initrd"], "-append", command_line(self.kernel)),
            # What the guest flushed survives a SIGKILL of the emulator: it is in the host's page cache.
            *("-drive", f"file={self._disk},if=virtio,format=qcow2,cache=writeback"),
            *("-chardev", f"socket,id=agent,path={self._folder}/agent,server=on,wait=off"),
            *("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"),
            *("-qmp", f"unix:{self._folder}/monitor,server=on,wait=off"),
        ]

    def _connect(self, deadline: float) -> None:
        while True:
            self._check_alive()
            try:
                self._agent = self._agent or Agent(Channel.to(self._folder / "agent"))
                self._monitor = self._monitor or Channel.to(self._folder / "monitor")
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise MachineError("the emulator does not open its sockets") from None
                time.sleep(0.02)
        self._monitor.line(deadline)  # the greeting
        self._qmp("qmp_capabilities")

    def power_cut(self) -> None:
        if self._monitor is not None:
            self._monitor.close()
            self._monitor = None
        super().power_cut()

    def _gone_down(self, deadline: float) -> str:
        """Returns QEMU's word for what it was."""
        assert self._monitor is not None, "the machine is off"
        while True:
            try:
                told = json.loads(self._monitor.line(deadline))
            except TimeoutError:
                raise MachineError(f"the machine did not go down; its console:\n{self.console_tail()}") from None
            if told.get("event") == "SHUTDOWN":
                return str(told["data"]["reason"])

    def outlive_soft_reboot(self) -> None:
        # Its port is there already when the user space comes up anew: nothing would start it.
        self.run("systemctl", "add-wants", "multi-user.target", "qemu-guest-agent.service")

    # --- sessions

    def _sit_down(self, user: str) -> Sequence[str]:
        terminal = TERMINALS[user]
        self.run("chvt", str(terminal))
        return f"TTYPath=/dev/tty{terminal}", "StandardInput=tty", "UtmpMode=user", f"UtmpIdentifier=tty{terminal}"

    def _to_front(self, user: str, session: Session) -> str:
        terminal, state = (TERMINALS[user], "active") if session == "active" else (BACKGROUND_TERMINAL, "online")
        return FRONT % (terminal, terminal, state)

    # --- snapshots

    def snapshot(self, name: str) -> None:
        """Keeps its memory as well."""
        self._hmp(f"savevm {name}")
        self._snapshots[name] = self._offset, dict(self._sessions)

    def restore(self, name: str) -> None:
        """Has the wall clock go on where it stood then. In a snapshot that a kept disk brought, nobody is logged in."""
        offset, sessions = self._snapshots.get(name, self._snapshots[KEPT])
        self._hmp(f"loadvm {name}")
        self._offset, self._sessions = offset, dict(sessions)
        assert self._agent is not None
        if not self._agent.synchronise(30):
            raise MachineError("the guest agent does not answer after a snapshot was restored")

    def keep(self, path: Path) -> None:
        assert self._process is not None, "the machine is off"
        self._hmp(f"savevm {KEPT}")
        self._qmp("quit")
        self._process.wait(60)
        self.power_cut()
        part = path.with_suffix(".part")
        shutil.copyfile(self._disk, part)
        part.replace(path)

    def _qmp(self, command: str, **arguments: Any) -> Any:
        assert self._monitor is not None
        self._monitor.send({"execute": command, "arguments": arguments})
        return self._monitor.answer(time.monotonic() + 120)

    def _hmp(self, line: str) -> None:
        said = self._qmp("human-monitor-command", **{"command-line": line})
        if said:
            raise MachineError(f"{line}: {said.strip()}")


def command_line(kernel: Kernel) -> str:
    """Returns what a kernel is told when it boots."""
    return KERNEL_WORDS + MORE_WORDS[kernel]


def create_overlay(image: dict[str, Any], disk: Path) -> None:
    """Makes a disk of its own over the image, which all machines share and none writes to."""
    words = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", image["disk"], str(disk)]
    subprocess.run(words, check=True)


def booted_disk(image: dict[str, Any], kernel: Kernel) -> Path:
    """Returns the disk of a machine that was booted and kept with its memory; makes it once."""
    return cached_disk(image, f"booted-{kernel}", command_line(kernel), lambda: Emulated(kernel, cold=True))


def cached_disk(
    image: dict[str, Any],
    name: str,
    recipe: str,
    new: Callable[[], Emulated],
    prepare: Callable[[Emulated], None] = lambda _: None,
) -> Path:
    """Returns the disk of a machine that was started, prepared and kept; makes it where there is none of that name and
    recipe beside the image."""
    version = subprocess.run(["qemu-system-x86_64", "--version"], stdout=subprocess.PIPE, check=True).stdout
    # A snapshot fits the emulator and the machine that it was taken of.
    digest = hashlib.sha256(version + " ".join([*hardware(), recipe]).encode()).hexdigest()[:12]
    path = Path(image["disk"]).with_name(f"{name}-{digest}.qcow2")
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            for old in path.parent.glob(f"{name}-*.qcow2"):
                old.unlink()
            machine = new()
            try:
                machine.start()
                prepare(machine)
                machine.keep(path)
            finally:
                machine.close()
    return path
