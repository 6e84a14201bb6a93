"""A disk that is really full: agentd's own copies of output never stop the schedule, and a crash starts again."""

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bus.harness import Agentd

DISK = 2800 << 10  # bytes
CHATTY = """
jobs:
  chatty: {run: 'head -c 900000 /dev/zero | tr "\\0" "y"; echo', when: {every: 2s}}
  other: {run: "date +%T >> OTHER", when: {every: 1s}, missed: skip}
"""


class Disk:
    """A small disk of its own that an agentd has its state on."""

    def __init__(self, agentd: Agentd) -> None:
        agentd.state.mkdir()
        mount = f"mount -t tmpfs -o size={DISK},mode=700 tmpfs {agentd.state} && echo && exec sleep infinity"
        self._holder = subprocess.Popen(["unshare", "-m", "sh", "-c", mount], stdout=subprocess.PIPE)
        assert self._holder.stdout is not None
        with self._holder.stdout as mounted:
            done = mounted.readline()
        if not done:
            self._holder.wait()
            pytest.skip("no disk can be mounted here: that takes root")
        self.folder = Path(f"/proc/{self._holder.pid}/root{agentd.state}")
        agentd.within = ("nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", f"--wd={Path.cwd()}")

    def fill(self, leave: int = 0) -> None:
        """Fills the disk with somebody else's file."""
        with (
            contextlib.suppress(OSError),  # agentd was faster and took the last of it
            (self.folder / "foreign").open("ab", buffering=0) as file,
        ):
            while (disk := os.fstatvfs(file.fileno())).f_bavail * disk.f_frsize > leave:
                file.write(b"x" * 4096)

    @contextlib.contextmanager
    def hogged(self) -> Iterator[None]:
        """Has somebody else take all room at once, also what is given up meanwhile."""
        over = threading.Event()

        def hog() -> None:
            while not over.wait(0.001):
                self.fill()

        other = threading.Thread(target=hog)
        other.start()
        try:
            yield
        finally:
            over.set()
            other.join()

    def free(self) -> None:
        (self.folder / "foreign").unlink()

    def outputs(self) -> dict[str, int]:
        return {file.name: file.stat().st_size for file in (self.folder / "output").iterdir()}

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()


@pytest.fixture
def disk(agentd: Agentd) -> Iterator[Disk]:
    disk = Disk(agentd)
    yield disk
    disk.close()


def count(file: Path) -> int:
    return len(file.read_text().splitlines()) if file.exists() else 0


def test_kept_output_never_stops_the_schedule(agentd: Agentd, disk: Disk) -> None:
    other = agentd.folder / "other"
    agentd.start(CHATTY.replace("OTHER", str(other)))
    agentd.until(lambda: len(agentd.runs(job=("s", "chatty"))) > 6, "more output than there is room for", 60)
    before = count(other)
    agentd.until(lambda: count(other) > before + 2, "the other job to go on", 30)
    assert not [text for text in agentd.property("Manager.Warnings") if "cannot be stored" in text]
    tails = [run["tail"] for run in agentd.runs(job=("s", "chatty"), tail=("b", True)) if run["state"] == "ended"]
    assert any("keeps no more of this output: the disk is almost full" in tail for tail in tails)
    assert any("almost full: no output of runs is kept" in text for text in agentd.property("Manager.Warnings"))


def test_when_the_state_cannot_be_stored_the_oldest_output_goes_first(agentd: Agentd, disk: Disk) -> None:
    other = agentd.folder / "other"
    agentd.start(CHATTY.replace("every: 2s", "boot: 0s").replace("OTHER", str(other)))
    for _ in range(2):
        agentd.ctl("run", "chatty", "--wait")
    names = sorted(disk.outputs(), key=lambda name: int(name.split(".")[1]))
    assert len(names) >= 2
    disk.fill()
    before = count(other)
    agentd.until(lambda: names[0] not in disk.outputs(), "the oldest output to go", 60)
    agentd.until(lambda: count(other) > before + 1, "the schedule to go on", 60)
    assert "old output of runs is removed" in agentd.log.read_text()


def test_a_crash_on_a_full_disk_is_followed_by_an_agentd_that_says_so(agentd: Agentd, disk: Disk) -> None:
    other = agentd.folder / "other"
    config = f"jobs:\n  other: {{run: 'date >> {other}', when: {{every: 1s}}, missed: skip}}\n"
    agentd.start(config)
    agentd.until(lambda: count(other) > 1, "something to have run")
    for _ in range(3):
        agentd.kill()
        disk.fill()
        with disk.hogged():
            agentd.start()
        disk.fill()  # also what was given up since
        agentd.until(lambda: any("cannot be stored" in text for text in agentd.property("Manager.Warnings")),
                     "the trouble to be told", 60)  # fmt: skip
        stood = count(other)
        assert len(agentd.runs()) >= 2  # what there is can be read
    disk.free()
    agentd.until(lambda: count(other) > stood + 1, "the schedule to go on", 60)
    assert not agentd.property("Manager.Warnings")
    assert agentd.stop() == 0


def test_an_agentd_that_was_stopped_starts_on_a_full_disk(agentd: Agentd, disk: Disk) -> None:
    """After a stop in peace there is no -shm, and none can be made."""
    other = agentd.folder / "other"
    agentd.start(f"jobs:\n  other: {{run: 'date >> {other}', when: {{every: 1s}}, missed: skip}}\n")
    agentd.until(lambda: count(other) > 1, "something to have run")
    assert agentd.stop() == 0
    (disk.folder / "reserve").unlink(missing_ok=True)
    disk.fill()
    with disk.hogged():
        agentd.start()
    agentd.until(lambda: any("cannot be stored" in text for text in agentd.property("Manager.Warnings")),
                 "the trouble to be told", 60)  # fmt: skip
    assert len(agentd.runs()) >= 2
    stood = count(other)
    disk.free()
    agentd.until(lambda: count(other) > stood + 1, "the schedule to go on", 60)
    assert len(agentd.runs()) >= 2


def test_the_wal_stays_small(agentd: Agentd, disk: Disk) -> None:
    jobs = "".join(f"  j{number}: {{run: 'true', when: {{every: 1s}}}}\n" for number in range(20))
    agentd.start(f"jobs:\n{jobs}")
    until = time.monotonic() + 15
    largest = 0
    while time.monotonic() < until:
        largest = max(largest, (disk.folder / "agentd.db-wal").stat().st_size)
        time.sleep(0.2)
    assert len(agentd.runs()) > 100
    assert largest < 2500 << 10
    assert not agentd.property("Manager.Warnings")
