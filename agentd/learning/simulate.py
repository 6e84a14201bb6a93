"""The program behind `agentctl learning simulate`: what each way to choose an interval would have cost with old events.

    python -P -m agentd.learning.simulate [--cost SECONDS] [--start 5min] [--min 30s] [--max 6h] [--json] FILE...

FILE is one of lines as of events.py, or "-" for stdin. A history goes from its first event to its last. stdout has what
each way would have cost, stderr everything else. Exit codes: 0 replayed, 1 the output could not be written, 2 a file or
an option is none that can be replayed.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import BinaryIO, NamedTuple, NoReturn

from agentd.core.learning import simulation, weights
from agentd.core.learning.learner import Terms
from agentd.core.learning.mlp import Mlp
from agentd.core.learning.simulation import Choose, Cost, Summary
from agentd.core.learning.weights import Unusable
from agentd.core.quantities import DAY, SECOND, format_duration, parse_duration
from agentd.learning import events, networks
from agentd.learning.events import Foreign, legible

MOST_RUNS = 120_000
"""The most runs of agentd in a replay, which takes a tenth of a millisecond for each."""
_MOST_OF_OTHERS = 16 * MOST_RUNS
MOST_COST = 1e6
"""The most seconds of processor time that a run may take."""
_MOST_SPAN = 10 * 366 * DAY // SECOND
_LEAST_STARTS = 10
_NUMBER = re.compile(r"\d+(\.\d*)?(e[-+]?\d+)?", re.ASCII | re.IGNORECASE)
_TITLES = {
    "keep": "keep {start}",
    "aimd": "AIMD",
    "aimd-tuned": "AIMD, tuned in hindsight",
    "ewma": "EWMA of the gaps",
    "gamma-poisson": "Gamma-Poisson, one memory",
    "original": "agentd's forerunner",
    "agentd-without-mlp": "agentd without its network",
    "agentd": "agentd",
}


class _Wrong(Exception):
    """Ends the program; the text is told on stderr."""


class History(NamedTuple):
    """The history of a file, in seconds from its first event."""

    name: str
    events: list[float]
    length: float
    began: float
    """The instant of the first event, in seconds since 1970 where the file has dates."""


class Replayed(NamedTuple):
    """The outcome for a history: the best fixed interval in seconds, what that would have cost, and by the name of each
    way what it would have cost, and that over the cost of the best fixed interval."""

    history: History
    best: float
    ideal: Cost
    ways: dict[str, tuple[Cost, float]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Replays events; returns the exit code."""
    options = _parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")  # for a terminal that is not UTF-8
    try:
        terms, cost = _terms(options), _cost(options.cost)
        _check_names(options.files)
        model = first_model()
        if model is None:
            print("this agentd has no network: agentd decides without", file=sys.stderr)
        # All files are read first: an error in the last one does not come after minutes.
        histories = [_history(name, terms) for name in options.files]
        found = [_replay(history, cost, terms, model) for history in histories]
        _print(found, terms, as_json=options.json)
        sys.stdout.flush()
    except (_Wrong, Foreign, Unusable) as wrong:
        print(wrong, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        return _unwritten(error)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("agentd.learning.simulate", description="Replays events through agentd's choice.")
    parser.add_argument("files", nargs="+", metavar="FILE", help='a file with a time a line, or "-" for stdin')
    parser.add_argument("--cost", default="1", metavar="SECONDS", help="processor time of a run")
    parser.add_argument("--start", default="5min", metavar="DURATION", help="the interval to begin with")
    parser.add_argument("--min", default="30s", metavar="DURATION", help="the shortest interval")
    parser.add_argument("--max", default="6h", metavar="DURATION", help="the longest interval")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    return parser


def _unwritten(error: OSError) -> int:
    """Tells of output that could not be written, but where the reader has just gone; returns the exit code."""
    if not isinstance(error, BrokenPipeError):
        print(f"the output could not be written: {error.strerror}", file=sys.stderr)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is buffered must not be tried again at exit
    return 1


@lru_cache(maxsize=1)
def first_model() -> Mlp | None:
    """Returns the network that comes with agentd, or None where there is none. Raises Unusable and OSError."""
    try:
        return weights.network(networks.parse(networks.FIRST))
    except FileNotFoundError:
        return None


# --- the options


def _terms(options: argparse.Namespace) -> Terms:
    """Returns the terms that the options are. Raises _Wrong."""
    found = {}
    for name in ("start", "min", "max"):
        try:
            found[name] = parse_duration(getattr(options, name)) / SECOND
        except ValueError as error:
            raise _Wrong(f"--{name}: {error}") from None
    if found["min"] < 1:
        raise _Wrong(f"--min: {legible(options.min)} is too short: expected at least 1s, as for a job")
    if not found["min"] <= found["start"] <= found["max"]:
        wanted = f"--min {options.min}, --start {options.start}, --max {options.max}"
        raise _Wrong(f"{wanted}: start must lie between min and max")
    return Terms(start=found["start"], shortest=found["min"], longest=found["max"])


def _cost(text: str) -> float:
    """Returns the seconds of processor time of a run. Raises _Wrong."""
    if not _NUMBER.fullmatch(text) or not float(text) <= MOST_COST:
        raise _Wrong(f"--cost: {legible(text)}: expected seconds of processor time from 0 to {MOST_COST:.0f}")
    return float(text)


def _check_names(names: Sequence[str]) -> None:
    """Raises _Wrong where a file is named twice: each has one row."""
    for name in names:
        if names.count(name) > 1:
            raise _Wrong(f"{'stdin' if name == '-' else legible(name)} is named twice: expected each file once")


# --- the files


def _history(name: str, terms: Terms) -> History:
    """Returns the history of a file. Raises _Wrong and Foreign."""
    shown = "stdin" if name == "-" else legible(name)[1:-1]
    with ExitStack() as opened:
        try:
            stream = sys.stdin.buffer if name == "-" else opened.enter_context(Path(name).open("rb"))
            found = events.read(_lines(stream), shown)
        except (OSError, ValueError) as error:  # a name with a NUL in it is a ValueError
            said = getattr(error, "strerror", None) or str(error)
            raise _Wrong(f"{shown}: cannot be read: {said[:1].lower()}{said[1:]}") from None
    first = found.at[0]
    history = History(shown, [at - first for at in found.at], found.at[-1] - first, first)
    _check_length(history, terms)
    if found.guessed:
        print(f"{shown}: its times have no zone and are taken as UTC", file=sys.stderr)
    return history


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """Yields the lines; of one that is too long no more than the beginning."""
    return iter(lambda: stream.readline(events.LONGEST + 1), b"")


def _check_length(history: History, terms: Terms) -> None:
    """Raises _Wrong where a history is too short to choose in, or too long to go through."""
    least = _LEAST_STARTS * terms.start
    if history.length < least:
        raise _Wrong(
            f"{history.name}: its events span {span(history.length)}: expected at least {span(least)}, ten times the "
            "interval to begin with (--start)"
        )
    if history.length > _MOST_SPAN:
        raise _Wrong(
            f"{history.name}: its events span {history.length / 86_400:.0f} days: expected ten years at most (are the "
            "numbers seconds?)"
        )


# --- the replay


def _replay(history: History, cost: float, terms: Terms, model: Mlp | None) -> Replayed:
    """Replays a history. Raises _Wrong where that takes too many runs."""

    def refuse(name: str) -> NoReturn:
        raise _Wrong(
            f"{history.name}: {name} would run too often for a replay in a minute or so: expected a shorter history, "
            "or a longer --min"
        )

    def limited(name: str, choose: Choose) -> Choose:
        left = MOST_RUNS if name.startswith(simulation.OURS) else _MOST_OF_OTHERS

        def counted(at: float, useful: bool) -> float:
            nonlocal left
            left -= 1
            return choose(at, useful) if left >= 0 else refuse(name)

        # A run each 20 s for ten years takes a few seconds, whatever the options.
        return choose if name == "original" else counted

    best, ideal = simulation.hindsight(history.events, history.length, cost, terms)
    if ideal.runs > MOST_RUNS:  # and agentd would run nearly as often
        refuse("the best fixed interval")
    ways = simulation.compare(history.events, history.length, cost, terms, model, began=history.began, through=limited)
    return Replayed(history, best, ideal, ways)


# --- the output


def _print(found: Sequence[Replayed], terms: Terms, *, as_json: bool) -> None:
    summary = simulation.summary({one.history.name: [_ratios(one)] for one in found})
    if as_json:
        files = {one.history.name: _figures(one) for one in found}
        print(json.dumps({**told(summary), "files": files}, indent=2))
        return
    for number, one in enumerate(found):
        if number:
            print()
        _print_one(one, terms)
    if len(found) > 1:
        print("\nthe cost of each over that of the best fixed interval in hindsight:\n")
        for line in table(("FILE", *summary.overall), summary_rows(summary)):
            print(line)


def _ratios(one: Replayed) -> dict[str, float]:
    return {name: ratio for name, (_, ratio) in one.ways.items()}


def told(summary: Summary) -> dict[str, object]:
    """Returns a summary for JSON, to four digits."""
    sets = {name: _rounded(row) for name, row in summary.sets.items()}
    return {"overall": _rounded(summary.overall), "sets": sets, "worst": round(summary.worst, 4)}


def _rounded(row: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in row.items()}


def summary_rows(summary: Summary) -> Iterator[list[str]]:
    """Yields the rows of the table of a summary: one a set, and where there are several one over all."""
    rows = summary.sets if len(summary.sets) == 1 else {**summary.sets, "overall": summary.overall}
    for name, row in rows.items():
        yield [name, *(f"{value:.3f}" for value in row.values())]


def _print_one(one: Replayed, terms: Terms) -> None:
    """Prints what a history was and what each way would have cost."""
    history = one.history
    gaps = [later - at for at, later in zip(history.events, history.events[1:], strict=False)]
    print(
        f"{history.name}: {len(history.events)} events in {span(history.length)}, half of them within "
        f"{span(median(gaps))} of the one before; the best fixed interval in hindsight is {span(one.best)}"
    )
    print()
    ways = {"best fixed, in hindsight": (one.ideal, 1.0)}
    start = format_duration(round(terms.start * SECOND))
    ways |= {_TITLES[name].format(start=start): way for name, way in one.ways.items()}
    rows = [
        [title, str(cost.runs), f"{cost.processor:.1f}", f"{cost.age / history.length:.1f}", f"{ratio:.3f}"]
        for title, (cost, ratio) in ways.items()
    ]
    for line in table(("WAY", "RUNS", "CPU SECONDS", "MEAN AGE, S", "COST"), rows):
        print(line)


def _figures(one: Replayed) -> dict[str, object]:
    """Returns for JSON what a history was and what each way would have cost."""

    def figures(cost: Cost) -> dict[str, float]:
        age = cost.age / one.history.length
        return {"runs": cost.runs, "cpu_s": round(cost.processor, 3), "mean_age_s": round(age, 3)}

    return {
        "events": len(one.history.events),
        "span_s": round(one.history.length, 3),
        "best_fixed": {"interval_s": round(one.best, 3), **figures(one.ideal)},
        "ways": {name: {**figures(cost), "over_best": round(ratio, 4)} for name, (cost, ratio) in one.ways.items()},
    }


def table(header: Sequence[str], rows: Iterable[list[str]]) -> Iterator[str]:
    """Yields the lines of a table: the first column to the left, the others, which are numbers, to the right."""
    lines = [list(header), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for first, *rest in lines:
        cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        yield "  ".join([first.ljust(widths[0]), *cells])


def span(seconds: float) -> str:
    """Returns seconds as a person reads them: to the second from ten on, and to the minute from a day on."""
    step = SECOND // 1000 if seconds < 10 else SECOND if seconds < 86_400 else 60 * SECOND
    return format_duration(round(seconds * SECOND / step) * step)


if __name__ == "__main__":
    sys.exit(main())
