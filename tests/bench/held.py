"""Runs agentd as `python -m agentd` does, with a clock on every callback of its loop.

At each SIGRTMIN it writes into the file $AGENTD_BENCH_HELD how many milliseconds the longest callback since the last
one took: of the thread's own CPU time, so that other work on the machine does not decide.
"""

import os
import signal
import sys
import time
from asyncio import events
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentd.__main__ import main

FILE = "AGENTD_BENCH_HELD"
ASK = signal.SIGRTMIN


class Clock:
    """The longest callback since somebody asked, in seconds."""

    def __init__(self) -> None:
        self.longest = 0.0

    def hold(self, run: Callable[[Any], None]) -> Callable[[Any], None]:
        """Returns what calls a callback as the loop's own `run` does, and takes its time."""

        def timed(handle: Any) -> None:
            begin = time.thread_time()
            run(handle)
            self.longest = max(self.longest, time.thread_time() - begin)

        return timed

    def tell(self, *_: object) -> None:
        """Writes the longest one down, and begins anew."""
        file = Path(os.environ[FILE])
        part = file.with_suffix(".part")
        part.write_text(str(1000 * self.longest))
        part.replace(file)
        self.longest = 0.0


if __name__ == "__main__":
    clock = Clock()
    events.Handle._run = clock.hold(events.Handle._run)  # type: ignore[assignment, method-assign]
    signal.signal(ASK, clock.tell)
    sys.exit(main())
