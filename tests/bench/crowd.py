"""The measurements of ten thousand jobs: in the configuration, and in an agentd that is asked about them."""

import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from tests.bench.rounds import Figure, alternate, figure
from tests.bench.running import HELD, Agentd, Checkout, measured, memory, usage

COUNT = 10_000
Values = dict[str, float]
Checkouts = Mapping[str, Checkout]
_AGENTCTL = (sys.executable, "-m", "agentctl")


def load(checkouts: Checkouts, *, quick: bool) -> list[Figure]:
    """Ten thousand jobs: how long agentd takes to check them and to start, beside reading the YAML alone."""
    rounds = 3 if quick else 7
    with tempfile.TemporaryDirectory(prefix="agentd-bench-") as folder:
        file = Path(folder) / "agentd.yaml"
        file.write_text(distant_jobs(COUNT))
        contestants: dict[str, Callable[[], Values]] = {
            who: partial(_load, checkout, file) for who, checkout in checkouts.items()
        }
        plain = "import sys, yaml; yaml.load(open(sys.argv[1]), yaml.CSafeLoader)"
        taken = alternate(
            rounds, {**contestants, "YAML alone": partial(measured, [sys.executable, "-c", plain, str(file)])}
        )
    return [
        figure("10,000 jobs, check", "s", taken, "s", peer="YAML alone", goal=2.0),
        figure("10,000 jobs, start", "s", taken, "start_s", peer="YAML alone", key_of_peer="s", goal=3.0),
        figure("10,000 jobs, start again", "s", taken, "again_s", peer="YAML alone", key_of_peer="s", goal=3.0),
        figure("10,000 jobs, memory", "MiB", taken, "rss_mib", goal=50.0),
        figure("10,000 jobs, most memory", "MiB", taken, "peak_rss_mib"),
    ]


def _load(checkout: Checkout, file: Path) -> Values:
    check = measured([sys.executable, "-m", "agentd", "--check", str(file), "--json"], checkout)
    with Agentd(checkout, file.read_text()) as daemon:
        start = daemon.ready_after
        daemon.stop()
        daemon.start()
        return {"s": check["s"], "start_s": start, "again_s": daemon.ready_after, **memory(daemon.pid)}


def distant_jobs(count: int) -> str:
    """A configuration with so many jobs of three kinds that are not due within this run."""
    return "timezone: UTC\njobs:\n" + "".join(map(_distant_job, range(count)))


def _distant_job(number: int) -> str:
    """A job of one of three kinds that is not due within this run."""
    hour, minute = (datetime.now(UTC).hour + 6) % 24, number % 60
    when = ("every: 12h", f'cron: "{minute} {hour} * * *"', f'at: "{hour:02}:{minute:02}"')[number % 3]
    return (
        f"  job{number}:\n    run: [/usr/bin/program, --number, {number}]\n    when: {{{when}}}\n    timeout: 10min\n"
    )


def crowd(checkouts: Checkouts, *, quick: bool) -> list[Figure]:
    """Ten thousand jobs: how long any question holds the loop, and how long `agentctl status` takes."""
    rounds = 3 if quick else 7
    with ExitStack() as running:
        contestants: dict[str, Callable[[], Values]] = {}
        for who, checkout in checkouts.items():
            daemon = running.enter_context(Agentd(checkout, distant_jobs(COUNT), HELD))
            contestants[who] = partial(_crowd, checkout, daemon)
        for ask in contestants.values():
            ask()  # what is made once is made from here on
        taken = alternate(rounds, contestants)
    return [
        figure("10,000 jobs, loop held", "ms of CPU", taken, "held_ms", goal=10.0),
        figure("10,000 jobs, agentctl status", "s", taken, "status_s", goal=0.5),
        figure("the same, CPU of agentctl", "s", taken, "client_s"),
        figure("the same, CPU of the daemon", "s", taken, "daemon_s"),
        figure("10,000 jobs, status --json", "s", taken, "json_s"),
    ]


def _crowd(checkout: Checkout, daemon: Agentd) -> Values:
    daemon.held()
    before = usage(daemon.pid)["cpu_s"]
    status = measured([*_AGENTCTL, "status"], checkout, daemon.environment)
    spent = usage(daemon.pid)["cpu_s"] - before
    as_json = measured([*_AGENTCTL, "status", "--json"], checkout, daemon.environment)
    for words in (["next"], ["status", "job17"], ["history", "--decisions"]):
        measured([*_AGENTCTL, *words], checkout, daemon.environment)
    return {
        "held_ms": daemon.held(),
        "status_s": status["s"],
        "client_s": status["cpu_s"],
        "daemon_s": spent,
        "json_s": as_json["s"],
    }
