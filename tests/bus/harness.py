"""A real agentd on its own private bus, and a small client for it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jeepney import DBusAddress, HeaderFields, MessageType, Properties, new_method_call
from jeepney.io.blocking import DBusConnection, open_dbus_connection

from tests.bus import forks
from tests.bus.forks import Fork

ROOT = Path(__file__).parents[2]
OBJECT = "/org/agentd1"


class CallError(Exception):
    """A D-Bus error: its name and its sentence."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


def processes_with(text: str) -> list[int]:
    """The processes whose environment has the text."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if text.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue  # it ended meanwhile, or is somebody else's
    return found


def children_of(pid: int) -> list[int]:
    """The processes that a process started itself."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # the process ended meanwhile
                if f"PPid:\t{pid}\n" in (entry / "status").read_text():
                    found.append(int(entry.name))
    return found


class Agentd:
    """An agentd of its own configuration, state and bus. Kill it and start it as often as you like."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "agentd.yaml"
        self.state = folder / "state"
        self.log = folder / "log"
        self.program: tuple[str, ...] = ("agentd", "--standalone")
        self.within: tuple[str, ...] = ()  # a command that runs the daemon
        self.environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder / "run"), "PYTHONPATH": str(ROOT)}
        self.environment.pop("AGENTD_ADDRESS", None)
        (folder / "run").mkdir()
        self.process: subprocess.Popen[bytes] | Fork | None = None
        self._bus: DBusConnection | None = None

    def start(self, config: str = "", *arguments: str) -> "Agentd":
        """Starts the daemon and waits until it answers."""
        if config:
            self.config.write_text(config)
        for old in self._published():
            old.unlink()
        command = [*self.program, "--config", str(self.config), "--state-dir", str(self.state), *arguments]
        with self.log.open("ab") as log:
            if self._may_be_forked:
                self.process = Fork(command[0], command[1:], self.environment, log)
            else:
                command = [*self.within, sys.executable, "-m", *command]
                self.process = subprocess.Popen(command, stderr=log, env=self.environment, cwd=ROOT)
        self.until(self._published, "agentd to answer")
        (address,) = self._published()
        self.address = address.read_text().splitlines()[0]
        return self

    def run_code(self, code: str, config: str) -> str:
        """Runs Python that starts agentd's own main function, standalone; returns what was printed until that ended."""
        self.config.write_text(config)
        options = ["--standalone", "--config", str(self.config), "--state-dir", str(self.state)]
        done = subprocess.run(
            [sys.executable, "-c", code, *options],
            capture_output=True, text=True, env=self.environment, cwd=ROOT, check=True, timeout=60,
        )  # fmt: skip
        return done.stdout

    @property
    def _may_be_forked(self) -> bool:
        """Whether the daemon may be a fork of a process that has loaded this agentd, which spares two thirds of the
        work of a start: nothing is wanted of the loading. AGENTD_FORKS=0 has each started by itself."""
        if self.within or forks.ROOT != ROOT or os.environ.get("AGENTD_FORKS") == "0":
            return False
        names = {name for name in {*self.environment, *os.environ} if name.startswith(("PYTHON", "LD_", "TZ"))}
        return all(self.environment.get(name) == os.environ.get(name) for name in names - {"PYTHONPATH"})

    def _published(self) -> list[Path]:
        """The files by which agentds tell where they are."""
        return [*(self.folder / "run/agentd").glob("address*")]

    def until(self, true: Callable[[], object], what: str, seconds: float = 20) -> None:
        """Waits for something outside this process to come true; fails with the log when it does not."""
        deadline = time.monotonic() + seconds
        while not true():
            if self.process is not None and self.process.poll() not in (None, 0):
                pytest.fail(f"agentd ended with {self.process.returncode}:\n{self.log.read_text()}")
            if time.monotonic() > deadline:
                pytest.fail(f"waited {seconds} s for {what}; the log:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.01)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process = None
        self.disconnect()

    def stop(self, number: int = signal.SIGTERM, seconds: float = 20) -> int:
        """Ends the daemon in peace; returns its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(seconds)
        self.disconnect()
        return code

    @property
    def bus(self) -> DBusConnection:
        if self._bus is None:
            self._bus = open_dbus_connection(bus=self.address)
        return self._bus

    def disconnect(self) -> None:
        if self._bus is not None:
            self._bus.close()
            self._bus = None

    def call(self, member: str, signature: str = "", *body: Any) -> Any:
        """Calls "Jobs.RunJob" and the like; returns the one value, or all of several."""
        interface, _, name = member.partition(".")
        address = DBusAddress(OBJECT, "org.agentd1", f"org.agentd1.{interface}")
        reply = self.bus.send_and_get_reply(new_method_call(address, name, signature or None, body), timeout=20)
        return self._value(reply)

    def property(self, name: str) -> Any:
        interface, _, member = name.partition(".")
        address = DBusAddress(OBJECT, "org.agentd1", f"org.agentd1.{interface}")
        return self._value(self.bus.send_and_get_reply(Properties(address).get(member), timeout=20))[1]

    def introspect(self) -> str:
        address = DBusAddress(OBJECT, "org.agentd1", "org.freedesktop.DBus.Introspectable")
        return str(self._value(self.bus.send_and_get_reply(new_method_call(address, "Introspect"), timeout=20)))

    @staticmethod
    def _value(reply: Any) -> Any:
        if reply.header.message_type is MessageType.error:
            raise CallError(reply.header.fields[HeaderFields.error_name], reply.body[0])
        return reply.body[0] if len(reply.body) == 1 else reply.body

    def job(self, name: str) -> dict[str, Any]:
        return {key: value for key, (_, value) in self.call("Jobs.GetJob", "s", name).items()}

    def runs(self, **wanted: tuple[str, Any]) -> list[dict[str, Any]]:
        """Runs, newest first: all of them, page by page."""
        found: list[dict[str, Any]] = []
        page = [{"run_id": ""}]
        while page and len(found) % 1000 == 0:
            before = {"before": ("t", int(found[-1]["run_id"].rpartition(".")[2]))} if found else {}
            records = self.call("Jobs.ListRuns", "a{sv}", {"limit": ("u", 10_000), **before, **wanted})
            page = [{key: value for key, (_, value) in record.items()} for record in records]
            found += page
        return found

    def ctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """agentctl, finding this daemon by itself."""
        return subprocess.run(
            [sys.executable, "-m", "agentctl", *arguments],
            capture_output=True,
            text=True,
            env=self.environment,
            cwd=ROOT,
            timeout=60,
            check=False,
        )

    def ctl_json(self, *arguments: str) -> Any:
        done = self.ctl(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
