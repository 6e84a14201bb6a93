"""The files of the catalogue: the administrator's over the shipped one, and every error with its place."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import indent

import pytest
from msgspec.structs import replace

from agentd.config.problems import Problems
from agentd.core.schedulers.choosing import argv, choose
from agentd.schedulers.catalogues import Loaded, load, shipped

BASE = """\
scx_one:
  ops: one
  summary: The first
  algorithm: Any.
  use_cases: server
  readiness: ready
  flags:
    slice-us: {type: int, default: 1000, low: 10, high: 2000, unit: us, help: Slice.}
    order: {type: choice, default: fifo, choices: [fifo, vtime], help: Order.}
    share: {type: float, default: .05, low: 0, high: 1, help: Share.}
    turbo: {type: bool, says: true, default: none, help: Turbo.}
    partial: {type: bool, option: -p, help: Partial.}
  modes:
    gaming: {slice-us: 500}
"""
TOO_LARGE = 'expected a whole number from 10 to 500 (us), not "1000"'
ROOT = Path(__file__).parents[3]
Read = Callable[..., Loaded]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Loads a catalogue of BASE and drop-ins."""

    def loaded(*drop_ins: str, base: str = BASE, owner: int | None = None) -> Loaded:
        folder = tmp_path / "schedulers.d"
        folder.mkdir(exist_ok=True)
        for number, text in enumerate(drop_ins):
            (folder / f"{number}.yaml").write_text(text)
        (tmp_path / "base.yaml").write_text(base)
        return load(tmp_path / "base.yaml", folder, owner)

    return loaded


def errors(read: Read, base: str) -> list[str]:
    """The errors of a shipped file, without its name."""
    with pytest.raises(Problems) as caught:
        read(base=base)
    return [str(problem).partition("base.yaml:")[2] for problem in caught.value.found]


def test_values_have_the_types_of_their_flags(read: Read) -> None:
    one = read().catalogue["scx_one"]
    assert {name: flag.default for name, flag in one.flags.items()} == {
        "slice-us": 1000,
        "order": "fifo",
        "share": 0.05,
        "turbo": None,
        "partial": False,
    }
    assert one.modes == {"gaming": {"slice-us": 500}}
    assert one.use_cases == ("server",)


def test_an_administrator_changes_what_the_file_names_and_nothing_else(read: Read, tmp_path: Path) -> None:
    loaded = read(
        "scx_one: {flags: {slice-us: {high: 9000}}, modes: {gaming: {order: vtime}, mine: {slice-us: 8000}}}",
        "scx_one: {always: ['file:/etc/x.json'], readiness: tune}",
    )
    one, shipped_one = loaded.catalogue["scx_one"], read(base=BASE).catalogue["scx_one"]
    assert loaded.warnings == ()
    assert one.flags["slice-us"].high == 9000
    assert one.flags["slice-us"].default == 1000
    assert one.modes == {"gaming": {"slice-us": 500, "order": "vtime"}, "mine": {"slice-us": 8000}}
    assert one.always == ("file:/etc/x.json",)
    assert one.readiness == "tune"
    assert one.summary == shipped_one.summary
    assert one.file == str(tmp_path / "schedulers.d/1.yaml")
    assert argv(one, choose(loaded.catalogue, "one", "gaming").flags) == [
        "file:/etc/x.json",
        "--slice-us=500",
        "--order=vtime",
    ]


def test_an_administrator_adds_a_scheduler(read: Read) -> None:
    mine = "my-own: {ops: own, summary: Mine, algorithm: Mine., use_cases: [server], readiness: experimental}"
    assert set(read(mine).catalogue) == {"scx_one", "my-own"}


def test_a_wrong_file_is_a_warning_and_the_others_are_used(read: Read, tmp_path: Path) -> None:
    loaded = read(
        "scx_one: {flags: {slice-us: {high: 500}}}",
        "scx_one: {reddiness: ready}\nscx_two: 3\n",
        "scx_one: {summary: x, summary: y}",
        "scx_one: {limits: [late]}",
        "- a list",
        "a: [",
    )
    found = [warning.replace(f"{tmp_path}/", "").partition("; schedulers.d/") for warning in loaded.warnings]
    assert [(file, problem) for problem, _, file in found] == [
        ("0.yaml is not used", f"base.yaml:8:36: scx_one.flags.slice-us.default: {TOO_LARGE}"),
        ("1.yaml is not used", 'schedulers.d/1.yaml:1:11: scx_one: unknown key "reddiness" (did you mean readiness?)'),
        ("1.yaml is not used", 'schedulers.d/1.yaml:2:10: scx_two: expected a mapping of settings, got "3"'),
        ("2.yaml is not used", 'schedulers.d/2.yaml:1:23: "summary" is there twice (first in line 1)'),
        ("4.yaml is not used", "schedulers.d/4.yaml:1:1: expected a mapping of settings, got a list"),
        ("5.yaml is not used", "schedulers.d/5.yaml:1:5: is not YAML: the file ends in the middle of a value"),
    ]
    one = loaded.catalogue["scx_one"]
    assert one.limits == ("late",)
    assert one.flags["slice-us"].high == 2000


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        (
            "scx_one:",
            "../one:",
            '1:1: ../one: "../one" is not the name of a program: expected letters, digits, _ and -',
        ),
        ("scx_one:", "none:", '1:1: none: "none" is not the name of a program: expected letters, digits, _ and -'),
        ("ops: one", "ops: o ne", '2:8: scx_one.ops: "o ne" is not a name that the kernel would show'),
        ("readiness: ready", "readiness: readdy", "6:14: scx_one.readiness: "),
        ("readiness: ready", "readiness: ready\n  needs: [gpu]", '7:11: scx_one.needs[0]: "gpu" is none of debugfs'),
        ("readiness: ready", "readiness: ready\n  min_kernel: six", '7:15: scx_one.min_kernel: "six" is not a kernel'),
        ("readiness: ready", "readiness: ready\n  not_on: [6.13, 7]", '7:18: scx_one.not_on[1]: "7" is not a kernel'),
        ("readiness: ready", "readiness: ready\n  timeout: 30", '7:12: scx_one.timeout: "30" has no unit'),
        ("readiness: ready", 'readiness: ready\n  always: ["a\\nb"]', "7:12: scx_one.always[0]: expected an argument"),
        ("readiness: ready", "readiness: ready\n  left_out: stats", "7:13: scx_one.left_out"),
        ("readiness: ready", "readiness: ready\n  one_of: [[partial, turbbo]]", "7:12: scx_one.one_of[0]: there is no"),
        ("readiness: ready", "readiness: ready\n  file: /etc/passwd", '7:3: scx_one: unknown key "file"'),
        ("type: int", "type: integer", "8:22: scx_one.flags.slice-us.type: "),
        (
            "default: 1000",
            "default: 1",
            "8:36: scx_one.flags.slice-us.default: expected a whole number from 10 to 2000",
        ),
        ("low: 10,", "low: ten,", '8:47: scx_one.flags.slice-us.low: "ten" is not a number'),
        ("low: 10,", "low: 3000,", "8:47: scx_one.flags.slice-us.low: 3000 is more than high, 2000"),
        ("low: 10, high: 2000, ", "", "8:15: scx_one.flags.slice-us: needs low and high, the bounds of its numbers"),
        ("unit: us", "at_most: order2", "8:72: scx_one.flags.slice-us.at_most: there is no other flag"),
        ("choices: [fifo, vtime]", "choices: [fifo, -v]", '9:58: scx_one.flags.order.choices[1]: "-v" cannot be'),
        (", choices: [fifo, vtime]", "", "9:12: scx_one.flags.order: needs choices"),
        ("type: choice", "type: text", "9:12: scx_one.flags.order: needs a pattern"),
        ("type: choice", "type: text, pattern: '('", "9:34: scx_one.flags.order.pattern: is not a regular expression"),
        ("default: .05", "default: nan", "10:35: scx_one.flags.share.default: expected a number from 0 to 1"),
        ("option: -p", "option: p", '12:35: scx_one.flags.partial.option: "p" is not an option'),
        ("option: -p", "default: true", "12:36: scx_one.flags.partial.default: is false for a flag"),
        ("partial:", "par.tial:", '12:15: scx_one.flags.par.tial: "par.tial" is not the name of a flag'),
        ("slice-us: 500", "slice: 500", '14:21: scx_one.modes.gaming.slice: there is no flag "slice" (did you mean'),
        ("slice-us: 500", "slice-us: 5", "14:24: scx_one.modes.gaming.slice-us: expected a whole number"),
        ("{slice-us: 500}", "5", '14:13: scx_one.modes.gaming: expected a mapping of names to values, got "5"'),
    ],
)
def test_every_error_has_its_place(read: Read, old: str, new: str, error: str) -> None:
    assert old in BASE
    (found,) = errors(read, BASE.replace(old, new, 1))
    assert found.startswith(error)


def test_a_mode_that_contradicts_itself_is_an_error(read: Read) -> None:
    text = BASE.replace("modes:", "one_of: [[partial, turbo]]\n  modes:").replace(
        "{slice-us: 500}", "{partial: yes, turbo: on}"
    )
    assert errors(read, text) == ["15:13: scx_one.modes.gaming: partial and turbo exclude each other: give one of them"]


def test_a_node_that_holds_itself_is_an_error_and_no_loop(read: Read) -> None:
    loaded = read("scx_one: &a {flags: *a, modes: *a}", "x: &x {x: *x}")
    assert loaded.warnings != ()
    assert set(loaded.catalogue) == {"scx_one"}


def test_files_that_are_no_files_or_too_large_are_told(read: Read, tmp_path: Path) -> None:
    folder = tmp_path / "schedulers.d"
    (folder / "c.yaml").mkdir(parents=True)
    (folder / "b.yaml").write_text("#" * (1 << 20) + "\n")
    os.mkfifo(folder / "a.yaml")
    (folder / ".hidden.yaml").write_text("nonsense")
    (folder / "readme.txt").write_text("nonsense")
    (folder / "d.yaml").symlink_to("nowhere")
    said = [warning.replace(f"{folder}/", "").partition(";")[0] for warning in read().warnings]
    assert said == [
        "a.yaml: is not a file",
        "b.yaml: is larger than 1 MiB",
        "c.yaml: cannot be read: is a directory",
        "d.yaml: cannot be read: no such file or directory",
    ]


def test_without_a_shipped_file_there_is_no_catalogue(tmp_path: Path) -> None:
    with pytest.raises(Problems, match=r"nothing\.yaml: cannot be read: no such file or directory"):
        load(tmp_path / "nothing.yaml", tmp_path)


def test_root_trusts_only_files_that_nobody_else_can_write(read: Read, tmp_path: Path) -> None:
    me = os.geteuid()
    folder = tmp_path / "schedulers.d"
    folder.mkdir()
    change = "scx_one: {limits: [late]}"
    assert read(change, owner=me).catalogue["scx_one"].limits == ("late",)
    (folder / "0.yaml").chmod(0o664)
    loaded = load(tmp_path / "base.yaml", folder, me)
    assert loaded.catalogue["scx_one"].limits == ()
    assert "0.yaml: may be written by others than its owner: chmod go-w" in loaded.warnings[0]
    (folder / "0.yaml").chmod(0o644)
    folder.chmod(0o777)
    loaded = load(tmp_path / "base.yaml", folder, me)
    assert loaded.catalogue["scx_one"].limits == ()
    assert len(loaded.warnings) == 1
    with pytest.raises(Problems, match=f"belongs to the user {me}, not to {me + 1}"):
        load(tmp_path / "base.yaml", folder, me + 1)


def test_where_one_scheduler_is_wanted_the_shipped_others_are_not_made(tmp_path: Path) -> None:
    base, folder = tmp_path / "base.yaml", tmp_path / "schedulers.d"
    base.write_text(BASE + "scx_not: {ops: 5, flags: none}\n")
    folder.mkdir()
    (folder / "0.yaml").write_text("scx_one: {limits: [early]}")
    with pytest.raises(Problems):
        load(base, folder)
    loaded = load(base, folder, only="scx_one")
    assert [*loaded.catalogue] == ["scx_one"]
    assert loaded.catalogue["scx_one"].limits == ("early",)


def test_each_shipped_scheduler_is_the_same_where_it_is_read_alone(tmp_path: Path) -> None:
    found = load(folder=tmp_path).catalogue
    assert found
    for name, scheduler in found.items():
        assert load(folder=tmp_path, only=name).catalogue == {name: scheduler}
    assert load(folder=tmp_path, only="scx_").catalogue == {}


def test_one_that_is_read_alone_is_as_the_files_of_the_folder_make_it(tmp_path: Path) -> None:
    (tmp_path / "0.yaml").write_text("{scx_bpfland: {limits: [hot]}, scx_lavd: {summary: Mine}}")
    (tmp_path / "1.yaml").write_text("scx_bpfland: [")
    (tmp_path / "2.yaml").write_text("scx_bpfland: {limits: [hotter]}\nscx_rusty: {flags: {none: 5}}")
    whole, alone = load(folder=tmp_path), load(folder=tmp_path, only="scx_bpfland")
    assert (
        alone.catalogue["scx_bpfland"]
        == whole.catalogue["scx_bpfland"]
        == replace(load().catalogue["scx_bpfland"], limits=("hot",), file=f"{tmp_path}/0.yaml")
    )
    assert alone.warnings == whole.warnings
    assert [Path(warning.partition(":")[0]).name for warning in alone.warnings] == ["1.yaml", "2.yaml"]


def test_a_shipped_file_that_is_written_otherwise_is_read_as_a_whole(tmp_path: Path) -> None:
    base = tmp_path / "base.yaml"
    for text in (f"---\n{BASE}", indent(BASE, " ")):
        base.write_text(text)
        assert [*load(base, tmp_path / "none", only="scx_one").catalogue] == ["scx_one"]


def test_a_text_of_several_lines_ends_where_its_scheduler_does(tmp_path: Path) -> None:
    base = tmp_path / "base.yaml"
    base.write_text(
        BASE.replace("  algorithm: Any.\n", "") + f"  algorithm: |+\n    Any.\n{BASE.replace('scx_one', 'scx_two')}"
    )
    for only in ("scx_one", ""):
        assert load(base, tmp_path / "none", only=only).catalogue["scx_one"].algorithm == "Any.\n"


def test_what_is_read_alone_has_its_faults_at_their_lines_and_none_of_the_others(tmp_path: Path) -> None:
    base = tmp_path / "base.yaml"
    base.write_bytes(
        b"# The first\r\nscx_one_more: {ops: [\n\n"
        + BASE.replace("share", "\n# within it\n    order").encode()
        + b"scx_not: }\n"
    )
    with pytest.raises(Problems) as caught:
        load(base, tmp_path / "schedulers.d", only="scx_one")
    (problem,) = caught.value.found
    first, second = [
        number for number, line in enumerate(base.read_text().splitlines(), 1) if line.startswith("    order: ")
    ]
    assert str(problem) == f'{base}:{second}:5: "order" is there twice (first in line {first})'


def test_roots_side_needs_little_to_read_it() -> None:
    code = "import sys, agentd.schedulers.catalogues, agentd.core.schedulers.choosing; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(done.stdout.split())
    assert {"asyncio", "sqlite3", "structlog", "dbus_next", "agentd.config.files", "agentd.core.jobs"} & loaded == set()


def test_the_checkout_reads_its_own_file() -> None:
    assert shipped() == ROOT / "config/schedulers.yaml"
