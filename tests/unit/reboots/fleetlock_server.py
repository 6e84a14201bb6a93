"""A FleetLock server with airlock's semantics and words, its slots in memory."""

import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FleetLockServer(ThreadingHTTPServer):
    """Serves from its own thread until `stop`; `groups` are the slots by name, `held` the sorted ids of holders."""

    request_queue_size = 128

    def __init__(self, groups: dict[str, int], tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.groups = groups
        self.held: dict[str, list[str]] = {group: [] for group in groups}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.lock = threading.Lock()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.server_port}"
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def decide(self, path: str, headers: Any, body: dict[str, Any]) -> tuple[int, str, str]:
        """The status and, beside 200, the kind and value of the error."""
        params = body.get("client_params", {})
        name, group = params.get("id", ""), params.get("group", "")
        if headers.get("fleet-lock-protocol") != "true" or not name or not group:
            return 400, "invalid_client_identity", "failed to validate client identity: something is missing"
        if group not in self.groups:
            return 400, "unknown_group", f'unknown group "{group}"'
        with self.lock:
            self.asked.append((path, body))
            held = self.held[group]
            if path == "/v1/steady-state":
                self.held[group] = [holder for holder in held if holder != name]
            elif name not in held:
                if len(held) >= self.groups[group]:
                    return 500, "failed_lock", f"all {self.groups[group]} semaphore slots currently locked"
                self.held[group] = sorted([*held, name])
        return 200, "", ""


class _Handler(BaseHTTPRequestHandler):
    server: FleetLockServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = self.path in {"/v1/pre-reboot", "/v1/steady-state"}
        status, kind, value = self.server.decide(self.path, self.headers, body) if known else (404, "", "")
        text = json.dumps({"kind": kind, "value": value}).encode() if kind else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Says nothing."""
