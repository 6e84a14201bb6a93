"""A configuration without end costs no more than a bounded amount of work: nodes looked at and errors told, counted."""

from collections import Counter
from pathlib import Path

import pytest

from agentd.config import files, nodes
from agentd.config.nodes import Decoder
from tests.unit.config.texts import errors, write

VALUES = 10_000
"""A lower bound for values than the real one, so that the tests reach it soon."""


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The calls of the decoder's methods that look at one node or tell one error."""
    calls: Counter[str] = Counter()

    def count(name: str) -> None:
        method = getattr(Decoder, name)

        def counted(*args: object, **given: object) -> object:
            calls[name] += 1
            return method(*args, **given)

        monkeypatch.setattr(Decoder, name, counted)

    for name in ("value", "_plain", "problem"):
        count(name)
    return calls


def looks(work: Counter[str]) -> int:
    return work["value"] + work["_plain"]


@pytest.mark.parametrize("setting", ["run", "when", "environment", "notify", "missed", "useful", "timeout"])
def test_an_alias_bomb_is_refused_in_bounded_time(
    file: Path, setting: str, work: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "_MAX_VALUES", VALUES)
    levels = "".join(f"  - &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 12))
    found = errors(write(file, f"bomb:\n  - &l0 [x]\n{levels}jobs:\n  one: {{{setting}: *l11}}\n"))
    assert 0 < looks(work) <= VALUES + 10
    assert all(len(sentence) < 1000 for sentence in found)


def test_an_alias_bomb_of_windows_is_refused_in_bounded_time(
    file: Path, work: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "_MAX_VALUES", VALUES)
    levels = "".join(f"  - &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 12))
    for windows in ("*l11", "{a: {days: *l11}}"):
        work.clear()
        found = errors(write(file, f"bomb:\n  - &l0 [x]\n{levels}reboot: {{windows: {windows}}}\n"))
        assert 0 < looks(work) <= VALUES + 10
        assert all(len(sentence) < 1000 for sentence in found)


def test_aliases_that_repeat_jobs_without_end_are_refused_in_bounded_time(file: Path, work: Counter[str]) -> None:
    jobs = "".join(f"  j{n}: *a\n" for n in range(1000))
    found = errors(write(file, f"jobs:\n  a: &a {{run: x, notify: [{'start, ' * 2000}]}}\n{jobs}"))
    assert looks(work) <= 1_000_000
    assert len(found) == 1
    assert found[0].endswith(": the file holds more than a million values (those of an alias count each time)")


def test_errors_without_end_are_not_all_told(file: Path, work: Counter[str]) -> None:
    keys = "".join(f"zzz{n}: x\n" for n in range(100_000))
    found = errors(write(file, keys))
    assert work["problem"] == 1001
    assert found[-1] == f"{file}:1001:1: has more than 1000 errors; what comes after is not told"
    assert len(found) == 1001


def test_twice_as_many_jobs_are_twice_the_work(tmp_path: Path, work: Counter[str]) -> None:
    def looks_at(count: int) -> int:
        work.clear()
        jobs = "".join(f"  j{n}: {{run: [x, y], when: {{every: 5min}}, notify: [start]}}\n" for n in range(count))
        write(tmp_path / "agentd.yaml", f"jobs:\n{jobs}")
        write(tmp_path / "conf.d/10.yaml", "jobs: {j0: {timeout: 1h}}\n")
        assert len(files.load(tmp_path).config.jobs) == count
        return looks(work)

    few, many = looks_at(1000), looks_at(2000)
    assert few >= 7000  # three settings of each job, two words, a list's item, a duration under `when`
    assert many <= 2 * few
