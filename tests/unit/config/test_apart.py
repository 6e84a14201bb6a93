"""The configuration read in another process: it comes back as it was read, and so does what is wrong with it."""

import os
import signal
import sys
from pathlib import Path

import msgspec
import pytest

from agentd.config import apart, files
from agentd.config.problems import Problems
from agentd.core.jobs.settings import Job
from agentd.core.jobs.triggers import KINDS
from agentd.core.schedulers.settings import Choice

EVERYTHING = """
timezone: Europe/Berlin
history: {keep: 30d, output: 2M}
jobs:
  every: {run: x, when: {every: 15min}, retries: {count: 2}, limits: {memory: 1G}, missed: {within: 1h}}
  adaptive: {run: x, when: {adaptive: {start: 5min}}, useful: {exit-code: [10, 11]}, learning: shadow}
  cron: {run: [x, "ä"], when: {cron: "@daily"}, environment: {A: "1"}, ping: {credential: backup}}
  at: {run: x, when: {at: {time: ["06:30", "18:00"], days: mon-fri}}, notify: [late, failure]}
  boot: {run: x, when: {boot: 2min}, expect: {start_within: 5min}, scheduler: {scx_lavd: {mode: gaming, slice-us: 5}}}
  after: {run: x, when: {after: boot}, systemd: {Nice: "10", ReadOnlyPaths: [/a, /b]}, scheduler: none}
  manual: {run: x, when: manual, timezone: UTC, overlap: queue, stop_timeout: 1min, critical: true}
reboot: {windows: {night: {at: "03:30", except: [2026-12-24/2026-12-26]}}}
scheduler: {default: scx_bpfland, modes: {gaming: {scx_lavd: {slice-us: "7"}}}, guards: {pressure: 80%}}
rules:
  hot:
    when: CpuUsage > 90% for 5m
    do: RunJob:manual
    then: [{after: 10m, do: "StopJob:manual"}]
    max_fires: 3 per 24h
    within: {at: "08:00", window: 2h}
kpis: {depth: {job: manual, value: output}}
learning: {mode: on, cpu_budget: 5%}
notices:
  channels: {phone: {credential: phone}}
  routes: [{events: [failure], to: phone, priority: high}]
  quiet: {from: "22:00", to: "07:00"}
"""


def written(folder: Path, text: str = EVERYTHING) -> Path:
    file = folder / "agentd.yaml"
    file.write_text(text)
    return file


def by_a_child(given: Path) -> files.Loaded:
    return apart.begin(given, lambda: files.load(given))()


def refused(given: Path, errors: type[Problems] = Problems) -> str:
    with pytest.raises(errors) as caught:
        apart.reload(given)
    return str(caught.value)


@pytest.mark.parametrize("read", [by_a_child, apart.reload], ids=["start", "reload"])
def test_all_that_can_be_said_comes_back_as_it_was_read(read: object, tmp_path: Path) -> None:
    file = written(tmp_path)
    here, there = files.load(file), read(file)  # type: ignore[operator]
    assert there == here
    assert [type(job.when) for job in there.config.jobs.values()] == [
        type(job.when) for job in here.config.jobs.values()
    ]
    assert there.config.jobs.keys() == KINDS.keys()
    assert there.config.jobs["boot"].scheduler == Choice("scx_lavd", "gaming", {"slice-us": "5"})


def test_the_machines_time_zone_and_a_warning_come_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TZ", "Nowhere/AtAll")
    file = written(tmp_path, "jobs: {}")
    there = apart.reload(file)
    assert there == files.load(file)
    assert (there.config.timezone, there.names_zone, len(there.warnings)) == ("UTC", False, 1)


def test_errors_come_back_with_their_places_whatever_the_file_is_called(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"not-\xff-utf-8")
    folder.mkdir()
    file = written(folder, "jobs:\n  a: {run: x, when: {every: 1s, at: '1'}}\n  b: {rum: x}\n")
    with pytest.raises(Problems) as here:
        files.load(file)
    for read in (by_a_child, apart.reload):
        with pytest.raises(Problems) as there:
            read(file)
        assert there.value.found == here.value.found
        assert not isinstance(there.value, apart.Unread)
    file.write_text("jobs: {}\n")
    assert apart.reload(folder) == files.load(folder)


def test_a_process_that_dies_is_told_and_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(apart.Unread, match="cannot be read: the process that reads it was ended by a signal"):
        apart.begin(None, lambda: os.kill(os.getpid(), signal.SIGKILL))()  # type: ignore[arg-type, return-value]
    program = tmp_path / "python"
    monkeypatch.setattr(sys, "executable", str(program))
    file = written(tmp_path)
    where = f"{file}: cannot be read: the process that reads it"
    assert refused(file, apart.Unread) == f"{where} cannot be started: no such file or directory; try again"
    for body, why in (("kill -KILL $$", "was ended by a signal (Killed)"), ("exit 3", "ended with 3")):
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
        assert refused(file, apart.Unread) == f"{where} {why}; try again"
    program.write_text("#!/bin/sh\necho hello\n")
    assert refused(file, apart.Unread).startswith(f"{where} answered what agentd does not understand: ")


def test_a_defect_is_a_sentence() -> None:
    def read() -> files.Loaded:
        raise ZeroDivisionError("by nothing")

    with pytest.raises(apart.Unread, match="reads it has a defect: ZeroDivisionError: by nothing; try again"):
        apart.begin(None, read)()


def test_the_process_that_reads_goes_before_the_daemon_where_memory_runs_out(tmp_path: Path) -> None:
    file, told = written(tmp_path), tmp_path / "told"

    def read() -> files.Loaded:
        told.write_text(Path("/proc/self/oom_score_adj").read_text())
        return files.load(file)

    apart.begin(file, read)()
    assert told.read_text() == "500\n"


def test_a_job_takes_along_only_what_it_says() -> None:
    # Of 10,000 jobs 2.9 MiB: what a job does not say is one and the same object for all.
    job = Job(name="backup", run=("/usr/bin/backup",))
    data = msgspec.msgpack.encode(job)
    assert len(data) < 50
    there = msgspec.msgpack.decode(data, type=Job)
    assert there == job
    assert all(getattr(there, name) is getattr(job, name) for name in ("when", "missed", "retries", "limits"))
