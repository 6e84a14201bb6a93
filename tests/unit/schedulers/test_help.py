"""The help and the versions of real programs, read."""

import pytest

from agentd.core.schedulers.catalogue import Flag, Scheduler
from agentd.core.schedulers.help import Differences, Option, differences, options, short, version

CLAP = """Usage: scx_any [OPTIONS]

Options:
      --autopilot
          Decides by itself (--autopower, --performance,
          --no-core-compaction) cannot be used with it

  -t, --disable-topology[=<DISABLE_TOPOLOGY>]
          Never mind caches

          [possible values: true, false]

      --cpu-pref-order <CPU_PREF_ORDER>
          Order

          [default: ""]

  -v, --verbose...
          More

Topology Options:
      --virt-llc[=<VIRT_LLC>]
          Examples: --virt-llc=2-8    (partition with 2-8 cores each) --virt-llc        (use default
          range: 2-8 cores)
"""
SHORT = """Options:
      --stats <STATS>                  
  -d, --debug                          
      --exit-dump-len <EXIT_DUMP_LEN>  [default: 1048576]
"""  # noqa: W291 - as it is printed
GETOPT = """A simple scheduler.

Usage: scx_simple [-f] [-v]

  -s SLICE_US   Override slice duration
  -f            Use FIFO scheduling instead of weighted vtime scheduling
  -C MODE       a test (shuffle|bad-dup)
  -h            Display this help and exit
"""


def scheduler(*flags: Flag, left_out: tuple[str, ...] = (), always: tuple[str, ...] = ()) -> Scheduler:
    return Scheduler(
        name="scx_any",
        ops="any",
        summary="Any",
        algorithm="Any.",
        use_cases=("tests",),
        readiness="test",
        flags={flag.name: flag for flag in flags},
        left_out=left_out,
        always=always,
    )


def test_options_are_read_with_their_defaults_and_nothing_of_the_prose() -> None:
    assert options(CLAP) == (
        Option(("--autopilot",)),
        Option(("-t", "--disable-topology")),
        Option(("--cpu-pref-order",), ""),
        Option(("-v", "--verbose")),
        Option(("--virt-llc",)),
    )
    assert options(SHORT) == (
        Option(("--stats",)),
        Option(("-d", "--debug")),
        Option(("--exit-dump-len",), "1048576"),
    )


def test_options_of_getopt_have_short_names_alone() -> None:
    assert [one.names for one in options(GETOPT)] == [("-s",), ("-f",), ("-C",), ("-h",)]


@pytest.mark.parametrize("text", ["", "Error: Operation not permitted (os error 1)\n", "\0\xff" * 1000, "-" * 100_000])
def test_no_help_has_no_options(text: str) -> None:
    assert options(text) == ()


def test_a_flag_may_be_called_by_either_name() -> None:
    flag = Flag(name="no-topology", option="-t", type="bool", says=True, help="Never mind.")
    found = differences(scheduler(flag, left_out=("--autopilot", "--virt-llc"), always=("--cpu-pref-order=0",)), CLAP)
    assert found == Differences()


def test_what_all_programs_have_is_no_difference_and_the_rest_is() -> None:
    gone = Flag(name="timely", type="bool", default=False, help="Gone.")
    assert differences(scheduler(gone), SHORT) == Differences(lacking=("--timely",))
    assert differences(scheduler(gone), GETOPT) == Differences(lacking=("--timely",), new=("-s", "-f", "-C"))


def test_another_default_is_told() -> None:
    text = "  -s, --slice-us <SLICE_US>\n          Slice\n\n          [default: 700]\n"
    flag = Flag(name="slice-us", type="int", default=1000, low=10, high=5000, help="Slice.")
    said = "slice-us is 700 in the program where nothing is said; the catalogue has 1000"
    assert differences(scheduler(flag), text).sentences == (said,)
    same = Flag(name="slice-us", type="float", default=700.0, low=10, high=5000, help="Slice.")
    assert differences(scheduler(same), text).sentences == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bpfland 1.1.4 x86_64-unknown-linux-gnu\n", "1.1.4"),
        ("scx_rusty: 1.1.4 x86_64-unknown-linux-gnu\n", "1.1.4"),
        ("RustLand version 1.1.4 x86_64-unknown-linux-gnu - scx_rustland_core 2.4.15\n", "1.1.4"),
        ("scx_cake\n  release  1.2.2\n  target   x86_64\n", "1.2.2"),
        ("cosmos 1.0.5-g85f140fd x86_64\n", "1.0.5-g85f140fd"),
        ("v5.23.1", "5.23.1"),
        ("x86_64 only", ""),
        ("error while loading shared libraries: libelf.so.1: cannot open", ""),
        ("", ""),
    ],
)
def test_versions_are_found_in_many_forms(text: str, expected: str) -> None:
    assert version(text) == expected


def test_the_short_names_of_options_lead_to_the_long_ones() -> None:
    assert short(CLAP) == {"-t": "--disable-topology", "-v": "--verbose"}
    assert short(SHORT) == {"-d": "--debug"}
    assert short(GETOPT) == {}
