"""The program that replays samples through the rules of a file: what it prints where, and its exit codes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from agentd.core.rules.replay import LONGEST
from agentd.rules.replaying import main

ROOT = Path(__file__).resolve().parents[3]
PIECE = """rules:
  high: {when: "MemoryUsage > 90% for 10s", do: Notify, cooldown: 0s}
  low: {when: "MemoryUsage < 10%", do: Notify}
"""


class Ended(NamedTuple):
    code: int
    out: str
    err: str


class Program:
    """The program, in a folder with a file of rules and one of samples."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._folder, self._capsys = folder, capsys

    def __call__(self, rules: str, lines: list[str] | bytes, *options: str) -> Ended:
        (self._folder / "r.yaml").write_text(rules)
        samples = lines if isinstance(lines, bytes) else "".join(f"{line}\n" for line in lines).encode()
        (self._folder / "s.jsonl").write_bytes(samples)
        return Ended(main(["r.yaml", "s.jsonl", *options]), *self._capsys.readouterr())


@pytest.fixture
def program(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Program:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TZ", "Europe/Berlin")
    return Program(tmp_path, capsys)


def samples(*values: float | None, every: float = 5, begin: float = 0) -> list[str]:
    return [
        json.dumps({"at": begin + every * number, "kpis": {"MemoryUsage": value}})
        for number, value in enumerate(values)
    ]


def test_changes_are_an_object_a_line_and_nothing_else_is_on_stdout(program: Program) -> None:
    ended = program(PIECE, samples(50, 95, 95, 95, 50), "--json")
    assert ended.code == 0
    assert [json.loads(line) for line in ended.out.splitlines()] == [
        {"at": 0, "rule": "high", "state": "inactive", "action": None},
        {"at": 0, "rule": "low", "state": "inactive", "action": None},
        {"at": 5, "rule": "high", "state": "pending", "action": None},
        {"at": 15, "rule": "high", "state": "firing", "action": "Notify"},
        {"at": 20, "rule": "high", "state": "inactive", "action": None},
    ]
    assert ended.err == "a sample every 5s\n"


def test_a_person_reads_a_line_for_each_change_and_how_often_each_rule_would_have_fired(program: Program) -> None:
    ended = program(PIECE, samples(50, 95, 95, 95, 50, 5, 50, 5))
    assert ended.code == 0
    lines = [line.strip() for line in ended.out.splitlines()]
    assert lines[3] == "15s  high: firing, and does Notify"
    assert "35s  low: firing (cooldown of 5min since the rule last fired)" in lines
    assert lines[-3:] == [
        "",
        "high would have fired once, and acted once",
        "low would have fired twice, and acted once",
    ]
    calm = program(PIECE, samples(50, 50))
    assert (calm.code, calm.out.splitlines()[-2:]) == (0, ["high would never have fired", "low would never have fired"])


def test_where_nothing_is_known_that_is_told_and_not_that_a_rule_would_never_have_fired(program: Program) -> None:
    nothing = program(PIECE, [])
    assert nothing.code == 1
    assert nothing.out.splitlines() == [
        "",
        "high cannot be told of: no sample has MemoryUsage",
        "low cannot be told of: no sample has MemoryUsage",
    ]
    odd = program(PIECE, ['{"at": 0, "kpis": {"MemoryUsge": 95}}'])
    assert odd.code == 1
    assert 'warning: samples have "MemoryUsge", which is no KPI (did you mean MemoryUsage?)' in odd.err
    missing = program(PIECE, samples(None))
    assert missing.out.splitlines()[-1] == "low cannot be told of: no sample has MemoryUsage"


def test_the_kpis_of_whoever_recorded_the_samples_are_known(program: Program) -> None:
    rules = 'rules: {mine: {when: "Room > 30C AND JobFailing:feed < 2", do: RunJob:clean}}\n'
    lines = ['{"at": 0, "kpis": {"Room": 31, "JobFailing:feed": 0}}']
    assert 'there is no KPI "Room"' in program(rules, lines).err
    ended = program(rules, lines, "--live", "--kpi=Room=celsius", "--json")
    assert (ended.code, ended.err) == (0, "a sample every 5s\n")
    assert '"RunJob:clean"' in ended.out


def test_instants_since_1970_are_shown_as_dates(program: Program) -> None:
    assert program(PIECE, samples(50, begin=1_792_880_800)).out.startswith("2026-10-2")


def test_a_whole_configuration_will_do_as_well_as_a_piece(program: Program) -> None:
    whole = f"jobs: {{backup: {{run: x, when: {{every: 1h}}}}}}\nsampling: {{every: 10s}}\n{PIECE}"
    with_wide_windows = whole.replace("for 10s", "for 20s")
    ended = program(with_wide_windows, samples(95, 95, 95, every=10), "--json")
    assert (ended.code, ended.err) == (0, "a sample every 10s\n")
    assert '"firing"' in ended.out


def test_jobs_and_units_that_are_not_there_are_warnings(program: Program) -> None:
    rules = """kpis: {Room: {job: thermometer, unit: celsius}}
rules:
  a: {when: "MemoryUsage > 1%", do: RunJob:clean, only_while: [backup]}
  b: {when: "Room > 3C OR JobFailing:feed > 2", do: RestartUnit:ssh.service}
"""
    ended = program(rules, samples(50), "--json")
    assert ended.code == 1  # nothing is known of b
    warned = [line for line in ended.err.splitlines() if line.startswith("warning: r.yaml:")]
    assert warned[0].startswith("warning: r.yaml:1:20: ")
    for text in ('job "thermometer"', 'job "clean"', 'job "backup"', 'job "feed"', "ssh.service is not in may_restart"):
        assert sum(text in line for line in warned) == 1, text
    assert len(warned) == 5


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        ('rules: {a: {when: "MemoryUsag > 1%", do: Notify}}', "r.yaml:1:19: rules.a.when: "),
        ('rules: {a: {when: "MemoryUsage > 1%", do: Notfy}}', "r.yaml:1:43: rules.a.do: "),
        ("rules: {a: {when: MemoryUsage > 1%}}", "needs do, or a ladder of steps"),
        ("rules: [", "r.yaml:1:"),
        ("jobs: {a: {}}\n" + PIECE, "r.yaml:1:"),
        ("", "r.yaml: there are no rules in it: expected a mapping of rules under the key rules"),
    ],
)
def test_any_other_error_in_the_rules_ends_with_2_and_its_place(program: Program, rules: str, sentence: str) -> None:
    ended = program(rules, samples(50), "--json")
    assert (ended.code, ended.out) == (2, "")
    assert sentence in ended.err


def test_a_file_that_cannot_be_read_is_told(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    program(PIECE, [])
    assert main(["no.yaml", "s.jsonl"]) == 2
    assert capsys.readouterr().err == "no.yaml: cannot be read: no such file or directory\n"
    assert main(["r.yaml", "no.jsonl"]) == 2
    assert capsys.readouterr().err == "no.jsonl: cannot be read: no such file or directory\n"
    assert main(["r.yaml", "."]) == 2
    assert capsys.readouterr().err == ".: cannot be read: is a directory\n"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b'{"at": 3, "kpis": {}}', "goes back from 15 s to 3 s"),
        (b"x" * (LONGEST + 1), "is longer than 1 MiB"),
        (b'{"at": 50, "kpis": {}' + "ä".encode() * LONGEST, "is longer than 1 MiB"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"what is this", "is not a JSON object such as"),
        (b"", "is not a JSON object such as"),
        (b'{"at": 20, "\\u001b[2J": 1, "kpis": {}}', 'has "\\x1b[2J", which means nothing beside kpis'),
    ],
)
def test_a_foreign_line_ends_with_2_after_what_came_before(program: Program, line: bytes, sentence: str) -> None:
    before = "".join(f"{text}\n" for text in samples(50, 95, 95, 95)).encode()
    ended = program(PIECE, before + line + b"\n" + samples(50, begin=60)[0].encode(), "--json")
    assert ended.code == 2
    assert ended.err.splitlines()[-1].startswith(f"s.jsonl:5: {sentence}")
    assert json.loads(ended.out.splitlines()[-1]) == {"at": 15, "rule": "high", "state": "firing", "action": "Notify"}


def test_a_line_of_a_whole_mebibyte_is_read(program: Program) -> None:
    text = samples(95)[0]
    assert program(PIECE, [text + " " * (LONGEST - len(text))], "--json").code == 0


def test_samples_that_are_further_apart_than_the_rules_say_are_told(program: Program) -> None:
    ended = program(PIECE, samples(95, 95, 95, every=60.01), "--json")
    assert ended.code == 0
    assert ended.err.startswith("a sample every 1min, as most are here (agentd would take one every 5s): ")
    assert '"at": 60.01, "rule": "high", "state": "firing"' in ended.out, "each distance counted as a gap"


def test_only_the_first_thousand_lines_say_how_far_apart_samples_are(program: Program) -> None:
    close, wide = samples(*[50] * 1000), samples(*[50] * 3000, every=60, begin=10_000)
    assert program(PIECE, close + wide, "--json").err == "a sample every 5s\n"


def test_kpis_that_no_sample_has_are_told(program: Program) -> None:
    ended = program(PIECE, [json.dumps({"at": 0, "kpis": {"Memory": 50}})], "--json")
    assert "warning: no sample has MemoryUsage, which the rule high needs\n" in ended.err


def start(folder: Path, *arguments: str, **options: Any) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-P", "-m", "agentd.rules.replaying", *arguments]
    options = {"cwd": folder, "stderr": subprocess.PIPE, "env": {"PYTHONPATH": str(ROOT)}, **options}
    return subprocess.Popen(command, **options)


def test_samples_come_through_a_pipe_as_well(program: Program, tmp_path: Path) -> None:
    program(PIECE, [])
    with start(tmp_path, "r.yaml", "-", "--json", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        given = "".join(f"{line}\n" for line in [*samples(95, 95, 95), "no"]).encode()
        out, err = process.communicate(given)
    assert process.returncode == 2
    assert out.splitlines()[-1] == b'{"at": 10, "rule": "high", "state": "firing", "action": "Notify"}'
    assert err.splitlines()[-1].startswith(b"stdin:4: is not a JSON object")


def test_a_reader_that_goes_away_and_a_full_disk_end_without_a_traceback(program: Program, tmp_path: Path) -> None:
    program(PIECE, samples(*[95, 95, 95, 50] * 1500))
    with start(tmp_path, "r.yaml", "s.jsonl", stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr
        assert process.stderr.read() == b"a sample every 5s\n"
    assert process.returncode == 1
    with Path("/dev/full").open("w") as full, start(tmp_path, "r.yaml", "s.jsonl", stdout=full) as process:
        assert process.communicate()[1].splitlines()[-1] == b"the output could not be written: No space left on device"
    assert process.returncode == 1


def test_an_output_without_the_characters_of_a_name_gets_escapes(program: Program, tmp_path: Path) -> None:
    program(PIECE.replace("do: Notify", "do: RunJob:höhe"), samples(95, 95, 95))
    environment = {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    with start(tmp_path, "r.yaml", "s.jsonl", stdout=subprocess.PIPE, env=environment) as process:
        out, _ = process.communicate()
    assert process.returncode == 0
    assert b"RunJob:h\\xf6he" in out


def test_a_clock_set_to_no_time_is_told_with_its_line(program: Program) -> None:
    night = 'rules: {a: {when: MemoryUsage > 1%, do: Notify, within: {at: "22:00", window: 8h}}}\n'
    ended = program(night, [json.dumps({"at": 0, "clock_step": -1e11}), *samples(50)], "--json")
    assert ended.code == 2
    assert "s.jsonl:1: brings the wall clock to a time outside of the years 1900 to 9998" in ended.err
