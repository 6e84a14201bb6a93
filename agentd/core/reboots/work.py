"""The jobs, as reboots need them."""

from collections.abc import Sequence
from typing import Protocol

from agentd.core.jobs.model import Run


class Work(Protocol):
    """The core of jobs: held, asked and stopped. `who` is the name under which somebody holds the jobs."""

    def hold(self, who: str, why: str) -> None:
        """Starts nothing new until `who` releases it; `why` is a sentence."""

    def release(self, who: str, now: int) -> None:
        """Starts things again unless somebody else holds them."""

    def running(self) -> Sequence[Run]:
        """Returns the runs under way."""

    def critical(self, run: Run) -> bool:
        """Tells whether the machine must not be rebooted while this run is under way."""

    def run_hook(self, name: str, cause: str, now: int) -> Run | None:
        """Starts a job at once, whatever is held; returns its run, or None where there is no such job."""

    def outcome(self, run: Run) -> Run | None:
        """Returns how a run, with its retries, ended; None while it or a retry is still running or due."""

    def stop(self, target: str, now: int) -> object:
        """Stops a run, named by its id."""

    def stop_all(self, result: str, reason: str, now: int) -> None:
        """Stops the runs under way; they count as `result`."""

    @property
    def longest_stop(self) -> int:
        """The longest time, in microseconds, that a job has to stop."""
