"""The tables of `make bench`."""

from tests.bench.bench import _row
from tests.bench.rounds import OTHER, PRESENT, Figure


def test_who_did_not_take_part_in_a_measurement_has_no_figure() -> None:
    alone = Figure("rules", "ms a second", {PRESENT: [1.0, 1.2, 1.1]}, "", 1.0)
    both = Figure("idle", "MiB", {PRESENT: [30.0], OTHER: [32.0]}, "", None)
    assert _row(alone, [PRESENT, OTHER])[:2] == ["1.100", "-"]
    assert _row(both, [PRESENT, OTHER])[:2] == ["30.0", "32.0"]
