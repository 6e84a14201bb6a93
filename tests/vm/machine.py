"""A real Debian machine for tests, driven through its guest agent: what all kinds of it have in common."""

import abc
import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

from tests.vm.guest import CONVERSATION, ENTER, Agent, MachineError

Session = Literal["active", "background"]
Instant = datetime | str | float
T = TypeVar("T")

KEPT = "booted"
"""The snapshot that a machine goes on from which was kept."""


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


class Machine(abc.ABC):
    """A Debian 13 with its own disk, which lives as long as this object. Times are the host's seconds.

    Without a login, commands run as root outside any session; `user=` makes them that user's, still without a session;
    `session="active"` puts them into a login session on seat0 in front, which is what polkit calls active and local.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="agentd-vm-"))
        self.console = self._folder / "console.log"
        self._log = self._folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._agent: Agent | None = None
        self._offset = timedelta()
        self._sessions: dict[str, Login] = {}
        self._groups: dict[str, str] = {}

    # --- power

    def start(self, timeout: float = 240, *, away: timedelta = timedelta()) -> "Machine":
        """Switches the machine on and waits until it is up: systemd has done all jobs of the boot.

        `away` is how much longer it was off, by its own clock, than it really was.
        """
        assert self._process is None, "the machine runs already"
        self._offset += away
        self._switch_on(timeout)
        return self

    @abc.abstractmethod
    def _switch_on(self, timeout: float) -> None:
        """Starts the machine from its disk, which the first time is made, and waits until it is up."""

    @abc.abstractmethod
    def _connect(self, deadline: float) -> None:
        """Connects to the guest agent of the machine that was just started."""

    @abc.abstractmethod
    def outlive_soft_reboot(self) -> None:
        """Has the guest agent started when the user space comes up anew."""

    @abc.abstractmethod
    def _gone_down(self, deadline: float) -> str:
        """Waits until the machine resets itself or switches itself off; returns "guest-reset" or what else it was."""

    def _boot(self, timeout: float, argv: list[str], **how: Any) -> None:
        with self._log.open("ab") as log:
            # The machine must not outlive the tests, however these end.
            argv = ["setpriv", "--pdeathsig", "KILL", *argv]
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **how)
        deadline = time.monotonic() + timeout
        try:
            self._connect(deadline)
            self._wait_up(deadline)
        except BaseException:
            self.power_cut()
            raise

    def _check_alive(self) -> None:
        if self._process is None or self._process.poll() is not None:
            code = self._process.returncode if self._process else None
            text = self._log.read_text(errors="replace")[-2000:] if self._log.exists() else ""
            raise MachineError(f"the machine does not run (code {code}):\n{text}\n{self.console_tail()}")

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
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def running(self) -> bool:
        """Whether the machine is on."""
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
            environment = {
                "XDG_SESSION_ID": held.identity,
                "XDG_SEAT": "seat0",
                "XDG_RUNTIME_DIR": f"/run/user/{held.uid}",
                "TERM": "linux",
                **environment,
            }
            enter = ["sh", "-euc", ENTER % self._to_front(user, session), "enter", held.identity, held.group]
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
        """Logs a user in at seat0, when that is not done."""
        if user in self._sessions:
            return self._sessions[user]
        unit = f"test-session-{user}.service"
        # What login(1) does, without typing: PAM opens a session, and a process holds it.
        properties = (f"User={user}", "PAMName=login", *self._sit_down(user))
        options = [word for value in properties for word in ("-p", value)]
        self.run("systemd-run", "--quiet", "--collect", f"--unit={unit}", *options, "sleep", "infinity")
        pid = self.run("systemctl", "show", "--value", "-p", "MainPID", unit).out.strip()

        def group() -> str:
            text = self.read(f"/proc/{pid}/cgroup").strip().partition("::")[2]
            return text if "/session-" in text else ""

        found = self.wait_until(group, 30, f"the session of {user}")
        identity = found.rpartition("/session-")[2].removesuffix(".scope")
        state = f"loginctl show-session {identity} -p State --value | grep -qx active"
        self.wait_until(f"loginctl activate {identity}; {state}", 30, f"the session of {user} to be active")
        self._sessions[user] = Login(identity, found, self.run("id", "-u", user).out.strip())
        return self._sessions[user]

    @abc.abstractmethod
    def _sit_down(self, user: str) -> Sequence[str]:
        """Makes room for a user at seat0; returns the properties of a unit that logs in there."""

    @abc.abstractmethod
    def _to_front(self, user: str, session: Session) -> str:
        """Returns the text in the middle of ENTER; it ends when logind has seen what it did."""

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
        set_both = 'date --set="@$1" >/dev/null; [ ! -e /dev/rtc0 ] || hwclock --systohc --utc --noadjfile'
        self.sh(set_both, f"{instant:.3f}")

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

    @abc.abstractmethod
    def snapshot(self, name: str) -> None:
        """Keeps the machine as it is now until this object is closed."""

    @abc.abstractmethod
    def restore(self, name: str) -> None:
        """Goes back to a snapshot, or to one that a kept disk brought."""

    @abc.abstractmethod
    def keep(self, path: Path) -> None:
        """Ends the machine and keeps its disk in `path`: its snapshots, and as KEPT the machine as it is now."""


def pause(began: float, longest: float) -> float:
    """Seconds to wait before the next question, a tenth of what was waited since `began` (by the monotonic clock).

    A question is work for the machine: asked ten times a second, they were more than half of what it did.
    """
    return min(longest, max(0.01, (time.monotonic() - began) / 10))


def build_image() -> dict[str, Any]:
    """Where the disk image and the kernels are; builds them when they are not there."""
    done = subprocess.run(["sh", str(Path(__file__).with_name("image"))], stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise MachineError("the disk image could not be built; the lines above say why")
    image: dict[str, Any] = json.loads(done.stdout)
    return image
