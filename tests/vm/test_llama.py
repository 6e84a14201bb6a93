"""A real llama.cpp server, Debian sid's, with a small random model: agentd tells each of its states from the others.

The server runs on this machine, from a root of its own. Its answers are real; the clock that agentd goes by is not, so
that nobody waits for the next question.
"""

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentd.core.quantities import SECOND
from agentd.core.rules.llm import Ask, LlmHealth, Probe
from agentd.peers.llama import Llama

ROOT = Path(__file__).parents[2]
EVERY = 5 * SECOND
PATIENCE = 120.0  # seconds for what a real server has to do on a busy machine
KEY = "a-key-of-this-test"

# Writes a model of the llama architecture with random weights. Larger ones take longer to load, and for a token.
MODEL = """
import sys, gguf, numpy
path, width, layers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
writer = gguf.GGUFWriter(path, "llama")
tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *"abcdefghijklmnopqrstuvwxyz "]
kinds = [2, 3, 3, *[6] * 256, *[1] * 27]
writer.add_context_length(4096)
writer.add_embedding_length(width)
writer.add_block_count(layers)
writer.add_feed_forward_length(2 * width)
writer.add_head_count(8)
writer.add_head_count_kv(8)
writer.add_layer_norm_rms_eps(1e-5)
writer.add_rope_dimension_count(width // 8)
writer.add_vocab_size(len(tokens))
writer.add_tokenizer_model("llama")
writer.add_token_list([token.encode() for token in tokens])
writer.add_token_scores([0.0] * len(tokens))
writer.add_token_types(kinds)
writer.add_bos_token_id(1)
writer.add_eos_token_id(2)
chance = numpy.random.default_rng(0)
def add(name, *shape):
    writer.add_tensor(name, (chance.standard_normal(shape) * 0.02).astype(numpy.float32))
add("token_embd.weight", len(tokens), width)
writer.add_tensor("output_norm.weight", numpy.ones(width, numpy.float32))
add("output.weight", len(tokens), width)
for layer in range(layers):
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        add(f"blk.{layer}.{name}.weight", width, width)
    for name in ("ffn_gate", "ffn_up"):
        add(f"blk.{layer}.{name}.weight", 2 * width, width)
    add(f"blk.{layer}.ffn_down.weight", width, 2 * width)
    for name in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"blk.{layer}.{name}.weight", numpy.ones(width, numpy.float32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
"""
# The folder of the test is /mnt in the root, for this one program alone.
INSIDE = 'mount --bind "$1" "$2/mnt"; mount -t proc proc "$2/proc"; root=$2; shift 2; exec chroot "$root" "$@"'


class Server:
    """llama-server in its root, on a UNIX socket in `folder`; `url` is what agentd's configuration would say."""

    def __init__(self, root: str, folder: Path) -> None:
        self._root, self._folder = root, folder
        self._socket = folder / "llama.sock"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{self._socket}"

    def inside(self, *argv: str) -> list[str]:
        """Returns the command that runs a program in the root."""
        shell = ["sh", "-euc", INSIDE, "inside", str(self._folder), self._root]
        return ["unshare", "--mount", "--propagation", "private", *shell, *argv]

    def make_model(self, width: int, layers: int) -> None:
        (self._folder / "make.py").write_text(MODEL)
        make = self.inside("python3", "/mnt/make.py", "/mnt/model.gguf", str(width), str(layers))
        subprocess.run(make, check=True, timeout=PATIENCE)

    def start(self, *options: str) -> None:
        self._socket.unlink(missing_ok=True)
        argv = ["llama-server", "--model", "/mnt/model.gguf", "--host", "/mnt/llama.sock", "--threads", "1"]
        argv += ["--parallel", "2", "--ctx-size", "8192", "--metrics", *options]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self.inside(*argv), stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def end(self) -> None:
        """Kills the server, whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)
            self._process = None

    def post(self, path: str, body: dict[str, Any]) -> None:
        """Asks the server for something and waits for the answer, which may be the end of the server."""
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.sock.connect(str(self._socket))
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            connection.getresponse().read()


class Watch:
    """agentd's own watch of the server, with a clock that goes on to each next question at once."""

    def __init__(self, server: Server, key: str = "") -> None:
        self.health = LlmHealth(server.url, EVERY)
        self._peer = Llama(server.url, key.encode())
        self.now = 0
        self._question = self.health.begin(0)
        self.probes = 0

    def ask(self) -> str:
        """Asks the next question; returns the state that follows from the answer."""
        self.now = max(self.now, self._question.at)
        self.probes += isinstance(self._question, Probe)
        result, took = self._peer.ask(self._question)
        self.now += took
        self._question = self.health.observed(result, took, self.now)
        return self.health.state

    @property
    def rests(self) -> bool:
        """Whether a round of questions is over."""
        return isinstance(self._question, Ask) and self._question.path == "/health"

    def until(self, state: str, between: Callable[[], object] = lambda: time.sleep(0.01)) -> set[str]:
        """Asks until the server is in that state; returns the states before."""
        deadline, before = time.monotonic() + PATIENCE, set[str]()
        while (found := self.ask()) != state:
            before.add(found)
            assert time.monotonic() < deadline, f"expected {state}: {found}, {self.health.reason}"
            between()
        return before


@pytest.fixture(scope="module")
def root() -> str:
    """The folder of a root with llama.cpp, which is built where it is not in the cache."""
    command = [str(ROOT / ".ci" / "debian-root"), "--suite", "sid", "llama", "llama.cpp", "python3-gguf"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


@pytest.fixture(scope="module")
def server(root: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a model of 135 MB: some fifty tokens a second, and a moment in which it loads."""
    one = Server(root, tmp_path_factory.mktemp("llama"))
    one.make_model(512, 8)
    yield one
    one.end()


@pytest.fixture(autouse=True)
def ended(server: Server) -> Iterator[None]:
    yield
    server.end()


@contextlib.contextmanager
def work(server: Server, requests: int) -> Iterator[None]:
    """Has as many requests under way as that, each of many tokens."""
    body = {"prompt": "a", "n_predict": 3000, "ignore_eos": True, "cache_prompt": False}
    threads = [threading.Thread(target=server.post, args=("/completion", body)) for _ in range(requests)]
    for thread in threads:
        thread.start()
    yield
    server.end()
    for thread in threads:
        thread.join(PATIENCE)


def test_a_server_is_down_then_loading_then_ok_and_its_figures_are_known(server: Server) -> None:
    watch = Watch(server)
    assert watch.ask() == "down"
    server.start()
    assert watch.until("ok", lambda: None) == {"down", "loading"}
    while watch.probes < 8:  # a quarter of an hour and more: probes become rare where they succeed
        watch.ask()
    facts = watch.health.facts(watch.now)
    assert facts is not None
    assert facts.failed == 0
    assert facts.response is not None
    assert 0 < facts.response < 10
    server.end()
    watch.until("down")


def test_saturated_slots_are_busy_and_a_stopped_server_is_wedged_until_it_goes_on(server: Server) -> None:
    server.start()
    watch = Watch(server)
    watch.until("ok")
    with work(server, 5):
        watch.until("busy")
        probes = watch.probes
        for _ in range(60):  # minutes of the clock, in which the slots go on
            assert watch.ask() == "busy", watch.health.reason
            time.sleep(0.05)
        assert watch.probes == probes  # a probe would only wait behind the others
        server.signal(signal.SIGSTOP)
        assert watch.until("wedged") <= {"busy"}
        server.signal(signal.SIGCONT)
        assert watch.until("busy") <= {"wedged"}
    assert watch.until("down") <= {"busy"}


def test_a_wrong_key_is_misconfigured_and_the_right_one_is_ok(server: Server) -> None:
    server.start("--api-key", KEY)
    for key in ("", "another"):
        wrong = Watch(server, key)
        assert wrong.until("misconfigured") <= {"", "down", "loading"}
        assert "give agentd the one of the server's --api-key" in wrong.health.reason
        assert KEY not in wrong.health.reason
    Watch(server, KEY).until("ok")


def test_a_sleeping_model_is_not_woken(server: Server) -> None:
    server.start("--sleep-idle-seconds", "1")
    watch = Watch(server)
    watch.until("ok")
    while not watch.rests:  # what else belongs to the round would wake the model
        watch.ask()
    time.sleep(3)  # the server's own clock is real
    assert watch.until("sleeping") <= {"ok"}
    probes = watch.probes
    for _ in range(20):
        assert watch.ask() == "sleeping"
    assert watch.probes == probes


def test_a_server_without_slots_is_misconfigured_and_says_what_to_start_it_with(server: Server) -> None:
    server.start("--no-slots")
    watch = Watch(server)
    watch.until("misconfigured")
    assert "--slots" in watch.health.reason
