"""A question to a server over HTTP: an answer of bounded time and size, or a sentence that says why there is none.

Everything here blocks, at most for TIMEOUT.

TLS takes its files from the folder of credentials: agentd.fleet-ca (without it the system's
authorities count), agentd.fleet-cert and agentd.fleet-key.
"""

import contextlib
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    import http.client
    import ssl

TIMEOUT = 30.0  # seconds for one question and its whole answer
TEXT = 200  # characters of a server's text in a sentence
CONFUSING = (msgspec.MsgspecError, ValueError, RecursionError)
"""The errors that decoding a server's JSON may raise."""
_T = TypeVar("_T")


class Unavailable(Exception):
    """A server cannot be asked or says no; the text is a sentence that names the server."""


class _Complaint(Struct):
    """The reason beside a status, as FleetLock (kind, value) and etcd (message, error) write reasons."""

    kind: str = ""
    value: str = ""
    message: str = ""
    error: str = ""


class Peer:
    """A server at a URL that answers POST requests.

    `kind` is what people call such a server, `largest` the bytes that an answer of it may have.
    """

    def __init__(self, kind: str, url: str, credentials: Path | None, largest: int) -> None:
        self._url = url.rstrip("/")
        self._kind = kind
        self._credentials = credentials
        self._largest = largest

    def __str__(self) -> str:
        return f"{self._kind} at {self._url}"

    def post(self, path: str, body: object, headers: dict[str, str]) -> tuple[int, bytes]:
        """Asks; returns the status and the body of the answer. Redirects are not followed. Raises Unavailable."""
        import http.client  # noqa: PLC0415 - a daemon without a fleet never loads it

        headers = {"Content-Type": "application/json", **headers}
        latest = time.monotonic() + TIMEOUT
        try:
            with contextlib.closing(self._connection()) as connection:
                connection.connect()
                # The socket's own timeout is for each byte; a server that sends one now and then is cut off.
                cut = threading.Timer(latest - time.monotonic(), _cut_off, (connection.sock,))
                cut.daemon = True
                cut.start()
                try:
                    connection.request("POST", urlsplit(self._url).path + path, msgspec.json.encode(body), headers)
                    with connection.getresponse() as answer:
                        text = answer.read(self._largest + 1)
                finally:
                    cut.cancel()
                if time.monotonic() >= latest:  # to http.client a head that was cut off is a head
                    raise TimeoutError
                return self._whole(answer, text)
        except (OSError, http.client.HTTPException, ValueError) as error:
            why = f"no whole answer within {TIMEOUT:g} s" if time.monotonic() >= latest else _why(error)
            raise Unavailable(f"{self} does not answer: {why}") from None

    def decode(self, text: bytes, kind: type[_T]) -> _T:
        """Returns the server's JSON as that type; numbers may be strings in it. Raises Unavailable."""
        try:
            return msgspec.json.decode(text, type=kind, strict=False)
        except CONFUSING:
            raise Unavailable(f"{self} answers something else than expected; is it {self._kind}?") from None

    def refusal(self, status: int, text: bytes, secrets: dict[str, str] | None = None) -> Unavailable:
        """Returns the server's no with its reason, in which secrets give way to their names."""
        complaint = _Complaint()
        with contextlib.suppress(*CONFUSING):
            complaint = msgspec.json.decode(text, type=_Complaint)
        reason = complaint.value or complaint.message or complaint.error or "no reason is given"
        kind = complaint.kind or f"status {status}"
        for name, secret in (secrets or {}).items():
            reason, kind = (said.replace(secret, f"[{name}]") for said in (reason, kind))
        return Unavailable(f"{self} refuses: {clip(reason)} ({clip(kind)})")

    def _whole(self, answer: "http.client.HTTPResponse", text: bytes) -> tuple[int, bytes]:
        """Returns the status and the body where the body is whole. Raises Unavailable, ConnectionError."""
        if 300 <= answer.status < 400:
            raise Unavailable(f"{self} redirects (status {answer.status}), which is not followed; correct the URL")
        if len(text) > self._largest:
            raise Unavailable(f"{self} answers more than {self._largest >> 10} KiB")
        if answer.status == 200 and answer.length is None and not answer.chunked:
            raise Unavailable(f"{self} does not say how long its answer is, so nobody can tell whether it is whole")
        if answer.length:  # bytes that were announced and did not come
            raise ConnectionError
        return answer.status, text

    def _connection(self) -> "http.client.HTTPConnection":
        import http.client  # noqa: PLC0415 - a daemon without a fleet never loads it

        parts = urlsplit(self._url)
        host = parts.hostname or ""
        if parts.scheme == "https":
            return http.client.HTTPSConnection(host, parts.port, timeout=TIMEOUT, context=self._tls())
        return http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT)

    def _tls(self) -> "ssl.SSLContext":
        """Returns how to speak TLS: with the system's authorities where no credential names one. Raises Unavailable."""
        import ssl  # noqa: PLC0415 - a daemon without a fleet does not need it

        names = ("agentd.fleet-ca", "agentd.fleet-cert", "agentd.fleet-key")
        try:
            authority, cert, key = (credential(self._credentials, name) for name in names)
            context = ssl.create_default_context(cafile=authority)
            if cert:
                # Without a password at hand OpenSSL would ask for one on the terminal.
                context.load_cert_chain(cert, key, password="")
        except OSError as error:
            why = f"of the credentials {', '.join(names)} one cannot be used: {_why(error)}"
            raise Unavailable(f"{self} was not asked: {why}") from None
        return context


def credential(folder: Path | None, name: str) -> Path | None:
    """Returns the file of a credential, or None where there is none. Raises OSError."""
    return folder / name if folder and (folder / name).exists() else None


def clip(text: str) -> str:
    """Returns a server's text, bounded and fit for one line."""
    return "".join(sign if sign.isprintable() else " " for sign in text[:TEXT]).strip()


def _cut_off(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the connection was closed already
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # an SSLSocket's own is not for use from another thread


def _why(error: Exception) -> str:
    """Returns what went wrong on the way, as the end of a sentence."""
    import ssl  # noqa: PLC0415 - a daemon without a fleet does not need it

    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {(error.reason or 'for an unknown reason').lower().replace('_', ' ')}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    if isinstance(error, ConnectionError):
        return "the server closed the connection before its answer was whole"
    return "the answer is not HTTP, or not whole"
