"""A credential is found by its name, and used only where it is one line that nobody else may read."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agentd.notices.credentials import LONGEST, Unusable, read
from agentd.peers.credentials import OWN, PREFIX

SECRET = "https://example.org/s3cr3t"


@pytest.fixture
def places(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "service").mkdir()
    (tmp_path / "home" / OWN).mkdir(parents=True)
    return {"CREDENTIALS_DIRECTORY": str(tmp_path / "service"), "HOME": str(tmp_path / "home")}


def put(file: Path, content: bytes, mode: int = 0o600) -> Path:
    """Makes a file."""
    file.write_bytes(content)
    file.chmod(mode)
    return file


def test_systemds_credential_goes_before_the_users_own(places: dict[str, str]) -> None:
    put(Path(places["HOME"]) / OWN / "phone", b"own\n")
    assert read("phone", places) == "own"
    put(Path(places["CREDENTIALS_DIRECTORY"]) / f"{PREFIX}phone", SECRET.encode(), 0o440)
    assert read("phone", places) == SECRET


def test_the_sentence_about_a_credential_that_is_not_there_says_where_it_is_expected(places: dict[str, str]) -> None:
    expected = "there is no credential phone: expected agentd.notice.phone of systemd, or the file ~/.config/agentd/"
    for environment in (places, {}):
        with pytest.raises(Unusable) as refusal:
            read("phone", environment)
        assert str(refusal.value).startswith(expected)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty: expected a URL"),
        (b" \n", "is empty: expected a URL"),
        (f"{SECRET}\n{SECRET}".encode(), "has several lines: expected one URL"),
        (f"{SECRET}\x07x".encode(), "has control characters: expected a URL"),
        (SECRET.encode() + b"\xff", "is no text: expected a URL"),
        (SECRET.encode() + b"x" * LONGEST, "is longer than 64 KiB"),
    ],
)
def test_what_is_no_line_is_refused_without_a_word_of_it(places: dict[str, str], content: bytes, why: str) -> None:
    put(Path(places["HOME"]) / OWN / "phone", content)
    with pytest.raises(Unusable) as refusal:
        read("phone", places)
    assert str(refusal.value) == f"the credential phone {why}"


@pytest.mark.parametrize("mode", [0o640, 0o644, 0o604, 0o620, 0o602])
def test_a_file_that_others_may_open_is_refused(places: dict[str, str], mode: int) -> None:
    file = put(Path(places["HOME"]) / OWN / "phone", SECRET.encode(), mode)
    with pytest.raises(Unusable, match=rf"others may open {file} \(chmod 600 {file}\)$"):
        read("phone", places)


def _link(file: Path) -> None:
    file.symlink_to(put(file.with_name("other"), SECRET.encode()))


@pytest.mark.parametrize(
    ("make", "why"), [(_link, "is a link"), (Path.mkdir, "is a directory"), (os.mkfifo, "is not a file")]
)
def test_what_is_no_file_is_refused(places: dict[str, str], make: Callable[[Path], None], why: str) -> None:
    make(Path(places["HOME"]) / OWN / "phone")
    with pytest.raises(Unusable, match=why):
        read("phone", places)
