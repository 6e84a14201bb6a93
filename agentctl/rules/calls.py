"""The methods of org.agentd1.Rules that agentctl calls."""

from collections.abc import Iterable

from agentctl.client import PAGE, Call, Client, Failure, Record
from agentd.core.quantities import DAY, HOUR, MINUTE

RULES = "org.agentd1.Rules"

_SAMPLES = {"since": "t", "span": "t", "limit": "u"}
_LONGEST_TEST = 900.0  # seconds of a whole self-test

LIST_KPIS = Call(RULES, "ListKpis", "a{sv}", free=True, options={"name": "s", "look": "b"})
GET_SAMPLES = Call(RULES, "GetSamples", "sa{sv}", free=True, options=_SAMPLES)
LIST_RULES = Call(RULES, "ListRules", "a{sv}", free=True, options={"name": "s", "state": "s"})
EXPLAIN_RULE = Call(RULES, "ExplainRule", "s", free=True)
LIST_EVIDENCE = Call(RULES, "ListEvidence", "sa{sv}", free=True, options={"before": "t", "limit": "u"})
SELF_TEST = Call(RULES, "SelfTest", "a{sv}", options={"full": "b"}, patience=_LONGEST_TEST)


def kpi_names(client: Client) -> list[str]:
    """Returns the names of the KPIs that are sampled, and of the others that have no instance. Raises Failure."""
    (found,) = client.call(LIST_KPIS, {})
    return [one["name"] for one in found if one.get("sampled") or ":" not in one["name"]]


def kpi_now(client: Client, name: str) -> Record:
    """Returns a KPI as it is now: where no rule needs it, agentd looks. Raises Failure."""
    alike: dict[str, Record] = {}
    for look in (None, True):
        (found,) = client.call(LIST_KPIS, {"look": look})
        alike = {one["name"]: one for one in found if one["name"].partition(":")[0] == name.partition(":")[0]}
        if alike.get(name, {}).get("sampled"):
            break
    if name in alike:
        return alike[name]
    others = sorted(other for other, one in alike.items() if one.get("sampled") or one.get("at"))
    hint = f": look at {', '.join(others)}" if others else " now, as no rule needs it"
    unseen = {"value": None, "sampled": False, "at": 0, "shown": "-", "missing": f"nobody samples it{hint}"}
    return {**next(iter(alike.values()), {}), "name": name, **unseen}


def rule_names(client: Client) -> list[str]:
    """Returns the names of the rules. Raises Failure."""
    (found,) = client.call(LIST_RULES, {})
    return [one["name"] for one in found]


def span_of(client: Client, names: Iterable[str], since: int, now: int) -> int:
    """Returns the shortest span of rows that holds all that agentd has of these KPIs since an instant.

    That is 0 (each sample) where the first of them is no older than an hour, a minute for two days, else an hour.
    Raises Failure.
    """
    firsts = []
    for name in names:
        (page,) = client.call(GET_SAMPLES, name, {"since": since, "span": HOUR, "limit": 1})
        firsts += [row["at"] for row in page]
    age = now - min(firsts, default=since) - MINUTE  # "1h" was counted back from an instant that has passed meanwhile
    return 0 if age <= HOUR or now - since - MINUTE <= HOUR else MINUTE if age <= 2 * DAY else HOUR


def samples(client: Client, kpi: str, since: int, span: int) -> list[Record]:
    """Returns the rows of a KPI since an instant, oldest first: page by page, as the daemon gives them.

    All pages are asked for with the same span, or a page would have rows of another one. Raises Failure.
    """
    found: list[Record] = []
    while True:
        (page,) = client.call(GET_SAMPLES, kpi, {"since": since, "span": span, "limit": PAGE})
        found += page
        if len(page) < PAGE:
            return found
        since = page[-1]["at"] + 1


def firing(client: Client) -> tuple[list[str] | None, str]:
    """Returns the names of the rules that fire, the most important first, and a sentence where the part of agentd that
    knows is shut off; None with that, and with an agentd that has no rules. Raises Failure."""
    try:
        names: list[str] = client.properties(RULES).get("Firing", [])
    except Failure as failed:
        if failed.error == "UnknownInterface":  # an older agentd
            return None, ""
        if failed.error == "PartFailed":
            return None, str(failed)
        raise
    return names, ""
