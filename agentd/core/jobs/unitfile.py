"""A job as systemd units: their names and their text. The generator writes the units, agentd compares them."""

import re
from collections.abc import Iterator, Mapping

from agentd.core.jobs.settings import Job
from agentd.core.quantities import SECOND

LIBRARY = "/usr/lib/agentd"
"""Where start-job and note-end are installed."""
KEEP = "agentd-job@.keep.service"
"""Keeps a copy of the generated units for a time when the configuration has errors; no job's name begins with a dot."""
_STOP = 2 * SECOND
CANARY = Job(
    name="@canary",
    run=("/bin/true",),
    description="shows the self-test that runs begin and end",
    timeout=10 * SECOND,
)
"""The job of the self-test, whose unit is the package's. No job of a configuration has such a name."""


def instances(job: Job) -> list[str]:
    """Returns the words behind the @ in the names of a job's units: one for each run that may be under way at once."""
    return [job.name if number == 1 else f"{job.name}@{number}" for number in range(1, job.concurrency + 1)]


def unit(instance: str) -> str:
    """Returns the name of the unit; every character that a job's name may have is valid there as it is."""
    return f"agentd-job@{instance}.service"


def is_unit_of(name: str, job: str) -> bool:
    """Returns whether a unit is one of the job of that name."""
    return name.startswith((f"agentd-job@{job}.", f"agentd-job@{job}@"))


def ended(instance: str) -> tuple[str, str]:
    """Returns the names of the units that note how the unit of a job ended, when well and when badly."""
    return f"agentd-ended-well@{instance}.service", f"agentd-ended-badly@{instance}.service"


def ended_instance(name: str) -> str:
    """Returns the instance whose end a unit notes, "" for any other unit."""
    kind, _, rest = name.partition("@")
    return rest.removesuffix(".service") if kind in {"agentd-ended-well", "agentd-ended-badly"} else ""


def units(jobs: Mapping[str, Job]) -> Iterator[tuple[str, str]]:
    """Yields the name and the text of every unit that the jobs of a configuration ask for."""
    for job in jobs.values():
        for instance in instances(job):
            yield unit(instance), text(job, instance)


def text(job: Job, instance: str) -> str:
    """Returns the text of one unit. ExecStart's colon keeps $ as it is, % is doubled, words are quoted for systemd.

    All that the unit runs, it runs as the job's user: its environment, root directory and mounts may be that user's.
    """
    about = " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", job.description).split()).rstrip("\\")
    # In a root directory of the job's own start-job need not be, and what has its name there is the job's.
    start = "" if job.has_own_root else f"{LIBRARY}/start-job {quoted(instance)} "
    well, badly = ended(instance)
    service = [
        "Type=exec",
        f"ExecStart=:{start}{' '.join(map(quoted, job.run))}",
        "Slice=agentd-jobs.slice",
        "StandardInput=null",
        f"SyslogIdentifier={job.name}",
        f"User={job.user}" if job.user else "",
        f"Group={job.group}" if job.group else "",
        f"WorkingDirectory={_plain(job.working_directory)}" if job.working_directory else "",
        *(f"Environment={quoted(f'{name}={value}')}" for name, value in _environment(job)),
        # systemd takes 0 for "for ever".
        f"TimeoutStopSec={max(job.stop_timeout, _STOP)}us",
        f"RuntimeMaxSec={job.timeout}us" if job.timeout is not None else "",
        f"MemoryMax={job.limits.memory}" if job.limits.memory is not None else "",
        f"CPUWeight={job.limits.cpu_weight}" if job.limits.cpu_weight is not None else "",
        f"TasksMax={job.limits.tasks}" if job.limits.tasks is not None else "",
        *(f"{name}={value}" for name, values in job.systemd.items() for value in values),
    ]
    unit_section = [
        f"Description={_plain(f'agentd job {job.name}' + (f': {about}' if about else ''))}",
        "Documentation=man:agentd.yaml(5)",
        # agentd decides how often; a limit of systemd's own would only make starts fail.
        "StartLimitIntervalSec=0",
        # Root notes the end, in a unit of its own; the next run of this unit waits until that is done.
        f"OnSuccess={well}",
        f"OnFailure={badly}",
        f"After={well} {badly}",
        # Of both, agentd stops first: what the shutdown of the machine stops counts as cut off, not as somebody's wish.
        "Before=agentd.service",
    ]
    return "\n".join([
        "# Written by agentd-generator from agentd's configuration: change the job there (man agentd.yaml),",
        f"# or add to it here: systemctl edit {unit(instance)}",
        "[Unit]",
        *unit_section,
        "",
        "[Service]",
        *filter(None, service),
        "",
    ])  # fmt: skip


def _environment(job: Job) -> list[tuple[str, str]]:
    return [("AGENTD_JOB", job.name), *job.environment.items()]


def quoted(word: str) -> str:
    """Returns the text that systemd's parser reads as just this word (systemd.service(5), "Command lines")."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda match: f"\\x{ord(match[0]):02x}", escaped) + '"'


def _plain(value: str) -> str:
    """Returns a value as systemd reads it without quotes: only its specifiers are escaped."""
    return value.replace("%", "%%")
