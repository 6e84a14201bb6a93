"""The facts about the running kernel and the machine, gathered from its files without any rights."""

import os
from pathlib import Path

from agentd.core.schedulers.kernel import Btf, KernelFacts, isolated
from agentd.schedulers import btf

_LINKED = "scx_bpf_create_dsq"
"""A function of the kernel that every scheduler of some use calls, with two arguments of its own. A third is for the
verifier to give; where it shows, libbpf finds that the scheduler and the kernel differ, and loads nothing."""
_ARGUMENTS = 2
_SMALL = 1 << 20
_fits: dict[tuple[Path, str], Btf] = {}
"""The verdicts on descriptions that could be read: those of a kernel stay as they are while it runs."""


def gather(root: Path = Path("/"), release: str = "") -> KernelFacts:
    """Returns the facts, from the files below a root folder. To be called on a thread: the first time takes a tenth of
    a second, in which the kernel's types are read; later times take a millisecond."""
    release = release or os.uname().release
    sched_ext = (root / "sys/kernel/sched_ext/state").exists()
    return KernelFacts(
        release=release,
        sched_ext=sched_ext,
        btf=fit(root / "sys/kernel/btf/vmlinux", release) if sched_ext else None,
        jit=_jit(root),
        isolated=isolated(_text(root / "proc/cmdline") or ""),
        cpus=_cpus(root),
        debugfs=_debugfs(root),
        config=_config(root, release),
    )


def fit(path: Path, release: str) -> Btf:
    """Tells whether schedulers can be linked against the kernel of that release, by its description of its types."""
    known = _fits.get((path, release))
    if known is not None:
        return known
    try:
        found = btf.arguments(btf.read(path), _LINKED)
    except FileNotFoundError:
        return "missing"
    except (OSError, btf.NotBtf):
        return "unreadable"
    verdict: Btf = "without" if found is None else "fits" if found == _ARGUMENTS else "hidden"
    _fits[path, release] = verdict
    return verdict


def _text(path: Path) -> str | None:
    """Returns the first megabyte of a file; None where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return stream.read(_SMALL).decode(errors="replace")
    except OSError:
        return None


def _jit(root: Path) -> bool | None:
    text = _text(root / "proc/sys/net/core/bpf_jit_enable")  # is not there in a network namespace of one's own
    return None if text is None else text.strip() != "0"


def _cpus(root: Path) -> int | None:
    """Returns the number of CPUs that are online, from a list such as 0-3,6."""
    count = 0
    for part in (_text(root / "sys/devices/system/cpu/online") or "").strip().split(","):
        first, _, last = part.partition("-")
        if not (first.isdecimal() and (last or first).isdecimal()):
            return None
        count += int(last or first) - int(first) + 1
    return count


def _debugfs(root: Path) -> bool | None:
    text = _text(root / "proc/self/mountinfo")
    if text is None:
        return None
    return any(line.split(" - ")[-1].startswith("debugfs ") for line in text.splitlines())


def _config(root: Path, release: str) -> bool:
    files = (root / f"boot/config-{release}", root / "proc/config.gz")
    return any(os.access(file, os.R_OK) for file in files)
