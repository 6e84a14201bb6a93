"""The configuration in force: read again after each change of its files, kept for a start while they have errors, and
in the machine's time zone where it names none.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from msgspec.structs import replace

from agentd import log as logging
from agentd.bus.server import Server
from agentd.config import kept, zone
from agentd.config.files import Loaded, in_zone, is_as_read
from agentd.config.problems import Problems
from agentd.core.config import Config
from agentd.core.part import Refused
from agentd.core.quantities import iso
from agentd.linux import Watch, now
from agentd.tasks import Tasks

log = logging.get()
_T = TypeVar("_T")


class Host(Protocol):
    """The daemon, as its configuration needs it."""

    server: Server

    @property
    def folder(self) -> Path: ...
    async def prepare(self, config: Config) -> None:
        """Makes sure that the parts can work with a configuration. Raises Refused."""

    def take(self, config: Config) -> list[str]:
        """Gives the parts a configuration; returns a sentence for each change."""

    def configured(self) -> None:
        """Learns that reading is over, whether what was read is taken or not."""

    def pump(self) -> None: ...
    async def settle(self) -> None: ...
    def defect(self, where: str, error: BaseException) -> None: ...


class Configuring:
    """The configuration in force is `loaded`, since `loaded_at`; `error` is why newer files are not, an error a line.

    `load` reads the files, `watched` names the folders and files in which a change may alter what they say.
    """

    def __init__(
        self, host: Host, loaded: Loaded, load: Callable[[], Loaded], watched: Callable[[], list[Path]]
    ) -> None:
        self.loaded = loaded
        self.loaded_at = loaded.accepted or now()
        self.error = loaded.errors
        self._host = host
        self._load = load
        self._watched = watched
        self._one_by_one = asyncio.Lock()  # so that the files that were read last are applied last
        self._next: asyncio.Future[list[str]] | None = None  # what a reading that has yet to begin will say
        self._watch: Watch | None = None
        self._zone_watch: Watch | None = None
        self._unkept = ""
        self._tasks = Tasks(lambda error: host.defect("reading the configuration", error))

    @property
    def warnings(self) -> list[str]:
        """Sentences about what was guessed, and what does not work as it should."""
        blind = [
            f"changes in {folder} are not noticed ({why}): after one, agentctl reload reads the configuration again"
            for watch in (self._watch, self._zone_watch)
            if watch is not None
            for folder, why in watch.blind.items()
        ]
        return [*self.loaded.warnings, *filter(None, (self._unkept,)), *blind]

    # Start and end

    async def make_ready(self) -> None:
        """Makes the configuration possible. The parts were made of it as it was read; a newer one is theirs then.

        Raises Refused.
        """
        try:
            loaded = await self._prepared(self.loaded)
        except Problems as error:  # of files that were sound just now: the next start tells, or does without them
            raise Refused("InvalidConfig", str(error)) from None
        if loaded != self.loaded:
            self._put_into_force(loaded)

    def start(self) -> None:
        """Watches from here on what the configuration depends on, and keeps it."""
        self._watch_files(is_as_read)
        self._zone_watch = Watch(self._look_at_zone_soon)
        self._zone_watch.follow(zone.places())
        self._take_zone(zone.local())
        self._keep_it()

    def tell(self) -> None:
        """Tells the log of what is wrong at the start."""
        if self.error:
            text = f"the configuration has errors; agentd goes on with the one that was accepted {iso(self.loaded_at)}"
            log.error(f"{text}:\n{self.error}", id="configuration-refused")
        self._warn()

    def close(self) -> None:
        """Calls back no more."""
        for watch in (self._watch, self._zone_watch):
            if watch is not None:
                watch.close()
        self._tasks.close()

    # Reading

    def reload_soon(self, done: Callable[[], None] = lambda: None) -> None:
        """Reads the configuration again, because somebody sent SIGHUP or changed a file; then calls `done`."""

        async def reload() -> None:
            try:
                await self.reload()
            except Refused as refusal:
                log.debug(f"not reloaded: {refusal.name}")  # reload and the store have said why
            finally:
                done()

        self._tasks.do(reload())

    async def reload(self) -> list[str]:
        """Reads the configuration again, all or nothing. Raises Refused InvalidConfig, PeerFailed.

        All who ask while the files are being read share the reading after that: many who ask wait for two at most.
        """
        wanted = self._next = self._next or asyncio.get_running_loop().create_future()
        async with self._one_by_one:
            if not wanted.done():  # nobody who waited before has read them
                if self._next is wanted:
                    self._next = None  # whoever asks from here on may have changed what is read by then
                try:
                    wanted.set_result(await self._reload())
                except Refused as refusal:
                    wanted.set_exception(refusal)
                finally:
                    self._host.configured()
        return wanted.result()

    async def _reload(self) -> list[str]:
        host = self._host
        if self._watch is not None:  # before the files are read: what changes from here on calls back
            self._watch.follow(self._watched())
        try:
            loaded = await self._prepared(await self._run(self._load))
        except (Problems, Refused) as error:
            self.error = str(error)
            log.error(f"the configuration was not changed:\n{error}", id="configuration-refused")
            host.server.changed("Manager.ConfigurationError")
            raise Refused(error.name if isinstance(error, Refused) else "InvalidConfig", str(error)) from None
        self.error, self.loaded_at = "", now()
        warned, changes = self.loaded.warnings, self._put_into_force(loaded)
        self._watch_files(lambda _: False)  # where the watch is new: what changed while it was read calls back
        await self._run(self._keep_it)
        host.server.changed(*(f"Manager.Configuration{name}" for name in ("Error", "Files", "LoadedUSec")))
        host.server.changed("Manager.Warnings", "Manager.TimeZone")
        self._warn(warned)
        await host.settle()
        if changes:
            log.info(f"configuration read: {'; '.join(changes)}", id="configuration")
        else:  # the files are read again after every change, by whomever
            log.debug("configuration read: nothing changed", id="configuration")
        return changes

    async def _prepared(self, loaded: Loaded) -> Loaded:
        """Returns the configuration, or a newer one that came meanwhile, once the parts can work with it.

        Raises Problems, Refused.
        """
        while True:
            try:
                await self._host.prepare(loaded.config)
            except Refused:
                if loaded.errors:  # the last good one: the files are no help
                    raise
                # Units are made of the files as they are at that moment: have they changed since they were read?
                newer = await self._run(self._load)
                if newer == loaded:
                    raise
                loaded = newer
            else:
                return loaded

    def _put_into_force(self, loaded: Loaded) -> list[str]:
        """Gives the parts a configuration; returns a sentence for each change, another time zone among them."""
        told, before, new = [], self.loaded, loaded.config.timezone
        if new != before.config.timezone:
            told.append(f"time zone is now {new} (was {before.config.timezone})")
        self.loaded = loaded
        told += self._host.take(loaded.config)
        if loaded.config != before.config:
            from agentd.config.changes import changes  # noqa: PLC0415 - most agentds never need it

            told += changes(before.config, loaded.config)
        return told

    def _keep_it(self) -> None:
        """Keeps what was accepted, for a start while the files have errors."""
        if not self.loaded.errors:
            try:
                kept.keep(self._host.folder, self.loaded, now())
            except (OSError, ValueError) as error:
                why = (isinstance(error, OSError) and error.strerror) or str(error)
                self._unkept = f"no copy of the configuration could be kept, for a start while it has errors: {why}"
            else:
                self._unkept = ""
        self.loaded = replace(self.loaded, texts=())

    # Watching

    def _watch_files(self, is_current: Callable[[Loaded], bool]) -> None:
        """Watches the files from when they are to be watched, until they are not to be any more.

        Where the watch is new and the configuration is not, or no more, `is_current`, or the files have other errors
        than are shown, or none, the files are read again.
        """
        if not self.loaded.config.watch:
            if self._watch is not None:
                self._watch.close()
            self._watch = None
        elif self._watch is None:
            self._watch = Watch(self.reload_soon)
            self._watch.follow(self._watched())
            if self.loaded.errors:
                self._tasks.do(self._look_at_errors())
            elif not is_current(self.loaded):
                self.reload_soon()

    async def _look_at_errors(self) -> None:
        """Reads the files again unless they have the errors that are shown: they may have been repaired before the
        watch."""
        try:
            await self._run(self._load)
        except Problems as error:
            if str(error) == self.error:
                return
        self.reload_soon()

    def _look_at_zone_soon(self) -> None:
        self._tasks.do(self._look_at_zone())

    async def _look_at_zone(self) -> None:
        """Takes the machine's time zone anew, after something changed that tells it."""
        async with self._one_by_one:
            if self._zone_watch is not None:
                self._zone_watch.follow(zone.places())
            warned, changes = self.loaded.warnings, self._take_zone(await self._run(zone.local))
            self._warn(warned)
            if changes:
                log.info(f"{'; '.join(changes)}; due times were worked out anew", id="configuration")
            self._host.pump()

    def _take_zone(self, found: zone.Zone) -> list[str]:
        """Puts the machine's time zone into force where the configuration names none, whatever is said of watching its
        files; returns a sentence for each change."""
        time.tzset()  # for the stamps of the log, and what people are told
        loaded = self.loaded if self.loaded.names_zone else in_zone(self.loaded, found)
        if loaded == self.loaded:
            return []
        changes = self._put_into_force(loaded)
        self._host.server.changed("Manager.TimeZone", "Manager.Warnings")
        return changes

    def _warn(self, before: Sequence[str] = ()) -> None:
        """Tells the log of what was guessed, unless that was told before."""
        for text in self.loaded.warnings:
            if text not in before:
                log.warning(text, id="configuration")

    @staticmethod
    def _run(do: Callable[[], _T]) -> Awaitable[_T]:
        """Calls something that waits for the disk, beside the loop."""
        return asyncio.get_running_loop().run_in_executor(None, do)
