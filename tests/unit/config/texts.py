"""Configurations as texts: written to files, and loaded or refused."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from agentd.config import files
from agentd.config.kinds import PARTS, Settings
from agentd.config.problems import Problems
from agentd.core.config import Config
from agentd.core.jobs.jobs import Jobs
from agentd.core.jobs.model import Saved

SAMPLE = """\
timezone: Europe/Berlin
jobs:
  backup:
    run: [/usr/local/bin/backup, --all]     # or a string, given to /bin/sh -c
    when: {cron: "30 2 * * *"}
    user: backup
    timeout: 2h
    overlap: skip                           # skip | queue | replace
    missed: once                            # skip | once | all | within: 1h
    retries: {count: 3, backoff: 1min, max: 30min}
    jitter: 5min                            # stable per host and job
    limits: {memory: 1G, cpu_weight: 50, tasks: 64}
    notify: [start, failure, success, progress]
  feed:
    run: /opt/feed.py
    when: {adaptive: {start: 5min, min: 30s, max: 6h}}
    useful: output                          # output | exit-code | {file: /var/lib/feed/last}
"""


def write(file: Path, text: str | bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def errors(given: Path, whole: type[Config] = Config, parts: Sequence[Settings] = PARTS) -> list[str]:
    """Every sentence about a configuration that must not be usable."""
    with pytest.raises(Problems) as caught:
        files.load(given, whole, parts)
    return [str(problem) for problem in caught.value.found]


def layers(folder: Path, main: str, **drop_ins: str) -> Config:
    """The configuration of a folder with agentd.yaml and conf.d/NAME.yaml ("_10" is 10.yaml)."""
    write(folder / "agentd.yaml", main)
    for name, text in drop_ins.items():
        write(folder / "conf.d" / f"{name.removeprefix('_')}.yaml", text)
    return files.load(folder).config


def zones(config: Config) -> dict[str, str]:
    """The time zone that each job's schedule is in."""
    jobs = Jobs(config.jobs, Saved(), 0, zone=config.timezone)
    return {name: jobs.entry(name).zone.key for name in config.jobs}
