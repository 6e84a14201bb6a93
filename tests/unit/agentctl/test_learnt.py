"""agentctl's commands about what agentd has learnt, against a fake daemon on a real bus."""

from collections.abc import Callable
from typing import Any

import pytest
from click.shell_completion import ShellComplete

from agentctl import client
from agentctl.commands import cli
from agentctl.daemon import MANAGER
from agentctl.learning import records
from agentctl.learning.calls import LEARNING
from agentd.core.jobs import interval
from agentd.core.quantities import DAY, HOUR, MINUTE, SECOND
from tests.unit.agentctl import fake
from tests.unit.agentctl.fake import FEED, NOW, Ctl, FakeDaemon, Refused

EVIL = "\x1b[2Jmallory\u202e"
HARMLESS = "\\x1b[2Jmallory\\u202e"
LEARNER: dict[str, Any] = {
    "name": "feed",
    "mode": "on",
    "useful": "output",
    "unknown": "",
    "hint": "",
    "interval": 5 * MINUTE,
    "fixed": False,
    "preference": 2,
    "next_interval": 10 * MINUTE,
    "wanted": 14 * MINUTE,
    "more": 9 * MINUTE,
    "bound": "step",
    "model": "mlp",
    "why": "the network foretells runs better than the counted rate, by 3.1 nats",
    "reason": "the network expects a change each 40min",
    "rate": 1.5,
    "useful_2h": 0.42,
    "useful_1d": 0.125,
    "changed": NOW - HOUR,
    "runs": 40,
    "failures": 0,
    "cost": 1.25,
    "by_hand": 0.5,
}
SAVED = {
    "length": 2 * DAY / SECOND,
    "saved_cpu": 120.0,
    "saved_age": 12.5,
    "over_keep": 0.62,
    "over_best": 1.08,
    "best_interval": 6 * MINUTE,
}
SHADOW = {**LEARNER, "name": "shady", "mode": "shadow", "preference": 0, "model": "gamma-poisson"}
BLANK: dict[str, Any] = {
    "name": "blank",
    "mode": "on",
    "useful": "",
    "unknown": "nothing says when a run is of use: set useful",
}
BLANK |= {"interval": MINUTE, "fixed": False, "preference": 0, "bound": ""}
COUNTED = {
    "name": "gamma-poisson",
    "title": "the counted rate of changes",
    "rate": 2.0,
    "interval": 4 * MINUTE,
    "score": -12.25,
    "decides": False,
}
NETWORK = {"name": "mlp", "title": "the network", "rate": 1.5, "interval": 14 * MINUTE, "score": -9.15, "decides": True}
FEATURES = {"log_rate": 0.405, "hour": -0.0012}
MADE = {
    "number": 3,
    "in_force": True,
    "synthetic": False,
    "made": NOW - HOUR,
    "since": NOW - 9 * DAY,
    "until": NOW - 2 * HOUR,
    "rows": 1234,
    "jobs": 5,
    "held_out": 300,
    "loss": 0.4312,
    "counted_loss": 0.4523,
    "library": "scikit-learn 1.4.2",
}
FIRST = {**MADE, "number": 0, "in_force": False, "synthetic": True, "since": 0, "until": 0}
BROKEN = {"number": 2, "in_force": False, "wrong": "the hash is another"}


def refusing(error: str, sentence: str) -> Callable[..., None]:
    def refuse(*_: object) -> None:
        raise Refused(f"org.agentd1.Error.{error}", sentence)

    return refuse


def explained(daemon: FakeDaemon, learner: dict[str, Any], *models: dict[str, Any]) -> None:
    daemon.answers["Explain"] = (learner, list(models), FEATURES if models else {})


def facts(out: str) -> dict[str, str]:
    """The labelled lines of an output."""
    lines = [line[13:] and (line[:11].strip(), line[13:]) for line in out.splitlines() if line.startswith(" ")]
    return dict(line for line in lines if line)


# Explain


def test_explain_tells_which_model_decides_and_what_follows(daemon: FakeDaemon, ctl: Ctl) -> None:
    explained(daemon, LEARNER, COUNTED, NETWORK)
    ended = ctl("explain", "feed")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[0] == "feed: the network decides"
    assert facts(ended.out) == {
        "mode": "on",
        "because": LEARNER["why"],
        "expects": "a change each 40min (1.5 an hour)",
        "interval": "every 5min",
        "next": "every 10min (every 14min before any bound)",
        "bound": "step: an interval changes by a factor of 2 at a time",
        "more often": "every 9min after one agentctl increase feed",
        "preference": "+2: more often",
        "watches": "output",
        "changed": "Sat 23:26 (1h ago)",
        "useful": "42% of the runs of about 2 h, 12% of the runs of about 1 d",
        "runs": "40 whose use is known",
        "cost": "1.25 s of processor time a run",
        "by hand": "0.5 runs asked for; each counts half after a day",
    }
    assert ended.out.splitlines()[-3].split() == ["MODEL", "A", "CHANGE", "EACH", "INTERVAL", "SCORE", "DECIDES"]
    assert ended.out.splitlines()[-2] == "the counted rate of changes  30min          4min      -12.2"
    assert ended.out.splitlines()[-1].split() == ["the", "network", "40min", "14min", "-9.2", "yes"]
    assert "log_rate" not in ended.out
    assert ctl("explain", "feed", "--features").out.splitlines()[-2:] == ["log_rate  0.405", "hour      -0.0012"]


@pytest.mark.parametrize(
    ("rate", "expects", "each"),
    [
        (9000.4, "a change each 0.4s (9000 an hour)", "0.4s"),
        (0.0123456, "a change each 3d 9h (0.0123 an hour)", "3d 9h"),
        (1e-7, "no change within a year", "over a year"),
        (0.0, None, "-"),
    ],
)
def test_rates_are_shown_as_the_time_between_changes(rate: float, expects: str | None, each: str) -> None:
    assert dict(records.facts({**LEARNER, "rate": rate}, NOW)).get("expects") == expects
    assert records.each(rate) == each


def test_explain_as_json_has_the_record_the_models_and_the_features(daemon: FakeDaemon, ctl: Ctl) -> None:
    explained(daemon, LEARNER, COUNTED, NETWORK)
    found = ctl("explain", "feed", "--json").json
    assert found["changed"] == "2026-10-24T23:26:40.000000+02:00"
    assert found == {**LEARNER, "changed": found["changed"], "models": [COUNTED, NETWORK], "features": FEATURES}


@pytest.mark.parametrize(
    ("change", "head", "advice"),
    [
        ({"mode": "shadow"}, "would decide", "learning: {mode: on} in agentd.yaml"),
        ({"mode": "off"}, "learning is off", "learning: {mode: on} in agentd.yaml, or learning: on of the job"),
        ({"fixed": True}, "would decide", "agentd may change it again after: agentctl reset feed"),
        ({"unknown": "the last run was stopped"}, "decides", "The use of runs is not known: the last run was stopped"),
        ({"hint": "every run was of use"}, "decides", "Note: every run was of use"),
    ],
)
def test_explain_says_what_to_do_where_a_job_does_not_learn(
    daemon: FakeDaemon, ctl: Ctl, change: dict[str, Any], head: str, advice: str
) -> None:
    explained(daemon, {**LEARNER, **change}, COUNTED, NETWORK)
    out = ctl("explain", "feed").out
    assert head in out.splitlines()[0]
    assert advice in out.splitlines()[-1]
    assert ("would be" in facts(out)) == (change.keys().isdisjoint({"unknown", "hint"}))


def test_explain_of_a_job_of_which_nothing_is_known_says_why(daemon: FakeDaemon, ctl: Ctl) -> None:
    explained(daemon, BLANK)
    out = ctl("explain", "blank").out
    assert out.splitlines()[0] == "blank: nothing is known yet"
    assert facts(out)["watches"] == "nothing: the setting useful is missing"
    assert out.splitlines()[-1] == "The use of runs is not known: nothing says when a run is of use: set useful"
    explained(daemon, {**BLANK, "useful": "output", "unknown": ""})
    assert "agentd has not looked at a run yet" in ctl("explain", "blank").out
    assert ctl("explain", "blank", "--json").json["models"] == []


@pytest.mark.parametrize("command", ["explain", "prefer"])
def test_a_job_that_is_none_or_does_not_learn_is_told(daemon: FakeDaemon, ctl: Ctl, command: str) -> None:
    daemon.answers["Explain"] = refusing("NoSuchJob", 'there is no job "fed"\x1b[2J')
    assert ctl(command, "fed") == (5, "", 'agentctl: there is no job "fed"\\x1b[2J\n')
    daemon.answers["Explain"] = refusing("Unsupported", "backup is not adaptive")
    assert ctl(command, "backup") == (1, "", "agentctl: backup is not adaptive\n")
    daemon.answers["Explain"] = lambda _: fake.unknown(LEARNING)
    assert "is of another version than agentctl" in ctl(command, "feed").err


@pytest.mark.parametrize(
    "command",
    [("explain", "x"), ("learning",), ("prefer", "x", "-1"), ("model",), ("model", "train"), ("model", "history")],
)
def test_without_an_agentd_that_is_told(ctl: Ctl, command: tuple[str, ...]) -> None:
    assert ctl(*command).code == 3


# Preferences


def test_a_preference_is_set_and_shown(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["SetPreference"] = {"note": "feed has it", "old": 5 * MINUTE, "new": 2 * MINUTE, "next": NOW}
    explained(daemon, LEARNER)
    for text, steps in (("-1", -1), ("-4", -4), ("0", 0), ("+2", 2), ("4", 4)):
        assert ctl("prefer", "feed", text) == (0, "feed has it\n", "")
        assert daemon.calls[-1] == ("SetPreference", "feed", steps)
    assert ctl("--json", "prefer", "feed", "-1").json["new"] == ctl("prefer", "feed", "-1", "--json").json["new"]
    assert ctl("prefer", "feed").out == "the preference is +2: more often, and feed runs every 5min\n"
    assert ctl("prefer", "feed", "--json").json == {"job": "feed", "preference": 2, "interval": 5 * MINUTE}
    explained(daemon, {**BLANK, "interval": 0})
    assert ctl("prefer", "blank").out == "the preference is 0: as it would be\n"


@pytest.mark.parametrize("words", [("feed", "5"), ("feed", "-5"), ("feed", "often"), ("feed", "--jsn"), ()])
def test_a_preference_out_of_range_is_wrong_usage(daemon: FakeDaemon, ctl: Ctl, words: tuple[str, ...]) -> None:
    assert ctl("prefer", *words).code == 2
    assert daemon.calls == []


def test_the_bounds_of_a_preference_are_those_of_agentd() -> None:
    from agentctl.learning.explain import LEAST, MOST

    assert (LEAST, MOST) == (-interval.MOST_PREFERENCE, interval.MOST_PREFERENCE)


# All jobs


def test_all_adaptive_jobs_are_listed_with_what_learning_brought(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["ListLearners"] = [{**LEARNER, **SAVED}, BLANK]
    lines = ctl("learning").out.splitlines()
    assert daemon.calls == [("ListLearners", {"savings": True})]
    assert "WOULD BE" not in lines[0]
    assert lines[1].split() == [
        *("feed", "on", "5min", "network", "40min", "12%", "+2", "0.62", "1.08", "1min", "a", "day", "12s")
    ]
    assert lines[2].split() == ["blank", "on", "1min", "-", "-", "-", "0", "-", "-", "-", "-"]
    assert lines[3].startswith("total of 1 job: 2min of processor time saved (1min a day), information 12s younger")
    assert lines[4] == "The figures are estimates, over 2d at most: nobody knows when a change came."
    found = ctl("learning", "--json").json
    assert found["jobs"][0] == {**LEARNER, **SAVED, "changed": "2026-10-24T23:26:40.000000+02:00"}
    assert found["jobs"][1]["saved_cpu"] is found["jobs"][1]["rate"] is None
    assert found["total"] == {
        "jobs": 1,
        "saved_cpu": 120.0,
        "saved_cpu_a_day": 60.0,
        "saved_age": 12.5,
        "length": 2 * DAY / SECOND,
    }


def test_what_would_be_is_shown_where_agentd_does_not_act(daemon: FakeDaemon, ctl: Ctl) -> None:
    worse = {**SHADOW, **SAVED, "saved_cpu": -30.0, "saved_age": -4.0}
    daemon.answers["ListLearners"] = [worse, {**LEARNER, "name": "held", "fixed": True}, LEARNER]
    header, shady, held, feed, total, *_ = ctl("learning").out.splitlines()
    assert "WOULD BE" in header
    assert shady.split()[:5] == ["shady", "shadow", "5min", "10min", "counted"]
    assert shady.split()[-4:] == ["-15s", "a", "day", "-4s"]
    assert held.split()[:4] == ["held", "fixed", "5min", "10min"]
    assert feed.split()[:4] == ["feed", "on", "5min", "-"]
    assert "30s of processor time spent more (-15s a day), information 4s older in the mean" in total


@pytest.mark.parametrize(
    ("learners", "sentence"),
    [
        ([], "No job is adaptive: give one when: {adaptive: {start: 5min}}"),
        ([BLANK], "No adaptive job says when a run is of use: set useful of it"),
        ([SHADOW], "agentd changes no interval: learning is not on"),
        ([LEARNER], "Savings of a job are told once the use of 20 of its runs is known."),
    ],
)
def test_the_list_says_what_to_do_where_nothing_is_learnt(
    daemon: FakeDaemon, ctl: Ctl, learners: list[dict[str, Any]], sentence: str
) -> None:
    daemon.answers["ListLearners"] = learners
    assert ctl("learning").out.splitlines()[-1].startswith(sentence)
    assert len(ctl("learning", "--json").json["jobs"]) == len(learners)
    assert ctl("learning", "--json").json["total"]["saved_age"] is None


def test_the_list_comes_in_pages(daemon: FakeDaemon, ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"job-{number}" for number in range(5)]
    monkeypatch.setattr(client, "PAGE", 2)
    daemon.answers["ListLearners"] = lambda wanted: [
        {**BLANK, "name": name} for name in names if name > wanted.get("after", "")
    ][:2]
    assert [one["name"] for one in ctl("learning", "--json").json["jobs"]] == names


def test_the_status_of_a_job_tells_what_learning_does_with_it(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers |= {"GetJob": {**FEED, "fixed": False}, "NextTimes": [], "ListLearners": [LEARNER]}
    out = ctl("status", "feed").out
    assert "learning  on, the network expects a change each 40min; why: agentctl explain feed" in out
    assert ("ListLearners", {"name": "feed"}) in daemon.calls
    assert ctl("status", "feed", "--json").json["learning"]["model"] == "mlp"
    for change, text in (
        ({"mode": "off"}, "learning  off; why"),
        ({"mode": "shadow"}, "learning  shadow, would be every 10min: the network expects"),
        ({"fixed": True}, "learning  the interval was set by you, would be every 10min: the network"),
        ({"model": ""}, "learning  on, nothing is known yet; why"),
    ):
        daemon.answers["ListLearners"] = [{**LEARNER, **change}]
        assert text in ctl("status", "feed").out


# Networks


def test_the_network_in_force_is_shown(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers |= {"ListNetworks": [MADE, BROKEN, FIRST], LEARNING: {"Training": True, "Network": 3}}
    for command in (("model",), ("model", "show")):
        out = ctl(*command).out
        assert out.splitlines()[0] == "network 3"
        assert facts(out) == {
            "made": "Sat 23:26 (1h ago)",
            "from": "1234 runs of 5 jobs",
            "range": "2026-10-16 00:26 to Sat 22:26",
            "log loss": "0.4312, against 0.4523 of the counted rate (less is better), with 300 unseen rows",
            "library": "scikit-learn 1.4.2",
        }
        assert out.splitlines()[-1].startswith("A training is under way")
    found = ctl("model", "--json").json
    assert (found["training"], found["network"]["made"]) == (True, "2026-10-24T23:26:40.000000+02:00")
    daemon.answers |= {"ListNetworks": [{**FIRST, "in_force": True}], LEARNING: {"Training": False, "Network": 0}}
    out = ctl("model").out
    assert out.splitlines()[0] == "network 0, which agentd brings along"
    assert facts(out)["from"] == "1234 runs of 5 jobs drawn at random"
    assert "range" not in facts(out)
    daemon.answers |= {"ListNetworks": [], LEARNING: {"Training": False, "Network": -1}}
    assert ctl("model").out.startswith("No network is in force: the counted rate of changes decides")
    assert ctl("model", "--json").json == {"network": None, "training": False}


def test_the_networks_that_there_are_are_listed(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["ListNetworks"] = [MADE, BROKEN, FIRST]
    header, made, broken, _ = ctl("model", "history").out.splitlines()
    assert header.split()[:2] == ["NUMBER", "IN"]
    assert made.split()[:4] == ["3", "yes", "1h", "ago"]
    assert "0.4312    0.4523" in made
    assert broken.endswith("cannot be used: the hash is another")
    assert [one["number"] for one in ctl("model", "history", "--json").json] == [3, 2, 0]
    daemon.answers["ListNetworks"] = []
    assert ctl("model", "history").out.startswith("There is no network")
    assert ctl("model", "history", "--json").json == []


def test_a_training_is_waited_for_and_its_end_told(
    daemon: FakeDaemon, ctl: Ctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train() -> None:
        decisions.insert(0, {**old, "seq": 8, "kind": "interval"})
        decisions.insert(0, {**old, "seq": 9, "reason": "network 4 is in force: 5% better\x1b[2J"})
        left.extend([True, True])

    def properties(_interface: str) -> dict[str, Any]:
        return {"Training": left.pop() if left else False, "Network": 4, "Trained": came[0]}

    monkeypatch.setattr("agentctl.learning.model.POLL_SECONDS", 0)
    old = {"seq": 7, "at": NOW, "part": "learning", "kind": "model", "about": "", "reason": "of before"}
    decisions, left, came = [old], list[bool](), ["better"]
    daemon.answers |= {"Train": train, LEARNING: properties, f"{MANAGER}.ListDecisions": lambda _: decisions}
    ended = ctl("model", "train")
    assert (ended.code, ended.out) == (0, "network 4 is in force: 5% better\\x1b[2J\n")
    assert "agentd trains a network" in ended.err
    assert [call[0] for call in daemon.calls].count("GetAll") == 3
    decisions[:] = [old]
    found = ctl("model", "train", "--json").json
    assert (found["training"], found["network"], found["decision"]["kind"]) == (False, 4, "model")
    daemon.answers["Train"] = None
    assert ctl("model", "train").out == "the training is over, network 4 is in force\n", "an old decision is told"
    came[0] = "nothing"
    assert ctl("model", "train").code == 0


def test_a_training_that_failed_is_told_by_the_exit_code(daemon: FakeDaemon, ctl: Ctl) -> None:
    def train() -> None:
        decisions.insert(0, {**decisions[0], "seq": 8, "reason": "the training failed: the process ended with -9"})

    first = {"seq": 7, "at": NOW, "part": "learning", "kind": "model", "about": "", "reason": "of before"}
    decisions = [first]
    over = {"Training": False, "Network": 4, "Trained": "failed"}
    daemon.answers |= {"Train": train, LEARNING: over, f"{MANAGER}.ListDecisions": lambda _: decisions}
    ended = ctl("model", "train")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.endswith("agentctl: the training failed: the process ended with -9\n")
    decisions[:] = [first]
    ended = ctl("model", "train", "--json")
    assert (ended.code, ended.json["came"]) == (1, "failed")
    assert ended.json["decision"]["reason"] == "the training failed: the process ended with -9"


def test_a_training_need_not_be_waited_for(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers |= {"Train": None, f"{MANAGER}.ListDecisions": []}
    ended = ctl("model", "train", "--no-wait")
    assert (ended.code, ended.err) == (0, "")
    assert "agentd trains a network" in ended.out
    assert not [call for call in daemon.calls if call[0] == "GetAll"]
    assert ctl("model", "train", "--no-wait", "--json").json["training"] is True
    daemon.answers["Train"] = refusing("Busy", "a training is under way already")
    assert ctl("model", "train") == (1, "", "agentctl: a training is under way already\n")


def test_ctrl_c_ends_the_wait_and_not_the_training(
    daemon: FakeDaemon, ctl: Ctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_client: object) -> int:
        raise KeyboardInterrupt

    daemon.answers |= {"Train": None, f"{MANAGER}.ListDecisions": []}
    monkeypatch.setattr("agentctl.learning.model._wait", interrupted)
    ended = ctl("model", "train")
    assert ended.code == 130
    assert "the training goes on without you" in ended.err


def test_the_network_before_is_put_in_force(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["Rollback"] = 2
    assert ctl("model", "rollback") == (0, "network 2 is in force\n", "")
    assert ctl("model", "rollback", "--json").json == {"number": 2}
    daemon.answers["Rollback"] = refusing("Unsupported", "there is no network before the one in force")
    assert ctl("model", "rollback").code == 1


# What others wrote


def test_nothing_that_a_job_or_a_network_is_called_steers_the_terminal(daemon: FakeDaemon, ctl: Ctl) -> None:
    texts = ("name", "useful", "unknown", "hint", "bound", "model", "why", "reason")
    evil = {**LEARNER, **SAVED, **dict.fromkeys(texts, EVIL)}
    explained(daemon, evil, {**COUNTED, "name": EVIL})
    daemon.answers |= {
        "ListLearners": [evil],
        "SetPreference": {"note": EVIL},
        "ListNetworks": [{**MADE, "library": EVIL, "wrong": EVIL}],
        "GetJob": {**FEED, "fixed": False},
        "NextTimes": [],
        LEARNING: {"Training": False, "Network": 3},
    }
    for words in (
        *(("explain", "x"), ("learning",), ("prefer", "x", "1"), ("model",), ("model", "history"), ("status", "x")),
    ):
        out = ctl(*words).out
        assert HARMLESS in out, words
        assert "\x1b" not in out, words
        assert "\u202e" not in out, words


@pytest.mark.parametrize(
    ("words", "begun", "expected"),
    [
        (["explain"], "", ["feed"]),
        (["prefer"], "f", ["feed"]),
        (["prefer", "feed"], "", ["4", "3", "2", "1", "0", "-1", "-2", "-3", "-4"]),
        (["model"], "", ["show", "train", "history", "rollback"]),
    ],
)
def test_names_of_adaptive_jobs_and_steps_are_completed(
    daemon: FakeDaemon, words: list[str], begun: str, expected: list[str]
) -> None:
    found = ShellComplete(cli, {}, "agentctl", "_AGENTCTL_COMPLETE").get_completions(words, begun)
    assert [one.value for one in found] == expected
