"""agentctl's commands about reboots, against a fake daemon on a real bus."""

import io
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from agentctl import client, password
from agentctl.reboots.calls import REBOOT as INTERFACE
from agentd.core.quantities import DAY, HOUR, MINUTE, SECOND
from tests.unit.agentctl.fake import NOW, ROOT, Ctl, FakeDaemon, Refused

EVIL = "\x1b[2Jmallory\u202e\r"
HARMLESS = "\\x1b[2Jmallory\\u202e\\r"
REBOOT = {
    "id": 7,
    "cause": "nightly",
    "reason": "the window night",
    "kind": "reboot",
    "automatic": True,
    "occurrence": "night@2026-10-25",
    "requested": NOW - HOUR,
    "begin": NOW - MINUTE,
    "until": NOW + 2 * HOUR,
    "at": NOW + 10 * MINUTE,
    "state": "announced",
    "attempts": 1,
}
DONE = {
    **REBOOT,
    "id": 6,
    "state": "verified",
    "issued": NOW - DAY,
    "at": NOW - DAY,
    "up": NOW - DAY + MINUTE,
    "downtime": 42 * SECOND + SECOND // 2,
    "note": "",
    "health": "well",
}
MANUAL = {**REBOOT, "cause": "manual", "reason": "new firmware", "automatic": False, "state": "waiting", "at": 0}
IDLE = {
    "state": "idle",
    "required": False,
    "required_by": "/run/reboot-required",
    "booted": NOW - DAY,
    "next_begin": NOW + 3 * HOUR,
    "next_end": NOW + 5 * HOUR,
    "next_at": NOW + 3 * HOUR + 12 * MINUTE,
    "beside": [],
    "scheduled": "",
    "scheduled_at": 0,
    "scheduled_by": "",
    "last_window": "2026-10-23 03:00: deferred: alice is logged in on tty1",
    "last_day": 0,
    "last_week": 1,
    "ahead": 0,
    "per_day": 1,
    "per_week": 3,
    "min_uptime": HOUR,
    "breakers": [],
    "ledger": "",
    "can": "yes",
    "kinds": ["reboot", "kexec"],
    "fleet": "",
    "slot": False,
    "slot_asked": False,
}
ALICE = {"kind": "session", "who": "alice", "why": "alice is logged in on tty1", "since": NOW - 2 * HOUR}
DPKG = {"kind": "package-manager", "who": "dpkg", "why": "dpkg works on packages", "since": NOW - MINUTE}
UPTIME = {"kind": "uptime", "who": "", "why": "the machine is up for 5min, less than 1h"}


def arrange(daemon: FakeDaemon, status: dict[str, Any], *blockers: dict[str, Any], **reboot: Any) -> None:
    """Makes the daemon one that knows of reboots; `reboot` is the pending one's record."""
    pending = {f"pending_{key}": value for key, value in reboot.items()}
    daemon.answers["GetStatus"] = {**status, **pending}
    daemon.answers[INTERFACE] = {"State": status.get("state", "idle"), "Blockers": list(blockers)}


def refusing(error: str, sentence: str) -> Callable[..., None]:
    def refuse(*_: object) -> None:
        raise Refused(f"org.agentd1.Error.{error}", sentence)

    return refuse


# Asked for by a program


def test_a_request_is_one_of_a_program_and_tells_its_number(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["RequestReboot"] = 12
    words = ("reboot", "request", "new libraries", "--within", "3h", "--cause", "upgrades", "--kind", "kexec")
    assert ctl(*words).out.startswith("reboot 12 is asked for, and comes once nothing is in the way: new libraries\n")
    assert ctl("reboot", "request", "worn", "--json").json == {"id": 12}
    wanted = {"within": 3 * HOUR, "cause": "upgrades", "kind": "kexec"}
    assert daemon.calls == [("RequestReboot", "new libraries", wanted), ("RequestReboot", "worn", {})]


def test_what_became_of_the_last_window_stands_in_the_status(daemon: FakeDaemon, ctl: Ctl) -> None:
    arrange(daemon, IDLE)
    assert "last window  2026-10-23 03:00: deferred: alice is logged in on tty1\n" in ctl("reboot").out
    arrange(daemon, {**IDLE, "last_window": ""})
    assert "last window" not in ctl("reboot").out, "no window had its try"


@pytest.mark.parametrize(("by", "told"), [("alice", " by alice"), ("", "")])
def test_a_shutdown_that_somebody_scheduled_stands_in_the_status(
    daemon: FakeDaemon, ctl: Ctl, by: str, told: str
) -> None:
    arrange(daemon, {**IDLE, "scheduled": "poweroff", "scheduled_at": NOW + HOUR, "scheduled_by": by})
    when = f"poweroff scheduled{told} for Sun 2026-10-25 01:26:40 +0200  in 1h (shutdown -c cancels it)"
    assert f"   shutdown  {when}\n" in ctl("reboot").out


def test_a_reboot_at_now_is_one_now(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["RebootNow"] = {**MANUAL, "state": "draining"}
    assert ctl("reboot", "at", "now", "--reason", "x").out == ctl("reboot-now", "--reason", "x").out
    assert daemon.calls == [("RebootNow", {"reason": "x"})] * 2


def test_a_reboot_in_an_hour_comes_then(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["RebootNow"] = MANUAL
    ctl("reboot", "at", "+1h")
    ((_, options),) = daemon.calls
    assert options["at"] == NOW + HOUR


# Now


def test_reboot_now_tells_what_happens_next(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["RebootNow"] = {**MANUAL, "state": "draining"}
    assert ctl("reboot-now", "--reason", "new firmware") == (
        0,
        "Rebooting now: new firmware. Running jobs get their time; follow it with: agentctl reboot status\n",
        "",
    )
    assert daemon.calls == [("RebootNow", {"reason": "new firmware"})], "somebody was asked something"
    assert ctl("reboot-now", "--force-users", "--kind", "kexec").code == 0
    assert daemon.calls[-1] == ("RebootNow", {"force_users": True, "kind": "kexec"})
    assert ctl("reboot-now", "--json").json["reason"] == "new firmware"
    daemon.answers["RebootNow"] = {"kind": "soft-reboot"}
    assert ctl("reboot-now").out.startswith("Rebooting now (soft-reboot). Running jobs")
    assert ctl("reboot-now", "--kind", "halt").code == 2
    daemon.answers["RebootNow"] = MANUAL
    waits, hint = ctl("reboot-now").out.splitlines()
    assert waits == "The reboot waits for a slot of the fleet: new firmware"
    assert "agentctl reboot cancel" in hint


@pytest.mark.parametrize(
    ("options", "found", "hint"),
    [
        ((), [ALICE], "--force-users sets other users' sessions aside\n"),
        ((), [ALICE, DPKG], "--force-users sets other users' sessions aside, not what else is in the way\n"),
        ((), [DPKG], ""),
        (("--force-users",), [DPKG], ""),
    ],
)
def test_what_blocks_a_reboot_is_named_with_the_way_out_for_sessions(
    daemon: FakeDaemon, ctl: Ctl, options: tuple[str, ...], found: list[dict[str, Any]], hint: str
) -> None:
    daemon.answers |= {"RebootNow": refusing("Blocked", f"not rebooting: {EVIL} is in the way"), "Examine": found}
    for more in ((), ("--json",)):
        ended = ctl("reboot-now", "--kind", "kexec", *options, *more)
        assert (ended.code, ended.out) == (7, "")
        # What ends a line ends it here too; the rest of the sentence stands on the next one.
        assert ended.err.startswith("agentctl: not rebooting: \\x1b[2Jmallory\\u202e\n is in the way\n")
        assert ended.err.endswith(f"in the way\n{hint}")
    asked = [call[1] for call in daemon.calls if call[0] == "Examine"]
    assert asked == ([] if options else [{"kind": "kexec"}] * 2)


def test_a_blocked_reboot_is_told_even_when_nobody_tells_by_what(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers |= {"RebootNow": refusing("Blocked", "not rebooting"), "Examine": refusing("Internal", "oh")}
    assert ctl("reboot-now") == (7, "", "agentctl: not rebooting\n")


def test_a_dry_run_lists_what_is_in_the_way(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["Examine"] = [ALICE, UPTIME, {"who": EVIL, "why": EVIL}, {}]
    ended = ctl("reboot-now", "--dry-run", "--force-users", "--reason", "x")
    assert (ended.code, ended.err) == (7, "")
    assert ended.out.splitlines() == [
        "session alice: alice is logged in on tty1 (since Sat 22:26)",
        "uptime: the machine is up for 5min, less than 1h",
        f"{HARMLESS}: {HARMLESS}",
        "something",
    ]
    assert daemon.calls == [("Examine", {"reason": "x", "force_users": True})]
    ended = ctl("reboot-now", "--dry-run", "--json")
    assert ended.code == 7
    assert ended.json["blockers"][:2] == [
        {**ALICE, "since": "2026-10-24T22:26:40.000000+02:00"},
        {**UPTIME, "since": None},
    ]
    daemon.answers["Examine"] = []
    assert ctl("reboot-now", "--dry-run") == (0, "nothing is in the way of a reboot\n", "")
    assert ctl("reboot-now", "--dry-run", "--json").json == {"blockers": []}


@pytest.mark.parametrize(
    ("arguments", "member", "error", "code"),
    [
        (("reboot-now",), "RebootNow", "Busy", 1),
        (("reboot-now",), "RebootNow", "Breaker", 1),
        (("reboot-now",), "RebootNow", "Unsupported", 1),
        (("reboot-now",), "RebootNow", "AccessDenied", 4),
        (("reboot-now", "--dry-run"), "Examine", "InvalidArgument", 1),
        (("reboot", "at", "03:00"), "RebootNow", "Busy", 1),
        (("reboot", "cancel"), "CancelReboot", "NoSuchReboot", 5),
        (("reboot", "cancel"), "CancelReboot", "TooLate", 1),
        (("reboot", "clear"), "Clear", "StoreUnavailable", 1),
        (("fleet",), "ListHolders", "Unsupported", 1),
        (("fleet",), "ListHolders", "PeerFailed", 1),
    ],
)
def test_refusals_are_the_daemons_sentences(
    daemon: FakeDaemon, ctl: Ctl, arguments: tuple[str, ...], member: str, error: str, code: int
) -> None:
    daemon.answers[member] = refusing(error, "no: this is why")
    assert ctl(*arguments) == ctl(*arguments, "--json") == (code, "", "agentctl: no: this is why\n")


def test_only_what_changes_something_may_ask_for_a_password(
    daemon: FakeDaemon, ctl: Ctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agentctl.bus import Bus

    monkeypatch.setattr(password, "start", lambda: None)
    daemon.answers |= {"RebootNow": MANUAL, "CancelReboot": MANUAL, "Clear": [], "Examine": [], "ListReboots": []}
    daemon.answers["ListHolders"] = []
    arrange(daemon, IDLE)
    connection = client.Client(Bus(daemon.address, 5), 5, asks=True)
    monkeypatch.setattr(connection, "close", lambda: None)
    monkeypatch.setattr(client.Client, "connect", lambda _address, _state: connection)
    for line in ("reboot-now", "reboot-now --dry-run", "reboot cancel", "reboot clear", "reboot", "reboot history"):
        assert ctl(*line.split()).code == 0
    assert ctl("fleet").code == 0
    connection._bus.close()
    asked = {call[0] for call, interactive in zip(daemon.calls, daemon.interactive, strict=True) if interactive}
    assert asked == {"RebootNow", "CancelReboot", "Clear"}


# At an instant


def test_reboot_at_tells_the_instant_and_how_to_take_it_back(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["RebootNow"] = MANUAL
    ended = ctl("reboot", "at", "03:00")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "Rebooting at Sun 2026-10-25 03:00:00 +0100 (in 3h 33min): new firmware",
        "to take it back: agentctl reboot cancel",
    ]
    assert daemon.calls[-1] == ("RebootNow", {"at": 1_792_893_600 * SECOND})
    more = ("--reason", "x", "--force-users", "--kind", "soft-reboot", "--within", "1h 30min", "--json")
    assert ctl("reboot", "at", "2026-12-24 03:00", *more).json["cause"] == "manual"
    assert daemon.calls[-1] == (
        "RebootNow",
        {
            "at": 1_798_077_600 * SECOND,
            "reason": "x",
            "force_users": True,
            "kind": "soft-reboot",
            "within": 90 * MINUTE,
        },
    )


def test_in_the_night_of_the_change_the_right_pass_is_meant(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["RebootNow"] = {"kind": "reboot"}
    assert ctl("reboot", "at", "02:30").out.startswith("Rebooting at Sun 2026-10-25 02:30:00 +0200 (in 2h 3min)\n")
    late = "2026-10-25T02:30:00+01:00"
    assert ctl("reboot", "at", late).out.startswith("Rebooting at Sun 2026-10-25 02:30:00 +0100 (in 3h 3min)\n")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("soon",), '"soon" is not a time: try 03:00'),
        (("2026-10-24 03:00",), "has passed"),
        (("2027-03-28 02:30",), "the clocks skip it"),
        (("03:00", "--within", "2"), '"2" has no unit'),
        (("03:00", "--within", "0"), '"0" is too short'),
        (("03:00", "--within", "0s"), '"0s" is too short'),
        ((), "Missing argument 'WHEN'"),
    ],
)
def test_a_wrong_instant_is_told_and_nothing_is_asked(
    daemon: FakeDaemon, ctl: Ctl, arguments: tuple[str, ...], hint: str
) -> None:
    ended = ctl("reboot", "at", *arguments)
    assert (ended.code, ended.out, daemon.calls) == (2, "", [])
    assert hint in ended.err


def test_cancel_takes_the_pending_reboot_back(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["CancelReboot"] = {**MANUAL, "state": "cancelled"}
    assert ctl("reboot", "cancel") == (0, "the reboot was taken back: new firmware; work goes on\n", "")
    assert daemon.calls == [("CancelReboot",)]
    assert ctl("reboot", "cancel", "--json").json["state"] == "cancelled"
    daemon.answers["CancelReboot"] = {}
    assert ctl("reboot", "cancel").out == "the reboot was taken back; work goes on\n"


# The status


def test_the_status_tells_what_is_pending_and_what_is_in_the_way(daemon: FakeDaemon, ctl: Ctl) -> None:
    arrange(daemon, {**IDLE, "state": "announced", "required": True}, ALICE, UPTIME, **REBOOT)
    assert ctl("reboot", "status") == ctl("reboot")
    assert ctl("reboot").out.splitlines() == [
        "      state  announced: people are warned",
        "     booted  Sat 2026-10-24 00:26:40 +0200  1d ago",
        "   required  the machine asks for a reboot (/run/reboot-required)",
        "     reason  the window night",
        "      cause  nightly",
        "      asked  Sat 2026-10-24 23:26:40 +0200  1h ago",
        "       when  Sun 2026-10-25 00:36:40 +0200  in 10min",
        "   given up  Sun 2026-10-25 02:26:40 +0200  in 2h",
        " in the way  session alice: alice is logged in on tty1 (since Sat 22:26)",
        "             uptime: the machine is up for 5min, less than 1h",
        "last window  2026-10-23 03:00: deferred: alice is logged in on tty1",
        "next window  Sun 2026-10-25 02:26:40 +0100 to 04:26, here at 02:38:40  in 3h 12min",
        "  automatic  0 of 1 within a day, 1 of 3 within a week",
        " min uptime  1h",
        "      kinds  reboot, kexec",
    ]


def test_the_status_of_an_idle_machine_is_short(daemon: FakeDaemon, ctl: Ctl) -> None:
    arrange(
        daemon, {**IDLE, "last_window": "", "next_begin": 0, "next_end": 0, "next_at": 0, "min_uptime": 0, "kinds": []}
    )
    assert ctl("reboot").out.splitlines() == [
        "      state  idle: no reboot is pending",
        "     booted  Sat 2026-10-24 00:26:40 +0200  1d ago",
        "next window  none",
        "  automatic  0 of 1 within a day, 1 of 3 within a week",
    ]


@pytest.mark.parametrize(
    ("status", "reboot", "line"),
    [
        ({"min_uptime": 2 * DAY}, {}, " min uptime  2d, for another 1d"),
        ({"can": "challenge"}, {}, "     logind  logind wants a password for a reboot, and agentd has none to give"),
        ({"fleet": "https://lock", "slot": True}, {}, "      fleet  https://lock: this machine holds a slot"),
        ({"fleet": "https://lock"}, {}, "      fleet  https://lock: this machine holds no slot"),
        ({"slot": True}, {}, "      fleet  this machine holds a slot"),
        (
            {"fleet": "https://lock", "slot": True, "slot_asked": True},
            {},
            "      fleet  https://lock: asked for a slot, no answer yet",
        ),
        ({"ahead": 2, "last_day": 2, "per_day": 2}, {}, " within a week (2 of a clock that was ahead)\n"),
        ({"ahead": 2}, {}, "   to clear  agentctl reboot clear"),
        (
            {"state": "waiting", "beside": ["3 (smart): worn", EVIL]},
            {},
            f"  beside it  3 (smart): worn\n             {HARMLESS}",
        ),
        ({"ledger": "it was damaged"}, {}, "     ledger  it was damaged\n   to clear  agentctl reboot clear"),
        ({"breakers": ["a: why", EVIL]}, {}, f"    breaker  a: why\n             {HARMLESS}\n   to clear  agentctl"),
        ({"state": "disabled"}, {}, "      state  disabled: agentd does not reboot this machine"),
        ({"state": "waiting"}, {"begin": NOW + HOUR}, "       when  not before Sun 2026-10-25 01:26:40 +0200  in 1h"),
        ({"state": "waiting"}, {"begin": NOW}, "       when  when nothing is in the way"),
        ({"state": "waiting"}, {"kind": "kexec"}, "       kind  kexec"),
        ({"state": "locked"}, {"note": EVIL}, f"       note  {HARMLESS}"),
    ],
)
def test_the_status_has_a_line_for_what_is_out_of_the_ordinary(
    daemon: FakeDaemon, ctl: Ctl, status: dict[str, Any], reboot: dict[str, Any], line: str
) -> None:
    arrange(daemon, {**IDLE, **status}, **reboot)
    assert line in ctl("reboot").out


def test_the_status_as_json_nests_what_is_pending(daemon: FakeDaemon, ctl: Ctl) -> None:
    arrange(daemon, {**IDLE, "state": "announced", "of a later version": "x"}, ALICE, **REBOOT)
    document = ctl("reboot", "status", "--json").json
    assert ctl("--json", "reboot").json == ctl("reboot", "--json").json == document
    assert document == {
        **{key: value for key, value in IDLE.items() if key != "min_uptime"},
        "state": "announced",
        "booted": "2026-10-24T00:26:40.000000+02:00",
        "next_begin": "2026-10-25T02:26:40.000000+01:00",
        "next_end": "2026-10-25T04:26:40.000000+01:00",
        "next_at": "2026-10-25T02:38:40.000000+01:00",
        "scheduled_at": None,
        "min_uptime_s": 3600,
        "pending": {
            **REBOOT,
            "requested": "2026-10-24T23:26:40.000000+02:00",
            "begin": "2026-10-25T00:25:40.000000+02:00",
            "until": "2026-10-25T02:26:40.000000+02:00",
            "at": "2026-10-25T00:36:40.000000+02:00",
            **dict.fromkeys(("issued", "up", "downtime_s", "note", "health")),
        },
        "blockers": [{**ALICE, "since": "2026-10-24T22:26:40.000000+02:00"}],
    }
    arrange(daemon, IDLE)
    assert ctl("reboot", "status", "--json").json["pending"] is None


def test_records_that_lack_everything_are_shown_all_the_same(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers |= {"GetStatus": {}, INTERFACE: {}, "ListReboots": [{}], "ListHolders": [{}], "RebootNow": {}}
    for line in ("reboot", "reboot history", "fleet", "reboot-now", "status"):
        for more in ((), ("--json",)):
            assert (line, ctl(*line.split(), *more).code) == (line, 0)
    daemon.answers[INTERFACE] = {"State": "waiting", "Blockers": [{}]}
    daemon.answers["GetStatus"] = {"state": "waiting"}
    assert ctl("reboot").out == "      state  waiting\n in the way  something\n"
    assert "\nreboot: waiting: held by something\n" in ctl("status").out


# What was


def test_history_shows_reboots_in_a_table_and_in_json(daemon: FakeDaemon, ctl: Ctl) -> None:
    held = {**REBOOT, "state": "deferred", "at": 0, "note": f"{EVIL} was logged in", "reason": EVIL}
    daemon.answers["ListReboots"] = [REBOOT, DONE, held]
    lines = ctl("reboot", "history").out.splitlines()
    assert lines[0].split() == ["WHEN", "CAUSE", "REASON", "STATE", "DOWN", "NOTE"]
    assert [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines[1:]] == [
        ["Sun 2026-10-25 00:36:40 +0200", "nightly", "the window night", "announced", "-", "-"],
        ["Sat 2026-10-24 00:26:40 +0200", "nightly", "the window night", "verified", "42s", "after boot: well"],
        ["Sun 2026-10-25 00:25:40 +0200", "nightly", HARMLESS, "deferred", "-", f"{HARMLESS} was logged in"],
    ]
    assert daemon.calls[-1] == ("ListReboots", {"limit": 20})
    pending, done, _ = ctl("reboot", "history", "-n", "3", "--json").json
    assert daemon.calls[-1] == ("ListReboots", {"limit": 3})
    assert set(pending) == set(done) == {*DONE, "downtime_s"} - {"downtime"}
    assert (pending["downtime_s"], done["downtime_s"]) == (None, 42.5)
    assert done["up"] == "2026-10-24T00:27:40.000000+02:00"
    daemon.answers["ListReboots"] = []
    assert ctl("reboot", "history") == (0, "nothing found\n", "")
    assert ctl("reboot", "history", "--json").json == []
    assert ctl("reboot", "history", "-n", "0").code == 2


def test_clear_tells_what_was_cleared(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["Clear"] = ["x may reboot the machine again", EVIL]
    assert ctl("reboot", "clear") == (0, f"x may reboot the machine again\n{HARMLESS}\n", "")
    assert ctl("reboot", "clear", "--json").json == {"cleared": ["x may reboot the machine again", EVIL]}
    daemon.answers["Clear"] = []
    assert ctl("reboot", "clear").out == "there was nothing to clear\n"
    assert ctl("reboot", "clear", "--json").json == {"cleared": []}


def test_fleet_lists_the_holders_and_who_is_overdue(daemon: FakeDaemon, ctl: Ctl) -> None:
    web1 = {"id": "ab12", "host": "web1", "since": NOW - MINUTE, "state": "rebooting", "mine": True}
    web2 = {"id": "cd34", "host": EVIL, "since": NOW - 3 * HOUR, "state": "overdue", "mine": False}
    daemon.answers["ListHolders"] = [web1, web2, {"id": "ef56", "state": "unknown"}]
    lines = ctl("fleet").out.splitlines()
    assert lines[0].split() == ["HOST", "SINCE", "STATE"]
    assert lines[1].split("  ")[-1] == "this machine"
    assert lines[1].startswith("web1 ")
    assert "00:25 (1min ago)" in lines[1]
    assert lines[2].split() == [HARMLESS, "Sat", "21:26", "(3h", "ago)", "overdue"]
    assert lines[3].split() == ["ef56", "-", "unknown"]
    assert lines[4:6] == ["", f"did not come back in time: {HARMLESS}"]
    assert lines[6:] == [
        "agentd never evicts a machine: its slot stays taken until it comes back or you free it:",
        "agentctl fleet release HOST",
    ]
    assert ctl("fleet", "--json").json[0] == {**web1, "since": "2026-10-25T00:25:40.000000+02:00"}
    assert ctl("fleet", "--json").json[2] == {
        "id": "ef56",
        "host": None,
        "since": None,
        "state": "unknown",
        "mine": None,
    }
    daemon.answers["ListHolders"] = [web1]
    assert len(ctl("fleet").out.splitlines()) == 2, "nobody is overdue"
    daemon.answers["ListHolders"] = []
    assert ctl("fleet").out == "nobody holds a slot\n"
    assert ctl("fleet", "--json").json == []


@pytest.mark.parametrize(("words", "typed"), [((), "y\n"), (("--yes",), "")])
def test_a_slot_of_another_machine_is_freed_once_that_was_confirmed(
    daemon: FakeDaemon, ctl: Ctl, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], typed: str
) -> None:
    daemon.answers["ReleaseHolder"] = "cd34"
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    ended = ctl("fleet", "release", "web2", *words)
    told = "the slot of web2 is free; should that machine come back, it has to get one anew\n"
    assert (ended.code, ended.out) == (0, told)
    assert ctl("fleet", "release", "web2", "--yes", "--json").json == {"released": "cd34"}
    assert daemon.calls == [("ReleaseHolder", "web2")] * 2


def test_a_slot_is_not_freed_without_a_yes(daemon: FakeDaemon, ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    for typed in ("n\n", "\n", ""):
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        assert ctl("fleet", "release", "web2").code == 130
    assert daemon.calls == []
    daemon.answers["ReleaseHolder"] = refusing("NoSuchHolder", "no machine holds a slot under the name or id web2")
    assert ctl("fleet", "release", "web2", "--yes").code == 5


# The status of the jobs


def second_line(ended: Any) -> str:
    assert (ended.code, ended.err) == (0, "")
    return str(ended.out.splitlines()[1])


@pytest.mark.parametrize(
    ("state", "reboot", "blockers", "line"),
    [
        ("announced", REBOOT, [], "reboot: announced for 00:36 (nightly)"),
        ("waiting", {**MANUAL, "begin": NOW + 8 * DAY}, [UPTIME], "reboot: waiting for 2026-11-01 23:26 (manual)"),
        (
            "waiting",
            {**MANUAL, "begin": NOW - 2 * MINUTE, "cause": EVIL},
            [ALICE, {**DPKG, "who": EVIL}, UPTIME],
            f"reboot: waiting since 00:24 ({HARMLESS}): held by alice (session), {HARMLESS} (package-manager), uptime",
        ),
        ("waiting", {"requested": NOW}, [], "reboot: waiting since 00:26"),
        ("draining", REBOOT, [], "reboot: draining (nightly): nothing new starts, what runs gets its time"),
        ("issued", {}, [], "reboot: issued: the machine was asked to go down"),
        ("issued", {"note": "the shutdown was cancelled"}, [], "reboot: issued: the shutdown was cancelled"),
        ("of a later version", {}, [], "reboot: of a later version: see agentctl reboot status"),
    ],
)
def test_the_status_of_the_jobs_tells_of_a_pending_reboot(
    daemon: FakeDaemon,
    ctl: Ctl,
    state: str,
    reboot: dict[str, Any],
    blockers: list[dict[str, Any]],
    line: str,
) -> None:
    arrange(daemon, {**IDLE, "state": state}, *blockers, **reboot)
    assert second_line(ctl("status")) == second_line(ctl()) == line


@pytest.mark.parametrize("state", ["idle", "disabled"])
def test_without_a_pending_reboot_the_status_of_the_jobs_asks_each_part_for_its_properties_alone(
    daemon: FakeDaemon, ctl: Ctl, state: str
) -> None:
    arrange(daemon, {**IDLE, "state": state})
    assert second_line(ctl("status")) == ""
    assert [call[0] for call in daemon.calls] == ["GetAll", "ListJobs", "GetAll", "GetAll", "GetAll"]
    document = ctl("status", "--json").json
    assert document["reboot"] == {
        key: value for key, value in ctl("reboot", "--json").json.items() if key != "blockers"
    }
    assert document["reboot"]["state"] == state


def test_a_reboot_that_is_over_by_now_is_not_told(daemon: FakeDaemon, ctl: Ctl) -> None:
    arrange(daemon, IDLE)
    daemon.answers[INTERFACE] = {"State": "announced", "Blockers": []}
    assert second_line(ctl("status")) == ""


def test_an_older_daemon_has_a_status_of_jobs_and_none_of_reboots(daemon: FakeDaemon, ctl: Ctl) -> None:
    assert second_line(ctl("status")) == ""
    assert ctl("status", "--json").json["reboot"] is None
    assert "GetStatus" not in [call[0] for call in daemon.calls], "its bus may not even let this through"

    def refuse(*_: object) -> None:
        raise Refused("org.freedesktop.DBus.Error.UnknownMethod", "org.agentd1.Reboot has no method GetStatus")

    daemon.answers["GetStatus"] = refuse
    ended = ctl("reboot")
    assert (ended.code, ended.out) == (1, "")
    assert "another version" in ended.err


def test_other_trouble_with_the_reboots_is_not_hidden(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers[INTERFACE] = refusing("Internal", "GetAll failed inside agentd")
    assert ctl("status") == (1, "", "agentctl: GetAll failed inside agentd\n")


# On a terminal


def test_on_a_terminal_who_is_overdue_stands_out_and_nobody_steers_it(daemon: FakeDaemon) -> None:
    import pty

    daemon.answers["ListHolders"] = [{"id": "a", "host": EVIL, "state": "overdue"}]
    controller, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "200"}
    environment.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "agentctl", "fleet"]
    subprocess.run(command, cwd=ROOT, env=environment, stdout=terminal, check=True)
    os.close(terminal)
    shown = os.read(controller, 1 << 16).decode()
    os.close(controller)
    assert "\x1b[1;31moverdue" in shown
    assert "\x1b[31m\x1b[1mdid not come back in time" in shown
    assert HARMLESS in shown
    assert EVIL not in shown
