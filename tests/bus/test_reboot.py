"""Reboots as callers, people and logind meet them: a real agentd, a fake logind on a real bus."""

import fcntl
import resource
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from jeepney import DBusAddress, new_signal

from tests.bus.harness import Agentd
from tests.bus.logind_template import DENIED, IN_PROGRESS, MANAGER, PATH
from tests.bus.machine import AT_ONCE, Machine, plain, refusal

HOUR = 3600 * 1_000_000
WARNED = "grace: 1h, warnings: [], limits: {min_uptime: 0s}"


def usec(ahead: float = 0) -> int:
    return int((time.time() + ahead) * 1e6)


# What is refused


def test_a_standalone_agentd_reboots_nothing_and_says_so(agentd: Agentd) -> None:
    agentd.start("jobs: {}")
    assert agentd.property("Reboot.State") == "disabled"
    for member, signature, *body in (
        ("RebootNow", "a{sv}", {}),
        ("Examine", "a{sv}", {}),
        ("RequestReboot", "sa{sv}", "why", {}),
        ("CancelReboot", ""),
        ("Clear", ""),
        ("ListHolders", ""),
    ):
        name, sentence = refusal(lambda: agentd.call(f"Reboot.{member}", signature, *body))  # noqa: B023
        assert (name, "\n" in sentence) == ("Unsupported", False), member
    assert agentd.call("Reboot.ListReboots", "a{sv}", {}) == []
    assert plain(agentd.call("Reboot.GetStatus"))["state"] == "disabled"
    done = agentd.ctl("reboot-now")
    assert (done.returncode, "standalone" in done.stderr) == (1, True)
    assert "does not reboot this machine" in agentd.ctl("reboot").stdout


def a_package_manager(machine: Machine) -> None:
    machine.dpkg = (machine.folder / "dpkg-lock").open("w")
    fcntl.lockf(machine.dpkg, fcntl.LOCK_EX)


WAYS: dict[str, tuple[Callable[[Machine], object], str]] = {
    "inhibitor": (lambda machine: machine.logind.block(), "backup-tool (process 7 of root) holds the machine up"),
    "inhibitor, weak": (lambda machine: machine.logind.block(mode="block-weak"), "holds the machine up: copying"),
    "session": (lambda machine: machine.logind.log_in("7", "alice"), "alice is logged in on tty2"),
    "job": (lambda machine: machine.work("copy"), "copy.1 runs, and copy is critical"),
    "package-manager": (a_package_manager, "is at work and holds"),
    "logind": (lambda machine: setattr(machine.logind, "can", "challenge"), "CanReboot says challenge"),
    "logind, absent": (lambda machine: machine.logind.stop(), "systemd-logind does not answer"),
    "logind, mute": (
        lambda machine: machine.logind.refuses.update(ListSessions=(DENIED, "not for you")),
        "does not answer: not for you",
    ),
}


@pytest.mark.parametrize("kind", WAYS)
def test_what_is_in_the_way_of_a_reboot_by_hand_is_named_and_nothing_happens(machine: Machine, kind: str) -> None:
    stand_in_the_way, sentence = WAYS[kind]
    machine.up()
    stand_in_the_way(machine)
    users = kind == "session"
    for force in (False,) if users else (False, True):
        name, text = refusal(lambda: machine.now(force_users=("b", force)))  # noqa: B023
        assert (name, text.startswith("not rebooting: "), sentence in text) == ("Blocked", True, True), text
    (blocker,) = [plain(found) for found in machine.call("Reboot.Examine", "a{sv}", {})]
    assert (blocker["kind"], sentence in blocker["why"]) == (kind.partition(",")[0], True)
    done = machine.ctl("reboot-now")
    assert (done.returncode, sentence in done.stderr, "--force-users" in done.stderr) == (7, True, users)
    assert machine.ctl("reboot-now", "--dry-run").returncode == 7
    assert (machine.reboot_state, machine.logind.reboots, machine.reboots()) == ("idle", [], [])
    if users:
        assert machine.ctl("reboot-now", "--force-users").returncode == 0
        machine.until_state("issued")


def test_a_session_that_is_not_another_persons_holds_nothing(machine: Machine) -> None:
    machine.logind.log_in("c1", "gdm", Class="greeter")
    machine.logind.log_in("6", "bob", State="closing")
    machine.logind.log_in("7", "alice")
    machine.up()
    assert len(machine.call("Reboot.Examine", "a{sv}", {})) == 1
    machine.logind.caller = "7"
    done = machine.ctl("reboot-now", "--reason", "new  firmware")
    assert (done.returncode, "Rebooting now: new firmware" in done.stdout) == (0, True)
    machine.until_state("issued")


def test_arguments_that_make_no_sense_are_refused_in_a_sentence_and_change_nothing(machine: Machine) -> None:
    machine.up()
    machine.logind.block()
    longest = 2**64 - 1
    refused: list[Callable[[], object]] = [
        lambda: machine.now(kind=("s", "halt")),
        lambda: machine.now(at=("t", usec(-5))),
        lambda: machine.now(at=("t", longest)),
        lambda: machine.now(at=("t", usec(60)), within=("t", longest)),
        lambda: machine.now(within=("t", longest)),
        lambda: machine.now(reason=("s", "x" * 201)),
        lambda: machine.now(reason=("s", "bell\a")),
        lambda: machine.now(reason=("u", 7)),
        lambda: machine.now(force=("b", True)),
        lambda: machine.request(""),
        lambda: machine.request(kind=("s", "Reboot")),
        lambda: machine.request(within=("t", longest)),
        lambda: machine.request(within=("x", -HOUR)),
        lambda: machine.now(within=("x", -HOUR)),
        lambda: machine.request(cause=("s", "nightly")),
        lambda: machine.request(cause=("s", "manual")),
        lambda: machine.request(cause=("s", "")),
        lambda: machine.request(cause=("s", "a\nb")),
        lambda: machine.reboots(limit=("u", 0)),
        lambda: machine.reboots(limit=("u", 10_001)),
        lambda: machine.call("Reboot.Examine", "a{sv}", {"kind": ("s", "")}),
    ]
    for number, call in enumerate(refused):
        name, sentence = refusal(call)
        assert (number, name) == (number, "InvalidArgument")
        assert sentence
        assert "\n" not in sentence
    assert (machine.reboot_state, machine.reboots()) == ("idle", [])
    assert machine.ctl("reboot", "at", "1999-01-01 00:00").returncode == 2


def test_busy_too_late_and_nothing_to_cancel(machine: Machine) -> None:
    machine.up()
    assert refusal(machine.cancel) == ("NoSuchReboot", "no reboot is pending")
    assert machine.ctl("reboot", "cancel").returncode == 5
    assert machine.ctl("reboot", "at", "03:00", "--reason", "new disks").returncode == 0
    for again in (machine.now, lambda: machine.now(at=("t", usec(60)))):
        name, sentence = refusal(again)
        assert (name, "new disks" in sentence) == ("Busy", True)
    assert [one["reason"] for one in machine.reboots()] == ["new disks"]
    machine.logind.block()
    assert machine.request() == machine.reboots()[0]["id"]  # a program's request is kept beside it
    done = machine.ctl("reboot", "cancel")
    assert (done.returncode, "taken back" in done.stdout) == (0, True)
    machine.logind.unblock(-1)
    machine.now()
    machine.until_state("issued")
    name, sentence = refusal(machine.cancel)
    assert (name, "going down already" in sentence) == ("TooLate", True)
    assert refusal(machine.now)[0] in {"Busy", "Blocked"}
    assert [one["state"] for one in machine.reboots()] == ["issued", "cancelled", "cancelled"]


def test_a_person_comes_before_a_program(machine: Machine) -> None:
    machine.up(WARNED)
    machine.request()
    machine.until_state("announced")
    assert machine.now()["id"] == 2
    machine.until_state("issued")
    by_hand, automatic = machine.reboots()
    assert (by_hand["cause"], automatic["state"], automatic["note"]) == (
        "manual",
        "cancelled",
        "somebody reboots the machine by hand",
    )


def test_a_cause_that_its_reboot_did_not_cure_is_refused_until_it_is_cleared(machine: Machine) -> None:
    machine.up()
    machine.request("the memory is full", cause=("s", "rule leak"))
    machine.until_asked(1)
    machine.boot()
    for _ in range(2):
        name, sentence = refusal(lambda: machine.request(cause=("s", "rule leak")))
        assert (name, "agentctl reboot clear" in sentence) == ("Breaker", True)
    assert "rule leak" in machine.status()["breakers"][0]
    machine.kill()
    machine.up()
    assert "rule leak" in machine.ctl("reboot", "status").stdout
    assert "rule leak may reboot the machine again" in machine.ctl("reboot", "clear").stdout
    assert "nothing to clear" in machine.ctl("reboot", "clear").stdout
    assert machine.request(cause=("s", "rule leak")) == 2
    machine.until_state("issued")


def test_limits_hold_programs_and_not_people(machine: Machine) -> None:
    machine.logind.clock["NTP"] = True
    machine.up("grace: 0s, limits: {per_day: 0}")
    machine.request()
    machine.until(lambda: machine.blockers() == ["uptime", "limit", "clock"], "the limits to be named")
    shown = machine.ctl("reboot", "status").stdout
    assert "less than 1h (limits.min_uptime)" in shown
    assert "at most 0 are allowed" in shown
    assert "not synchronised" in shown
    assert machine.now()["id"] == 2
    machine.until_state("issued")


# What only reads


def test_a_read_changes_nothing_and_logind_is_asked_a_bounded_number_of_times(machine: Machine) -> None:
    machine.times["look"] = 3600  # nothing is looked at but because somebody reads
    machine.logind.can = "challenge"
    for number in range(5):
        machine.logind.log_in(str(number), "alice", Class="greeter")
    machine.up()
    machine.request()
    machine.until(lambda: machine.blockers() == ["logind"], "the pending reboot to be held")
    machine.logind.can = "yes"  # the next look of the machine's own would have it rebooted
    decided = machine.call("Jobs.ListDecisions", "a{sv}", {})
    before, asked, began = machine.reboots(), machine.logind.asked.total(), time.monotonic()
    for _ in range(100):
        assert [plain(one)["kind"] for one in machine.call("Reboot.Examine", "a{sv}", {})] in ([], ["logind"])
        assert machine.status()["state"] == "waiting"
    machine.at_once(100, "Reboot.Examine", "a{sv}", {})
    machine.at_once(100, "Reboot.GetStatus")
    looks = 2 + (time.monotonic() - began) / 5
    a_look, a_caller = 3 + 5, 2  # three questions and one for each session; its session and whose that is
    assert machine.logind.asked.total() - asked <= looks * a_look + 2 * a_caller, machine.logind.asked
    assert (machine.reboots(), machine.blockers(), machine.logind.reboots) == (before, ["logind"], [])
    assert machine.call("Jobs.ListDecisions", "a{sv}", {}) == decided


# From the wish to the boot


def test_a_reboot_by_hand_drains_is_issued_and_is_verified_after_the_boot(machine: Machine) -> None:
    machine.times["check"] = 0.2
    machine.up()
    work = machine.work()
    assert machine.ctl("reboot-now", "--reason", "new firmware").returncode == 0
    machine.until_state("draining")
    assert machine.property("Manager.State") == "draining"
    name, sentence = refusal(lambda: machine.call("Jobs.RunJob", "sa{sv}", "quick", {}))
    assert (name, sentence) == ("Draining", "the machine is about to reboot (new firmware); nothing new starts")
    assert "draining" in machine.ctl("reboot", "status").stdout
    assert machine.logind.reboots == []
    machine.finish_work()
    machine.until_state("issued")
    assert machine.result(work) == "success"
    machine.until(lambda: machine.logind.down_after >= 0, "the delay lock to be given back")
    assert (machine.logind.reboots, machine.logind.delays) == ([1], [])
    assert machine.logind.down_after < 5
    assert machine.logind.said == "agentd: new firmware"
    assert machine.stop() == 0  # as systemd does now
    assert machine.told() == []
    machine.boot()
    (verified,) = machine.until_told("RebootFinished")
    verified = plain(verified)
    assert (verified["id"], verified["state"], verified["cause"]) == (1, "verified", "manual")
    assert 0 < verified["downtime"] < 20_000_000
    assert plain(machine.until_told("RebootFinished")[0])["health"] == "well"
    assert (machine.reboot_state, machine.logind.delays) == ("idle", ["agentd"])
    shown = machine.ctl("reboot", "history").stdout
    assert "new firmware" in shown
    assert "verified" in shown
    assert "after boot: well" in shown
    assert machine.ctl_json("reboot", "history")[0]["downtime_s"] == verified["downtime"] / 1e6
    machine.finish_work()
    assert machine.call("Jobs.RunJob", "sa{sv}", "quick", {})


def test_logind_is_asked_for_the_kind_that_is_wanted(machine: Machine) -> None:
    machine.times["stays_up"] = 1
    machine.up()
    for kind, flags in (("reboot", 1), ("kexec", 3), ("soft-reboot", 5)):
        assert machine.ctl("reboot-now", "--kind", kind).returncode == 0
        machine.until_state("issued")
        machine.until(lambda: machine.logind.reboots[-1:] == [flags], kind)  # noqa: B023
        machine.logind.cancel(told=True)
        machine.until_state("idle")


def test_work_that_takes_too_long_is_stopped(machine: Machine) -> None:
    machine.up(f"{AT_ONCE}, wait_for: {{jobs: 500ms}}")
    work = machine.work()
    machine.now()
    machine.until_asked(1)
    assert machine.result(work) == "interrupted"


def test_a_reboot_at_an_instant_is_announced_and_happens_then(machine: Machine) -> None:
    machine.up("grace: 6s, warnings: []")
    at = usec(8)  # agentctl must have answered by then, on a busy machine too
    machine.now(at=("t", at), reason=("s", "new disks"))
    reason, announced = machine.until_told("RebootAnnounced")
    assert (reason, at <= announced < at + 1_000_000) == ("new disks", True)
    assert "announced" in machine.ctl("reboot").stdout
    machine.until(lambda: machine.logind.walls, "people to be told")
    assert machine.logind.walls[0].startswith("agentd-wall.service replace: The machine reboots at ")
    assert "new disks" in machine.logind.walls[0]
    assert machine.logind.reboots == []
    machine.until_state("issued")
    assert machine.reboots()[0]["issued"] >= at
    assert machine.told() == []


def test_an_announced_reboot_is_withdrawn_at_once_when_something_comes_in_its_way(machine: Machine) -> None:
    machine.up(WARNED)
    machine.request("the disk is worn")
    reason, at = machine.until_told("RebootAnnounced")
    assert (reason, abs(at - usec() - HOUR) < 20_000_000) == ("the disk is worn", True)
    key = machine.logind.block("backup-tool", "copying")
    (why,) = machine.until_told("RebootWithdrawn", 5)  # agentd looks every 10 s where nobody tells it
    assert "backup-tool" in why
    assert (machine.reboot_state, machine.blockers()) == ("waiting", ["inhibitor"])
    machine.until(lambda: len(machine.logind.walls) == 2, "people to be told")
    assert "does not come for now: process 7 of root holds the machine up" in machine.logind.walls[1]
    assert "copying" not in machine.logind.walls[1]  # on terminals are no words of strangers
    machine.logind.log_in("7", "alice")
    machine.until(lambda: machine.blockers() == ["inhibitor", "session"], "the session to be seen", 5)
    machine.logind.unblock(key)
    machine.until(lambda: machine.blockers() == ["session"], "the inhibitor to be gone", 5)
    machine.logind.log_out("7")
    machine.until_told("RebootAnnounced", 5)
    assert "in the way" not in machine.ctl("reboot", "status").stdout
    assert machine.cancel()["state"] == "cancelled"
    assert machine.until_told("RebootFinished")[0]["state"] == ("s", "cancelled")
    assert machine.until_told("RebootWithdrawn")[0].startswith("taken back by ")
    assert machine.logind.reboots == []


def test_what_comes_in_the_way_while_work_ends_withdraws_it_and_work_goes_on(machine: Machine) -> None:
    machine.up()
    machine.work()
    machine.now()
    machine.until_state("draining")
    key = machine.logind.block()
    machine.finish_work()
    assert "backup-tool" in machine.until_told("RebootWithdrawn")[0]
    assert machine.reboot_state == "waiting"
    assert machine.call("Jobs.RunJob", "sa{sv}", "quick", {})
    assert machine.logind.reboots == []
    machine.logind.unblock(key)
    machine.until_asked(1)


def test_a_cancelled_one_that_drains_lets_work_go_on(machine: Machine) -> None:
    machine.up()
    work = machine.work()
    machine.now()
    machine.until_state("draining")
    assert machine.ctl("reboot", "cancel").returncode == 0
    assert machine.call("Jobs.RunJob", "sa{sv}", "quick", {})
    assert machine.property("Manager.State") == "running"
    machine.finish_work()
    machine.until(lambda: machine.result(work) == "success", "the work to end")
    assert (machine.reboot_state, machine.logind.reboots) == ("idle", [])


@pytest.mark.parametrize(("hook", "state", "health"), [("no", "waiting", ""), ("quick", "issued", "no.2: exit-code")])
def test_the_hooks_are_asked(machine: Machine, hook: str, state: str, health: str) -> None:
    machine.times["check"] = 0.2
    machine.up(f"{AT_ONCE}, hooks: {{before: {hook}, after: no}}")
    machine.now()
    machine.until_state(state)
    if state == "waiting":
        assert machine.until_told("RebootWithdrawn") == ("the hook no.1 said no (exit-code)",)
        machine.until(lambda: machine.blockers() == ["hook"], "the hook to be named", 5)
        assert machine.call("Jobs.RunJob", "sa{sv}", "quick", {})
        assert machine.logind.reboots == []
    else:
        machine.until_asked(1)
        machine.boot()
        machine.until(lambda: machine.reboots()[0]["health"] == health, "the machine to be looked at")


def test_a_window_reboots_the_machine_once_and_only_when_it_asks_for_it(machine: Machine) -> None:
    machine.times["look_required"] = 0.2
    opened = datetime.now(UTC) - timedelta(minutes=1)
    nightly = f"nightly: {{at: '{opened:%H:%M}', window: 3h}}, only_if_required: true"
    machine.uptime = 7200
    machine.up()
    assert machine.stop() == 0
    machine.up(f"{nightly}, {AT_ONCE}")
    assert machine.status()["next_begin"] // 60_000_000 == int(opened.timestamp()) // 60
    assert machine.reboot_state == "idle"
    (machine.folder / "reboot-required").touch()
    machine.until_asked(1)
    assert machine.reboots()[0]["cause"] == "nightly"
    machine.boot()
    assert machine.until_told("RebootFinished")[0]["state"] == ("s", "verified")
    status = machine.status()
    assert (status["state"], status["required"], status["last_day"]) == ("idle", True, 1)
    assert status["next_begin"] > usec(20 * 3600)


# What logind does


def test_a_refusal_of_logind_is_named_and_the_reboot_is_not_lost(machine: Machine) -> None:
    machine.up()
    machine.logind.refuses["RebootWithFlags"] = (DENIED, "Access denied due to active block inhibitor")
    machine.request()
    assert "Access denied" in machine.until_told("RebootWithdrawn")[0]
    machine.until(lambda: machine.blockers() == ["logind"], "the refusal to be named", 5)
    assert "Access denied due to active block inhibitor" in machine.ctl("reboot", "status").stdout
    (reboot,) = machine.reboots()
    assert (reboot["state"], reboot["attempts"], reboot["issued"]) == ("waiting", 1, 0)
    assert machine.call("Jobs.RunJob", "sa{sv}", "quick", {})
    machine.logind.refuses.clear()
    machine.cancel()
    machine.now()  # a person need not wait for the next try
    machine.until_state("issued")


def test_a_shutdown_that_is_under_way_already_is_not_taken_for_ours(machine: Machine) -> None:
    machine.up()
    machine.logind.refuses["RebootWithFlags"] = (IN_PROGRESS, "There's already a shutdown in progress")
    machine.now()
    machine.until_told("RebootWithdrawn")
    assert machine.reboots()[0]["state"] == "waiting"


def test_a_machine_that_does_not_go_down_is_tried_again_later(machine: Machine) -> None:
    machine.times["answer"] = 1
    machine.up()
    machine.logind.hangs.add("RebootWithFlags")
    machine.request()
    machine.until_state("issued")
    assert "did not go down" in machine.until_told("RebootWithdrawn")[0]
    assert machine.reboots()[0]["state"] == "waiting"


def test_without_logind_nothing_reboots_and_its_lock_is_taken_when_it_comes(machine: Machine) -> None:
    machine.times["look"] = 0.5
    machine.logind.stop()
    machine.up()
    machine.request()
    machine.until(lambda: machine.blockers() == ["logind"], "logind to be missed")
    machine.logind.start()
    machine.until(lambda: machine.logind.delays == ["agentd"], "the lock to be taken")
    machine.until(lambda: machine.reboot_state == "issued", "the look to count", 5)


def a_logind_that_hangs(machine: Machine) -> None:
    machine.logind.hangs = {"Inhibit"}


def a_logind_that_never_takes_its_name(machine: Machine) -> None:
    """What systemd-logind is after the system's bus was restarted."""
    machine.logind.stop()
    machine.activate("org.freedesktop.login1", "/bin/sleep 60")


@pytest.mark.parametrize("trouble", [a_logind_that_hangs, a_logind_that_never_takes_its_name])
def test_jobs_do_not_wait_for_a_logind_that_does_not_answer(
    machine: Machine, trouble: Callable[[Machine], None]
) -> None:
    trouble(machine)
    machine.up()  # within 20 s; logind is given 25 to answer
    assert machine.call("Jobs.RunJob", "sa{sv}", "quick", {}) == "quick.1"
    machine.until(lambda: machine.result("quick.1") == "success", "the job to run")
    assert machine.logind.delays == []
    if machine.logind.hangs:
        machine.logind.go_on()
    else:
        machine.logind.start()
    machine.until(lambda: machine.logind.delays == ["agentd"], "the lock to be taken")


def test_a_logind_that_is_restarted_gets_its_lock_again(machine: Machine) -> None:
    machine.up()
    for _ in range(2):
        machine.logind.stop()
        assert machine.logind.delays == []
        machine.logind.start()
        machine.until(lambda: machine.logind.delays == ["agentd"], "the lock to be taken")
    machine.now()
    machine.until(lambda: machine.logind.down_after >= 0, "the delay lock to be given back")


def test_a_foreign_shutdown_waits_for_the_work_that_runs(machine: Machine) -> None:
    machine.up()
    work = machine.work()
    machine.logind.shut_down()
    machine.until(lambda: machine.property("Manager.State") == "draining", "the signal to be heard")
    name, sentence = refusal(lambda: machine.call("Jobs.RunJob", "sa{sv}", "quick", {}))
    assert (name, sentence) == ("Draining", "the machine is going down; nothing new starts")
    assert machine.logind.delays == ["agentd"]
    machine.finish_work()
    machine.until(lambda: machine.logind.down_after >= 0, "the delay lock to be given back")
    assert machine.logind.down_after < 10
    assert machine.result(work) == "success"
    machine.boot()
    assert (machine.reboot_state, machine.reboots()) == ("idle", [])


def test_a_foreign_shutdown_does_not_wait_longer_than_logind_does(machine: Machine) -> None:
    machine.logind.patience = 2
    machine.up()
    work = machine.work()
    machine.logind.shut_down()
    machine.until(lambda: machine.logind.down_after >= 0, "the delay lock to be given back")
    assert 0.8 < machine.logind.down_after < 1.9
    assert machine.result(work) == ""


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("at_work", [True, False])
def test_a_foreign_shutdown_that_is_cancelled_lets_work_go_on(machine: Machine, told: bool, at_work: bool) -> None:
    machine.up()
    if at_work:
        machine.work()
    machine.logind.shut_down()
    machine.until(lambda: machine.property("Manager.State") == "draining", "the signal to be heard")
    machine.until(lambda: machine.logind.delays == (["agentd"] if at_work else []), "the lock")
    machine.logind.cancel(told=told)
    machine.until(lambda: machine.property("Manager.State") == "running", "the change of mind to be noticed", 5)
    assert machine.call("Jobs.RunJob", "sa{sv}", "quick", {})
    machine.until(lambda: machine.logind.delays == ["agentd"], "the lock to be taken again")
    machine.finish_work()


def test_the_second_of_two_shutdowns_is_waited_for_in_full(machine: Machine) -> None:
    machine.logind.patience = 2
    machine.up()
    machine.work()
    for last in (False, True):
        machine.logind.shut_down()
        machine.until(lambda: machine.property("Manager.State") == "draining", "the signal to be heard")
        if not last:
            time.sleep(0.7)
            machine.logind.cancel(told=True)
            machine.until(lambda: machine.property("Manager.State") == "running", "the signal to be heard")
    machine.until(lambda: machine.logind.down_after >= 0, "the delay lock to be given back")
    assert machine.logind.down_after > 0.8


@pytest.mark.parametrize("told", [True, False])
def test_our_own_shutdown_that_is_cancelled_is_over(machine: Machine, told: bool) -> None:
    machine.times["stays_up"] = 1
    machine.up()
    machine.now()
    machine.until(lambda: machine.logind.down_after >= 0, "the delay lock to be given back")
    machine.logind.cancel(told=told)
    record = plain(machine.until_told("RebootFinished", 5)[0])
    assert (record["state"], record["note"]) == ("cancelled", "the shutdown was cancelled")
    assert machine.call("Jobs.RunJob", "sa{sv}", "quick", {})
    machine.until(lambda: machine.logind.delays == ["agentd"], "the lock to be taken again")
    machine.boot()
    assert [one["state"] for one in machine.reboots()] == ["cancelled"]


def until_taken_back(machine: Machine) -> None:
    """A reboot that logind was asked for, began, and takes back."""
    machine.up(AT_ONCE)
    machine.request("it leaks", cause=("s", "rule leak"))
    machine.until(lambda: machine.logind.down_after >= 0, "the delay lock to be given back")
    machine.logind.cancel(told=True)
    machine.until(lambda: "as logind says" in machine.reboots()[0]["note"], "the signal to be heard")


def test_a_machine_that_goes_down_though_logind_took_that_back_was_rebooted(machine: Machine) -> None:
    until_taken_back(machine)
    assert machine.reboot_state == "issued"
    assert "once the machine has stayed up for 1min this reboot is over" in machine.ctl("reboot", "status").stdout
    assert "the shutdown was cancelled, as logind says" in machine.ctl("status").stdout
    name, sentence = refusal(machine.cancel)
    assert (name, "as logind says" in sentence) == ("TooLate", True)
    assert refusal(lambda: machine.call("Jobs.RunJob", "sa{sv}", "quick", {}))[0] == "Draining"
    machine.boot()
    assert plain(machine.until_told("RebootFinished")[0])["state"] == "verified"
    assert refusal(lambda: machine.request("it leaks", cause=("s", "rule leak")))[0] == "Breaker"
    assert (len(machine.reboots()), machine.logind.reboots) == (1, [1])


def test_a_reboot_that_was_taken_back_is_over_after_a_restart_too(machine: Machine) -> None:
    machine.times["stays_up"] = 2
    until_taken_back(machine)
    machine.kill()
    machine.up(AT_ONCE)
    assert (machine.reboot_state, machine.property("Manager.State")) == ("issued", "draining")
    record = plain(machine.until_told("RebootFinished", 10)[0])
    assert (record["state"], record["note"]) == ("cancelled", "the shutdown was cancelled")
    assert machine.call("Jobs.RunJob", "sa{sv}", "quick", {})
    assert machine.logind.reboots == [1]


def test_only_logind_says_that_the_machine_goes_down(machine: Machine) -> None:
    machine.up()
    machine.bus.send(new_signal(DBusAddress(PATH, interface=MANAGER), "PrepareForShutdown", "b", (True,)))
    assert machine.property("Manager.State") == "running"
    assert machine.logind.delays == ["agentd"]


def test_calls_are_answered_or_wait_while_logind_hangs_at_the_start(machine: Machine) -> None:
    machine.logind.hangs.add("Inhibit")
    starting = threading.Thread(target=machine.up)
    starting.start()
    names, deadline = set(), time.monotonic() + 0.8
    while time.monotonic() < deadline:
        names.add(refusal(lambda: machine.call("Jobs.RunJob", "sa{sv}", "quick", {}))[0])
    machine.logind.go_on()
    starting.join()
    assert names <= {"", "ServiceUnknown", "Busy"}
    assert machine.call("Jobs.RunJob", "sa{sv}", "quick", {})


def test_a_reboot_that_waits_does_not_keep_the_processor_busy(machine: Machine) -> None:
    machine.up("warnings: [], grace: 200ms")
    machine.work()
    machine.now(at=("t", usec(0.3)))
    machine.logind.shut_down()  # somebody else's: nothing is looked at before that is over
    time.sleep(0.4)
    assert machine.cpu(0.3) < 0.5
    machine.logind.cancel(told=True)
    machine.until_state("draining")
    machine.cancel()
    machine.finish_work()
    machine.told()
    machine.now(at=("t", usec(0.4)))
    _, at = machine.until_told("RebootAnnounced")
    machine.logind.hangs.add("ListInhibitors")  # the last look before it drains
    machine.until(lambda: usec() > at, "the instant")
    assert machine.cpu(0.3) < 0.5
    machine.logind.go_on()
    machine.until_state("issued")


# What outlives agentd


def pending_in(machine: Machine, state: str) -> None:
    """Has a reboot pending in that state."""
    machine.up(WARNED if state == "announced" else AT_ONCE)
    if state == "waiting":
        machine.logind.block()
    if state in {"draining", "locked"}:
        machine.work()
    machine.request()
    if state == "locked":
        machine.until_state("draining")
        machine.logind.hangs.add("ListInhibitors")
        machine.finish_work()
    machine.until_state(state)
    if state == "issued":
        machine.until_asked(1)


STATES = ("waiting", "announced", "draining", "locked", "issued")


@pytest.mark.parametrize("state", STATES)
def test_a_killed_agentd_goes_on_in_the_same_boot(machine: Machine, state: str) -> None:
    machine.times["stays_up"] = 1
    pending_in(machine, state)
    machine.kill()
    assert machine.logind.reboots == ([1] if state == "issued" else [])
    machine.logind.go_on()
    machine.up()
    follows = {"draining": "issued", "locked": "issued"}.get(state, state)
    machine.until_state(follows)
    (reboot,) = machine.reboots()
    assert (reboot["id"], reboot["state"]) == (1, follows)
    if follows != "issued":
        assert machine.logind.reboots == []
        assert machine.cancel()["id"] == 1
        return
    machine.until_asked(1)
    machine.until(lambda: machine.property("Manager.State") == "draining", "the signal to be heard")
    name, sentence = refusal(lambda: machine.call("Jobs.RunJob", "sa{sv}", "quick", {}))
    assert (name, "going down" in sentence) == ("Draining", True)
    machine.logind.cancel(told=False)
    assert machine.until_told("RebootFinished")[0]["state"] == ("s", "cancelled")
    machine.until(lambda: machine.logind.delays == ["agentd"], "the lock to be taken again")


@pytest.mark.parametrize("state", STATES)
def test_a_killed_agentd_knows_in_the_next_boot_what_became_of_its_reboot(machine: Machine, state: str) -> None:
    pending_in(machine, state)
    machine.kill()
    machine.logind.go_on()
    machine.boot()
    record = plain(machine.until_told("RebootFinished")[0])
    over, downtime = ("verified", True) if state == "issued" else ("superseded", False)
    assert (record["id"], record["state"], record["downtime"] > 0) == (1, over, downtime)
    assert machine.reboot_state == "idle"
    assert machine.logind.reboots == ([1] if state == "issued" else [])
    assert machine.ctl_json("reboot", "history")[0]["state"] == over


def test_a_shutdown_that_was_cancelled_while_agentd_was_away_is_noticed(machine: Machine) -> None:
    machine.times["answer"] = 1
    pending_in(machine, "issued")
    machine.kill()
    machine.logind.cancel(told=True)
    machine.up()
    assert "did not go down" in machine.until_told("RebootWithdrawn")[0]
    assert machine.call("Jobs.RunJob", "sa{sv}", "quick", {})


def test_logind_is_not_asked_before_that_is_on_the_disk(machine: Machine) -> None:
    pending_in(machine, "draining")
    assert machine.process is not None
    free = resource.prlimit(machine.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(machine.process.pid, resource.RLIMIT_FSIZE, (0, free[1]))
    machine.finish_work()
    machine.until(
        lambda: "cannot be stored" in str(machine.property("Manager.Warnings")), "the full disk to be noticed"
    )
    assert refusal(machine.request)[0] == "StoreUnavailable"
    assert machine.logind.reboots == []
    resource.prlimit(machine.process.pid, resource.RLIMIT_FSIZE, free)
    machine.until_asked(1)


def test_an_announced_reboot_is_withdrawn_while_nothing_can_be_stored(machine: Machine) -> None:
    machine.up(WARNED)
    machine.request()
    machine.until_told("RebootAnnounced")
    assert machine.process is not None
    free = resource.prlimit(machine.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(machine.process.pid, resource.RLIMIT_FSIZE, (0, free[1]))
    assert refusal(machine.request)[0] == "StoreUnavailable"  # the disk is known to be full from here on
    key = machine.logind.block()
    assert "backup-tool" in machine.until_told("RebootWithdrawn", 5)[0]
    assert "cannot be stored" in str(machine.property("Manager.Warnings"))
    machine.logind.unblock(key)
    resource.prlimit(machine.process.pid, resource.RLIMIT_FSIZE, free)
    machine.until_told("RebootAnnounced")
    assert machine.logind.reboots == []


def damage_file(machine: Machine) -> None:
    (machine.state / "agentd.db").write_bytes(b"no database at all" * 500)


def damage_record(machine: Machine) -> None:
    with closing(sqlite3.connect(machine.state / "agentd.db")) as database:
        database.execute("UPDATE reboots SET record = '{'")
        database.commit()


@pytest.mark.parametrize("damage", [damage_file, damage_record])
def test_a_ledger_that_was_lost_holds_automatic_reboots_until_it_is_cleared(
    machine: Machine, damage: Callable[[Machine], None]
) -> None:
    machine.times["look"] = 0.5
    machine.up()
    machine.now(at=("t", usec(3600)))
    machine.cancel()
    machine.stop()
    damage(machine)
    for _ in range(2):
        machine.up()
        machine.request()
        machine.until(lambda: machine.blockers() == ["ledger"], "the ledger to be distrusted")
        assert machine.status()["ledger"]
        assert "agentctl reboot clear" in machine.ctl("reboot", "status").stdout
        assert machine.ctl("reboot", "history").returncode == 0
        assert machine.call("Reboot.Examine", "a{sv}", {}) == []  # a person is not held by it
        machine.kill()
    machine.up()
    assert machine.ctl("reboot", "clear").returncode == 0
    machine.until_asked(1)
    machine.boot()
    assert (machine.status()["ledger"], machine.reboots()[0]["state"]) == ("", "verified")


# Who is unsure waits


def test_somebody_whose_session_logind_does_not_tell_about_is_logged_in(machine: Machine) -> None:
    machine.times["look"] = 0.5
    machine.logind.log_in("7", "alice")
    machine.up()
    machine.logind.hangs.add("GetAll")
    machine.request()
    machine.until(lambda: machine.blockers() == ["session"], "alice to be counted", 30)
    assert "logind does not tell about session 7 of alice" in machine.ctl("reboot", "status").stdout
    machine.logind.go_on()
    machine.logind.refuses["GetAll"] = (DENIED, "not for you")
    for force, name in ((False, "Blocked"), (True, "")):
        found, sentence = refusal(lambda: machine.call("Reboot.Examine", "a{sv}", {}))
        assert (found, sentence) == ("", "")
        if name:
            found, sentence = refusal(lambda: machine.now(force_users=("b", force)))  # noqa: B023
            assert (found, "session 7 of alice (not for you)" in sentence) == (name, True), sentence
    assert (machine.logind.reboots, machine.blockers()) == ([], ["session"])
    machine.logind.log_out("7")
    machine.until_asked(1)


def test_a_status_is_told_while_logind_hangs(machine: Machine) -> None:
    machine.up()
    machine.logind.hangs = {"ListInhibitors", "ListSessions", "CanReboot", "GetSessionByPID"}
    began = time.monotonic()
    shown = machine.ctl("reboot", "status")
    assert shown.returncode == 0
    assert "logind cannot reboot this machine" in shown.stdout
    assert time.monotonic() - began < 20, "25 s and more were waited"
    assert "systemd-logind does not answer" in machine.ctl("reboot-now", "--dry-run").stdout


# The end binds


def test_work_that_still_runs_when_the_time_is_over_goes_on_and_the_machine_too(machine: Machine) -> None:
    machine.up()
    work = machine.work()
    machine.request(within=("t", 18_000_000))
    machine.until_state("draining")
    machine.until_state("idle")
    assert (machine.logind.reboots, machine.result(work)) == ([], "")
    (reboot,) = machine.reboots()
    assert (reboot["state"], "work.1 still ran" in reboot["note"]) == ("deferred", True)
    assert machine.call("Jobs.RunJob", "sa{sv}", "quick", {})
    machine.finish_work()
    machine.until(lambda: machine.result(work) == "success", "the work to end")


def test_a_window_that_is_open_when_agentd_is_new_or_the_machine_booted_reboots_nothing(machine: Machine) -> None:
    opened = datetime.now(UTC) - timedelta(minutes=1)
    nightly = f"nightly: {{at: '{opened:%H:%M}', window: 3h}}, {AT_ONCE}"
    machine.uptime = 7200
    machine.up(nightly)  # with a new ledger
    assert machine.reboot_state == "idle"
    assert machine.status()["next_begin"] > usec(20 * 3600)
    (passed,) = machine.reboots()
    assert (passed["state"], "was open already" in passed["note"]) == ("deferred", True)
    assert machine.stop() == 0
    for file in machine.state.glob("agentd.db*"):
        file.unlink()
    machine.boot()  # without a memory
    assert (machine.reboot_state, machine.reboots(), machine.logind.reboots) == ("idle", [], [])
    assert machine.status()["next_begin"] > usec(20 * 3600)


# Who comes and goes


def test_a_login_of_a_moment_takes_no_announcement_back(machine: Machine) -> None:
    machine.times.update(calm=60, look=0.5)
    machine.up("grace: 4s, warnings: [], limits: {min_uptime: 0s}")
    machine.request()
    machine.until_told("RebootAnnounced")
    for number in range(3):
        machine.logind.log_in(str(number), "nagios")
        machine.until(lambda: machine.blockers() == ["session"], "the session to be seen", 5)
        machine.logind.log_out(str(number))
    machine.until_asked(1)
    assert (machine.told(), len(machine.logind.walls)) == ([], 1)


def test_an_inhibitor_that_toggles_floods_neither_terminals_nor_the_history(machine: Machine) -> None:
    machine.times["calm"] = 60
    machine.up(WARNED)
    machine.request()
    machine.until_told("RebootAnnounced")
    before = len(machine.call("Jobs.ListDecisions", "a{sv}", {}))
    asked = machine.logind.asked["ListInhibitors"]
    for _ in range(150):
        key = machine.logind.block("x", "BUY NOW")
        time.sleep(0.01)
        machine.logind.unblock(key)
        time.sleep(0.01)
    key = machine.logind.block("x", "BUY NOW")  # all looks before may have come between two
    machine.until_told("RebootWithdrawn")
    machine.logind.unblock(key)
    assert machine.told() == []
    assert machine.reboot_state == "waiting"
    assert len(machine.call("Jobs.ListDecisions", "a{sv}", {})) - before <= 6
    assert machine.logind.asked["ListInhibitors"] - asked <= 30, "however often, once a second"
    assert "BUY" not in "".join(machine.logind.walls)
    assert len(machine.logind.walls) <= 1, "one message a minute"


# Wishes beside each other


def test_a_request_and_a_plan_live_beside_each_other(machine: Machine) -> None:
    machine.times.update(look=0.5, check=0.2)
    machine.up()
    key = machine.logind.block()
    first = machine.request("the disk is dying", cause=("s", "smart"))
    planned = machine.now(at=("t", usec(28 * 86_400)), reason=("s", "new disks"))["id"]
    assert machine.request("the disk is dying", cause=("s", "smart"), within=("t", HOUR)) == first
    states = {one["id"]: one["state"] for one in machine.reboots()}
    assert states == {first: "waiting", planned: "waiting"}
    shown = machine.ctl("reboot", "status").stdout
    assert "the disk is dying" in shown
    assert f"beside it  {planned} (manual): new disks" in shown
    machine.kill()
    machine.up()  # that outlives agentd
    assert machine.status()["pending_id"] == first
    machine.logind.unblock(key)
    machine.until_asked(1)
    machine.boot()
    states = {one["id"]: one["state"] for one in machine.reboots()}
    assert states == {first: "verified", planned: "waiting"}
    assert machine.ctl("reboot", "cancel").returncode == 0
    assert machine.reboot_state == "idle"


def test_a_person_asks_for_a_reboot_as_a_program_does_and_by_a_cause_of_ones_own(machine: Machine) -> None:
    machine.up()
    machine.logind.block()
    asked = machine.ctl("reboot", "request", "new libraries", "--within", "3h")
    assert asked.stdout.startswith("reboot 1 is asked for, and comes once nothing is in the way: new libraries\n")
    (wish,) = machine.reboots()
    assert wish["cause"].startswith("user "), "not one that others have as well"
    assert wish["until"] - wish["requested"] == 3 * HOUR
    assert machine.request(cause=("s", "smart")) == 2


def test_a_job_says_whether_a_window_reboots_the_machine(machine: Machine) -> None:
    machine.times.update(look=0.2, ask_required=0.3)
    opened = datetime.now(UTC) - timedelta(minutes=1)
    nightly = f"nightly: {{at: '{opened:%H:%M}', window: 3h}}, {AT_ONCE}"
    machine.uptime = 7200
    machine.up()
    assert machine.stop() == 0
    machine.up(f"{nightly}, only_if_required: {{job: no}}")
    machine.until(
        lambda: "no.2 says that no reboot is required" in machine.ctl("history", "--decisions").stdout,
        "the job to say no twice",
    )
    assert (machine.reboot_state, machine.reboots(), machine.status()["required"]) == ("idle", [], False)
    assert machine.stop() == 0
    machine.up(f"{nightly}, only_if_required: {{job: quick}}")
    machine.until_asked(1)
    assert machine.reboots()[0]["cause"] == "nightly"
    assert machine.status()["required_by"] == "the job quick"


def test_reboots_of_a_clock_that_was_ahead_are_forgiven_by_clear(machine: Machine) -> None:
    machine.times["look"] = 0.5
    policy = "grace: 0s, limits: {min_uptime: 0s, per_day: 1}"
    machine.up(policy)
    machine.now(at=("t", usec(3600)))
    machine.cancel()
    machine.stop()
    with closing(sqlite3.connect(machine.state / "agentd.db")) as database:
        ahead = f"'$.automatic', json('true'), '$.state', 'verified', '$.issued', {usec(6 * 86_400)}"
        database.execute(f"UPDATE reboots SET state = 'verified', record = json_set(record, {ahead})")
        database.commit()
    machine.up()
    machine.request()
    machine.until(lambda: machine.blockers() == ["limit"], "the limit")
    shown = machine.ctl("reboot", "status").stdout
    assert "1 of 1 within a day, 1 of 8 within a week (1 of a clock that was ahead)" in shown
    assert "to clear  agentctl reboot clear" in shown
    assert "the limits do not count reboot 1 any more" in machine.ctl("reboot", "clear").stdout
    machine.until_asked(1)
