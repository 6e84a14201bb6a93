"""What the kernel says about schedulers, from a /sys that a test wrote: in every state, and while it changes."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agentd.core.schedulers.model import Observed
from agentd.schedulers import sysfs
from agentd.schedulers.sysfs import Unreadable, events, observe, sub_schedulers


def write(root: Path, state: str, ops: str = "", **more: object) -> Path:
    """Writes what the kernel shows in a state; returns the folder."""
    folder = root / "sys/kernel/sched_ext"
    folder.mkdir(parents=True, exist_ok=True)
    files = {"state": state, "switch_all": 1, "nr_rejected": 0, "hotplug_seq": 1, "enable_seq": 7, **more}
    for name, value in files.items():
        (folder / name).write_text(f"{value}\n")
    if ops:
        (folder / "root").mkdir(exist_ok=True)
        (folder / "root/ops").write_text(f"{ops}\n")
    return folder


def test_a_kernel_without_sched_ext_has_no_schedulers(tmp_path: Path) -> None:
    assert observe(tmp_path) == Observed(state="absent")
    assert (events(tmp_path), sub_schedulers(tmp_path)) == ({}, {})


def test_a_scheduler_that_runs_is_seen_with_all_that_the_kernel_tells(tmp_path: Path) -> None:
    write(tmp_path, "enabled", "bpfland_1.1.4_x86_64_unknown_linux_gnu", nr_rejected=3)
    assert observe(tmp_path) == Observed(
        state="enabled", ops="bpfland_1.1.4_x86_64_unknown_linux_gnu", seq=7, rejected=3, hotplugs=1
    )


@pytest.mark.parametrize("state", ["disabled", "enabling", "disabling"])
def test_every_state_is_the_kernels_word(tmp_path: Path, state: str) -> None:
    write(tmp_path, state, switch_all=0)
    found = observe(tmp_path)
    assert (found.state, found.ops, found.switched_all) == (state, "", state == "disabled")


def test_a_scheduler_of_some_tasks_alone_is_told_from_one_of_all(tmp_path: Path) -> None:
    write(tmp_path, "enabled", "qmap", switch_all=0)
    assert not observe(tmp_path).switched_all


def test_a_state_that_agentd_does_not_know_is_not_guessed(tmp_path: Path) -> None:
    write(tmp_path, "dreaming")
    with pytest.raises(Unreadable, match='says "dreaming", which agentd does not know'):
        observe(tmp_path)


def test_a_state_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    folder = write(tmp_path, "enabled", "simple")
    (folder / "state").unlink()
    (folder / "state").mkdir()
    with pytest.raises(Unreadable, match="sched_ext/state cannot be read: Is a directory"):
        observe(tmp_path)


def during(monkeypatch: pytest.MonkeyPatch, name: str, *changes: Callable[[], object]) -> None:
    """Has a change made just before each time that a file is read."""
    plain, left = sysfs._text, list(changes)

    def text(path: str) -> str:
        if path.endswith(name) and left:
            left.pop(0)()
        return plain(path)

    monkeypatch.setattr(sysfs, "_text", text)


def test_a_scheduler_that_leaves_during_the_look_is_seen_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path, "enabled", "simple")

    def leave() -> None:
        (folder / "root/ops").unlink()
        (folder / "root").rmdir()
        write(tmp_path, "disabled")

    during(monkeypatch, "root/ops", leave)
    assert observe(tmp_path) == Observed(state="disabled", seq=7, hotplugs=1)


def test_one_scheduler_is_never_seen_with_the_name_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "enabled", "simple")
    during(monkeypatch, "switch_all", lambda: write(tmp_path, "enabled", "flatcg", enable_seq=8))
    found = observe(tmp_path)
    assert (found.ops, found.seq) == ("flatcg", 8)


def test_a_scheduler_that_never_rests_is_looked_at_a_few_times_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "enabled", "simple")
    seqs = iter(range(8, 1000))
    changes = [lambda: write(tmp_path, "enabled", "simple", enable_seq=next(seqs))] * 900
    during(monkeypatch, "enable_seq", *changes)
    assert observe(tmp_path).state == "enabled"
    assert next(seqs) < 20


def test_a_file_whose_scheduler_left_while_it_was_open_is_as_good_as_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "disabling", "simple")
    plain = os.read
    reads = iter(range(1000))

    def read(file: int, size: int) -> bytes:
        if "root/ops" in str(Path(f"/proc/self/fd/{file}").readlink()) and next(reads) == 0:
            raise OSError(19, "No such device")
        return plain(file, size)

    monkeypatch.setattr(os, "read", read)
    assert observe(tmp_path).ops == ""


def test_the_kernels_counts_are_read_whatever_they_are_called(tmp_path: Path) -> None:
    folder = write(tmp_path, "enabled", "simple")
    (folder / "root/events").write_text(
        "SCX_EV_SELECT_CPU_FALLBACK 12\nSCX_EV_NEW_IN_LINUX_9 18446744073709551615\nodd line here\nSCX_EV_X -1\n"
    )
    assert events(tmp_path) == {"SCX_EV_SELECT_CPU_FALLBACK": 12, "SCX_EV_NEW_IN_LINUX_9": (1 << 64) - 1}


@pytest.mark.parametrize("place", ["root/sub/sub-4711", "root/sub/sub-4711/sub/sub-5", "sub-4711"])
def test_schedulers_of_control_groups_are_found_wherever_the_kernel_shows_them(tmp_path: Path, place: str) -> None:
    folder = write(tmp_path, "enabled", "simple")
    (folder / place).mkdir(parents=True)
    (folder / place / "ops").write_text("cell\n")
    assert sub_schedulers(tmp_path) == {place: "cell"}
    assert observe(tmp_path).ops == "simple"
