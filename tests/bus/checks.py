"""Checks outside, as of healthchecks.io: a server that takes pings, and the credentials that lead there."""

import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from tests.bus.harness import ROOT, Agentd

SECRET = "5b1ec7e7-cafe-4f00-8000-0123456789ab"
"""The UUID of the checks: what stands in a credential, and nowhere else."""


class Ping(NamedTuple):
    """A ping that came: of which check, what it says ("" for a success), its run id and its text."""

    check: str
    says: str
    rid: str
    body: str


class _Handler(BaseHTTPRequestHandler):
    """A request to the checks of its server."""

    def do_POST(self) -> None:
        """Notes a ping, and answers as healthchecks.io does."""
        checks: Checks = self.server.checks  # type: ignore[attr-defined]
        parts = urlsplit(self.path)
        _, name, secret, *says = parts.path.split("/")
        assert secret == SECRET
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        checks.asked += 1
        checks.open.wait()
        if checks.status == 200:
            rid = parse_qs(parts.query).get("rid", [""])[0]
            checks.got.append(Ping(name, "/".join(says), rid, body))
        try:
            self.send_response(checks.status)
            self.end_headers()
            self.wfile.write(b"OK")
        except OSError:  # whoever asked was killed
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Says nothing."""


class Checks:
    """A server of checks. `got` is what it took, `asked` how often it was asked; it answers while `open` is set."""

    def __init__(self) -> None:
        self.got: list[Ping] = []
        self.asked = 0
        self.open = threading.Event()
        self.open.set()
        self.status = 200
        self.port = 0
        self.up()

    def up(self) -> None:
        """Listens, at the same port each time."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), _Handler)
        self._server.checks = self  # type: ignore[attr-defined]
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def down(self) -> None:
        """Refuses connections from here on."""
        self._server.shutdown()
        self._server.server_close()

    def of(self, check: str) -> list[Ping]:
        """The pings that a check got, in order."""
        return [ping for ping in self.got if ping.check == check]

    def said(self, check: str) -> list[str]:
        """What those say."""
        return [ping.says for ping in self.of(check)]

    def credential(self, agentd: Agentd, name: str) -> None:
        """Puts a credential that leads here where couriers of agentd find it."""
        home = agentd.folder / "home"
        agentd.environment |= {"HOME": str(home), "PYTHONPATH": os.environ.get("PYTHONPATH", str(ROOT))}
        agentd.environment.pop("CREDENTIALS_DIRECTORY", None)
        file = home / ".config/agentd/credentials" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(0o600)
        file.write_text(f"http://127.0.0.1:{self.port}/{name}/{SECRET}\n")
