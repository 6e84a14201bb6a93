"""The command that prints the daemon's signals, of all its parts, as they come."""

import sys
from collections.abc import Iterable

import click

from agentctl import times
from agentctl.cli import command
from agentctl.client import NAME, Record, Signal
from agentctl.session import Session, now
from agentctl.show import print_line

# The values of each signal with their types, as the contract has them.
SIGNALS = {
    "JobStarted": {"job": "s", "run_id": "s"},
    "JobFinished": {"job": "s", "run_id": "s", "result": "s", "run": "a{sv}"},
    "JobProgress": {"job": "s", "run_id": "s", "text": "s"},
    "Notified": {"job": "s", "run_id": "s", "event": "s", "text": "s"},
    "RebootAnnounced": {"reason": "s", "at": "t"},
    "RebootWithdrawn": {"why": "s"},
    "RebootFinished": {"reboot": "a{sv}"},
    "RuleChanged": {"rule": "s", "state": "s", "why": "s"},
    "RuleActed": {"rule": "s", "action": "s", "why": "s"},
    "RuleRefused": {"rule": "s", "action": "s", "why": "s"},
    "SelfTestFinished": {"failed": "as"},
    "Switched": {"name": "s", "reason": "s"},
    "SchedulerFailed": {"name": "s", "kind": "s", "sentence": "s"},
    "VerificationStep": {"name": "s", "step": "s", "state": "s", "sentence": "s"},
    "NoticeChanged": {"id": "u", "channel": "s", "state": "s", "title": "s", "why": "s"},
    "IntervalChanged": {"job": "s", "interval": "t", "mode": "s", "reason": "s"},
}
_SENTENCES = {
    "JobStarted": "{run_id} started",
    "JobFinished": "{run_id} ended: {result}",
    "JobProgress": "{run_id}: {text}",
    "Notified": "{run_id} ({event}): {text}",
    "RebootAnnounced": "a reboot is announced for {at}: {reason}",
    "RebootWithdrawn": "the reboot does not come for the time being: {why}",
    "RuleChanged": "rule {rule} is {state}: {why}",
    "RuleActed": "rule {rule} had {action} done: {why}",
    "Switched": "the CPU scheduler is {name}: {reason}",
    "SchedulerFailed": "{sentence}",
    "VerificationStep": "{name}: {step} is {state}: {sentence}",
    "NoticeChanged": "message {id} to {channel} is {state}: {title}",
    "RuleRefused": "rule {rule} asked for {action}, which was refused: {why}",
}
_COLOURS = {"RuleActed": "yellow", "RuleRefused": "yellow", "RebootAnnounced": "red", "SchedulerFailed": "red"}


@command("watch")
def watch(session: Session) -> None:
    """Prints what happens as it happens.

    Runs that start and end, rules that fire and what they do, reboots, CPU schedulers, self-tests and intervals
    that learning changed are a line each; with --json a JSON object each. Ctrl-C ends it.

    \b
    Examples:
      agentctl watch
      agentctl watch --json | jq 'select(.signal == "RuleActed")'
    """
    client = session.client
    signals = client.subscribe()
    click.echo("watching agentd; Ctrl-C ends it", err=True)
    try:
        while True:
            signal = client.await_any(signals)
            if signal.interface.startswith(f"{NAME}."):
                _print(session, signal)
    except KeyboardInterrupt:
        if sys.stderr.isatty():
            click.echo(err=True)


def _print(session: Session, signal: Signal) -> None:
    at, name = now(), signal.name
    types = SIGNALS.get(name, {})
    names: Iterable[str] = types
    if "".join(types.values()) != signal.signature:  # of another version of agentd
        names = map(str, range(len(signal.values)))
    found = dict(zip(names, signal.values, strict=True))
    if session.json:
        import json

        click.echo(json.dumps({"at": times.iso(at), "signal": name, **_dated(found)}, default=repr))
        return
    print_line(f"{times.clock(at, at, seconds=True)}  {name:<16}  {sentence(name, found)}", _COLOURS.get(name))


def _dated(values: Record) -> Record:
    """Returns the values of a signal for JSON; its own instant is when agentctl heard it."""
    if "at" not in values:
        return values
    return {**{key: value for key, value in values.items() if key != "at"}, "due": times.iso(values["at"])}


def sentence(name: str, values: Record) -> str:
    """Returns what a signal tells."""
    if name == "SelfTestFinished" and "failed" in values:
        return f"failed: {', '.join(values['failed'])}" if values["failed"] else "no check failed"
    if name == "RebootFinished" and "reboot" in values:
        return ": ".join(filter(None, (str(values["reboot"].get(key) or "") for key in ("state", "reason", "note"))))
    if name == "IntervalChanged" and set(SIGNALS[name]) == set(values):
        every = f"every {times.span(values['interval'])}: {values['reason']}"
        acts = values["mode"] == "on"
        return f"{values['job']} now runs {every}" if acts else f"{values['job']} ({values['mode']}) would run {every}"
    if name in _SENTENCES and set(SIGNALS[name]) == set(values):
        shown = {**values, "at": times.stamp(values["at"])} if "at" in values else values
        return _SENTENCES[name].format(**shown)
    return ", ".join(str(value) for value in values.values() if not isinstance(value, dict))
