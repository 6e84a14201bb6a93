"""Pings: what checks outside hear of the runs of jobs, in which order, and what an outage makes of it."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from agentd.core.notices.model import Check, Outcome, Ping, PingsWanted, Says
from agentd.core.notices.pings import MOST
from agentd.core.notices.settings import Quiet, doubts
from agentd.core.quantities import DAY, HOUR, MINUTE, SECOND
from tests.unit.notices.outside import DOWN, Outside, pinging
from tests.unit.notices.person import NOW, SENT, job


@pytest.fixture
def outside() -> Outside:
    return Outside(pinging("backup"), pinging("mail"), job("quiet"))


def check(outside: Outside, name: str = "backup") -> Check:
    (found,) = (one.check for one in outside.core.pings.listed() if one.name == name)
    return found


def waiting(outside: Outside, name: str = "backup") -> int:
    (found,) = (one.waiting for one in outside.core.pings.listed() if one.name == name)
    return found


# What is said


def test_a_run_is_told_when_it_starts_and_when_it_succeeds_without_any_channel(outside: Outside) -> None:
    run = outside.starts(1)
    assert outside.take() == [("backup.1", "start")]
    outside.wait(HOUR)
    outside.ends(run)
    assert outside.take() == [("backup.1", "success")]
    assert check(outside).sent == outside.now
    assert outside.store.pings == {}
    assert outside.core.wakeup() is None


@pytest.mark.parametrize(
    ("end", "says", "text"),
    [
        ({"result": "success", "exit_code": 10}, "success", "backup.1 succeeded"),
        ({"result": "exit-code", "exit_code": 3}, 3, "backup.1 failed: exit code 3"),
        ({"result": "exit-code", "exit_code": 255}, 255, "backup.1 failed: exit code 255"),
        ({"result": "exit-code", "exit_code": 1234}, "fail", "backup.1 failed: exit code 1234"),
        ({"result": "exit-code"}, "fail", "backup.1 failed: exit-code"),
        ({"result": "exit-code", "exit_code": 0}, "fail", "backup.1 failed: exit code 0"),
        ({"result": "signal", "signal": "SIGKILL"}, "fail", "backup.1 failed: killed by SIGKILL"),
        ({"result": "timeout", "exit_code": 3}, "fail", "backup.1 failed: the run took longer than its timeout"),
        ({"result": "oom-kill"}, "fail", "backup.1 failed: the kernel killed the run for want of memory"),
        ({"result": "start-failed", "reason": "no such user"}, "fail",
         "backup.1 failed: the program could not be started\nno such user"),
        ({"result": "interrupted"}, "fail", "backup.1 failed: the run was cut off"),
        ({"result": "stopped", "final": False, "reason": "by hand"}, "log", "backup.1 was stopped\nby hand"),
        ({"result": "exit-code", "exit_code": 3, "final": False}, "log",
         "backup.1 failed: exit code 3; another attempt follows"),
    ],
)  # fmt: skip
def test_each_end_has_its_ping(outside: Outside, end: dict[str, Any], says: Says, text: str) -> None:
    outside.runs(1, **end)
    assert [(ping.says, ping.text) for _, ping in outside.got][1:] == [(says, text)]


def test_an_attempt_that_is_followed_by_another_only_goes_to_the_log_of_the_check(outside: Outside) -> None:
    outside.runs(1, result="exit-code", exit_code=3, final=False)
    run = outside.starts(2, attempt=2)
    assert outside.got[-1][1].text == "backup.2 started, attempt 2"
    outside.ends(run, "exit-code", exit_code=3)
    assert [says for _, says in outside.take()] == ["start", "log", "start", 3]


def test_nothing_is_said_of_a_run_that_was_taken_back_nor_of_jobs_that_ping_nobody(outside: Outside) -> None:
    run = replace(outside.starts(1), started=0)
    outside.take()
    outside.ends(run, "cancelled", final=False)
    outside.runs(2, "quiet")
    assert outside.got == []
    assert outside.store.pings == {}


def test_what_is_heard_twice_is_one_ping(outside: Outside) -> None:
    outside.deliver = lambda _: None
    run = outside.starts(1)
    outside.starts(1)
    outside.ends(run)
    outside.ends(run)
    assert sorted(outside.store.pings) == [2, 3]


def test_a_ping_knows_no_quiet_hours() -> None:
    outside = Outside(pinging("backup"), quiet=Quiet(from_=0, to=86_399))
    outside.runs(1)
    assert len(outside.take()) == 2


# Outages


def test_a_check_that_does_not_answer_is_tried_again_ever_more_slowly_and_hears_start_and_end_in_order(
    outside: Outside,
) -> None:
    outside.luck = lambda _: DOWN
    outside.runs(1)
    outside.wait(8 * HOUR)
    pauses = [(after - at) // MINUTE for (at, _), (after, _) in zip(outside.tried, outside.tried[1:], strict=False)]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60]
    assert (check(outside).why, waiting(outside)) == (DOWN.why, 2)
    outside.luck = lambda _: SENT
    outside.wait(HOUR)
    assert outside.take() == [("backup.1", "start"), ("backup.1", "success")]
    assert (check(outside).failed, check(outside).why, check(outside).again_at) == (0, "", 0)
    assert outside.core.wakeup() is None


def test_a_server_says_how_long_to_wait_within_a_day(outside: Outside) -> None:
    outside.luck = lambda _: replace(DOWN, after=40 * DAY)
    outside.starts(1)
    assert check(outside).again_at == NOW + DAY
    assert outside.core.wakeup() == NOW + DAY


def test_of_an_outage_the_newest_run_is_told(outside: Outside) -> None:
    outside.luck = lambda _: DOWN
    for seq, result in ((1, "success"), (2, "signal"), (3, "success")):
        outside.runs(seq, result=result)
        outside.wait(10 * MINUTE)
    assert waiting(outside) == 2
    assert len(outside.dropped()) == 4
    assert outside.dropped()[-1] == "the ping to backup-check (fail): a newer run has ended"
    outside.luck = lambda _: SENT
    outside.wait(HOUR)
    assert outside.take() == [("backup.3", "start"), ("backup.3", "success")]


def test_a_run_that_is_under_way_keeps_its_start_whatever_ended_since(outside: Outside) -> None:
    outside.luck = lambda _: DOWN
    long = outside.starts(1)
    outside.runs(2)
    assert [ping.run_id for ping in outside.store.pings.values()] == ["backup.1", "backup.2", "backup.2"]
    outside.ends(long, "timeout")
    assert [ping.run_id for ping in outside.store.pings.values()] == ["backup.1", "backup.1"]


def test_a_failure_outlasts_what_only_goes_to_the_log(outside: Outside) -> None:
    outside.luck = lambda _: DOWN
    outside.runs(1, result="exit-code", exit_code=3)
    outside.runs(2, result="stopped", final=False)
    outside.luck = lambda _: SENT
    outside.wait(HOUR)
    assert [says for _, says in outside.take()] == ["start", 3, "start", "log"]


def test_while_all_is_well_no_end_makes_another_meaningless(outside: Outside) -> None:
    couriers: list[PingsWanted] = []
    outside.deliver = couriers.append
    outside.runs(1, result="signal")
    outside.runs(2)
    outside.deliver = outside.post
    outside.post(couriers.pop())
    outside.go_on()
    assert [says for _, says in outside.take()] == ["start", "fail", "start", "success"]


def test_a_check_that_is_down_delays_no_other(outside: Outside) -> None:
    outside.luck = lambda ping: DOWN if ping is None or ping.job == "backup" else SENT
    outside.runs(1)
    outside.runs(2, "mail")
    assert outside.take() == []
    assert outside.take("mail-check") == [("mail.2", "start"), ("mail.2", "success")]


def test_what_waits_for_longer_than_notices_keep_is_dropped_with_the_reason(outside: Outside) -> None:
    outside.luck = lambda _: DOWN
    outside.runs(1)
    outside.wait(3 * DAY + HOUR)
    assert waiting(outside) == 0
    assert outside.dropped() == [
        f"the ping to backup-check ({says}): not delivered for too long (notices.keep): {DOWN.why}"
        for says in ("start", "success")
    ]
    assert outside.core.wakeup() is None


def test_what_waited_while_the_machine_was_off_gets_one_attempt(outside: Outside) -> None:
    outside.luck = lambda _: DOWN
    outside.runs(1)
    outside.luck = lambda _: SENT
    outside.restart(10 * DAY)
    assert outside.take() == [("backup.1", "start"), ("backup.1", "success")]


def test_only_so_many_wait(outside: Outside) -> None:
    outside.luck = lambda _: DOWN
    for seq in range(1, MOST + 10):
        outside.starts(seq)
    assert len(outside.store.pings) == MOST == waiting(outside)
    assert outside.dropped() == [f"the ping to backup-check (start): more than {MOST} wait"] * 9


def test_a_ping_that_is_refused_is_told_and_holds_nothing_up(outside: Outside) -> None:
    outside.luck = lambda ping: Outcome("refused", "no such ping") if ping and ping.says == "start" else SENT
    run = outside.starts(1)
    assert (check(outside).why, check(outside).failed, waiting(outside)) == ("no such ping", 1, 0)
    outside.ends(run)
    assert outside.take() == [("backup.1", "success")]
    assert check(outside).why == ""


@pytest.mark.parametrize(("said", "why"), [("", "the courier ended without a word"), ("it crashed", "it crashed")])
def test_a_courier_that_tells_nothing_is_a_failed_attempt(outside: Outside, said: str, why: str) -> None:
    outside.deliver = lambda wanted: outside.core.pings.courier_ended(wanted.credential, said, outside.now)
    outside.starts(1)
    assert (check(outside).why, check(outside).failed, waiting(outside)) == (why, 1, 1)
    assert check(outside).again_at == NOW + MINUTE


def test_couriers_get_twenty_at_a_time(outside: Outside) -> None:
    batches: list[PingsWanted] = []
    outside.deliver = batches.append
    for seq in range(1, 41):
        outside.starts(seq)

    def post(wanted: PingsWanted) -> None:
        batches.append(wanted)
        outside.post(wanted)

    outside.deliver = post
    outside.post(batches[0])
    outside.go_on()
    assert [len(one.pings) for one in batches] == [1, 20, 19]
    assert [int(run.rpartition(".")[2]) for run, _ in outside.take()] == [*range(1, 41)]


# Kills, configurations, clocks


def test_a_kill_loses_no_ping_and_repeats_those_that_were_on_their_way(outside: Outside) -> None:
    outside.deliver = lambda _: None
    outside.runs(1)
    outside.deliver = outside.post
    outside.restart()
    assert outside.take() == [("backup.1", "start"), ("backup.1", "success")]


def test_a_failed_attempt_is_remembered_over_a_restart(outside: Outside) -> None:
    outside.luck = lambda _: DOWN
    outside.runs(1)
    outside.restart(10 * SECOND)
    assert len(outside.tried) == 1
    assert (check(outside).failed, outside.core.wakeup()) == (1, NOW + MINUTE)


def test_while_agentd_stops_nothing_goes_and_what_ends_then_is_told_by_the_next_agentd(outside: Outside) -> None:
    run = outside.starts(1)
    outside.core.drain()
    outside.ends(run, "interrupted")
    assert outside.core.wakeup() is None
    assert outside.take() == [("backup.1", "start")]
    outside.restart()
    assert outside.take() == [("backup.1", "fail")]


def test_what_waits_for_a_check_that_is_pinged_no_more_is_dropped(outside: Outside) -> None:
    outside.luck = lambda _: DOWN
    outside.runs(1)
    outside.runs(2, "mail")
    outside.luck = lambda _: SENT
    outside.reload(pinging("backup", "other"), job("mail"))
    assert outside.store.pings == {}
    assert len(outside.dropped()) == 4
    assert outside.dropped()[0].endswith("its job does not ping that check any more")
    assert set(outside.store.checks) <= {"other"}
    outside.runs(3)
    assert outside.take("other") == [("backup.3", "start"), ("backup.3", "success")]


def test_what_the_disk_has_of_a_check_that_is_gone_is_forgotten(outside: Outside) -> None:
    outside.luck = lambda _: DOWN
    outside.runs(1)
    outside.slice = replace(outside.slice, jobs={})
    outside.restart()
    assert (outside.store.pings, outside.store.checks) == ({}, {})


def test_a_word_of_a_courier_whose_check_is_gone_is_nothing(outside: Outside) -> None:
    outside.deliver = lambda _: None
    outside.runs(1)
    outside.reload()
    outside.core.pings.delivered("backup-check", 2, SENT, outside.now)
    outside.core.pings.courier_ended("backup-check", "", outside.now)
    assert outside.core.effects() == []


def test_jobs_that_share_a_check_are_told_in_their_order_and_that_is_doubted() -> None:
    jobs = [pinging("backup", "one"), pinging("mail", "one"), pinging("last")]
    outside = Outside(*jobs)
    outside.runs(1)
    outside.runs(2, "mail")
    assert [run for run, _ in outside.take("one")] == ["backup.1", "backup.1", "mail.2", "mail.2"]
    assert list(doubts(outside.slice.notices, outside.slice.jobs)) == [
        "jobs.mail.ping: pings the same check as backup: while one of them does, the other is not missed"
    ]


@pytest.mark.parametrize("delta", [-DAY, -SECOND, HOUR])
def test_a_pause_goes_by_elapsed_time_whatever_the_clock_shows(outside: Outside, delta: int) -> None:
    outside.luck = lambda _: DOWN
    outside.runs(1)
    outside.now += delta
    outside.core.clock_stepped(delta, outside.now)
    outside.go_on()
    assert outside.core.wakeup() == outside.now + MINUTE
    assert outside.store.checks["backup-check"].again_at == outside.now + MINUTE


def test_a_clock_that_was_set_back_while_agentd_was_off_holds_nothing_up(outside: Outside) -> None:
    outside.luck = lambda _: DOWN
    outside.runs(1)
    outside.restart(-40 * DAY)
    wakeup = outside.core.wakeup()
    assert wakeup is not None
    assert wakeup <= outside.now + HOUR


def test_everything_can_be_stored_once_more(outside: Outside) -> None:
    outside.luck = lambda _: DOWN
    outside.runs(1)
    before = (dict(outside.store.pings), dict(outside.store.checks))
    outside.store.pings.clear()
    outside.store.checks.clear()
    outside.core.save_all()
    outside.go_on()
    outside.store.checks.pop("mail-check")
    assert (outside.store.pings, outside.store.checks) == before


def test_what_a_run_says_of_its_end_steers_no_terminal(outside: Outside) -> None:
    outside.runs(1, result="start-failed", reason="\x1b[2Jmallory\x07" * 2000)
    text = outside.got[-1][1].text
    assert "\x1b" not in text
    assert len(text.encode()) <= 8 << 10


def test_of_a_ping_is_known_whether_it_ends_a_run() -> None:
    def ping(says: Says) -> Ping:
        return Ping(id=1, credential="x", job="a", run_id="a.1", says=says, made=1)

    ends: Callable[[Says], bool] = lambda says: ping(says).ends  # noqa: E731 - one line of a table
    assert [ends(says) for says in ("start", "success", "fail", "log", 0, 3)] == [False, True, True, True, True, True]
