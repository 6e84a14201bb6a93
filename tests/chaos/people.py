"""Faults: callers, hostile or only odd."""

import contextlib
import subprocess
import sys
import time
from random import Random
from typing import Any

from tests.chaos.caller import CallFailed, plain
from tests.chaos.judging import Judge
from tests.chaos.report import uptime
from tests.chaos.world import ROOT, World


def attack(world: World, judge: Judge, chance: Random) -> str:
    """Lets callers misbehave on the bus, while another one must have its answers and jobs start."""
    kind, callers = chance.choice(("storm", "huge", "deaf", "crowd")), chance.choice((1, 1, 4))
    seconds = chance.uniform(2, 6)
    begin = uptime()
    command = [sys.executable, "-m", "tests.chaos.caller", kind, world.address(), f"{seconds}", str(callers)]
    slowest = 0.0
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as enemy:
        while enemy.poll() is None and uptime() < begin + seconds + 30:
            asked = uptime()
            try:
                with world.caller() as caller:
                    caller.property("Manager.Version")
            except (OSError, TimeoutError, CallFailed) as error:
                # A newcomer among hundreds may be refused at once.
                if not (isinstance(error, CallFailed) and error.name.endswith(".LimitsExceeded")):
                    told = f"{type(error).__name__}: {error}"
                    text = f"another caller had no answer during a {kind} of {callers}: {told}"
                    world.violated("no answer", str(world.fault), text)
                    break
            slowest = max(slowest, uptime() - asked)
            with world.report.lock:
                world.report.answers.append(uptime() - asked)
            time.sleep(0.2)
        enemy.kill()
    if slowest > world.patience(begin):
        text = f"another caller waited {slowest:.1f} s for an answer during a {kind} of {callers}"
        world.violated("an answer late", str(world.fault), text)
    world.did(begin, "hand")
    return f"a {kind} of {callers} callers for {seconds:.1f} s"


def meddle(world: World, judge: Judge, chance: Random) -> str:
    """Asks for all kinds of things, sensible or not: every refusal is a sentence."""
    job = chance.choice(("by-hand", "fails", "metronome", "nothing", "", "varied.1"))
    calls: tuple[tuple[Any, ...], ...] = (
        ("Jobs.RunJob", "sa{sv}", job, {}),
        ("Jobs.StopJob", "s", job),
        ("Jobs.Increase", "s", job),
        ("Jobs.SetInterval", "st", job, chance.choice((0, 1, 10**18))),
        ("Jobs.NextTimes", "stu", job, chance.choice((0, 2**63, 2**64 - 1)), chance.choice((0, 3, 2**32 - 1))),
        ("Jobs.ListRuns", "a{sv}", {"limit": ("i", -1)}),
        ("Jobs.ReadOutput", "st", f"{job}.1", 2**63),
        ("Manager.Reload", ""),
        ("Manager.Nothing", "s", "x" * 10_000),
    )
    asked = chance.sample(calls, 5)
    with world.caller() as caller:
        for member, signature, *body in asked:
            try:
                caller.call(member, signature, *body)
            except CallFailed as refusal:
                if len(str(refusal).split()) < 3 or refusal.name.endswith(".Internal") or "Traceback" in str(refusal):
                    text = f'{member}{tuple(body)!s:.200} was refused with {refusal.name}: "{refusal}"'
                    world.violated("no sentence", f"{member} {refusal.name}", text)
        for name in ("metronome", "fails"):  # as they were: the judge knows their intervals
            with contextlib.suppress(CallFailed):
                caller.call("Jobs.Reset", "s", name)
    world.did(uptime() - 5, "hand")
    return f"{', '.join(str(call[0]) for call in asked)} for {job or 'no name'}"


def disable(world: World, judge: Judge, chance: Random) -> str:
    """Disables a job that fails and is tried again: nothing of it starts from then on."""
    time.sleep(chance.uniform(0, 1))
    with world.caller() as caller:
        caller.call("Jobs.SetEnabled", "sb", "fails", False)
        begin = uptime()
        latest = begin + 0.5 + 4 * world.lag.worst(begin - 2, begin)  # a start may have been decided a little ahead
        time.sleep(4)
        record = plain(caller.call("Jobs.GetJob", "s", "fails"))
        for start in judge.starts():
            if start.job == "fails" and start.at > latest:
                text = (
                    f"{start.run_id} (attempt {start.attempt}) began {start.at - begin:.1f} s after fails was disabled"
                )
                world.violated("disabled and started", start.run_id, f"{text}; its state: {record['state']}")
        caller.call("Jobs.Reset", "s", "fails")
    world.did(begin, "hand")
    return "SetEnabled false, and Reset four seconds later"
