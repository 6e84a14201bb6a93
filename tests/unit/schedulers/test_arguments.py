"""Arguments as scxctl and others hand them on: read into flags of the catalogue, and nothing else gets through."""

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.core.part import Refused
from agentd.core.schedulers.arguments import flags_of
from agentd.core.schedulers.catalogue import Catalogue, Flag, Scheduler, Value, option
from agentd.core.schedulers.choosing import argv
from agentd.core.schedulers.help import short
from agentd.schedulers.catalogues import load
from tests.unit.schedulers.listed import help_of, listed
from tests.unit.schedulers.test_choosing import attempt, values

CATALOGUE: Catalogue = load(folder=Path("/nonexistent")).catalogue
SHORT = {name: short(help_of(words)) for name, words in listed().items()}
MODES_OF_SCX_LOADER = [
    ("scx_bpfland", "-m auto", {"primary-domain": "auto"}),
    ("scx_bpfland", "-m performance -w", {"primary-domain": "performance", "no-wake-sync": True}),
    (
        "scx_bpfland",
        "-s 20000 -m powersave -I 100 -t 100",
        {"slice-us": 20000, "primary-domain": "powersave", "idle-resume-us": 100, "throttle-us": 100},
    ),
    ("scx_bpfland", "-s 20000 -S", {"slice-us": 20000, "sticky-tasks": True}),
    ("scx_lavd", "--performance --pinned-slice-us 500", {"performance": True, "pinned-slice-us": 500}),
    (
        "scx_p2dq",
        "--task-slice true -f --sched-mode performance",
        {"task-slice": True, "freq-control": True, "sched-mode": "performance"},
    ),
    ("scx_p2dq", "-y -f --task-slice true", {"interactive-sticky": True, "freq-control": True, "task-slice": True}),
    ("scx_p2dq", "--keep-running", {"keep-running": True}),
    (
        "scx_cosmos",
        "-s 700 -m performance -w",
        {"slice-us": 700, "primary-domain": "performance", "no-wake-sync": True},
    ),
    ("scx_tickless", "-f 5000 -s 1000", {"frequency": 5000, "slice-us": 1000}),
]


def read(name: str, arguments: str) -> dict[str, Value]:
    return flags_of(CATALOGUE[name], arguments.split(), SHORT.get(name, {}))


def refused(name: str, arguments: str) -> str:
    with pytest.raises(Refused) as caught:
        read(name, arguments)
    assert caught.value.name == "InvalidArgument"
    return str(caught.value)


@pytest.mark.parametrize(("name", "arguments", "flags"), MODES_OF_SCX_LOADER)
def test_the_arguments_that_scx_loader_has_for_its_modes_are_read(
    name: str, arguments: str, flags: dict[str, Value]
) -> None:
    assert read(name, arguments) == flags


@pytest.mark.parametrize(
    "arguments",
    ["--slice-us=5000 -wS", "--slice-us 5000 -S -w", "-s 5000 -wS", "-s5000 -Sw", "-wSs 5000", "-wSs5000", "-wSs=5000"],
)
def test_each_form_that_a_program_takes_is_the_same(arguments: str) -> None:
    assert read("scx_bpfland", arguments) == {"slice-us": 5000, "no-wake-sync": True, "sticky-tasks": True}


def test_a_flag_has_the_short_name_that_its_program_tells_or_that_the_catalogue_has() -> None:
    assert flags_of(CATALOGUE["scx_bpfland"], ["-m", "all"], {"-m": "--primary-domain"}) == {"primary-domain": "all"}
    with pytest.raises(Refused, match='scx_bpfland: "-m" is none of its flags'):
        flags_of(CATALOGUE["scx_bpfland"], ["-m", "all"])
    assert flags_of(CATALOGUE["scx_simple"], ["-f"]) == {"fifo": True}
    with pytest.raises(Refused, match='"-d" is none of its flags'):  # the program has it, and agentd does not offer it
        flags_of(CATALOGUE["scx_bpfland"], ["-d"], {"-d": "--debug"})


def test_a_flag_that_is_true_or_false_need_not_say_that_it_is_true() -> None:
    assert read("scx_p2dq", "--task-slice -f") == {"task-slice": True, "freq-control": True}
    assert read("scx_p2dq", "--task-slice=false") == read("scx_p2dq", "--task-slice false") == {"task-slice": False}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--slice-uss 5", 'scx_bpfland: "--slice-uss" is none of its flags (did you mean --slice-us?)'),
        ("--kconfig=/dev/zero", 'scx_bpfland: "--kconfig" is none of its flags; agentctl sched info scx_bpfland has'),
        ("/dev/zero", 'scx_bpfland: "/d" belongs to no flag; agentctl sched info scx_bpfland has those that there are'),
        ("--", 'scx_bpfland: "--" is none of its flags'),
        ("-", 'scx_bpfland: "-" is none of its flags'),
        ("--slice-us", "scx_bpfland: --slice-us is given without a value"),
        ("-ws", "scx_bpfland: --slice-us is given without a value"),
        (
            "--slice-us 5 --slice-us 6",
            'scx_bpfland: slice-us: expected a whole number from 10 to 1000000 (us), not "5"',
        ),
        ("--slice-us 500 -s 600", "scx_bpfland: -s is given twice"),
        ("-ww", "scx_bpfland: -w is given twice"),
        ("-w=", 'scx_bpfland: "-=" is none of its flags'),
        ("--cpufreq=true", "scx_bpfland: --cpufreq is given or left away, and takes no value"),
        ("-m --slice-us", "scx_bpfland: primary-domain: expected a text that matches"),
        ("-m all;reboot", "scx_bpfland: primary-domain: expected a text that matches"),
    ],
)
def test_what_is_not_a_flag_with_its_value_is_refused_with_a_sentence(arguments: str, sentence: str) -> None:
    assert refused("scx_bpfland", arguments).startswith(sentence)


def test_what_the_program_always_gets_may_be_among_the_arguments() -> None:
    assert CATALOGUE["scx_flow"].always == ("--no-webui",)
    assert read("scx_flow", "--no-webui") == {}


@given(st.data())
def test_the_arguments_of_a_choice_are_read_back(data: st.DataObject) -> None:
    scheduler = data.draw(st.sampled_from([one for one in CATALOGUE.values() if one.flags]))
    names = data.draw(st.lists(st.sampled_from(sorted(scheduler.flags)), max_size=4, unique=True))
    flags = {name: data.draw(values(scheduler.flags[name])) for name in names}
    given = {name: value for name, value in flags.items() if value is not False or scheduler.flags[name].says}
    assert flags_of(scheduler, argv(scheduler, flags)) == given
    spelt = [word for name, value in given.items() for word in data.draw(spellings(scheduler, name, value))]
    assert flags_of(scheduler, spelt, SHORT.get(scheduler.name, {})) == given


def spellings(scheduler: Scheduler, name: str, value: Value) -> st.SearchStrategy[list[str]]:
    """The ways to write a flag with its value."""
    flag: Flag = scheduler.flags[name]
    long = option(flag)
    options = [long, *(one for one, other in SHORT.get(scheduler.name, {}).items() if other == long)]
    if flag.type == "bool" and not flag.says:
        return st.sampled_from([[one] for one in options])
    text = str(value).lower() if isinstance(value, bool) else str(value)
    joined = [[f"{one}={text}"] for one in options] + [[f"{one}{text}"] for one in options if len(one) == 2]
    return st.sampled_from([*([one, text] for one in options), *joined])


@given(
    st.sampled_from(list(CATALOGUE.values())),
    st.lists(
        st.text(max_size=20)
        | st.text(string.printable, max_size=8).map(lambda text: f"-{text}")
        | st.sampled_from(
            ["--slice-us", "-s", "-w", "true", "5000", "--", "-", "", "--kconfig=/dev/zero", "-wS", "1e3"]
        ),
        max_size=5,
    ),
)
def test_whatever_is_read_is_nothing_but_typed_flags(scheduler: Scheduler, words: list[str]) -> None:
    flags, sentence = outcome(scheduler, words)
    if flags is None:
        assert sentence.startswith(f"{scheduler.name}: ")
        assert sentence.isprintable()
        return
    chosen, sentence = attempt(scheduler, dict(flags))
    assert (chosen is not None and chosen.flags == flags) or "exclude each other" in sentence or "is more" in sentence


def outcome(scheduler: Scheduler, words: list[str]) -> tuple[dict[str, Value] | None, str]:
    """The flags, or None and the sentence why there are none."""
    try:
        return flags_of(scheduler, words, SHORT.get(scheduler.name, {})), ""
    except Refused as error:
        return None, str(error)
