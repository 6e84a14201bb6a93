"""Whatever happens to a machine, in any order: the laws of schedulers hold, and in the end the machine has what is
wanted first of what it can have, or a sentence says why not."""

import contextlib

from hypothesis import settings, stateful
from hypothesis import strategies as st

from agentd.core.part import Refused
from agentd.core.schedulers.catalogue import NONE
from agentd.core.schedulers.model import Ending, Figures
from agentd.core.schedulers.settings import Choice, Follow, Guards, Power, PowerProfiles, SchedulerSettings
from tests.examples import examples
from tests.unit.schedulers import laws
from tests.unit.schedulers.world import DAY, HOUR, MINUTE, MS, NAMES, SECOND, Program, World

ENDINGS = (
    Ending(kind="stall", reason="runnable task stall"),
    Ending(kind="error", reason="runtime error"),
    Ending(kind="hotplug", restart=True),
    Ending(kind="sysrq", reason="disabled by sysrq-S"),
    Ending(),
)
CHOICES = st.sampled_from([NONE, *NAMES]).map(Choice)
SETTINGS = st.builds(
    SchedulerSettings,
    default=CHOICES,
    probation=st.sampled_from([5 * SECOND, MINUTE]),
    guards=st.sampled_from([Guards(), Guards(pressure=0.8)]),
    follow=st.builds(
        Follow,
        power_profile=st.builds(PowerProfiles, performance=st.none() | CHOICES, balanced=st.none() | CHOICES),
        power=st.builds(Power, battery=st.none() | CHOICES),
    ),
)
PROGRAMS = st.builds(
    Program,
    enables=st.sampled_from([0, 700 * MS, 20 * SECOND, 2 * MINUTE]),
    does=st.sampled_from(["runs", "runs", "runs", "refuses", "exits", "hangs", "misnames", "ejects"]),
    lives=st.sampled_from([0, 1, SECOND, MINUTE, HOUR]),
    ending=st.sampled_from(ENDINGS),
    stops=st.sampled_from([0, 80 * MS, 50 * SECOND]),
    pinned=st.booleans(),
)


class Histories(stateful.RuleBasedStateMachine):
    """Events in any order, on a machine whose laws are checked all the while (world.check, World.start)."""

    @stateful.initialize(settings=SETTINGS)
    def begin(self, settings: SchedulerSettings) -> None:
        self.world = World(settings)

    @stateful.rule(span=st.sampled_from([1, 100 * MS, SECOND, 5 * SECOND, MINUTE, 10 * MINUTE, 5 * HOUR]))
    def time_passes(self, span: int) -> None:
        self.world.after(span)

    @stateful.rule(name=st.sampled_from([NONE, *NAMES, "scx_unknown"]), mode=st.sampled_from(["", "gaming"]))
    def a_person_chooses(self, name: str, mode: str) -> None:
        with contextlib.suppress(Refused):
            self.world.want(name, mode="" if name == NONE else mode)

    @stateful.rule(
        name=st.sampled_from([NONE, *NAMES]),
        client=st.sampled_from([":1.5", ":1.6"]),
        span=st.sampled_from([0, MINUTE]),
    )
    def a_client_takes_a_lease(self, name: str, client: str, span: int) -> None:
        with contextlib.suppress(Refused):
            self.world.want(name, "lease", client, span)

    @stateful.rule(client=st.sampled_from([":1.5", ":1.6"]))
    def a_client_leaves(self, client: str) -> None:
        self.world.leave_bus(client)

    @stateful.rule()
    def persons_restore(self) -> None:
        self.world.core.restore(self.world.now)
        self.world.pump()

    @stateful.rule(again=st.booleans())
    def a_person_keeps_or_restarts(self, again: bool) -> None:
        core, now = self.world.core, self.world.now
        with contextlib.suppress(Refused):
            core.restart("alice", now) if again else core.keep("alice", now)
        self.world.pump()

    @stateful.rule(job=st.sampled_from(["copy", "play", "quiet", "plain"]))
    def a_run_begins(self, job: str) -> None:
        self.world.run(job)

    @stateful.precondition(lambda self: self.world.runs)
    @stateful.rule()
    def a_run_ends(self) -> None:
        self.world.finish(self.world.runs[0])

    @stateful.rule(profile=st.sampled_from(["performance", "balanced", ""]), power=st.sampled_from(["ac", "battery"]))
    def the_power_changes(self, profile: str, power: str) -> None:
        world = self.world
        world.profile, world.power = profile, power
        world.core.profile_changed(profile, world.now)
        world.core.power_changed(power, world.now)
        world.pump()

    @stateful.rule(name=st.sampled_from(NAMES), program=PROGRAMS)
    def a_program_is_another(self, name: str, program: Program) -> None:
        self.world.programs[name] = program

    @stateful.rule(name=st.sampled_from(NAMES), trouble=st.sampled_from(["", "it is not what its name says"]))
    def a_look_finds(self, name: str, trouble: str) -> None:
        self.world.checks[name] = trouble

    @stateful.rule(name=st.sampled_from(NAMES), there=st.booleans())
    def a_package_comes_or_goes(self, name: str, there: bool) -> None:
        world = self.world
        world.cannot.pop(name, None)
        world.cannot |= {} if there else {name: f"{name} is not installed"}
        world.core.can_run(dict(world.cannot), world.now)
        world.pump()

    @stateful.rule(ending=st.sampled_from(ENDINGS))
    def the_kernel_ejects(self, ending: Ending) -> None:
        self.world.eject(ending)

    @stateful.rule()
    def a_program_loads_it_again(self) -> None:
        self.world.reload()

    @stateful.rule()
    def a_program_is_killed(self) -> None:
        self.world.kill()

    @stateful.rule(here=st.booleans())
    def somebody_else_loads_or_unloads(self, here: bool) -> None:
        if here:
            self.world.load_other()
        else:
            self.world.unload_other()

    @stateful.rule(ends=st.booleans())
    def one_of_ones_own_is_tried(self, ends: bool) -> None:
        if ends:
            self.world.end_trial()
        else:
            with contextlib.suppress(Refused):
                self.world.try_out()

    @stateful.rule(after=st.sampled_from([None, 1, 100 * MS, 10 * SECOND]))
    def reasons_are_told(self, after: int | None) -> None:
        self.world.reason_after = after

    @stateful.rule(full=st.booleans())
    def the_disk_is_full_or_not(self, full: bool) -> None:
        if full:
            self.world.disk.full = True
        else:
            self.world.have_room()

    @stateful.rule(pressure=st.sampled_from([0.1, 0.95]))
    def the_pressure_is(self, pressure: float) -> None:
        self.world.figures = Figures(pressure=pressure)

    @stateful.rule(settings=SETTINGS)
    def the_configuration_changes(self, settings: SchedulerSettings) -> None:
        world = self.world
        world.settings = settings
        world.core.configure(settings, world.jobs, world.now)
        world.pump()

    @stateful.rule(asleep=st.booleans())
    def the_machine_sleeps_or_wakes(self, asleep: bool) -> None:
        self.world.core.sleeping(asleep, self.world.now)
        self.world.pump()

    @stateful.rule(delta=st.sampled_from([-HOUR, -SECOND, SECOND, HOUR]))
    def the_clock_is_set(self, delta: int) -> None:
        self.world.step_clock(delta)

    @stateful.rule(orderly=st.booleans())
    def agentd_is_started_anew(self, orderly: bool) -> None:
        if orderly:
            self.world.core.drain()
            self.world.pump()
        self.world.begin()

    @stateful.rule(effects=st.integers(1, 8))
    def agentd_is_killed_between_storing_and_doing(self, effects: int) -> None:
        self.world.disk.dies_in = effects

    @stateful.rule()
    def the_machine_is_booted_anew(self) -> None:
        self.world.reboot()

    @stateful.invariant()
    def the_laws_hold(self) -> None:
        if hasattr(self, "world"):
            laws.moment(self.world)

    def teardown(self) -> None:
        """Calm: the disk has room, nobody does anything, reasons are told. Everything comes to rest."""
        if not hasattr(self, "world"):
            return
        world = self.world
        world.have_room()
        world.disk.dies_in, world.reason_after = -1, 100 * MS
        world.core.sleeping(asleep=False, now=world.now)
        world.after(HOUR)
        laws.rest(world)
        laws.agrees(world)
        world.after(3 * DAY)
        laws.rest(world)
        laws.agrees(world)
        laws.sleeps_well(world)


Histories.TestCase.settings = settings(max_examples=examples(150), stateful_step_count=40)
test_whatever_happens_the_laws_hold = Histories.TestCase
