"""Configurations that are refused, with the place and a sentence for each error."""

from pathlib import Path

import pytest

from tests.unit.config.bad_configs import BAD
from tests.unit.config.texts import SAMPLE, errors, write


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
        f"{file}:2:1: is not YAML: while parsing a flow mapping, did not find expected ',' or '}}'",
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
