"""The section `scheduler`, and the scheduler of a job: what is read, and what is refused with which sentence."""

import contextlib
import re
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.config import files
from agentd.config.kinds import PARTS
from agentd.config.problems import Problems
from agentd.core.config import Config
from agentd.core.fields import Invalid
from agentd.core.quantities import HOUR, MINUTE, SECOND
from agentd.core.schedulers.catalogue import MODES
from agentd.core.schedulers.settings import (
    KINDS,
    Choice,
    Follow,
    Guards,
    Mode,
    Power,
    PowerProfiles,
    SchedulerSettings,
    wanted_by,
)

WHOLE = """scheduler:
  default: scx_bpfland
  mode: server
  probation: 2min
  guards: {pressure: 90%, run_delay: 150%, program: 40%, loop_lag: 500ms}
  follow:
    power-profile: {performance: {scx_lavd: gaming}, balanced: none, power-saver: {scx_lavd: {slice-max-us: 9000}}}
    power: {battery: scx_flash}
  modes: {gaming: {scx_bpfland: {primary-domain: all}}}
  serve_scx_loader: true
jobs:
  copy: {run: x, scheduler: {scx_rusty: {mode: server, slice-us-underutil: 20000}}}
  mine: {run: x, scheduler: "custom:mine"}
  other: {run: x}
"""


def read(text: str, tmp_path: Path) -> Config:
    file = tmp_path / "agentd.yaml"
    file.write_text(text)
    return files.load(file).config


def test_everything_that_can_be_said(tmp_path: Path) -> None:
    config = read(WHOLE, tmp_path)
    assert config.scheduler == SchedulerSettings(
        default=Choice("scx_bpfland"),
        mode="server",
        probation=2 * MINUTE,
        guards=Guards(pressure=0.9, run_delay=1.5, program=0.4, loop_lag=SECOND // 2),
        follow=Follow(
            power_profile=PowerProfiles(
                performance=Choice("scx_lavd", "gaming"),
                balanced=Choice("none"),
                power_saver=Choice("scx_lavd", "", {"slice-max-us": "9000"}),
            ),
            power=Power(battery=Choice("scx_flash")),
        ),
        modes={"gaming": {"scx_bpfland": {"primary-domain": "all"}}},
        serve_scx_loader=True,
    )
    assert wanted_by(config.jobs["copy"]) == Choice("scx_rusty", "server", {"slice-us-underutil": "20000"})
    assert wanted_by(config.jobs["mine"]) == Choice("custom:mine")
    assert wanted_by(config.jobs["other"]) is None


def test_without_a_section_nothing_is_wanted(tmp_path: Path) -> None:
    config = read("jobs: {}\n", tmp_path)
    assert config.scheduler == SchedulerSettings()
    assert config.scheduler.default == Choice("none")
    assert config.scheduler.probation == MINUTE


def test_what_follows_the_machine_is_found_by_its_own_words() -> None:
    follow = Follow(power_profile=PowerProfiles(power_saver=Choice("none")), power=Power(ac=Choice("scx_lavd")))
    assert follow.by_profile("power-saver") == Choice("none")
    assert follow.by_profile("performance") is follow.by_profile("") is follow.by_profile("turbo") is None
    assert follow.by_power("ac") == Choice("scx_lavd")
    assert follow.by_power("battery") is follow.by_power("") is None


def test_the_modes_of_the_settings_are_those_of_the_catalogue() -> None:
    assert get_args(Mode) == MODES


@pytest.mark.parametrize(
    ("setting", "place", "sentence"),
    [
        ("default: {scx_bpfland: gamin}", "2:26", 'scheduler.default.scx_bpfland: "gamin" is not one of auto, gaming,'),
        ("default: {scx_bpfland: gamin}", "2:26", "(did you mean gaming?)"),
        ("default: {scx_bpfland: {mode: fast}}", "2:33", 'scheduler.default.scx_bpfland.mode: "fast" is not one of'),
        ("default: {scx_bpfland: {mode: []}}", "2:33", "expected one of auto, gaming"),
        ("default: ../../bin/sh", "2:12", '"../../bin/sh" cannot be the name of a scheduler: expected none, a name'),
        ("default: {-x: auto}", "2:13", '"-x" cannot be the name of a scheduler'),
        ("default: {a: auto, b: auto}", "2:12", "expected none, a name such as scx_bpfland"),
        ("default: []", "2:12", "expected none, a name such as scx_bpfland"),
        ("default: {scx_bpfland: []}", "2:26", "expected a mode, or flags such as"),
        ("default: {none: auto}", "2:13", "the kernel's own scheduler (none) has no mode and no flags"),
        ("default: {scx_x: {--slice: 5}}", "2:21", '"--slice" cannot be a flag: expected a name such as slice-us'),
        ("default: {scx_x: {slice-us: [5]}}", "2:31", "expected one value of at most 200 characters"),
        ('default: {scx_x: {slice-us: "5\\n6"}}', "2:31", "expected one value of at most 200 characters"),
        ("default: {scx_x: {slice-us: ''}}", "2:31", "expected one value of at most 200 characters"),
        ("default: ~", "2:12", "has no value"),
        ("mode: fast", "2:9", '"fast" is not one of auto, gaming, lowlatency, powersave, server'),
        ("probation: 4s", "2:14", '"4s" must lie between 5s and 1h'),
        ("probation: 2h", "2:14", '"2h" must lie between 5s and 1h'),
        ("guards: {pressure: high}", "2:22", "scheduler.guards.pressure: expected percents of the time, such as 80%"),
        ("guards: {pressure: 120%}", "2:22", "expected at most 100%: pressure is a share of time"),
        ("guards: {run_delay: 0.5%}", "2:23", "expected at least 1%, or 0% for no bound"),
        ("guards: {program: 0.5%}", "2:21", "expected at least 1%, or 0% for no bound"),
        ("guards: {loop_lag: 5ms}", "2:22", "expected at least 100ms, or 0 for no bound"),
        ("guards: {presure: 80%}", "2:12", 'unknown key "presure" (did you mean pressure?)'),
        (
            "follow: {power-profile: {turbo: none}}",
            "2:28",
            'unknown key "turbo"; expected one of balanced, performance',
        ),
        ("follow: {power: {solar: none}}", "2:20", 'unknown key "solar"; expected one of ac, battery'),
        ("follow: {power: {ac: {x: y}}}", "2:28", 'scheduler.follow.power.ac.x: "y" is not one of auto'),
        ("follow: {power_profile: {}}", "2:12", 'unknown key "power_profile" (did you mean power-profile?)'),
        ("modes: {gamin: {}}", "2:11", 'scheduler.modes: "gamin" is not one of auto, gaming'),
        ("modes: {gaming: [-m, all]}", "2:19", "expected flags by scheduler"),
        ("modes: {gaming: {scx_bpfland: [-m, all]}}", "2:33", "expected flags such as {slice-us: 5000}"),
        ("modes: {gaming: {none: {}}}", "2:20", '"none" cannot be the name of a scheduler with flags'),
        ("modes: []", "2:10", "expected flags by mode and scheduler"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(setting: str, place: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(Problems) as told:
        read(f"scheduler:\n  {setting}\n", tmp_path)
    (problem,) = told.value.found
    assert f"{problem.line}:{problem.column}" == place
    assert sentence in problem.message


def test_a_job_is_refused_a_scheduler_as_the_section_is(tmp_path: Path) -> None:
    with pytest.raises(Problems, match=r'3:24: jobs.a.scheduler.scx_x: "y" is not one of auto'):
        read("jobs:\n  a:\n    scheduler: {scx_x: y}\n    run: x\n", tmp_path)


def test_a_job_that_would_switch_all_the_time_is_told(tmp_path: Path) -> None:
    config = read(
        "jobs:\n"
        "  often: {run: x, when: {every: 5s}, scheduler: scx_lavd}\n"
        "  seldom: {run: x, when: {every: 1h}, scheduler: scx_lavd}\n"
        "  plain: {run: x, when: {every: 5s}}\n",
        tmp_path,
    )
    doubts = [doubt for part in PARTS for doubt in part.doubts(config)]
    assert doubts == ["jobs.often: switches the scheduler at each run, and runs more than once a minute"]


def test_a_drop_in_changes_one_setting_and_leaves_the_rest(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "agentd.yaml").write_text(WHOLE)
    (tmp_path / "conf.d/x.yaml").write_text("scheduler: {follow: {power: {ac: scx_lavd}}, probation: 1h}\n")
    settings = files.load(tmp_path).config.scheduler
    assert settings.probation == HOUR
    assert settings.follow.power == Power(ac=Choice("scx_lavd"), battery=Choice("scx_flash"))
    assert settings.default == Choice("scx_bpfland")


RAW = st.recursive(
    st.text(max_size=12) | st.sampled_from(["none", "scx_lavd", "mode", "gaming", "a b", "é", "custom:x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("kind", sorted(KINDS))
@given(raw=RAW)
def test_whatever_stands_there_is_read_or_refused_with_a_sentence(kind: str, raw: object) -> None:
    found: object = None
    with contextlib.suppress(Invalid):  # anything else would be a traceback
        found = KINDS[kind](raw)
    if isinstance(found, Choice):
        assert found.mode in ("", *MODES)
        assert re.fullmatch(r"(custom:)?[A-Za-z0-9_-]+", found.name)
        assert all(isinstance(value, str) and value.isprintable() for value in found.flags.values())
