"""Messages on their way: floods, quiet hours, channels that fail, and what is bounded."""

from datetime import datetime
from itertools import pairwise
from typing import Literal

import pytest
from msgspec.structs import replace

from agentd.core.events import Event
from agentd.core.notices import notices, outbox
from agentd.core.notices.model import CourierWanted, Message, Outcome
from agentd.core.notices.settings import Channel, Quiet
from agentd.core.part import Refused
from agentd.core.quantities import DAY, HOUR, MINUTE, SECOND
from agentd.core.times import instant_of
from tests.unit.notices.person import BERLIN, NOW, SENT, Person, channels, failed, succeeded

MANY = tuple(f"job{number}" for number in range(1000))
NIGHT = Quiet(from_=22 * 3600, to=7 * 3600)
DEAD = Outcome("again", "the server never answered")


def dead(message: Message, now: int) -> Outcome:
    del message, now
    return DEAD


def well(message: Message, now: int) -> Outcome:
    del message, now
    return SENT


def wall(*when: int) -> int:
    return instant_of(datetime(*when, tzinfo=BERLIN))  # type: ignore[misc,arg-type]


def said(title: str, text: str = "", **more: object) -> Event:
    return Event(at=NOW, part="agentd", name="message", title=title, text=text, **more)  # type: ignore[arg-type]


# Floods


@pytest.mark.parametrize("pause", [0, 1, SECOND // 3, SECOND * 4 // 5])
def test_a_flood_of_a_thousand_failures_becomes_three_messages_with_the_right_counts(pause: int) -> None:
    person = Person(jobs=MANY)
    for name in MANY:
        person.happen(failed(name))
        person.wait(pause)
    person.wait(HOUR)
    assert len(person.got) == 3
    assert sum(message.count for _, message in person.got) == 1000
    digest = person.got[-1][1]
    assert digest.title == "998 events (failure), the first: job2 failed: exit code 3"
    assert digest.text.splitlines()[:2] == ["- job2 failed: exit code 3", "- job3 failed: exit code 3"]
    assert digest.text.splitlines()[-1] == "and 978 more"


def test_a_flood_is_told_in_full_when_agentd_is_killed_in_its_middle() -> None:
    person = Person(jobs=MANY)
    for number, name in enumerate(MANY):
        person.happen(failed(name))
        if number % 100 == 50:
            person.restart(away=SECOND)
    person.wait(HOUR)
    assert len(person.got) <= 3
    assert sum(message.count for _, message in person.got) == 1000


def test_a_flood_that_does_not_end_is_told_less_and_less_often() -> None:
    person = Person(jobs=MANY)
    for name in MANY:  # for 16 hours and 40 minutes
        person.happen(failed(name))
        person.wait(MINUTE)
    instants = [at for at, _ in person.got]
    gaps = [later - at for at, later in pairwise(instants)]
    assert len(person.got) <= 3 * 17
    assert max(gaps) <= HOUR + MINUTE
    person.wait(2 * HOUR)
    assert sum(message.count for _, message in person.got) == 1000


def test_what_a_job_says_while_it_works_goes_at_once() -> None:
    person = Person()
    for text in ("started", "reads the mail", "asks the calendar", "writes the plan", "found 3 things"):
        person.happen(said(text))
    assert person.titles() == ["started", "reads the mail", "asks the calendar", "writes the plan", "found 3 things"]


def test_starts_beside_a_flood_of_failures_make_no_more_of_it_than_a_few_messages() -> None:
    person = Person(jobs=MANY)
    for name in MANY:
        start = Event(at=NOW, part="jobs", name="start", about=name, title=f"{name} started", priority="low")
        person.happen(replace(start, asked=("start", "failure")), failed(name))
        person.wait(SECOND // 2)
    person.wait(HOUR)
    assert person.titles()[:4] == [f"job{at} {word}" for at in (0, 1) for word in ("started", "failed: exit code 3")]
    assert len(person.got) <= 8
    assert sum(message.count for _, message in person.got) == 2000


def test_news_keep_their_text_in_a_digest() -> None:
    person = Person()
    for number in range(15):
        person.happen(said(f"step {number}", f"found\n{number} things"))
    person.wait(HOUR)
    assert person.got[-1][1].text.splitlines()[-1] == "- step 14: found 14 things"


def test_no_more_messages_go_in_an_hour_than_the_channel_takes() -> None:
    person = Person(channels=channels("phone", rate=3))
    for number in range(30):
        person.happen(said(f"step {number}"))
        person.wait(2 * MINUTE)
    assert len(person.got) <= 4
    person.wait(2 * HOUR)
    assert sum(message.count for _, message in person.got) == 30
    instants = [at for at, _ in person.got]
    assert all(later - at >= HOUR for at, later in zip(instants, instants[3:], strict=False))


# Quiet hours


def test_what_happens_in_quiet_hours_is_told_at_their_end() -> None:
    person = Person(now=wall(2026, 5, 4, 23, 0), quiet=NIGHT)
    person.happen(failed(), said("hello"))
    person.wait(DAY)
    assert [at for at, _ in person.got] == [wall(2026, 5, 5, 7)] * 2
    assert person.titles() == ["backup failed: exit code 3", "hello"]
    assert person.decided("hold")[0].startswith("message 1 to phone waits until 2026-05-05 07:00")


def test_more_than_three_messages_of_a_night_are_one_digest() -> None:
    person = Person(now=wall(2026, 5, 4, 23, 0), jobs=MANY[:5], quiet=NIGHT)
    for name in MANY[:5]:
        person.happen(failed(name))
        person.wait(HOUR)
    person.wait(DAY)
    assert person.got[0][0] == wall(2026, 5, 5, 7)
    assert person.titles()[0] == "5 events (failure), the first: job0 failed: exit code 3"


def test_what_is_urgent_breaks_the_quiet_hours() -> None:
    person = Person(now=wall(2026, 5, 4, 23, 0), quiet=NIGHT)
    person.happen(failed(), failed("raid", priority="high"))
    assert person.titles() == ["raid failed: exit code 3"]
    person.wait(DAY)
    assert person.got[1][0] == wall(2026, 5, 5, 7)


@pytest.mark.parametrize(
    ("quiet", "at", "end"),
    [
        pytest.param(NIGHT, (2026, 3, 28, 23), (2026, 3, 29, 7), id="the night in which the clocks go forward"),
        pytest.param(NIGHT, (2026, 10, 24, 23), (2026, 10, 25, 7), id="the night in which the clocks go back"),
        pytest.param(Quiet(from_=3600, to=9000), (2026, 3, 29, 1, 30), (2026, 3, 29, 3), id="an end that never comes"),
        pytest.param(
            Quiet(from_=3600, to=9000), (2026, 10, 25, 1, 30), (2026, 10, 25, 2, 30), id="one that comes twice"
        ),
        pytest.param(Quiet(from_=9000, to=9600), (2026, 3, 29, 3, 0), (2026, 3, 29, 3, 0), id="hours that are not"),
    ],
)
def test_quiet_hours_end_when_the_clocks_show_so(quiet: Quiet, at: tuple[int, ...], end: tuple[int, ...]) -> None:
    person = Person(now=wall(*at), quiet=quiet)
    person.happen(said("hello"))
    person.wait(DAY)
    assert [at for at, _ in person.got] == [wall(*end)]


def test_a_night_in_which_the_clocks_change_is_an_hour_shorter_or_longer() -> None:
    for day, month, hours in ((28, 3, 8), (24, 10, 10)):
        start = wall(2026, month, day, 22)
        person = Person(now=start, quiet=NIGHT)
        person.happen(said("hello"))
        person.wait(DAY)
        assert person.got[0][0] - start == hours * HOUR


def test_a_clock_that_is_set_past_the_quiet_hours_ends_them() -> None:
    person = Person(now=wall(2026, 5, 4, 23, 0), quiet=NIGHT)
    person.happen(said("hello"))
    person.now += 9 * HOUR
    person.core.clock_stepped(9 * HOUR, person.now)
    person.go_on()
    assert person.titles() == ["hello"]


def test_quiet_hours_that_are_taken_back_hold_nothing() -> None:
    person = Person(now=wall(2026, 5, 4, 23, 0), quiet=NIGHT)
    person.happen(said("hello"))
    person.reload(channels=channels("phone"))
    assert person.titles() == ["hello"]


# Channels that fail


def test_a_message_is_tried_again_less_and_less_often() -> None:
    person = Person()
    person.luck = dead
    person.happen(said("hello"))
    person.wait(12 * HOUR)
    instants = [at for at, _ in person.tried]
    gaps = [(later - at) // MINUTE for at, later in pairwise(instants)]
    assert gaps[:8] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_server_that_says_when_is_not_asked_before() -> None:
    person = Person()
    person.luck = lambda _, now: SENT if now > NOW else Outcome("again", "too many requests", 7 * MINUTE)
    person.happen(said("hello"))
    person.wait(HOUR)
    assert [at for at, _ in person.got] == [NOW + 7 * MINUTE]


@pytest.mark.parametrize(("span", "restarts"), [(10 * MINUTE, 0), (2 * DAY, 0), (2 * DAY, 40)])
def test_an_outage_loses_nothing(span: int, restarts: int) -> None:
    person = Person(jobs=MANY[:20], remind=0)
    person.luck = lambda _, now: DEAD if now < NOW + span else SENT
    for number, name in enumerate(MANY[:20]):
        person.happen(failed(name))
        person.wait(span // 20)
        if number < restarts // 2:
            person.restart()
            person.restart()
    person.wait(2 * HOUR)
    assert sum(message.count for _, message in person.got) == 20
    assert person.got[0][1].title == "job0 failed: exit code 3"
    assert len(person.got) <= 4
    assert not any(message.lost for _, message in person.got)
    assert person.core.wakeup() is None


def test_what_waited_for_too_long_is_dropped_and_counted_in_the_next_message() -> None:
    person = Person(keep=DAY, remind=0)
    person.luck = lambda _, now: DEAD if now < NOW + 2 * DAY else SENT
    person.happen(failed(), failed(error="exit code 4"))
    person.wait(3 * DAY)
    assert (person.got, person.core.wakeup(), person.core.lost()) == ([], None, {"phone": 2})
    assert all(reason.endswith(("exit code 3", "exit code 4")) for reason in person.decided("drop"))
    person.restart()
    person.happen(succeeded())
    assert person.got[0][1].body.endswith("2 earlier events were told nobody: not delivered")
    assert person.core.lost() == {}


def test_what_grew_old_while_the_machine_was_off_is_tried_once_more() -> None:
    person = Person(keep=DAY)
    person.luck = lambda _, now: DEAD if now < NOW + HOUR else SENT
    person.happen(said("hello"))
    person.restart(away=30 * DAY)
    person.wait(0)
    assert person.titles() == ["hello"]


def test_a_message_that_is_refused_is_failed_and_the_next_ones_go() -> None:
    person = Person()
    person.luck = lambda message, _: Outcome("refused", "the server takes no such text") if message.id == 1 else SENT
    person.happen(said("bad"), said("good"))
    assert person.titles() == ["good"]
    assert (person.store.messages[1].state, person.store.messages[1].why) == ("failed", "the server takes no such text")
    assert person.got[0][1].lost == 1


def test_a_dead_channel_delays_no_other() -> None:
    person = Person(channels=channels("phone", "team"))
    person.luck = lambda message, _: DEAD if message.channel == "phone" else SENT
    for number in range(5):
        person.core.tell(said(f"hello {number}"), person.now, to=["phone", "team"])
        person.go_on()
    assert person.titles("team") == [f"hello {number}" for number in range(5)]
    assert person.titles("phone") == []


def test_the_order_of_a_channel_is_kept() -> None:
    person = Person()
    person.luck = lambda message, now: DEAD if message.id == 2 and now < NOW + MINUTE else SENT
    for number in range(4):
        person.happen(said(f"hello {number}"))
    person.wait(HOUR)
    assert person.titles() == [f"hello {number}" for number in range(4)]


def test_a_courier_that_ends_without_a_word_is_not_asked_again_at_once() -> None:
    person = Person()
    person.deliver = lambda wanted: person.core.courier_ended(wanted.channel, "", person.now)
    person.happen(said("hello"))
    assert person.core.wakeup() == NOW + MINUTE
    assert person.store.messages[1].why == "the courier ended without a word"


def test_a_courier_that_cannot_be_started_leaves_its_reason() -> None:
    person = Person()
    why = "systemd does not know agentd-courier@phone.service"
    person.deliver = lambda wanted: person.core.courier_ended(wanted.channel, why, person.now)
    person.happen(said("hello"))
    assert (person.store.messages[1].state, person.store.messages[1].why) == ("waiting", why)


def test_one_courier_at_a_time_goes_to_a_channel_with_a_bounded_number_of_messages() -> None:
    person = Person(channels=channels("phone", rate=100))
    wanted: list[CourierWanted] = []
    person.deliver = wanted.append
    person.happen(*(said(f"hello {number}") for number in range(8)))
    assert [len(one.messages) for one in wanted] == [1]
    assert person.core.wakeup() is None
    person.core.delivered(1, SENT, NOW)
    person.core.courier_ended("phone", "", NOW)
    person.go_on()
    assert person.core.wakeup() == NOW + MINUTE
    person.wait(MINUTE)
    assert [message.count for one in wanted for message in one.messages] == [1, 7]


def test_a_message_that_a_courier_had_when_agentd_was_killed_is_handed_out_again() -> None:
    person = Person()
    person.deliver = lambda _: None
    person.happen(said("hello"))
    person.deliver = person.post
    person.restart()
    assert person.titles() == ["hello"]


def test_a_credential_that_was_mended_is_tried_at_once() -> None:
    person = Person()
    person.luck = dead
    person.happen(said("hello"))
    person.luck = well
    person.reload(channels={"phone": Channel(name="phone", credential="ntfy2")})
    assert person.titles() == ["hello"]


def test_what_waits_for_a_channel_that_is_gone_is_dropped_with_a_decision() -> None:
    for restart in (False, True):
        person = Person(channels=channels("phone", "team"))
        person.luck = dead
        person.core.tell(said("hello"), NOW, to=["team"])
        person.go_on()
        if restart:
            person.slice = notices.Slice(notices=Person().slice.notices, jobs=person.slice.jobs, zone=BERLIN)
            person.restart()
        else:
            person.reload(channels=channels("phone"))
        assert person.decided("drop") == ["message 1 the channel team is no more: hello"]
        assert (person.store.messages[1].state, person.core.wakeup()) == ("dropped", None)


# Bounds and words


def test_the_outbox_is_bounded_and_the_least_urgent_news_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MOST", 5)
    names = [f"c{number}" for number in range(6)]
    person = Person(channels=channels(*names))
    person.luck = dead
    for number, name in enumerate(names):
        person.core.tell(said("hello", priority="low" if number == 3 else "normal"), NOW, to=[name])
        person.go_on()
    assert [message.channel for message in person.core.waiting()] == ["c0", "c1", "c2", "c4", "c5"]
    assert person.core.lost() == {"c3": 1}
    assert person.decided("drop") == ["message 4 to c3: more than 5 messages wait: hello"]


def test_people_can_drop_what_waits() -> None:
    person = Person()
    person.luck = dead
    person.happen(said("a"), said("b"))
    assert person.core.drop(1, NOW) == [1]
    with pytest.raises(Refused, match="no message 1 waits"):
        person.core.drop(1, NOW)
    assert person.core.drop(0, NOW) == [2]
    person.go_on()
    assert (person.core.wakeup(), person.core.lost(), person.core.drop(0, NOW)) == (None, {}, [])


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(
    ("became", "state", "why"),
    [
        ("sent", "sent", "a courier had the message already: dropped by hand"),
        ("again", "dropped", "dropped by hand"),
        ("refused", "dropped", "dropped by hand"),
    ],
)
def test_what_arrives_although_it_was_dropped_is_told_as_sent(
    became: Literal["sent", "again", "refused"], state: str, why: str, restarted: bool
) -> None:
    person = Person()
    person.deliver = list[CourierWanted]().append  # the courier is under way
    person.happen(said("a"))
    assert person.core.drop(0, NOW) == [1]
    person.core.delivered(1, Outcome(became, "the server said so"), NOW + SECOND)
    person.core.courier_ended("phone", "", NOW + SECOND)
    person.go_on()
    if restarted:
        person.restart()
    told = person.store.messages[1]
    assert (told.state, told.why) == (state, why)
    assert (person.core.wakeup(), person.core.lost()) == (None, {})
    person.deliver = person.post
    person.happen(said("b"))
    assert person.titles() == ["b"]


def test_what_arrives_although_its_channel_is_gone_is_told_as_sent() -> None:
    person = Person(channels=channels("phone", "team"))
    person.deliver = list[CourierWanted]().append
    person.core.tell(said("hello"), NOW, to=["team"])
    person.go_on()
    person.reload(channels=channels("phone"))
    assert person.store.messages[1].state == "dropped"
    person.core.delivered(1, SENT, NOW + SECOND)
    person.go_on()
    told = person.store.messages[1]
    assert (told.state, told.why) == ("sent", "a courier had the message already: the channel team is no more")


@pytest.mark.parametrize(
    ("title", "text", "expected"),
    [
        ("a\nb\tc", "", ("a b c", "")),
        ("", "", ("message", "")),
        ("\x1b[31mred\x1b[0m", "\x1b]0;title\x07x\x1b[2Jy\r\nz", ("red", "xy\nz")),
        ("nul\0bell\7", "10%\r20%\x08", ("nulbell", "10%\n20%")),
        ("no text: \udcff", "\udcfe", ("no text: \ufffd", "\ufffd")),
        ("turned \u202eround", "\u2066x", ("turned round", "x")),
        ("t" * 300, "", ("t" * 199 + "…", "")),
        ("long", "é" * 10_000, ("long", "é" * 4094 + "…")),
    ],
)
def test_messages_are_bounded_and_hold_nothing_but_text(title: str, text: str, expected: tuple[str, str]) -> None:
    person = Person()
    person.happen(said(title, text))
    message: Message = person.got[0][1]
    assert (message.title, message.text) == expected
    assert len(message.text.encode()) <= 8192


def test_a_megabyte_of_output_makes_a_short_text() -> None:
    person = Person()
    person.happen(said("much", "\x1b[" * 500_000))
    assert len(person.got[0][1].text.encode()) <= 8192


# Rest


def test_the_core_sleeps_while_nothing_waits_and_ends_asleep() -> None:
    person = Person()
    assert person.core.wakeup() is None
    person.happen(failed())
    assert person.core.wakeup() == NOW + DAY
    person.core.drain()
    person.happen(failed("other"))
    assert (person.core.wakeup(), len(person.got)) == (None, 1)
    person.restart()
    assert len(person.got) == 2


def test_everything_that_waits_is_stored_once_more_when_the_store_is_lost() -> None:
    person = Person()
    person.luck = dead
    person.happen(failed())
    person.store = type(person.store)()
    person.core.save_all()
    person.go_on()
    assert [*person.store.messages] == [1]
    assert [*person.store.troubles] == ["job backup"]


def test_each_message_has_one_decision_and_repetitions_have_none() -> None:
    person = Person()
    person.happen(*[failed()] * 20)
    assert person.decided("message") == ["message 1 to phone: backup failed: exit code 3"]


def test_a_message_to_try_a_channel_goes_at_once_and_alone_beside_a_flood() -> None:
    person = Person(jobs=tuple(f"job{number}" for number in range(30)))
    person.happen(*(failed(f"job{number}") for number in range(30)))
    before = len(person.got)
    assert person.core.waiting()
    person.core.tell(said("a test"), person.now, to=["phone"], at_once=True)
    person.go_on()
    assert [message.title for _, message in person.got[before:]] == ["a test"]


def test_a_message_to_try_a_channel_has_what_failed_there_tried_as_well() -> None:
    person = Person()
    person.luck = lambda _, __: Outcome("again", "no network", 10 * MINUTE)
    person.happen(failed())
    person.luck = lambda _, __: SENT
    person.core.tell(said("hello"), person.now, to=["phone"])
    person.go_on()
    assert person.got == []
    person.core.tell(said("a test"), person.now, to=["phone"], at_once=True)
    person.go_on()
    assert person.titles() == ["backup failed: exit code 3", "hello", "a test"]
