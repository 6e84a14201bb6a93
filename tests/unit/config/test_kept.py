"""The last good configuration is what was accepted, or none: never somebody else's, nor another one's."""

import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from agentd.config import files, kept
from agentd.config.problems import Problems
from tests.examples import examples
from tests.unit.config.texts import SAMPLE, write

ERRORS = Problems([])


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


def test_what_was_kept_is_what_was_read(file: Path, state: Path) -> None:
    loaded = files.load(write(file, SAMPLE))
    kept.keep(state, loaded, 1234)
    write(file, "jobs: {")
    with pytest.raises(Problems) as caught:
        files.load(file)
    last = kept.last_good(state, file, caught.value)
    assert last is not None
    assert (last.config, last.files, last.names_zone) == (loaded.config, loaded.files, loaded.names_zone)
    assert (last.errors, last.accepted) == (str(caught.value), 1234)
    assert stat.S_IMODE((state / kept.NAME).stat().st_mode) == 0o600
    assert [found.name for found in state.iterdir()] == [kept.NAME]


@settings(max_examples=examples(20), deadline=None)
@for_all(st.dictionaries(st.from_regex(r"[0-9a-z]{1,8}", fullmatch=True), st.integers(1, 99), max_size=5))
def test_layers_are_kept_in_their_order(tmp_path_factory: pytest.TempPathFactory, drop_ins: dict[str, int]) -> None:
    folder = tmp_path_factory.mktemp("kept")
    write(folder / "agentd.yaml", "timezone: Europe/Berlin\njobs: {a: {run: x, timeout: 100s}}\n")
    for name, seconds in drop_ins.items():
        write(folder / f"conf.d/{name}.yaml", f"jobs: {{a: {{timeout: {seconds}s}}, j{name}: {{run: x}}}}\n")
    loaded = files.load(folder)
    kept.keep(folder, loaded, 1)
    last = kept.last_good(folder, folder, ERRORS)
    assert last is not None
    assert (last.config, last.files) == (loaded.config, loaded.files)


def test_the_copy_of_another_configuration_is_none(file: Path, state: Path) -> None:
    kept.keep(state, files.load(write(file, SAMPLE)), 1)
    assert kept.last_good(state, file, ERRORS)
    assert kept.last_good(state, file.with_name("other.yaml"), ERRORS) is None
    assert kept.last_good(state, None, ERRORS) is None


def test_the_same_text_is_not_written_again(file: Path, state: Path) -> None:
    loaded = files.load(write(file, SAMPLE))
    kept.keep(state, loaded, 1)
    before = (state / kept.NAME).stat()
    kept.keep(state, loaded, 2)
    assert (state / kept.NAME).stat() == before
    kept.keep(state, files.load(write(file, f"{SAMPLE}# more\n")), 3)
    last = kept.last_good(state, file, ERRORS)
    assert last is not None
    assert last.accepted == 3


def link(file: Path) -> None:
    file.rename(file.with_name("elsewhere"))
    file.symlink_to("elsewhere")


def for_others(file: Path) -> None:
    file.chmod(0o620)


def somebodys(file: Path) -> None:
    os.chown(file, 65534, 65534)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-5])


def resized(file: Path, size: int, more: bytes = b"") -> None:
    """Has the first line say that each file has that size; 0: what there is."""
    head, text = file.read_bytes().split(b"\n", 1)
    copy = json.loads(head)
    copy["files"] = dict.fromkeys(copy["files"], size or len(text + more))
    file.write_bytes(json.dumps(copy).encode() + b"\n" + text + more)


def of_a_newer_agentd(file: Path) -> None:
    resized(file, 0, b"\nnewer: true\n")


def of_a_size_below_zero(file: Path) -> None:
    resized(file, -1)


def of_a_size_beyond_all_memory(file: Path) -> None:
    resized(file, 1 << 62)


def longer(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"#")


def of_an_older_agentd(file: Path) -> None:
    file.write_text(json.dumps({"given": str(file), "accepted": 1, "files": {str(file): SAMPLE}}))


@pytest.mark.parametrize(
    "change",
    [
        link,
        for_others,
        somebodys,
        cut,
        longer,
        of_a_size_below_zero,
        of_a_size_beyond_all_memory,
        of_a_newer_agentd,
        of_an_older_agentd,
        Path.unlink,
    ],
)
def test_a_copy_that_cannot_be_trusted_is_none(file: Path, state: Path, change: object) -> None:
    if change is somebodys and os.geteuid() != 0:
        pytest.skip("only root can make files of somebody else")
    kept.keep(state, files.load(write(file, SAMPLE)), 1)
    assert callable(change)
    change(state / kept.NAME)
    assert kept.last_good(state, file, ERRORS) is None
    kept.keep(state, files.load(file), 2)  # and is made anew
    last = kept.last_good(state, file, ERRORS)
    assert last is not None
    assert last.accepted == 2


def test_a_crash_while_it_is_written_leaves_the_one_before(
    file: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.keep(state, files.load(write(file, SAMPLE)), 1)
    newer = files.load(write(file, "jobs: {}\n"))

    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", fail)
        with pytest.raises(OSError, match="no space"):
            kept.keep(state, newer, 2)
    last = kept.last_good(state, file, ERRORS)
    assert last is not None
    assert list(last.config.jobs) == ["backup", "feed"]
    kept.keep(state, newer, 2)
    last = kept.last_good(state, file, ERRORS)
    assert last is not None
    assert last.config.jobs == {}
