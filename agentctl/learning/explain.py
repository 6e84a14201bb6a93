"""The commands about one job that learns: why its interval is what it is, and what a person prefers."""

import click

from agentctl.cli import command, completed
from agentctl.jobs.records import change_json
from agentctl.learning import calls, records
from agentctl.session import Session, now
from agentctl.show import print_json, print_line, print_table
from agentctl.times import span

LEAST, MOST = -4, 4  # the contract's bounds of a preference
_complete_adaptive = completed(calls.adaptive_names)


def _steps(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return [text for step in range(MOST, LEAST - 1, -1) if (text := str(step)).startswith(incomplete)]


@command("explain")
@click.argument("job", shell_complete=_complete_adaptive)
@click.option("--features", is_flag=True, help="Also the numbers that the network sees.")
def explain(session: Session, job: str, features: bool) -> None:
    """Shows why an adaptive JOB runs as often as it does.

    The model that decides comes first, with the rate of changes that it expects, the bound that acts on it, and what
    the runs found of late; then what the other models would say; then what to do where agentd does not learn.

    \b
    Examples:
      agentctl explain feed
      agentctl explain feed --features
      agentctl explain feed --json | jq .models
    """
    learner, models, seen = session.client.call(calls.EXPLAIN, job)
    if session.json:
        shown = [records.model_json(model) for model in models]
        print_json({**records.learner_json(learner), "models": shown, "features": seen})
        return
    print_line(records.headline(learner, models), bold=True)
    for label, text in records.facts(learner, now()):
        print_line(f"{label:>11}  {text}")
    if models:
        click.echo()
        print_table(records.MODEL_HEADER, [records.model_row(model) for model in models])
    if features:
        click.echo()
        print_table(("FEATURE", "VALUE"), [(name, f"{value:.3g}") for name, value in seen.items()])
    if told := records.advice(learner):
        click.echo()
        for line in told:
            print_line(line, "yellow")


# A number such as -1 is no option: whatever is unknown as one is an argument.
@command("prefer", context_settings={"ignore_unknown_options": True})
@click.argument("job", shell_complete=_complete_adaptive)
@click.argument(
    "steps", required=False, type=click.IntRange(LEAST, MOST), metavar="[-4..4]", shell_complete=_steps, default=None
)
def prefer(session: Session, job: str, steps: int | None) -> None:
    """Sets by how many steps an adaptive JOB runs more or less often.

    Each step up to 4 divides the interval by 1.5, each down to -4 multiplies it, at once and from whatever agentd
    learns later. 0 takes the preference back; without a number the preference of now is shown.

    \b
    Examples:
      agentctl prefer feed 2
      agentctl prefer feed -1
      agentctl prefer feed
    """
    if steps is not None:
        (change,) = session.client.call(calls.SET_PREFERENCE, job, steps)
        if session.json:
            print_json(change_json(change))
        else:
            print_line(str(change.get("note") or "done"))
        return
    learner, _, _ = session.client.call(calls.EXPLAIN, job)
    if session.json:
        print_json({"job": job, "preference": learner.get("preference", 0), "interval": learner.get("interval")})
        return
    every = f", and {job} runs every {span(learner['interval'])}" if learner.get("interval") else ""
    print_line(f"the preference is {records.preference(learner.get('preference', 0))}{every}")
