"""Rules and the nightly reboot as agentd's first drafts wrote them, and rules in lists: they load unchanged, and mean
what they say."""

from pathlib import Path
from typing import Any

import pytest

from agentd.config import files
from agentd.core.config import Config
from agentd.core.quantities import HOUR, MINUTE, SECOND
from agentd.core.rules.conditions import Comparison, HoldsFor, Limit, Reading
from agentd.core.rules.settings import Action, Rule, measures, parsed
from agentd.core.rules.units import PERCENT
from tests.unit.config.texts import errors, layers, write

SEED = """\
{
  "SelfAwareness": {
    "Rules": [
      {
        "Condition": "MemoryUsage > 90% for 5m",
        "Action": "TriggerSelfTest",
        "Priority": "Medium"
      },
      {
        "Condition": "ErrorRate > 50% for 1h",
        "Action": "RequestReboot",
        "Priority": "High"
      }
    ]
  }
}
"""
SEED_AS_YAML = """\
SelfAwareness:
  Rules:
    - Condition: "MemoryUsage > 90% for 5m"
      Action: "TriggerSelfTest"
      Priority: "Medium"
    - Condition: "ErrorRate > 50% for 1h"
      Action: "RequestReboot"
      Priority: "High"
"""
UNQUOTED = SEED_AS_YAML.replace('"', "")
OURS = """\
rules:
  - when: MemoryUsage > 90% for 5m
    do: TriggerSelfTest
    priority: medium
  - when: ErrorRate > 50% for 1h
    do: RequestReboot
    priority: high
"""
NIGHTLY = """\
{
  "Scheduler": {
    "NightlyReboot": {
      "Enabled": true,
      "Hour": %s,
      "Minute": %s
    }
  }
}
"""


def means(rule: Rule) -> tuple[str, float, int]:
    """Returns the KPI, the limit and the span of a rule such as the seed's."""
    node = parsed(rule, measures({}), 5 * SECOND).when
    assert isinstance(node, HoldsFor)
    assert isinstance(node.inner, Comparison)
    left, right = node.inner.left, node.inner.right
    assert isinstance(left, Reading)
    assert isinstance(right, Limit)
    assert (node.inner.operator, node.inner.unit) == (">", PERCENT)
    return left.kpi, right.value, node.span


@pytest.mark.parametrize("text", [SEED, SEED_AS_YAML, UNQUOTED, OURS], ids=["JSON", "YAML", "unquoted", "ours"])
def test_the_seeds_rules_load_unchanged_and_mean_what_they_say(read: Any, text: str) -> None:
    rules = read(text).rules
    assert [means(rule) for rule in rules.values()] == [
        ("MemoryUsage", 90.0, 5 * MINUTE),
        ("ErrorRate", 50.0, HOUR),
    ]
    assert [rule.do for rule in rules.values()] == [Action("TriggerSelfTest"), Action("RequestReboot")]
    assert [rule.priority for rule in rules.values()] == ["medium", "high"]
    assert list(rules) == ["1", "2"]
    assert [rule.name for rule in rules.values()] == ["1", "2"]


def test_all_forms_of_the_seeds_rules_come_to_the_same(read: Any) -> None:
    assert read(SEED).rules == read(SEED_AS_YAML).rules == read(UNQUOTED).rules == read(OURS).rules


@pytest.mark.parametrize(("hour", "minute"), [(0, 0), (3, 30), (23, 59)])
def test_the_seeds_nightly_reboot_is_a_window_at_that_time(read: Any, hour: int, minute: int) -> None:
    config: Config = read(NIGHTLY % (hour, minute))
    ours: Config = read(f'reboot: {{nightly: {{enabled: true, at: "{hour:02}:{minute:02}"}}}}\n')
    assert config.reboot.nightly is not None
    assert config.reboot.nightly.begin == (hour * 60 + minute) * 60
    assert [window.begin for window in config.reboot.all_windows] == [(hour * 60 + minute) * 60]
    assert ours.reboot.nightly is not None
    assert ours.reboot.nightly.begin == config.reboot.nightly.begin


def test_a_nightly_reboot_that_is_not_enabled_opens_no_window(read: Any) -> None:
    policy = read(NIGHTLY.replace("true", "false") % (0, 0)).reboot
    assert policy.nightly is not None
    assert not policy.nightly.enabled


def test_both_of_the_seeds_sections_load_from_one_file(read: Any) -> None:
    config: Config = read(f"{SEED_AS_YAML}Scheduler: {{NightlyReboot: {{Enabled: yes, Hour: 2, Minute: 0}}}}\n")
    assert list(config.rules) == ["1", "2"]
    assert config.reboot.nightly is not None
    assert config.reboot.nightly.begin == 2 * 3600


@pytest.mark.parametrize("word", ["Condition", "condition", "CONDITION", "when"])
def test_the_names_of_settings_may_be_written_in_either_case(read: Any, word: str) -> None:
    rules = read(f"rules: [{{{word}: SwapUsage > 5%, ACTION: Notify, priority: CRITICAL}}]\n").rules
    assert (rules["1"].when, rules["1"].do, rules["1"].priority) == ("SwapUsage > 5%", Action("Notify"), "critical")


def test_agentds_other_settings_stand_beside_the_seeds(read: Any) -> None:
    rules = read(
        "SelfAwareness: {Rules: [{Condition: SwapUsage > 5%, Action: Notify, cooldown: 1h, max_gap: 7}]}\n"
    ).rules
    assert (rules["1"].cooldown, rules["1"].max_gap) == (HOUR, 7)


def test_a_list_whose_rules_say_their_names_is_a_mapping(read: Any) -> None:
    listed = read(
        "rules:\n"
        "- {name: swap, when: SwapUsage > 5%, do: Notify}\n"
        "- {when: CpuUsage > 5%, Name: cpu, do: TriggerSelfTest}\n"
    ).rules
    mapped = read(
        "rules:\n  swap: {when: SwapUsage > 5%, do: Notify}\n  cpu: {when: CpuUsage > 5%, do: TriggerSelfTest}\n"
    ).rules
    assert listed == mapped
    assert list(listed) == ["swap", "cpu"]


def test_a_rule_of_such_a_list_that_says_no_name_is_called_by_its_position(read: Any) -> None:
    rules = read("rules: [{name: swap, when: SwapUsage > 5%, do: Notify}, {when: CpuUsage > 5%, do: Notify}]\n").rules
    assert {name: rule.when for name, rule in rules.items()} == {"swap": "SwapUsage > 5%", "2": "CpuUsage > 5%"}


def test_one_rule_may_stand_without_a_list(read: Any) -> None:
    rules = read("rules: {when: SwapUsage > 5%, do: Notify}\n").rules
    assert list(rules) == ["1"]


# --- Drop-ins


def test_a_drop_in_changes_one_setting_of_one_rule_and_leaves_the_rest(tmp_path: Path) -> None:
    config = layers(
        tmp_path,
        "rules:\n  swap: {when: SwapUsage > 5%, do: Notify, cooldown: 2h}\n  cpu: {when: CpuUsage > 5%, do: Notify}\n",
        _10="rules: {swap: {when: SwapUsage > 50%}}\n",
        _20="rules: {load: {when: LoadPerCpu > 5, do: Notify}}\n",
    )
    assert list(config.rules) == ["swap", "cpu", "load"]
    assert (config.rules["swap"].when, config.rules["swap"].cooldown) == ("SwapUsage > 50%", 2 * HOUR)
    assert config.rules["cpu"].when == "CpuUsage > 5%"


def test_a_drop_in_changes_a_rule_of_a_list_by_its_name(tmp_path: Path) -> None:
    config = layers(
        tmp_path,
        "rules: [{name: swap, when: SwapUsage > 5%, do: Notify, cooldown: 2h}]\n",
        _10="rules: {swap: {priority: low}}\n",
    )
    assert (config.rules["swap"].priority, config.rules["swap"].cooldown) == ("low", 2 * HOUR)


def test_a_drop_in_changes_one_of_the_seeds_rules_by_its_position(tmp_path: Path) -> None:
    config = layers(tmp_path, SEED, _10="rules: {2: {do: Notify}}\n")
    assert means(config.rules["1"]) == ("MemoryUsage", 90.0, 5 * MINUTE)
    assert means(config.rules["2"]) == ("ErrorRate", 50.0, HOUR)
    assert config.rules["2"].do == Action("Notify")


def test_a_drop_in_of_the_seed_changes_a_setting_under_agentds_name(tmp_path: Path) -> None:
    config = layers(
        tmp_path,
        "rules: {swap: {when: SwapUsage > 5%, do: Notify}}\nreboot: {nightly: {at: '04:00', window: 2h}}\n",
        _10="rules: {swap: {Condition: SwapUsage > 7%}}\nScheduler: {NightlyReboot: {Enabled: false}}\n",
    )
    assert config.rules["swap"].when == "SwapUsage > 7%"
    assert config.reboot.nightly is not None
    assert (config.reboot.nightly.enabled, config.reboot.nightly.window) == (False, 2 * HOUR)


def test_a_list_without_names_in_a_drop_in_replaces_all_rules(tmp_path: Path) -> None:
    config = layers(tmp_path, "rules: {swap: {when: SwapUsage > 5%, do: Notify}}\n", _10=SEED)
    assert list(config.rules) == ["1", "2"]


# --- Errors


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("rules: {a: {when: SwapUsage > 1%, do: Notify}}\n" + SEED_AS_YAML, 3),
        (SEED_AS_YAML + "rules: {a: {when: SwapUsage > 1%, do: Notify}}\n", 9),
    ],
    ids=["ours first", "the seed's first"],
)
def test_rules_and_self_awareness_in_one_file_are_an_error_at_the_second(file: Path, text: str, line: int) -> None:
    (found,) = errors(write(file, text))
    assert found.startswith(f"{file}:{line}:")
    assert "is there twice" in found


def test_reboot_and_scheduler_in_one_file_are_an_error_at_the_second(file: Path) -> None:
    (found,) = errors(write(file, "reboot: {kind: kexec}\nScheduler: {NightlyReboot: {Hour: 3}}\n"))
    assert found.startswith(f"{file}:2:13: ")
    assert "is there twice" in found


@pytest.mark.parametrize(
    ("text", "place", "part"),
    [
        ("SelfAwareness: {Rules: [], Enabled: true}\n", "1:28", 'unknown key "Enabled"'),
        ("SelfAwareness: all\n", "1:1", 'unknown key "SelfAwareness"'),
        ("SelfAwareness: {Rules: all}\n", "1:24", "or a list of rules"),
        ("SelfAwareness: {Rules: [all]}\n", "1:25", "expected a mapping of settings"),
        ("SelfAwareness: {Rules: [{Action: Notify}]}\n", "1:25", "needs when"),
        ("rules: [{Condition: SwapUsage > 5%, Action: Notify, Prio: low}]\n", "1:53", 'unknown key "Prio"'),
        ("Scheduler: {NightlyReboot: {Enabled: true, Hours: 3}}\n", "1:44", "did you mean hour?"),
        ("Scheduler: {NightlyReboot: {Hour: 24, Minute: 0}}\n", "1:35", "between 0 and 23"),
        ("Scheduler: {NightlyReboot: {Hour: 3, Minute: 61}}\n", "1:46", "between 0 and 59"),
        ("Scheduler: {Nightly: {Hour: 3}}\n", "1:13", 'unknown key "Nightly"'),
        ("rules: [{name: [a], when: SwapUsage > 5%, do: Notify}]\n", "1:16", "a key must be plain text"),
        ("rules: {a: {name: b, when: SwapUsage > 5%, do: Notify}}\n", "1:13", 'unknown key "name"'),
    ],
)
def test_what_the_seed_has_not_is_told_where_it_was_written(file: Path, text: str, place: str, part: str) -> None:
    (found,) = errors(write(file, text))
    assert found.startswith(f"{file}:{place}: ")
    assert part in found


def test_what_is_no_mapping_stays_what_it_is(file: Path) -> None:
    assert files.load(write(file, "SelfAwareness: {}\nScheduler: {}\nrules: []\n")).config.rules == {}
