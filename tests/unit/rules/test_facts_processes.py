"""Which processes take most of the machine."""

import os
from pathlib import Path

import pytest

from agentd.core.rules.kpis import Missing
from agentd.rules.facts import processes
from agentd.rules.facts.processes import Process, top

PAGE, TICKS = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")


def process(root: Path, pid: int, name: str | bytes, pages: int, used: float, started: float) -> None:
    """Adds a process to a made-up /proc: `used` seconds of processors' time, `started` seconds after the boot."""
    folder = root / "proc" / str(pid)
    folder.mkdir(parents=True)
    half = round(used * TICKS / 2)
    rest = f") S 1 1 1 0 -1 4194560 9 9 9 9 {half} {half} 8 8 20 0 1 0 {round(started * TICKS)} 999 {pages} 1 1\n"
    raw = name if isinstance(name, bytes) else name.encode()
    (folder / "stat").write_bytes(f"{pid} (".encode() + raw + rest.encode())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine that is up for 1000 s, with four processes and what else is in /proc."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/uptime").write_text("1000.00 1900.00\n")
    (tmp_path / "proc/meminfo").touch()
    process(tmp_path, 1, "systemd", 100, 10, 0)
    process(tmp_path, 20, "database", 5000, 450, 100)
    process(tmp_path, 30, "compiler", 900, 30, 980)
    process(tmp_path, 40, "kworker/0:1-events", 0, 0, 5)
    return tmp_path


def test_those_with_most_memory_and_those_with_most_processor_time_come_first(root: Path) -> None:
    found = top(2, root)
    me = os.getuid()
    database, compiler = found.memory
    assert database == Process(20, "database", me, 5000 * PAGE, database.cpu)
    assert compiler == Process(30, "compiler", me, 900 * PAGE, compiler.cpu)
    assert (database.cpu, compiler.cpu) == pytest.approx((50, 150))
    assert found.cpu == (compiler, database)
    assert found.unseen == 0


def test_all_are_shown_where_there_are_fewer(root: Path) -> None:
    found = top(root=root)
    assert [one.pid for one in found.memory] == [20, 30, 1, 40]
    assert [one.pid for one in found.cpu] == [30, 20, 1, 40]


def test_a_process_that_has_just_begun_is_judged_as_if_it_had_lived_a_second(root: Path) -> None:
    process(root, 50, "echo", 1, 0.02, 999.99)
    assert [one.cpu for one in top(9, root).cpu if one.pid == 50] == pytest.approx([2])


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a) R 1 (b", "a) R 1 (b"),
        ("two words", "two words"),
        (b"caf\xc3\xa9", "café"),
        (b"cut\xc3", "cut\ufffd"),
        ("bell\a\x1b[31m\n", "bell??[31m?"),
        ("n" * 70, "n" * 64),
        ("", ""),
    ],
)
def test_a_name_is_shown_whatever_the_process_calls_itself(root: Path, name: str | bytes, shown: str) -> None:
    process(root, 50, name, 9999, 1, 1)
    assert top(1, root).memory[0].name == shown


def test_a_process_that_goes_meanwhile_is_left_out(root: Path) -> None:
    (root / "proc/20/stat").unlink()
    found = top(5, root)
    assert [one.pid for one in found.memory] == [30, 1, 40]
    assert found.unseen == 0


def test_a_process_that_goes_last_of_all_is_left_out(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.stat

    def stat(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if path.name == "20":
            raise ProcessLookupError
        return real(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", stat)
    assert [one.pid for one in top(2, root).memory] == [30]


@pytest.mark.parametrize("text", ["", "20 (x", "20 (x) S 1 1", "20 (x) " + "x " * 40, "20 (x) " + "-1 " * 40])
def test_a_process_that_is_told_of_in_another_way_is_left_out(root: Path, text: str) -> None:
    (root / "proc/20/stat").write_text(text)
    assert [one.pid for one in top(5, root).memory] == [30, 1, 40]


def test_processes_that_may_not_be_looked_at_are_counted(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def guarded(path: str, flags: int) -> int:
        if path.endswith(("/1/stat", "/40/stat")):
            raise PermissionError(1, "Operation not permitted")
        return real(path, flags)

    monkeypatch.setattr(os, "open", guarded)
    found = top(5, root)
    assert ([one.pid for one in found.memory], found.unseen) == ([20, 30], 2)


def test_no_more_processes_are_looked_at_than_is_bearable(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_MOST", 3)
    assert len(top(9, root).memory) == 3


@pytest.mark.parametrize("text", ["", "soon", "nan 1", "inf 1"])
def test_without_the_time_since_the_boot_there_is_nothing_to_tell(root: Path, text: str) -> None:
    (root / "proc/uptime").write_text(text)
    with pytest.raises(Missing, match="/proc/uptime is not written as the kernel writes it"):
        top(5, root)


def test_without_proc_there_is_nothing_to_tell(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="/proc/uptime cannot be read: no such file or directory"):
        top(5, tmp_path)


def test_this_process_is_among_those_of_this_machine() -> None:
    found = top(10_000)
    own = next(one for one in found.memory if one.pid == os.getpid())
    assert own.user == os.geteuid()
    assert own.memory > 1_000_000
    assert own.name
    assert own.cpu > 0
    assert [one.memory for one in found.memory] == sorted((one.memory for one in found.memory), reverse=True)
