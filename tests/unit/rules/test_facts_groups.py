"""The units that take most of the machine, in a made-up tree of control groups."""

from pathlib import Path

from agentd.rules.facts import groups


def unit(root: Path, path: str, memory: str, cpu: str = "usage_usec 1500000\nuser_usec 1\n") -> None:
    folder = root / "sys/fs/cgroup" / path
    folder.mkdir(parents=True)
    (folder / "memory.current").write_text(memory)
    (folder / "cpu.stat").write_text(cpu)


def test_the_units_with_most_memory_are_named_and_what_lies_below_them_is_not(tmp_path: Path) -> None:
    unit(tmp_path, "system.slice/small.service", "10\n")
    unit(tmp_path, "system.slice/agentd-jobs.slice/agentd-job@backup.service", "3000\n")
    unit(tmp_path, "system.slice/large.service", "5000\n")
    unit(tmp_path, "system.slice/large.service/child.service", "4000\n")
    found = groups.top(2, tmp_path)
    assert [(one.name, one.memory) for one in found] == [("large.service", 5000), ("agentd-job@backup.service", 3000)]
    assert found[0].cpu == 1.5


def test_what_is_not_counted_or_nonsense_is_left_out(tmp_path: Path) -> None:
    unit(tmp_path, "a.service", "max\n")
    unit(tmp_path, "b.service", "7\n", cpu="nonsense")
    (tmp_path / "sys/fs/cgroup/c.service").mkdir()
    unit(tmp_path, "d.service", "8\n")
    assert [one.name for one in groups.top(5, tmp_path)] == ["d.service"]


def test_without_control_groups_there_is_nobody(tmp_path: Path) -> None:
    assert groups.top(5, tmp_path) == []
