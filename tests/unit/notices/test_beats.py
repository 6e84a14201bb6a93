"""The heartbeat: when a check outside hears that agentd works, and when it does not."""

import pytest

from agentd.core.notices.model import BeatWanted, CheckSaved
from agentd.core.notices.settings import Heartbeat
from agentd.core.quantities import DAY, HOUR, MINUTE, SECOND
from tests.unit.notices.outside import ALIVE, DOWN, Outside, pinging
from tests.unit.notices.person import NOW, SENT

FIVE = Heartbeat(credential=ALIVE)


@pytest.fixture
def outside() -> Outside:
    return Outside(heartbeat=FIVE)


def minutes(outside: Outside) -> list[int]:
    return [(at - NOW) // MINUTE for at in outside.beats]


def test_the_heart_beats_at_once_and_then_as_often_as_it_says_and_wakes_nobody_else(outside: Outside) -> None:
    woken = 0
    while (at := outside.core.wakeup()) is not None and at <= NOW + 20 * MINUTE:
        woken += 1
        outside.wait(at - outside.now)
    assert minutes(outside) == [0, 5, 10, 15, 20]
    assert woken == 5
    (pinged,) = outside.core.pings.listed()
    assert (pinged.kind, pinged.name, pinged.check.sent, pinged.waiting) == ("heartbeat", "agentd", outside.now, 0)


def test_without_a_heartbeat_nothing_wakes_up() -> None:
    assert Outside(pinging("backup")).core.wakeup() is None


def test_an_agentd_that_starts_over_and_over_beats_no_faster(outside: Outside) -> None:
    outside.wait(0)
    for _ in range(20):
        outside.restart(MINUTE)
    assert minutes(outside) == [0, 5, 10, 15, 20]


def test_what_was_late_is_not_made_up_for(outside: Outside) -> None:
    outside.wait(0)
    outside.now += 62 * MINUTE  # the machine slept
    outside.wait(10 * MINUTE)
    assert minutes(outside) == [0, 62, 67, 72]


def test_a_beat_that_does_not_get_through_is_not_sent_later_and_that_is_told(outside: Outside) -> None:
    outside.luck = lambda _: DOWN
    outside.wait(17 * MINUTE)
    (pinged,) = outside.core.pings.listed()
    assert (pinged.check.failed, pinged.check.why) == (4, DOWN.why)
    outside.luck = lambda _: SENT
    outside.wait(5 * MINUTE)
    (pinged,) = outside.core.pings.listed()
    assert (minutes(outside), pinged.check.failed, pinged.check.why) == ([20], 0, "")


def test_the_heart_stands_still_while_nothing_can_be_stored_and_tells_nothing_of_that_time_later(
    outside: Outside,
) -> None:
    outside.wait(5 * MINUTE)
    outside.full = True
    outside.wait(HOUR)
    assert minutes(outside) == [0, 5]
    assert outside.core.wakeup() is None, "there is nothing to wake up for"
    outside.room()
    assert minutes(outside) == [0, 5], "what waited for the disk tells of the past"
    outside.wait(0)
    assert minutes(outside) == [0, 5, 65]
    outside.wait(10 * MINUTE)
    assert minutes(outside) == [0, 5, 65, 70, 75]


def test_while_agentd_stops_nothing_beats_not_even_what_waits_to_be_carried_out(outside: Outside) -> None:
    outside.core.tick(outside.now)
    saved, wanted = outside.core.effects()
    assert isinstance(saved, CheckSaved)
    assert isinstance(wanted, BeatWanted)
    outside.core.drain()
    assert not outside.core.pings.beats.begin(wanted.at)
    outside.core.storable("", outside.now)
    outside.wait(HOUR)
    assert outside.beats == []
    assert outside.core.wakeup() is None


def test_a_beat_that_is_still_under_way_is_not_overtaken(outside: Outside) -> None:
    outside.core.tick(outside.now)
    saved, wanted = outside.core.effects()
    assert isinstance(wanted, BeatWanted)
    assert outside.core.pings.beats.begin(wanted.at)
    outside.wait(12 * MINUTE)
    assert outside.beats == []
    outside.core.pings.beats.ended(wanted.at, SENT, outside.now)
    outside.wait(5 * MINUTE)
    assert minutes(outside) == [15]
    assert isinstance(saved, CheckSaved)


@pytest.mark.parametrize("delta", [-DAY, -SECOND, MINUTE, 40 * DAY])
def test_the_heart_goes_by_elapsed_time_whatever_the_clock_shows(outside: Outside, delta: int) -> None:
    outside.wait(MINUTE)
    outside.now += delta
    outside.core.clock_stepped(delta, outside.now)
    outside.go_on()
    outside.wait(9 * MINUTE)
    assert [at - delta for at in outside.beats[1:]] == [NOW + 5 * MINUTE, NOW + 10 * MINUTE]


def test_a_clock_that_was_set_back_while_agentd_was_off_stops_no_heart(outside: Outside) -> None:
    outside.wait(0)
    outside.restart(-40 * DAY)
    outside.wait(5 * MINUTE)
    assert len(outside.beats) == 2


def test_another_heartbeat_is_told_and_counts_from_now_on(outside: Outside) -> None:
    outside.wait(0)
    assert outside.reload(heartbeat=Heartbeat(credential=ALIVE, every=HOUR)) == ["heartbeat: changed"]
    outside.wait(2 * HOUR)
    assert minutes(outside) == [0, 60, 120]
    outside.reload(heartbeat=Heartbeat(credential=ALIVE, every=MINUTE))
    outside.wait(MINUTE)
    assert minutes(outside) == [0, 60, 120, 121]
    assert outside.reload(heartbeat=Heartbeat(credential="other", every=HOUR)) == ["heartbeat: changed"]
    assert outside.store.checks == {}
    outside.wait(0)
    assert minutes(outside) == [0, 60, 120, 121, 121]
    assert outside.reload() == ["heartbeat: changed"]
    outside.wait(DAY)
    assert len(outside.beats) == 5
    assert (outside.store.checks, outside.core.pings.listed()) == ({}, [])


def test_a_word_of_a_beat_that_is_no_more_is_nothing(outside: Outside) -> None:
    outside.core.tick(outside.now)
    outside.core.effects()
    outside.core.pings.beats.begin(outside.now)
    outside.reload()
    outside.core.pings.beats.ended(outside.now, SENT, outside.now)
    assert outside.core.pings.listed() == []
    assert not outside.core.pings.beats.begin(0)
