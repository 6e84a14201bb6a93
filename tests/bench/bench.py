"""Measures agentd beside others, on this machine and in the same run.

Prints tables, and as the last line one JSON object with every figure and whether each goal was met. Exits with 1
when something could not be measured; a goal that was missed is a finding, not an error of this program.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.bench.figures import MEASURES, Result  # noqa: E402 - agentd itself is found only now


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and shorter waits: about a minute")
    parser.add_argument("--only", choices=MEASURES, action="append", help="measure this alone; may come again")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the daemons end with this program
    report: dict[str, Any] = {"machine": _machine(), "quick": options.quick, "measures": {}, "goals": []}
    print("; ".join(f"{name} {value}" for name, value in report["machine"].items()))
    print("Other work on this machine makes every figure worse: compare within a run, not between runs.")
    for name in options.only or MEASURES:
        begin = time.monotonic()
        measure = MEASURES[name]
        print(f"\n{name}: {(measure.__doc__ or '').strip()}", flush=True)
        try:
            result: Result = measure(quick=options.quick)
        except (RuntimeError, OSError, KeyError, ValueError, subprocess.SubprocessError) as error:
            report["measures"][name] = {"error": f"{type(error).__name__}: {error}"}
            print(f"  could not be measured: {type(error).__name__}: {error}\n{_said(error)}")
            continue
        report["measures"][name] = {**result.figures, "took_s": time.monotonic() - begin}
        report["goals"] += [
            {"goal": goal.what, "value": goal.value, "limit": goal.limit, "met": goal.met} for goal in result.goals
        ]
        _print_table({key: value for key, value in result.figures.items() if key != "each"})
    print("\ngoals:")
    for goal in report["goals"]:
        word = "met   " if goal["met"] else "MISSED"
        print(f"  {word} {goal['goal']}: {goal['value']:.3g} (at most {goal['limit']:.3g})")
    failed = [name for name, figures in report["measures"].items() if "error" in figures]
    report["all_met"] = not failed and all(goal["met"] for goal in report["goals"])
    report["machine"]["load_after"] = _load()
    print(json.dumps(_rounded(report)))
    return 1 if failed else 0


def _machine() -> dict[str, Any]:
    try:
        apscheduler = version("apscheduler")
    except PackageNotFoundError:
        apscheduler = "none"
    return {
        "revision": _revision(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "apscheduler": apscheduler,
        "load_before": _load(),
    }


def _revision() -> str:
    """Which agentd this is; with a + when its code was changed since that commit."""
    try:
        command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def _load() -> float:
    return round(os.getloadavg()[0], 2)


def _said(error: Exception) -> str:
    """What a program that failed wrote."""
    output = getattr(error, "stderr", None) or getattr(error, "output", None) or b""
    return output.decode(errors="replace") if isinstance(output, bytes) else str(output)


def _print_table(figures: dict[str, Any]) -> None:
    """Groups that have the same columns share a table; single figures get a line each."""
    columns: list[str] = []
    for name, group in _groups(figures):
        if list(group) != columns:
            columns = list(group)
            print(f"  {'':<26}" + "".join(f"{column:>{_width(column)}}" for column in columns))
        print(f"  {name:<26}" + "".join(f"{_shown(value):>{_width(column)}}" for column, value in group.items()))
    for name, value in figures.items():
        if not isinstance(value, dict):
            print(f"  {name:<26}{_shown(value)}")


def _groups(figures: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, value in figures.items():
        if isinstance(value, dict) and any(isinstance(item, dict) for item in value.values()):
            yield from _groups(value)
        elif isinstance(value, dict):
            yield prefix + name, value


def _width(column: str) -> int:
    return max(len(column), 9) + 2


def _shown(value: Any) -> str:
    return f"{value:,.3f}" if isinstance(value, float) else str(value)


def _rounded(value: Any) -> Any:
    """The same with floats that are no longer than they are exact."""
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    sys.exit(main())
