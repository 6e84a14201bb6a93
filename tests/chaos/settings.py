"""Faults: configurations, clocks and zones that change."""

import time
from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

from tests.chaos.judging import Judge
from tests.chaos.profiles import Job
from tests.chaos.world import World


def _more(chance: Random) -> dict[str, Job]:
    """Returns jobs that come, go and change."""
    return {
        f"extra{number}": Job("varied", f"when: {{every: {chance.randint(1, 3)}s}}, overlap: {overlap}")
        for number, overlap in enumerate(chance.choices(("skip", "queue", "replace"), k=4))
        if chance.random() < 0.6
    }


def rewrite(world: World, judge: Judge, chance: Random) -> str:
    """Writes other jobs, several times in a row."""
    times = chance.randint(1, 4)
    for _ in range(times):
        world.configure(more=_more(chance))
        time.sleep(chance.choice((0.0, 0.05, 0.31, 0.5)))
    judge.in_force(world.version)
    return f"the configuration was written {times} times"


def write_twice(world: World, judge: Judge, chance: Random) -> str:
    """Writes the configuration twice within a third of a second."""
    pause = chance.uniform(0.28, 0.36)
    world.configure(more=_more(chance))
    time.sleep(pause)
    world.version += 1
    world.replace("conf.d/50-version.yaml", world.versioned())
    judge.in_force(world.version)
    return f"the configuration was written twice, {pause * 1000:.0f} ms apart"


def write_bad(world: World, judge: Judge, chance: Random) -> str:
    """Writes a configuration that has errors, or deletes it; perhaps agentd is killed and starts with it."""
    kind = chance.choice(("invalid", "not YAML", "cut short", "a loop", "deleted"))
    file, killed = world.config / "agentd.yaml", chance.random() < 0.5
    good = file.read_text()
    if kind == "deleted":
        for old in (file, world.config / "conf.d/50-version.yaml"):
            old.unlink()
    else:
        loop = good.replace("metronome:", "metronome: &x\n    again: *x\n  metronom2:", 1)
        bad = {"invalid": good + "nothing: 1\n", "not YAML": "jobs: [{", "cut short": good[: good.rindex("}")]}
        world.replace("agentd.yaml", bad.get(kind, loop))
    judge.in_force(world.version, bad=True)
    if killed:
        world.during = f"the configuration was made bad ({kind}), and a kill -9 of the daemon"
        world.kill()
        # Who takes the files away wants no jobs any more: the last good ones are not meant then.
        if world.start(refusal="no configuration" if kind == "deleted" else ""):
            judge.in_force(world.version, bad=True)
    world.configure()
    if world.pid:
        judge.in_force(world.version)
    return f"the configuration was made bad ({kind}){', with a kill -9 and a start' * killed}, and mended"


def write_behind_a_link(world: World, judge: Judge, chance: Random) -> str:
    """Puts a link in the place of a file, then changes the file that it leads to."""
    target, link = world.folder / "elsewhere/version.yaml", world.config / "conf.d/50-version.yaml"
    world.version += 1
    target.write_text(world.versioned())
    link.unlink()
    link.symlink_to(target)
    judge.in_force(world.version)
    world.version += 1
    target.write_text(world.versioned())
    judge.in_force(world.version)
    world.configure()  # a file again
    judge.in_force(world.version)
    return "the configuration was changed behind a link"


def shift_clock(world: World, judge: Judge, chance: Random) -> str:
    """Sets the clock, while agentd runs or between two starts."""
    how = chance.choice(("kill", "terminate", "live", "live"))
    if how != "live":
        (world.kill if how == "kill" else world.terminate)()
        world.until(lambda: not world.role("supervisor"), 20)
    hour, day, year = 3600, 86400, 31_557_600
    shift = chance.choice((0, hour, -hour, 2 * hour, day, -day, 30 * year, -20 * year, 90, -90))
    moved = shift - world.shift
    world.set_clock(shift)
    return f"the clock was set by {moved:+d} s {'while agentd ran' if how == 'live' else 'between two starts'}"


def change_zone(world: World, judge: Judge, chance: Random) -> str:
    """Starts agentd in another time zone, told in one of the ways that the C library takes, or that nobody takes."""
    zones = {
        "Europe/Berlin": "Europe/Berlin",
        ":America/New_York": "America/New_York",
        "/usr/share/zoneinfo/Asia/Tokyo": "Asia/Tokyo",
        ":/usr/share/zoneinfo/Australia/Lord_Howe": "Australia/Lord_Howe",
        "": "UTC",
        "CET-1CEST,M3.5.0,M10.5.0/3": "",
        "Europe/Berln": "",
    }
    world.terminate()
    world.zone = chance.choice(list(zones))
    world.during = f'a start with TZ="{world.zone}"'
    if world.start():
        _look_at_zone(world, zones[world.zone])
    return world.during


def _look_at_zone(world: World, zone: str) -> None:
    """Looks whether noon is noon in the zone, or a warning says why not."""
    with world.caller() as caller:
        ((_, due), *_) = caller.call("Jobs.NextTimes", "stu", "noon", int(time.time() * 1e6), 1)
        warned = [text for text in caller.property("Manager.Warnings") if "zone" in text]
    if not zone:
        if not warned:
            text = f'TZ is "{world.zone}", which has no name agentd knows, and no warning says which zone is used'
            world.violated("the zone guessed", str(world.zone), text)
        return
    noon = datetime.now(ZoneInfo(zone)).replace(hour=12, minute=0, second=0, microsecond=0)
    if noon <= datetime.now(ZoneInfo(zone)):
        noon += timedelta(days=1)
    if abs(due / 1e6 - noon.timestamp()) > 2 and not warned:
        text = f'TZ is "{world.zone}"; noon is {noon.isoformat()}, for agentd {datetime.fromtimestamp(due / 1e6, UTC)}'
        world.violated("the zone guessed", str(world.zone), text)
