"""The lines of a run in systemd's journal, also where journald did not learn of which run they are."""

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import pytest
import systemd

from agentctl.jobs.journal import unnamed
from agentd.core.jobs.model import Run
from agentd.core.quantities import SECOND
from agentd.learning import looking
from agentd.peers.journal import last_lines

BEGAN = 1_800_000_000
RUN = Run(
    job="backup", seq=7, due=0, cause="manual",
    started=BEGAN * SECOND, ended=(BEGAN + 2) * SECOND, invocation="abc",
)  # fmt: skip
Read = Callable[[Run], list[str]]


def entry(message: object, at: float, invocation: str = "", unit: str = "agentd-job@backup.service") -> dict[str, Any]:
    found = {"MESSAGE": message, "_SYSTEMD_UNIT": unit, "SYSLOG_IDENTIFIER": "backup"}
    named = {"_SYSTEMD_INVOCATION_ID": invocation} if invocation else {}
    return {**found, **named, "__REALTIME_TIMESTAMP": datetime.fromtimestamp(BEGAN + at, UTC)}


class Reader:
    """A journal that is read forth from its beginning, or back from where was sought."""

    entries: tuple[dict[str, Any], ...] = ()

    def __init__(self) -> None:
        self._match: dict[str, str] = {}
        self._until = float("inf")
        self._taken = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def add_match(self, **match: str) -> None:
        self._match |= match

    def flush_matches(self) -> None:
        self._match.clear()

    def seek_tail(self) -> None:
        self._until, self._taken = float("inf"), 0

    def seek_realtime(self, at: float) -> None:
        self._until, self._taken = at, 0

    def _found(self) -> list[dict[str, Any]]:
        matching = [one for one in self.entries if self._match.items() <= one.items()]
        return [one for one in matching if one["__REALTIME_TIMESTAMP"].timestamp() <= self._until]

    def get_previous(self) -> dict[str, Any]:
        self._taken += 1
        found = self._found()
        return found[-self._taken] if self._taken <= len(found) else {}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self

    def __next__(self) -> dict[str, Any]:
        self._taken += 1
        found = self._found()
        if self._taken > len(found):
            raise StopIteration
        return found[self._taken - 1]


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    module: Any = ModuleType("systemd.journal")
    module.Reader = Reader
    monkeypatch.setitem(sys.modules, "systemd.journal", module)
    monkeypatch.setattr(systemd, "journal", module, raising=False)
    monkeypatch.setattr(looking, "_SETTLES", 0)

    def holds(*entries: dict[str, Any]) -> None:
        monkeypatch.setattr(Reader, "entries", entries)

    return holds


def last(run: Run) -> list[str]:
    return last_lines(run, 2)


def watched(run: Run) -> list[str]:
    async def read() -> bytes:
        return await looking.from_journal()(run)

    return asyncio.run(read()).decode().splitlines()


@pytest.mark.parametrize("read", [last, watched])
def test_the_lines_of_a_run_are_those_of_its_invocation(journal: Callable[..., None], read: Read) -> None:
    journal(entry("before", 0.5), entry("one", 1, "abc"), entry("other", 1.2, "def"), entry(b"two", 1.5, "abc"))
    assert read(RUN) == ["one", "two"]


@pytest.mark.parametrize("read", [last, watched])
def test_lines_of_no_invocation_are_of_the_run_by_unit_and_time(journal: Callable[..., None], read: Read) -> None:
    journal(
        entry("before", -0.1), entry("another's", 0.5, unit="agentd-job@backup-2.service"), entry("one", 1),
        entry("of the next", 2.1, "def"), entry("two", 2.5, unit="agentd-job@backup@2.service"), entry("late", 3.1),
    )  # fmt: skip
    assert read(RUN) == ["one", "two"]


def test_a_run_of_no_invocation_has_no_lines(journal: Callable[..., None]) -> None:
    journal(entry("one", 1))
    assert last_lines(Run(job="backup", seq=7, due=0, cause="manual"), 2) == []


def test_agentctl_reads_them_too(tmp_path: Path) -> None:
    lines = [
        {"MESSAGE": "one", "_SYSTEMD_UNIT": "agentd-job@backup.service"},
        {"MESSAGE": [116, 119, 111], "_SYSTEMD_UNIT": "agentd-job@backup@2.service"},
        {"MESSAGE": "other", "_SYSTEMD_UNIT": "agentd-job@backup.service", "_SYSTEMD_INVOCATION_ID": "def"},
        {"MESSAGE": "another's", "_SYSTEMD_UNIT": "agentd-job@backup-2.service"},
        {"MESSAGE": None, "_SYSTEMD_UNIT": "agentd-job@backup.service"},
    ]
    (tmp_path / "said").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    journalctl = tmp_path / "journalctl"
    journalctl.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/asked\ncat {tmp_path}/said\n')
    journalctl.chmod(0o755)
    run = {"job": "backup", "started": RUN.started, "ended": RUN.ended}
    assert b"".join(unnamed(str(journalctl), run)) == b"one\ntwo\n\n"
    asked = (tmp_path / "asked").read_text().split()
    assert asked[-3:] == ["--since=@1800000000.000000", "--until=@1800000003.000000", "SYSLOG_IDENTIFIER=backup"]
