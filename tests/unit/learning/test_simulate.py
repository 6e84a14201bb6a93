"""The program that replays events of one's own: what it prints where, and its exit codes."""

import io
import json
import math
import os
import subprocess
import sys
from datetime import datetime, tzinfo
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.core.learning.simulation import BASELINES
from agentd.learning import events, simulate
from agentd.learning.events import LEAST_EVENTS, Foreign, read
from agentd.learning.simulate import main

ROOT = Path(__file__).resolve().parents[3]
NAMES = [*BASELINES, "agentd-without-mlp", "agentd"]
HOURLY = "".join(f"{3600 * number}\n" for number in range(1, 101))


class Ended(NamedTuple):
    code: int
    out: str
    err: str


class Program:
    """The program, in a folder with files of events."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str, **files: str | bytes) -> Ended:
        for name, content in files.items():
            Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
        return Ended(main([*files, *arguments]), *self._capsys.readouterr())


@pytest.fixture
def program(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Program:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(simulate, "first_model", lambda: None)
    return Program(capsys)


# What is printed


def test_a_person_reads_what_each_way_would_have_cost(program: Program) -> None:
    ended = program(log=HOURLY)
    assert ended.code == 0
    assert ended.err == "this agentd has no network: agentd decides without\n"
    lines = ended.out.splitlines()
    assert lines[0].startswith("log: 100 events in 4d 3h, half of them within 1h of the one before; the best fixed ")
    assert lines[2].split() == ["WAY", "RUNS", "CPU", "SECONDS", "MEAN", "AGE,", "S", "COST"]
    assert [line.split("  ")[0] for line in lines[3:]] == [
        "best fixed, in hindsight",
        "keep 5min",
        "AIMD",
        "AIMD, tuned in hindsight",
        "EWMA of the gaps",
        "Gamma-Poisson, one memory",
        "agentd's forerunner",
        "agentd without its network",
        "agentd",
    ]
    # Every 5 min on the hour: each event is seen as it comes, but for the first one, 5 min before the first run.
    assert lines[4].split()[2:5] == ["1188", f"{1188 * 1.05:.1f}", f"{300**2 / 2 / (99 * 3600):.1f}"]
    assert lines[3].split()[-1] == "1.000"


def test_several_files_have_a_row_each_and_one_over_all(program: Program) -> None:
    ended = program(one=HOURLY, two=HOURLY.replace("\n", "0\n"))
    lines = ended.out.splitlines()
    assert sum(line.startswith("agentd ") for line in lines) == 4  # with its network and without
    header = lines.index("the cost of each over that of the best fixed interval in hindsight:") + 2
    assert lines[header].split() == ["FILE", *NAMES]
    rows = {line.split()[0]: [float(cell) for cell in line.split()[1:]] for line in lines[header + 1 :]}
    assert list(rows) == ["one", "two", "overall"]
    for one, two, overall in zip(*rows.values(), strict=True):
        assert overall == pytest.approx(math.sqrt(one * two), abs=2e-3)


def test_json_has_the_same_figures(program: Program) -> None:
    ended = program("--json", one=HOURLY, two=HOURLY.replace("\n", "0\n"))
    told = json.loads(ended.out)
    assert list(told) == ["overall", "sets", "worst", "files"]
    assert list(told["sets"]) == list(told["files"]) == ["one", "two"]
    assert list(told["overall"]) == list(told["sets"]["one"]) == NAMES
    assert told["worst"] == max(row["agentd"] for row in told["sets"].values())
    file = told["files"]["one"]
    assert (file["events"], file["span_s"]) == (100, 99 * 3600.0)
    assert list(file["best_fixed"]) == ["interval_s", "runs", "cpu_s", "mean_age_s"]
    assert file["ways"]["keep"] == {
        "runs": 1188,
        "cpu_s": 1247.4,
        "mean_age_s": round(300**2 / 2 / (99 * 3600), 3),
        "over_best": told["sets"]["one"]["keep"],
    }


def test_the_options_are_those_of_a_job(program: Program) -> None:
    ended = program("--cost=20", "--start=1h", "--min=10min", "--max=1d", "--json", log=HOURLY)
    ways = json.loads(ended.out)["files"]["log"]["ways"]
    assert (ways["keep"]["runs"], ways["keep"]["cpu_s"]) == (99, round(99 * 20.05, 3))
    assert program("--cost=0", log=HOURLY).code == 0
    assert "keep 1h 30min " in program("--start=90min", log=HOURLY).out


def test_dates_and_seconds_say_the_same(program: Program) -> None:
    dates = "".join(f"2026-10-{1 + number // 24:02}T{number % 24:02}:00:00+02:00\n" for number in range(1, 101))
    seconds, moments = (json.loads(program("--json", log=text).out)["files"]["log"] for text in (HOURLY, dates))
    assert seconds == moments


def test_blank_lines_remarks_and_equal_times_are_no_trouble(program: Program) -> None:
    plain = json.loads(program("--json", log=HOURLY).out)["sets"]
    odd = HOURLY.replace("\n", "\r\n", 3).replace("3600\r\n", "# deploys\n\n   \n 3600 \n3600.0\n3.6e3\n", 1)
    assert json.loads(program("--json", log=odd).out)["sets"] == plain
    assert json.loads(program("--json", log=HOURLY.rstrip("\n")).out)["sets"] == plain


def test_that_times_without_a_zone_are_taken_as_utc_is_told(program: Program) -> None:
    dates = "".join(f"2026-10-25 {number:02}:00:00\n" for number in range(24))
    ended = program(log=dates)
    assert (ended.code, "log: its times have no zone and are taken as UTC\n" in ended.err) == (0, True)
    assert "UTC" not in program(log=dates.replace("\n", "Z\n")).err


def test_stdin_is_a_file_too(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(HOURLY.encode())))
    assert program("-").out.startswith("stdin: 100 events in 4d 3h")


def test_a_network_is_asked_where_there_is_one() -> None:
    simulate.first_model.cache_clear()
    there = (ROOT / "agentd/learning/first-model.json").exists()
    assert (simulate.first_model() is not None) == there


# Errors


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            "yesterday",
            'log:101: "yesterday": expected a time such as "2026-10-25T01:30:00+02:00", or a number of seconds',
        ),
        ("nan", 'log:101: "nan": expected a time'),
        ("inf", 'log:101: "inf": expected a time'),
        ("-Infinity", 'log:101: "-Infinity": expected a time'),
        ("1_000_000", 'log:101: "1_000_000": expected a time'),
        ("٣٦٠٠٠٠٠", "expected a time"),
        ("1e300", 'log:101: "1e300": expected seconds from -1000000000000 to 1000000000000'),
        ("1e999", 'log:101: "1e999": expected seconds from'),
        ("2026-13-45", 'log:101: "2026-13-45": expected a time'),
        ("3600", 'log:101: "3600": earlier than "360000" before it: expected the times of one log, in their order'),
        ("2026-10-25T01:30Z", "a time with a zone, while the lines before have a number of seconds: expected one sort"),
        ("x" * 201, "log:101: longer than 200 bytes: expected a line with one time"),
        ("\x1b[2Jmallory", 'log:101: "\\x1b[2Jmallory": expected a time'),
        ("400000 500000", 'log:101: "400000 500000": expected a time'),
    ],
)
def test_a_line_that_is_no_time_is_told_with_its_place(program: Program, line: str, sentence: str) -> None:
    ended = program(log=f"{HOURLY}{line}\n")
    assert (ended.code, ended.out) == (2, "")
    assert sentence in ended.err
    assert ended.err.count("\n") == 2  # and that there is no network


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "log: there is no event in it: expected at least 10"),
        (b"# nothing\n\n", "log: there is no event in it"),
        (b"5\n", "log: there is one event in it"),
        (b"1\n2\n3\n", "log: there are 3 events in it: expected at least 10, as fewer tell nothing"),
        (b"7\n" * 20, 'log: all events are at "7": expected a history of some length'),
        (b"".join(b"%d\n" % number for number in range(20)), "log: its events span 19s: expected at least 50min, ten"),
        (b"0\n" * 20 + b"1000000000\n", "log: its events span 11574 days: expected ten years at most"),
        (b"0001-01-01\n" * 10 + b"9999-12-31T23:59:59\n", "log: its events span 3652059 days: expected ten years"),
        (b"0001-01-01T00:00+14:00\n" * 10 + b"9999-12-31T23:59:59-14:00\n", "expected ten years"),
        (b"\x00" * 5000, "log:1: longer than 200 bytes"),
        (b"\x7fELF\x00\n", 'log:1: "\\x7fELF\\x00": expected a time'),
        (b"\xff\xfe2\n", "log:1: not UTF-8 text"),
        (b"2026-10-25T01:00\n2026-10-25T02:00Z\n", "a time with a zone, while the lines before have a time without a"),
        (b"2026-10-25T01:00+02:00\n2026-10-25T00:30+01:00\n" + b"2026-10-25T00:00+01:00\n", "log:3: "),
    ],
)
def test_a_file_that_cannot_be_replayed_is_told(program: Program, content: bytes, sentence: str) -> None:
    ended = program(log=content)
    assert (ended.code, ended.out) == (2, "")
    assert sentence in ended.err


def test_a_file_that_cannot_be_read_is_told(program: Program) -> None:
    Path("folder").mkdir()
    assert "folder: cannot be read: is a directory\n" in program("folder").err
    assert "missing: cannot be read: no such file or directory\n" in program("missing").err
    assert "cannot be read: " in program("a\0b").err
    ended = program("\x1b[2Jmallory\udcff")
    assert ended.code == 2
    assert "\\x1b[2Jmallory\\udcff: cannot be read" in ended.err


def test_an_error_in_any_file_comes_before_all_figures(program: Program) -> None:
    ended = program(good=HOURLY, bad="what?\n")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.endswith(
        'bad:1: "what?": expected a time such as "2026-10-25T01:30:00+02:00", or a number of seconds\n'
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--cost=-1"], '--cost: "-1": expected seconds of processor time from 0 to 1000000'),
        (["--cost=nan"], '--cost: "nan": expected seconds'),
        (["--cost=1e300"], '--cost: "1e300": expected seconds'),
        (["--cost="], '--cost: "": expected seconds'),
        (["--min=10min"], "--min 10min, --start 5min, --max 6h: start must lie between min and max"),
        (["--max=1min"], "--min 30s, --start 5min, --max 1min: start must lie between min and max"),
        (["--start=12h"], "start must lie between min and max"),
        (["--min=0"], '--min: "0" is too short: expected at least 1s, as for a job'),
        (["--start=5"], '--start: "5" has no unit (try 5s, 5min, 5h)'),
        (["--max=-1h"], '--max: "-1h" is not a duration'),
        (["--max=200000d"], '--max: "200000d" is longer than a hundred years'),
        (["log"], '"log" is named twice: expected each file once'),
    ],
)
def test_options_that_cannot_be_are_told(program: Program, options: list[str], sentence: str) -> None:
    ended = program(*options, log=HOURLY)
    assert (ended.code, ended.out) == (2, "")
    assert sentence in ended.err


def test_a_replay_that_would_take_too_long_is_refused(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, who in (("_MOST_OF_OTHERS", "keep"), ("MOST_RUNS", "the best fixed interval")):
        monkeypatch.setattr(simulate, limit, 50)
        ended = program(log=HOURLY)
        assert (ended.code, ended.out) == (2, "")
        assert f"log: {who} would run too often for a replay in a minute or so: expected a shorter" in ended.err
    monkeypatch.setattr(events, "MOST_LINES", 50)
    assert "log:51: the file has more than 50 lines: expected a part of it" in program(log=HOURLY).err


@given(st.lists(st.one_of(st.binary(max_size=30), st.sampled_from([b"1", b"2e5", b"0001-01-01T00:00+23:59", b"#"]))))
def test_whatever_lines_there_are_they_are_read_or_told(lines: list[bytes]) -> None:
    told, at = "f:", [0.0] * LEAST_EVENTS
    try:
        at = read(lines, "f").at
    except Foreign as foreign:
        told = str(foreign)
    assert told.startswith("f:")
    assert told.isprintable()
    assert len(at) >= LEAST_EVENTS
    assert at == sorted(at)


@given(st.datetimes(), st.timezones())
def test_every_date_that_python_writes_is_read(moment: datetime, zone: tzinfo) -> None:
    text = moment.replace(tzinfo=zone).isoformat().encode()
    assert math.isfinite(read([text] * 9 + [b"9999-12-31T23:59:59.9-23:59"], "f").at[0])


def test_output_that_nobody_reads_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(HOURLY)
    command = f"{sys.executable} -P -m agentd.learning.simulate log"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    script = f"{command} > /dev/full; echo $?; {{ {command}; echo $? >&2; }} | true"
    ended = subprocess.run(
        ["sh", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.stdout == "1\n"
    assert "the output could not be written: No space left on device\n" in ended.stderr
    assert "Traceback" not in ended.stderr
