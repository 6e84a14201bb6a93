"""agentctl's commands about runs, against a fake daemon on a real bus."""

import queue
from collections.abc import Callable
from typing import Any

import pytest

from agentctl import client
from agentctl.__main__ import main
from agentctl.daemon import MANAGER
from agentctl.jobs import runs
from agentctl.jobs.calls import JOBS
from agentd.core.quantities import HOUR
from tests.unit.agentctl.fake import FEED, GOOD, NOW, RUN, Ctl, FakeDaemon, Refused, Stranger


def test_run_prints_the_id(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["RunJob"] = "feed.7"
    assert ctl("run", "feed") == (0, "feed.7\n", "")
    assert daemon.calls[-1] == ("RunJob", "feed", {})
    assert ctl("run", "feed", "--json").json == {"run_id": "feed.7"}


def finishing(daemon: FakeDaemon, run: dict[str, Any]) -> Callable[..., str]:
    """A RunJob whose run, and another one, are over before it is answered."""

    def start(_job: str, _options: object) -> str:
        daemon.emit_finished({**GOOD, "run_id": "feed.99"})
        daemon.emit_finished(run)
        return str(run["run_id"])

    return start


def test_run_wait_knows_success_from_failure_even_of_the_shortest_run(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["RunJob"] = finishing(daemon, GOOD)
    assert ctl("run", "feed", "--wait") == (0, "feed.5\nfeed.5: success after 1min 30s\n", "")
    daemon.answers["RunJob"] = finishing(daemon, {**RUN, "reason": "the disk is full"})
    assert ctl("run", "feed", "--wait") == (6, "feed.6\nfeed.6: exit-code 3 after 1min 30s: the disk is full\n", "")
    ended = ctl("run", "feed", "--wait", "--json")
    assert ended.code == 6
    assert ended.json["exit_code"] == 3


def test_run_wait_believes_agentd_alone(daemon: FakeDaemon, stranger: Stranger, ctl: Ctl) -> None:
    def start(_job: str, _options: object) -> str:
        stranger.forge(JOBS, "JobFinished", "sssa{sv}", ("feed", "feed.6", "success", {"result": ("s", "success")}))
        stranger.forge(JOBS, "JobFinished", "u", (0,))
        daemon.emit(JOBS, "JobFinished", "s", ("of another version",))
        daemon.emit_finished(RUN)
        return "feed.6"

    daemon.answers["RunJob"] = start
    ended = ctl("run", "feed", "--wait")
    assert ended == (6, "feed.6\nfeed.6: exit-code 3 after 1min 30s\n", "")


def test_run_wait_survives_a_signal_that_never_comes(daemon: FakeDaemon) -> None:
    answers: queue.SimpleQueue[list[dict[str, Any]]] = queue.SimpleQueue()
    answers.put([{**GOOD, "state": "running"}])
    answers.put([GOOD])
    daemon.answers["ListRuns"] = lambda _filter: answers.get(timeout=1)
    connection = client.Client.connect()
    assert runs.wait_finished(connection, connection.subscribe(JOBS, "JobFinished"), "feed.5", patience=0.01) == GOOD
    connection.close()


def test_run_wait_tells_each_reason_for_waiting_once(
    daemon: FakeDaemon, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the runs of other jobs end all the time."""
    monkeypatch.setattr(runs, "FIRST_LOOK", 0.05)
    before, full = "the run before is not over: feed.4", "nothing starts: the state cannot be stored: disk\x1b full"
    waiting = {**{key: value for key, value in GOOD.items() if key != "result"}, "ended": 0, "started": 0}
    answers = [
        *({**waiting, "state": "queued", "waits": before} for _ in range(3)),
        *({**waiting, "state": "starting", "waits": full} for _ in range(2)),
        {**waiting, "state": "running"},
        GOOD,
    ]

    def next_answer(_filter: object) -> list[dict[str, Any]]:
        for _ in range(3):
            daemon.emit_finished({**GOOD, "run_id": "feed.99"})
        return [answers.pop(0)]

    daemon.answers["ListRuns"] = next_answer
    connection = client.Client.connect()
    signals = connection.subscribe(JOBS, "JobFinished")
    assert runs.wait_finished(connection, signals, "feed.5", patience=0.01) == GOOD
    assert capsys.readouterr().err == (
        f"feed.5 waits: {before}\nfeed.5 waits: nothing starts: the state cannot be stored: disk\\x1b full\n"
    )
    connection.close()


REASON = "attempt 1 ended with exit-code; retry 1 of 2\x1b in 1s"
RETRY = {**RUN, "run_id": "feed.8", "cause": "retry", "attempt": 2, "state": "queued", "reason": REASON}


def tried_again(daemon: FakeDaemon, *ends: dict[str, Any]) -> None:
    """Attempts of one due time, of which each ends as its follower is asked for."""
    daemon.answers["RunJob"] = finishing(daemon, ends[0])
    other = {**RETRY, "run_id": "feed.7", "due": NOW - HOUR}
    known = [{**one, "state": "queued"} if one["attempt"] > 1 else one for one in ends]

    def listed(wanted: dict[str, Any]) -> list[dict[str, Any]]:
        if "job" in wanted:
            following = next((one for one in ends if one not in told and one["attempt"] > 1), None)
            if following is not None:
                told.append(following)
                daemon.emit_finished({**following, "state": "ended"})
        return [*reversed(known), other]

    told: list[dict[str, Any]] = []
    daemon.answers["ListRuns"] = listed


def test_run_wait_waits_for_the_last_attempt_and_exits_by_that(daemon: FakeDaemon, ctl: Ctl) -> None:
    first = {**RUN, "attempt": 1}
    tried_again(daemon, first, {**RETRY, "result": "success", "exit_code": 0})
    meanwhile = "feed.6: exit-code 3 after 1min 30s\nfeed.8: attempt 1 ended with exit-code; retry 1 of 2\\x1b in 1s\n"
    ended = ctl("run", "feed", "--wait")
    assert (ended.code, ended.err) == (0, meanwhile)
    assert ended.out.startswith("feed.6\nfeed.8: success after 1min 30s")
    tried_again(daemon, first, RETRY, {**RETRY, "run_id": "feed.9", "attempt": 3, "result": "timeout"})
    ended = ctl("run", "feed", "--wait", "--json")
    assert (ended.code, ended.json["run_id"], ended.json["result"]) == (6, "feed.9", "timeout")


def test_run_wait_passes_no_escape_sequence_on(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["RunJob"] = finishing(daemon, {**RUN, "reason": "\x1b]0;owned\x07"})
    daemon.answers["ListRuns"] = []
    assert ctl("run", "feed", "--wait").out.endswith(": \\x1b]0;owned\\x07\n")


def test_ctrl_c_while_waiting_tells_that_the_run_goes_on(
    daemon: FakeDaemon, ctl: Ctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    daemon.answers["RunJob"] = "feed.7"
    monkeypatch.setattr(runs, "wait_finished", interrupted)
    ended = ctl("run", "feed", "--wait")
    assert ended.code == 130
    assert "feed.7 goes on without you; to end it: agentctl stop feed.7" in ended.err


def growing(*pieces: bytes) -> Callable[[str, int], tuple[bytes, int, bool]]:
    """A ReadOutput to which the pieces come one by one; an empty piece is a pause."""
    left = list(pieces)

    def read(_run_id: str, offset: int) -> tuple[bytes, int, bool]:
        piece = left.pop(0)
        return piece, offset + len(piece), not left

    return read


def test_run_follow_prints_the_output_alone_on_stdout(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["RunJob"] = finishing(daemon, RUN)
    daemon.answers["ReadOutput"] = growing(b"one\n", b"", b"two\n", b"")
    ended = ctl("run", "feed", "--follow")
    assert ended == (6, "one\ntwo\n", "feed.6\nfeed.6: exit-code 3 after 1min 30s\n")
    assert [call[2] for call in daemon.calls if call[0] == "ReadOutput"] == [0, 4, 4, 8]
    daemon.answers["ReadOutput"] = growing(b"one\n", b"")
    ended = ctl("run", "feed", "--follow", "--json")
    assert ended.json["run_id"] == "feed.6"
    assert ended.err == "one\n"


def test_stop_names_the_runs(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["StopJob"] = ["feed.7", "feed.8"]
    assert ctl("stop", "feed").out == "stopping feed.7, feed.8\n"
    assert ctl("stop", "feed", "--json").json == {"run_ids": ["feed.7", "feed.8"]}
    daemon.answers["StopJob"] = []
    assert ctl("stop", "feed").out == "feed is not running: there is nothing to stop\n"


def test_log_passes_bytes_through(daemon: FakeDaemon, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    daemon.answers["ListRuns"] = [{**RUN, "run_id": "feed.7", "started": 0, "state": "queued"}, RUN]
    daemon.answers["ReadOutput"] = growing(b"\xff\x1b[31m\0", b"end", b"")
    assert main(["log", "feed"]) == 0
    assert capfdbinary.readouterr() == (b"\xff\x1b[31m\0end", b"")
    assert ("ReadOutput", "feed.6", 0) in daemon.calls, "the queued run has no output yet"


def test_log_stops_at_the_present_unless_it_follows(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["ListRuns"] = [RUN]
    daemon.answers["ReadOutput"] = growing(b"one ", b"", b"two", b"")
    assert ctl("log", "feed").out == "one "
    daemon.answers["ReadOutput"] = growing(b"one ", b"", b"two", b"")
    assert ctl("log", "-f", "feed").out == "one two"
    daemon.answers["ReadOutput"] = growing(b"\xff", b"")
    assert ctl("log", "feed", "--json").json == {"run_id": "feed.6", "output": "\ufffd"}
    daemon.answers["ReadOutput"] = growing(b"")
    assert ctl("log", "feed") == (0, "", "feed.6 has written nothing\n")


def test_log_takes_a_run_and_tells_when_there_is_none(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["ListRuns"] = lambda chosen: [RUN] if chosen.get("run_id") == "feed.6" else []
    daemon.answers["ReadOutput"] = growing(b"x")
    assert ctl("log", "feed.6").out == "x"
    daemon.answers["GetJob"] = FEED
    assert ctl("log", "feed") == (5, "", "agentctl: feed has not run yet: start it with: agentctl run feed\n")
    daemon.answers["ListRuns"] = lambda chosen: [RUN] if chosen.get("job") == "feed" else []
    none = "agentctl: there is no run feed.99 (agentctl history feed lists those that are known)\n"
    assert ctl("log", "feed.99") == (5, "", none)
    assert "other.99 has not run yet" in ctl("log", "other.99").err, "no such job is known to have run"


def test_history_shows_runs_in_a_table_and_in_json(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["ListRuns"] = [RUN]
    lines = ctl("history", "feed", "-n", "7", "--since", "1h").out.splitlines()
    assert lines[0].split() == ["RUN", "DUE", "STARTED", "TOOK", "RESULT", "CPU", "PEAK"]
    assert "feed.6  Sat 2026-10-24 22:26:40 +0200  Sat 22:26:40  1min 30s  exit-code 3  1.5s  3.0 MiB" in lines[1]
    assert daemon.calls[-1] == ("ListRuns", {"job": "feed", "since": NOW - HOUR, "limit": 7})
    assert ctl("history", "--json").json == [
        {
            "job": "feed",
            "run_id": "feed.6",
            "due": "2026-10-24T22:26:40.000000+02:00",
            "started": "2026-10-24T22:26:40.000000+02:00",
            "ended": "2026-10-24T22:28:10.000000+02:00",
            "result": "exit-code",
            "exit_code": 3,
            "cpu_s": 1.5,
            "peak_memory": 3 << 20,
            "cause": "schedule",
            "attempt": 1,
            "state": "ended",
            "signal": None,
            "progress": None,
            "reason": "",
            "tail": None,
        }
    ]


def test_history_in_json_has_the_last_lines_of_each_run(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["ListRuns"] = [{**RUN, "tail": "step 9\nFATAL: the reason\n"}]
    assert ctl("history", "feed", "--json").json[0]["tail"] == "step 9\nFATAL: the reason\n"
    assert daemon.calls[-1] == ("ListRuns", {"job": "feed", "tail": True, "limit": 20})


MARKER = b"\n[agentd keeps no more of this output; the last lines are in the history]\n"


@pytest.mark.parametrize(
    ("kept", "tail", "printed"),
    [
        ((b"step 1\n", MARKER), "FATAL\n", b"step 1\n" + MARKER + b"[the last lines of this output:]\nFATAL\n"),
        ((b"step 1\n", b"FATAL\n"), "step 1\nFATAL\n", b"step 1\nFATAL\n"),  # everything is there
        ((b"step 1",), "FATAL\n[agentd keeps no more of this output: no room]\n",
         b"step 1\n[the last lines of this output:]\nFATAL\n[agentd keeps no more of this output: no room]\n"),
        ((b"",), "FATAL\n", b"[the last lines of this output:]\nFATAL\n"),  # removed to make room
    ],
)  # fmt: skip
def test_log_of_an_output_beyond_its_cap_ends_with_its_last_lines(
    daemon: FakeDaemon, capfdbinary: pytest.CaptureFixture[bytes], kept: tuple[bytes, ...], tail: str, printed: bytes
) -> None:
    daemon.answers["ListRuns"] = [{**RUN, "tail": tail}]
    daemon.answers["ReadOutput"] = growing(*kept)
    assert main(["log", "feed"]) == 0
    assert capfdbinary.readouterr().out == printed


def test_history_failed_asks_for_failures(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["ListRuns"] = [RUN]
    assert [run["run_id"] for run in ctl("history", "--failed", "-n", "2", "--json").json] == ["feed.6"]
    assert daemon.calls[-1] == ("ListRuns", {"failed": True, "tail": True, "limit": 2})
    daemon.answers["ListRuns"] = []
    assert ctl("history", "--failed").out == "nothing found\n"


def test_history_of_an_unknown_job_is_an_error_and_not_just_empty(daemon: FakeDaemon, ctl: Ctl) -> None:
    def refuse(_job: str) -> None:
        raise Refused("org.agentd1.Error.NoSuchJob", 'there is no job "fed": did you mean "feed"?')

    daemon.answers |= {"GetJob": refuse, "ListDecisions": []}
    for more in ((), ("--decisions",), ("--json",)):
        assert ctl("history", "fed", *more) == (5, "", 'agentctl: there is no job "fed": did you mean "feed"?\n')
    daemon.answers["GetJob"] = FEED
    assert ctl("history", "feed") == (0, "nothing found\n", "")
    assert ctl("history", "feed", "--json").json == []


def test_history_of_decisions(daemon: FakeDaemon, ctl: Ctl) -> None:
    new = {"at": NOW - HOUR, "part": "jobs", "kind": "skip", "about": "feed", "run_id": "", "reason": "it still ran"}
    daemon.answers[f"{MANAGER}.ListDecisions"] = [new, {**new, "at": NOW - 9 * HOUR}]
    lines = ctl("history", "--decisions", "--since", "2h").out.splitlines()
    assert lines[0].split() == ["AT", "ABOUT", "WHAT", "WHY"]
    assert lines[1:] == ["Sat 23:26:40  feed   skip  it still ran"]
    assert daemon.calls[-1] == ("ListDecisions", {"limit": 20})
    assert [row["kind"] for row in ctl("history", "--decisions", "--json", "feed").json] == ["skip", "skip"]
    assert daemon.calls[-1] == ("ListDecisions", {"part": "jobs", "about": "feed", "limit": 20})
    assert ctl("history", "--decisions", "--failed").code == 2


@pytest.mark.parametrize(
    ("decision", "about", "job"),
    [
        ({"part": "jobs", "about": "feed", "run_id": "feed.7"}, "feed.7", "feed"),
        ({"part": "jobs", "about": "feed"}, "feed", "feed"),
        ({"part": "jobs", "about": ""}, "jobs", ""),
        ({"part": "reboots", "about": ""}, "reboots", ""),
        ({"part": "reboots", "about": "nightly"}, "reboots nightly", ""),
        ({}, "-", ""),
    ],
)
def test_a_decision_of_any_part_shows_what_it_is_about(
    daemon: FakeDaemon, ctl: Ctl, decision: dict[str, Any], about: str, job: str
) -> None:
    decision = {"at": NOW, "kind": "x", "reason": "y", **decision}
    daemon.answers[f"{MANAGER}.ListDecisions"] = [decision]
    assert ctl("history", "--decisions").out.splitlines()[1] == f"00:26:40  {about:5}  x     y"
    missing = {"run_id": None, "part": None, "about": None}
    at = "2026-10-25T00:26:40.000000+02:00"
    assert ctl("history", "--decisions", "--json").json == [{**missing, **decision, "at": at, "job": job}]


def test_an_older_daemon_tells_its_decisions_on_the_interface_of_jobs(daemon: FakeDaemon, ctl: Ctl) -> None:
    def refuse(_filter: object) -> None:
        raise Refused("org.freedesktop.DBus.Error.UnknownMethod", "org.agentd1.Manager has no method ListDecisions")

    skip = {"at": NOW, "kind": "skip", "job": "feed", "run_id": "", "reason": "it still ran"}
    clock = {**skip, "kind": "clock", "job": "", "reason": "the clock was set"}
    reboot = {**skip, "kind": "reboot", "job": "", "reason": "announced"}
    daemon.answers |= {f"{MANAGER}.ListDecisions": refuse, f"{JOBS}.ListDecisions": [skip, clock, reboot]}
    ended = ctl("history", "--decisions", "feed")
    assert (ended.code, ended.err) == (0, "")
    assert [line.split()[1:3] for line in ended.out.splitlines()[1:]] == [
        ["feed", "skip"],
        ["jobs", "clock"],
        ["reboots", "reboot"],
    ]
    assert daemon.calls[-1] == ("ListDecisions", {"job": "feed", "limit": 20})
    rows = ctl("history", "--decisions", "--json").json
    assert [(row["job"], row["part"], row["about"]) for row in rows] == [
        ("feed", "jobs", "feed"),
        ("", "jobs", ""),
        ("", "reboots", ""),
    ]
    assert daemon.calls[-1] == ("ListDecisions", {"limit": 20})
    assert set(rows[0]) == {*skip, "part", "about"}

    def internal(_filter: object) -> None:
        raise Refused("org.agentd1.Error.Internal", "ListDecisions failed inside agentd")

    daemon.answers[f"{MANAGER}.ListDecisions"] = internal
    assert ctl("history", "--decisions") == (1, "", "agentctl: ListDecisions failed inside agentd\n")


def test_progress_works_only_inside_a_job(daemon: FakeDaemon, ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = ctl("progress", "half", "done")
    assert ended.code == 2
    assert "only inside a job" in ended.err
    daemon.answers["ReportProgress"] = None
    monkeypatch.setenv("AGENTD_RUN_ID", "feed.7")
    assert ctl("progress", "half", "done") == (0, "", "")
    assert daemon.calls[-1] == ("ReportProgress", "feed.7", "half done")


def test_a_job_tells_which_tool_it_uses(daemon: FakeDaemon, ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ctl("progress", "--tool", "disk").code == 2, "there is no run that uses it"
    daemon.answers["Report"] = None
    monkeypatch.setenv("AGENTD_RUN_ID", "feed.7")
    assert ctl("progress", "how", "full?", "--tool", "disk") == (0, "", "")
    assert ctl("progress", "--tool", "disk", "--json").json == {
        "run_id": "feed.7",
        "progress": None,
        "tool": "disk",
        "changed": False,
    }
    assert daemon.calls == [
        ("Report", "feed.7", "how full?", {"tool": "disk"}),
        ("Report", "feed.7", "", {"tool": "disk"}),
    ]


def test_a_job_tells_that_it_found_something(daemon: FakeDaemon, ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ctl("progress").code == 2
    assert "give a TEXT, or --changed, or both" in ctl("progress").err
    assert ctl("progress", "--changed").code == 2, "there is no run that found something"
    daemon.answers |= {"ReportProgress": None, "ReportChange": None}
    monkeypatch.setenv("AGENTD_RUN_ID", "feed.7")
    assert ctl("progress", "--changed") == (0, "", "")
    assert daemon.calls == [("ReportChange", "feed.7")]
    assert ctl("progress", "--changed", "3", "new", "--json").json == {
        "run_id": "feed.7",
        "progress": "3 new",
        "tool": None,
        "changed": True,
    }
    assert daemon.calls[-2:] == [("ReportChange", "feed.7"), ("ReportProgress", "feed.7", "3 new")]
