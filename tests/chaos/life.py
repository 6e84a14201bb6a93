"""The life of a world: faults one after another, a judgement after each, and the end."""

import time
from collections.abc import Callable, Sequence
from random import Random

from tests.chaos.caller import CallFailed
from tests.chaos.faults import FAULTS, Fault
from tests.chaos.judging import Judge
from tests.chaos.report import uptime
from tests.chaos.truth import DEATHS
from tests.chaos.world import World

FAULTS_IN_A_LIFE = 25
"""The number of faults after which a world ends and another begins: its files stay small, and its seed says more."""


def live(world: World, ending: Callable[[], bool], faults: Sequence[Fault] = FAULTS) -> None:
    """Has faults done to a world until its life is over or `ending` says so; closes the world."""
    judge = Judge(world)
    suited = [fault for fault in faults if fault.suits(world.profile.name)]
    try:
        world.configure()
        world.start()
        for number in range(1, FAULTS_IN_A_LIFE + 1):
            # A Random for each fault: what one of them draws, which depends on the moment, does not move the next.
            chance = Random(f"{world.seed}/{world.number}/{number}")
            (fault,) = chance.choices(suited, [one.weight for one in suited])
            time.sleep(chance.uniform(0.1, 2))
            if ending() or not world.pid:  # two starts have failed, as was told
                break
            world.fault, world.during = number, fault.name
            _alive(world)
            _do(world, judge, fault, chance)
        _end(world, judge)
    finally:
        judge.close()
        world.close()
        world.report.count("worlds")


def _do(world: World, judge: Judge, fault: Fault, chance: Random) -> None:
    """Does a fault, and goes on once agentd runs and was judged."""
    begin = uptime()
    try:
        world.during = fault.do(world, judge, chance)
    except (OSError, TimeoutError, CallFailed) as error:
        world.violated("no answer", str(world.fault), f"agentd does not answer: {type(error).__name__}: {error}")
    world.report.fault(fault.name)
    note = f"{begin:.2f} to {uptime():.2f}: fault {world.fault}: {world.during}\n"
    with (world.folder / "faults").open("a") as file:
        file.write(note)
    _recover(world, judge, chance)
    if chance.random() < 0.5:
        judge.agree()
    world.look_at_log()
    world.outlived()


def _alive(world: World) -> None:
    """Looks whether agentd still runs where nobody did anything that may end it."""
    deadly = any(
        deed.kinds & DEATHS and (deed.end == float("inf") or deed.number == world.fault) for deed in world.deeds
    )
    if not world.pid and not deadly:
        code = world.process.poll() if world.process is not None else None
        world.violated("ended by itself", str(world.fault), f"agentd ended with exit code {code}, and nobody ended it")


def _recover(world: World, judge: Judge, chance: Random) -> None:
    """Sees to it that agentd runs: what it cannot do without may be gone, and then it must end by itself."""
    at_once, pause = chance.random() < 0.5, chance.uniform(0, 1.5)
    _alive(world)
    dying = any(deed.end == float("inf") and deed.kinds & DEATHS for deed in world.deeds)
    if world.pid and not dying:
        world.over()
        return
    if world.pid:
        world.ended()
    if not at_once:
        time.sleep(pause)
        world.until(lambda: not world.role("supervisor"), 20)
        judge.judge()
    if not world.pid and not world.start():
        world.start()


def _end(world: World, judge: Judge) -> None:
    """Ends agentd in peace and judges everything once more."""
    world.fault, world.during = world.fault + 1, "the end"
    open_runs = _ended(world, judge)
    if open_runs:  # the last ends may lie in a note for the next agentd
        world.start()
        for run_id in sorted(open_runs & _ended(world, judge)):
            world.violated("an end lost", run_id, f"{run_id} is still said to be running after two ends in peace")
    world.outlived(wait=True)
    world.look_at_log()


def _ended(world: World, judge: Judge) -> set[str]:
    """Ends agentd in peace and judges; returns the runs that have no end then, where it ended so."""
    peaceful = world.terminate()
    world.until(lambda: not world.role("supervisor"), 20)
    world.over()
    state = judge.judge()
    if state is None or not peaceful:
        return set()
    return {row.run_id for row in state.rows.values() if row.state == "running"}
