"""Root's side of a start under attack: nothing runs but a program of root's with arguments of root's catalogue."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from agentd.schedulers import launcher, units
from agentd.schedulers.launcher import Places, main

CATALOGUE = """
scx_simple:
  ops: simple
  summary: shows how
  algorithm: first come, first served
  use_cases: [tests]
  readiness: test
  always: [--plain]
  flags:
    slice-us: {type: int, low: 10, high: 100000, help: the slice}
    fifo: {type: bool, option: -f, help: in order}
    domain: {type: text, pattern: '[a-z0-9/,-]+', help: where}
scx_object:
  ops: object
  summary: a BPF object
  algorithm: none
  use_cases: [tests]
  readiness: test
  language: bpf
"""


class World:
    """A root directory that belongs to whoever runs the test, as the real one does to root."""

    def __init__(self, top: Path) -> None:
        top.chmod(0o755)
        self.top = top
        self.places = Places(
            requests=str(top / "run/schedulers"),
            catalogue=str(top / "share/schedulers.yaml"),
            catalogue_folder=str(top / "etc/schedulers.d"),
            programs=(str(top / "bin"), str(top / "local/bin")),
            objects=(str(top / "lib/schedulers"),),
            pins=str(top / "bpf/agentd"),
            kernel=str(top / "sys"),
            allowed=str(top / "etc/custom-schedulers"),
            owner=os.getuid(),
            writer="nobody there",
            top=str(top),
        )
        folders = ("run/schedulers", "share", "etc/schedulers.d", "bin", "local/bin", "lib/schedulers", "bpf", "sys")
        for folder in folders:
            (top / folder).mkdir(parents=True, mode=0o755)
        self.write("share/schedulers.yaml", CATALOGUE)
        self.write("sys/state", "disabled\n")
        self.program = self.write("bin/scx_simple", "#!/bin/sh\n", 0o755)
        self.request = self.ask()
        self.ran: list[Any] = []

    def write(self, path: str, text: str, mode: int = 0o644) -> Path:
        file = self.top / path
        file.write_text(text)
        file.chmod(mode)
        return file

    def ask(self, text: str | None = None, **flags: Any) -> Path:
        """Writes a request for scx_simple, as JSON or as any text."""
        wanted = {"name": "scx_simple", "mode": "gaming", "flags": flags}
        return self.write("run/schedulers/scx_simple.json", json.dumps(wanted) if text is None else text)

    def start(self, name: str = "scx_simple") -> int:
        return main(name, self.places, lambda path, argv, environment: self.ran.append((path, [*argv], environment)))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(launcher, "_PATIENCE", 0.0)
    return World(tmp_path)


def refused(world: World, capsys: pytest.CaptureFixture[str], name: str = "scx_simple") -> str:
    """What is said of a start that does not happen."""
    assert world.start(name) == 1
    assert world.ran == []
    said = capsys.readouterr().err
    assert said.startswith("start-scheduler: ")
    assert "Traceback" not in said
    assert len(said) < 2000
    return said.removeprefix("start-scheduler: ").strip()


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """Folders that nobody else may write, whoever runs the tests."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_a_scheduler_is_started_with_what_the_catalogue_makes_of_its_flags(world: World) -> None:
    flags: dict[str, Any] = {"slice-us": 5000, "fifo": True}
    world.ask(**flags)
    assert world.start() == 0
    ((path, arguments, environment),) = world.ran
    assert path == str(world.program)
    assert arguments == [path, "--plain", "--slice-us=5000", "-f"]
    assert environment.keys() == {"PATH", "LANG"}


# Schedulers of one's own


def ask_for_own(world: World, name: str = "custom:fifo", **more: Any) -> str:
    world.write("etc/custom-schedulers", "")
    world.write(f"run/schedulers/{name}.json", json.dumps({"name": name, **more}))
    return name


def test_one_of_ones_own_is_loaded_and_held_by_agentds_own_program(world: World) -> None:
    assert world.start(ask_for_own(world, mode="gaming")) == 0
    ((path, arguments, environment),) = world.ran
    assert (path, arguments[:5]) == ("/usr/bin/python3", [path, "-I", "-B", "-m", "agentd.schedulers.loading"])
    assert arguments[5:] == ["fifo", f"{world.places.requests}/custom:fifo.bpf.o"]
    assert callable(import_module(arguments[4]).main)
    assert environment.keys() == {"PATH", "LANG"}


def test_nothing_of_ones_own_is_started_without_roots_word_or_with_flags(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    name = ask_for_own(world, flags={"slice-us": 5000})
    assert "takes no flags" in refused(world, capsys, name)
    name = ask_for_own(world)
    (world.top / "etc/custom-schedulers").unlink()
    assert "root has not allowed schedulers of one's own" in refused(world, capsys, name)


@pytest.mark.parametrize("name", ["custom:", "custom:Fifo", "custom:a-b", "custom:custom:fifo", "custom:" + "x" * 16])
def test_a_name_that_none_of_ones_own_can_have_is_refused(
    world: World, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert "is not the name of a scheduler of one's own" in refused(world, capsys, ask_for_own(world, name))


def test_one_of_ones_own_waits_until_no_other_is_loaded(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    name = ask_for_own(world)
    world.write("sys/state", "enabled\n")
    assert "another scheduler is loaded" in refused(world, capsys, name)


# The name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../scx_simple", "a/b", "-f", "scx simple", "scx_simple\n", "a\0b", "x" * 200, "%s", "é"]
)
def test_a_name_that_is_none_leads_nowhere(world: World, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert "is not the name of a scheduler" in refused(world, capsys, name)


def test_a_scheduler_that_root_does_not_know_is_refused(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.write("run/schedulers/sh.json", '{"name": "sh"}')
    world.write("bin/sh", "#!/bin/sh\n", 0o755)
    assert 'there is no scheduler "sh" in the catalogue' in refused(world, capsys, "sh")


@pytest.mark.parametrize("name", ["none", "simple"])
def test_neither_the_kernels_own_nor_a_short_name_becomes_another(
    world: World, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    world.write(f"run/schedulers/{name}.json", json.dumps({"name": name}))
    refused(world, capsys, name)


def test_a_request_for_another_scheduler_is_refused(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.ask('{"name": "scx_object", "flags": {}}')
    assert "asks for 'scx_object', not for scx_simple" in refused(world, capsys)


# The request


def as_link(world: World) -> None:
    world.request.rename(world.top / "elsewhere")
    world.request.symlink_to(world.top / "elsewhere")


def as_pipe(world: World) -> None:
    world.request.unlink()
    os.mkfifo(world.request)


def as_folder(world: World) -> None:
    world.request.unlink()
    world.request.mkdir()


def as_giant(world: World) -> None:
    world.request.write_text('{"name": "scx_simple", "mode": "' + "x" * 10_000_000 + '"}')


def as_giant_hole(world: World) -> None:
    os.truncate(world.request, 1 << 40)


def as_world_writable(world: World) -> None:
    world.request.chmod(0o666)


@pytest.mark.parametrize(
    ("attack", "sentence"),
    [
        (lambda world: world.request.unlink(), "cannot be read: No such file or directory"),
        (as_link, "cannot be read: Too many levels of symbolic links"),
        (as_pipe, "is not a file"),
        (as_folder, "is not a file"),
        (as_giant, "is larger than 16 KiB"),
        (as_giant_hole, "is larger than 16 KiB"),
        (as_world_writable, "may be written by others than its owner"),
    ],
)
def test_a_request_that_is_no_small_file_is_refused(
    world: World, capsys: pytest.CaptureFixture[str], attack: Callable[[World], None], sentence: str
) -> None:
    attack(world)
    assert refused(world, capsys).endswith(sentence)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        "{",
        '"scx_simple"',
        '{"name": 7}',
        '{"name": "scx_simple", "argv": ["-x"]}',
        '{"name": "scx_simple", "flags": []}',
        '{"name": "scx_simple", "flags": {"fifo": null}}',
        '{"name": "scx_simple", "flags": {"fifo": [true]}}',
        '{"name": "scx_simple", "flags": {"fifo": {"a": 1}}}',
        '{"name": "scx_simple", "flags": {"slice-us": NaN}}',
        '{"name": "scx_simple"} {"name": "scx_simple"}',
        "[" * 16000,
        '{"flags":' * 1800,
        '{"name": "scx_simple", "flags": {"slice-us": ' + "9" * 15000 + "}}",
        '{"name": "scx_simple", "flags": {' + ",".join(f'"f{n}": 1' for n in range(1200)) + "}}",
        "\ufeff{}",
        "\0" * 100,
    ],
)
def test_json_of_another_form_is_refused(world: World, capsys: pytest.CaptureFixture[str], text: str) -> None:
    world.ask(text)
    refused(world, capsys)


def test_bytes_that_are_no_text_are_refused(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.request.write_bytes(b'{"name": "scx_simple", "mode": "\xff\xfe"}')
    refused(world, capsys)


def test_a_request_of_somebody_else_is_refused(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = os.fstat

    def fstat(file: int) -> os.stat_result:
        found = [*plain(file)]
        if str(Path(f"/proc/self/fd/{file}").readlink()) == str(world.request):
            found[stat.ST_UID] = 4711
        return os.stat_result(found)

    monkeypatch.setattr(os, "fstat", fstat)
    assert "belongs to the user 4711, not to root or nobody there" in refused(world, capsys)


# The flags


@pytest.mark.parametrize(
    "flags",
    [
        {"verbose": True},
        {"--slice-us": 5000},
        {"slice-us=5 --kconfig": "/dev/zero"},
        {"": 1},
        {"slice-us": 9},
        {"slice-us": 100_001},
        {"slice-us": "5000 --kconfig=/dev/zero"},
        {"slice-us": 5000.5},
        {"slice-us": True},
        {"fifo": 1},
        {"fifo": "--kconfig=/dev/zero"},
        {"domain": "a b"},
        {"domain": "--kconfig"},
        {"domain": ""},
        {"domain": "a\nb"},
        {"domain": "x" * 5000},
    ],
)
def test_flags_that_are_not_the_catalogues_are_refused(
    world: World, capsys: pytest.CaptureFixture[str], flags: dict[str, Any]
) -> None:
    world.ask(**flags)
    assert "scx_simple" in refused(world, capsys)


# Root's own files


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        ("share/schedulers.yaml", 0o664),
        ("share/schedulers.yaml", 0o646),
        ("share", 0o777),
        ("etc/schedulers.d", 0o775),
        ("etc", 0o757),
        ("bin/scx_simple", 0o775),
        ("bin/scx_simple", 0o757),
        ("bin", 0o777),
        ("bin", 0o1777),
        ("", 0o777),
    ],
)
def test_what_others_may_write_is_not_used(
    world: World, capsys: pytest.CaptureFixture[str], path: str, mode: int
) -> None:
    (world.top / path).chmod(mode)
    assert "may be written by others than root" in refused(world, capsys)


@pytest.mark.parametrize("path", ["share/schedulers.yaml", "share", "bin/scx_simple", "bin", "etc/schedulers.d"])
def test_what_belongs_to_somebody_else_is_not_used(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    plain, theirs = os.lstat, str(world.top / path)

    def lstat(path: str) -> os.stat_result:
        found = [*plain(path)]
        if path == theirs:
            found[stat.ST_UID] = 4711
        return os.stat_result(found)

    monkeypatch.setattr(os, "lstat", lstat)
    assert f"{theirs} belongs to the user 4711, not to root" in refused(world, capsys)


def test_a_program_behind_a_link_is_looked_at_where_it_lies(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    loose = world.top / "loose"
    loose.mkdir(mode=0o755)
    world.program.rename(loose / "theirs")
    world.program.symlink_to("../loose/theirs")
    assert world.start() == 0
    world.ran.clear()
    loose.chmod(0o777)
    assert f"{loose} may be written by others than root" in refused(world, capsys)


@pytest.mark.parametrize("target", ["scx_simple", "nowhere"])
def test_a_link_that_leads_nowhere_is_refused(world: World, capsys: pytest.CaptureFixture[str], target: str) -> None:
    world.program.unlink()
    world.program.symlink_to(target)
    refused(world, capsys)


def test_a_program_that_is_none_is_refused(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.program.chmod(0o644)
    assert "is not executable" in refused(world, capsys)
    world.program.unlink()
    assert "scx_simple is not installed: it is in none of" in refused(world, capsys)
    os.mkfifo(world.program)
    assert "is not a file" in refused(world, capsys)


def test_a_bad_program_is_not_passed_over_for_another(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.write("local/bin/scx_simple", "#!/bin/sh\n", 0o755)
    world.program.chmod(0o777)
    assert "may be written by others" in refused(world, capsys)


def test_a_catalogue_with_errors_starts_nothing(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.write("share/schedulers.yaml", "scx_simple: {ops: 1, colour: red}\n")
    assert "schedulers.yaml:1:" in refused(world, capsys)


def test_an_administrators_file_with_errors_is_told_and_not_used(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.write("etc/schedulers.d/bad.yaml", "scx_simple: {always: [-x], colour: red}\n")
    assert world.start() == 0
    assert world.ran[0][1][1:] == ["--plain"]
    assert capsys.readouterr().err.startswith("catalogue: ")


# The kernel


@pytest.mark.parametrize("state", ["enabled", "enabling", "disabling", "dreaming"])
def test_nothing_is_started_beside_another_scheduler(
    world: World, capsys: pytest.CaptureFixture[str], state: str
) -> None:
    world.write("sys/state", f"{state}\n")
    assert f"another scheduler is loaded: the kernel says {state}" in refused(world, capsys)


def test_a_scheduler_that_is_about_to_leave_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "_PATIENCE", 60.0)
    world.write("sys/state", "disabling\n")
    monkeypatch.setattr(launcher.time, "sleep", lambda _: world.write("sys/state", "disabled\n"))  # type: ignore[attr-defined]
    assert world.start() == 0
    assert len(world.ran) == 1


def test_a_kernel_without_sched_ext_is_told(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    (world.top / "sys/state").unlink()
    assert refused(world, capsys).startswith("this kernel has no sched_ext")


def test_a_program_that_the_kernel_does_not_execute_is_told(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    def execute(*_: object) -> None:
        raise OSError(8, "Exec format error")

    assert main("scx_simple", world.places, execute) == 1
    assert "could not be executed: exec format error" in capsys.readouterr().err


# BPF objects

TOOL = """#!/bin/sh
echo "$@" >"{top}/called"
{more}
"""
LOAD = 'touch "$4/ops"; echo enabled >"{top}/sys/state"'


def with_object(world: World, more: str = LOAD) -> Path:
    world.write("run/schedulers/scx_object.json", '{"name": "scx_object"}')
    world.write("bin/bpftool", TOOL.format(top=world.top, more=more.format(top=world.top)), 0o755)
    world.write("lib/schedulers/scx_object.bpf.o", "ELF")
    return world.top / "bpf/agentd/scx_object"


def run(world: World, name: str = "scx_object") -> "subprocess.Popen[str]":
    """The launcher as a process of its own."""
    root = Path(launcher.__file__).parents[2]
    places = ", ".join(f"{name}={getattr(world.places, name)!r}" for name in Places.__struct_fields__)
    code = f"from agentd.schedulers.launcher import *\nsys.exit(main({name!r}, Places({places})))"
    command, pipe = [sys.executable, "-c", code], subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=root)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_object_is_held_by_its_pin_until_the_unit_stops(world: World, number: int) -> None:
    pins = with_object(world)
    (world.top / "bpf/agentd").mkdir()
    pins.mkdir()
    (pins / "old").touch()  # left by an ejection
    process = run(world)
    while (world.top / "sys/state").read_text() != "enabled\n":
        assert process.poll() is None
    assert [file.name for file in pins.iterdir()] == ["ops"]
    called = (world.top / "called").read_text().split()
    assert called == ["struct_ops", "register", str(world.top / "lib/schedulers/scx_object.bpf.o"), str(pins)]
    process.send_signal(number)
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 0
    assert not pins.exists()


def test_an_object_that_is_refused_leaves_no_pin(world: World) -> None:
    pins = with_object(world, "touch $4/half; echo 'Error: failed to load object' >&2; exit 255")
    process = run(world)
    assert process.communicate(timeout=60)[1] == "Error: failed to load object\n"
    assert process.returncode == 1
    assert not pins.exists()


def test_an_object_that_others_may_write_is_refused(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    with_object(world)
    (world.top / "lib/schedulers/scx_object.bpf.o").chmod(0o666)
    assert "may be written by others than root" in refused(world, capsys, "scx_object")


def test_an_object_needs_bpftool(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    with_object(world)
    (world.top / "bin/bpftool").unlink()
    assert "bpftool is not installed" in refused(world, capsys, "scx_object")


def test_an_object_takes_no_flags(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    with_object(world)
    world.write("run/schedulers/scx_object.json", '{"name": "scx_object", "flags": {"slice-us": 5}}')
    assert 'scx_object has no flag "slice-us"' in refused(world, capsys, "scx_object")


# As it is installed


def test_the_process_becomes_the_program_and_hands_it_nothing_of_its_own(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write("bin/scx_simple", '#!/bin/sh\necho "$$ $*"\nenv\nls /proc/self/fd | wc -l\n', 0o755)
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.setenv("SECRET", "x")
    world.ask(domain="0-1")
    process = run(world, "scx_simple")
    told, errors = process.communicate(timeout=60)
    assert errors == ""
    first, *environment, files = told.splitlines()
    assert first == f"{process.pid} --plain --domain=0-1"
    assert {line.partition("=")[0] for line in environment} <= {"PATH", "LANG", "PWD", "_", "SHLVL", "OLDPWD"}
    assert int(files) == 4  # of ls: the three that every process has, and the folder that it reads


def test_the_installed_program_says_a_sentence_whatever_happens() -> None:
    script = Path(launcher.__file__).parents[2] / "units/start-scheduler"
    for arguments in ([], ["../x"], ["a", "b"]):
        code = f"import sys; sys.argv[1:] = {arguments}; exec(open({str(script)!r}).read())"
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=script.parents[1])
        assert done.returncode == 1
        assert done.stderr.startswith("start-scheduler: ")
        assert "Traceback" not in done.stderr


def test_the_installed_program_does_without_what_msgspec_only_prefers() -> None:
    script = Path(launcher.__file__).parents[2] / "units/start-scheduler"
    code = f"import sys\ntry: exec(open({str(script)!r}).read())\nfinally: print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=script.parents[1]
    )
    loaded = set(done.stdout.split())
    assert "agentd.schedulers.launcher" in loaded
    assert "inspect" not in loaded, "typing_extensions brings it, and takes a fifth of the imports"
    spared = {"subprocess", "agentd.core.schedulers.endings", "agentd.core.schedulers.help"}
    assert loaded & spared == set(), "no start needs these but that of a BPF object"


# The unit and what agentd may ask of it

UNITS = Path(launcher.__file__).parents[2] / "units"


def test_polkit_lets_agentd_ask_for_the_names_that_agentd_asks_for_and_no_others() -> None:
    (pattern,) = re.findall(r"/(\^agentd-scx@.*\$)/\.test\(unit\)", (UNITS / "agentd.rules").read_text())
    allowed = re.compile(pattern)
    for name in ("scx_simple", "custom:fifo-2", "x" * 100):
        assert allowed.search(units.unit_of(name))
    for name in ("", "..", "-x", "a/b", "a@b", "a\\x2fb", "a.b", "x" * 101, "scx_simple.service\n"):
        assert not allowed.search(f"agentd-scx@{name}.service")
        with pytest.raises(ValueError, match="cannot be the name"):
            units.unit_of(name)


def test_the_unit_lets_schedulers_do_what_they_need_and_little_else() -> None:
    text = (UNITS / "agentd-scx@.service").read_text()
    said = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    assert said["CapabilityBoundingSet"] == "CAP_BPF CAP_PERFMON CAP_SYS_NICE"
    assert {"KillSignal=SIGINT", "Restart=no", "LimitMEMLOCK=infinity", "NoNewPrivileges=yes"} <= {*text.splitlines()}
    assert "perf_event_open" in text.split("SystemCallFilter=")[1]
    # Each of these keeps some scheduler from starting, as the unit's last comment says.
    # Each start would have PID 1 load BPF programs, or turn the cpu controller on for all services.
    assert not said.keys() & {"IPAddressDeny", "SocketBindDeny", "CPUWeight"}
    settings = ("ProtectKernelTunables", "ProtectKernelModules", "ProtectProc", "RestrictRealtime", "PrivateNetwork")
    assert not said.keys() & {*settings, "PartOf", "BindsTo", "Requires", "WantedBy"}
    for name in settings:
        assert f"#   {name}=" in text
