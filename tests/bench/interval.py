"""Measures how well agentd chooses intervals, beside others, with histories of twenty days.

Each figure is a geometric mean of what a way to choose would have cost over what the best fixed interval in hindsight
would have: processor time of runs, and the age of what nobody has seen yet. The histories are drawn at random, five
kinds of them, and the sixth set has real ones: when new versions of Debian's packages came, in twenty days each. The
last line of stdout is the figures as JSON. Exits with 1 when a goal was missed. Whoever tunes anything uses the seed 1
and those that begin with "train": figures that are quoted come of others.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from agentd.core.learning.learner import Terms  # noqa: E402 - agentd is found only now
from agentd.core.learning.simulation import BASELINES, OURS, Summary, compare, summary  # noqa: E402
from agentd.learning.histories import DAY, KINDS, MINUTE  # noqa: E402
from agentd.learning.simulate import first_model, summary_rows, table, told  # noqa: E402

LENGTH = 20 * DAY
COUNT = 12
"""The number of histories in a set, for each seed."""
SEEDS = ("11", "12", "13")
COST = 1.0
TERMS = Terms(start=5 * MINUTE, shortest=30.0, longest=360 * MINUTE)
REAL = "debian"
OVERALL, OVER_KEEP, OVER_AIMD, OVER_BEST, WORST = 0.97, 0.60, 0.82, 1.03, 1.6
"""The goals, each the most that ours may be: overall; over keep and over AIMD, overall; over the best of the others, on
every set; at the worst history of all."""


class History(NamedTuple):
    """A history: the set that it is of, how it is called, and the instants of its events in seconds."""

    of: str
    name: str
    events: list[float]


class Goal(NamedTuple):
    """A goal: a figure of ours, and the most that it may be."""

    name: str
    figure: float
    most: float

    @property
    def met(self) -> bool:
        """Whether the figure is as good as it should be."""
        return self.figure <= self.most


def drawn(seed: str) -> Iterator[History]:
    """Yields the histories of all sets for a seed."""
    for kind, draw in KINDS.items():
        random = Random(f"{kind} {seed}")
        for number in range(1, COUNT + 1):
            yield History(kind, f"{kind} {number} of seed {seed}", draw(random, LENGTH))
    changelogs: dict[str, list[float]] = json.loads((HERE / "changelogs.json").read_text())
    for name in Random(f"{REAL} {seed}").sample(sorted(changelogs), COUNT):
        instants = list(accumulate(changelogs[name]))
        scale = LENGTH / instants[-1]
        yield History(REAL, f"{REAL} {name}", [at * scale for at in instants])


def compared(history: History) -> dict[str, float]:
    """Returns by each way to choose what it would have cost with a history, over the best fixed interval."""
    found = compare(history.events, LENGTH, COST, TERMS, first_model())
    return {name: ratio for name, (_, ratio) in found.items()}


def measured(histories: Sequence[History]) -> list[dict[str, float]]:
    """Returns the figures of each history, and says on stderr how far it is."""
    found = []
    with ProcessPoolExecutor(os.cpu_count()) as processes:
        for one in processes.map(compared, histories):
            found.append(one)
            if len(found) % COUNT == 0 or len(found) == len(histories):
                print(f"{len(found)} of {len(histories)} histories", file=sys.stderr, flush=True)
    return found


def goals(figures: Summary) -> Iterator[Goal]:
    """Yields the goals, and what became of them."""
    ours = figures.overall[OURS]
    yield Goal("overall", ours, OVERALL)
    yield Goal("overall, over keep", ours / figures.overall["keep"], OVER_KEEP)
    yield Goal("overall, over aimd", ours / figures.overall["aimd"], OVER_AIMD)
    for name, row in figures.sets.items():
        best = min(BASELINES, key=row.__getitem__)
        yield Goal(f"{name}, over {best}, the best of the others", row[OURS] / row[best], OVER_BEST)
    yield Goal("worst history", figures.worst, WORST)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", default=",".join(SEEDS), metavar="LIST", help="seeds of the histories: 11,12,13")
    seeds = [seed.strip() for seed in parser.parse_args(arguments).seeds.split(",")]
    if not all(seeds) or len(set(seeds)) < len(seeds):
        parser.error("--seeds: expected different seeds with commas between, such as 11,12,13")
    if first_model() is None:
        print("agentd has no network: it decides without", file=sys.stderr)
    histories = [history for seed in seeds for history in drawn(seed)]
    found = measured(histories)
    sets: dict[str, list[dict[str, float]]] = {}
    for history, one in zip(histories, found, strict=True):
        sets.setdefault(history.of, []).append(one)
    return _print(summary(sets), max(zip(found, histories, strict=True), key=lambda pair: pair[0][OURS])[1].name)


def _print(figures: Summary, worst: str) -> int:
    """Prints the figures and what became of the goals; returns the exit code."""
    print("cost over that of the best fixed interval in hindsight, geometric means:\n")
    for line in table(("SET", *figures.overall), summary_rows(figures)):
        print(line)
    print(f"\nthe worst history of {OURS}: {figures.worst:.3f} ({worst})\n")
    judged = list(goals(figures))
    rows = [[one.name, f"{one.figure:.3f}", f"{one.most:.2f}", "met" if one.met else "MISSED"] for one in judged]
    for line in table((f"GOAL OF {OURS}", "IS", "AT MOST", ""), rows):
        print(line)
    print(json.dumps(told(figures)))
    return int(not all(one.met for one in judged))


if __name__ == "__main__":
    sys.exit(main())
