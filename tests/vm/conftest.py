"""Fixtures of the tests that run in a real Debian machine."""

import fcntl
import os
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.vm.agentd import configure
from tests.vm.emulated import Emulated
from tests.vm.guest import MachineError
from tests.vm.machine import KEPT, Machine
from tests.vm.native import Native, why_not
from tests.vm.sched_ext import disk_with_schedulers
from tests.vm.scheduling import SETTINGS

HERE = Path(__file__).parent
Kind = Literal["native", "trixie", "sched_ext"]
"""A machine whose kernel is a program of this host, or one that is emulated, with one of Debian's kernels."""
NewMachine = Callable[[Kind], Machine]
INSTALLED = "installed"
"""The snapshot of a disk with schedulers from before agentd was started."""


def possible(kind: Kind) -> Kind:
    """Returns the kind of machine that does for that one here: a host that runs no native ones emulates all, slowly."""
    if kind == "native" and (reason := why_not()):
        with warnings.catch_warnings():
            warnings.simplefilter("default")  # it is told and fails no test
            warnings.warn(f"all machines are emulated, which takes several times as long: {reason}", stacklevel=2)
        return "trixie"
    return kind


def make(kind: Kind, kept: Path | None = None) -> Machine:
    """Makes a machine of a kind that is possible here, which goes on from a disk that was kept."""
    return Native(kept=kept) if kind == "native" else Emulated(kind, kept=kept)


@pytest.fixture(scope="session")
def new_machine() -> Iterator[NewMachine]:
    """Boots machines of a kind; they are thrown away when the last test is done, or earlier by who closes them."""
    machines: list[Machine] = []

    def new(kind: Kind) -> Machine:
        machine = make(possible(kind))
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


def kept_disk(
    tmp_path_factory: pytest.TempPathFactory,
    kind: Kind,
    prepare: Callable[[Machine], None],
    before: Callable[[], Path | None] = lambda: None,
) -> Path:
    """Returns the disk of a machine that went on from the one `before`, was prepared and kept. One worker makes it, the
    others wait for it."""
    folder = tmp_path_factory.getbasetemp()
    path = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / f"installed-{kind}.disk"
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            machine = make(kind, before())
            try:
                prepare(machine.start())
                machine.keep(path)
            finally:
                machine.close()
    return path


@pytest.fixture(scope="session")
def installed(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewMachine]:
    """Returns a machine of a kind in which agentd runs, without jobs. Each worker has one; it goes back as tests need.

    Each file of tests would otherwise install the package and start agentd in its own.
    """
    machines: dict[Kind, Machine] = {}

    def prepare(machine: Machine) -> None:
        machine.install(deb)
        machine.run("systemctl", "enable", "--now", "agentd", timeout=120)

    def of(wanted: Kind) -> Machine:
        kind = possible(wanted)
        if kind not in machines:
            machines[kind] = make(kind, kept_disk(tmp_path_factory, kind, prepare))
            machines[kind].start()
        return machines[kind]

    yield of
    for machine in machines.values():
        machine.close()


@pytest.fixture(scope="session")
def scx_disk(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The disk of a machine whose kernel has sched_ext, with real schedulers: agentd runs there with SETTINGS; in the
    snapshot INSTALLED its package is just installed."""

    def prepare(machine: Machine) -> None:
        machine.install(deb)
        machine.snapshot(INSTALLED)
        configure(machine, SETTINGS)

    return kept_disk(tmp_path_factory, "sched_ext", prepare, disk_with_schedulers)


def as_it_was(machine: Machine, snapshot: str) -> Machine:
    """Brings a machine back to a snapshot, with the right time."""
    if not machine.running:  # a test before left it off
        machine.start()
    machine.restore(snapshot)
    machine.set_clock(datetime.now(UTC))
    return machine


@pytest.fixture(scope="module")
def machine(installed: NewMachine) -> Machine:
    """A machine in which agentd runs, without jobs, for the tests of one file."""
    return as_it_was(installed("native"), KEPT)


@pytest.fixture(scope="module")
def unarmed_machine(bare_machine: Machine, deb: Path) -> Machine:
    """A machine with a kernel of Debian's and agentd's package just installed, for the tests of one file."""
    bare_machine.install(deb)
    return bare_machine


@pytest.fixture(scope="module")
def scx_agentd(scx_disk: Path) -> Iterator[Machine]:
    """A machine whose kernel has sched_ext, with schedulers, in which agentd runs with SETTINGS, for the tests of one
    file."""
    machine = make("sched_ext", scx_disk)
    yield machine.start()
    machine.close()


@pytest.fixture(scope="module")
def scx_machine(scx_agentd: Machine) -> Machine:
    """The same with agentd's package just installed."""
    return as_it_was(scx_agentd, INSTALLED)


ORDER = (
    *("scheduling", "reboot", "switching", "rights", "schedulers", "custom", "clock", "machine", "recovery", "debian"),
    *("power_again", "power", "jobs", "attacks", "rules", "permissions", "learning", "package", "llama"),
    *("alone", "notices", "bench_system"),
)
"""The files that take longest come first; where QEMU emulates one, another mostly waits meanwhile."""


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
