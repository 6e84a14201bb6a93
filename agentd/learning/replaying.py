"""The replay of synthetic histories by a process beside the training, which loads its libraries meanwhile.

    python -P -m agentd.learning.replaying HISTORIES SEED LENGTH

stdout has the rows that synthetic.rows() yields, as one list in JSON.
"""

import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

from agentd.core.learning.learner import Row
from agentd.core.learning.weights import Unusable
from agentd.learning import synthetic

_NO_ROWS = "synthetic histories could not be replayed"


@contextmanager
def beside(histories: int, seed: int, length: float) -> Iterator[Iterator[Row]]:
    """Has histories replayed as by synthetic.rows(), and yields their rows, of which the first is waited for; the
    process ends with the block. Raises Unusable where the replay cannot begin or fails: then there is not one row."""
    arguments = (str(histories), str(seed), str(length))
    replay = (sys.executable, "-P", "-m", "agentd.learning.replaying", *arguments)
    try:
        child = subprocess.Popen(
            replay,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            process_group=0,  # Ctrl-C is the training's to answer
        )
    except OSError as error:
        raise Unusable(f"{_NO_ROWS}: {sys.executable} cannot be started: {error.strerror}") from None
    with child:
        try:
            yield _rows(child, " ".join(replay))
        finally:
            child.kill()


def _rows(child: subprocess.Popen[bytes], command: str) -> Iterator[Row]:
    """Yields the rows of a replay once all are there. Raises Unusable."""
    told, _ = child.communicate()
    if code := child.returncode:
        raise Unusable(f"{_NO_ROWS}: the process ended with {code}, expected 0; to see why: {command}")
    try:
        rows = msgspec.json.decode(told, type=list[Row])
    except msgspec.MsgspecError as error:
        raise Unusable(f"{_NO_ROWS}: expected a JSON list of rows: {error}; to see it: {command}") from None
    yield from rows


def main(arguments: Sequence[str]) -> int:
    """Writes the rows of a replay to stdout; returns the exit code. Ends early where nobody reads them any more: the
    training was killed."""
    # The kernel's own signal for that is out of reach: setpriv sets capabilities, which the training's unit forbids.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    reader = select.poll()
    reader.register(sys.stdout, 0)  # for no event but the error of a pipe without a reader
    histories, seed, length = arguments
    rows: list[Row] = []
    for some in synthetic.rows(int(histories), int(seed), float(length)):
        if reader.poll(0):
            return 1
        rows += some
    # All are replayed before the first is written: a pipe holds few, and the training takes them late.
    sys.stdout.buffer.write(msgspec.json.encode(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
