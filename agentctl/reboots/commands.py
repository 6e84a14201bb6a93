"""The commands about reboots: now, later, taken back, what is in the way, and what was."""

from collections.abc import Callable

import click

from agentctl import times
from agentctl.cli import Commands, Session, address_option, cli, command, json_option, now, parsed
from agentctl.client import ExitCode, Failure, Record
from agentctl.reboots import records
from agentctl.show import print_json, print_line, print_table

KINDS = ("reboot", "soft-reboot", "kexec")
MOST_REBOOTS = 10_000
_COLOURS = {"in the way": "yellow", "breaker": "red", "ledger": "red", "logind": "red"}

Function = Callable[..., None]


def _request(function: Function) -> Function:
    """The options of whoever asks for a reboot."""
    for option in (
        click.option(
            "--kind", type=click.Choice(KINDS), help="How: soft-reboot keeps the kernel, kexec skips firmware."
        ),
        click.option("--force-users", is_flag=True, help="In spite of other users' sessions."),
        click.option("--reason", metavar="TEXT", help="Why, one line for people: they are shown it."),
    ):
        function = option(function)
    return function


@command("reboot-now")
@_request
@click.option("--dry-run", is_flag=True, help="Only tell what is in the way; exit 7 when something is.")
def reboot_now(session: Session, reason: str | None, force_users: bool, kind: str | None, dry_run: bool) -> None:
    """Reboots this machine now, without asking back.

    Running jobs get their time. What is in the way (a block inhibitor, the package manager, other users' sessions,
    a critical job) is named, nothing happens, and the exit status is 7.

    \b
    Examples:
      agentctl reboot-now --reason "new firmware"
      agentctl reboot-now --dry-run
      agentctl reboot-now --force-users --kind kexec
    """
    options = {"reason": reason, "force_users": force_users or None, "kind": kind}
    if dry_run:
        _examine(session, options)
        return
    try:
        (reboot,) = session.client.call("RebootNow", options)
    except Failure as failed:
        if failed.code == ExitCode.BLOCKED and not force_users:
            raise Failure(f"{failed}{_way_out(session, options)}", failed.code, failed.error) from None
        raise
    if session.json:
        print_json(records.reboot_json(reboot))
        return
    if reboot.get("state") == "waiting":
        print_line(f"The reboot waits for a slot of the fleet{_why(reboot, reason)}")
        print_line("to see how it goes: agentctl reboot status; to take it back: agentctl reboot cancel")
        return
    print_line(
        f"Rebooting now{_why(reboot, reason)}. Running jobs get their time; follow it with: agentctl reboot status"
    )


def _examine(session: Session, options: Record) -> None:
    (blockers,) = session.client.call("Examine", options)
    if session.json:
        print_json({"blockers": [records.blocker_json(blocker) for blocker in blockers]})
    elif blockers:
        for blocker in blockers:
            print_line(records.blocker_line(blocker, now()))
    else:
        print_line("nothing is in the way of a reboot")
    if blockers:
        click.get_current_context().exit(ExitCode.BLOCKED)


def _way_out(session: Session, options: Record) -> str:
    """What helps where sessions are in the way, as a line of its own."""
    try:
        (blockers,) = session.client.call("Examine", options)
    except Failure:  # the refusal itself is what counts
        return ""
    kinds = {blocker.get("kind") for blocker in blockers}
    if "session" not in kinds:
        return ""
    rest = ", not what else is in the way" if len(kinds) > 1 else ""
    return f"\n--force-users sets other users' sessions aside{rest}"


def _why(reboot: Record, reason: str | None) -> str:
    """What follows "Rebooting now": the way, where it is a special one, and the reason."""
    kind, text = reboot.get("kind", "reboot"), str(reboot.get("reason") or reason or "").rstrip(".")
    return ("" if kind == "reboot" else f" ({kind})") + (f": {text}" if text else "")


@cli.group("reboot", cls=Commands, invoke_without_command=True)
@address_option
@json_option
@click.pass_context
def reboots(context: click.Context) -> None:
    """Shows and steers when this machine reboots. Without a command: the status.

    To reboot it at once: agentctl reboot-now

    \b
    Examples:
      agentctl reboot status         what is pending and what is in the way
      agentctl reboot at 03:00       reboot at the next 03:00
      agentctl reboot cancel         take the pending reboot back
    """
    if context.invoked_subcommand is None:
        context.invoke(reboots.commands["status"])


@command("status", reboots)
def status(session: Session) -> None:
    """Shows what is pending and what is in the way.

    Also the next window, how many automatic reboots there were of those allowed, what keeps them from happening, and
    the fleet's slot.

    \b
    Examples:
      agentctl reboot status
      agentctl reboot status --json | jq '.blockers[].why'
    """
    (found,) = session.client.call("GetStatus")
    blockers = session.client.reboots().get("Blockers", [])
    if session.json:
        as_json = [records.blocker_json(blocker) for blocker in blockers]
        print_json({**records.status_json(found), "blockers": as_json})
        return
    section = ""
    for label, text in records.status_facts(found, blockers, now()):
        section = label or section
        print_line(f"{label:>11}  {text}", _COLOURS.get(section))


@command("at", reboots)
@click.argument("when", metavar="WHEN", callback=parsed(lambda text: times.parse_coming(text, now())))
@_request
@click.option(
    "--within",
    metavar="DURATION",
    callback=parsed(times.parse_duration),
    help="Give up when something is in the way for so long after WHEN: 30min, 2h (agentd's default is 1h).",
)
def reboot_at(
    session: Session, when: int, reason: str | None, force_users: bool, kind: str | None, within: int | None
) -> None:
    """Reboots this machine at WHEN.

    WHEN is a time (the next such local time) or a date with a time. When something is in the way then, agentd waits
    for it.

    \b
    Examples:
      agentctl reboot at 03:00
      agentctl reboot at "2026-12-24 03:00" --reason "new disks" --within 2h
    """
    options = {"reason": reason, "at": when, "force_users": force_users or None, "kind": kind, "within": within}
    (reboot,) = session.client.call("RebootNow", options)
    if session.json:
        print_json(records.reboot_json(reboot))
        return
    print_line(f"Rebooting at {times.stamp(when)} ({times.relative(when, now())}){_why(reboot, reason)}")
    print_line("to take it back: agentctl reboot cancel")


@command("cancel", reboots)
def cancel(session: Session) -> None:
    """Takes the pending reboot back.

    Work goes on. When none is pending the exit status is 5.

    \b
    Example:
      agentctl reboot cancel
    """
    (reboot,) = session.client.call("CancelReboot")
    if session.json:
        print_json(records.reboot_json(reboot))
    else:
        print_line(f"the reboot was taken back{_why(reboot, None)}; work goes on")


@command("history", reboots)
@click.option("-n", "count", type=click.IntRange(1, MOST_REBOOTS), default=20, show_default=True, help="How many.")
def history(session: Session, count: int) -> None:
    """Shows past reboots and the pending one, newest first.

    With how long the machine was down, what held or cancelled a reboot, and what was found after it.

    \b
    Example:
      agentctl reboot history -n 5
    """
    (found,) = session.client.call("ListReboots", {"limit": count})
    if session.json:
        print_json([records.reboot_json(reboot) for reboot in found])
    elif found:
        print_table(records.HISTORY_HEADER, map(records.history_row, found))
    else:
        click.echo("nothing found")


@command("clear", reboots)
def clear(session: Session) -> None:
    """Lets automatic reboots happen again.

    After a breaker opened, because a reboot did not help, or after the ledger was lost.

    \b
    Example:
      agentctl reboot clear
    """
    (cleared,) = session.client.call("Clear")
    if session.json:
        print_json({"cleared": cleared})
    else:
        for sentence in cleared or ["there was nothing to clear"]:
            print_line(sentence)


@command("fleet")
def fleet(session: Session) -> None:
    """Shows which machines of the fleet hold a slot to reboot.

    A machine that did not come back in time is overdue. It keeps its slot: nobody is evicted by itself.

    \b
    Example:
      agentctl fleet
    """
    (holders,) = session.client.call("ListHolders")
    if session.json:
        print_json([records.holder_json(holder) for holder in holders])
        return
    if not holders:
        click.echo("nobody holds a slot")
        return
    print_table(records.HOLDER_HEADER, [records.holder_row(holder, now()) for holder in holders])
    late = [records.holder_name(holder) for holder in holders if holder.get("state") == "overdue"]
    if late:
        click.echo()
        print_line(f"did not come back in time: {', '.join(late)}", "red", bold=True)
        print_line("Nobody is evicted by itself: a slot stays taken until its machine is back or somebody frees it.")
