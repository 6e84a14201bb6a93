"""The five measurements: each returns what it found and whether it is within its goal."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench.peers import lateness, percentile
from tests.bench.running import ROOT, Agentd, memory, usage

HERE = Path(__file__).parent
Figures = dict[str, Any]
IDLE = """timezone: UTC
jobs:
  hourly: {run: [/bin/true], when: {every: 1hour}}
  nightly: {run: [/bin/true], when: {cron: "30 2 * * *"}, missed: skip}
  adaptive: {run: [/bin/true], when: {adaptive: {start: 2h, min: 1h, max: 6h}}}
"""


class Goal(NamedTuple):
    """A value that must not be above its limit."""

    what: str
    value: float
    limit: float

    @property
    def met(self) -> bool:
        return self.value <= self.limit


class Result(NamedTuple):
    figures: Figures
    goals: list[Goal]


# 1. Single starts


def single(*, quick: bool) -> Result:
    """How late single starts are: twenty jobs that run every second, 50 ms apart from each other."""
    count = 80 if quick else 200
    jobs = [f"  {name}: {{run: [/bin/date, +%s%N], when: {{every: 1s}}, jitter: 1s}}\n" for name in _spread(20)]
    others = _others()
    with Agentd("timezone: UTC\njobs:\n" + "".join(jobs)) as daemon:
        time.sleep(0.5)
        first = time.time() * 1e6
        time.sleep(count / 20 + 0.5)
        runs = daemon.ended_runs(lambda run: run["due"] >= first and run["cause"] == "schedule", count)
    runs = [run for run in runs if run["state"] == "ended"][:count]
    dues = sorted(run["due"] for run in runs)
    created = lateness(0.0, ((run["started"] - run["due"]) / 1e6 for run in runs))
    figures = {
        "starts": len(runs),
        "others_cpu_percent": others,
        "apart_at_least_ms": min(later - due for due, later in pairwise(dues)) / 1000,
        "created": created,
        "own_stamp": lateness(0.0, (int(run["tail"]) / 1e9 - run["due"] / 1e6 for run in runs)),
        "sleep_and_popen": _peer("spaced", count),
        "fdatasync": _fdatasync(),
    }
    goals = [
        Goal("single start lateness p99, ms", created["p99_ms"], 5.0),
        Goal("single start before its due time, ms", -created["first_ms"], 0.0),
    ]
    return Result(figures, goals)


def _spread(count: int) -> Iterable[str]:
    """Names of jobs whose jitter within a second is spread evenly on this machine."""
    from agentd.core.times import jitter_offset

    host = Path("/etc/machine-id").read_text().strip() if Path("/etc/machine-id").exists() else ""
    for slot in range(count):
        wanted = (slot * 1_000_000 + 500_000) // count
        names = (f"j{slot}-{number}" for number in range(1_000_000))
        yield next(name for name in names if abs(jitter_offset(host, name, 1_000_000) - wanted) < 3000)


def _fdatasync() -> dict[str, float]:
    """What it costs here to get 4 KiB onto the disk, as agentd does before each start."""
    took = []
    with tempfile.TemporaryFile(prefix="agentd-bench-") as file:
        for _ in range(200):
            os.write(file.fileno(), bytes(4096))
            begin = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - begin) * 1000)
    took.sort()
    return {"p50_ms": percentile(took, 50), "p99_ms": percentile(took, 99)}


# 2. Many jobs at one instant


def burst(*, quick: bool) -> Result:
    """A thousand jobs due at one instant, beside others that start the same program as often."""
    count, rounds = 1000, 1 if quick else 5
    phases = [(2 * number + 1) / (2 * rounds) for number in range(rounds)]
    taken: dict[str, list[Figures]] = {}
    for phase in phases:
        taken.setdefault("agentd", []).append({"others_cpu_percent": _others(), **_burst(count)})
        for peer in PEERS:
            taken.setdefault(peer, []).append({"others_cpu_percent": _others(), **_peer(peer, count, phase)})
    medians = {name: _median(found) for name, found in taken.items()}

    def ratio(peer: str, key: str = "last_ms") -> float:
        pairs = zip(taken["agentd"], taken[peer], strict=True)
        return float(statistics.median(ours[key] / theirs[key] for ours, theirs in pairs))

    best = min(("apscheduler-threads", "apscheduler-asyncio"), key=lambda name: medians[name]["p99_ms"])
    figures = {
        "jobs": count,
        "rounds": rounds,
        "medians": medians,
        "ratio_last_start": {peer: ratio(peer) for peer in PEERS},
        "ratio_all_ended": {peer: ratio(peer, "all_ended_ms") for peer in PEERS if peer.startswith("asyncio")},
        "apscheduler": best,
        "each": taken,
    }
    goals = [Goal("1000 at once: last start against bare asyncio, times", ratio("asyncio"), 1.3)]
    goals += [
        Goal(f"1000 at once: lateness {key} against APScheduler, ms", medians["agentd"][key], medians[best][key])
        for key in ("p50_ms", "p99_ms")
    ]
    first = min(found["first_ms"] for found in taken["agentd"])
    goals.append(Goal("1000 at once: earliest start before its due time, ms", -first, 0.0))
    return Result(figures, goals)


PEERS = (
    "asyncio",
    "asyncio-in-turn",
    "asyncio-pipes",
    "apscheduler-threads",
    "apscheduler-asyncio",
    "apscheduler-pipes",
    "poll-1s",
)


def _burst(count: int) -> Figures:
    for ahead in (4, 10, 20):
        due = int(time.time()) + ahead
        at = datetime.fromtimestamp(due, UTC).strftime("%H:%M:%S")
        jobs = (f'  j{number}: {{run: [/bin/true], when: {{at: "{at}"}}}}\n' for number in range(count))
        with Agentd("concurrency: 2000\ntimezone: UTC\njobs:\n" + "".join(jobs)) as daemon:
            if time.time() > due - 1:
                continue  # too slow to be ready: once more, with more time
            processes = daemon.processes()
            before = {name: usage(pid) for name, pid in processes.items()}
            time.sleep(due + 3 - time.time())
            runs = daemon.ended_runs(lambda run: run["cause"] == "schedule", count)
            spent = {f"{name}_cpu_s": usage(pid)["cpu_s"] - before[name]["cpu_s"] for name, pid in processes.items()}
        stamps = [run["started"] / 1e6 for run in runs]
        succeeded = sum(run["result"] == "success" for run in runs)
        ended = max(run["ended"] for run in runs) / 1e6
        return {"started": len(stamps), "succeeded": succeeded, **lateness(due, stamps, ended), **spent}
    raise RuntimeError("agentd is too slow to load a thousand jobs within 20 s")


# 3. Many jobs in the configuration


_LOAD = """
import json, sys, time
from pathlib import Path
begin = time.perf_counter()
from agentd import config
from agentd.core.engine import Engine
from agentd.core.model import Saved
imported = time.perf_counter()
loaded = config.load(Path(sys.argv[1]))
read = time.perf_counter()
engine = Engine(loaded.config, Saved(), time.time_ns() // 1000)
built = time.perf_counter()
status = Path("/proc/self/status").read_text()
print(json.dumps({"jobs": len(engine.entries), "import_s": imported - begin, "config_s": read - imported,
    "engine_s": built - read, "load_s": built - imported,
    "rss_mib": int(status.partition("VmRSS:")[2].split()[0]) / 1024}))
"""


def load(*, quick: bool) -> Result:
    """Ten thousand jobs: how long they take to load, and how much memory."""
    with Agentd("timezone: UTC\njobs:\n" + "".join(map(_distant_job, range(10_000)))) as daemon:
        first, at_first = daemon.ready_after, memory(daemon.pid)
        daemon.stop()
        daemon.start()
        second, at_second = daemon.ready_after, memory(daemon.pid)
        daemon.stop()
        fresh = [_python("-c", _LOAD, str(daemon.config)) for _ in range(1 if quick else 3)]
    figures = {
        "fresh_process": _median(fresh),
        "first_start": {"answers_after_s": first, **at_first},
        "restart": {"answers_after_s": second, **at_second},
    }
    return Result(figures, [Goal("10,000 jobs: configuration and engine, s", _median(fresh)["load_s"], 2.0)])


def _distant_job(number: int) -> str:
    """A job of one of three kinds that is not due within this run."""
    hour, minute = (datetime.now(UTC).hour + 6) % 24, number % 60
    when = ("every: 12h", f'cron: "{minute} {hour} * * *"', f'at: "{hour:02}:{minute:02}"')[number % 3]
    return (
        f"  job{number}:\n    run: [/usr/bin/program, --number, {number}]\n    when: {{{when}}}\n    timeout: 10min\n"
    )


# 4. Nothing to do


def idle(*, quick: bool) -> Result:
    """What agentd costs while nothing is due."""
    seconds = 10 if quick else 60
    with Agentd(IDLE) as daemon:
        processes = daemon.processes()
        time.sleep(3)  # what a start leaves to do is done
        before = {name: usage(pid) for name, pid in processes.items()}
        begin = time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - begin
        after = {name: usage(pid) for name, pid in processes.items()}
        figures: Figures = {"seconds": took}
        for name, pid in processes.items():
            spent = {key: value - before[name][key] for key, value in after[name].items()}
            spent["cpu_percent"] = 100 * max(spent["cpu_s"], spent["cpu_ticks_s"]) / took
            figures[name] = {**memory(pid), **spent}
    of = figures["daemon"]
    goals = [
        Goal("idle: memory of the daemon, MiB", of["rss_mib"], 36.0),
        Goal("idle: CPU of the daemon, % of a core", of["cpu_percent"], 0.05),
        Goal("idle: wake-ups of the daemon per second", of["voluntary_switches"] / took, 0.99),
    ]
    return Result(figures, goals)


# 5. agentctl


def status(*, quick: bool) -> Result:
    """How long `agentctl status` takes, from its start to its end."""
    command = [sys.executable, "-m", "agentctl", "status"]
    with Agentd(IDLE) as daemon:

        def ask(command: list[str]) -> float:
            begin = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True, env=daemon.environment, cwd=ROOT)
            return (time.perf_counter() - begin) * 1000

        ask(command)
        times = 5 if quick else 15
        took = sorted(ask(command) for _ in range(times))
        bare = sorted(ask([sys.executable, "-c", ""]) for _ in range(times))
    figures = {
        "times": times,
        "median_ms": statistics.median(took),
        "p95_ms": percentile(took, 95),
        "python_alone_ms": statistics.median(bare),
    }
    return Result(figures, [Goal("agentctl status, median, ms", figures["median_ms"], 150.0)])


# Tools


def _others() -> float:
    """How busy the machine is while this program does nothing, in % of all cores: work of somebody else."""
    before = _ticks()
    time.sleep(0.5)
    spent = [later - earlier for earlier, later in zip(before, _ticks(), strict=True)]
    return 100 * (1 - sum(spent[3:5]) / max(1, sum(spent)))  # idle and waiting for the disk


def _ticks() -> list[int]:
    return [int(part) for part in Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]]


def _peer(name: str, count: int, phase: float = 0.0) -> Figures:
    return _python(str(HERE / "peers.py"), name, str(count), str(phase))


def _python(*arguments: str) -> Figures:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=120)
    if done.returncode:
        raise RuntimeError(f"a program to compare with or to measure in failed:\n{done.stderr}")
    figures: Figures = json.loads(done.stdout)
    return figures


def _median(found: list[Figures]) -> Figures:
    return {key: statistics.median(figures[key] for figures in found) for key in found[0]}


MEASURES: dict[str, Callable[..., Result]] = {
    "single": single,
    "burst": burst,
    "load": load,
    "idle": idle,
    "status": status,
}
