"""The faults. Each is a function that does one to a world, after which agentd may run or not, and says what it did: a
new one is such a function, in the file of its subject, and its line in FAULTS.

All chance comes from the Random that a fault is given, so that a seed repeats the same faults.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tests.chaos import deaths, people, settings, states
from tests.chaos.judging import Judge
from tests.chaos.world import World


@dataclass(frozen=True)
class Fault:
    """A fault: its name, the function that does it, how often it comes, and the profiles that it is for (empty: all but
    the quiet one)."""

    name: str
    do: Callable[[World, Judge, Random], str]
    weight: int
    profiles: frozenset[str] = frozenset()

    def suits(self, profile: str) -> bool:
        """Tells whether the fault is for worlds of this profile."""
        return profile in self.profiles if self.profiles else profile != "quiet"


_STATE = frozenset({"mixed", "waiting"})
FAULTS = (
    Fault("one process killed", deaths.kill_one, 6),
    Fault("several killed together", deaths.kill_several, 5),
    Fault("killed while it starts", deaths.kill_at_start, 4),
    Fault("killed before it took up the past", deaths.kill_with_the_bus_of_the_next, 3),
    Fault("jobs killed", deaths.kill_jobs, 2),
    Fault("stopped for a while", deaths.stop, 4),
    Fault("no more files", deaths.take_files, 2, frozenset({"mixed", "waiting", "burst"})),
    Fault("ended in peace", deaths.terminate, 2),
    Fault("killed in the drain", deaths.kill_in_drain, 3),
    Fault("disk full", states.fill_disk, 8, frozenset({"disk"})),
    Fault("-wal damaged", states.damage_wal, 3, _STATE),
    Fault("database damaged", states.damage_database, 3, _STATE),
    Fault("rows of nonsense", states.write_nonsense, 3, _STATE),
    Fault("database removed", states.remove_state, 1, frozenset({"waiting"})),
    Fault("configuration rewritten", settings.rewrite, 2, frozenset({"mixed", "quiet"})),
    Fault("configuration written twice", settings.write_twice, 3, frozenset({"mixed", "quiet"})),
    Fault("configuration bad", settings.write_bad, 2, frozenset({"mixed", "quiet", "disk"})),
    Fault("configuration behind a link", settings.write_behind_a_link, 1, frozenset({"quiet"})),
    Fault("clock set", settings.shift_clock, 12, frozenset({"clock"})),
    Fault("zone changed", settings.change_zone, 1, frozenset({"quiet"})),
    Fault("hostile callers", people.attack, 4, frozenset({"quiet", "burst"})),
    Fault("meddling", people.meddle, 3, frozenset({"quiet", "mixed"})),
    Fault("disabled between attempts", people.disable, 2, frozenset({"quiet", "mixed", "waiting"})),
)
"""All faults."""
