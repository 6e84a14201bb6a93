"""The commands about CPU schedulers of one's own."""

import sys
from typing import BinaryIO

import click

from agentctl.cli import command, completed
from agentctl.client import ExitCode, Failure, Record, Signal, safe
from agentctl.schedulers import calls
from agentctl.session import Session
from agentctl.show import picked, print_json, print_line, print_table
from agentctl.times import stamp

STEPS_HEADER = ("STEP", "RESULT", "SECONDS", "WHAT")
OWN_HEADER = ("NAME", "RUNS HERE", "VERIFIED", "KERNEL", "SUMMARY")
LARGEST = 60 << 10  # bytes of a source, as agentd takes it
_OWN = (
    *("name", "usable", "why", "runs", "summary", "algorithm", "use_cases", "limits", "source", "object", "kernel"),
    *("compiler", "verified"),
)
_names = completed(calls.custom_names)


@command("verify")
@click.argument("name")
@click.argument("file", type=click.File("rb"))
@click.option("--summary", metavar="TEXT", help="A line about the scheduler, for lists.")
@click.option("--algorithm", metavar="TEXT", help="A description of how it decides.")
@click.option("--use-case", "use_cases", multiple=True, metavar="TEXT", help="A use; may be given again.")
@click.option("--limit", "limits", multiple=True, metavar="TEXT", help="A limit; may be given again.")
def verify(
    session: Session,
    name: str,
    file: BinaryIO,
    summary: str | None,
    algorithm: str | None,
    use_cases: tuple[str, ...],
    limits: tuple[str, ...],
) -> None:
    """Has a scheduler of one's own checked, compiled and tried.

    FILE is its source in BPF C (/usr/share/agentd/scx.h has an example), - is standard input. One that does well is
    kept, and is custom:NAME among the schedulers, on the kernel that it was verified on. The trial takes ten seconds:
    stop any other scheduler before. Nothing is loaded unless root made the file /etc/agentd/custom-schedulers. Exit
    status 1 when the scheduler is not verified.

    \b
    Examples:
      agentctl sched verify fifo fifo.bpf.c --summary "first in, first out"
      agentctl sched verify fifo fifo.bpf.c --json | jq '.steps[] | select(.state == "failed")'
      agentctl sched start custom:fifo
    """
    source = file.read(LARGEST + 1)
    if len(source) > LARGEST:
        raise Failure(f"{file.name} is larger than {LARGEST >> 10} KiB, the most that agentd takes")
    if sys.stderr.isatty():
        session.client.listen(calls.SCHEDULER, "VerificationStep", "ssss", _print_progress)
    lists = {"use_cases": list(use_cases) or None, "limits": list(limits) or None}
    words = {"summary": summary, "algorithm": algorithm, **lists}
    report, steps = session.client.call(calls.VERIFY, name, source, words)
    if session.json:
        print_json(report_json(report, steps))
    else:
        _print_report(report, steps)
    if not report.get("ok"):
        click.get_current_context().exit(ExitCode.ERROR)


def _print_progress(signal: Signal) -> None:
    _, step, state, sentence = signal.values
    click.echo(safe(f"{sentence} ..." if state == "running" else f"{step}: {state}: {sentence}"), err=True)


def _print_report(report: Record, steps: list[Record]) -> None:
    print_table(STEPS_HEADER, [step_row(step) for step in steps])
    for step in steps:
        if step.get("excerpt"):
            print_line(f"{step.get('name')}:")
            for line in step["excerpt"]:
                print_line(f"  {line}")
    click.echo()
    print_line(str(report.get("sentence")), "green" if report.get("ok") else "red")
    if report.get("ok"):
        print_line(f"to start it: agentctl sched start {report.get('name')}")


@command("custom")
def custom(session: Session) -> None:
    """Lists the schedulers of one's own that are verified, and why one cannot run here.

    \b
    Examples:
      agentctl sched custom
      agentctl sched custom --json | jq -r '.[] | select(.usable) | .name'
    """
    (found,) = session.client.call(calls.LIST_CUSTOM)
    if session.json:
        print_json([picked(one, *_OWN, instants=("verified",)) for one in found])
        return
    if not found:
        click.echo("there are no schedulers of one's own; to have one verified: agentctl sched verify NAME FILE")
        return
    print_table(OWN_HEADER, [own_row(one) for one in found])
    for one in found:
        if one.get("why"):
            print_line(f"{one.get('name')} cannot run here: {one['why']}", "yellow")


@command("source")
@click.argument("name", shell_complete=_names)
def source(session: Session, name: str) -> None:
    """Prints the source of a scheduler of one's own, as it was verified.

    \b
    Examples:
      agentctl sched source fifo > fifo.bpf.c
      agentctl sched source fifo | agentctl sched verify fifo -
    """
    (text,) = session.client.call(calls.GET_CUSTOM_SOURCE, name)
    if session.json:
        print_json({"name": name, "source": bytes(text).decode(errors="replace")})
    else:
        click.echo(bytes(text), nl=False)


@command("remove")
@click.argument("name", shell_complete=_names)
def remove(session: Session, name: str) -> None:
    """Forgets a scheduler of one's own, with its source.

    \b
    Example:
      agentctl sched remove fifo
    """
    session.client.call(calls.REMOVE_CUSTOM, name)
    if session.json:
        print_json({"removed": name})
    else:
        print_line(f"{name} is removed")


def report_json(report: Record, steps: list[Record]) -> Record:
    """Returns a report with its steps."""
    keys = ("name", "state", "seconds", "sentence", "excerpt")
    head = picked(report, "name", "ok", "sentence", "source", "kernel", "compiler", "at", instants=("at",))
    return {**head, "steps": [picked(step, *keys) for step in steps]}


def step_row(step: Record) -> tuple[str, ...]:
    """Returns a row under STEPS_HEADER."""
    seconds = f"{step['seconds']:.2f}" if step.get("seconds") else "-"
    return str(step.get("name")), str(step.get("state")), seconds, str(step.get("sentence") or "-")


def own_row(one: Record) -> tuple[str, ...]:
    """Returns a row under OWN_HEADER."""
    return (
        str(one.get("name")),
        "running" if one.get("runs") else "yes" if one.get("usable") else "no",
        stamp(one["verified"]) if one.get("verified") else "-",
        str(one.get("kernel") or "-"),
        str(one.get("summary") or "-"),
    )
