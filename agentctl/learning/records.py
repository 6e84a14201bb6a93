"""The records of jobs that learn: as JSON, as rows of a table and as text. `now` is always an argument."""

import shlex
from collections.abc import Iterable, Sequence

from agentctl.client import Record
from agentctl.show import picked
from agentctl.times import clock, relative, span
from agentd.core.quantities import DAY, HOUR, SECOND

BOUNDS = {
    "": "no bound acts",
    "min": "min: the job may not run more often",
    "max": "max: the job may not run less often",
    "step": "step: an interval changes by a factor of 2 at a time",
    "failures": "failures: each failed run in a row doubles the interval, up to 16 times",
    "wish": "wish: for six runs and an hour the interval does not go against what a person wanted",
    "budget": "budget: all adaptive jobs together take no more than learning.cpu_budget",
}
"""The bounds, in sentences."""
MODEL_HEADER = ("MODEL", "A CHANGE EACH", "INTERVAL", "SCORE", "DECIDES")
HEADER = (
    *("JOB", "MODE", "INTERVAL", "WOULD BE", "DECIDES", "A CHANGE EACH", "USEFUL 1D", "PREFERENCE"),
    *("OVER KEEP", "OVER BEST", "SAVED CPU", "YOUNGER BY"),
)
_SHORT = {"configured": "configured", "aimd": "aimd", "gamma-poisson": "counted rate", "mlp": "network"}
_KEYS = (
    *(
        "name",
        "mode",
        "useful",
        "unknown",
        "hint",
        "interval",
        "fixed",
        "preference",
        "next_interval",
        "wanted",
        "more",
    ),
    *("bound", "model", "why", "reason", "rate", "useful_2h", "useful_1d", "changed", "runs", "failures", "cost"),
    "by_hand",
)
_RARE = 365 * DAY
_SAVINGS = ("length", "saved_cpu", "saved_age", "over_keep", "over_best", "best_interval")
_MODES = {
    "on": "on",
    "shadow": "shadow: agentd tells what it would do, and changes nothing",
    "off": "off: agentd learns nothing of this job",
}

# As JSON


def learner_json(learner: Record, *, savings: bool = False) -> Record:
    """Returns an adaptive job with what is known of it, and what learning brought where that was asked for."""
    return picked(learner, *_KEYS, *(_SAVINGS if savings else ()), instants=("changed",))


def model_json(model: Record) -> Record:
    """Returns a model that foretells the runs of a job."""
    return picked(model, "name", "title", "rate", "interval", "score", "decides")


# One job


def acts(learner: Record) -> bool:
    """Tells whether learning changes the interval of a job."""
    return learner.get("mode") == "on" and not learner.get("fixed")


def headline(learner: Record, models: Iterable[Record]) -> str:
    """Returns "feed: the network decides", or why nothing does."""
    name, model = learner.get("name"), learner.get("model", "")
    if learner.get("mode") == "off":
        return f"{name}: learning is off"
    if not model:
        return f"{name}: nothing is known yet"
    title = next((str(one.get("title", model)) for one in models if one.get("decides")), model)
    return f"{name}: {title} {'decides' if acts(learner) else 'would decide'}"


def facts(learner: Record, now: int) -> list[tuple[str, str]]:
    """Returns the labelled lines about what is known of an adaptive job, and what follows from that."""
    mode = _MODES.get(learner.get("mode", ""), str(learner.get("mode")))
    held = learner.get("fixed") and learner.get("mode") == "on"
    known = [
        ("mode", f"{mode}, but the interval was set by a person and stays" if held else mode),
        ("because", str(learner.get("why") or "")),
        ("expects", _expected(learner)),
        ("interval", f"every {span(learner['interval'])}" if learner.get("interval") else ""),
        *(_coming(learner) if learner.get("model") else []),
        ("more often", _increase(learner)),
        ("preference", preference(learner.get("preference", 0))),
        ("watches", str(learner.get("useful") or "nothing: the setting useful is missing")),
        *(_past(learner, now) if learner.get("model") else []),
    ]
    return [(label, text) for label, text in known if text]


def _expected(learner: Record) -> str:
    rate = learner.get("rate", 0.0)
    if rate and HOUR / rate > _RARE:
        return "no change within a year"
    return f"a change each {each(rate)} ({_number(rate)} an hour)" if rate else ""


def _coming(learner: Record) -> list[tuple[str, str]]:
    """Returns what would be decided now, and which bound acts on it."""
    coming, wanted = (learner.get(key, 0) for key in ("next_interval", "wanted"))
    bound = str(learner.get("bound") or "")
    apart = bound and wanted and span(wanted) != span(coming)  # without a bound the machine's own difference is left
    before = f" (every {span(wanted)} before any bound)" if apart else ""
    return [
        ("next" if acts(learner) else "would be", f"every {span(coming)}{before}" if coming else ""),
        ("bound", BOUNDS.get(bound, bound)),
    ]


def _increase(learner: Record) -> str:
    more = learner.get("more", 0)
    return f"every {span(more)} after one agentctl increase {shlex.quote(str(learner.get('name')))}" if more else ""


def _past(learner: Record, now: int) -> list[tuple[str, str]]:
    """Returns what runs found of late, how many there were, and what they cost."""
    changed, runs, failures = learner.get("changed", 0), learner.get("runs", 0), learner.get("failures", 0)
    shares = [(learner.get(key), name) for key, name in (("useful_2h", "2 h"), ("useful_1d", "1 d"))]
    useful = [f"{share:.0%} of the runs of about {name}" for share, name in shares if share is not None]
    by_hand = learner.get("by_hand", 0.0)
    failed = f", and {failures} failed in a row since" if failures else ""
    return [
        (
            "changed",
            f"{clock(changed, now)} ({relative(changed, now)})" if changed else "never, as far as agentd knows",
        ),
        ("useful", ", ".join(useful)),
        ("runs", f"{runs} whose use is known{failed}"),
        ("cost", f"{_number(learner.get('cost', 0.0))} s of processor time a run"),
        ("by hand", f"{by_hand:.2g} runs asked for; each counts half after a day" if by_hand >= 0.01 else ""),
    ]


def advice(learner: Record) -> list[str]:
    """Returns what a person could do for a job to learn, a sentence each."""
    name, mode = str(learner.get("name")), learner.get("mode")
    told = []
    if learner.get("unknown"):
        told.append(f"The use of runs is not known: {learner['unknown']}")
    elif mode != "off" and not learner.get("model"):
        told.append("agentd has not looked at a run yet: the first two that end say whether something changed")
    if learner.get("hint"):
        told.append(f"Note: {learner['hint']}")
    if mode == "shadow":
        told.append("agentd changes the interval once learning is on: learning: {mode: on} in agentd.yaml")
    elif mode == "off":
        told.append(
            "agentd learns once that is allowed: learning: {mode: on} in agentd.yaml, or learning: on of the job"
        )
    if learner.get("fixed"):
        told.append(f"A person set the interval; agentd may change it again after: agentctl reset {shlex.quote(name)}")
    return told


def model_row(model: Record) -> tuple[str, ...]:
    """Returns a row under MODEL_HEADER."""
    score = model.get("score")
    return (
        str(model.get("title") or model.get("name")),
        each(model.get("rate", 0.0)),
        span(model["interval"]) if model.get("interval") else "-",
        "-" if score is None else f"{round(score, 1) + 0.0:.1f}",  # never "-0.0"
        "yes" if model.get("decides") else "",
    )


def preference(steps: int) -> str:
    """Returns a preference in words: "+2: more often"."""
    return f"{steps:+d}: {'more' if steps > 0 else 'less'} often" if steps else "0: as it would be"


def status_line(learner: Record) -> str:
    """Returns what learning does with a job, in a few words, and what tells more."""
    mode, coming = learner.get("mode"), learner.get("next_interval", 0)
    if mode == "off":
        text = "off"
    elif not learner.get("model"):
        text = f"{mode}, nothing is known yet"
    elif acts(learner):
        text = f"on, {learner.get('reason')}"
    else:
        held = "the interval was set by you" if mode == "on" else mode
        text = f"{held}, would be every {span(coming)}: {learner.get('reason')}"
    return f"{text}; why: agentctl explain {shlex.quote(str(learner.get('name')))}"


def each(rate: float) -> str:
    """Returns the mean time between changes, of which there are `rate` an hour: "40min"."""
    if rate <= 0:
        return "-"
    return "over a year" if HOUR / rate > _RARE else span(round(HOUR / rate))


# All jobs


def table(learners: Sequence[Record]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Returns a header and rows; without the column of what would be where learning acts on all jobs."""
    rows = [_row(learner) for learner in learners]
    at = HEADER.index("WOULD BE")
    if any(row[at] != "-" for row in rows):
        return HEADER, rows
    return (*HEADER[:at], *HEADER[at + 1 :]), [(*row[:at], *row[at + 1 :]) for row in rows]


def _row(learner: Record) -> tuple[str, ...]:
    coming, interval = (learner.get(key, 0) for key in ("next_interval", "interval"))
    model, share, daily = learner.get("model", ""), learner.get("useful_1d"), cpu_a_day(learner)
    mode = "fixed" if learner.get("mode") == "on" and learner.get("fixed") else str(learner.get("mode") or "-")
    return (
        str(learner.get("name")),
        mode,
        span(interval) if interval else "-",
        span(coming) if coming and not acts(learner) and mode != "off" else "-",
        _SHORT.get(model, model) or "-",
        each(learner.get("rate", 0.0)),
        "-" if share is None else f"{share:.0%}",
        f"{learner.get('preference', 0):+d}" if learner.get("preference") else "0",
        *("-" if (ratio := learner.get(key)) is None else f"{ratio:.2f}" for key in ("over_keep", "over_best")),
        "-" if daily is None else f"{_signed(daily)} a day",
        "-" if learner.get("saved_age") is None else _signed(learner["saved_age"]),
    )


def cpu_a_day(learner: Record) -> float | None:
    """Returns the seconds of processor time that learning saves in a day; None where that is not known."""
    length, saved = learner.get("length"), learner.get("saved_cpu")
    return saved / length * DAY / SECOND if length and saved is not None else None


def total(learners: Iterable[Record]) -> Record:
    """Returns what learning brought for all jobs of which that is known: how many these are, the seconds of processor
    time in all and in a day, the mean of the seconds by which what is known is younger, and the longest time of an
    estimate in seconds."""
    known = [one for one in learners if one.get("length")]
    return {
        "jobs": len(known),
        "saved_cpu": sum(one.get("saved_cpu", 0.0) for one in known),
        "saved_cpu_a_day": sum(cpu_a_day(one) or 0.0 for one in known),
        "saved_age": sum(one.get("saved_age", 0.0) for one in known) / len(known) if known else None,
        "length": max((one["length"] for one in known), default=None),
    }


def total_lines(found: Record) -> list[str]:
    """Returns the lines below the table: the total, and what kind of figures these are."""
    if not found["jobs"]:
        return ["Savings of a job are told once the use of 20 of its runs is known."]
    cpu, age = found["saved_cpu"], found["saved_age"]
    saved = "saved" if cpu >= 0 else "spent more"
    spent = f"{_span(cpu)} of processor time {saved} ({_signed(found['saved_cpu_a_day'])} a day)"
    news = f"information {_span(age)} {'younger' if age >= 0 else 'older'} in the mean"
    return [
        f"total of {found['jobs']} job{'' if found['jobs'] == 1 else 's'}: {spent}, {news}",
        f"The figures are estimates, over {_span(found['length'])} at most: nobody knows when a change came.",
        "OVER KEEP and OVER BEST: the cost over that of the configured, and the best fixed interval; less is better.",
    ]


def nothing(learners: Sequence[Record]) -> list[str]:
    """Returns what to do where no job could ever learn, or learning acts on none."""
    if not learners:
        return [
            "No job is adaptive: give one when: {adaptive: {start: 5min}} and useful: output, then: agentctl reload"
        ]
    if not any(one.get("useful") for one in learners):
        return ["No adaptive job says when a run is of use: set useful of it, such as useful: output"]
    if not any(one.get("mode") == "on" for one in learners):
        return ["agentd changes no interval: learning is not on; to let it: learning: {mode: on} in agentd.yaml"]
    return []


def _number(value: float) -> str:
    """Returns a number with three digits at least, and no power of ten where it is large."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _span(seconds: float) -> str:
    """Returns an amount of seconds for a person, whatever its sign."""
    return span(round(abs(seconds) * SECOND))


def _signed(seconds: float) -> str:
    text = _span(seconds)
    return f"-{text}" if seconds < 0 and text != "0s" else text
