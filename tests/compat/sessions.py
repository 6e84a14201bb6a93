"""A session with agentd on its bus, recorded and replayed: the calls, the answers and the signals, and what may differ.

A session is a list of steps in JSON:
- {"call": "org.agentd1.Jobs.RunJob", "signature": "sa{sv}", "body": [...]} with what came of it: "answer" (signature
  and body) or "error" (name and text), "signals" in their order and "changed", the properties told as changed;
  and with "calendar": true where its instants follow the calendar and are not moved;
- {"do": [name, ...]}: something beside the bus, by a function of the recording or the test;
- {"until": [property, value]}: waits until a property has that value.

What may differ between the recording and a replay:
- Instants are recorded in the time of the recorded state, and moved with it (state.restore). Those before the session
  must be the same to the microsecond; later ones may differ by five minutes, as a recording listens longer.
- The folder of the daemon is written as FOLDER, the version of agentd as VERSION.
- Sentences for people that agentd makes during the session may be worded anew: they have to be there, and the text of
  an error has one line but where it lists the errors of a configuration. What stands in the recorded state stays.
- The user who takes a reboot back: whoever runs the replay.
- The next due time of a job that follows the calendar: it depends on the day. It has to be one to come.
- cpu_usec and peak_memory of runs of the session.
- A record may have more keys, an object more properties, interfaces and members. None may be missing or of another
  type.
- How often the same properties are told as changed, and whether one is told that has the value it had before.
"""

from collections.abc import Callable, Mapping
from typing import Any

from tests.compat.rules import Rules
from tests.compat.wire import Client, Step

QUIET = 0.8  # seconds without a signal until a recording takes a step for done
PATIENCE = 15.0
Doings = Mapping[str, Callable[..., object]]


def record(client: Client, steps: list[Step], doings: Doings) -> list[Step]:
    """Carries the steps out; returns them with what came of them. LAST is the run that was started last."""
    recorded, last, known = [], "", dict[str, Any]()
    for step in steps:
        done = dict(step)
        if "do" in step:
            doings[step["do"][0]](*step["do"][1:])
        elif "until" in step:
            client.until(*step["until"])
        else:
            done["body"] = [last if value == "LAST" else value for value in step["body"]]
            done |= client.call(done)
            last = done["answer"][1][0] if step["call"].endswith(".RunJob") and "answer" in done else last
        signals, changed = client.listen(lambda *_: False, QUIET)
        told = {"signals": signals, "changed": _news(changed, known)}
        recorded.append({**done, **{name: value for name, value in told.items() if value}})
    return recorded


def replay(client: Client, recorded: list[Step], doings: Doings, rules: Rules) -> list[str]:
    """Carries recorded steps out again; returns a line for each thing that differs."""
    wrong: list[str] = []
    for number, step in enumerate(recorded):
        begin = len(wrong)
        if "do" in step:
            doings[step["do"][0]](*step["do"][1:])
        elif "until" in step:
            if (value := client.until(*step["until"])) != step["until"][1]:
                wrong.append(f"it is {value}")
        else:
            wrong += rules.answer(step, client.call(step))
        signals, changes = step.get("signals", []), step.get("changed", [])

        def enough(heard: list[Step], changed: list[Any], least: int = len(signals), which: Any = changes) -> bool:
            return len(heard) >= least and not rules.missing(which, changed)

        heard, changed = client.listen(enough, PATIENCE)
        wrong += rules.signals(signals, heard)
        wrong += [f"not told as changed: {name}" for name in rules.missing(changes, changed)]
        what = step.get("call") or step.get("do") or step.get("until")
        wrong[begin:] = [f"step {number}, {what} {step.get('body', '')}: {line}" for line in wrong[begin:]]
    rest, _ = client.listen(lambda *_: False, 0.3)
    return wrong + [f"after the last step: {signal}" for signal in rest]


def _news(changed: list[Any], known: dict[str, Any]) -> list[Any]:
    """What was told as changed, without values that were told before and are the same still; `known` is kept here."""
    news = []
    for interface, values, invalidated in changed:
        new = {name: value for name, value in values.items() if known.get(f"{interface}.{name}") != value}
        known.update({f"{interface}.{name}": value for name, value in new.items()})
        if new or invalidated:
            news.append([interface, new, invalidated])
    return news
