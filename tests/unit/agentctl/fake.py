"""A fake agentd on a real, private bus, and the fixtures that let agentctl talk to it."""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

import pytest
from jeepney import DBusAddress, HeaderFields, MessageFlag, MessageType, new_error, new_method_return, new_signal
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import open_dbus_connection

from agentctl import client, signals, times
from agentctl.__main__ import main
from agentctl.daemon import MANAGER
from agentctl.jobs import output
from agentctl.jobs.calls import JOBS
from agentd.core.quantities import HOUR, MINUTE, SECOND

ROOT = Path(__file__).resolve().parents[3]
NOW = 1_792_880_800_000_000  # 2026-10-25 00:26:40 in Berlin
BUS = """<busconfig><type>session</type><listen>unix:dir={}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
</policy></busconfig>"""


def contract() -> ET.Element:
    """All interfaces of the D-Bus contract, with their comments."""
    node = ET.Element("node")
    for file in sorted((ROOT / "agentd").rglob("org.agentd1*.xml")):
        node.extend(ET.parse(file, ET.XMLParser(target=ET.TreeBuilder(insert_comments=True))).getroot())
    return node


CONTRACT = contract()


class Refused(Exception):
    """A handler's way to answer with an error: its name and message."""


class NoAnswer(Exception):
    """A handler's way to stay silent."""


def variants(record: dict[str, Any]) -> dict[str, Any]:
    """A record as a{sv}, with the types of the contract."""
    special = {"exit_code": "i", "preference": "i", "Network": "i", "attempt": "u", "queued": "u", "Blockers": "aa{sv}"}
    special["Running"] = "aa{sv}"
    special["events"] = "a{st}"
    special["unmet"] = "a{ss}"
    special |= dict.fromkeys(("last_day", "last_week", "per_day", "per_week", "attempts", "pending_attempts"), "u")
    kinds = {bool: "b", int: "t", float: "d", str: "s", list: "as"}
    types = {key: special.get(key) or kinds[type(value)] for key, value in record.items()}
    return {
        key: (types[key], value if types[key] in {"a{st}", "a{ss}"} else typed(value)) for key, value in record.items()
    }


def typed(value: object) -> object:
    if isinstance(value, dict):
        return variants(value)
    return [typed(item) for item in value] if isinstance(value, list) else value


def unknown(interface: str) -> None:
    raise Refused("org.freedesktop.DBus.Error.UnknownInterface", f"there is no interface {interface}")


class FakeDaemon:
    """Owns org.agentd1 and answers with what `answers` holds for a member: the result, or a function that makes it.

    A member that two interfaces have may be there with its interface's name before it. The properties of another
    interface than the daemon's own are under that interface's name: without them it is an older daemon, which does not
    know the interface.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.answers: dict[str, Any] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.interactive: list[bool] = []
        self.connection = open_dbus_connection(address)
        self.connection.send_and_get_reply(message_bus.RequestName(client.NAME))
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self) -> None:
        while True:
            try:
                message = self.connection.receive()
            except (OSError, ValueError):  # closed
                return
            if message.header.message_type is MessageType.method_call:
                self.answer(message)

    def answer(self, message: Any) -> None:
        member, interface = (message.header.fields[field] for field in (HeaderFields.member, HeaderFields.interface))
        plain = [signals.plain(value) for value in message.body]
        self.calls.append((member, *plain))
        self.interactive.append(bool(message.header.flags & MessageFlag.allow_interactive_authorization))
        others = member == "GetAll" and plain[0] != MANAGER
        try:
            own = f"{interface}.{member}"
            answer = (
                self.answers.get(str(plain[0]), unknown) if others else self.answers.get(own, self.answers.get(member))
            )
            result = answer(*plain) if callable(answer) else answer
        except NoAnswer:
            return
        except Refused as refused:
            name, sentence = refused.args
            self.connection.send(new_error(message, name, "s", (sentence,)))
            return
        types = ["a{sv}"]
        if member != "GetAll":
            path = f"interface[@name='{interface}']/method[@name='{member}']/arg[@direction='out']"
            types = [arg.attrib["type"] for arg in CONTRACT.findall(path)]
        body = () if result is None else result if isinstance(result, tuple) else (result,)
        values = (value if kind == "a{sd}" else typed(value) for kind, value in zip(types, body, strict=False))
        reply = new_method_return(message, "".join(types) or None, tuple(values))
        self.connection.send(reply)

    def emit(self, interface: str, member: str, signature: str, values: tuple[Any, ...]) -> None:
        self.connection.send(new_signal(DBusAddress(client.PATH, interface=interface), member, signature, values))

    def emit_finished(self, run: dict[str, Any]) -> None:
        body = (run["job"], run["run_id"], run["result"], variants(run))
        self.emit(JOBS, "JobFinished", "sssa{sv}", body)

    def close(self) -> None:
        if self.thread.is_alive():
            self.connection.sock.shutdown(2)
        if self.thread is not threading.current_thread():
            self.thread.join()
            self.connection.close()


class Stranger:
    """Somebody else on the bus, who sends signals to each connection but agentd by its name, as anybody may."""

    def __init__(self, address: str) -> None:
        self._connection = open_dbus_connection(address)

    def forge(self, interface: str, member: str, signature: str, values: tuple[Any, ...]) -> None:
        """Sends a signal as agentd would; one of the type "h" has no descriptor, and a number in its place."""
        (names,) = self._connection.send_and_get_reply(message_bus.ListNames()).body
        agentd = self._connection.send_and_get_reply(message_bus.GetNameOwner(client.NAME)).body[0]
        for name in names:
            if name.startswith(":") and name not in {agentd, self._connection.unique_name}:
                signal = new_signal(DBusAddress(client.PATH, interface=interface), member, signature, values)
                signal.header.fields[HeaderFields.destination] = name
                data = signal.serialise(serial=next(self._connection.outgoing_serial))
                self._connection.sock.sendall(data.replace(b"\1u\0", b"\1h\0") if signature == "u" else data)

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def stranger(bus: str) -> Iterator[Stranger]:
    somebody = Stranger(bus)
    yield somebody
    somebody.close()


@pytest.fixture(scope="session")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a bus of our own."""
    folder = tmp_path_factory.mktemp("bus")
    config = folder / "bus.conf"
    config.write_text(BUS.format(folder))
    command = ["dbus-daemon", f"--config-file={config}", "--nofork", "--print-address"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process.stdout.readline().strip()
        process.terminate()


@pytest.fixture
def daemon(surroundings: None, bus: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    fake = FakeDaemon(bus)
    fake.answers = {"GetAll": DAEMON, "ListJobs": [FEED, BACKUP], "ListRuns": [], "ListLearners": []}
    monkeypatch.setenv("AGENTD_ADDRESS", bus)
    yield fake
    fake.close()


@pytest.fixture
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A known time and zone, and no daemon of the machine's in reach."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    times._clock.cache_clear()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    monkeypatch.setenv("_AGENTCTL_COMPLETE", "")
    for name in ("AGENTD_ADDRESS", "AGENTD_TIMEOUT", "AGENTD_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    for module in (
        "jobs.commands",
        "jobs.status",
        "reboots.commands",
        "jobs.runs",
        "learning.explain",
        "learning.model",
        "notices.commands",
    ):
        monkeypatch.setattr(f"agentctl.{module}.now", lambda: NOW)
    monkeypatch.setattr(output, "POLL_SECONDS", 0)
    yield
    monkeypatch.undo()
    time.tzset()
    times._clock.cache_clear()


class Ended(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Ctl = Callable[..., Ended]


@pytest.fixture
def ctl(surroundings: None, capsys: pytest.CaptureFixture[str]) -> Ctl:
    def run(*arguments: str) -> Ended:
        code = main(list(arguments))
        return Ended(int(code), *capsys.readouterr())

    return run


DAEMON = {
    "Version": "0.1.0",
    "Mode": "standalone",
    "State": "running",
    "StartedUSec": NOW - 2 * HOUR,
    "ConfigurationFiles": ["/etc/agentd/agentd.yaml"],
    "ConfigurationLoadedUSec": NOW - HOUR,
    "ConfigurationError": "",
    "Warnings": [],
    "StateDirectory": "/var/lib/agentd",
}
FEED = {
    "name": "feed",
    "description": "Fetches the news",
    "command": ["/opt/feed.py", "--all of it"],
    "trigger": "adaptive, from 5min (30s to 6h)",
    "kind": "adaptive",
    "timezone": "Europe/Berlin",
    "enabled": True,
    "adaptive": True,
    "state": "running",
    "next": NOW + 4 * MINUTE,
    "interval": 2 * HOUR,
    "overridden": ["interval"],
    "fixed": True,
    "preference": 2,
    "running": ["feed.7"],
    "starting": [],
    "queued": 1,
    "progress": "40%: \x1b[31mcopying",
    "last_run_id": "feed.6",
    "last_due": NOW - 2 * HOUR,
    "last_started": NOW - 2 * HOUR,
    "last_ended": NOW - 2 * HOUR + MINUTE,
    "last_result": "exit-code",
    "last_exit_code": 3,
    "last_signal": "",
    "last_skip": "it was still running",
    "last_skip_at": NOW - HOUR,
}
BACKUP = {
    "name": "backup",
    "trigger": "cron 30 2 * * *",
    "state": "disabled",
    "enabled": False,
    "next": 0,
    "interval": 0,
    "overridden": ["enabled"],
}
RUN = {
    "run_id": "feed.6",
    "job": "feed",
    "due": NOW - 2 * HOUR,
    "cause": "schedule",
    "attempt": 1,
    "state": "ended",
    "started": NOW - 2 * HOUR,
    "ended": NOW - 2 * HOUR + 90 * SECOND,
    "result": "exit-code",
    "exit_code": 3,
    "cpu_usec": 1_500_000,
    "peak_memory": 3 << 20,
    "reason": "",
}
GOOD = {**RUN, "run_id": "feed.5", "result": "success", "exit_code": 0}
