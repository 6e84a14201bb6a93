"""Runs agentd for long under a steady load, and tells whether its memory, its descriptors and its database stay level.

Twenty short jobs are due each second; the past that is kept is full after some minutes, so that everything grows that
is not bounded. A figure is level where the median of its last third is at most a fiftieth above that of the third
before: what a start and a filling history take comes earlier. Exits with 1 where one is not level, or a run failed.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.bench.running import Agentd, Checkout, memory, usage  # noqa: E402 - agentd's tests are found only now

JOBS = 20
CONFIGURATION = "timezone: UTC\nhistory: {runs: 5000}\njobs:\n" + "".join(
    f"  j{number}: {{run: [/bin/true], when: {{every: 1s}}}}\n" for number in range(JOBS)
)
BOUNDED = ("rss_mib", "supervisor_mib", "descriptors", "database_mib")
LEVEL = 1.02


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=int, default=3600, help="how long")
    options = parser.parse_args()
    checkout = Checkout(ROOT)
    checkout.compile()
    looks: list[dict[str, float]] = []
    with Agentd(checkout, CONFIGURATION) as daemon:
        print(f"agentd {checkout.revision()}, {JOBS} runs a second for {options.seconds} s")
        for look in _looks(daemon, options.seconds):
            looks.append(look)
            print(json.dumps(look), flush=True)
        failed = sum(run["result"] != "success" for run in daemon.runs() if run["state"] == "ended")
    grown = [
        name for name in ("rss_mib", "supervisor_mib", "descriptors", "database_mib") if not _is_level(looks, name)
    ]
    print(f"grown: {', '.join(grown) or 'nothing'}; runs that failed among the last 5000: {failed}")
    return int(bool(grown or failed))


def _looks(daemon: Agentd, seconds: int) -> Iterator[dict[str, float]]:
    """Looks at the daemon sixty times."""
    begin, supervisor = time.monotonic(), daemon.processes()["supervisor"]
    cpu = usage(daemon.pid)["cpu_s"]
    for number in range(1, 61):
        time.sleep(max(0.0, begin + number * seconds / 60 - time.monotonic()))
        last, cpu = cpu, usage(daemon.pid)["cpu_s"]
        yield {
            "at_s": round(time.monotonic() - begin),
            "rss_mib": memory(daemon.pid)["rss_mib"],
            "supervisor_mib": memory(supervisor)["rss_mib"],
            "descriptors": len([*Path(f"/proc/{daemon.pid}/fd").iterdir()]),
            "database_mib": sum(file.stat().st_size for file in (daemon.folder / "state").glob("agentd.db*")) / 2**20,
            "cpu_ms_a_run": 1000 * (cpu - last) / (JOBS * seconds / 60),
        }


def _is_level(looks: list[dict[str, float]], name: str) -> bool:
    values = [look[name] for look in looks]
    third = len(values) // 3
    before, last = statistics.median(values[third : 2 * third]), statistics.median(values[2 * third :])
    return last <= LEVEL * before


if __name__ == "__main__":
    sys.exit(main())
