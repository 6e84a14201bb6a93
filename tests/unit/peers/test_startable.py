"""Jobs that this machine could not start: a check of the configuration says so before their time has come."""

from pathlib import Path

import pytest

from agentd.__main__ import main
from agentd.core.jobs.settings import Job
from agentd.peers.startable import unstartable


def told(**settings: object) -> list[str]:
    job = Job(**{"name": "feed", "run": ("/bin/true",), **settings})  # type: ignore[arg-type]
    return list(unstartable({"feed": job}))


def test_who_and_what_is_not_there_is_told() -> None:
    last = "on this machine, so no run of it could start"
    assert told(user="no-such-user") == [f"jobs.feed.user: there is no user no-such-user {last}"]
    assert told(group="no-such-group") == [f"jobs.feed.group: there is no group no-such-group {last}"]
    for program in ("/opt/no-such-program", "/bin/true/below", "no-such-program-anywhere"):
        assert told(run=(program,)) == [f"jobs.feed.run: there is no program {program} {last}"]


def test_what_is_there_or_may_be_is_not_doubted() -> None:
    for settings in ({}, {"user": "root"}, {"user": "12345"}, {"group": "0"}, {"run": ("sh", "-c", "true")}):
        assert told(**settings) == []
    assert told(run=("/x",), user="theirs", systemd={"RootDirectory": ("/srv",)}) == [], "another root has its own"


def test_a_check_warns_and_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "agentd.yaml"
    file.write_text("jobs: {feed: {run: /bin/true, user: no-such-user}}\n")
    assert main(["--check", str(file)]) == 0
    assert "warning: jobs.feed.user: there is no user no-such-user on this machine" in capsys.readouterr().out
