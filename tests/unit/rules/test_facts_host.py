"""What /proc, /sys and /run tell of the machine, in made-up trees and in the real one."""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentd.core.rules.kpis import RESOURCES, Disk, Memory, Missing, Swap
from agentd.core.rules.model import Source
from agentd.rules.facts.host import Host, boot_clock, clock_error
from tests.examples import examples

MEMINFO = """MemTotal:        8000000 kB
MemFree:          500000 kB
MemAvailable:    6000000 kB
Buffers:          100000 kB
Cached:          5000000 kB
SwapCached:            7 kB
SwapTotal:       2000000 kB
SwapFree:        1500000 kB
Shmem:            300000 kB
HugePages_Total:       0
"""
FILES = {
    "proc/meminfo": "memory",
    "proc/stat": "cpu",
    "proc/loadavg": "load",
    "sys/devices/system/cpu/online": "load",
    "proc/vmstat": "oom",
    "proc/pressure/io": "pressure",
}
"""Files, each with a source that reads it."""


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def write(root: Path, name: str, text: str | bytes) -> None:
    """Writes a file of a made-up tree."""
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())


def why(source: Callable[[str], object], instance: str = "") -> str:
    """Returns why a source has nothing to tell."""
    with pytest.raises(Missing) as missing:
        source(instance)
    return str(missing.value)


def forbidden() -> int:
    """Answers as the kernel does in a unit with ProtectClock=."""
    raise PermissionError(1, "Operation not permitted")


def test_memory_is_available_as_the_kernel_says(tmp_path: Path) -> None:
    write(tmp_path, "proc/meminfo", MEMINFO)
    assert Host(tmp_path).memory("") == Memory(8000000 * 1024, 6000000 * 1024)


def test_an_old_kernel_has_available_what_is_free_or_cached_but_not_in_a_tmpfs(tmp_path: Path) -> None:
    write(tmp_path, "proc/meminfo", MEMINFO.replace("MemAvailable", "Other"))
    assert Host(tmp_path).memory("") == Memory(8000000 * 1024, (500000 + 100000 + 5000000 - 300000) * 1024)


def test_no_more_memory_is_available_than_there_is(tmp_path: Path) -> None:
    write(tmp_path, "proc/meminfo", MEMINFO.replace("6000000", "9000000"))
    assert Host(tmp_path).memory("") == Memory(8000000 * 1024, 8000000 * 1024)


def test_a_machine_without_memory_is_not_believed(tmp_path: Path) -> None:
    write(tmp_path, "proc/meminfo", MEMINFO.replace("8000000", "0"))
    assert why(Host(tmp_path).memory) == "/proc/meminfo tells of no memory"


def test_swap_in_use_is_what_is_not_free(tmp_path: Path) -> None:
    write(tmp_path, "proc/meminfo", MEMINFO)
    assert Host(tmp_path).swap("") == Swap(2000000 * 1024, 500000 * 1024)


def test_no_swap_is_missing_and_not_empty(tmp_path: Path) -> None:
    write(tmp_path, "proc/meminfo", MEMINFO.replace("2000000", "0").replace("1500000", "0"))
    assert why(Host(tmp_path).swap) == "there is no swap"


def test_the_cpu_is_busy_but_for_idle_time_and_waiting_for_disks(tmp_path: Path) -> None:
    host = Host(tmp_path)
    write(tmp_path, "proc/stat", "cpu  100 0 100 1000 100 0 0 0 50 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
    assert why(host.cpu) == "no look before this one"
    # 10 user (5 of them for a guest), 5 system, 60 idle, 20 iowait, 5 stolen by the hypervisor
    write(tmp_path, "proc/stat", "cpu  110 0 105 1060 120 0 0 5 55 0\n")
    assert host.cpu("") == pytest.approx(20)


def test_a_counter_that_goes_backwards_counts_as_one_that_stands(tmp_path: Path) -> None:
    host = Host(tmp_path)
    write(tmp_path, "proc/stat", "cpu  100 0 0 1000 500 0 0 0 0 0\n")
    why(host.cpu)
    write(tmp_path, "proc/stat", "cpu  130 0 0 1070 400 0 0 0 0 0\n")
    assert host.cpu("") == pytest.approx(30)


def test_the_cpu_of_no_time_at_all_is_missing(tmp_path: Path) -> None:
    host = Host(tmp_path)
    write(tmp_path, "proc/stat", "cpu  100 0 0 1000 500 0 0 0 0 0\n")
    why(host.cpu)
    assert why(host.cpu) == "no time has passed since the look before"


@pytest.mark.parametrize(("online", "processors"), [("0-3", 4), ("0", 1), ("0-1,4,6-7", 5)])
def test_the_load_is_that_of_each_processor_online(tmp_path: Path, online: str, processors: int) -> None:
    write(tmp_path, "proc/loadavg", "6.50 1.00 0.50 2/300 999\n")
    write(tmp_path, "sys/devices/system/cpu/online", f"{online}\n")
    assert Host(tmp_path).load("") == pytest.approx(6.5 / processors)


def test_a_disk_is_as_full_as_df_says(tmp_path: Path) -> None:
    seen, disk = os.statvfs(tmp_path), Host().disk(str(tmp_path))
    assert disk.used + disk.free == pytest.approx(
        (seen.f_blocks - seen.f_bfree + seen.f_bavail) * seen.f_frsize, rel=0.01
    )
    assert disk.inodes == seen.f_files
    assert disk.inodes_free == pytest.approx(seen.f_favail, rel=0.01)


def test_the_root_is_near_where_it_is_on_a_disk_and_no_other_path_is() -> None:
    host, root, other = Host(), Source("disk", "/"), Source("disk", "/proc")
    assert not host.is_near(root)  # nobody looked yet
    host.disk("/proc")
    assert not host.is_near(root)
    host.disk("/")
    assert host.is_near(root) == (os.major(Path("/").stat().st_dev) != 0)
    assert not host.is_near(other)


def test_a_root_on_no_disk_is_not_near(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host()
    monkeypatch.setattr(os, "major", lambda _: 0)
    host.disk("/")
    assert not host.is_near(Source("disk", "/"))


@pytest.mark.parametrize(
    ("blocks", "free", "available", "disk"),
    [
        (1000, 300, 250, Disk(700 * 512, 250 * 512, 10, 4)),
        (1000, 30, 2**64 - 20, Disk(970 * 512, 0, 10, 4)),
        (1000, 1100, 900, Disk(0, 900 * 512, 10, 4)),
    ],
)
def test_a_disk_has_no_sizes_below_zero(
    monkeypatch: pytest.MonkeyPatch, blocks: int, free: int, available: int, disk: Disk
) -> None:
    seen = os.statvfs_result((4096, 512, blocks, free, available, 10, 5, 4, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: seen)
    assert Host().disk("/") == disk


@pytest.mark.parametrize(
    ("path", "trouble"),
    [
        ("/nowhere", "/nowhere cannot be looked at: no such file or directory"),
        ("/file/below", "/file/below cannot be looked at: not a directory"),
        ("/a\0b", "/a\0b cannot be looked at: there can be no such path"),
        ("/\ud800", "/\ud800 cannot be looked at: there can be no such path"),
    ],
)
def test_a_disk_that_cannot_be_looked_at_is_missing(tmp_path: Path, path: str, trouble: str) -> None:
    write(tmp_path, "file", "")
    assert why(Host(tmp_path).disk, path) == trouble


def test_a_folder_that_systemd_hides_does_not_tell_of_another_disk(tmp_path: Path) -> None:
    (tmp_path / "run/systemd/inaccessible/dir").mkdir(parents=True)
    (tmp_path / "home").symlink_to(tmp_path / "run/systemd/inaccessible/dir")
    assert why(Host(tmp_path).disk, "/home").startswith("systemd hides /home from agentd (ProtectHome=")
    assert Host(tmp_path).disk("/run").used > 0


def sensors(monkeypatch: pytest.MonkeyPatch, *degrees: float) -> None:
    """Gives the machine sensors that read so many degrees."""
    found = [SimpleNamespace(current=one) for one in degrees]
    monkeypatch.setattr(psutil, "sensors_temperatures", lambda: {"chip": found})


def test_the_temperature_is_that_of_the_hottest_sensor(monkeypatch: pytest.MonkeyPatch) -> None:
    sensors(monkeypatch, 41.0, 63.5, -5.0)
    assert Host().temperature("") == 63.5


def test_an_input_without_a_sensor_is_not_hot(monkeypatch: pytest.MonkeyPatch) -> None:
    sensors(monkeypatch, 127.0, 41.0, float("nan"), -128.0, 3000.0)
    assert Host().temperature("") == 41.0


def test_a_machine_without_sensors_has_no_temperature(monkeypatch: pytest.MonkeyPatch) -> None:
    sensors(monkeypatch)
    assert why(Host().temperature) == "the machine shows no sensor"


def test_sensors_that_cannot_be_read_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "sensors_temperatures", forbidden)
    assert why(Host().temperature) == "psutil cannot read the sensors: [Errno 1] Operation not permitted"


def stall(root: Path, some: int, full: int) -> None:
    """Has tasks wait for memory for so many microseconds since the boot."""
    averages = "avg10=0.00 avg60=99.00 avg300=0.00"
    write(root, "proc/pressure/memory", f"some {averages} total={some}\nfull {averages} total={full}\n")


def test_pressure_is_the_share_of_time_since_the_look_before(tmp_path: Path) -> None:
    clock = Clock()
    host = Host(tmp_path, clock)
    stall(tmp_path, 5_000_000, 1_000_000)
    assert why(host.pressure, "memory") == "no look before this one"
    clock.now += 10
    stall(tmp_path, 9_000_000, 1_500_000)
    assert host.pressure("memory") == pytest.approx(40)
    assert why(host.pressure, "memory-full") == "no look before this one"
    clock.now += 2
    stall(tmp_path, 9_000_000, 1_900_000)
    assert host.pressure("memory") == 0
    assert host.pressure("memory-full") == pytest.approx(20)


@pytest.mark.parametrize(("later", "percent"), [(99_000_000, 100), (0, 0)])
def test_pressure_is_never_below_nothing_nor_above_all(tmp_path: Path, later: int, percent: float) -> None:
    clock = Clock()
    host = Host(tmp_path, clock)
    stall(tmp_path, 5_000_000, 0)
    why(host.pressure, "memory")
    clock.now += 10
    stall(tmp_path, later, 0)
    assert host.pressure("memory") == percent


def test_pressure_needs_time_to_pass(tmp_path: Path) -> None:
    host = Host(tmp_path, Clock())
    stall(tmp_path, 5_000_000, 0)
    why(host.pressure, "memory")
    assert why(host.pressure, "memory") == "no time has passed since the look before"


def test_a_kernel_that_keeps_no_pressure_says_so(tmp_path: Path) -> None:
    for instance in RESOURCES:
        assert why(Host(tmp_path).pressure, instance) == "the kernel keeps no /proc/pressure (psi=0)"


def test_a_kernel_that_keeps_not_all_of_it_says_so(tmp_path: Path) -> None:
    write(tmp_path, "proc/pressure/cpu", "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\n")
    assert why(Host(tmp_path).pressure, "cpu-full") == 'the kernel tells no "full" in /proc/pressure/cpu'


def test_pressure_that_may_not_be_read_is_not_called_switched_off(tmp_path: Path) -> None:
    (tmp_path / "proc/pressure/cpu").mkdir(parents=True)
    assert why(Host(tmp_path).pressure, "cpu").endswith("/proc/pressure/cpu cannot be read: is a directory")


@pytest.mark.parametrize("instance", ["", "disk", "../stat", "cpu-some"])
def test_no_other_file_is_read_for_pressure(tmp_path: Path, instance: str) -> None:
    assert why(Host(tmp_path).pressure, instance).startswith(
        f"the kernel tells no pressure of {instance}: expected cpu,"
    )


def test_kills_for_want_of_memory_are_counted(tmp_path: Path) -> None:
    # The kernel gives such a file in parts, of a page each.
    write(tmp_path, "proc/vmstat", "nr_free_pages 1\n" * 1000 + "oom_kill 3\nnuma_hit 7\n")
    assert Host(tmp_path).oom("") == 3


def test_an_old_kernel_does_not_count_kills(tmp_path: Path) -> None:
    write(tmp_path, "proc/vmstat", "nr_free_pages 1\nxoom_kill 3\n")
    assert why(Host(tmp_path).oom) == "the kernel does not count them (before Linux 4.13)"


def test_a_reboot_is_required_when_an_upgrade_left_word(tmp_path: Path) -> None:
    write(tmp_path, "run/reboot-required", "*** System restart required ***\n")
    assert Host(tmp_path).reboot_required("") == 1


@pytest.mark.parametrize(
    "writer",
    [
        "usr/share/unattended-upgrades/unattended-upgrade-shutdown",
        "etc/kernel/postinst.d/unattended-upgrades",
        "usr/share/update-notifier/notify-reboot-required",
    ],
)
def test_no_reboot_is_required_where_somebody_would_have_left_word(tmp_path: Path, writer: str) -> None:
    write(tmp_path, writer, "")
    assert Host(tmp_path).reboot_required("") == 0


def test_where_nobody_would_leave_word_nobody_knows(tmp_path: Path) -> None:
    text = "nothing on this machine would write /run/reboot-required (unattended-upgrades does)"
    assert why(Host(tmp_path).reboot_required) == text


@pytest.mark.parametrize(("error", "kept"), [(0, 1), (15_999_999, 1), (16_000_000, 0)])
def test_a_clock_is_kept_while_the_kernel_reckons_with_a_small_error(tmp_path: Path, error: int, kept: float) -> None:
    assert Host(tmp_path, error=lambda: error).clock("") == kept


@pytest.mark.parametrize(("age", "kept"), [(0, 1), (31_000, 1), (33_000, 0), (-33_000, 0)])
def test_where_the_kernel_is_not_to_be_asked_timesyncd_tells(tmp_path: Path, age: int, kept: float) -> None:
    write(tmp_path, "run/systemd/timesync/synchronized", "")
    at = time.time() - age
    os.utime(tmp_path / "run/systemd/timesync/synchronized", (at, at))
    assert Host(tmp_path, error=forbidden).clock("") == kept


def test_timesyncd_without_an_answer_keeps_no_clock(tmp_path: Path) -> None:
    (tmp_path / "run/systemd/timesync").mkdir(parents=True)
    assert Host(tmp_path, error=forbidden).clock("") == 0


def test_where_nobody_tells_of_the_clock_it_is_missing(tmp_path: Path) -> None:
    text = "the kernel may not be asked (adjtimex: operation not permitted), and systemd-timesyncd does not run"
    assert why(Host(tmp_path, error=forbidden).clock) == text


def test_the_kernel_tells_the_error_of_its_clock() -> None:
    assert 0 <= clock_error() <= 2 * 16_000_000


def test_uptime_counts_suspend(tmp_path: Path) -> None:
    assert Host(tmp_path, boot=lambda: 7.5).uptime("") == 7.5
    assert Host().uptime("") == pytest.approx(boot_clock(), abs=60)
    assert boot_clock() >= time.monotonic() - 60


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_file_that_is_not_there_is_missing(tmp_path: Path, name: str) -> None:
    assert why(getattr(Host(tmp_path), FILES[name]), "io")


@pytest.mark.parametrize("name", sorted(FILES))
@given(
    text=st.binary(max_size=200)
    | st.sampled_from([b"MemTotal: 9 kB", b"MemAvailable:", b"SwapTotal: 1 MB", b"0-", b"5-3", b"nan 1", b"1e999 1"])
    | st.sampled_from(
        [b"cpu", b"cpu -1 0 0 0 0 0 0 0", b"some total=", b"some total=-1", b"\noom_kill ", b"\noom_kill -1"]
    )
    | st.binary(max_size=30).map(lambda tail: b"cpu " + b"9" * 5000 + b" 1 1 1 1 1 1 1 " + tail)
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(30), deadline=None)
def test_whatever_stands_in_a_file_it_is_a_number_or_missing(tmp_path: Path, name: str, text: bytes) -> None:
    write(tmp_path, "proc/loadavg", "1.0 1 1")
    write(tmp_path, "sys/devices/system/cpu/online", "0-1")
    write(tmp_path, name, text)
    host = Host(tmp_path)
    for source in (host.memory, host.swap, host.cpu, host.cpu, host.load, host.oom, host.pressure, host.pressure):
        found: object = None
        with contextlib.suppress(Missing):
            found = source("io")
        assert found is None or isinstance(found, Memory | Swap | float)


def test_a_file_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/vmstat").symlink_to("/dev/zero")
    assert why(Host(tmp_path).oom) == "the kernel does not count them (before Linux 4.13)"


def test_this_machine_tells_of_itself() -> None:
    host = Host()
    memory = host.memory("")
    assert 0 < memory.available <= memory.total
    assert memory.total == psutil.virtual_memory().total
    if Path("/sys/devices").exists():  # where packages are built it is not
        assert host.load("") == pytest.approx(os.getloadavg()[0] / (os.cpu_count() or 1), abs=5)
    else:
        assert why(host.load) == "/sys/devices/system/cpu/online cannot be read: no such file or directory"
    assert why(host.cpu) == "no look before this one"
    assert host.disk("/").used > 0
