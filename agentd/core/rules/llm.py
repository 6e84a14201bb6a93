"""The health of a llama.cpp server: what to ask it next and when, and what its answers come to.

One question is open at a time. A round asks /health, /props, /metrics and /slots, as far as the answers allow, and then
sends a probe where one is due and a slot is idle. All instants and spans are in microseconds of the monotonic clock.

An answer of /health means only that the process lives, so the engine is judged by what its slots do. To llama.cpp a
question for /slots or /metrics is a task, which sets its idle timer back and would wake it; /health and /props are
none, but do not tell whether anything was processed. So a server that should sleep needs a longer `every` than its
--sleep-idle-seconds.
"""

import re
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import Struct

from agentd.core.quantities import SECOND
from agentd.core.rules.kpis import Llm
from agentd.core.rules.llm_engine import FEWEST, TIMES, WINDOW, Probes, Progress, Slot, Speed, as_number

_SHORTEST, _LONGEST = 30 * SECOND, WINDOW // (FEWEST + 1)  # between two probes: there are enough of them in the span
_SOON = 30 * SECOND  # until the next round at most, while something is open
_MOST_SLOTS = 1024  # no server has more; to look at each takes time
_TEXT = 200  # characters of a server's text in a sentence
_METRIC = re.compile(r"^llamacpp:([a-z_]{1,64})(?:\{[^}\n]{0,1000}\})?[ \t]+(\S{1,40})", re.MULTILINE)
_CONFUSING = (msgspec.MsgspecError, ValueError, RecursionError)
_T = TypeVar("_T")

Trouble = Literal["refused", "forbidden", "unreached", "silent", "broken", "foreign"]
"""The reasons for no answer: nobody listens; agentd may not connect; no connection came about in time; no whole answer
did; the connection ended before the answer was whole; the answer is no HTTP, too large or a redirect."""


class Ask(Struct, frozen=True):
    """A question: GET `path`, not before the instant `at`."""

    path: str
    at: int


class Probe(Struct, frozen=True):
    """A chat completion of one token, to be asked for not before the instant `at`."""

    at: int


class Answer(Struct, frozen=True):
    """A whole answer: its status and its body, which may be anything."""

    status: int
    body: bytes


class NoAnswer(Struct, frozen=True):
    """A question without an answer. `why` is the end of a sentence."""

    kind: Trouble
    why: str


Question = Ask | Probe
Result = Answer | NoAnswer


class LlmHealth:
    """A llama.cpp server as its answers show it. `name` is what sentences call it; `every` lies between two rounds.

    `state` is one of LLM_STATES, "" before the first answer that tells; `reason` is a sentence that says why.
    """

    def __init__(self, name: str, every: int) -> None:
        self.state = ""
        self.reason = f"{name} was not asked yet"
        self._name = name
        self._every = every
        self._asked: Question = Ask("/health", 0)
        self._probes = Probes()
        self._speed = Speed()
        self._progress = Progress()
        self._silences: dict[str, tuple[int, int, bool]] = {}  # how often, since when, whether connections came about
        self._has_metrics = True
        self._unfit = ""  # why no probe can succeed until somebody changes something
        self._failed = ""  # why the latest probe failed
        self._spacing = self._shortest = max(every, _SHORTEST)
        self._probe_at = 0

    def begin(self, now: int) -> Question:
        """Returns the first question."""
        self._asked = Ask("/health", now)
        return self._asked

    def observed(self, result: Result, took: int, now: int) -> Question:
        """Takes what became of the question that was returned last; returns the next one."""
        if isinstance(self._asked, Probe):
            self._probed(result, took, now)
            self._asked = self._rest(now)
        else:
            self._asked = self._heard(self._asked.path, result, now) or self._rest(now)
        return self._asked

    def facts(self, now: int) -> Llm | None:
        """Returns what is known; None before the first answer that tells."""
        if not self.state:
            return None
        return Llm(self.state, self._probes.response(now), self._probes.failed(now), self._speed.value(now))

    def _heard(self, path: str, result: Result, now: int) -> Question | None:
        """Returns the next question of the round; None: the round is over."""
        if path == "/metrics":
            self._take_metrics(result, now)
            return Ask("/slots", now)
        if isinstance(result, NoAnswer):
            self._unanswered(path, result, now)
            return None
        self._silences.pop(path, None)  # of that path alone: while /slots hangs, /props may answer
        if result.status != 200:
            self._refused(path, result, now)
            return None
        if path == "/slots":
            return self._take_slots(result, now)
        found = _decoded(result.body, dict)
        if found is None or (path == "/health" and found.get("status") != "ok"):
            self._foreign(path, now)
        elif path == "/health":
            return Ask("/props", now)
        elif found.get("is_sleeping") is True:
            self._become("sleeping", f"{self._name} sleeps until somebody asks it for something", now)
        else:
            return Ask("/metrics" if self._has_metrics else "/slots", now)
        return None

    def _take_metrics(self, result: Result, now: int) -> None:
        """Takes the counters. A server need not have them: without, its speed is unknown."""
        text = ""
        if isinstance(result, Answer):
            self._has_metrics = result.status not in {404, 501}
            text = result.body.decode(errors="replace") if result.status == 200 else ""
        found = {name: as_number(value) for name, value in _METRIC.findall(text)}
        self._speed.count(found.get("tokens_predicted_total"), found.get("tokens_predicted_seconds_total"), now)
        self._progress.decodes(found.get("n_decode_total"), now)

    def _take_slots(self, answer: Answer, now: int) -> Question | None:
        slots = _decoded(answer.body, list[Slot])
        if not slots or len(slots) > _MOST_SLOTS:
            self._foreign("/slots", now)
            return None
        stuck = self._progress.look(slots, now)
        idle = len(slots) - self._progress.processing
        if stuck is not None:
            number, still = stuck
            told = f"slot {number} has processed for {still // SECOND} s without any progress"
            self._become("wedged", f"{self._name} is wedged: {told}", now)
        elif self._unfit:
            self._become("misconfigured", self._unfit, now)
        elif not idle:
            self._become("busy", f"{self._name} is busy: all slots ({len(slots)}) make progress", now)
        else:
            failed = f"; the latest probe failed: {self._failed}" if self._failed else ""
            self._become("ok", f"{self._name} answers, slots idle: {idle} of {len(slots)}{failed}", now)
        return Probe(now) if idle and now >= self._probe_at else None

    def _unanswered(self, path: str, no: NoAnswer, now: int) -> None:
        said = f"{self._name} does not answer {path}: {no.why}"
        if no.kind in {"forbidden", "foreign"}:
            what = "may agentd connect to it?" if no.kind == "forbidden" else "is it a llama.cpp server? (llm.url)"
            self._become("misconfigured", f"{said}; {what}", now)
            return
        self._stand_in(now)
        if no.kind in {"refused", "broken"}:
            self._silences.clear()
            self._become("down", said, now)
            return
        times, since, connected = self._silences.get(path, (0, now, False))
        # A stopped process is connected to by its kernel, until its queue is full.
        times, connected = times + 1, connected or no.kind == "silent" or self.state == "wedged"
        self._silences[path] = (times, since, connected)
        if times >= TIMES and now - since >= self._progress.patience:
            self._become("wedged" if connected else "down", f"{said}, {times} times in a row", now)
        else:
            self.reason = f"{said}, {times} of {TIMES} times"

    def _refused(self, path: str, answer: Answer, now: int) -> None:
        said = _said(answer.body)
        if answer.status == 503 and "loading model" in said.lower():
            self._become("loading", f"{self._name} is loading its model", now)
        elif answer.status == 503 and "no slot" in said.lower():
            self._become("busy", f"{self._name} is busy: no slot is idle", now)
        elif answer.status >= 500 and answer.status != 501:
            self._stand_in(now)
            self._become("down", f"{self._name} fails at {path} with status {answer.status}: {said}", now)
        else:
            self._become("misconfigured", self._advice(path, answer.status, said), now)

    def _foreign(self, path: str, now: int) -> None:
        what = "something else than expected, so this is not a llama.cpp server; correct llm.url"
        self._become("misconfigured", f"{self._name} answers {path} with {what}", now)

    def _advice(self, path: str, status: int, said: str) -> str:
        """Returns the sentence on a status that only somebody who changes something does away with."""
        if status in {401, 403}:
            why = "wants another key: give agentd the one of the server's --api-key"
            return f"{self._name} {why} ({said})"
        if status == 404:
            return f"{self._name} has no {path}, so this is not a llama.cpp server, or llm.url lacks its --api-prefix"
        if status == 501:
            option = f"; start it with --{path[1:]}" if path in {"/slots", "/props"} and "Start it" not in said else ""
            return f"{self._name} does not support {path}: {said}{option}"
        return f"{self._name} answers {path} with status {status}: {said}; is it a llama.cpp server?"

    def _probed(self, result: Result, took: int, now: int) -> None:
        """Takes what became of a probe: where it was answered, the next one comes later."""
        self._failed = self._count(result, took, now)
        if isinstance(result, Answer):
            self._unfit = ""
        if isinstance(result, Answer) and (400 <= result.status < 500 or result.status == 501):
            self._unfit = self._advice("/v1/chat/completions", result.status, _said(result.body))
            self._become("misconfigured", self._unfit, now)
        elif isinstance(result, Answer) and not self._failed:
            timings = (_decoded(result.body, dict) or {}).get("timings")
            timings = timings if isinstance(timings, dict) else {}
            tokens, spent = as_number(timings.get("predicted_n")), as_number(timings.get("predicted_ms"))
            self._speed.probed(1 if tokens is None else tokens, (spent or 0) / 1000)
        self._spacing = self._shortest if self._failed else min(2 * self._spacing, max(_LONGEST, self._shortest))
        self._probe_at = now + self._spacing

    def _count(self, result: Result, took: int, now: int) -> str:
        """Counts a probe, unless its no says nothing about the engine; returns why it failed, or ""."""
        if isinstance(result, NoAnswer):
            if result.kind in {"forbidden", "foreign"}:
                return ""
            why = result.why
        elif result.status == 200:
            why = "" if "choices" in (_decoded(result.body, dict) or {}) else "the answer is no chat completion"
        elif result.status >= 500 and result.status != 501:
            said = _said(result.body)
            if any(words in said.lower() for words in ("loading model", "no slot")):
                return ""
            why = "" if "does not match the expected" in said else f"status {result.status}: {said}"
        else:
            return ""
        self._probes.add(now, None if why else took)
        if not why:
            self._progress.moved(now)
        return why

    def _stand_in(self, now: int) -> None:
        """Counts a question without an answer as a failed probe, in the place of one that is due."""
        if now >= self._probe_at:
            self._probes.add(now, None)
            self._spacing = self._shortest
            self._probe_at = now + self._spacing

    def _become(self, state: str, reason: str, now: int) -> None:
        if state != self.state and {state, self.state} != {"ok", "busy"}:
            self._spacing = self._shortest
            self._probe_at = min(self._probe_at, now + self._spacing)
        if state in {"down", "loading", "sleeping"}:  # what follows may be another process
            self._progress, self._has_metrics, self._unfit, self._failed = Progress(), True, "", ""
        self.state, self.reason = state, reason

    def _rest(self, now: int) -> Ask:
        """Returns the question that the next round begins with, sooner while something is open."""
        is_open = self.state not in {"ok", "sleeping", "misconfigured"} or self._silences or self._progress.processing
        return Ask("/health", now + (min(self._every, _SOON) if is_open else self._every))


def _decoded(body: bytes, kind: type[_T]) -> _T | None:
    """Returns the JSON as that type, or None where it is not."""
    try:
        return msgspec.json.decode(body, type=kind)
    except _CONFUSING:
        return None


def _said(body: bytes) -> str:
    """Returns the server's words in an answer, bounded and fit for one line."""
    found: Any = _decoded(body, dict) or {}
    error = found.get("error")
    words = (error.get("message") if isinstance(error, dict) else error) or found.get("message") or found.get("status")
    text = words[:_TEXT] if isinstance(words, str) else "no reason is given"
    return "".join(sign if sign.isprintable() else " " for sign in text).strip()
