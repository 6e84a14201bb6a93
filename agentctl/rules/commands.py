"""The commands about rules, the KPIs that they look at, and the self-test."""

import os
import sys

import click

from agentctl import times
from agentctl.cli import Commands, address_option, command, completed, json_option, parsed
from agentctl.client import ExitCode, Failure, Record
from agentctl.rules import calls, kpis, records
from agentctl.session import Session, now
from agentctl.show import print_json, print_line, print_table

_ACTED = 3  # times that a rule acted that `explain` shows
_COLOURS = {"failed": "red", "skipped": "yellow"}
_since = parsed(lambda text: times.parse_since(text, now()))


@command("kpi")
@click.argument("name", required=False, shell_complete=completed(calls.kpi_names))
@click.option(
    "--since",
    metavar="DATE|DURATION",
    callback=_since,
    help="With NAME: the past since then, 1h by default: 2d, 2026-10-25, yesterday.",
)
@click.option("--all", "every", is_flag=True, help="Without NAME: also the KPIs that no rule needs, as they are now.")
def kpi(session: Session, name: str | None, since: int | None, every: bool) -> None:
    """Shows the KPIs that agentd samples, or the past of one NAME.

    agentd samples those that a rule needs; at others it looks when asked. A KPI without a value has the reason for that
    in its place.

    \b
    Examples:
      agentctl kpi
      agentctl kpi --all
      agentctl kpi MemoryUsage --since 2d
    """
    if name is None and since is not None:
        raise click.UsageError("--since goes with the NAME of a KPI")
    kpis.kpi(session, name, since, every)


@click.group("rules", cls=Commands, invoke_without_command=True)
@address_option
@json_option
@click.pass_context
def rules(context: click.Context) -> None:
    """Shows the rules, explains one, and tries rules on old samples.

    Without a command the rules are listed: those that fire first.

    \b
    Examples:
      agentctl rules                                   how each rule stands
      agentctl rules explain memory-high               why it fires, or why it does not
      agentctl rules test new.yaml --since 7d          what new rules would have done
    """
    if context.invoked_subcommand is None:
        context.invoke(rules.commands["list"])


@command("list", rules)
def list_rules(session: Session) -> None:
    """Shows how each rule stands: what it sees, when it last fired, and what it does.

    \b
    Examples:
      agentctl rules list
      agentctl rules list --json | jq '.[] | select(.state == "firing").name'
    """
    (found,) = session.client.call(calls.LIST_RULES, {})
    if session.json:
        print_json([records.rule_json(rule) for rule in found])
    elif found:
        print_table(records.RULE_HEADER, [records.rule_row(rule, now()) for rule in found])
    else:
        click.echo("There are no rules yet: add some to the configuration, then: agentctl reload")


@command("explain", rules)
@click.argument("name", shell_complete=completed(calls.rule_names))
def explain(session: Session, name: str) -> None:
    """Shows why a rule fires, or what is missing for it to fire.

    Each part of the condition stands with its truth and what it sees; then comes what the rule does, and what there was
    to see the last times that it acted.

    \b
    Example:
      agentctl rules explain memory-high
    """
    rule, lines = session.client.call(calls.EXPLAIN_RULE, name)
    (evidence,) = session.client.call(calls.LIST_EVIDENCE, name, {"limit": _ACTED})
    if session.json:
        condition = [records.line_json(line) for line in lines]
        acted = [records.evidence_json(one) for one in evidence]
        print_json({**records.rule_json(rule), "condition": condition, "evidence": acted})
        return
    print_line(records.headline(rule, now()), bold=True)
    for of, title in (("when", "When it fires"), ("clear", "When that is over")):
        if part := [line for line in lines if line.get("of") == of]:
            click.echo()
            print_table(("HOLDS", title.upper(), "SEES"), records.condition(part))
    _print_rest(rule, lines, evidence)


def _print_rest(rule: Record, lines: list[Record], evidence: list[Record]) -> None:
    """Prints what is missing for a rule to fire, what it does, and what it saw when it acted."""
    fires = rule.get("state") in records.FIRES
    missing = [] if fires else records.missing([line for line in lines if line.get("of") == "when"])
    acted = [line for one in evidence for line in records.evidence_lines(one, now())]
    for title, texts in (
        ("missing for it to fire:", missing),
        ("what it does:" if fires else "what it would do:", records.consequence(rule)),
        ("the last times it acted:", acted or ["never, as far as agentd remembers"]),
    ):
        if texts:
            click.echo()
            print_line(title, bold=True)
        for text in texts:
            print_line(f"  {text}")


@command("test", rules)
@click.argument("file", type=click.Path())
@click.option("--samples", type=click.Path(allow_dash=True), metavar="FILE", help="Samples, a JSON object a line.")
@click.option(
    "--since",
    metavar="DATE|DURATION",
    callback=_since,
    help="What the running agentd recorded since then: 7d, 2026-10-25.",
)
def test(session: Session, file: str, samples: str | None, since: int | None) -> None:
    """Tells what the rules of a FILE would have done.

    FILE is an agentd.yaml, or a piece with nothing but rules. The samples are those of a file (which needs no running
    agentd), or what the running agentd recorded. Nothing is done, and nothing changes.

    \b
    Examples:
      agentctl rules test new.yaml --since 7d
      agentctl rules test new.yaml --samples old.jsonl --json
    """
    if (samples is None) == (since is None):
        raise click.UsageError("give either --samples FILE, or --since for what the running agentd recorded")
    text, own = ("", []) if since is None else _recorded(session, since)
    import subprocess
    from pathlib import Path

    # -P and the path: the agentd next to this agentctl, never one that lies about in the current folder.
    path = os.pathsep.join(filter(None, (str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH"))))
    arguments = [sys.executable, "-P", "-m", "agentd.rules.replaying"]
    arguments += ["--json"] if session.json else []
    arguments += [] if since is None else ["--live", *(f"--kpi={kpi}" for kpi in own)]
    arguments += ["--", file, "-" if samples is None else samples]
    environment = {**os.environ, "PYTHONPATH": path}
    given = None if since is None else text.encode()
    ended = subprocess.run(arguments, env=environment, input=given, check=False)
    click.get_current_context().exit(ended.returncode if ended.returncode >= 0 else ExitCode.ERROR)


def _recorded(session: Session, since: int) -> tuple[str, list[str]]:
    """Returns the samples of all KPIs since an instant as lines for a replay, and the KPIs of somebody's own with their
    units. Raises Failure."""
    (found,) = session.client.call(calls.LIST_KPIS, {})
    names = [one["name"] for one in found if one.get("sampled")]
    span = calls.span_of(session.client, names, since, now())
    by_instant: dict[int, Record] = {}
    for name in names:
        for row in calls.samples(session.client, name, since, span):
            by_instant.setdefault(row["at"], {})[name] = row["mean"]
    if not by_instant:
        raise Failure(
            "agentd has recorded no KPI since then: it samples those that its own rules need (agentctl kpi lists them)"
        )
    if span:
        click.echo(f"for so long agentd keeps the means of each {times.span(span)}", err=True)
    own = [f"{one['name']}={one['unit']}" for one in found if one["name"] in names and one.get("own")]
    return "".join(f"{records.sample_line(at, by_instant[at])}\n" for at in sorted(by_instant)), own


@command("self-test")
@click.option("--full", is_flag=True, help="Also the checks that take long.")
def self_test(session: Session, full: bool) -> None:
    """Runs agentd's self-test and prints what it finds.

    Each part of agentd looks whether it works, and one run of a program is tried, which nobody sees elsewhere. With
    --full the whole database is looked through as well. The exit status is 1 when a check failed; below each failure
    stands what to do.

    \b
    Examples:
      agentctl self-test
      agentctl self-test --full --json | jq '.[] | select(.result == "failed")'
    """
    (results,) = session.client.call(calls.SELF_TEST, {"full": full or None})
    failed = [result for result in results if result.get("result") == "failed"]
    if session.json:
        print_json([records.result_json(result) for result in results])
    else:
        for result in results:
            for line in records.result_lines(result):
                print_line(line, _COLOURS.get(str(result.get("result"))))
        print_line(
            f"{len(failed)} of {len(results)} checks failed" if failed else f"{len(results)} checks, none failed"
        )
    if failed:
        click.get_current_context().exit(ExitCode.ERROR)
