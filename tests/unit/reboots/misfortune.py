"""A machine on which everything happens at the wrong moment, and the laws that hold all the same.

Users, the clock, the fleet, package managers, asking programs and an administrator do what chance tells them. The
machine knows by itself what is true: who is logged in, when it was booted, what time went by, what was asked for;
agentd's own words are compared to that whenever logind is asked for a reboot, and after each event.
"""

import random
from collections import Counter
from datetime import timedelta
from typing import Any

from msgspec import Struct

from agentd.core.jobs.model import RunStops
from agentd.core.jobs.settings import Job
from agentd.core.part import Refused
from agentd.core.quantities import DAY, HOUR, MINUTE, SECOND, WEEK
from agentd.core.reboots import wishes
from agentd.core.reboots.model import (
    FINAL,
    Blocker,
    Facts,
    Ledger,
    Reboot,
    RebootIssues,
    RebootLooks,
    Session,
    SlotFreed,
    SlotWanted,
    Times,
)
from agentd.core.reboots.policy import FleetPolicy, Hooks, RebootLimits, RebootPolicy, WaitFor, Window
from agentd.core.reboots.wishes import ByHand
from agentd.core.times import midnight, moment
from tests.unit.reboots.world import INHIBITOR, START, World

SLACK = 5 * MINUTE
"""For so long after its time a wish may still be on its way: logind was asked, and is given time to answer."""
TIMES = Times(look=15 * MINUTE, look_required=15 * MINUTE)
PEOPLE = ("alice", "bob", "carol")
CAUSES = ("rule memory", "rule errors", "smart", "updates", "request")
JOBS = {
    name: Job(name=name, timezone="UTC", run=("/x",), critical=name == "copy", stop_timeout=stop)
    for name, stop in (("copy", 10 * SECOND), ("feed", 2 * MINUTE), ("save", SECOND), ("check", SECOND))
}
FORGETS = "the state lies in memory"


class Asked(Struct):
    """A program's request: the time, on the elapsed clock, until which it stands, and what had happened by then."""

    until: int
    boots: int
    taken_back: int


def policy_of(chance: random.Random) -> RebootPolicy:
    """Returns a policy as somebody might write it."""
    window = chance.choice([30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR])
    nightly = Window(
        at=chance.choice([0, 150, 180, 1410]) * 60,
        window=window,
        jitter=chance.choice([0, window // 4]),
        days=chance.choice([(0, 1, 2, 3, 4, 5, 6), (0, 1, 2, 3, 4), (6,)]),
    )
    noon = {"noon": Window(at=chance.choice([12 * 3600, 3 * 3600 + 600]), window=HOUR)}
    return RebootPolicy(
        nightly=nightly,
        windows=noon if chance.random() < 0.3 else {},
        only_if_required=chance.random() < 0.2,
        grace=chance.choice([0, MINUTE, 10 * MINUTE]),
        wait_for=WaitFor(
            jobs=chance.choice([0, 10 * MINUTE, 3 * HOUR]),
            users=chance.choice([None, None, 20 * MINUTE]),
            idle=chance.choice([None, HOUR]),
        ),
        limits=RebootLimits(
            min_uptime=chance.choice([0, 10 * MINUTE, HOUR]),
            per_day=chance.choice([1, 2, 5]),
            per_week=chance.choice([3, 8, 20]),
        ),
        hooks=Hooks(before=chance.choice([None, "save"]), after=chance.choice([None, "check"])),
        fleet=chance.choice([None, FleetPolicy(fleetlock="http://lock.example")]),
    )


class Misfortune(World):
    """A World in which chance reigns. `forgetful`: nothing that agentd stores outlives a boot.

    `elapsed` is time that goes by however the clock is set.
    """

    in_mind = 25

    def __init__(self, seed: int, *, forgetful: bool = False) -> None:
        self.chance = chance = random.Random(seed)
        self.delays = random.Random(seed)  # of looks: how often agentd looks changes nothing else
        self.forgetful = forgetful
        self.offset = 0  # of the wall clock against time that goes by
        self.wrong_by = 0  # of that, what a time service will set right
        self.people: dict[str, tuple[int, bool]] = {}  # until when they are logged in, and whether they are at work
        self.inhibited = self.packages = self.required = self.mute = False
        self.holder = ""  # of the fleet's only slot
        self.looks = 0  # when the look under way is answered
        self.lies = random.Random(seed)  # of logind: that the machine stays up
        self.falls = 0  # when the machine goes down all the same
        self.asked: dict[int, Asked] = {}
        self.plans: dict[int, tuple[int, int]] = {}
        self.forced: set[int] = set()
        self.taken_back = 0
        self.issued: list[tuple[int, int]] = []  # automatic reboots that happened: by the wall clock, and elapsed
        self.done: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.up_since = START - DAY
        self.shown: tuple[int, Facts, set[str]] = (0, Facts(), set())  # the last look: when, what was seen, who was in
        super().__init__(policy_of(chance), dict(JOBS), times=TIMES)

    @property
    def elapsed(self) -> int:
        return self.now - self.offset

    # Time

    def live(self, span: int) -> None:
        """Lets time and chance have their way."""
        end = self.elapsed + span
        while self.elapsed < end:
            self.after(self._pause())
            self._let_go()
            self.chance.choices(self.EVENTS, self.WEIGHTS)[0](self)
            self.see()
            self.pump()
            self.check()

    def _pause(self) -> int:
        """Little happens by day; while a reboot is on its way, one thing follows the other."""
        if self.state != "idle" or self.people or self.running:
            return self.chance.choice([SECOND, MINUTE, 10 * MINUTE, 40 * MINUTE, 2 * HOUR])
        return self.chance.choice([10 * MINUTE, 5 * HOUR, 11 * HOUR, 17 * HOUR])

    def _let_go(self) -> None:
        self.people = {who: (until, busy) for who, (until, busy) in self.people.items() if until > self.elapsed}

    def see(self, *, told: bool = True) -> None:
        """What an observer would see; agentd is told of changes while a reboot is pending, but not always."""
        away = Blocker("logind", "systemd-logind", "systemd-logind does not answer")
        packages = Blocker("package-manager", "dpkg", "dpkg is at work")
        found = ((INHIBITOR, self.inhibited), (packages, self.packages), (away, self.mute))
        idle = self.now - 2 * HOUR
        self.facts = Facts(
            blockers=tuple(blocker for blocker, there in found if there),
            sessions=tuple(Session(who, "tty2", 0 if busy else idle) for who, (_, busy) in self.people.items()),
            clock="the clock is not synchronised yet" if self.wrong_by else "",
            required=self.required,
            forgets=FORGETS if self.forgetful else "",
        )
        if told and self.reboots.pending is not None and self.chance.random() < 0.4:
            self.show()

    def show(self) -> None:
        """agentd is told what an observer sees, which is noted."""
        self.shown = (self.elapsed, self.facts, self._present())
        self.reboots.observed(self.facts, self.now)

    # What chance does

    def comes(self) -> None:
        until = self.elapsed + self.chance.choice([SECOND, SECOND, 30 * SECOND, 10 * MINUTE, 5 * HOUR])
        self.people[self.chance.choice(PEOPLE)] = (until, self.chance.random() < 0.8)

    def goes(self) -> None:
        self.people.clear()

    def inhibits(self) -> None:
        self.inhibited = not self.inhibited

    def installs(self) -> None:
        self.packages = not self.packages
        self.required = self.required or not self.packages

    def mutes(self) -> None:
        self.mute = not self.mute

    def works(self) -> None:
        job = self.chance.choice(["copy", "feed", "feed"])
        self.takes[job] = self.chance.choice([SECOND, MINUTE, 20 * MINUTE, 2 * HOUR])
        self._try(lambda: self.jobs.run(job, self.now))

    def hooks(self) -> None:
        for hook in ("save", "check"):
            self.takes[hook] = self.chance.choice([0, 20 * SECOND, 2 * HOUR])
            self.results[hook] = self.chance.choice(["success", "success", "exit-code"])

    def logind(self) -> None:
        self.refuses = self.chance.choice(["", "", "", "Access denied"])
        self.silent = self.chance.random() < 0.1

    def clears_up(self) -> None:
        """Everybody behaves, for a while."""
        self.inhibited = self.packages = self.mute = self.silent = False
        self.refuses, self.holder = "", "us" if self.holder == "us" else ""
        self.results.clear()
        self.takes.clear()
        self.people.clear()

    def neighbour(self) -> None:
        self.holder = {"": "web2", "web2": ""}.get(self.holder, self.holder)

    def clock(self) -> None:
        step = self.chance.choice([SECOND, 50 * SECOND, 30 * MINUTE, 5 * HOUR, 2 * DAY]) * self.chance.choice([-1, 1])
        self.set_clock(step)

    def synchronises(self) -> None:
        if self.wrong_by:
            wrong, self.wrong_by = self.wrong_by, 0
            self.set_clock(-wrong)

    def set_clock(self, delta: int) -> None:
        self.offset += delta
        if self.forgetful and delta < 0:
            self.done.clear()  # nights come again, and nobody can know
        self.looks = self.looks and self.looks + delta
        self.falls = self.falls and self.falls + delta
        self.step_clock(delta)

    def program(self) -> None:
        within = self.chance.choice([0, 15 * MINUTE, HOUR, 12 * HOUR])

        def ask() -> None:
            cause = self.chance.choice(CAUSES)
            reboot = wishes.request(self.reboots, "it is needed", cause, None, within, self.now)
            until = self.elapsed + (within or wishes.GIVE_UP)
            known = self.asked.get(reboot.id)
            until = max(until, known.until) if known else until
            self.asked[reboot.id] = Asked(until, self.boots, self.taken_back)
            self.counts["asked"] += 1

        self._try(ask)

    def administrator(self) -> None:
        chance = self.chance
        force = chance.random() < 0.2
        at = self.now + chance.choice([MINUTE, HOUR, 9 * HOUR, 3 * DAY]) if chance.random() < 0.7 else 0
        within = chance.choice([0, 20 * MINUTE])

        def wish() -> None:
            self.see()
            self.show()
            if not at:
                self.taken_back += 1  # what is pending gives way
            reboot = wishes.by_hand(
                self.reboots, ByHand(at=at, within=within, force_users=force, owner="alice"), self.now
            )
            if at - self.config.reboot.grace <= self.now:
                self.taken_back += 1
            if force:
                self.forced.add(reboot.id)
            if at:
                self.plans[reboot.id] = (at, at + (within or HOUR))
            self.counts["by hand"] += 1

        # The limits of a reboot are checked while it is begun: what is known of it must be known before.
        self._try(wish)

    def takes_back(self) -> None:
        self.taken_back += 1
        self._try(lambda: wishes.cancel(self.reboots, "taken back by alice", self.now))

    def clears(self) -> None:
        self.reboots.clear(self.now)
        self.issued = [(wall, elapsed) for wall, elapsed in self.issued if wall <= self.now]

    def crashes(self) -> None:
        if not self.running:
            self.looks = 0
            self.boot()

    def loses_power(self) -> None:
        self.power_cycle(self.chance.choice([20 * SECOND, HOUR, 10 * HOUR]))

    def shuts_down(self) -> None:
        """Somebody else's shutdown begins, and is cancelled."""
        self.reboots.preparing(down=True, now=self.now)
        self.pump()
        self.after(self.chance.choice([SECOND, 10 * MINUTE]))
        ours, boots = self.reboots.pending if self.state == "issued" else None, self.boots
        self.taken_back += ours is not None
        self.reboots.preparing(down=False, now=self.now)
        if ours is not None:
            self.after(TIMES.stays_up)
            assert self.boots > boots or self.rows[ours.id].state == "cancelled", f"nothing became of {ours}"

    def configures(self) -> None:
        if self.forgetful:
            return  # by lower limits than before, nobody knows what they were
        self.check()  # what is over was so by the policy until now
        self.taken_back += 1  # a window may be another
        self.configure(policy_of(self.chance))

    EVENTS = (comes, goes, clears_up, inhibits, installs, mutes, works, hooks, logind, neighbour, clock, synchronises,
              program, administrator, takes_back, clears, crashes, loses_power, shuts_down, configures)  # fmt: skip
    WEIGHTS = (20, 6, 30, 6, 4, 3, 14, 3, 3, 8, 2, 6, 5, 3, 1, 1, 3, 1, 1, 0.3)

    def _try(self, deed: Any) -> None:
        try:
            deed()
        except Refused as refusal:
            self.counts[f"refused: {refusal.name}" if str(refusal) else "refused without a word"] += 1
        self.pump()

    # The machine

    def pump(self) -> None:
        if self.looks and self.now >= self.looks:
            self.looks = 0
            self._let_go()
            self.see(told=False)
            self.show()
        super().pump()
        if self.falls and self.now >= self.falls:
            self.power_cycle(self.downtime)

    def _next(self, otherwise: int) -> int:
        return min(super()._next(otherwise), self.looks or otherwise, self.falls or otherwise)

    def power_cycle(self, away: int) -> None:
        self.up_since = self.elapsed + away
        issued = [key for key, row in self.rows.items() if row.state == "issued"]
        self.people.clear()
        self.inhibited = self.packages = False
        self.required = self.required and self.chance.random() < 0.3
        if self.forgetful:
            self.rows, self.ledger, self.asked = {}, Ledger(fresh=True), {}
            self.plans.clear()
        if self.chance.random() < 0.1:  # the clock is wrong until a time service sets it
            wrong = self.chance.choice([-20 * DAY, -DAY, 6 * HOUR])
            self.offset, self.wrong_by = self.offset + wrong, self.wrong_by + wrong
            self.now += wrong
        self.see_nothing()
        self.looks = self.falls = 0
        super().power_cycle(away)
        for key in () if self.forgetful else issued:
            assert self.rows[key].state == "verified", f"the machine was rebooted: {self.rows[key]}"

    def see_nothing(self) -> None:
        self.facts = Facts(blockers=(Blocker("logind", "", "not looked at yet"),))

    def carry_out(self, effect: Any) -> None:
        if isinstance(effect, RebootLooks) and self.delays.random() < 0.3:
            self.looks = self.now + self.delays.choice([SECOND, 5 * SECOND, 20 * SECOND])
        elif isinstance(effect, RebootLooks):
            self.show()
        elif isinstance(effect, SlotWanted):
            granted = self.holder in {"", "us"}
            self.holder = "us" if granted else self.holder
            self.reboots.slot_answered("" if granted else "all 1 slots are held, by web2", self.now)
        elif isinstance(effect, SlotFreed):
            self.holder = "" if self.holder == "us" else self.holder
            self.reboots.slot_freed()
        elif isinstance(effect, RebootIssues):
            self.judge(effect.reboot)
            if not self.refuses and not self.silent:
                self.counts[effect.reboot.cause if effect.reboot.occurrence else "other"] += 1
                if effect.reboot.automatic:
                    self.issued.append((self.now, self.elapsed))
                if effect.reboot.occurrence:
                    self.done.add(effect.reboot.occurrence)
                if self.lies.random() < 0.2:
                    self.lie()
                    return
            super().carry_out(effect)
        else:
            self._let_go()
            if isinstance(effect, RunStops):
                assert not effect.run_id.startswith("copy."), f"a critical job was stopped: {self.reboots.pending}"
                if effect.run_id.startswith("feed."):
                    self.judge_stop()
            super().carry_out(effect)

    def lie(self) -> None:
        """logind takes the shutdown back, but systemd was only slow to answer: the machine goes down all the same."""
        self.reboots.preparing(down=True, now=self.now)
        self.reboots.preparing(down=False, now=self.now)
        self.falls = self.now + self.lies.choice([SECOND, 20 * SECOND, TIMES.stays_up - SECOND])
        self.counts["lied"] += 1

    # The laws

    def judge(self, reboot: Reboot) -> None:
        """Holds that this reboot may happen now, by what is true."""
        policy, told = self.config.reboot, f"{reboot} at {moment(self.now)}"
        held = self.inhibited or self.packages or self.mute
        assert not held, f"the machine was held: {told}"
        assert not any(run.startswith("copy.") for run in self.running), f"a critical job was at work: {told}"
        assert policy.fleet is None or self.holder == "us", f"the fleet's slot was not held: {told}"
        self._judge_people(reboot, policy, self._present(), told)
        self._judge_time(reboot, told)
        if reboot.automatic:
            self._judge_caution(policy, told)

    def judge_stop(self) -> None:
        """Holds that a run is stopped for a reboot alone that nothing holds, by a look of the last seconds."""
        reboot, policy = self.reboots.pending, self.config.reboot
        assert reboot is not None, "a run was stopped for no reboot"
        looked, facts, present = self.shown
        told = f"a run was stopped: {reboot} at {moment(self.now)}"
        assert self.elapsed - looked <= 5 * SECOND, f"nobody looked before {told}"
        assert not facts.blockers, f"the machine was held when {told}"
        self._judge_people(reboot, policy, present, told)
        self.counts["stopped"] += 1

    def _judge_people(self, reboot: Reboot, policy: RebootPolicy, present: set[str], told: str) -> None:
        patience = policy.wait_for.users
        if reboot.force_users or (patience is not None and self.now - max(reboot.begin, reboot.requested) >= patience):
            return
        assert present <= {reboot.owner}, f"{present} were logged in: {told}"

    def _present(self) -> set[str]:
        """Returns who is logged in and holds reboots."""
        idle = self.config.reboot.wait_for.idle
        return {
            who
            for who, (until, busy) in self.people.items()
            if until > self.elapsed and (busy or idle is None or idle > 2 * HOUR)
        }

    def _judge_time(self, reboot: Reboot, told: str) -> None:
        if reboot.occurrence:
            assert reboot.occurrence in self.windows(), f"outside of the window: {told}"
            assert reboot.occurrence not in self.done, f"twice for one window: {told}"
        elif reboot.automatic:
            assert self.elapsed < self.asked[reboot.id].until, f"after the program gave up: {told}"
        elif reboot.id in self.plans:
            begin, end = self.plans[reboot.id]
            assert begin <= self.now < end, f"not when it was planned: {told}"

    def _judge_caution(self, policy: RebootPolicy, told: str) -> None:
        up = self.elapsed - self.up_since
        assert up >= policy.limits.min_uptime, f"up for {up // SECOND} s: {told}"
        assert not self.wrong_by, f"the clock was wrong: {told}"
        for span, most in ((DAY, policy.limits.per_day), (WEEK, policy.limits.per_week)):
            by_the_wall = sum(wall > self.now - span + HOUR for wall, _ in self.issued)
            by_itself = sum(elapsed > self.elapsed - span + HOUR for _, elapsed in self.issued)
            assert (by_itself if self.forgetful else by_the_wall) < most, f"over the limit: {told}"

    def windows(self) -> set[str]:
        """Returns the names of the windows that are open, worked out anew by plain arithmetic."""
        found = set()
        today = midnight(moment(self.now).date())
        for window in self.config.reboot.all_windows:
            for day in (today - timedelta(days=1), today):
                begin = (day - midnight(moment(0).date())) // timedelta(microseconds=1) + window.begin * SECOND
                if begin <= self.now < begin + window.window and day.weekday() in window.days:
                    found.add(f"{day.date()} {window.begin // 3600:02}:{window.begin // 60 % 60:02}")
        return found

    def check(self) -> None:
        """Holds that one reboot at most is under way, and that no wish is lost."""
        under_way = [one for one in self.reboots.wishes if one.state != "waiting"]
        assert len(under_way) <= 1, under_way
        assert self.reboots.pending is not None or not self.reboots.beside, "nobody leads"
        for key, asked in list(self.asked.items()):
            row = self.rows[key]
            if row.state not in FINAL:
                assert self.elapsed <= asked.until + SLACK, f"never over: {row}"
                assert key in {wish.id for wish in self.reboots.wishes}, f"lost: {row}"
                continue
            del self.asked[key]
            self.counts[f"asked, and {row.state}"] += 1
            assert row.state == "verified" or row.note, f"no sentence: {row}"
            if row.state in {"verified", "superseded"}:
                assert self.boots > asked.boots, f"the machine was not booted: {row}"
            elif row.state == "cancelled":
                assert self.taken_back > asked.taken_back, f"nobody took it back: {row}"
            else:
                need = self.config.reboot.grace + 2 * MINUTE
                assert self.elapsed >= asked.until - need, f"given up too early: {row}"
