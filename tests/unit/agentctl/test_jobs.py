"""agentctl's commands about jobs, against a fake daemon on a real bus."""

from typing import Any

import pytest

from agentctl.jobs.calls import JOBS
from agentd.core.quantities import HOUR, MINUTE, SECOND
from tests.unit.agentctl.fake import DAEMON, FEED, NOW, RUN, Ctl, FakeDaemon, Refused

# Status


def test_status_shows_states_schedules_and_what_was_changed(daemon: FakeDaemon, ctl: Ctl) -> None:
    ended = ctl("status")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0] == "agentd 0.1.0 (standalone), running since Sat 22:26 (2h), 2 jobs, 1 running"
    assert lines[2].split() == ["JOB", "STATE", "SCHEDULE", "NEXT", "LAST"]
    assert "running: 40%: \\x1b[31mcopying (+1 queued)" in lines[3]
    assert "every 2h *" in lines[3]
    assert "in 4min (00:30)" in lines[3]
    assert lines[3].endswith("exit-code 3, 1h 59min ago")
    assert lines[4].split() == ["backup", "disabled", "*", "cron", "30", "2", "*", "*", "*", "-", "-"]
    assert lines[-1] == "* set by you; agentctl reset JOB undoes it"
    assert "\x1b" not in ended.out


def test_without_a_command_the_status_is_shown(daemon: FakeDaemon, ctl: Ctl) -> None:
    assert ctl() == ctl("status")
    assert ctl("--json") == ctl("status", "--json") == ctl("--json", "status")


def test_troubles_of_the_daemon_come_first(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["GetAll"] = {
        **DAEMON,
        "State": "draining",
        "ConfigurationError": "a.yaml:3:1: what is this\na.yaml:4:1: and this",
        "Warnings": ["the old state was damaged"],
    }
    daemon.answers["ListJobs"] = []
    out = ctl("status").out
    # Either of agentd's own end or of a reboot, and true of both.
    assert "agentd is draining: nothing new starts; after the running jobs agentd ends, or the machine reboots\n" in out
    assert "configuration error: the last reload was refused, that of Sat 23:26 stays in force:\n  a.yaml:3:1" in out
    assert "\n  a.yaml:4:1: and this\nwarning: the old state was damaged\n" in out
    assert "There are no jobs yet: add some to /etc/agentd/agentd.yaml, then: agentctl reload\n" in out


def test_status_as_json_has_the_contracts_keys(daemon: FakeDaemon, ctl: Ctl) -> None:
    status = ctl("status", "--json").json
    assert status["daemon"]["version"] == "0.1.0"
    assert status["daemon"]["started"] == "2026-10-24T22:26:40.000000+02:00"
    feed, backup = status["jobs"]
    assert set(feed) == set(backup) == {*FEED, "last", "unmet"}
    assert feed["next"] == "2026-10-25T00:30:40.000000+02:00"
    assert feed["command"] == ["/opt/feed.py", "--all of it"]
    assert feed["last"]["result"] == "exit-code"
    assert feed["last"]["ended"] == "2026-10-24T22:27:40.000000+02:00"
    assert backup["next"] is backup["interval"] is backup["last"] is backup["last_run_id"] is None


def test_what_is_not_as_expected_stands_in_the_status(daemon: FakeDaemon, ctl: Ctl) -> None:
    late = {**FEED, "unmet": {"late": "no place is free", "too-long": "feed.5 is under way for 2h"}}
    daemon.answers |= {"ListJobs": [late], "GetJob": late, "NextTimes": [], "ListRuns": []}
    assert "copying (+1 queued), late, too-long" in ctl("status").out
    assert "late  no place is free\n" in ctl("status", "feed").out
    assert ctl("status", "--json").json["jobs"][0]["unmet"] == late["unmet"]


def test_status_of_one_job_shows_details_next_times_and_runs(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers |= {"GetJob": FEED, "NextTimes": [("feed", NOW + HOUR), ("feed", NOW + 3 * HOUR)], "ListRuns": [RUN]}
    out = ctl("status", "feed").out
    assert "command  /opt/feed.py '--all of it'" in out
    assert "every 2h (set by you; agentctl reset feed undoes it)" in out
    assert "configured  adaptive, from 5min" in out
    assert "preference  +2, more often (agentctl prefer feed 0 takes it back)" in out
    assert "next  Sun 2026-10-25 01:26:40 +0200  in 1h" in out
    assert "Sun 2026-10-25 02:26:40 +0100  in 3h" in out
    assert "skipped  it was still running (1h ago)" in out
    assert "feed.6" in out.splitlines()[-1]
    assert ("ListRuns", {"job": "feed", "limit": 5}) in daemon.calls
    document = ctl("status", "feed", "--json").json
    assert document["jobs"][0]["name"] == "feed"
    assert document["next"][1] == {"job": "feed", "due": "2026-10-25T02:26:40.000000+01:00"}
    assert [run["run_id"] for run in document["runs"]] == ["feed.6"]
    assert document["learning"] is None


LEARNT = {**FEED, "fixed": False, "preference": 0, "interval": 90 * MINUTE}


def test_an_interval_that_agentd_learnt_does_not_look_as_if_somebody_had_set_it(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers |= {"ListJobs": [LEARNT], "GetJob": LEARNT, "NextTimes": []}
    out = ctl("status").out
    assert "  adaptive, now every 1h 30min  " in out
    assert "set by you" not in out
    assert "*" not in out
    out = ctl("status", "feed").out
    assert "schedule  adaptive, now every 1h 30min\n" in out
    assert "configured  adaptive, from 5min (30s to 6h)" in out
    assert "set by you" not in out
    assert "preference" not in out
    unmoved = {**LEARNT, "interval": 5 * MINUTE}
    daemon.answers |= {"ListJobs": [unmoved], "GetJob": unmoved}
    assert "  adaptive, from 5min (30s to 6h)  " in ctl("status").out
    assert "configured" not in ctl("status", "feed").out


def test_a_preference_is_a_change_of_ones_own(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["ListJobs"] = [{**LEARNT, "preference": -1}]
    lines = ctl("status").out.splitlines()
    assert "  adaptive, now every 1h 30min, preference -1 *  " in lines[3]
    assert lines[-1] == "* set by you; agentctl reset feed undoes it"


def test_the_interval_of_an_older_agentd_which_does_not_learn_was_set_by_somebody(daemon: FakeDaemon, ctl: Ctl) -> None:
    def unknown(_filter: object) -> None:
        raise Refused("org.freedesktop.DBus.Error.UnknownInterface", "there is no org.agentd1.Learning")

    older = {key: value for key, value in FEED.items() if key != "fixed"}
    daemon.answers |= {"ListJobs": [older], "GetJob": older, "NextTimes": [], "ListLearners": unknown}
    assert "every 2h *" in ctl("status").out
    ended = ctl("status", "feed")
    assert (ended.code, ended.err) == (0, "")
    assert "every 2h (set by you" in ended.out
    assert "learning" not in ended.out


# Schedules


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        (("increase", "feed"), ("Increase", "feed")),
        (("decrease", "feed"), ("Decrease", "feed")),
        (("enable", "feed"), ("SetEnabled", "feed", True)),
        (("disable", "feed"), ("SetEnabled", "feed", False)),
        (("set", "feed", "--every", "1h 30min"), ("SetInterval", "feed", 90 * MINUTE)),
        (("reset", "feed"), ("Reset", "feed")),
    ],
)
def test_changes_print_their_note(daemon: FakeDaemon, ctl: Ctl, arguments: tuple[str, ...], call: tuple[Any]) -> None:
    daemon.answers[call[0]] = {"note": "from 5min to 2min", "old": 5 * MINUTE, "next": NOW}
    assert ctl(*arguments) == (0, "from 5min to 2min\n", "")
    assert daemon.calls[-1] == call
    assert ctl(*arguments, "--json").json == {
        "note": "from 5min to 2min",
        "old": 5 * MINUTE,
        "next": "2026-10-25T00:26:40.000000+02:00",
    }


def test_next_of_one_job_is_in_its_own_time_zone(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers |= {"NextTimes": [("feed", NOW + HOUR)], "GetJob": {**FEED, "timezone": "Asia/Kathmandu"}}
    assert ctl("next", "feed").out.splitlines()[1] == "Sun 2026-10-25 05:11:40 +0545  in 1h  feed"


def test_next_shows_both_passes_of_the_repeated_hour(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers |= {"NextTimes": [("feed", NOW + 2 * HOUR), ("feed", NOW + 3 * HOUR)], "GetJob": FEED}
    lines = ctl("next", "feed", "-n", "2", "--at", "2026-10-25T00:00Z").out.splitlines()
    assert lines[1:] == ["Sun 2026-10-25 02:26:40 +0200  in 2h  feed", "Sun 2026-10-25 02:26:40 +0100  in 3h  feed"]
    assert ("NextTimes", "feed", 1_792_886_400 * SECOND, 2) in daemon.calls
    assert ctl("next", "--json").json[1] == {"job": "feed", "due": "2026-10-25T02:26:40.000000+01:00"}
    assert daemon.calls[-1] == ("NextTimes", "", 0, 10)
    daemon.answers["NextTimes"] = []
    assert ctl("next", "feed").out == "feed is never due by itself\n"
    daemon.answers["GetJob"] = {**FEED, "kind": "boot", "trigger": "2min after boot"}
    assert ctl("next", "feed").out == "feed is due 2min after the next boot\n"
    assert ctl("next", "feed", "--json").json == []
    daemon.answers["GetJob"] = {**FEED, "kind": "after", "trigger": "after backup"}
    assert ctl("next", "feed").out == "feed is due after backup\n"
    daemon.answers["GetJob"] = {**FEED, "kind": "boot", "trigger": "2min after boot", "enabled": False}
    assert ctl("next", "feed").out == "feed is never due by itself\n"


def test_status_shows_the_run_of_a_job_that_was_removed_meanwhile(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["ListJobs"] = [FEED]
    gone = {**RUN, "job": "old", "run_id": "old.9", "state": "running", "result": ""}
    own = {**RUN, "run_id": "feed.7", "state": "running"}
    daemon.answers[JOBS] = {"Running": [gone, own]}
    assert ctl("status").out.splitlines()[-3].split() == ["old", "running", "(old.9)", "removed", "-", "-"]
    assert [run["run_id"] for run in ctl("status", "--json").json["removed"]] == ["old.9"]
