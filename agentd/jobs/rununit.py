"""The unit that a run has, as far as agentd has seen."""

import asyncio

from agentd.core.jobs import unitfile
from agentd.core.jobs.model import Run


class RunUnit:
    """The unit that a run has, from the decision until the run's end is stored."""

    def __init__(self, run: Run, instance: str, before: str = "") -> None:
        self.run_id = run.run_id
        self.instance = instance
        self.name = unitfile.unit(instance)
        self.before = before
        """The invocations that ended before this run, with commas: the last that was noted, and one that was not."""
        self.planned: asyncio.TimerHandle | None = None
        self.state = "planned"
        """planned | asked (for the start) | running (systemd is done with the start) | ended."""
        self.asked = 0
        """When the start was asked for."""
        self.job = ""
        """systemd's job for our start."""
        self.early: dict[str, str] = {}
        """The results of systemd's jobs from before it was known which of them is ours."""
        self.executed = False
        """Whether systemd told that the unit's program was executed, as starts of Type=exec do."""
        self.told = False
        """Whether the beginning was reported."""
        self.verdict = ""
        """The result that agentd's own stop stands for."""
        self.others: list[int] = []
        """The numbers of systemd's jobs that somebody else had made for the unit while it ran."""
        self.noting = 0
        """The number of systemd's newest job for noting an end of the unit."""

    @property
    def by_systemd(self) -> bool:
        """Whether somebody else had the unit stopped.

        A job that was asked for after the end, while the end is being noted, is no stop but the next start; systemd
        numbers its jobs in the order in which they were asked for.
        """
        ended = self.noting > int(self.job.rpartition("/")[2] or 0)
        return any(number < self.noting or not ended for number in self.others)

    def is_new(self, invocation: str) -> bool:
        """Returns whether an invocation of the unit, or "", can be this run's."""
        return bool(invocation) and invocation not in self.before.split(",")
