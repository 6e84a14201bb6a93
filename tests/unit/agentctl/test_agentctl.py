"""How agentctl finds its daemon, takes errors, and behaves as a program; against a fake daemon on a real bus."""

import os
import pkgutil
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, get_args
from xml.etree import ElementTree as ET

import click
import pytest

import agentctl
from agentctl import client
from agentctl.client import Call
from agentctl.commands import COMMANDS, cli
from agentctl.reboots.commands import KINDS
from agentctl.standalone import Standalone, standalones
from agentd import private
from agentd.core.reboots.policy import Kind
from tests.unit.agentctl.fake import BACKUP, CONTRACT, ROOT, RUN, Ctl, FakeDaemon, NoAnswer, Refused

MODULES: list[ModuleType] = [
    import_module(found.name) for found in pkgutil.walk_packages(agentctl.__path__, "agentctl.") if not found.ispkg
]

# The contract


def calls() -> dict[tuple[str, str], Call]:
    """Every method that a module of agentctl declares, by interface and member."""
    found = [value for module in MODULES for value in vars(module).values() if isinstance(value, Call)]
    return {(call.interface, call.member): call for call in found}


def methods() -> dict[tuple[str, str], ET.Element]:
    return {
        (interface.attrib["name"], method.attrib["name"]): method
        for interface in CONTRACT.findall("interface")
        for method in interface.findall("method")
    }


def comment_above(interface: str, member: str) -> str:
    """The nearest comment above a method."""
    found = CONTRACT.find(f"interface[@name='{interface}']")
    assert found is not None
    children = list(found)
    end = next(index for index, child in enumerate(children) if child.get("name") == member)
    return next(child.text or "" for child in reversed(children[:end]) if callable(child.tag))


def test_the_methods_called_are_those_of_the_contract() -> None:
    known = {
        name: "".join(arg.attrib["type"] for arg in method.findall("arg[@direction='in']"))
        for name, method in methods().items()
    }
    assert {name: call.signature for name, call in calls().items()} == known


def test_agentctl_knows_which_calls_need_no_permission() -> None:
    free = {
        name
        for name, method in methods().items()
        for annotation in method.iter("annotation")
        if annotation.attrib == {"name": "org.agentd1.PolkitAction", "value": "none"}
    }
    assert {name for name, call in calls().items() if call.free} == free


def test_the_options_have_the_types_of_the_contract() -> None:
    compared = 0
    for (interface, member), call in calls().items():
        text = comment_above(interface, "RebootNow" if member == "Examine" else member)
        listed = re.split(r"\.\s", text[max(text.find("filter:"), text.find("options:")) :])[0]
        for key, kind in call.options.items():
            assert re.search(rf"\b{key} {kind}\b", listed), f"{interface}.{member}: {key} {kind}"
            compared += 1
    assert compared >= 25


def test_only_calls_with_options_declare_any() -> None:
    assert [call for call in calls().values() if call.options and "a{sv}" not in call.signature] == []


def test_the_kinds_of_reboot_are_those_of_the_configuration() -> None:
    assert get_args(Kind) == KINDS


# The table of commands


def declared() -> dict[str, click.Command]:
    """The commands of agentctl itself that its modules hold; a group's own are found through the group."""
    found = {value for module in MODULES for value in vars(module).values() if isinstance(value, click.Command)} - {cli}
    own = found - {one for group in found if isinstance(group, click.Group) for one in group.commands.values()}
    return {str(one.name): one for one in own}


def test_the_table_and_the_modules_have_the_same_commands() -> None:
    assert set(COMMANDS) == set(declared())
    for name, (place, _) in COMMANDS.items():
        module, _, attribute = place.partition(":")
        assert getattr(import_module(module), attribute) is declared()[name]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_the_same_short_help_in_the_table_and_in_its_module(name: str) -> None:
    stand_in = click.Command(name, help=COMMANDS[name][1])
    for limit in range(10, 100):
        assert stand_in.get_short_help_str(limit) == declared()[name].get_short_help_str(limit)


def loaded_by(*arguments: str) -> set[str]:
    """The modules that agentctl has loaded at the end of a command."""
    code = "import sys; from agentctl.__main__ import main; main(); print(*sys.modules, file=sys.stderr)"
    command = [sys.executable, "-c", code, *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(ended.stderr.splitlines()[-1].split())


def test_help_and_errors_need_no_part(surroundings: None) -> None:
    for arguments in (("--help",), ("--version",), ("statsu",)):
        loaded = loaded_by(*arguments)
        shared = ("__main__", "cli", "client", "commands", "quick", "session", "show", "standalone", "times")
        own = {"agentctl", *(f"agentctl.{name}" for name in shared)}
        assert {name for name in loaded if name.partition(".")[0] == "agentctl"} == own


def test_a_command_loads_its_own_part(daemon: FakeDaemon) -> None:
    daemon.answers["ListHolders"] = []
    commands = {place.partition(":")[0] for place, _ in COMMANDS.values()}
    assert loaded_by("status", "--") & commands == {"agentctl.jobs.commands"}
    assert loaded_by("status") & commands == set(), "click's commands are loaded for what goes without click"
    assert loaded_by("fleet") & commands == {"agentctl.reboots.commands"}
    assert loaded_by("version") & commands == {"agentctl.manager"}


# Finding the daemon


def write_address(tmp_path: Path, address: str) -> None:
    (tmp_path / "agentd").mkdir()
    (tmp_path / "agentd" / "address").write_text(f"{address}\n")


def test_the_standalone_daemons_address_file_is_found(
    daemon: FakeDaemon, ctl: Ctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AGENTD_ADDRESS")
    write_address(tmp_path, daemon.address)
    assert ctl("status").code == 0
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert standalones() == [], "somebody else's file was believed"


def behind_a_link(file: Path) -> None:
    file.rename(file.with_name("elsewhere"))
    file.symlink_to("elsewhere")


def in_a_folder_behind_a_link(file: Path) -> None:
    file.parent.rename(file.parent.with_name("elsewhere"))
    file.parent.symlink_to("elsewhere")


def in_a_folder_for_all(file: Path) -> None:
    file.parent.chmod(0o777)


def for_all(file: Path) -> None:
    file.chmod(0o666)


def a_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize(
    "change", [behind_a_link, in_a_folder_behind_a_link, in_a_folder_for_all, for_all, a_fifo, Path.unlink]
)
def test_an_address_that_somebody_else_may_have_written_is_not_believed(
    surroundings: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], object]
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    write_address(tmp_path, "unix:path=/x")
    assert standalones() == [Standalone("unix:path=/x", "")]
    change(tmp_path / "agentd/address")
    assert standalones() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of somebody else")
@pytest.mark.parametrize("theirs", ["agentd", "agentd/address"])
def test_an_address_of_somebody_else_is_not_believed(
    surroundings: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, theirs: str
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    write_address(tmp_path, "unix:path=/x")
    os.chown(tmp_path / theirs, 65534, 65534)
    assert standalones() == []


def test_without_a_runtime_directory_the_cache_is_looked_in(
    surroundings: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert standalones() == []
    (tmp_path / ".cache").mkdir()
    write_address(tmp_path / ".cache", "unix:path=/x")
    assert standalones() == [Standalone("unix:path=/x", "")]


@pytest.mark.parametrize("stale", ["unix:path=/nowhere/bus", "nonsense", "tcp:host=localhost", ""])
def test_a_stale_address_file_gives_way_to_the_system_bus(
    daemon: FakeDaemon, ctl: Ctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stale: str
) -> None:
    monkeypatch.delenv("AGENTD_ADDRESS")
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", daemon.address)
    write_address(tmp_path, stale)
    assert ctl("status").code == 0


@pytest.fixture
def two(daemon: FakeDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The state directories of two daemons of one user, of which the second answers."""
    monkeypatch.delenv("AGENTD_ADDRESS")
    (tmp_path / "agentd").mkdir()
    states = tmp_path / "one", tmp_path / "the other"
    for state, address in zip(states, ("unix:path=/nowhere", daemon.address), strict=True):
        state.mkdir()
        published = tmp_path / "agentd" / private.address_file(state)
        published.write_text(f"{address}\n1\n{state}\n")
    return states


def test_of_two_standalone_daemons_the_state_directory_finds_each(ctl: Ctl, two: tuple[Path, Path]) -> None:
    one, other = two
    assert ctl("--state-dir", str(other), "status").code == 0
    assert ctl("status", "--state-dir", f"{other}/../{other.name}").code == 0
    ended = ctl("status", "--state-dir", str(one))
    assert ended.code == 3
    assert f"no standalone agentd of this user is running with the state directory {one} (start it with" in ended.err
    assert ctl("status").code == 0, "the one that answers is meant"


def test_the_state_directory_counts_more_than_what_a_job_finds_in_its_environment(
    ctl: Ctl, two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTD_ADDRESS", "unix:path=/nowhere")
    assert ctl("status", "--state-dir", str(two[1])).code == 0


def test_a_state_directory_that_is_not_there_is_told(ctl: Ctl, two: tuple[Path, Path]) -> None:
    for nothing in (f"{two[0]}/none", "a\0b"):
        ended = ctl("status", "--state-dir", nothing)
        assert ended.code == 2
        assert "expected the state directory of an agentd" in ended.err


def test_two_standalone_daemons_that_answer_are_both_named(
    daemon: FakeDaemon, ctl: Ctl, two: tuple[Path, Path], tmp_path: Path
) -> None:
    one, other = two
    (tmp_path / "agentd" / private.address_file(one)).write_text(f"{daemon.address}\n2\n{one}\n")
    ended = ctl("status")
    assert (ended.code, ended.out) == (2, "")
    choices = f"choose one with --state-dir {one} or --state-dir '{other}'"
    assert ended.err == f"agentctl: several agentds of this user are running: {choices}\n"
    assert ctl("status", "--state-dir", str(one)).code == 0


def test_the_option_wins_over_the_environment_and_may_stand_anywhere(
    daemon: FakeDaemon, ctl: Ctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTD_ADDRESS", "unix:path=/nowhere")
    assert ctl("--address", daemon.address, "status").code == 0
    assert ctl("status", "--address", daemon.address).code == 0


def test_no_daemon_is_told_with_what_to_do(ctl: Ctl, bus: str) -> None:
    ended = ctl("status")
    assert (ended.code, ended.out) == (3, "")
    assert ended.err.startswith("agentctl: agentd is not running (start it with: systemctl enable --now agentd, ")
    for address in (bus, "unix:path=/nowhere", "nonsense"):
        ended = ctl("status", "--address", address)
        assert ended.code == 3
        assert f"not running at {address} (from --address)" in ended.err


# Errors


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("org.agentd1.Error.NoSuchJob", 5),
        ("org.agentd1.Error.NoSuchRun", 5),
        ("org.agentd1.Error.NoSuchReboot", 5),
        ("org.agentd1.Error.Blocked", 7),
        ("org.agentd1.Error.AccessDenied", 4),
        ("org.agentd1.Error.Busy", 1),
        ("org.agentd1.Error.SomethingNew", 1),
    ],
)
def test_the_daemons_errors_are_printed_as_they_are(daemon: FakeDaemon, ctl: Ctl, name: str, code: int) -> None:
    def refuse(*_: object) -> None:
        raise Refused(name, 'no job "fed"\x1b[2J: did you mean "feed"?')

    daemon.answers["RunJob"] = refuse
    assert ctl("run", "fed") == (code, "", 'agentctl: no job "fed"\\x1b[2J: did you mean "feed"?\n')


@pytest.mark.parametrize(
    ("name", "code", "hint"),
    [
        ("AccessDenied", 4, "sudo"),
        ("InteractiveAuthorizationRequired", 4, "password"),
        ("UnknownMethod", 1, "another version"),
        ("UnknownInterface", 1, "another version"),
        ("ServiceUnknown", 3, "agentd is not running"),
        ("LimitsExceeded", 1, "answered with an error: oh"),
    ],
)
def test_errors_of_the_bus_become_sentences(daemon: FakeDaemon, ctl: Ctl, name: str, code: int, hint: str) -> None:
    def refuse(*_: object) -> None:
        raise Refused(f"org.freedesktop.DBus.Error.{name}", "oh")

    daemon.answers["ReportProgress"] = daemon.answers["StopJob"] = refuse
    ended = ctl("stop", "feed")
    assert ended.code == code
    assert hint in ended.err


def test_a_silent_daemon_is_not_waited_for_forever(
    daemon: FakeDaemon, ctl: Ctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*_: object) -> None:
        raise NoAnswer

    daemon.answers["StopJob"] = silent
    monkeypatch.setenv("AGENTD_TIMEOUT", "0.05")
    ended = ctl("stop", "feed")
    assert ended.code == 1
    assert "did not answer StopJob within 0.05 s" in ended.err


def test_a_daemon_that_ends_instead_of_answering_is_told(daemon: FakeDaemon, ctl: Ctl) -> None:
    def end(*_: object) -> None:
        daemon.close()
        raise NoAnswer

    daemon.answers["StopJob"] = end
    assert ctl("stop", "feed") == (
        3,
        "",
        "agentctl: agentd ended before it answered; look at its log, then try again\n",
    )


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "0"])
def test_a_wrong_timeout_is_told(daemon: FakeDaemon, ctl: Ctl, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("AGENTD_TIMEOUT", text)
    ended = ctl("status")
    assert ended.code == 2
    assert f'AGENTD_TIMEOUT is "{text}": expected a number of seconds' in ended.err


def test_a_name_that_is_not_utf8_is_told(daemon: FakeDaemon, ctl: Ctl) -> None:
    ended = ctl("stop", "\udcff")
    assert ended.code == 1
    assert "not valid UTF-8" in ended.err


def test_usage_errors_exit_2_and_suggest_the_nearest_command(ctl: Ctl) -> None:
    ended = ctl("statsu")
    assert ended.code == 2
    assert 'There is no command "statsu". Did you mean "status"?' in ended.err
    assert "lists the commands" in ctl("xyzzy").err
    ended = ctl("reboot", "now")
    assert ended.code == 2
    assert 'There is no command "now". agentctl reboot --help lists the commands.' in ended.err
    assert ctl("run").code == 2
    ended = ctl("set", "feed", "--every", "7")
    assert ended.code == 2
    assert '"7" has no unit' in ended.err
    for nothing in ("0", "0s", "0h 0min"):
        ended = ctl("set", "feed", "--every", nothing)
        assert ended.code == 2
        assert f'"{nothing}" is too short: give a duration longer than 0' in ended.err


def test_ctrl_c_ends_with_130(ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_address: str | None, _state: str | None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(client.Client, "connect", interrupted)
    ended = ctl("status")
    assert ended.code == 130
    assert "Traceback" not in ended.err


# The daemon and the surroundings


def test_reload_tells_what_changed_or_what_is_wrong(daemon: FakeDaemon, ctl: Ctl) -> None:
    def refuse() -> None:
        raise Refused("org.agentd1.Error.InvalidConfig", "a.yaml:1:2: no\na.yaml:3:4: nor this")

    daemon.answers["Reload"] = ["feed was added", "backup was removed"]
    assert ctl("reload").out == "feed was added\nbackup was removed\n"
    assert ctl("reload", "--json").json == {"changes": ["feed was added", "backup was removed"]}
    daemon.answers["Reload"] = []
    assert ctl("reload").out.startswith("nothing changed since agentd read the configuration by itself at ")
    daemon.answers["Reload"] = refuse
    assert ctl("reload") == (2, "", "agentctl: a.yaml:1:2: no\na.yaml:3:4: nor this\n")


@pytest.mark.parametrize(("returned", "code"), [(0, 0), (2, 2), (-9, 1)])
def test_check_passes_the_checkers_verdict_on(
    ctl: Ctl, monkeypatch: pytest.MonkeyPatch, returned: int, code: int
) -> None:
    started: list[Any] = []

    def run(arguments: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        started.append((arguments, options["env"]["PYTHONPATH"].split(os.pathsep)[0]))
        return subprocess.CompletedProcess(arguments, returned)

    monkeypatch.setattr(subprocess, "run", run)
    assert ctl("check", "x.yaml", "--json").code == code
    assert started == [([sys.executable, "-P", "-m", "agentd", "--check", "x.yaml", "--json"], str(ROOT))]


def test_version_works_with_and_without_a_daemon(daemon: FakeDaemon, ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ctl("version").out == "agentctl 0.1.0\nagentd 0.1.0 (standalone)\n"
    monkeypatch.delenv("AGENTD_ADDRESS")
    assert ctl("version") == (0, "agentctl 0.1.0\nagentd is not running\n", "")
    assert ctl("version", "--json").json == {"client": "0.1.0", "daemon": None}
    assert ctl("--version").out == "agentctl 0.1.0\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(ctl: Ctl, shell: str) -> None:
    assert f"_AGENTCTL_COMPLETE={shell}_complete" in ctl("completion", shell).out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("agentctl run f", ["feed"]),
        ("agentctl dec", ["decrease"]),
        ("agentctl re", ["reset", "reboot-now", "reboot", "reload"]),
        ("agentctl reboot c", ["cancel", "clear"]),
        ("agentctl model s", ["show"]),
        ("agentctl explain f", ["feed"]),
        ("agentctl explain b", []),
        ("agentctl prefer f", ["feed"]),
        ("agentctl pre", ["prefer"]),
        ("agentctl reboot-now --k", ["--kind"]),
        ("agentctl reboot at 03:00 --kind k", ["kexec"]),
        ("agentctl set feed --every 1h", ["1hour"]),
    ],
)
def test_bash_completes_commands_and_the_names_of_jobs(
    daemon: FakeDaemon, tmp_path: Path, words: str, expected: list[str]
) -> None:
    program = tmp_path / "agentctl"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m agentctl "$@"\n')
    program.chmod(0o755)
    last = len(words.split()) - 1
    script = (
        f"source {ROOT}/units/completions/agentctl.bash; COMP_WORDS=({words}); COMP_CWORD={last}; "
        '_agentctl_completion agentctl; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == expected


def test_completion_is_silent_without_a_daemon(ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    from agentctl.jobs.arguments import complete_job

    assert complete_job(cli.make_context("agentctl", ["version"]), cli.params[0], "") == []


# As a process of its own

KPI = {"name": "MemoryUsage", "unit": "percent", "help": "", "sampled": True, "value": 5.0, "shown": "5%", "at": 0}


def start(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    # The tests themselves may run in the background of a shell, where Ctrl-C is ignored.
    command = ["env", "--default-signal=INT", sys.executable, "-m", "agentctl", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, **options)


def test_a_closed_pipe_ends_it_quietly(daemon: FakeDaemon) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with start("status", stdout=writing) as process:
        os.close(writing)
        assert process.communicate()[1] == ""


def test_a_full_disk_is_told_in_one_sentence(daemon: FakeDaemon) -> None:
    with Path("/dev/full").open("w") as full, start("status", stdout=full) as process:
        assert process.communicate()[1] == "agentctl: the output could not be written: No space left on device\n"
    assert process.returncode == 1


def test_ctrl_c_ends_a_real_wait_without_a_traceback(daemon: FakeDaemon) -> None:
    process: subprocess.Popen[str]

    def read(_run_id: str, _offset: int) -> None:
        process.send_signal(signal.SIGINT)
        raise NoAnswer

    daemon.answers |= {"ListRuns": [RUN], "ReadOutput": read}
    with start("log", "-f", "feed", stdout=subprocess.DEVNULL) as process:
        assert process.communicate()[1].strip() == ""
    assert process.returncode == 130


@pytest.mark.parametrize("line", ["", "status", "status feed", "run feed", "kpi", "kpi MemoryUsage"])
def test_what_scripts_call_loads_nothing_heavy(daemon: FakeDaemon, line: str) -> None:
    daemon.answers |= {"NextTimes": [], "ListRuns": [], "GetJob": BACKUP, "RunJob": "feed.8"}
    daemon.answers |= {"ListKpis": [KPI], "GetSamples": []}
    with start(*line.split(), stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}) as process:
        loaded = {line.rpartition("|")[2].strip() for line in process.communicate()[1].splitlines()}
    assert process.returncode == 0
    assert "agentctl.bus" in loaded
    assert loaded.isdisjoint({"click", "jeepney", "rich", "asyncio", "json", "subprocess", "importlib.metadata"})
    # Each of these takes a tenth of Python's own start, and more.
    assert loaded.isdisjoint({"dataclasses", "inspect", "pathlib", "urllib.parse", "locale", "platform", "socket"})
    assert {name for name in loaded if name.partition(".")[0] == "agentd"} == {
        *("agentd", "agentd.core", "agentd.core.quantities"),
    }


def test_a_terminal_gets_a_table_in_colour(daemon: FakeDaemon) -> None:
    import pty

    controller, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "200"}
    environment.pop("NO_COLOR", None)
    with start("status", stdout=terminal, env=environment) as process:
        os.close(terminal)
        assert process.communicate()[1] == ""
    shown = os.read(controller, 1 << 16).decode()
    os.close(controller)
    assert "\x1b[1mJOB" in shown.replace("\x1b[0m", "")
    assert "\x1b[36mrunning: 40%: \\x1b[31mcopying" in shown, "the progress text steers the terminal"
