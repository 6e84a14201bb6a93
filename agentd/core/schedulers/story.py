"""The sentences about schedulers that are shown."""

from collections.abc import Sequence

from agentd.core.quantities import format_duration
from agentd.core.schedulers.model import Chosen, Ending, Standing, Tenure, Want

_WORDS = {
    "unregistered": "its program left it",
    "sysrq": "SysRq-S was pressed",
    "error": "the kernel ended it for an error",
    "bpf-error": "it gave up by itself",
    "stall": "a task could not run for too long",
    "hotplug": "a CPU came or went",
    "lockup": "a CPU was locked up",
    "refused": "it cannot be started",
    "killed": "its program was killed",
    "exited": "its program ended",
    "timeout": "it was not enabled in time",
    "unstarted": "agentd ended before it was started",
    "unknown": "nobody says why",
}
"""The kinds of endings in words; the others say all in their reason."""


def ended(ending: Ending) -> str:
    """Returns why a scheduler ended, as the rest of a sentence: agentd's words, then the kernel's or the program's."""
    own = _WORDS.get(ending.kind, "")
    said = ": ".join(text for text in (ending.reason, ending.message) if text)
    return f"{own} ({said})" if own and said else own or said or ending.kind


def named(want: Want) -> str:
    """Returns a wish as people call it."""
    return want.holder if want.source == "default" else f"{want.source} {want.holder}"


def foreign(tenure: Tenure) -> str:
    """Returns the sentence about a scheduler that somebody else loaded."""
    return f"{tenure.ops} was loaded by somebody else: end it where it was started, then agentd goes on"


def tried(chosen: Chosen) -> str:
    """Returns the sentence about a scheduler of one's own that is being tried."""
    return f"{chosen.name} is tried in the kernel: nothing else is started until that is over"


def way(phase: str, name: str, tenure: Tenure | None) -> str:
    """Returns what is under way in a phase of the course, as a sentence; empty at rest."""
    if phase == "asleep":
        return "agentd has not looked at the kernel yet"
    if phase == "checking":
        return f"agentd looks whether {name} can be started"
    if phase == "starting" and tenure is not None:
        return f"{tenure.chosen.name} starts"
    if phase == "stopping" and tenure is not None:
        return f"{tenure.chosen.name} ends: {ended(tenure.ending or Ending(kind='the reason is not known yet'))}"
    return "units of schedulers are stopped that agentd has not wanted" if phase == "stopping" else ""


def waits(standings: Sequence[Standing], calm: int, now: int) -> str:
    """Returns why at rest the first wish is not served, as a sentence; empty where it is."""
    first = standings[0]
    if first.why:
        return f"{named(first.want)} wants {first.want.choice.name}: {first.why}"
    if calm > now:
        return f"{first.want.choice.name} waits for {format_duration(calm - now)}: there was another scheduler just now"
    return ""
