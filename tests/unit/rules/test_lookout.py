"""The looks at sources: at once, on a thread and over a bus, and none that keeps the others waiting."""

import asyncio
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from agentd.core.rules.kpis import Missing
from agentd.core.rules.model import Gone, Source
from agentd.rules import lookout as looking
from agentd.rules.lookout import AGE, Lookout


class Sources:
    """Sources that count how often they are asked, on a loop whose clock stands still."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.late = 0.0
        self.hangs = threading.Event()
        self.hangs.set()
        self.hanging = {"/", "/none"}
        self.defects: list[str] = []
        glances = {"memory": self._of("memory"), "agent": self._broken, "load": self._of("load"), "oom": self._nothing}
        looks, asks = (
            {"disk": self._of("disk"), "temperature": self._broken},
            {"units": self._ask, "unit": self._misask},
        )
        self.lookout = Lookout(glances, looks, asks, "first", lambda: 0, self._defect, {"load", "oom"})

    def _of(self, name: str) -> Callable[[str], Any]:
        def look(instance: str) -> str:
            self.asked[name + instance] += 1
            if instance in self.hanging:
                self.hangs.wait(20)
            if instance == "/none":
                raise Missing("there is no such path")
            return f"{name}{instance} {self.asked[name + instance]}"

        return look

    def _nothing(self, _: str) -> None:
        self.asked["oom"] += 1
        raise Missing("the kernel does not count them")

    async def _ask(self, _: str) -> str:
        self.asked["units"] += 1
        return "units"

    def _broken(self, _: str) -> None:
        raise FileNotFoundError(2, "No such file or directory", "/nowhere")

    async def _misask(self, _: str) -> None:
        next(iter(()))

    def _defect(self, where: str, error: BaseException) -> None:
        self.defects.append(f"{where}: {type(error).__name__}")

    def look(self, *sources: Source, times: int = 1, every: float = 0.0) -> list[dict[Source, Any]]:
        async def run() -> list[dict[Source, Any]]:
            loop, found = asyncio.get_running_loop(), []
            real = loop.time
            loop.time = lambda: real() + self.late  # type: ignore[method-assign] # no test waits for real seconds
            for _ in range(times):
                found.append(await self.lookout.look(sources))
                self.late += every
            if not self.hangs.is_set():
                self.lookout.close()  # while its loop runs
                self.hangs.set()
            return found

        return asyncio.run(run())


@pytest.fixture
def sources() -> Any:
    found = Sources()
    yield found
    found.lookout.close()


MEMORY, DISK, NONE, UNITS = Source("memory"), Source("disk", "/"), Source("disk", "/none"), Source("units")


def test_each_source_is_asked_where_it_is_to_be_asked(sources: Sources) -> None:
    (found,) = sources.look(MEMORY, DISK, NONE, UNITS, Source("fairies"))
    assert found == {
        MEMORY: "memory 1",
        DISK: "disk/ 1",
        NONE: Gone("there is no such path"),
        UNITS: "units",
        Source("fairies"): Gone("agentd does not look at that here"),
    }


def test_a_thread_looks_no_more_often_than_every_few_seconds_but_at_each_look_of_the_usual_period(
    sources: Sources,
) -> None:
    found = sources.look(MEMORY, DISK, NONE, UNITS, times=10, every=1.0)
    assert [look[MEMORY] for look in found] == [f"memory {number}" for number in range(1, 11)]
    assert [look[DISK] for look in found] == ["disk/ 1"] * 5 + ["disk/ 2"] * 5
    assert (sources.asked["units"], sources.asked["disk/none"]) == (10, 2)
    assert AGE < 5
    assert [look[DISK] for look in sources.look(DISK, times=3, every=5.0)] == ["disk/ 3", "disk/ 4", "disk/ 5"]


def test_who_is_near_is_looked_at_at_once_and_no_more_often(sources: Sources) -> None:
    far = Source("disk", "/srv")
    sources.hanging = set()
    threads: dict[str, set[int]] = {"/": set(), "/srv": set()}

    def look(instance: str) -> str:
        sources.asked[instance] += 1
        threads[instance].add(threading.get_ident())
        return f"disk{instance} {sources.asked[instance]}"

    near = DISK.__eq__
    sources.lookout = Lookout({}, {"disk": look}, {}, "first", lambda: 0, sources._defect, near=near)
    found = sources.look(DISK, far, times=10, every=1.0)
    assert [seen[DISK] for seen in found] == ["disk/ 1"] * 5 + ["disk/ 2"] * 5
    assert [seen[far] for seen in found] == ["disk/srv 1"] * 5 + ["disk/srv 2"] * 5
    assert threads["/"] == {threading.get_ident()}
    assert threading.get_ident() not in threads["/srv"]


def test_what_seldom_changes_is_glanced_at_every_few_seconds(sources: Sources) -> None:
    load, oom = Source("load"), Source("oom")
    found = sources.look(MEMORY, load, oom, times=11, every=0.5)
    assert [look[load] for look in found] == ["load 1"] * 9 + ["load 2"] * 2
    assert [look[MEMORY] for look in found] == [f"memory {number}" for number in range(1, 12)]
    assert {look[oom] for look in found} == {Gone("the kernel does not count them")}
    assert sources.asked["oom"] == 2


def test_who_hangs_keeps_nobody_else_and_is_not_asked_again(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "PATIENCE", 0.05)
    sources.hangs.clear()
    first, second = sources.look(DISK, UNITS, times=2, every=10.0)
    assert (first[UNITS], second[UNITS]) == ("units", "units")
    assert first[DISK] == Gone("no answer for 0 s")
    assert second[DISK] == Gone("no answer for 10 s")
    assert sources.asked["disk/"] == 1


def test_however_many_mounts_hang_the_others_and_the_witness_are_seen(
    sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "PATIENCE", 0.05)
    nets = [Source("disk", f"/net/{number}") for number in range(5)]
    sources.hanging = {net.instance for net in nets}
    sources.hangs.clear()

    async def run() -> tuple[dict[Source, Any], str]:
        found = await sources.lookout.look([*nets, DISK])
        witness = await asyncio.wait_for(sources.lookout.on_thread(lambda: "top"), 5)
        sources.lookout.close()
        return found, witness

    try:
        found, witness = asyncio.run(run())
    finally:
        sources.hangs.set()
    assert (found[DISK], witness) == ("disk/ 1", "top")
    assert all(found[net] == Gone("no answer for 0 s") for net in nets)


def test_who_is_known_to_hang_is_not_waited_for_until_it_answers(
    sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    never, answers = Source("unit", "never"), asyncio.Event()

    async def late(_: str) -> str:
        await answers.wait()
        return "at last"

    sources.lookout = Lookout({}, {"disk": sources._of("disk")}, {"unit": late}, "first", lambda: 0, sources._defect)
    sources.hangs.clear()

    async def run() -> list[dict[Source, Any]]:
        found = []
        monkeypatch.setattr(looking, "PATIENCE", 0.05)
        found.append(await sources.lookout.look([DISK, never]))
        monkeypatch.setattr(looking, "PATIENCE", 60)
        found += [await asyncio.wait_for(sources.lookout.look([DISK, never]), 5) for _ in range(2)]
        answers.set()
        sources.hangs.set()
        while len(found) < 1000 and isinstance(found[-1][DISK], Gone):
            await asyncio.sleep(0.001)
            found.append(await sources.lookout.look([DISK, never]))
        return found

    found = asyncio.run(run())
    assert [look[DISK] for look in found[:3]] == [look[never] for look in found[:3]] == [Gone("no answer for 0 s")] * 3
    assert (found[-1][DISK], found[-1][never]) == ("disk/ 1", "at last")
    assert sources.asked["disk/"] == 1


ENDS = """
import asyncio, threading
from agentd.core.rules.model import Source
from agentd.rules import lookout

lookout.PATIENCE = 0.01
looks = {"disk": lambda _: threading.Event().wait()}
of = lookout.Lookout({}, looks, {}, "first", lambda: 0, lambda *_: None)
found = asyncio.run(of.look([Source("disk", "/net")]))
of.close()
print(*found.values())
"""


def test_who_hangs_keeps_no_process_from_its_end() -> None:
    done = subprocess.run([sys.executable, "-c", ENDS], capture_output=True, text=True, timeout=20, check=True)
    assert (done.stdout, done.stderr) == ("Gone(why='no answer for 0 s')\n", "")


def test_a_look_that_ends_after_its_loop_is_nothing_to_tell(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    monkeypatch.setattr(looking, "PATIENCE", 0.01)
    sources.hangs.clear()
    before = set(threading.enumerate())
    asyncio.run(sources.lookout.look([DISK]))
    (thread,) = set(threading.enumerate()) - before
    sources.hangs.set()
    thread.join(20)
    assert (thread.is_alive(), told) == (False, [])


def test_a_look_that_is_broken_is_gone_alone_and_told_once(sources: Sources) -> None:
    glance, look, ask = Source("agent"), Source("temperature"), Source("unit", "web.service")
    for found in sources.look(MEMORY, DISK, UNITS, glance, look, ask, times=3, every=5.0):
        assert not any(isinstance(found[source], Gone) for source in (MEMORY, DISK, UNITS))
        broken = "a defect in looking at it: FileNotFoundError: [Errno 2] No such file or directory: '/nowhere'"
        assert (found[glance], found[look]) == (Gone(broken), Gone(broken))
        assert found[ask].why.startswith("a defect in looking at it: RuntimeError: ")
    assert sorted(sources.defects) == [
        "looking at agent: FileNotFoundError",
        "looking at temperature: FileNotFoundError",
        "looking at unit:web.service: RuntimeError",
    ]
