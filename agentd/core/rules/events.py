"""The events of rules that people may want to be told of."""

from agentd.core.events import Event, Hears, Kind
from agentd.core.rules.model import PART, RuleActs, RuleOver

KINDS = (
    Kind("rule-fired", "a rule tells people of its condition (do: Notify)", told=True),
    Kind("rule-over", "the condition is over of which a rule told people", told=True),
)


def _acts(effect: RuleActs, now: int) -> Event | None:
    if effect.action.verb != "Notify":
        return None
    return Event(
        at=now,
        part=PART,
        name="rule-fired",
        about=effect.rule,
        title=f"rule {effect.rule}: {effect.reason}",
        text=f"agentctl rules explain {effect.rule}",
        trouble=f"rule {effect.rule}",
        error="the rule fires",  # its values are others each time
    )


def _over(effect: RuleOver, now: int) -> Event:
    title = f"rule {effect.rule}: {effect.why}"
    about, trouble = effect.rule, f"rule {effect.rule}"
    return Event(at=now, part=PART, name="rule-over", about=about, title=title, trouble=trouble, over=True)


HEARS: Hears = {RuleActs: _acts, RuleOver: _over}
