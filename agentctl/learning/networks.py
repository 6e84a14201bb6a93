"""The records of networks: as JSON, as rows of a table and as text. `now` is always an argument, in microseconds."""

from agentctl.client import Record
from agentctl.show import picked
from agentctl.times import clock, relative
from agentd.core.quantities import counted

HEADER = ("NUMBER", "IN FORCE", "MADE", "FROM", "LOG LOSS", "COUNTED RATE", "LIBRARY")
_KEYS = (
    *("number", "in_force", "synthetic", "made", "since", "until", "rows", "jobs", "held_out", "loss", "counted_loss"),
    *("library", "wrong"),
)


def network_json(network: Record) -> Record:
    """Returns a network with what it was made from and how well it foretold."""
    return picked(network, *_KEYS, instants=("made", "since", "until"))


def network_row(network: Record, now: int) -> tuple[str, ...]:
    """Returns a row under HEADER; a network that cannot be used has the reason for that in its last cell."""
    made, losses = network.get("made", 0), [network.get(key) for key in ("loss", "counted_loss")]
    return (
        str(network.get("number")),
        "yes" if network.get("in_force") else "",
        relative(made, now) if made else "-",
        _source(network) or "-",
        *("-" if loss is None else f"{loss:.4f}" for loss in losses),
        f"cannot be used: {network['wrong']}" if network.get("wrong") else str(network.get("library") or "-"),
    )


def network_facts(network: Record, now: int) -> list[tuple[str, str]]:
    """Returns the labelled lines about a network."""
    made, since, until = (network.get(key, 0) for key in ("made", "since", "until"))
    loss, counted = network.get("loss"), network.get("counted_loss")
    held_out = f", with {network['held_out']} unseen rows" if network.get("held_out") else ""
    known = [
        ("made", f"{clock(made, now)} ({relative(made, now)})" if made else ""),
        ("from", _source(network)),
        ("range", f"{clock(since, now)} to {clock(until, now)}" if since and until else ""),
        (
            "log loss",
            f"{loss:.4f}, against {counted:.4f} of the counted rate (less is better){held_out}"
            if loss is not None and counted is not None
            else "",
        ),
        ("library", str(network.get("library") or "")),
        ("unusable", str(network.get("wrong") or "")),
    ]
    return [(label, text) for label, text in known if text]


def _source(network: Record) -> str:
    """Returns what a network was made from: "1234 runs of 5 jobs"."""
    if not network.get("rows"):
        return ""
    drawn = " drawn at random" if network.get("synthetic") else ""
    return f"{counted(network['rows'], 'run')} of {counted(network.get('jobs', 0), 'job')}{drawn}"
