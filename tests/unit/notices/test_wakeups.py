"""Notices wake the machine up for what is due, and for nothing else."""

from agentd.core.notices.model import Message, Outcome
from agentd.core.notices.settings import Quiet
from agentd.core.quantities import DAY, HOUR, MINUTE
from tests.unit.notices.person import NOW, SENT, Person, channels, failed, succeeded

NIGHT = Quiet(from_=22 * 3600, to=7 * 3600)


def test_a_channel_alone_wakes_nobody_in_a_year() -> None:
    person = Person(channels=channels("phone", "team"), quiet=NIGHT)
    person.wait(365 * DAY)
    assert (person.woken, person.tried) == ([], [])


def test_what_was_told_and_is_over_wakes_nobody_ever_again() -> None:
    person = Person(quiet=NIGHT)
    person.happen(failed())
    person.wait(MINUTE)
    person.happen(succeeded())
    person.wait(365 * DAY)
    assert (person.woken, len(person.got)) == ([], 2)


def test_a_trouble_that_lasts_wakes_once_a_day_for_its_reminder() -> None:
    person = Person()
    person.happen(failed())
    person.wait(30 * DAY)
    assert person.woken == [NOW + day * DAY for day in range(1, 31)]
    assert len(person.got) == 31


def test_what_waits_through_the_quiet_hours_wakes_when_they_end() -> None:
    person = Person(quiet=NIGHT)
    person.wait(13 * HOUR)  # 22:26
    person.happen(failed())
    person.wait(9 * HOUR)
    assert len(person.woken) == len(person.got) == 1


def test_a_channel_that_fails_wakes_for_each_attempt_alone() -> None:
    person = Person(remind=0)
    until = NOW + 2 * DAY

    def down(_: Message, at: int) -> Outcome:
        return SENT if at >= until else Outcome("again", "the server is down")

    person.luck = down
    person.happen(failed())
    person.wait(3 * DAY)
    assert len(person.got) == 1
    assert len(person.woken) == len(person.tried) - 1, "the first goes without being woken"
    assert len(person.tried) < 60, "once an hour in the end"


def test_while_a_courier_is_at_work_nothing_is_woken_for_its_messages() -> None:
    person = Person(remind=0)
    person.deliver = lambda _: None  # it takes its time
    person.happen(failed())
    assert person.core.wakeup() is None
