"""The commands about the network that foretells how often things change."""

import sys
import time

import click

from agentctl import daemon
from agentctl.cli import Commands, address_option, command, json_option
from agentctl.client import Client, ExitCode, Failure, Record
from agentctl.learning import calls, networks
from agentctl.session import Session, now
from agentctl.show import print_json, print_line, print_table
from agentctl.times import span
from agentd.core.quantities import SECOND

POLL_SECONDS = 0.5
_DECISIONS = 50  # of learning, among which the newest about a network is looked for


@click.group("model", cls=Commands, invoke_without_command=True)
@address_option
@json_option
@click.pass_context
def model(context: click.Context) -> None:
    """Shows and trains the network that foretells changes.

    Without a command the network in force is shown.

    \b
    Examples:
      agentctl model             what the network in force was made from, and how well it foretold
      agentctl model train       make one from what the runs of this machine found
      agentctl model rollback    go back to the one before
    """
    if context.invoked_subcommand is None:
        context.invoke(model.commands["show"])


@command("show", model)
def show(session: Session) -> None:
    """Shows the network in force, and whether a training is under way.

    \b
    Examples:
      agentctl model show
      agentctl model show --json | jq .network.loss
    """
    properties = session.client.properties(calls.LEARNING)
    (found,) = session.client.call(calls.LIST_NETWORKS)
    in_force = next((one for one in found if one.get("in_force")), None)
    training = bool(properties.get("Training"))
    if session.json:
        print_json({"network": networks.network_json(in_force) if in_force else None, "training": training})
        return
    if in_force is None:
        print_line("No network is in force: the counted rate of changes decides. To make one: agentctl model train")
    else:
        origin = "" if in_force.get("number") else ", which agentd brings along"
        print_line(f"network {in_force.get('number')}{origin}", bold=True)
        for label, text in networks.network_facts(in_force, now()):
            print_line(f"{label:>11}  {text}")
    if training:
        print_line("A training is under way: agentctl history --decisions tells what comes of it", "cyan")


@command("train", model)
@click.option("--no-wait", is_flag=True, help="Return at once, while agentd trains.")
def train(session: Session, no_wait: bool) -> None:
    """Trains a network from what runs found, and tells what came of it.

    A network that foretells runs no better than the one in force is not taken. Ctrl-C ends agentctl, not the training.
    Exit code 1: the training failed, or agentd knows of too few runs.

    \b
    Examples:
      agentctl model train
      agentctl model train --no-wait
    """
    client = session.client
    before = _newest(client)
    client.call(calls.TRAIN)
    if no_wait:
        if session.json:
            print_json({"training": True, "network": None, "came": None, "decision": None})
        else:
            print_line("agentd trains a network: agentctl model shows it, once it is better")
        return
    try:
        number, came = _wait(client)
    except KeyboardInterrupt:
        click.echo("\nthe training goes on without you: agentctl model shows what comes of it", err=True)
        raise
    after = _newest(client)
    decision = after if after.get("seq") != before.get("seq") else {}
    if session.json:
        told = daemon.decision_json(decision) if decision else None
        print_json({"training": False, "network": number, "came": came, "decision": told})
        click.get_current_context().exit(ExitCode.ERROR if came == "failed" else ExitCode.OK)
    reason = decision.get("reason")
    if came == "failed":
        raise Failure(str(reason or "the training failed: agentctl history --decisions may say why"))
    print_line(str(reason or f"the training is over, network {number} is in force"))


def _wait(client: Client) -> tuple[int, str]:
    """Waits until no training is under way, and tells on a terminal for how long; returns the network in force, -1 for
    none, and what came of the training. Raises Failure."""
    began, shows = time.monotonic(), sys.stderr.isatty()
    if not shows:
        click.echo("agentd trains a network, which takes some minutes at most", err=True)
    while True:
        properties = client.properties(calls.LEARNING)
        if not properties.get("Training"):
            break
        if shows:
            click.echo(
                f"\ragentd trains a network: {span(int(time.monotonic() - began) * SECOND)} ", err=True, nl=False
            )
        time.sleep(POLL_SECONDS)
    if shows:
        click.echo("\r\x1b[K", err=True, nl=False)
    return int(properties.get("Network", -1)), str(properties.get("Trained", ""))


def _newest(client: Client) -> Record:
    """Returns the newest decision about a network; empty where there is none. Raises Failure."""
    (found,) = client.call(daemon.LIST_DECISIONS, {"part": "learning", "limit": _DECISIONS})
    return next((dict(one) for one in found if one.get("kind") == "model"), {})


@command("history", model)
def history(session: Session) -> None:
    """Shows the networks that there are, newest first.

    Number 0 is the one that agentd brings along. Log loss tells how well a network foretold runs that it had not seen,
    beside the counted rate of changes: less is better.

    \b
    Examples:
      agentctl model history
      agentctl model history --json | jq '.[] | select(.in_force).number'
    """
    (found,) = session.client.call(calls.LIST_NETWORKS)
    if session.json:
        print_json([networks.network_json(one) for one in found])
    elif found:
        print_table(networks.HEADER, [networks.network_row(one, now()) for one in found])
    else:
        click.echo("There is no network: agentctl model train makes one, once enough runs are known")


@command("rollback", model)
def rollback(session: Session) -> None:
    """Puts the network before the one in force in its place.

    \b
    Example:
      agentctl model rollback
    """
    (number,) = session.client.call(calls.ROLLBACK)
    if session.json:
        print_json({"number": number})
    else:
        print_line(f"network {number} is in force")
