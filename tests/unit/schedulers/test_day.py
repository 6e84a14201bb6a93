"""A day of a machine on which chance reigns: at each moment it has the scheduler that is wanted first of those that it
can have, or a sentence says why not."""

import contextlib
import random

import pytest

from agentd.core.part import Decided, Refused
from agentd.core.schedulers.model import Ending, Figures, SchedulerFailed, SchedulerStarts, SchedulerStops
from agentd.core.schedulers.settings import Choice, Follow, Guards, Power, PowerProfiles, SchedulerSettings
from tests.unit.schedulers import laws
from tests.unit.schedulers.world import DAY, HOUR, MINUTE, MS, NAMES, SECOND, Program, World

SETTINGS = SchedulerSettings(
    default=Choice("scx_bpfland"),
    guards=Guards(pressure=0.9),
    follow=Follow(
        power_profile=PowerProfiles(performance=Choice("scx_lavd", "gaming"), power_saver=Choice("none")),
        power=Power(battery=Choice("scx_flash", "powersave")),
    ),
)
ENDINGS = (
    Ending(kind="stall", reason="runnable task stall", message="x[1] failed to run for 5.0s"),
    Ending(kind="error", reason="runtime error", message="non-existent DSQ 0x1267"),
    Ending(kind="hotplug", reason="cpu 3 going offline", restart=True),
)
DOES = ("runs",) * 12 + ("refuses", "exits", "hangs", "misnames", "ejects")
AGREES_AFTER = 2 * MINUTE
"""For so long nothing happens before the machine and the wishes have to agree: a start may hang for 45 s, and its end
takes a while too."""


class Day(World):
    """A World in which something happens every few minutes."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        super().__init__(SETTINGS)
        self.agreed = self.differed = 0

    def live(self, span: int) -> None:
        end = self.now + span
        while self.now < end:
            for _ in range(self.chance.choice([1, 1, 2, 4])):
                self.happen()
                self.after(self.chance.choice([0, 50 * MS, SECOND, 20 * SECOND]))
            self.after(self.chance.choice([10 * SECOND, 2 * MINUTE, 9 * MINUTE]))
            self.judge()

    def happen(self) -> None:
        """One of the things that happen."""
        chance = self.chance
        happens = chance.choice([
            self.somebody_wants, self.somebody_wants, self.somebody_leaves, self.a_run_comes_or_goes, self.a_profile,
            self.a_program_changes, self.an_end, self.an_end, self.agentd_ends, self.a_full_disk, self.another_loader,
            self.a_package, self.high_pressure, self.a_suspend,
        ])  # fmt: skip
        self.counts[happens.__name__] += 1
        happens()
        self.pump()

    def somebody_wants(self) -> None:
        name, how = self.chance.choice(["none", *NAMES]), self.chance.choice(["", "server"])
        source = self.chance.choice(["person", "lease", "lease", "rule"])
        holder = {"person": "alice", "lease": f":1.{self.chance.randrange(4)}", "rule": "memory"}[source]
        span = self.chance.choice([0, 5 * MINUTE, HOUR]) if source != "person" else 0
        with contextlib.suppress(Refused):
            self.want(name, source, holder, span, mode="" if name == "none" else how)

    def somebody_leaves(self) -> None:
        self.leave_bus(f":1.{self.chance.randrange(4)}")
        self.core.release("rule", "memory", self.now, "is over")
        if self.chance.random() < 0.2:
            self.core.restore(self.now)

    def a_run_comes_or_goes(self) -> None:
        if self.runs:
            self.finish(self.chance.choice(self.runs))
        else:
            self.run(self.chance.choice(["copy", "play", "quiet", "plain"]))

    def a_profile(self) -> None:
        self.profile = self.chance.choice(["performance", "balanced", "power-saver"])
        self.power = self.chance.choice(["ac", "battery"])
        self.core.profile_changed(self.profile, self.now)
        self.core.power_changed(self.power, self.now)

    def a_program_changes(self) -> None:
        chance = self.chance
        self.programs[chance.choice(NAMES)] = Program(
            enables=chance.choice([100 * MS, 700 * MS, 20 * SECOND]),
            does=chance.choice(DOES),
            lives=chance.choice([0, SECOND, 20 * SECOND, 10 * MINUTE]),
            ending=chance.choice(ENDINGS),
            stops=chance.choice([80 * MS, SECOND]),
            pinned=chance.random() < 0.3,
        )

    def an_end(self) -> None:
        if self.chance.random() < 0.4:
            self.kill()
        elif self.chance.random() < 0.2:
            self.reload()
        else:
            self.eject(self.chance.choice(ENDINGS))

    def agentd_ends(self) -> None:
        if self.chance.random() < 0.5:
            self.disk.dies_in = self.chance.randrange(1, 8)
        else:
            self.begin()

    def a_full_disk(self) -> None:
        if self.disk.full:
            self.have_room()
        else:
            self.disk.full = True

    def another_loader(self) -> None:
        if self.by == "other":
            self.unload_other()
        elif self.chance.random() < 0.4:
            self.load_other()

    def a_package(self) -> None:
        name = self.chance.choice(NAMES)
        if self.cannot.pop(name, None) is None and self.chance.random() < 0.4:
            self.cannot[name] = f"{name} is not installed"
        self.core.can_run(dict(self.cannot), self.now)

    def high_pressure(self) -> None:
        self.figures = Figures(pressure=self.chance.choice([0.1, 0.1, 0.95]))

    def a_suspend(self) -> None:
        self.core.sleeping(asleep=True, now=self.now)
        self.after(self.chance.choice([0, SECOND]))
        self.core.sleeping(asleep=False, now=self.now)

    def judge(self) -> None:
        """What is wanted first and what is on agree, or a sentence says why not; calm makes it so within minutes."""
        first = self.core.standings(self.now)[0]
        agrees = first.chosen is not None and self.on == first.chosen.name
        sentence = self.core.waits(self.now)
        assert agrees or sentence, f"{self.on} is on, {first.want.choice.name} is wanted, and nobody says why"
        self.agreed, self.differed = self.agreed + agrees, self.differed + (not agrees)
        if self.chance.random() < 0.1:
            self.figures = Figures(pressure=0.1)
            self.have_room()
            self.after(AGREES_AFTER)
            laws.rest(self)
            laws.agrees(self)


@pytest.mark.parametrize("seed", range(6))
def test_wanted_and_observed_agree_or_a_sentence_says_why(seed: int) -> None:
    day = Day(seed)
    day.live(DAY)
    assert day.counts["started"] > 30
    assert day.counts["killed"] > 0
    assert day.counts["failed"] > 5
    assert day.agreed > 50
    assert day.differed > 5
    switched = [effect for effect in day.seen if isinstance(effect, SchedulerStarts | SchedulerStops)]
    decided = [effect for effect in day.seen if isinstance(effect, Decided)]
    assert len(decided) > len(day.told_of(SchedulerStarts)) + len(day.told_of(SchedulerFailed))
    assert switched
