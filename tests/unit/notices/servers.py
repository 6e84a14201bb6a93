"""Servers that a courier meets: those that answer well and those that do not; and a courier, run as a program."""

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from aiosmtpd.controller import Controller

ROOT = Path(__file__).parents[3]
SECRET = "s3cr3t-0f-th3-ch4nn3l"
"""What stands in a credential, and nowhere else."""


class Request(NamedTuple):
    """A request as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, which is JSON."""
        return msgspec.json.decode(self.body)


Respond = Callable[["Handler"], None]


def answers(status: int, body: bytes = b'{"id":"x"}', **headers: str) -> Respond:
    """Returns what answers so."""

    def respond(handler: "Handler") -> None:
        handler.send_response(status)
        for name, value in ({"Content_Type": "application/json"} | headers).items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return respond


def closes_in_the_middle(handler: "Handler") -> None:
    """Announces more than comes."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"id"')


def closes_at_once(handler: "Handler") -> None:
    """Answers nothing at all."""
    handler.close_connection = True


def never_answers(handler: "Handler") -> None:
    """Waits until the server ends."""
    handler.server.over.wait()  # type: ignore[attr-defined]


def never_ends(handler: "Handler") -> None:
    """Answers a byte now and then."""
    handler.send_response(200)
    handler.end_headers()
    while not handler.server.over.wait(0.05):  # type: ignore[attr-defined]
        handler.wfile.write(b"x")


class Handler(BaseHTTPRequestHandler):
    """A request: noted, then answered as the server is told to."""

    def do_POST(self) -> None:
        """Notes and answers."""
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:  # the courier was killed before it was sent
            self.close_connection = True
            return
        server: Any = self.server
        server.asked.append(Request(self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        try:
            server.respond(self)
        except OSError:  # the courier was killed, or had patience enough
            self.close_connection = True

    do_GET = do_POST  # noqa: N815 - the name that HTTP gives

    def log_message(self, *arguments: object) -> None:
        """Says nothing."""


class Server(ThreadingHTTPServer):
    """An HTTP server on this machine that answers as `respond` does; `asked` is what came, in order."""

    daemon_threads = True

    def __init__(self, respond: Respond, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.respond, self.asked, self.over = respond, list[Request](), threading.Event()
        self.port = self.server_address[1]
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def handle_error(self, *arguments: object) -> None:
        """Says nothing: clients go as they want."""

    def stop(self) -> None:
        """Ends the server."""
        self.over.set()
        self.shutdown()
        self.server_close()


class Told(NamedTuple):
    """A run of the courier: its exit code, the lines of .told, stderr."""

    code: int
    lines: list[dict[str, Any]]
    error: str

    @property
    def line(self) -> dict[str, Any]:
        """The only line."""
        (line,) = self.lines
        return line


class Courier:
    """A courier with a box of messages and a home in which its credential lies."""

    def __init__(self, folder: Path) -> None:
        self.box, self.home = folder / "box", folder / "home"
        self.told = self.box / "c.told"
        self.credential = self.home / ".config/agentd/credentials/c"
        self.credential.parent.mkdir(parents=True)
        self.box.mkdir()
        self.more: dict[str, str] = {}

    def hand(self, url: str, *messages: dict[str, Any]) -> None:
        """Puts messages and the credential where the courier finds them."""
        self.credential.write_text(f"{url}\n")
        self.credential.chmod(0o600)
        plain = {"title": "backup failed", "body": "exit code 3", "priority": "normal", "sort": "trouble"}
        bag = [{"id": 17 + number} | plain | message for number, message in enumerate(messages or ({},))]
        text = msgspec.json.encode({"version": 1, "channel": "phone", "messages": bag})
        (self.box / "c.json").write_bytes(text)

    def start(self, *options: str) -> "subprocess.Popen[str]":
        """Starts the courier."""
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "HOME": str(self.home),
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.more,
        }
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "agentd.notices.courier", "c", "--folder", str(self.box), *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd="/",
        )  # fmt: skip

    def lines(self) -> list[dict[str, Any]]:
        """The whole lines of .told."""
        whole = self.told.read_bytes().rpartition(b"\n")[0].splitlines() if self.told.exists() else []
        return [msgspec.json.decode(line) for line in whole]

    def run(self, url: str, *messages: dict[str, Any], options: Sequence[str] = ()) -> Told:
        """Runs the courier; the secret must be in nothing that it says, and it writes nothing into the home."""
        self.hand(url, *messages)
        with self.start(*options) as process:
            out, error = process.communicate(timeout=120)
        told = self.told.read_text() if self.told.exists() else ""
        assert SECRET not in out + error + told
        assert out == ""
        assert [file for file in self.home.rglob("*") if not file.is_dir()] == [self.credential]
        return Told(process.returncode, self.lines(), error)


def certificate(folder: Path, name: str) -> ssl.SSLContext:
    """Returns how to speak TLS as the host of that name; folder/cert is its own authority."""
    if not shutil.which("openssl"):
        pytest.fail("this test needs openssl: install the Debian package openssl (.ci/system-packages does)")
    kind = "IP" if name[0].isdigit() else "DNS"
    extensions = (f"subjectAltName={kind}:{name}", "keyUsage=critical,digitalSignature,keyCertSign")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=test", "-keyout", folder / "key", "-out", folder / "cert",
         *(word for extension in extensions for word in ("-addext", extension))],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert", folder / "key")
    return context


@contextlib.contextmanager
def proxy(port: int) -> Iterator[tuple[int, list[str]]]:
    """A proxy that leads to one port of this machine, whatever host is wanted; yields its port, and what was wanted."""
    wanted: list[str] = []

    def pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def lead(client: socket.socket) -> None:
        sockets.append(client)
        head = b""
        while b"\r\n\r\n" not in head:
            if not (more := client.recv(1 << 12)):
                return  # the courier was killed before it said where it wants to go
            head += more
        wanted.append(head.split()[1].decode())
        server = socket.create_connection(("127.0.0.1", port))
        sockets.append(server)
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for pair in ((client, server), (server, client)):
            threads.append(threading.Thread(target=pump, args=pair, daemon=True))
            threads[-1].start()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                with contextlib.suppress(OSError):  # couriers that are killed end no others
                    lead(client)

    threads: list[threading.Thread] = []
    sockets: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        yield listener.getsockname()[1], wanted
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join(10)
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(10)
        for one in sockets:
            one.close()


def by_proxy(port: int) -> dict[str, str]:
    """The variables with which couriers go by the proxy at that port, whatever whoever builds a package exempts."""
    return {"HTTPS_PROXY": f"http://127.0.0.1:{port}", "no_proxy": "", "NO_PROXY": ""}


class Mailbox:
    """A handler of aiosmtpd that gives `replies` and keeps what came."""

    def __init__(self, **replies: str) -> None:
        self.replies, self.mails = replies, list[bytes]()

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        """Answers who it is for."""
        envelope.rcpt_tos.append(address)
        return self.replies.get("rcpt", "250 OK")

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        """Keeps a mail."""
        if "data" not in self.replies:
            self.mails.append(envelope.content)
        return self.replies.get("data", "250 OK")


@contextlib.contextmanager
def smtp(mailbox: Mailbox, **more: Any) -> Iterator[str]:
    """A real SMTP server; yields the credential for it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    controller = Controller(mailbox, hostname="127.0.0.1", port=port, **more)
    controller.start()
    try:
        yield f"127.0.0.1:{port}?from=agentd@example.org&to=admin@example.org"
    finally:
        controller.stop()
