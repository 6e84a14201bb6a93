"""Whose word counts about a run: systemd's, noted by root apart from the job, whose user gets nothing out of that."""

import contextlib
from collections.abc import Iterator

import pytest

from tests.vm.agentd import NOTES, agentctl, answers, call, configure, ended, history, run
from tests.vm.guest import MachineError
from tests.vm.machine import Machine

ENDED = "/run/agentd-ended"
DOWN = "the machine went down before the end of the run was known"
HOLD = f"{NOTES}/hold"
LIES = """EXIT_CODE=exited
EXIT_STATUS=0
SERVICE_RESULT=success
INVOCATION_ID=00000000000000000000000000000000
MONITOR_EXIT_CODE=exited
MONITOR_EXIT_STATUS=0
MONITOR_SERVICE_RESULT=success
"""
# Needs no compiler: whoever the loader of programs obeys here writes a file as himself.
TRAP = "LD_DEBUG=files\nLD_DEBUG_OUTPUT=/root/OWNED\nBASH_ENV=/home/user/trap\nENV=/home/user/trap\n"
JAIL = """
mkdir -p "$1/bin" "$1/usr/lib/agentd" "$1/run/agentd-ended"
cp /usr/bin/busybox "$1/bin/busybox"
ln -sf busybox "$1/bin/sh"
for name in start-job end-job note-end; do
    printf '#!/bin/sh\\n[ "$(/bin/busybox id -u)" != 0 ] || echo "uid 0 ran $0" >>/PWNED\\nshift; exec "$@"\\n' \
        >"$1/usr/lib/agentd/$name"
    chmod 755 "$1/usr/lib/agentd/$name"
done
"""


@pytest.fixture(scope="module")
def traps(machine: Machine) -> Machine:
    """A machine where the ordinary user has laid an environment file and a root directory."""
    machine.sh(f"rm -rf {NOTES}; mkdir -m 777 {NOTES}; install -d -o user /home/user")
    machine.write("/home/user/job.env", LIES + TRAP)
    machine.sh("chown user /home/user/job.env")
    machine.sh(JAIL + 'chown -Rh user "$1"', "/home/user/jail")
    machine.sh(JAIL, "/srv/jail")
    return machine


def noted(machine: Machine, instance: str) -> list[str]:
    """What root noted of the last end of a unit, up to its exit status."""
    return machine.read(f"{ENDED}/{instance}").splitlines()[:4]


@pytest.mark.parametrize("way", ["setting", "drop-in"])
def test_an_environment_file_of_the_jobs_user_gives_no_rights_and_no_verdict(traps: Machine, way: str) -> None:
    machine, job = traps, f"alice-{way}"
    more = ", systemd: {EnvironmentFile: /home/user/job.env}" if way == "setting" else ""
    folder = f"/etc/systemd/system/agentd-job@{job}.service.d"
    if way == "drop-in":
        machine.write(f"{folder}/env.conf", "[Service]\nEnvironmentFile=/home/user/job.env\n")
        machine.run("systemctl", "daemon-reload", timeout=90)
    configure(machine, f"jobs: {{{job}: {{run: 'echo $EXIT_STATUS; exit 7', user: user{more}}}}}\n")
    over = run(machine, job)
    machine.run("rm", "-rf", folder)
    assert (over["result"], over["exit_code"]) == ("exit-code", 7)
    assert agentctl(machine, "log", job).out.endswith("0\n"), "the environment did not reach the job"
    assert machine.run("find", "/root", "-name", "OWNED*").out == ""


def test_a_root_directory_of_the_jobs_user_gives_no_rights(traps: Machine) -> None:
    machine = traps
    inside = "systemd: {RootDirectory: /home/user/jail}"
    configure(machine, f"jobs: {{jail: {{run: 'busybox id -u; exit 7', user: user, {inside}}}}}\n")
    over = run(machine, "jail")
    assert (over["result"], over["exit_code"]) == ("exit-code", 7)
    assert machine.run("find", "/home/user/jail", "-name", "PWNED").out == ""


def test_a_job_in_a_root_directory_needs_nothing_of_agentds_there(traps: Machine) -> None:
    machine = traps
    machine.run("rm", "-rf", "/srv/jail/usr")
    inside = "systemd: {RootDirectory: /srv/jail}"
    configure(
        machine,
        f"jobs:\n  good: {{run: [/bin/busybox, echo, 'a $HOME 100%'], {inside}}}\n"
        f"  bad: {{run: exit 7, {inside}}}\n  none: {{run: [/bin/nothing], {inside}}}\n",
    )
    found = {job: run(machine, job) for job in ("good", "bad", "none")}
    assert {job: (over["result"], over["exit_code"]) for job, over in found.items()} == {
        "good": ("success", 0),
        "bad": ("exit-code", 7),
        "none": ("start-failed", 203),
    }
    assert found["good"]["cpu_usec"] > 0
    assert found["good"]["peak_memory"] > 0
    assert agentctl(machine, "log", "good").out == "a $HOME 100%\n"
    refused = "jobs: {bare: {run: [ls], systemd: {RootDirectory: /srv/jail}}}\n"
    machine.write("/var/tmp/refused.yaml", refused)
    said = agentctl(machine, "check", "/var/tmp/refused.yaml", check=False)
    assert (said.code, "expected the path of the program within that root" in said.out + said.err) == (2, True)


def test_each_of_many_ends_in_quick_succession_is_its_own_runs(traps: Machine) -> None:
    machine = traps
    configure(machine, "jobs: {parity: {run: 'exit $((${AGENTD_RUN_ID##*.} % 3))', when: {every: 1s}}}\n")
    over = ended(machine, "parity", 12, timeout=180)
    configure(machine, "jobs: {}\n")
    assert {run["run_id"]: run["exit_code"] for run in over} == {
        run["run_id"]: int(run["run_id"].rpartition(".")[2]) % 3 for run in over
    }
    assert [run for run in over if run["ended"] < run["started"]] == []


@pytest.fixture
def slow(traps: Machine) -> Iterator[Machine]:
    """The same machine, in which no end is noted while there is a file that holds it."""
    folders = [f"/run/systemd/system/agentd-ended-{how}@.service.d" for how in ("well", "badly")]
    wait = f"ExecStartPre=/bin/sh -c 'while [ -e {HOLD} ]; do sleep 1; done'"
    for folder in folders:
        traps.write(f"{folder}/slow.conf", f"[Service]\n{wait}\nTimeoutStartSec=infinity\n")
    traps.run("systemctl", "daemon-reload", timeout=90)
    yield traps
    traps.run("rm", "-rf", HOLD, *folders)
    traps.run("systemctl", "daemon-reload", timeout=90)


@pytest.mark.parametrize(("first", "second"), [(3, 4), (3, 0), (0, 4)])
def test_a_unit_that_is_started_again_while_its_end_is_noted_loses_no_end(
    slow: Machine, first: int, second: int
) -> None:
    machine, code = slow, f"{NOTES}/code"
    configure(machine, f"jobs: {{again: {{run: 'echo $INVOCATION_ID; exit $(cat {code})'}}}}\n")
    machine.sh(f"echo {first} > {code}; touch {HOLD}")
    before = len(history(machine, "again"))
    call(machine, "Jobs", "RunJob", "sa{sv}", "again", "0")
    resting = "systemctl show -P ActiveState agentd-job@again | grep -qE 'inactive|failed'"
    noting = "systemctl list-jobs | grep -q 'agentd-ended-.*@again.service .*running'"
    machine.wait_until(f"{resting} && {noting}", 60, "the end to be noted")
    machine.write(code, f"{second}\n")
    machine.run("systemctl", "start", "--no-block", "agentd-job@again")
    machine.sh(f"systemctl list-jobs | grep -q 'agentd-job@again.service .*waiting'; rm {HOLD}")
    over = ended(machine, "again", before + 1)[-1]
    assert (over["result"], over["exit_code"]) == ("exit-code" if first else "success", first)

    def second_noted() -> bool:
        return noted(machine, "again")[1:] == ["exit-code" if second else "success", "exited", str(second)]

    machine.wait_until(second_noted, 60, "the second end to be noted")
    machine.run("journalctl", "--sync")
    first_invocation, second_invocation = machine.journal("-o", "cat", "-t", "again", "-n", "2").split()
    assert noted(machine, "again")[0] == second_invocation != first_invocation


def test_a_unit_that_is_restarted_by_hand_ends_the_run_as_stopped(slow: Machine) -> None:
    machine = slow
    configure(machine, "jobs: {redone: {run: [sleep, '1000']}}\n")
    call(machine, "Jobs", "RunJob", "sa{sv}", "redone", "0")
    machine.wait_until("systemctl is-active --quiet agentd-job@redone", 60, "the job to run")
    machine.run("touch", HOLD)
    machine.run("systemctl", "restart", "--no-block", "agentd-job@redone")
    machine.wait_until(
        "systemctl list-jobs | grep -q 'agentd-job@redone.service .*waiting'", 60, "the next start to wait"
    )
    machine.run("rm", HOLD)
    (over,) = ended(machine, "redone")
    assert (over["result"], over["reason"]) == ("stopped", "stopped through systemd")
    machine.run("systemctl", "stop", "agentd-job@redone", timeout=90)


def test_an_end_that_could_not_be_noted_is_what_systemd_knows_of_it(traps: Machine) -> None:
    machine = traps
    configure(machine, "jobs: {unnoted: {run: exit 5}}\n")
    notes = [f"agentd-ended-{how}@unnoted.service" for how in ("well", "badly")]
    machine.run("systemctl", "mask", "--runtime", *notes)
    call(machine, "Jobs", "RunJob", "sa{sv}", "unnoted", "0")
    machine.wait_until("systemctl is-failed --quiet agentd-job@unnoted", 60, "the run to fail")
    machine.run("systemctl", "daemon-reexec", timeout=90)  # after which agentd looks at every run
    (over,) = ended(machine, "unnoted")
    machine.run("systemctl", "unmask", "--runtime", *notes)
    assert (over["result"], over["exit_code"]) == ("exit-code", 5)
    assert over["cpu_usec"] > 0


def test_the_end_of_a_unit_that_was_loaded_before_an_upgrade_is_read(traps: Machine) -> None:
    machine = traps
    folder = "/run/systemd/system/agentd-job@old.service.d"
    notes = [f"agentd-ended-{how}@old.service" for how in ("well", "badly")]
    machine.run("systemctl", "mask", "--runtime", *notes)
    machine.write(f"{folder}/old.conf", '[Service]\nExecStopPost=-+/usr/lib/agentd/end-job "old"\n')
    configure(machine, "jobs: {old: {run: exit 7}}\n")
    over = run(machine, "old")
    machine.run("rm", "-rf", folder)
    machine.run("systemctl", "unmask", "--runtime", *notes)
    assert (over["result"], over["exit_code"]) == ("exit-code", 7)
    assert over["cpu_usec"] > 0


def going_down(machine: Machine, *how: str) -> None:
    """Starts a job that would have an exit code of its own to tell, then has systemd end it with everything else."""
    machine.run("rm", "-f", f"{NOTES}/begun")
    run = f"trap 'exit 7' TERM; echo $AGENTD_RUN_ID >> {NOTES}/begun; sync; sleep 1000 & wait"
    configure(machine, f'jobs: {{cut: {{run: "{run}"}}}}\n')
    call(machine, "Jobs", "RunJob", "sa{sv}", "cut", "0")
    machine.wait_until(f"[ -s {NOTES}/begun ]", 60, "the job to run")
    # Past logind, so that agentd is not asked before, and later, so that the answer to this comes back.
    soon = ("--on-active=3s", "--timer-property=AccuracySec=100ms")  # systemd would take a minute's liberty
    machine.run("systemd-run", "--quiet", *soon, *how)


def check_cut(machine: Machine, count: int) -> None:
    over = ended(machine, "cut", count, timeout=240)[-1]
    assert (over["result"], over["exit_code"], over["reason"]) == (
        "interrupted",
        None,
        DOWN,
    )
    assert machine.read(f"{NOTES}/begun") == f"{over['run_id']}\n", "it began once"


def test_a_run_that_a_shutdown_cut_off_is_told_as_interrupted_after_the_boot(traps: Machine) -> None:
    machine = traps
    boot = machine.boot_id
    going_down(machine, "systemctl", "start", "reboot.target", "--job-mode=replace-irreversibly")
    machine.wait_reboot(boot)
    answers(machine, 120)
    check_cut(machine, 1)


def test_a_run_that_a_soft_reboot_cut_off_is_told_as_interrupted_and_does_not_begin_again(traps: Machine) -> None:
    machine = traps
    machine.outlive_soft_reboot()
    going_down(machine, "systemctl", "start", "soft-reboot.target", "--job-mode=replace-irreversibly")

    def again() -> bool:
        with contextlib.suppress(MachineError, AssertionError):  # it does not answer while it goes down and comes up
            answers(machine, 60)
            return machine.run("busctl", "get-property", "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
                               "org.freedesktop.systemd1.Manager", "SoftRebootsCount").out == "u 1\n"  # fmt: skip
        return False

    machine.wait_until(again, 240, "the user space to come up anew")
    check_cut(machine, 2)
