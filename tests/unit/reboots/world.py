"""A machine that reboots in no time: the cores of jobs and reboots, a ledger, and what logind would do."""

from typing import Any

from msgspec.structs import replace

from agentd.core.config import Config
from agentd.core.jobs.jobs import Jobs
from agentd.core.jobs.model import JobSaved, JobState, Outcome, RunStarts, RunStops, Saved
from agentd.core.jobs.settings import Job
from agentd.core.part import Decided
from agentd.core.parts import Parts
from agentd.core.quantities import HOUR, MINUTE, SECOND
from agentd.core.reboots.model import (
    TIMES,
    Blocker,
    Boot,
    Facts,
    Ledger,
    LedgerSaved,
    Reboot,
    RebootIssues,
    RebootLooks,
    RebootSaved,
    RebootWarns,
    RebootWithdrawn,
    SlotFreed,
    SlotWanted,
    Times,
)
from agentd.core.reboots.policy import RebootPolicy, Window
from agentd.core.reboots.reboots import Reboots

START = 1_767_225_600_000_000  # 2026-01-01 00:00 UTC


class World:
    """`facts` is what an observer sees, `takes` how long jobs run, `refuses` what logind answers to a wish; agentd
    takes up the newest `in_mind` reboots."""

    in_mind = 1000

    def __init__(
        self,
        policy: RebootPolicy,
        jobs: dict[str, Job] | None = None,
        now: int = START,
        times: Times = TIMES,
        **config: Any,
    ) -> None:
        self.times = times
        self.config = Config(jobs=jobs or {}, reboot=policy, timezone=config.pop("timezone", "UTC"), **config)
        self.now = now
        self.facts = Facts()
        self.ledger = Ledger()
        self.rows: dict[int, Reboot] = {}
        self.states: dict[str, JobState] = {}
        self.boots = 1
        self.booted = now - 24 * HOUR
        self.refuses = ""
        self.silent = False  # logind says yes and nothing happens
        self.downtime = 30 * SECOND
        self.slots: list[str] = [""]  # what the fleet answers, the last for ever
        self.seen: list[Any] = []
        self.running: dict[str, int] = {}  # run ids, and when they end
        self.takes: dict[str, int] = {}
        self.results: dict[str, str] = {}
        self.rebooted: list[int] = []
        self.boot()

    def boot(self) -> None:
        """agentd starts: with what is stored."""
        self.seq = getattr(self, "seq", 1)
        self.jobs = Jobs(self.config.jobs, Saved(states=self.states, next_seq=self.seq), self.now)
        newest = tuple(self.rows[key] for key in sorted(self.rows, reverse=True)[: self.in_mind])
        ledger = replace(self.ledger, reboots=newest, next_id=max(self.rows, default=0) + 1)
        boot, policy = Boot(f"boot-{self.boots}", self.booted), self.config.reboot
        self.reboots = Reboots(
            self.jobs, ledger, boot, policy, self.config.timezone, self.now, host="h", times=self.times
        )
        self.parts = Parts({"jobs": self.jobs, "reboots": self.reboots}, self._failed)
        self.pump()

    @staticmethod
    def _failed(name: str, error: Exception) -> None:
        raise AssertionError(f"a defect in {name}") from error

    def configure(self, policy: RebootPolicy, zone: str = "") -> None:
        """Another policy is in force, or another time zone."""
        self.config = replace(self.config, reboot=policy, timezone=zone or self.config.timezone)
        self.jobs.configure(self.config.jobs, self.config.concurrency, self.config.timezone, self.now)
        self.reboots.configure(policy, self.config.timezone, self.now)
        self.pump()

    def power_cycle(self, away: int) -> None:
        self.now += away
        self.boots += 1
        self.booted = self.now
        self.running.clear()
        self.boot()

    def pump(self) -> None:
        while effects := self.parts.effects(self.now):
            self.seen += effects
            for effect in effects:
                self.carry_out(effect)

    def carry_out(self, effect: Any) -> None:
        if isinstance(effect, RebootSaved):
            self.rows[effect.reboot.id] = effect.reboot
        elif isinstance(effect, LedgerSaved):
            guards = {name: getattr(effect, name) for name in effect.__struct_fields__}
            self.ledger = replace(self.ledger, **guards)
        elif isinstance(effect, JobSaved):
            self.states[effect.job] = effect.state
        elif isinstance(effect, RebootLooks):
            self.reboots.observed(self.facts, self.now)
        elif isinstance(effect, SlotWanted):
            self.reboots.slot_answered(self.slots.pop(0) if len(self.slots) > 1 else self.slots[0], self.now)
        elif isinstance(effect, SlotFreed):
            self.reboots.slot_freed()
        elif isinstance(effect, RunStarts):
            self.seq = max(self.seq, effect.run.seq + 1)
            self.jobs.started(effect.run.run_id, self.now)
            self.running[effect.run.run_id] = self.now + self.takes.get(effect.run.job, 0)
        elif isinstance(effect, RunStops):
            if effect.run_id in self.running:
                del self.running[effect.run_id]
                self.jobs.ended(effect.run_id, Outcome(result=effect.result), self.now)
        elif isinstance(effect, RebootIssues) and self.refuses:
            self.reboots.refused(self.refuses, self.now)
        elif isinstance(effect, RebootIssues) and not self.silent:
            self.rebooted.append(self.now)
            self.power_cycle(self.downtime)

    def until(self, then: int) -> None:
        """Lets time pass."""
        self.pump()
        after = self._next(then + 1)
        while after <= then:
            self.now = max(self.now, after)
            before = self.now
            for run_id, end in list(self.running.items()):
                if end <= self.now:
                    del self.running[run_id]
                    result = self.results.get(run_id.rpartition(".")[0], "success")
                    self.jobs.ended(run_id, Outcome(result=result), self.now)
            self.parts.tick(self.now)
            self.pump()
            after = self._next(then + 1)
            stuck = self.now == before >= after and self._stuck(before)
            assert not stuck, f"it wants to be called again at once: {self.reboots.pending}"
        self.now = max(self.now, then)

    def _next(self, otherwise: int) -> int:
        """When something is due or ends."""
        wanted = (self.parts.wakeup(), *self.running.values())
        return min((when for when in wanted if when is not None), default=otherwise)

    def _stuck(self, at: int) -> bool:
        self._at, count = (at, getattr(self, "_count", 0) + 1) if getattr(self, "_at", None) == at else (at, 0)
        self._count = count
        return count > 20

    def after(self, span: int) -> None:
        self.until(self.now + span)

    def step_clock(self, delta: int) -> None:
        self.now += delta
        self.booted += delta
        self.running = {run_id: end + delta for run_id, end in self.running.items()}
        self.parts.clock_stepped(delta, self.now)
        self.pump()

    @property
    def state(self) -> str:
        return self.reboots.state

    def told(self, kind: type) -> list[Any]:
        return [effect for effect in self.seen if isinstance(effect, kind)]

    def reasons(self) -> str:
        return "\n".join(effect.reason for effect in self.seen if isinstance(effect, Decided))

    def held_by(self) -> list[str]:
        return [blocker.kind for blocker in self.reboots.blockers]


def nightly(at: str = "03:00", **settings: Any) -> RebootPolicy:
    hour, minute = at.split(":")
    own = {key: settings.pop(key) for key in ("window", "days", "except_", "jitter") if key in settings}
    return RebootPolicy(nightly=Window(at=int(hour) * 3600 + int(minute) * 60, **own), **settings)


INHIBITOR = Blocker("inhibitor", "backup-tool", "backup-tool (process 7 of root) keeps the machine up: copying")
__all__ = ["HOUR", "INHIBITOR", "MINUTE", "SECOND", "START", "RebootWarns", "RebootWithdrawn", "World", "nightly"]
