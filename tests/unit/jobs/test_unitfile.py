"""What a job becomes as a systemd unit."""

import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.core.jobs import unitfile
from agentd.core.jobs.settings import Job, Limits

ROOT = Path(__file__).parents[3]


def lines(job: Job, instance: str = "") -> list[str]:
    return unitfile.text(job, instance or job.name).splitlines()


def test_a_job_becomes_a_unit_with_its_settings() -> None:
    job = Job(
        name="backup",
        run=("/usr/bin/backup", "--all"),
        description="Copies  100%\n\0of it",
        user="backup",
        group="disk",
        working_directory="/var/100%",
        environment={"LEVEL": "full"},
        timeout=5_000_000,
        stop_timeout=0,
        limits=Limits(memory=1 << 30, cpu_weight=50, tasks=64),
        systemd={"ProtectHome": ("yes",), "BindPaths": ("/a", "/b")},
    )
    assert [line for line in lines(job)[2:] if not line.startswith("#")] == [
        "[Unit]",
        "Description=agentd job backup: Copies 100%% of it",
        "Documentation=man:agentd.yaml(5)",
        "StartLimitIntervalSec=0",
        "Before=agentd.service",
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
        "TimeoutStopSec=2000000us",
        "RuntimeMaxSec=5000000us",
        "MemoryMax=1073741824",
        "CPUWeight=50",
        "TasksMax=64",
        "ProtectHome=yes",
        "BindPaths=/a",
        "BindPaths=/b",
    ]


def test_each_run_at_once_has_a_unit_of_its_own() -> None:
    names = [name for name, _ in unitfile.units({"a": Job(name="a", run=("x",), concurrency=3)})]
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
def generate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, str]]:
    """Runs the generator's script on folders below tmp_path; returns the units that it wrote."""
    for folder in ("etc", "kept", "runs", "units"):
        (tmp_path / folder).mkdir()
    monkeypatch.setattr("agentd.config.files.SYSTEM_DIRECTORIES", (tmp_path / "etc",))
    script = (ROOT / "units/agentd-generator").read_text()
    for path, name in (("/var/lib/agentd-units", "kept"), ("/run/agentd/runs", "runs"), ("/dev/kmsg", "log")):
        assert f'"{path}"' in script
        script = script.replace(f'"{path}"', f'"{tmp_path / name}"')

    def run() -> dict[str, str]:
        monkeypatch.setattr(sys, "argv", ["agentd-generator", str(tmp_path / "units"), "early", "late"])
        exec(compile(script, "agentd-generator", "exec"), {"__name__": "__main__"})
        return {file.name: file.read_text() for file in (tmp_path / "units").iterdir()}

    return run


def test_the_generator_writes_a_unit_for_each_job(generate: Callable[[], dict[str, str]], tmp_path: Path) -> None:
    (tmp_path / "etc/agentd.yaml").write_text("jobs: {a: {run: x}, b: {run: [y, z]}}\n")
    units = generate()
    assert sorted(units) == ["agentd-job@a.service", "agentd-job@b.service"]
    assert 'start-job "b" "y" "z"' in units["agentd-job@b.service"]


def test_without_a_configuration_the_generator_writes_nothing(generate: Callable[[], dict[str, str]]) -> None:
    assert generate() == {}


def test_with_errors_the_units_of_the_last_good_configuration_stay(
    generate: Callable[[], dict[str, str]], tmp_path: Path
) -> None:
    (tmp_path / "kept/agentd-job@a.service").write_text("as it was")
    (tmp_path / "etc/agentd.yaml").write_text("jobs: {a: {run: x, every: 5min}}\n")
    assert generate() == {"agentd-job@a.service": "as it was"}
    said = (tmp_path / "log").read_text()
    assert re.match(r"<27>agentd-generator\[\d+]: 1 units stay as they were: /", said)
    assert f"{tmp_path}/etc/agentd.yaml:1:20: jobs.a: unknown key" in said


def test_while_a_library_is_missing_the_units_stay(
    generate: Callable[[], dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kept/agentd-job@a.service").write_text("as it was")
    monkeypatch.setitem(sys.modules, "agentd.jobs.generator", None)
    assert generate() == {"agentd-job@a.service": "as it was"}


def test_a_job_that_left_the_configuration_keeps_its_unit_while_it_runs(
    generate: Callable[[], dict[str, str]], tmp_path: Path
) -> None:
    (tmp_path / "etc/agentd.yaml").write_text("jobs: {a: {run: x}}\n")
    for name in ("a", "gone", "over"):
        (tmp_path / f"kept/agentd-job@{name}.service").write_text("as it was")
    for name in ("a", "gone", "unheard"):
        (tmp_path / "runs" / name).write_text("a note")
    units = generate()
    assert sorted(units) == ["agentd-job@a.service", "agentd-job@gone.service"]
    assert units["agentd-job@gone.service"] == "as it was" != units["agentd-job@a.service"]


def test_what_the_contract_asks_for_is_what_polkit_knows() -> None:
    asked = {
        annotation.attrib["value"]
        for contract in ROOT.glob("agentd/*/org.agentd1.*.xml")
        for annotation in ET.parse(contract).iter("annotation")
        if annotation.attrib["name"] == "org.agentd1.PolkitAction"
    }
    known = {action.attrib["id"] for action in ET.parse(ROOT / "units/org.agentd1.policy").iter("action")}
    assert asked - {"none"} == known
