"""The configuration: what is refused and with which words, what is read and how it is meant, how files lie over
each other."""

import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agentd import config
from agentd.core.model import Config, History, Job, Limits, Missed, Retries
from agentd.core.triggers import Adaptive, At, Boot, Cron, Every, Manual
from agentd.core.units import DAY, HOUR, MINUTE, SECOND
from agentd.nodes import Problems
from tests.unit.bad_configs import BAD

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


def errors(given: Path) -> list[str]:
    """Every sentence about a configuration that must not be usable."""
    with pytest.raises(Problems) as caught:
        config.load(given)
    return [str(problem) for problem in caught.value.found]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "agentd.yaml"


@pytest.fixture
def read(file: Path) -> Any:
    """Loads a text as a configuration file."""

    def load(text: str) -> Config:
        return config.load(write(file, text)).config

    return load


@pytest.fixture
def job(read: Any) -> Any:
    """Loads a configuration of one job with some settings beside `run: x`."""

    def load(*settings: str) -> Job:
        lines = "".join(f"    {setting}\n" for setting in settings)
        result: Job = read(f"timezone: UTC\njobs:\n  one:\n    run: x\n{lines}").jobs["one"]
        return result

    return load


# What is refused.


@pytest.mark.parametrize(("text", "sentences"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_bad_file_is_refused_with_the_place_and_a_sentence(file: Path, text: str, sentences: list[str]) -> None:
    assert errors(write(file, text)) == [f"{file}:{sentence}" for sentence in sentences]


def test_the_table_of_bad_files_names_each_case_once() -> None:
    names = [case[0] for case in BAD]
    assert sorted(set(names)) == sorted(names)


def test_a_file_that_does_not_exist(file: Path) -> None:
    assert errors(file) == [f"{file}: cannot be read: no such file or directory"]


def test_a_file_in_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    file = tmp_path / "nowhere" / "agentd.yaml"
    assert errors(file) == [f"{file}: cannot be read: no such file or directory"]


def test_a_path_that_no_system_takes(tmp_path: Path) -> None:
    file = tmp_path / ("a" * 300)
    assert errors(file) == [f"{file}: cannot be read: file name too long"]


def test_a_folder_without_a_configuration(tmp_path: Path) -> None:
    assert errors(tmp_path) == [f"{tmp_path}: no configuration: expected agentd.yaml in this folder"]


def test_a_folder_in_the_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "conf.d" / "10-odd.yaml").mkdir(parents=True)
    assert errors(tmp_path) == [f"{tmp_path}/conf.d/10-odd.yaml: cannot be read: is a directory"]


def test_a_folder_of_drop_ins_that_may_not_be_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> list[Path]:
        raise PermissionError(13, "Permission denied", str(folder))

    write(file, SAMPLE)
    monkeypatch.setattr(Path, "iterdir", refuse)
    assert errors(file.parent) == [f"{file.parent}/conf.d: cannot be read: permission denied"]


def test_a_link_to_nothing(file: Path) -> None:
    file.symlink_to("nowhere")
    assert errors(file.parent) == [f"{file}: cannot be read: no such file or directory"]


def test_a_link_to_itself(file: Path) -> None:
    file.symlink_to(file)
    assert errors(file.parent) == [f"{file}: cannot be read: too many levels of symbolic links"]


def test_a_file_that_is_not_utf8(file: Path) -> None:
    assert errors(write(file, "timezone: UTC\njobs: {größe: x}\n".encode("latin-1"))) == [
        f"{file}:2:10: is not UTF-8 text"
    ]


def test_a_file_in_utf16(file: Path) -> None:
    assert errors(write(file, "timezone: UTC\n".encode("utf-16"))) == [f"{file}:1:1: is not UTF-8 text"]


def test_a_file_larger_than_any_configuration(file: Path) -> None:
    assert errors(write(file, b"#" * (16 << 20) + b"\n")) == [f"{file}: is larger than 16 MiB"]


def test_a_device_without_end() -> None:
    assert errors(Path("/dev/zero")) == ["/dev/zero: is larger than 16 MiB"]


@pytest.mark.parametrize("setting", ["run", "when", "environment", "notify", "missed", "useful", "timeout"])
def test_an_alias_bomb_is_refused_in_bounded_time(file: Path, setting: str) -> None:
    levels = "".join(f"  - &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 12))
    began = time.monotonic()
    found = errors(write(file, f"bomb:\n  - &l0 [x]\n{levels}jobs:\n  one: {{{setting}: *l11}}\n"))
    assert time.monotonic() - began < 10
    assert all(len(sentence) < 1000 for sentence in found)


def test_aliases_that_repeat_jobs_without_end_are_refused_in_bounded_time(file: Path) -> None:
    jobs = "".join(f"  j{n}: *a\n" for n in range(1000))
    began = time.monotonic()
    found = errors(write(file, f"jobs:\n  a: &a {{run: x, notify: [{'start, ' * 2000}]}}\n{jobs}"))
    assert time.monotonic() - began < 30
    assert len(found) == 1
    assert found[0].endswith(": the file holds more than a million values (those of an alias count each time)")


def test_errors_without_end_are_not_all_told(file: Path) -> None:
    keys = "".join(f"zzz{n}: x\n" for n in range(100_000))
    began = time.monotonic()
    found = errors(write(file, keys))
    assert time.monotonic() - began < 10
    assert found[-1] == f"{file}:1001:1: has more than 1000 errors; what comes after is not told"
    assert len(found) == 1001


def test_every_error_of_every_file_is_told_at_once_and_in_order(file: Path) -> None:
    write(file, "jobs:\n  a: {run: x, timeout: 5}\nwatch: 7\n")
    drop_in = write(file.parent / "conf.d" / "10.yaml", "jobs:\n  b: {run: x, jitter: 5}\nzzz: 1\njobs: {}\n")
    found = errors(file.parent)
    assert [sentence.partition(": ")[0] for sentence in found] == [
        f"{file}:2:24",
        f"{file}:3:8",
        f"{drop_in}:2:23",
        f"{drop_in}:3:1",
        f"{drop_in}:4:1",
    ]


def test_files_that_cannot_be_read_are_told_together_and_without_errors_that_only_follow(file: Path) -> None:
    write(file, "jobs: {a: {run: x}\n")
    drop_in = write(file.parent / "conf.d" / "10.yaml", "[]\n")
    write(file.parent / "conf.d" / "20.yaml", "jobs: {a: {timeout: 2h}}\n")
    assert errors(file.parent) == [
        f"{file}:2:1: is not YAML: the {{ of line 1 is never closed",
        f"{drop_in}:1:1: expected a mapping of settings, got a list",
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("watch: yes\nwatch: no\n", '2:1: "watch" is there twice (first in line 1)'),
        ("jobs:\n  a: {run: x}\n  a: {run: y}\n", '3:3: jobs: "a" is there twice (first in line 2)'),
        ("jobs:\n  a: {run: x, run: y}\n", '2:15: jobs.a: "run" is there twice (first in line 2)'),
        ("history: {runs: 100, runs: 200}\n", '1:22: history: "runs" is there twice (first in line 1)'),
        ("[a]: 1\n", "1:1: a key must be plain text"),
    ],
    ids=["top", "job", "setting", "history", "list as a key"],
)
def test_a_drop_in_does_not_hide_a_bad_key_of_the_file_below(file: Path, text: str, sentence: str) -> None:
    write(file, text)
    write(file.parent / "conf.d" / "10.yaml", "watch: yes\nhistory: {runs: 300}\njobs:\n  a: {run: z}\n")
    assert errors(file.parent) == [f"{file}:{sentence}"]


def test_a_list_as_a_key_in_a_drop_in(file: Path) -> None:
    write(file, SAMPLE)
    drop_in = write(file.parent / "conf.d" / "10.yaml", "[a]: 1\n")
    assert errors(file.parent) == [f"{drop_in}:1:1: a key must be plain text"]


def test_an_error_is_told_in_the_file_that_has_it(file: Path) -> None:
    write(file, "jobs:\n  a: {run: x, timeout: 1h}\n")
    drop_in = write(file.parent / "conf.d" / "10.yaml", "jobs:\n  a:\n    jitter: 5x\n")
    assert errors(file.parent) == [f'{drop_in}:3:13: jobs.a.jitter: "5x" is not a duration (try 5min, 2h, 1d)']


def test_what_a_file_holds_cannot_break_the_line_of_its_error(file: Path) -> None:
    (found,) = errors(write(file, 'timezone: "a\\nb\\e[31m"\n'))
    assert found == f'{file}:1:11: timezone: "a\\nb\\x1b[31m" is not a time zone (try Europe/Berlin or UTC)'


# What is read, and how it is meant.


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
        jobs={"one": Job(name="one", run=("/bin/sh", "-c", "x"), when=Manual(), timezone="UTC")},
    )


def test_the_jobs_of_the_design(read: Any) -> None:
    loaded = read(SAMPLE)
    assert loaded.timezone == "Europe/Berlin"
    assert list(loaded.jobs.values()) == [
        Job(
            name="backup",
            run=("/usr/local/bin/backup", "--all"),
            when=Cron("30 2 * * *"),
            timezone="Europe/Berlin",
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
            timezone="Europe/Berlin",
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
    assert {name: job.timezone for name, job in loaded.jobs.items()} == {"a": "Asia/Tokyo", "b": "Europe/Berlin"}


@pytest.mark.parametrize(
    ("variable", "zone"),
    [("America/New_York", "America/New_York"), (":Asia/Tokyo", "Asia/Tokyo"), ("CET-1CEST", "UTC")],
)
def test_without_a_time_zone_that_of_the_machine_counts(
    read: Any, monkeypatch: pytest.MonkeyPatch, variable: str, zone: str
) -> None:
    monkeypatch.setenv("TZ", variable)
    loaded = read("jobs:\n  a: {run: x}\n")
    assert (loaded.timezone, loaded.jobs["a"].timezone) == (zone, zone)


# Files that lie over each other.


def layers(folder: Path, main: str, **drop_ins: str) -> Config:
    """The configuration of a folder with agentd.yaml and conf.d/NAME.yaml ("_10" is 10.yaml)."""
    write(folder / "agentd.yaml", main)
    for name, text in drop_ins.items():
        write(folder / "conf.d" / f"{name.removeprefix('_')}.yaml", text)
    return config.load(folder).config


def test_a_drop_in_changes_one_setting_and_keeps_the_others(tmp_path: Path) -> None:
    base, changed = (
        layers(tmp_path, SAMPLE).jobs,
        layers(tmp_path, SAMPLE, _10="jobs:\n  backup: {timeout: 3h}\n").jobs,
    )
    assert changed["backup"].timeout == 3 * HOUR
    assert changed["backup"].run == base["backup"].run
    assert changed["backup"].limits == base["backup"].limits
    assert changed["feed"] == base["feed"]


def test_a_drop_in_replaces_a_setting_whole(tmp_path: Path) -> None:
    loaded = layers(
        tmp_path, SAMPLE, _10="jobs:\n  backup: {when: {every: 1h}, limits: {tasks: 5}, notify: [failure]}\n"
    )
    assert loaded.jobs["backup"].when == Every(HOUR)
    assert loaded.jobs["backup"].limits == Limits(tasks=5)
    assert loaded.jobs["backup"].notify == ("failure",)


def test_a_drop_in_adds_jobs_after_those_that_are_there(tmp_path: Path) -> None:
    loaded = layers(tmp_path, SAMPLE, _10="jobs:\n  third: {run: x}\n")
    assert list(loaded.jobs) == ["backup", "feed", "third"]


def test_a_drop_in_may_be_named_yml_and_is_read_in_its_place(tmp_path: Path) -> None:
    write(tmp_path / "conf.d" / "15.yml", "timezone: Asia/Tokyo\nconcurrency: 3\n")
    write(tmp_path / "conf.d" / "15.yml.dpkg-old", "nonsense: 1\n")
    loaded = layers(tmp_path, SAMPLE, _10="timezone: UTC\n", _20="concurrency: 4\n")
    assert (loaded.timezone, loaded.concurrency) == ("Asia/Tokyo", 4)


def test_a_drop_in_changes_settings_outside_of_jobs_key_by_key(tmp_path: Path) -> None:
    loaded = layers(
        tmp_path,
        "timezone: Asia/Tokyo\nhistory: {keep: 1d, runs: 500}\njobs:\n  a: {run: x}\n",
        _10="timezone: UTC\nhistory: {runs: 700}\n",
    )
    assert loaded.history == History(keep=DAY, runs=700)
    assert loaded.jobs["a"].timezone == "UTC"


def test_the_drop_in_with_the_later_name_wins(tmp_path: Path) -> None:
    timeouts = {f"_{name}": f"jobs:\n  backup: {{timeout: {name}min}}\n" for name in ("30", "10", "20")}
    assert layers(tmp_path, SAMPLE, **timeouts).jobs["backup"].timeout == 30 * MINUTE


def test_a_job_may_be_spread_over_files(tmp_path: Path) -> None:
    loaded = layers(tmp_path, "jobs:\n  a: {timeout: 1h}\n", _10="jobs:\n  a: {run: x}\n")
    assert (loaded.jobs["a"].timeout, loaded.jobs["a"].run) == (HOUR, ("/bin/sh", "-c", "x"))


def test_drop_ins_alone_are_a_configuration(tmp_path: Path) -> None:
    drop_in = write(tmp_path / "conf.d" / "10.yaml", SAMPLE)
    loaded = config.load(tmp_path)
    assert (list(loaded.config.jobs), loaded.files) == (["backup", "feed"], (str(drop_in),))


def test_empty_files_change_nothing(tmp_path: Path) -> None:
    assert layers(tmp_path, SAMPLE, _10="# nothing\n") == layers(tmp_path, SAMPLE)


@pytest.mark.parametrize("name", ["README", "10.yaml~", "10.yml~", "10.yaml.dpkg-dist", ".10.yaml", ".#10.yaml"])
def test_what_is_no_drop_in_is_not_read(tmp_path: Path, name: str) -> None:
    write(tmp_path / "conf.d" / name, "[nonsense")
    assert layers(tmp_path, SAMPLE) == config.load(write(tmp_path / "agentd.yaml", SAMPLE)).config


def test_one_file_is_read_without_the_drop_ins_beside_it(file: Path) -> None:
    write(file.parent / "conf.d" / "10.yaml", "[nonsense")
    loaded = config.load(write(file, SAMPLE))
    assert loaded.files == (str(file),)


def test_a_link_to_dev_null_masks_a_drop_in(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "10.yaml").symlink_to("/dev/null")
    layers(tmp_path, SAMPLE)
    assert config.load(tmp_path).files == (str(tmp_path / "agentd.yaml"),)


def test_files_are_listed_in_rising_precedence(tmp_path: Path) -> None:
    layers(tmp_path, SAMPLE, _20="", _10="")
    names = [os.path.relpath(name, tmp_path) for name in config.load(tmp_path).files]
    assert names == ["agentd.yaml", "conf.d/10.yaml", "conf.d/20.yaml"]


# The system's folders.


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with usr, run and etc for the system's folders."""
    monkeypatch.setattr(config, "SYSTEM_DIRECTORIES", tuple(tmp_path / name for name in ("usr", "run", "etc")))
    return tmp_path


def concurrency() -> int:
    return config.load().config.concurrency


def test_the_administrators_file_hides_those_of_the_same_name(system: Path) -> None:
    write(system / "usr/agentd.yaml", "[nonsense")
    write(system / "run/agentd.yaml", "concurrency: 2\n")
    assert concurrency() == 2
    etc = write(system / "etc/agentd.yaml", "concurrency: 3\n")
    assert concurrency() == 3
    assert config.load().files == (str(etc),)


def test_a_drop_in_of_a_later_folder_hides_that_of_the_same_name(system: Path) -> None:
    write(system / "usr/conf.d/50.yaml", "concurrency: 1\nwatch: no\n")
    write(system / "run/conf.d/50.yaml", "concurrency: 2\n")
    assert concurrency() == 2
    assert config.load().config.watch
    write(system / "etc/conf.d/50.yaml", "concurrency: 3\n")
    assert concurrency() == 3


def test_drop_ins_of_all_folders_are_read_in_the_order_of_their_names(system: Path) -> None:
    write(system / "usr/conf.d/90.yaml", "concurrency: 1\n")
    write(system / "etc/conf.d/10.yaml", "concurrency: 3\n")
    write(system / "etc/agentd.yaml", "concurrency: 4\n")
    assert concurrency() == 1
    assert [Path(name).name for name in config.load().files] == ["agentd.yaml", "10.yaml", "90.yaml"]


def test_the_administrator_masks_what_a_package_brings(system: Path) -> None:
    write(system / "usr/conf.d/50.yaml", "concurrency: 1\n")
    write(system / "etc/agentd.yaml", "concurrency: 4\n")
    (system / "etc/conf.d").mkdir()
    (system / "etc/conf.d/50.yaml").symlink_to("/dev/null")
    assert concurrency() == 4


def test_a_system_without_a_configuration(system: Path) -> None:
    with pytest.raises(Problems) as caught:
        config.load()
    assert str(caught.value) == f"{system}/etc: no configuration: expected agentd.yaml in this folder"


def test_the_folders_to_watch(system: Path, file: Path) -> None:
    assert config.folders(None) == [
        path for name in ("usr", "run", "etc") for path in (system / name, system / name / "conf.d")
    ]
    assert config.folders(system) == [system, system / "conf.d"]
    assert config.folders(file) == [file.parent]


# Anything at all.

WORDS = st.sampled_from(
    re.findall(
        r"\S+",
        "jobs timezone history watch concurrency run when every at cron adaptive boot after manual start min max time "
        "days missed within useful file environment retries count backoff limits memory notify user a b <<",
    )
)
SCALARS = st.one_of(
    WORDS,
    st.sampled_from(["5min", "13:30", "UTC", "0", "-1", "010", "~", "", "1G", "mon-fri", "[", "*a", "&a x", "!!int 1"]),
    st.integers().map(str),
    st.text(max_size=20),
    st.text(max_size=20).map(lambda text: "'" + text.replace("'", "''") + "'"),
)
TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda items: f"[{', '.join(items)}]")
        | st.lists(st.tuples(WORDS | SCALARS, inner), max_size=5).map(
            lambda pairs: "{" + ", ".join(f"{key}: {value}" for key, value in pairs) + "}"
        )
    ),
    max_leaves=20,
)
JOBS = st.lists(st.tuples(WORDS, TREES), min_size=1, max_size=4).map(
    lambda pairs: "jobs:\n  a:\n    run: x\n" + "".join(f"    {key}: {value}\n" for key, value in pairs)
)
FUZZ = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def expect_loaded_or_told(given: Path) -> None:
    try:
        loaded = config.load(given)
    except Problems as error:
        found = error.found
    else:
        assert isinstance(loaded.config, Config)
        return
    assert found
    for problem in found:
        assert problem.message.strip()
        assert problem.message.isprintable()


@FUZZ
@given(text=st.text(max_size=200))
@example(text="a: \r\x85\u2028\t[")
@example(text="&a [*a]: &b {*b : 1}")
@example(text="%YAML 2.0\n--- a")
@example(text="!!python/object/apply:os.system [ls]")
def test_any_text_is_read_or_refused(file: Path, text: str) -> None:
    expect_loaded_or_told(write(file, text.encode(errors="surrogatepass")))


@FUZZ
@given(text=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(file: Path, text: bytes) -> None:
    expect_loaded_or_told(write(file, text))


@FUZZ
@given(text=TREES)
def test_any_tree_is_read_or_refused(file: Path, text: str) -> None:
    expect_loaded_or_told(write(file, text.encode(errors="surrogatepass")))


@FUZZ
@given(text=JOBS)
def test_any_settings_of_a_job_are_read_or_refused(file: Path, text: str) -> None:
    expect_loaded_or_told(write(file, text.encode(errors="surrogatepass")))


@FUZZ
@given(main=JOBS | TREES, drop_in=JOBS | TREES)
def test_any_two_files_are_read_or_refused_together(file: Path, main: str, drop_in: str) -> None:
    write(file, main.encode(errors="surrogatepass"))
    write(file.parent / "conf.d" / "10.yaml", drop_in.encode(errors="surrogatepass"))
    expect_loaded_or_told(file.parent)
