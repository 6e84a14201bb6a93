"""Lists come in pages, and agentctl shows all that is asked for."""

from collections.abc import Callable
from typing import Any

import pytest

from agentctl.bus import Bus, Message
from agentctl.client import Client
from agentctl.daemon import MANAGER
from agentctl.jobs.calls import LIST_JOBS
from tests.unit.agentctl.fake import BACKUP, GOOD, NOW, Ctl, FakeDaemon

Records = Callable[[dict[str, Any]], list[dict[str, Any]]]
DECISION = {"at": NOW, "part": "jobs", "kind": "skip", "about": "feed", "run_id": "", "reason": "it still ran"}


def pages(make: Callable[[int], dict[str, Any]], highest: int) -> Records:
    """A list with the numbers from `highest` down to 1, as a daemon gives it."""

    def answer(wanted: dict[str, Any]) -> list[dict[str, Any]]:
        first = wanted.get("before", highest + 1) - 1
        return [make(number) for number in range(first, max(0, first - min(wanted["limit"], 1000)), -1)]

    return answer


LISTS: list[tuple[str, tuple[str, ...], Callable[[int], dict[str, Any]]]] = [
    ("ListRuns", ("history",), lambda number: {**GOOD, "run_id": f"feed.{number}"}),
    (f"{MANAGER}.ListDecisions", ("history", "--decisions"), lambda number: {**DECISION, "seq": number}),
    ("ListReboots", ("reboot", "history"), lambda number: {"id": number, "state": "verified", "cause": "nightly"}),
]


@pytest.mark.parametrize(("member", "command", "make"), LISTS)
@pytest.mark.parametrize("case", [(20, 5000, 20, 1), (2300, 5000, 2300, 3), (9999, 1500, 1500, 2)])
def test_pages_are_asked_for_until_enough_is_there(
    daemon: FakeDaemon,
    ctl: Ctl,
    member: str,
    command: tuple[str, ...],
    make: Callable[[int], dict[str, Any]],
    case: tuple[int, int, int, int],
) -> None:
    count, there, shown, calls = case
    daemon.answers[member] = pages(make, there)
    assert len(ctl(*command, "-n", str(count), "--json").json) == shown
    asked = [call[1] for call in daemon.calls if call[0] == member.rpartition(".")[2]]
    assert [one["limit"] for one in asked] == [count - 1000 * page for page in range(calls)]
    assert [one.get("before") for one in asked] == [None, *(there - 1000 * page + 1 for page in range(1, calls))]


def test_a_daemon_that_knows_no_pages_is_asked_once(daemon: FakeDaemon, ctl: Ctl) -> None:
    for number in (1000, 1700):
        daemon.answers[f"{MANAGER}.ListDecisions"] = [DECISION] * number
        daemon.calls.clear()
        assert len(ctl("history", "--decisions", "-n", "5000", "--json").json) == number
        assert len(daemon.calls) == 1


def test_the_status_has_all_jobs_however_many_there_are(daemon: FakeDaemon, ctl: Ctl) -> None:
    names = [f"job-{number:04d}" for number in range(2001)]

    def answer(wanted: dict[str, Any]) -> list[dict[str, Any]]:
        return [{**BACKUP, "name": name} for name in names if name > wanted.get("after", "")][:1000]

    daemon.answers |= {"ListJobs": answer, "org.agentd1.Reboot": {"State": "idle", "Blockers": []}}
    lines = ctl("status").out.splitlines()
    assert "2001 jobs" in lines[0]
    assert [line.split()[0] for line in lines if line.startswith("job-")] == names


def test_the_next_page_of_jobs_is_asked_for_before_one_is_read(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    ask, values = Bus.ask, Message.values

    def asked(bus: Bus, *words: Any, **options: Any) -> int:
        events.append(f"ask {words[3]} {words[5]}")
        return ask(bus, *words, **options)

    def read(message: Message) -> tuple[Any, ...]:
        found = values(message)
        events.append(f"read {len(found[0])}")
        return found

    bus = Bus(daemon.address, 5)
    monkeypatch.setattr(Bus, "ask", asked)
    monkeypatch.setattr(Message, "values", read)
    first = [{"name": f"job-{number:03d}"} for number in range(1000)]
    daemon.answers["ListJobs"] = lambda wanted: [] if wanted else first
    assert [len(page) for page in Client(bus, 5).pages(LIST_JOBS, "name")] == [1000, 0]
    assert events == [
        "ask ListJobs ({},)",
        "ask ListJobs ({'after': ('s', 'job-999')},)",
        "read 1000",
        "read 0",
    ]
    bus.close()
