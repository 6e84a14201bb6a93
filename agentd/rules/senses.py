"""The senses of rules: where their lookouts look."""

import os
import time
from collections.abc import Callable, Collection, Mapping

from msgspec import Struct

from agentd.part import Host
from agentd.rules.facts.agent import AgentFacts
from agentd.rules.facts.host import Host as Machine
from agentd.rules.facts.stalls import Stalls
from agentd.rules.llm import LlmWatch
from agentd.rules.lookout import Ask, Look, Lookout
from agentd.tasks import Tasks


class Senses(Struct, frozen=True):
    """The senses of the part: the looks at sources, agentd itself and the LLM among them. `boot` is the id of this
    boot."""

    lookout: Lookout
    agent: AgentFacts
    llm: LlmWatch
    stalls: Stalls
    boot: str

    def close(self) -> None:
        """Looks no more."""
        self.stalls.close()
        self.llm.close()
        self.lookout.close()


def senses(host: Host, asks: Mapping[str, Ask], boot: str, tasks: Tasks, on_stall: Callable[[], None]) -> Senses:
    """Returns the senses of the part: `asks` are the sources that answer over a bus, `on_stall` is called as a resource
    becomes scarce."""
    agent, llm = _agent(host), LlmWatch(lambda: time.monotonic_ns() // 1000, tasks.do)
    lookout = _lookout(host, agent, {**asks, "llm": llm.look}, boot, _SLOW)
    return Senses(lookout, agent, llm, Stalls(on_stall), boot)


def glancing(host: Host, asks: Mapping[str, Ask], senses: Senses) -> Lookout:
    """Returns a lookout for people, beside that of rules."""
    return _lookout(host, _agent(host), {**asks, "llm": senses.llm.glance}, senses.boot)


def _agent(host: Host) -> AgentFacts:
    path = str(host.folder / "agentd.db")
    return AgentFacts(store=lambda: os.stat(path).st_size)  # noqa: PTH116 - a Path at each look is dear


_SLOW = frozenset({"agent", "load", "oom", "reboot-required", "clock"})
"""The glances at what seldom changes: the kernel itself works out the load every five seconds."""


def _lookout(host: Host, agent: AgentFacts, asks: Mapping[str, Ask], boot: str, slow: Collection[str] = ()) -> Lookout:
    machine = Machine()
    glances: dict[str, Look] = {
        "agent": agent.agent,
        "memory": machine.memory,
        "swap": machine.swap,
        "cpu": machine.cpu,
        "load": machine.load,
        "pressure": machine.pressure,
        "oom": machine.oom,
        "reboot-required": machine.reboot_required,
        "clock": machine.clock,
        "uptime": machine.uptime,
    }
    looks: dict[str, Look] = {"disk": machine.disk, "temperature": machine.temperature}
    return Lookout(glances, looks, asks, boot, host.now, host.defect, slow, machine.is_near)
