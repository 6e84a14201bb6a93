"""A life of agentd on a simulated clock: the real cores of jobs and of learning, and jobs that watch something."""

from collections.abc import Callable
from typing import Any

from agentd.core.jobs.jobs import Jobs
from agentd.core.jobs.model import Outcome, RunChanged, RunStarts, Saved
from agentd.core.jobs.settings import Job
from agentd.core.jobs.triggers import Adaptive
from agentd.core.learning import model
from agentd.core.learning.learning import Learning
from agentd.core.learning.settings import LearningSettings
from agentd.core.part import Decided, Effect
from agentd.core.parts import Parts
from agentd.core.quantities import HOUR, MINUTE, SECOND

START = 1_800_000_000 * SECOND
Watched = Callable[[str, int], str]
"""What a job's run finds at an instant: text that tells one content from another."""


def adaptive(name: str, start: int = 5 * MINUTE, low: int = 30 * SECOND, high: int = 6 * HOUR, **more: Any) -> Job:
    settings = {"useful": "output", "run": ("x",), "when": Adaptive(start, low, high), **more}
    return Job(name=name, **settings)


class Life:
    """An agentd with jobs; `watched` is what their runs find, `cpu` the processor time of each in microseconds."""

    def __init__(
        self,
        *jobs: Job,
        watched: Watched = lambda _name, _at: "same",
        settings: LearningSettings | None = None,
        cpu: int = SECOND,
        saved: model.Saved | None = None,
        now: int = START,
    ) -> None:
        self.now, self.cpu, self.watched = now, cpu, watched
        self.settings = settings or LearningSettings(mode="on")
        self.result, self.exit_code = "success", 0
        self.jobs = Jobs({job.name: job for job in jobs}, Saved(), now)
        self.learning = Learning(self.jobs, saved or model.Saved(), self.settings, now, host="host")
        self.defects: list[tuple[str, Exception]] = []
        self.parts = Parts({"jobs": self.jobs, "learning": self.learning}, lambda *defect: self.defects.append(defect))
        self.seen: list[Effect] = []
        self.runs: list[tuple[str, int]] = []
        self.pump()

    def pump(self) -> None:
        """Carries out what is wanted, until nothing is."""
        while effects := self.parts.effects(self.now):
            self.seen += effects
            for effect in effects:
                if isinstance(effect, RunStarts):
                    self._run(effect)
                elif isinstance(effect, model.UseWanted):
                    self.learning.looked(effect.run, self.watched(effect.run.job, self.now), "")
        assert not self.defects, self.defects

    def _run(self, effect: RunStarts) -> None:
        name = effect.run.job
        self.jobs.asked(effect.run.run_id)
        self.runs.append((name, self.now))
        self.jobs.started(effect.run.run_id, self.now)
        self.during(effect.run.run_id)
        outcome = Outcome(
            result=self.result, exit_code=self.exit_code, started=self.now, ended=self.now, cpu_usec=self.cpu
        )
        self.jobs.ended(effect.run.run_id, outcome, self.now)

    def during(self, run_id: str) -> None:
        """Does what a job does while a run is under way: nothing, unless a test says so."""

    def live(self, until: int) -> None:
        """Lets time go on."""
        while (when := self.parts.wakeup()) is not None and when <= until:
            self.now = max(self.now, when)
            self.parts.tick(self.now)
            self.pump()
        self.now = until

    def interval(self, name: str) -> float:
        """Returns the interval in force, in seconds."""
        return (self.jobs.entry(name).schedule.trigger.interval or 0) / SECOND

    def decisions(self, kind: str) -> list[Decided]:
        return [one for one in self.seen if isinstance(one, Decided) and one.kind == kind and one.part == "learning"]

    def finished(self, name: str) -> int:
        return sum(isinstance(e, RunChanged) and e.event == "finished" and e.run.job == name for e in self.seen)
