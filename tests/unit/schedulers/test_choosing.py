"""A choice of flags: checked against the catalogue, with a sentence where it is wrong, and never anything but flags."""

import re
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from agentd.core.part import Refused
from agentd.core.schedulers.catalogue import Catalogue, Flag, Scheduler, Value, option
from agentd.core.schedulers.choosing import Modes, again, argv, choose, find
from agentd.core.schedulers.model import Chosen
from agentd.core.schedulers.values import PLAIN, expected, value_of
from agentd.schedulers.catalogues import load

CATALOGUE: Catalogue = load(folder=Path("/nonexistent")).catalogue
BPFLAND = CATALOGUE["scx_bpfland"]
ALL = [(one, flag) for one in CATALOGUE.values() for flag in one.flags.values()]


def refused(*words: Any, **more: Any) -> str:
    with pytest.raises(Refused) as caught:
        choose(CATALOGUE, *words, **more)
    return f"{caught.value.name}: {caught.value}"


def test_a_scheduler_is_found_by_its_name_with_and_without_scx() -> None:
    assert find(CATALOGUE, "bpfland") is find(CATALOGUE, "scx_bpfland") is BPFLAND
    assert choose(CATALOGUE, "bpfland").name == "scx_bpfland"


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("bpflnad", " (did you mean bpfland?)"),
        ("scx_bpflnad", " (did you mean scx_bpfland?)"),
        ("/bin/sh", ""),
        ("", ""),
        ("../scx_simple", " (did you mean simple?)"),
        ("a\x1b[2Jb", ""),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(word: str, near: str) -> None:
    said = refused(word)
    assert said.startswith("NoSuchScheduler: there is no scheduler ")
    assert said.endswith(f"in the catalogue{near}")
    assert said.isprintable()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"slice": "5000"}, 'scx_bpfland has no flag "slice" (did you mean slice-us?)'),
        ({"slice-us": "5"}, 'scx_bpfland: slice-us: expected a whole number from 10 to 1000000 (us), not "5"'),
        ({"slice-us": "5 ms"}, 'scx_bpfland: slice-us: expected a whole number from 10 to 1000000 (us), not "5 ms"'),
        ({"slice-us": 1.5}, 'scx_bpfland: slice-us: expected a whole number from 10 to 1000000 (us), not "1.5"'),
        ({"slice-us": True}, 'scx_bpfland: slice-us: expected a whole number from 10 to 1000000 (us), not "True"'),
        ({"cpufreq": "maybe"}, 'scx_bpfland: cpufreq: expected true or false, not "maybe"'),
        ({"cpufreq": 1}, 'scx_bpfland: cpufreq: expected true or false, not "1"'),
        (
            {"primary-domain": "1 -v"},
            f'scx_bpfland: primary-domain: expected {expected(BPFLAND.flags["primary-domain"])}, not "1 -v"',
        ),
        (
            {"slice-min-us": "5000"},
            "scx_bpfland: slice-min-us 5000 is more than slice-us 1000 (its default)",
        ),
    ],
)
def test_a_flag_that_is_wrong_is_refused_with_a_sentence(flags: dict[str, Value], sentence: str) -> None:
    assert refused("bpfland", flags=flags) == f"InvalidArgument: {sentence}"


def test_a_choice_that_is_none_is_refused_with_the_nearest() -> None:
    assert refused("p2dq", flags={"sched-mode": "perfomance"}).endswith(
        'sched-mode: expected one of default, performance, efficiency, not "perfomance" (did you mean performance?)'
    )


def test_modes_are_known_ones() -> None:
    assert refused("bpfland", "gamin") == 'InvalidArgument: there is no mode "gamin" (did you mean gaming?)'
    assert refused("bpfland", "x").endswith("expected one of auto, gaming, lowlatency, powersave, server")
    assert choose(CATALOGUE, "bpfland", "mine", modes={"mine": {"scx_bpfland": {"slice-us": "300"}}}).flags == {
        "slice-us": 300
    }


def test_the_mode_none_has_the_flags_alone_that_are_given() -> None:
    assert choose(CATALOGUE, "lavd", "auto", {"partial": True}).flags != {"partial": True}
    assert choose(CATALOGUE, "lavd", "none", {"partial": True}).flags == {"partial": True}


def test_flags_stand_over_those_of_the_configuration_and_those_over_the_catalogues() -> None:
    modes: Modes = {"powersave": {"scx_bpfland": {"slice-us": "10000", "throttle-us": 50}}}
    chosen = choose(CATALOGUE, "bpfland", "powersave", {"throttle-us": "60"}, modes)
    assert chosen == Chosen(
        name="scx_bpfland",
        mode="powersave",
        flags={"slice-us": 10000, "primary-domain": "powersave", "idle-resume-us": 100, "throttle-us": 60},
    )


def test_of_flags_that_exclude_each_other_the_one_asked_for_puts_out_that_of_the_mode() -> None:
    chosen = choose(CATALOGUE, "lavd", "gaming", {"powersave": True})
    assert chosen.flags == {"pinned-slice-us": 500, "powersave": True}
    assert refused("lavd", flags={"powersave": True, "balanced": "yes"}) == (
        "InvalidArgument: scx_lavd: powersave and balanced exclude each other: give one of them"
    )
    assert choose(CATALOGUE, "lavd", "gaming", {"balanced": False}).flags["performance"] is True


def test_the_kernels_own_scheduler_takes_no_flags() -> None:
    assert choose(CATALOGUE, "none", "gaming") == Chosen(name="none", mode="gaming")
    assert "takes no flags: slice-us" in refused("none", flags={"slice-us": 1})


def test_arguments_are_said_as_the_program_wants_them() -> None:
    def arguments(name: str, **flags: Value) -> list[str]:
        named = {key.replace("_", "-"): value for key, value in flags.items()}
        return argv(CATALOGUE[name], choose(CATALOGUE, name, flags=named).flags)

    assert arguments("scx_bpfland", idle_resume_us="-1", cpufreq="no") == ["--idle-resume-us=-1"]
    assert arguments("scx_simple", fifo=True) == ["-f"]
    assert arguments("scx_flatcg", slice_us=500, fifo="off") == ["-s500"]
    assert arguments("scx_p2dq", task_slice=False, turbo="on") == ["--task-slice=false", "--turbo=true"]
    assert arguments("scx_rusty", interval="2") == ["--interval=2.0"]
    assert arguments("scx_flow") == ["--no-webui"]


def test_a_choice_of_before_is_checked_against_the_catalogue_of_now() -> None:
    chosen = choose(CATALOGUE, "lavd", "server", {"no-wake-sync": True})
    assert again(CATALOGUE, chosen) == chosen
    with pytest.raises(Refused, match='scx_bpfland has no flag "timely"'):
        again(CATALOGUE, Chosen(name="scx_bpfland", flags={"timely": True}))
    with pytest.raises(Refused, match="there is no scheduler"):
        again({}, chosen)


ANYTHING = st.one_of(
    st.text(max_size=300),
    st.text(string.printable, max_size=20),
    st.sampled_from(
        ["--stats=1", "-v", "0xff\n", "all --verbose", "auto", "0-3", "1e3", "nan", "inf", "0x", "١٢", "-5"]
    ),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.lists(st.integers(), max_size=2),
)


def attempt(scheduler: Scheduler, flags: dict[str, Any]) -> tuple[Chosen | None, str]:
    """The choice, or None and the sentence why not."""
    try:
        return choose(CATALOGUE, scheduler.name, flags=flags), ""
    except Refused as error:
        return None, str(error)


def values(flag: Flag) -> st.SearchStrategy[Value]:
    """Values that the flag takes."""
    match flag.type:
        case "bool":
            return st.booleans()
        case "int":
            return st.integers(int(flag.low or 0), int(flag.high or 0))
        case "float":
            return st.floats(flag.low or 0, flag.high, allow_nan=False)
        case "choice":
            return st.sampled_from(flag.choices)
    return st.from_regex(re.compile(f"(?:{flag.pattern})", re.ASCII), fullmatch=True).filter(
        lambda text: bool(PLAIN.fullmatch(text))
    )


@given(st.sampled_from(ALL), ANYTHING)
def test_nothing_becomes_an_argument_but_the_flags_own(one: tuple[Scheduler, Flag], value: Any) -> None:
    scheduler, flag = one
    chosen, sentence = attempt(scheduler, {flag.name: value})
    if chosen is None:
        assert sentence.startswith(f"{scheduler.name}: ")
        assert flag.name in sentence
        assert sentence.isprintable()
        return
    arguments = argv(scheduler, chosen.flags)[len(scheduler.always) :]
    assert len(arguments) <= 1
    for argument in arguments:
        rest = argument.removeprefix(option(flag))
        assert rest != argument
        assert re.fullmatch(r"[!-~]*", rest)
        assert rest == "" or not option(flag).startswith("--") or rest.startswith("=")
        assert rest[:2] != "=-" or flag.type in ("int", "float")


@given(st.data())
def test_what_is_accepted_goes_round(data: st.DataObject) -> None:
    scheduler = data.draw(st.sampled_from([one for one in CATALOGUE.values() if one.flags]))
    names = data.draw(st.lists(st.sampled_from(sorted(scheduler.flags)), max_size=4, unique=True))
    flags = {name: data.draw(values(scheduler.flags[name])) for name in names}
    chosen, sentence = attempt(scheduler, flags)
    if chosen is None:
        assert "exclude each other" in sentence or "is more than" in sentence
        return
    assert chosen.flags == flags
    assert again(CATALOGUE, chosen) == chosen
    texts = {name: str(value) for name, value in chosen.flags.items()}
    assert choose(CATALOGUE, scheduler.name, flags=texts) == chosen
    assert argv(scheduler, texts) == argv(scheduler, chosen.flags)


@given(st.sampled_from([one for one in ALL if one[1].type in ("int", "float")]), st.floats() | st.integers())
def test_what_is_out_of_range_is_refused(one: tuple[Scheduler, Flag], value: float) -> None:
    scheduler, flag = one
    assume(flag.low is not None and flag.high is not None and not flag.low <= value <= flag.high)
    with pytest.raises(ValueError, match=re.escape(f"expected {expected(flag)}, not ")):
        value_of(flag, value)
    with pytest.raises(Refused):
        argv(scheduler, {flag.name: value})
