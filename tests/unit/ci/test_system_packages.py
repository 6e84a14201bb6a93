"""Debian packages are installed in one place, once, and whoever holds apt's locks is waited for."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / ".ci/system-packages"
HOLD = "import fcntl, sys, time; file = open(sys.argv[1], 'w'); fcntl.lockf(file, fcntl.LOCK_EX); time.sleep(60)"
FAKES = {
    "id": "echo 0",
    # As apt-get does: "Could not get lock" where somebody holds the lock that it takes at once.
    "apt-get": """
        echo "$*" >>"$HERE/calls"
        case " $* " in
        *" update "*) lock=lists/lock ;;
        *) lock=archives/lock ;;
        esac
        if python3 -c 'import fcntl, sys; fcntl.lockf(open(sys.argv[1], "a"), fcntl.LOCK_EX | fcntl.LOCK_NB)' \
            "$HERE/$lock" 2>/dev/null; then
            [ ! -e "$HERE/broken" ] || { echo "E: Unable to fetch some archives"; exit 100; }
            case " $* " in *" install "*) cp "$HERE"/later/* "$HERE/bin/" ;; esac
        else
            echo "E: Could not get lock $HERE/$lock"
            exit 100
        fi""",
    "apt-config": """
        echo "lists='$HERE/lists/'; archives='$HERE/archives/'; status='$HERE/dpkg/status'" """,
    # What the packages bring is there when they were installed.
    **dict.fromkeys(("scdoc", "etcd", "openssl"), ""),
}


class Machine:
    """A machine on which nothing of the role "develop" is installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[str]] = []
        for name in ("bin", "tools", "lists", "archives", "dpkg"):
            (folder / name).mkdir()
        for name, script in FAKES.items():
            self.program(name, script, "later" if not script else "bin")
        # All other programs are this machine's, without those that are to be missing.
        for program in (
            "sh",
            "cat",
            "cp",
            "date",
            "dirname",
            "flock",
            "grep",
            "lslocks",
            "mkdir",
            "mktemp",
            "rm",
            "sleep",
        ):
            self.link(program)
        (folder / "tools/python3").symlink_to(sys.executable)

    def program(self, name: str, script: str, where: str) -> None:
        (self.folder / where).mkdir(exist_ok=True)
        file = self.folder / where / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    def link(self, name: str) -> None:
        found = next(Path(place) / name for place in ("/usr/bin", "/bin") if (Path(place) / name).exists())
        (self.folder / "tools" / name).symlink_to(found)

    def start(self, *roles: str, script: Path = SCRIPT, patience: int = 30) -> subprocess.Popen[str]:
        environment = {
            "PATH": f"{self.folder}/bin:{self.folder}/tools",
            "HERE": str(self.folder),
            "AGENTD_PATIENCE": str(patience),
            "AGENTD_PACKAGES_LOCK": str(self.folder / "lock"),
        }
        process = subprocess.Popen(
            ["/bin/sh", str(script), *roles], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        self.processes.append(process)
        return process

    def hold(self, lock: str) -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, "-c", HOLD, str(self.folder / lock)], text=True)
        self.processes.append(process)
        self.until(lambda: self.is_held(lock))
        return process

    def is_held(self, lock: str) -> bool:
        words = ["lslocks", "--noheadings", "--raw", "--output", "PATH"]
        return str(self.folder / lock) in subprocess.run(words, capture_output=True, text=True, check=True).stdout

    @property
    def calls(self) -> list[str]:
        file = self.folder / "calls"
        return file.read_text().splitlines() if file.exists() else []

    @staticmethod
    def until(true: Callable[[], object]) -> None:
        deadline = time.monotonic() + 20
        while not true():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.communicate()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    machine.close()


def test_what_is_missing_is_named_and_installed_after_one_update(machine: Machine) -> None:
    process = machine.start("develop")
    out, told = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "")
    assert told == "system packages: installing scdoc etcd-server openssl ...\n"
    update, install = machine.calls
    assert re.fullmatch(r"-qq -o DPkg::Lock::Timeout=\d+ update", update)
    assert re.fullmatch(
        r"-qq -o DPkg::Lock::Timeout=\d+ install --no-install-recommends -y scdoc etcd-server openssl", install
    )


def test_where_nothing_is_missing_apt_is_not_asked(machine: Machine) -> None:
    machine.start("develop").communicate(timeout=30)
    (machine.folder / "calls").unlink()
    process = machine.start("develop")
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 0
    assert machine.calls == []


@pytest.mark.parametrize("lock", ["lists/lock", "archives/lock", "dpkg/lock", "dpkg/lock-frontend"])
def test_whoever_holds_a_lock_of_apt_is_named_and_waited_for(machine: Machine, lock: str) -> None:
    holder = machine.hold(lock)
    process = machine.start("develop")
    assert process.stderr is not None
    process.stderr.readline()
    said = process.stderr.readline()
    name = Path(f"/proc/{holder.pid}/comm").read_text().strip()
    expected = f"process {holder.pid} \\({name}\\) holds apt's lock; waiting for it, at most \\d+ seconds ..."
    assert re.fullmatch(f"system packages: {expected}\n", said)
    assert machine.calls == []
    holder.kill()
    holder.wait()
    _, told = process.communicate(timeout=30)
    assert (process.returncode, told) == (0, "")
    assert len(machine.calls) == 2


@pytest.mark.parametrize("lock", ["lists/lock", "archives/lock"])
def test_a_lock_that_apt_does_not_wait_for_is_waited_for_also_where_its_holder_is_not_seen(
    machine: Machine, lock: str
) -> None:
    machine.program("lslocks", "exit 1", "bin")
    holder = machine.hold(lock)
    process = machine.start("develop")
    assert process.stderr is not None
    process.stderr.readline()
    said = process.stderr.readline()
    assert re.fullmatch(
        r"system packages: another program holds apt's lock; waiting for it, at most \d+ seconds ...\n", said
    )
    holder.kill()
    holder.wait()
    _, told = process.communicate(timeout=30)
    assert (process.returncode, told) == (0, "")


def test_patience_ends(machine: Machine) -> None:
    holder = machine.hold("lists/lock")
    process = machine.start("develop", patience=1)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 1
    assert f"process {holder.pid} " in told
    assert told.endswith(" still holds apt's lock; nothing was installed\n")
    assert machine.calls == []


def test_of_several_callers_one_installs_and_the_others_find_it_done(machine: Machine) -> None:
    holder = machine.hold("lists/lock")
    first = machine.start("develop")
    assert first.stderr is not None
    assert first.stderr.readline() == "system packages: installing scdoc etcd-server openssl ...\n"
    others = [machine.start("develop") for _ in range(2)]
    for other in others:
        assert other.stderr is not None
        assert other.stderr.readline() == (
            "system packages: another .ci/system-packages is at work; waiting for it, at most 30 seconds ...\n"
        )
    holder.kill()
    holder.wait()
    for process in (first, *others):
        process.communicate(timeout=30)
        assert process.returncode == 0
    assert len(machine.calls) == 2


def test_what_apt_says_is_shown_when_it_fails(machine: Machine) -> None:
    (machine.folder / "broken").touch()
    process = machine.start("develop")
    _, told = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "E: Unable to fetch some archives\nsystem packages: apt-get update failed; the lines above say why\n" in told


def test_a_package_that_does_not_bring_what_it_is_for_is_named(machine: Machine) -> None:
    (machine.folder / "later/etcd").unlink()
    process = machine.start("develop")
    _, told = process.communicate(timeout=30)
    assert process.returncode == 1
    assert told.endswith("but what they are for is still not there: etcd-server\n")


def test_somebody_who_is_not_root_is_told_what_to_install(machine: Machine) -> None:
    machine.program("id", "echo 1000", "bin")
    process = machine.start("develop")
    _, told = process.communicate(timeout=30)
    assert process.returncode == 1
    assert told == (
        "system packages: missing are scdoc etcd-server openssl; "
        "install them with: sudo apt install scdoc etcd-server openssl\n"
    )
    assert machine.calls == []


def test_roles_go_together_and_an_unknown_one_is_refused(machine: Machine) -> None:
    machine.program("id", "echo 1000", "bin")
    _, told = machine.start("run", "develop", "deb", "vm").communicate(timeout=30)
    for package in (
        "libsystemd-dev",
        "gcc",
        "scdoc",
        "etcd-server",
        "git",
        "qemu-system-x86",
        "qemu-utils",
    ):
        assert f" {package} " in told
    process = machine.start("developer")
    _, told = process.communicate(timeout=30)
    assert process.returncode == 1
    assert told == 'system packages: there is no role "developer", only run, develop, deb, vm\n'


SCRIPTS = (
    ROOT / "Makefile",
    ROOT / "tests/vm/image",
    ROOT / "tests/vm/schedulers",
    ROOT / "tests/vm/machine.py",
    ROOT / "tests/vm/conftest.py",
    *(file for file in sorted((ROOT / ".ci").iterdir()) if file.is_file()),
)


@pytest.mark.parametrize("file", SCRIPTS, ids=lambda file: file.name)
def test_this_machine_gets_packages_in_one_place_only(file: Path) -> None:
    if file == SCRIPT:
        return
    # Inside a root that is built, or a machine that is booted, nobody else is at work.
    elsewhere = r"^\s*(#|quietly inside |\(?inside |self\.run\()|command -v apt-get|fail \"|indextargets"
    lines = [line for line in file.read_text().splitlines() if not re.search(elsewhere, line)]
    assert [line for line in lines if re.search(r"\bapt-get\b|\bapt install\b", line)] == []


def test_everything_is_installed_before_anything_works_in_parallel() -> None:
    lines = (ROOT / ".ci/run").read_text().splitlines()
    works = [line for line in lines if line.startswith((".ci/", "make "))]
    assert works[0] == ".ci/system-packages run develop deb vm"
    assert re.search(r"^test-vm: system-vm ", (ROOT / "Makefile").read_text(), re.MULTILINE)
