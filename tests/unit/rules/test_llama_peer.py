"""What agentd asks a llama.cpp server over a wire: of a server as measured, and of servers that do what none should."""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agentd.core.rules.llm import Answer, Ask, LlmHealth, NoAnswer, Probe, Question, Result
from agentd.core.rules.llm_address import place
from agentd.peers import llama as llama_peer
from agentd.peers.llama import LARGEST, Llama
from tests.unit.rules.fake_llama import LOADING, OK, FakeLlama, busy, http, metrics, unsupported

SHORT = 0.15  # seconds that a test waits for what does not come
KEY = "sk-correct-horse"


@pytest.fixture
def server() -> Iterator[FakeLlama]:
    fake = FakeLlama()
    yield fake
    fake.stop()


def no_answer(llama: Llama, question: Question | None = None) -> NoAnswer:
    result, _ = llama.ask(question or Ask("/health", 0))
    assert isinstance(result, NoAnswer)
    return result


def answer(llama: Llama, question: Question) -> Answer:
    result, _ = llama.ask(question)
    assert isinstance(result, Answer)
    return result


def rounds(health: LlmHealth, llama: Llama, until: Callable[[list[Question]], bool]) -> list[Question]:
    """Lets agentd ask, with a clock that leaps over the pauses, until it has asked enough."""
    asked: list[Question] = []
    now, question = 0, health.begin(0)
    while not until(asked):
        assert len(asked) < 100
        asked.append(question)
        now = max(now, question.at)
        result, took = llama.ask(question)
        now += took
        question = health.observed(result, took, now)
    return asked


def rests(times: int) -> Callable[[list[Question]], bool]:
    """As many rounds as that."""
    return lambda asked: sum(isinstance(one, Ask) and one.path == "/health" for one in asked) > times


@contextlib.contextmanager
def raw(server: FakeLlama, *pieces: bytes) -> Iterator[Llama]:
    server.raw["/health"] = lambda: pieces
    yield Llama(server.url)


@contextlib.contextmanager
def full_queue() -> Iterator[int]:
    """Yields a port at which connections do not come about: nobody takes them, and the queue is full."""
    with socket.socket() as listening, contextlib.ExitStack() as stack:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]


def test_a_question_comes_back_with_status_body_and_time(server: FakeLlama) -> None:
    result, took = Llama(server.url).ask(Ask("/health", 0))
    assert isinstance(result, Answer)
    assert (result.status, json.loads(result.body)) == (200, OK)
    assert 0 < took < 3_000_000


def test_a_probe_asks_for_one_token_that_nothing_is_kept_of(server: FakeLlama) -> None:
    assert answer(Llama(server.url), Probe(0)).status == 200
    head, _, body = server.asked[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert json.loads(body) == {
        "messages": [{"role": "user", "content": "ping"}],
        "max_tokens": 1,
        "temperature": 0,
        "cache_prompt": False,
    }


@pytest.mark.parametrize("form", ["unix://{}", "{}"])
def test_a_unix_socket_is_asked_like_a_port(tmp_path: Path, form: str) -> None:
    server = FakeLlama(tmp_path / "llama.sock")
    try:
        assert answer(Llama(form.format(tmp_path / "llama.sock")), Ask("/props", 0)).status == 200
        assert b"\r\nHost: localhost\r\n" in server.asked[0]
    finally:
        server.stop()


def test_a_prefix_of_the_url_begins_every_path(server: FakeLlama) -> None:
    llama = Llama(server.url + "/llm/")
    assert answer(llama, Ask("/health", 0)).status == answer(llama, Probe(0)).status == 404
    assert server.paths == ["/llm/health", "/llm/v1/chat/completions"]


def test_the_key_is_sent_and_shown_nowhere() -> None:
    server = FakeLlama(key=KEY)
    try:
        assert answer(Llama(server.url), Ask("/slots", 0)).status == 401
        llama = Llama(server.url, KEY.encode() + b"\n")
        assert answer(llama, Ask("/slots", 0)).status == 200
        server.answers["/slots"] = 400, {"error": {"message": f"what is {KEY}?"}}
        assert KEY.encode() not in answer(llama, Ask("/slots", 0)).body
        assert KEY not in repr(llama)
    finally:
        server.stop()


@pytest.mark.parametrize("key", [b"two words", b"line\r\nX-Evil: 1", b"\xff\xfe", "schlüssel".encode()])
def test_a_key_that_no_header_can_have_is_told_without_telling_it(key: bytes) -> None:
    with pytest.raises(ValueError) as caught:
        Llama("http://127.0.0.1:1", key)
    assert str(caught.value) == "the key of the LLM is not one word of ASCII letters, digits and signs"


def test_neither_proxies_of_the_environment_nor_redirects_are_followed(
    server: FakeLlama, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert answer(Llama(server.url), Ask("/health", 0)).status == 200
    with raw(server, b"HTTP/1.1 302 Found\r\nLocation: /props\r\nContent-Length: 0\r\n\r\n") as llama:
        no = no_answer(llama)
    assert (no.kind, no.why) == ("foreign", "the server redirects (status 302), which is not followed")
    assert server.paths == ["/health", "/health"]


def test_nobody_there_is_a_refusal(tmp_path: Path) -> None:
    with socket.socket() as sock:  # bound and not listening: nobody else gets the port
        sock.bind(("127.0.0.1", 0))
        no = no_answer(Llama(f"http://127.0.0.1:{sock.getsockname()[1]}"))
    assert no == NoAnswer("refused", "connection refused")
    assert no_answer(Llama(f"{tmp_path}/none.sock")) == NoAnswer("refused", "no such file or directory")


def test_a_socket_that_agentd_may_not_use_is_forbidden(tmp_path: Path) -> None:
    server = FakeLlama(tmp_path / "llama.sock")
    (tmp_path / "llama.sock").chmod(0)
    user = os.geteuid()
    if user == 0:  # who may connect to everything
        os.seteuid(65534)
    try:
        no = no_answer(Llama(server.url))
    finally:
        os.seteuid(user)
        server.stop()
    assert no == NoAnswer("forbidden", "permission denied")


def test_a_process_that_is_stopped_is_connected_to_and_silent() -> None:
    with socket.socket() as stopped:
        stopped.bind(("127.0.0.1", 0))
        stopped.listen()  # the kernel accepts for it
        no = no_answer(Llama(f"http://127.0.0.1:{stopped.getsockname()[1]}", limit=SHORT))
    assert no == NoAnswer("silent", "no whole answer within 0.15 s")


def test_a_stopped_process_whose_queue_is_full_is_not_reached(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stopped, contextlib.ExitStack() as stack:
        stopped.bind(str(tmp_path / "llama.sock"))
        stopped.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
                waiting.setblocking(False)
                waiting.connect(str(tmp_path / "llama.sock"))
        assert no_answer(Llama(f"{tmp_path}/llama.sock", limit=SHORT)).kind == "unreached"


def test_the_time_limit_is_for_the_whole_answer(server: FakeLlama) -> None:
    server.raw["/health"] = server.drip
    assert no_answer(Llama(server.url, limit=SHORT)).kind == "silent"


def test_a_probe_has_a_time_limit_of_its_own(server: FakeLlama) -> None:
    server.raw["/v1/chat/completions"] = server.hang
    no = no_answer(Llama(server.url, probe_limit=SHORT), Probe(0))
    assert no == NoAnswer("silent", "no whole answer within 0.15 s")


def test_who_does_not_want_to_wait_any_longer_cuts_the_question_off(server: FakeLlama) -> None:
    begun = threading.Event()

    def hang() -> Iterator[bytes]:
        begun.set()
        yield from server.hang()

    server.raw["/health"] = hang
    llama, results = Llama(server.url, limit=60), []
    asking = threading.Thread(target=lambda: results.append(llama.ask(Ask("/health", 0))[0]))
    asking.start()
    assert begun.wait(30)
    llama.close()
    asking.join(30)
    assert results == [NoAnswer("broken", "the server closed the connection before its answer was whole")]
    assert llama.ask(Ask("/health", 0))[0] == NoAnswer("broken", "agentd waits for its answer no more")


class Resolver:
    """The resolver of names, which hangs until it is let go; `skips` has a clock pass so many seconds meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = threading.Semaphore(0)
        self.go = threading.Event()
        self.times = 0
        self.skips, self._skipped = 0.0, 0.0
        real, clock = socket.getaddrinfo, time.monotonic

        def look_up(host: str, *more: Any, **named: Any) -> Any:
            self.times += 1
            self.asked.release()
            self.go.wait(30)
            self._skipped += self.skips
            return real("127.0.0.1", *more, **named)

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        monkeypatch.setattr(llama_peer, "time", SimpleNamespace(monotonic=lambda: clock() + self._skipped))


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    found = Resolver(monkeypatch)
    yield found
    found.go.set()


def named(server: FakeLlama) -> str:
    """Returns the URL of a server by a name."""
    return server.url.replace("127.0.0.1", "llama.example")


def in_time(llama: Llama) -> Result:
    """Returns what becomes of a question, which must be long before its time limit."""
    results: list[Result] = []
    asking = threading.Thread(target=lambda: results.append(llama.ask(Ask("/health", 0))[0]), daemon=True)
    asking.start()
    asking.join(20)
    assert results, "it waits and waits"
    return results[0]


def test_a_resolver_that_hangs_is_waited_for_no_longer_than_for_an_answer(
    server: FakeLlama, resolver: Resolver
) -> None:
    llama = Llama(named(server), limit=SHORT)
    for _ in range(3):
        assert in_time(llama) == NoAnswer("unreached", "no address of llama.example within 0.15 s")
    assert resolver.times == 1, "a lookup at a time"
    resolver.go.set()
    assert isinstance(in_time(Llama(named(server), limit=30)), Answer)
    llama = Llama(named(server), limit=30)
    assert [type(in_time(llama)) for _ in range(2)] == [Answer, Answer]
    assert resolver.times == 4, "names are looked up for each question"


def test_a_lookup_is_cut_off_by_who_does_not_want_to_wait_any_longer(server: FakeLlama, resolver: Resolver) -> None:
    llama = Llama(named(server), limit=60)

    def close() -> None:
        assert resolver.asked.acquire(timeout=20)
        llama.close()

    closing = threading.Thread(target=close)
    closing.start()
    assert in_time(llama) == NoAnswer("broken", "agentd waits for its answer no more")
    closing.join()


def test_the_time_limit_is_for_the_lookup_and_the_answer_together(server: FakeLlama, resolver: Resolver) -> None:
    server.raw["/health"] = server.hang
    resolver.skips = 60 - SHORT
    resolver.go.set()
    assert in_time(Llama(named(server), limit=60)) == NoAnswer("silent", "no whole answer within 60 s")


def test_a_host_whose_first_address_hangs_is_reached_by_another(
    server: FakeLlama, monkeypatch: pytest.MonkeyPatch
) -> None:
    with full_queue() as hanging:
        port = int(server.url.rpartition(":")[2])
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", one)) for one in (hanging, port)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        assert isinstance(in_time(Llama(named(server), limit=1)), Answer)
        found.pop()
        assert in_time(Llama(named(server), limit=SHORT)) == NoAnswer("unreached", "no connection within 0.15 s")


def test_a_connection_that_does_not_come_about_is_cut_off_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with full_queue() as hanging:
        llama = Llama(f"http://127.0.0.1:{hanging}", limit=60)
        connect = socket.socket.connect

        def connect_and_close(sock: socket.socket, address: Any) -> None:
            closing = threading.Timer(0.05, llama.close)
            closing.start()
            connect(sock, address)

        monkeypatch.setattr(socket.socket, "connect", connect_and_close)
        assert in_time(llama) == NoAnswer("broken", "agentd waits for its answer no more")


@pytest.mark.parametrize(
    "pieces",
    [
        (),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n", b'{"status"'),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"10\r\n{}"),
    ],
)
def test_an_answer_that_ends_too_early_is_broken(server: FakeLlama, pieces: tuple[bytes, ...]) -> None:
    with raw(server, *pieces) as llama:
        assert no_answer(llama).kind == "broken"


@pytest.mark.parametrize(
    "pieces",
    [
        (b"SSH-2.0-OpenSSH_10.0\r\n",),
        (b"\x15\x03\x01\x00\x02\x02\x46",),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 1000 + b"\r\n",),
        (b"HTTP/1.1 200 OK\r\nA: " + b"b" * 100_000 + b"\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n", b"x" * (LARGEST + 1)),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * (LARGEST + 1)),
    ],
)
def test_what_no_llama_says_is_foreign(server: FakeLlama, pieces: tuple[bytes, ...]) -> None:
    with raw(server, *pieces) as llama:
        assert no_answer(llama).kind == "foreign"


def test_an_answer_may_have_a_megabyte_and_come_in_chunks(server: FakeLlama) -> None:
    with raw(server, http(200, "x" * LARGEST)) as llama:
        assert len(answer(llama, Ask("/health", 0)).body) == LARGEST
    with raw(server, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"2\r\n{}\r\n0\r\n\r\n") as llama:
        assert answer(llama, Ask("/health", 0)).body == b"{}"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8080",
        "https://127.0.0.1:8080",
        "http://",
        "http://[::1",
        "http://h:port",
        "http://h:70000",
        "http://h/a b",
        "http://h/?model=x",
        "http://hölle:8080",
        "unix://host/path",
        "unix:",
        "/" + "x" * 200,
        "/run/a\0b",
    ],
)
def test_an_address_that_cannot_be_used_is_told(url: str) -> None:
    with pytest.raises(ValueError, match=r"is not (the address of an LLM|a UNIX socket)"):
        place(url)


def test_a_password_in_the_address_is_told_without_telling_it() -> None:
    with pytest.raises(ValueError) as caught:
        place("http://me:secret@127.0.0.1:8080")
    assert "secret" not in str(caught.value)


def test_a_server_as_measured_is_ok_and_asked_in_that_order(server: FakeLlama) -> None:
    health = LlmHealth("the LLM", 30_000_000)
    rounds(health, Llama(server.url), rests(2))
    assert (health.state, health.reason) == ("ok", "the LLM answers, slots idle: 2 of 2")
    assert server.paths[:5] == ["/health", "/props", "/metrics", "/slots", "/v1/chat/completions"]


def test_a_server_is_loading_then_busy_then_tells_its_speed(server: FakeLlama) -> None:
    health, llama = LlmHealth("the LLM", 30_000_000), Llama(server.url)
    server.answers["/health"] = 503, LOADING
    rounds(health, llama, rests(1))
    assert health.state == "loading"
    del server.answers["/health"]
    server.slots, server.counters = [busy(0)], metrics(100, 10)
    rounds(health, llama, rests(1))
    assert health.state == "busy"
    server.counters = metrics(180, 12)
    rounds(health, llama, rests(1))
    facts = health.facts(0)
    assert facts is not None
    assert facts.speed == 40
    assert "/v1/chat/completions" not in server.paths


def test_a_server_whose_slots_hang_while_it_says_that_it_is_well_is_wedged(server: FakeLlama) -> None:
    health = LlmHealth("the LLM", 30_000_000)
    server.raw["/slots"] = server.hang
    server.answers["/metrics"] = 501, unsupported("metrics")
    rounds(health, Llama(server.url, limit=0.25), lambda _: health.state == "wedged")
    assert health.reason == "the LLM does not answer /slots: no whole answer within 0.25 s, 3 times in a row"


def test_another_server_at_the_address_is_misconfigured(server: FakeLlama) -> None:
    server.answers["/health"] = 200, "<html>welcome to nginx</html>"
    health = LlmHealth("the LLM", 30_000_000)
    rounds(health, Llama(server.url), rests(1))
    assert health.state == "misconfigured"
    assert "is not a llama.cpp server" in health.reason
