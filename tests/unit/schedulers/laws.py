"""The laws of schedulers, as a machine that knows by itself what is true holds agentd to them."""

from typing import TYPE_CHECKING

from agentd.core.quantities import MINUTE, SECOND
from agentd.core.schedulers.model import Chosen

if TYPE_CHECKING:
    from tests.unit.schedulers.world import World

UNTOLD = 2000
"""Microseconds for which agentd cannot know what the kernel does."""


def moment(world: "World") -> None:
    """At each moment: the state that is shown is the observed one, one unit is up at most, no lease outlives its client
    or its time."""
    assert world.core.seen == world.told
    assert len(world.units) <= 1
    for lease in world.core.leases:
        assert lease.holder in world.clients
        assert not lease.until or lease.until > world.now


def start(world: "World", chosen: Chosen) -> None:
    """At each start: nothing else is up or on, the reason is stored, and no failure is too recent."""
    assert not world.units, f"{chosen.name} is started while {list(world.units)} is up"
    assert world.told.state == "disabled", f"{chosen.name} is started while {world.told.ops} is {world.told.state}"
    assert world.state == "disabled" or world.now - world.loaded < UNTOLD, f"{world.ops} is {world.state}"
    assert chosen.name in world.disk.decided, f"no decision is stored about the start of {chosen.name}"
    store, now = world.disk.store, world.now
    found = next((one for one in store.quarantines if one.name == chosen.name), None)
    proved = store.last_good is not None and store.last_good.same(chosen)
    if found is None or now >= found.until or proved:
        return
    assert now >= found.failed + MINUTE, f"{chosen.name} is started within a minute of its failure"
    standing = next(one for one in world.core.standings(now) if one.wins)
    assert standing.want.source in {"lease", "person"}
    assert standing.want.since > found.failed


def rest(world: "World") -> None:
    """Once nothing happens any more, agentd comes to rest."""
    for _ in range(1000):
        moves = world.state not in {"disabled", "enabled"}
        moves = moves or any(unit.state != "up" for unit in world.units.values())
        if world.core.phase == "resting" and not world.core.calm and not moves:
            return
        world.after(SECOND)
    raise AssertionError(f"agentd does not come to rest: {world.core.waits(world.now)}")


def agrees(world: "World") -> None:
    """At rest the machine has the scheduler that is wanted first of those that it can have, and a sentence says why it
    has no other; nothing is left of any other."""
    standings = world.core.standings(world.now)
    winners = [one for one in standings if one.wins]
    assert all(one.why for one in standings if not one.wins)
    if world.by == "other":
        assert winners == []
        assert world.core.conflict
        assert world.core.waits(world.now)
        return
    if world.core.trial is not None:
        assert "custom:fifo is tried" in world.core.waits(world.now)
        assert not world.units
        return
    (winner,) = winners
    assert winner.chosen is not None
    assert world.on == winner.chosen.name, world.core.waits(world.now)
    assert set(world.units) == {world.on} - {"none"}
    assert (world.core.waits(world.now) == "") == (standings[0] is winner)
    if world.core.tenure is not None:
        assert world.core.tenure.chosen.same(winner.chosen)
        assert world.core.tenure.enabled


def sleeps_well(world: "World") -> None:
    """agentd is woken by nothing but what it waits for."""
    tenure, wakeup = world.core.tenure, world.core.wakeup()
    waited = [lease.until for lease in world.core.leases if lease.until]
    for one in world.core.quarantines(world.now):
        waited += [one.until, one.failed + MINUTE]
    on_probation = tenure is not None and tenure.probation > 0
    assert wakeup is None or on_probation or wakeup in waited, f"agentd is woken for nothing in {wakeup - world.now} us"
