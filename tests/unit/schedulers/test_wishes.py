"""Who wants what, who wins and why: leases, persons, jobs, rules, the power, the default."""

import pytest

from agentd.core.part import Refused
from agentd.core.schedulers.model import Want
from agentd.core.schedulers.settings import Choice, Follow, Power, PowerProfiles, SchedulerSettings
from agentd.core.schedulers.wants import MOST_CHOICES, MOST_HELD
from tests.unit.schedulers.world import DAY, HOUR, MINUTE, NAMES, SECOND, World

FOLLOWING = SchedulerSettings(
    default=Choice("scx_bpfland"),
    follow=Follow(
        power_profile=PowerProfiles(performance=Choice("scx_lavd"), power_saver=Choice("none")),
        power=Power(battery=Choice("scx_flash")),
    ),
)


def shown(world: World) -> list[tuple[str, str, bool]]:
    return [(one.want.source, one.want.choice.name, one.wins) for one in world.core.standings(world.now)]


def test_all_sources_in_the_order_in_which_they_win() -> None:
    world = World(FOLLOWING)
    world.core.profile_changed("performance", world.now)
    world.core.power_changed("battery", world.now)
    world.run("copy")
    world.want("scx_cosmos", "rule", "memory")
    world.want("none")
    world.want("scx_flash", "lease", ":1.5")
    world.want("scx_lavd", "lease", ":1.6")
    world.after(MINUTE)
    assert shown(world) == [
        ("lease", "scx_lavd", True),
        ("lease", "scx_flash", False),
        ("person", "none", False),
        ("job", "scx_rusty", False),
        ("rule", "scx_cosmos", False),
        ("follow", "scx_lavd", False),
        ("follow", "scx_flash", False),
        ("default", "scx_bpfland", False),
        ("default", "none", False),
    ]
    assert world.on == "scx_lavd"
    assert world.core.standings(world.now)[2].why == "the wish of lease :1.6 goes before"


def test_a_lease_ends_with_its_time() -> None:
    world = World()
    world.want("scx_lavd", "lease", ":1.5", 5 * MINUTE)
    world.after(5 * MINUTE - SECOND)
    assert world.on == "scx_lavd"
    world.after(2 * SECOND)
    assert world.on == "none"
    assert "the time of lease :1.5 is over" in world.reasons_told()


def test_a_lease_ends_with_its_client_even_while_it_is_started() -> None:
    world = World(SchedulerSettings(default=Choice("scx_rusty")))
    world.after(5 * MINUTE)
    world.programs["scx_lavd"].enables = 30 * SECOND
    world.want("scx_lavd", "lease", ":1.5")
    world.after(10 * SECOND)
    world.leave_bus(":1.5")
    world.after(20 * SECOND)
    assert world.on == "scx_rusty"
    assert "lease :1.5 has left the bus" in world.reasons_told()


def test_of_two_clients_the_newer_wins_and_the_older_has_its_own_again() -> None:
    world = World()
    world.want("scx_lavd", "lease", ":1.5")
    world.after(MINUTE)
    world.want("scx_flash", "lease", ":1.6")
    world.after(MINUTE)
    assert world.on == "scx_flash"
    world.leave_bus(":1.6")
    world.after(MINUTE)
    assert world.on == "scx_lavd"


def test_a_client_has_one_lease_its_newest() -> None:
    world = World()
    world.want("scx_lavd", "lease", ":1.5")
    world.want("scx_flash", "lease", ":1.5")
    assert [lease.choice.name for lease in world.core.leases] == ["scx_flash"]
    assert world.core.release("lease", ":1.5", world.now)
    assert world.core.leases == []
    assert world.core.release("lease", ":1.5", world.now) == []


def test_a_lease_can_be_kept_as_a_choice_of_a_person() -> None:
    world = World()
    with pytest.raises(Refused, match="no scheduler of agentd's"):
        world.core.keep("alice", world.now)
    world.want("scx_lavd", "lease", ":1.5", HOUR)
    world.after(5 * SECOND)
    assert world.core.keep("alice", world.now).chosen.name == "scx_lavd"
    world.leave_bus(":1.5")
    world.after(2 * HOUR)
    assert world.on == "scx_lavd"
    assert [(want.source, want.holder, want.until, want.proven) for want in world.disk.store.wants] == [
        ("person", "alice", 0, True)
    ]


def test_a_scheduler_that_is_about_to_leave_cannot_be_kept() -> None:
    world = World()
    world.want("scx_lavd", "lease", ":1.5", HOUR)
    world.after(5 * SECOND)
    world.want("scx_flash", "lease", ":1.6")
    with pytest.raises(Refused, match="no scheduler of agentd's is on that stays"):
        world.core.keep("alice", world.now)


def test_keeping_ends_the_probation_of_what_the_machine_itself_wanted() -> None:
    world = World(SchedulerSettings(default=Choice("scx_rusty")))
    world.after(5 * SECOND)
    world.core.keep("alice", world.now)
    world.pump()
    assert world.core.tenure is not None
    assert world.core.tenure.probation == 0
    assert world.disk.store.wants == ()
    assert world.core.last_good is not None


def test_a_run_has_its_jobs_scheduler_and_the_one_before_comes_back() -> None:
    world = World(SchedulerSettings(default=Choice("scx_bpfland")))
    world.after(5 * MINUTE)
    run = world.run("copy")
    world.after(10 * SECOND)
    assert world.on == "scx_rusty"
    other = world.run("plain")
    world.finish(other)
    world.after(10 * SECOND)
    assert world.on == "scx_rusty"
    world.finish(run)
    world.after(5 * SECOND)
    assert world.on == "scx_bpfland"


def test_jobs_that_run_all_the_time_do_not_have_the_machine_switch_all_the_time() -> None:
    world = World(SchedulerSettings(default=Choice("scx_bpfland")))
    world.after(5 * MINUTE)
    started = world.counts["started"]
    for _ in range(60):
        run = world.run("copy")
        world.after(SECOND)
        assert world.core.waits(world.now) or world.on == "scx_rusty"
        world.finish(run)
        world.after(SECOND)
    assert world.counts["started"] - started <= 12
    world.after(MINUTE)
    assert world.on == "scx_bpfland"


def test_a_person_does_not_wait_for_what_the_machine_wanted() -> None:
    world = World(SchedulerSettings(default=Choice("scx_bpfland")))
    world.after(2 * SECOND)
    world.run("copy")
    world.after(2 * SECOND)
    assert "waits for" in world.core.waits(world.now)
    world.want("scx_lavd")
    world.after(2 * SECOND)
    assert world.on == "scx_lavd"


def test_the_power_profile_and_the_battery_are_followed() -> None:
    world = World(FOLLOWING)
    world.after(MINUTE)
    assert world.on == "scx_bpfland"
    for profile, power, expected in (
        ("performance", "ac", "scx_lavd"),
        ("balanced", "ac", "scx_bpfland"),
        ("balanced", "battery", "scx_flash"),
        ("power-saver", "battery", "none"),
        ("", "", "scx_bpfland"),
    ):
        world.core.profile_changed(profile, world.now)
        world.core.power_changed(power, world.now)
        world.after(MINUTE)
        assert world.on == expected, (profile, power)


def test_a_power_profile_that_changes_during_a_lease_counts_when_the_lease_is_over() -> None:
    world = World(FOLLOWING)
    world.want("scx_cosmos", "lease", ":1.5")
    world.after(MINUTE)
    world.core.profile_changed("performance", world.now)
    world.after(MINUTE)
    assert world.on == "scx_cosmos"
    world.leave_bus(":1.5")
    world.after(10 * SECOND)
    assert world.on == "scx_lavd"


def test_a_wish_that_cannot_be_served_is_passed_over_with_its_reason() -> None:
    world = World(SchedulerSettings(default=Choice("scx_bpfland")))
    world.cannot = {"scx_lavd": "scx_lavd is not installed"}
    world.core.can_run(world.cannot, world.now)
    world.jobs = {**world.jobs}
    world.run("play")
    world.after(MINUTE)
    assert world.on == "scx_bpfland"
    assert world.core.waits(world.now) == "job play.1 wants scx_lavd: scx_lavd is not installed"
    assert world.core.wakeup() is None or world.core.tenure is not None
    world.core.can_run({}, world.now)
    world.after(MINUTE)
    assert world.on == "scx_lavd"


def test_a_scheduler_that_is_on_stays_though_its_package_goes() -> None:
    world = World()
    world.want("scx_lavd")
    world.after(5 * MINUTE)
    world.core.can_run({"scx_lavd": "scx_lavd is not installed"}, world.now)
    world.after(MINUTE)
    assert world.on == "scx_lavd"


def test_the_last_good_scheduler_stands_in_for_a_default_that_fails() -> None:
    world = World(SchedulerSettings(default=Choice("scx_rusty")))
    world.want("scx_bpfland")
    world.after(5 * MINUTE)
    world.programs["scx_rusty"].does = "refuses"
    world.core.restore(world.now)
    world.after(30 * SECOND)
    assert world.on == "scx_bpfland"
    assert world.core.standings(world.now)[1].want.holder == "the last good"


def test_a_default_that_the_catalogue_does_not_know_is_told_and_not_started() -> None:
    world = World(SchedulerSettings(default=Choice("scx_unknown")))
    world.after(MINUTE)
    assert world.on == "none"
    assert world.core.waits(world.now) == ('scheduler.default wants scx_unknown: there is no scheduler "scx_unknown"')


@pytest.mark.parametrize("name", ["scx_unknown", "scx_lavd"])
def test_who_asks_for_what_cannot_be_had_is_refused_at_once(name: str) -> None:
    world = World()
    world.core.can_run({"scx_lavd": "this kernel is too old for scx_lavd"}, world.now)
    with pytest.raises(Refused, match=r"no scheduler|too old"):
        world.want(name)
    assert world.disk.store.wants == ()
    world.after(MINUTE)
    assert world.counts["started"] == 0


def test_a_kernel_without_sched_ext_serves_nothing_but_its_own() -> None:
    world = World(SchedulerSettings(default=Choice("scx_rusty")), take_up=False)
    world.state = "absent"
    world.begin()
    world.after(MINUTE)
    assert world.counts["started"] == 0
    assert world.core.waits(world.now) == "scheduler.default wants scx_rusty: this kernel has no sched_ext"
    with pytest.raises(Refused, match="no sched_ext"):
        world.want("scx_lavd")
    world.want("none")
    assert world.core.wakeup() is None


def test_a_scheduler_of_somebody_else_is_respected_until_it_ends() -> None:
    world = World(SchedulerSettings(default=Choice("scx_rusty")), take_up=False)
    world.load_other("simple")
    world.begin()
    world.after(HOUR)
    assert world.on == "other"
    assert world.core.tenure is not None
    assert (world.core.tenure.loaded_by, world.core.tenure.ops) == ("other", "simple")
    assert "simple was loaded by somebody else" in world.core.conflict
    for name in ("scx_lavd", "none"):
        with pytest.raises(Refused, match="loaded by somebody else"):
            world.want(name)
    world.unload_other()
    world.after(5 * SECOND)
    assert world.on == "none"  # its owner may be about to load another
    world.load_other("qmap")
    world.after(MINUTE)
    assert world.on == "other"
    world.unload_other()
    world.after(15 * SECOND)
    assert world.on == "scx_rusty"
    assert [one.ops for one in world.disk.tenures.values() if one.loaded_by == "other"] == ["simple", "qmap"]


def test_who_asks_after_somebody_elses_scheduler_left_does_not_wait() -> None:
    world = World(take_up=False)
    world.load_other("simple")
    world.begin()
    world.unload_other()
    world.after(2 * SECOND)
    world.want("scx_lavd")
    world.after(2 * SECOND)
    assert world.on == "scx_lavd"


def test_another_flag_in_the_configuration_has_the_scheduler_started_anew() -> None:
    world = World(SchedulerSettings(default=Choice("scx_rusty")))
    world.after(5 * MINUTE)
    world.core.configure(SchedulerSettings(default=Choice("scx_rusty"), mode="server"), world.jobs, world.now)
    world.after(MINUTE)
    assert world.core.tenure is not None
    assert world.core.tenure.chosen.mode == "server"
    assert world.counts["started"] == 2


def test_wishes_are_bounded() -> None:
    world = World()
    for number in range(MOST_CHOICES * 3):
        world.want(NAMES[number % 5], mode=f"m{number}")
    assert len(world.disk.store.wants) <= MOST_CHOICES
    for number in range(MOST_HELD):
        world.want("none", "lease", f":1.{number}")
    with pytest.raises(Refused, match="are held already"):
        world.want("none", "lease", ":1.999")
    world.want("none", "lease", ":1.5")  # in the place of its own
    assert len(world.core.leases) == MOST_HELD


def test_a_wish_whose_time_is_over_is_refused_and_so_is_any_while_agentd_stops() -> None:
    world = World()
    late = Want(source="lease", holder=":1.5", choice=Choice("scx_lavd"), until=world.now - 1)
    with pytest.raises(Refused, match="over already"):
        world.core.want(late, world.now)
    world.core.drain()
    with pytest.raises(Refused, match="agentd is stopping"):
        world.want("scx_lavd")


def test_what_a_rule_wants_ends_with_its_part_and_outlives_agentd_while_the_rule_fires() -> None:
    world = World()
    world.want("scx_lavd", "rule", "memory", DAY)
    world.after(MINUTE)
    assert world.on == "scx_lavd"
    world.core.gone("rules", world.now)
    world.after(5 * SECOND)
    assert world.on == "none"
    world.want("scx_lavd", "rule", "memory", DAY)
    world.want("scx_rusty", "rule", "heat", DAY)
    world.after(MINUTE)
    world.begin()
    world.core.fires(["heat", "memory"], world.now)
    world.after(MINUTE)
    assert world.on == "scx_rusty"
    world.begin()
    world.core.fires(["memory"], world.now)  # the other was over before agentd was there again
    world.after(MINUTE)
    assert world.on == "scx_lavd"
    world.boot = "boot-2"
    world.begin()
    world.core.fires([], world.now)
    world.after(MINUTE)
    assert world.on == "none"


def test_without_the_part_of_jobs_no_run_wants_anything() -> None:
    world = World()
    world.run("copy")
    world.after(MINUTE)
    assert world.on == "scx_rusty"
    world.core.gone("jobs", world.now)
    world.after(MINUTE)
    assert world.on == "none"


def test_who_chooses_anew_ends_a_choice_for_a_time_and_no_lease_of_a_client() -> None:
    world = World()
    world.want("scx_lavd", "lease", "alice", DAY)
    world.after(MINUTE)
    assert world.on == "scx_lavd"
    world.want("none", "person", "bob")
    world.after(5 * SECOND)
    assert world.on == "none"
    world.want("scx_rusty", "lease", ":1.7")
    world.want("none", "person", "bob")
    world.after(MINUTE)
    assert world.on == "scx_rusty"


def test_a_wish_has_a_fate() -> None:
    world = World()
    want = world.want("scx_lavd")
    assert world.core.fate(want, world.now) is None
    world.after(5 * SECOND)
    assert world.core.fate(want, world.now) == ""
    world.after(5 * MINUTE)
    assert world.core.fate(want, world.now) == ""
    lease = world.want("none", "lease", ":1.5")
    world.after(5 * SECOND)
    assert world.core.fate(lease, world.now) == ""
    assert world.core.fate(want, world.now) == "the wish of lease :1.5 goes before"
    world.leave_bus(":1.5")
    assert world.core.fate(lease, world.now) == "the wish was taken back"
