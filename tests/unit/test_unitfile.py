"""What a job becomes as a systemd unit."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd import generator
from agentd.core import unitfile
from agentd.core.model import Config, Job, Limits


def lines(job: Job, instance: str = "") -> list[str]:
    return unitfile.text(job, instance or job.name).splitlines()


def test_a_job_becomes_a_unit_with_its_settings() -> None:
    job = Job(
        name="backup",
        run=("/usr/bin/backup", "--all"),
        description="Copies  100%\nof it",
        user="backup",
        group="disk",
        working_directory="/var/100%",
        environment={"LEVEL": "full"},
        timeout=5_000_000,
        stop_timeout=0,
        limits=Limits(memory=1 << 30, cpu_weight=50, tasks=64),
        systemd={"ProtectHome": ("yes",), "BindPaths": ("/a", "/b")},
    )
    assert lines(job)[2:] == [
        "[Unit]",
        "Description=agentd job backup: Copies 100%% of it",
        "Documentation=man:agentd.yaml(5)",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=exec",
        'ExecStart=:/usr/lib/agentd/start-job "backup" "/usr/bin/backup" "--all"',
        'ExecStopPost=-+/usr/lib/agentd/end-job "backup"',
        "Slice=agentd-jobs.slice",
        "StandardInput=null",
        "SyslogIdentifier=backup",
        "User=backup",
        "Group=disk",
        "WorkingDirectory=/var/100%%",
        'Environment="AGENTD_JOB=backup"',
        'Environment="LEVEL=full"',
        "TimeoutStopSec=1000us",
        "RuntimeMaxSec=5000000us",
        "MemoryMax=1073741824",
        "CPUWeight=50",
        "TasksMax=64",
        "ProtectHome=yes",
        "BindPaths=/a",
        "BindPaths=/b",
    ]


def test_each_run_at_once_has_a_unit_of_its_own() -> None:
    names = [name for name, _ in unitfile.units(Config(jobs={"a": Job(name="a", run=("x",), concurrency=3)}))]
    assert names == ["agentd-job@a.service", "agentd-job@a@2.service", "agentd-job@a@3.service"]


@given(st.text(st.characters(blacklist_categories=["Cs"])))
def test_a_word_survives_quoting(word: str) -> None:
    quoted = unitfile.quoted(word)
    assert not re.search(r"[\x00-\x1f\x7f]", quoted)
    inside = re.fullmatch(r'"((?:[^"\\]|\\.)*)"', quoted)
    assert inside is not None
    plain = re.sub(
        r"\\(x([0-9a-f]{2})|.)", lambda found: chr(int(found[2], 16)) if found[2] else found[1], inside[1]
    ).replace("%%", "%")
    assert plain == word


@pytest.mark.parametrize("word", ["%h", "100%", "%%"])
def test_no_specifier_is_left_to_expand(word: str) -> None:
    assert unitfile.quoted(word).count("%") == 2 * word.count("%")


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The folder of the configuration and that of the generated units."""
    etc, units, kept = (tmp_path / name for name in ("etc", "units", "kept"))
    for folder in (etc, units, kept):
        folder.mkdir()
    monkeypatch.setattr("agentd.config.SYSTEM_DIRECTORIES", (etc,))
    monkeypatch.setattr(generator, "KEPT", kept)
    return etc, units


def test_the_generator_writes_a_unit_for_each_job(folders: tuple[Path, Path]) -> None:
    etc, units = folders
    (etc / "agentd.yaml").write_text("jobs: {a: {run: x}, b: {run: [y, z]}}\n")
    assert generator.main(["generator", str(units), "early", "late"]) == 0
    assert sorted(file.name for file in units.iterdir()) == ["agentd-job@a.service", "agentd-job@b.service"]
    assert 'start-job "b" "y" "z"' in (units / "agentd-job@b.service").read_text()


def test_without_a_configuration_the_generator_writes_nothing(folders: tuple[Path, Path]) -> None:
    assert generator.main(["generator", str(folders[1]), "early", "late"]) == 0
    assert list(folders[1].iterdir()) == []


def test_with_errors_the_units_of_the_last_good_configuration_stay(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    etc, units = folders
    (generator.KEPT / "agentd-job@a.service").write_text("as it was")
    (etc / "agentd.yaml").write_text("jobs: {a: {run: x, every: 5min}}\n")
    assert generator.main(["generator", str(units), "early", "late"]) == 0
    assert (units / "agentd-job@a.service").read_text() == "as it was"
    assert "the 1 units of the last good one stay:\n" in (said := capsys.readouterr().err)
    assert f"{etc}/agentd.yaml:1:20: jobs.a: unknown key" in said
