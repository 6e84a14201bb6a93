"""The reason of an end from a journal: which lines count, how long they are waited for, and what it costs."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import pytest

from agentd.core.schedulers.model import Ending, Exit
from agentd.linux import now
from agentd.schedulers import journal
from agentd.schedulers.journal import Lines, read, why

UNIT = "agentd-scx@scx_simple.service"
START = 1_700_000_000_000_000  # microseconds since 1970: some years ago


def entry(at: int, message: Any, unit: str = "", **more: Any) -> dict[str, Any]:
    """An entry `at` microseconds after START, of the kernel or of a unit."""
    source = {"_SYSTEMD_UNIT": unit} if unit else {"_TRANSPORT": "kernel"}
    time = datetime.fromtimestamp((START + at) / 1e6, UTC)
    return {"MESSAGE": message, "__REALTIME_TIMESTAMP": time, **source, **more}


class Reader:
    """A journal with these entries, as systemd's reader shows it."""

    def __init__(self, *entries: dict[str, Any]) -> None:
        self.entries = list(entries)
        self.looked_at = 0

    def __enter__(self) -> Self:
        self.matches: dict[str, str] = {}
        return self

    def __exit__(self, *_: object) -> None:
        self.left: Any = None

    def this_boot(self) -> None:
        self.boot = True

    def add_match(self, **matches: str) -> None:
        self.matches |= matches

    def seek_tail(self) -> None:
        self._seek(None)

    def seek_realtime(self, until: float) -> None:
        self._seek(datetime.fromtimestamp(until, UTC))

    def _seek(self, until: datetime | None) -> None:
        found = [
            one
            for one in self.entries
            if self.matches.items() <= one.items() and (until is None or one["__REALTIME_TIMESTAMP"] <= until)
        ]
        self.left = iter(found[::-1])

    def get_previous(self) -> Any:
        self.looked_at += 1
        return next(self.left, {})


def lines(*entries: dict[str, Any], unit: str = UNIT, until: int = 0) -> Lines:
    reader = Reader(*entries)
    found = read(unit, START, until, lambda: reader)
    assert reader.boot
    return found


def test_the_kernels_lines_about_schedulers_and_the_units_output_are_read_in_order() -> None:
    found = lines(
        entry(-5, "sched_ext: before"),
        entry(1, 'sched_ext: BPF scheduler "simple" enabled'),
        entry(2, "usb 1-1: new device"),
        entry(3, "EXIT: one", UNIT),
        entry(4, b"sched_ext: \xff two"),
        entry(5, "of somebody else", "other.service"),
        entry(6, "EXIT: two", UNIT),
    )
    assert found.kernel == ('sched_ext: BPF scheduler "simple" enabled', "sched_ext: \ufffd two")
    assert found.told == (START + 1, START + 4)
    assert found.output == ("EXIT: one", "EXIT: two")


def test_of_a_scheduler_without_a_unit_the_kernel_alone_is_read() -> None:
    assert lines(entry(1, "anything", "x"), unit="").output == ()


def test_the_kernels_own_clock_says_when_it_spoke() -> None:
    printed = timedelta(seconds=time.monotonic() - 5)
    (told,) = lines(entry(9_000_000, "sched_ext: x", _SOURCE_MONOTONIC_TIMESTAMP=printed)).told
    assert abs(now() - 5_000_000 - told) < 1_000_000


def test_what_came_after_the_end_is_not_read() -> None:
    found = lines(entry(1, "sched_ext: a"), entry(60_000_000, "sched_ext: b"), until=START + 2)
    assert found.kernel == ("sched_ext: a",)


def test_a_journal_full_of_lines_is_read_within_bounds() -> None:
    many = [entry(n, f"sched_ext: {n} {'x' * 9000}") for n in range(2000)]
    found = lines(*many)
    assert len(found.kernel) == journal._LINES
    assert found.kernel[-1].startswith("sched_ext: 1999 ")
    assert max(map(len, found.kernel)) == journal._LONGEST


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were waited for: none takes any time."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(journal.asyncio, "sleep", sleep)  # type: ignore[attr-defined]
    return waited


def asked(looks: Iterator[Lines], process: Exit | None = None) -> journal.Found:
    return asyncio.run(why(UNIT, "simple", START, 0, process, look=lambda *_: next(looks)))


def test_lines_that_come_late_are_waited_for(pauses: list[float]) -> None:
    line = 'sched_ext: BPF scheduler "simple" disabled (runnable task stall)'
    looks = iter([Lines(), Lines(("sched_ext: noise",), (1,)), Lines((line,), (START + 7,))])
    found = asked(looks)
    assert found == journal.Found(Ending(kind="stall", reason="runnable task stall"), START + 7)
    assert len(pauses) == 2


def test_a_program_that_was_refused_needs_no_word_of_the_kernel(pauses: list[float]) -> None:
    found = asked(iter([Lines(output=("Error: another sched_ext scheduler is already running",))]))
    assert (found.ending.kind, found.told, len(pauses)) == ("refused", 0, 0)


def test_a_journal_that_has_nothing_is_given_up_soon(pauses: list[float]) -> None:
    found = asked(iter([Lines()] * 99), Exit("signal", "killed", 9))
    assert found.ending.kind == "killed"
    assert sum(pauses) < 3


def test_a_journal_that_cannot_be_read_leaves_systemds_word() -> None:
    def look(*_: Any) -> Lines:
        raise PermissionError(13, "Permission denied")

    found = asyncio.run(why(UNIT, "simple", START, 0, Exit("exit-code", "exited", 1), look=look))
    assert found.ending == Ending(kind="exited", reason="its process ended with status 1")
