"""Files that are laid over each other, and the system's folders."""

import os
from pathlib import Path

import pytest

from agentd.config import files
from agentd.config.problems import Problems
from agentd.core.config import History
from agentd.core.jobs.settings import Limits
from agentd.core.jobs.triggers import Every
from agentd.core.quantities import DAY, HOUR, MINUTE
from tests.unit.config.texts import SAMPLE, layers, write, zones


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
    assert zones(loaded) == {"a": "UTC"}


def test_the_drop_in_with_the_later_name_wins(tmp_path: Path) -> None:
    timeouts = {f"_{name}": f"jobs:\n  backup: {{timeout: {name}min}}\n" for name in ("30", "10", "20")}
    assert layers(tmp_path, SAMPLE, **timeouts).jobs["backup"].timeout == 30 * MINUTE


def test_a_job_may_be_spread_over_files(tmp_path: Path) -> None:
    loaded = layers(tmp_path, "jobs:\n  a: {timeout: 1h}\n", _10="jobs:\n  a: {run: x}\n")
    assert (loaded.jobs["a"].timeout, loaded.jobs["a"].run) == (HOUR, ("/bin/sh", "-c", "x"))


def test_drop_ins_alone_are_a_configuration(tmp_path: Path) -> None:
    drop_in = write(tmp_path / "conf.d" / "10.yaml", SAMPLE)
    loaded = files.load(tmp_path)
    assert (list(loaded.config.jobs), loaded.files) == (["backup", "feed"], (str(drop_in),))


def test_empty_files_change_nothing(tmp_path: Path) -> None:
    assert layers(tmp_path, SAMPLE, _10="# nothing\n") == layers(tmp_path, SAMPLE)


@pytest.mark.parametrize("name", ["README", "10.yaml~", "10.yml~", "10.yaml.dpkg-dist", ".10.yaml", ".#10.yaml"])
def test_what_is_no_drop_in_is_not_read(tmp_path: Path, name: str) -> None:
    write(tmp_path / "conf.d" / name, "[nonsense")
    assert layers(tmp_path, SAMPLE) == files.load(write(tmp_path / "agentd.yaml", SAMPLE)).config


def test_one_file_is_read_without_the_drop_ins_beside_it(file: Path) -> None:
    write(file.parent / "conf.d" / "10.yaml", "[nonsense")
    loaded = files.load(write(file, SAMPLE))
    assert loaded.files == (str(file),)


def test_a_link_to_dev_null_masks_a_drop_in(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "10.yaml").symlink_to("/dev/null")
    layers(tmp_path, SAMPLE)
    assert files.load(tmp_path).files == (str(tmp_path / "agentd.yaml"),)


def test_files_are_listed_in_rising_precedence(tmp_path: Path) -> None:
    layers(tmp_path, SAMPLE, _20="", _10="")
    names = [os.path.relpath(name, tmp_path) for name in files.load(tmp_path).files]
    assert names == ["agentd.yaml", "conf.d/10.yaml", "conf.d/20.yaml"]


# The system's folders.


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with usr, run and etc for the system's folders."""
    monkeypatch.setattr(files, "SYSTEM_DIRECTORIES", tuple(tmp_path / name for name in ("usr", "run", "etc")))
    return tmp_path


def concurrency() -> int:
    return files.load().config.concurrency


def test_the_administrators_file_hides_those_of_the_same_name(system: Path) -> None:
    write(system / "usr/agentd.yaml", "[nonsense")
    write(system / "run/agentd.yaml", "concurrency: 2\n")
    assert concurrency() == 2
    etc = write(system / "etc/agentd.yaml", "concurrency: 3\n")
    assert concurrency() == 3
    assert files.load().files == (str(etc),)


def test_a_drop_in_of_a_later_folder_hides_that_of_the_same_name(system: Path) -> None:
    write(system / "usr/conf.d/50.yaml", "concurrency: 1\nwatch: no\n")
    write(system / "run/conf.d/50.yaml", "concurrency: 2\n")
    assert concurrency() == 2
    assert files.load().config.watch
    write(system / "etc/conf.d/50.yaml", "concurrency: 3\n")
    assert concurrency() == 3


def test_drop_ins_of_all_folders_are_read_in_the_order_of_their_names(system: Path) -> None:
    write(system / "usr/conf.d/90.yaml", "concurrency: 1\n")
    write(system / "etc/conf.d/10.yaml", "concurrency: 3\n")
    write(system / "etc/agentd.yaml", "concurrency: 4\n")
    assert concurrency() == 1
    assert [Path(name).name for name in files.load().files] == ["agentd.yaml", "10.yaml", "90.yaml"]


def test_the_administrator_masks_what_a_package_brings(system: Path) -> None:
    write(system / "usr/conf.d/50.yaml", "concurrency: 1\n")
    write(system / "etc/agentd.yaml", "concurrency: 4\n")
    (system / "etc/conf.d").mkdir()
    (system / "etc/conf.d/50.yaml").symlink_to("/dev/null")
    assert concurrency() == 4


def test_a_system_without_a_configuration(system: Path) -> None:
    with pytest.raises(Problems) as caught:
        files.load()
    assert str(caught.value) == f"{system}/etc: no configuration: expected agentd.yaml in this folder"


def test_the_folders_and_files_to_watch(system: Path, file: Path) -> None:
    folders = [path for name in ("usr", "run", "etc") for path in (system / name, system / name / "conf.d")]
    assert files.watched(None) == folders
    drop_in = write(system / "etc/conf.d/10.yaml", "")
    assert files.watched(None) == [*folders, drop_in]
    main = write(system / "agentd.yaml", "")
    assert files.watched(system) == [system, system / "conf.d", main]
    assert files.watched(file) == [file]
