"""The programs of schedulers: only root's own are used, and none gets rights or time by being asked."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from agentd.core.schedulers.catalogue import Catalogue, Flag, Scheduler
from agentd.schedulers import programs as programs_module
from agentd.schedulers.programs import CannotAsk, Found, Program, Programs, ask, locate

ME = os.geteuid()
Put = Callable[..., Path]


@pytest.fixture
def top() -> Iterator[Path]:
    """A folder of one's own, in which also a program without rights may look: pytest's own ones are closed."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder).resolve()


@pytest.fixture
def put(top: Path) -> Put:
    """Writes a program."""

    def written(name: str, script: str = "exit 1", folder: str = "bin", mode: int = 0o755) -> Path:
        (top / folder).mkdir(mode=0o755, exist_ok=True)
        file = top / folder / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(mode)
        return file

    return written


def found(top: Path, name: str = "scx_one") -> Found:
    return locate(name, [top / "bin", top / "local"], ME, top)


def test_a_program_is_found_in_the_first_folder_that_has_one(top: Path, put: Put) -> None:
    assert found(top) == Found()
    second = put("scx_one", folder="local")
    assert found(top) == Found(str(second))
    first = put("scx_one")
    assert found(top) == Found(str(first))


@pytest.mark.parametrize("name", ["", "..", "../bin/scx_one", "/bin/sh", "a b", "-x", "scx\0", "x" * 64, "scx_öne"])
def test_a_name_that_is_no_name_finds_nothing(top: Path, put: Put, name: str) -> None:
    put("scx_one")
    assert found(top, name).path == ""
    assert "is not the name of a program" in found(top, name).trouble


@pytest.mark.parametrize(
    ("mode", "trouble"),
    [
        (0o775, "may be written by others than its owner (chmod go-w)"),
        (0o757, "may be written by others than its owner (chmod go-w)"),
        (0o644, "is not a program that everybody may start"),
        (0o700, "is not a program that everybody may start"),
        (0o4755, "runs with the rights of its owner, whoever starts it (chmod ug-s)"),
    ],
)
def test_a_program_that_others_could_change_is_not_used(top: Path, put: Put, mode: int, trouble: str) -> None:
    file = put("scx_one", mode=mode)
    assert found(top) == Found(trouble=f"{file} {trouble}")
    other = put("scx_one", folder="local")
    assert found(top).path == str(other)


def test_neither_is_one_of_somebody_else_or_in_a_folder_that_others_may_write(top: Path, put: Put) -> None:
    file = put("scx_one")
    assert locate("scx_one", [top / "bin"], ME + 1, top).trouble.startswith(f"{file} belongs to the user {ME}, not to")
    top.chmod(0o777)
    assert found(top).trouble == f"{top} may be written by others than its owner (chmod go-w)"
    top.chmod(0o755)
    assert found(top).path == str(file)


def test_links_are_followed_to_what_is_judged(top: Path, put: Put) -> None:
    real = put("real", folder="elsewhere")
    (top / "bin").mkdir(mode=0o755)
    (top / "bin/scx_one").symlink_to(real)
    assert found(top) == Found(str(real))
    real.parent.chmod(0o777)
    assert found(top).path == ""
    (top / "bin/scx_loop").symlink_to("scx_loop")
    assert found(top, "scx_loop").path == ""
    (top / "bin/scx_folder").mkdir()
    assert "is not a program" in found(top, "scx_folder").trouble


def test_what_a_program_writes_is_read_from_both_outputs_whatever_its_end(put: Put) -> None:
    assert ask(str(put("scx_one", 'echo "out $1"; echo err >&2; exit 255')), "--help") == "out --help\nerr\n"


def test_a_program_is_asked_without_rights_and_with_nothing_to_read(put: Put) -> None:
    told = ask(str(put("scx_one", "cat; cat /proc/self/status; pwd; env")), "--help").splitlines()
    status = dict(line.split(":\t", 1) for line in told if ":\t" in line)
    assert set(status["Uid"].split()) == {str(ME or 65534)}
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == int(status["CapAmb"], 16) == 0
    assert "/" in told
    assert {line.partition("=")[0] for line in told if "=" in line} <= {
        "PATH",
        "LANG",
        "NO_COLOR",
        "PWD",
        "_",
        "OLDPWD",
        "SHLVL",
    }
    if ME == 0:
        assert status["Groups"].strip() == ""


def test_no_program_is_asked_that_would_have_rights(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(put("scx_one", "touch $0.asked"))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(programs_module, "_has_ambient", lambda: True)
    with pytest.raises(CannotAsk, match="agentd itself has capabilities"):
        ask(path, "--help")
    monkeypatch.setattr(os, "getxattr", lambda *_: b"capabilities")
    with pytest.raises(CannotAsk, match="the file has capabilities of its own"):
        ask(path, "--help")
    assert not Path(f"{path}.asked").exists()


def gone(marks: set[str]) -> bool:
    """Whether no process with such a command is left."""
    return not any(marks & set(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))


def test_a_program_that_does_not_end_is_killed_with_all_it_started(put: Put) -> None:
    path = str(put("scx_one", "sleep 4711.25 & sleep 4711.25"))
    with pytest.raises(CannotAsk, match=r"did not answer --help within 0\.2 s"):
        ask(path, "--help", 0.2)
    until = time.monotonic() + 10
    while not gone({path, "4711.25"}) and time.monotonic() < until:
        time.sleep(0.01)
    assert gone({path, "4711.25"})


def test_a_program_that_never_stops_writing_is_cut_off(put: Put) -> None:
    path = str(put("scx_one", "exec yes"))
    assert len(ask(path, "--help")) == 256 << 10
    assert gone({path})


def test_a_program_that_cannot_be_started_is_told(top: Path, put: Put) -> None:
    file = put("scx_one")
    file.write_bytes(b"\x7fELF and no more")
    with pytest.raises(CannotAsk, match=r"cannot be asked for --help: .*Exec format error"):
        ask(str(file), "--help")
    with pytest.raises(CannotAsk, match=r"cannot be asked for --help: .*No such file"):
        ask(str(top / "nothing"), "--help")


HELP = "  -s, --slice-us <SLICE_US>\n          Slice\n\n          [default: 1000]\n"
SLICE = Flag(name="slice-us", type="int", default=1000, low=10, high=5000, help="Slice.")


def catalogue(**settings: object) -> Catalogue:
    one = Scheduler(
        name="scx_one",
        **{
            "ops": "one",
            "summary": "One",
            "algorithm": "Any.",
            "use_cases": ("tests",),
            "readiness": "test",
            "flags": {"slice-us": SLICE},
            **settings,
        },  # type: ignore[arg-type]
    )
    return {"scx_one": one}


def script(help_text: str) -> str:
    """A program that answers as clap's do, and counts how often it was asked."""
    return f"""[ "$1" = --version ] && echo "one 1.1.4 x86_64" && exit
echo "$1" >> "$(dirname "$0")/asked"
cat >&2 <<'END'
{help_text}
END
exit 255"""


def programs(top: Path) -> Programs:
    return Programs([top / "bin"], ME, top)


def test_a_program_tells_its_version_and_where_it_differs(top: Path, put: Put) -> None:
    file = put("scx_one", script(HELP.replace("1000", "700") + "      --new\n"))
    assert programs(top).look(catalogue())["scx_one"] == Program(
        name="scx_one",
        path=str(file),
        version="1.1.4",
        short={"-s": "--slice-us"},
        warnings=(
            "the catalogue does not know --new",
            "slice-us is 700 in the program where nothing is said; the catalogue has 1000",
        ),
    )


def test_a_program_that_is_not_there_or_not_roots_is_not_asked(top: Path, put: Put) -> None:
    look = programs(top).look
    assert look(catalogue())["scx_one"] == Program(name="scx_one")
    put("scx_one", "touch $(dirname $0)/asked", mode=0o777)
    told = look(catalogue())["scx_one"]
    assert told.path == ""
    assert "may be written by others" in told.trouble
    assert not (top / "bin/asked").exists()


def test_a_program_that_reads_no_arguments_is_not_asked(top: Path, put: Put) -> None:
    file = put("scx_one", "touch $(dirname $0)/asked")
    assert programs(top).look(catalogue(help=False))["scx_one"] == Program(name="scx_one", path=str(file))
    assert not (top / "bin/asked").exists()


def test_an_example_of_the_kernels_source_is_asked_with_a_short_option_alone(top: Path, put: Put) -> None:
    put("scx_one", 'echo "  -f            $*"')
    flag = Flag(name="fifo", option="-f", type="bool", default=False, help="Fifo.")
    told = programs(top).look(catalogue(language="c", flags={"fifo": flag}))["scx_one"]
    assert (told.version, told.warnings) == ("", ())


def test_a_program_that_tells_nothing_is_told_itself(top: Path, put: Put) -> None:
    file = put("scx_one", 'echo "Error: Operation not permitted (os error 1)" >&2; exit 1')
    assert programs(top).look(catalogue())["scx_one"].warnings == (
        f"{file} does not tell its flags; it says: Error: Operation not permitted (os error 1)",
    )
    put("scx_one", "")
    assert programs(top).look(catalogue())["scx_one"].warnings == (f"{file} does not tell its flags; it says: nothing",)


def test_a_program_is_asked_again_only_when_it_or_the_catalogue_is_another(top: Path, put: Put) -> None:
    asked = top / "bin/asked"
    put("scx_one", script(HELP))
    asked.touch()
    asked.chmod(0o666)
    look = programs(top).look
    assert look(catalogue())["scx_one"].warnings == ()
    assert look(catalogue()) == look(catalogue())
    assert asked.read_text() == "--help\n"
    assert look(catalogue(left_out=("--old",)))["scx_one"].warnings == ()
    assert asked.read_text() == "--help\n" * 2
    put("scx_one", script(HELP + "      --new\n"))
    assert look(catalogue(left_out=("--old",)))["scx_one"].warnings == ("the catalogue does not know --new",)
    assert asked.read_text() == "--help\n" * 3


def test_a_bpf_object_is_found_where_bpftool_is_and_asked_nothing(top: Path, put: Put) -> None:
    objects = top / "objects"
    objects.mkdir(mode=0o755)
    look = Programs([top / "bin"], ME, top, [objects]).look
    one = catalogue(language="bpf")
    assert look(one)["scx_one"] == Program(name="scx_one")
    file = objects / "scx_one.bpf.o"
    file.touch(0o644)
    told = look(one)["scx_one"]
    assert (told.path, "bpftool, which is not installed" in told.trouble) == ("", True)
    put("bpftool", "exit 1")
    assert look(one)["scx_one"] == Program(name="scx_one", path=str(file))
    file.chmod(0o666)
    assert "may be written by others" in look(one)["scx_one"].trouble
