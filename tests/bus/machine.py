"""A machine that agentd may reboot: a bus that outlives agentd, a fake logind there, and what both tell."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from jeepney import DBusAddress, HeaderFields, MatchRule, MessageType, new_method_call
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import DBusConnection, open_dbus_connection

from tests.bus.harness import OBJECT, Agentd, CallError
from tests.bus.logind_template import FakeLogind

BUS = """<busconfig><type>session</type><listen>unix:path={0}/bus</listen><auth>EXTERNAL</auth>
<servicedir>{0}/services</servicedir>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy></busconfig>
"""
CONFIG = """
timezone: UTC
reboot: {POLICY}
jobs:
  quick: {run: [/bin/true]}
  work: {run: "touch BEGUN; while [ ! -e GO ]; do sleep 0.02; done"}
  copy: {run: sleep 100, critical: true, stop_timeout: 1s}
  no: {run: [/bin/false]}
"""
AT_ONCE = "grace: 0s, limits: {min_uptime: 0s}"


class Machine(Agentd):
    """Its agentd is started, killed and booted anew like any other; its bus and logind stay.

    `times` are those of the core of reboots that are to be other ones, in seconds; `uptime` is the seconds since the
    machine booted when agentd starts; `dpkg` is a lock's file that is held open.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        config = folder / "bus.conf"
        config.write_text(BUS.format(folder))
        (folder / "services").mkdir()
        command = ["dbus-daemon", f"--config-file={config}", "--nofork", "--print-address"]
        self._dbus = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._dbus.stdout
        self.address = self._dbus.stdout.readline().strip()
        self.logind = FakeLogind(self.address, self.state / "wall")
        self.logind.start()
        self.boots = 1
        self.times: dict[str, float] = {"calm": 0.5}
        self.uptime = 0.0
        self.dpkg: IO[str] | None = None
        self._heard: list[tuple[str, tuple[Any, ...]]] = []
        self._ears: DBusConnection = open_dbus_connection(self.address)
        rule = MatchRule(type="signal", interface="org.agentd1.Reboot")
        self._ears.send_and_get_reply(message_bus.AddMatch(rule))

    def close(self) -> None:
        if self.dpkg is not None:
            self.dpkg.close()
        self._ears.close()
        self.logind.stop()
        self._dbus.terminate()
        self._dbus.wait()
        assert self._dbus.stdout
        self._dbus.stdout.close()

    def up(self, policy: str = "") -> "Machine":
        """Starts agentd in this boot, with what it is configured for or another policy."""
        times = [f"--times={name}={seconds}" for name, seconds in self.times.items()]
        self.program = ("tests.bus.rebooting", f"--address={self.address}", f"--boot-id=boot-{self.boots}",
                        f"--uptime={self.uptime}", *times)  # fmt: skip
        if policy or not self.config.exists():
            text = CONFIG.replace("GO", str(self.folder / "go")).replace("BEGUN", str(self.folder / "begun"))
            self.config.write_text(text.replace("POLICY", policy or AT_ONCE))
        self.start()
        return self

    def boot(self) -> "Machine":
        """The machine went down, at once, and comes up again."""
        if self.process is not None:
            self.kill()
        self.boots += 1
        self.uptime = 0.0
        self.logind.cancel(told=False)
        return self.up()

    def activate(self, name: str, program: str) -> None:
        """Who asks for the name has the bus start the program, and wait for it to take the name."""
        service = self.folder / "services" / f"{name}.service"
        service.write_text(f"[D-BUS Service]\nName={name}\nExec={program}\n")
        self._ears.send_and_get_reply(message_bus.ReloadConfig())

    def at_once(self, number: int, member: str, signature: str = "", *body: Any) -> None:
        """Makes so many calls before any is answered: eight at least are answered with a value, what is too many at a
        time is refused."""
        interface, _, name = member.partition(".")
        address = DBusAddress(OBJECT, "org.agentd1", f"org.agentd1.{interface}")
        with open_dbus_connection(self.address) as bus:
            for _ in range(number):
                bus.send(new_method_call(address, name, signature or None, body))
            answered = refused = 0
            while answered + refused < number:
                message = bus.receive(timeout=20)
                if message.header.message_type is MessageType.error:
                    error = message.header.fields[HeaderFields.error_name]
                    assert error == "org.agentd1.Error.LimitsExceeded", message.body
                    refused += 1
                elif message.header.message_type is MessageType.method_return:
                    answered += 1
            assert answered >= 8

    # What a user sees

    @property
    def reboot_state(self) -> str:
        return str(self.property("Reboot.State"))

    def until_state(self, state: str) -> None:
        self.until(lambda: self.reboot_state == state, f"the state {state}")

    def until_asked(self, *flags: int) -> None:
        """Waits until a reboot is issued and logind was asked, each time with those flags."""
        self.until_state("issued")
        self.until(lambda: self.logind.reboots, "logind to be asked")
        assert self.logind.reboots == [*flags]

    def until_told(self, member: str, seconds: float = 20) -> tuple[Any, ...]:
        """The arguments of a signal of the interface Reboot, once it was sent; each is handed out once."""
        found: list[tuple[Any, ...]] = []

        def told() -> bool:
            self._listen()
            for heard in self._heard:
                if heard[0] == member:
                    self._heard.remove(heard)
                    found.append(heard[1])
                    return True
            return False

        self.until(told, f"the signal {member}", seconds)
        return found[0]

    def told(self) -> list[str]:
        """Which signals were sent since the last question."""
        self._listen()
        heard, self._heard = self._heard, []
        return [member for member, _ in heard]

    def _listen(self) -> None:
        while True:
            try:
                message = self._ears.receive(timeout=0)
            except TimeoutError:
                return
            if message.header.message_type is MessageType.signal:
                fields = message.header.fields
                if fields.get(HeaderFields.interface) == "org.agentd1.Reboot":
                    self._heard.append((fields[HeaderFields.member], message.body))

    def reboots(self, **wanted: tuple[str, Any]) -> list[dict[str, Any]]:
        """The ledger, newest first."""
        return [plain(record) for record in self.call("Reboot.ListReboots", "a{sv}", wanted)]

    def blockers(self) -> list[str]:
        """The kinds of what is in the way of the pending reboot."""
        return [plain(record)["kind"] for record in self.property("Reboot.Blockers")]

    def status(self) -> dict[str, Any]:
        return plain(self.call("Reboot.GetStatus"))

    def request(self, reason: str = "the disk is worn", **options: tuple[str, Any]) -> int:
        return int(self.call("Reboot.RequestReboot", "sa{sv}", reason, options))

    def now(self, **options: tuple[str, Any]) -> dict[str, Any]:
        return plain(self.call("Reboot.RebootNow", "a{sv}", options))

    def cancel(self) -> dict[str, Any]:
        return plain(self.call("Reboot.CancelReboot"))

    def work(self, job: str = "work") -> str:
        """Starts a job; returns its run once it is under way. `work` ends with finish_work()."""
        for name in ("go", "begun"):
            (self.folder / name).unlink(missing_ok=True)
        run = str(self.call("Jobs.RunJob", "sa{sv}", job, {}))
        self.until(lambda: self.runs(run_id=("s", run))[0]["state"] == "running", f"{run} to run")
        # A run that is decided may not have begun; where agentd is killed then, it waits again.
        self.until(lambda: job != "work" or (self.folder / "begun").exists(), f"{run} to begin")
        return run

    def finish_work(self) -> None:
        (self.folder / "go").touch()

    def result(self, run: str) -> str:
        return str(self.runs(run_id=("s", run))[0].get("result", ""))

    def cpu(self, seconds: float) -> float:
        """The share of a processor that agentd takes for so long."""
        assert self.process is not None
        before = _ticks(self.process.pid)
        time.sleep(seconds)
        return (_ticks(self.process.pid) - before) / 100 / seconds


def refusal(call: Callable[[], object]) -> tuple[str, str]:
    """The last word of the error's name, and its sentence."""
    try:
        call()
    except CallError as error:
        return error.name.rpartition(".")[2], str(error)
    return "", ""


def plain(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, (_, value) in record.items()}


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return int(fields[11]) + int(fields[12])
