"""A llama.cpp server as it was measured (Debian's 0.7.0, build 11669), and servers that do what no server should.

The measured shapes stand here once, for the tests of the core as well.
"""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

Respond = Callable[[], Iterable[bytes]]

OK = {"status": "ok"}
LOADING = {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}
NO_KEY = {"error": {"message": "Invalid API Key", "type": "authentication_error", "code": 401}}
NO_PATH = {"error": {"message": "File Not Found", "type": "not_found_error", "code": 404}}
NO_SLOT = {"error": {"code": 503, "message": "no slot available", "type": "unavailable_error"}}
PROPS = {
    "default_generation_settings": {"params": {}, "n_ctx": 512},
    "total_slots": 2,
    "model_alias": "tiny",
    "model_path": "/tmp/tiny.gguf",
    "modalities": {"vision": False, "audio": False},
    "endpoint_slots": True,
    "endpoint_props": False,
    "endpoint_metrics": True,
    "build_info": "b11669-Debian",
    "is_sleeping": False,
}
COMPLETION = {
    "choices": [{"finish_reason": "length", "index": 0, "message": {"role": "assistant", "content": "p"}}],
    "usage": {"completion_tokens": 1, "prompt_tokens": 5, "total_tokens": 6},
    "timings": {"cache_n": 0, "prompt_n": 5, "prompt_ms": 1.1, "predicted_n": 1, "predicted_ms": 0.001},
    "system_fingerprint": "b11669-Debian",
}


def unsupported(endpoint: str) -> dict[str, Any]:
    """The answer of a server that was started with --no-slots, or without --metrics."""
    message = f"This server does not support {endpoint} endpoint. Start it with `--{endpoint}`"
    return {"error": {"code": 501, "message": message, "type": "not_supported_error"}}


def idle(number: int = 0) -> dict[str, Any]:
    """A slot that waits for work."""
    return {"id": number, "n_ctx": 512, "speculative": False, "is_processing": False}


def busy(number: int = 0, decoded: int = 45, task: int = 1, prompt: int = 20, *, old: bool = False) -> dict[str, Any]:
    """A slot at work; `old` servers have an object where newer ones have a list of one."""
    token = {"has_next_token": True, "has_new_line": False, "n_remain": -1, "n_decoded": decoded}
    return {
        **idle(number),
        "is_processing": True,
        "id_task": task,
        "n_prompt_tokens": prompt,
        "n_prompt_tokens_processed": prompt,
        "params": {"temperature": 0.8},
        "next_token": token if old else [token],
    }


def metrics(tokens: float = 0, seconds: float = 0, decodes: float = 0) -> str:
    """The counters, with a gauge that lies as the measured one did."""
    return (
        "# HELP llamacpp:tokens_predicted_total Number of generation tokens processed.\n"
        "# TYPE llamacpp:tokens_predicted_total counter\n"
        f"llamacpp:tokens_predicted_total {tokens}\n"
        f"llamacpp:tokens_predicted_seconds_total {seconds}\n"
        f"llamacpp:n_decode_total {decodes}\n"
        "llamacpp:predicted_tokens_seconds 7966\n"
    )


def http(status: int, body: object) -> bytes:
    """An answer as the server writes it."""
    text = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status} Some Words\r\nServer: llama.cpp\r\nContent-Length: {len(text)}\r\n\r\n"
    return head.encode() + text


class FakeLlama:
    """Serves from its own threads until `stop`, at a port or at the UNIX socket `path`.

    `slots`, `counters` and `answers` (status and body by path) are what it says; `raw` has what it says byte by byte at
    some paths. `asked` are the requests as they came.
    """

    def __init__(self, path: Path | None = None, key: str = "") -> None:
        self.slots: list[dict[str, Any]] = [idle(0), idle(1)]
        self.counters = metrics()
        self.answers: dict[str, tuple[int, object]] = {}
        self.raw: dict[str, Respond] = {}
        self.asked: list[bytes] = []
        self._key = key
        self._over = threading.Event()
        self._listening = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        self._listening.bind(str(path) if path else ("127.0.0.1", 0))
        self._listening.listen(16)
        self.url = f"unix://{path}" if path else f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    def stop(self) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listening.close()

    @property
    def paths(self) -> list[str]:
        """The paths that were asked for."""
        return [request.split()[1].decode() for request in self.asked]

    def hang(self) -> Iterator[bytes]:
        """Says nothing, and keeps the connection."""
        self._over.wait()
        yield from ()

    def drip(self) -> Iterator[bytes]:
        """Says one byte now and then, without an end."""
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
        while not self._over.wait(0.02):
            yield b"x"

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # the listening socket is closed
            while True:
                sock, _ = self._listening.accept()
                thread = threading.Thread(target=self._speak, args=(sock,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _speak(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):  # whoever asked is gone
            request = _request(sock)
            self.asked.append(request)
            path = request.split()[1].decode()
            pieces = self.raw[path]() if path in self.raw else [http(*self._answer(path, request))]
            for piece in pieces:
                sock.sendall(piece)

    def _answer(self, path: str, request: bytes) -> tuple[int, object]:
        if self._key and path != "/health" and f"Authorization: Bearer {self._key}\r\n".encode() not in request:
            return 401, NO_KEY
        usual: dict[str, tuple[int, object]] = {
            "/health": (200, OK),
            "/props": (200, PROPS),
            "/slots": (200, self.slots),
            "/metrics": (200, self.counters),
            "/v1/chat/completions": (200, COMPLETION),
        }
        return {**usual, **self.answers}.get(path, (404, NO_PATH))


def _request(sock: socket.socket) -> bytes:
    """The whole request, with its body. Raises OSError where whoever asked goes before that."""
    text = b""
    while b"\r\n\r\n" not in text:
        text += _more(sock)
    head, _, body = text.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while lengths and len(body) < int(lengths[0]):
        body += _more(sock)
    return head + b"\r\n\r\n" + body


def _more(sock: socket.socket) -> bytes:
    data = sock.recv(65536)
    if not data:
        raise ConnectionResetError
    return data
