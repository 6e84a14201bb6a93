"""Slots of a fleet: against a real etcd, a FleetLock server with airlock's semantics, and peers that are neither."""

import base64
import contextlib
import hashlib
import hmac
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agentd.core.part import Refused
from agentd.core.reboots.policy import FleetPolicy, check_group, check_url
from agentd.peers import http
from agentd.peers.http import Unavailable
from agentd.reboots.fleet import etcd, lock
from agentd.reboots.fleet.connect import connect
from agentd.reboots.fleet.etcd import Etcd
from agentd.reboots.fleet.lock import Fleet, Holder
from tests.unit.reboots.fleetlock_server import FleetLockServer

MACHINE = "0123456789abcdef0123456789abcdef"
PASSWORD = "correct-horse-battery"
Respond = Callable[[bytes], Iterable[bytes]]


def machine(number: int) -> str:
    return hashlib.md5(str(number).encode()).hexdigest()


def ids(*numbers: int) -> list[str]:
    return sorted(lock.application_id(machine(number)) for number in numbers)


def questions(own: Fleet) -> list[Callable[[], object]]:
    return [lambda: own.acquire("kernel"), own.release, own.holders]


def free_port(address: str = "127.0.0.1") -> int:
    with socket.socket() as sock:
        sock.bind((address, 0))
        return int(sock.getsockname()[1])


# etcd, and what stands in it


class Gateway:
    """etcd's JSON gateway as somebody else would use it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def call(self, path: str, body: dict[str, Any], token: str = "") -> Any:
        request = urllib.request.Request(f"{self.url}/v3/{path}", json.dumps(body).encode())
        if token:
            request.add_header("Authorization", token)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def put(self, key: str, value: bytes | str) -> None:
        self.call("kv/put", {"key": coded(key), "value": coded(value)})

    def get(self, key: str) -> bytes | None:
        entry = self.entry(key)
        return entry and base64.b64decode(entry.get("value", ""))

    def entry(self, key: str) -> Any:
        found = self.call("kv/range", {"key": coded(key)})
        return found["kvs"][0] if found.get("kvs") else None


def coded(text: bytes | str) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    if not shutil.which("etcd"):
        pytest.fail("these tests need etcd: install the Debian package etcd-server (.ci/system-packages does)")
    folder = tmp_path_factory.mktemp("etcd")
    # An address that nobody else uses: a port that is free there stays free.
    address = f"127.{os.getpid() >> 8 & 255}.{os.getpid() & 255}.{1 + os.urandom(1)[0] % 250}"
    url, peers = (f"http://{address}:{free_port(address)}" for _ in range(2))
    command = ["etcd", "--data-dir", str(folder / "data"), "--logger", "zap", "--bcrypt-cost", "4"]
    command += ["--listen-client-urls", url, "--advertise-client-urls", url, "--listen-peer-urls", peers]
    command += ["--initial-advertise-peer-urls", peers, "--initial-cluster", f"default={peers}"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        found = Gateway(url)
        for _ in range(200):
            try:
                found.put("ready", "yes")
                break
            except OSError:
                time.sleep(0.05)
        else:
            pytest.fail("etcd does not become ready: " + (folder / "log").read_text()[-2000:])
        yield found
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def group() -> str:
    return f"web-{uuid.uuid4().hex}"


class Group:
    """The machines of one group of an etcd, and its keys."""

    def __init__(self, gateway: Gateway, name: str) -> None:
        self.gateway = gateway
        self.name = name
        self.key = f"com.coreos.airlock/groups/{name}/v1/semaphore"

    def member(self, number: int, slots: int = 2, downtime: int = 300, **others: Any) -> Etcd:
        settings = FleetPolicy(etcd=(self.gateway.url,), group=self.name, slots=slots)
        keeper = connect(settings, f"host{number}", machine(number), None, downtime, **others)
        assert isinstance(keeper, Etcd)
        return keeper

    def text(self) -> bytes | None:
        return self.gateway.get(self.key)

    def record(self, number: int) -> Any:
        text = self.gateway.get(f"/agentd/holders/{self.name}/{ids(number)[0]}")
        return text and json.loads(text)

    def alive(self, number: int) -> Any:
        return self.gateway.entry(f"/agentd/alive/{self.name}/{ids(number)[0]}")

    def do_not_come_back(self, number: int) -> None:
        """As if the lease had ended."""
        self.gateway.call("lease/revoke", {"ID": self.alive(number)["lease"]})


@pytest.fixture
def web(gateway: Gateway, group: str) -> Group:
    return Group(gateway, group)


def test_slots_are_granted_until_none_is_left(web: Group) -> None:
    web.member(1).acquire("kernel")
    web.member(2).acquire("kernel")
    with pytest.raises(Unavailable) as refusal:
        web.member(3).acquire("kernel")
    by_id = sorted((1, 2), key=ids)
    assert str(refusal.value) == (
        f"etcd at {web.gateway.url}: all 2 slots of the group {web.name} are held, by host{by_id[0]}, host{by_id[1]}"
    )
    web.member(1).release()
    web.member(3).acquire("kernel")
    assert json.loads(web.text() or b"")["holders"] == ids(2, 3)


def test_the_key_is_byte_for_byte_as_airlock_writes_it(web: Group) -> None:
    web.member(1).acquire("kernel")
    assert web.text() == json.dumps({"total_slots": 2, "holders": ids(1)}, separators=(",", ":")).encode()
    web.member(2).acquire("kernel")
    web.member(1).release()
    web.member(2).release()
    assert web.text() == b'{"total_slots":2,"holders":[]}'


def test_what_airlock_wrote_counts_and_not_the_own_number_of_slots(web: Group) -> None:
    web.gateway.put(web.key, '{"total_slots":2,"holders":["zincati"]}')
    web.member(1, slots=9).acquire("kernel")
    with pytest.raises(Unavailable, match=r"all 2 slots .*zincati"):
        web.member(2, slots=9).acquire("kernel")
    assert {holder.id: holder.state for holder in web.member(2).holders()} == {
        "zincati": "unknown",
        ids(1)[0]: "rebooting",
    }


def test_fields_that_nobody_here_knows_stay(web: Group) -> None:
    web.gateway.put(web.key, '{"owner":{"é":[1.5,null]},"total_slots":1,"holders":[],"z":true}')
    web.member(1).acquire("kernel")
    assert json.loads(web.text() or b"") == {
        "owner": {"é": [1.5, None]}, "total_slots": 1, "holders": ids(1), "z": True
    }  # fmt: skip


def test_a_slot_that_is_held_is_granted_again(web: Group) -> None:
    web.member(1, slots=1).acquire("kernel")
    since, lease = web.record(1)["since"], web.alive(1)["lease"]
    web.member(1, slots=1).acquire("another reason")
    assert json.loads(web.text() or b"")["holders"] == ids(1)
    assert web.record(1) == {"host": "host1", "since": since, "reason": "another reason"}
    assert web.alive(1)["lease"] != lease


def test_a_slot_that_was_taken_through_airlock_is_ours(web: Group) -> None:
    web.gateway.put(web.key, json.dumps({"total_slots": 1, "holders": ids(1)}))
    version = web.gateway.entry(web.key)["version"]
    web.member(1).acquire("kernel")
    assert web.record(1)["host"] == "host1"
    assert web.gateway.entry(web.key)["version"] == version
    web.member(1).release()
    assert json.loads(web.text() or b"") == {"total_slots": 1, "holders": []}


def test_the_others_see_who_reboots_since_when_and_who_is_overdue(web: Group) -> None:
    before = time.time_ns() // 1000
    web.member(1).acquire("kernel")
    web.member(2).acquire("kernel")
    web.do_not_come_back(2)
    first, second = sorted(web.member(1).holders(), key=lambda holder: holder.host)
    assert before <= first.since <= time.time_ns() // 1000
    assert first == Holder(ids(1)[0], "host1", first.since, "rebooting", mine=True)
    assert second == Holder(ids(2)[0], "host2", second.since, "overdue", mine=False)


def test_a_machine_that_is_overdue_keeps_its_slot_until_it_comes_back(web: Group) -> None:
    web.member(1, slots=1).acquire("kernel")
    web.do_not_come_back(1)
    with pytest.raises(Unavailable, match=r"host1 \(overdue\)$"):
        web.member(2).acquire("kernel")
    web.member(1).release()
    web.member(2).acquire("kernel")
    assert web.record(1) is web.alive(1) is None


def test_the_sign_of_life_ends_after_twice_the_expected_downtime(web: Group) -> None:
    web.member(1, downtime=77).acquire("kernel")
    lease = web.gateway.call("lease/timetolive", {"ID": web.alive(1)["lease"], "keys": True})
    assert lease["grantedTTL"] == "154"
    assert web.gateway.entry(f"/agentd/holders/{web.name}/{ids(1)[0]}").get("lease") is None


@pytest.mark.parametrize("by", ["host2", ids(2)[0]])
def test_the_slot_of_a_machine_that_does_not_come_back_can_be_freed(web: Group, by: str) -> None:
    web.member(1).acquire("kernel")
    web.member(2).acquire("kernel")
    for holder, name, sentence in (
        (by, "Busy", "host2 reboots just now; it is overdue at the latest 10min after it took the slot"),
        ("host1", "InvalidArgument", "that is this machine"),
        ("host3", "NoSuchHolder", "no machine holds a slot under the name or id host3"),
    ):
        with pytest.raises(Refused, match=sentence) as refused:
            web.member(1).evict(holder)
        assert refused.value.name == name
    web.do_not_come_back(2)
    assert web.member(1).evict(by) == ids(2)[0]
    assert web.record(2) is web.alive(2) is None
    assert [holder.host for holder in web.member(1).holders()] == ["host1"]
    web.member(3).acquire("kernel")


def test_a_machine_that_only_its_id_is_known_of_can_be_freed_and_a_name_that_two_have_cannot(web: Group) -> None:
    web.gateway.put(web.key, '{"total_slots":3,"holders":["zincati"]}')
    assert web.member(1).evict("zincati") == "zincati"
    for number in (2, 3):
        web.member(number, slots=3).acquire("kernel")
        web.do_not_come_back(number)
        web.gateway.put(f"/agentd/holders/{web.name}/{ids(number)[0]}", '{"host":"twin"}')
    with pytest.raises(Refused, match="several machines hold slots under the name or id twin"):
        web.member(1).evict("twin")


def test_a_release_leaves_nothing_behind(web: Group) -> None:
    web.member(1).acquire("kernel")
    web.member(1).release()
    assert web.record(1) is web.alive(1) is None
    assert web.member(1).holders() == []


def test_what_airlock_released_leaves_no_record_either(web: Group) -> None:
    web.member(1).acquire("kernel")
    web.gateway.put(web.key, '{"total_slots":2,"holders":[]}')
    assert web.member(2).holders() == []
    web.member(1).release()
    assert web.record(1) is web.alive(1) is None


def test_a_release_of_what_is_not_held_changes_nothing(web: Group) -> None:
    web.member(1).release()
    assert web.text() is None
    web.member(2).acquire("kernel")
    version = web.gateway.entry(web.key)["version"]
    web.member(1).release()
    assert web.gateway.entry(web.key)["version"] == version


def test_groups_do_not_see_each_other(web: Group) -> None:
    web.member(1, slots=1).acquire("kernel")
    Group(web.gateway, f"{web.name}-2").member(2, slots=1).acquire("kernel")
    assert [holder.host for holder in web.member(1).holders()] == ["host1"]


def test_long_lists_of_holders_are_shortened(web: Group) -> None:
    web.gateway.put(web.key, json.dumps({"total_slots": 8, "holders": [f"h{number}" for number in range(8)]}))
    with pytest.raises(Unavailable, match=r"held, by h0, h1, h2, h3, h4 and 3 more$"):
        web.member(1).acquire("kernel")


def test_a_damaged_record_hides_no_holder(web: Group) -> None:
    web.member(1).acquire("kernel")
    web.gateway.put(f"/agentd/holders/{web.name}/{ids(1)[0]}", "{")
    (holder,) = web.member(1).holders()
    assert (holder.host, holder.since, holder.state) == ("", 0, "rebooting")


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b'{"total_slots":1}',
        b'{"holders":[]}',
        b'{"total_slots":"1","holders":[]}',
        b'{"total_slots":-1,"holders":[]}',
        b'{"total_slots":true,"holders":[]}',
        b'{"total_slots":1,"holders":null}',
        b'{"total_slots":1,"holders":[1]}',
        b'{"total_slots":1,"holders":["\xff"]}',
        b"[" * 5000,
    ],
)
def test_a_damaged_value_means_no_and_stays_as_it_is(web: Group, damaged: bytes) -> None:
    web.gateway.put(web.key, damaged)
    own = web.member(1)
    for call in questions(own):
        with pytest.raises(Unavailable, match=rf"^etcd at {web.gateway.url}: the value of {web.key} is damaged$"):
            call()
    assert web.text() == damaged
    assert web.record(1) is None


def test_no_slots_are_no_slots(web: Group) -> None:
    web.gateway.put(web.key, '{"total_slots":0,"holders":[]}')
    with pytest.raises(Unavailable, match=r"all 0 slots .* held, by nobody$"):
        web.member(1).acquire("kernel")


@pytest.fixture
def meddle(web: Group, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Lets somebody else write between a look and the change that follows from it."""
    look = Etcd._look
    left = 0

    def look_and_lose(keeper: Etcd) -> Any:
        nonlocal left
        seen = look(keeper)
        left -= 1
        if left >= 0:
            web.gateway.put(web.key, json.dumps({"total_slots": 3, "holders": [f"other{left}"]}))
        return seen

    def set_left(times: int) -> None:
        nonlocal left
        left = times

    monkeypatch.setattr(Etcd, "_look", look_and_lose)
    return set_left


def test_a_change_that_somebody_else_got_ahead_of_is_tried_again(web: Group, meddle: Callable[[int], None]) -> None:
    pauses: list[float] = []
    meddle(2)
    web.member(1, pause=pauses.append).acquire("kernel")
    assert json.loads(web.text() or b"") == {"total_slots": 3, "holders": sorted([*ids(1), "other0"])}
    assert len(pauses) == 2
    assert 0 < pauses[0] < 0.1
    assert 0 < pauses[1] < 0.2
    meddle(1)
    web.member(1, pause=pauses.append).release()
    assert json.loads(web.text() or b"")["holders"] == ["other0"]
    assert web.record(1) is web.alive(1) is None


def test_whoever_always_comes_too_late_gives_up_and_leaves_nothing(web: Group, meddle: Callable[[int], None]) -> None:
    pauses: list[float] = []
    meddle(1000)
    with pytest.raises(Unavailable, match=r"others changed the group .* at every try$"):
        web.member(1, pause=pauses.append).acquire("kernel")
    assert len(pauses) == etcd.TRIES - 1
    assert sum(pauses) < 10
    assert web.record(1) is web.alive(1) is None


def test_etcd_that_is_down_means_no(group: str) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    own = connect(FleetPolicy(etcd=(url,), group=group), "host", MACHINE, None, 60)
    for call in questions(own):
        with pytest.raises(Unavailable) as refusal:
            call()
        assert str(refusal.value) == f"etcd at {url} does not answer: connection refused"


def test_another_endpoint_is_asked_where_one_is_down(web: Group, serve: Callable[[Respond], str]) -> None:
    asked: list[bytes] = []

    def refuse(request: bytes) -> list[bytes]:
        asked.append(request)
        return []

    settings = FleetPolicy(etcd=(serve(refuse), web.gateway.url), group=web.name)
    own = connect(settings, "host", MACHINE, None, 60)
    own.acquire("kernel")
    own.release()
    assert len(asked) == 1  # whoever answered is asked first from then on


def test_every_endpoint_that_is_down_is_named(group: str) -> None:
    urls = tuple(f"http://127.0.0.1:{free_port()}" for _ in range(2))
    with pytest.raises(Unavailable) as refusal:
        connect(FleetPolicy(etcd=urls, group=group), "host", MACHINE, None, 60).holders()
    assert all(url in str(refusal.value) for url in urls)


# Users of etcd


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    (tmp_path / "agentd.fleet-password").write_text(f"{PASSWORD}\n")
    return tmp_path


@pytest.fixture
def root(web: Group) -> Iterator[Callable[..., Any]]:
    """Lets etcd serve only users, of whom "agentd" may do with the group's keys what he needs; calls it as root."""
    for name, keys in (
        ("root", []),
        ("agentd", [web.key, *(f"/agentd/{kind}/{web.name}/" for kind in ("holders", "alive"))]),
    ):
        web.gateway.call("auth/user/add", {"name": name, "password": PASSWORD})
        web.gateway.call("auth/role/add", {"name": name})
        web.gateway.call("auth/user/grant", {"user": name, "role": name})
        for key in keys:
            end = coded(key[:-1] + "0") if key.endswith("/") else ""
            permission = {"permType": "READWRITE", "key": coded(key), "range_end": end}
            web.gateway.call("auth/role/grant", {"name": name, "perm": permission})
    web.gateway.call("auth/enable", {})

    def call(path: str, body: dict[str, Any]) -> Any:
        token = web.gateway.call("auth/authenticate", {"name": "root", "password": PASSWORD})["token"]
        return web.gateway.call(path, body, token)

    yield call
    call("auth/disable", {})
    for name in ("root", "agentd"):
        web.gateway.call("auth/user/delete", {"name": name})
        web.gateway.call("auth/role/delete", {"role": name})


def user(web: Group, credentials: Path | None, name: str = "agentd", group: str = "") -> Fleet:
    settings = FleetPolicy(etcd=(web.gateway.url,), group=group or web.name, user=name)
    return connect(settings, "host", MACHINE, credentials, 60)


def test_a_user_has_a_password_and_a_token_that_is_renewed(
    web: Group, root: Callable[..., Any], credentials: Path
) -> None:
    own = user(web, credentials)
    own.acquire("kernel")
    root("auth/user/changepw", {"name": "agentd", "password": PASSWORD})  # which ends all tokens
    assert [holder.host for holder in own.holders()] == ["host"]
    own.release()
    assert own.holders() == []


def test_who_is_not_the_user_or_may_not_is_refused(web: Group, root: Callable[..., Any], credentials: Path) -> None:
    del root
    with pytest.raises(Unavailable, match=r"refuses: .*user name is empty \(status 400\)$"):
        web.member(1).acquire("kernel")
    with pytest.raises(Unavailable, match=r"refuses: .*permission denied \(status 403\)$"):
        user(web, credentials, group="others").acquire("kernel")
    (credentials / "agentd.fleet-password").write_text("wrong-one")
    with pytest.raises(Unavailable, match=r"refuses the user agentd with its password \(status 400\)$") as refusal:
        user(web, credentials).acquire("kernel")
    assert "wrong-one" not in str(refusal.value)


def test_a_user_without_a_password_asks_nobody(web: Group, tmp_path: Path) -> None:
    for folder in (None, tmp_path, tmp_path / "missing"):
        with pytest.raises(Unavailable, match=r"was not asked: the credential agentd\.fleet-password is missing"):
            user(web, folder).acquire("kernel")


# FleetLock


@pytest.fixture
def server(group: str) -> Iterator[FleetLockServer]:
    server = FleetLockServer({group: 2})
    yield server
    server.stop()


def client(url: str, group: str = "default", number: int = 1, credentials: Path | None = None) -> Fleet:
    return connect(FleetPolicy(fleetlock=url, group=group), f"host{number}", machine(number), credentials, 60)


def test_fleetlock_grants_refuses_and_takes_back(server: FleetLockServer, group: str) -> None:
    for number in (1, 2, 2):
        client(server.url, group, number).acquire("kernel")
    assert server.held[group] == ids(1, 2)
    with pytest.raises(Unavailable) as refusal:
        client(server.url, group, 3).acquire("kernel")
    assert str(refusal.value) == (
        f"the FleetLock server at {server.url} refuses: all 2 semaphore slots currently locked (failed_lock)"
    )
    for number in (1, 1, 3):
        client(server.url, group, number).release()
    client(server.url, group, 3).acquire("kernel")
    assert server.held[group] == ids(2, 3)


def test_fleetlock_is_asked_as_zincati_asks(server: FleetLockServer, group: str) -> None:
    client(f"{server.url}/", group).acquire("kernel")
    client(server.url, group).release()
    body = {"client_params": {"id": ids(1)[0], "group": group}}
    assert server.asked == [("/v1/pre-reboot", body), ("/v1/steady-state", body)]


def test_fleetlock_frees_the_slot_of_another_machine_by_its_id(server: FleetLockServer, group: str) -> None:
    for number in (1, 2):
        client(server.url, group, number).acquire("kernel")
    assert client(server.url, group, 1).evict(ids(2)[0]) == ids(2)[0]
    assert server.held[group] == ids(1)
    with pytest.raises(Refused, match="that is this machine"):
        client(server.url, group, 1).evict(ids(1)[0])
    assert server.held[group] == ids(1)


def test_a_path_before_the_protocols_own_is_kept(server: FleetLockServer, group: str) -> None:
    with pytest.raises(Unavailable, match=r"refuses: no reason is given \(status 404\)$"):
        client(f"{server.url}/behind/a/proxy", group).acquire("kernel")


def test_a_group_that_the_server_does_not_know_is_told(server: FleetLockServer) -> None:
    own = client(server.url, "nowhere")
    for call in questions(own)[:2]:
        with pytest.raises(Unavailable, match=r'refuses: unknown group "nowhere" \(unknown_group\)$'):
            call()


def test_fleetlock_cannot_tell_the_holders(server: FleetLockServer, group: str) -> None:
    with pytest.raises(Unavailable, match=r"^the FleetLock server at http://.* cannot tell who holds its slots"):
        client(server.url, group).holders()


def test_a_redirect_is_not_followed(server: FleetLockServer, group: str, serve: Callable[[Respond], str]) -> None:
    for status in (301, 302, 307, 308):
        head = f"HTTP/1.1 {status} Moved\r\nLocation: {server.url}/v1/pre-reboot\r\nContent-Length: 0\r\n\r\n".encode()
        url = serve(always(head))
        with pytest.raises(Unavailable, match=rf"redirects \(status {status}\), which is not followed"):
            client(url, group).acquire("kernel")
    assert server.asked == []


# TLS


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate that is its own authority, for both sides."""
    if not shutil.which("openssl"):
        pytest.fail("this test needs openssl: install the Debian package openssl (.ci/system-packages does)")
    folder = tmp_path_factory.mktemp("certificate")
    extensions = ("subjectAltName=IP:127.0.0.1", "keyUsage=critical,digitalSignature,keyCertSign")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=fleet", "-keyout", folder / "agentd.fleet-key", "-out", folder / "agentd.fleet-cert",
         *(word for extension in extensions for word in ("-addext", extension))],
        check=True, capture_output=True,
    )  # fmt: skip
    shutil.copy(folder / "agentd.fleet-cert", folder / "agentd.fleet-ca")
    return folder


@pytest.fixture
def tls_server(certificate: Path, group: str) -> Iterator[FleetLockServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "agentd.fleet-cert", certificate / "agentd.fleet-key")
    context.load_verify_locations(certificate / "agentd.fleet-ca")
    context.verify_mode = ssl.CERT_REQUIRED
    server = FleetLockServer({group: 2}, context)
    yield server
    server.stop()


def test_both_sides_may_show_a_certificate(tls_server: FleetLockServer, group: str, certificate: Path) -> None:
    client(tls_server.url, group, credentials=certificate).acquire("kernel")
    assert tls_server.held[group] == ids(1)


def test_a_server_whom_no_authority_vouches_for_is_not_asked(tls_server: FleetLockServer, group: str) -> None:
    with pytest.raises(Unavailable, match=r"the server's certificate is not accepted: self-signed certificate$"):
        client(tls_server.url, group).acquire("kernel")
    assert tls_server.asked == []


def test_a_machine_without_the_servers_certificate_is_refused(
    tls_server: FleetLockServer, group: str, certificate: Path, tmp_path: Path
) -> None:
    shutil.copy(certificate / "agentd.fleet-ca", tmp_path)
    with pytest.raises(Unavailable, match="does not answer"):
        client(tls_server.url, group, credentials=tmp_path).acquire("kernel")
    assert tls_server.asked == []


@pytest.mark.parametrize("name", ["agentd.fleet-ca", "agentd.fleet-cert", "agentd.fleet-key"])
def test_a_credential_that_is_none_is_told_by_name(
    tls_server: FleetLockServer, group: str, certificate: Path, tmp_path: Path, name: str
) -> None:
    folder = shutil.copytree(certificate, tmp_path / "copy")
    (folder / name).write_text("-----BEGIN secret-word-----")
    with pytest.raises(Unavailable, match=rf"was not asked: of the credentials .*{name}.* cannot be used: ") as refusal:
        client(tls_server.url, group, credentials=folder).acquire("kernel")
    assert "secret-word" not in str(refusal.value)


# Peers that are something else


@pytest.fixture
def serve() -> Iterator[Callable[[Respond], str]]:
    """Starts servers that answer each connection with the given pieces and close it."""
    servers: list[socket.socket] = []

    def work(server: socket.socket, respond: Respond) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):  # the other side went away
                for piece in respond(read_request(connection)):
                    connection.sendall(piece)

    def start(respond: Respond) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)
        threading.Thread(target=work, args=(server, respond), daemon=True).start()
        return f"http://127.0.0.1:{server.getsockname()[1]}"

    yield start
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def read_request(connection: socket.socket) -> bytes:
    data = b""
    while (piece := connection.recv(65536)) != b"":
        data += piece
        head, end, body = data.partition(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0)
        if end and len(body) >= length:
            break
    return data


def answer(body: bytes, status: int = 200, length: int | None = None) -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body) if length is None else length, body)


def always(text: bytes) -> Respond:
    return lambda _: [text]


NO_ANSWERS = {
    "closes at once": b"",
    "garbage": b"\x16\x03\x01\x02\x00 garbage\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "a head without its end": b"HTTP/1.1 200 OK\r\nX: y\r\n",
    "no length": b"HTTP/1.1 200 OK\r\n\r\n{}",
    "less than announced": answer(b"{}", length=100),
    "half a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n{}",
    "a status of letters": b"HTTP/1.1 yes OK\r\n\r\n",
    "a web page": answer(b"\n<!DOCTYPE html><title>Log in</title>"),
    "more than anybody reads": answer(b"x" * (1 << 21)),
    "endless headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n",
    "a refusal": answer(b"no", 403),
    "a refusal that is not text": answer(b'\xff{"value":"', 500),
    "a refusal of wrong types": answer(b'{"kind":1,"value":[]}', 500),
    "another success": answer(b"{}", 201),
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
}
NO_ETCD = {
    "nothing": b"",
    "not JSON": b"yes",
    "an empty object": b"{}",
    "a list": b"[]",
    "very deep": b"[" * 100_000,
    "no responses": b'{"header":{},"succeeded":true}',
    "too few responses": b'{"header":{},"responses":[{"response_range":{"header":{}}}]}',
    "other responses": b'{"header":{},"responses":[{"response_put":{}},{"response_put":{}},{"response_put":{}}]}',
    "keys of wrong types": b'{"header":{},"responses":[%s]}'
    % b",".join([b'{"response_range":{"header":{},"kvs":1}}'] * 3),
    "no base64": b'{"header":{},"responses":[%s]}'
    % b",".join([b'{"response_range":{"header":{},"kvs":[{"key":"!"}]}}'] * 3),
}


@pytest.mark.parametrize("kind", ["etcd", "fleetlock"])
@pytest.mark.parametrize("name", NO_ANSWERS)
def test_an_answer_that_is_none_means_no(serve: Callable[[Respond], str], kind: str, name: str) -> None:
    url = serve(always(NO_ANSWERS[name]))
    check_that_it_refuses(url, kind)


@pytest.mark.parametrize("name", NO_ETCD)
def test_what_is_not_etcd_means_no(serve: Callable[[Respond], str], name: str) -> None:
    check_that_it_refuses(serve(always(answer(NO_ETCD[name]))), "etcd")


def test_a_change_that_etcd_does_not_confirm_means_no(serve: Callable[[Respond], str]) -> None:
    look = b'{"header":{},"responses":[%s]}' % b",".join([b'{"response_range":{"header":{}}}'] * 3)

    def respond(request: bytes) -> list[bytes]:
        if b"lease/grant" in request:
            return [answer(b'{"header":{},"ID":"7","TTL":"120"}')]
        return [answer(look if b"request_range" in request else b'{"header":{}}')]

    own = connect(FleetPolicy(etcd=(serve(respond),)), "host", MACHINE, None, 60, pause=lambda _: None)
    with pytest.raises(Unavailable, match="at every try"):
        own.acquire("kernel")


def check_that_it_refuses(url: str, kind: str) -> None:
    settings = FleetPolicy(etcd=(url,)) if kind == "etcd" else FleetPolicy(fleetlock=url)
    own = connect(settings, "host", MACHINE, None, 60, pause=lambda _: None)
    for call in questions(own)[:2]:
        with pytest.raises(Unavailable) as refusal:
            call()
        text = str(refusal.value)
        assert text.startswith(("etcd at " if kind == "etcd" else "the FleetLock server at ") + url)
        assert text.isprintable()
        assert len(text) < 400


@pytest.mark.parametrize("kind", ["etcd", "fleetlock"])
@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n"])
@pytest.mark.parametrize("drips", [False, True])
def test_a_peer_that_takes_too_long_means_no(
    serve: Callable[[Respond], str], monkeypatch: pytest.MonkeyPatch, kind: str, head: bytes, drips: bool
) -> None:
    over = threading.Event()

    def respond(_: bytes) -> Iterator[bytes]:
        yield head
        while not over.wait(0.02):
            if drips:
                yield b"x"

    monkeypatch.setattr(http, "TIMEOUT", 0.1)
    url = serve(respond)
    settings = FleetPolicy(etcd=(url,)) if kind == "etcd" else FleetPolicy(fleetlock=url)
    try:
        with pytest.raises(Unavailable, match=r"does not answer: no whole answer within 0\.1 s$"):
            connect(settings, "host", MACHINE, None, 60).acquire("kernel")
    finally:
        over.set()


def test_no_secret_comes_back_in_a_sentence(serve: Callable[[Respond], str], credentials: Path) -> None:
    token = "token-1234.5"

    def respond(request: bytes) -> list[bytes]:
        if b"authenticate" in request:
            return [answer(json.dumps({"token": token}).encode())]
        assert token.encode() in request
        said = {"message": f"{request!r} {PASSWORD}"[-150:] + token, "kind": token}
        return [answer(json.dumps(said).encode(), 403)]

    own = connect(FleetPolicy(etcd=(serve(respond),), user="agentd"), "host", MACHINE, credentials, 60)
    with pytest.raises(Unavailable, match=r"refuses: .*\[password\]\[token\] \(\[token\]\)$") as refusal:
        own.acquire("kernel")
    assert token not in str(refusal.value)
    assert PASSWORD not in str(refusal.value)


@pytest.mark.parametrize("status", [200, 400])
def test_a_login_that_repeats_the_password_does_not_tell_it(
    serve: Callable[[Respond], str], credentials: Path, status: int
) -> None:
    url = serve(lambda request: [answer(b'{"token":7,"message":"%s"}' % request[-60:].replace(b'"', b""), status)])
    with pytest.raises(Unavailable) as refusal:
        connect(FleetPolicy(etcd=(url,), user="agentd"), "host", MACHINE, credentials, 60).acquire("kernel")
    assert PASSWORD not in str(refusal.value)


def test_a_token_that_never_counts_is_renewed_once(serve: Callable[[Respond], str], credentials: Path) -> None:
    logins: list[bytes] = []

    def respond(request: bytes) -> list[bytes]:
        if b"authenticate" not in request:
            return [answer(b'{"error":"etcdserver: invalid auth token","code":16}', 401)]
        logins.append(request)
        return [answer(b'{"token":"abc"}')]

    own = connect(FleetPolicy(etcd=(serve(respond),), user="agentd"), "host", MACHINE, credentials, 60)
    with pytest.raises(Unavailable, match=r"refuses: etcdserver: invalid auth token \(status 401\)$"):
        own.acquire("kernel")
    assert len(logins) == 2


# A fleet


def reboot_all(make: Callable[[int], Fleet], machines: int) -> int:
    """Every machine reboots once, some die and come back late: the most that were down at once."""
    changed = threading.Condition()
    down: set[int] = set()
    most = 0
    latest = time.monotonic() + 15

    def insist(call: Callable[[], None]) -> None:
        while True:
            try:
                return call()
            except Unavailable as refusal:
                if time.monotonic() > latest or not re.search("slots|at every try", str(refusal)):
                    raise
            with changed:
                changed.wait(0.5)

    def live(number: int) -> None:
        nonlocal most
        insist(lambda: make(number).acquire("kernel"))
        with changed:
            down.add(number)
            most = max(most, len(down))
        time.sleep(0.1 if number % 10 == 0 else 0.005)  # each tenth dies and comes back late
        with changed:
            down.remove(number)
        insist(lambda: make(number).release())  # by a process that knows nothing of the one before
        with changed:
            changed.notify(4)

    with ThreadPoolExecutor(machines) as pool:
        list(pool.map(live, range(machines)))
    return most


def test_a_fleet_with_etcd_never_reboots_more_than_its_slots(web: Group) -> None:
    most = reboot_all(lambda number: web.member(number, pause=lambda seconds: time.sleep(seconds / 10)), 50)
    assert most == 2
    assert web.text() == b'{"total_slots":2,"holders":[]}'
    everything = web.gateway.call("kv/range", {"key": coded("/agentd/"), "range_end": coded("/agentd0")})
    assert [entry for entry in everything.get("kvs", []) if web.name in base64.b64decode(entry["key"]).decode()] == []


def test_a_fleet_with_fleetlock_never_reboots_more_than_its_slots(server: FleetLockServer, group: str) -> None:
    assert reboot_all(lambda number: client(server.url, group, number), 50) == 2
    assert server.held[group] == []


# What is checked beforehand


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:2379", "https://etcd.example", "HTTPS://etcd.example/", "http://[::1]:2379",
        "https://proxy.example:8443/fleet/lock/",
    ],
)  # fmt: skip
def test_urls_that_are_good(text: str) -> None:
    check_url(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "must begin with http"),
        ("etcd.example:2379", "must begin with http"),
        ("ftp://etcd.example", "must begin with http"),
        ("http://", "must begin with http"),
        ("http://a b", "must begin with http"),
        ("http://a\n", "must begin with http"),
        ("http://é.example", "must begin with http"),
        ("http:///path", "must name a host"),
        ("http://:2379", "must name a host"),
        ("http://[::1", "must name a host"),
        ("http://a:99999", "must name a host"),
        ("http://a:0", "must name a host"),
        ("http://me:hunter2", "must name a host"),
        ("http://me:hunter2@a", "no user and no password"),
        ("http://hunter2@a", "no user and no password"),
        ("http://a/?token=hunter2", "no [?]"),
        ("http://a?", "no [?]"),
        ("http://a/#hunter2", "no #"),
    ],
)
def test_urls_that_are_not(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as refusal:
        check_url(text)
    assert "hunter2" not in str(refusal.value)
    with pytest.raises(ValueError):
        connect(FleetPolicy(etcd=("http://127.0.0.1", text)), "host", MACHINE, None, 60)


def test_groups_are_of_the_signs_that_the_protocol_allows() -> None:
    check_group("web-Tier.2")
    for text in ("", "a b", "a/b", "a_b", "é", "a\n"):
        with pytest.raises(ValueError, match="letters, digits, dots and hyphens"):
            check_group(text)
        with pytest.raises(ValueError):
            client("http://127.0.0.1", text)


def test_a_fleet_has_one_keeper_of_slots() -> None:
    for settings in (FleetPolicy(), FleetPolicy(fleetlock="http://127.0.0.1", etcd=("http://127.0.0.1",))):
        with pytest.raises(ValueError, match="needs exactly one of fleetlock and etcd"):
            connect(settings, "host", MACHINE, None, 60)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"etcd": ["http://127.0.0.1"], "slots": 0}, FleetPolicy)


def test_the_id_is_the_one_that_systemd_computes() -> None:
    file = Path("/etc/machine-id")
    own = file.read_text().strip() if file.exists() else ""
    if shutil.which("systemd-id128") and own not in {"", "uninitialized"}:
        command = ["systemd-id128", "machine-id", f"--app-specific={lock.APPLICATION.hex()}"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        assert lock.application_id(own) == done.stdout.strip()
    digest = bytearray(hmac.new(bytes.fromhex(MACHINE), lock.APPLICATION, hashlib.sha256).digest()[:16])
    digest[6], digest[8] = digest[6] & 0x0F | 0x40, digest[8] & 0x3F | 0x80
    assert lock.application_id(MACHINE) == digest.hex()


def test_the_id_of_a_machine_never_changes() -> None:
    assert lock.application_id(MACHINE) == "918f385341104f9690a1e6a847b606fd"


@pytest.mark.parametrize("text", ["", "uninitialized", "0" * 32, MACHINE[:-1], f"{MACHINE}\n"])
def test_a_machine_without_an_id_has_no_place_in_a_fleet(text: str) -> None:
    with pytest.raises(ValueError, match="no id that a fleet could know it by"):
        connect(FleetPolicy(fleetlock="http://127.0.0.1"), "host", text, None, 60)


def test_a_daemon_without_a_fleet_does_not_load_http() -> None:
    code = "import sys, agentd.reboots.fleet.connect; print({'http.client', 'ssl'} & sys.modules.keys())"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=Path(__file__).parents[3]
    )
    assert done.stdout == "set()\n"
