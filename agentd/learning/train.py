"""The program that makes the model of jobs that learn, apart from the daemon: scikit-learn needs 100 MiB and more.

    python -P -m agentd.learning.train --rows ROWS --result FILE [--now-in-force FILE] [--told FILE] [--seed N]
    python -P -m agentd.learning.train --synthetic --result FILE [--histories N] [--seed N]

ROWS is a file that agentd writes, for whoever trains may not read what else it has: a JSON list of rows, oldest first,
each a list of at (microseconds since 1970), job, rate, span, useful, and the features as JSON. FILE is as
core/learning/weights.py says; the old one stays whole until the new one is. stdout has how well the model foretells,
stderr everything else; what became of all that is told in the file of --told as well. Exit codes: 0 written, 1 no model
could be made or written, 2 bad usage, 3 nothing better than what there is.

The rows of a machine show few situations. What is learnt from them alone is worth nothing to a job of another kind, so
learning goes on from the first model, and half of the rows are synthetic: with that, jobs of the other kinds cost in
replays what they cost with the first model, and those that were learnt from cost less.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from agentd.core.learning import weights
from agentd.core.learning.features import NAMES
from agentd.core.learning.learner import Row
from agentd.core.learning.model import FEWEST_ROWS, MOST_ROWS
from agentd.core.learning.rate import LEAST_RATE, MOST_RATE
from agentd.core.learning.weights import Model, Nothing, Origin, Unusable
from agentd.core.quantities import counted
from agentd.learning import synthetic
from agentd.learning.histories import DAY, KINDS
from agentd.learning.replaying import beside

# fitting is imported where a model is fitted: a replay is to be under way while scikit-learn is loaded.

MOST_SYNTHETIC = 80_000
"""The rows drawn from synthetic ones."""
HISTORIES = 60
"""Synthetic histories of each kind."""
_FIRST = Path(__file__).with_name("first-model.json")
_MIXED, _MIXED_LENGTH = 4, 6 * DAY  # synthetic histories of each kind beside the rows of a store: a second to replay
_LONGEST_ROWS = 64 << 20  # bytes
_COLUMNS = 6
_LATEST = 1 << 60  # microseconds since 1970
_LONGEST_SPAN = 1e9  # seconds
_FEATURE = 8.0
_NOT_COMPARED = "a new model is compared with the counted rate alone"


class Found(NamedTuple):
    """Rows of a store, oldest first, what they are of, and how many were left out because they are malformed."""

    rows: list[Row]
    origin: Origin
    malformed: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Makes a model; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        model = _of_histories(options) if options.synthetic else _of_store(options)
        _write(options.result, weights.written(model))
    except Nothing as nothing:
        return _told(options, f"nothing was written: {nothing}", 3)
    except (Unusable, ValueError, ArithmeticError) as error:
        return _told(options, f"no model was made: {error}", 1)
    except ImportError as error:
        missing = f"no model was made: {error.name or error} is not there"
        return _told(options, f"{missing}: the model is made by scikit-learn (apt install python3-sklearn)", 1)
    except OSError as error:
        return _told(options, f"the model could not be written to {options.result}: {error.strerror or error}", 1)
    except KeyboardInterrupt:
        return 130
    origin, score = model.origin, model.score
    source = f"{counted(origin.rows, 'row')} of {counted(origin.jobs, 'job')}"
    return _told(
        options,
        f"made from {source}; log loss {score.model} on {score.rows} rows held out, "
        f"that of the counted rate {score.counted}",
        0,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("agentd.learning.train", description="Makes the model of jobs that learn.")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--rows", type=Path, metavar="ROWS", help="a JSON file with what runs found")
    source.add_argument("--synthetic", action="store_true", help="the first model, from histories drawn at random")
    parser.add_argument("--result", type=Path, required=True, metavar="FILE", help="the file for the model")
    parser.add_argument("--now-in-force", type=Path, metavar="FILE", help="the model that must not be better")
    parser.add_argument("--told", type=Path, metavar="FILE", help="the file for the sentence that tells what became")
    parser.add_argument("--histories", type=_positive, default=HISTORIES, metavar="N", help="of each kind")
    parser.add_argument("--seed", type=_seed, default=0, metavar="N", help="0 where absent")
    return parser


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError(text)
    return number


def _seed(text: str) -> int:
    if not 0 <= (number := int(text)) < 1 << 32:  # what RandomState takes
        raise ValueError(text)
    return number


def _told(options: argparse.Namespace, sentence: str, code: int) -> int:
    """Tells what became of the training; returns the exit code."""
    print(sentence, file=sys.stderr if code else sys.stdout)
    if options.told is not None:
        try:
            options.told.write_text(f"{sentence}\n")
        except OSError as error:
            print(f"that could not be written to {options.told}: {error.strerror}", file=sys.stderr)
    return code


def _now() -> int:
    """Returns the time, in seconds since 1970; as reproducible-builds.org has it where a model shall be made again."""
    return int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())


def _of_histories(options: argparse.Namespace) -> Model:
    """Returns the first model. Raises Nothing: there are too few histories; ImportError."""
    from agentd.learning import fitting  # noqa: PLC0415 - see above

    all_histories, count = options.histories * len(KINDS), 0

    def rows() -> Iterator[Row]:
        nonlocal count
        for number, some in enumerate(synthetic.rows(options.histories, options.seed), start=1):
            count += len(some)
            if number % 25 == 0:
                print(f"{number} of {all_histories} histories replayed, {count} rows", file=sys.stderr)
            yield from some

    origin = Origin(rows=0, jobs=all_histories, since=0, until=0, synthetic=True)
    return fitting.train(rows(), origin=origin, made=_now(), seed=options.seed, most=MOST_SYNTHETIC)


def _of_store(options: argparse.Namespace) -> Model:
    """Returns a model of the rows of a store. Raises Nothing: there is none that is better; Unusable; ImportError."""
    found = read(options.rows)
    if found.malformed:
        some = "1 row of {} is" if found.malformed == 1 else f"{found.malformed} rows of {{}} are"
        print(f"{some.format(options.rows)} malformed or of other features: left out", file=sys.stderr)
    enough = len(found.rows) >= FEWEST_ROWS
    with beside(_MIXED, options.seed, _MIXED_LENGTH) if enough else nullcontext(()) as more:
        from agentd.learning import fitting  # noqa: PLC0415 - see above

        first = _usable(_FIRST, "learning begins from nothing")
        model = fitting.train(found.rows, origin=found.origin, made=_now(), seed=options.seed, first=first, more=more)
    if model.score.model > model.score.counted:
        raise Nothing(
            f"the counted rate foretells better: log loss {model.score.counted}, a new model {model.score.model}"
        )
    if options.now_in_force is not None and (old := _usable(options.now_in_force, _NOT_COMPARED)) is not None:
        before = fitting.loss(old, found.rows)
        if model.score.model > before:
            raise Nothing(f"the model in force foretells better: log loss {before}, a new model {model.score.model}")
    return model


def _usable(file: Path, otherwise: str) -> Model | None:
    """Returns the model in a file; None, after a sentence with what happens otherwise, where it cannot be used."""
    try:
        with file.open("rb") as opened:
            return weights.parse(opened.read(weights.LONGEST + 1), str(file))
    except OSError as error:
        print(f"{file} cannot be read: {error.strerror}; {otherwise}", file=sys.stderr)
    except Unusable as error:
        print(f"{error}; {otherwise}", file=sys.stderr)
    return None


def read(file: Path) -> Found:
    """Returns the newest rows of a file, oldest first. Raises Unusable where there are none to be read."""
    try:
        with file.open("rb") as opened:
            told = msgspec.json.decode(opened.read(_LONGEST_ROWS), type=list[Any])[-MOST_ROWS:]
    except OSError as error:
        raise Unusable(f"{file} cannot be read: {error.strerror}") from None
    except (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError) as error:
        raise Unusable(f"{file}: expected a JSON list of rows: {error}") from None
    rows, instants, jobs = [], [], set()
    for one in told:
        at, job, *rest = one if isinstance(one, list) and len(one) == _COLUMNS else [None] * _COLUMNS
        if type(at) is int and 0 <= at <= _LATEST and isinstance(job, str) and (row := _row(*rest)) is not None:
            rows.append(row)
            instants.append(at // 1_000_000)
            jobs.add(job)
    first, last = min(instants, default=0), max(instants, default=0)
    origin = Origin(rows=len(rows), jobs=len(jobs), since=first, until=last, synthetic=False)
    return Found(rows, origin, len(told) - len(rows))


def _row(rate: object, span: object, useful: object, features: object) -> Row | None:
    """Returns the row that columns tell; None: they are malformed."""
    if not (isinstance(rate, float) and isinstance(span, float) and type(useful) is int and isinstance(features, str)):
        return None
    try:
        values = msgspec.json.decode(features, type=list[float])
    except (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError):
        return None
    bounded = LEAST_RATE <= rate <= MOST_RATE and 0 < span <= _LONGEST_SPAN and useful in {0, 1}
    if not bounded or len(values) != len(NAMES) or not all(-_FEATURE <= value <= _FEATURE for value in values):
        return None
    return Row(values, rate, span, bool(useful))


def _write(file: Path, data: bytes) -> None:
    """Puts data in place of a file at once: whoever reads it finds the old or the new. Raises OSError."""
    new = file.with_name(f"{file.name}.new")  # one name: what a kill leaves, the next training takes away
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with open(descriptor, "wb") as opened:  # noqa: PTH123 - a descriptor
        opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())
    new.replace(file)
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


if __name__ == "__main__":
    sys.exit(main())
