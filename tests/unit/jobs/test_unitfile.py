"""What a job becomes as a systemd unit."""

import json
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.config import files
from agentd.config.problems import Problems
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
        "OnSuccess=agentd-ended-well@backup.service",
        "OnFailure=agentd-ended-badly@backup.service",
        "After=agentd-ended-well@backup.service agentd-ended-badly@backup.service",
        "Before=agentd.service",
        "",
        "[Service]",
        "Type=exec",
        'ExecStart=:/usr/lib/agentd/start-job "backup" "/usr/bin/backup" "--all"',
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


BEGINNINGS = [
    "/bin/x",
    "-/bin/x",
    "@/bin/x",
    ":x",
    "+/bin/x",
    "-+/bin/x",
    '"+/bin/x"',
    "!/bin/x",
    "!!/bin/x",
    "\\x2b/bin/x",
]
COMMANDS = st.lists(st.sampled_from([*BEGINNINGS, ";", " ", "a", "'", '"']), min_size=1, max_size=6).map(" ".join)
SETTINGS = st.sampled_from([
    "ExecStartPre", "ExecStartPost", "ExecStop", "ExecStopPost", "ExecReload", "ExecCondition", "EnvironmentFile",
    "RootDirectory", "RootImage", "BindPaths", "PassEnvironment", "PermissionsStartOnly", "ExecStart", "User", "Group",
])  # fmt: skip


def loaded(**job: Any) -> Job | None:
    """Returns the job of a configuration, None where its settings are refused."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump({"timezone": "UTC", "jobs": {"a": {"run": ["/bin/true"], **job}}}, file)
        file.flush()
        try:
            return files.load(Path(file.name)).config.jobs["a"]
        except Problems:
            return None


@settings(deadline=None)
@given(st.dictionaries(SETTINGS, st.one_of(COMMANDS, st.lists(COMMANDS, max_size=3)), max_size=4))
def test_nothing_in_a_jobs_unit_runs_with_roots_rights(systemd: dict[str, Any]) -> None:
    job = loaded(user="alice", systemd=systemd)
    for line in lines(job) if job else ():
        name, _, value = line.partition("=")
        assert name != "PermissionsStartOnly"
        assert not (name == "User" and value != "alice")
        if name.startswith("Exec"):
            words = [";", *value.replace('"', "").replace("'", "").split()]
            begun = [word for before, word in pairwise(words) if before == ";"]
            assert not [word for word in begun if re.match(r"[-@:|]*[+!\\]", word)], line


OF_SYSTEMD = (
    "EXIT_CODE EXIT_STATUS SERVICE_RESULT INVOCATION_ID MAINPID MANAGERPID NOTIFY_SOCKET LISTEN_FDS LISTEN_PID"
    " WATCHDOG_USEC CREDENTIALS_DIRECTORY STATE_DIRECTORY JOURNAL_STREAM MONITOR_EXIT_STATUS MONITOR_UNIT TRIGGER_UNIT"
    " SYSTEMD_EXEC_PID MEMORY_PRESSURE_WATCH"
)


@pytest.mark.parametrize("name", OF_SYSTEMD.split())
def test_a_variable_of_systemds_is_refused(name: str) -> None:
    assert loaded(environment={name: "0"}) is None


@pytest.mark.parametrize(
    "name", ["PATH", "HOME", "LANG", "EXIT", "MY_EXIT_CODE", "LISTEN", "SYSTEMD_LOG_LEVEL", "PIDFILE"]
)
def test_a_variable_that_only_looks_like_systemds_is_the_jobs(name: str) -> None:
    assert loaded(environment={name: "0"}) is not None


@pytest.mark.parametrize("more", [{}, {"systemd": {"RootDirectory": "/srv"}}, {"user": "alice"}])
def test_all_that_agentd_writes_into_a_unit_runs_as_the_jobs_user(more: dict[str, Any]) -> None:
    job = loaded(**more)
    assert job is not None
    assert [line.partition("=")[0] for line in lines(job) if line.startswith("Exec")] == ["ExecStart"]


def test_in_a_root_directory_of_its_own_a_job_needs_nothing_of_agentds() -> None:
    job = Job(name="jail", run=("/bin/echo", "$HOME", "100%"), systemd={"RootDirectory": ("/srv/jail",)})
    assert 'ExecStart=:"/bin/echo" "$HOME" "100%%"' in lines(job)
    assert not [line for line in lines(job) if "/usr/lib/agentd" in line]


def test_the_units_that_note_an_end_tell_whose() -> None:
    assert [unitfile.ended_instance(name) for name in unitfile.ended("a@2")] == ["a@2", "a@2"]
    assert unitfile.ended_instance(unitfile.unit("a@2")) == ""


def test_the_two_units_that_note_ends_are_two_and_nothing_of_the_jobs() -> None:
    well, badly = ((ROOT / f"units/agentd-ended-{kind}@.service").read_text() for kind in ("well", "badly"))
    assert well.splitlines()[1:] == badly.splitlines()[1:]
    assert "ExecStart=/usr/lib/agentd/note-end %i\n" in well
    assert "RefuseManualStart=yes\n" in well


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


def test_units_that_restart_others_are_written_for_what_root_named_and_stay_with_errors(
    generate: Callable[[], dict[str, str]], tmp_path: Path
) -> None:
    (tmp_path / "etc/agentd.yaml").write_text("may_restart: [web.service]\n")
    (text,) = generate().values()
    assert 'ExecStart=:/usr/bin/systemctl restart -- "web.service"' in text
    (tmp_path / "kept/agentd-restart@web.service.service").write_text(text)
    (tmp_path / "etc/agentd.yaml").write_text("may_restart: [web]\n")
    assert generate() == {"agentd-restart@web.service.service": text}


def test_a_unit_that_cannot_be_written_is_told_and_the_others_are_written(
    generate: Callable[[], dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = f"agentd-job@{'x' * 300}.service"
    monkeypatch.setattr("agentd.jobs.generator.units", lambda: {long: "no", "agentd-job@b.service": "yes"})
    assert generate() == {"agentd-job@b.service": "yes"}
    assert f"{long} is not written: File name too long" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("damaged", [b"\xff", b"ExecStopPost=-+/usr/lib/agentd/end-job x\n", None])
def test_a_kept_unit_that_cannot_be_read_is_told_and_the_others_stay(
    generate: Callable[[], dict[str, str]], tmp_path: Path, damaged: bytes | None
) -> None:
    bad = tmp_path / "kept/agentd-job@a.service"
    bad.mkdir() if damaged is None else bad.write_bytes(damaged)
    (tmp_path / "kept/agentd-job@b.service").write_text("as it was")
    for run in ("a", "b"):
        (tmp_path / "runs" / run).write_text("a note")
    (tmp_path / "etc/agentd.yaml").write_text("jobs: [\n")
    assert generate() == {"agentd-job@b.service": "as it was"}
    assert "agentd-job@a.service does not stay: " in (tmp_path / "log").read_text()
    (tmp_path / "etc/agentd.yaml").write_text("jobs: {c: {run: x}}\n")
    assert sorted(generate()) == ["agentd-job@b.service", "agentd-job@c.service"]


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


def test_a_kept_unit_from_before_an_upgrade_notes_its_end_as_all_do_now(
    generate: Callable[[], dict[str, str]], tmp_path: Path
) -> None:
    job = Job(name="a", run=("x",), concurrency=2)
    for name, text in unitfile.units({"a": job}):
        instance = name.removeprefix("agentd-job@").removesuffix(".service")
        old = re.sub(r"On(Success|Failure)=.*\n|After=.*\n", "", text)
        old = old.replace("Slice=", f'ExecStopPost=-+/usr/lib/agentd/end-job "{instance}"\nSlice=')
        assert old != text
        (tmp_path / "kept" / name).write_text(old)
    (tmp_path / "etc/agentd.yaml").write_text("jobs: [\n")
    made = generate()
    wanted = dict(unitfile.units({"a": job}))
    assert {name: sorted(text.splitlines()) for name, text in made.items()} == {
        name: sorted(text.splitlines()) for name, text in wanted.items()
    }


def note_end(folder: Path, shown: str, **monitor: str) -> list[str]:
    """Runs note-end beside a systemctl that shows this; returns the lines of the note."""
    (folder / "bin").mkdir()
    (folder / "bin/systemctl").write_text(f"#!/bin/sh\ncat <<'EOF'\n{shown}\nEOF\n")
    (folder / "bin/systemctl").chmod(0o755)
    script = (ROOT / "units/note-end").read_text()
    assert '"/run/agentd-ended/$1"' in script
    script = script.replace("/run/agentd-ended", str(folder))
    environment = {"PATH": f"{folder}/bin:/usr/bin:/bin", **{f"MONITOR_{name}": text for name, text in monitor.items()}}
    subprocess.run(["sh", "-c", script, "note-end", "a"], env=environment, check=True)
    return (folder / "a").read_text().splitlines() if (folder / "a").exists() else []


ENDED = {"INVOCATION_ID": "abc", "SERVICE_RESULT": "exit-code", "EXIT_CODE": "exited", "EXIT_STATUS": "7"}
SHOWN = "MemoryPeak=4096\nCPUUsageNSec=7999\nInvocationID=abc\nStateChangeTimestamp=Wed 2026-11-25 23:17:42.123456 UTC"


@pytest.mark.parametrize(
    ("shown", "figures"),
    [
        (SHOWN, ["7", "4096", "Wed 2026-11-25 23:17:42.123456 UTC"]),
        (SHOWN.replace("abc", "of another run"), ["", "", ""]),
        ("InvocationID=abc\nCPUUsageNSec=[not set]\nMemoryPeak=[not set]", ["", "[not set]", ""]),
        ("", ["", "", ""]),
    ],
)
def test_the_end_of_a_unit_is_noted_with_systemds_words(tmp_path: Path, shown: str, figures: list[str]) -> None:
    assert note_end(tmp_path, shown, **ENDED) == ["abc", "exit-code", "exited", "7", *figures, "end"]


def test_a_start_that_never_had_an_invocation_is_no_end(tmp_path: Path) -> None:
    assert note_end(tmp_path, SHOWN, SERVICE_RESULT="success") == []


def test_what_the_contract_asks_for_is_what_polkit_knows() -> None:
    asked = {
        annotation.attrib["value"]
        for contract in ROOT.glob("agentd/*/org.agentd1.*.xml")
        for annotation in ET.parse(contract).iter("annotation")
        if annotation.attrib["name"] == "org.agentd1.PolkitAction"
    }
    known = {action.attrib["id"] for action in ET.parse(ROOT / "units/org.agentd1.policy").iter("action")}
    assert asked - {"none"} == known
