"""The commands about reboots: asking for one, taking it back, its blockers, and the past."""

import sys
from collections.abc import Callable

import click

from agentctl import times
from agentctl.cli import (
    MOST_RECORDS,
    Commands,
    address_option,
    command,
    completed,
    count_option,
    json_option,
    listed,
    parsed,
    pass_session,
)
from agentctl.client import Client, ExitCode, Failure, Record, safe
from agentctl.reboots import calls, records
from agentctl.session import Session, now
from agentctl.show import print_json, print_line, print_table

KINDS = ("reboot", "soft-reboot", "kexec")
_COLOURS = {"in the way": "yellow", "breaker": "red", "ledger": "red", "logind": "red"}

Function = Callable[..., None]


def _request(function: Function) -> Function:
    """Adds the options of a request for a reboot."""
    for option in (
        click.option(
            "--kind", type=click.Choice(KINDS), help="How: soft-reboot keeps the kernel, kexec skips firmware."
        ),
        click.option("--force-users", is_flag=True, help="Reboot in spite of other users' sessions."),
        click.option("--reason", metavar="TEXT", help="The reason, one line that is shown to people."),
    ):
        function = option(function)
    return function


@command("reboot-now")
@_request
@click.option("--dry-run", is_flag=True, help="Only tell what is in the way; exit 7 when something is.")
def reboot_now(session: Session, reason: str | None, force_users: bool, kind: str | None, dry_run: bool) -> None:
    """Reboots this machine now, without asking back.

    Running jobs get their time. When something is in the way (a block inhibitor, the package manager, other users'
    sessions, a critical job), agentctl names it, nothing happens, and the exit status is 7.

    \b
    Examples:
      agentctl reboot-now --reason "new firmware"
      agentctl reboot-now --dry-run
      agentctl reboot-now --force-users --kind kexec
    """
    options = {"reason": reason, "force_users": force_users or None, "kind": kind}
    if dry_run:
        _examine(session, options)
    else:
        _reboot(session, options)


def _reboot(session: Session, options: Record) -> None:
    """Reboots the machine now and tells how that goes."""
    reason = options.get("reason")
    try:
        (reboot,) = session.client.call(calls.REBOOT_NOW, options)
    except Failure as failed:
        if failed.code == ExitCode.BLOCKED and not options.get("force_users"):
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
    (blockers,) = session.client.call(calls.EXAMINE, options)
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
    """Returns the option that helps where sessions are in the way, as a line of its own; empty where none are."""
    try:
        (blockers,) = session.client.call(calls.EXAMINE, options)
    except Failure:  # the refusal itself is what counts
        return ""
    kinds = {blocker.get("kind") for blocker in blockers}
    if "session" not in kinds:
        return ""
    rest = ", not what else is in the way" if len(kinds) > 1 else ""
    return f"\n--force-users sets other users' sessions aside{rest}"


def _why(reboot: Record, reason: str | None) -> str:
    """Returns the end of "Rebooting now": the kind of reboot, where it is a special one, and the reason."""
    kind, text = reboot.get("kind", "reboot"), str(reboot.get("reason") or reason or "").rstrip(".")
    return ("" if kind == "reboot" else f" ({kind})") + (f": {text}" if text else "")


@click.group("reboot", cls=Commands, invoke_without_command=True)
@address_option
@json_option
@click.pass_context
def reboots(context: click.Context) -> None:
    """Shows and steers when this machine reboots. Without a command it shows the status.

    To reboot this machine at once: agentctl reboot-now

    \b
    Examples:
      agentctl reboot status         the pending reboot and what is in its way
      agentctl reboot at 03:00       reboot at the next 03:00
      agentctl reboot cancel         take the pending reboot back
    """
    if context.invoked_subcommand is None:
        context.invoke(reboots.commands["status"])


@command("status", reboots)
def status(session: Session) -> None:
    """Shows the pending reboot and what is in its way.

    The status also tells the next window, how many automatic reboots there were of those allowed, what keeps them from
    happening, and the fleet's slot.

    \b
    Examples:
      agentctl reboot status
      agentctl reboot status --json | jq '.blockers[].why'
    """
    (found,) = session.client.call(calls.GET_STATUS)
    blockers = session.client.properties(calls.REBOOT).get("Blockers", [])
    if session.json:
        as_json = [records.blocker_json(blocker) for blocker in blockers]
        print_json({**records.status_json(found), "blockers": as_json})
        return
    section = ""
    for label, text in records.status_facts(found, blockers, now()):
        section = label or section
        print_line(f"{label:>11}  {text}", _COLOURS.get(section))


@command("request", reboots)
@click.argument("reason", metavar="REASON")
@click.option(
    "--within",
    metavar="DURATION",
    callback=parsed(times.parse_positive),
    help="Give up after so long: 3h (agentd's default is 6h).",
)
@click.option("--cause", metavar="NAME", help="A stable name of what asks; else your service, or you.")
@click.option("--kind", type=click.Choice(KINDS), help="How: soft-reboot keeps the kernel, kexec skips firmware.")
def request(session: Session, reason: str, within: int | None, cause: str | None, kind: str | None) -> None:
    """Asks for a reboot as soon as nothing is in the way, as a program does.

    People are warned, and all that holds or refuses an automatic reboot holds or refuses this one. The same cause is
    refused when it asks again within an hour of the boot after its reboot, until agentctl reboot clear.

    \b
    Examples:
      agentctl reboot request "the disk is worn"
      agentctl reboot request "new libraries" --cause upgrades --within 3h
    """
    (key,) = session.client.call(calls.REQUEST_REBOOT, reason, {"cause": cause, "kind": kind, "within": within})
    if session.json:
        print_json({"id": key})
        return
    print_line(f"reboot {key} is asked for, and comes once nothing is in the way: {reason}")
    print_line("to see how it goes: agentctl reboot status; to take it back: agentctl reboot cancel")


def _coming(text: str) -> int:
    """Returns the instant of a text; 0 for "now". Raises ValueError."""
    return 0 if text.strip().lower() == "now" else times.parse_coming(text, now())


@command("at", reboots)
@click.argument("when", metavar="WHEN", callback=parsed(_coming))
@_request
@click.option(
    "--within",
    metavar="DURATION",
    callback=parsed(times.parse_positive),
    help="Give up when something is in the way for so long after WHEN: 30min, 2h (agentd's default is 1h).",
)
def reboot_at(
    session: Session, when: int, reason: str | None, force_users: bool, kind: str | None, within: int | None
) -> None:
    """Reboots this machine at WHEN.

    WHEN is a time (the next such local time), a date with a time, +1h (an hour from now), or now. When something is in
    the way at that time, agentd waits until it is gone. What a program asks for meanwhile may reboot the
    machine earlier; this reboot stays planned.

    \b
    Examples:
      agentctl reboot at 03:00
      agentctl reboot at +1h
      agentctl reboot at "2026-12-24 03:00" --reason "new disks" --within 2h
    """
    options = {"reason": reason, "at": when or None, "force_users": force_users or None, "kind": kind, "within": within}
    if not when:
        _reboot(session, options)
        return
    (reboot,) = session.client.call(calls.REBOOT_NOW, options)
    if session.json:
        print_json(records.reboot_json(reboot))
        return
    print_line(f"Rebooting at {times.stamp(when)} ({times.relative(when, now())}){_why(reboot, reason)}")
    print_line("to take it back: agentctl reboot cancel")


@command("cancel", reboots)
def cancel(session: Session) -> None:
    """Takes the pending reboot back, and the wishes that wait beside it.

    Work goes on. The exit status is 5 when no reboot is pending.

    \b
    Example:
      agentctl reboot cancel
    """
    (reboot,) = session.client.call(calls.CANCEL_REBOOT)
    if session.json:
        print_json(records.reboot_json(reboot))
    else:
        print_line(f"the reboot was taken back{_why(reboot, None)}; work goes on")


@command("history", reboots)
@count_option(20, most=MOST_RECORDS)
def history(session: Session, count: int) -> None:
    """Shows past reboots and the pending one, newest first.

    Each has the time that the machine was down, what held or cancelled the reboot, and what agentd found after it.

    \b
    Example:
      agentctl reboot history -n 5
    """
    found = listed(session.client, calls.LIST_REBOOTS, count, lambda reboot: reboot.get("id"))
    if session.json:
        print_json([records.reboot_json(reboot) for reboot in found])
    elif found:
        print_table(records.HISTORY_HEADER, map(records.history_row, found))
    else:
        click.echo("nothing found")


@command("clear", reboots)
def clear(session: Session) -> None:
    """Lets automatic reboots happen again.

    Automatic reboots stop when a breaker opens, because a reboot did not help, when the ledger is lost, or when a clock
    that was ahead has dated reboots in the future, which the limits count.

    \b
    Example:
      agentctl reboot clear
    """
    (cleared,) = session.client.call(calls.CLEAR)
    if session.json:
        print_json({"cleared": cleared})
    else:
        for sentence in cleared or ["there was nothing to clear"]:
            print_line(sentence)


def _holders(client: Client) -> list[str]:
    (holders,) = client.call(calls.LIST_HOLDERS)
    return [records.holder_name(holder) for holder in holders if not holder.get("mine")]


@click.group("fleet", cls=Commands, invoke_without_command=True)
@address_option
@json_option
@pass_session
@click.pass_context
def fleet(context: click.Context, session: Session) -> None:
    """Shows which machines of the fleet hold a slot to reboot.

    A machine that did not come back in time is overdue. agentd never evicts a machine: the slot stays taken.

    \b
    Examples:
      agentctl fleet
      agentctl fleet release web2
    """
    if context.invoked_subcommand is None:
        _show_fleet(session)


@command("release", fleet)
@click.argument("holder", metavar="HOLDER", shell_complete=completed(_holders))
@click.option("--yes", is_flag=True, help="Do not ask back.")
def release(session: Session, holder: str, yes: bool) -> None:
    """Frees the slot of a machine that does not come back.

    HOLDER is the name of its host or its id, as agentctl fleet shows it. A machine that is not overdue yet is refused.

    \b
    Example:
      agentctl fleet release web2
    """
    if not yes:
        # Asked so, because prompts of click before 8.2 write a space to stdout.
        question = f"May another machine reboot though {safe(holder)} did not come back? [y/N]: "
        click.echo(question, nl=False, err=True)
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            raise click.Abort
    (key,) = session.client.call(calls.RELEASE_HOLDER, holder)
    if session.json:
        print_json({"released": key})
    else:
        print_line(f"the slot of {holder} is free; should that machine come back, it has to get one anew")


def _show_fleet(session: Session) -> None:
    (holders,) = session.client.call(calls.LIST_HOLDERS)
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
        print_line("agentd never evicts a machine: its slot stays taken until it comes back or you free it:")
        print_line("agentctl fleet release HOST")
