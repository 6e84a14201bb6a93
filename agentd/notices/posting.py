"""A message by apprise, watched: apprise says yes or no, and what really happened is seen at the libraries below it."""

import contextlib
import re
import smtplib
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import apprise
import apprise.plugins
import requests
import requests.adapters
import requests.sessions

from agentd.notices.verdicts import SENT, Answer, Verdict, judged, mend, of_answer, of_failure, of_mail

_LARGEST = 1 << 20  # bytes of an answer
_START = 1 << 10  # bytes of an answer that are looked at
_CONNECT, _READ = "10", "20"  # seconds, where the URL says nothing: cto and rto
_LEAST = 20  # characters of a body, whatever the title leaves
_BYTES = {"ntfy": 4000, "ntfys": 4000}
"""A service that counts bytes: what is longer becomes a file there, or is refused."""
_KINDS = {"trouble": "FAILURE", "over": "SUCCESS", "news": "INFO"}
_FILES = {"mailto": "email", "pover": "pushover", "tgram": "telegram"}
"""The files of apprise's plugins whose name is not the schema's."""
_ASSET = {"async_mode": False, "interpret_emojis": False, "interpret_escapes": False}

Priority = Literal["low", "normal", "high"]
Sort = Literal["news", "trouble", "over"]


class Watch:
    """The verdicts on the requests that are made for the message in hand: put into `seen`, oldest first."""

    def __init__(self, seen: list[Verdict]) -> None:
        self.seen = seen

    def install(self) -> None:
        """Has every request that is made from now on in this process seen."""

        def note(verdict: Verdict) -> None:
            self.seen.append(verdict)

        class Adapter(_Adapter):
            """The adapter that each session of requests gets."""

            def __init__(self, *arguments: Any, **named: Any) -> None:
                super().__init__(*arguments, **named)
                self.note = note

        requests.sessions.HTTPAdapter = Adapter  # where sessions find it
        for name in ("__init__", "starttls", "login", "sendmail"):
            setattr(smtplib.SMTP, name, _watched(name, note))


class _Adapter(requests.adapters.HTTPAdapter):  # type: ignore[misc]
    """An adapter that reads each answer whole, within bounds, notes it, and lets none redirect."""

    note: Callable[[Verdict], None]

    def send(self, request: requests.PreparedRequest, *arguments: Any, **named: Any) -> requests.Response:
        """Sends. Raises RequestException, also for a redirection: on the way there a message is lost."""
        host = urlsplit(request.url or "").hostname or ""
        try:
            answer = super().send(request, *arguments, **named)
            body = _read(answer)
        except requests.RequestException as error:
            self.note(of_failure(error, host))
            raise
        headers = {name.lower(): value for name, value in answer.headers.items()}
        self.note(of_answer(Answer(host, answer.status_code, headers, body[:_START]), time.time_ns() // 1000))
        if answer.is_redirect:
            raise requests.ConnectionError("a redirection")
        return answer


def _read(answer: requests.Response) -> bytes:
    """Reads an answer, so that one which ends in the middle is seen here. Raises RequestException."""
    body = b""
    for chunk in answer.iter_content(1 << 16):
        body += chunk
        if len(body) > _LARGEST:
            answer.close()
            raise requests.ConnectionError("an answer without end")
    answer._content = body  # noqa: SLF001 - what requests itself puts there when it reads
    return body


def _watched(name: str, note: Callable[[Verdict], None]) -> Callable[..., Any]:
    """Returns a method of smtplib.SMTP that notes how it failed, or that a message was taken."""
    method = getattr(smtplib.SMTP, name)

    @wraps(method)
    def watched(self: Any, *arguments: Any, **named: Any) -> Any:
        try:
            result = method(self, *arguments, **named)
        except (smtplib.SMTPException, OSError, ValueError) as error:
            host = getattr(self, "_host", "") or (arguments[0] if arguments else named.get("host", ""))
            note(of_mail(error, str(host), login=name == "login"))
            raise
        if name == "sendmail":
            note(SENT)
        return result

    return watched


def send(watch: Watch, url: str, *, title: str, body: str, priority: Priority, sort: Sort, dry: bool) -> Verdict:
    """Sends a message to whom the URL names, unless it is `dry`; returns what became of it."""
    service = _service(url, priority)
    if service is None:
        return mend("apprise knows no such URL: correct the credential")
    if dry:
        return SENT
    schema = str(service.schema)
    if schema == "discord":
        body = re.sub("@(?=everyone|here)", "@\u200b", body)  # output wakes nobody
    body = fit(body, _room(service, title), _BYTES.get(schema))
    if not body.strip():  # apprise sends nothing without a body, and a mail wants a subject
        title, body = title if schema.startswith("mailto") else "", title or "(no text)"
    one = apprise.Apprise(asset=service.asset)
    one.add(service)
    delivered = one.notify(
        title=title,
        body=body,
        notify_type=getattr(apprise.NotifyType, _KINDS[sort]),
        body_format=apprise.NotifyFormat.TEXT,
    )
    return judged(delivered, watch.seen)


def _service(url: str, priority: Priority) -> Any:
    """Returns apprise's object for a URL; None: apprise knows none. What the URL itself says counts, but for a priority
    that is not the normal one."""
    if schema := re.match("([a-z0-9]+)://", url.lower()):
        _load(schema[1])
    asset = apprise.AppriseAsset(storage_mode=apprise.PersistentStoreMode.MEMORY, secure_logging=True, **_ASSET)
    found: Mapping[str, Any] | None = apprise.plugins.url_to_dict(url, secure_logging=True)
    if not found:
        return None
    own = {"format": "text", "overflow": "truncate", "cto": _CONNECT, "rto": _READ}
    said = found.get("qsd") or {}
    options = {**found, **{name: value for name, value in own.items() if name not in said}}
    options["overflow"] = "truncate"  # one message is one
    service = _made(options, asset)
    if priority == "normal" or service is None or "priority" not in service.template_args:
        return service
    return _made({**options, "priority": priority}, asset) or service


def _load(schema: str) -> None:
    """Has apprise load the plugin of a schema alone: all its 190 are half the work of a message and 11 MiB. Where the
    file of the plugin cannot be told by the schema, apprise loads all by itself."""
    manager = apprise.plugins.N_MGR
    if manager:  # it has loaded some
        return
    plugins = Path(apprise.plugins.__file__).parent
    for word in dict.fromkeys((schema, schema.removesuffix("s"))):
        name = _FILES.get(word, word)
        if not any((plugins / file).exists() for file in (f"{name}.py", f"{name}/__init__.py")):
            continue
        with contextlib.suppress(OSError), tempfile.TemporaryDirectory() as folder:
            Path(folder, f"{name}.py").touch()  # the manager takes the names of modules from a folder
            manager.load_modules(path=folder, name=manager.module_name_prefix)
            if schema in manager:
                return
        manager.unload_modules()


def _made(options: dict[str, Any], asset: Any) -> Any:
    return apprise.Apprise.instantiate(dict(options), asset=asset, suppress_exceptions=True)


def _room(service: Any, title: str) -> int:
    """Returns the characters that a service has for the body beside a title."""
    room = int(service.body_maxlen) - int(service.overflow_buffer)
    if service.title_maxlen <= 0:
        room -= len(title) + 8
    elif service.overflow_amalgamate_title:
        room -= int(service.title_maxlen)
    return max(room, _LEAST)


def fit(text: str, characters: int, octets: int | None = None) -> str:
    """Returns a text of at most so many characters, and bytes: its beginning, and more of its end."""
    while len(text) > characters or (octets is not None and len(text.encode(errors="replace")) > octets):
        if octets is not None:  # as many characters as there are bytes at worst
            size = len(text.encode(errors="replace"))
            characters = min(characters, max(_LEAST, len(text) * octets // size - 1)) if size > octets else characters
        left_out = "\n[...]\n" if characters > 3 * _LEAST else ""
        head = characters // 3 if left_out else 0
        tail = characters - head - len(left_out)
        text = text[:head] + left_out + text[-tail:]
        if octets is not None and characters <= _LEAST:
            break
    return text
