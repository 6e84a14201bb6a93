"""Faults: deaths and stops of processes, in any order."""

import contextlib
import resource
import signal
import time
from random import Random

from tests.chaos import processes
from tests.chaos.judging import Judge
from tests.chaos.report import uptime
from tests.chaos.world import World

ROLES = ("daemon", "supervisor", "bus", "job")


def kill_one(world: World, judge: Judge, chance: Random) -> str:
    """Kills a process that agentd cannot do without, or is."""
    role = chance.choice(("daemon", "daemon", "supervisor", "bus"))
    pids = world.role(role)
    some = pids if role != "supervisor" or chance.random() < 0.5 else pids[-1:]
    world.send(signal.SIGKILL, role, some)
    return f"kill -9 of the {role}"


def kill_several(world: World, judge: Judge, chance: Random) -> str:
    """Kills several kinds of processes, in any order, with hardly a pause."""
    roles = chance.sample(ROLES, chance.randint(2, 4))
    pause = chance.choice((0.0, 0.0, 0.02, 0.2))
    for role, pids in [(role, world.role(role)) for role in roles]:
        world.send(signal.SIGKILL, role, pids)
        time.sleep(pause)
    return f"kill -9 of {', '.join(roles)}, {pause} s between"


def kill_at_start(world: World, judge: Judge, chance: Random) -> str:
    """Kills agentd, and again while it starts."""
    if chance.random() < 0.5:  # what happened last is not stored then
        world.send(signal.SIGSTOP, "daemon", world.role("daemon"))
        time.sleep(chance.uniform(0.3, 1.2))
    world.kill()
    pauses = [chance.uniform(0, 0.9) for _ in range(chance.randint(1, 3))]
    for pause in pauses:
        world.start(quick=True)
        time.sleep(pause)
        world.kill(chance.choice(("daemon", "daemon", "supervisor", "bus")))
        world.kill()
    return f"kill -9 of the daemon, and in its next starts after {', '.join(f'{one:.2f}' for one in pauses)} s"


def kill_with_the_bus_of_the_next(world: World, judge: Judge, chance: Random) -> str:
    """Kills agentd, and the next one as soon as it has a bus: before it took up what the first one left."""
    world.send(signal.SIGSTOP, "daemon", world.role("daemon"))
    time.sleep(1)
    world.kill()
    old = world.role("bus")
    world.start(quick=True)
    world.until(lambda: set(world.role("bus")) - set(old) or not world.pid)
    world.kill()
    return "SIGSTOP and kill -9 of the daemon, and of the next one as soon as it has a bus"


def kill_jobs(world: World, judge: Judge, chance: Random) -> str:
    """Kills jobs."""
    pids = world.role("job")
    chosen = chance.sample(pids, min(len(pids), chance.randint(1, 3)))
    world.send(signal.SIGKILL, "job", chosen)
    return f"kill -9 of {len(chosen)} jobs"


def stop(world: World, judge: Judge, chance: Random) -> str:
    """Stops a process for a while; perhaps another dies meanwhile."""
    role = chance.choice(("daemon", "supervisor", "supervisor", "bus"))
    other = chance.choice(("", "", "daemon", "supervisor", "bus"))
    seconds = chance.uniform(0.1, 4)
    pids = world.role(role)
    world.send(signal.SIGSTOP, role, pids)
    time.sleep(seconds / 2)
    if other:
        world.kill(other)
    time.sleep(seconds / 2)
    world.send(signal.SIGCONT, role, pids)
    if not other:
        world.over()
    return f"SIGSTOP of the {role} for {seconds:.1f} s{f', kill -9 of the {other} meanwhile' * bool(other)}"


def take_files(world: World, judge: Judge, chance: Random) -> str:
    """Lets processes have no more files than they have; then agentd works on, or ends, but never only seems to live."""
    roles = chance.choice((("daemon",), ("supervisor",), ("daemon", "supervisor")))
    begin = uptime()
    for pid in [pid for role in roles for pid in world.role(role)]:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (processes.files(pid),) * 2)
    time.sleep(chance.uniform(1, 4))
    if world.pid and not world.role("supervisor"):
        world.during = f"no more files for {' and '.join(roles)}, which cost the supervisor its life"
        world.ended()
    world.did(begin, "files", "supervisor")
    world.kill()
    return f"no more files for {' and '.join(roles)}, then kill -9 of the daemon"


def terminate(world: World, judge: Judge, chance: Random) -> str:
    """Ends agentd in peace."""
    world.terminate()
    return "SIGTERM"


def kill_in_drain(world: World, judge: Judge, chance: Random) -> str:
    """Ends agentd in peace, and kills something before it has ended."""
    role, pause = chance.choice(ROLES), chance.uniform(0, 2.5)
    world.send(signal.SIGTERM, "daemon", world.role("daemon"))
    time.sleep(pause)
    world.kill(role)
    return f"SIGTERM, and kill -9 of the {role} {pause:.1f} s later"
