"""A daemon with a long past: its start, what a person waits for beside questions, and what is forgotten.

The database is the daemon's own, of any checkout: the daemon made its tables, and the runs are put in beside it.
"""

import os
import signal
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import cycle, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tests.bench.rounds import PRESENT, Figure, alternate, figure
from tests.bench.running import PATIENCE, Agentd, Checkout, usage

Values = dict[str, float]
JOBS = 200
_FRESH = "agentd without a past"
_SPACING = 5_000_000  # microseconds from one run to the next: a million of them are 58 days
_TAIL = 160  # bytes of output that a run keeps in the database
_NUMBERS = "WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < :count)"
_RUNS = f"""{_NUMBERS}
    INSERT INTO runs (seq, job, due, cause, attempt, state, not_before, started, ended, result, exit_code, signal,
                      cpu_usec, peak_memory, progress, reason, tail)
    SELECT n, 'job' || (n % :jobs), :last - (:count - n) * :spacing, 'schedule', 1, 'ended', 0,
           :last - (:count - n) * :spacing + 900, :last - (:count - n) * :spacing + 4000,
           CASE n % 50 WHEN 0 THEN 'exit-code' ELSE 'success' END, n % 50 = 0, '', 1500, 2000000, '', '', :tail
    FROM number"""
_DECISIONS = f"""{_NUMBERS}
    INSERT INTO decisions (at, kind, {{about}}, run_id, reason)
    SELECT :last - (:count - n) * :spacing, 'start', 'job' || (n % :jobs), 'job' || (n % :jobs) || '.' || n,
           'it was due at a certain instant'
    FROM number"""
_QUESTIONS: tuple[dict[str, tuple[str, object]], ...] = (
    {"limit": ("u", 1000), "tail": ("b", True)},
    {"result": ("s", "oom-kill")},
    {"job": ("s", "job7"), "failed": ("b", True), "limit": ("u", 1000)},
    {"since": ("t", 1)},
)


def fill(file: Path, count: int, jobs: int = JOBS) -> None:
    """Puts so many runs that have ended, of so many jobs, and as many decisions into a database that no daemon has
    open; the last of them ended a moment ago. A million take half a minute and 400 MB."""
    values = {"count": count, "jobs": jobs, "last": time.time_ns() // 1000 - _SPACING, "spacing": _SPACING}
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous=OFF")
        columns = {name for _, name, *_ in db.execute("PRAGMA table_info(decisions)")}
        db.execute("BEGIN")
        db.execute(_RUNS, {**values, "tail": "x" * _TAIL})
        db.execute(_DECISIONS.format(about="about" if "about" in columns else "job"), values)
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def past(checkouts: Mapping[str, Checkout], *, quick: bool) -> list[Figure]:
    """A million runs of two hundred jobs: how soon agentd answers, beside one that has no past; how long whoever has a
    job run waits for the answer while others ask for the history, and while nine tenths of it are forgotten; what is
    written for a run."""
    count, rounds = 100_000 if quick else 1_000_000, 3
    with ExitStack() as running:
        daemons = {}
        for who, checkout in checkouts.items():
            daemon = running.enter_context(Agentd(checkout, _configuration(count)))
            daemon.stop()
            fill(daemon.folder / "state" / "agentd.db", count)
            daemon.start()  # what is done once for so large a database is done
            time.sleep(count / 50_000)
            daemons[who] = daemon
        contestants = {who: partial(_lived, daemon) for who, daemon in daemons.items()}
        fresh = running.enter_context(Agentd(checkouts[PRESENT], _configuration(count)))
        taken = alternate(rounds, {**contestants, _FRESH: partial(_started, fresh)})
        forgotten = alternate(1, {who: partial(_forgotten, daemon, count) for who, daemon in daemons.items()})
    name = f"{count:,} runs"
    return [
        figure(f"{name}, start", "s", taken, "start_s", peer=_FRESH, goal=1.5),
        figure(f"{name}, start, CPU", "s", taken, "start_cpu_s", peer=_FRESH, goal=1.5),
        figure(f"{name}, until a start by hand is answered, CPU", "ms", taken, "quiet_ms"),
        figure(f"{name}, the same while history is asked for", "ms", taken, "asked_ms", goal=5.0),
        figure(f"{name}, the same, p90", "ms", taken, "asked_p90_ms"),
        figure(f"{name}, the same while most is forgotten, p90", "ms", forgotten, "p90_ms", goal=20.0),
        figure(f"{name}, written for a run", "KB", taken, "written_kb"),
    ]


def _configuration(count: int) -> str:
    jobs = "".join(f"  job{number}: {{run: [/bin/true], when: {{every: 12h}}}}\n" for number in range(JOBS))
    return f"timezone: UTC\nhistory: {{runs: {2 * count}}}\njobs:\n{jobs}"


def _started(daemon: Agentd) -> Values:
    """What the daemon's next start costs, until it answers."""
    daemon.stop()
    daemon.start()
    return {"start_s": daemon.ready_after, "start_cpu_s": usage(daemon.pid)["cpu_s"]}


def _lived(daemon: Agentd) -> Values:
    """What a life costs: from the start, which is the daemon's next, to its last question."""
    started = _started(daemon)
    time.sleep(2)  # what a start leaves to do is done
    jobs = cycle(range(JOBS))  # one that was started a moment ago may still be under way
    before = _written(daemon.pid)
    quiet = _starts_by_hand(daemon, jobs, 40)
    time.sleep(2)
    written = (_written(daemon.pid) - before) / len(quiet) / 1000
    asking = get_context("spawn").Process(target=ask_for_ever, args=(_address(daemon),), daemon=True)
    asking.start()  # a process: what it does with the answers would keep a thread beside it waiting
    try:
        time.sleep(1)
        asked = _starts_by_hand(daemon, jobs, 100)
    finally:
        asking.terminate()
        asking.join()
    return {
        **started,
        "quiet_ms": statistics.median(quiet),
        "asked_ms": statistics.median(asked),
        "asked_p90_ms": statistics.quantiles(asked, n=10)[-1],
        "written_kb": written,
    }


def _forgotten(daemon: Agentd, count: int) -> Values:
    """How long starts by hand take while nine tenths of the past are forgotten, or as much as ten seconds are for."""
    daemon.config.write_text(daemon.config.read_text().replace(f"runs: {2 * count}", f"runs: {count // 10}"))
    os.kill(daemon.pid, signal.SIGHUP)
    begin, jobs, waited = time.monotonic(), cycle(range(JOBS)), []
    while time.monotonic() < begin + 10:
        waited += _starts_by_hand(daemon, jobs, 10)
    return {"p90_ms": statistics.quantiles(waited, n=10)[-1]}


def _starts_by_hand(daemon: Agentd, jobs: Iterator[int], count: int) -> list[float]:
    """Has so many of the jobs run, one after the other; returns of each how many milliseconds of processor time the
    daemon took, for this and for whatever else, until it answered: the part of the wait that the machine does not have
    in it."""
    took = []
    with _asking(_address(daemon)) as ask:
        for number in islice(jobs, count):
            before = usage(daemon.pid)["cpu_s"]
            ask("RunJob", "sa{sv}", (f"job{number}", {}))
            took.append(1000 * (usage(daemon.pid)["cpu_s"] - before))
            time.sleep(0.02)
    return took


def ask_for_ever(address: str) -> None:
    """Asks for the history in many ways, again and again."""
    with _asking(address) as ask:
        while True:
            for question in _QUESTIONS:
                ask("ListRuns", "a{sv}", (question,))


@contextmanager
def _asking(address: str) -> Iterator[Callable[..., Any]]:
    """Asks on a connection of its own."""
    from jeepney import DBusAddress, new_method_call
    from jeepney.io.blocking import open_dbus_connection

    jobs = DBusAddress("/org/agentd1", "org.agentd1", "org.agentd1.Jobs")
    with closing(open_dbus_connection(bus=address)) as connection:

        def ask(member: str, signature: str, body: tuple[object, ...]) -> Any:
            reply = connection.send_and_get_reply(new_method_call(jobs, member, signature, body), timeout=PATIENCE)
            if reply.header.message_type.name == "error":
                raise RuntimeError(f"agentd answered with an error: {reply.body}")
            return reply.body

        yield ask


def _address(daemon: Agentd) -> str:
    (published,) = (daemon.folder / "agentd").glob("address*")
    return published.read_text().splitlines()[0]


def _written(pid: int) -> float:
    """The bytes that a process has written so far, the answers to its clients among them."""
    fields = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return float(fields["wchar"])
