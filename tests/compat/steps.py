"""The calls of the two recorded sessions: every member of every interface of agentd 0.1.0, and what it refuses."""

from typing import Any

from tests.compat.wire import NAME, PROPERTIES, Step

HOUR = 3_600_000_000
_NEW_YEAR = 1_735_686_000_000_000  # 2025-01-01 00:00 in Berlin
_LONGEST = 2**64 - 1


def call(member: str, signature: str = "", *body: Any, **more: Any) -> Step:
    """A call of "Jobs.RunJob" and the like."""
    return {"call": f"{NAME}.{member}", "signature": signature, "body": list(body), **more}


def _get(interface: str, name: str) -> Step:
    return {"call": f"{PROPERTIES}.Get", "signature": "ss", "body": [f"{NAME}.{interface}", name]}


def _all(interface: str) -> Step:
    return {"call": f"{PROPERTIES}.GetAll", "signature": "s", "body": [f"{NAME}.{interface}"]}


def _other(member: str, signature: str = "", *body: Any, **more: Any) -> Step:
    """A call of another interface."""
    return {"call": member, "signature": signature, "body": list(body), **more}


def of_jobs(at: int) -> list[Step]:
    """The session with a standalone agentd; `at` is when the state was recorded."""
    return [
        *_reading(at),
        *_refused(),
        *_running(),
        *_changing(at),
        *_reloading(),
        *[
            call(f"Reboot.{member}", signature, *body)
            for member, signature, *body in (
                ("GetStatus", ""),
                ("RequestReboot", "sa{sv}", "why", {}),
                ("RebootNow", "a{sv}", {}),
                ("Examine", "a{sv}", {}),
                ("CancelReboot", ""),
                ("Clear", ""),
                ("ListHolders", ""),
            )
        ],
    ]


def _reading(at: int) -> list[Step]:
    manager = (
        "Version Mode State StartedUSec ConfigurationFiles ConfigurationLoadedUSec ConfigurationError Warnings "
        "StateDirectory"
    )
    return [
        _other("org.freedesktop.DBus.Introspectable.Introspect"),
        _other("org.freedesktop.DBus.Introspectable.Introspect", path="/"),
        _other("org.freedesktop.DBus.Introspectable.Introspect", path="/org"),
        _other("org.freedesktop.DBus.Peer.Ping"),
        *map(_all, ("Manager", "Jobs", "Reboot")),
        *(_get("Manager", name) for name in manager.split()),
        _get("Jobs", "Running"),
        _get("Reboot", "State"),
        _get("Reboot", "Blockers"),
        call("Jobs.ListJobs", "a{sv}", {}),
        call("Jobs.ListJobs", "a{sv}", {"name": ["s", "f*"]}),
        call("Jobs.ListJobs", "a{sv}", {"name": ["s", "nothing"]}),
        *(
            call("Jobs.GetJob", "s", name)
            for name in ("ok", "feed", "set", "off", "none", "later", "waits", "skips", "yearly")
        ),
        call("Jobs.ListRuns", "a{sv}", {"limit": ["u", 10_000], "tail": ["b", True]}),
        call("Jobs.ListRuns", "a{sv}", {"limit": ["u", 2]}),
        call("Jobs.ListRuns", "a{sv}", {"job": ["s", "again"]}),
        call("Jobs.ListRuns", "a{sv}", {"run_id": ["s", "ok.4"]}),
        call("Jobs.ListRuns", "a{sv}", {"run_id": ["s", "ok.9999"]}),
        call("Jobs.ListRuns", "a{sv}", {"result": ["s", "timeout"]}),
        call("Jobs.ListRuns", "a{sv}", {"failed": ["b", True], "limit": ["u", 3]}),
        call("Jobs.ListRuns", "a{sv}", {"since": ["t", at - 600_000_000], "job": ["s", "fails"]}),
        call("Jobs.ListDecisions", "a{sv}", {"limit": ["u", 10_000]}),
        call("Jobs.ListDecisions", "a{sv}", {"job": ["s", "feed"]}),
        call("Jobs.ListDecisions", "a{sv}", {"run_id": ["s", "waits.20"]}),
        call("Jobs.SetEnabled", "sb", "yearly", False),  # its next time depends on the day of the replay
        call("Jobs.NextTimes", "stu", "", 0, 5),
        call("Jobs.NextTimes", "stu", "steady", 0, 3),
        call("Jobs.NextTimes", "stu", "leap", _NEW_YEAR, 2, calendar=True),
        call("Jobs.NextTimes", "stu", "mornings", _NEW_YEAR, 5, calendar=True),
        call("Jobs.NextTimes", "stu", "chain", 0, 5),
        call("Jobs.ReadOutput", "st", "speaks.6", 0),
        call("Jobs.ReadOutput", "st", "speaks.6", 4),
        call("Jobs.ReadOutput", "st", "speaks.6", 1000),
        call("Reboot.ListReboots", "a{sv}", {}),
        call("Reboot.ListReboots", "a{sv}", {"state": ["s", "verified"], "limit": ["u", 2]}),
        call("Reboot.ListReboots", "a{sv}", {"cause": ["s", "rule leak"]}),
    ]


def _refused() -> list[Step]:
    return [
        call("Jobs.GetJob", "s", "oK"),
        call("Jobs.GetJob", "s", ""),
        call("Jobs.GetJob", "u", 7),
        call("Jobs.GetJob"),
        call("Jobs.GetJobs", "s", "ok"),
        call("Nothing.GetJob", "s", "ok"),
        call("Jobs.GetJob", "s", "ok", path="/org/agentd2"),
        _other("GetJob", "s", "ok"),  # without an interface
        _other("org.freedesktop.DBus.Introspectable.Introspect", path="/com"),
        _get("Jobs", "State"),
        _get("Nothing", "State"),
        _all("Nothing"),
        _other(f"{PROPERTIES}.Get", "s", f"{NAME}.Jobs"),
        _other(f"{PROPERTIES}.Set", "ssv", f"{NAME}.Reboot", "State", ["s", "idle"]),
        _other(f"{PROPERTIES}.Reset", "s", f"{NAME}.Reboot"),
        *(call("Jobs.ListJobs", "a{sv}", one) for one in ({"names": ["s", "f*"]}, {"name": ["u", 7]})),
        *(
            call("Jobs.ListRuns", "a{sv}", one)
            for one in (
                {"limit": ["u", 0]},
                {"limit": ["u", 10_001]},
                {"limit": ["b", True]},
                {"since": ["s", "today"]},
                {"since": ["t", _LONGEST]},
                {"state": ["s", "ended"]},
            )
        ),
        call("Jobs.ListDecisions", "a{sv}", {"kind": ["s", "skip"]}),
        call("Jobs.ListDecisions", "a{sv}", {"limit": ["u", 0]}),
        call("Jobs.NextTimes", "stu", "steady", 0, 0),
        call("Jobs.NextTimes", "stu", "steady", 0, 1001),
        call("Jobs.NextTimes", "stu", "stead", 0, 1),
        call("Jobs.RunJob", "sa{sv}", "o", {}),
        call("Jobs.RunJob", "sa{sv}", "ok", {"force": ["b", True]}),
        call("Jobs.RunJob", "s", "ok"),
        *(call(f"Jobs.{member}", "s", "nobody") for member in ("StopJob", "Increase", "Decrease", "Reset")),
        call("Jobs.StopJob", "s", "ok.4"),
        call("Jobs.Increase", "s", "leap"),
        call("Jobs.Decrease", "s", "ok"),
        call("Jobs.SetInterval", "st", "feed", 1),
        call("Jobs.SetInterval", "st", "steady", 1),
        call("Jobs.SetInterval", "st", "nobody", 1_000_000),
        call("Jobs.SetEnabled", "sb", "nobody", True),
        *(call("Jobs.ReadOutput", "st", name, 0) for name in ("ok.9999", "ok", "", "../ok.4")),
        call("Jobs.ReportProgress", "ss", "ok.4", "half"),
        call("Reboot.ListReboots", "a{sv}", {"limit": ["u", 0]}),
        call("Reboot.ListReboots", "a{sv}", {"limit": ["u", 10_001]}),
        call("Reboot.ListReboots", "a{sv}", {"job": ["s", "ok"]}),
    ]


def _running() -> list[Step]:
    stopped = call("Jobs.StopJob", "s", "waits")
    return [
        stopped,
        {"until": [f"{NAME}.Jobs.Running", 0]},
        stopped,
        *(
            call("Jobs.RunJob", "sa{sv}", job, {})
            for job in ("ok", "speaks", "fails", "dies", "slow", "again", "absent", "leap", "off", "later")
        ),
        call("Jobs.GetJob", "s", "later"),
        call("Jobs.StopJob", "s", "later"),
        call("Jobs.RunJob", "sa{sv}", "held", {}),
        _get("Jobs", "Running"),
        call("Jobs.GetJob", "s", "held"),
        call("Jobs.RunJob", "sa{sv}", "held", {}),  # Busy
        call("Jobs.ReportProgress", "ss", "LAST", "half\n of it "),
        call("Jobs.GetJob", "s", "held"),
        call("Jobs.ReadOutput", "st", "LAST", 0),
        {"do": ["touch", "go"]},
        {"until": [f"{NAME}.Jobs.Running", 0]},
        call("Jobs.ReadOutput", "st", "LAST", 0),
        {"do": ["remove", "go"]},
        call("Jobs.RunJob", "sa{sv}", "renewed", {}),
        call("Jobs.RunJob", "sa{sv}", "renewed", {}),
        call("Jobs.StopJob", "s", "renewed"),
        call("Jobs.RunJob", "sa{sv}", "waits", {}),
        call("Jobs.RunJob", "sa{sv}", "waits", {}),
        call("Jobs.ListJobs", "a{sv}", {"name": ["s", "waits"]}),
        stopped,
        {"until": [f"{NAME}.Jobs.Running", 0]},
        call("Jobs.ListRuns", "a{sv}", {"limit": ["u", 16], "tail": ["b", True]}),
    ]


def _changing(at: int) -> list[Step]:
    return [
        call("Jobs.Increase", "s", "feed"),
        call("Jobs.Increase", "s", "feed"),
        call("Jobs.Decrease", "s", "feed"),
        call("Jobs.Decrease", "s", "steady"),
        call("Jobs.SetInterval", "st", "steady", 20 * 168 * HOUR),
        call("Jobs.SetInterval", "st", "leap", 20 * 168 * HOUR),
        *(call("Jobs.SetEnabled", "sb", "steady", enabled) for enabled in (False, False, True)),
        call("Jobs.SetEnabled", "sb", "off", True),
        *(call("Jobs.GetJob", "s", job) for job in ("feed", "steady", "leap", "off")),
        *(call("Jobs.Reset", "s", job) for job in ("feed", "steady", "leap", "off", "ok")),
        *(call("Jobs.GetJob", "s", job) for job in ("feed", "steady", "leap", "off")),
        call("Jobs.ListDecisions", "a{sv}", {"limit": ["u", 20]}),
        call("Jobs.NextTimes", "stu", "", at, 6),
    ]


def _reloading() -> list[Step]:
    reload = call("Manager.Reload")
    return [
        reload,
        {"do": ["configure", "changed"]},
        reload,
        call("Jobs.ListJobs", "a{sv}", {"name": ["s", "[mo]*"]}),
        {"do": ["configure", "broken"]},
        reload,
        _get("Manager", "ConfigurationError"),
        {"do": ["configure", "as before"]},
        reload,
        _get("Manager", "ConfigurationError"),
    ]


def of_reboots(at: int) -> list[Step]:
    """The session with an agentd that may reboot the machine: a reboot by hand is pending in its state."""
    return [
        *_pending(),
        *_guarded(),
        *_announced(at),
        *_issued(),
    ]


def _pending() -> list[Step]:
    return [
        _all("Reboot"),
        call("Reboot.GetStatus"),
        call("Reboot.ListReboots", "a{sv}", {}),
        call("Reboot.ListReboots", "a{sv}", {"limit": ["u", 1]}),
        call("Reboot.Examine", "a{sv}", {}),
        call("Reboot.Examine", "a{sv}", {"force_users": ["b", True], "kind": ["s", "kexec"]}),
        call("Reboot.RequestReboot", "sa{sv}", "it leaks", {"cause": ["s", "rule leak"]}),  # Breaker
        call("Reboot.RequestReboot", "sa{sv}", "the disk is worn", {}),  # the pending one
        call("Reboot.RebootNow", "a{sv}", {}),  # Busy
        call("Reboot.CancelReboot"),
        call("Reboot.CancelReboot"),  # NoSuchReboot
        call("Reboot.Clear"),
        call("Reboot.Clear"),
        call("Reboot.GetStatus"),
    ]


def _guarded() -> list[Step]:
    now: tuple[dict[str, Any], ...] = (
        {"kind": ["s", "halt"]},
        {"at": ["t", _NEW_YEAR]},
        {"at": ["t", _LONGEST]},
        {"within": ["t", _LONGEST]},
        {"within": ["x", -HOUR]},
        {"reason": ["s", "x" * 201]},
        {"reason": ["s", "bell\a"]},
        {"reason": ["u", 7]},
        {"force": ["b", True]},
    )
    asked: tuple[dict[str, Any], ...] = (
        {"kind": ["s", "Reboot"]},
        {"within": ["t", 1]},
        {"cause": ["s", "nightly"]},
        {"cause": ["s", ""]},
        {"at": ["t", _NEW_YEAR]},
    )
    return [
        {"do": ["configure", "without fleet"]},
        call("Manager.Reload"),
        call("Reboot.ListHolders"),  # Unsupported
        call("Jobs.StopJob", "s", "waits"),
        {"until": [f"{NAME}.Jobs.Running", 0]},
        *(call("Reboot.RebootNow", "a{sv}", options) for options in now),
        *(call("Reboot.RequestReboot", "sa{sv}", "why", options) for options in asked),
        call("Reboot.RequestReboot", "sa{sv}", "", {}),
        call("Reboot.Examine", "a{sv}", {"kind": ["s", ""]}),
        {"do": ["block"]},
        call("Reboot.Examine", "a{sv}", {}),
        call("Reboot.RebootNow", "a{sv}", {}),  # Blocked
        call("Reboot.RequestReboot", "sa{sv}", "it leaks", {"cause": ["s", "rule leak"], "within": ["t", 5 * HOUR]}),
        {"until": [f"{NAME}.Reboot.Blockers", 1]},
        _get("Reboot", "Blockers"),
        call("Reboot.GetStatus"),
        call("Reboot.CancelReboot"),
        {"do": ["unblock"]},
    ]


def _announced(at: int) -> list[Step]:
    soon = {"at": ["t", at + HOUR // 2], "kind": ["s", "soft-reboot"], "reason": ["s", "new disks"]}
    return [
        call("Reboot.RequestReboot", "sa{sv}", "the disk is worn", {}),
        {"until": [f"{NAME}.Reboot.State", "announced"]},
        call("Reboot.GetStatus"),
        call("Reboot.CancelReboot"),
        call("Reboot.RebootNow", "a{sv}", soon),
        {"until": [f"{NAME}.Reboot.State", "announced"]},
        call("Reboot.CancelReboot"),
    ]


def _issued() -> list[Step]:
    return [
        call("Jobs.RunJob", "sa{sv}", "held", {}),
        call("Reboot.RebootNow", "a{sv}", {"reason": ["s", "firmware"]}),  # Blocked: a critical job
        call("Jobs.RunJob", "sa{sv}", "renewed", {}),
        call("Jobs.StopJob", "s", "held"),
        call("Reboot.RebootNow", "a{sv}", {"reason": ["s", "firmware"]}),
        {"until": [f"{NAME}.Reboot.State", "draining"]},
        _get("Manager", "State"),
        call("Jobs.RunJob", "sa{sv}", "ok", {}),  # Draining
        {"do": ["touch", "go"]},
        {"until": [f"{NAME}.Reboot.State", "issued"]},
        call("Reboot.CancelReboot"),  # TooLate
        call("Reboot.GetStatus"),
        {"do": ["shutdown-cancelled"]},
        {"until": [f"{NAME}.Reboot.State", "idle"]},
        {"until": [f"{NAME}.Manager.State", "running"]},
        call("Reboot.ListReboots", "a{sv}", {"limit": ["u", 5]}),
        call("Jobs.ListDecisions", "a{sv}", {"limit": ["u", 3], "job": ["s", "held"]}),
    ]
