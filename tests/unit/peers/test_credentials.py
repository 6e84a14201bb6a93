"""A credential looked at from outside: what a courier would say of it, without opening it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.notices.credentials import Unusable, read
from agentd.peers.credentials import OWN, PREFIX, of_either, of_systemd, own

SECRET = "https://example.org/s3cr3t"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a folder for credentials."""
    (tmp_path / "home" / OWN).mkdir(parents=True)
    return tmp_path / "home"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The top of a machine's file system, where systemd has no credential."""
    for name in ("etc/credstore", "etc/credstore.encrypted"):
        (tmp_path / "top" / name).mkdir(parents=True, mode=0o700)
    return tmp_path / "top"


def put(file: Path, mode: int = 0o600) -> Path:
    file.write_text(SECRET)
    file.chmod(mode)
    return file


def of(home: Path) -> dict[str, str]:
    return {"HOME": str(home)}


# Standalone


def _nothing(_: Path) -> None:
    """Leaves the place empty."""


def _link(file: Path) -> None:
    file.symlink_to(put(file.with_name("other")))


@given(mode=st.integers(0, 0o777).map(lambda mode: mode | 0o400), place=st.sampled_from(("service", "home", "both")))
def test_what_is_told_from_outside_is_what_a_courier_says(
    tmp_path_factory: pytest.TempPathFactory, mode: int, place: str
) -> None:
    folder = tmp_path_factory.mktemp("c")
    (folder / OWN).mkdir(parents=True)
    if place != "service":
        put(folder / OWN / "phone", mode)
    if place != "home":
        put(folder / f"{PREFIX}phone", mode)
    environment = {"HOME": str(folder), "CREDENTIALS_DIRECTORY": str(folder)}
    assert own("phone", environment) == said(environment)


@pytest.mark.parametrize("make", [_nothing, Path.mkdir, os.mkfifo, _link])
def test_what_is_no_file_is_told_and_nothing_waits_for_it(home: Path, make: Callable[[Path], None]) -> None:
    make(home / OWN / "phone")
    told, expected = own("phone", of(home)), said(of(home))
    assert told
    assert told.partition(" is ")[0] == expected.partition(" is ")[0]


def test_without_a_home_there_is_none() -> None:
    assert (
        own("phone", {})
        == said({})
        == (
            "there is no credential phone: expected agentd.notice.phone of systemd, or the file ~/.config/agentd/"
            "credentials/phone"
        )
    )


def test_a_file_is_looked_at_and_never_opened(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(home / OWN / "phone")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr("builtins.open", refuse)
    assert own("phone", of(home)) == ""


def said(environment: dict[str, str]) -> str:
    """What a courier says of the credential phone; "": it can be used."""
    try:
        read("phone", environment)
    except Unusable as unusable:
        return str(unusable)
    return ""


# Of systemd


@pytest.mark.parametrize(
    "folder",
    ["etc/credstore", "run/credstore", "usr/lib/credstore", "run/credstore.encrypted", "run/credentials/@system"],
)
def test_systemds_credential_is_found_in_each_of_its_places(machine: Path, folder: str) -> None:
    assert of_systemd("phone", machine) == (
        f"there is no credential phone: expected agentd.notice.phone in {machine}/etc/credstore.encrypted or "
        f"{machine}/etc/credstore"
    )
    (machine / folder).mkdir(parents=True, exist_ok=True)
    put(machine / folder / "agentd.notice.phone")
    assert of_systemd("phone", machine) == ""
    assert of_systemd("team", machine) != ""


@pytest.mark.parametrize(
    ("folder", "folder_mode", "mode", "told"),
    [
        ("etc/credstore", 0o755, 0o644, True),
        ("etc/credstore", 0o755, 0o600, False),
        ("etc/credstore", 0o700, 0o644, False),  # nobody gets there
        ("etc/credstore.encrypted", 0o755, 0o644, False),  # nobody can read that
    ],
)
def test_a_credential_that_others_may_open_is_told(
    machine: Path, folder: str, folder_mode: int, mode: int, told: bool
) -> None:
    file = put(machine / folder / "agentd.notice.phone", mode)
    file.parent.chmod(folder_mode)
    expected = f"the credential phone cannot be used: others may open {file} (chmod 600 {file})"
    assert of_systemd("phone", machine) == (expected if told else "")


def test_whoever_may_not_look_there_is_told_nothing_that_nobody_knows(
    machine: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.stat

    def stat(self: Path, **more: bool) -> os.stat_result:
        if self.parent == machine / "etc/credstore":
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, **more)

    monkeypatch.setattr(Path, "stat", stat)
    assert of_systemd("phone", machine) == ""
    assert of_either("phone", of(home), machine) == (
        "there is no file ~/.config/agentd/credentials/phone, which an agentd that runs standalone expects"
    )


# Of either


def test_a_file_of_settings_may_be_for_a_service_or_for_a_user(machine: Path, home: Path) -> None:
    assert of_either("phone", of(home), machine) == said(of(home))
    file = put(machine / "etc/credstore/agentd.notice.phone")
    assert of_either("phone", of(home), machine) == ""
    file.unlink()
    file = put(home / OWN / "phone")
    assert of_either("phone", of(home), machine) == ""
    file.chmod(0o644)
    assert of_either("phone", of(home), machine).endswith(f"others may open {file} (chmod 600 {file})")
