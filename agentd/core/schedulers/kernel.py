"""The kernel and the machine, as far as schedulers need to know them: why one of them cannot run here."""

import re
from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from agentd.core.schedulers.catalogue import Scheduler, kernel_text

Btf = Literal["fits", "missing", "hidden", "without", "unreadable"]
"""The kernel's own description of its types (/sys/kernel/btf/vmlinux). fits: schedulers can be linked against it;
hidden: it shows an argument of functions that is the kernel's own affair; without: it lacks those functions."""


class KernelFacts(Struct, frozen=True, kw_only=True):
    """The facts about the running kernel and the machine. None: not known, which is no obstacle. `isolated` has the
    CPUs that `isolcpus=` takes away from schedulers; `config` tells whether the kernel's configuration can be read, and
    `debugfs` whether that is mounted."""

    release: str
    sched_ext: bool = True
    btf: Btf | None = None
    jit: bool | None = None
    isolated: str = ""
    cpus: int | None = None
    debugfs: bool | None = None
    config: bool | None = None

    @property
    def version(self) -> tuple[int, int] | None:
        """The major and the minor number of the kernel, or None where its release tells none."""
        match = re.match(r"([0-9]{1,3})\.([0-9]{1,3})(?![0-9])", self.release)
        return (int(match[1]), int(match[2])) if match else None


def isolated(command_line: str) -> str:
    """Returns the CPUs that the kernel's command line takes away from all schedulers (isolcpus= without flags, or with
    the flag `domain`), as it names them; empty where it does not."""
    for word in command_line.split():
        if word.startswith("isolcpus="):
            *flags, cpus = re.split(r"(?<=[a-z]),", word.removeprefix("isolcpus=").strip('"'))
            if not flags or "domain" in flags:
                return cpus
    return ""


def kernel_obstacles(facts: KernelFacts) -> tuple[str, ...]:
    """Returns the sentences why this kernel can run no scheduler; none where it can."""
    return tuple(_of_kernel(facts))


def obstacles(scheduler: Scheduler, facts: KernelFacts) -> tuple[str, ...]:
    """Returns the sentences why this kernel or machine cannot run a scheduler: those that hold for all, then its own.
    Whether its program is installed is another question."""
    if not facts.sched_ext:
        return kernel_obstacles(facts)
    return (*_of_kernel(facts), *_of_scheduler(scheduler, facts))


def _of_kernel(facts: KernelFacts) -> Iterator[str]:
    kernel = f"this kernel, {facts.release},"
    if not facts.sched_ext:
        yield (
            f"{kernel} has no sched_ext (CONFIG_SCHED_CLASS_EXT): it cannot load schedulers. Debian 13's own kernel is "
            "built without it; those of trixie-backports have it"
        )
        return
    match facts.btf:
        case "missing":
            yield f"{kernel} does not describe its types: /sys/kernel/btf/vmlinux is not there (CONFIG_DEBUG_INFO_BTF)"
        case "hidden":
            yield (
                f"{kernel} describes its functions wrongly (scx_bpf_create_dsq shows an argument too many in "
                "/sys/kernel/btf/vmlinux), so that no scheduler can be linked: it was built with a pahole that is too "
                "old, as 7.2.12 of trixie-backports was. Boot another kernel, such as 7.0 or 7.3 of trixie-backports"
            )
        case "without":
            yield f"{kernel} does not describe the functions that schedulers call (/sys/kernel/btf/vmlinux lacks them)"
        case "unreadable":
            yield f"{kernel} describes its types in a way that agentd cannot read (/sys/kernel/btf/vmlinux)"
    if facts.jit is False:
        yield "the kernel's BPF compiler is off: sysctl net.core.bpf_jit_enable=1 turns it on"
    if facts.isolated:
        yield (
            f"the kernel's command line has isolcpus={facts.isolated}, with which it loads no scheduler: use cpusets, "
            "or isolcpus=nohz,... or managed_irq,... instead"
        )


def _of_scheduler(scheduler: Scheduler, facts: KernelFacts) -> Iterator[str]:
    name, version = scheduler.name, facts.version
    if version is not None and version < scheduler.min_kernel:
        yield f"{name} needs a kernel from {kernel_text(scheduler.min_kernel)} on; this one is {facts.release}"
    if version in scheduler.not_on:
        yield f"{name} is known not to work with kernel {kernel_text(version)}; this one is {facts.release}"
    for need in scheduler.needs:
        if sentence := _lacking(scheduler, need, facts):
            yield sentence


def _lacking(scheduler: Scheduler, need: str, facts: KernelFacts) -> str:
    """Returns a sentence where the machine has not what the scheduler needs."""
    name = scheduler.name
    word, _, count = need.partition(":")
    match word:
        case "debugfs" if facts.debugfs is False:
            return f"{name} needs debugfs at /sys/kernel/debug: systemctl start sys-kernel-debug.mount"
        case "kernel-config" if facts.config is False:
            return (
                f"{name} reads the kernel's configuration, which is neither in /boot/config-{facts.release} nor in "
                "/proc/config.gz"
            )
        case "cpus" if facts.cpus is not None and facts.cpus < int(count):
            return f"{name} needs {count} CPUs; this machine has {facts.cpus}"
        case "specification" if not scheduler.always:
            return (
                f"{name} needs arguments of its own, such as a file: give them as always: in a file of "
                "/etc/agentd/schedulers.d"
            )
    return ""
