"""What agentd takes of the machine: by its cgroup where that is its own, else by its process."""

import os
import threading
from pathlib import Path

import pytest

from agentd.core.rules.kpis import KPIS, Missing
from agentd.rules.facts.agent import AgentFacts

PAGE = os.sysconf("SC_PAGE_SIZE")
GROUP = "sys/fs/cgroup/system.slice/agentd.service"
STAT = f"7 (agentd) x) S 1 {' '.join('9' * 15)} 2 0 0 900 70 {' '.join('5' * 27)}\n"
MAIN = {"SYSTEMD_EXEC_PID": str(os.getpid())}


class Clock:
    """Clocks that stand still until they are set: of time, and of processors' time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.used = 5.0


def write(root: Path, name: str, text: str) -> None:
    """Writes a file of a made-up tree."""
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine whose agentd has a unit, 2 threads and, while its files are listed, 4 open files."""
    write(tmp_path, "proc/self/cgroup", "0::/system.slice/agentd.service\n")
    write(tmp_path, "proc/self/stat", STAT)
    for name in ("0", "1", "2", "3"):
        write(tmp_path, f"proc/self/fd/{name}", "")
    write(tmp_path, f"{GROUP}/memory.current", "50000\n")
    write(tmp_path, f"{GROUP}/memory.stat", "anon 10000\ninactive_file 20000\nactive_file 5\n")
    write(tmp_path, f"{GROUP}/cpu.stat", "usage_usec 3000000\nuser_usec 1\n")
    write(tmp_path, f"{GROUP}/pids.current", "6\n")
    return tmp_path


def facts(root: Path, clock: Clock, environment: dict[str, str]) -> AgentFacts:
    """Returns what is to be tested, with a store of 4096 bytes."""
    return AgentFacts(lambda: 4096, root, lambda: clock.now, lambda: clock.used, environment)


def test_the_main_process_of_a_unit_is_counted_by_its_cgroup(root: Path) -> None:
    clock = Clock()
    agent = facts(root, clock, MAIN)
    seen = agent.agent("")
    assert (seen.memory, seen.cpu, seen.tasks, seen.open_files, seen.store) == (30000, None, 6, 3, 4096)
    clock.now += 10
    write(root, f"{GROUP}/cpu.stat", "usage_usec 5500000\n")
    assert agent.agent("").cpu == pytest.approx(25)


@pytest.mark.parametrize("environment", [{}, {"SYSTEMD_EXEC_PID": "1"}])
def test_a_cgroup_that_may_have_others_in_it_is_not_agentds(root: Path, environment: dict[str, str]) -> None:
    clock = Clock()
    agent = facts(root, clock, environment)
    seen = agent.agent("")
    assert (seen.memory, seen.cpu, seen.tasks) == (70 * PAGE, None, 2)
    clock.now, clock.used = clock.now + 10, clock.used + 15
    assert agent.agent("").cpu == pytest.approx(150)


@pytest.mark.parametrize("line", ["0::/\n", "4:memory:/agentd.service\n0::/\n", "1:cpu:/x\n", "", "0::/../x\n"])
def test_where_the_cgroup_is_the_whole_machines_or_of_old_kind_the_process_counts(root: Path, line: str) -> None:
    for name, text in (("memory.current", "1"), ("memory.stat", "inactive_file 0\n"), ("pids.current", "999")):
        write(root, f"sys/fs/cgroup/{name}", text)
    write(root, "proc/self/cgroup", line)
    seen = facts(root, Clock(), MAIN).agent("")
    assert (seen.memory, seen.tasks) == (70 * PAGE, 2)


@pytest.mark.parametrize(
    ("name", "memory", "tasks"),
    [("memory.current", 70 * PAGE, 6), ("memory.stat", 70 * PAGE, 6), ("pids.current", 30000, 2)],
)
def test_what_the_cgroup_does_not_count_the_process_does(root: Path, name: str, memory: int, tasks: int) -> None:
    (root / GROUP / name).unlink()
    seen = facts(root, Clock(), MAIN).agent("")
    assert (seen.memory, seen.tasks) == (memory, tasks)


def test_times_of_a_cgroup_and_of_a_process_are_not_compared(root: Path) -> None:
    clock = Clock()
    agent = facts(root, clock, MAIN)
    agent.agent("")
    clock.now += 10
    (root / GROUP / "cpu.stat").unlink()
    assert agent.agent("").cpu is None
    clock.now, clock.used = clock.now + 10, clock.used + 1
    assert agent.agent("").cpu == pytest.approx(10)


def test_two_looks_at_the_same_instant_tell_no_share_of_time(root: Path) -> None:
    agent = facts(root, Clock(), MAIN)
    agent.agent("")
    assert agent.agent("").cpu is None


def test_pages_that_could_be_given_back_never_make_memory_negative(root: Path) -> None:
    write(root, f"{GROUP}/memory.current", "100\n")
    assert facts(root, Clock(), MAIN).agent("").memory == 0


def test_the_lag_is_the_worst_since_the_look_before_and_unknown_where_nothing_was_due(root: Path) -> None:
    agent = facts(root, Clock(), MAIN)
    for seconds in (0.1, 0.7, 0.2):
        agent.note_lag(seconds)
    assert [agent.agent("").lag, agent.agent("").lag] == [0.7, None]
    agent.note_lag(0)
    assert KPIS["LoopLag"].of(agent.agent(""), "") == 0
    with pytest.raises(Missing, match="only samples that rules need show how late"):
        KPIS["LoopLag"].of(agent.agent(""), "")


def test_a_lag_is_kept_for_the_next_look_where_a_look_finds_nothing(root: Path) -> None:
    agent = facts(root, Clock(), {})
    agent.note_lag(0.5)
    (root / "proc/self/stat").rename(root / "stat")
    with pytest.raises(Missing, match=r"/proc/self/stat cannot be read: no such file or directory"):
        agent.agent("")
    (root / "stat").rename(root / "proc/self/stat")
    assert agent.agent("").lag == 0.5


@pytest.mark.parametrize("text", ["", "7 (agentd) S", STAT.replace("70", "-7"), STAT.replace("70", "x"), "\0"])
def test_a_process_that_is_not_counted_as_expected_is_missing(root: Path, text: str) -> None:
    write(root, "proc/self/stat", text)
    with pytest.raises(Missing, match="stat is not written as the kernel writes it"):
        facts(root, Clock(), {}).agent("")


def test_a_process_without_the_folder_of_its_files_is_missing(root: Path) -> None:
    (root / "proc/self/fd").rename(root / "fd")
    with pytest.raises(Missing, match="/proc/self/fd cannot be read: no such file or directory"):
        facts(root, Clock(), {}).agent("")


def test_a_database_that_is_gone_leaves_its_size_alone_missing(root: Path) -> None:
    clock = Clock()
    store = root / "agentd.db"
    agent = AgentFacts(lambda: store.stat().st_size, root, lambda: clock.now, lambda: clock.used, {})
    seen = agent.agent("")
    assert (seen.store, seen.tasks, KPIS["AgentTasks"].of(seen, "")) == (None, 2, 2)
    with pytest.raises(Missing, match=r"agentd's database file is not there, or cannot be looked at"):
        KPIS["StoreSize"].of(seen, "")
    store.write_bytes(b"12345")
    assert KPIS["StoreSize"].of(agent.agent(""), "") == 5


def test_uptime_counts_from_the_start(root: Path) -> None:
    clock = Clock()
    agent = facts(root, clock, MAIN)
    clock.now += 90
    assert agent.agent("").uptime == 90


def test_this_process_tells_of_itself(tmp_path: Path) -> None:
    agent = AgentFacts(lambda: 0.0)
    before = agent.agent("")
    assert before.open_files == len(list(Path("/proc/self/fd").iterdir())) - 1
    ending = threading.Event()
    threads = [threading.Thread(target=ending.wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    with (tmp_path / "a").open("w"), (tmp_path / "b").open("w"):
        seen = agent.agent("")
    held = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
    ending.set()
    assert seen.open_files == before.open_files + 2
    assert seen.tasks == before.tasks + 3
    assert seen.memory == pytest.approx(held, rel=0.1)
    assert seen.cpu is not None
    assert seen.cpu >= 0
