"""The configuration read in a process of its own, which takes along what reading needs.

In the daemon itself YAML and the decoders would stay, 1.3 MiB, and the nodes of the files: 5 KiB a job, for among
them lies what is kept of the job. And while a large configuration is read again, the loop is free.

What was read comes back as MessagePack and is decoded by type.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec.structs import replace

from agentd.config.files import SYSTEM_DIRECTORIES, Loaded, load, path_of
from agentd.config.problems import Problem, Problems
from agentd.core.config import Config
from agentd.core.schedulers.settings import Choice


class Unread(Problems):
    """The process that reads the configuration has ended without an answer."""

    def __init__(self, given: Path | None, why: str) -> None:
        where = str(given or SYSTEM_DIRECTORIES[-1])
        super().__init__([Problem(where, 0, 0, f"cannot be read: the process that reads it {why}; try again")])


class _Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer of the process: a Loaded, or problems. A text that names files is bytes: names need not be UTF-8."""

    config: Config | None = None
    files: tuple[bytes, ...] = ()
    names_zone: bool = False
    warnings: tuple[str, ...] = ()
    texts: tuple[bytes, ...] = ()
    errors: bytes = b""
    accepted: int = 0
    problems: tuple[tuple[bytes, int, int, bytes], ...] = ()
    defect: bytes = b""


def begin(given: Path | None, read: Callable[[], Loaded]) -> Callable[[], Loaded]:
    """Begins to read, beside what this process does meanwhile; returns what waits for the end of that.

    The latter returns what `read` returns, and raises Problems as `read` does, and Unread. For a process without other
    threads, that is for a start.
    """
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            os.close(ours)
            _write(theirs, _answer(read))
            code = 0
        finally:
            os._exit(code)
    os.close(theirs)

    def wait() -> Loaded:
        with open(ours, "rb") as pipe:  # noqa: PTH123 - a descriptor
            answer = pipe.read()
        return _taken(given, answer, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    return wait


def reload(given: Path | None) -> Loaded:
    """Reads the configuration by a new process, and waits for its end. Raises Problems, Unread."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "agentd.config.apart", "" if given is None else str(given)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            check=False,
            process_group=0,  # Ctrl-C is for the daemon alone
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},  # the same modules as here
        )
    except OSError as error:
        raise Unread(given, f"cannot be started: {(error.strerror or str(error)).lower()}") from None
    return _taken(given, done.stdout, done.returncode)


def main() -> None:
    """Reads the configuration at the path of the first argument, "" for the system's folders, for whoever waits."""
    given = Path(sys.argv[1]) if sys.argv[1] else None
    _write(sys.stdout.fileno(), _answer(lambda: load(given)))


def _answer(read: Callable[[], Loaded]) -> bytes:
    """Returns what `read` returns or raises."""
    with contextlib.suppress(OSError):  # where memory runs out, this process goes first, and not the daemon
        Path("/proc/self/oom_score_adj").write_text("500")
    try:
        loaded = read()
    except Problems as error:
        problems = ((_bytes(one.file), one.line, one.column, _bytes(one.message)) for one in error.found)
        answer = _Answer(problems=tuple(problems))
    except Exception as error:  # noqa: BLE001 - the daemon tells of every defect
        answer = _Answer(defect=_bytes(f"{type(error).__name__}: {error}"))
    else:
        answer = _Answer(
            config=loaded.config,
            files=tuple(map(_bytes, loaded.files)),
            names_zone=loaded.names_zone,
            warnings=loaded.warnings,
            texts=loaded.texts,
            errors=_bytes(loaded.errors),
            accepted=loaded.accepted,
        )
    return msgspec.msgpack.encode(answer)


def _write(descriptor: int, answer: bytes) -> None:
    with open(descriptor, "wb") as pipe:
        pipe.write(answer)


def _taken(given: Path | None, data: bytes, code: int) -> Loaded:
    """Returns or raises what the process answered that ended with this exit code. Raises Unread where it did not."""
    if code:
        raise Unread(given, f"was ended by a signal ({signal.strsignal(-code)})" if code < 0 else f"ended with {code}")
    try:
        answer = msgspec.msgpack.decode(data, type=_Answer)
    except msgspec.MsgspecError as error:
        raise Unread(given, f"answered what agentd does not understand: {error}") from None
    if answer.config is None:
        if answer.defect:
            raise Unread(given, f"has a defect: {_text(answer.defect)}")
        raise Problems([Problem(_text(one[0]), one[1], one[2], _text(one[3])) for one in answer.problems])
    return Loaded(
        _typed(answer.config),
        files=tuple(map(_text, answer.files)),
        names_zone=answer.names_zone,
        warnings=answer.warnings,
        given=path_of(given),
        texts=answer.texts,
        errors=_text(answer.errors),
        accepted=answer.accepted,
    )


def _typed(config: Config) -> Config:
    """Returns a configuration whose jobs have the schedulers that they want as Choices: their section cannot name that
    type, which is of a part after theirs."""
    wanted = {
        name: replace(job, scheduler=msgspec.convert(job.scheduler, Choice))
        for name, job in config.jobs.items()
        if job.scheduler is not None
    }
    return replace(config, jobs=config.jobs | wanted) if wanted else config


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


def _text(data: bytes) -> str:
    return data.decode(errors="surrogatepass")


if __name__ == "__main__":
    main()
