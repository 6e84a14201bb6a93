"""A real Debian machine for tests: emulated by QEMU without KVM, driven through the guest agent."""

import base64
import contextlib
import fcntl
import hashlib
import itertools
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

Kernel = Literal["trixie", "sched_ext"]
Session = Literal["active", "background"]
Instant = datetime | str | float
T = TypeVar("T")

# root is mounted by the initrd; "quiet" because each line on the console costs emulated time.
KERNEL_WORDS = (
    "root=/dev/vda rw console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on net.ifnames=0 "
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

# Runs a program on a terminal of its own and answers what it asks; a transcript is all that it prints.
CONVERSATION = """
import json, sys, pexpect
order = json.load(sys.stdin)
child = pexpect.spawn(order["argv"][0], order["argv"][1:], timeout=order["timeout"], encoding="utf-8", echo=True,
                      dimensions=(40, 160))
child.logfile_read = sys.stdout
try:
    for expected, answer in order["dialogue"]:
        child.expect(expected)
        child.sendline(answer)
    child.expect(pexpect.EOF)
except (pexpect.TIMEOUT, pexpect.EOF) as problem:
    print(f"\\nthe conversation broke off: {type(problem).__name__} while waiting for {child.searcher}",
          file=sys.stderr)
    child.close(force=True)
    sys.exit(125)
child.close()
sys.exit(child.exitstatus if child.exitstatus is not None else 128 + child.signalstatus)
"""


# Brings a terminal to the front, waits until logind has seen it, and becomes a command of the session. logind and
# polkit find a process's session by its control group.
ENTER = """
if [ "$(cat /sys/class/tty/tty0/active)" != "$1" ]; then
    chvt "${1#tty}"
    until [ "$(loginctl show-session "$2" -p State --value)" = "$3" ]; do sleep 0.05; done
fi
echo $$ >"/sys/fs/cgroup$4/cgroup.procs"
shift 4
exec "$@"
"""


KEPT = "booted"
"""The snapshot that a machine goes on from which was kept."""


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


class MachineError(Exception):
    """The machine does not do what a test relies on, or a command in it failed."""


@dataclass(frozen=True)
class Result:
    """What a command in the machine came to."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Login:
    """A login session: logind's id of it, its control group, its user's number."""

    identity: str
    group: str
    uid: str


class _Channel:
    """JSON lines over a Unix socket: what QEMU's monitor and its guest agent both speak."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise
        self._received = b""

    def close(self) -> None:
        self._socket.close()

    def send(self, order: dict[str, Any], before: bytes = b"") -> None:
        self._socket.settimeout(10)
        self._socket.sendall(before + json.dumps(order).encode() + b"\n")

    def line(self, deadline: float) -> bytes:
        while b"\n" not in self._received:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            block = self._socket.recv(1 << 20)
            if not block:
                raise ConnectionError("the emulator closed the line")
            self._received += block
        line, _, self._received = self._received.partition(b"\n")
        return line

    def answer(self, deadline: float) -> Any:
        """The next answer to an order; what QEMU tells unasked is passed over."""
        while True:
            message = json.loads(self.line(deadline))
            if "error" in message:
                raise MachineError(message["error"]["desc"])
            if "return" in message:
                return message["return"]


class _Agent:
    """The guest agent. It is silent while the machine boots, and may lose an answer when it reboots."""

    def __init__(self, path: Path) -> None:
        self._channel = _Channel(path)
        self._numbers = itertools.count(1)
        self._in_step = False

    def close(self) -> None:
        self._channel.close()

    def synchronise(self, seconds: float) -> bool:
        """Whether the agent answers; drops whatever was said before."""
        number = next(self._numbers)
        deadline = time.monotonic() + seconds
        try:
            # The byte makes the agent forget a half-read order; it answers with the same byte before its JSON.
            self._channel.send({"execute": "guest-sync-delimited", "arguments": {"id": number}}, before=b"\xff")
            while True:
                line = self._channel.line(deadline)
                with contextlib.suppress(ValueError):
                    if json.loads(line.rpartition(b"\xff")[2]).get("return") == number:
                        self._in_step = True
                        return True
        except TimeoutError:
            return False

    def ask(self, command: str, seconds: float = 30, **arguments: Any) -> Any:
        if not self._in_step and not self.synchronise(seconds):
            raise MachineError(f"the guest agent does not answer within {seconds:g} s ({command})")
        self._in_step = False
        try:
            self._channel.send({"execute": command, "arguments": arguments})
            answer = self._channel.answer(time.monotonic() + seconds)
        except TimeoutError:
            raise MachineError(f"the guest agent did not answer {command} within {seconds:g} s") from None
        except MachineError:
            self._in_step = True
            raise
        self._in_step = True
        return answer


class Machine:
    """A Debian 13 with its own disk, which lives as long as this object. Times are the host's seconds.

    Without a login, commands run as root outside any session; `user=` makes them that user's, still without a session;
    `session="active"` puts them into a login session on seat0 in front, which is what polkit calls active and local.
    """

    def __init__(
        self, kernel: Kernel = "trixie", *, kept: Path | None = None, cold: bool = False, processors: int = 1
    ) -> None:
        """The first start of a machine goes on from one that was kept, where none is named a booted one, or boots cold:
        one with more processors than those have can do nothing else.

        Machines from the same kept one share their boot id until they boot themselves.
        """
        assert cold or processors == 1, "a machine with more than one processor has to boot cold"
        self.kernel = kernel
        self.processors = processors
        self._kept = kept
        self._cold = cold
        self._folder = Path(tempfile.mkdtemp(prefix="agentd-vm-"))
        self._disk = self._folder / "disk.qcow2"
        self.console = self._folder / "console.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._agent: _Agent | None = None
        self._monitor: _Channel | None = None
        self._offset = timedelta()
        self._sessions: dict[str, Login] = {}
        self._groups: dict[str, str] = {}
        self._snapshots: dict[str, tuple[timedelta, dict[str, Login]]] = {}

    # --- power

    def start(self, timeout: float = 240, *, away: timedelta = timedelta()) -> "Machine":
        """Switches the machine on and waits until it is up: systemd has done all jobs of the boot.

        `away` is how much longer it was off, by its own clock, than it really was.
        """
        assert self._process is None, "the machine runs already"
        self._offset += away
        image = build_image()
        if self._disk.exists():
            self._boot(image, timeout)
        elif self._cold:
            create_overlay(image, self._disk)
            self._boot(image, timeout)
        else:
            shutil.copyfile(self._kept or booted_disk(image, self.kernel), self._disk)
            self._boot(image, timeout, "-loadvm", KEPT)
            self.set_clock(datetime.now(UTC) + self._offset)
            self._snapshots[KEPT] = self._offset, {}
        return self

    def _boot(self, image: dict[str, Any], timeout: float, *options: str) -> None:
        kernel = image["kernels"][self.kernel]
        for name in ("agent", "monitor"):
            (self._folder / name).unlink(missing_ok=True)
        with (self._folder / "qemu.log").open("ab") as log:
            self._process = subprocess.Popen(
                # The emulator must not outlive the tests, however these end.
                ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", *self._options(kernel), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + timeout
        try:
            self._connect(deadline)
            self._wait_up(deadline)
        except BaseException:
            self.power_cut()
            raise

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
                self._agent = self._agent or _Agent(self._folder / "agent")
                self._monitor = self._monitor or _Channel(self._folder / "monitor")
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise MachineError("the emulator does not open its sockets") from None
                time.sleep(0.02)
        self._monitor.line(deadline)  # the greeting
        self._qmp("qmp_capabilities")

    def _check_alive(self) -> None:
        if self._process is None or self._process.poll() is not None:
            code = self._process.returncode if self._process else None
            log = self._folder / "qemu.log"
            text = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            raise MachineError(f"the emulator does not run (code {code}):\n{text}\n{self.console_tail()}")

    def _wait_up(self, deadline: float) -> None:
        while True:
            self._check_alive()
            assert self._agent is not None
            if time.monotonic() > deadline:
                raise MachineError(f"the machine did not come up; its console:\n{self.console_tail()}")
            if self._agent.synchronise(1):
                break
            time.sleep(0.02)
        left = max(1.0, deadline - time.monotonic())
        state = self.run("systemctl", "is-system-running", "--wait", check=False, timeout=left).out.strip()
        if state not in {"running", "degraded"}:
            raise MachineError(f"the machine came up as {state or 'nothing'!r}:\n{self.journal('-b', '-n', '200')}")

    def close(self) -> None:
        """Ends the machine and throws its disk away."""
        self.power_cut()
        shutil.rmtree(self._folder, ignore_errors=True)

    def power_cut(self) -> None:
        """Pulls the plug. start() boots the same disk again; what the guest did not flush is lost."""
        self._sessions.clear()
        if self._agent is not None:
            self._agent.close()
            self._agent = None
        if self._monitor is not None:
            self._monitor.close()
            self._monitor = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def running(self) -> bool:
        """Whether the emulator runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def boot_id(self) -> str:
        return self.run("cat", "/proc/sys/kernel/random/boot_id").out.strip()

    def reboot(self, timeout: float = 240) -> None:
        """Asks the machine's systemd for a reboot, and waits until it is up again."""
        assert self._agent is not None, "the machine is off"
        boot = self.boot_id
        # The agent is stopped before it could tell how this ended.
        self._agent.ask("guest-exec", path="systemctl", arg=["reboot"])
        self.wait_reboot(boot, timeout)

    def wait_reboot(self, boot_id: str, timeout: float = 240) -> None:
        """Waits for a reboot that somebody else asks for, from the boot with that id, and until it is up again."""
        deadline = time.monotonic() + timeout
        how = self._gone_down(deadline)
        if how != "guest-reset":
            raise MachineError(f"the machine did not reboot, it went down: {how}")
        self.power_cut()
        self.start(max(1.0, deadline - time.monotonic()))
        if self.boot_id == boot_id:
            raise MachineError(f"the machine is still in the boot {boot_id}")

    def _gone_down(self, deadline: float) -> str:
        """Waits until the machine resets itself or switches itself off; returns QEMU's word for what it was."""
        assert self._monitor is not None, "the machine is off"
        while True:
            try:
                told = json.loads(self._monitor.line(deadline))
            except TimeoutError:
                raise MachineError(f"the machine did not go down; its console:\n{self.console_tail()}") from None
            if told.get("event") == "SHUTDOWN":
                return str(told["data"]["reason"])

    # --- commands

    def run(
        self,
        *argv: str,
        user: str | None = None,
        session: Session | None = None,
        check: bool = True,
        timeout: float = 60,
        input: str | bytes | None = None,  # noqa: A002 -- the word of subprocess.run
        environment: dict[str, str] | None = None,
    ) -> Result:
        """Runs a command in the machine and waits for its end; a code other than 0 is an error unless check is off."""
        command = self._command(argv, user, session, environment or {})
        code, out, err = self._execute(command, timeout, input)
        result = Result(code, out.decode(errors="replace"), err.decode(errors="replace"))
        if check and code:
            raise MachineError(f"{' '.join(argv)} ended with {code}\n{result.out}{result.err}")
        return result

    def sh(self, script: str, *arguments: str, user: str | None = None, timeout: float = 60) -> str:
        """Runs shell text (`$1` and on are the arguments), which must succeed; returns its output."""
        return self.run("sh", "-euc", script, "sh", *arguments, user=user, timeout=timeout).out

    def _command(
        self, argv: Sequence[str], user: str | None, session: Session | None, environment: dict[str, str]
    ) -> list[str]:
        command = list(argv)
        enter: list[str] = []
        if session is not None:
            assert user is not None, "a session is a user's"
            held = self.login(user)
            front = TERMINALS[user] if session == "active" else BACKGROUND_TERMINAL
            environment = {
                "XDG_SESSION_ID": held.identity,
                "XDG_SEAT": "seat0",
                "XDG_VTNR": str(TERMINALS[user]),
                "XDG_RUNTIME_DIR": f"/run/user/{held.uid}",
                "TERM": "linux",
                **environment,
            }
            state = "active" if session == "active" else "online"
            enter = ["sh", "-euc", ENTER, "enter", f"tty{front}", held.identity, state, held.group]
        if environment:
            command = ["env", *(f"{name}={value}" for name, value in environment.items()), *command]
        if user is not None:
            if user not in self._groups:
                self._groups[user] = self.run("id", "-g", user).out.strip()
            identity = (f"--reuid={user}", f"--regid={self._groups[user]}", "--init-groups", "--reset-env")
            command = ["setpriv", *identity, *command]
        return [*enter, *command]

    def _execute(self, argv: list[str], timeout: float, given: str | bytes | None) -> tuple[int, bytes, bytes]:
        self._check_alive()
        assert self._agent is not None, "the machine is off"
        order: dict[str, Any] = {"path": argv[0], "arg": argv[1:], "capture-output": True}
        if given is not None:
            data = given.encode() if isinstance(given, str) else given
            order["input-data"] = base64.b64encode(data).decode()
        began = time.monotonic()
        deadline = began + timeout
        pid = self._agent.ask("guest-exec", timeout, **order)["pid"]
        killed = False
        while not (status := self._agent.ask("guest-exec-status", 30, pid=pid))["exited"]:
            if time.monotonic() > deadline:
                if killed:
                    raise MachineError(f"{' '.join(argv)} took more than {timeout:g} s and cannot be killed")
                self._agent.ask("guest-exec", 30, path="kill", arg=["-KILL", str(pid)])
                killed, deadline = True, time.monotonic() + 5
            time.sleep(pause(began, 0.5))
        out, err = (base64.b64decode(status.get(key, "")) for key in ("out-data", "err-data"))
        if killed:
            text = (out + err).decode(errors="replace")
            raise MachineError(f"{' '.join(argv)} took more than {timeout:g} s\n{text}")
        if status.get("out-truncated") or status.get("err-truncated"):
            raise MachineError(f"{' '.join(argv)} said more than the guest agent can carry")
        return status["exitcode"] if "exitcode" in status else 128 + status["signal"], out, err

    def converse(
        self,
        *argv: str,
        dialogue: Sequence[tuple[str, str]] = (),
        user: str | None = None,
        session: Session | None = None,
        check: bool = True,
        timeout: float = 60,
    ) -> Result:
        """Runs a command on a terminal: waits for each text (a regular expression) in turn and types its answer.

        The transcript is `out`; the code is 125 when a text never came.
        """
        order = json.dumps({"argv": argv, "dialogue": dialogue, "timeout": timeout})
        return self.run(
            *("python3", "-c", CONVERSATION),
            user=user,
            session=session,
            check=check,
            timeout=timeout * (len(dialogue) + 1) + 10,
            input=order,
        )

    # --- sessions

    def login(self, user: str) -> Login:
        """Logs a user in on a virtual terminal of seat0, when that is not done."""
        if user in self._sessions:
            return self._sessions[user]
        unit, terminal = f"test-session-{user}.service", f"/dev/tty{TERMINALS[user]}"
        self.run("chvt", str(TERMINALS[user]))
        # What login(1) does on a terminal, without typing: PAM opens a session there, and a process holds it.
        properties = (f"User={user}", "PAMName=login", f"TTYPath={terminal}", "StandardInput=tty", "UtmpMode=user")
        options = [word for value in (*properties, f"UtmpIdentifier=tty{TERMINALS[user]}") for word in ("-p", value)]
        self.run("systemd-run", "--quiet", "--collect", f"--unit={unit}", *options, "sleep", "infinity")
        pid = self.run("systemctl", "show", "--value", "-p", "MainPID", unit).out.strip()

        def group() -> str:
            text = self.read(f"/proc/{pid}/cgroup").strip().partition("::")[2]
            return text if "/session-" in text else ""

        found = self.wait_until(group, 30, f"the session of {user}")
        identity = found.rpartition("/session-")[2].removesuffix(".scope")
        state = f"loginctl show-session {identity} -p State --value | grep -qx active"
        self.wait_until(state, 30, f"the session of {user} to be active")
        self._sessions[user] = Login(identity, found, self.run("id", "-u", user).out.strip())
        return self._sessions[user]

    def logout(self, *users: str) -> None:
        """Ends the sessions of these users, or of all."""
        for user in users or tuple(self._sessions):
            if user in self._sessions:
                scope = f"session-{self._sessions.pop(user).identity}.scope"
                self.run("systemctl", "stop", f"test-session-{user}.service", scope, check=False)
                gone = f"! loginctl show-user {user} >/dev/null 2>&1"
                self.wait_until(gone, 30, f"the last session of {user} to end")

    # --- files, clock, journal

    def write(self, path: str, content: str | bytes, mode: int = 0o644) -> None:
        """Writes a file whole, with the folders above it."""
        self.run("install", "-D", f"--mode={mode:o}", "/dev/stdin", path, input=content)

    def read(self, path: str) -> str:
        return self.read_bytes(path).decode()

    def read_bytes(self, path: str) -> bytes:
        code, out, err = self._execute(["cat", path], 60, None)
        if code:
            raise MachineError(err.decode(errors="replace"))
        return out

    def set_clock(self, instant: Instant) -> None:
        """Sets the wall clock, for the boots to come as well. Text and datetimes without a zone are UTC."""
        if isinstance(instant, str):
            instant = datetime.fromisoformat(instant)
        if isinstance(instant, datetime):
            instant = (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp()
        self._offset = datetime.fromtimestamp(instant, UTC) - datetime.now(UTC)
        self.sh('date --set="@$1" >/dev/null; hwclock --systohc --utc --noadjfile', f"{instant:.3f}")

    def clock(self) -> datetime:
        """What the machine's wall clock says."""
        return datetime.fromtimestamp(float(self.run("date", "+%s.%N").out), UTC)

    def journal(self, *arguments: str) -> str:
        """Lines of the journal: `-b`, `-u agentd`, `-o cat` and what else journalctl takes."""
        return self.run("journalctl", "--no-pager", "--quiet", *arguments).out

    def console_tail(self) -> str:
        """The last lines of the kernel's console."""
        if not self.console.exists():
            return ""
        return "\n".join(self.console.read_text(errors="replace").splitlines()[-60:])

    @overload
    def wait_until(self, true: Callable[[], T], timeout: float = 60, what: str = "") -> T: ...
    @overload
    def wait_until(self, true: str, timeout: float = 60, what: str = "") -> bool: ...
    def wait_until(self, true: Callable[[], T] | str, timeout: float = 60, what: str = "") -> T | bool:
        """Waits until a function of the test, or shell text in the machine, comes true; returns what it returned."""
        began = time.monotonic()
        deadline = began + timeout
        while True:
            asked = time.monotonic()
            if isinstance(true, str):
                found: T | bool = self.run("sh", "-c", true, check=False).code == 0
            else:
                found = true()
            if found:
                return found
            if time.monotonic() > deadline:
                raise MachineError(f"waited {timeout:g} s in vain for {what or true}")
            time.sleep(max(pause(began, 2), min(2, 2 * (time.monotonic() - asked))))

    def install(self, deb: str | os.PathLike[str], *, reinstall: bool = False) -> None:
        """Installs a Debian package from a file of this host; what it depends on must be in the image.

        `reinstall` does what an upgrade does, also when this very version is installed.
        """
        name = f"/var/tmp/{Path(deb).name}"
        self.write(name, Path(deb).read_bytes())
        # Without sources apt needs no lists and no network, and still says what is missing.
        sources = ["-o", "Dir::Etc::SourceList=/dev/null", "-o", "Dir::Etc::SourceParts=/dev/null"]
        options = ["-qy", "--no-install-recommends", "--allow-downgrades", *(["--reinstall"] if reinstall else [])]
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        self.run("apt-get", *sources, "install", *options, name, environment=quiet, timeout=300)
        self.run("rm", name)

    # --- snapshots

    def snapshot(self, name: str) -> None:
        """Keeps the whole machine as it is now, its memory with it, until this object is closed."""
        self._hmp(f"savevm {name}")
        self._snapshots[name] = self._offset, dict(self._sessions)

    def restore(self, name: str) -> None:
        """Goes back to a snapshot; the wall clock goes on where it stood then.

        A kept disk brings the snapshots that were taken before it was kept; nobody is logged in there.
        """
        offset, sessions = self._snapshots.get(name, self._snapshots[KEPT])
        self._hmp(f"loadvm {name}")
        self._offset, self._sessions = offset, dict(sessions)
        assert self._agent is not None
        if not self._agent.synchronise(30):
            raise MachineError("the guest agent does not answer after a snapshot was restored")

    def keep(self, path: Path) -> None:
        """Ends the machine and keeps its disk in a file: its snapshots, and as KEPT the machine as it is now."""
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


def pause(began: float, longest: float) -> float:
    """Seconds to wait before the next question, a tenth of what was waited since `began` (by the monotonic clock).

    A question is work for the machine: asked ten times a second, they were more than half of what it did.
    """
    return min(longest, max(0.01, (time.monotonic() - began) / 10))


def command_line(kernel: Kernel) -> str:
    """Returns what a kernel is told when it boots."""
    return KERNEL_WORDS + MORE_WORDS[kernel]


def create_overlay(image: dict[str, Any], disk: Path) -> None:
    """Makes a disk of its own over the image, which all machines share and none writes to."""
    words = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", image["disk"], str(disk)]
    subprocess.run(words, check=True)


def booted_disk(image: dict[str, Any], kernel: Kernel) -> Path:
    """The disk of a machine that was booted and kept with its memory; makes it once."""
    version = subprocess.run(["qemu-system-x86_64", "--version"], stdout=subprocess.PIPE, check=True).stdout
    # A snapshot fits the emulator and the machine that it was taken of.
    recipe = hashlib.sha256(version + " ".join([*hardware(), command_line(kernel)]).encode()).hexdigest()[:12]
    path = Path(image["disk"]).with_name(f"booted-{kernel}-{recipe}.qcow2")
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            for old in path.parent.glob(f"booted-{kernel}-*.qcow2"):
                old.unlink()
            machine = Machine(kernel, cold=True)
            try:
                machine.start()
                machine.keep(path)
            finally:
                machine.close()
    return path


def build_image() -> dict[str, Any]:
    """Where the disk image and the kernels are; builds them when they are not there."""
    # Not installed here: the workers of a test run would do so all at once.
    if not (shutil.which("qemu-system-x86_64") and shutil.which("qemu-img")):
        raise MachineError("the machine needs QEMU; install it with: .ci/system-packages vm")
    done = subprocess.run(["sh", str(Path(__file__).with_name("image"))], stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise MachineError("the disk image could not be built; the lines above say why")
    image: dict[str, Any] = json.loads(done.stdout)
    return image
