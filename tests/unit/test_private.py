"""Standalone mode takes nothing of somebody else's, follows no link, and leaves nothing for others to read."""

import asyncio
import errno
import fcntl
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from agentd import private
from agentd.private import Unusable, lock, take_folder

STRANGER = 65534
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of somebody else")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def take(state: Path) -> None:
    os.close(asyncio.run(lock(state)))


def mode(file: Path) -> int:
    return stat.S_IMODE(file.lstat().st_mode)


def full(*_: object) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def refusal(state: Path) -> str:
    with pytest.raises(Unusable) as caught:
        take(state)
    with pytest.raises(Unusable) as again:  # nothing was taken: a second try gets the same answer
        take(state)
    assert str(again.value) == str(caught.value)
    return str(caught.value)


def test_a_new_folder_is_this_users_alone(state: Path) -> None:
    take(state / "deep")
    assert (mode(state / "deep"), mode(state / "deep/lock")) == (0o700, 0o600)


def test_on_a_full_disk_the_directory_is_taken_and_nothing_is_emptied(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(state)
    before = (state / "lock").read_text()
    assert before == f"{os.getpid():>10}\n"
    monkeypatch.setattr(os, "pwrite", full)
    take(state)
    assert (state / "lock").read_text() == before


@pytest.mark.parametrize("open_to", [0o020, 0o002])
def test_a_folder_that_others_may_write_is_refused(state: Path, open_to: int) -> None:
    state.mkdir()
    state.chmod(0o755 | open_to)
    text = f"the state directory {state} cannot be used: others may write in {state} (chmod go-w, if nobody else did)"
    assert refusal(state) == f"{text}; choose another"
    assert list(state.iterdir()) == []


def test_what_is_no_folder_is_refused(state: Path) -> None:
    state.write_text("precious")
    assert "cannot be used" in refusal(state)
    assert state.read_text() == "precious"


@only_root
def test_a_folder_of_somebody_else_is_refused(state: Path) -> None:
    state.mkdir(mode=0o700)
    os.chown(state, STRANGER, STRANGER)
    assert f"{state} belongs to somebody else (uid {STRANGER}, and agentd runs as uid 0)" in refusal(state)


def test_a_folder_that_everybody_may_replace_is_refused_but_not_one_in_a_sticky_folder(tmp_path: Path) -> None:
    public = tmp_path / "public"
    public.mkdir()
    public.chmod(0o777)
    assert f"because {public} is open to everybody (chmod o-w)" in refusal(public / "mine/state")
    public.chmod(0o1777)
    take(public / "mine/state")


@only_root
def test_a_folder_below_one_of_somebody_else_is_refused_and_nothing_is_made_there(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o755)
    os.chown(theirs, STRANGER, STRANGER)
    text = f"somebody else (uid {STRANGER}) may put another in its place, because {theirs} is theirs"
    assert text in refusal(theirs / "deep/state")
    assert list(theirs.iterdir()) == []
    (theirs / "state").mkdir(mode=0o700)  # root's own, which its neighbour may rename
    assert text in refusal(theirs / "state")
    theirs.chmod(0o1755)  # the owner of a sticky folder may rename all the same
    assert text in refusal(theirs / "state")


@only_root
def test_a_folder_below_one_that_a_group_may_write_is_refused_but_not_ones_own_group(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    os.chown(shared, 0, STRANGER)
    shared.chmod(0o2775)
    assert f"because {shared} is open to the group {STRANGER} (chmod g-w)" in refusal(shared / "state")
    assert list(shared.iterdir()) == []
    os.chown(shared, 0, os.getegid())
    take(shared / "state")


@only_root
def test_nothing_is_made_behind_a_link_of_somebody_else(tmp_path: Path) -> None:
    public = tmp_path / "public"
    public.mkdir()
    public.chmod(0o1777)
    (tmp_path / "data").mkdir()
    (public / "link").symlink_to("../data")
    os.lchown(public / "link", STRANGER, STRANGER)
    assert "is a link of somebody else" in refusal(public / "link/deep/state")
    assert list((tmp_path / "data").iterdir()) == []


@only_root
def test_a_link_of_somebody_else_on_the_way_is_refused_but_not_ones_own(tmp_path: Path) -> None:
    public, link = tmp_path / "public", tmp_path / "public/link"
    public.mkdir()
    public.chmod(0o1777)
    (tmp_path / "data").mkdir()
    link.symlink_to("../data")
    take(link / "state")
    assert (tmp_path / "data/state/lock").is_file()
    os.lchown(link, STRANGER, STRANGER)
    assert f"{link} is a link of somebody else (uid {STRANGER})" in refusal(link / "state")


def test_a_link_to_a_folder_that_everybody_may_replace_is_refused(tmp_path: Path) -> None:
    public = tmp_path / "public"
    (public / "data").mkdir(parents=True)
    (public / "data").chmod(0o755)
    public.chmod(0o777)
    (tmp_path / "state").symlink_to("public/data")
    assert f"because {public} is open to everybody" in refusal(tmp_path / "state")


def test_a_link_in_the_place_of_the_lock_is_not_followed(state: Path, tmp_path: Path) -> None:
    state.mkdir(mode=0o700)
    precious = tmp_path / "precious"
    precious.write_text("keys")
    (state / "lock").symlink_to(precious)
    assert refusal(state) == f"{state}/lock cannot be used: is a link; expected a file of agentd: remove it"
    assert precious.read_text() == "keys"


def test_a_directory_that_jobs_of_a_killed_agentd_still_use_is_told_in_a_sentence(state: Path) -> None:
    state.mkdir(mode=0o700)
    with (state / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Unusable) as told:
            asyncio.run(lock(state, patience=0))
    sentence = f"the jobs of an agentd that was killed use the state directory {state}; choose another with --state-dir"
    assert str(told.value) == sentence


def fifo(file: Path) -> None:
    os.mkfifo(file)


def somebodys(file: Path) -> None:
    file.touch()
    os.chown(file, STRANGER, STRANGER)


@pytest.mark.parametrize("make", [fifo, pytest.param(somebodys, marks=only_root)])
def test_a_lock_that_is_no_file_of_ones_own_is_refused(state: Path, make: Callable[[Path], None]) -> None:
    state.mkdir(mode=0o700)
    make(state / "lock")
    assert refusal(state).startswith(f"{state}/lock is no file of this user's own")


@pytest.mark.parametrize("name", ["agentd.db", "agentd.db-wal", "bus.conf", "bus.log", "unstored-1.jsonl", "output"])
@pytest.mark.parametrize("make", [fifo, pytest.param(somebodys, marks=only_root), lambda file: file.symlink_to("/etc")])
def test_what_was_put_in_the_place_of_a_file_of_agentd_is_refused(
    state: Path, name: str, make: Callable[[Path], None]
) -> None:
    state.mkdir(mode=0o700)
    make(state / name)
    assert (
        refusal(state) == f"{state}/{name} is a link or belongs to somebody else: expected a file of agentd; remove it"
    )


def test_what_an_earlier_agentd_left_is_closed_to_others_and_the_rest_is_left_alone(state: Path) -> None:
    state.mkdir(mode=0o755)
    own = [
        "agentd.db",
        "agentd.db-wal",
        "agentd.db-shm",
        "bus.conf",
        "bus.log",
        "unstored-1.jsonl",
        "configuration.kept",
    ]
    for name in [*own, "notes.txt"]:
        (state / name).touch()
        (state / name).chmod(0o644)
    (state / "output").mkdir(mode=0o755)
    take(state)
    assert {mode(state / name) for name in own} == {0o600}
    assert (mode(state / "output"), mode(state / "notes.txt")) == (0o700, 0o644)


def test_the_address_is_never_written_through_a_link(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    precious = tmp_path / "precious"
    precious.write_text("keys")
    take_folder(private.runtime(), "runtime")
    state.mkdir()
    address = tmp_path / "agentd" / private.address_file(state)
    (tmp_path / f"agentd/new.{os.getpid()}").symlink_to(precious)
    address.symlink_to(precious)
    bus = private.PrivateBus(state)
    bus.publish()
    assert precious.read_text() == "keys"
    assert not address.is_symlink()
    assert address.read_text() == f"{bus.address}\n{os.getpid()}\n{state}\n"
    bus.close()
    assert not address.exists()


def test_the_bus_starts_without_a_file_that_has_to_be_written(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    state.mkdir()
    (state / "bus.conf").touch()  # of an agentd before
    bus = private.PrivateBus(state)
    bus.start(lambda *_: None)
    assert [*state.iterdir(), *(tmp_path / "agentd").iterdir()] == []
    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(Unusable, match=r"agentd/new\.\d+, by which agentctl finds agentd, cannot be written: no space"):
        bus.publish()


def test_a_bus_that_is_not_installed_is_named(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unusable, match=re.escape("dbus-daemon is not installed (apt install dbus-daemon)")):
        private.PrivateBus(state).start(lambda *_: None)


def test_a_runtime_folder_that_others_may_write_is_refused(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "agentd").mkdir()
    (tmp_path / "agentd").chmod(0o777)
    with pytest.raises(Unusable, match=f"the runtime directory {tmp_path}/agentd cannot be used: others may write"):
        private.PrivateBus(state).start(lambda *_: None)


def test_a_socket_with_a_name_that_is_too_long_is_refused_at_once(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("x" * 100)))
    with pytest.raises(Unusable, match="107 at most are possible: set XDG_RUNTIME_DIR to a shorter folder"):
        private.PrivateBus(state).start(lambda *_: pytest.fail("a bus that could not listen was started"))
