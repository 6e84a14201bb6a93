"""The catalogue that comes with agentd: complete, right, and as the real programs have it."""

from pathlib import Path

import pytest
import yaml

from agentd.core.schedulers.catalogue import MODES, Catalogue, Flag, Scheduler, option
from agentd.core.schedulers.choosing import argv, choose, described, described_flags, suited
from agentd.core.schedulers.help import differences
from agentd.schedulers.catalogues import load, shipped
from tests.unit.schedulers.listed import help_of, listed

WRITTEN = yaml.safe_load(shipped().read_text())
NAMES = sorted(WRITTEN)
EXAMPLES = {f"scx_{name}" for name in ("central", "cpu0", "flatcg", "pair", "qmap", "sdt", "simple", "userland")}
"""The schedulers of the kernel's source."""
FLAGS = [(name, flag) for name, words in WRITTEN.items() for flag in words.get("flags", ())]


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    loaded = load(folder=Path("/nonexistent"))
    assert loaded.warnings == ()
    return loaded.catalogue


def test_the_schedulers_of_scx_and_of_the_kernel_are_there(catalogue: Catalogue) -> None:
    assert set(listed()) | {"scx_rlfifo", "scx_mitosis"} == set(catalogue)
    assert {name for name, one in catalogue.items() if one.language == "c"} == EXAMPLES
    assert all(name == f"scx_{one.ops}" for name, one in catalogue.items())


@pytest.mark.parametrize("name", NAMES)
def test_a_scheduler_tells_what_it_is_and_is_for(catalogue: Catalogue, name: str) -> None:
    one = catalogue[name]
    assert one.file == str(shipped())
    assert 10 <= len(one.summary) <= 100
    assert one.algorithm.endswith(".")
    assert one.use_cases
    assert one.limits or one.readiness == "ready"
    assert 1_000_000 <= one.timeout <= 30_000_000  # the kernel takes no longer one
    assert one.min_kernel >= (6, 12)


@pytest.mark.parametrize(("name", "flag"), FLAGS)
def test_a_flag_has_a_type_a_default_and_what_it_takes(catalogue: Catalogue, name: str, flag: str) -> None:
    one: Flag = catalogue[name].flags[flag]
    assert one.help.endswith((".", ")"))
    written = WRITTEN[name]["flags"][flag]
    assert "default" in written or (one.type == "bool" and not one.says and one.default is False)
    match one.type:
        case "int" | "float":
            assert one.low is not None
            assert one.high is not None
            assert one.low < one.high
            assert one.default is None or one.low <= float(one.default) <= one.high
        case "choice":
            assert one.default in one.choices
        case "text":
            assert one.pattern


@pytest.mark.parametrize("name", NAMES)
def test_every_mode_can_be_chosen(catalogue: Catalogue, name: str) -> None:
    one = catalogue[name]
    assert set(one.modes) <= set(MODES)
    for mode in MODES:
        chosen = choose(catalogue, name, mode)
        assert chosen.flags == one.modes.get(mode, {})
        assert argv(one, chosen.flags)[: len(one.always)] == list(one.always)


def test_the_modes_are_those_of_scx_loader(catalogue: Catalogue) -> None:
    def arguments(name: str, mode: str) -> list[str]:
        return argv(catalogue[name], choose(catalogue, name, mode).flags)

    assert arguments("scx_bpfland", "lowlatency") == ["--no-wake-sync", "--primary-domain=performance"]
    assert arguments("scx_bpfland", "server") == ["--slice-us=20000", "--sticky-tasks"]
    assert arguments("scx_lavd", "auto") == ["--autopilot", "--pinned-slice-us=500"]
    assert arguments("scx_p2dq", "gaming") == ["--sched-mode=performance", "--task-slice=true", "--freq-control"]
    assert arguments("scx_tickless", "powersave") == ["--frequency=50"]
    assert arguments("scx_cosmos", "server") == []


@pytest.mark.parametrize("name", sorted(listed()))
def test_the_catalogue_and_the_program_agree(catalogue: Catalogue, name: str) -> None:
    assert differences(catalogue[name], help_of(listed()[name])).sentences == ()


def test_a_program_of_another_release_differs(catalogue: Catalogue) -> None:
    words = [word.replace("-us=1000", "-us=20000") for word in listed()["scx_bpfland"] if "throttle" not in word]
    found = differences(catalogue["scx_bpfland"], help_of([*words, "-T/--timely", "--timely-gain-min=128"]))
    assert found.sentences == (
        "the program has no --throttle-us",
        "the catalogue does not know --timely, --timely-gain-min",
        "slice-us is 20000 in the program where nothing is said; the catalogue has 1000",
    )


def test_no_flag_says_how_much_is_told_or_names_a_file(catalogue: Catalogue) -> None:
    never = {"--help", "--version", "--stats", "--monitor", "--verbose", "--log-level", "--kconfig", "--pin-root-path"}
    assert [one.name for one in catalogue.values() if never & {option(flag) for flag in one.flags.values()}] == []
    patterns = [flag.pattern for one in catalogue.values() for flag in one.flags.values() if "file" in flag.name]
    assert patterns == []


def test_a_scheduler_that_needs_care_says_so(catalogue: Catalogue) -> None:
    assert catalogue["scx_flow"].always == ("--no-webui",)
    assert not catalogue["scx_rlfifo"].help
    assert catalogue["scx_layered"].needs == ("specification",)
    assert "debugfs" in catalogue["scx_lavd"].needs
    assert {name for name, one in catalogue.items() if one.readiness == "test"} == {*EXAMPLES, "scx_chaos"}


def test_schedulers_are_found_by_their_use(catalogue: Catalogue) -> None:
    assert {name for name, one in catalogue.items() if suited(one, "Gaming")} >= {"scx_bpfland", "scx_lavd"}
    assert not suited(catalogue["scx_rusty"], "gaming")


def test_people_are_told_what_the_catalogue_says(catalogue: Catalogue) -> None:
    lavd: Scheduler = catalogue["scx_lavd"]
    told = described(lavd)
    assert told["min_kernel"] == "6.14"
    assert told["not_on"] == ["6.16"]
    assert told["catalogue"] == str(shipped())
    flags = {flag["name"]: flag for flag in described_flags(lavd)}
    assert flags["slice-min-us"] == {
        "name": "slice-min-us",
        "option": "--slice-min-us",
        "type": "int",
        "unit": "us",
        "help": "Shortest slice.",
        "default": 500,
        "low": 10,
        "high": 1_000_000,
    }
    assert "default" not in flags["cpu-pref-order"]
