"""Files that tell of the machine: who holds a package manager's lock, and whether the state outlives a boot."""

import fcntl
import os
from pathlib import Path

import pytest

from agentd.reboots import machine, mounts

ROOT, NOBODY = 852, 853
HOME = "36 35 {device} / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n"


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file like dpkg's lock, and a /proc in which process 852 is root's and 853 another user's."""
    file = tmp_path / "lock-frontend"
    file.touch()
    proc = tmp_path / "proc"
    (proc / "self").mkdir(parents=True)
    for pid, name in ((ROOT, "dpkg"), (NOBODY, "evil")):
        (proc / str(pid)).mkdir()
        (proc / str(pid) / "comm").write_text(f"{name}\n")
    monkeypatch.setattr(machine, "LOCKS", (file,))
    monkeypatch.setattr(machine, "PROC", proc)
    monkeypatch.setattr(machine, "ROOT", os.getuid())
    monkeypatch.setattr(machine, "_may_be_root", _knowing(machine._may_be_root))
    (proc / "self" / "mountinfo").write_text(HOME.format(device="8:1"))
    return file


def _knowing(real: object) -> object:
    """Files of this test cannot be somebody else's: of process 853 it is said so."""
    return lambda pid: False if pid == str(NOBODY) else real(pid)  # type: ignore[operator]


def held(
    file: Path, *, pid: int = ROOT, device: tuple[int, int] | None = None, inode: int = 0, kind: str = "POSIX"
) -> list[str]:
    """Returns what is in the way where /proc/locks has one lock, by default that of the file itself."""
    found = file.stat()
    major, minor = device or (os.major(found.st_dev), os.minor(found.st_dev))
    others = f"1: FLOCK  ADVISORY  WRITE 1 00:05:{found.st_ino} 0 EOF\n2: POSIX  ADVISORY  READ 9 fe:01:7 0 0\n"
    line = f"3: {kind}  ADVISORY  WRITE {pid} {major:02x}:{minor:02x}:{inode or found.st_ino} 0 EOF\n"
    waiting = f"3: -> POSIX  ADVISORY  WRITE 7 {major:02x}:{minor:02x}:{found.st_ino} 0 EOF\n"
    (file.parent / "proc" / "locks").write_text(others + line + waiting)
    return [blocker.why for blocker in machine.package_manager()]


def test_a_lock_of_roots_on_the_file_itself_is_in_the_way(lock: Path) -> None:
    assert held(lock) == [f"dpkg (process {ROOT}) is at work and holds {lock}"]


def test_a_name_that_the_kernel_cut_within_a_letter_is_told(lock: Path) -> None:
    (lock.parent / "proc" / str(ROOT) / "comm").write_bytes("dpkg-aktualisié".encode()[:15] + b"\n")
    assert held(lock) == [f"dpkg-aktualisi\ufffd (process {ROOT}) is at work and holds {lock}"]


def test_an_inode_number_of_another_device_holds_nothing(lock: Path) -> None:
    found = lock.stat().st_dev
    for device in ((os.major(found), os.minor(found) + 1), (os.major(found) + 1, os.minor(found)), (0, 31)):
        assert held(lock, device=device) == []
        assert held(lock, device=device, pid=99_999) == [], "nor one of a process that is hidden"


def test_a_lock_of_another_user_holds_nothing(lock: Path) -> None:
    assert held(lock, pid=NOBODY) == []


@pytest.mark.parametrize(("kind", "pid"), [("OFDLCK", -1), ("FLOCK", 99_999)])
def test_where_devices_are_shared_a_lock_that_names_no_holder_holds_nothing(lock: Path, kind: str, pid: int) -> None:
    """By such a lock, everybody could hold reboots who has a file with the number of dpkg's in another subvolume."""
    assert held(lock, kind=kind, pid=pid, device=(8, 1)) == []
    assert held(lock, pid=99_999, device=(8, 1)) != [], "one that names a process may be a package manager's"
    assert held(lock, kind=kind, pid=pid) != [], "nor is there a doubt on a device of the file's own"


def test_the_unit_lets_agentd_see_whose_a_process_is() -> None:
    unit = (Path(__file__).parents[3] / "units" / "agentd.service").read_text()
    assert "\nProtectProc=noaccess\n" in unit, "where processes are invisible, all count as root's"


def test_a_process_that_agentd_may_not_see_counts_as_roots(lock: Path) -> None:
    assert held(lock, pid=99_999) == [f"process 99999 is at work and holds {lock}"]
    assert held(lock, pid=-1) != []  # an open file description's


def test_the_device_of_a_file_may_be_that_of_its_mount(lock: Path) -> None:
    """The file systems that have many parts, such as btrfs, tell stat() another device than /proc/locks."""
    assert held(lock, device=(8, 1)) != []
    mountinfo = lock.parent / "proc" / "self" / "mountinfo"
    mountinfo.write_text(
        HOME.format(device="8:1") + f"40 36 0:51 /sub {lock.parent} rw - btrfs /dev/vda2 rw,subvol=/a\n"
    )
    assert held(lock, device=(0, 51)) != []
    assert held(lock, device=(8, 1)) == []


def test_a_real_lock_is_found_and_one_on_a_file_with_its_number_elsewhere_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = tmp_path / "lock", tmp_path / "other"
    monkeypatch.setattr(machine, "ROOT", os.getuid())
    with mine.open("w") as file, other.open("w") as theirs:
        monkeypatch.setattr(machine, "LOCKS", (mine,))
        fcntl.lockf(theirs, fcntl.LOCK_EX)
        assert machine.package_manager() == []
        fcntl.lockf(file, fcntl.LOCK_EX)
        (blocker,) = machine.package_manager()
        assert f"(process {os.getpid()}) is at work and holds {mine}" in blocker.why
        monkeypatch.setattr(machine, "ROOT", os.getuid() + 1)
        assert machine.package_manager() == []


def test_an_upgrade_that_runs_by_itself_is_in_the_way_between_its_steps_too() -> None:
    assert Path("/run/unattended-upgrades.lock") in machine.LOCKS


def test_locks_that_cannot_be_read_are_in_the_way(lock: Path) -> None:
    assert "cannot be read" in machine.package_manager()[0].why
    assert lock.exists()


# Where the state lies

TABLE = """\
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
23 22 0:20 / /run rw,nosuid - tmpfs tmpfs rw,size=100k
24 22 0:21 / /var/lib/agentd rw,nosuid - tmpfs tmpfs rw,uid=990
25 22 0:22 / /srv/a\\040b rw - ramfs none rw
26 22 0:23 / /live rw - overlay overlay rw,lowerdir=/lower,upperdir=/run/live/rw,workdir=/run/live/work
27 22 0:24 / /kept rw - overlay overlay rw,lowerdir=/lower,upperdir=/home/up\\040per,workdir=/home/work
28 22 0:25 / /odd rw - overlay overlay rw,lowerdir=/lower
29 22 254:2 / /run/kept rw - xfs /dev/vda2 rw
nonsense
"""


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "mountinfo").write_text(TABLE)
    return tmp_path


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/var/lib/other", ""),
        ("/var/lib/agentd", "tmpfs on /var/lib/agentd"),
        ("/run/agentd", "tmpfs on /run"),
        ("/run/kept/agentd", ""),
        ("/srv/a b/agentd", "ramfs on /srv/a b"),
        ("/live/var/lib/agentd", "tmpfs on /run"),
        ("/kept/var/lib/agentd", ""),
        ("/odd/var/lib/agentd", ""),
    ],
)
def test_a_state_that_does_not_outlive_a_boot_is_known(proc: Path, folder: str, kind: str) -> None:
    found = mounts.forgets(Path(folder), proc)
    assert (kind in found, bool(found)) == (True, bool(kind))
    assert not found or found.startswith(f"{folder} lies in memory")


def test_of_two_mounts_in_one_place_the_last_counts(proc: Path) -> None:
    with (proc / "self" / "mountinfo").open("a") as file:
        file.write("30 24 254:3 / /var/lib/agentd rw - ext4 /dev/vda3 rw\n")
    assert mounts.forgets(Path("/var/lib/agentd"), proc) == ""


@pytest.mark.parametrize("name", [b"/home/u/\xff", b"/home/u/\xe9\x0c", "/home/u/\u2028".encode(), b"/home/u/\x85\r"])
def test_a_mount_of_any_name_hides_no_other(proc: Path, name: bytes) -> None:
    line = b"31 22 0:30 / %s rw shared:7 - fuse.x x rw\n" % name
    file = proc / "self" / "mountinfo"
    file.write_bytes(line + file.read_bytes() + line)
    assert "tmpfs on /var/lib/agentd" in mounts.forgets(Path("/var/lib/agentd"), proc)
    found = mounts.holding(Path(os.fsdecode(name)) / "file", proc)
    assert found is not None
    assert (found.device, found.kind) == ((0, 30), "fuse.x")


def test_a_folder_whose_name_is_no_text_is_told_as_text(proc: Path) -> None:
    with (proc / "self" / "mountinfo").open("ab") as file:
        file.write(b"31 22 0:30 / /srv/\xff rw - tmpfs tmpfs rw\n")
    assert mounts.forgets(Path(os.fsdecode(b"/srv/\xff/agentd")), proc).startswith(
        "/srv/\ufffd/agentd lies in memory (tmpfs on /srv/\ufffd)"
    )


def test_mounts_that_cannot_be_read_tell_nothing(tmp_path: Path) -> None:
    assert mounts.forgets(Path("/run"), tmp_path) == ""
    assert mounts.holding(Path("/run"), tmp_path) is None


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="this machine has no file system in memory here")
def test_a_real_file_system_in_memory_is_known() -> None:
    assert "lies in memory (tmpfs on /dev/shm)" in mounts.forgets(Path("/dev/shm"))
