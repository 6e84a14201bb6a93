"""A llama.cpp server as a peer: carries out what agentd.core.rules.llm wants to ask, over TCP or a UNIX socket.

agentd.peers.http only posts, over TCP, and says in one sentence why there is no answer; here the core must tell a
server that is gone from one that hangs. Everything blocks, and all of a question, from the lookup of the host's name to
the end of the answer, for its time limit at most. No proxy of the environment is used and no redirect is followed.
"""

import contextlib
import socket
import threading
import time
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any

import msgspec

from agentd.core.rules.llm import Answer, NoAnswer, Probe, Question, Result
from agentd.core.rules.llm_address import place

if TYPE_CHECKING:
    import http.client

LARGEST = 1 << 20
"""Bytes of an answer at most."""
_LIMIT = 3.0  # seconds for a question and its whole answer
_PROBE_LIMIT = 10.0  # the same for a probe
_PROBE = msgspec.json.encode(
    {
        "messages": [{"role": "user", "content": "ping"}],
        "max_tokens": 1,
        "temperature": 0,
        "cache_prompt": False,
    }
)


_Target = tuple[int, int, int, Any]  # family, type, protocol and address of a socket


class Llama:
    """A llama.cpp server at a URL. `key` is sent as a bearer token and shown nowhere; empty: no token is sent.

    `limit` and `probe_limit` are seconds. Raises ValueError with a sentence for a URL or a key that cannot be used.
    """

    def __init__(self, url: str, key: bytes = b"", *, limit: float = _LIMIT, probe_limit: float = _PROBE_LIMIT) -> None:
        self._place = place(url)
        self._key = key.strip()
        if not all(0x21 <= sign <= 0x7E for sign in self._key):  # http.client would tell it in its error
            raise ValueError("the key of the LLM is not one word of ASCII letters, digits and signs")
        self._limit = limit
        self._probe_limit = probe_limit
        self._sock: socket.socket | None = None
        self._lookup: Future[list[_Target]] | None = None
        self._closed = False

    def ask(self, question: Question) -> tuple[Result, int]:
        """Returns what became of a question, and how long that took (microseconds). One question at a time."""
        begun = time.monotonic()
        result = self._ask(question, self._probe_limit if isinstance(question, Probe) else self._limit)
        return result, int((time.monotonic() - begun) * 1_000_000)

    def close(self) -> None:
        """Cuts off the question under way, from another thread: nobody waits for its answer, or asks any more."""
        self._closed = True
        sock, lookup = self._sock, self._lookup
        if lookup is not None:
            lookup.cancel()
        if sock is not None:
            _cut_off(sock)

    def _ask(self, question: Question, limit: float) -> Result:
        latest = time.monotonic() + limit
        try:
            sock = self._connected(latest)
        except _NoAddress:
            return NoAnswer("unreached", f"no address of {self._place.host} within {limit:g} s")
        except TimeoutError:
            return NoAnswer("unreached", f"no connection within {limit:g} s")
        except BlockingIOError:  # so says a UNIX socket
            return NoAnswer("unreached", "too many connections wait for it already")
        except PermissionError as error:
            return NoAnswer("forbidden", _why(error))
        except CancelledError:
            return _UNWANTED
        except (OSError, ValueError) as error:  # a name that cannot be a host's is a ValueError
            return _UNWANTED if self._closed else NoAnswer("refused", _why(error))
        try:
            return self._answer(sock, question, limit, latest)
        finally:
            self._sock = None
            sock.close()

    def _connected(self, latest: float) -> socket.socket:
        """Returns a connection to the first address that takes one. Raises OSError, ValueError, CancelledError."""
        targets: list[_Target] = [(socket.AF_UNIX, socket.SOCK_STREAM, 0, self._place.path)]
        if not self._place.path:
            targets = self._looked_up(latest)
        trouble: OSError | None = None
        for left in range(len(targets), 0, -1):
            try:
                return self._connected_to(targets[-left], (latest - time.monotonic()) / left)
            except OSError as error:
                trouble = error
        raise trouble or OSError("there is no address")

    def _connected_to(self, target: _Target, limit: float) -> socket.socket:
        """Returns a connection to an address. Raises OSError, CancelledError."""
        if limit <= 0:
            raise TimeoutError
        *kind, address = target
        sock = self._sock = socket.socket(*kind)
        try:
            if self._closed:
                raise CancelledError
            sock.settimeout(limit)
            sock.connect(address)
        except BaseException:
            self._sock = None
            sock.close()
            raise
        return sock

    def _looked_up(self, latest: float) -> list[_Target]:
        """Returns the addresses of the host. Raises OSError, ValueError, CancelledError.

        The lookup has a thread of its own, as there is no limit to how long it takes and nothing cuts it off. What one
        that came too late has found serves the next question: a slow resolver is late each time.
        """
        if self._lookup is None:
            self._lookup = Future()
            work = (self._lookup, self._place.host, self._place.port)
            threading.Thread(target=_look_up, args=work, daemon=True).start()
        lookup = self._lookup
        if self._closed:
            raise CancelledError
        try:
            return lookup.result(max(0.0, latest - time.monotonic()))
        except TimeoutError:
            raise _NoAddress from None
        finally:
            if lookup.done():
                self._lookup = None

    def _answer(self, sock: socket.socket, question: Question, limit: float, latest: float) -> Result:
        """Asks over that connection; returns the answer, or why there is none."""
        import http.client  # noqa: PLC0415 - few have an LLM, and it would cost memory

        connection = http.client.HTTPConnection(self._place.host, self._place.port)
        connection.sock = sock
        left = max(0.001, latest - time.monotonic())
        sock.settimeout(left)
        # The socket's own timeout is for each byte; a server that sends one now and then is cut off.
        cut = threading.Timer(left, _cut_off, (sock,))
        cut.daemon = True
        cut.start()
        try:
            self._send(connection, question)
            with connection.getresponse() as answer:
                text = answer.read(LARGEST + 1)
                result = self._whole(answer, text)
        except http.client.HTTPException as error:
            gone = isinstance(error, ConnectionError | http.client.IncompleteRead)
            result = _BROKEN if gone else NoAnswer("foreign", "its answer is not HTTP")
        except OSError:
            result = _BROKEN
        except ValueError:
            result = NoAnswer("foreign", "its answer is not HTTP")
        finally:
            cut.cancel()
        if time.monotonic() >= latest:  # to http.client an answer that was cut off may be an answer
            return NoAnswer("silent", f"no whole answer within {limit:g} s")
        return result

    def _send(self, connection: "http.client.HTTPConnection", question: Question) -> None:
        headers = {"Connection": "close"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key.decode('ascii')}"
        if isinstance(question, Probe):
            headers["Content-Type"] = "application/json"
            connection.request("POST", f"{self._place.prefix}/v1/chat/completions", _PROBE, headers)
        else:
            connection.request("GET", self._place.prefix + question.path, headers=headers)

    def _whole(self, answer: "http.client.HTTPResponse", text: bytes) -> Result:
        if 300 <= answer.status < 400:
            return NoAnswer("foreign", f"the server redirects (status {answer.status}), which is not followed")
        if len(text) > LARGEST:
            return NoAnswer("foreign", f"its answer is larger than {LARGEST >> 10} KiB")
        if answer.length:  # bytes that were announced and did not come
            return _BROKEN
        # Words of the server get into logs; it may repeat the key in them.
        return Answer(answer.status, text.replace(self._key, b"[key]") if self._key else text)


_BROKEN = NoAnswer("broken", "the server closed the connection before its answer was whole")

_UNWANTED = NoAnswer("broken", "agentd waits for its answer no more")


class _NoAddress(TimeoutError):
    """The end of the time for a lookup."""


def _look_up(lookup: "Future[list[_Target]]", host: str, port: int) -> None:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except Exception as error:  # noqa: BLE001 - is raised where the lookup is waited for
        if lookup.set_running_or_notify_cancel():
            lookup.set_exception(error)
    else:
        if lookup.set_running_or_notify_cancel():
            lookup.set_result([(family, kind, protocol, address) for family, kind, protocol, _, address in found])


def _cut_off(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the connection was closed already
        sock.shutdown(socket.SHUT_RDWR)


def _why(error: Exception) -> str:
    """Returns what went wrong with a connection, as the end of a sentence."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    return "its address cannot be used"
