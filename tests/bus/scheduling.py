"""agentd on a machine with sched_ext that is made of files: a scheduler "runs" while its name stands in sysfs.

In the state directory's folder lie `root` (the machine's files) and `does`, a file for each program that does not
behave: refuses (never enabled), ejected (enabled, then gone). A scheduler of one's own compiles unless "error" is in
its source; the file `trying` has the name of the one that is tried, for as long as there is a file `hold`.
"""

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import msgspec

from agentd import __main__ as entry
from agentd import assembly, log, private
from agentd.bus.connection import Bus
from agentd.config import files
from agentd.core.quantities import SECOND
from agentd.core.schedulers import measuring
from agentd.core.schedulers.custom import STEPS, Compiled, Step, Tried, digest, ops_name
from agentd.core.schedulers.model import Chosen, Exit, Tenure, Times
from agentd.daemon import manager
from agentd.daemon.daemon import Daemon
from agentd.jobs import children
from agentd.jobs.part import JobsShell
from agentd.linux import boot_time, now
from agentd.schedulers import part as schedulers
from agentd.schedulers import uevents
from agentd.schedulers.journal import Lines
from agentd.schedulers.own import Places
from agentd.schedulers.programs import Programs

KERNEL = "sys/kernel/sched_ext"
TIMES = Times(check=5 * SECOND, start=3 * SECOND, stop=5 * SECOND, look=SECOND // 10, guards=SECOND // 5, calm=0)


def show(root: Path, state: str, ops: str = "", *, another: bool = False) -> None:
    """Has the kernel say something else; `another`: one more scheduler was enabled."""
    kernel = root / KERNEL
    seq = int((kernel / "enable_seq").read_text()) + another
    (kernel / "enable_seq").write_text(f"{seq}\n")
    (kernel / "root/ops").write_text(f"{ops}\n" if ops else "")
    (kernel / "state").write_text(f"{state}\n")


class Units:
    """The units of schedulers, which do what the files of the machine say."""

    def __init__(self, folder: Path, on_ended: Callable[[str, Exit], None]) -> None:
        self._folder, self._root, self._does = folder, folder / "root", folder / "does"
        self._on_ended = on_ended
        self._up = folder / "up"

    async def take_up(self) -> list[str]:
        return [self._up.read_text()] if self._up.exists() else []

    async def began(self, tenure: Tenure) -> bool:
        return tenure.since > 0

    async def start(self, chosen: Chosen) -> str:
        does = (self._does / chosen.name).read_text() if (self._does / chosen.name).exists() else "runs"
        if does == "refuses":
            return f"systemd did not start {chosen.name}: it was told so"
        self._up.write_text(chosen.name)
        show(self._root, "enabled", f"{chosen.ops}_1.0_test", another=True)
        if does == "ejected":
            asyncio.get_running_loop().call_later(0.5, show, self._root, "disabled")
        return ""

    async def run(self, unit: str) -> str:
        kind, _, instance = unit.partition("@")
        name = instance.removesuffix(".service")
        if kind == "agentd-verify":
            source = (self._folder / f"handed/{name}.bpf.c").read_bytes()
            self._leave("compiled", compiled(source))
            (self._folder / "compiled/object.bpf.o").write_bytes(source)
        else:
            made = (self._folder / f"handed/{name}.bpf.o").read_bytes()
            await self._try(name, made)
            self._leave("tried", Tried(object=digest(made), steps=steps("load", "trial")))
        return ""

    async def _try(self, name: str, made: bytes) -> None:
        (self._folder / "trying").write_text(name)
        show(self._root, "enabled", ops_name(name, digest(made)), another=True)
        while (self._folder / "hold").exists():
            await asyncio.sleep(0.01)
        show(self._root, "disabled")
        (self._folder / "trying").unlink()

    def _leave(self, folder: str, report: Compiled | Tried) -> None:
        (self._folder / folder / "report.json").write_bytes(msgspec.json.encode(report))

    async def trial(self) -> str:
        trying = self._folder / "trying"
        return trying.read_text() if trying.exists() else ""

    async def trials_over(self) -> None:
        while await self.trial():
            await asyncio.sleep(0.01)

    async def stop(self, name: str) -> str:
        if self._up.exists() and self._up.read_text() == name:
            self._up.unlink()
            show(self._root, "disabled")
        self._on_ended(name, Exit("success", "exited", 0))
        return ""

    def close(self) -> None:
        """Does nothing."""


def steps(*names: str) -> tuple[Step, ...]:
    return tuple(Step(name=name, state="ok", seconds=0.5, sentence="well done") for name in names)


def compiled(source: bytes) -> Compiled:
    """The report of a compiler that makes of a source its very self, unless an error stands in it."""
    if b"error" not in source:
        return Compiled(source=digest(source), compiler="clang 19", steps=steps(*STEPS[:3]), object=digest(source))
    failed = Step(name="compile", state="failed", sentence="an error stands in it", excerpt=("fifo.bpf.c:1:1: error",))
    return Compiled(source=digest(source), compiler="clang 19", steps=(*steps("source"), failed))


def lines(unit: str, _since: int, _until: int) -> Lines:
    """The kernel's word on every end."""
    name = unit.removeprefix("agentd-scx@scx_").removesuffix(".service") + "_1.0_test"
    said = (
        f'sched_ext: BPF scheduler "{name}" disabled (runnable task stall)',
        f"sched_ext: {name}: bash[7] failed to run for 5.1s",
    )
    return Lines(kernel=said, told=(now(), now()))


@contextlib.asynccontextmanager
async def scheduling(options: argparse.Namespace, loaded: files.Loaded, bus: Bus) -> AsyncIterator[Daemon]:
    """The composition of agentd.assembly for a machine whose schedulers agentd may start."""
    state = options.state_dir.absolute()
    load, watched = partial(files.load, options.config), partial(files.watched, options.config)
    daemon = Daemon("standalone", loaded, load, watched)
    assembly.handle_signals(daemon)
    jobs = JobsShell(daemon)
    lock = await private.lock(state)
    executor = children.Children(state, str(state.parent), lock, jobs.started, jobs.ended, jobs.set_aside, daemon.lost)
    own = private.PrivateBus(state)
    executor.address = own.address
    own.start(executor.keep)
    await bus.connect(own.address)
    folder = state.parent
    programs = Programs((folder / "root/usr/bin",), os.getuid(), folder)
    places = Places(
        requests=folder / "requests",
        handed=folder / "handed",
        compiled=folder / "compiled",
        tried=folder / "tried",
        allowed=folder / "allowed",
        owner=os.getuid(),
    )
    machine = schedulers.Machine(root=folder / "root", programs=programs, read=lines, times=TIMES, own=places)
    booted, rebooted = await daemon.open(state, assembly.boot_id(), boot_time())
    parts = [
        manager.part(daemon),
        await jobs.plug(executor, loaded.config, machine="test", booted=booted, rebooted=rebooted),
        await schedulers.plug(
            daemon, jobs.core, bus, loaded.config, assembly.boot_id(), partial(Units, folder), machine
        ),
    ]
    await daemon.start(parts, bus)
    own.publish()
    yield daemon
    own.close()
    os.close(lock)


def deaf() -> None:
    """Is no socket: the kernel of this machine tells nothing about files."""
    raise PermissionError(1, "this is a test")


def main() -> int:
    options = entry._parser().parse_args()
    uevents.POLL = 0.1
    measuring.SHORTEST = SECOND // 100
    uevents.Uevents.__init__.__defaults__ = (deaf,)
    log.setup(options.log_level)
    return asyncio.run(entry.serve(options, files.load(options.config), scheduling))


if __name__ == "__main__":
    sys.exit(main())
