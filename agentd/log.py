"""Logging: fields for journald where systemd runs agentd, lines for people elsewhere.

Each kind of event has a fixed MESSAGE_ID, so that `journalctl MESSAGE_ID=...` finds the events of that kind for ever.
"""

import contextlib
import os
import sys
from collections.abc import Callable, MutableMapping
from typing import Any, TextIO, cast

from agentd.light import later, named

# structlog would import rich where it is installed, for tracebacks that this daemon never prints, 6.6 MiB, and look for
# twisted.
for _name in ("rich", "structlog.twisted"):
    sys.modules.setdefault(_name, None)  # type: ignore[arg-type]


def _made(module: str, name: str) -> Callable[..., Any]:
    """Returns what stands for a class whose instances are called, and loads its module when one is."""

    def make(*how: Any, **more: Any) -> Callable[..., Any]:
        return lambda *given: later(module, name)(*how, **more)(*given)  # noqa: PLW0108 - it is made only now

    return make


# What structlog makes as it is imported, for who does not configure it, and agentd has no use of: 0.6 MiB.
with named(
    {
        "json": {"dumps": later("json", "dumps")},
        "structlog.dev": {
            "ConsoleRenderer": _made("structlog.dev", "ConsoleRenderer"),
            "_has_colors": False,
            "set_exc_info": later("structlog.dev", "set_exc_info"),
        },
        "structlog.tracebacks": {"ExceptionDictTransformer": _made("structlog.tracebacks", "ExceptionDictTransformer")},
    }
):
    import structlog

MESSAGE_IDS = {
    "started": "81aa992023c94186af8a241414d2fdb5",
    "stopped": "f547d9dfd5c041ac9636b27ae281cf35",
    "configuration": "77817d7518ba41febb8554d7cab3c2d2",
    "configuration-refused": "86c287d5b26148659c2b685d578976ce",
    "asked": "216f982a68454a44a37ff38bd06b1be8",
    "refused": "b00fcc26fdf94b4088a532a73d4ffe6b",
    "decision": "e9d5d2aa7b4044e2beafcd4c17809e50",
    "run-started": "04271b922dcc4dbf8ba3a6c37a2a8ff3",
    "run-finished": "da0bf60b7c814fd799244de2ee42fccc",
    "run-failed": "55c6b0fe8c9746e680aefe80ce9fcbf9",
    "notice": "ec2a7fc2def9456da88bc8efa48030c9",
    "state-trouble": "945afe737e69425cb6faef85b1b30116",
    "peer-trouble": "5a7cd6cfed794519851bf83a2050b943",
    "reboot": "21f0f461a1aa40e3a51bdc63c542aca4",
    "rule-changed": "4a0c1a26e1164359903b61762308bdb5",
    "rule-acted": "ae75f3f1787342388d4a526b92e9dbd1",
    "interval": "52a77aef6ad0422ba78518c031f977f2",
    "network": "b795da9f95884214a6a4295466d7361f",
    "scheduler": "23af894dfce547caa6fc88f67a744b59",
    "message": "2130b036d5ca43f5a906bbfbe4f6c639",
    "self-test": "259aa01d668d4596ba724375c5abacd0",
    "defect": "6860b337fdb443eab24f95da2c038307",
}
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def setup(level: str = "info") -> None:
    """Sends the log to the journal when standard error is connected to it, else to standard error."""
    renderer = _Journal() if _in_journal() else _console
    structlog.configure(
        processors=[structlog.processors.add_log_level, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Unfailing())),
        cache_logger_on_first_use=True,
    )


class _Unfailing:
    """Standard error, except that a full disk or a closed terminal loses lines and stops nothing."""

    def write(self, text: str) -> None:
        # Past its buffer: text that is stuck there at the end makes Python 3.13 exit with 120.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            os.write(sys.stderr.fileno(), text.encode(errors="backslashreplace"))

    def flush(self) -> None:
        """Does nothing: no line is kept back."""


def _in_journal() -> bool:
    """Returns whether standard error is connected to the journal (systemd.exec(5), JOURNAL_STREAM)."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))


class _Journal:
    """Sends each event to journald with its fields in upper case, AGENTD_ before them."""

    def __init__(self) -> None:
        from systemd import journal  # noqa: PLC0415 - not needed on a terminal

        self._send = journal.send

    def __call__(self, _logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        fields = {f"AGENTD_{key.upper()}": str(value) for key, value in event.items() if key not in {"event", "id"}}
        fields.pop("AGENTD_LEVEL", None)
        if event.get("id") in MESSAGE_IDS:  # a test holds that every id is
            fields["MESSAGE_ID"] = MESSAGE_IDS[event["id"]]
        self._send(event["event"], PRIORITY=_PRIORITIES.get(method, 6), SYSLOG_IDENTIFIER="agentd", **fields)
        raise structlog.DropEvent


def _console(_logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
    """Returns the line for a person: the time, the level where it is unusual, the sentence."""
    stamp = structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)(None, method, {})["timestamp"]
    level = "" if method == "info" else f"{method}: "
    return f"{stamp} {level}{event['event']}"


def get() -> Any:
    """Returns the logger: log.info(sentence, id=a key of MESSAGE_IDS, job=..., run_id=...)."""
    return structlog.get_logger()
