"""The manners, one by one: a trouble is told once, reminded of, and told to be over."""

from datetime import datetime

import pytest
from msgspec.structs import replace

from agentd.core import events
from agentd.core.jobs.jobs import Jobs
from agentd.core.jobs.model import Outcome as RunEnded
from agentd.core.jobs.model import RunStarts
from agentd.core.jobs.model import Saved as SavedJobs
from agentd.core.jobs.settings import Retries
from agentd.core.notices.model import Saved
from agentd.core.notices.notices import Notices, Slice
from agentd.core.notices.settings import NoticeSettings, Route
from agentd.core.part import Refused
from agentd.core.quantities import DAY, HOUR, MINUTE, SECOND
from agentd.core.times import instant_of
from tests.unit.notices.person import BERLIN, NOW, Person, channels, failed, job, succeeded


def test_a_trouble_is_told_at_once_and_not_again_for_each_repetition() -> None:
    person = Person()
    for _ in range(60):
        person.happen(failed())
        person.wait(MINUTE)
    assert [(at, message.title) for at, message in person.got] == [(NOW, "backup failed: exit code 3")]


def test_a_trouble_that_lasts_is_told_again_with_its_count_each_span() -> None:
    person = Person()
    for _ in range(37):
        person.happen(failed())
        person.wait(MINUTE)
    person.take()
    person.wait(2 * DAY)
    assert [at for at, _ in person.got] == [NOW + DAY, NOW + 2 * DAY]
    assert person.titles() == ["still: backup failed: exit code 3"] * 2
    text = "37 times since 2026-03-27 09:26, the last time at 2026-03-27 10:02: exit code 3"
    assert {message.text for _, message in person.got} == {text}


def test_nobody_is_reminded_where_the_configuration_says_no() -> None:
    person = Person(remind=0)
    person.happen(failed())
    person.wait(30 * DAY)
    assert len(person.got) == 1
    assert person.core.wakeup() is None


def test_a_trouble_is_told_again_when_its_error_changes() -> None:
    person = Person()
    for error in ("exit code 3", "exit code 3", "exit code 4", "exit code 4", "exit code 3"):
        person.happen(failed(error=error))
        person.wait(10 * MINUTE)
    assert person.titles() == ["backup failed: exit code 3", "backup failed: exit code 4"]
    person.wait(DAY)
    assert person.titles()[2:] == ["still: backup failed: exit code 3"]


def test_a_trouble_with_another_error_each_time_is_told_a_few_times_alone() -> None:
    person = Person()
    for number in range(100):
        person.happen(failed(error=f"at {number}"))
        person.wait(10 * MINUTE)
    assert len(person.got) == 5


def test_the_end_of_a_trouble_is_told_once() -> None:
    person = Person()
    person.happen(failed(), failed())
    person.wait(3 * HOUR + 20 * MINUTE)
    person.happen(succeeded())
    person.wait(MINUTE)
    person.happen(succeeded(), succeeded())
    person.wait(3 * DAY)
    assert person.titles()[1:] == ["backup succeeded (over after 3h 20min)"]
    assert person.core.wakeup() is None


def test_an_end_is_told_to_those_channels_alone_that_were_told_of_the_beginning() -> None:
    to_team = Route(events=("failure",), jobs="back*", to=("team",))
    person = Person(channels=channels("phone", "team"), routes=(to_team,))
    person.happen(failed(), succeeded())
    assert [message.channel for _, message in person.got] == ["team", "team"]


def test_a_success_is_news_only_where_the_job_asks_for_it() -> None:
    person = Person()
    person.happen(succeeded(), succeeded(asked=("failure", "recovered")))
    assert person.got == []
    person.happen(succeeded(asked=("success",)))
    assert person.titles() == ["backup succeeded"]


def test_a_job_that_asks_for_nothing_is_not_told_of() -> None:
    person = Person(routes=(Route(events=("failure",), to=("phone",)),))
    person.happen(failed(asked=()), succeeded(asked=()), failed(asked=("success",)))
    assert person.got == []


def test_a_job_that_asks_for_failures_alone_is_not_told_to_be_over() -> None:
    person = Person()
    person.happen(failed(asked=("failure",)), succeeded(asked=("failure",)), failed(asked=("failure",)))
    person.wait(MINUTE)
    assert person.titles() == ["backup failed: exit code 3"] * 2


def test_what_a_person_ends_on_purpose_is_over_without_a_word() -> None:
    person = Person()
    person.happen(failed())
    person.happen(events.Event(at=0, part="jobs", name="", title="", trouble="job backup", over=True))
    person.wait(3 * DAY)
    assert len(person.got) == 1
    assert person.store.troubles == {}


def test_a_job_that_flaps_for_a_week_is_told_a_few_times_and_its_end_once() -> None:
    person = Person()
    for turn in range(7 * 24 * 6):
        person.happen(succeeded() if turn % 2 else failed())
        person.wait(10 * MINUTE)
    person.wait(DAY)
    begun, over = "backup failed: exit code 3", "backup succeeded (over after 10min)"
    assert person.titles()[:5] == [begun, over, begun, over, begun]
    assert person.titles()[5:-1] == ["still: backup failed: exit code 3"] * 7
    assert person.titles()[-1] == "backup succeeded (over after 6d 23h 10min)"
    assert person.got[-1][1].text.startswith("502 times since 2026-03-27 10:06")


def test_a_job_that_fails_now_and_then_is_told_each_time() -> None:
    person = Person()
    for _ in range(5):
        person.happen(failed())
        person.wait(HOUR)
        person.happen(succeeded())
        person.wait(2 * DAY)
    assert len(person.got) == 10


# Routes


def test_routes_that_match_are_one_union_with_the_highest_priority() -> None:
    routes = (
        Route(events=("failure",), jobs="b*", to=("phone", "team"), priority="low"),
        Route(events=("failure",), to=("mail", "phone"), priority="high"),
        Route(events=("start",), to=("mail",)),
    )
    person = Person(channels=channels("phone", "team", "mail"), routes=routes)
    person.happen(failed())
    assert [(message.channel, message.priority) for _, message in person.got] == [
        ("phone", "high"),
        ("team", "high"),
        ("mail", "high"),
    ]


def test_a_route_without_events_says_where_and_makes_nothing_more_be_told() -> None:
    person = Person(channels=channels("phone", "team"), routes=(Route(jobs="backup", to=("team",)),))
    started = events.Event(at=0, part="jobs", name="start", about="backup", title="backup started")
    person.happen(started, failed())
    assert (person.titles("team"), person.titles("phone")) == (["backup failed: exit code 3"], [])


def test_the_default_channel_is_the_first_or_the_one_that_is_named() -> None:
    for default, expected in (("", "phone"), ("team", "team")):
        person = Person(channels=channels("phone", "team"), default=default)
        person.happen(failed())
        assert [message.channel for _, message in person.got] == [expected]


def test_without_a_channel_nothing_is_told_remembered_or_waited_for() -> None:
    person = Person(channels={})
    person.happen(failed())
    person.core.storable("the disk is full", NOW)
    assert (person.log, person.core.wakeup()) == ([], None)
    with pytest.raises(Refused, match="no channel to tell anybody"):
        person.core.tell(failed(), NOW)


# What tells


def test_attempts_that_are_followed_by_another_are_no_failure() -> None:
    jobs = Jobs({"backup": job("backup", retries=Retries(count=2, backoff=MINUTE))}, SavedJobs(), NOW)
    person = Person()
    told = []
    jobs.run("backup", NOW)
    for attempt in range(3):
        person.wait(HOUR)
        jobs.tick(person.now)
        effects = jobs.effects()
        (run,) = [effect.run for effect in effects if isinstance(effect, RunStarts)]
        jobs.ended(run.run_id, RunEnded(result="exit-code", exit_code=3), person.now)
        person.core.heard([*effects, *jobs.effects()], person.now)
        person.go_on()
        told.append(person.take())
        assert run.attempt == attempt + 1
    assert told == [[], [], ["backup failed: exit code 3"]]


@pytest.mark.parametrize("result", ["stopped", "cancelled"])
def test_a_run_that_somebody_stopped_is_not_told(result: str) -> None:
    jobs = Jobs({"backup": job("backup")}, SavedJobs(), NOW)
    person = Person()
    run = jobs.run("backup", NOW)
    jobs.ended(run.run_id, RunEnded(result=result), NOW)
    person.core.heard(jobs.effects(), NOW)
    person.go_on()
    assert person.got == []


def test_a_job_that_is_disabled_while_it_fails_is_not_told_of_any_more() -> None:
    jobs = Jobs({"backup": job("backup")}, SavedJobs(), NOW)
    person = Person()
    for result in ("exit-code", "exit-code"):
        run = jobs.run("backup", person.now)
        jobs.ended(run.run_id, RunEnded(result=result, exit_code=1), person.now)
    jobs.set_enabled("backup", enabled=False, now=person.now)
    person.core.heard(jobs.effects(), person.now)
    person.go_on()
    person.wait(3 * DAY)
    assert person.titles() == ["backup failed: exit code 1"]


def test_that_nothing_can_be_stored_is_told_and_that_everything_can_be_again() -> None:
    person = Person()
    for trouble in ("the disk is full", "the disk is full", ""):
        person.core.storable(trouble, person.now)
        person.go_on()
        person.wait(5 * MINUTE)
    assert person.titles() == ["the disk is full", "the state can be stored again (over after 10min)"]


def test_a_refused_configuration_is_told_until_one_is_taken() -> None:
    person = Person()
    for errors in ("a.yaml:3:1: unknown key", "a.yaml:3:1: unknown key", "", ""):
        person.happen(events.configuration(errors, person.now))
    person.wait(MINUTE)
    assert person.titles() == [
        "the configuration has errors: the one before stays in force",
        "the configuration is taken (over after a moment)",
    ]


def test_a_part_that_is_shut_off_is_told() -> None:
    person = Person()
    person.core.gone("rules", NOW)
    person.go_on()
    assert person.titles() == ["the part rules of agentd is shut off because of a defect"]


def test_what_is_sent_to_a_channel_by_name_goes_there_whatever_the_routes_say() -> None:
    person = Person(channels=channels("phone", "team"))
    said = events.Event(at=NOW, part="agentd", name="message", title="3 of 12 assignments look late")
    assert person.core.tell(said, NOW, to=["team"]) == [1]
    person.go_on()
    assert (person.titles("team"), person.titles("phone")) == (["3 of 12 assignments look late"], [])
    with pytest.raises(Refused, match=r'no channel "tea" \(did you mean team\?\)'):
        person.core.tell(said, NOW, to=["tea"])


# Configuration and clock


def test_troubles_outlive_another_configuration() -> None:
    person = Person()
    person.happen(failed())
    person.reload(channels=channels("phone", "team"), remind=DAY)
    person.happen(failed())
    assert len(person.got) == 1
    person.happen(succeeded())
    assert person.titles()[1:] == ["backup succeeded (over after a moment)"]


def test_a_trouble_whose_channel_is_gone_goes_on_in_the_default_channel() -> None:
    person = Person(channels=channels("team"))
    person.happen(failed())
    person.reload(channels=channels("phone"))
    person.wait(DAY)
    assert person.titles("phone") == ["still: backup failed: exit code 3"]


def test_the_trouble_of_a_job_that_is_no_more_or_disabled_on_purpose_is_forgotten() -> None:
    for jobs in ({}, {"backup": job("backup", enabled=False)}):
        person = Person()
        person.happen(failed())
        person.core.configure(replace(person.slice, jobs=jobs), NOW)
        person.go_on()
        person.wait(3 * DAY)
        assert len(person.got) == 1
        assert person.store.troubles == {}


@pytest.mark.parametrize("delta", [-DAY, -SECOND, SECOND, 400 * DAY])
def test_a_clock_that_is_set_neither_tells_twice_nor_delays_a_reminder(delta: int) -> None:
    person = Person()
    person.happen(failed())
    person.wait(HOUR)
    person.now += delta
    person.core.clock_stepped(delta, person.now)
    person.go_on()
    person.happen(failed())
    assert len(person.got) == 1
    person.wait(23 * HOUR - 1)
    assert len(person.got) == 1
    person.wait(1)
    assert len(person.got) == 2


def test_all_is_remembered_when_agentd_is_killed() -> None:
    person = Person()
    person.happen(failed())
    for _ in range(3):
        person.restart(away=HOUR)
        person.happen(failed())
    assert len(person.got) == 1
    person.wait(21 * HOUR)
    assert person.got[-1][1].text.startswith("4 times since 2026-03-27 09:26")
    person.restart()
    person.happen(succeeded())
    assert person.titles()[2:] == ["backup succeeded (over after 1d)"]


def test_a_clock_that_was_set_back_while_agentd_was_away_silences_nothing() -> None:
    person = Person()
    person.happen(failed())
    person.restart(away=-30 * DAY)
    person.wait(DAY)
    assert person.titles()[1:] == ["still: backup failed: exit code 3"]


def test_at_a_start_everything_that_is_due_is_told_by_itself() -> None:
    person = Person()
    person.happen(failed())
    person.restart(away=5 * DAY)
    person.wait(0)
    assert person.titles()[1:] == ["still: backup failed: exit code 3"]


def test_instants_are_those_of_the_clocks_of_people() -> None:
    at = instant_of(datetime(2026, 7, 1, 12, 0, tzinfo=BERLIN))
    person = Person(now=at)
    person.happen(failed())
    person.wait(DAY)
    assert person.got[-1][1].text.startswith("once, at 2026-07-01 12:00")


def test_a_core_without_a_past_wants_nothing() -> None:
    core = Notices(Slice(notices=NoticeSettings(channels=channels("phone")), jobs={}, zone=BERLIN), Saved(), NOW)
    assert (core.effects(), core.wakeup()) == ([], None)
