"""What the daemon itself answers and tells."""

from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from agentd import log
from agentd.core.part import Decided
from agentd.daemon import manager
from agentd.daemon.daemon import Daemon

DECIDED = Decided(1, "jobs", "stop", "backup", "asked to stop by alice", "backup.4", "alice")


def test_the_journal_has_who_wanted_a_decision_as_a_field_where_a_person_did(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager, "log", log.get())
    with capture_logs() as lines:
        manager._tell(DECIDED)
        manager._tell(Decided(1, "jobs", "skip", "backup", "the run before was still under way"))
    assert [(line["event"], line.get("by")) for line in lines] == [
        ("backup: stop: asked to stop by alice", "alice"),
        ("backup: skip: the run before was still under way", None),
    ]


def test_a_decision_has_the_keys_that_clients_know() -> None:
    assert manager._decision_record((7, DECIDED)).keys() == {"seq", "at", "part", "kind", "about", "run_id", "reason"}


def test_a_clock_that_is_set_moves_the_start_along_and_clients_are_told() -> None:
    told: list[str] = []
    cores = SimpleNamespace(clock_stepped=lambda delta, _: told.append(f"by {delta}"))
    daemon: Any = SimpleNamespace(
        started_at=100, server=SimpleNamespace(changed=told.append), _plugged=SimpleNamespace(cores=cores), pump=list
    )
    Daemon._clock_stepped(daemon, -30)
    assert (daemon.started_at, told) == (70, ["Manager.StartedUSec", "by -30"])
