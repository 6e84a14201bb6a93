"""Configurations that are read, and how they are meant."""

from typing import Any

import pytest

from agentd.core.config import Config, History
from agentd.core.jobs.settings import Job, Limits, Missed, Retries
from agentd.core.jobs.triggers import Adaptive, At, Boot, Cron, Every, Manual
from agentd.core.quantities import DAY, HOUR, MINUTE, SECOND
from tests.unit.config.texts import SAMPLE, zones


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "~\n", "\ufeff", "{}\n"])
def test_an_empty_file_is_an_empty_configuration(read: Any, text: str) -> None:
    assert read(text).jobs == {}


def test_defaults(read: Any) -> None:
    assert read("timezone: UTC\njobs:\n  one: {run: x}\n") == Config(
        timezone="UTC",
        concurrency=100,
        watch=True,
        stop_timeout=30 * SECOND,
        history=History(keep=90 * DAY, runs=100_000, output=1 << 20, total_output=256 << 20),
        jobs={"one": Job(name="one", run=("/bin/sh", "-c", "x"), when=Manual())},
    )


def test_the_jobs_of_the_design(read: Any) -> None:
    loaded = read(SAMPLE)
    assert loaded.timezone == "Europe/Berlin"
    assert zones(loaded) == {"backup": "Europe/Berlin", "feed": "Europe/Berlin"}
    assert list(loaded.jobs.values()) == [
        Job(
            name="backup",
            run=("/usr/local/bin/backup", "--all"),
            when=Cron("30 2 * * *"),
            user="backup",
            timeout=2 * HOUR,
            overlap="skip",
            missed=Missed("once"),
            retries=Retries(count=3, backoff=MINUTE, max=30 * MINUTE),
            jitter=5 * MINUTE,
            limits=Limits(memory=1 << 30, cpu_weight=50, tasks=64),
            notify=("start", "failure", "success", "progress"),
        ),
        Job(
            name="feed",
            run=("/bin/sh", "-c", "/opt/feed.py"),
            when=Adaptive(5 * MINUTE, 30 * SECOND, 6 * HOUR),
            useful="output",
        ),
    ]


@pytest.mark.parametrize(
    ("preset", "period"),
    [
        ("15min", 15 * MINUTE),
        ("30min", 30 * MINUTE),
        ("1hour", HOUR),
        ("3hours", 3 * HOUR),
        ("6hours", 6 * HOUR),
        ("12hours", 12 * HOUR),
        ("24hours", 24 * HOUR),
    ],
)
def test_presets(job: Any, preset: str, period: int) -> None:
    assert job(f"when: {{every: {preset}}}").when == Every(period)


@pytest.mark.parametrize(
    ("when", "trigger"),
    [
        ("manual", Manual()),
        ("{manual: true}", Manual()),
        ("{every: 90s}", Every(90 * SECOND)),
        ("{every: 1h 30min}", Every(90 * MINUTE)),
        ("{cron: '@daily'}", Cron("0 0 * * *")),
        ("{cron: 0 0 29 2 *}", Cron("0 0 29 2 *")),
        ("{cron: 0 0 31 1 1}", Cron("0 0 31 1 1")),  # or on Mondays
        ("{cron: 0 0 L * *}", Cron("0 0 L * *")),
        ('{at: "00:00"}', At((0,))),
        ('{at: ["18:30", "02:30", "02:30"]}', At((9000, 66600))),
        ('{at: {time: "02:30", days: mon-fri}}', At((9000,), (0, 1, 2, 3, 4))),
        ('{at: {time: ["02:30"], days: [sat, Sunday]}}', At((9000,), (5, 6))),
        ("{boot: 2min}", Boot(2 * MINUTE)),
        ("{boot: 0}", Boot(0)),
        ("{adaptive: {start: 10min}}", Adaptive(10 * MINUTE, MINUTE, 100 * MINUTE)),
        ("{adaptive: {start: 5s, max: 5s}}", Adaptive(5 * SECOND, SECOND, 5 * SECOND)),
    ],
)
def test_triggers(job: Any, when: str, trigger: object) -> None:
    assert job(f"when: {when}").when == trigger


@pytest.mark.parametrize(
    ("written", "seconds"), [("13:30", 48600), ("02:30", 9000), ("2:30", 9000), ("23:59:59", 86399), ("0:00", 0)]
)
def test_a_time_of_day_needs_no_quotes(job: Any, written: str, seconds: int) -> None:
    assert job(f"when: {{at: {written}}}").when == At((seconds,))


@pytest.mark.parametrize("name", ["on", "off", "yes", "no", "true", "null", "1", "1.5", "1e3", "010", "a:b"])
def test_a_job_may_have_any_word_or_number_for_a_name(read: Any, name: str) -> None:
    assert list(read(f"jobs:\n  {name}: {{run: x}}\n").jobs) == [name]


def test_a_job_name_may_have_a_hundred_characters(read: Any) -> None:
    assert list(read(f"jobs:\n  {'a' * 100}: {{run: x}}\n").jobs) == ["a" * 100]


@pytest.mark.parametrize("word", ["no", "yes", "true", "10:30", "010", "1_000", "2026-12-24", "0x1f", "1e3", ".inf"])
def test_what_yaml_would_take_for_something_else_stays_text(read: Any, word: str) -> None:
    one = read(
        f"jobs:\n  one:\n    run: [echo, {word}]\n    description: {word}\n    environment: {{A: {word}}}\n"
    ).jobs["one"]
    assert one.run == ("echo", word)
    assert one.description == word
    assert one.environment == {"A": word}


@pytest.mark.parametrize("written", ["no", "exit 3", "'a: b'", '"echo \\"two words\\" | wc"'])
def test_a_text_to_run_is_given_to_the_shell(read: Any, written: str) -> None:
    text = written[1:-1].replace('\\"', '"') if written[0] in "'\"" else written
    assert read(f"jobs:\n  one: {{run: {written}}}\n").jobs["one"].run == ("/bin/sh", "-c", text)


def test_a_script_of_several_lines_is_given_to_the_shell_as_it_stands(read: Any) -> None:
    one = read("jobs:\n  one:\n    run: |\n      set -e\n      echo two\n").jobs["one"]
    assert one.run == ("/bin/sh", "-c", "set -e\necho two\n")


def test_arguments_are_taken_as_they_are(read: Any) -> None:
    assert read('jobs:\n  one: {run: [printf, "%s $HOME", "", 007]}\n').jobs["one"].run == (
        "printf",
        "%s $HOME",
        "",
        "007",
    )


@pytest.mark.parametrize(
    ("word", "meaning"), [("yes", True), ("on", True), ("True", True), ("no", False), ("OFF", False), ("false", False)]
)
def test_every_word_for_true_and_false(job: Any, word: str, meaning: bool) -> None:
    assert job(f"enabled: {word}").enabled is meaning


@pytest.mark.parametrize(
    ("setting", "field", "value"),
    [
        ("missed: skip", "missed", Missed("skip")),
        ("missed: all", "missed", Missed("all")),
        ("missed: {within: 1h}", "missed", Missed("within", HOUR)),
        ("useful: exit-code", "useful", "exit-code"),
        ("useful: {file: /var/lib/feed/last}", "useful", "file:/var/lib/feed/last"),
        ("notify: failure", "notify", ("failure",)),
        ("notify: []", "notify", ()),
        ("user: 1000", "user", "1000"),
        ("working_directory: /", "working_directory", "/"),
        ("description: ''", "description", ""),
        ("environment: {}", "environment", {}),
        ("environment: {A: }", "environment", {"A": ""}),
        ("jitter: 0", "jitter", 0),
        ("stop_timeout: 1500ms", "stop_timeout", 1500 * 1000),
        ("limits: {}", "limits", Limits()),
        ("limits: {memory: 512 MiB}", "limits", Limits(memory=512 << 20)),
        ("limits: {memory: 1024}", "limits", Limits(memory=1024)),
        ("retries: {count: 0}", "retries", Retries()),
        ("retries: {count: 100}", "retries", Retries(count=100)),
    ],
)
def test_settings_of_a_job(job: Any, setting: str, field: str, value: object) -> None:
    assert getattr(job(setting), field) == value


def test_an_alias_repeats_what_was_written(read: Any) -> None:
    jobs = read("jobs:\n  a: {run: x, retries: &r {count: 2}, when: &w {every: 1h}}\n  b: &b {run: x, retries: *r}\n")
    assert jobs.jobs["b"].retries == Retries(count=2)


def test_the_time_zone_of_all_is_that_of_each_job_that_names_none(read: Any) -> None:
    loaded = read("timezone: Asia/Tokyo\njobs:\n  a: {run: x}\n  b: {run: x, timezone: Europe/Berlin}\n")
    assert zones(loaded) == {"a": "Asia/Tokyo", "b": "Europe/Berlin"}


@pytest.mark.parametrize(
    ("variable", "zone"),
    [("America/New_York", "America/New_York"), (":Asia/Tokyo", "Asia/Tokyo"), ("CET-1CEST", "UTC")],
)
def test_without_a_time_zone_that_of_the_machine_counts(
    read: Any, monkeypatch: pytest.MonkeyPatch, variable: str, zone: str
) -> None:
    monkeypatch.setenv("TZ", variable)
    loaded = read("jobs:\n  a: {run: x}\n")
    assert (loaded.timezone, zones(loaded)) == (zone, {"a": zone})
