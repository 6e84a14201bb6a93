"""The supervisor of standalone jobs as a process of its own, spoken to as the daemon does."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentd.jobs.supervisor import tree, wire
from agentd.jobs.supervisor.signals import name_of

PROGRAM = Path(wire.__file__).with_name("__main__.py")
PATIENCE = 30.0  # generous: no test is decided by how fast this machine is
IGNORES = 'trap "" TERM; while :; do sleep 0.1; done'
Report = dict[str, Any]


def until(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.005)


class Supervisor:
    """A supervisor, and the daemon's end of its socket."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.note = folder / "note"
        self.state = f"state-of-{folder}"
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(PATIENCE)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", PROGRAM, str(theirs.fileno()), str(lock), self.note, self.state],
            pass_fds=(theirs.fileno(), lock),
            env={**os.environ, **environment},
        )
        theirs.close()
        os.close(lock)

    def send(self, **order: object) -> None:
        self.socket.send(json.dumps(order).encode())

    def start(self, name: str, *argv: str, **more: object) -> None:
        self.send(**self.order(name, *argv, **more))

    def order(self, name: str, *argv: str, **more: object) -> dict[str, object]:
        facts = {"AGENTD_RUN_ID": name, "AGENTD_STATE": self.state}
        usual = {"cwd": str(self.folder), "user": None, "group": None, "output": None, "cap": 1000, "timeout": None}
        env = {**facts, **more.pop("env", {})}  # type: ignore[dict-item] # a mapping, as given below
        return {
            "op": "start",
            "id": name,
            "argv": argv,
            "env": env,
            "kill_after": PATIENCE,
            "at": None,
            **usual,
            **more,
        }

    def reports(self, count: int) -> list[Report]:
        return [json.loads(self.socket.recv(wire.LARGEST_MESSAGE)) for _ in range(count)]

    def ended(self, name: str) -> Report:
        """The report of the end, past others."""
        while True:
            (report,) = self.reports(1)
            if (report["ev"], report["id"]) == ("ended", name):
                return report

    def processes(self) -> list[int]:
        """What lives of its runs, by the environment."""
        return [pid for pid in tree.every() if tree.variables(pid).get(tree.STATE) == self.state.encode()]

    def left(self) -> dict[str, Report]:
        """What the supervisor notes after the daemon's death."""
        self.process.wait(PATIENCE)
        lines = self.note.read_text().splitlines() if self.note.exists() else []
        return {report["id"]: report for report in map(json.loads, lines)}

    def close(self) -> None:
        self.socket.close()
        self.process.send_signal(signal.SIGCONT)
        self.process.wait(PATIENCE)
        tree.send(self.processes(), signal.SIGKILL)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    started = Supervisor(tmp_path)
    yield started
    started.close()


# Everything that descends from a run ends with it


@pytest.mark.parametrize(
    "hide",
    [
        pytest.param("setsid sh -c '{}' & wait", id="a session of its own"),
        pytest.param("setsid -f sh -c '{}'; sleep 100", id="adopted"),
        pytest.param("(setsid sh -c '{}' &) ; sleep 100", id="a double fork"),
        pytest.param("env -i PATH=$PATH setsid sh -c '{}' & wait", id="without the environment"),
        pytest.param("sh -c '{}' & wait", id="in its group"),
    ],
)
@pytest.mark.parametrize("how", ["stopped", "timeout"])
def test_a_stopped_or_timed_out_run_takes_all_that_descends_from_it(
    supervisor: Supervisor, tmp_path: Path, hide: str, how: str
) -> None:
    pids = tmp_path / "pids"
    inner = f'echo $$ >> {pids}; trap "" TERM; while :; do sleep 0.1; done'
    limit = 1.0 if how == "timeout" else None
    supervisor.start("a.1", "sh", "-c", hide.format(inner), timeout=limit, kill_after=0.3)
    until(lambda: pids.exists() and pids.read_text(), "the hidden process")
    if how == "stopped":
        supervisor.send(op="stop", id="a.1", result="stopped")
    assert supervisor.ended("a.1")["result"] == how
    until(lambda: not Path(f"/proc/{pids.read_text().strip()}").exists(), "the hidden process to end")
    until(lambda: not supervisor.processes(), "everything to end")


def test_what_an_ended_run_leaves_in_another_session_is_asked_to_end_and_its_end_waits_for_that(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    asked = tmp_path / "asked"
    inner = f'trap "sleep 0.3; echo asked > {asked}; exit" TERM; touch {tmp_path}/ready; while :; do sleep 0.1; done'
    supervisor.start(
        "a.1", "sh", "-c", f"setsid -f sh -c '{inner}'; until test -e {tmp_path}/ready; do :; done; exit 3"
    )
    assert supervisor.ended("a.1")["exit_code"] == 3
    assert asked.read_text() == "asked\n"
    assert not supervisor.processes()


def test_what_an_ended_run_leaves_and_ignores_sigterm_is_killed_when_its_time_is_over(supervisor: Supervisor) -> None:
    supervisor.start("a.1", "sh", "-c", f"setsid -f sh -c '{IGNORES}'; setsid -f sh -c '{IGNORES}'", kill_after=0.2)
    assert supervisor.ended("a.1")["result"] == "success"
    until(lambda: not supervisor.processes(), "everything to end")


def test_what_an_ended_run_leaves_is_asked_to_end_also_where_it_came_only_after_that(supervisor: Supervisor) -> None:
    """Without another look the run would end when its patience is over, which the test does not wait for."""
    late = "trap 'setsid -f sleep 100; exit' TERM; touch ready; while :; do sleep 0.01; done"
    supervisor.start("a.1", "sh", "-c", f'setsid -f sh -c "{late}"; until test -e ready; do :; done')
    assert supervisor.ended("a.1")["result"] == "success"
    assert not supervisor.processes()


def test_the_end_of_a_run_waits_for_what_is_becoming_another_program(supervisor: Supervisor) -> None:
    """A process without a run's environment is there for some milliseconds, and then shows one. Of five, more than one
    falls into the moment of the end."""
    becomes = "env -i /usr/bin/setsid -f /bin/sh -c 'exec /usr/bin/env {shows} /bin/sleep 100'"
    late = 'trap "{becomes}; exit" TERM; touch {ready}; while :; do sleep 0.01; done'
    for run in ("a.1", "a.2", "a.3", "a.4", "a.5"):
        shows = f"AGENTD_RUN_ID={run} AGENTD_STATE={supervisor.state}"
        script = late.format(becomes=becomes.format(shows=shows), ready=run)
        supervisor.start(run, "sh", "-c", f'setsid -f sh -c "$0"; until test -e {run}; do :; done', script)
        assert supervisor.ended(run)["result"] == "success"
        assert not supervisor.processes()


def test_the_end_of_a_run_leaves_other_runs_and_what_they_daemonised_alone(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    supervisor.start("a.1", "sh", "-c", f"setsid -f sh -c 'echo $$ > {pid}; exec sleep 100'; exec sleep 100")
    until(lambda: pid.exists() and pid.read_text(), "the daemonised process")
    supervisor.start("b.2", "setsid", "-f", "sleep", "100")
    assert supervisor.ended("b.2")["result"] == "success"
    # A process that becomes another program shows no environment for a moment.
    until(lambda: int(pid.read_text()) in supervisor.processes(), "the daemonised process to be seen")
    until(lambda: runs_of(supervisor) == {"a.1"}, "what the ended run left to be gone")


def runs_of(supervisor: Supervisor) -> set[str]:
    """The runs of all that lives, but for what is becoming another program."""
    return {tree.run_of(one, supervisor.state.encode()) for one in supervisor.processes()} - {""}


def test_what_shows_whose_it_was_only_after_the_end_of_its_run_is_ended(supervisor: Supervisor, tmp_path: Path) -> None:
    """Nothing else ends meanwhile, and another run is under way."""
    pid, shows = tmp_path / "pid", f"AGENTD_RUN_ID=b.2 AGENTD_STATE={supervisor.state}"
    inner = f"echo $$ > {pid}; until test -e {tmp_path}/go; do :; done; exec /usr/bin/env {shows} /bin/sleep 100"
    hide = f"env -i /usr/bin/setsid -f /bin/sh -c '{inner}'; until test -s {pid}; do :; done"
    supervisor.start("a.1", "sleep", "100")
    supervisor.start("b.2", "sh", "-c", hide)
    assert supervisor.ended("b.2")["result"] == "success"
    (tmp_path / "go").touch()
    hidden = Path(f"/proc/{int(pid.read_text())}")
    until(lambda: not hidden.exists(), "what the ended run left to be gone")
    assert runs_of(supervisor) == {"a.1"}


def test_what_hides_behind_another_environment_ends_once_no_run_is_under_way(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    hide = (
        f"env -i /usr/bin/setsid -f /bin/sh -c 'echo $$ > {pid}; exec /bin/sleep 100'; until test -s {pid}; do :; done"
    )
    supervisor.start("a.1", "sleep", "100")
    supervisor.start("b.2", "sh", "-c", hide)
    supervisor.ended("b.2")
    hidden = Path(f"/proc/{pid.read_text().strip()}")
    assert hidden.exists()  # nobody can tell whose it is
    supervisor.send(op="stop", id="a.1", result="stopped")
    supervisor.ended("a.1")
    assert not hidden.exists()


def test_what_shows_whose_it_is_only_after_it_was_looked_at_ends_with_its_run(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    """A process shows no environment while it becomes another program; here for as long as the test wants."""
    pid, shows = tmp_path / "pid", f"AGENTD_RUN_ID=b.2 AGENTD_STATE={supervisor.state}"
    inner = f"echo $$ > {pid}; until test -e {tmp_path}/go; do :; done; exec /usr/bin/env {shows} /bin/sleep 100"
    supervisor.start("a.1", "sleep", "100")
    supervisor.start("b.2", "sh", "-c", f"env -i /usr/bin/setsid -f /bin/sh -c '{inner}'; sleep 100")
    until(lambda: pid.exists() and pid.read_text(), "the hidden process")
    supervisor.start("c.3", "true")
    supervisor.ended("c.3")  # after a look at all that was adopted
    (tmp_path / "go").touch()
    hidden = int(pid.read_text())
    until(lambda: tree.variables(hidden).get(tree.RUN) == b"b.2", "the hidden process to show itself")
    supervisor.send(op="stop", id="b.2", result="stopped")
    supervisor.ended("b.2")
    assert hidden not in supervisor.processes()


def test_a_run_that_ended_by_itself_keeps_its_result_when_it_is_stopped_while_its_rest_ends(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    supervisor.start("a.1", "sh", "-c", f"setsid -f sh -c '{IGNORES}'; echo $$ > leader; exit 3", kill_after=1.0)
    leader = tmp_path / "leader"
    until(lambda: leader.exists() and leader.read_text(), "the leader")
    until(lambda: not Path(f"/proc/{leader.read_text().strip()}").exists(), "its end")
    supervisor.send(op="stop", id="a.1", result="stopped")
    assert supervisor.ended("a.1")["result"] == "exit-code"


@pytest.mark.parametrize("kernel", ["lists children", "does not"])
def test_children_are_those_right_below_on_any_kernel(kernel: str, tmp_path: Path) -> None:
    script = "sleep 100 & touch ready; wait"
    with subprocess.Popen(["sh", "-c", script], cwd=tmp_path, start_new_session=True) as process:
        until((tmp_path / "ready").exists, "the child and its own")
        below = tree.Below()
        if kernel == "does not":
            os.close(below._file)
            below._file = -1
        assert process.pid in below.pids()
        assert tree.Snapshot().children(process.pid)
        assert not {*tree.Snapshot().children(process.pid)} & {*below.pids()}
        os.killpg(process.pid, signal.SIGKILL)


# Deaths


def test_a_supervisor_that_is_stopped_when_its_daemon_dies_ends_everything(supervisor: Supervisor) -> None:
    # The daemon's thread is its parent: here a process in between, which is killed.
    inner = (
        "import os, socket, subprocess, sys, time\n"
        "ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
        "lock = os.open(sys.argv[2], os.O_RDWR)\n"
        "command = [sys.executable, '-I', '-S', sys.argv[1], str(theirs.fileno()), str(lock), sys.argv[3], 'x']\n"
        "one = subprocess.Popen(command, pass_fds=(theirs.fileno(), lock))\n"
        "print(one.pid, flush=True)\n"
        "ours.send(sys.argv[4].encode())\n"
        "ours.recv(65536)\n"
        "print('started', flush=True)\n"
        "time.sleep(1000)\n"
    )
    order = json.dumps(supervisor.order("a.1", "sleep", "100"))
    lock, note = supervisor.folder / "lock", supervisor.folder / "other"
    daemon = subprocess.Popen([sys.executable, "-c", inner, PROGRAM, lock, note, order], stdout=subprocess.PIPE)
    with daemon:
        assert daemon.stdout is not None
        pid = int(daemon.stdout.readline())
        daemon.stdout.readline()
        until(supervisor.processes, "the run to begin")  # its environment shows a moment after its start
        os.kill(pid, signal.SIGSTOP)
        until(lambda: tree.is_stopped(pid), "the supervisor to be stopped")
        daemon.kill()
    until(lambda: not supervisor.processes(), "the run to end")
    until(lambda: not Path(f"/proc/{pid}").exists() or not tree.variables(pid), "the supervisor to end")
    assert json.loads(note.read_text())["result"] == "interrupted"


def test_orders_that_a_daemon_sent_before_it_died_are_noted_as_not_begun(supervisor: Supervisor) -> None:
    supervisor.start("a.1", "true")
    assert len(supervisor.reports(1)) == 1
    until(lambda: supervisor.socket.recv(1, socket.MSG_PEEK), "a report that stays unread")
    os.kill(supervisor.process.pid, signal.SIGSTOP)
    supervisor.start("b.2", "true", at=time.monotonic() + 1000)
    supervisor.socket.close()  # with a report unread, which the other side hears of before it hears the order
    os.kill(supervisor.process.pid, signal.SIGCONT)
    assert {name: report["result"] for name, report in supervisor.left().items()} == {
        "a.1": "success",
        "b.2": "not-begun",
    }


def test_a_program_that_is_kept_ends_with_a_supervisor_that_is_killed(supervisor: Supervisor) -> None:
    supervisor.send(**{**supervisor.order("bus", "sleep", "100"), "op": "keep"})
    supervisor.reports(1)
    until(supervisor.processes, "the program to begin")
    supervisor.process.kill()
    until(lambda: not supervisor.processes(), "the program to end")


def test_a_program_that_is_kept_is_no_run_to_note(supervisor: Supervisor) -> None:
    supervisor.send(**{**supervisor.order("bus", "sleep", "100"), "op": "keep"})
    supervisor.reports(1)
    supervisor.socket.close()
    assert supervisor.left() == {}
    assert not supervisor.note.exists()


def limit_files(pid: int, more: int) -> None:
    """Lets a process open so many files more, for good."""
    used = {int(file.name) for file in Path(f"/proc/{pid}/fd").iterdir()}
    free = [number for number in range(2000) if number not in used]
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free[more], free[more]))


def test_a_supervisor_whose_descriptors_are_limited_goes_on_and_without_any_says_so(supervisor: Supervisor) -> None:
    supervisor.start("a.1", "true")
    supervisor.ended("a.1")
    limit_files(supervisor.process.pid, 2)  # below the limit that it began with
    supervisor.start("b.2", "sh", "-c", f"setsid -f sh -c '{IGNORES}'; exec sleep 100", kill_after=0.1)
    assert [report["ev"] for report in supervisor.reports(1)] == ["started"]
    limit_files(supervisor.process.pid, 0)
    supervisor.start("c.3", "true")
    assert supervisor.ended("c.3")["reason"] == "no process could be started: Too many open files"
    supervisor.send(op="stop", id="b.2", result="stopped")
    assert supervisor.ended("b.2")["result"] == "stopped"
    until(lambda: not supervisor.processes(), "everything to end")


def test_a_supervisor_that_cannot_start_for_want_of_descriptors_says_one_sentence(tmp_path: Path) -> None:
    """With each number of descriptors, once Python itself is up, which has words of its own."""
    limited = (
        "import resource, sys\n"
        "code = compile(open(sys.argv[1]).read(), sys.argv[1], 'exec')\n"
        "most = int(sys.argv[2])\n"
        "sys.argv[1:3] = []\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))\n"
        "exec(code, {'__name__': '__main__', '__file__': str(sys.argv.pop())})\n"
    )
    sentence = "agentd: the supervisor of the jobs cannot start: Too many open files\n"
    for most in range(3, 100):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.close()  # a supervisor that starts ends at once
        with theirs, (tmp_path / "lock").open("w") as lock:
            files = (theirs.fileno(), lock.fileno())
            command = [
                sys.executable,
                "-I",
                "-S",
                "-c",
                limited,
                PROGRAM,
                most,
                *files,
                tmp_path / "note",
                "x",
                PROGRAM,
            ]
            done = subprocess.run([*map(str, command)], pass_fds=files, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode == 0:
            break
        assert (done.returncode, done.stderr) == (1, sentence), most
    assert done.returncode == 0
    assert most > 3


@pytest.mark.parametrize("op", ["start", "keep"])
def test_a_process_that_is_stopped_right_after_its_start_is_asked_to_end(supervisor: Supervisor, op: str) -> None:
    for number in range(20):
        order = supervisor.order(f"a.{number}", "sleep", "100", user=str(os.getuid()))
        supervisor.send(**{**order, "op": op})
        supervisor.reports(1)
        supervisor.send(op="stop", id=f"a.{number}", result="stopped")
        report = supervisor.ended(f"a.{number}")
        assert (report["result"], report["signal"]) == ("stopped", "SIGTERM")


def test_a_note_has_its_room_from_the_start(
    supervisor: Supervisor,
) -> None:
    supervisor.start("a.1", "sh", "-c", "head -c 100000 /dev/zero | tr '\\0' y; echo the end")
    supervisor.ended("a.1")
    assert supervisor.note.stat().st_blocks * 512 >= 1 << 16
    supervisor.socket.close()
    assert supervisor.left()["a.1"]["tail"].endswith("the end\n")


# Starting


def test_umask_of_the_supervisor_is_the_runs_and_not_that_of_its_files(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        supervisor = Supervisor(tmp_path)
    finally:
        os.umask(before)
    supervisor.start("a.1", "sh", "-c", "umask", output=str(tmp_path / "output"))
    assert supervisor.ended("a.1")["tail"] == "0027\n"
    assert (tmp_path / "output").stat().st_mode & 0o777 == 0o600
    assert supervisor.note.stat().st_mode & 0o777 == 0o600
    supervisor.close()


def test_a_job_is_not_told_in_which_folder_somebody_was_who_started_agentd(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path, OLDPWD="/home/alice/secret-project")
    supervisor.start("a.1", "env", cwd="/")
    assert "OLDPWD" not in supervisor.ended("a.1")["tail"]
    supervisor.close()


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")
@pytest.mark.parametrize("user", ["nobody", "65534"])
def test_a_job_of_another_user_gets_nothing_of_roots_environment(tmp_path: Path, user: str) -> None:
    secrets = {"AWS_SECRET_ACCESS_KEY": "root-only", "XDG_RUNTIME_DIR": "/run/user/0", "LANG": "C.UTF-8", "TZ": "UTC"}
    supervisor = Supervisor(tmp_path, **secrets)
    supervisor.start("a.1", "env", user=user, cwd="/", env={"COLOUR": "blue"})
    lines = supervisor.ended("a.1")["tail"].splitlines()
    assert {line.partition("=")[0] for line in lines} == {
        *("PATH", "LANG", "TZ", "USER", "LOGNAME", "HOME", "SHELL", "COLOUR", "AGENTD_RUN_ID", "AGENTD_STATE")
    }
    assert {"USER=nobody", "LANG=C.UTF-8", "TZ=UTC", f"PATH={os.environ['PATH']}"} <= {*lines}
    supervisor.start("b.2", "env", user="root", cwd="/")
    assert "AWS_SECRET_ACCESS_KEY=root-only" in supervisor.ended("b.2")["tail"]
    supervisor.close()


def test_what_cannot_be_started_is_told_in_words_that_lead_to_the_cause(supervisor: Supervisor, tmp_path: Path) -> None:
    for name, first in {"windows": "#!/bin/sh\r", "missing": "#! /no/such/interp -x", "loader": "\x7fELF"}.items():
        (tmp_path / name).write_bytes(f"{first}\n".encode())
        (tmp_path / name).chmod(0o755)

    def reason(program: str, **more: object) -> str:
        supervisor.start(program, program, **more)
        report = supervisor.ended(program)
        assert report["result"] == "start-failed"
        return str(report["reason"])

    windows, missing = tmp_path / "windows", tmp_path / "missing"
    assert reason(str(windows)) == (
        f'cannot run {windows}: its first line names the interpreter "/bin/sh\\r", which does not exist; '
        "the file has the line ends of Windows"
    )
    assert reason(str(missing)) == (
        f'cannot run {missing}: its first line names the interpreter "/no/such/interp", which does not exist'
    )
    assert reason(str(tmp_path)) == f"cannot run {tmp_path}: that is a folder"
    assert reason("no-such") == "cannot run no-such: there is no such program in PATH"
    assert reason("a", cwd="/not/there") == "cannot change to the folder /not/there: No such file or directory"
    assert reason("b", user="nosuchuser") == "there is no user nosuchuser"
    assert reason("c", user="4294967290") == "there is no user 4294967290"
    assert reason("d", group="nosuchgroup") == "there is no group nosuchgroup"
    assert reason("nul", env={"A": "a\0b"}).startswith("cannot run nul: ")


def test_signals_without_a_name_of_their_own_are_named_as_systemd_does() -> None:
    assert [name_of(number) for number in (9, 32, 34, 40, 64)] == [
        *("SIGKILL", "SIG32", "SIGRTMIN", "SIGRTMIN+6", "SIGRTMAX")
    ]


# Reports


def test_forty_ends_are_reported_before_anything_else_becomes_due(supervisor: Supervisor) -> None:
    """However many runs are due together, their ends wait for nothing but the starts that are due as well."""
    due = time.monotonic() + 0.3
    for number in range(40):
        supervisor.start(f"a.{number}", "true", at=due)
    supervisor.start("later.1", "true", at=due + 1000)
    ended = {report["id"] for report in supervisor.reports(80) if report["ev"] == "ended"}
    assert ended == {f"a.{number}" for number in range(40)}


# Due times


def test_nothing_starts_before_the_wall_clock_shows_its_due_time(supervisor: Supervisor) -> None:
    """Set back since the order came, the wall clock shows another instant than the clock by which the order goes."""
    due = round((time.time() + 0.3) * 1e6)
    supervisor.start("a.1", "true", at=time.monotonic(), due=due)
    supervisor.start("b.1", "true", at=time.monotonic())
    first, *_, last = [report for report in supervisor.reports(4) if report["ev"] == "started"]
    assert (first["id"], last["id"]) == ("b.1", "a.1")
    assert last["at"] >= due


def test_a_wall_clock_that_was_set_back_far_strands_nothing(supervisor: Supervisor) -> None:
    supervisor.start("a.1", "true", at=time.monotonic(), due=round((time.time() + 3600) * 1e6))
    assert supervisor.ended("a.1")["result"] == "success"


def test_a_start_that_the_wall_clock_puts_off_can_be_taken_back(supervisor: Supervisor) -> None:
    supervisor.start("a.1", "true", at=time.monotonic(), due=round((time.time() + 4) * 1e6))
    supervisor.start("b.1", "true", at=time.monotonic())
    assert supervisor.ended("b.1")["result"] == "success"
    supervisor.send(op="stop", id="a.1", result="cancelled")
    assert supervisor.ended("a.1")["result"] == "cancelled"
