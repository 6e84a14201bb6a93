"""The program that brings messages to people, apart from the daemon: it has the credentials and the network.

    python -P -m agentd.notices.courier CREDENTIAL --folder DIR

DIR/CREDENTIAL.json is what agentd hands out: {"version": 1, "channel": "phone", "messages": [{"id": 17, "title": "...",
"body": "...", "priority": "high", "sort": "trouble"}, ...]}; a message with "ping" ("start", "success", "fail", "log"
or an exit status) and "run" is a ping; one with "dry" is not sent, only whether it could be is looked at.
DIR/CREDENTIAL.told gets a line as soon as one is known: {"id": 17, "became": "sent"}, or "refused" with "why", or
"again" with "why", "after" (seconds) and "mend" (a person has to); that is on the disk before the next message goes.
After the first "again" the courier ends, so that the order is kept. Whoever reads .told takes it away: what it tells to
be sent or refused is not sent anew.

Exit codes: 0 every line was written, 1 it could not be (with a sentence on stderr), 2 bad usage. The credential stands
in no argument, environment, sentence or file of this program.
"""

import argparse
import contextlib
import faulthandler
import fcntl
import logging
import os
import re
import resource
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import msgspec

from agentd.notices import credentials
from agentd.notices.bag import Bag, Letter, Told
from agentd.notices.verdicts import Verdict, mend

PATIENCE = 30.0  # seconds for one message
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_LARGEST = 16 << 20  # bytes of either file
_NOT_DUMPABLE = 4  # PR_SET_DUMPABLE


class Failed(Exception):
    """The courier cannot do its work; the text is a sentence."""


Deliver = Callable[[Letter], Verdict]


def main(arguments: Sequence[str] | None = None) -> int:
    """Delivers; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        bag = _read(options.folder / f"{options.credential}.json")
        with _Tale(options.folder / f"{options.credential}.told") as tale:
            _deliver_all(bag, tale, options.credential, options.patience)
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("agentd.notices.courier", description="Brings messages of agentd to people.")
    parser.add_argument("credential", type=_name, metavar="CREDENTIAL", help="the name of the credential")
    parser.add_argument("--folder", type=Path, required=True, metavar="DIR", help="the folder of the messages")
    parser.add_argument("--patience", type=float, default=PATIENCE, metavar="SECONDS", help="for one message")
    return parser


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(text)
    return text


def _read(file: Path) -> Bag:
    """Returns the messages that were handed out. Raises Failed."""
    try:
        with file.open("rb") as opened:
            return msgspec.json.decode(opened.read(_LARGEST), type=Bag)
    except OSError as error:
        raise Failed(f"{file} cannot be read: {(error.strerror or '').lower()}") from None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise Failed(f"{file} is not what agentd hands out: expected JSON of version 1 with messages") from None


class _Tale:
    """The file in which the courier tells what became of messages. `ended` are those that it tells the end of."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.ended: set[int] = set()
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            # agentd, which is another user, reads the file; nobody else may enter the folder.
            self._descriptor = os.open(file, flags, 0o644)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)  # agentd reads when no courier writes any more
            before = os.pread(self._descriptor, _LARGEST, 0)
            if before and not before.endswith(b"\n"):  # the machine ended while a line was written
                os.write(self._descriptor, b"\n")
        except OSError as error:
            raise self._failed(error) from None
        for line in before.splitlines():
            with contextlib.suppress(msgspec.MsgspecError, ValueError):
                told = msgspec.json.decode(line, type=Told)
                if told.became != "again":
                    self.ended.add(told.id)

    def tell(self, told: Told) -> None:
        """Writes a line, which is on the disk when this returns. Raises Failed."""
        line = msgspec.json.encode(told) + b"\n"
        try:
            if os.write(self._descriptor, line) != len(line):
                raise Failed(f"{self._file} cannot be written: the disk is full")
            os.fsync(self._descriptor)
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> Failed:
        return Failed(f"{self._file} cannot be written: {(error.strerror or '').lower()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _deliver_all(bag: Bag, tale: _Tale, name: str, patience: float) -> None:
    """Delivers one message after another, until one is to be tried again. Raises Failed."""
    seen: list[Verdict] = []
    deliver = _courier(name, seen)
    for letter in bag.messages:
        if letter.id in tale.ended:
            continue
        verdict = _within(patience, deliver, letter, seen)
        tale.tell(Told(letter.id, verdict.became, verdict.why, verdict.after or None, verdict.mend))
        if verdict.became == "again":
            return


def _within(patience: float, deliver: Deliver, letter: Letter, seen: list[Verdict]) -> Verdict:
    """Returns what became of a message, within so many seconds: a thread that still waits ends with the program.

    `seen` is where what delivers notes what it saw on the way.
    """
    seen.clear()
    verdicts: list[Verdict] = []

    def work() -> None:
        try:
            verdicts.append(deliver(letter))
        except BaseException as error:  # noqa: BLE001 - a traceback may have the URL in it
            why = f"the courier failed ({type(error).__name__}), which is a defect: please report it"
            verdicts.append(mend(why))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(patience)
    if verdicts:
        return verdicts[0]
    bad = [verdict for verdict in seen if verdict.became == "again"]
    return bad[-1] if bad else Verdict("again", f"there was no whole answer within {patience:g} s")


def _courier(name: str, seen: list[Verdict]) -> Deliver:
    """Returns what delivers a message with a credential; where that cannot be used, what says so."""
    try:
        url = credentials.read(name)
    except credentials.Unusable as error:
        unusable = mend(str(error))
        return lambda _: unusable
    posted: list[Deliver] = []

    def deliver(letter: Letter) -> Verdict:
        if letter.ping is not None:
            from agentd.notices import pinging  # noqa: PLC0415 - a message needs no ping

            return pinging.send(url, letter.ping, letter.run, _plain(letter.body), dry=letter.dry)
        if not posted:
            posted.append(_poster(url, seen))
        return posted[0](letter)

    return deliver


def _poster(url: str, seen: list[Verdict]) -> Deliver:
    """Returns what delivers a message by apprise."""
    try:
        from agentd.notices import posting  # noqa: PLC0415 - a ping needs none of it
    except ImportError as error:
        what = "apprise" if (error.name or "").partition(".")[0] == "apprise" else "what apprise needs"
        missing = mend(f"{what} is not installed (apt install apprise)")
        return lambda _: missing
    watch = posting.Watch(seen)
    watch.install()
    return lambda letter: posting.send(
        watch,
        url,
        title=" ".join(_plain(letter.title).split()),
        body=_plain(letter.body),
        priority=letter.priority,
        sort=letter.sort,
        dry=letter.dry,
    )


def _plain(text: str) -> str:
    """Returns a text without what is no sign of it: control characters, colours of terminals."""
    text = re.sub(r"\x1b\[[0-9;:?]*[ -/]*[@-~]", "", text.replace("\r\n", "\n"))
    return "".join(sign for sign in text if sign in "\n\t" or not (sign < " " or "\x7f" <= sign <= "\x9f"))


def _silence() -> None:
    """Keeps the secret in: libraries log nothing, nothing prints a traceback, and no memory is written to a disk."""
    import ctypes  # noqa: PLC0415 - only where this is the program

    ctypes.CDLL(None).prctl(_NOT_DUMPABLE, 0, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.disable()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    sys.excepthook = lambda *_: print("the courier failed, which is a defect: please report it", file=sys.stderr)
    threading.excepthook = lambda _: None
    sys.unraisablehook = lambda _: None
    os.environ["NETRC"] = os.devnull  # else requests looks for passwords in the home


if __name__ == "__main__":
    _silence()
    _code = main()
    sys.stderr.flush()
    os._exit(_code)  # what still waits for a server ends here
