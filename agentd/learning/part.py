"""Learning, plugged in: runs' outputs are looked at, networks read and trained, and intervals told."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from agentd import log as logging
from agentd.core.config import Config
from agentd.core.jobs.jobs import Jobs
from agentd.core.learning.learning import Learning
from agentd.core.learning.model import (
    BETTER,
    FAILED,
    NOTHING,
    PART,
    JobLearns,
    Network,
    NetworkDoubted,
    TrainingWanted,
    UseWanted,
)
from agentd.core.learning.weights import Unusable
from agentd.core.part import Effect, Refused
from agentd.learning import api, looking, networks
from agentd.learning.networks import Networks
from agentd.learning.tables import LearningTables, list_rows
from agentd.part import Host, Part, when_asked
from agentd.tasks import Tasks

log = logging.get()

CONTRACT = Path(__file__).with_name("org.agentd1.Learning.xml")


class Reach(Struct, frozen=True, kw_only=True):
    """The reach of the part to others: how the output of a run is read, and what trains a network by the files of
    Networks: it returns why that failed, as a sentence, or ""."""

    output: looking.Output
    train: Callable[[Networks], Awaitable[str]]


class _Fruitless(Exception):
    """The reason why a training came to nothing; the text is a sentence."""


class Shell:
    """Carries out what the core of learning wants."""

    def __init__(self, host: Host, core: Learning, files: Networks, tasks: Tasks, reach: Reach) -> None:
        self._host, self._core, self._files, self._tasks, self._reach = host, core, files, tasks, reach
        self.trouble = ""
        """The fault of the network that was to be in force, as a sentence."""

    def does(self) -> dict[type[Effect], Callable[[Any], object]]:
        """Returns how each effect is carried out."""
        return {
            UseWanted: lambda effect: self._tasks.do(self._look(effect)),
            TrainingWanted: lambda _: self._tasks.do(self._train()),
            NetworkDoubted: self._doubt,
            JobLearns: self._tell,
        }

    def take_up(self, number: int) -> None:
        """Takes the network that was in force, or the newest before it that can be used; -1: none."""
        if number < 0:
            return
        found, self.trouble = self._usable([number, *self._before(number)])
        if found is not None:
            self._core.take_network(found, "", self._host.now())

    def back(self, why: str) -> int:
        """Puts the newest network before the one in force in its place that can be used; returns its number, -1 where
        there is none. `why` is the end of a sentence."""
        number = self._core.number
        found, _ = self._usable(self._before(number))
        if found is None:
            return -1
        text = f"back to network {found.number} from network {number}: {why}"
        self._host.hear(PART, lambda: self._core.take_network(found, text, self._host.now()))
        self.trouble = ""
        self._host.server.changed("Learning.Network")
        return found.number

    def _before(self, number: int) -> list[int]:
        """Returns the numbers of the networks before one, the newest first."""
        try:
            return [one for one in reversed(self._files.numbers()) if one < number]
        except OSError as error:
            log.warning(f"the networks cannot be listed: {networks.words(error)}", id="network")
            return [0] if number else []

    def _usable(self, numbers: Sequence[int]) -> tuple[Network | None, str]:
        """Returns the first of networks that can be used, and why the very first cannot, as a sentence."""
        faults: list[str] = []
        for number in numbers:
            try:
                return networks.network(number, self._files.read(number)), "".join(faults[:1])
            except (OSError, Unusable) as error:
                faults.append(f"network {number} cannot be used: {networks.words(error)}")
                log.warning(faults[-1], id="network")
        return None, "".join(faults[:1])

    async def _look(self, effect: UseWanted) -> None:
        found, why_not = "", ""
        try:
            found = await looking.mark(effect.run, effect.watch, self._reach.output)
        except OSError as error:
            what = effect.watch.path or "the output of the run"
            why_not = f"{what} cannot be read: {error.strerror or error}"
        self._host.hear(PART, lambda: self._core.looked(effect.run, found, why_not))

    async def _train(self) -> None:
        """Has a network trained from what is stored, and takes it if it is better."""
        self._host.server.changed("Learning.Training")
        try:
            found, why = await self._training()
        except _Fruitless as fruitless:
            self._trained(None, FAILED, str(fruitless))
        except Exception:
            self._trained(None, FAILED, "the training failed: a defect of agentd's own, which the log names")
            raise
        else:
            self._trained(found, BETTER if found else NOTHING, why)

    def _trained(self, found: Network | None, came: str, why: str) -> None:
        """Tells everybody what came of a training."""
        self._host.hear(PART, lambda: self._core.trained(found, came, why, self._host.now()))
        if found is not None:
            self.trouble = ""
        log.info(why, id="network")
        self._host.server.changed("Learning.Training", "Learning.Trained", "Learning.Network")

    async def _training(self) -> tuple[Network | None, str]:
        """Returns the network that a training leads to, None where none is better, and a sentence about that. Raises
        _Fruitless."""
        try:
            rows = await asyncio.to_thread(msgspec.json.encode, await self._host.ask(list_rows))
        except Refused as refused:  # nothing can be read
            raise _Fruitless(f"no training: {refused}") from None
        try:
            await asyncio.to_thread(self._files.prepare, rows, self._core.number)
            failed = await self._reach.train(self._files)
        except OSError as error:
            failed = networks.words(error)
        said = await asyncio.to_thread(self._files.clear)
        if failed:
            raise _Fruitless(f"the training failed: {failed}" + (f" ({said})" if said else ""))
        try:
            if not self._files.fresh.exists():
                return None, said or "the training said nothing"
            number, model = await asyncio.to_thread(self._files.take)
        except (OSError, Unusable) as error:
            raise _Fruitless(f"the result of the training was refused: {networks.words(error)}") from None
        return networks.network(number, model), f"network {number} is in force: {said}"

    def _doubt(self, effect: NetworkDoubted) -> None:
        """Puts the network before one in force that foretells badly."""
        why = f"network {effect.number} foretold runs worse than the counted rate by {-effect.gain:.1f} nats"
        log.warning(why, id="network")
        if self.back(why) < 0:
            text = f"no network is in force: {why}, and none before it can be used"
            self._host.hear(PART, lambda: self._core.take_network(None, text, self._host.now()))
            self._host.server.changed("Learning.Network")

    def _tell(self, effect: JobLearns) -> None:
        log.debug(f"{effect.job}: {effect.reason}", id="interval", job=effect.job)
        self._host.server.emit("Learning", "IntervalChanged", effect.job, effect.interval, effect.mode, effect.reason)


async def plug(host: Host, jobs: Jobs, config: Config, machine: str, reach: Reach) -> Part:
    """Returns learning as a part. `jobs` is the core of jobs, `machine` the machine's id. Raises sqlite3.Error."""
    tasks = Tasks(lambda error: host.defect("what learning looks at and trains", error))
    tables = LearningTables()
    saved = await host.take_up(tables)
    core = Learning(jobs, saved, config.learning, host.now(), host=machine)
    files = Networks(host.folder / "networks")
    shell = Shell(host, core, files, tasks, reach)
    shell.take_up(saved.network)
    methods, properties = when_asked(CONTRACT, lambda: api.Api(host, core, jobs, shell, files))

    def configure(changed: Config, now: int) -> Sequence[str]:
        core.configure(changed.learning, now)
        host.server.changed("Learning.Mode")
        return ()

    return Part(
        name=PART,
        core=core,
        does=shell.does(),
        contract=CONTRACT,
        methods=methods,
        properties=properties,
        configure=configure,
        warnings=lambda: [text for text in (tables.warning, shell.trouble) if text],
        close=tasks.close,
    )
