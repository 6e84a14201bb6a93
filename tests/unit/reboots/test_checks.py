"""The checks of reboots: logind, what polkit says, and the fleet. Nothing is tried, and nothing changes."""

import asyncio
import base64
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from agentd.bus.connection import CallFailed
from agentd.bus.contract import Offer, members
from agentd.bus.server import Server
from agentd.core.reboots.policy import FleetPolicy
from agentd.part import CheckFailed, CheckSkipped
from agentd.peers.logind import Logind
from agentd.reboots import checks as module
from agentd.reboots.checks import GRANTED, WITHHELD, checks, skipped
from agentd.reboots.look import Looks
from agentd.reboots.records import CONTRACT
from agentd.reboots.slots import Slots
from agentd.tasks import Tasks
from tests.bus.logind_template import FakeLogind
from tests.unit.bus.conftest import address, connected
from tests.unit.reboots.fakes import GONE, Host
from tests.unit.reboots.fleetlock_server import FleetLockServer

__all__ = ["address"]

MACHINE = "0" * 31 + "1"
OWN = ("org.agentd1.reboot", "org.agentd1.run-jobs")
UNKNOWN = CallFailed("org.freedesktop.PolicyKit1.Error.Failed", "Action is not registered")
SLOW = CallFailed("org.freedesktop.DBus.Error.Timeout", "polkit did not answer CheckAuthorization within 25 s")


class Polkit:
    """A bus on which agentd is an ordinary user, polkit gives what the package's rules give, and agentd tells a
    contract. `answers` are polkit's for an action where they are others."""

    def __init__(self, answers: dict[str, Any] | None = None, user: int = 990) -> None:
        self.answers = {**dict.fromkeys(GRANTED, True), **(answers or {})}
        self.user = user
        self.asked: list[str] = []

    async def call_bus(self, member: str, _signature: str, name: str) -> Any:
        return {("GetNameOwner", "org.agentd1"): ":1.5", ("GetConnectionUnixUser", ":1.5"): self.user}[member, name]

    async def call(self, _remote: Any, member: str, _signature: str = "", *body: Any, **_: Any) -> Any:
        if member == "Introspect":
            notes = (f'<annotation name="org.agentd1.PolkitAction" value="{action}"/>' for action in (*OWN, "none"))
            return [f"<node>{''.join(notes)}</node>"]
        subject, action, details, flags, cancel = body
        assert (subject[0], subject[1]["name"].value, details, flags, cancel) == ("system-bus-name", ":1.5", {}, 0, "")
        self.asked.append(action)
        if isinstance(answer := self.answers.get(action, False), Exception):
            raise answer
        return [[answer, not answer, {}]]


async def looked(check: Any) -> str:
    """Returns what a check found, "failed: " before it where it failed, "skipped: " where it does not apply."""
    try:
        return str(await asyncio.wait_for(check.look(), check.limit))
    except CheckFailed as failed:
        return f"failed: {failed}"
    except CheckSkipped as skip:
        return f"skipped: {skip}"


def look(name: str, bus: Any) -> str:
    nothing: Any = None
    (check,) = [one for one in checks(bus, nothing, nothing, lambda: None) if one.name == name]
    return asyncio.run(looked(check))


# logind


def logind(address: str) -> str:
    """Returns what the check of logind finds on a real bus."""

    async def scenario() -> str:
        async with connected(address) as bus:
            tasks = Tasks(lambda _: None)
            peer = Logind(bus, address, lambda _: None, lambda: None, lambda _: None)
            no_fleet: Any = None
            try:
                return await looked(checks(bus, Looks(bus, peer, lambda: 0, tasks), no_fleet, lambda: None)[0])
            finally:
                tasks.close()

    return asyncio.run(scenario())


@contextmanager
def there(address: str, folder: Path, **facts: Any) -> Iterator[FakeLogind]:
    """A logind that answers on the bus."""
    peer = FakeLogind(address, folder / "wall")
    vars(peer).update(facts)
    peer.start()
    try:
        yield peer
    finally:
        peer.stop()


def test_a_logind_that_lets_agentd_reboot_passes_and_any_other_answer_fails(address: str, tmp_path: Path) -> None:
    with there(address, tmp_path) as peer:
        assert logind(address) == "logind lets agentd reboot this machine"
        for answer in ("no", "challenge", "na"):
            peer.can = answer
            text = f"failed: logind does not let agentd reboot this machine (CanReboot says {answer})"
            assert logind(address) == text
        assert peer.reboots == []


def test_an_inhibitor_is_no_fault_of_logind(address: str, tmp_path: Path) -> None:
    with there(address, tmp_path, can="challenge") as peer:
        peer.block("backup-tool", "copying")
        found = logind(address)
    assert found.startswith("logind answers, and for now backup-tool (process 7 of root) holds the machine up: copying")


def test_a_bus_without_logind_fails(address: str) -> None:
    assert logind(address).startswith("failed: systemd-logind does not answer: ")


# What agentd may do


def test_the_rights_that_the_package_gives_pass_and_nothing_is_asked_about_a_unit() -> None:
    bus = Polkit()
    assert look("rights of agentd", bus) == "polkit gives agentd the 5 rights that it needs, and none of 5 others"
    assert bus.asked == [*GRANTED, *WITHHELD]


@pytest.mark.parametrize("answer", [False, UNKNOWN])
def test_a_right_that_is_missing_fails(answer: Any) -> None:
    found = look("rights of agentd", Polkit({GRANTED[1]: answer}))
    assert found == "failed: polkit does not give agentd org.freedesktop.login1.reboot"


@pytest.mark.parametrize("action", WITHHELD)
def test_a_right_that_agentd_must_not_have_fails(action: str) -> None:
    found = look("rights of agentd", Polkit({action: True, GRANTED[0]: False}))
    assert (
        found
        == f"failed: polkit does not give agentd {GRANTED[0]}; polkit gives agentd {action}, which it must not have"
    )


def test_the_rules_of_the_package_give_what_the_check_wants() -> None:
    rules = (Path(__file__).parents[3] / "units" / "agentd.rules").read_text()
    assert [action for action in GRANTED if f'"{action}"' not in rules] == []
    assert [action for action in WITHHELD if f'"{action}"' in rules] == ["org.freedesktop.systemd1.manage-units"]


def test_root_is_not_asked_about() -> None:
    bus = Polkit(user=0)
    found = look("rights of agentd", bus)
    assert (found, bus.asked) == ("skipped: agentd runs as root here, whom polkit lets do everything", [])


@pytest.mark.parametrize("error", [GONE, SLOW])
@pytest.mark.parametrize("name", ["rights of agentd", "rights of callers"])
def test_a_polkit_that_does_not_answer_fails(name: str, error: CallFailed) -> None:
    bus = Polkit(dict.fromkeys((*GRANTED, *OWN), error))
    assert look(name, bus) == f"failed: polkit does not answer, so only root may do anything: {error}"
    assert len(bus.asked) == 1


# What callers may do


def test_actions_that_polkit_knows_pass_whomever_it_gives_them_to() -> None:
    bus = Polkit({OWN[0]: True})
    assert look("rights of callers", bus) == "polkit knows the 2 actions of agentd"
    assert bus.asked == [*OWN]


def test_an_action_that_polkit_does_not_know_fails() -> None:
    found = look("rights of callers", Polkit({OWN[1]: UNKNOWN}))
    text = "polkit cannot tell who may do org.agentd1.run-jobs (Action is not registered), so only root may"
    assert found == f"failed: {text}"


def test_on_a_real_bus_agentd_tells_its_own_contract_and_a_polkit_that_is_missing_fails(address: str) -> None:
    async def scenario(*, serves: bool) -> str:
        nothing: Any = None
        async with connected(address) as bus:
            methods, properties = members(CONTRACT)
            offer = Offer(CONTRACT, dict.fromkeys(methods, lambda: None), dict.fromkeys(properties, str))
            if serves:
                await Server(bus, [offer], lambda *_: None).start()
            return await looked(checks(bus, nothing, nothing, lambda: None)[2])

    found = asyncio.run(scenario(serves=True))
    assert found.startswith("failed: polkit does not answer, so only root may do anything: ")
    assert asyncio.run(scenario(serves=False)).startswith("failed: the bus does not say who is org.agentd1: ")


# The fleet


class Etcd(BaseHTTPRequestHandler):
    """etcd's gateway, where one machine holds a slot."""

    asked: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        self.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        slots = base64.b64encode(b'{"total_slots": 2, "holders": ["somebody"]}').decode()
        found: list[dict[str, Any]] = [{"kvs": [{"key": "", "value": slots, "version": "1"}]}, {}, {}]
        text = json.dumps(
            {"header": {}, "responses": [{"response_range": {"header": {}, **one}} for one in found]}
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def fleet(policy: FleetPolicy | None, machine: str = MACHINE) -> str:
    async def scenario() -> str:
        host: Any = Host()
        core: Any = SimpleNamespace(ledger=SimpleNamespace(slot=False))
        nothing: Any = None
        slots = Slots(host, core, machine, Tasks(lambda _: None))
        slots.configure(policy)
        return await looked(checks(nothing, nothing, slots, lambda: policy)[3])

    return asyncio.run(scenario())


@pytest.fixture
def closed() -> Iterator[int]:
    """A port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_without_a_fleet_there_is_nothing_to_reach() -> None:
    assert fleet(None) == "skipped: no fleet is configured (reboot.fleet in agentd.yaml(5))"


def test_a_fleetlock_server_is_reached_and_asked_nothing() -> None:
    server = FleetLockServer({"default": 1})
    try:
        found = fleet(FleetPolicy(fleetlock=server.url))
        assert (found, server.asked) == (
            f"{server.url} takes connections; whether it grants slots, only a reboot finds out",
            [],
        )
    finally:
        server.stop()


def test_a_fleetlock_server_that_is_down_fails(closed: int) -> None:
    url = f"http://127.0.0.1:{closed}"
    found = fleet(FleetPolicy(fleetlock=url))
    assert found.startswith(f"failed: the FleetLock server at {url} cannot be reached: ")


def test_an_etcd_that_is_down_fails(closed: int) -> None:
    found = fleet(FleetPolicy(etcd=(f"http://127.0.0.1:{closed}",)))
    assert found == f"failed: etcd at http://127.0.0.1:{closed} does not answer: connection refused"


def test_an_etcd_that_answers_passes_and_is_only_asked_what_there_is() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Etcd) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        Etcd.asked.clear()
        try:
            found = fleet(FleetPolicy(etcd=(f"http://127.0.0.1:{server.server_port}",)))
        finally:
            server.shutdown()
            thread.join()
    assert found == "etcd answers: 1 of the fleet's slots are held"
    assert [list(question) for question in Etcd.asked] == [["success"]]
    assert [list(one) for one in Etcd.asked[0]["success"]] == [["request_range"]] * 3


def test_a_fleet_that_cannot_be_used_fails() -> None:
    found = fleet(FleetPolicy(fleetlock="http://127.0.0.1:1"), machine="")
    assert found == "failed: the fleet that is configured cannot be used, so no reboot gets a slot; the log says why"


# Where agentd does not reboot the machine


def test_standalone_has_the_same_checks_and_skips_them() -> None:
    nothing: Any = None
    there, here = checks(nothing, nothing, nothing, lambda: None), skipped()
    assert [(one.name, one.remedy) for one in here] == [(one.name, one.remedy) for one in there]
    assert {asyncio.run(looked(one)) for one in here} == {f"skipped: {module._STANDALONE}"}


def test_each_check_names_a_command() -> None:
    assert all(": " in remedy for remedy in module._REMEDIES.values())
