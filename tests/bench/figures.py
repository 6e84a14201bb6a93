"""The measurements: each returns figures of alternating rounds, with goals that no busy machine decides.

Where time is measured, goals are ratios to a peer of the same rounds. Memory, wake-ups and starts before they are due
are what they are on any machine: their goals are absolute.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path

from tests.bench.crowd import crowd, load
from tests.bench.past import past
from tests.bench.peers import EACH_SECOND, lateness
from tests.bench.rounds import PRESENT, Figure, Taken, alternate, figure, together
from tests.bench.running import Agentd, Checkout, measured, memory, usage
from tests.bench.telling import notices

HERE = Path(__file__).parent
Values = dict[str, float]
Checkouts = Mapping[str, Checkout]
IDLE = """timezone: UTC
jobs:
  hourly: {run: [/bin/true], when: {every: 1hour}}
  nightly: {run: [/bin/true], when: {cron: "30 2 * * *"}, missed: skip}
  adaptive: {run: [/bin/true], when: {adaptive: {start: 2h, min: 1h, max: 6h}}}
"""
SPAWNER = "sleep-and-spawn"


# 1. Single starts


def single(checkouts: Checkouts, *, quick: bool) -> list[Figure]:
    """How late single starts are, 71 ms apart, beside a program that sleeps until each is due and starts it."""
    count, rounds = (60, 3) if quick else (100, 11)
    names, phase = _spread(checkouts[PRESENT], EACH_SECOND, len(checkouts))
    spread = dict(zip(checkouts, names, strict=True))
    # Side by side, not in turn: what else the machine does then delays all of them alike, and they are seldom busy.
    taken = together(rounds, lambda: _single(checkouts, spread, phase, count))
    return [
        figure("single start, p50", "ms late", taken, "p50_ms", peer=SPAWNER, goal=2.0),
        figure("single start, p95", "ms late", taken, "p95_ms", peer=SPAWNER, goal=2.0),
        figure("single start, p99", "ms late", taken, "p99_ms", peer=SPAWNER, goal=2.0),
        figure("single start, before it is due", "ms", _early(taken, checkouts), "early", goal=0.0),
    ]


def _single(checkouts: Checkouts, names: dict[str, list[str]], phase: float, count: int) -> dict[str, Values]:
    with ExitStack() as running:
        daemons = {
            who: running.enter_context(Agentd(checkout, _jittered(names[who], "1s")))
            for who, checkout in checkouts.items()
        }
        time.sleep(0.5)
        first = time.time() * 1e6
        found = {SPAWNER: _peer("spaced", count, phase)}  # which takes as long as agentd needs for so many
        time.sleep(0.5)
        for who, daemon in daemons.items():
            runs = daemon.ended_runs(lambda run: run["due"] >= first and run["cause"] == "schedule", count)
            runs = [run for run in runs if run["state"] == "ended"][:count]
            dues = sorted(run["due"] for run in runs)
            if min(later - due for due, later in pairwise(dues)) < 20_000:
                raise RuntimeError("the due times of the jobs are not spread evenly")
            found[who] = lateness(0.0, ((run["started"] - run["due"]) / 1e6 for run in runs))
    return found


def _jittered(names: Iterable[str], every: str) -> str:
    jobs = (f"  {name}: {{run: [/bin/true], when: {{every: {every}}}, jitter: 1s}}\n" for name in names)
    return "timezone: UTC\njobs:\n" + "".join(jobs)


def _spread(checkout: Checkout, count: int, agentds: int) -> tuple[list[list[str]], float]:
    """Names of jobs whose jitter within a second is spread evenly on this machine, as agentd itself tells it: a list
    for each of so many agentds, and the part of a second at which the spawner begins. None is due when another is, as
    who starts a process at the same moment delays the other."""
    with Agentd(checkout, _jittered((f"j{number}" for number in range(2000)), "1h")) as one:
        due = {job["name"]: job["next"] for job in one.jobs()}
    # Cut anywhere: the first and the last are as far apart as the others.
    first, slot = min(due.values()), 1_000_000 // count

    def named(beside: int) -> list[str]:
        wanted = [first + slot * number + beside * slot // (agentds + 1) for number in range(count)]
        return [min(due, key=lambda name: abs(due[name] - instant)) for instant in wanted]

    return [*map(named, range(agentds))], (first + agentds * slot // (agentds + 1)) % 1_000_000 / 1e6


# 2. Many jobs at one instant


OF_GOALS = ("asyncio", "apscheduler-threads", "apscheduler-asyncio")
FLOOR = "two-spawners"  # nobody who starts so many on this machine can be quicker by much
TOLD = ("asyncio-in-turn", "asyncio-pipes", "apscheduler-pipes", "poll-1s")


def burst(checkouts: Checkouts, *, quick: bool) -> list[Figure]:
    """A thousand jobs due at one instant, beside others that start the same program as often."""
    count, rounds = 1000, 3 if quick else 7
    phases = iter([(2 * number + 1) / (2 * rounds) for number in range(rounds)])
    contestants: dict[str, Callable[[], Values]] = {
        who: partial(_burst, checkout, count) for who, checkout in checkouts.items()
    }
    contestants |= {peer: partial(_peer, peer, count) for peer in (*OF_GOALS, FLOOR)}
    if not quick:
        contestants |= {peer: partial(_peer, peer, count) for peer in TOLD[:-1]}
        contestants["poll-1s"] = lambda: _peer("poll-1s", count, next(phases))
    taken = alternate(rounds, contestants)
    early = _early(taken, checkouts)
    found = [
        figure("1000 at once, last start", "ms late", taken, "last_ms", peer="asyncio", goal=1.3),
        figure("1000 at once, all ended", "ms after", taken, "all_ended_ms", peer="asyncio"),
    ]
    for key in ("p50_ms", "p99_ms"):
        best = min(OF_GOALS[1:], key=lambda peer: sum(taken[peer][key]))
        goal = 1.0 if key == "p50_ms" else 0.8
        found.append(figure(f"1000 at once, {key[:-3]}", "ms late", taken, key, peer=best, goal=goal))
    found.append(figure("1000 at once, p99, the floor", "ms late", taken, "p99_ms", peer=FLOOR, goal=1.3))
    found += [figure(f"1000 at once, p99, {peer}", "ms late", taken, "p99_ms", peer=peer) for peer in TOLD if not quick]
    found += [
        figure(f"1000 at once, CPU of the {name}", "s", taken, f"{name}_cpu_s") for name in ("daemon", "supervisor")
    ]
    return [*found, figure("1000 at once, before they are due", "ms", early, "early", goal=0.0)]


def _burst(checkout: Checkout, count: int) -> Values:
    for ahead in (4, 10, 20):
        due = int(time.time()) + ahead
        at = datetime.fromtimestamp(due, UTC).strftime("%H:%M:%S")
        jobs = "".join(f'  j{number}: {{run: [/bin/true], when: {{at: "{at}"}}}}\n' for number in range(count))
        with Agentd(checkout, f"concurrency: 2000\ntimezone: UTC\njobs:\n{jobs}") as daemon:
            if time.time() > due - 1:
                continue  # too slow to be ready: once more, with more time
            processes = daemon.processes()
            before = {name: usage(pid) for name, pid in processes.items()}
            time.sleep(due + 3 - time.time())
            runs = daemon.ended_runs(lambda run: run["cause"] == "schedule", count)
            spent = {f"{name}_cpu_s": usage(pid)["cpu_s"] - before[name]["cpu_s"] for name, pid in processes.items()}
        if failed := count - sum(run["result"] == "success" for run in runs):
            raise RuntimeError(f"{failed} of {count} runs failed")
        ended = max(run["ended"] for run in runs) / 1e6
        return {**lateness(due, (run["started"] / 1e6 for run in runs), ended), **spent}
    raise RuntimeError("agentd is too slow to load a thousand jobs within 20 s")


# 3. Many short jobs, again and again


def short(checkouts: Checkouts, *, quick: bool) -> list[Figure]:
    """Forty jobs of 20 ms every second, for a minute: an end that is seen late costs the next due time."""
    seconds = 10 if quick else 60
    taken = alternate(3, {who: partial(_short, checkout, 40, seconds) for who, checkout in checkouts.items()})
    return [
        figure("40 short jobs, due times skipped", "due times", taken, "skipped", goal=0.0),
        figure("40 short jobs, start, p99", "ms late", taken, "p99_ms"),
        figure("40 short jobs, follower, p50", "ms after the end", taken, "follower_ms"),
        figure("40 short jobs, CPU of the daemon", "ms a run", taken, "cpu_ms"),
    ]


def _short(checkout: Checkout, count: int, seconds: int) -> Values:
    jobs = "".join(f"  j{number}: {{run: [sleep, '0.02'], when: {{every: 1s}}}}\n" for number in range(count))
    with Agentd(
        checkout, f"timezone: UTC\njobs:\n{jobs}  follower: {{run: [/bin/true], when: {{after: j7}}}}\n"
    ) as daemon:
        time.sleep(1)
        before, begin = usage(daemon.pid), time.time() * 1e6
        time.sleep(seconds)
        spent = usage(daemon.pid)["cpu_s"] - before["cpu_s"]
        runs = [run for run in daemon.runs() if run["state"] == "ended"]
    dues: dict[str, list[float]] = {}
    for run in runs:
        if run["cause"] == "schedule":
            dues.setdefault(run["job"], []).append(run["due"])
    late = [(run["started"] - run["due"]) / 1e6 for run in runs if run["cause"] == "schedule"]
    ends = sorted(run["ended"] for run in runs if run["job"] == "j7")
    decided = sorted(run["due"] for run in runs if run["job"] == "follower")
    after = sorted((due - end) / 1000 for end, due in zip(ends, decided, strict=False))
    return {
        "skipped": sum((max(due) - min(due)) / 1e6 + 1 - len(due) for due in dues.values()),
        "p99_ms": lateness(0.0, late)["p99_ms"],
        "follower_ms": after[len(after) // 2],
        "cpu_ms": 1000 * spent / sum(run["started"] >= begin for run in runs),
    }


# 4. Nothing to do


def idle(checkouts: Checkouts, *, quick: bool) -> list[Figure]:
    """What agentd costs while nothing is due, beside an asyncio program that wakes up once a second."""
    seconds, rounds = (5, 3) if quick else (20, 3)
    taken = together(rounds, lambda: _idle(checkouts, seconds))  # side by side: nobody is in anybody's way
    peer = "asyncio-idle"
    return [
        figure("idle, memory", "MiB", taken, "rss_mib", goal=28.0),
        figure("idle, memory to asyncio's", "MiB", taken, "rss_mib", peer=peer),
        figure("idle, memory of the supervisor", "MiB", taken, "supervisor_rss_mib", goal=10.0),
        figure("idle, CPU", "ms a second", taken, "cpu_ms", peer=peer, goal=1.0),
        figure("idle, wake-ups", "a second", taken, "wakeups", goal=0.99),
    ]


def _idle(checkouts: Checkouts, seconds: float) -> dict[str, Values]:
    command = [sys.executable, str(HERE / "peers.py"), "asyncio-idle", "0", "0"]
    with ExitStack() as running:
        peer = running.enter_context(subprocess.Popen(command))
        running.callback(peer.terminate)
        daemons = {who: running.enter_context(Agentd(checkout, IDLE)) for who, checkout in checkouts.items()}
        processes = {**{who: daemon.pid for who, daemon in daemons.items()}, "asyncio-idle": peer.pid}
        time.sleep(3)  # what a start leaves to do is done
        before = {who: usage(pid) for who, pid in processes.items()}
        begin = time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - begin
        found = {}
        for who, pid in processes.items():
            spent = {key: value - before[who][key] for key, value in usage(pid).items()}
            found[who] = {
                "rss_mib": memory(pid)["rss_mib"],
                "cpu_ms": 1000 * spent["cpu_s"] / took,
                "wakeups": spent["voluntary_switches"] / took,
            }
        for who, daemon in daemons.items():
            found[who]["supervisor_rss_mib"] = memory(daemon.processes()["supervisor"])["rss_mib"]
        return found


# 5. Rules


def rules(checkouts: Checkouts, *, quick: bool) -> list[Figure]:
    """What a hundred rules on fifty KPIs cost, beside an agentd without a rule; goals are parts of a core and MiB. A
    minute of that has in it once what is stored every minute, on a thread that waits for the disk then."""
    seconds, rounds = (10, 3) if quick else (60, 5)
    taken = together(rounds, lambda: _rules(checkouts[PRESENT], seconds))
    return [
        figure("100 rules at 1 s, CPU", "ms a second", taken, "cpu_ms", goal=1.0),
        figure("a rule and sample, CPU", "us", taken, "rule_us", goal=10.0),
        figure("100 rules, memory", "MiB more", taken, "more_mib", goal=2.0),
        figure("every part configured, memory", "MiB more", taken, "all_mib", goal=4.0),
        figure("a rule at 5 s, wake-ups", "a minute more", taken, "wakeups", goal=12.0),
        figure("the same, with waits of threads", "a minute more", taken, "switches"),
    ]


def _rules(checkout: Checkout, seconds: float) -> dict[str, Values]:
    with ExitStack() as running:
        daemons = {
            name: running.enter_context(Agentd(checkout, text))
            for name, text in (
                ("none", IDLE),
                ("hundred", _rules_on_fifty(100)),
                ("fifty", _rules_on_fifty(50)),
                ("one", IDLE + _ONE_RULE),
                ("all", _everything()),
            )
        }
        time.sleep(3)
        before = {name: usage(daemon.pid) for name, daemon in daemons.items()}
        begin = time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - begin
        spent = {
            name: {key: value - before[name][key] for key, value in usage(daemon.pid).items()}
            for name, daemon in daemons.items()
        }
        resident = {name: memory(daemon.pid)["rss_mib"] for name, daemon in daemons.items()}
    return {
        PRESENT: {
            "cpu_ms": 1000 * (spent["hundred"]["cpu_s"] - spent["none"]["cpu_s"]) / took,
            "rule_us": 1e6 * (spent["hundred"]["cpu_s"] - spent["fifty"]["cpu_s"]) / took / 50,
            "more_mib": resident["hundred"] - resident["none"],
            "all_mib": resident["all"] - resident["none"],
            "wakeups": 60 * (spent["one"]["wakeups"] - spent["none"]["wakeups"]) / took,
            "switches": 60 * (spent["one"]["voluntary_switches"] - spent["none"]["voluntary_switches"]) / took,
        }
    }


_ONE_RULE = 'rules: {memory: {when: "MemoryUsage > 99%", do: Notify}}\n'


def _rules_on_fifty(count: int) -> str:
    """A configuration with so many rules that never fire, on fifty KPIs of the machine, of agentd and of jobs."""
    hosts = ("MemoryUsage", "CpuUsage", "LoadPerCpu", "AgentCpu", "Pressure:memory", "Pressure:cpu", "Pressure:io")
    agents = ("AgentTasks", "AgentOpenFiles", "OomKills", "QueueDepth", "TaskThroughput", "ErrorRate", "DiskUsage:/")
    kpis = [*hosts, *agents, *(f"JobFailing:j{number}" for number in range(36))]
    forms = (
        "{} > 100000 for 5m",
        "{0} > 100000 AND {0} > 200000 for 1m",
        "avg({}, 10m) > 100000",
        "{} > 100000 for 3 of 5",
    )
    rules = "".join(
        f'  r{number}: {{when: "{forms[number % 4].format(kpis[number % 50])}", do: Notify}}\n'
        for number in range(count)
    )
    jobs = "".join(f"  j{number}: {{run: [/bin/true], when: {{every: 12h}}}}\n" for number in range(36))
    return f"timezone: UTC\nsampling: {{every: 1s}}\njobs:\n{jobs}rules:\n{rules}"


def _everything() -> str:
    """A configuration with all that a part may be told: those rules, learning, a channel, schedulers."""
    job = "  adaptive: {run: [/bin/true], when: {adaptive: {start: 2h, min: 1h, max: 6h}}, notify: [failure]}\n"
    parts = "learning: {mode: on}\nnotices: {channels: {phone: {credential: phone}}}\nscheduler: {probation: 1min}\n"
    return _rules_on_fifty(100).replace("jobs:\n", f"jobs:\n{job}", 1) + parts


# 6. Starts of programs


def status(checkouts: Checkouts, *, quick: bool) -> list[Figure]:
    """How long `agentctl status` and the daemon take from exec to the answer, beside Python's bare start."""
    rounds = 7 if quick else 21
    with ExitStack() as running:
        contestants: dict[str, Callable[[], Values]] = {}
        for who, checkout in checkouts.items():
            daemon = running.enter_context(Agentd(checkout, IDLE))
            contestants[who] = partial(_status, checkout, daemon)
        contestants["Python alone"] = partial(measured, [sys.executable, "-c", ""])
        for ask in contestants.values():
            ask()  # what is on the disk is in memory from here on
        taken = alternate(rounds, contestants)
    peer = "Python alone"
    return [
        figure("agentctl status", "s", taken, "s", peer=peer, goal=4.0),
        figure("agentctl status, CPU", "s", taken, "cpu_s", peer=peer, goal=4.0),
        figure("agentctl --version", "s", taken, "version_s", peer=peer, key_of_peer="s"),
        figure("start of the daemon", "s", taken, "start_s", peer=peer, key_of_peer="s"),
    ]


def _status(checkout: Checkout, daemon: Agentd) -> Values:
    asked = measured([sys.executable, "-m", "agentctl", "status"], checkout, daemon.environment)
    version = measured([sys.executable, "-m", "agentctl", "--version"], checkout, daemon.environment)
    with Agentd(checkout, IDLE) as fresh:
        return {**asked, "version_s": version["s"], "start_s": fresh.ready_after}


# Tools


def _early(taken: Taken, checkouts: Checkouts) -> Taken:
    """By how much the earliest start came before its due time. Once is too often, so it stands in every round."""
    firsts = {who: taken[who]["first_ms"] for who in checkouts}
    return {who: {"early": [max(0.0, -min(first))] * len(first)} for who, first in firsts.items()}


def _peer(name: str, count: int, phase: float = 0.0) -> Values:
    command = [sys.executable, str(HERE / "peers.py"), name, str(count), str(phase)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise RuntimeError(f"a program to compare with failed:\n{done.stderr}")
    figures: Values = json.loads(done.stdout)
    return figures


MEASURES: dict[str, Callable[..., list[Figure]]] = {
    "single": single,
    "burst": burst,
    "short": short,
    "load": load,
    "idle": idle,
    "rules": rules,
    "notices": notices,
    "status": status,
    "crowd": crowd,
    "past": past,
}
