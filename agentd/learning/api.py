"""The members of org.agentd1.Learning: the handlers and the records that callers get."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from agentd.bus.arguments import PAGE, Records, only, record
from agentd.bus.contract import Handler
from agentd.bus.server import Caller
from agentd.core.jobs import interval
from agentd.core.jobs.jobs import Jobs
from agentd.core.jobs.roster import Entry
from agentd.core.learning import memory as memories
from agentd.core.learning import story
from agentd.core.learning.champion import MODELS, TITLES
from agentd.core.learning.features import NAMES
from agentd.core.learning.learner import Decision
from agentd.core.learning.learning import Learning
from agentd.core.learning.model import FEWEST_ROWS, Learnt
from agentd.core.learning.settings import terms_of
from agentd.core.learning.weights import Model, Unusable
from agentd.core.part import Refused
from agentd.core.patterns import matcher
from agentd.core.quantities import SECOND, format_duration
from agentd.learning import savings
from agentd.learning.networks import Networks, words
from agentd.learning.tables import list_looks
from agentd.part import Host

_HOUR = 3600.0
_LEARNER = {
    **dict.fromkeys(("name", "mode", "useful", "model", "why", "bound", "unknown", "hint", "reason"), "s"),
    **dict.fromkeys(("interval", "wanted", "next_interval", "more", "changed", "best_interval"), "t"),
    **dict.fromkeys(("rate", "useful_2h", "useful_1d", "cost", "by_hand"), "d"),
    **dict.fromkeys(("saved_cpu", "saved_age", "over_keep", "over_best", "length"), "d"),
    **dict.fromkeys(("runs", "failures"), "u"),
    "preference": "i",
    "fixed": "b",
}
_MODEL = {"name": "s", "title": "s", "rate": "d", "interval": "t", "score": "d", "decides": "b"}
_NETWORK = {
    "number": "u",
    **dict.fromkeys(("in_force", "synthetic"), "b"),
    **dict.fromkeys(("made", "since", "until"), "t"),
    **dict.fromkeys(("rows", "jobs", "held_out"), "u"),
    **dict.fromkeys(("loss", "counted_loss"), "d"),
    "library": "s",
    "wrong": "s",
}
_CHANGE = {"old": "t", "new": "t", "next": "t", "note": "s"}
_SLICE = 100  # jobs that do not learn


class Chooses(Protocol):
    """The shell, as the interface asks it."""

    def back(self, why: str) -> int:
        """Puts the newest network before the one in force in its place that can be used; returns its number, or -1."""


class Api:
    """The members of the interface."""

    def __init__(self, host: Host, core: Learning, jobs: Jobs, shell: Chooses, files: Networks) -> None:
        self._host, self._core, self._jobs, self._shell, self._files = host, core, jobs, shell, files

    def methods(self) -> dict[str, Handler]:
        """Returns the handlers by their members' names."""
        handlers = (
            self.ListLearners, self.Explain, self.SetPreference, self.Train, self.ListNetworks, self.Rollback,
        )  # fmt: skip
        return {handler.__name__: handler for handler in handlers}

    def properties(self) -> dict[str, Callable[[], Any]]:
        """Returns the getters by their properties' names."""
        return {
            "Mode": lambda: self._core.settings.mode,
            "Training": lambda: self._core.training,
            "Trained": lambda: self._core.came,
            "Network": lambda: self._core.number,
        }

    async def ListLearners(self, filter: dict[str, Any]) -> Records[dict[str, Any]]:
        only(filter, name=str, after=str, savings=bool)
        matches, after = matcher(filter.get("name", "*")), filter.get("after", "")
        entries = self._jobs.entries
        found: list[dict[str, Any]] = []
        for number, name in enumerate(sorted(name for name in entries if name > after), 1):
            entry = entries.get(name)
            if entry is not None and entry.job.trigger.key == "adaptive" and matches(name):
                values = self._learner(entry)
                if filter.get("savings"):
                    values |= await self._savings(entry)
                found.append(values)
                await asyncio.sleep(0)  # the loop has its turn: each job takes some hundred microseconds
            elif number % _SLICE == 0:
                await asyncio.sleep(0)  # and so it has among thousands of jobs that do not learn
            if len(found) == PAGE:
                break
        return Records(dict, found, _LEARNER)

    def Explain(self, job: str) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, float]]:
        entry = self._jobs.entry(job)
        if entry.job.trigger.key != "adaptive":
            how = f"it runs {entry.job.trigger.phrase()}; give it when: {{adaptive: {{start: 5min}}}}"
            raise Refused("Unsupported", f"{job} is not adaptive, {how}")
        learnt, decision = self._core.learnt.get(job), self._core.deciding(entry, self._host.now())
        models, features = [], {}
        if learnt is not None and learnt.state is not None and decision is not None:
            scores = dict(zip(MODELS, learnt.state.scores, strict=True))
            models = [self._model(name, decision, scores[name]) for name in MODELS if name in decision.rates]
            features = dict(zip(NAMES, decision.features, strict=True))
        return record(self._learner(entry, decision), _LEARNER), models, features

    async def SetPreference(self, job: str, preference: int, caller: Caller) -> dict[str, Any]:
        self._host.ready()
        old, new = self._jobs.prefer(job, preference, self._host.now(), caller.who)
        if preference == 0:
            self._core.take_back_wish(job)
        await self._host.settle()
        entry = self._jobs.entry(job)
        steps = f"{preference:+d}" if preference else "0"
        note = f"{job} has the preference {steps} and runs every {format_duration(new)}"
        note += f" (was {format_duration(old)})" if new != old else " as before"
        return record({"old": old, "new": new, "next": entry.due or 0, "note": note}, _CHANGE)

    async def Train(self) -> None:
        self._host.ready()
        if self._core.training:
            raise Refused("Busy", "a training is under way already: agentctl model shows what comes of it")
        if self._core.rows < FEWEST_ROWS:
            known = f"{self._core.rows} run{'' if self._core.rows == 1 else 's'} whose use is known"
            raise Refused("TooFew", f"a network learns from at least {FEWEST_ROWS} runs: there are {known}")
        self._core.train()
        await self._host.settle()

    async def ListNetworks(self) -> Records[tuple[int, Model | None, str]]:
        return Records(self._network, await asyncio.to_thread(self._read_all))

    async def Rollback(self) -> int:
        self._host.ready()
        if (number := self._shell.back("asked for")) < 0:
            why = "there is no network before the one in force that can be used: agentctl model history"
            raise Refused("Unsupported", why)
        await self._host.settle()
        return number

    # Records

    def _learner(self, entry: Entry, decision: Decision | None = None) -> dict[str, Any]:
        name, learnt = entry.job.name, self._core.learnt.get(entry.job.name, Learnt())
        values: dict[str, Any] = {
            "name": name,
            "mode": self._core.mode(entry),
            "useful": entry.job.useful or "",
            "interval": entry.schedule.trigger.interval or 0,
            "preference": entry.state.preference,
            "fixed": entry.state.fixed,
            "unknown": self._unknown(entry, learnt),
            "more": _increased(entry),
        }
        decision = decision or self._core.deciding(entry, self._host.now())
        if (state := learnt.state) is None or decision is None:
            return values
        memory, now = state.memory, self._host.now() / SECOND
        shares = [found / looked for found, looked in zip(memory.found, memory.looked, strict=True) if looked]
        return values | {
            "model": decision.model,
            "why": decision.why,
            "bound": decision.bound,
            "hint": story.hint(entry.job.useful or "", memory),
            "reason": story.reason(state, decision, decision.bound),
            "next_interval": round(decision.interval * SECOND),
            "wanted": round(decision.wanted * SECOND),
            "changed": round(memory.changed * SECOND),
            "rate": decision.rate * _HOUR,
            "useful_2h": shares[0] if shares else None,
            "useful_1d": shares[1] if shares else None,
            "cost": memory.cost,
            "by_hand": memories.by_hand(memory, now),
            "runs": memory.runs,
            "failures": memory.failures,
        }

    def _unknown(self, entry: Entry, learnt: Learnt) -> str:
        """Returns why it cannot be told whether runs of a job are of use, and what to set; or ""."""
        if entry.job.useful is None:
            return f"nothing says when a run is of use: set useful of {entry.job.name}, such as useful: output"
        return learnt.unknown

    async def _savings(self, entry: Entry) -> dict[str, Any]:
        looks = await self._host.ask(list_looks, job=entry.job.name)
        found = await asyncio.to_thread(savings.estimate, looks, terms_of(self._core.settings, entry.job))
        if found is None:
            return {}
        return {
            "length": found.length,
            "saved_cpu": found.keep_processor - found.processor,
            "saved_age": found.keep_age - found.age,
            "over_keep": found.cost / found.keep_cost,
            "over_best": found.cost / found.best_cost,
            "best_interval": round(found.best * SECOND),
        }

    def _model(self, name: str, decision: Decision, score: float) -> dict[str, Any]:
        values = {
            "name": name,
            "title": TITLES[name],
            "rate": decision.rates[name] * _HOUR,
            "interval": round(decision.intervals[name] * SECOND),
            "score": score,
            "decides": name == decision.model,
        }
        return record(values, _MODEL)

    def _read_all(self) -> list[tuple[int, Model | None, str]]:
        found: list[tuple[int, Model | None, str]] = []
        for number in reversed(self._files.numbers()):
            try:
                found.append((number, self._files.read(number), ""))
            except (OSError, Unusable) as error:
                found.append((number, None, words(error)))
        return found

    def _network(self, one: tuple[int, Model | None, str]) -> dict[str, Any]:
        number, model, wrong = one
        values: dict[str, Any] = {"number": number, "in_force": number == self._core.number, "wrong": wrong}
        if model is not None:
            values |= {
                "made": model.made * SECOND,
                "synthetic": model.origin.synthetic,
                "since": model.origin.since * SECOND,
                "until": model.origin.until * SECOND,
                "rows": model.origin.rows,
                "jobs": model.origin.jobs,
                "library": f"scikit-learn {model.sklearn}",
                "held_out": model.score.rows,
                "loss": model.score.model,
                "counted_loss": model.score.counted,
            }
        return record(values, _NETWORK)


def _increased(entry: Entry) -> int:
    """Returns the interval of a job after one increase, in microseconds; 0 where there is no room for one."""
    try:
        return interval.step(entry.job.name, entry.schedule.trigger, 1)
    except Refused:
        return 0
