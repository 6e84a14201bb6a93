"""The configuration in force: what is told of a change, and what no moment of a change leaves out."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agentd.config import files, kept, zone
from agentd.config.problems import Problems
from agentd.core.config import Config
from agentd.core.jobs.jobs import Jobs
from agentd.core.jobs.model import Saved
from agentd.core.part import Refused
from agentd.core.quantities import HOUR
from agentd.daemon import configuring as module
from agentd.daemon.configuring import Configuring

NOON = "jobs:\n  noon: {run: x, when: {at: '12:00'}}\n  own: {run: x, when: {at: '12:00'}, timezone: UTC}\n"
NOW = 1_790_000_000_000_000
PATIENCE = 20.0


class World:
    """A daemon with the core of jobs alone, its files, and the zone of its machine."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, text: str = NOON) -> None:
        monkeypatch.delenv("TZ", raising=False)
        monkeypatch.setattr(zone, "LOCALTIME", folder / "localtime")
        monkeypatch.setattr(zone, "TIMEZONE", folder / "timezone")
        monkeypatch.setattr(
            module, "log", SimpleNamespace(debug=self._tell, info=self._tell, warning=self._tell, error=self._tell)
        )
        self.move("Europe/Berlin")
        self.told: list[str] = []
        self.changed: list[str] = []
        self.file = folder / "agentd.yaml"
        self.file.write_text(text)
        self.folder = folder
        self.server: Any = SimpleNamespace(changed=lambda *names: self.changed.extend(names))
        self.refusal: Refused | None = None
        self.loads = 0
        self.after_load: Callable[[], object] = lambda: None
        self.configuring = Configuring(self, files.load(self.file), self._load, lambda: files.watched(self.file))
        config = self.configuring.loaded.config
        self.jobs = Jobs(config.jobs, Saved(), NOW, concurrency=1, zone=config.timezone, host="", boot=NOW, lead=0)

    def move(self, name: str) -> None:
        """Gives the machine another time zone, as timedatectl does."""
        new = zone.LOCALTIME.with_name("localtime.new")
        new.symlink_to(f"/usr/share/zoneinfo/{name}")
        new.rename(zone.LOCALTIME)

    def _tell(self, text: str, **_: str) -> None:
        self.told.append(text)

    def _load(self) -> files.Loaded:
        self.loads += 1
        loaded = files.load(self.file)
        self.after_load()
        return loaded

    async def prepare(self, config: Config) -> None:
        if self.refusal is not None:
            raise self.refusal

    def take(self, config: Config) -> list[str]:
        return self.jobs.configure(config.jobs, config.concurrency, config.timezone, NOW)

    def configured(self) -> None: ...

    def pump(self) -> None: ...

    async def settle(self) -> None: ...

    def defect(self, where: str, error: BaseException) -> None:
        raise error

    async def until(self, true: Callable[[], object]) -> None:
        async def come_true() -> None:
            while not true():
                await asyncio.sleep(0.01)

        await asyncio.wait_for(come_true(), PATIENCE)

    def zone_of(self, job: str) -> str:
        return self.jobs.entries[job].zone.key

    def due(self, job: str) -> int:
        due = self.jobs.entries[job].due
        assert due is not None
        return due


def spoiled(world: World) -> tuple[files.Loaded, str]:
    """Keeps the configuration, then spoils it; returns the one that was kept, as it is taken, and the errors."""
    kept.keep(world.file.parent, files.load(world.file), 5)
    world.file.write_text("concurrency: x\n")
    with pytest.raises(Problems) as caught:
        files.load(world.file)
    last = kept.last_good(world.file.parent, world.file, caught.value)
    assert last is not None
    return last, str(caught.value)


def errors_of(file: Path) -> str:
    try:
        files.load(file)
    except Problems as problems:
        return str(problems)
    return ""


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


def test_another_zone_of_the_machine_is_noticed_and_told_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        world = World(tmp_path, monkeypatch, f"watch: false\n{NOON}")
        world.configuring.start()
        before, own = world.due("noon"), world.due("own")
        world.move("America/New_York")
        await world.until(lambda: world.zone_of("noon") == "America/New_York")
        told = "time zone is now America/New_York (was Europe/Berlin)"
        assert world.told == [f"{told}; due times were worked out anew"]
        assert ((world.due("noon") - before) % (24 * HOUR), world.due("own")) == (6 * HOUR, own)
        assert world.changed == ["Manager.TimeZone", "Manager.Warnings"]
        assert world.configuring.loaded.config.timezone == "America/New_York"
        assert world.loads == 0  # the files are not read because of that
        world.configuring.close()

    run(scenario())


def test_a_zone_that_cannot_be_told_is_a_warning_until_it_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        world = World(tmp_path, monkeypatch)
        world.configuring.start()
        world.move("Europe/Berln")
        await world.until(lambda: world.configuring.warnings)
        (warning,) = world.configuring.warnings
        assert warning.startswith("the time zone of this machine cannot be told: ")
        assert warning.endswith(
            'UTC is used: write "timezone: NAME" into the configuration, such as timezone: Europe/Berlin'
        )
        assert warning in world.told
        assert world.zone_of("noon") == "UTC"
        world.move("Asia/Tokyo")
        await world.until(lambda: not world.configuring.warnings)
        assert world.zone_of("noon") == "Asia/Tokyo"
        world.configuring.close()

    run(scenario())


def test_where_the_configuration_names_a_zone_that_of_the_machine_is_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        world = World(tmp_path, monkeypatch, f"timezone: Asia/Tokyo\n{NOON}")
        world.configuring.start()
        world.move("Europe/Berln")
        world.configuring._take_zone(zone.local())
        assert (world.configuring.warnings, world.told, world.zone_of("noon")) == ([], [], "Asia/Tokyo")
        world.configuring.close()

    run(scenario())


def test_a_reload_tells_the_zone_once_and_only_those_jobs_that_were_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        world = World(tmp_path, monkeypatch)
        world.move("America/New_York")
        assert await world.configuring.reload() == ["time zone is now America/New_York (was Europe/Berlin)"]
        assert await world.configuring.reload() == []
        world.file.write_text(
            f"timezone: Asia/Tokyo\nconcurrency: 7\n{NOON}  new: {{run: x}}\n".replace(
                "run: x, when", "run: y, when", 1
            )
        )
        changes = await world.configuring.reload()
        assert changes == [
            "time zone is now Asia/Tokyo (was America/New_York)",
            "noon changed",
            "new added: by hand only",
            "concurrency: 7 (was 100)",
        ]

    run(scenario())


def test_all_who_ask_while_the_files_are_read_share_the_reading_after_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        world = World(tmp_path, monkeypatch)
        begun, go_on = threading.Event(), threading.Event()

        def wait() -> None:
            begun.set()
            go_on.wait(PATIENCE)

        world.after_load = wait
        first = asyncio.create_task(world.configuring.reload())
        await world.until(begun.is_set)
        world.file.write_text(NOON.replace("at: '12:00'", "at: '13:00'", 1))
        others = [asyncio.create_task(world.configuring.reload()) for _ in range(50)]
        await asyncio.sleep(0)
        others[0].cancel()  # who would have read them: another does
        go_on.set()
        assert await first == []
        changes = await asyncio.gather(*others[1:])
        assert (changes, world.loads) == ([["noon changed"]] * 49, 2)
        world.after_load = lambda: None
        world.file.write_text("jobs: 5\n")
        errors = await asyncio.gather(*(world.configuring.reload() for _ in range(50)), return_exceptions=True)
        assert {(type(error), str(error)) for error in errors} == {(Refused, errors_of(world.file))}
        assert world.loads == 4  # of the first, and of all others
        world.file.write_text(NOON)
        assert await world.configuring.reload() == ["noon changed"]

    run(scenario())


def test_what_changes_while_the_files_are_read_is_read_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        world = World(tmp_path, monkeypatch)
        world.configuring.start()
        newer = [f"concurrency: {number}\n" for number in range(2, 6)]

        def write_once_more() -> None:
            if newer:
                world.file.write_text(newer.pop(0))

        world.after_load = write_once_more
        await world.configuring.reload()
        await world.until(lambda: world.configuring.loaded.config.concurrency == 5)
        world.configuring.close()

    run(scenario())


@pytest.mark.parametrize("start", ["at the start", "by a reload"])
def test_what_changes_before_the_watch_is_read_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: str) -> None:
    async def scenario() -> None:
        world = World(tmp_path, monkeypatch, NOON if start == "at the start" else "watch: false\n")
        if start == "at the start":
            world.file.write_text("concurrency: 7\n")
            world.configuring.start()
        else:
            world.configuring.start()
            world.file.write_text("watch: true\n")
            world.after_load = lambda: world.loads == 1 and world.file.write_text("concurrency: 7\n")
            await world.configuring.reload()
        await world.until(lambda: world.configuring.loaded.config.concurrency == 7)
        world.configuring.close()

    run(scenario())


def test_only_what_was_accepted_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        world = World(tmp_path, monkeypatch, "watch: false\nconcurrency: 2\n")
        world.configuring.start()

        def concurrency() -> int:
            last = kept.last_good(tmp_path, world.file, Problems([]))
            assert last is not None
            return last.config.concurrency

        assert concurrency() == 2
        for text, refusal in (("concurrency: x\n", None), ("concurrency: 3\n", Refused("PeerFailed", "no units"))):
            world.file.write_text(text)
            world.refusal = refusal
            with pytest.raises(Refused):
                await world.configuring.reload()
            assert concurrency() == 2
        world.refusal = None
        # Written while it is read: what is kept is what was read, whatever the file holds by then.
        world.after_load = lambda: world.file.write_text("concurrency: 4\n")
        await world.configuring.reload()
        assert (concurrency(), world.configuring.loaded.config.concurrency) == (3, 3)
        world.configuring.close()

    run(scenario())


def test_a_configuration_that_cannot_be_kept_is_in_force_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        world = World(tmp_path, monkeypatch)
        real = kept.keep

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(kept, "keep", full)
        world.configuring.start()
        text = "no copy of the configuration could be kept, for a start while it has errors: No space left on device"
        assert world.configuring.warnings == [text]
        monkeypatch.setattr(kept, "keep", real)
        await world.configuring.reload()
        assert world.configuring.warnings == []
        world.configuring.close()

    run(scenario())


@pytest.mark.parametrize(
    ("text", "concurrency", "error"),
    [("concurrency: 3\n", 3, ""), ("concurrency: y\n", 2, "concurrency"), ("concurrency: x\n", 2, "concurrency")],
    ids=["repaired", "other errors", "as it was"],
)
def test_a_file_that_is_repaired_before_the_watch_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, concurrency: int, error: str
) -> None:
    async def scenario() -> None:
        world = World(tmp_path, monkeypatch, "concurrency: 2\n")
        last, before = spoiled(world)
        world.file.write_text(text)
        expected = errors_of(world.file)
        configuring = Configuring(world, last, world._load, lambda: files.watched(world.file))
        configuring.start()
        await world.until(lambda: world.loads and not configuring._tasks._tasks)
        assert (configuring.loaded.config.concurrency, configuring.error) == (concurrency, expected)
        assert error in configuring.error
        assert [text for text in world.told if "the configuration was not changed" in text] == (
            [f"the configuration was not changed:\n{expected}"] if expected not in {"", before} else []
        )
        configuring.close()

    run(scenario())


def test_the_last_good_configuration_is_not_kept_anew_and_its_errors_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        world = World(tmp_path, monkeypatch, "concurrency: 2\n")
        last, errors = spoiled(world)
        configuring = Configuring(world, last, world._load, lambda: files.watched(world.file))
        configuring.start()
        configuring.tell()
        assert (configuring.error, configuring.loaded_at) == (errors, 5)
        assert any(errors in text for text in world.told)
        world.refusal = Refused("PeerFailed", "no units")
        with pytest.raises(Refused, match="no units"):
            await configuring.make_ready()
        world.refusal = None
        world.file.write_text("concurrency: 3\n")
        await world.until(lambda: configuring.loaded.config.concurrency == 3)
        assert configuring.error == ""
        configuring.close()

    run(scenario())
