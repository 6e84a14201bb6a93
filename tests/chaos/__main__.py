"""Chaos: real standalone agentds under random faults, judged by what their own jobs wrote. See CONTRIBUTING.md."""

import argparse
import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from random import SystemRandom

from tests.chaos.life import live
from tests.chaos.profiles import PROFILES, Profile
from tests.chaos.report import Lag, Report, uptime
from tests.chaos.world import World

_MEMORY = Path("/dev/shm")
_ROOM = 1 << 30
_OWN_MOUNTS = "CHAOS_OWN_MOUNTS"
_MOUNTS = (
    ["unshare", "--mount", "--propagation", "private"],
    ["unshare", "--map-root-user", "--mount", "--propagation", "private"],  # root, but in a world of its own
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs it; returns 0, 1 where something was violated, 2 where the harness itself failed."""
    options = _parser().parse_args(arguments)
    if not os.environ.get(_OWN_MOUNTS) and (mount := _may_mount()):
        # Mounts of its own: they go with the last process in them, whatever happens.
        command = [*mount, sys.executable, "-m", "tests.chaos", *(sys.argv[1:] if arguments is None else arguments)]
        os.execvpe("unshare", command, {**os.environ, _OWN_MOUNTS: "1"})
    return Chaos(options).run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0, help="begin no fault after so long (120)")
    parser.add_argument("--seed", default="", help="repeats the faults of another time")
    parser.add_argument("--world", type=int, default=0, help="only the world of this number, for its whole life")
    parser.add_argument("--profile", default="", help=f"only worlds of one kind: {', '.join(p.name for p in PROFILES)}")
    parser.add_argument("--beside", type=int, default=8, help="so many worlds side by side (8)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes the counts and the violations there")
    return parser


def _may_mount() -> list[str]:
    """Returns the command under which file systems may be mounted here; empty where there is none."""
    for mount in _MOUNTS:
        with contextlib.suppress(OSError):
            test = [*mount, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
            if subprocess.run(test, check=False, capture_output=True).returncode == 0:
                return mount
    return []


class Chaos:
    """The worlds side by side, in a thread each, and what becomes of them."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._seed = options.seed or str(SystemRandom().randrange(1, 1_000_000))
        self._kept = Path(tempfile.mkdtemp(prefix="chaos-"))
        # In memory where there is room for it: what others do to the disk would only make everything slow here.
        room = _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM
        self._folder = Path(tempfile.mkdtemp(prefix="chaos-", dir=_MEMORY if room else None))
        self._report = Report()
        self._lag = Lag(self._folder)
        self._ending = threading.Event()
        self._failure: BaseException | None = None
        self._begin = time.monotonic()
        self._possible = {one.name for one in PROFILES if self._is_possible(one)}
        self._numbers = iter([options.world]) if options.world else itertools.count(1)
        self._taking = threading.Lock()

    def _is_possible(self, profile: Profile) -> bool:
        if profile.disk and not os.environ.get(_OWN_MOUNTS):
            self._report.skip(
                "full disks", "mounting is not permitted here: unshare --mount fails, with --map-root-user as well"
            )
            return False
        return self._options.profile in ("", profile.name)

    def run(self) -> int:
        """Runs the worlds until the time is over or somebody presses Ctrl-C; returns the exit code."""
        print(f"chaos: seed {self._seed}, {self._options.seconds:g} s; again: make chaos SEED={self._seed}", flush=True)
        if not self._possible:
            print("chaos: no world of that kind is possible here", file=sys.stderr)
            return 2
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._hurry())
        self._lag.start()
        beside = 1 if self._options.world else self._options.beside
        threads = [threading.Thread(target=self._worlds) for _ in range(beside)]
        for thread in threads:
            thread.start()
        self._wait(threads)
        return self._tell()

    def _hurry(self) -> None:
        if not self._ending.is_set():
            print("\nchaos: ending; every world is judged once more ...", file=sys.stderr)
        self._ending.set()

    def _over(self) -> bool:
        limited = not self._options.world and time.monotonic() - self._begin > self._options.seconds
        return self._ending.is_set() or limited

    def _worlds(self) -> None:
        """Has one world after another live."""
        while not self._over():
            with self._taking:
                number = next(self._numbers, None)
            if number is None:
                return
            profile = PROFILES[(number - 1) % len(PROFILES)]  # the number of a world says all about it
            if profile.name not in self._possible:
                continue
            try:
                world = World(self._folder, number, self._seed, profile, self._report, self._lag, self._kept)
                live(world, self._over)
            except BaseException as error:
                self._failure = error
                self._ending.set()
                raise

    def _wait(self, threads: Sequence[threading.Thread]) -> None:
        terminal, told = sys.stderr.isatty(), 0.0
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.2)
            passed = time.monotonic() - self._begin
            if passed - told < (1 if terminal else 30):
                continue
            told = passed
            done, starts = sum(self._report.faults.values()), self._report.counts["starts by the jobs' own word"]
            line = f"{passed:4.0f} s: {done} faults, {starts:,} starts, {len(self._report.violations)} violations"
            print(f"\r{line} " if terminal else line, end="" if terminal else "\n", file=sys.stderr, flush=True)
        if terminal:
            print(file=sys.stderr)

    def _tell(self) -> int:
        """Says what was counted and what was violated."""
        report = self._report
        print(report.table())
        late, cost = self._lag.worst(0, uptime()), self._lag.cost(0, uptime())
        print(f"           at worst the machine overslept by {late:.2f} s and took {cost:.2f} s to start a process")
        if report.violations:
            print(report.told())
        if self._options.json:
            about = {"seed": self._seed, "seconds": round(time.monotonic() - self._begin, 1)}
            self._options.json.write_text(json.dumps({**about, **report.as_json()}, indent=1))
        shutil.rmtree(self._folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            self._kept.rmdir()  # where nothing is in it
        if self._failure is not None:
            print(f"chaos: the harness failed: {type(self._failure).__name__}: {self._failure}", file=sys.stderr)
            return 2
        print(f"chaos: {len(report.violations) or 'nothing'} violated; seed {self._seed}", flush=True)
        return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
