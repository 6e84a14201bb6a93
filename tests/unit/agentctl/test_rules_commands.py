"""agentctl's commands about rules, KPIs and the self-test, against a fake daemon on a real bus."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.shell_completion import ShellComplete

from agentctl.commands import cli
from agentctl.rules import records
from agentctl.rules.calls import RULES
from agentd.core.quantities import DAY, HOUR, MINUTE, SECOND
from tests.unit.agentctl import fake
from tests.unit.agentctl.fake import BACKUP, DAEMON, NOW, Ctl, FakeDaemon, Refused

EVIL = "\x1b[2Jmallory\u202e"
HARMLESS = "\\x1b[2Jmallory\\u202e"
MEMORY = {
    "name": "MemoryUsage",
    "unit": "percent",
    "help": "memory in use",
    "sampled": True,
    "value": 91.5,
    "shown": "91.5%",
    "missing": "",
    "at": NOW - 3 * SECOND,
}
DISK = {**MEMORY, "name": "DiskUsage:/", "help": "space in use", "shown": "20%", "value": 20.0}
SWAP = {"name": "SwapUsage", "unit": "percent", "help": "swap in use", "sampled": True, "shown": "-", "at": NOW}
SWAP |= {"missing": "there is no swap"}
LOAD = {"name": "LoadPerCpu", "unit": "a count", "help": "load", "sampled": False, "shown": "-", "at": 0}
LOAD |= {"missing": "no rule needs it, so nobody looks"}
UNIT = {**LOAD, "name": "UnitActive:UNIT", "help": "whether a unit is active"}
HIGH = {
    "name": "memory-high",
    "state": "firing",
    "since": NOW - 2 * MINUTE,
    "when": "MemoryUsage > 90% for 3min",
    "sees": ["MemoryUsage > 90%: 91.5% against 90%"],
    "does": ["TriggerSelfTest", "RunJob:clean after 5min"],
    "priority": "high",
    "last_fired": NOW - MINUTE,
    "shadow": False,
    "withheld": "",
    "gate": "",
}
LOW = {**HIGH, "name": "low", "state": "inactive", "since": 0, "last_fired": 0, "shadow": True, "gate": "backup runs"}


def line(text: str, truth: str, depth: int = 0, sees: str = "", of: str = "when") -> dict[str, Any]:
    return {"text": text, "truth": truth, "sees": sees, "depth": depth, "of": of}


EVIDENCE = {
    "at": NOW - MINUTE,
    "rule": "memory-high",
    "action": "TriggerSelfTest",
    "when": "MemoryUsage > 90% for 3min",
    "sees": ["MemoryUsage > 90%: 93% against 90%"],
    "kpis": ["MemoryUsage 93%", "LoadPerCpu 2"],
    "processes": [f"llama (pid {pid}, user 0): 3 GiB" for pid in range(7)],
}


@pytest.fixture(autouse=True)
def known_time(surroundings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands about rules see the known time."""
    for module in ("commands", "kpis"):
        monkeypatch.setattr(f"agentctl.rules.{module}.now", lambda: NOW)


def refusing(error: str, sentence: str) -> Callable[..., None]:
    def refuse(*_: object) -> None:
        raise Refused(f"org.agentd1.Error.{error}", sentence)

    return refuse


def recorded(**kpis: list[tuple[int, float]]) -> Callable[..., list[dict[str, Any]]]:
    """GetSamples of a daemon that has these samples, as (age, value), and gives them for each span, in pages of 3."""

    def answer(kpi: str, options: dict[str, Any]) -> list[dict[str, Any]]:
        found = [
            {"at": NOW - age, "count": 2, "mean": value, "least": value - 1, "most": value + 1}
            for age, value in kpis.get(kpi, [])
            if NOW - age >= options["since"]
        ]
        return found[: min(3, options["limit"])]

    return answer


# KPIs


def test_kpi_lists_those_that_are_sampled_and_says_why_one_has_no_value(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["ListKpis"] = [LOAD, MEMORY, SWAP]
    ended = ctl("kpi")
    assert ended.code == 0
    assert [text.split("  ")[0] for text in ended.out.splitlines()] == ["NAME", "MemoryUsage", "SwapUsage"]
    assert ended.out.splitlines()[1].split(maxsplit=2)[1:] == ["91.5%", "3s ago  memory in use"]
    assert "- (there is no swap)" in ended.out
    every = ctl("kpi", "--all").out.splitlines()
    assert every[-1].startswith("LoadPerCpu   - (no rule needs it, so nobody looks)")
    assert [one["name"] for one in ctl("kpi", "--json").json] == ["MemoryUsage", "SwapUsage"]
    assert ctl("kpi", "--json", "--all").json[1] == {
        **{key: SWAP.get(key) for key in ("name", "unit", "help", "sampled", "value", "shown", "missing")},
        "at": "2026-10-25T00:26:40.000000+02:00",
    }


def test_without_rules_kpi_says_why_there_is_none(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["ListKpis"] = [LOAD]
    assert ctl("kpi").out == "agentd samples no KPI, as no rule needs one; those that there are: agentctl kpi --all\n"
    assert ctl("kpi", "--json").json == []
    assert ctl("kpi", "--since", "1h").code == 2


def test_agentd_looks_at_a_kpi_that_no_rule_needs_when_somebody_asks(daemon: FakeDaemon, ctl: Ctl) -> None:
    now = {**LOAD, "value": 0.5, "shown": "0.5", "missing": "", "at": NOW}
    daemon.answers |= {"ListKpis": lambda wanted: [now if wanted.get("look") else LOAD, MEMORY], "GetSamples": []}
    assert ctl("kpi", "--all").out.splitlines()[-1].startswith("LoadPerCpu   0.5    now     load")
    assert "LoadPerCpu" not in ctl("kpi").out
    shown = ctl("kpi", "LoadPerCpu").out
    assert "value  0.5" in shown
    assert "looked at  " in shown
    assert ctl("kpi", "LoadPerCpu", "--json").json["value"] == 0.5
    daemon.calls.clear()
    ctl("kpi", "MemoryUsage")
    assert [call for call in daemon.calls if call[0] == "ListKpis"] == [("ListKpis", {})], "a rule has looked already"


def test_one_kpi_is_shown_with_its_past(daemon: FakeDaemon, ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentctl.rules.calls.PAGE", 3)
    past = [(40 * MINUTE - number * MINUTE, float(number)) for number in range(40)]
    daemon.answers |= {"ListKpis": [MEMORY, SWAP], "GetSamples": recorded(MemoryUsage=past)}
    ended = ctl("kpi", "MemoryUsage")
    assert ended.code == 0
    facts = dict(text.split(maxsplit=1) for text in ended.out.splitlines()[1:-1])
    assert facts["value"] == "91.5%"
    assert facts["sampled"] == "00:26:37 (3s ago)"
    assert facts["since"] == "Sat 2026-10-24 23:26:40 +0200  1h ago"
    assert (facts["minimum"], facts["mean"], facts["maximum"], facts["samples"]) == ("-1%", "19.5%", "40%", "80")
    bars = ended.out.splitlines()[-1].strip()
    assert (len(bars), bars[0], bars[-1]) == (20, "▁", "█")
    assert list(bars) == sorted(bars)
    found = ctl("kpi", "MemoryUsage", "--json", "--since", "10min").json
    assert (found["name"], found["minimum"], found["since"]) == (
        *("MemoryUsage", 29.0),
        "2026-10-25T00:16:40.000000+02:00",
    )
    assert [one["mean"] for one in found["samples"]] == [float(number) for number in range(30, 40)]


@pytest.mark.parametrize(
    ("since", "oldest", "span"),
    [
        ("1h", 30 * DAY, 0),
        ("3h", 30 * DAY, MINUTE),
        ("7d", 30 * DAY, HOUR),
        ("7d", DAY, MINUTE),
        ("7d", MINUTE, 0),
        ("7d", None, HOUR),
    ],
)
def test_the_past_comes_in_the_shortest_rows_that_hold_all_of_it(
    daemon: FakeDaemon, ctl: Ctl, since: str, oldest: int | None, span: int
) -> None:
    def answer(_kpi: str, options: dict[str, Any]) -> list[dict[str, Any]]:
        asked.append(options["span"])
        ages = [age for age in (0, oldest, *range(0, 30 * DAY, HOUR)) if age is not None and oldest is not None]
        rows = sorted({NOW - age for age in ages if age <= (oldest or 0) and NOW - age >= options["since"]})
        return [{"at": at, "count": 1, "mean": 5.0, "least": 5.0, "most": 5.0} for at in rows[: options["limit"]]]

    asked: list[int] = []
    daemon.answers |= {"ListKpis": [MEMORY], "GetSamples": answer}
    assert ctl("kpi", "MemoryUsage", "--since", since).code == 0
    assert (asked[0], set(asked[1:])) == (HOUR, {span})


@pytest.mark.parametrize(("encoding", "marks"), [("utf-8", "▁▂▃▄▅▆▇█"), ("ascii", "_.-~=+*#")])
def test_a_terminal_gets_a_plot_of_characters_that_it_has(
    daemon: FakeDaemon, encoding: str, marks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    past = [(40 * MINUTE - number * MINUTE, float(number)) for number in range(3)]
    controller, terminal = pty.openpty()
    # The process looks at the real clock, and asks for an hour before that.
    rows = [{"at": NOW - age, "count": 1, "mean": value, "least": value, "most": value} for age, value in past]
    daemon.answers |= {"ListKpis": [MEMORY], "GetSamples": rows}
    environment = {**os.environ, "TERM": "xterm", "PYTHONIOENCODING": encoding, "NO_COLOR": "1"}
    command = [sys.executable, "-m", "agentctl", "kpi", "MemoryUsage", "--since", "2026-10-24"]
    ended = subprocess.run(command, cwd=fake.ROOT, env=environment, stdout=terminal, check=True)
    os.close(terminal)
    shown = os.read(controller, 1 << 16).decode()
    os.close(controller)
    assert ended.returncode == 0
    assert "\\u" not in shown
    assert marks[4] in shown, "no line of bars"


def test_a_kpi_that_nobody_samples_is_told_with_what_there_is(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers |= {"ListKpis": [DISK, LOAD], "GetSamples": []}
    assert "value  - (nobody samples it: look at DiskUsage:/)" in ctl("kpi", "DiskUsage").out
    assert "value  - (no rule needs it, so nobody looks)" in ctl("kpi", "LoadPerCpu").out
    assert "samples  none" in ctl("kpi", "LoadPerCpu").out
    assert ctl("kpi", "DiskUsage", "--json").json["value"] is None
    daemon.answers["GetSamples"] = refusing("NoSuchKpi", 'there is no KPI "MemUsage" (did you mean MemoryUsage?)')
    assert ctl("kpi", "MemUsage") == (
        5,
        "",
        'agentctl: there is no KPI "MemUsage" (did you mean MemoryUsage?)\n',
    )


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (91.4567, "percent", "91.46%"),
        (3.5 * 2**30, "bytes", "3.5 GiB"),
        (-512, "bytes", "-512 B"),
        (90, "seconds", "1min 30s"),
        (0.0042, "seconds", "4.2ms"),
        (-5, "seconds", "-5"),
        (55.5, "celsius", "55.5C"),
        (12345.6, "per hour", "12346/h"),
        (1, "yes or no", "yes"),
        (0.25, "yes or no", "0.25"),
        (2, "a state of the LLM", "2"),
    ],
)
def test_numbers_are_shown_in_their_unit(value: float, unit: str, text: str) -> None:
    assert records.shown(value, unit) == text


# Rules


def test_rules_are_listed_with_what_they_see_and_do(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["ListRules"] = [HIGH, LOW]
    for command in (("rules",), ("rules", "list")):
        header, high, low = ctl(*command).out.splitlines()
        assert header.split("  ")[0] == "NAME"
        assert high.split() == [
            *("memory-high", "firing", "2min", "ago", "91.5%", "against", "90%"),
            *("1min", "ago", "TriggerSelfTest,", "RunJob:clean", "after", "5min"),
        ]
        assert low.split()[:3] == ["low", "inactive", "-"]
        assert "never" in low
        assert low.endswith("after 5min (in shadow: it only tells, backup runs)")
    found = ctl("rules", "--json").json
    assert [one["name"] for one in found] == ["memory-high", "low"]
    assert (found[0]["since"], found[1]["since"]) == ("2026-10-25T00:24:40.000000+02:00", None)
    daemon.answers["ListRules"] = []
    assert "There are no rules yet" in ctl("rules").out


def test_explain_tells_what_holds_and_what_there_was_to_see(daemon: FakeDaemon, ctl: Ctl) -> None:
    lines = [
        line("MemoryUsage > 90% for 3min", "true", sees="has held for 5min; 3min needed"),
        line("MemoryUsage > 90%", "true", 1, "91.5% against 90%"),
        line("MemoryUsage < 80%", "false", sees="91.5% against 80%", of="clear"),
    ]
    daemon.answers |= {"ExplainRule": (HIGH, lines), "ListEvidence": [EVIDENCE]}
    ended = ctl("rules", "explain", "memory-high")
    assert ended.code == 0
    out = ended.out.splitlines()
    assert out[0] == "memory-high: firing since 00:24:40 (2min ago)"
    assert out[2].split() == ["HOLDS", "WHEN", "IT", "FIRES", "SEES"]
    assert out[4] == "yes      MemoryUsage > 90%         91.5% against 90%"
    assert "no     MemoryUsage < 80%  91.5% against 80%" in out
    assert "missing for it to fire:" not in out
    does = out.index("what it does:")
    assert out[does + 1 : does + 3] == ["  TriggerSelfTest", "  RunJob:clean after 5min"]
    acted = out.index("the last times it acted:")
    assert out[acted + 1 : acted + 4] == [
        "  00:25:40 (1min ago): TriggerSelfTest",
        "    saw MemoryUsage > 90%: 93% against 90%",
        "    KPIs: MemoryUsage 93%, LoadPerCpu 2",
    ]
    assert len(out) == acted + 9, "too many processes"
    assert ("ListEvidence", "memory-high", {"limit": 3}) in daemon.calls
    found = ctl("rules", "explain", "memory-high", "--json").json
    assert found["condition"][1] == {**lines[1], "kind": None}
    assert found["evidence"][0]["kpis"] == EVIDENCE["kpis"]


def test_explain_tells_what_is_missing_for_a_rule_to_fire(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers |= {
        "ExplainRule": (LOW, [line("SwapUsage > 5%", "unknown", sees="SwapUsage is missing: there is no swap")]),
        "ListEvidence": [],
    }
    out = ctl("rules", "explain", "low").out.splitlines()
    assert out[0] == "low: inactive"
    assert out[out.index("missing for it to fire:") + 1] == "  SwapUsage > 5%: SwapUsage is missing: there is no swap"
    does = out.index("what it would do:")
    assert out[does + 3 : does + 5] == ["  but: in shadow: it only tells", "  but: backup runs"]
    assert out[-1] == "  never, as far as agentd remembers"
    daemon.answers["ExplainRule"] = refusing("NoSuchRule", 'there is no rule "lo" (did you mean low?)')
    assert ctl("rules", "explain", "lo") == (5, "", 'agentctl: there is no rule "lo" (did you mean low?)\n')


A, B = line("A > 1", "false", 1, "0 against 1"), line("B > 1", "unknown", 1, "B is missing")


@pytest.mark.parametrize(
    ("lines", "texts"),
    [
        ([], []),
        ([line("A > 1", "true")], []),
        ([line("A > 1 AND B > 1", "false"), A, B], ["A > 1: 0 against 1", "B > 1: B is missing"]),
        ([line("A > 1 AND B > 1", "false"), {**A, "truth": "true"}, B], ["B > 1: B is missing"]),
        (
            [line("A > 1 for 5min", "false", sees="has held for 1min of 5min, 4min to go"), {**A, "truth": "true"}],
            ["A > 1 for 5min: has held for 1min of 5min, 4min to go"],
        ),
        ([line("A > 1 for 5min", "false", sees="does not hold"), A], ["A > 1: 0 against 1"]),
        ([line("NOT A > 1", "false"), {**A, "truth": "true"}], ["NOT A > 1: 0 against 1"]),
        (
            [
                line("(A > 1 OR B > 1) AND C", "false"),
                line("A > 1 OR B > 1", "false", 1),
                {**A, "depth": 2},
                {**B, "depth": 2},
                line("C", "true", 1),
            ],
            ["A > 1: 0 against 1", "or B > 1: B is missing"],
        ),
    ],
)
def test_what_is_missing_are_the_least_parts_that_do_not_hold(lines: list[dict[str, Any]], texts: list[str]) -> None:
    assert records.missing(lines) == texts


def told(kind: str, text: str, truth: str, depth: int = 0, sees: str = "") -> dict[str, Any]:
    """A line of an agentd that says of which kind it is."""
    return {**line(text, truth, depth, sees), "kind": kind}


MANY, FEW = "95% against 90%", "20% against 50%"


@pytest.mark.parametrize("says", [True, False])
@pytest.mark.parametrize(
    ("lines", "texts"),
    [
        (
            [
                told("and", "NOT MemoryUsage > 90% AND SwapUsage > 50%", "false"),
                told("not", "NOT MemoryUsage > 90%", "true", 1),
                told("compares", "MemoryUsage > 90%", "false", 2, "3% against 90%"),
                told("compares", "SwapUsage > 50%", "false", 1, FEW),
            ],
            [f"SwapUsage > 50%: {FEW}"],
        ),
        (
            [
                told("and", "Notes > 5 AND SwapUsage > 50%", "false"),
                told("compares", "Notes > 5", "true", 1, "7 against 5"),
                told("compares", "SwapUsage > 50%", "false", 1, FEW),
            ],
            [f"SwapUsage > 50%: {FEW}"],
        ),
        (
            [
                told("for", "NOT MemoryUsage > 90% for 5min", "false", 0, "does not hold; needed for 5min"),
                told("not", "NOT MemoryUsage > 90%", "false", 1),
                told("compares", "MemoryUsage > 90%", "true", 2, MANY),
            ],
            [f"NOT MemoryUsage > 90%: {MANY}"],
        ),
        (
            [
                told("or", "NOT MemoryUsage > 90% OR Orders > 5", "false"),
                told("not", "NOT MemoryUsage > 90%", "false", 1),
                told("compares", "MemoryUsage > 90%", "true", 2, MANY),
                told("compares", "Orders > 5", "false", 1, "1 against 5"),
            ],
            [f"NOT MemoryUsage > 90%: {MANY}", "or Orders > 5: 1 against 5"],
        ),
        (
            [
                told("not", "NOT (A > 1 AND B > 1)", "unknown"),
                told("and", "A > 1 AND B > 1", "unknown", 1),
                told("compares", "A > 1", "true", 2, "2 against 1"),
                told("compares", "B > 1", "unknown", 2, "B is missing"),
            ],
            ["NOT (A > 1 AND B > 1): 2 against 1; B is missing"],
        ),
    ],
)
def test_what_is_fulfilled_is_not_missing_whatever_its_words_are(
    lines: list[dict[str, Any]], texts: list[str], says: bool
) -> None:
    """Also with an older agentd, which does not say of which kind a part is."""
    assert records.missing([{**one, "kind": one["kind"] if says else ""} for one in lines]) == texts


def test_nothing_that_a_rule_or_a_process_is_called_steers_the_terminal(daemon: FakeDaemon, ctl: Ctl) -> None:
    evil = {**HIGH, "name": EVIL, "sees": [EVIL], "withheld": EVIL}
    evidence = {**EVIDENCE, "processes": [EVIL], "kpis": [EVIL], "sees": [EVIL]}
    daemon.answers |= {
        "ListRules": [evil],
        "ExplainRule": (evil, [line(EVIL, "false", sees=EVIL)]),
        "ListEvidence": [evidence],
        "ListKpis": [{**MEMORY, "help": EVIL, "missing": EVIL}],
        "SelfTest": [{"name": "x", "result": "failed", "text": EVIL, "remedy": EVIL, "took": 5}],
        "GetSamples": [],
    }
    for command in (("rules",), ("rules", "explain", "x"), ("kpi",), ("kpi", "MemoryUsage"), ("self-test",)):
        out = ctl(*command).out
        assert HARMLESS in out, command
        assert "\x1b" not in out.replace("\x1b[0m", ""), command


# Trying rules


def test_rules_are_tried_on_a_file_without_a_daemon(ctl: Ctl, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rules, samples = tmp_path / "r.yaml", tmp_path / "s.jsonl"
    rules.write_text('rules: {high: {when: "MemoryUsage > 90%", do: Notify}}\n')
    samples.write_text('{"at": 0, "kpis": {"MemoryUsage": 95}}\n')
    command = [sys.executable, "-m", "agentctl", "rules", "test", str(rules), "--samples", str(samples), "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=fake.ROOT)
    assert ended.returncode == 0
    assert json.loads(ended.stdout) == {"at": 0, "rule": "high", "state": "firing", "action": "Notify"}
    rules.write_text('rules: {high: {when: "MemoryUsag > 90%", do: Notify}}\n')
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=fake.ROOT)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"{rules}:1:" in ended.stderr


@pytest.mark.parametrize("options", [(), ("--samples", "x", "--since", "1h"), ("--since", "soon")])
def test_samples_come_from_one_place(ctl: Ctl, options: tuple[str, ...]) -> None:
    assert ctl("rules", "test", "r.yaml", *options).code == 2


def test_what_agentd_recorded_is_written_as_samples(
    daemon: FakeDaemon, ctl: Ctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []

    def run(arguments: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        started.append((arguments, options["input"]))
        return subprocess.CompletedProcess(arguments, 2)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr("agentctl.rules.calls.PAGE", 3)
    memory = [(age * MINUTE, 50.0 + age) for age in (9, 8, 7, 6, 5)]
    mine = {**MEMORY, "name": "Room", "unit": "celsius", "own": True}
    daemon.answers |= {
        "ListKpis": [MEMORY, SWAP, LOAD, mine],
        "GetSamples": recorded(MemoryUsage=memory, SwapUsage=[(8 * MINUTE, 1.5), (4 * MINUTE, 2.5)]),
    }
    assert ctl("rules", "test", "--since", "1h", "--json", "--", "-r.yaml").code == 2, "the verdict is not the child's"
    ((arguments, given),) = started
    assert arguments[:4] == [sys.executable, "-P", "-m", "agentd.rules.replaying"]
    assert arguments[4:] == ["--json", "--live", "--kpi=Room=celsius", "--", "-r.yaml", "-"]
    lines = [json.loads(text) for text in given.decode().splitlines()]
    assert [one["at"] for one in lines] == [(NOW - age * MINUTE) / SECOND for age in (9, 8, 7, 6, 5, 4)]
    assert lines[0]["kpis"] == {"MemoryUsage": 59.0}
    assert lines[1]["kpis"] == {"MemoryUsage": 58.0, "SwapUsage": 1.5}
    assert lines[5]["kpis"] == {"SwapUsage": 2.5}
    assert not [call for call in daemon.calls if call[0] == "GetSamples" and call[1] == "LoadPerCpu"]


def test_where_agentd_recorded_nothing_that_is_told(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers |= {"ListKpis": [LOAD, SWAP], "GetSamples": []}
    ended = ctl("rules", "test", "r.yaml", "--since", "7d")
    assert (ended.code, ended.out) == (1, "")
    assert "agentd has recorded no KPI since then" in ended.err


# The self-test


def test_the_self_test_is_a_line_a_check_with_what_to_do_below_a_failure(daemon: FakeDaemon, ctl: Ctl) -> None:
    passed = {"name": "store", "result": "passed", "text": "written and read", "remedy": "free space", "took": 1500}
    failed = {"name": "bus", "result": "failed", "text": "no answer", "remedy": "restart dbus", "took": 2 * SECOND}
    skipped = {"name": "llm", "result": "skipped", "text": "none is set up", "remedy": "", "took": 0}
    daemon.answers["SelfTest"] = [passed, failed, skipped]
    ended = ctl("self-test", "--full")
    assert ended.code == 1
    assert ended.out.splitlines() == [
        "     ok  store: written and read (0s)",
        " FAILED  bus: no answer (2s)",
        "         restart dbus",
        "skipped  llm: none is set up (0s)",
        "1 of 3 checks failed",
    ]
    assert daemon.calls[-1] == ("SelfTest", {"full": True})
    ended = ctl("self-test", "--json")
    assert ended.code == 1
    assert ended.json[1] == {**{key: failed[key] for key in ("name", "result", "text", "remedy")}, "took_s": 2.0}
    assert daemon.calls[-1] == ("SelfTest", {})
    daemon.answers["SelfTest"] = [passed, skipped]
    ended = ctl("self-test")
    assert (ended.code, ended.out.splitlines()[-1]) == (0, "2 checks, none failed")
    daemon.answers["SelfTest"] = refusing("Busy", "a self-test is under way already")
    assert ctl("self-test") == (1, "", "agentctl: a self-test is under way already\n")


def test_a_self_test_may_take_longer_than_other_calls(
    daemon: FakeDaemon, ctl: Ctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    def slow(_options: dict[str, Any]) -> list[dict[str, Any]]:
        threading.Event().wait(0.2)
        return []

    daemon.answers["SelfTest"] = slow
    monkeypatch.setenv("AGENTD_TIMEOUT", "0.05")
    assert ctl("self-test").code == 0


# The status


def test_the_status_shows_first_the_rules_that_fire(daemon: FakeDaemon, ctl: Ctl) -> None:
    of_rule = "the rule memory-high fires: MemoryUsage > 90%: 91.5% against 90%"
    daemon.answers |= {
        "GetAll": {**DAEMON, "Warnings": ["the disk is full", of_rule], "ConfigurationError": "a.yaml:1:1: no"},
        "ListJobs": [BACKUP],
        RULES: {"Firing": ["low", "memory-high"], "SelfTestState": ""},
    }
    lines = ctl("status").out.splitlines()
    assert lines[1:3] == ["the rule low fires", of_rule]
    assert lines[3].startswith("configuration error: ")
    assert lines[5] == "warning: the disk is full"
    assert ctl("status").out.count("memory-high fires") == 1
    assert ctl("status", "--json").json["firing"] == ["low", "memory-high"]


def test_the_status_of_an_agentd_without_rules_works(daemon: FakeDaemon, ctl: Ctl) -> None:
    assert ctl("status").code == 0
    assert ctl("status", "--json").json["firing"] is None
    daemon.answers["ListRules"] = lambda _: fake.unknown(RULES)
    ended = ctl("rules")
    assert ended.code == 1
    assert "is of another version than agentctl" in ended.err


@pytest.mark.parametrize("warned", [True, False])
def test_the_status_goes_on_where_the_rules_are_shut_off_and_says_so_once(
    daemon: FakeDaemon, ctl: Ctl, warned: bool
) -> None:
    off = "the part rules is shut off because of a defect in it (KeyError: 'x'); the others go on"
    daemon.answers |= {
        "GetAll": {**DAEMON, "Warnings": ["the disk is full", *([off] if warned else [])]},
        "ListJobs": [BACKUP],
        RULES: refusing("PartFailed", off),
    }
    ended = ctl("status")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[1:3] == ["warning: the disk is full", f"warning: {off}"]
    assert ended.out.count("shut off") == 1
    assert "backup" in ended.out
    found = ctl("status", "--json").json
    assert (found["firing"], found["daemon"]["warnings"]) == (None, ["the disk is full", off])


@pytest.mark.parametrize(
    ("command", "begun", "expected"),
    [
        (["kpi"], "", ["LoadPerCpu", "MemoryUsage", "DiskUsage:/"]),
        (["kpi"], "Mem", ["MemoryUsage"]),
        (["rules", "explain"], "", ["memory-high", "low"]),
        (["rules", "explain"], "mem", ["memory-high"]),
    ],
)
def test_names_of_kpis_and_rules_are_completed(
    daemon: FakeDaemon, command: list[str], begun: str, expected: list[str]
) -> None:
    daemon.answers |= {"ListKpis": [LOAD, MEMORY, DISK, UNIT], "ListRules": [HIGH, LOW]}
    found = ShellComplete(cli, {}, "agentctl", "_AGENTCTL_COMPLETE").get_completions(command, begun)
    assert [one.value for one in found] == expected
