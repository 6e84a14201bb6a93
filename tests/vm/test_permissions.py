"""Who may call what on the system bus: as agentd(8) says it."""

import shlex
from collections.abc import Iterator

import pytest

from tests.vm.agentd import agentctl, configure, history
from tests.vm.machine import Machine, Session

# Each verb with a call that is right; run twice it does no harm.
CHANGES: dict[str, list[tuple[str, ...]]] = {
    "org.agentd1.run-jobs": [("Jobs", "RunJob", "sa{sv}", "quick", "0"), ("Jobs", "StopJob", "s", "quick")],
    "org.agentd1.manage-jobs": [
        ("Jobs", "Increase", "s", "quick"),
        ("Jobs", "Decrease", "s", "quick"),
        ("Jobs", "SetInterval", "st", "quick", "7200000000"),
        ("Jobs", "SetEnabled", "sb", "quick", "true"),
        ("Jobs", "Reset", "s", "quick"),
    ],
    "org.agentd1.manage-scheduler": [
        ("Scheduler", "Start", "sa{sv}a{sv}", "simple", "0", "0"),
        ("Scheduler", "Switch", "sa{sv}a{sv}", "simple", "0", "0"),
        ("Scheduler", "Restart"),
        ("Scheduler", "Keep"),
        ("Scheduler", "Stop", "a{sv}", "0"),
        ("Scheduler", "Restore"),
        ("Scheduler", "Clear", "s", ""),
        ("Scheduler", "StartMonitor", "a{sv}", "0"),
        ("Scheduler", "StopMonitor"),
        ("Scheduler", "Verify", "saya{sv}", "mine", "0", "0"),
        ("Scheduler", "RemoveCustom", "s", "mine"),
    ],
    "org.agentd1.reload": [("Manager", "Reload")],
    "org.agentd1.reboot": [("Reboot", "Clear")],
    "org.agentd1.manage-fleet": [("Reboot", "ReleaseHolder", "s", "web1")],
    "org.agentd1.report-progress": [
        ("Jobs", "ReportProgress", "ss", "quick.1", "hello"),
        ("Jobs", "Report", "ssa{sv}", "quick.1", "hello", "0"),
    ],
}
# What comes after the permission has reasons of its own to refuse: no run is under way, this kernel has no sched_ext.
PERMITTED = {
    "ReportProgress": "is not under way",
    "Report": "is not under way",
    "Start": "scx_simple cannot be had: this kernel has no sched_ext",
    "Switch": "scx_simple cannot be had: this kernel has no sched_ext",
    "Restart": "no scheduler of agentd's is on",
    "Keep": "no scheduler of agentd's is on",
    "Verify": "there is nothing in it",
    "RemoveCustom": "mine",
    "ReleaseHolder": "no fleet is configured",
}
READING = [
    ("Jobs", "ListJobs", "a{sv}", "0"),
    ("Jobs", "GetJob", "s", "quick"),
    ("Jobs", "NextTimes", "stu", "", "0", "3"),
    ("Jobs", "ListRuns", "a{sv}", "0"),
    ("Jobs", "ListDecisions", "a{sv}", "0"),
    ("Reboot", "GetStatus"),
    ("Reboot", "ListReboots", "a{sv}", "0"),
    ("Scheduler", "GetStatus"),
    ("Scheduler", "ListSchedulers", "a{sv}", "0"),
    ("Scheduler", "GetScheduler", "s", "simple"),
    ("Scheduler", "Check"),
    ("Scheduler", "ListTenures", "a{sv}", "0"),
    ("Scheduler", "GetMonitor"),
    ("Scheduler", "ListCustom"),
    ("Scheduler", "Release"),
]
# Of the four kinds of callers, those that are not root and were not asked for a password may only read.
CALLERS: dict[str, Session | None] = {"admin": "active", "user": "active", "nobody": None}


@pytest.fixture(scope="module")
def guarded(machine: Machine) -> Iterator[Machine]:
    configure(machine, "jobs: {quick: {run: [/bin/true], when: {every: 1h}, overlap: queue}}\n")
    yield machine
    machine.logout()


def call(machine: Machine, words: tuple[str, ...], caller: str) -> tuple[int, str]:
    """The exit code of a call, and the sentence of a refusal."""
    (found,) = call_each(machine, [words], caller)
    return found


def call_each(machine: Machine, calls: list[tuple[str, ...]], caller: str) -> list[tuple[int, str]]:
    """The same of several calls, which one shell makes."""
    script = []
    for interface, *rest in calls:
        command = shlex.join(["busctl", "call", "org.agentd1", "/org/agentd1", f"org.agentd1.{interface}", *rest])
        script.append(f'said=$({command} 2>&1 >/dev/null); echo "$?" $said')
    user = None if caller == "root" else caller
    done = machine.run("sh", "-c", "\n".join(script), user=user, session=CALLERS.get(caller), timeout=120)
    lines = [line.partition(" ") for line in done.out.splitlines()]
    return [(int(code), said) for code, _, said in lines]


@pytest.mark.parametrize("caller", ["root", *CALLERS])
def test_everybody_may_read(guarded: Machine, caller: str) -> None:
    found = call_each(guarded, READING, caller)
    assert {words: one for words, one in zip(READING, found, strict=True) if one != (0, "")} == {}


def test_root_may_do_everything(guarded: Machine) -> None:
    calls = [words for each in CHANGES.values() for words in each]
    for words, (code, said) in zip(calls, call_each(guarded, calls, "root"), strict=True):
        why = PERMITTED.get(words[1], "")
        assert (code, said) == (0, "") or (why and why in said), (words, said)


@pytest.mark.parametrize("caller", CALLERS)
def test_others_are_refused_and_told_the_action(guarded: Machine, caller: str) -> None:
    before = len(history(guarded))
    calls = [(action, words) for action, each in CHANGES.items() for words in each]
    found = call_each(guarded, [words for _, words in calls], caller)
    for (action, words), (code, said) in zip(calls, found, strict=True):
        assert code == 1
        assert f"{words[1]} needs the permission {action}" in said
    assert len(history(guarded)) == before
    if CALLERS[caller] is not None:  # known by the session; of the calls of a second one has a line
        assert f"{caller} was refused " in guarded.journal("-b", "-u", "agentd", "-o", "cat")


def test_an_administrator_is_asked_for_the_password_and_then_may(guarded: Machine) -> None:
    dialogue = [("Password: ", "secret")]
    done = guarded.converse("agentctl", "run", "quick", "--wait", user="admin", session="active", dialogue=dialogue)
    assert done.code == 0, done.out
    assert "quick." in done.out
    assert "success" in done.out
    decided = guarded.run("agentctl", "history", "--decisions", "quick", "-n", "5").out
    assert "asked to run by admin" in decided
    assert "asked to run by admin" in guarded.journal("-b", "-u", "agentd", "-o", "cat", "AGENTD_BY=admin")


def test_a_wrong_password_is_no_permission(guarded: Machine) -> None:
    guarded.run("systemctl", "restart", "polkit")  # forgets who was right a moment ago
    dialogue = [("Password: ", "wrong")]
    done = guarded.converse(
        "agentctl", "disable", "quick", user="admin", session="active", dialogue=dialogue, check=False
    )
    assert done.code == 4, done.out
    assert "SetEnabled needs the permission org.agentd1.manage-jobs" in done.out


def test_without_polkit_only_root_may(guarded: Machine) -> None:
    guarded.run("systemctl", "mask", "--runtime", "--now", "polkit")
    try:
        code, said = call(guarded, CHANGES["org.agentd1.run-jobs"][0], "admin")
        assert code == 1
        assert "RunJob needs the permission org.agentd1.run-jobs, but polkit could not be asked" in said
        assert call(guarded, READING[0], "nobody")[0] == 0
        assert call(guarded, CHANGES["org.agentd1.manage-jobs"][0], "root")[0] == 0
    finally:
        guarded.run("systemctl", "unmask", "--runtime", "polkit")
        guarded.run("systemctl", "start", "polkit")


def test_agentd_itself_may_start_its_jobs_and_little_else(guarded: Machine) -> None:
    def as_agentd(*words: str) -> int:
        return guarded.run("systemctl", "--no-ask-password", *words, user="agentd", check=False, timeout=90).code

    assert as_agentd("start", "agentd-job@quick.service") == 0
    assert as_agentd("stop", "agentd-job@quick.service") == 0
    assert as_agentd("daemon-reload") == 0
    for words in (
        ("start", "systemd-tmpfiles-clean.service"),
        ("restart", "agentd-job@quick.service"),
        ("reload", "agentd-job@quick.service"),
        ("kill", "agentd-job@quick.service"),
        ("stop", "dbus.service"),
        ("start", "agentd-ended-well@quick.service"),
        ("start", "agentd-ended-badly@quick.service"),
        ("stop", "agentd-verify@fifo.service"),
        ("start", "agentd-verify@FIFO.service"),
        ("start", "agentd-scx-try@fifo-.service"),
        ("start", "agentd-vmlinux.service"),
        ("set-property", "agentd-job@quick.service", "MemoryMax=infinity"),
        ("poweroff",),
        ("halt",),
        ("suspend",),
    ):
        assert as_agentd(*words) != 0, words
    # It may reboot the machine, but not against whoever holds it up, whatever it asks for.
    guarded.run(
        "systemd-run", "--unit=holder", "systemd-inhibit", "--what=shutdown", "--mode=block", "sleep", "infinity"
    )
    guarded.wait_until("systemd-inhibit --list | grep -q block", 30, "the inhibitor to be held")
    logind = ("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager")
    for words in (("Reboot", "b", "false"), ("RebootWithFlags", "t", "0"), ("RebootWithFlags", "t", "1")):
        refused = guarded.run("busctl", "call", *logind, *words, user="agentd", check=False)
        assert (refused.code, "denied" in refused.err) == (1, True), (words, refused)
    guarded.run("systemctl", "stop", "holder", check=False)
    transient = guarded.run("systemd-run", "--no-ask-password", "/bin/true", user="agentd", check=False)
    assert transient.code != 0


def test_no_signal_of_a_stranger_is_believed(guarded: Machine) -> None:
    guarded.run("rm", "-f", "/etc/agentd/conf.d/test.yaml")
    configure(guarded, "jobs: {long: {run: [sleep, '1000']}}\n")
    agentctl(guarded, "run", "long")
    guarded.wait_until("systemctl is-active --quiet agentd-job@long", 30, "the job to run")
    owner = guarded.run(
        "busctl", "call", "org.freedesktop.DBus", "/", "org.freedesktop.DBus", "GetNameOwner", "s", "org.agentd1"
    ).out
    unique = owner.split('"')[1]
    manager = ("/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
    for destination in ((), (f"--destination={unique}",)):
        guarded.run(
            *("busctl", *destination, "emit", *manager, "UnitRemoved", "so", "agentd-job@long.service", "/"),
            user="nobody",
        )
    guarded.run("sleep", "2")
    assert history(guarded, "long")[-1]["state"] == "running"
    agentctl(guarded, "stop", "long")
