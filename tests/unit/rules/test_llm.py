"""The health of a llama.cpp server: its states, when it is probed, its numbers, and answers that make no sense."""

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.core.quantities import HOUR, MINUTE, SECOND
from agentd.core.rules.kpis import LLM_STATES, Llm
from agentd.core.rules.llm import Answer, Ask, LlmHealth, NoAnswer, Question, Result, Trouble
from tests.examples import examples
from tests.unit.rules.fake_llama import (
    COMPLETION,
    LOADING,
    NO_KEY,
    NO_PATH,
    NO_SLOT,
    OK,
    PROPS,
    busy,
    idle,
    metrics,
    unsupported,
)

PROBE = "probe"
NAME = "the LLM at http://127.0.0.1:9931"
REFUSED = NoAnswer("refused", "connection refused")
SILENT = NoAnswer("silent", "no whole answer within 3 s")
UNREACHED = NoAnswer("unreached", "no connection within 3 s")
PARSING = "The model produced output that does not match the expected peg-native format"


def answer(body: object, status: int = 200) -> Answer:
    return Answer(status, body.encode() if isinstance(body, str) else json.dumps(body).encode())


class Server:
    """A server and agentd, on a clock of their own. `says` has the results by path, PROBE for probes; `times` how long
    they take; `asked` is what was asked, and when."""

    def __init__(self, every: int = 30 * SECOND) -> None:
        self.says: dict[str, Result] = {
            "/health": answer(OK),
            "/props": answer(PROPS),
            "/metrics": answer(metrics()),
            "/slots": answer([idle(0), idle(1)]),
            PROBE: answer(COMPLETION),
        }
        self.times = dict.fromkeys(self.says, SECOND // 1000)
        self.asked: list[tuple[int, str]] = []
        self.now = 7 * HOUR
        self.health = LlmHealth(NAME, every)
        self._question: Question = self.health.begin(self.now)

    def run(self, span: int, each: Callable[[], None] = lambda: None) -> None:
        """Lets that time pass; `each` is called before each round."""
        end = self.now + span
        while max(self.now, self._question.at) < end:
            path = self._question.path if isinstance(self._question, Ask) else PROBE
            if path == "/health":
                each()
            self.now = max(self.now, self._question.at)
            self.asked.append((self.now, path))
            took = self.times[path]
            self.now += took
            self._question = self.health.observed(self.says[path], took, self.now)
        self.now = max(self.now, end)

    def rounds(self, number: int) -> None:
        """Lets so many rounds pass."""
        for _ in range(number):
            self.run(max(self._question.at - self.now, 0) + 1)
            while not isinstance(self._question, Ask) or self._question.path != "/health":
                self.run(1)

    @property
    def state(self) -> str:
        return self.health.state

    @property
    def facts(self) -> Llm:
        facts = self.health.facts(self.now)
        assert facts is not None
        return facts

    def instants(self, path: str = PROBE) -> list[int]:
        return [at for at, asked in self.asked if asked == path]

    def spacings(self) -> list[int]:
        """The seconds between probes."""
        found = self.instants()
        return [round((after - before) / SECOND) for before, after in pairwise(found)]


@pytest.fixture
def server() -> Server:
    return Server()


# States


def test_nothing_is_known_before_the_first_answer(server: Server) -> None:
    assert (server.health.facts(0), server.health.reason) == (None, f"{NAME} was not asked yet")


def test_a_server_that_answers_and_has_an_idle_slot_is_ok(server: Server) -> None:
    server.says["/slots"] = answer([busy(0), idle(1)])
    server.rounds(1)
    assert (server.state, server.health.reason) == ("ok", f"{NAME} answers, slots idle: 1 of 2")


@pytest.mark.parametrize("kind", ["refused", "broken"])
def test_a_server_that_does_not_listen_or_closes_is_down_at_once(server: Server, kind: Trouble) -> None:
    server.rounds(1)
    server.says["/health"] = NoAnswer(kind, "connection refused")
    server.rounds(1)
    assert (server.state, server.health.reason) == ("down", f"{NAME} does not answer /health: connection refused")


def test_a_server_behind_a_proxy_that_says_bad_gateway_is_down(server: Server) -> None:
    server.says["/health"] = answer("<html>", 502)
    server.rounds(1)
    assert server.health.reason == f"{NAME} fails at /health with status 502: no reason is given"
    assert server.state == "down"


def test_a_server_that_goes_within_a_round_is_down(server: Server) -> None:
    for path in ("/props", "/metrics", "/slots"):
        server.says[path] = REFUSED
    server.rounds(1)
    assert server.state == "down"
    server.says["/props"] = answer(PROPS)
    server.rounds(1)
    assert server.state == "down"


def test_a_server_that_loads_its_model_is_loading_and_did_not_fail(server: Server) -> None:
    server.says["/health"] = answer(LOADING, 503)
    server.run(5 * MINUTE)
    assert (server.state, server.health.reason) == ("loading", f"{NAME} is loading its model")
    assert {path for _, path in server.asked} == {"/health"}
    server.says["/health"] = answer(OK)
    server.run(10 * MINUTE)
    assert (server.state, server.facts.failed) == ("ok", 0)


@pytest.mark.parametrize("old", [False, True])
def test_a_server_whose_slots_all_make_progress_is_busy_and_not_probed(server: Server, *, old: bool) -> None:
    decoded = iter(range(1, 10_000))

    def work() -> None:
        server.says["/slots"] = answer([busy(0, next(decoded), old=old), busy(1, 0, prompt=next(decoded), old=old)])

    server.run(HOUR, work)
    assert (server.state, server.health.reason) == ("busy", f"{NAME} is busy: all slots (2) make progress")
    assert server.instants() == []
    assert server.facts.failed is None


def test_a_server_without_an_idle_slot_that_says_so_is_busy(server: Server) -> None:
    server.says["/slots"] = answer(NO_SLOT, 503)
    server.run(10 * MINUTE)
    assert (server.state, server.facts.failed) == ("busy", None)


@pytest.mark.parametrize("old", [False, True])
def test_a_slot_that_stands_still_for_a_minute_is_wedged_and_not_before(server: Server, *, old: bool) -> None:
    server.says["/slots"] = answer([busy(0, 99, old=old), idle(1)])
    server.says[PROBE] = SILENT
    server.times[PROBE] = 0
    server.run(59 * SECOND)
    assert server.state == "ok"
    server.run(3 * SECOND)
    assert server.state == "wedged"
    assert server.health.reason == f"{NAME} is wedged: slot 0 has processed for 60 s without any progress"


def test_a_wedged_server_is_ok_again_once_its_slot_moves(server: Server) -> None:
    server.says["/slots"] = answer([busy(0, 99)])
    server.run(2 * MINUTE)
    assert server.state == "wedged"
    server.says["/slots"] = answer([busy(0, 100)])
    server.rounds(1)
    assert server.state == "busy"
    server.says["/slots"] = answer([idle(0)])
    server.rounds(1)
    assert server.state == "ok"


@pytest.mark.parametrize(
    "moves",
    [
        lambda number: [busy(0, decoded=99 + number)],
        lambda number: [busy(0, decoded=99, task=number)],
        lambda number: [busy(0, decoded=99, prompt=20 + number)],
    ],
)
def test_a_slot_moves_by_tokens_or_another_task(server: Server, moves: Callable[[int], Any]) -> None:
    numbers = iter(range(1000))

    def work() -> None:
        server.says["/slots"] = answer(moves(next(numbers)))

    server.run(20 * MINUTE, work)
    assert server.state == "busy"


def test_an_engine_that_decodes_for_whomever_is_not_wedged(server: Server) -> None:
    numbers = iter(range(1000))
    server.says["/slots"] = answer([busy(0, 99)])

    def work() -> None:
        server.says["/metrics"] = answer(metrics(decodes=next(numbers)))

    server.run(20 * MINUTE, work)
    assert server.state == "busy"
    server.run(2 * MINUTE)
    assert server.state == "wedged"


def test_an_engine_that_answers_a_probe_is_not_wedged(server: Server) -> None:
    server.says["/slots"] = answer([busy(0, 99), idle(1)])
    server.says[PROBE] = SILENT
    server.run(2 * MINUTE)
    assert server.state == "wedged"
    server.says[PROBE] = answer(COMPLETION)
    server.run(MINUTE)
    assert server.state == "ok"


@pytest.mark.parametrize(("prompt", "patience"), [(20, 205), (20_000, 2000), (10**9, 3600)])
def test_a_long_prompt_may_take_long_to_read(server: Server, prompt: int, patience: int) -> None:
    server.says["/slots"] = answer([busy(0, 0, prompt=prompt)])
    server.run((60 + patience - 5) * SECOND)
    assert server.state == "busy"
    server.run(MINUTE)
    assert server.state == "wedged"


def test_a_pause_of_agentd_alone_makes_no_server_wedged(server: Server) -> None:
    decodes = iter(range(1000))
    server.says["/slots"] = answer([busy(0, 99)])
    server.run(10 * MINUTE, lambda: server.says.update({"/metrics": answer(metrics(decodes=next(decodes)))}))
    server.now += HOUR
    server.rounds(1)
    assert server.state == "busy"


def test_slots_that_time_out_three_times_while_health_answers_are_a_wedged_server(server: Server) -> None:
    server.rounds(1)
    server.says["/slots"] = SILENT
    server.rounds(2)
    why = f"{NAME} does not answer /slots: no whole answer within 3 s"
    assert (server.state, server.health.reason) == ("ok", f"{why}, 2 of 3 times")
    server.rounds(1)
    assert (server.state, server.health.reason) == ("wedged", f"{why}, 3 times in a row")
    server.says["/slots"] = answer([idle(0)])
    server.rounds(1)
    assert server.state == "ok"


def test_silences_count_only_in_a_row(server: Server) -> None:
    for _ in range(4):
        server.says["/slots"] = SILENT
        server.rounds(2)
        assert server.state in {"", "ok"}
        server.says["/slots"] = answer([idle(0)])
        server.rounds(1)
    server.says["/health"] = SILENT
    server.rounds(2)
    server.says["/health"] = REFUSED
    server.rounds(1)
    server.says["/health"] = SILENT
    server.rounds(1)
    assert server.state == "down"


def test_slots_may_be_silent_while_a_long_prompt_is_read(server: Server) -> None:
    server.says["/slots"] = answer([busy(0, 0, prompt=20_000)])
    server.rounds(1)
    server.says["/slots"] = SILENT
    server.run(30 * MINUTE)
    assert server.state == "busy"
    server.run(5 * MINUTE)
    assert server.state == "wedged"


def test_a_stopped_process_is_wedged_also_once_its_queue_is_full(server: Server) -> None:
    server.rounds(1)
    server.says["/health"] = SILENT
    server.rounds(2)
    assert server.state == "ok"
    server.rounds(1)
    assert server.state == "wedged"
    server.says["/health"] = UNREACHED
    server.rounds(5)
    assert server.state == "wedged"


def test_a_server_whose_slots_hang_stays_wedged_once_nobody_connects_to_it(server: Server) -> None:
    server.says["/slots"] = SILENT
    server.rounds(3)
    server.says["/health"] = UNREACHED
    server.rounds(5)
    assert server.state == "wedged"


def test_a_host_that_is_not_reached_three_times_is_down(server: Server) -> None:
    server.says["/health"] = UNREACHED
    server.rounds(2)
    assert server.health.facts(server.now) is None
    server.rounds(1)
    assert server.state == "down"


@pytest.mark.parametrize(
    ("path", "result", "advice"),
    [
        (
            "/props",
            answer(NO_KEY, 401),
            "wants another key: give agentd the one of the server's --api-key (Invalid API",
        ),
        (
            "/health",
            answer(NO_PATH, 404),
            "has no /health, so this is not a llama.cpp server, or llm.url lacks its --api",
        ),
        ("/slots", answer(unsupported("slots"), 501), "support slots endpoint. Start it with `--slots`"),
        ("/slots", answer("", 501), "does not support /slots: no reason is given; start it with --slots"),
        (
            "/slots",
            answer({"error": "model?"}, 400),
            "answers /slots with status 400: model?; is it a llama.cpp server?",
        ),
        ("/health", answer("<html>"), "answers /health with something else than expected, so this is not a llama.cpp"),
        ("/health", answer({"status": "up"}), "is not a llama.cpp server; correct llm.url"),
        ("/props", answer([]), "is not a llama.cpp server; correct llm.url"),
        ("/slots", answer([idle()] * 1025), "is not a llama.cpp server; correct llm.url"),
        ("/slots", answer([]), "is not a llama.cpp server; correct llm.url"),
        ("/slots", answer([{"id": 0, "is_processing": "no"}]), "is not a llama.cpp server; correct llm.url"),
        ("/health", NoAnswer("foreign", "its answer is not HTTP"), "its answer is not HTTP; is it a llama.cpp server?"),
        ("/health", NoAnswer("forbidden", "permission denied"), "permission denied; may agentd connect to it?"),
        (
            PROBE,
            answer(unsupported("chat"), 501),
            "does not support /v1/chat/completions: This server does not support",
        ),
    ],
)
def test_a_server_that_somebody_must_change_is_misconfigured_and_says_what(
    server: Server, path: str, result: Result, advice: str
) -> None:
    server.says[path] = result
    server.run(10 * MINUTE)
    assert server.state == "misconfigured"
    assert server.health.reason.startswith(NAME)
    assert advice in server.health.reason
    assert server.facts.failed is None


def test_a_probe_that_is_accepted_at_last_ends_the_misconfiguration(server: Server) -> None:
    server.says[PROBE] = answer({"error": {"message": "no chat template"}}, 400)
    server.run(10 * MINUTE)
    assert server.state == "misconfigured"
    server.says[PROBE] = answer(COMPLETION)
    server.run(10 * MINUTE)
    assert server.state == "ok"


def test_a_server_that_sleeps_is_neither_probed_nor_asked_what_would_wake_it(server: Server) -> None:
    server.says["/props"] = answer({**PROPS, "is_sleeping": True})
    server.run(HOUR)
    assert server.state == "sleeping"
    assert {path for _, path in server.asked} == {"/health", "/props"}


@pytest.mark.parametrize(("every", "expected"), [(30 * SECOND, "ok"), (4 * MINUTE, "ok"), (6 * MINUTE, "sleeping")])
def test_a_server_falls_asleep_where_it_is_asked_less_often_than_it_waits_for_work(every: int, expected: str) -> None:
    server = Server(every)

    def idle_for_five_minutes() -> None:
        tasks = [at for at, path in server.asked if path in {"/slots", "/metrics", PROBE}]
        asleep = bool(tasks) and server._question.at - tasks[-1] >= 5 * MINUTE
        server.says["/props"] = answer({**PROPS, "is_sleeping": asleep})

    server.run(HOUR, idle_for_five_minutes)
    before = len(server.instants("/slots"))
    server.run(HOUR, idle_for_five_minutes)
    assert server.state == expected
    assert (len(server.instants("/slots")) == before) == (expected == "sleeping")


# When it is asked


def test_probes_become_rare_but_stay_frequent_enough_for_a_mean(server: Server) -> None:
    server.run(HOUR)
    assert server.spacings()[:3] == [60, 120, 150]
    assert set(server.spacings()[3:]) == {150}
    assert server.facts.response == pytest.approx(0.001)


def test_a_probe_that_fails_is_repeated_soon(server: Server) -> None:
    server.run(HOUR)
    server.says[PROBE] = answer({"error": {"message": "CUDA error"}}, 500)
    before = len(server.instants())
    server.run(10 * MINUTE)
    assert set(server.spacings()[before:]) == {30}
    assert server.health.reason.endswith("; the latest probe failed: status 500: CUDA error")


def test_nothing_is_asked_more_often_than_the_setting_says_while_all_is_well() -> None:
    server = Server(every=10 * MINUTE)
    server.run(5 * HOUR)
    assert set(server.spacings()) == {600}
    looks = server.instants("/health")
    assert all(after - before >= 10 * MINUTE for before, after in pairwise(looks))


def test_probes_come_not_more_often_than_the_setting_says_while_somebody_else_works() -> None:
    server, decoded = Server(every=10 * MINUTE), iter(range(1000))
    server.run(2 * HOUR, lambda: server.says.update({"/slots": answer([busy(0, next(decoded)), idle(1)])}))
    assert set(server.spacings()) == {600}
    assert len(server.instants("/health")) > 200


def test_a_server_that_was_loading_is_probed_soon(server: Server) -> None:
    server.run(HOUR)
    before = len(server.instants())
    server.says["/health"] = answer(LOADING, 503)
    server.rounds(1)
    server.says["/health"] = answer(OK)
    server.run(HOUR)
    assert server.spacings()[before:][:3] == [60, 120, 150]


def test_a_server_in_trouble_is_looked_at_each_half_minute_whatever_the_setting_says() -> None:
    server = Server(every=10 * MINUTE)
    server.says["/health"] = SILENT
    server.run(2 * MINUTE)
    assert server.state == "wedged"


# Numbers


def test_a_server_has_a_response_time_and_a_failure_rate_from_five_probes_on(server: Server) -> None:
    def probe(number: int) -> None:
        while len(server.instants()) < number:
            server.rounds(1)

    for number in range(1, 6):
        server.times[PROBE] = number * SECOND
        probe(number)
        assert (server.facts.response, server.facts.failed) == ((3.0, 0.0) if number == 5 else (None, None))
    server.says[PROBE] = SILENT
    probe(6)
    assert server.facts.response == 3.0
    assert server.facts.failed == pytest.approx(100 / 6)
    assert (server.health.facts(server.now + 16 * MINUTE) or server.facts).response is None


@pytest.mark.parametrize(
    ("result", "failed"),
    [
        (answer(COMPLETION), 0),
        (answer({"error": {"message": PARSING}}, 500), 0),
        (answer(LOADING, 503), None),
        (answer(NO_SLOT, 503), None),
        (answer({"error": {"message": "too long"}}, 400), None),
        (answer(NO_KEY, 401), None),
        (NoAnswer("foreign", "its answer is not HTTP"), None),
        (REFUSED, 100),
        (SILENT, 100),
        (NoAnswer("broken", "the server closed the connection"), 100),
        (answer({"error": {"message": "CUDA error"}}, 500), 100),
        (answer("", 502), 100),
        (answer("{"), 100),
    ],
)
def test_a_probe_fails_where_the_engine_is_to_blame(server: Server, result: Result, failed: float | None) -> None:
    server.says[PROBE] = result
    server.run(10 * MINUTE)
    assert server.facts.failed == failed


def test_a_server_that_is_gone_fails_though_no_probe_can_be_sent(server: Server) -> None:
    server.run(HOUR)
    assert server.facts.failed == 0
    server.says["/health"] = REFUSED
    server.run(15 * MINUTE)
    assert server.facts.failed == 100
    assert server.facts.response is None


def test_a_question_without_an_answer_counts_only_where_a_probe_was_due() -> None:
    server = Server(every=10 * MINUTE)
    server.says["/health"] = REFUSED
    server.run(HOUR)
    assert len(server.instants("/health")) > 100
    assert server.facts.failed is None


def test_the_speed_is_that_of_the_counters_between_two_looks(server: Server) -> None:
    server.says["/slots"] = answer([busy(0)])
    server.says["/metrics"] = answer(metrics(1000, 100))
    server.rounds(1)
    speeds = [server.facts.speed]
    server.says["/metrics"] = answer(metrics(1100, 102))
    server.rounds(1)
    speeds.append(server.facts.speed)
    server.run(16 * MINUTE)
    speeds.append(server.facts.speed)
    assert speeds == [None, 50, None]


def test_counters_that_fall_are_those_of_another_process(server: Server) -> None:
    server.says["/slots"] = answer([busy(0)])
    for tokens, seconds in ((1000, 100), (10, 1), (50, 3), (49, 9), (60, 8)):
        server.says["/metrics"] = answer(metrics(tokens, seconds))
        server.rounds(1)
    assert server.facts.speed == 20


def test_the_one_token_of_a_probe_says_nothing_about_speed(server: Server) -> None:
    def counters(more: int) -> Answer:
        probes = len(server.instants())
        return answer(metrics(probes + more, probes * 1e-6 + more / 10))

    server.run(HOUR, lambda: server.says.update({"/metrics": counters(0)}))
    assert server.facts.speed is None
    server.run(10 * MINUTE, lambda: server.says.update({"/metrics": counters(100)}))
    assert server.facts.speed == pytest.approx(10, rel=1e-4)


def test_a_server_without_metrics_has_no_speed_and_is_asked_again_after_a_restart(server: Server) -> None:
    server.says["/metrics"] = answer(unsupported("metrics"), 501)
    server.run(HOUR)
    assert (server.state, server.facts.speed, len(server.instants("/metrics"))) == ("ok", None, 1)
    server.says["/health"] = REFUSED
    server.rounds(1)
    server.says["/health"] = answer(OK)
    server.rounds(1)
    assert len(server.instants("/metrics")) == 2


def test_metrics_with_labels_are_read_and_those_that_are_no_numbers_are_not(server: Server) -> None:
    server.says["/slots"] = answer([busy(0)])
    text = 'llamacpp:tokens_predicted_total{{model="a b"}} {}\nllamacpp:tokens_predicted_seconds_total\t{}\n'
    for tokens, seconds in (("0", "0"), ("NaN", "1"), ("1e999", "1"), ("-1", "1"), ("100", "2"), ("200", "12")):
        server.says["/metrics"] = answer(text.format(tokens, seconds))
        server.rounds(1)
    assert server.facts.speed == 10


# Answers that make no sense

KEYS = ["status", "error", "message", "is_sleeping", "is_processing", "next_token", "n_decoded", "choices", "timings"]
TEXT = st.text('ab0 é\n\0\ud800{}"', max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.integers(10**300, 10**320),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=6,
        )
    ),
    max_leaves=6,
)
STATUSES = st.sampled_from([0, 100, 200, 200, 200, 204, 400, 401, 404, 500, 501, 503, 999])
RESULTS = (
    st.builds(lambda status, body: Answer(status, json.dumps(body).encode()), STATUSES, JSON)
    | st.builds(Answer, STATUSES, st.binary(max_size=64))
    | st.builds(lambda text: answer(f"llamacpp:{text}"), st.text("aei_tokns_prdcl 0123456789.{}", max_size=30))
    | st.builds(NoAnswer, st.sampled_from(["refused", "forbidden", "unreached", "silent", "broken", "foreign"]), TEXT)
)
SLOT = st.fixed_dictionaries({"is_processing": st.booleans()}, optional={"next_token": JSON, "n_prompt_tokens": JSON})


@settings(max_examples=examples(60))
@given(st.data())
def test_no_answer_whatever_raises_or_leads_to_a_state_that_there_is_not(data: st.DataObject) -> None:
    health, now = LlmHealth(NAME, 30 * SECOND), 0
    good = {"/health": answer(OK), "/props": answer(PROPS), PROBE: answer(COMPLETION)}
    question = health.begin(now)
    for _ in range(data.draw(st.integers(1, 8))):
        path = question.path if isinstance(question, Ask) else PROBE
        usual = {**good, "/slots": answer(data.draw(st.lists(SLOT, max_size=3)))}.get(path)
        result = usual if usual and data.draw(st.booleans()) else data.draw(RESULTS)
        now = max(now, question.at)
        question = health.observed(result, 1000, now)
        assert now <= question.at <= now + 5 * MINUTE
        facts = health.facts(now)
        assert facts is None or facts.state in LLM_STATES
        assert len(health.reason) < 1000


def test_json_that_is_nested_a_hundred_thousand_times_is_no_llama(server: Server) -> None:
    server.says["/health"] = answer('{"a":' * 100_000)
    server.rounds(1)
    assert server.state == "misconfigured"


@pytest.mark.parametrize("value", ["[]", "{}", "null", "true", '"x"', "-1", "1e400", "1" * 400, "0.5", '"\\ud800"'])
def test_numbers_that_are_none_are_unknown(server: Server, value: str) -> None:
    keys = ("id_task", "n_prompt_tokens", "n_prompt_tokens_processed", "n_decoded")
    pairs = ", ".join(f'"{key}": {value}' for key in keys)
    server.says["/slots"] = answer(f'[{{"is_processing": true, {pairs}, "next_token": [{{{pairs}}}]}}]')
    server.rounds(2)
    assert server.state in {"busy", "misconfigured"}  # where it is no JSON at all


def test_a_probe_is_asked_for_only_by_the_round_that_saw_an_idle_slot(server: Server) -> None:
    slots = iter([[busy(0)], [busy(0), idle(1)], [busy(0, 46)], [busy(0, 47), idle(1)]] * 50)
    server.run(HOUR // 2, lambda: server.says.update({"/slots": answer(next(slots))}))
    before = [
        earlier for (_, earlier), (_, later) in zip(server.asked, server.asked[1:], strict=False) if later == PROBE
    ]
    assert before
    assert set(before) == {"/slots"}
