"""Rules that are refused, each wrong in one way, with the place of the trouble and a part of the sentence about it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from agentd.config import files
from agentd.config.problems import Problem, Problems
from agentd.core.rules import unitfile


def rule(*settings: str) -> str:
    """A file with a job named backup and one rule, whose settings begin in line 4, column 5."""
    lines = "".join(f"    {setting}\n" for setting in settings)
    return f"jobs: {{backup: {{run: x}}}}\nrules:\n  mine:\n{lines}"


def when(condition: str) -> str:
    """A file of one rule, whose condition begins in line 4, column 11."""
    return rule(f"when: {condition}", "do: Notify")


def but(*settings: str) -> str:
    """A file of one rule with a sound condition; its other settings begin in line 5, column 5."""
    return rule("when: SwapUsage > 90%", *settings)


def kpi(settings: str) -> str:
    """A file with a job named poll and a KPI of one's own, whose settings begin in line 2, column 14."""
    return f"jobs: {{poll: {{run: x}}}}\nkpis: {{Room: {settings}}}\n"


BAD = {
    # KPIs
    "unknown KPI": (when("MemoryUsag > 90%"), "4:11", "did you mean MemoryUsage?"),
    "KPI in lower case": (when("memoryusage > 90%"), "4:11", "did you mean MemoryUsage?"),
    "unknown KPI on the right": (when("MemoryUsage > SwapUsge"), "4:25", 'there is no KPI "SwapUsge"'),
    "unknown KPI after AND": (when("SwapUsage > 5% AND  DiskUsge:/ > 9%"), "4:31", "did you mean DiskUsage?"),
    "unknown KPI in a function": (when("avg(SwapUsge, 5m) > 9%"), "4:15", "did you mean SwapUsage?"),
    "unknown KPI in clear": (but("do: Notify", "clear: SwapUsag < 80%"), "6:12", "did you mean SwapUsage?"),
    "unknown function": (when("mean(SwapUsage, 5m) > 9%"), "4:11", '"mean"'),
    "unknown instance of Pressure": (when("Pressure:disk > 5%"), "4:20", "not one of cpu, memory, io"),
    "Pressure of nothing": (when("Pressure > 5%"), "4:11", "Pressure needs a resource"),
    "DiskUsage of nothing": (when("DiskUsage > 90%"), "4:11", "DiskUsage needs a path: DiskUsage:PATH"),
    "relative path": (when("DiskUsage:var > 90%"), "4:21", '"var" is not an absolute path'),
    "relative path with a space": (when("'DiskUsage:\"my disk\" > 9%'"), "4:23", '"my disk" is not an absolute path'),
    "unit without its kind": (when("UnitActive:web == no"), "4:22", "try web.service"),
    "job that does not exist": (when("JobFailing:bakup >= 3"), "4:22", 'no job "bakup" (did you mean backup?)'),
    "instance of what has none": (when("SwapUsage:/ > 90%"), "4:11", 'takes nothing after its name, and has ":/"'),
    "quotes that do not end": (when('DiskUsage:"/srv > 90%'), "4:20", "the quote is never closed"),
    # Units
    "bytes for percent": (when("MemoryUsage > 512MiB"), "4:25", '"MiB" is no unit of percent: expected %'),
    "percent for degrees": (when("Temperature > 80%"), "4:25", "expected C or °C"),
    "a unit for a count": (when("FailedUnits > 3%"), "4:25", "expected a number alone, not 3%"),
    "time for percent": (when("SwapUsage > 5m"), "4:23", '"m" is no unit of percent'),
    "bytes without a unit": (when("AgentMemory > 512"), "4:25", "512 has no unit (try 512B, 512kB, 512MB, 512GB)"),
    "seconds without a unit": (when("LoopLag > 5"), "4:21", "5 has no unit"),
    "unit in another case": (when("AgentMemory > 512mb"), "4:25", "expected B, kB, MB"),
    "bytes for bytes a second": (when("rate(AgentMemory, 10m) > 5MB"), "4:36", "expected B/s, kB/s"),
    "percent against degrees": (when("MemoryUsage > Temperature"), "4:25", "compares percent with celsius"),
    "two numbers": (when("5 > 3"), "4:11", "expected the name of a KPI on one side"),
    "neither yes nor no": (when("RebootRequired == maybe"), "4:29", '"maybe" is not one of no, yes'),
    "value before the KPI": (when("yes == RebootRequired"), "4:11", "a comparison begins with a KPI, as in KPI == yes"),
    "number for yes": (when("RebootRequired == 1"), "4:29", '"1" is not one of no, yes'),
    "state that there is not": (when("LlmState == wedgd"), "4:23", "did you mean wedged?"),
    "state in a function": (when("max(LlmState, 5m) > 3"), "4:15", "max() needs sizes, and LlmState has none"),
    "no number at all": (when("SwapUsage > NaN"), "4:23", '"NaN"'),
    "number beyond numbers": (when("SwapUsage > 1e999%"), "4:23", '"1e999%" is too large'),
    "number beyond numbers by its unit": (when("AgentMemory > 1e308GiB"), "4:25", "is too large"),
    # The words of a condition
    "nothing": (when("''"), "4:11", "the condition is empty"),
    "no value": (when(""), "4:10", "has no value"),
    "no comparison": (when("SwapUsage"), "4:20", "expected >, >=, <, <=, ==, != or IS, got the end"),
    "no limit": (when("SwapUsage >"), "4:22", "expected a KPI or a number, got the end"),
    "one equals sign": (when("SwapUsage = 5%"), "4:21", '"=" means nothing'),
    "& for AND": (when("SwapUsage > 5% & CpuUsage > 5%"), "4:26", '"&" means nothing'),
    "a command": (when("SwapUsage > 90% ; reboot"), "4:27", '";" means nothing'),
    "THEN of monit": (when("SwapUsage > 90% THEN Notify"), "4:27", 'got "THEN"'),
    "comma in a number": (when("SwapUsage > 5,5%"), "4:24", 'got ","'),
    "IS without a state": (when("SwapUsage IS broken"), "4:24", 'expected "missing" or "anomalous", got "broken"'),
    "number that is missing": (when("5 IS missing"), "4:11", "only a KPI can be missing"),
    "bracket that does not close": (when("(SwapUsage > 5%"), "4:26", 'a ")" for the "(" of character 1'),
    "bracket that closes nothing": (when("SwapUsage > 5%)"), "4:25", 'got ")"'),
    "200 levels": (when("(" * 200 + "SwapUsage > 5%" + ")" * 200), "4:31", "more than 20 levels deep"),
    "200 times NOT": (when("NOT " * 200 + "SwapUsage > 5%"), "4:91", "more than 20 levels deep"),
    "endless condition": (when(" AND ".join(["SwapUsage > 5%"] * 200)), "4:2011", "longer than 2000 characters"),
    "condition of a megabyte": (when("(" * (1 << 20)), "4:2011", "longer than 2000 characters"),
    "a list for a condition": (when("[SwapUsage > 1%]"), "4:11", "expected one value, got a list"),
    # Spans and windows
    "for on a part": (when("SwapUsage > 9% for 5m AND CpuUsage > 8%"), "4:33", "(SwapUsage > 9% for 5m) AND"),
    "for of nothing": (when("SwapUsage > 90% for"), "4:30", "expected a span such as 5m"),
    "for without a unit": (when("SwapUsage > 90% for 5"), "4:31", "try 5s, 5min, 5h"),
    "shorter than two samples": (when("SwapUsage > 90% for 9s"), "4:31", "come every 5s"),
    "shorter than two slow samples": (
        "sampling: {every: 1min}\nrules: {mine: {when: SwapUsage > 5% for 1m, do: Notify}}\n",
        "2:41",
        "come every 1min",
    ),
    "longer than samples are kept": (when("SwapUsage > 90% for 400d"), "4:31", "longer than a year"),
    "endless span": (when("SwapUsage > 90% for 99999999999999d"), "4:31", "longer than a hundred years"),
    "N beyond M": (when("SwapUsage > 90% for 6 of 5"), "4:31", "6 of 5 samples cannot be"),
    "none of M": (when("SwapUsage > 90% for 0 of 5"), "4:31", "expected 1 to 5"),
    "half a sample": (when("SwapUsage > 90% for 1.5 of 5"), "4:31", "not a whole number of samples"),
    "too many samples": (when("SwapUsage > 90% for 6 of 65"), "4:36", "between 1 and 64"),
    "function of too short a span": (when("avg(SwapUsage, 5s) > 9%"), "4:26", "shorter than two samples"),
    "function without a span": (when("avg(SwapUsage) > 90%"), "4:24", "avg(SwapUsage, 10m)"),
    "function of too much": (when("avg(SwapUsage, 5m, 3) > 9%"), "4:28", "no third argument"),
    "count without a limit": (when("count(SwapUsage, 5m) > 3"), "4:30", "count(SwapUsage, 10m, 90)"),
    # Two limits
    "CLEAR above a limit": (when("SwapUsage > 80% CLEAR 90%"), "4:33", "above the limit itself"),
    "CLEAR below a limit": (when("LlmTokensPerSecond < 5 CLEAR 3"), "4:40", "below the limit itself"),
    "CLEAR of a number that is equal": (when("FailedUnits == 3 CLEAR 2"), "4:34", "needs a comparison by size"),
    "CLEAR in another unit": (when("SwapUsage > 80% CLEAR 5s"), "4:33", '"s" is no unit of percent'),
    # Actions
    "unknown action": (but("do: Notfy"), "5:9", "did you mean Notify?"),
    "two actions": (but("do: [Notify, TriggerSelfTest]"), "5:9", "expected one action; others follow as steps"),
    "no action": (but("priority: low"), "4:5", "needs do, or a ladder of steps (then)"),
    "no condition": (rule("do: Notify"), "4:5", "needs when"),
    "job to run left out": (but("do: RunJob"), "5:9", "RunJob needs a job: RunJob:JOB"),
    "job to run that does not exist": (but("do: RunJob:bakup"), "5:16", "did you mean backup?"),
    "job to stop that does not exist": (but("then: [{do: Notify}, {do: StopJob:bakup}]"), "5:39", "no job"),
    "unit that is not listed": (but("do: RestartUnit:web.service"), "5:21", "is not in may_restart"),
    "target of what has none": (but("do: Notify:me"), "5:9", 'takes nothing after its name, and has ":me"'),
    "scheduler without a name": (
        but("do: SetScheduler"),
        "5:9",
        "SetScheduler needs a scheduler: SetScheduler:SCHEDULER",
    ),
    "scheduler of no such name": (but("do: SetScheduler:scx lavd"), "5:22", "cannot be the name of a scheduler"),
    "ladder back in time": (
        but("then: [{after: 10m, do: Notify}, {after: 5m, do: Notify}]"),
        "5:46",
        "stand in the order of their time",
    ),
    "step without an action": (but("then: [{after: 1m}]"), "5:12", "needs do"),
    "step at an unknown condition": (but("then: [{do: Notify, if: failed}]"), "5:29", "self_test_failed"),
    # Settings
    "unknown setting": (but("do: Notify", "cooldwn: 5m"), "6:5", "did you mean cooldown?"),
    "unknown priority": (but("do: Notify", "priority: hi"), "6:15", "low, medium, high, critical"),
    "unknown policy": (but("do: Notify", "missing: ignore"), "6:14", "clear, fire, hold, reset"),
    "no gap at all": (but("do: Notify", "max_gap: 0"), "6:14", "between 1 and 1000"),
    "cooldown without a unit": (but("do: Notify", "cooldown: 30"), "6:15", "try 30s, 30min, 30h"),
    "no fires": (but("do: Notify", "max_fires: 0 per 1h"), "6:16", "would never let the rule act"),
    "fires in no time": (but("do: Notify", "max_fires: 3 per 0"), "6:16", "would never let the rule act"),
    "fires in any time": (but("do: Notify", "max_fires: 3"), "6:16", 'try "3 per 24h"'),
    "gate of an unknown job": (but("do: Notify", "except_while: [backup, bakup]"), "6:28", "did you mean backup?"),
    "weekday that there is not": (but("do: Notify", "within: {days: mon-fry}"), "6:20", "try mon-fri"),
    "name that is none": ("rules: {a b: {when: SwapUsage > 1%, do: Notify}}\n", "1:9", "is not a rule name"),
    "rule that is a text": ("rules: {mine: SwapUsage > 1%}\n", "1:15", "expected a mapping of settings"),
    "rules that are a text": ("rules: all\n", "1:8", "or a list of rules"),
    "name that comes twice in a list": (
        "rules:\n- {name: a, when: SwapUsage > 1%, do: Notify}\n- {name: a, when: SwapUsage > 2%, do: Notify}\n",
        "3:10",
        '"a" is there twice (first in line 2)',
    ),
    "two names of one setting": (but("condition: SwapUsage > 2%", "do: Notify"), "5:5", "is there twice"),
    # KPIs of one's own, sampling, units that may be restarted
    "name of one of agentd's": (
        "jobs: {poll: {run: x}}\nkpis: {SwapUsage: {job: poll}}\n",
        "2:19",
        "is one of agentd's own KPIs",
    ),
    "name that no condition can have": (
        "jobs: {poll: {run: x}}\nkpis: {free-room: {job: poll}}\n",
        "2:19",
        "cannot stand in a condition",
    ),
    "value of an unknown job": (kpi("{job: pol}"), "2:20", "did you mean poll?"),
    "value that a run has not": (kpi("{job: poll, value: stdout}"), "2:33", "output, exit-code, {json: KEY}"),
    "unit that there is not": (kpi("{job: poll, unit: degrees}"), "2:32", "percent, bytes, seconds"),
    "limit of another unit than one's own": (
        kpi("{job: poll, unit: celsius}") + "rules: {mine: {when: Room > 5%, do: Notify}}\n",
        "3:29",
        "expected C or °C",
    ),
    "sampling that is too quick": ("sampling: {every: 100ms}\n", "1:19", "must lie between"),
    "units by a pattern": (
        "may_restart: ['*.service']\n",
        "1:15",
        '"*.service" is not the name of a unit: expected one such as llama.service',
    ),
    "unit to restart of no kind": ("may_restart: [web.service, x.foo]\n", "1:28", '"x.foo" is not the name of a unit'),
    "unit to restart without its kind": (
        "may_restart: web\n",
        "1:14",
        '"web" is not the name of a unit: expected one such as web.service',
    ),
    "unit to restart without a name": ("may_restart:\n- '@x.service'\n", "2:3", "is not the name of a unit"),
    "template to restart": ("may_restart:\n- a.service\n- a@.service\n", "3:3", "is a template: expected"),
    "name that leaves no room for that of the unit that restarts it": (
        f"may_restart: [a.service, {'x' * 225}.service]\n",
        "1:26",
        "is a name of 233 characters: expected at most 232",
    ),
}

FORMS: dict[str, Callable[[str, str], str]] = {
    "block": lambda condition, action: f"rules:\n  mine:\n    when: {condition}\n    do: {action}\n",
    "flow": lambda condition, action: f'rules: {{mine: {{when: "{condition}", do: {action}}}}}\n',
    "double quotes": lambda condition, action: f'rules:\n  mine:\n    when: "{condition}"\n    do: "{action}"\n',
    "single quotes": lambda condition, action: f"rules:\n  mine:\n    when: '{condition}'\n    do: '{action}'\n",
    "list": lambda condition, action: f"rules:\n- do: {action}\n  when: {condition}\n",
    "list with names": lambda condition, action: f"rules:\n- name: mine\n  when: {condition}\n  do: {action}\n",
    "the seed's YAML": lambda condition, action: (
        f"SelfAwareness:\n  Rules:\n  - Condition: {condition}\n    Action: {action}\n    Priority: Medium\n"
    ),
    "the seed's JSON": lambda condition, action: (
        '{\n  "SelfAwareness": {\n    "Rules": [\n      {\n'
        f'        "Condition": "{condition}",\n        "Action": "{action}"\n      }}\n    ]\n  }}\n}}\n'
    ),
}
SLIPS = {
    "KPI": ("SwapUsage > 5% AND NoSuchThing > 5%", "Notify", "NoSuchThing", "there is no KPI"),
    "unit": ("SwapUsage > 95MiB for 5m", "Notify", "95MiB", "is no unit of percent"),
    "span": ("SwapUsage > 5% for 3s", "Notify", "3s", "shorter than two samples"),
    "limits": ("SwapUsage > 80% CLEAR 81% for 5m", "Notify", "81%", "above the limit itself"),
    "path": ("DiskUsage:srv > 80% for 5m", "Notify", "srv", "is not an absolute path"),
    "action": ("SwapUsage > 5%", "Reboot", "Reboot", 'there is no action "Reboot"'),
    "job": ("SwapUsage > 5%", "RunJob:nobody", "nobody", 'there is no job "nobody"'),
}


def refused(folder: Path, text: str) -> list[Problem]:
    """Returns what is wrong with a file."""
    file = folder / "agentd.yaml"
    file.write_text(text)
    with pytest.raises(Problems) as caught:
        files.load(file)
    assert {problem.file for problem in caught.value.found} == {str(file)}
    return caught.value.found


@pytest.mark.parametrize(("text", "place", "part"), BAD.values(), ids=BAD)
def test_a_bad_rule_is_refused_at_its_place_with_a_sentence(tmp_path: Path, text: str, place: str, part: str) -> None:
    (problem,) = refused(tmp_path, text)
    assert f"{problem.line}:{problem.column}" == place
    assert part in problem.message
    assert len(problem.message) < 600


@pytest.mark.parametrize("slip", SLIPS)
@pytest.mark.parametrize("form", FORMS)
def test_the_place_is_right_in_whatever_form_a_rule_is_written(tmp_path: Path, form: str, slip: str) -> None:
    condition, action, wrong, part = SLIPS[slip]
    text = FORMS[form](condition, action)
    (problem,) = refused(tmp_path, text)
    assert text.splitlines()[problem.line - 1][problem.column - 1 :].lstrip("\"'").startswith(wrong)
    assert part in problem.message


@pytest.mark.parametrize("style", [">", "|", ""], ids=["folded", "literal", "plain"])
def test_a_condition_over_several_lines_is_told_at_its_beginning(tmp_path: Path, style: str) -> None:
    text = rule(f"when: {style or 'SwapUsage > 90% OR'}", "  SwapUsage > 90% OR", "  MemoryUsag > 5%", "do: Notify")
    (problem,) = refused(tmp_path, text)
    assert (problem.line, problem.column) == (4, 11)
    assert "did you mean MemoryUsage?" in problem.message


def test_all_that_is_wrong_with_all_rules_is_told_at_once(tmp_path: Path) -> None:
    found = refused(
        tmp_path,
        "rules:\n"
        "  a: {when: SwapUsag > 5%, do: Notify}\n"
        "  b: {when: SwapUsage > 5MB, clear: SwapUsage < 5s, do: RunJob:x}\n"
        "  c: {when: SwapUsage > 5%, only_while: y}\n",
    )
    assert [(problem.line, problem.column) for problem in found] == [
        (2, 13),
        (3, 25),
        (3, 49),
        (3, 64),
        (4, 6),
        (4, 41),
    ]


def test_the_unit_that_is_asked_for_makes_the_rule_sound(tmp_path: Path) -> None:
    file = tmp_path / "agentd.yaml"
    file.write_text("may_restart: [web.service]\n" + but("do: RestartUnit:web.service"))
    assert str(files.load(file).config.rules["mine"].do) == "RestartUnit:web.service"


def test_the_longest_unit_to_restart_has_a_unit_whose_name_systemd_and_the_disk_take(tmp_path: Path) -> None:
    longest = "x" * 224 + ".service"
    file = tmp_path / "agentd.yaml"
    file.write_text(f"may_restart: [{longest}, 'a@b.service', 'dev-a\\x2db.swap', a.mount]\n")
    units = [name for name, _ in unitfile.units(files.load(file).config.may_restart)]
    assert [len(name) for name in units] == [255, 34, 38, 30]
    for name in units:
        (tmp_path / name).touch()
