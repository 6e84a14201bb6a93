"""The KPIs, or the past of one: what scripts and prompts ask for. Nothing here needs click."""

import sys
from collections.abc import Sequence

from agentctl import times
from agentctl.rules import calls, plot, records
from agentctl.session import Session, now
from agentctl.show import echo, print_json, print_line, print_table
from agentd.core.quantities import HOUR

_WIDTH, _HEIGHT = 60, 8  # of a plot


def kpi(session: Session, name: str | None = None, since: int | None = None, every: bool = False) -> None:
    """Prints the KPIs that agentd samples, `every` the others as well; or the past of one NAME since an instant, by
    default for an hour. Raises Failure."""
    if name is not None:
        _past(session, name, now() - HOUR if since is None else since)
        return
    (found,) = session.client.call(calls.LIST_KPIS, {"look": every or None})
    shown = [one for one in found if one.get("sampled")] + [one for one in found if every and not one.get("sampled")]
    if session.json:
        print_json([records.kpi_json(one) for one in shown])
    elif shown:
        print_table(records.KPI_HEADER, [records.kpi_row(one, now()) for one in shown])
    else:
        echo("agentd samples no KPI, as no rule needs one; those that there are: agentctl kpi --all")


def _past(session: Session, name: str, since: int) -> None:
    at = now()
    span = calls.span_of(session.client, [name], since, at)  # of an unknown KPI, with an error that suggests a name
    rows = calls.samples(session.client, name, since, span)
    one = calls.kpi_now(session.client, name)
    if session.json:
        print_json({**records.kpi_json(one), **records.period_json(since, rows)})
        return
    print_line(name, bold=True)
    for label, text in records.kpi_facts(one, rows, since, at):
        print_line(f"{label:>11}  {text}")
    axis = (times.clock(rows[0]["at"], at), times.clock(at, at)) if rows else ("", "")
    _print_plot(plot.columns(rows, at, _WIDTH), records.summary(rows), str(one.get("unit")), axis)


def _print_plot(columns: Sequence[plot.Column], summary: dict[str, float], unit: str, axis: tuple[str, str]) -> None:
    """Prints a line of bars, and on a terminal a plot with its least and its greatest mean, and when it begins and
    ends."""
    if not columns:
        return
    blocks = plot.can_show(sys.stdout.encoding)
    # A plot is made of numbers: no character of it can steer a terminal.
    echo(f"{'':>11}  {plot.sparkline(columns, blocks=blocks)}".rstrip())
    if sys.stdout.isatty() and summary["minimum"] < summary["maximum"]:
        known = [column for column in columns if column is not None]
        lines = plot.plot(columns, _HEIGHT, blocks=blocks)
        labels = [records.shown(max(known), unit), *[""] * (_HEIGHT - 2), records.shown(min(known), unit)]
        echo()
        for label, line in zip(labels, lines, strict=True):
            echo(f"{label:>11} |{line}".rstrip())
        begin, end = axis
        echo(f"{'':>11}  {begin}{end:>{max(len(end) + 1, len(columns) - len(begin))}}")
