"""Learning, plugged in: runs' outputs are looked at, networks read and trained, and intervals told."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from agentd import log as logging
from agentd.core.config import Config
from agentd.core.jobs.jobs import Jobs
from agentd.core.learning.learning import Learning
from agentd.core.learning.model import PART, JobLearns, NetworkDoubted, TrainingWanted, UseWanted
from agentd.core.learning.weights import Unusable
from agentd.core.part import Effect, Refused
from agentd.learning import looking, networks
from agentd.learning.api import Api
from agentd.learning.networks import Networks
from agentd.learning.tables import LearningTables, list_rows
from agentd.part import Host, Part
from agentd.tasks import Tasks

log = logging.get()

CONTRACT = Path(__file__).with_name("org.agentd1.Learning.xml")


@dataclass(frozen=True, kw_only=True)
class Reach:
    """The reach of the part to others: how the output of a run is read, and what trains a network by the files of
    Networks: it returns why that failed, as a sentence, or ""."""

    output: looking.Output
    train: Callable[[Networks], Awaitable[str]]


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
        for one in [number, *(other for other in reversed(self._numbers()) if other < number)]:
            try:
                self._core.take_network(networks.network(one, self._files.read(one)), "", self._host.now())
            except (OSError, Unusable) as error:
                self.trouble = f"the network {one} cannot be used: {networks.words(error)}"
                log.warning(self.trouble, id="network")
            else:
                return

    def choose(self, number: int, why: str) -> None:
        """Puts a network in force, by its number. Raises OSError and Unusable."""
        found = networks.network(number, self._files.read(number))
        self._host.hear(PART, lambda: self._core.take_network(found, why, self._host.now()))
        self.trouble = ""

    def before(self, number: int) -> int:
        """Returns the number of the network before one, or -1."""
        return next((one for one in reversed(self._numbers()) if one < number), -1)

    def _numbers(self) -> list[int]:
        try:
            return self._files.numbers()
        except OSError:
            return [0]

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
        number, model, said = 0, None, ""
        try:
            rows = await self._host.ask(list_rows)
            text = await asyncio.to_thread(msgspec.json.encode, rows)
            await asyncio.to_thread(self._files.prepare, text, self._core.number)
            failed = await self._reach.train(self._files)
            said = await asyncio.to_thread(self._files.clear)
            if failed:
                said = f"the training failed: {failed}" + (f" ({said})" if said else "")
            elif self._files.fresh.exists():
                number, model = await asyncio.to_thread(self._files.take)
        except Refused as refused:  # nothing can be stored, nor read
            said = f"no training: {refused}"
        except (OSError, Unusable) as error:
            said = f"the result of the training was refused: {networks.words(error)}"
        found = None if model is None else networks.network(number, model)
        why = f"network {number} is in force: {said}" if found else said or "the training said nothing"
        self._host.hear(PART, lambda: self._core.trained(found, why, self._host.now()))
        log.info(why, id="network")
        self._host.server.changed("Learning.Training", "Learning.Network")

    def _doubt(self, effect: NetworkDoubted) -> None:
        """Puts the network before one in force that foretells badly."""
        why = f"network {effect.number} foretold runs worse than the counted rate by {-effect.gain:.1f} nats"
        before = self.before(effect.number)
        try:
            self.choose(before, f"back to network {before}: {why}")
        except (OSError, Unusable) as error:
            text = f"no network is in force: {why}, and network {before} cannot be used: {networks.words(error)}"
            self._host.hear(PART, lambda: self._core.take_network(None, text, self._host.now()))
        log.warning(why, id="network")
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
    api = Api(host, core, jobs, shell, files)

    def configure(changed: Config, now: int) -> Sequence[str]:
        core.configure(changed.learning, now)
        return ()

    return Part(
        name=PART,
        core=core,
        does=shell.does(),
        contract=CONTRACT,
        methods=api.methods(),
        properties=api.properties(),
        configure=configure,
        warnings=lambda: [text for text in (tables.warning, shell.trouble) if text],
        close=tasks.close,
    )
