"""The checks of the self-test that are about rules: the sensors that they use, and the LLM."""

from collections.abc import Awaitable, Callable
from functools import partial

from agentd.core.quantities import SECOND, format_duration
from agentd.core.rules.kpis import Missing
from agentd.core.rules.model import Moment
from agentd.core.rules.rules import Rules
from agentd.part import Check, CheckFailed, CheckSkipped
from agentd.rules.lookout import DEFECT, SILENT

_LATE = 3  # samples that may be missing
_PATIENCE = 5 * SECOND  # microseconds beside these for slow sources
_WELL = {"ok", "busy", "loading", "sleeping"}
"""The states of an LLM's server in which nobody need do anything."""


def checks(
    rules: Rules,
    moment: Callable[[], Moment],
    every: Callable[[], int],
    state: Callable[[], Awaitable[tuple[str, str]]],
) -> list[Check]:
    """Returns the checks of rules. `moment` returns this moment, `every` the microseconds between two samples, `state`
    the state of the LLM's server and why, or raises Missing."""
    return [
        Check(
            name="sensors",
            look=partial(sensors, rules, moment, every),
            remedy="see what each sensor reads: agentctl kpi; journalctl -b -u agentd",
        ),
        Check(
            name="LLM",
            look=partial(llm, state),
            remedy="look at the log of the LLM's server, restart it, or correct llm in the configuration: "
            "agentctl kpi LlmState",
            limit=30.0,
        ),
    ]


async def sensors(rules: Rules, moment: Callable[[], Moment], every: Callable[[], int]) -> str:
    """Returns how many of the KPIs that rules need have a value, and why each of the others has none: a machine without
    swap is no fault. Raises CheckFailed where nobody looks, or a source does not answer or has a defect; CheckSkipped.
    """
    values = rules.gauges.values
    if not values:
        raise CheckSkipped("no rule needs a sensor")
    silence = moment().at - rules.moment.at
    if silence > _LATE * every() + _PATIENCE:
        raise CheckFailed(f"no sensor was read for {format_duration(silence // SECOND * SECOND)}")
    missing = {name: one.missing for name, one in values.items() if one.value is None}
    if silent := [f"{name} ({why or 'no reason'})" for name, why in missing.items() if _is_no_reason(why)]:
        raise CheckFailed(f"sensors without an answer: {', '.join(silent)}")
    told = f"{len(values) - len(missing)} of {len(values)} sensors have a value"
    return "; ".join([told, *(f"{name}: {why}" for name, why in missing.items())])


async def llm(state: Callable[[], Awaitable[tuple[str, str]]]) -> str:
    """Returns how the LLM's server does. Raises CheckFailed where it is down, wedged or misconfigured, or does not
    answer; CheckSkipped where none is configured."""
    try:
        found, why = await state()
    except Missing as missing:
        raise CheckSkipped(str(missing)) from None
    if found not in _WELL:
        raise CheckFailed(f"the LLM is {found}: {why}" if found else why)
    return why


def _is_no_reason(why: str) -> bool:
    return not why or why.startswith((SILENT, DEFECT))
