"""A look at the kernel's scheduler, as sysfs shows it."""

from pathlib import Path
from typing import get_args

from agentd.core.schedulers.model import Observed, State

FOLDER = Path("/sys/kernel/sched_ext")


def observed(folder: Path = FOLDER) -> Observed:
    """Returns what the kernel says of its scheduler now. What is gone while it is read counts as not there."""
    state = _text(folder / "state")
    return Observed(
        state=state if state in get_args(State) else "absent",  # type: ignore[arg-type]
        ops=_text(folder / "root/ops"),
        seq=_number(folder / "enable_seq"),
        switched_all=_text(folder / "switch_all") != "0",
        rejected=_number(folder / "nr_rejected"),
        hotplugs=_number(folder / "hotplug_seq"),
    )


def events(folder: Path = FOLDER) -> dict[str, int]:
    """Returns the kernel's counts of what the scheduler that is on has not dealt with itself, by the kernel's names."""
    found = {}
    for line in _text(folder / "root/events").splitlines():
        name, _, count = line.partition(" ")
        if count.isdigit():
            found[name.removeprefix("SCX_EV_")] = int(count)
    return found


def _number(file: Path) -> int:
    text = _text(file)
    return int(text) if text.isdigit() else 0


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
