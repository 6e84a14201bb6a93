"""A ping as healthchecks.io takes it: it began, is over, failed, ended with a status; silence is what alarms."""

import http.client
import re
import ssl
import time
from urllib.parse import quote, urlsplit, urlunsplit
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request

from agentd.notices.verdicts import SENT, Answer, Verdict, mend, of_answer, of_failure

MOST = 100_000  # bytes of a body that healthchecks.io keeps
KINDS = ("start", "success", "fail", "log")
_TIMEOUT = 15.0  # seconds for each step
_START = 1 << 10  # bytes of an answer that are looked at
_RATE_LIMITED = 60.0  # seconds
_RUN = re.compile(r"[0-9A-Za-z-]{1,64}")


def address(url: str, ping: str | int, run: str) -> str | None:
    """Returns where a ping goes: a URL; None: the credential is none. Raises ValueError: there is no such ping."""
    if isinstance(ping, int):
        if not 0 <= ping <= 255:
            raise ValueError(f"expected an exit status from 0 to 255, not {ping}")
        end = f"/{ping}"
    elif ping in KINDS:
        end = "" if ping == "success" else f"/{ping}"
    else:
        raise ValueError(f"expected one of {', '.join(KINDS)}, or an exit status")
    if run and not _RUN.fullmatch(run):
        raise ValueError("expected letters, digits and hyphens as the id of a run")
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where there is none
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return None
    query = "&".join(text for text in (parts.query, f"rid={quote(run)}" if run else "") if text)
    path = quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=~")
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], path + end, query, ""))


def send(url: str, ping: str | int, run: str, body: str, *, dry: bool = False) -> Verdict:
    """Pings, unless it is `dry`; returns what became of it."""
    try:
        target = address(url, ping, run)
    except ValueError as error:
        return Verdict("refused", f"there is no such ping: {error}")
    if target is None:
        return mend("the credential is not the URL of a check (https://...): correct it")
    if dry:
        return SENT
    host = urlsplit(target).hostname or ""
    try:
        text = body.encode(errors="replace")[-MOST:]
        headers = {"Content-Type": "text/plain; charset=utf-8", "User-Agent": "agentd"}
        request = Request(target, text, headers)  # noqa: S310 - http or https
        with _opener().open(request, timeout=_TIMEOUT) as answer:
            start = answer.read(_START)
            headers = {name.lower(): value for name, value in answer.headers.items()}
    except (OSError, http.client.HTTPException, ValueError) as error:
        return of_failure(error, host)
    if 200 <= answer.status < 300 and b"not found" in start.lower():
        return mend("the server knows no such check: correct the credential")
    if 200 <= answer.status < 300 and b"rate limited" in start.lower():
        return Verdict("again", "the server takes no more pings for now", _RATE_LIMITED)
    return of_answer(Answer(host, answer.status, headers, start), time.time_ns() // 1000)


def _opener() -> OpenerDirector:
    """Returns what opens a URL, through the proxy of the environment where there is one; follows no redirection, and
    takes any status for an answer."""
    opener = OpenerDirector()
    for handler in (ProxyHandler(), HTTPHandler(), HTTPSHandler(context=ssl.create_default_context())):
        opener.add_handler(handler)
    return opener
