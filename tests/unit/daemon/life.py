"""A daemon's life over a real store on the disk, with a clock that is given: the truth is what was started."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agentd.core.jobs.jobs import Jobs
from agentd.core.jobs.model import Outcome, RunStarts
from agentd.core.jobs.settings import Job, Missed
from agentd.core.jobs.triggers import parse
from agentd.core.part import Stored
from agentd.core.quantities import SECOND
from agentd.daemon import store as module
from agentd.daemon.store import Store
from agentd.jobs.tables import JobTables

BEGIN = 1_700_000_000 * SECOND
LEAD = 300_000


def job(name: str, when: object = None, missed: str = "all") -> Job:
    trigger: Any = parse(when or {"every": "1s"})  # type: ignore[arg-type]
    policy: Any = missed
    return Job(name=name, run=("true",), when=trigger, timezone="UTC", missed=Missed(policy))


class Life:
    """agentd with some jobs that take no time. kill() leaves the files as kill -9 would; `starts` has each run's job
    and due time, over all lives."""

    def __init__(self, folder: Path, jobs: Mapping[str, Job] | None = None) -> None:
        self.base, self.lives = folder, 0
        self.folder = folder / "0"
        self.jobs = dict(jobs or {"a": job("a"), "b": job("b", {"every": "3s"}, "once")})
        self.now = BEGIN
        self.starts: list[tuple[str, int]] = []
        self.ids: list[str] = []
        self.store: Store
        self.core: Jobs

    def clock(self) -> int:
        return self.now

    def start(self) -> "Life":
        self.store = Store(self.folder)
        self.tables = JobTables(self.folder)
        self.store.open(self.now)
        saved = self.store.take_up(self.tables)
        self.core = Jobs(self.jobs, saved, self.now, lead=LEAD)
        if self.store.anew:
            self.core.save_all()
        self.store.taken_up()
        self.pump()
        return self

    def pump(self) -> None:
        while effects := self.core.effects():
            self.store.write([effect for effect in effects if isinstance(effect, Stored)])
            for effect in effects:
                if isinstance(effect, RunStarts):
                    self.starts.append((effect.run.job, effect.run.due))
                    self.ids.append(effect.run.run_id)
                    self.core.ended(effect.run.run_id, Outcome(result="success", started=self.now), self.now)

    def live(self, seconds: float) -> "Life":
        end = self.now + round(seconds * SECOND)
        while self.now < end:
            wakeup = self.core.wakeup()
            self.now = end if wakeup is None else min(end, max(wakeup, self.now))
            self.core.tick(self.now)
            self.pump()
        return self

    def kill(self, damage: Callable[[Path], object] = lambda _: None) -> "Life":
        """Ends this life; the next one finds a copy of its files, to which `damage` was done."""
        self.lives += 1
        copy = self.base / str(self.lives)
        shutil.copytree(self.folder, copy)
        self.store.close()
        self.folder = copy
        damage(copy)
        return self

    def twice(self) -> list[tuple[str, int]]:
        """The due times that were dealt with more than once."""
        return sorted({start for start in self.starts if self.starts.count(start) > 1})


def clocked(life: Life, monkeypatch: object) -> Life:
    """The life with its clock as that of the store."""
    monkeypatch.setattr(module, "now", life.clock)  # type: ignore[attr-defined]
    return life
