"""The LLM's server as it is asked: for as long as somebody needs to know, and once where only the self-test does."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agentd.config import files
from agentd.core.config import Config
from agentd.core.quantities import SECOND
from agentd.core.rules.kpis import Missing
from agentd.core.rules.model import Moment
from agentd.core.rules.rules import Rules, Saved
from agentd.core.rules.settings import LlmServer
from agentd.rules.llm import LlmWatch
from agentd.rules.part import Shell, settings
from agentd.rules.senses import Senses
from tests.unit.rules.fake_llama import LOADING, NO_KEY, PROPS, FakeLlama, busy


@pytest.fixture
def server() -> Iterator[FakeLlama]:
    llama = FakeLlama()
    yield llama
    llama.stop()


def watching(url: str, question: Callable[[LlmWatch], Awaitable[Any]]) -> Any:
    """What a question to a watch over that server comes to."""

    async def scenario() -> Any:
        watch = LlmWatch(lambda: time.monotonic_ns() // 1000, asyncio.get_running_loop().create_task)
        watch.configure(LlmServer(url=url, every=30 * SECOND))
        try:
            return await question(watch)
        finally:
            watch.close()

    return asyncio.run(scenario())


def state(watch: LlmWatch) -> Awaitable[tuple[str, str]]:
    return watch.state()


def test_a_server_that_nobody_asks_is_asked_once_without_a_probe(server: FakeLlama) -> None:
    assert watching(server.url, state) == ("ok", f"{server.url} answers, slots idle: 2 of 2")
    assert server.paths == ["/health", "/props", "/metrics", "/slots"]


def test_a_server_that_nobody_asks_is_glanced_at_likewise(server: FakeLlama) -> None:
    seen = watching(server.url, lambda watch: watch.glance(""))
    assert (seen.state, seen.response, seen.failed) == ("ok", None, None)
    assert server.paths == ["/health", "/props", "/metrics", "/slots"]


def test_a_server_that_is_not_to_be_asked_so_is_missing() -> None:
    with pytest.raises(Missing, match="unix"):
        watching("unix://relative", lambda watch: watch.glance(""))


def test_a_server_that_sleeps_is_not_woken(server: FakeLlama) -> None:
    server.answers["/props"] = (200, {**PROPS, "is_sleeping": True})
    assert watching(server.url, state)[0] == "sleeping"
    assert server.paths == ["/health", "/props"]


def test_the_state_of_a_server_that_is_asked_anyway_costs_no_question(server: FakeLlama) -> None:
    server.slots = [busy(0)]

    async def question(watch: LlmWatch) -> tuple[tuple[str, str], int]:
        with pytest.raises(Missing, match="was not asked yet"):
            await watch.look("")
        while not (watch._health and watch._health.state):
            await asyncio.sleep(0)
        before = len(server.asked)
        return await watch.state(), len(server.asked) - before

    assert watching(server.url, question) == (("busy", f"{server.url} is busy: all slots (1) make progress"), 0)


@pytest.mark.parametrize(
    ("path", "answer", "expected"),
    [
        ("/health", (503, LOADING), "loading"),
        ("/health", (502, ""), "down"),
        ("/props", (401, NO_KEY), "misconfigured"),
    ],
)
def test_one_round_tells_what_is_wrong(server: FakeLlama, path: str, answer: tuple[int, object], expected: str) -> None:
    server.answers[path] = answer
    assert watching(server.url, state)[0] == expected


def test_a_server_that_is_gone_is_down_and_a_key_that_is_none_a_wrong_setting(
    server: FakeLlama, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert watching("unix:///nowhere/llama.sock", state)[0] == "down"
    (tmp_path / "agentd.llm-key").write_text("two words")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    found, why = watching(server.url, state)
    assert found == "misconfigured"
    assert why.startswith("the key of the LLM is not one word")


# As long as somebody needs to know

CONFIG = """
timezone: UTC
llm: {{url: "{}", every: 1s}}
rules: {}
"""


def test_after_a_reload_without_rules_about_the_llm_nobody_asks_and_with_one_again(
    server: FakeLlama, tmp_path: Path
) -> None:
    def config(*rules: str) -> Config:
        file = tmp_path / "agentd.yaml"
        file.write_text(CONFIG.format(server.url, "{" + ", ".join(rules) + "}"))
        return files.load(file).config

    about_llm, other = "a: {when: LlmState == wedged, do: Notify}", "b: {when: MemoryUsage > 90%, do: Notify}"

    async def scenario() -> list[list[bool]]:
        tasks: list[asyncio.Task[Any]] = []

        def do(work: Any) -> asyncio.Task[Any]:
            tasks.append(asyncio.get_running_loop().create_task(work))
            return tasks[-1]

        watch = LlmWatch(lambda: time.monotonic_ns() // 1000, do)
        shell = shell_of(watch, config(about_llm, other))
        found = []
        for rules in ((about_llm, other), (about_llm,), (other,), (), (about_llm,)):
            shell.configure(config(*rules), 0)
            if "llm" in {source.name for source in shell._rules.gauges.sources}:
                with contextlib.suppress(Missing):
                    await watch.look("")
            await asyncio.sleep(0)
            found.append([not task.cancelling() and not task.cancelled() for task in tasks])
        watch.close()
        await asyncio.gather(*tasks, return_exceptions=True)
        return found

    assert asyncio.run(scenario()) == [[True], [True], [False], [False], [False, True]]


def shell_of(watch: LlmWatch, config: Config) -> Shell:
    """The shell of rules with that configuration, of which nothing is carried out."""
    jobs: Any = SimpleNamespace(waiting=lambda _: [], all_seen=list)
    moment = Moment(0, 0, 0, "boot")
    unused: Any = SimpleNamespace(moment=lambda: moment, follow=list, acts={}, defect=None)
    rules = Rules(jobs, Saved(), settings(config), moment)
    shell = Shell(unused, jobs, rules, Senses(unused, unused, watch, unused, "boot"), unused, unused, list)
    watch.configure(config.llm)
    return shell


def test_without_a_server_there_is_no_state() -> None:
    async def question(watch: LlmWatch) -> None:
        watch.configure(None)
        with pytest.raises(Missing, match="no LLM is configured"):
            await watch.state()

    watching("unix:///nowhere/llama.sock", question)
