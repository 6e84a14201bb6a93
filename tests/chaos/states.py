"""Faults: a disk without room, and state that is damaged or gone."""

import contextlib
import time
from collections.abc import Callable
from random import Random

from tests.chaos import damage
from tests.chaos.caller import CallFailed
from tests.chaos.judging import Judge
from tests.chaos.report import uptime
from tests.chaos.world import World

_REMOVED = "was removed while agentd ran"


def _fill(world: World) -> None:
    with contextlib.suppress(OSError), (world.state / "filler").open("ab", buffering=0) as file:
        for size in (1 << 16, 1 << 10, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))


def fill_disk(world: World, judge: Judge, chance: Random) -> str:
    """Fills the disk of the state for a while; perhaps agentd is killed, and starts, while it is full."""
    begin, seconds, killed = uptime(), chance.uniform(1, 6), chance.random() < 0.5
    _fill(world)
    time.sleep(seconds)
    if killed:
        world.during = f"the disk was filled for {seconds:.1f} s, kill -9 of the daemon, a start on the full disk"
        world.kill()
        world.start()
    (world.state / "filler").unlink(missing_ok=True)
    if killed and not world.pid:
        world.start()
    world.did(begin, "full")
    return f"the disk was full for {seconds:.1f} s{', with a kill -9 and a start' * killed}"


def _damaged(world: World, judge: Judge, chance: Random, how: Callable[[], str]) -> str:
    """Ends agentd, damages its state, and looks whether the next one copes, and says so where something is lost."""
    (world.kill if chance.random() < 0.7 else world.terminate)()
    world.until(lambda: not world.role("supervisor") and not world.role("bus"), 20)
    before = judge.judge()
    what = how()
    world.during = what
    world.look_at_log()
    if not world.start():
        # Nothing but a person helps now: the state is put aside by hand.
        world.kill()
        (world.state / "agentd.db").unlink(missing_ok=True)
        (world.state / "agentd.db-wal").unlink(missing_ok=True)
        world.look_at_log()
        judge.new_era()
        world.start()
        return what
    judge.damaged(before, world.look_at_log(), 30 if "bits" in what or "garbage" in what else 0)
    return what


def damage_wal(world: World, judge: Judge, chance: Random) -> str:
    """Takes away what was written last."""
    return _damaged(world, judge, chance, lambda: damage.wal(world.state, chance))


def damage_database(world: World, judge: Judge, chance: Random) -> str:
    """Damages the database."""
    return _damaged(world, judge, chance, lambda: damage.database(world.state, chance))


def write_nonsense(world: World, judge: Judge, chance: Random) -> str:
    """Writes what SQLite finds sound and means nothing."""
    return _damaged(world, judge, chance, lambda: damage.nonsense(world.state, chance))


def remove_state(world: World, judge: Judge, chance: Random) -> str:
    """Removes the state while agentd runs: a warning must say so within a minute and a little."""
    before = world.log.read_text(errors="replace").count(_REMOVED)
    for name in ("agentd.db", "agentd.db-wal", "agentd.db-shm"):
        (world.state / name).unlink(missing_ok=True)

    def told() -> bool:
        with contextlib.suppress(OSError, TimeoutError, CallFailed), world.caller() as caller:
            warned = any(_REMOVED in text for text in caller.property("Manager.Warnings"))
            return warned and world.log.read_text(errors="replace").count(_REMOVED) > before  # it may have been before
        return False

    if not world.until(told, 75.0):
        text = "the database was removed 75 s ago, and no warning says so"
        world.violated("the state went back silently", str(world.fault), text)
        world.kill()
        world.until(lambda: not world.role("supervisor"), 20)
        world.start()
    judge.new_era()
    return "the database was removed while agentd ran"
