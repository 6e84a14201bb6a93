"""Whatever happens in whatever order: no trouble is silent for too long, none is told too often, each end is told once;
and no event that people are told of is lost on its way, told twice, out of order or in quiet hours.

agentd is killed between any two batches of effects: it starts anew with what was stored, and what happened in a batch
that was not stored has not happened.
"""

from collections import Counter, defaultdict
from itertools import pairwise
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agentd.core.events import Event
from agentd.core.notices.manners import Manners, taken_up
from agentd.core.notices.model import CourierWanted, Draft, Message, Outcome, Saved
from agentd.core.notices.notices import Notices, Slice
from agentd.core.notices.quiet import audible_at
from agentd.core.notices.routes import Routes
from agentd.core.notices.settings import NoticeSettings, Quiet
from agentd.core.part import Effect
from agentd.core.quantities import DAY, HOUR, MINUTE, SECOND
from tests.examples import examples
from tests.unit.notices.person import BERLIN, NOW, Store, channels, failed, succeeded

NAMES = ("a", "b", "c")
REMIND = 10 * HOUR
MOST_CALM = 6 * HOUR
SPANS = st.sampled_from([0, 1, SECOND, MINUTE, 20 * MINUTE, HOUR, MOST_CALM, REMIND]) | st.integers(0, 12 * HOUR)
STEPS = st.sampled_from([-DAY, -SECOND, SECOND, HOUR, 40 * DAY])


class AnyTrouble(RuleBasedStateMachine):
    """The manners, and what people were told by them."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.store = Store()
        self.wrong: dict[str, str] = {}
        """The jobs that fail, and their errors."""
        self.well_since: dict[str, int] = {}
        self.told: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
        """Of each job: when what was told, "trouble" or "over", and the error then."""
        self.begin()

    def begin(self) -> None:
        self.effects: list[Effect] = []
        self.fresh: list[tuple[str, tuple[int, str, str]]] = []
        self.manners = Manners(taken_up(tuple(self.store.troubles.values()), self.now), self.put, self.effects)
        its = NoticeSettings(channels=channels("phone"), remind=REMIND)
        self.manners.configure(Routes(its), REMIND, its.channels, "phone", BERLIN)

    def put(self, draft: Draft, now: int) -> list[int]:
        error = draft.title.rpartition(": ")[2]
        self.fresh.append((draft.about, (now, draft.sort, error)))
        return []

    def store_all(self) -> None:
        """Stores the effects; what people were told of goes with them, in the same batch."""
        self.store.write(self.effects)
        self.effects.clear()
        for name, told in self.fresh:
            self.told[name].append(told)
        self.fresh.clear()

    @rule(name=st.sampled_from(NAMES), error=st.sampled_from(["exit code 1", "exit code 1", "exit code 2"]))
    def a_job_fails(self, name: str, error: str) -> None:
        self.manners.purge(self.now)
        self.manners.take(failed(name, error), self.now)
        self.wrong[name] = error
        self.well_since.pop(name, None)
        self.store_all()

    @rule(name=st.sampled_from(NAMES))
    def a_job_succeeds(self, name: str) -> None:
        self.manners.take(succeeded(name), self.now)
        self.wrong.pop(name, None)
        self.well_since.setdefault(name, self.now)
        self.store_all()

    @rule(name=st.sampled_from(NAMES), fails=st.booleans())
    def agentd_is_killed_before_something_is_stored(self, name: str, fails: bool) -> None:
        self.manners.take(failed(name, "exit code 3") if fails else succeeded(name), self.now)
        self.begin()

    @rule(span=SPANS)
    def time_goes_by(self, span: int) -> None:
        end, woken = self.now + span, 0
        while (at := self.manners.wakeup()) is not None and at <= end:
            woken += 1
            assert woken < 1000, "the core is woken without end"
            assert at >= self.now
            self.now = at
            self.manners.tick(self.now)
            self.store_all()
        self.now = end

    @rule(away=SPANS)
    def agentd_is_killed(self, away: int) -> None:
        self.now += away
        self.begin()
        self.manners.tick(self.now)
        self.store_all()

    @rule(delta=STEPS)
    def the_clock_is_set(self, delta: int) -> None:
        self.now += delta
        self.manners.clock_stepped(delta)
        for told in self.told.values():
            told[:] = [(at + delta, sort, error) for at, sort, error in told]
        self.well_since = {name: at + delta for name, at in self.well_since.items()}
        self.store_all()

    @invariant()
    def no_trouble_is_silent_for_longer_than_the_reminder_span(self) -> None:
        for name in self.wrong:
            at, sort, _ = self.told[name][-1]
            assert sort == "trouble"
            assert self.now - at <= REMIND

    @invariant()
    def no_trouble_that_stays_the_same_is_told_twice_within_the_span(self) -> None:
        for told in self.told.values():
            for (before, sort, error), (after, sort_after, error_after) in pairwise(told):
                if sort == sort_after == "trouble" and error == error_after:
                    assert after - before >= REMIND

    @invariant()
    def each_end_is_told_once_and_only_where_the_beginning_was(self) -> None:
        for told in self.told.values():
            sorts = [sort for _, sort, _ in told]
            assert sorts[:1] in ([], ["trouble"])
            assert ("over", "over") not in pairwise(sorts)
        for name, since in self.well_since.items():
            if self.now - since >= MOST_CALM and self.told[name]:
                assert self.told[name][-1][1] == "over"


CONFIGS = [
    NoticeSettings(channels=channels("phone", "team")),
    NoticeSettings(channels=channels("phone", "team", rate=2), keep=HOUR),
    NoticeSettings(channels=channels("phone", "team"), quiet=Quiet(from_=22 * 3600, to=7 * 3600)),
    NoticeSettings(channels=channels("phone", "team"), quiet=Quiet(from_=3600, to=9000, breaks="normal")),
]
PRIORITIES: Any = st.sampled_from(["low", "normal", "high"])
OUTCOMES: Any = st.sampled_from(["sent", "sent", "again", "refused"])


class AnyPost(RuleBasedStateMachine):
    """A core of notices whose couriers do anything, and what became of each event."""

    @initialize(config=st.sampled_from(CONFIGS))
    def begin(self, config: NoticeSettings) -> None:
        self.now = NOW
        self.store = Store()
        self.slice = Slice(notices=config, jobs={}, zone=BERLIN)
        self.couriers: dict[str, tuple[Message, ...]] = {}
        self.sent: Counter[int] = Counter()
        self.order: dict[str, list[int]] = defaultdict(list)
        self.instants: dict[str, list[int]] = defaultdict(list)
        self.events = 0
        self.kills = 0
        self.plain = config.quiet is None
        self.rate: int | None = config.channels["phone"].rate
        self.core = Notices(self.slice, Saved(), self.now)
        self.carry_out()

    def carry_out(self) -> None:
        effects = self.core.effects()
        self.store.write(effects)
        for effect in effects:
            if isinstance(effect, CourierWanted):
                assert effect.channel not in self.couriers, "one courier at a time"
                assert 0 < len(effect.messages) <= 20
                for one in effect.messages:
                    assert audible_at(self.slice.notices.quiet, BERLIN, one.priority, self.now) == self.now
                    assert self.store.messages[one.id].state == "waiting", "stored before it is handed out"
                self.couriers[effect.channel] = effect.messages

    @rule(count=st.sampled_from([1, 1, 3, 40]), to=st.sampled_from(["phone", "team"]), priority=PRIORITIES)
    def something_happens(self, count: int, to: str, priority: Any) -> None:
        for _ in range(count):
            event = Event(at=self.now, part="agentd", name="message", title=f"{self.events}", priority=priority)
            self.core.tell(event, self.now, [to])
            self.events += 1
            self.carry_out()

    @rule(span=SPANS)
    def time_goes_by(self, span: int) -> None:
        self.wait(span)

    def wait(self, span: int, *, well: bool = False) -> None:
        end, woken = self.now + span, 0
        while True:
            while well and self.couriers:
                self.work(next(iter(self.couriers)), 20, "sent", 0)
            at = self.core.wakeup()
            if at is None or at > end:
                break
            woken += 1
            assert woken < 1000, "the core is woken without end"
            self.now = max(self.now, at)
            self.core.tick(self.now)
            self.carry_out()
        self.now = end

    @precondition(lambda self: self.couriers)
    @rule(
        data=st.data(),
        done=st.integers(0, 20),
        outcome=OUTCOMES,
        after=st.sampled_from([0, 5 * MINUTE]),
        why=st.sampled_from(["", "", "the courier was killed"]),
    )
    def a_courier_does_its_work(self, data: st.DataObject, done: int, outcome: Any, after: int, why: str) -> None:
        self.work(data.draw(st.sampled_from(sorted(self.couriers))), done, outcome, after, why)

    def work(self, channel: str, done: int, outcome: Any, after: int, why: str = "") -> None:
        messages = self.couriers.pop(channel)
        for message in messages[:done]:
            self.arrived(message)
            self.core.delivered(message.id, Outcome("sent"), self.now)
            self.carry_out()
        if outcome != "sent" and done < len(messages):
            self.core.delivered(messages[done].id, Outcome(outcome, "the server said so", after), self.now)
        self.core.courier_ended(channel, why, self.now)
        self.carry_out()

    def arrived(self, message: Message) -> None:
        self.sent[message.id] += 1
        self.order[message.channel].append(message.id)
        self.instants[message.channel].append(self.now)

    @rule(away=SPANS, data=st.data())
    def agentd_is_killed(self, away: int, data: st.DataObject) -> None:
        """A courier at work has delivered some of what it has, and nobody was told."""
        self.kills += 1
        for messages in self.couriers.values():
            for message in messages[: data.draw(st.integers(0, len(messages)))]:
                self.sent[message.id] += 1
        self.couriers.clear()
        self.now += away
        self.core = Notices(self.slice, self.store.saved(self.now), self.now)
        self.core.tick(self.now)
        self.carry_out()

    @rule()
    def people_drop_what_waits(self) -> None:
        self.core.drop(0, self.now)
        self.carry_out()

    @rule(delta=STEPS)
    def the_clock_is_set(self, delta: int) -> None:
        self.now += delta
        self.instants = defaultdict(list, {name: [at + delta for at in its] for name, its in self.instants.items()})
        self.core.clock_stepped(delta, self.now)
        self.carry_out()

    @rule(config=st.sampled_from(CONFIGS))
    def the_configuration_changes(self, config: NoticeSettings) -> None:
        self.plain = self.plain and config.quiet is None
        self.rate = self.rate if self.rate == config.channels["phone"].rate else None
        self.slice = Slice(notices=config, jobs={}, zone=BERLIN)
        self.core.configure(self.slice, self.now)
        self.carry_out()

    @invariant()
    def each_event_is_in_one_message(self) -> None:
        assert sum(one.count for one in self.store.messages.values()) == self.events

    @invariant()
    def what_is_in_memory_is_on_the_disk(self) -> None:
        waiting = {one.id: one for one in self.core.waiting()}
        assert waiting == {key: one for key, one in self.store.messages.items() if one.state == "waiting"}
        assert len(waiting) <= 2 * (20 + 2 * 4)

    @invariant()
    def nothing_is_told_twice_but_by_a_kill(self) -> None:
        assert all(times <= 1 + self.kills for times in self.sent.values())
        told = {key for key, one in self.store.messages.items() if one.state == "sent"}
        assert told <= self.sent.keys()
        assert self.kills or told == self.sent.keys(), "what arrived is told as sent, dropped or not"

    @invariant()
    def the_order_of_each_channel_is_kept(self) -> None:
        if self.plain:
            for ids in self.order.values():
                assert ids == sorted(ids)

    @invariant()
    def no_channel_gets_more_than_it_takes(self) -> None:
        if self.kills == 0 and self.rate is not None:
            for instants in self.instants.values():
                assert all(later - at >= HOUR for at, later in zip(instants, instants[self.rate :], strict=False))

    def teardown(self) -> None:
        """In the end everything arrives that was not dropped."""
        if hasattr(self, "core"):
            self.wait(7 * DAY, well=True)
            assert self.core.waiting() == []
            assert self.core.wakeup() is None


AnyTrouble.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=40, deadline=None)
AnyPost.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=40, deadline=None)
TestAnyTrouble = AnyTrouble.TestCase
TestAnyPost = AnyPost.TestCase
