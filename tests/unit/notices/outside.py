"""Checks outside, as of healthchecks.io, on a simulated clock, and the runs of jobs that ping them."""

from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from agentd.core.jobs.model import Notified, Run, RunChanged
from agentd.core.jobs.settings import Job, PingSettings
from agentd.core.notices.model import BeatWanted, Outcome, Ping, PingsWanted, Saved
from agentd.core.notices.notices import Notices, Slice
from agentd.core.notices.settings import Heartbeat, NoticeSettings
from agentd.core.part import Decided, Effect, Stored
from tests.unit.notices.person import BERLIN, NOW, SENT, Store, job

ALIVE = "agentd-alive"
DOWN = Outcome("again", "hc.example.org does not answer")


def pinging(name: str, credential: str = "") -> Job:
    return job(name, ping=PingSettings(credential=credential or f"{name}-check"))


class Outside:
    """Checks that are pinged by a core of notices without any channel. `luck` says what becomes of each ping and of
    each beat, which is None. While `full`, nothing can be stored."""

    def __init__(self, *jobs: Job, heartbeat: Heartbeat | None = None, **settings: Any) -> None:
        self.now = NOW
        notices = NoticeSettings(heartbeat=heartbeat, **settings)
        self.slice = Slice(notices=notices, jobs={one.name: one for one in jobs}, zone=BERLIN)
        self.store = Store()
        self.got: list[tuple[int, Ping]] = []
        self.tried: list[tuple[int, Ping]] = []
        self.beats: list[int] = []
        self.luck: Callable[[Ping | None], Outcome] = lambda _: SENT
        self.log: list[Effect] = []
        self.full = False
        self.kept: list[list[Effect]] = []
        """The batches that wait for something to be stored."""
        self.deliver: Callable[[PingsWanted], object] = self.post
        self.core = Notices(self.slice, Saved(), self.now)
        self.go_on()

    def go_on(self) -> None:
        """Stores and carries out what is wanted until nothing more is; on a full disk, what is not Urgent waits."""
        while effects := self.core.effects():
            if self.full:
                self.kept.append([effect for effect in effects if not isinstance(effect, PingsWanted)])
                self.core.storable("the disk is full", self.now)
                for effect in effects:
                    if isinstance(effect, PingsWanted):
                        self.deliver(effect)
            else:
                self.carry_out(effects)

    def carry_out(self, effects: Sequence[Effect]) -> None:
        self.store.write(list(effects))
        self.log += effects
        for effect in effects:
            if isinstance(effect, PingsWanted):
                self.deliver(effect)
            elif isinstance(effect, BeatWanted) and self.core.pings.beats.begin(effect.at):
                assert any(isinstance(one, Stored) for one in effects), "a beat tells that something was stored"
                outcome = self.luck(None)
                if outcome.became == "sent":
                    self.beats.append(self.now)
                self.core.pings.beats.ended(effect.at, outcome, self.now)

    def room(self) -> None:
        """Makes room on the disk: what waited is stored and carried out."""
        self.full = False
        self.core.storable("", self.now)
        kept, self.kept = self.kept, []
        for effects in kept:
            self.carry_out(effects)
        self.go_on()

    def post(self, wanted: PingsWanted) -> None:
        for ping in wanted.pings:
            outcome = self.luck(ping)
            self.tried.append((self.now, ping))
            if outcome.became == "sent":
                self.got.append((self.now, ping))
            self.core.pings.delivered(wanted.credential, ping.id, outcome, self.now)
            if outcome.became == "again":
                break
        self.core.pings.courier_ended(wanted.credential, "", self.now)

    # Runs

    def starts(self, seq: int, name: str = "backup", **more: Any) -> Run:
        run = Run(seq=seq, job=name, due=self.now, cause="schedule", state="running", started=self.now, **more)
        self.hear(RunChanged("started", run), Notified("start", run, "started", self.slice.jobs[name]))
        return run

    def ends(self, run: Run, result: str = "success", *, final: bool = True, **more: Any) -> None:
        run = replace(run, state="ended", ended=self.now, result=result, **more)
        told = "success" if result == "success" else "failure"
        notified = Notified(told, run, "words", self.slice.jobs[run.job])
        self.hear(RunChanged("finished", run), *([notified] if final else []))

    def hear(self, *effects: Effect) -> None:
        self.core.heard(effects, self.now)
        self.go_on()

    def runs(self, seq: int, name: str = "backup", result: str = "success", **more: Any) -> None:
        self.ends(self.starts(seq, name), result, **more)

    # Time

    def wait(self, span: int) -> None:
        """Lets time go by; the core is woken when it wants to be."""
        end, woken = self.now + span, 0
        while (at := self.core.wakeup()) is not None and at <= end:
            woken += 1
            assert woken < 10_000, "the core is woken without end"
            self.now = max(self.now, at)
            self.core.tick(self.now)
            self.go_on()
        self.now = end

    def restart(self, away: int = 0) -> None:
        """Kills agentd and starts it anew with what is on the disk."""
        self.now += away
        self.kept = []
        self.core = Notices(self.slice, self.store.saved(self.now), self.now)
        self.go_on()
        self.wait(0)

    def reload(self, *jobs: Job, heartbeat: Heartbeat | None = None, **settings: Any) -> list[str]:
        notices = NoticeSettings(heartbeat=heartbeat, **settings)
        self.slice = Slice(notices=notices, jobs={one.name: one for one in jobs}, zone=BERLIN)
        changes = self.core.configure(self.slice, self.now)
        self.go_on()
        return changes

    def take(self, credential: str = "backup-check") -> list[tuple[str, str | int]]:
        """The runs and what was said of them since the last look."""
        found: list[tuple[str, str | int]]
        found = [(ping.run_id, ping.says) for _, ping in self.got if ping.credential == credential]
        self.got = [(at, ping) for at, ping in self.got if ping.credential != credential]
        return found

    def dropped(self) -> list[str]:
        return [one.reason for one in self.log if isinstance(one, Decided) and one.kind == "drop"]
