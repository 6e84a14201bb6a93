"""Why this kernel or machine can run no scheduler, or not that one."""

from pathlib import Path

import pytest

from agentd.core.schedulers.catalogue import Catalogue
from agentd.core.schedulers.kernel import KernelFacts, isolated, kernel_obstacles, obstacles
from agentd.schedulers.catalogues import load
from agentd.schedulers.kernel import gather
from tests.unit.schedulers.btf_files import blob, kernel

CATALOGUE: Catalogue = load(folder=Path("/nonexistent")).catalogue
FINE = KernelFacts(release="7.2.12+deb14-cloud-amd64", btf="fits", jit=True, cpus=2, debugfs=True, config=True)


def only(found: tuple[str, ...]) -> str:
    assert len(found) == 1
    return found[0]


def test_a_fit_kernel_runs_all_that_need_nothing_of_their_own() -> None:
    cannot = {name for name, one in CATALOGUE.items() if obstacles(one, FINE)}
    assert cannot == {"scx_layered", "scx_mitosis"}
    assert "always: in a file of /etc/agentd/schedulers.d" in only(obstacles(CATALOGUE["scx_layered"], FINE))


def test_what_is_not_known_is_no_obstacle() -> None:
    unknown = KernelFacts(release="strange")
    assert {name for name, one in CATALOGUE.items() if obstacles(one, unknown)} == {"scx_layered", "scx_mitosis"}


def test_a_kernel_without_sched_ext_says_just_that() -> None:
    facts = KernelFacts(release="6.12.117+deb13-amd64", sched_ext=False, jit=False, isolated="1-3")
    for one in CATALOGUE.values():
        assert "6.12.117+deb13-amd64, has no sched_ext" in only(obstacles(one, facts))
    assert "Debian 13's own kernel is built without it" in only(kernel_obstacles(facts))


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (KernelFacts(release="7.2.12", btf="hidden"), "scx_bpf_create_dsq shows an argument too many"),
        (KernelFacts(release="7.2.12", btf="missing"), "CONFIG_DEBUG_INFO_BTF"),
        (KernelFacts(release="7.2.12", btf="without"), "does not describe the functions"),
        (KernelFacts(release="7.2.12", btf="unreadable"), "in a way that agentd cannot read"),
        (KernelFacts(release="7.2.12", jit=False), "sysctl net.core.bpf_jit_enable=1"),
        (KernelFacts(release="7.2.12", isolated="2-3"), "isolcpus=2-3"),
    ],
)
def test_a_kernel_that_can_load_none_says_why(facts: KernelFacts, words: str) -> None:
    assert words in only(kernel_obstacles(facts))
    assert words in only(obstacles(CATALOGUE["scx_simple"], facts))


@pytest.mark.parametrize(
    ("name", "release", "words"),
    [
        ("scx_lavd", "6.12.9", "scx_lavd needs a kernel from 6.14 on; this one is 6.12.9"),
        ("scx_lavd", "6.16-rc1", "scx_lavd is known not to work with kernel 6.16; this one is 6.16-rc1"),
        ("scx_layered", "6.13.1", "scx_layered is known not to work with kernel 6.13"),
        ("scx_qmap", "6.18.15+deb13-amd64", "scx_qmap needs a kernel from 7.2 on"),
    ],
)
def test_a_scheduler_wants_its_kernel(name: str, release: str, words: str) -> None:
    assert words in obstacles(CATALOGUE[name], KernelFacts(release=release))[0]


@pytest.mark.parametrize("release", ["6.14.0", "6.18.44-fc-v657", "10.0", "7.2.12+deb14"])
def test_kernels_are_compared_as_numbers(release: str) -> None:
    assert obstacles(CATALOGUE["scx_lavd"], KernelFacts(release=release)) == ()


def test_a_machine_that_lacks_something_says_what_to_do() -> None:
    facts = KernelFacts(release="7.3.4", cpus=1, debugfs=False, config=False)
    debugfs, config = obstacles(CATALOGUE["scx_lavd"], facts)
    assert debugfs.endswith("systemctl start sys-kernel-debug.mount")
    assert "/boot/config-7.3.4" in config
    assert only(obstacles(CATALOGUE["scx_pair"], facts)) == "scx_pair needs 2 CPUs; this machine has 1"


@pytest.mark.parametrize(
    ("words", "cpus"),
    [
        ("root=/dev/vda quiet", ""),
        ("isolcpus=1-3,5", "1-3,5"),
        ("quiet isolcpus=domain,managed_irq,2", "2"),
        ("isolcpus=nohz,2-3", ""),
        ("isolcpus=managed_irq,2-3 rw", ""),
        ("isolcpus=nohz,1 isolcpus=2", "2"),
        ('isolcpus="1,2"', "1,2"),
        ("noisolcpus=1 isolcpus", ""),
    ],
)
def test_the_command_line_takes_cpus_away(words: str, cpus: str) -> None:
    assert isolated(words) == cpus


def tree(root: Path, **files: str | bytes) -> Path:
    """A root folder with a kernel that has sched_ext, and these files over it."""
    whole: dict[str, str | bytes] = {
        "sys/kernel/sched_ext/state": "disabled\n",
        "sys/kernel/btf/vmlinux": kernel(arguments=2),
        "sys/devices/system/cpu/online": "0-3,6\n",
        "proc/cmdline": "root=/dev/vda quiet\n",
        "proc/sys/net/core/bpf_jit_enable": "1\n",
        "proc/self/mountinfo": "24 1 0:7 / /sys/kernel/debug rw,nosuid - debugfs debugfs rw\n",
        "boot/config-7.3.4": "CONFIG_BPF=y\n",
        **{name.replace("__", "/"): text for name, text in files.items()},
    }
    for name, text in whole.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def test_the_facts_are_gathered_from_files(tmp_path: Path) -> None:
    assert gather(tree(tmp_path), "7.3.4") == KernelFacts(
        release="7.3.4", btf="fits", jit=True, cpus=5, debugfs=True, config=True
    )


def test_an_empty_tree_is_a_kernel_without_sched_ext(tmp_path: Path) -> None:
    assert gather(tmp_path, "6.12.1") == KernelFacts(release="6.12.1", sched_ext=False, config=False)


def test_a_machine_in_trouble_is_seen_to_be(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        sys__kernel__btf__vmlinux=kernel(arguments=3),
        proc__cmdline="isolcpus=2",
        proc__sys__net__core__bpf_jit_enable="0\n",
        proc__self__mountinfo="24 1 0:7 / /tmp rw - tmpfs debugfs rw\n",
        sys__devices__system__cpu__online="0\n",
    )
    (root / "boot/config-7.3.4").unlink()
    assert gather(root, "7.3.4") == KernelFacts(
        release="7.3.4", btf="hidden", jit=False, isolated="2", cpus=1, debugfs=False, config=False
    )


@pytest.mark.parametrize(
    ("text", "verdict"),
    [(b"", "unreadable"), (b"no such thing at all, really", "unreadable"), (blob([]), "without")],
)
def test_a_description_that_tells_nothing_is_told(tmp_path: Path, text: bytes, verdict: str) -> None:
    assert gather(tree(tmp_path, sys__kernel__btf__vmlinux=text), "7.3.4").btf == verdict


def test_the_description_is_read_once_for_a_kernel_and_again_after_it_could_not_be(tmp_path: Path) -> None:
    root = tree(tmp_path)
    file = root / "sys/kernel/btf/vmlinux"
    file.unlink()
    assert gather(root, "7.3.4").btf == "missing"
    file.write_bytes(kernel(arguments=3))
    assert gather(root, "7.3.4").btf == "hidden"
    file.write_bytes(kernel(arguments=2))
    assert gather(root, "7.3.4").btf == "hidden"
    assert gather(root, "7.3.5").btf == "fits"


def test_this_machines_own_facts_can_be_gathered() -> None:
    facts = gather()
    assert facts.version is not None
    assert (facts.cpus or 0) >= Path("/sys/devices/system/cpu/online").exists()
    assert facts.sched_ext == Path("/sys/kernel/sched_ext").exists()
