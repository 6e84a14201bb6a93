"""An agentd of this checkout that takes up the recorded state, and a client that replays a session with it."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bus.harness import Agentd
from tests.bus.machine import Machine
from tests.compat import state
from tests.compat.sessions import Doings
from tests.compat.wire import Client

HERE = Path(__file__).parent
CONFIGURATION = (HERE / "agentd.yaml").read_text()
CALM = "grace: 1h, warnings: [], limits: {min_uptime: 0s, per_day: 100, per_week: 100}"
POLICY = f"{CALM}, fleet: {{fleetlock: 'http://127.0.0.1:9/', group: web}}"
"""Where nothing listens: what was asked of it was not answered, and may have been granted."""
CONFIGURATIONS = {
    "as before": CONFIGURATION,
    "changed": CONFIGURATION.replace("A job that succeeds", "A job with another phrase")
    + "  more: {run: [/bin/true], when: {every: 26w}}\n",
    "broken": f"{CONFIGURATION}  broken: {{when: {{every: 1 fortnight}}}}\n",
    "without fleet": f"{CONFIGURATION}reboot: {{{CALM}}}\n",
}


@contextmanager
def standalone(folder: Path, recorded: Path) -> Iterator[tuple[Agentd, Client]]:
    """A standalone agentd in the same boot as the one that was killed, as far as it knows."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    agentd = Agentd(folder)
    by = _restored(recorded, agentd.state, boot)
    with _playing(agentd, lambda: agentd.start(CONFIGURATION), by) as client:
        yield agentd, client


@contextmanager
def of_machine(folder: Path, recorded: Path) -> Iterator[tuple[Machine, Client]]:
    """An agentd that may reboot its machine, in the same boot as the one that was killed."""
    machine = Machine(folder)
    machine.times["stays_up"] = 0.5  # as soon as logind says so, a shutdown that was cancelled was over then
    machine.boots = json.loads((recorded / "about.json").read_text())["boot"]
    machine.config.write_text(f"{CONFIGURATION}reboot: {{{POLICY}}}\n")
    try:
        by = _restored(recorded, machine.state, "")
        with _playing(machine, machine.up, by) as client:
            yield machine, client
    finally:
        machine.close()


def _restored(recorded: Path, folder: Path, boot: str) -> int:
    """Restores the state as if it had been left just now; returns by how much it was moved."""
    at: int = json.loads((recorded / "about.json").read_text())["recorded_at"]
    by = time.time_ns() // 1000 - at
    state.restore(recorded / "state", folder, by, boot)
    return by


@contextmanager
def _playing(agentd: Agentd, start: Callable[[], object], by: int) -> Iterator[Client]:
    client = None
    try:
        start()
        client = Client(agentd.address, str(agentd.folder), by)
        client.until("org.agentd1.Jobs.Running", 1)  # what waited when agentd was killed
        client.listen(lambda *_: False, 0.2)  # and what is told of it
        yield client
    finally:
        if client is not None:
            client.close()
        if agentd.process is not None:
            agentd.kill()


def doings(agentd: Agentd) -> Doings:
    """What a session does beside the bus."""
    kept: list[int] = []
    own: Doings = {
        "touch": lambda name: (agentd.folder / name).touch(),
        "remove": lambda name: (agentd.folder / name).unlink(),
        "configure": lambda name: agentd.config.write_text(CONFIGURATIONS[name]),
    }
    if not isinstance(agentd, Machine):
        return own
    return {
        **own,
        "block": lambda: kept.append(agentd.logind.block()),
        "unblock": lambda: agentd.logind.unblock(kept.pop()),
        "shutdown-cancelled": lambda: agentd.logind.cancel(told=True),
    }
