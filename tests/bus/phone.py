"""A phone, as far as agentd can tell: a server that speaks ntfy's protocol, and the credentials that lead there."""

import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.bus.harness import ROOT, Agentd

SECRET = "s3cr3t-0f-th3-ph0n3"
"""The topic and the token: what stands in a credential, and nowhere else."""


class _Handler(BaseHTTPRequestHandler):
    """A request for the phone of its server."""

    def do_POST(self) -> None:
        """Notes a message, and answers as the phone is told to."""
        phone: Phone = self.server.phone  # type: ignore[attr-defined]
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        phone.asked.append(message)
        phone.open.wait()
        if phone.status == 200:
            phone.got.append(message)
            time.sleep(phone.late)
        body = phone.body
        try:
            self.send_response(phone.status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Location", f"http://127.0.0.1:1/{SECRET}")
            self.end_headers()
            self.wfile.write(body)
        except OSError:  # whoever asked was killed
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Says nothing."""


class Phone:
    """A server of ntfy. `asked` is what came, `got` what the server took; it answers while `open` is set,
    `late` seconds after it took something."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.got: list[dict[str, Any]] = []
        self.open = threading.Event()
        self.open.set()
        self.late = 0.0
        self.status, self.body = 200, b'{"id":"x"}'
        self.port = 0
        self.up()

    def up(self) -> None:
        """Listens, at the same port each time."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), _Handler)
        self._server.phone = self  # type: ignore[attr-defined]
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def down(self) -> None:
        """Refuses connections from here on."""
        self._server.shutdown()
        self._server.server_close()

    def titles(self) -> list[str]:
        """The titles of what it took, in order; a message that has none is its text."""
        return [message.get("title") or message["message"] for message in self.got]

    def credential(self, agentd: Agentd, name: str) -> None:
        """Puts a credential that leads here where couriers of agentd find it."""
        put_credential(agentd, name, f"ntfy://tk_{SECRET}@127.0.0.1:{self.port}/{SECRET}-{name}\n")


def put_credential(agentd: Agentd, name: str, text: str) -> None:
    """Puts a credential where couriers of agentd find it."""
    home = agentd.folder / "home"
    agentd.environment |= {"HOME": str(home), "PYTHONPATH": os.environ.get("PYTHONPATH", str(ROOT))}
    agentd.environment.pop("CREDENTIALS_DIRECTORY", None)
    file = home / ".config/agentd/credentials" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(0o600)
    file.write_text(text)
