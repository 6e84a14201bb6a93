"""The events of jobs that people may want to be told of."""

from functools import partial

from agentd.core.events import Event, Hears, Kind
from agentd.core.jobs.model import AsExpected, JobDisabled, Notified, Run, Unexpected

KINDS = (
    Kind("start", "a run of a job started"),
    Kind("success", "a run of a job succeeded"),
    Kind("failure", "a run of a job failed, and all its retries", told=True),
    Kind("recovered", "a job succeeded after people were told of its failure", told=True),
    Kind("progress", "a run said how far it is: agentctl progress"),
    Kind("tool", "a run uses a tool: agentctl progress --tool"),
    Kind("late", "a job did not begin in time: expect, start_within", told=True),
    Kind("too-long", "a run of a job takes too long: expect, at_most", told=True),
    Kind("too-short", "a run of a job succeeded too soon: expect, at_least", told=True),
)
_WORDS = {
    "timeout": "the run took longer than its timeout",
    "oom-kill": "the kernel killed the run for want of memory",
    "start-failed": "the program could not be started",
    "interrupted": "the run was cut off",
}


def trouble(job: str) -> str:
    """Returns the name of the state in which a job fails."""
    return f"job {job}"


def wrong(run: Run) -> str:
    """Returns what is wrong with a run that failed, in words that stay the same while the same is wrong."""
    if run.result == "exit-code" and run.exit_code is not None:
        return f"exit code {run.exit_code}"
    if run.signal and run.result in {"signal", "core-dump"}:
        return f"killed by {run.signal}{', with a core dump' if run.result == 'core-dump' else ''}"
    return _WORDS.get(run.result, run.result)


def _of_run(effect: Notified, now: int) -> Event:
    run, job = effect.run, effect.job
    event = partial(Event, at=now, part="jobs", about=job.name, asked=job.notify, run_id=run.run_id)
    if effect.event == "failure":
        return event(
            name="failure",
            title=f"{job.name} failed: {wrong(run)}",
            text=_more(run),
            trouble="" if effect.off else trouble(job.name),
            error=wrong(run),
        )
    if effect.event == "success":
        return event(name="recovered", otherwise="success", title=effect.text, trouble=trouble(job.name), over=True)
    titles = {"progress": f"{job.name}: {effect.text}", "tool": f"{job.name} uses {effect.text}"}
    # What the run has printed so far belongs under none of these.
    return event(name=effect.event, title=titles.get(effect.event, effect.text), priority="low", run_id="")


def _more(run: Run) -> str:
    attempts = f"That was attempt {run.attempt}, the last one.\n" if run.attempt > 1 else ""
    reason = f"{run.reason}\n" if run.reason else ""
    return f"{attempts}{reason}To see the output: agentctl log {run.run_id}"


def _disabled(effect: JobDisabled, now: int) -> Event:
    """Returns the end of a job's trouble of which nobody is told: a person made it so."""
    return Event(at=now, part="jobs", name="", about=effect.job, title="", trouble=trouble(effect.job), over=True)


def _unexpected(effect: Unexpected, now: int) -> Event:
    job = effect.job
    return Event(
        at=now,
        part="jobs",
        name=effect.event,
        about=job.name,
        title=effect.title,
        text=f"{effect.reason}\nTo see more: agentctl status {job.name}",
        trouble=f"{effect.event} {job.name}" if effect.lasts else "",
        asked=job.notify,
        run_id=effect.run_id,
    )


def _as_expected(effect: AsExpected, now: int) -> Event:
    """Returns the end of what was not as expected: people are told of it under the same name, or not at all."""
    job = effect.job
    return Event(
        at=now,
        part="jobs",
        name=effect.event if effect.title else "",
        about=job.name,
        title=effect.title,
        trouble=f"{effect.event} {job.name}",
        over=True,
        asked=job.notify,
    )


HEARS: Hears = {Notified: _of_run, JobDisabled: _disabled, Unexpected: _unexpected, AsExpected: _as_expected}
