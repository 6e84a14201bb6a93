"""The program behind `agentctl rules test`: what rules of a file would have done with samples that were written down.

    python -P -m agentd.rules.replaying RULES SAMPLES [--json] [--live] [--kpi NAME=UNIT]

RULES is a whole configuration or a piece of one, SAMPLES a file of lines as of core/rules/replay.py, or "-" for stdin.
stdout has what becomes of the rules, stderr everything else. Exit codes: 0 replayed, 1 of some rule nothing can be told
or the output could not be written, 2 the rules have errors or the samples a line that is none.
"""

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from msgspec.structs import replace

from agentd.config import files
from agentd.config.kinds import PARTS
from agentd.config.problems import Problem, Problems, legible
from agentd.core.config import Config
from agentd.core.fields import Fault
from agentd.core.quantities import SECOND, format_duration, nearest
from agentd.core.rules import settings as rules
from agentd.core.rules.conditions import kpis
from agentd.core.rules.kpis import KPIS
from agentd.core.rules.replay import LONGEST, Foreign, Replay, period_of, told
from agentd.core.rules.standing import Change
from agentd.core.rules.units import BY_NAME
from agentd.core.times import moment, timezone

_HEAD_LINES = 1000
_HEAD_BYTES = 8 << 20
"""How much of the samples is looked at, at most, for how far apart they are."""
_DATES = 10**9
"""Seconds from which on an instant is a date: no machine runs for thirty years."""


class _All(tuple[str, ...]):
    """A collection that has every name in it and lists none, for the jobs and units that a piece may name."""

    __slots__ = ()

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str)


class _Wrong(Exception):
    """Ends the replay; the text is told on stderr."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Replays samples; returns the exit code."""
    options = _parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")  # for a terminal that is not UTF-8
    try:
        config = _rules(options.rules, dict(options.kpi or ()), live=options.live)
        with ExitStack() as opened:
            stream = sys.stdin.buffer if options.samples == "-" else opened.enter_context(_opened(options.samples))
            name = "stdin" if options.samples == "-" else options.samples
            untold = _replay(config, stream, name, as_json=options.json)
        sys.stdout.flush()
    except _Wrong as wrong:
        print(wrong, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        return _unwritten(error)
    return 1 if untold else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("agentd.rules.replaying", description="Replays samples of KPIs through rules.")
    parser.add_argument("rules", metavar="RULES", help="agentd.yaml, or a piece of it with rules")
    parser.add_argument("samples", metavar="SAMPLES", help='a file with a JSON object a line, or "-" for stdin')
    parser.add_argument("--json", action="store_true", help="a JSON object for each change of a rule")
    parser.add_argument("--live", action="store_true", help="whoever has the samples has the jobs and units")
    parser.add_argument("--kpi", action="append", type=_kpi, metavar="NAME=UNIT", help="a KPI of one's own")
    return parser


def _kpi(text: str) -> tuple[str, rules.OwnKpi]:
    """Reads a KPI of one's own: its name, and its unit as rules see it."""
    name, _, unit = text.partition("=")
    word = next((word for word, known in BY_NAME.items() if known.name == unit), "count")
    return name, rules.OwnKpi(name=name, job="", unit=word)


def _unwritten(error: OSError) -> int:
    """Tells of output that could not be written, but where the reader has just gone; returns the exit code."""
    if not isinstance(error, BrokenPipeError):
        print(f"the output could not be written: {error.strerror}", file=sys.stderr)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is buffered must not be tried again at exit
    return 1


# --- the rules


def _rules(name: str, given: Mapping[str, rules.OwnKpi], *, live: bool) -> Config:
    """Returns the configuration with the rules and the KPIs `given`, after warnings about jobs and units that are not
    there; `live` ones are. Raises _Wrong with its errors."""
    config, errors = _loaded(Path(name), given, lenient=True)
    _, all_errors = ([], []) if live else _loaded(Path(name), given, lenient=False)
    for warning in all_errors:
        if warning not in errors:
            print(f"warning: {warning}", file=sys.stderr)
    if errors:
        raise _Wrong("\n".join(map(str, errors)))
    if not config.rules:
        raise _Wrong(f"{name}: there are no rules in it: expected a mapping of rules under the key rules")
    return replace(config, kpis={**given, **config.kpis})


def _loaded(path: Path, given: Mapping[str, rules.OwnKpi], *, lenient: bool) -> tuple[Config, list[Problem]]:
    """Returns the configuration in a file, and its errors; `lenient`: whatever jobs and units its rules name."""

    def faults(its: Config) -> Iterator[Fault]:
        jobs, units = (_All(), _All()) if lenient else (its.jobs, its.may_restart)
        yield from rules.faults(its.rules, {**given, **its.kpis}, its.sampling.every, jobs, units)

    parts = [replace(part, faults=faults) if part.kinds is rules.KINDS else part for part in PARTS]
    try:
        return files.load(path, parts=parts).config, []
    except Problems as error:
        return Config(), error.found


# --- the samples


def _opened(name: str) -> BinaryIO:
    """Returns the file of that name. Raises _Wrong."""
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise _Wrong(f"{name}: cannot be read: {(error.strerror or str(error)).lower()}") from None


def _lines(stream: BinaryIO, name: str) -> Iterator[bytes]:
    """Yields the lines; of one that is too long no more than the beginning. Raises _Wrong."""
    try:
        yield from iter(lambda: stream.readline(LONGEST + 2), b"")
    except OSError as error:
        raise _Wrong(f"{name}: cannot be read: {(error.strerror or str(error)).lower()}") from None


def _head(lines: Iterator[bytes]) -> list[bytes]:
    """Returns the first lines: enough to see how far apart samples are."""
    head: list[bytes] = []
    size = 0
    for line in lines:
        head.append(line)
        size += len(line)
        if len(head) >= _HEAD_LINES or size >= _HEAD_BYTES:
            break
    return head


def _text(line: bytes) -> str:
    """Returns a line as text. Raises Foreign."""
    content = line.removesuffix(b"\n")
    if len(content) > LONGEST:
        raise Foreign(f"is longer than {LONGEST >> 20} MiB")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise Foreign("is not UTF-8 text") from None


def _replay(config: Config, stream: BinaryIO, name: str, *, as_json: bool) -> bool:
    """Prints what becomes of the rules; returns whether nothing can be told of one. Raises _Wrong at the first line
    that is none."""
    every = config.sampling.every
    lines = _lines(stream, name)
    head = _head(lines)
    period = period_of([line.decode(errors="replace") for line in head], every)
    _tell_period(period, every)
    known = rules.measures(config.kpis)
    parsed = {rule.name: (rule, rules.parsed(rule, known, every)) for rule in config.rules.values()}
    replay = Replay(parsed, period, timezone(config.timezone))
    acted: Counter[str] = Counter()
    for number, line in enumerate(chain(head, lines), 1):
        try:
            changes = replay.take(_text(line))
        except Foreign as foreign:
            sys.stdout.flush()
            raise _Wrong(legible(f"{name}:{number}: {foreign}")) from None
        acted.update(change.rule for change in changes if change.action is not None)
        for text in map(json.dumps, told(changes)) if as_json else map(_readable, changes):
            print(text)
    _tell_strange(replay.seen, [*KPIS, *config.kpis])
    absent = {rule: _absent(conditions, replay.seen) for rule, (_, conditions) in parsed.items()}
    for rule, missing in absent.items():
        if missing:
            print(legible(f"warning: no sample has {missing}, which the rule {rule} needs"), file=sys.stderr)
    untold = parsed.keys() - replay.known
    if not as_json:
        print()
        for rule, missing in absent.items():
            why = f"no sample has {missing}" if missing else "nothing was known at any sample"
            fate = f"cannot be told of: {why}" if rule in untold else _fate(replay.fired[rule], acted[rule])
            print(legible(f"{rule} {fate}"))
    return bool(untold)


def _tell_period(period: int, every: int) -> None:
    if period == every:
        print(f"a sample every {format_duration(every)}", file=sys.stderr)
        return
    apart = format_duration(round(period, -5))
    agentd = f"agentd would take one every {format_duration(every)}"
    print(f"a sample every {apart}, as most are here ({agentd}): what was over sooner does not show", file=sys.stderr)


def _tell_strange(seen: Collection[str], names: Collection[str]) -> None:
    """Warns of names in samples that are no KPIs."""
    for name in sorted(seen):
        kpi = name.partition(":")[0]
        if kpi not in names:
            print(legible(f'warning: samples have "{kpi}", which is no KPI{nearest(kpi, names)}'), file=sys.stderr)


def _absent(conditions: rules.Parsed, seen: Collection[str]) -> str:
    """Returns the KPIs that a rule needs and no sample has."""
    parts = [part for part in (conditions.when, conditions.clear) if part is not None]
    return ", ".join(sorted({kpi for part in parts for kpi in kpis(part)} - set(seen)))


def _readable(change: Change) -> str:
    does = "" if change.action is None else f", and does {change.action}"
    why = f" ({change.withheld})" if change.withheld else ""
    return legible(f"{_at(change.moment.at)}  {change.rule}: {change.state}{does}{why}")


def _at(instant: int) -> str:
    """Returns an instant as a date where it is one, else in seconds."""
    if instant < _DATES * SECOND:
        return f"{instant / SECOND:10.10g}s"
    return moment(instant).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _fate(fired: int, acted: int) -> str:
    """Returns how often a rule fired and acted, in words."""
    if not fired:
        return "would never have fired"
    return f"would have fired {_times(fired)}, and {f'acted {_times(acted)}' if acted else 'done nothing'}"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


if __name__ == "__main__":
    sys.exit(main())
