"""The commands about CPU schedulers."""

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
)
from agentctl.client import Call, ExitCode, Record, safe
from agentctl.schedulers import calls, custom, records
from agentctl.schedulers.monitoring import monitor
from agentctl.session import Session, now
from agentctl.show import print_json, print_line, print_table

MODES = ("auto", "gaming", "lowlatency", "powersave", "server")
_SET = "A flag of the scheduler; may be given again."
_names = completed(calls.scheduler_names)
_span = parsed(times.parse_positive)
Function = Callable[..., None]


@click.group("sched", cls=Commands, invoke_without_command=True)
@address_option
@json_option
@click.pass_context
def sched(context: click.Context) -> None:
    """Shows and steers which CPU scheduler the kernel uses.

    Schedulers are those of sched_ext. Without a command the status is shown.

    \b
    Examples:
      agentctl sched list --installed              the schedulers that could run here
      agentctl sched start bpfland --mode gaming   load one, for as long as it does well
      agentctl sched restore                       back to what is configured
    """
    if context.invoked_subcommand is None:
        context.invoke(sched.commands["status"])


@command("status", sched)
def status(session: Session) -> None:
    """Shows which scheduler runs, as the kernel says, and who wants which.

    Of the wishes the topmost wins that can be served: leases of programs, choices of persons, jobs that run, rules,
    what follows the power profile, and the configured default, in this order.

    \b
    Examples:
      agentctl sched status
      agentctl sched status --json | jq -r .current
    """
    found, wants, quarantines = session.client.call(calls.GET_STATUS)
    if session.json:
        print_json(records.status_json(found, wants, quarantines))
        return
    print_line(records.headline(found), bold=True)
    for label, text in records.status_facts(found, now()):
        print_line(f"{label:>11}  {text}", "yellow" if label == "waits" else None)
    if wants:
        click.echo()
        print_table(records.WANTS_HEADER, [records.want_row(want, now()) for want in wants])
    for one in quarantines:
        print_line(records.quarantine_line(one, now()), "red")
    if quarantines:
        print_line("to try again all the same: agentctl sched clear NAME")


@command("list", sched)
@click.option("--ready", is_flag=True, help="Only those for everyday use.")
@click.option("--installed", is_flag=True, help="Only those whose program is on this machine.")
@click.option("--for", "use", metavar="WORD", help="Only those that are for something: gaming, server, audio, ...")
def list_schedulers(session: Session, ready: bool, installed: bool, use: str | None) -> None:
    """Lists the schedulers of the catalogue: which are installed, and which this kernel can run.

    \b
    Examples:
      agentctl sched list --ready
      agentctl sched list --for gaming
      agentctl sched list --installed --json | jq -r '.[].name'
    """
    wanted = {"ready": ready or None, "installed": installed or None, "for": use}
    (found,) = session.client.call(calls.LIST_SCHEDULERS, wanted)
    if session.json:
        print_json([records.scheduler_json(one) for one in found])
    elif found:
        print_table(records.LIST_HEADER, [records.list_row(one) for one in found])
        if any(one.get("obstacles") for one in found):
            print_line("why one cannot run here: agentctl sched info NAME")
    else:
        click.echo("the catalogue has no such scheduler; all that there are: agentctl sched list")


@command("info", sched)
@click.argument("name", shell_complete=_names)
def info(session: Session, name: str) -> None:
    """Shows one scheduler: what it is for, why it can or cannot run here, and its flags.

    \b
    Examples:
      agentctl sched info scx_bpfland
      agentctl sched info bpfland --json | jq '.flags[] | {name, default}'
    """
    scheduler, flags, modes = session.client.call(calls.GET_SCHEDULER, name)
    if session.json:
        as_json = [records.flag_json(flag) for flag in flags]
        print_json({**records.scheduler_json(scheduler), "flags": as_json, "modes": modes})
        return
    print_line(f"{scheduler.get('name')}: {scheduler.get('summary')}", bold=True)
    for label, text in records.scheduler_facts(scheduler):
        print_line(f"{label:>11}  {text}", "yellow" if label in {"cannot run", "differs"} else None)
    if flags:
        click.echo()
        print_table(records.FLAGS_HEADER, [records.flag_row(flag) for flag in flags])
    if modes:
        click.echo()
        for mode in sorted(modes):
            print_line(records.mode_line(mode, modes[mode]))


@command("check", sched)
def check(session: Session) -> None:
    """Tells whether this kernel can run schedulers, and where programs and the catalogue differ.

    Exit status 1 when something is not as it should be.

    \b
    Example:
      agentctl sched check
    """
    (findings,) = session.client.call(calls.CHECK)
    if session.json:
        print_json(findings)
    else:
        for finding in findings:
            word = "ok" if finding.get("ok") else "NO"
            print_line(f"{word}  {finding.get('text')}", None if finding.get("ok") else "red")
    if not all(finding.get("ok") for finding in findings):
        click.get_current_context().exit(ExitCode.ERROR)


def _setting(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> Record:
    """Returns the flags of --set as options of the call: texts, which the catalogue's types are made of."""
    flags: Record = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not (equals and name):
            raise click.BadParameter(f'"{value}" is no flag with a value: expected such as slice-us=5000')
        if name in flags:
            raise click.BadParameter(f"{name} is set twice")
        flags[name] = ("s", text)
    return flags


def _wish(function: Function) -> Function:
    """Adds the options of a wish for a scheduler."""
    for option in (
        click.option("--reason", metavar="TEXT", help="The reason, one line that is shown to people."),
        click.option(
            "--for", "span", metavar="DURATION", callback=_span, help="Only for so long, such as 2h; then as before."
        ),
        click.option("--set", "flags", multiple=True, callback=_setting, metavar="FLAG=VALUE", help=_SET),
        click.option("--mode", type=click.Choice(MODES), help="The flags for a purpose, as the catalogue has them."),
    ):
        function = option(function)
    return function


@command("start", sched)
@click.argument("name", shell_complete=_names)
@_wish
def start(session: Session, name: str, mode: str | None, flags: Record, span: int | None, reason: str | None) -> None:
    """Starts a scheduler where the kernel's own runs.

    agentctl waits until the kernel says that the scheduler runs. The scheduler is then on probation: where it makes the
    machine stall, agentd takes it back. It stays until it is stopped, another is chosen, or: agentctl sched restore

    \b
    Examples:
      agentctl sched start bpfland
      agentctl sched start scx_bpfland --mode gaming --for 2h
      agentctl sched start cosmos --set slice-us=700 --reason "trying it for the editor"
    """
    _begin(session, calls.START, name, flags, {"mode": mode, **_lasting(span), "reason": reason})


@command("switch", sched)
@click.argument("name", shell_complete=_names)
@_wish
def switch(session: Session, name: str, mode: str | None, flags: Record, span: int | None, reason: str | None) -> None:
    """Replaces the scheduler that runs by another one.

    The new one is looked at before the old one leaves; where the new one does not run, the old one comes back.

    \b
    Examples:
      agentctl sched switch scx_cosmos
      agentctl sched switch lavd --mode powersave --for 8h
    """
    _begin(session, calls.SWITCH, name, flags, {"mode": mode, **_lasting(span), "reason": reason})


def _lasting(span: int | None) -> Record:
    return {"keep": True} if span is None else {"for": span}


def _begin(session: Session, call: Call, name: str, flags: Record, options: Record) -> None:
    if sys.stderr.isatty():
        click.echo(f"starting {safe(name)} ...", err=True)
    (tenure,) = session.client.call(call, name, flags, options)
    _print_started(session, tenure)


def _print_started(session: Session, tenure: Record) -> None:
    if session.json:
        print_json(records.tenure_json(tenure))
        return
    gap = f", after {times.span(tenure['gap'])} with the kernel's own" if "gap" in tenure else ""
    name = records.named(str(tenure.get("name")), str(tenure.get("mode", "")), tenure.get("flags"))
    print_line(f"{name} runs, says the kernel{gap}")
    print_line("to keep it without probation: agentctl sched keep; to take it back: agentctl sched restore")


@command("stop", sched)
@click.option("--for", "span", metavar="DURATION", callback=_span, help="Only for so long, such as 2h; then as before.")
@click.option("--reason", metavar="TEXT", help="The reason, one line that is shown to people.")
def stop(session: Session, span: int | None, reason: str | None) -> None:
    """Goes back to the kernel's own scheduler, until: agentctl sched restore

    \b
    Examples:
      agentctl sched stop
      agentctl sched stop --for 1h --reason "measuring without"
    """
    session.client.call(calls.STOP, {**_lasting(span), "reason": reason})
    if session.json:
        print_json({"current": records.NONE})
    else:
        print_line("the kernel's own scheduler runs; what is configured decides again after: agentctl sched restore")


@command("restart", sched)
def restart(session: Session) -> None:
    """Ends the scheduler that runs, and starts it anew with the same flags.

    \b
    Example:
      agentctl sched restart
    """
    (tenure,) = session.client.call(calls.RESTART)
    _print_started(session, tenure)


@command("restore", sched)
def restore(session: Session) -> None:
    """Drops what persons and programs chose: what is configured decides again.

    \b
    Example:
      agentctl sched restore
    """
    (wanted,) = session.client.call(calls.RESTORE)
    if session.json:
        print_json({"wanted": wanted})
    else:
        print_line(f"what is configured decides again: {records.named(wanted)}")


@command("keep", sched)
def keep(session: Session) -> None:
    """Keeps the scheduler that runs: its probation is over, and it stays until another is chosen.

    \b
    Example:
      agentctl sched keep
    """
    (name,) = session.client.call(calls.KEEP)
    if session.json:
        print_json({"kept": name})
    else:
        print_line(f"{name} stays; back to what is configured: agentctl sched restore")


@command("clear", sched)
@click.argument("name", required=False, default="", shell_complete=_names)
def clear(session: Session, name: str) -> None:
    """Lets a scheduler that failed be tried again, or all that did.

    \b
    Example:
      agentctl sched clear scx_lavd
    """
    (cleared,) = session.client.call(calls.CLEAR, name)
    if session.json:
        print_json({"cleared": cleared})
    else:
        print_line(f"may be tried again: {', '.join(cleared)}" if cleared else "there was nothing to clear")


@command("history", sched)
@click.argument("name", required=False, shell_complete=_names)
@count_option(20, most=MOST_RECORDS)
def history(session: Session, name: str | None, count: int) -> None:
    """Shows which schedulers ran, newest first: for how long, who wanted them, and how each ended.

    \b
    Examples:
      agentctl sched history
      agentctl sched history scx_lavd -n 5 --json | jq '.[].message'
    """
    found = listed(session.client, calls.LIST_TENURES, count, lambda one: one.get("number"), name=name)
    if session.json:
        print_json([records.tenure_json(one) for one in found])
    elif found:
        print_table(records.HISTORY_HEADER, [records.history_row(one, now()) for one in found])
    else:
        click.echo("no scheduler was loaded yet, as far as agentd remembers")


@command("run", sched, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("name", shell_complete=_names)
@click.option("--set", "flags", multiple=True, callback=_setting, metavar="FLAG=VALUE", help=_SET)
@click.option("--mode", type=click.Choice(MODES), help="The flags for a purpose, as the catalogue has them.")
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND...")
def run(session: Session, name: str, mode: str | None, flags: Record, program: tuple[str, ...]) -> None:
    """Runs a COMMAND under a scheduler, which leaves when the command ends.

    The scheduler is for the whole machine, as long as the command runs. The exit status is the command's.

    \b
    Examples:
      agentctl sched run bpfland --mode gaming -- steam
      agentctl sched run rusty -- make -j16
    """
    from agentctl.schedulers import programs

    program = program[1:] if program[0] == "--" else program
    if not program:
        raise click.UsageError("which COMMAND is to run is missing")
    session.client.call(calls.SWITCH, name, flags, {"mode": mode, "reason": f"for {program[0]}"[:200]})
    try:
        ended = programs.ended(program)
    finally:
        session.client.call(calls.RELEASE)
    click.get_current_context().exit(ended)


for _elsewhere in (monitor, custom.verify, custom.custom, custom.source, custom.remove):
    sched.add_command(_elsewhere)
