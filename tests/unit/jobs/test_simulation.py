"""Ten years of cron, at and every jobs in twelve time zones, and clocks that are set in the middle of them."""

from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.core.jobs.model import JobState
from agentd.core.jobs.schedule import CATCH_UP, Schedule
from agentd.core.jobs.settings import Missed
from agentd.core.jobs.triggers import Context, Cron
from agentd.core.quantities import DAY, HOUR, MINUTE, SECOND
from tests.examples import examples
from tests.unit.jobs.simulation import Machine, changes, fixed, instant, job, offset, on_the_wall

SATURDAY, SUNDAY = 5, 6


class Place(NamedTuple):
    """Ten years in a zone. `inside` is a time of day that some change of its clocks skips or repeats."""

    zone: str
    year: int
    inside: str


PLACES = [
    Place("Europe/Berlin", 2016, "02:30"),
    Place("America/New_York", 2015, "02:00"),
    Place("Australia/Lord_Howe", 2015, "02:15"),  # set by half an hour
    Place("Asia/Kathmandu", 2015, "02:30"),  # 5:45 ahead, never set
    Place("America/Sao_Paulo", 2011, "00:00"),  # set at midnight, until 2019
    Place("Africa/Casablanca", 2012, "02:30"),  # four times a year, for Ramadan
    Place("Pacific/Apia", 2009, "03:30"),  # no 30 December in 2011
    Place("Europe/Dublin", 2015, "01:30"),  # winter is the exception
    Place("Asia/Tehran", 2014, "00:00"),  # set at midnight, by another calendar, until 2022
    Place("Pacific/Chatham", 2015, "03:00"),  # set at 02:45
    Place("America/Havana", 2015, "00:30"),  # midnight comes twice
    Place("Africa/Cairo", 2014, "00:30"),  # set at midnight, on and off over the years
]


def ten_years(place: Place) -> tuple[ZoneInfo, int, int]:
    zone = ZoneInfo(place.zone)
    begin, end = (instant(datetime(year, 1, 1, 12, tzinfo=zone)) for year in (place.year, place.year + 10))
    return zone, begin, end


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.zone)
def test_each_due_time_of_ten_years_starts_one_run(place: Place) -> None:
    """The times of day are those that some change of the clocks skips or repeats."""
    zone, begin, end = ten_years(place)
    hour, minute = map(int, place.inside.split(":"))
    period = DAY - SECOND
    # Each day for some, and for the others on the days on which they change their clocks.
    on = "*" if place.zone in {"Europe/Berlin", "Asia/Tehran", "Africa/Cairo"} else "sat,sun"
    jobs = [
        job("cron", {"cron": f"{minute} {hour} * * {on}"}, place.zone),
        job("quarterly", {"cron": "0 0 1 */3 *"}, place.zone),
        job("at", {"at": place.inside}, place.zone),
        job("every", {"every": "23h 59min 59s"}, place.zone),
    ]
    machine = Machine(jobs, begin)
    machine.pass_time(end - begin)
    span = (zone, begin, end)
    assert machine.dues("cron") == fixed(
        *span, [place.inside], lambda day: on == "*" or day.weekday() in {SATURDAY, SUNDAY}
    )
    assert machine.dues("quarterly") == fixed(*span, ["00:00"], lambda day: day.day == 1 and day.month % 3 == 1)
    assert machine.dues("at") == fixed(*span, [place.inside])
    assert machine.dues("every") == list(range(begin + period, end + 1, period))
    assert [start for starts in machine.starts.values() for start in starts if start.shown != start.due] == []


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.zone)
def test_jobs_within_the_hour_follow_the_wall_clock_through_every_change(place: Place) -> None:
    """Hourly is each real hour; what the clock shows twice is due twice, what it never shows is not.

    Times of day are due once also here: several that the change skips are due together, at the jump.
    """
    zone, first, last = ten_years(place)
    hour = int(place.inside.split(":")[0])
    for day in changes(zone, first, last):
        before = next(at for at in range(day, day + DAY, 15 * MINUTE) if offset(at, zone) != offset(day, zone))
        begin, end = before - 150 * MINUTE, before + 150 * MINUTE
        jobs = [
            job("hourly", {"cron": "0 * * * *"}, place.zone),
            job("often", {"cron": "*/20 * * * *"}, place.zone),
            job("late", {"cron": "45 * * * *"}, place.zone),
            job("apart", {"cron": "0 */3 * * *"}, place.zone),
            job("night", {"cron": "*/15 0,2 * * *"}, place.zone),
            job("sunday", {"cron": "*/20 0 * * sun"}, place.zone),
            job("close", {"cron": f"5,20,35 {hour} * * *"}, place.zone),
            job("at", {"at": {"time": ["00:00", place.inside], "days": "mon-sat"}}, place.zone),
        ]
        machine = Machine(jobs, begin)
        machine.pass_time(end - begin)
        span = (zone, begin, end)
        assert machine.dues("hourly") == on_the_wall(*span, range(1))
        assert machine.dues("often") == on_the_wall(*span, range(0, 60, 20))
        assert machine.dues("late") == on_the_wall(*span, range(45, 46))
        assert machine.dues("apart") == on_the_wall(*span, range(1), range(0, 24, 3))
        assert machine.dues("night") == on_the_wall(*span, range(0, 60, 15), range(0, 3, 2))
        assert machine.dues("sunday") == on_the_wall(
            *span, range(0, 60, 20), range(1), lambda day: day.weekday() == SUNDAY
        )
        assert machine.dues("at") == fixed(*span, ["00:00", place.inside], lambda day: day.weekday() != SUNDAY)
        assert machine.dues("close") == fixed(*span, [f"{hour}:05", f"{hour}:20", f"{hour}:35"])


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.zone)
def test_a_schedule_that_begins_within_a_repeated_hour_waits_for_the_next_day(place: Place) -> None:
    """What the clock shows the second time was due the first time, also where nobody was there to see it."""
    zone, first, last = ten_years(place)
    hour = int(place.inside.split(":")[0])
    times = [f"{hour}:00", f"{hour}:10", f"{hour}:40"]
    for day in changes(zone, first, last):
        begin = next(at for at in range(day, day + DAY, 15 * MINUTE) if offset(at, zone) != offset(day, zone))
        for late in (0, 20 * MINUTE):
            jobs = [
                job("cron", {"cron": f"0,10,40 {hour} * * *"}, place.zone),
                job("at", {"at": list(times)}, place.zone),
                job("hourly", {"cron": "0 * * * *"}, place.zone),
            ]
            machine = Machine(jobs, begin + late)
            machine.pass_time(2 * HOUR)
            span = (zone, begin + late, begin + late + 2 * HOUR)
            assert machine.dues("cron") == machine.dues("at") == fixed(*span, times)
            assert machine.dues("hourly") == on_the_wall(*span, range(1))


def test_the_ten_years_hold_many_changes_of_the_clocks() -> None:
    counts = {place.zone: len(changes(*ten_years(place))) for place in PLACES}
    assert counts.pop("Asia/Kathmandu") == 0
    assert counts.pop("Africa/Cairo") == 6
    assert min(counts.values()) > 15


@pytest.mark.parametrize("month", [3, 10])
def test_an_hourly_job_runs_each_real_hour_whatever_the_clock_shows(month: int) -> None:
    zone = ZoneInfo("Europe/Berlin")
    begin, end = (instant(datetime(2023, number, 20, tzinfo=zone)) for number in (month, month + 1))
    machine = Machine([job("hourly", {"cron": "0 * * * *"}, zone.key)], begin)
    machine.pass_time(end - begin)
    assert machine.dues("hourly") == list(range(begin + HOUR, end + 1, HOUR))


def test_a_day_that_the_calendar_skips_is_due_at_the_jump() -> None:
    """Samoa went from the end of 29 December 2011 to the beginning of the 31st."""
    zone = ZoneInfo("Pacific/Apia")
    begin = instant(datetime(2011, 12, 29, 12, tzinfo=zone))
    machine = Machine([job("cron", {"cron": "30 2 30 12 *"}, zone.key), job("at", {"at": "02:30"}, zone.key)], begin)
    machine.pass_time(DAY)
    jump = instant(datetime(2011, 12, 31, tzinfo=zone))
    assert machine.dues("cron") == [jump]
    assert machine.dues("at") == [jump, jump + 2 * HOUR + 30 * MINUTE]


# Clocks that are set

ZONE = ZoneInfo("Europe/Berlin")
BEGIN = instant(datetime(2026, 3, 25, 9, 13, 20, tzinfo=ZONE))  # four days before the clocks change
PERIODS = {"hours": HOUR, "odd": 25 * MINUTE, "days": DAY}
Enumeration = Callable[[int, int], list[int]]
CALENDARS: dict[str, tuple[dict[str, str], Enumeration]] = {
    "nightly": ({"cron": "30 2 * * *"}, lambda begin, end: fixed(ZONE, begin, end, ["02:30"])),
    "noon": ({"at": "12:00"}, lambda begin, end: fixed(ZONE, begin, end, ["12:00"])),
    "hourly": ({"cron": "0 * * * *"}, lambda begin, end: on_the_wall(ZONE, begin, end, range(1))),
    "often": ({"cron": "*/20 * * * *"}, lambda begin, end: on_the_wall(ZONE, begin, end, range(0, 60, 20))),
}
STEPS = [2 * HOUR, -2 * HOUR, DAY, -DAY]


class Clock:
    """A machine with calendar and interval jobs whose clock is set now and then; watches what each step starts."""

    def __init__(self) -> None:
        jobs = [job(name, when, ZONE.key) for name, (when, _) in CALENDARS.items()]
        jobs += [job(name, {"every": f"{period // MINUTE}min"}) for name, period in PERIODS.items()]
        self.machine = Machine(jobs, BEGIN)
        self.steps = 0

    def pass_time(self, span: int) -> None:
        """Everything due meanwhile that never ran before runs on time, and nothing else does."""
        begin = self.machine.now
        before = {name: self.machine.dues(name) for name in CALENDARS}
        self.machine.pass_time(span)
        for name, (_, enumerate_dues) in CALENDARS.items():
            ran = self.machine.starts[name][len(before[name]) :]
            known = set(before[name])
            assert [start.due for start in ran] == [
                due for due in enumerate_dues(begin, self.machine.now) if due not in known
            ], name
            assert [start for start in ran if start.shown != start.due] == []

    def set_to(self, now: int) -> None:
        self.set(now - self.machine.now)

    def set(self, delta: int) -> None:
        """One step of the clock starts at most one run of a job, and none that counts elapsed time."""
        self.steps += 1
        started = self.machine.set_clock(delta)
        assert {name: len(starts) for name, starts in started.items() if len(starts) > 1} == {}
        assert [name for name in PERIODS if started[name]] == []

    def check(self) -> None:
        """No due time of a calendar started two runs, and intervals did not notice."""
        for name in CALENDARS:
            dues = self.machine.dues(name)
            assert len(set(dues)) == len(dues), name
        for name, period in PERIODS.items():
            for earlier, later in pairwise([0, *(start.elapsed for start in self.machine.starts[name])]):
                # A step back moves the grid by a microsecond, so that no instant of it comes twice.
                assert abs(later - earlier - period) <= self.steps, name


@pytest.mark.parametrize("phase", [0, 17 * HOUR + 15 * MINUTE, 90 * HOUR])
@pytest.mark.parametrize("delta", STEPS, ids=["+2h", "-2h", "+1d", "-1d"])
def test_a_clock_step_neither_storms_nor_doubles_nor_stops_anything(delta: int, phase: int) -> None:
    clock = Clock()
    clock.pass_time(DAY + phase)
    clock.set(delta)
    clock.pass_time(2 * DAY)
    clock.check()
    assert len({start.due for start in clock.machine.starts["nightly"]}) >= 2


@pytest.mark.parametrize("stay", [0, MINUTE, 30 * HOUR])
@pytest.mark.parametrize("delta", STEPS, ids=["+2h", "-2h", "+1d", "-1d"])
def test_a_clock_step_that_is_taken_back_leaves_no_trace(delta: int, stay: int) -> None:
    """What was passed over while the clock was ahead runs when its time really comes."""
    clock = Clock()
    clock.pass_time(DAY)
    clock.set(delta)
    clock.pass_time(stay)
    clock.set(-delta)
    clock.pass_time(2 * DAY)
    clock.check()


@pytest.mark.parametrize("wrong", [0, 5 * HOUR, 10 * 365 * DAY, 130 * 365 * DAY], ids=["1970", "+5h", "1979", "2099"])
@pytest.mark.parametrize("stay", [0, 5 * MINUTE, 30 * HOUR])
def test_a_clock_that_goes_to_1970_or_far_ahead_and_back_loses_no_schedule(wrong: int, stay: int) -> None:
    clock = Clock()
    for _ in range(2):
        clock.pass_time(25 * HOUR)
        right, elapsed = clock.machine.now, clock.machine.elapsed
        clock.set_to(wrong)
        clock.pass_time(stay)
        clock.set_to(right + clock.machine.elapsed - elapsed)
    clock.pass_time(25 * HOUR)
    clock.check()


@settings(max_examples=examples(30), deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 30 * HOUR),
            st.sampled_from([*STEPS, "1970", "2100", "right", 1, -1, -SECOND, HOUR, -HOUR]) | st.integers(-DAY, DAY),
        ),
        max_size=7,
    )
)
def test_any_few_clock_steps_neither_storm_nor_double_nor_stop_anything(moves: list[tuple[int, int | str]]) -> None:
    clock = Clock()
    for span, delta in moves:
        clock.pass_time(span)
        if isinstance(delta, int):
            clock.set(delta)
        else:
            clock.set_to(
                {"1970": 7 * SECOND, "2100": 130 * 365 * DAY + 7 * SECOND, "right": BEGIN + clock.machine.elapsed}[
                    delta
                ]
            )
    clock.pass_time(26 * HOUR)
    clock.check()


@pytest.mark.parametrize("missed", ["skip", "once", "all"])
@pytest.mark.parametrize("wrong", [0, BEGIN - 30 * DAY, BEGIN + 400 * DAY, 130 * 365 * DAY])
def test_a_daemon_that_starts_with_a_wrong_clock_goes_on_when_it_is_right(
    wrong: int, missed: Literal["skip", "once", "all"]
) -> None:
    """Whether the clock is put right while it runs or before it starts again."""
    for again in (False, True):
        jobs = [job(name, when, ZONE.key, Missed(policy=missed)) for name, (when, _) in CALENDARS.items()]
        jobs.append(job("every", {"every": "1h"}, missed=Missed(policy=missed)))
        most = CATCH_UP if missed == "all" else 1
        machine = Machine(jobs, BEGIN)
        machine.pass_time(26 * HOUR)
        right = machine.now
        assert all(len(starts) <= most for starts in machine.restart(wrong).values())
        machine.pass_time(5 * MINUTE)
        right += 5 * MINUTE
        if again:
            assert all(len(starts) <= most for starts in machine.restart(right).values())
        else:
            assert all(len(starts) <= 1 for starts in machine.set_clock(right - machine.now).values())
        before = {name: len(starts) for name, starts in machine.starts.items()}
        machine.pass_time(3 * DAY)
        for name, (_, enumerate_dues) in CALENDARS.items():
            dues = machine.dues(name)
            assert len(set(dues)) == len(dues)
            assert dues[before[name] :] == enumerate_dues(right, machine.now)
        hours = [start.elapsed for start in machine.starts["every"][before["every"] :]]
        assert len(hours) in {71, 72}
        assert {later - earlier for earlier, later in pairwise(hours)} == {HOUR}


def test_looking_for_what_was_missed_costs_little_after_a_trip_to_1970() -> None:
    """A job of each minute that has run for years: only what came after all that is looked at."""
    asked = 0

    class Counting(Cron, frozen=True):
        def next_after(self, t: int, context: Context) -> int | None:
            nonlocal asked
            asked += 1
            return super().next_after(t, context)

    schedule = Schedule(Counting("* * * * *"), Context(zone=ZONE))
    now = BEGIN // MINUTE * MINUTE
    state = JobState(since=5 * MINUTE, handled=5 * MINUTE, past=((now - 3000 * DAY, now - 2 * MINUTE),))
    assert schedule.outstanding(state, now, 2) == [now - MINUTE, now]
    assert schedule.outstanding(state, now - 1000 * DAY, 2) == [
        now - 3000 * DAY - 2 * MINUTE,
        now - 3000 * DAY - MINUTE,
    ]
    assert asked < 30
