"""Whatever happens in whatever order: each ping of a run arrives once and in order, or is dropped by a rule with its
reason; nothing is repeated without a kill; and the heart beats while something can be stored, and never otherwise."""

from collections import Counter
from itertools import pairwise
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agentd.core.jobs.model import Run
from agentd.core.notices.model import Check, Outcome, Ping, PingForgotten, PingSaved, PingsWanted
from agentd.core.notices.settings import Heartbeat
from agentd.core.part import Decided, Effect
from agentd.core.quantities import DAY, HOUR, MINUTE, SECOND
from tests.examples import examples
from tests.unit.notices.outside import ALIVE, DOWN, Outside, pinging
from tests.unit.notices.person import SENT

NAMES = ("a", "b", "c")
EVERY = 7 * MINUTE
SPANS = st.sampled_from([0, 1, SECOND, MINUTE, EVERY, HOUR]) | st.integers(0, 5 * HOUR)
STEPS = st.sampled_from([-DAY, -SECOND, SECOND, HOUR])
ENDS: Any = st.sampled_from(["success", "success", "signal", "retried", "stopped"])


class AnyPings(RuleBasedStateMachine):
    """Jobs that ping checks, two of them the same, and couriers that do anything."""

    def __init__(self) -> None:
        super().__init__()
        jobs = (pinging("a"), pinging("b", "shared"), pinging("c", "shared"))
        self.outside = Outside(*jobs, heartbeat=Heartbeat(credential=ALIVE, every=EVERY), keep=DAY)
        self.outside.deliver = self.leave
        self.couriers: dict[str, PingsWanted] = {}
        self.running: list[Run] = []
        self.seq = 0
        self.kills = 0
        self.arrived: Counter[int] = Counter()
        self.order: list[int] = []
        """The pings that arrived, with those that a kill repeated."""
        self.seen = 0
        self.made: dict[int, Ping] = {}
        self.forgotten: Counter[int] = Counter()
        self.dropped: dict[int, str] = {}
        self.newest: dict[str, int] = {}
        """By job the ping of the run that ended last, but for what only goes to the log of a check."""

    def leave(self, wanted: PingsWanted) -> None:
        assert wanted.credential not in self.couriers, "one courier at a time"
        assert 0 < len(wanted.pings) <= 20
        for ping in wanted.pings:
            assert self.outside.full or ping.id in self.outside.store.pings, "stored before it is handed out"
        self.couriers[wanted.credential] = wanted

    def look(self) -> None:
        """Takes note of what was stored since the last look."""
        for effect in self.outside.log[self.seen :]:
            self.note(effect)
        self.seen = len(self.outside.log)

    def note(self, effect: Effect) -> None:
        if isinstance(effect, PingSaved):
            self.made[effect.ping.id] = effect.ping
        elif isinstance(effect, PingForgotten):
            self.forgotten[effect.id] += 1
        elif isinstance(effect, Decided) and effect.kind == "drop":
            seq = int(effect.run_id.rpartition(".")[2])
            self.dropped[2 * seq + ("(start)" not in effect.reason)] = effect.reason

    @rule(name=st.sampled_from(NAMES))
    def a_run_starts(self, name: str) -> None:
        self.seq += 1
        self.running.append(self.outside.starts(self.seq, name))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), how=ENDS)
    def a_run_ends(self, data: st.DataObject, how: str) -> None:
        run = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        result = "signal" if how == "retried" else how
        self.outside.ends(run, result, final=how in {"success", "signal"})
        if how in {"success", "signal"}:
            self.newest[run.job] = 2 * run.seq + 1

    @rule()
    def the_disk_is_full(self) -> None:
        self.outside.full = True

    @rule()
    def there_is_room_on_the_disk(self) -> None:
        self.outside.room()

    @precondition(lambda self: self.couriers)
    @rule(
        data=st.data(),
        done=st.integers(0, 20),
        became=st.sampled_from(["sent", "sent", "again", "refused"]),
        why=st.sampled_from(["", "", "the courier was killed"]),
    )
    def a_courier_does_its_work(self, data: st.DataObject, done: int, became: Any, why: str) -> None:
        self.work(data.draw(st.sampled_from(sorted(self.couriers))), done, became, why)

    def work(self, credential: str, done: int, became: Any, why: str = "") -> None:
        pings = self.couriers.pop(credential).pings
        for ping in pings[:done]:
            self.arrives(ping)
            self.outside.core.pings.delivered(credential, ping.id, SENT, self.outside.now)
            self.outside.go_on()
        if became != "sent" and done < len(pings):
            outcome = DOWN if became == "again" else Outcome("refused", "no such ping")
            self.outside.core.pings.delivered(credential, pings[done].id, outcome, self.outside.now)
        self.outside.core.pings.courier_ended(credential, why, self.outside.now)
        self.outside.go_on()

    def arrives(self, ping: Ping) -> None:
        self.arrived[ping.id] += 1
        if self.arrived[ping.id] == 1:
            self.order.append(ping.id)

    @rule(span=SPANS)
    def time_goes_by(self, span: int) -> None:
        self.outside.wait(span)

    @rule(away=SPANS, data=st.data())
    def agentd_is_killed(self, away: int, data: st.DataObject) -> None:
        """A courier at work has delivered some of what it has, and nobody was told."""
        self.kills += 1
        for wanted in self.couriers.values():
            for ping in wanted.pings[: data.draw(st.integers(0, len(wanted.pings)))]:
                self.arrives(ping)
        self.couriers.clear()
        self.outside.restart(away)

    @rule(delta=STEPS)
    def the_clock_is_set(self, delta: int) -> None:
        self.outside.now += delta
        self.outside.beats = [at + delta for at in self.outside.beats]
        self.outside.core.clock_stepped(delta, self.outside.now)
        self.outside.go_on()

    @invariant()
    def each_ping_waits_or_has_arrived_or_was_dropped_once_and_for_a_reason(self) -> None:
        self.look()
        waiting = set(self.outside.store.pings)
        assert waiting | set(self.forgotten) == set(self.made)
        assert not waiting & set(self.forgotten)
        assert set(self.forgotten.values()) <= {1}
        assert self.forgotten.keys() <= self.arrived.keys() | self.dropped.keys()
        if not self.kills:
            assert not self.arrived.keys() & self.dropped.keys()

    @invariant()
    def the_newest_end_of_a_job_is_never_dropped_for_one_before(self) -> None:
        for identity, reason in self.dropped.items():
            if reason.endswith("a newer run has ended"):
                assert identity not in self.newest.values()

    @invariant()
    def nothing_is_repeated_but_by_a_kill(self) -> None:
        assert all(times <= 1 + self.kills for times in self.arrived.values())

    @invariant()
    def a_start_comes_before_its_end(self) -> None:
        places = {identity: place for place, identity in enumerate(self.order)}
        for identity, place in places.items():
            if identity % 2:
                assert places.get(identity - 1, -1) < place

    @invariant()
    def what_is_in_memory_is_on_the_disk(self) -> None:
        if self.outside.kept:
            return
        listed = self.outside.core.pings.listed()
        assert sum(one.waiting for one in listed) == len(self.outside.store.pings)
        for one in listed[1:]:
            known = self.outside.store.checks.get(one.check.credential, Check(credential=one.check.credential))
            # The instants may lie ahead on a disk that was full when the clock was set back.
            assert (known.failed, known.why) == (one.check.failed, one.check.why)

    @invariant()
    def the_heart_beats_no_faster_than_it_says_and_goes_on(self) -> None:
        assert all(after - at >= EVERY for at, after in pairwise(self.outside.beats)) or self.kills
        if not self.outside.kept:
            wakeup = self.outside.core.pings.beats.wakeup()
            assert wakeup is not None
            assert wakeup <= self.outside.now + EVERY

    def teardown(self) -> None:
        """In the end everything arrives that was not dropped."""
        self.outside.room()
        for _ in range(200):
            while self.couriers:
                self.work(next(iter(self.couriers)), 20, "sent")
            if not self.outside.store.pings:
                break
            self.outside.wait(HOUR)
        assert self.outside.store.pings == {}


AnyPings.TestCase.settings = settings(max_examples=examples(80), stateful_step_count=50, deadline=None)
TestAnyPings = AnyPings.TestCase
