"""The measurement of notices: what a channel costs while nothing is to be told, before and after something was told."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.bench.rounds import PRESENT, Figure, figure, together
from tests.bench.running import Agentd, Checkout, memory, usage

JOBS = "timezone: UTC\njobs: {hourly: {run: [/bin/true], when: {every: 1hour}}}\n"
CHANNEL = "notices: {channels: {phone: {credential: phone}}}\n"
_CREDENTIALS = ".config/agentd/credentials"


def notices(checkouts: Mapping[str, Checkout], *, quick: bool) -> list[Figure]:
    """What a channel costs an agentd while no message waits, beside one without: memory (resident, and its own), and
    wake-ups, which none may be."""
    seconds, rounds = (10, 3) if quick else (60, 3)
    taken = together(rounds, lambda: {PRESENT: _beside_none(checkouts[PRESENT], seconds)})
    return [
        figure("a channel, memory", "MiB more", taken, "more_mib", goal=1.0),
        figure("a channel, memory of its own", "MiB more", taken, "more_own_mib", goal=1.0),
        figure("after a message, memory", "MiB more", taken, "told_mib", goal=1.0),
        figure("a channel, wake-ups", "a minute more", taken, "wakeups", goal=0.5),
        figure("after a message, wake-ups", "a minute more", taken, "told_wakeups", goal=0.5),
    ]


def _beside_none(checkout: Checkout, seconds: float) -> dict[str, float]:
    with ExitStack() as running:
        port = running.enter_context(_phone())
        daemons = {
            name: running.enter_context(_told(Agentd(checkout, text), port, name == "told"))
            for name, text in (("none", JOBS), ("channel", JOBS + CHANNEL), ("told", JOBS + CHANNEL))
        }
        time.sleep(3)  # what a start leaves to do is done
        before = {name: usage(daemon.pid)["wakeups"] for name, daemon in daemons.items()}
        begin = time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - begin
        woken = {name: 60 * (usage(one.pid)["wakeups"] - before[name]) / took for name, one in daemons.items()}
        held = {name: memory(daemon.pid) for name, daemon in daemons.items()}
    return {
        "more_mib": held["channel"]["rss_mib"] - held["none"]["rss_mib"],
        "more_own_mib": held["channel"].get("uss_mib", 0.0) - held["none"].get("uss_mib", 0.0),
        "told_mib": held["told"]["rss_mib"] - held["none"]["rss_mib"],
        "wakeups": woken["channel"] - woken["none"],
        "told_wakeups": woken["told"] - woken["none"],
    }


@contextmanager
def _told(daemon: Agentd, port: int, tells: bool) -> Iterator[Agentd]:
    """Starts an agentd, and has it tell something where that is wanted."""
    file = daemon.folder / _CREDENTIALS / "phone"
    file.parent.mkdir(parents=True)
    file.touch(0o600)
    file.write_text(f"ntfy://127.0.0.1:{port}/topic\n")
    daemon.environment["HOME"] = str(daemon.folder)
    with daemon:
        if tells:
            command = [sys.executable, "-m", "agentctl", "notices", "test"]
            root = Path(__file__).parents[2]
            subprocess.run(command, check=True, capture_output=True, env=daemon.environment, cwd=root)
        yield daemon


@contextmanager
def _phone() -> Iterator[int]:
    """A server of ntfy; yields its port."""

    class Handler(BaseHTTPRequestHandler):
        """A message, which is taken."""

        def do_POST(self) -> None:
            """Takes it."""
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps({"id": "x"}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()
