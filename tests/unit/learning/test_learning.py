"""The core of learning on a simulated clock: what runs of use do to intervals, and what people and bounds do."""

from typing import Any

import msgspec
import pytest

from agentd.core.jobs.settings import Job
from agentd.core.jobs.triggers import Every
from agentd.core.learning import model
from agentd.core.learning.features import NAMES
from agentd.core.learning.learner import Decision
from agentd.core.learning.learning import Learning
from agentd.core.learning.mlp import Mlp
from agentd.core.learning.settings import LearningSettings
from agentd.core.part import Refused
from agentd.core.quantities import DAY, HOUR, MINUTE, SECOND
from tests.unit.learning.life import START, Life, Watched, adaptive


def each(period: int) -> Watched:
    """Returns what changes once in a period."""
    return lambda _name, at: str(at // period)


def decided(life: Life, name: str) -> Decision:
    """Returns what would be decided about a job now."""
    decision = life.learning.deciding(life.jobs.entry(name), life.now)
    assert decision is not None
    return decision


def test_jobs_are_ordered_by_how_often_what_they_watch_changes() -> None:
    periods = {"fast": 2 * MINUTE, "middle": 40 * MINUTE, "slow": 20 * HOUR}
    life = Life(*map(adaptive, periods), watched=lambda name, at: str(at // periods[name]))
    life.live(START + 2 * DAY)
    assert life.interval("fast") < life.interval("middle") < life.interval("slow")
    assert life.interval("slow") > 20 * 60


def test_each_change_of_an_interval_is_a_decision_with_its_reason() -> None:
    life = Life(adaptive("feed"), watched=each(20 * HOUR))
    life.live(START + DAY)
    first = life.decisions("interval")[0]
    assert first.about == "feed"
    assert first.reason.startswith("every 5min to every ")
    assert "the counted rate of changes expects a change each" in first.reason


def test_an_interval_changes_by_a_factor_of_two_at_most_and_stays_within_its_bounds() -> None:
    life = Life(adaptive("feed", high=HOUR), watched=each(300 * DAY))
    given, before = [], life.interval("feed")
    for hour in range(1, 100):
        life.live(START + hour * HOUR // 4)
        given.append(life.interval("feed"))
    changes = [one for one in life.seen if isinstance(one, model.JobLearns)]
    for change in changes:
        assert change.interval / SECOND <= before * 2.0001
        before = change.interval / SECOND
    assert max(given) <= 3600


def test_shadow_changes_nothing_and_says_what_it_would_do() -> None:
    life = Life(adaptive("feed"), watched=each(20 * HOUR), settings=LearningSettings())
    life.live(START + DAY)
    assert life.interval("feed") == 300
    assert len(life.runs) == DAY // (5 * MINUTE)
    assert life.decisions("shadow")[0].reason.startswith("would run every ")
    assert not life.decisions("interval")


@pytest.mark.parametrize(
    ("settings", "more"),
    [(LearningSettings(mode="off"), {}), (LearningSettings(mode="on"), {"learning": "off"})],
    ids=["everywhere", "of the job"],
)
def test_off_learns_nothing(settings: LearningSettings, more: dict[str, Any]) -> None:
    life = Life(adaptive("feed", **more), watched=each(20 * HOUR), settings=settings)
    life.live(START + DAY)
    assert life.interval("feed") == 300
    assert not life.learning.learnt
    assert life.learning.wakeup() is None


def test_a_job_may_learn_while_the_others_are_shadowed() -> None:
    life = Life(adaptive("a", learning="on"), adaptive("b"), watched=each(20 * HOUR), settings=LearningSettings())
    life.live(START + DAY)
    assert life.interval("a") > 300
    assert life.interval("b") == 300


def test_a_job_that_does_not_say_what_is_of_use_keeps_its_interval() -> None:
    life = Life(adaptive("feed", useful=None))
    life.live(START + DAY)
    assert life.interval("feed") == 300
    assert not life.learning.learnt


def test_an_increase_makes_the_next_run_sooner_at_once_and_is_not_taken_back_soon() -> None:
    life = Life(adaptive("feed"), watched=each(20 * HOUR))
    life.live(START + DAY)
    before, due = life.interval("feed"), life.jobs.entry("feed").due
    life.jobs.step_interval("feed", 1, life.now)
    life.pump()
    increased, sooner = life.interval("feed"), life.jobs.entry("feed").due
    assert increased <= before / 1.25
    assert due is not None
    assert sooner is not None
    assert sooner < due
    life.live(life.now + HOUR)
    assert life.interval("feed") <= increased


def test_a_preference_acts_once_and_does_not_compound() -> None:
    plain = Life(adaptive("feed"), watched=each(2 * HOUR))
    preferred = Life(adaptive("feed"), watched=each(2 * HOUR))
    preferred.jobs.prefer("feed", 1, START)
    for life in (plain, preferred):
        life.live(START + 6 * DAY)
    ratio = plain.interval("feed") / preferred.interval("feed")
    assert 1.2 < ratio < 1.9


def test_a_preference_is_bounded_and_for_adaptive_jobs_alone() -> None:
    life = Life(adaptive("feed"), Job(name="fixed", run=("x",), when=Every(HOUR)))
    with pytest.raises(Refused, match="a preference lies between -4 and 4, not 5"):
        life.jobs.prefer("feed", 5, START)
    with pytest.raises(Refused, match="fixed is not adaptive, it runs every 1h"):
        life.jobs.prefer("fixed", 1, START)
    for _ in range(3):
        life.jobs.step_interval("feed", -1, START)
    life.jobs.prefer("feed", -4, START)
    life.jobs.step_interval("feed", -1, START)
    assert life.jobs.entry("feed").state.preference == -4


def test_an_interval_that_a_person_set_stays_until_a_reset() -> None:
    life = Life(adaptive("feed"), watched=each(20 * HOUR))
    life.jobs.set_interval("feed", 2 * MINUTE, START)
    life.live(START + DAY)
    assert life.interval("feed") == 120
    life.jobs.reset("feed", life.now)
    life.pump()
    assert life.interval("feed") == 300
    life.live(life.now + DAY)
    assert life.interval("feed") > 600


def test_a_run_by_hand_makes_a_job_run_more_often_and_fades() -> None:
    life = Life(adaptive("feed"), watched=each(3 * HOUR))
    life.live(START + 4 * DAY)
    before = life.interval("feed")
    for _ in range(2):
        life.jobs.run("feed", life.now)
        life.pump()
    life.live(life.now + 2 * HOUR)
    urged = life.interval("feed")
    assert urged < before * 0.85
    life.live(life.now + 6 * DAY)
    assert life.interval("feed") > urged * 1.15


def test_failures_double_the_interval_and_teach_nothing() -> None:
    life = Life(adaptive("feed"), watched=each(30 * MINUTE))
    life.live(START + 2 * DAY)
    state = life.learning.learnt["feed"].state
    assert state is not None
    before, known = life.interval("feed"), list(state.memory.counts)
    life.result, life.exit_code = "exit-code", 1
    life.live(life.now + 12 * HOUR)
    assert life.interval("feed") > 4 * before
    assert state.memory.counts == known
    assert "the last run failed (exit-code)" in life.learning.learnt["feed"].unknown
    life.result, life.exit_code = "success", 0
    life.live(life.now + 2 * DAY)
    assert life.interval("feed") < 2 * before


def test_the_first_run_is_compared_with_nothing() -> None:
    life = Life(adaptive("feed"), watched=each(SECOND))
    life.live(START + 5 * MINUTE)
    assert life.finished("feed") == 1
    assert life.learning.rows == 0
    life.live(START + 11 * MINUTE)
    state = life.learning.learnt["feed"].state
    assert state is not None
    assert state.memory.useful


def test_exit_codes_of_use_are_no_failures() -> None:
    life = Life(adaptive("feed", useful="exit-code:10,11"))
    life.result, life.exit_code = "exit-code", 10
    life.live(START + HOUR)
    state = life.learning.learnt["feed"].state
    assert state is not None
    assert (state.memory.failures, state.memory.useful) == (0, True)


def test_another_exit_code_is_of_use() -> None:
    life = Life(adaptive("feed", useful="exit-code"))
    life.live(START + 12 * MINUTE)
    life.result, life.exit_code = "exit-code", 1
    life.live(life.now + 12 * MINUTE)
    state = life.learning.learnt["feed"].state
    assert state is not None
    assert state.memory.changed > 0
    assert state.memory.failures == 0


def test_a_run_that_reports_a_change_is_of_use() -> None:
    life = Life(adaptive("feed", useful="reported"))
    life.live(START + 12 * MINUTE)
    state = life.learning.learnt["feed"].state
    assert state is not None
    before = state.memory.changed
    life.during = life.jobs.report_change  # type: ignore[method-assign]
    life.live(life.now + 12 * MINUTE)
    assert state.memory.changed > before == 0
    with pytest.raises(Refused, match="is not under way"):
        life.jobs.report_change("feed.1")


def test_an_output_that_cannot_be_read_keeps_the_interval() -> None:
    life = Life(adaptive("feed"))
    life.learning.looked = lambda run, *_: Learning.looked(  # type: ignore[method-assign]
        life.learning, run, "", "the journal cannot be read"
    )
    life.live(START + DAY)
    assert life.interval("feed") == 300
    assert life.learning.learnt["feed"].unknown == "the journal cannot be read"


def test_all_adaptive_jobs_together_stay_within_the_budget() -> None:
    names = [f"job{number}" for number in range(20)]
    settings = LearningSettings(mode="on", cpu_budget=0.05)
    life = Life(*map(adaptive, names), watched=each(MINUTE), settings=settings)
    life.live(START + DAY)
    spent = sum(1.05 / life.interval(name) for name in names)
    assert spent <= 0.05 * 1.12  # an interval within a tenth of the wanted one stays
    assert {decided(life, name).bound for name in names} == {"budget"}


@pytest.mark.parametrize(("preference", "direction", "hours"), [(4, 1, 20), (-4, -1, 3)])
def test_a_step_beyond_the_last_preference_is_not_taken_back_soon(preference: int, direction: int, hours: int) -> None:
    life = Life(adaptive("feed", high=2 * DAY), watched=each(hours * HOUR))
    life.jobs.prefer("feed", preference, START)
    life.live(START + 4 * DAY)
    before = life.interval("feed")
    life.jobs.step_interval("feed", direction, life.now)
    life.pump()
    stepped = life.interval("feed")
    assert (before - stepped) * direction > 0
    life.live(life.now + HOUR - SECOND)
    assert (stepped - life.interval("feed")) * direction >= 0


def test_a_preference_that_is_taken_back_leaves_no_wish() -> None:
    """At `max` a preference for less has no room; taken back, the interval goes the whole way, and soon back again."""
    life = Life(adaptive("feed", high=HOUR), watched=each(20 * HOUR))
    life.live(START + DAY)
    before = life.interval("feed")
    for preference in (-4, 0):
        life.jobs.prefer("feed", preference, life.now)
        if preference == 0:
            life.learning.take_back_wish("feed")
        life.pump()
    assert life.interval("feed") < before * 0.6
    life.live(life.now + HOUR)
    assert life.interval("feed") > before * 0.9


def test_an_interval_is_told_as_it_is_given_where_bounds_are_no_whole_seconds() -> None:
    life = Life(adaptive("feed", start=10 * SECOND, low=2 * SECOND, high=12_600_000), cpu=0)
    life.live(START + HOUR)
    told = [one for one in life.seen if isinstance(one, model.JobLearns)][-1]
    assert told.interval == 12_600_000
    assert life.interval("feed") == 12.6
    assert life.decisions("interval")[-1].reason.startswith("every 10s to every 13s: ")


def crowded() -> Life:
    """A life in which two jobs take far more than the budget."""
    settings = LearningSettings(mode="on", cpu_budget=0.002)
    life = Life(adaptive("feed"), adaptive("hog"), watched=each(MINUTE), settings=settings)
    life.live(START + 2 * DAY)
    assert decided(life, "feed").bound == "budget"
    return life


def test_the_budget_does_not_take_back_soon_what_a_person_wanted() -> None:
    life = crowded()
    life.jobs.step_interval("feed", 1, life.now)
    life.pump()
    increased, other = life.interval("feed"), life.interval("hog")
    while life.learning.learnt["feed"].wish_runs < 6 or life.now < life.learning.learnt["feed"].wish_until:
        assert life.interval("feed") <= increased
        assert life.interval("hog") <= other * 1.3, "another job pays for it"
        life.live(life.now + MINUTE)
    life.live(life.now + DAY)
    assert life.interval("feed") > increased


def test_an_interval_that_the_budget_gives_back_changes_by_a_factor_of_two_as_well() -> None:
    life = crowded()
    before = {name: life.interval(name) for name in ("feed", "hog")}
    life.learning.configure(LearningSettings(mode="on", cpu_budget=10.0), life.now)
    seen = len(life.seen)
    life.live(life.now + DAY)
    for change in life.seen[seen:]:
        if isinstance(change, model.JobLearns):
            assert before[change.job] / 2 * 0.95 <= change.interval / SECOND <= before[change.job] * 2 * 1.05
            before[change.job] = change.interval / SECOND
    assert before["feed"] < 300


def test_what_would_be_decided_is_within_the_budget() -> None:
    life = crowded()
    decision = decided(life, "feed")
    assert decision.bound == "budget"
    assert decision.interval == pytest.approx(life.interval("feed"), rel=0.15)


def test_a_restart_keeps_everything() -> None:
    life = Life(adaptive("feed"), watched=each(40 * MINUTE))
    life.live(START + 2 * DAY)
    last = [one for one in life.seen if isinstance(one, model.LearntSaved)][-1]
    read = msgspec.json.decode(last.record, type=model.Learnt)
    again = Life(
        adaptive("feed"), watched=each(40 * MINUTE), saved=model.Saved(jobs={"feed": read}, rows=3), now=life.now
    )
    assert again.learning.learnt["feed"] == life.learning.learnt["feed"]
    assert again.learning.rows == 3


def test_a_clock_that_is_set_changes_no_rate() -> None:
    lives = [Life(adaptive("feed"), watched=lambda _name, at: str(at // HOUR)) for _ in range(2)]
    lives[0].live(START + DAY)
    lives[1].live(START + DAY)
    moved = lives[1]
    step = 3 * HOUR
    moved.now += step
    moved.parts.clock_stepped(step, moved.now)
    moved.pump()
    state, other = (life.learning.learnt["feed"].state for life in lives)
    assert state is not None
    assert other is not None
    assert other.memory.at == state.memory.at + step / SECOND
    assert other.memory.counts == state.memory.counts


@pytest.mark.parametrize("back", [HOUR, 400 * DAY], ids=["an hour", "a year"])
def test_a_clock_that_was_set_back_while_agentd_was_away_is_no_defect(back: int) -> None:
    life = Life(adaptive("feed"), watched=each(40 * MINUTE))
    life.live(START + 2 * DAY)
    learnt = life.learning.learnt["feed"]
    learnt.wish, learnt.wish_until, learnt.wish_runs = 1, life.now + HOUR, 0
    known = model.Saved(jobs={"feed": learnt})
    again = Life(adaptive("feed"), saved=known, now=life.now - back)
    assert again.learning.deciding(again.jobs.entry("feed"), again.now) is not None
    again.live(again.now + 2 * DAY)  # long after the hour in which the interval does not go against a person
    assert again.interval("feed") > 600


def test_what_was_learnt_of_another_thing_is_of_no_use() -> None:
    life = Life(adaptive("feed"), watched=each(20 * HOUR))
    life.live(START + 2 * DAY)
    state, slow = life.learning.learnt["feed"].state, life.interval("feed")
    assert state is not None
    assert state.memory.changed
    seen = len(life.seen)
    life.jobs.configure({"feed": adaptive("feed", useful="reported")}, 8, "UTC", life.now)
    life.live(life.now + 2 * HOUR)
    state = life.learning.learnt["feed"].state
    assert state is not None
    assert (state.memory.changed, state.memory.gaps) == (0, 0)
    assert state.memory.runs < 10
    (first, *_) = [one for one in life.seen[seen:] if isinstance(one, model.JobLearns)]
    assert first.interval / SECOND > slow / 2.1, "the interval goes on from where it was"


def test_a_job_that_no_longer_says_what_is_of_use_keeps_the_interval_that_it_has() -> None:
    life = Life(adaptive("feed"), watched=each(20 * HOUR))
    life.live(START + 2 * HOUR)
    before = life.interval("feed")
    life.jobs.configure({"feed": adaptive("feed", useful=None)}, 8, "UTC", life.now)
    life.learning.configure(LearningSettings(mode="on", aim=2 * HOUR), life.now)
    life.live(life.now + DAY)
    assert life.interval("feed") == before


@pytest.mark.parametrize("by", ["a reload", "a restart"])
def test_runs_at_which_nobody_looked_are_no_runs_without_a_change(by: str) -> None:
    job = adaptive("feed", useful="reported")
    life = Life(job)
    life.during = life.jobs.report_change  # type: ignore[method-assign]
    life.live(START + DAY)
    state = life.learning.learnt["feed"].state
    assert state is not None
    known, runs = list(state.memory.counts), state.memory.runs
    if by == "a reload":
        life.learning.configure(LearningSettings(mode="off"), life.now)
        life.live(life.now + 5 * DAY)
        assert state.memory.runs == runs
        life.learning.configure(LearningSettings(mode="on"), life.now)
    else:
        kept = model.Saved(jobs=life.learning.learnt)
        Life(job, saved=kept, settings=LearningSettings(mode="off"), now=life.now)
        life = Life(job, saved=kept, now=life.now + 5 * DAY)
    life.during = lambda run_id: None  # type: ignore[method-assign]  # noqa: ARG005
    while state.memory.runs == runs:
        life.live(life.now + MINUTE)
    assert state.memory.counts == known, "five days without a look tell nothing"


def test_a_training_is_wanted_when_enough_is_new_and_not_again_before_its_end() -> None:
    life = Life(adaptive("feed", start=MINUTE), watched=each(90 * SECOND))
    life.live(START + 2 * DAY)
    assert sum(isinstance(one, model.TrainingWanted) for one in life.seen) == 1
    life.learning.trained(None, model.NOTHING, "nothing better", life.now)
    life.pump()
    assert life.decisions("model")[-1].reason == "nothing better"
    life.live(life.now + 2 * DAY)
    assert sum(isinstance(one, model.TrainingWanted) for one in life.seen) == 2


def test_rows_that_came_before_a_restart_count_for_the_next_training() -> None:
    saved = model.Saved(rows=5000, fresh=499)
    life = Life(adaptive("feed", start=MINUTE), watched=each(90 * SECOND), saved=saved)
    life.live(START + 5 * HOUR)
    assert sum(isinstance(one, model.TrainingWanted) for one in life.seen) == 1


@pytest.mark.parametrize(("number", "ratio", "doubted"), [(1, 4.0, True), (1, 1.0, False), (0, 4.0, False)])
def test_a_network_that_foretells_badly_is_doubted_but_for_the_one_that_agentd_brings(
    number: int, ratio: float, doubted: bool
) -> None:
    count = len(NAMES)
    life = Life(adaptive("feed"), watched=each(2 * HOUR))
    life.learning.take_network(
        model.Network(number, Mlp([0.0] * count, [1.0] * count, [[0.0] * count], [0.0], [0.0], ratio)), "", life.now
    )
    life.live(START + 4 * DAY)
    found = [one for one in life.seen if isinstance(one, model.NetworkDoubted)]
    assert bool(found) == doubted
    assert all(one.number == number and one.gain < -8 for one in found)
    state = life.learning.learnt["feed"].state
    assert state is not None
    assert state.model != "mlp", "nor does it decide"


def test_nothing_is_due_without_news() -> None:
    life = Life(adaptive("feed"))
    life.live(START + 6 * MINUTE)
    assert life.learning.wakeup() is None
    life.learning.drain()
    life.live(START + DAY)
    assert life.learning.wakeup() is None


def test_a_thousand_failures_in_a_row_are_no_defect() -> None:
    life = Life(adaptive("feed", start=MINUTE), watched=each(HOUR))
    life.live(START + HOUR)
    state = life.learning.learnt["feed"].state
    assert state is not None
    state.memory.failures = 5000
    life.result, life.exit_code = "exit-code", 1
    life.live(life.now + DAY)
    assert state.memory.failures > 5000
    assert life.interval("feed") <= 6 * 3600


def test_a_reset_is_no_wish_for_fewer_runs() -> None:
    life = Life(adaptive("feed"), watched=each(30 * MINUTE))
    life.live(START + DAY)
    life.jobs.prefer("feed", 2, life.now)
    life.pump()
    assert life.learning.learnt["feed"].wish == 1
    life.jobs.reset("feed", life.now)
    life.pump()
    assert (life.learning.learnt["feed"].preference, life.learning.learnt["feed"].wish) == (0, 0)


def test_a_disabled_job_takes_nothing_of_the_budget() -> None:
    settings = LearningSettings(mode="on", cpu_budget=0.002)
    lives = [Life(adaptive("a"), adaptive("b"), watched=each(MINUTE), settings=settings) for _ in range(2)]
    for life in lives:
        life.live(START + 2 * DAY)
    lives[1].jobs.set_enabled("b", False, lives[1].now)
    for life in lives:
        life.live(life.now + 2 * DAY)
    both, alone = (life.interval("a") for life in lives)
    assert alone < 0.7 * both
