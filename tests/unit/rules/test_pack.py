"""The rules to start from: they load everywhere, are silent on an ordinary day, and each sees its own trouble begin and
end. And the manual, which has all that rules can be made of."""

import json
import random
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import get_args

import pytest
from msgspec import Struct
from msgspec.structs import fields

from agentd.config import files
from agentd.config.kinds import PARTS
from agentd.core.config import Config
from agentd.core.quantities import SECOND, format_duration
from agentd.core.rules.grammar import DEEPEST, FUNCTIONS, LONGEST, MOST_SAMPLES
from agentd.core.rules.kpis import KPIS, LLM_STATES, RESOURCES
from agentd.core.rules.replay import Replay
from agentd.core.rules.settings import (
    VERBS,
    LlmServer,
    MissingPolicy,
    OwnKpi,
    Priority,
    Rule,
    Sampling,
    Step,
    measures,
    parsed,
)
from agentd.core.rules.standing import Change
from agentd.core.rules.units import BY_NAME
from agentd.core.times import timezone

ROOT = Path(__file__).parents[3]
PACK = ROOT / "config/examples/rules.yaml"
RULES = files.load(PACK).config.rules
PERIOD = 30
"""Seconds between samples: the longest that the pack is said to be right for."""
MIN, HOURS, DAYS = 60, 3600, 86400
START = 1_800_000_000
ORDINARY = {
    "DiskUsage:/": 45.0,
    "DiskUsage:/var": 45.0,
    "InodeUsage:/": 12.0,
    "InodeUsage:/var": 12.0,
    "Pressure:io-full": 1.0,
    "MemoryUsage": 60.0,
    "Pressure:memory": 0.2,
    "Pressure:memory-full": 0.1,
    "SwapUsage": 20.0,
    "OomKills": 2.0,
    "FailedUnits": 0.0,
    "ClockSynchronised": 1.0,
    "Temperature": 55.0,
    "LoadPerCpu": 0.5,
    "RebootRequired": 0.0,
    "ErrorRate": 2.0,
    "OldestPending": 0.0,
    "QueueDepth": 0.0,
    "AgentMemory": 40e6,
    "AgentOpenFiles": 30.0,
    "LoopLag": 0.005,
    "SelfTestFailed": 0.0,
    "LlmState": 2.0,
    "LlmAvgResponseTime": 4.0,
}
"""A machine at which nobody needs to look. HostUptime comes with the time."""


class Trouble(Struct, frozen=True):
    """What a machine looks like that a rule is for: the KPIs that are not as usual, for so long (seconds).

    `before` and `rest` are how long all is well before and after. `stays` is what does not become as usual again, and
    `too` the other rules that fire at the same trouble. Samples come `every` so many seconds.
    """

    kpis: Mapping[str, float]
    lasts: int = 15 * MIN
    before: int = 10 * MIN
    rest: int = 20 * MIN
    stays: Mapping[str, float] = {}
    too: frozenset[str] = frozenset()
    every: int = PERIOD


def state(name: str) -> float:
    return float(LLM_STATES.index(name))


TROUBLES = {
    "disk-filling": Trouble({"DiskUsage:/var": 92}),
    "disk-full": Trouble({"DiskUsage:/var": 99}, too=frozenset({"disk-filling"})),
    "disk-fills-fast": Trouble({"DiskUsage:/": 75}, before=2 * HOURS),
    "inodes-filling": Trouble({"InodeUsage:/": 99}),
    "disk-too-slow": Trouble({"Pressure:io-full": 80}),
    "memory-high": Trouble({"MemoryUsage": 95}),
    "memory-pressure": Trouble({"Pressure:memory-full": 30}),
    "swap-filling": Trouble({"SwapUsage": 99, "Pressure:memory": 8}),
    "oom-kills": Trouble({"OomKills": 3}, lasts=10 * MIN, before=HOURS, stays={"OomKills": 3}),
    "units-failed": Trouble({"FailedUnits": 1}),
    "many-units-failed": Trouble({"FailedUnits": 7}, too=frozenset({"units-failed"})),
    "clock-not-synchronised": Trouble({"ClockSynchronised": 0}, lasts=HOURS),
    "too-hot": Trouble({"Temperature": 96}),
    "load-high": Trouble({"LoadPerCpu": 9}, lasts=HOURS),
    "reboot-overdue": Trouble({"RebootRequired": 1}, lasts=4 * DAYS, rest=2 * HOURS, every=20 * MIN),
    "jobs-fail": Trouble({"ErrorRate": 80}),
    "queue-stuck": Trouble({"OldestPending": 2400}),
    "queue-long": Trouble({"QueueDepth": 40}, before=HOURS, lasts=20 * MIN),
    "agentd-memory": Trouble({"AgentMemory": 400e6}, lasts=HOURS),
    "agentd-files": Trouble({"AgentOpenFiles": 900}),
    "agentd-late": Trouble({"LoopLag": 3}),
    "self-test-failed": Trouble({"SelfTestFailed": 1}),
    "llm-down": Trouble({"LlmState": state("down")}),
    "llm-wedged": Trouble({"LlmState": state("wedged")}),
    "llm-slow": Trouble({"LlmAvgResponseTime": 50}),
}


def replay_of(rules: Mapping[str, Rule], every: int = PERIOD) -> Replay:
    """Returns rules whose samples come every so many seconds."""
    period, known = every * SECOND, measures({})
    pairs = {name: (rule, parsed(rule, known, period)) for name, rule in rules.items()}
    return Replay(pairs, period, timezone("UTC"), START * SECOND)


def replayed(
    rules: Mapping[str, Rule], samples: Iterable[tuple[int, Mapping[str, float]]], every: int = PERIOD
) -> list[Change]:
    """Returns what becomes of rules; a KPI that a sample leaves out is as usual."""
    replay = replay_of(rules, every)
    return [
        change for at, kpis in samples for change in replay.take(json.dumps({"at": at, "kpis": {**ORDINARY, **kpis}}))
    ]


def day() -> Iterator[tuple[int, Mapping[str, float]]]:
    """Yields an ordinary day: a backup at night, upgrades at six, people from nine on, and noise."""
    chance = random.Random(20)
    for at in range(0, DAYS, PERIOD):
        hour = at / HOURS
        kpis = {name: value * chance.uniform(0.8, 1.2) for name, value in ORDINARY.items() if value != round(value)}
        kpis |= {
            "HostUptime": 5 * DAYS + at,
            "DiskUsage:/": 45 + hour / 10,
            "DiskUsage:/var": 45 + hour / 10 + (4 if 2 <= hour < 2.2 else 0),
            "MemoryUsage": chance.uniform(50, 85) if hour > 9 else 55.0,
            "Temperature": chance.uniform(50, 85) if hour > 9 else 48.0,
            "LoadPerCpu": 6.0 if 2 <= hour < 2.2 else chance.uniform(0, 1.5),
            "Pressure:io-full": 70.0 if 2 <= hour < 2.1 else chance.uniform(0, 5),
            "Pressure:memory-full": 15.0 if at % (2 * HOURS) == 0 else 0.0,
            "FailedUnits": 1.0 if 6 <= hour < 6.03 else 0.0,
            "RebootRequired": 1.0 if hour >= 6 else 0.0,
            "LoopLag": 2.5 if at % HOURS == 0 else 0.01,
            "QueueDepth": 30.0 if 2 <= hour < 2.1 else 0.0,
            "OldestPending": max(0.0, at - 2 * HOURS) if 2 <= hour < 2.1 else 0.0,
            "LlmState": state("down") if 6 <= hour < 6.02 else state("busy" if chance.random() < 0.3 else "ok"),
            "LlmAvgResponseTime": chance.uniform(1, 20),
        }
        yield at, kpis


def unfolding(trouble: Trouble) -> Iterator[tuple[int, Mapping[str, float]]]:
    """Yields the samples of a trouble from before it to after it."""
    begin, end = trouble.before, trouble.before + trouble.lasts
    for at in range(0, end + trouble.rest, trouble.every):
        now = trouble.kpis if begin <= at < end else trouble.stays if at >= end else {}
        yield at, {"HostUptime": DAYS + at, **now}


def firing(changes: Sequence[Change]) -> set[str]:
    return {change.rule for change in changes if change.state == "firing"}


def test_some_twenty_rules_are_there_to_start_from() -> None:
    assert 20 <= len(RULES) <= 30


@pytest.mark.parametrize("mode", ["--standalone", "--system"])
def test_the_pack_is_sound_in_both_modes(mode: str) -> None:
    command = [sys.executable, "-m", "agentd", mode, "--json", "--check", str(PACK)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert (told["ok"], told["warnings"]) == (True, [])


def test_the_pack_is_sound_beside_the_sample_and_as_a_drop_in(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "agentd.yaml").write_text((ROOT / "config/agentd.yaml").read_text())
    (tmp_path / "conf.d" / "50-rules.yaml").write_text(PACK.read_text())
    (tmp_path / "conf.d" / "60-mine.yaml").write_text(
        'rules: {disk-filling: {when: "DiskUsage:/srv > 80% CLEAR 75% for 5m"}}\n'
    )
    rules = files.load(tmp_path).config.rules
    assert list(rules) == list(RULES)
    assert rules["disk-filling"].when == "DiskUsage:/srv > 80% CLEAR 75% for 5m"
    assert rules["disk-filling"].cooldown == RULES["disk-filling"].cooldown


@pytest.mark.parametrize("every", ["500ms", "5s", "30s"])
def test_the_spans_of_the_pack_are_right_for_samples_that_come(every: str, tmp_path: Path) -> None:
    file = tmp_path / "agentd.yaml"
    file.write_text(f"sampling: {{every: {every}}}\n{PACK.read_text()}")
    assert len(files.load(file).config.rules) == len(RULES)


def test_nothing_in_the_pack_is_doubtful() -> None:
    config = Config(rules=RULES)
    assert [sentence for part in PARTS for sentence in part.doubts(config)] == []


def test_the_pack_only_tells_and_tests() -> None:
    assert {step.do.verb for rule in RULES.values() for step in rule.steps} == {"Notify", "TriggerSelfTest"}


def test_each_rule_is_explained_by_a_comment_right_before_it() -> None:
    lines = PACK.read_text().splitlines()
    names = [(number, line) for number, line in enumerate(lines) if re.fullmatch(r"#? {2}[a-z-]+:", line)]
    assert len(names) > len(RULES)
    assert [line for number, line in names if not lines[number - 1].startswith("  # ")] == []


def test_the_examples_in_comments_are_sound_when_uncommented(tmp_path: Path) -> None:
    text = "\n".join(line[1:] if re.match(r"#(\w|  )", line) else line for line in PACK.read_text().splitlines())
    file = tmp_path / "agentd.yaml"
    file.write_text(f"jobs: {{backup: {{run: x}}}}\n{text}\n")
    config = files.load(file).config
    added = {step.do.verb for name in set(config.rules) - set(RULES) for step in config.rules[name].steps}
    assert {"RunJob", "RestartUnit", "RequestReboot"} <= added
    assert config.may_restart == ("llama.service", "web.service")


def test_every_rule_of_the_pack_has_its_trouble_here() -> None:
    assert set(TROUBLES) == set(RULES)
    assert {name.partition(":")[0] for one in TROUBLES.values() for name in one.kpis} <= set(KPIS)


def test_the_pack_is_silent_on_an_ordinary_day() -> None:
    changes = replayed(RULES, day())
    assert [change for change in changes if change.state == "firing" or change.action is not None] == []
    assert [change for change in changes if change.state == "pending"] != []


def test_the_pack_is_silent_on_a_machine_that_tells_nothing() -> None:
    replay = replay_of(RULES)
    assert [change for at in range(0, HOURS, PERIOD) for change in replay.take(f'{{"at": {at}, "kpis": {{}}}}')] == []


@pytest.mark.parametrize("name", RULES)
def test_a_rule_fires_at_its_own_trouble_and_ends_with_it(name: str) -> None:
    trouble = TROUBLES[name]
    end = trouble.before + trouble.lasts
    changes = replayed(RULES if trouble.every == PERIOD else {name: RULES[name]}, unfolding(trouble), trouble.every)
    assert firing(changes) == {name} | trouble.too
    its = [change for change in changes if change.rule == name]
    acted = [change.moment.at / SECOND for change in its if change.action is not None]
    assert acted != []
    assert all(trouble.before <= at < end for at in acted)
    assert its[-1].state == "inactive"
    assert its[-1].moment.at / SECOND >= end


@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if "CLEAR" in rule.when or rule.clear])
def test_a_rule_with_two_limits_goes_on_between_them(name: str) -> None:
    trouble = TROUBLES[name]
    between = {kpi: _between(RULES[name], kpi, value) for kpi, value in trouble.kpis.items()}
    lingering = Trouble(trouble.kpis, trouble.lasts, trouble.before, stays=between)
    its = [change for change in replayed({name: RULES[name]}, unfolding(lingering)) if change.state != "pending"]
    assert its[-1].state == "firing"


def _between(rule: Rule, kpi: str, value: float) -> float:
    """Returns a value below the limit of a KPI and above its CLEAR limit."""
    written = re.search(rf"{kpi}\b[^<>]*> ([\d.]+)\w*%? CLEAR ([\d.]+)", rule.when)
    if written is None:  # the limit of a function, or of a condition in `clear`
        return value
    limit, clear = float(written[1]), float(written[2])
    scale = 1 << 20 if kpi == "AgentMemory" else 60 if kpi == "OldestPending" else 1
    return (limit + clear) / 2 * scale


# --- The manual

MANUAL = (ROOT / "units/man/agentd.yaml.5.scd").read_text()
SETTINGS = {field.encode_name for type_ in (Rule, Step, Sampling, OwnKpi, LlmServer) for field in fields(type_)}
FIGURES = {f"{name}:{kpi.instance.upper()}" if kpi.instance else name for name, kpi in KPIS.items()}
DEEDS = {f"{name}:{verb.target.upper()}" if verb.target else name for name, verb in VERBS.items()}
NAMES = (SETTINGS - {"name"}) | FIGURES | DEEDS | set(FUNCTIONS)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_the_manual_tells_of_everything_that_rules_can_be_made_of(name: str) -> None:
    assert re.search(rf"^(\*.*|\t?)[*_]{re.escape(name)}(\(.*)?[*_]", MANUAL, re.MULTILINE)


@pytest.mark.parametrize("word", [*LLM_STATES, *RESOURCES, *BY_NAME, *get_args(Priority), *get_args(MissingPolicy)])
def test_the_manual_tells_every_word_that_a_setting_may_be(word: str) -> None:
    assert f"*{word}*" in MANUAL


def test_the_manuals_rules_are_sound(tmp_path: Path) -> None:
    *_, example = re.findall(r"```\n(.*?)```", MANUAL, re.DOTALL)
    file = tmp_path / "agentd.yaml"
    file.write_text(example)
    config = files.load(file).config
    assert (list(config.rules), list(config.kpis)) == (["disk-filling", "mail-stuck", "llm-wedged"], ["MailQueue"])


def test_the_manual_tells_the_defaults_and_bounds_of_the_program() -> None:
    text = " ".join(MANUAL.split())
    rule = Rule(name="", when="")
    assert f"(default *{format_duration(rule.cooldown)}*)" in text
    assert f"(default {rule.max_gap})" in text
    assert f"(default *{format_duration(Sampling().every)}*)" in text
    assert f"at most {LONGEST} characters" in text.replace("has at most", "at most")
    assert f"{DEEPEST} levels of parentheses" in text
    assert f"(at most {MOST_SAMPLES})" in text
