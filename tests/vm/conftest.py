"""Fixtures of the tests that run in a real Debian machine."""

import fcntl
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.vm.machine import KEPT, Kernel, Machine, MachineError
from tests.vm.sched_ext import build_schedulers, install_schedulers

HERE = Path(__file__).parent
NewMachine = Callable[[Kernel], Machine]
INSTALLED = "installed"
"""The snapshot from before agentd was started."""


@pytest.fixture(scope="session")
def new_machine() -> Iterator[NewMachine]:
    """Boots machines of a kernel; they are thrown away when the last test is done, or earlier by who closes them."""
    machines: list[Machine] = []

    def new(kernel: Kernel = "trixie") -> Machine:
        machine = Machine(kernel)
        machines.append(machine)
        return machine.start()

    yield new
    for machine in machines:
        machine.close()


@pytest.fixture(scope="session")
def deb() -> Path:
    """The package to test, which `make test-vm` names."""
    path = Path(os.environ.get("AGENTD_DEB", ""))
    if not path.is_file():
        pytest.fail("AGENTD_DEB names no file: run these tests with `make test-vm`, which builds the package first")
    return path


@pytest.fixture(scope="module")
def bare_machine(new_machine: NewMachine) -> Iterator[Machine]:
    """A booted machine without agentd, for the tests of one file."""
    machine = new_machine("trixie")
    yield machine
    machine.close()


def kept_disk(tmp_path_factory: pytest.TempPathFactory, kernel: Kernel, prepare: Callable[[Machine], None]) -> Path:
    """Returns the disk of a machine that was prepared and kept. One worker makes it, the others wait for it."""
    folder = tmp_path_factory.getbasetemp()
    path = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / f"installed-{kernel}.qcow2"
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            machine = Machine(kernel)
            try:
                prepare(machine.start())
                machine.keep(path)
            finally:
                machine.close()
    return path


@pytest.fixture(scope="session")
def installed_disk(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The disk of a machine in which agentd runs, without jobs, and of the same before it was started (INSTALLED).

    Each file of tests would otherwise start agentd in its own: fifteen seconds of a processor.
    """

    def prepare(machine: Machine) -> None:
        machine.install(deb)
        machine.snapshot(INSTALLED)
        machine.run("systemctl", "enable", "--now", "agentd", timeout=120)

    return kept_disk(tmp_path_factory, "trixie", prepare)


@pytest.fixture(scope="session")
def scx_disk(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The disk of a machine whose kernel has sched_ext, with real schedulers and agentd's package just installed."""

    def prepare(machine: Machine) -> None:
        install_schedulers(machine, build_schedulers())
        machine.install(deb)

    return kept_disk(tmp_path_factory, "sched_ext", prepare)


@pytest.fixture(scope="session")
def installed(installed_disk: Path) -> Iterator[Machine]:
    """A machine with agentd's package, of which each worker has one; goes back to what a test needs."""
    machine = Machine("trixie", kept=installed_disk)
    yield machine.start()
    machine.close()


def as_it_was(machine: Machine, snapshot: str) -> Machine:
    """Brings a machine back to a snapshot, with the right time."""
    if not machine.running:  # a test before left it off
        machine.start()
    machine.restore(snapshot)
    machine.set_clock(datetime.now(UTC))
    return machine


@pytest.fixture(scope="module")
def machine(installed: Machine) -> Machine:
    """A machine in which agentd runs, without jobs, for the tests of one file."""
    return as_it_was(installed, KEPT)


@pytest.fixture(scope="module")
def unarmed_machine(installed: Machine) -> Machine:
    """A machine with agentd's package just installed, for the tests of one file."""
    return as_it_was(installed, INSTALLED)


@pytest.fixture(scope="module")
def scx_machine(scx_disk: Path) -> Iterator[Machine]:
    """A machine whose kernel has sched_ext, with schedulers and agentd's package, for the tests of one file."""
    machine = Machine("sched_ext", kept=scx_disk)
    yield machine.start()
    machine.close()


ORDER = (
    *("power", "power_again", "machine", "rights", "recovery", "reboot", "package", "clock"),
    *("schedulers", "scheduling", "switching", "custom", "jobs", "learning", "notices", "rules", "attacks", "alone"),
    *("permissions", "llama", "bench_system"),
)
"""The files that take longest come first, but for the one that needs no machine with agentd while that is made."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: ORDER.index(item.path.stem.removeprefix("test_")) if item.path.parent == HERE else -1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Any:
    """Shows what the machines of a failed test have in their journals."""
    report = yield
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            if isinstance(value, Machine):
                report.sections.append((f"the last lines of {name}", last_lines(value)))
    return report


def last_lines(machine: Machine) -> str:
    """The journal, or the console of a machine that does not answer."""
    if machine.running:
        try:
            return machine.journal("-n", "300", "-o", "short-precise")
        except (MachineError, OSError) as problem:
            return f"{problem}\n{machine.console_tail()}"
    return machine.console_tail()
