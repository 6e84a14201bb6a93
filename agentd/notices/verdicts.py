"""The fate of a message by what its server answered, or by how the way there failed: pure.

Every sentence is of agentd's own words, with the name of the server at most: answers and errors of libraries may have
the URL in them, and with that its secrets.
"""

import errno
import ipaddress
import re
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Literal, NamedTuple

MEND = 600.0  # seconds until a credential may have been mended
LONGEST_WAIT = 3600.0  # seconds that a server may ask for
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})+", re.IGNORECASE)
_PAGE = re.compile(rb"<!doctype html|<html[\s>]", re.IGNORECASE)
_REFUSED = {400, 413, 422}
_LATER = {408, 425}
_NO_ACCESS = {530, 534, 535, 538}  # of SMTP
_UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL}
_CERTIFICATES = {
    9: "is not valid yet",
    10: "has expired",
    18: "is self-signed",
    19: "is self-signed",
    20: "is of an unknown authority",
    21: "is of an unknown authority",
    62: "is another host's",
    64: "is another host's",
}
"""Errors of OpenSSL's verification."""


class Verdict(NamedTuple):
    """The fate of a message: sent, refused for good, or to be tried again, `after` so many seconds at least.

    `why` is a sentence. `page`: the status says that all is well, and the answer is a page for people. `mend`: nothing
    gets through before a person mends something.
    """

    became: Literal["sent", "again", "refused"]
    why: str = ""
    after: float = 0.0
    page: bool = False
    mend: bool = False


SENT = Verdict("sent")


def mend(why: str) -> Verdict:
    """Returns the verdict on what a person has to mend, most often the credential."""
    return Verdict("again", why, MEND, mend=True)


class Answer(NamedTuple):
    """An HTTP answer: from which host, its status, headers (names in small letters), and the first KiB of it."""

    host: str
    status: int
    headers: Mapping[str, str]
    start: bytes


def shown(host: str) -> str:
    """Returns how a sentence names a host. A word without a dot may be a token that was written in its place."""
    if host == "localhost" or _HOST.fullmatch(host):
        return host
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return "the server"


def of_answer(answer: Answer, now: int) -> Verdict:
    """Returns what an answer makes of a message."""
    who, status = shown(answer.host), answer.status
    wait = retry_after(answer.headers.get("retry-after", ""), now)
    if 200 <= status < 300:
        if _is_page(answer):
            return Verdict("again", f"{who} answered with a page for people, not as the service does", page=True)
        return SENT
    if 300 <= status < 400:
        return Verdict(
            "again",
            f"{who} redirects to another address (status {status}), which is not followed: correct the URL in the "
            "credential, unless the network asks for a login",
        )
    if status == 429:
        return Verdict("again", f"{who} takes no more messages for now (status 429)", wait)
    if status in _LATER or status >= 500:
        return Verdict("again", f"{who} cannot take the message now (status {status})", wait)
    if status in _REFUSED:
        return Verdict("refused", f"{who} refuses the message (status {status})")
    why = "denies access" if status in {401, 403, 407} else "knows no such address"
    return mend(f"{who} {why} (status {status}): correct the credential")


def _is_page(answer: Answer) -> bool:
    """Tells whether an answer is a page. That its type is HTML says little: some services call their "ok" so."""
    kind, start = answer.headers.get("content-type", "").lower(), answer.start.lstrip(b"\xef\xbb\xbf \t\r\n")
    return bool(_PAGE.search(start)) and ("html" in kind or start.startswith(b"<"))


def retry_after(text: str, now: int) -> float:
    """Returns the seconds that a server asks for, within an hour: a number, or a date; 0 where there is neither."""
    text = text.strip()
    if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", text):
        return min(float(text), LONGEST_WAIT)
    try:
        at = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0.0
    return min(max(at - now / 1e6, 0.0), LONGEST_WAIT)


def of_failure(error: BaseException, host: str) -> Verdict:
    """Returns what an error on the way to an HTTP server, or from there, makes of a message."""
    return Verdict("again", f"{shown(host)} {_failed(error)}")


def of_mail(error: BaseException, host: str, *, login: bool = False) -> Verdict:
    """Returns what an error of smtplib, at the login or elsewhere, makes of a message."""
    from smtplib import (  # noqa: PLC0415 - only where mail is sent
        SMTPConnectError,
        SMTPNotSupportedError,
        SMTPRecipientsRefused,
        SMTPResponseException,
        SMTPServerDisconnected,
    )

    who = shown(host)
    if isinstance(error, UnicodeError):  # of smtplib itself, before anything is sent
        what = "the password or the user has" if login else "an address or a name has"
        return mend(f"{what} signs that mail cannot send: correct the credential")
    if isinstance(error, SMTPRecipientsRefused):
        codes = [code for code, _ in error.recipients.values()]
        return _of_reply(who, "the recipient", min(codes, default=450))
    if isinstance(error, SMTPNotSupportedError):
        return mend(f"{who} does not offer what the credential asks for: correct the credential")
    if isinstance(error, SMTPConnectError):
        return Verdict("again", f"{who} takes no mail now (reply {error.smtp_code})")
    if isinstance(error, SMTPResponseException):
        return _of_reply(who, "the message", error.smtp_code)
    if isinstance(error, SMTPServerDisconnected) and login:  # so some say that they had enough of wrong passwords
        return mend(f"{who} closed the connection at the login: look at the credential")
    if isinstance(error, SMTPServerDisconnected):
        return Verdict("again", f"{who} closed the connection before it took the message")
    return Verdict("again", f"{who} {_failed(error)}")


def _of_reply(who: str, what: str, code: int) -> Verdict:
    if code in _NO_ACCESS:
        return mend(f"{who} denies access (reply {code}): correct the credential")
    if code >= 500:
        return Verdict("refused", f"{who} refuses {what} (reply {code})")
    return Verdict("again", f"{who} cannot take the message now (reply {code})")


def judged(delivered: bool | None, seen: Sequence[Verdict]) -> Verdict:
    """Returns the fate of a message by what apprise says of it, and what was seen of the requests that it made."""
    bad = [verdict for verdict in seen if verdict.became != "sent"]
    if delivered:
        return next((verdict for verdict in bad if verdict.page), SENT)
    if bad:
        return bad[-1]
    if seen:
        return mend("the service answered that it did not take the message: correct the credential")
    return mend("the service was not reached, and nothing tells why: look at the credential")


def _failed(error: BaseException) -> str:
    """Returns how a connection failed, as the end of a sentence."""
    kinds = [*_within(error)]
    for one in kinds:
        if isinstance(one, ssl.SSLCertVerificationError):
            return f"has a certificate that {_CERTIFICATES.get(one.verify_code, 'is not accepted')}"
    for one in kinds:
        if isinstance(one, socket.gaierror):
            return "cannot be found: no such name, or no network"
        if isinstance(one, ssl.SSLError):
            return "does not speak TLS as expected"
        if isinstance(one, TimeoutError):
            return "does not answer"
        if isinstance(one, ConnectionRefusedError):
            return "refuses connections"
        if isinstance(one, OSError) and one.errno in _UNREACHABLE:
            return "cannot be reached: there is no way through the network"
        if type(one).__name__ == "ProxyError":
            return "cannot be reached through the proxy"
    return "closed the connection before its answer was whole"


def _within(error: BaseException) -> Iterator[BaseException]:
    """Yields an error and those that it is made of; libraries put them into each other in more than one way."""
    found: list[BaseException] = []
    todo = [error]
    while todo and len(found) < 32:
        one = todo.pop(0)
        if any(one is other for other in found):
            continue
        found.append(one)
        inner = (one.__cause__, one.__context__, getattr(one, "reason", None), *one.args)
        todo += [each for each in inner if isinstance(each, BaseException)]
    yield from found
