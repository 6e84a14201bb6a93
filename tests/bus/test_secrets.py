"""The secret of a channel is told nowhere, while channels fail in each of the ways in which they can."""

import base64
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from aiosmtpd.smtp import AuthResult

from tests.bus.harness import Agentd, children_of
from tests.bus.phone import put_credential
from tests.unit.notices import servers
from tests.unit.notices.servers import Mailbox, Respond, Server, answers, certificate, smtp

SECRET = "s3cr3t/0f+th3 ch4nn3l=ü"
"""A password that has to be written in another way in a URL."""
WRITTEN = quote(SECRET, safe="")
CONFIG = """
timezone: UTC
notices: {channels: {web: {credential: web}, mute: {credential: mute}}}
jobs: {backup: {run: 'exit 3'}}
"""
PAGE = f"<!DOCTYPE html><html>{SECRET}</html>".encode()
ELSEWHERE = f"http://127.0.0.1:1/{WRITTEN}"
WAYS: dict[str, tuple[Respond, str]] = {
    "a page for people": (answers(200, PAGE, Content_Type="text/html"), "a page for people"),
    "a bad request": (answers(400, PAGE), "status 400"),
    "no access": (answers(401, PAGE, WWW_Authenticate=f'Basic realm="{WRITTEN}"'), "status 401"),
    "no such address": (answers(404, PAGE), "status 404"),
    "too many": (answers(429, PAGE, Retry_After="7"), "status 429"),
    "a defect": (answers(500, PAGE), "status 500"),
    "a redirection": (answers(302, b"", Location=ELSEWHERE), "status 302"),
    "an end in the middle": (servers.closes_in_the_middle, "closed the connection before its answer was whole"),
    "no answer": (servers.closes_at_once, "closed the connection before its answer was whole"),
}


def forms(secret: str) -> set[bytes]:
    """The ways in which a text may stand somewhere: as it is, percent-encoded, escaped, in base64 at any place."""
    plain = secret.encode()
    texts = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), quote(quote(secret, safe=""))}
    found = {text.encode() for text in texts} | {secret.encode("unicode_escape"), plain.hex().encode()}
    for before in range(3):
        whole = base64.b64encode(b"x" * before + plain)
        # Without the characters that depend on what stands before and after.
        inner = whole[4 if before else 0 : len(whole) - 4]
        found |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    return found


def test_the_forms_of_a_secret_are_found_where_it_is() -> None:
    header = base64.b64encode(f"user:{SECRET}".encode())
    for text in (header, WRITTEN.encode(), f"{ELSEWHERE} {SECRET}".encode(), repr(SECRET).encode()):
        assert [form for form in forms(SECRET) if form in text], text
    assert not [form for form in forms(SECRET) if form in base64.b64encode(b"user:another password")]
    assert min(map(len, forms(SECRET))) > 12


@pytest.fixture
def server() -> Iterator[Server]:
    """The server of the channel `web`."""
    server = Server(answers(200))
    yield server
    server.stop()


@pytest.fixture
def mute() -> Iterator[Server]:
    """The server of the channel `mute`, which never answers."""
    server = Server(servers.never_answers)
    yield server
    server.stop()


class Told:
    """Everything that agentctl said; channels are made to fail."""

    def __init__(self, agentd: Agentd) -> None:
        self.agentd, self.said = agentd, ""

    def ctl(self, *words: str) -> str:
        done = self.agentd.ctl(*words)
        self.said += done.stdout + done.stderr
        return done.stdout + done.stderr

    def fails(self, url: str, why: str) -> None:
        """Has a message to `web` fail for a reason by the credential `url`."""
        put_credential(self.agentd, "web", url)
        told = self.ctl("notices", "test", "web")
        assert why in told, (url.partition(":")[0], told)
        self.ctl("notices")
        self.agentd.call("Notices.Drop", "au", [])  # what fails one by one is not gathered


def http(port: int, scheme: str = "json") -> str:
    return f"{scheme}://{WRITTEN}:{WRITTEN}@127.0.0.1:{port}/{WRITTEN}?+X-Key={WRITTEN}"


def ntfy(port: int) -> str:
    return f"ntfy://{WRITTEN}:{WRITTEN}@127.0.0.1:{port}/topic"


def test_no_secret_is_told_while_channels_fail_in_each_way(agentd: Agentd, server: Server, mute: Server) -> None:
    put_credential(agentd, "web", http(server.port))
    put_credential(agentd, "mute", http(mute.port))
    agentd.start(CONFIG)
    told = Told(agentd)
    for number, (respond, why) in enumerate(WAYS.values()):
        server.respond = respond
        told.fails(ntfy(server.port) if number % 2 else http(server.port), why)
    assert len(server.asked) == len(WAYS)
    assert all(shows(one.headers["authorization"].encode()) for one in server.asked), "the server gets the secret"
    told.fails(http(server.port, "jsons"), "does not speak TLS as expected")
    sealed = Server(answers(200), tls=certificate(agentd.folder, "127.0.0.1"))
    told.fails(http(sealed.port, "jsons"), "has a certificate that is self-signed")
    sealed.stop()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    told.fails(http(port), "refuses connections")
    told.fails(f"json://127.0.0.1:70000/{WRITTEN}", "look at the credential")
    told.fails(f"nonsense://{SECRET}", "apprise knows no such URL")
    told.fails(f"json://127.0.0.1/{SECRET}\n{SECRET}", "several lines")
    told.fails(f"json://127.0.0.1/{SECRET}\a", "control characters")
    file = agentd.folder / "home/.config/agentd/credentials/web"
    file.chmod(0o644)
    told.fails(http(server.port), "others may open")
    file.chmod(0o600)
    with smtp(Mailbox(data=f"554 {WRITTEN} is a password")) as where:
        told.fails(f"mailto://{where}&name={WRITTEN}", "refuses the message (reply 554)")
    refuses = AuthResult(success=False)
    with smtp(Mailbox(), authenticator=lambda *_: refuses, auth_require_tls=False) as where:
        told.fails(f"mailto://user:{WRITTEN}@{where}&smtp=127.0.0.1", "credential")
    looked_at_everywhere(told, mute)


def looked_at_everywhere(told: Told, mute: Server) -> None:
    """Looks for the secret in all that is said, stored and run, also while a courier has it that then crashes."""
    agentd = told.agentd
    agentd.ctl("run", "backup", "--wait")
    told.ctl("notices", "test", "mute", "--no-wait")
    agentd.until(lambda: mute.asked, "a courier to ask the server")
    assert agentd.process is not None
    (courier,) = (pid for pid in children_of(agentd.process.pid) if b"courier" in arguments(pid))
    assert b"mute" in arguments(courier), "what a process is called with can be read"
    assert shown_by_processes() == []
    limits = Path(f"/proc/{courier}/limits").read_text()
    assert limits.partition("Max core file size")[2].split()[0] == "0"
    os.kill(courier, signal.SIGSEGV)
    agentd.until(lambda: agentd.ctl_json("notices", "--channel", "mute")[0].get("attempts"), "agentd to notice")
    for words in (
        ("notices",), ("notices", "channels"), ("notices", "show", "1"), ("notices", "--channel", "mute"),
        ("status",), ("history",), ("history", "--decisions", "-n", "1000"), ("self-test",),
    ):  # fmt: skip
        told.ctl(*words)
        told.ctl(*words, "--json")
    told.ctl("check", str(agentd.config))
    told.ctl("notices", "test", "phone")
    assert agentd.stop() == 0
    assert [form for form in forms(SECRET) if form in told.said.encode()] == []
    files = [file for file in agentd.folder.rglob("*") if file.is_file() and "credentials" not in file.parts]
    assert {agentd.state / "agentd.db", agentd.log} <= set(files)
    assert "Traceback" not in agentd.log.read_text()
    assert [file for file in files if shows(file.read_bytes())] == []


def arguments(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""  # it ended meanwhile


def shows(content: bytes) -> bool:
    return any(form in content for form in forms(SECRET))


def shown_by_processes() -> list[Path]:
    """The files of processes other than this one that have the secret in their arguments or environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            for name in ("cmdline", "environ"):
                try:
                    content = (entry / name).read_bytes()
                except OSError:
                    continue  # it ended meanwhile, or is somebody else's
                found += [entry / name] if shows(content) else []
    return found
