"""Measures agentd beside others, on this machine and in the same run.

Each figure is of alternating rounds: what agentd took, what its peer took, the median of their ratios, the goal. With
--before or --checkout another agentd is measured in the same rounds, and compared; --compare does that with two reports
of --json, by the ratios where there is a peer. At the end all figures that have a goal stand together. Exits with 1
when a goal was missed in three quarters of the rounds, when a figure is worse by more than 5 % and its noise (the
spread of the rounds), or when something could not be measured.
"""

import argparse
import json
import math
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.bench.figures import MEASURES  # noqa: E402 - agentd's tests are found only now
from tests.bench.rounds import OTHER, PRESENT, Difference, Figure, between, between_runs, loaded, noise  # noqa: E402
from tests.bench.running import Checkout  # noqa: E402


def main() -> int:
    parser = _parser()
    options = parser.parse_args()
    if options.checkout and not (options.checkout / "agentd/__main__.py").exists():
        parser.error("--checkout: that folder has no agentd in it")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the daemons end with this program
    if options.compare:
        before, after = (loaded(json.loads(file.read_text())) for file in options.compare)
        both = [name for name in before if name in after]
        return int(_print_differences([between_runs(before[name], after[name]) for name in both]))
    with tempfile.TemporaryDirectory(prefix="agentd-bench-before-") as folder:
        checkouts = {PRESENT: Checkout(ROOT)}
        if options.checkout:
            checkouts[OTHER] = Checkout(options.checkout)
        elif options.before and _take_out(options.before, folder):
            checkouts[OTHER] = Checkout(Path(folder), options.before)
        return _measure_all(checkouts, options)


def _take_out(commit: str, folder: str) -> bool:
    """Puts the sources of a commit into a folder; tells so where this repository does not have it."""
    command = 'git archive "$1" agentd agentctl | tar --extract --directory "$2"'
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command, "bash", commit, folder], cwd=ROOT, check=False)
    if done.returncode:
        print(f"there is no commit {commit} here to compare with: a shallow clone has none; git fetch --unshallow")
    return done.returncode == 0


def _measure_all(checkouts: dict[str, Checkout], options: argparse.Namespace) -> int:
    """Takes the measurements that are asked for, prints what came of them, and returns the exit code."""
    for checkout in checkouts.values():
        checkout.compile()
    report: dict[str, Any] = {"machine": _machine(checkouts), "quick": options.quick, "figures": {}, "failed": {}}
    print("; ".join(f"{name} {value}" for name, value in report["machine"].items()))
    figures: list[Figure] = []
    for name in options.only or MEASURES:
        figures += _measure(name, checkouts, report, quick=options.quick)
    report["machine"]["load_after"] = _load()
    if options.json:
        options.json.write_text(json.dumps(_rounded(report)) + "\n")
    missed = [one.name for one in figures if one.verdict == "MISSED"]
    once = {(one.unit, *one.rounds[PRESENT]): one for one in reversed(figures)}  # one value may be beside several peers
    worse = OTHER in checkouts and _print_differences(
        [between(one) for one in reversed(once.values()) if OTHER in one.rounds]
    )
    _print_goals(figures, checkouts)
    print(f"\ngoals missed: {', '.join(missed) or 'none'}; not measured: {', '.join(report['failed']) or 'none'}")
    return int(bool(missed or worse or report["failed"]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and shorter waits: some five minutes")
    parser.add_argument("--only", choices=MEASURES, action="append", help="measure this alone; may come again")
    parser.add_argument("--before", metavar="COMMIT", help="measure the agentd of that commit too")
    parser.add_argument("--checkout", type=Path, metavar="PATH", help="measure the agentd of that folder too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round there, for --compare")
    parser.add_argument("--compare", type=Path, nargs=2, metavar=("BEFORE", "AFTER"), help="compare two reports")
    return parser


def _measure(name: str, checkouts: dict[str, Checkout], report: dict[str, Any], *, quick: bool) -> list[Figure]:
    """Takes one measurement and prints its table."""
    begin = time.monotonic()
    measure = MEASURES[name]
    print(f"\n{name}: {(measure.__doc__ or '').strip()}", flush=True)
    try:
        found = measure(checkouts, quick=quick)
    except (RuntimeError, OSError, KeyError, ValueError, subprocess.SubprocessError) as error:
        report["failed"][name] = type(error).__name__
        print(f"  could not be measured: {type(error).__name__}: {error}")
        return []
    report["figures"] |= {one.name: {k: v for k, v in one._asdict().items() if k != "name"} for one in found}
    print(f"  {'':<34}" + "".join(f"{title:>10}" for title in _titles(checkouts)) + "  peer, unit")
    for one in found:
        print(f"  {one.name:<34}" + "".join(f"{cell:>10}" for cell in _row(one, checkouts)) + f"  {_about(one)}")
    print(f"  ({time.monotonic() - begin:.0f} s)")
    return found


def _print_goals(figures: Iterable[Figure], checkouts: Mapping[str, Checkout]) -> None:
    """Prints what is to be reached beside what is, and what was."""
    print(f"\n  {'what is to be reached':<34}" + "".join(f"{title:>10}" for title in ("before", "now", "goal", "")))
    for one in figures:
        if one.goal is not None:
            before = _shown(statistics.median(one.counted(OTHER))) if OTHER in one.rounds else "-"
            cells = (before, _shown(statistics.median(one.counted(PRESENT))), _shown(one.goal), one.verdict)
            beside = f"beside {one.peer}" if one.peer else one.unit
            print(f"  {one.name:<34}" + "".join(f"{cell:>10}" for cell in cells) + f"  {beside}")
    if OTHER in checkouts:
        print(f"  (before: {checkouts[OTHER].revision()})")


def _titles(checkouts: Iterable[str]) -> list[str]:
    return [*checkouts, "peer", "ratio", "noise", "goal", ""]


def _row(one: Figure, checkouts: Iterable[str]) -> list[str]:
    counted = one.counted(PRESENT)
    return [
        *(_shown(statistics.median(one.rounds[who])) if who in one.rounds else "-" for who in checkouts),
        _shown(statistics.median(one.rounds[one.peer])) if one.peer else "",
        _shown(statistics.median(counted)) if one.peer else "",
        _part(noise(counted)),
        "" if one.goal is None else _shown(one.goal),
        one.verdict,
    ]


def _about(one: Figure) -> str:
    return f"{one.peer}, {one.unit}" if one.peer else one.unit


def _print_differences(differences: list[Difference]) -> bool:
    """Prints what changed; returns whether something became worse."""
    print(f"\n  {'':<34}{'before':>10}{'after':>10}{'change':>10}{'noise':>10}")
    for one in differences:
        cells = (_shown(one.before), _shown(one.after), f"{one.by:+.1%}", _part(one.noise))
        print(f"  {one.name:<34}" + "".join(f"{cell:>10}" for cell in cells) + ("  WORSE" if one.worse else ""))
    return any(one.worse for one in differences)


def _part(value: float) -> str:
    return f"{value:.1%}" if math.isfinite(value) else "?"


def _machine(checkouts: dict[str, Checkout]) -> dict[str, Any]:
    try:
        apscheduler = version("apscheduler")
    except PackageNotFoundError:
        apscheduler = "none"
    return {
        **{who: checkout.revision() for who, checkout in checkouts.items()},
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "apscheduler": apscheduler,
        "load_before": _load(),
    }


def _load() -> float:
    return round(os.getloadavg()[0], 2)


def _shown(value: float) -> str:
    return f"{value:,.3f}" if abs(value) < 10 else f"{value:,.1f}"


def _rounded(value: Any) -> Any:
    """The same with floats that are no longer than they are exact."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    sys.exit(main())
