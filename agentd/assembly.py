"""The list of parts that there are, in each mode: the one file that knows all. A new part is a line in `parts` of each
mode that has it.

The composition is asynchronous context managers: agentd answers on the bus inside, and the caller ends it.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from agentd import linux, log
from agentd.bus.connection import Bus, CallFailed
from agentd.config import apart, files
from agentd.core.config import Config
from agentd.core.jobs.jobs import Jobs
from agentd.core.part import Core, Refused
from agentd.core.rules import unitfile
from agentd.core.rules.kpis import Missing
from agentd.core.rules.model import RuleActs, RuleOver
from agentd.core.rules.rules import Rules
from agentd.core.schedulers.model import Want
from agentd.core.schedulers.schedulers import Schedulers
from agentd.core.schedulers.settings import Choice
from agentd.daemon import manager
from agentd.daemon.daemon import Daemon, Supervision
from agentd.jobs.lines import last_lines
from agentd.jobs.part import Executor, JobsShell
from agentd.learning import looking
from agentd.learning import part as learning
from agentd.notices import part as notices
from agentd.notices.couriers import MOST_SECONDS
from agentd.part import Host, Part
from agentd.peers import credentials
from agentd.peers.door import Door
from agentd.rules import outputs
from agentd.rules import part as rules
from agentd.rules.facts.units import UnitFacts
from agentd.schedulers import part as schedulers

if TYPE_CHECKING:
    import argparse

    from agentd.peers.systemd import Systemd

_TRAINING = "agentd-train.service"
_TRAINS = 900.0  # seconds; the unit has less
_OUTBOX = Path("/run/agentd-courier")
_RESTART = 180.0  # seconds for a unit to stop and to start, which systemd allows 90 each
Plug = Callable[[Host, Config], Awaitable[Part]]
Load = Callable[[Path | None], files.Loaded]


@contextlib.asynccontextmanager
async def standalone(
    options: "argparse.Namespace", loaded: files.Loaded, bus: Bus, *, load: Load = apart.reload, **more: Plug
) -> AsyncIterator[Daemon]:
    """Composes an agentd with a bus of its own whose jobs are child processes, and which does not reboot the machine.

    `more` makes further parts by name, whose settings `load` reads too. Raises Unusable and what Daemon.start raises.
    """
    from agentd import private  # noqa: PLC0415 - of this mode alone, as the next two
    from agentd.jobs.children import Children  # noqa: PLC0415
    from agentd.reboots import absent  # noqa: PLC0415

    state: Path = options.state_dir.absolute()
    given: Path | None = options.config
    folder = "/" if given is None else str((given if given.is_dir() else given.parent).absolute())
    daemon = Daemon("standalone", loaded, partial(load, given), partial(files.watched, given))
    handle_signals(daemon)
    lock = await private.lock(state)
    jobs = JobsShell(daemon)
    executor = Children(
        state, folder, lock, jobs.started, jobs.ended, jobs.set_aside, daemon.lost, umask=linux.umask_before
    )
    own = private.PrivateBus(state)
    executor.address = own.address
    with contextlib.ExitStack() as undone:
        undone.callback(executor.close)
        own.start(executor.keep)
        await bus.connect(own.address)
        booted, rebooted = await daemon.open(state, boot_id(), linux.boot_time())
        parts = [
            manager.part(daemon),
            await jobs.plug(executor, loaded.config, machine=machine_id(), booted=booted, rebooted=rebooted),
            await absent.plug(daemon, loaded.config),
            await schedulers.plug(daemon, jobs.core, bus, loaded.config, boot_id()),
        ]
        parts += [
            await rules.plug(daemon, jobs.core, loaded.config, boot_id(), without_systemd(executor), parts),
            await learning.plug(daemon, jobs.core, loaded.config, machine_id(), learning_alone(executor)),
            await notices.plug(daemon, loaded.config, notices_alone(daemon, jobs.core, state)),
            *[await daemon.plug(name, plug(daemon, loaded.config)) for name, plug in more.items()],
        ]
        await daemon.start(parts, bus, Door(bus).admit)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, daemon.configuring.reload_soon)
        own.publish()
        undone.pop_all()
    yield daemon
    own.close()
    os.close(lock)


@contextlib.asynccontextmanager
async def system(options: "argparse.Namespace", loaded: files.Loaded, bus: Bus) -> AsyncIterator[Daemon]:
    """Composes an agentd on the system bus whose jobs are systemd's units; polkit says who may do what.

    Raises what Daemon.start raises.
    """
    from agentd import sdnotify  # noqa: PLC0415 - of this mode alone, as the next four
    from agentd.jobs.units import Units  # noqa: PLC0415
    from agentd.peers.polkit import Gate  # noqa: PLC0415
    from agentd.peers.systemd import Systemd, this_boot  # noqa: PLC0415
    from agentd.reboots import part as reboots  # noqa: PLC0415

    supervision = Supervision(
        watchdog=sdnotify.watchdog(),
        alive=lambda: sdnotify.notify("WATCHDOG=1"),
        configured=lambda: sdnotify.notify(f"STATUS={daemon.status}"),
        stopping=lambda: sdnotify.notify("STOPPING=1"),
    )
    daemon = Daemon("system", loaded, partial(apart.reload, None), partial(files.watched, None), supervision)

    def reload() -> None:
        sdnotify.reloading()
        daemon.configuring.reload_soon(lambda: sdnotify.notify("READY=1"))

    handle_signals(daemon)
    await bus.connect(None)
    state: Path = options.state_dir
    systemd, jobs = Systemd(bus, daemon.trouble, daemon.defect), JobsShell(daemon)
    executor = Units(systemd, jobs.started, jobs.ended, daemon.trouble, daemon.defect)
    boot = await this_boot(bus, boot_id())
    booted, rebooted = await daemon.open(state, boot.id, boot.at)
    parts = [
        manager.part(daemon),
        await jobs.plug(
            executor, loaded.config, machine=machine_id(), booted=booted, rebooted=rebooted, systemd=systemd
        ),
        await reboots.plug(daemon, jobs.core, bus, systemd, loaded.config, boot, machine_id()),
        await schedulers.plug(daemon, jobs.core, bus, loaded.config, boot.id, scheduler_units(daemon, systemd)),
    ]
    reach = with_systemd(daemon, systemd, parts[-2].core, parts[-1].core)
    parts += [
        await rules.plug(daemon, jobs.core, loaded.config, boot.id, reach, parts),
        await learning.plug(daemon, jobs.core, loaded.config, machine_id(), learning_with_systemd(systemd)),
        await notices.plug(daemon, loaded.config, notices_with_systemd(daemon, jobs.core, systemd)),
    ]
    let_go(daemon, {part.name: part.core for part in parts})
    await daemon.start(parts, bus, Door(bus, Gate(bus, executor.unit_of).authorize).admit)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
    sdnotify.notify("READY=1", f"STATUS={daemon.status}")
    yield daemon


def without_systemd(jobs: Executor) -> rules.Reach:
    """Returns what rules reach in standalone mode."""

    async def missing(_: str) -> None:
        raise Missing("agentd runs standalone here, and asks no systemd")

    return rules.Reach(
        acts={},
        cannot=dict.fromkeys(("RequestReboot", "RestartUnit", "SetScheduler"), "agentd runs standalone here"),
        asks={"units": missing, "unit": missing},
        last_line=outputs.from_files(jobs.output or Path()),
        over=lambda _: None,
    )


def with_systemd(host: Host, systemd: "Systemd", core: Core | None, scheduling: Core | None) -> rules.Reach:
    """Returns what rules reach in system mode; the cores are those of reboots and of schedulers."""
    from agentd.core.reboots import wishes  # noqa: PLC0415 - of this mode alone, as the next
    from agentd.core.reboots.reboots import Reboots  # noqa: PLC0415

    units = UnitFacts(systemd)

    def reboot(acts: RuleActs) -> None:
        if not isinstance(core, Reboots):
            raise Refused("Unsupported", "this agentd reboots no machine")
        wishes.request(core, f"rule {acts.rule}: {acts.reason}"[:200], _cause(acts.rule), None, 0, host.now())

    def schedule(acts: RuleActs) -> None:
        if not isinstance(scheduling, Schedulers):
            raise Refused("Unsupported", "this agentd changes no scheduler")
        choice = Choice(acts.action.target)
        scheduling.want(Want(source="rule", holder=acts.rule, choice=choice, reason=acts.reason[:200]), host.now())

    def over(effect: RuleOver) -> None:
        if isinstance(core, Reboots):
            wishes.withdraw(core, _cause(effect.rule), effect.why, host.now())
        if isinstance(scheduling, Schedulers):
            scheduling.release("rule", effect.rule, host.now(), "does not fire any more")

    async def restart(acts: RuleActs) -> None:
        target = acts.action.target
        try:
            result = await systemd.start_and_wait(unitfile.unit(target), patience=_RESTART)
        except CallFailed as error:
            raise Refused("Failed", f"systemd: {error}") from None
        if result != "done":
            word = f"is {result}" if result else f"is not over after {_RESTART:.0f} s"
            raise Refused("Failed", f"the restart of {target} {word}; see systemctl status {target}")

    return rules.Reach(
        acts={"RequestReboot": reboot, "RestartUnit": restart, "SetScheduler": schedule},
        cannot={},
        asks={"units": units.failed, "unit": units.unit},
        last_line=outputs.from_journal(),
        over=over,
    )


def let_go(host: Host, cores: Mapping[str, Core | None]) -> None:
    """Has schedulers let go what rules wished for that fired when the last agentd ended, and do not fire now."""
    scheduling, ruling = cores.get("schedulers"), cores.get("rules")
    if isinstance(scheduling, Schedulers) and isinstance(ruling, Rules):
        scheduling.fires(ruling.firing, host.now())


def scheduler_units(host: Host, systemd: "Systemd") -> schedulers.MakeUnits:
    """Returns what starts and stops CPU schedulers in system mode: their units."""
    from agentd.schedulers.units import SchedulerUnits  # noqa: PLC0415 - of this mode alone

    return lambda on_ended: SchedulerUnits(systemd, on_ended, host.trouble, host.defect)


def learning_alone(jobs: Executor) -> learning.Reach:
    """Returns what learning reaches in standalone mode: a training is a child process."""
    from agentd.jobs.supervisor.child import UNKEPT  # noqa: PLC0415 - of this mode alone, as the other
    from agentd.learning import training  # noqa: PLC0415

    output = looking.from_files(jobs.output or Path(), lambda run: UNKEPT not in run.tail)
    return learning.Reach(output=output, train=training.as_child)


def learning_with_systemd(systemd: "Systemd") -> learning.Reach:
    """Returns what learning reaches in system mode: a training is a unit of its own."""

    return learning.Reach(output=looking.from_journal(), train=lambda _: _run(systemd, _TRAINING, _TRAINS))


def notices_alone(host: Host, jobs: Jobs, state: Path) -> notices.Reach:
    """Returns what notices reach in standalone mode: a courier is a child process."""
    from agentd.notices.starting import as_child  # noqa: PLC0415 - of this mode alone

    folder = state / "outbox"
    folder.mkdir(mode=0o700, exist_ok=True)
    lines, origin = last_lines(host, journal=False), f"{machine_id()} {host.folder}"
    return notices.Reach(
        origin=origin,
        folder=folder,
        start=as_child,
        lines=lines,
        job_of=partial(_job_of, jobs),
        doubt=credentials.own,
    )


def notices_with_systemd(host: Host, jobs: Jobs, systemd: "Systemd") -> notices.Reach:
    """Returns what notices reach in system mode: a courier is a unit, of which each has one secret address."""

    def courier(credential: str, _: Path) -> Awaitable[str]:
        return _run(systemd, f"agentd-courier@{credential}.service", MOST_SECONDS)

    lines, origin = last_lines(host, journal=True), f"{machine_id()} {host.folder}"
    return notices.Reach(
        origin=origin,
        folder=_OUTBOX,
        start=courier,
        lines=lines,
        job_of=partial(_job_of, jobs),
        doubt=lambda _: "",  # nobody but the courier sees its credential: what it says of that is a warning at once
    )


async def _run(systemd: "Systemd", unit: str, patience: float) -> str:
    """Starts a unit and waits for its end, for so many seconds; returns why that failed, as a sentence, or ""."""
    try:
        result = await systemd.start_and_wait(unit, patience=patience)
    except CallFailed as error:
        return f"systemd: {error}"
    if result == "done":
        return ""
    how = f"is {result}" if result else f"is not over after {patience:.0f} s"
    return f"{unit} {how}; see: journalctl -u {unit}"


def _job_of(jobs: Jobs, run_id: str) -> str:
    """Returns the job of a run that is under way; "" for none."""
    return next((run.job for run in jobs.running() if run.run_id == run_id), "")


def _cause(rule: str) -> str:
    """Returns the cause of the reboots that a rule asks for."""
    return f"rule {rule}"


def handle_signals(daemon: Daemon) -> None:
    """Lets SIGTERM and SIGINT end the daemon; SIGHUP does nothing until there is something to reload, and those do
    nothing but tell so with which other programs read their configuration: left alone, they would end agentd."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, daemon.ending.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        instead = "SIGHUP, or agentctl reload, reads the configuration again"
        text = f"{signal.Signals(number).name} means nothing to agentd: {instead}"
        loop.add_signal_handler(number, partial(log.get().info, text, id="configuration"))


def machine_id() -> str:
    """Returns the machine's id, which seeds jitter and names it in a fleet; "" where there is none."""
    return _read("/etc/machine-id")


def boot_id() -> str:
    """Returns the kernel's id of this boot."""
    return _read("/proc/sys/kernel/random/boot_id")


def _read(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text().strip()
    return ""
