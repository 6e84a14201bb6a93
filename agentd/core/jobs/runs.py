"""The fate of a run: overlap, retries, waiting for a place."""

from typing import Literal

from agentd.core.jobs.model import FAILURES, Run
from agentd.core.jobs.settings import Job, Retries
from agentd.core.quantities import format_duration

QUEUE = 100
"""The most runs of one job that may wait."""


UNDER_WAY = "the run before was still under way"


def overlap(
    job: Job, active: int, waiting: int, before: str = UNDER_WAY
) -> tuple[Literal["go", "queue", "replace", "skip"], str]:
    """Tells what to do with a new run while `active` runs of the job are under way or waiting, `waiting` of them;
    `before` says what the run before does."""
    if active < job.concurrency:
        return "go", ""
    if job.overlap == "skip":
        return "skip", f"{before} (overlap: skip)"
    if job.overlap == "replace":
        return "replace", "a newer due time came (overlap: replace)"
    if waiting >= QUEUE:
        return "skip", f"{QUEUE} runs are waiting already (overlap: queue)"
    return "queue", "waits for the run before (overlap: queue)"


def ending(run: Run) -> str:
    """Returns how a run ended, in two words: "exit-code 1", "signal SIGKILL", "timeout"."""
    more = {"exit-code": run.exit_code, "signal": run.signal, "core-dump": run.signal}.get(run.result)
    return run.result if more in (None, "") else f"{run.result} {more}"


def backoff(retries: Retries, attempt: int) -> int:
    """Returns the pause after the failed attempt number `attempt`: doubles from `backoff`, never above `max`."""
    # 2 ** 40 times the shortest pause is beyond every maximum; larger powers only cost time.
    return min(retries.max, retries.backoff << min(attempt - 1, 40))


def retry(job: Job, run: Run) -> tuple[int, str] | None:
    """Returns the pause before another attempt and its reason, or None when this was the last."""
    if run.result not in FAILURES or run.attempt > job.retries.count:
        return None
    pause = backoff(job.retries, run.attempt)
    return pause, f"attempt {run.attempt} ended with {run.result}; retry {run.attempt} of {job.retries.count} in " + (
        format_duration(pause)
    )
