"""Whether the machine asks for a reboot, as a window wants to know it: another file, or the word of a job."""

from pathlib import Path

import pytest

from agentd.config import files
from agentd.config.problems import Problems
from agentd.core.jobs.settings import Job
from agentd.core.quantities import DAY
from agentd.core.reboots.model import Facts, RebootLooks
from agentd.core.reboots.policy import Hooks, RebootLimits, RebootPolicy, RequiredBy, faults
from agentd.reboots import machine
from tests.unit.reboots.world import HOUR, MINUTE, START, World, nightly

FREE = RebootLimits(min_uptime=0, per_day=1000, per_week=1000)
NIGHT = START + 3 * HOUR
ASKS = {"asks": Job(name="asks", run=("x",), timezone="UTC")}


def asking() -> World:
    policy = nightly("03:00", window=2 * HOUR, limits=FREE, only_if_required=RequiredBy(job="asks"))
    return World(policy, ASKS)


def asked(world: World) -> int:
    return world.seq - 1


def test_a_job_that_succeeds_says_that_a_reboot_is_required() -> None:
    world = asking()
    world.until(NIGHT - HOUR)
    assert asked(world) == 0, "nobody is asked before the window"
    world.until(NIGHT + 2 * HOUR)
    assert (asked(world), len(world.rebooted), world.reboots.job_requires) == (1, 1, False)


def test_a_job_that_fails_says_no_and_is_asked_again_within_the_window() -> None:
    world = asking()
    world.results = {"asks": "exit-code"}
    world.until(NIGHT + 30 * MINUTE)
    assert (world.state, asked(world)) == ("idle", 4)
    assert "the window 2026-01-01 03:00: asks.1 says that no reboot is required (exit-code)" in world.reasons()
    world.results = {}
    world.until(NIGHT + 2 * HOUR)
    assert (asked(world), len(world.rebooted)) == (5, 1)


def test_the_word_of_a_job_holds_for_its_window_alone() -> None:
    world = asking()
    world.facts = Facts(clock="the clock is not synchronised yet")
    world.until(NIGHT + HOUR)
    assert (world.state, asked(world), world.reboots.job_requires) == ("waiting", 1, True)
    world.until(NIGHT + HOUR + DAY)
    assert (world.rows[1].state, world.state, asked(world)) == ("deferred", "waiting", 2)


def test_a_job_that_is_still_at_it_when_the_window_is_over_says_nothing_of_the_next() -> None:
    world = asking()
    world.takes = {"asks": 5 * HOUR}
    world.until(NIGHT + 12 * HOUR)
    assert (world.rebooted, world.state, asked(world)) == ([], "idle", 1)
    world.takes, world.results = {}, {"asks": "exit-code"}
    world.until(NIGHT + DAY + 2 * HOUR)
    assert (world.rebooted, asked(world) > 1) == ([], True)


def test_a_machine_that_is_looked_at_meanwhile_asks_the_job_no_more_often() -> None:
    world = asking()
    world.takes = {"asks": 30 * MINUTE}
    world.until(NIGHT)
    for _ in range(20):
        world.reboots.observed(world.facts, world.now)
        world.pump()
    assert asked(world) == 1
    assert not world.told(RebootLooks)


def written(folder: Path, setting: str) -> RebootPolicy:
    file = folder / "agentd.yaml"
    file.write_text(f"jobs: {{asks: {{run: /bin/true}}}}\nreboot: {{only_if_required: {setting}}}\n")
    return files.load(file).config.reboot


@pytest.mark.parametrize(
    ("setting", "file", "job"),
    [
        ("true", "/run/reboot-required", ""),
        ("{file: /var/run/needs}", "/var/run/needs", ""),
        ("{job: asks}", "/run/reboot-required", "asks"),
    ],
)
def test_what_says_so_is_a_file_or_a_job(tmp_path: Path, setting: str, file: str, job: str) -> None:
    policy = written(tmp_path, setting)
    assert policy.only_if_required
    assert (policy.required_file, policy.asks_job) == (file, job)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("maybe", "expected true, false, {file: /run/reboot-required} or {job: needs-reboot}"),
        ("[]", "expected true, false,"),
        ("{}", "expected true, false, {file: /run/reboot-required} or {job: needs-reboot}"),
        ("{file: /a, job: asks}", "expected true, false,"),
        ("{file: a}", '"a" is not an absolute path'),
        ("{fiel: /a}", 'unknown key "fiel"'),
        ("{job: ask}", 'there is no job "ask"'),
    ],
)
def test_what_can_say_nothing_is_refused(tmp_path: Path, setting: str, sentence: str) -> None:
    with pytest.raises(Problems) as refused:
        written(tmp_path, setting)
    assert sentence in str(refused.value)


def test_the_file_that_is_configured_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual, other = tmp_path / "reboot-required", tmp_path / "other"
    monkeypatch.setattr(machine, "REQUIRED", usual)
    other.touch()
    assert [machine.reboot_required(str(other)), machine.reboot_required()] == [True, False]


def test_a_file_that_nobody_would_write_or_that_cannot_be_seen_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "REQUIRED", tmp_path / "reboot-required")
    monkeypatch.setattr(machine, "WRITERS", (str(tmp_path / "writer"),))
    assert machine.unwritten("/run/reboot-required").startswith("nothing on this machine would write /run/reboot-req")
    (tmp_path / "writer").touch()
    assert machine.unwritten("/run/reboot-required") == ""
    assert machine.unwritten(str(tmp_path / "absent")) == ""
    assert machine.unwritten(str(tmp_path / "writer" / "below")).startswith("agentd cannot see ")


def test_a_job_that_is_not_there_is_a_fault() -> None:
    policy = RebootPolicy(only_if_required=RequiredBy(job="ask"), hooks=Hooks())
    (fault,) = faults(policy, ["asks"])
    assert (fault.path, "asks" in fault.sentence) == (("reboot", "only_if_required", "job"), True)
