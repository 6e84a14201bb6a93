"""The commands about what agentd tells people."""

import os
import sys
import time

import click

from agentctl.cli import MOST_RECORDS, Commands, address_option, command, completed, count_option, json_option, listed
from agentctl.client import Client, Failure, Record
from agentctl.notices import calls, records
from agentctl.session import Session, now
from agentctl.show import print_json, print_line, print_table
from agentd.core.quantities import SECOND

_LISTED = 20
_POLL = 0.5  # seconds
_SOON = 10 * SECOND  # a channel whose next attempt is later has failed at one
_PATIENCE = 120.0  # seconds for a test to be sent
_NO_CHANNEL = "agentd tells nobody: no channel is configured; see notices in agentd.yaml(5)"
STATES = ("waiting", "sent", "failed", "dropped")
PRIORITIES = ("low", "normal", "high")


@click.group("notices", cls=Commands, invoke_without_command=True)
@click.option("--channel", shell_complete=completed(calls.channel_names), help="Only messages of this channel.")
@click.option("--state", type=click.Choice(STATES), help="Only messages in this state.")
@count_option(_LISTED, MOST_RECORDS)
@address_option
@json_option
@click.pass_context
def notices(context: click.Context, channel: str | None, state: str | None, count: int) -> None:
    """Shows what agentd told people, and what waits to be told.

    Without a command the newest messages are listed, below the channels that need a look.

    \b
    Examples:
      agentctl notices                      what was sent, and what waits
      agentctl notices --state waiting      what waits, and why
      agentctl notices test                 send a message to try the default channel
    """
    if context.invoked_subcommand is not None:
        return
    session = context.ensure_object(Session)
    found = listed(
        session.client, calls.LIST_NOTICES, count, lambda notice: notice.get("id"), channel=channel, state=state
    )
    if session.json:
        print_json([records.notice_json(one) for one in found])
        return
    channels, pings = _channels(session.client), _pings(session.client)
    for one in (*channels, *pings):
        if one.get("trouble"):
            print_line(f"{records.called(one)}: {one['trouble']}", "yellow")
    if not channels and not found:
        click.echo(_NO_CHANNEL)
        return
    if found:
        print_table(records.HEADER, [records.notice_row(one, now()) for one in found])
    else:
        click.echo("There is no such message" if channel or state else "Nothing was told yet: agentctl notices test")


def _channels(client: Client) -> list[Record]:
    (found,) = client.call(calls.LIST_CHANNELS)
    return list(found)


def _pings(client: Client) -> list[Record]:
    (found,) = client.call(calls.LIST_PINGS)
    return list(found)


@command("channels", notices)
def channels(session: Session) -> None:
    """Shows the channels and the checks that are pinged, what waits for each and whether it gets through.

    \b
    Examples:
      agentctl notices channels
      agentctl notices channels --json | jq '.[] | select(.trouble != "").name'
    """
    found = [*_channels(session.client), *_pings(session.client)]
    if session.json:
        print_json([records.channel_json(one) for one in found])
    elif found:
        print_table(records.CHANNELS_HEADER, [records.channel_row(one, now()) for one in found])
    else:
        click.echo(_NO_CHANNEL)


@command("show", notices)
@click.argument("identity", metavar="ID", type=click.IntRange(0, 0xFFFFFFFF))
def show(session: Session, identity: int) -> None:
    """Shows the message ID whole.

    \b
    Examples:
      agentctl notices show 17
      agentctl notices show 17 --json | jq -r .text
    """
    (found,) = session.client.call(calls.GET_NOTICE, identity)
    if session.json:
        print_json(records.notice_json(found, text=True))
        return
    print_line(f"{found.get('id')}: {found.get('title', '')}", bold=True)
    for label, text in records.notice_facts(found, now()):
        print_line(f"{label:>9}  {text}")
    if text := str(found.get("text", "")):
        click.echo()
        for line in text.splitlines():
            print_line(line)


@command("test", notices)
@click.argument("channel", required=False, shell_complete=completed(calls.channel_names))
@click.option("--no-wait", is_flag=True, help="Return at once, while agentd sends.")
def test(session: Session, channel: str | None, no_wait: bool) -> None:
    """Sends a message to try CHANNEL, or the default one, and tells what became of it.

    Exit code 1: the message did not get through at the first attempt; agentd goes on trying.

    \b
    Examples:
      agentctl notices test
      agentctl notices test phone --json | jq .state
    """
    client = session.client
    text = "This message was asked for with agentctl notices test: messages of agentd arrive here."
    name = channel or _default(client)
    ((identity,),) = client.call(calls.TELL, "", text, {"title": "agentd: a test", "priority": "high", "to": name})
    notice = _settled(client, name, identity, 0.0 if no_wait else _PATIENCE)
    if session.json:
        print_json(records.notice_json(notice))
    elif no_wait or notice.get("state") == "sent":
        how = "is sent" if notice.get("state") == "sent" else "waits to be sent"
        print_line(f"message {identity} {how} to {notice.get('channel')}")
    if not no_wait and notice.get("state") != "sent":
        why = str(notice.get("why") or f"nothing came of it within {_PATIENCE:.0f} s")
        raise Failure(f"message {identity} to {notice.get('channel')} did not get through: {why}")


def _default(client: Client) -> str:
    """Returns the name of the default channel. Raises Failure."""
    for one in _channels(client):
        if one.get("default"):
            return str(one["name"])
    raise Failure(_NO_CHANNEL)


def _settled(client: Client, channel: str, identity: int, patience: float) -> Record:
    """Returns a message once an attempt to send it, or one before it in the line, is over, or after `patience` seconds.

    Raises Failure.
    """
    began, deadline = now(), time.monotonic() + patience
    while True:
        failed = any(one["name"] == channel and one.get("next", 0) > began + _SOON for one in _channels(client))
        (notice,) = client.call(calls.GET_NOTICE, identity)  # looked at last: it tells why an attempt failed
        if notice.get("state") != "waiting" or failed or time.monotonic() >= deadline:
            return dict(notice)
        time.sleep(_POLL)


@command("drop", notices)
@click.argument("identities", metavar="[ID]...", nargs=-1, type=click.IntRange(0, 0xFFFFFFFF))
@click.option("--all", "everything", is_flag=True, help="Drop all that wait.")
def drop(session: Session, identities: tuple[int, ...], everything: bool) -> None:
    """Drops the messages ID that wait to be sent, or all.

    \b
    Examples:
      agentctl notices drop 17 18
      agentctl notices drop --all
    """
    if everything == bool(identities):
        raise click.UsageError("give either the numbers of messages (agentctl notices shows them) or --all")
    (count,) = session.client.call(calls.DROP, list(identities))
    if session.json:
        print_json({"dropped": count})
    else:
        print_line(f"{count} message{'' if count == 1 else 's'} dropped")


@command("tell")
@click.argument("text", nargs=-1, required=True)
@click.option("--title", help="The title of the message.")
@click.option("--priority", type=click.Choice(PRIORITIES), help="How much it matters: high breaks quiet hours.")
@click.option("--to", "channel", shell_complete=completed(calls.channel_names), help="The channel.")
def tell(session: Session, text: tuple[str, ...], title: str | None, priority: str | None, channel: str | None) -> None:
    """Sends a message to people: from a person, or from within a job.

    A TEXT of "-" is read from the standard input. Within a job the message bears the name of the job, and its run needs
    no permission.

    \b
    Examples:
      agentctl tell "3 of 12 assignments look late"
      agentctl tell --title "Backup disk" --priority high --to phone "91 % full"
      df -h / | agentctl tell --title "The disk" -
    """
    words = sys.stdin.buffer.read(1 << 20).decode(errors="replace") if text == ("-",) else " ".join(text)
    options = {"title": title, "priority": priority, "to": channel}
    (ids,) = session.client.call(calls.TELL, os.environ.get("AGENTD_RUN_ID", ""), words[:8192], options)
    if session.json:
        print_json({"ids": list(ids)})
    elif not os.environ.get("AGENTD_RUN_ID"):
        numbers = ", ".join(map(str, ids))
        print_line(f"message {numbers} is to be sent: agentctl notices shows what becomes of it")
