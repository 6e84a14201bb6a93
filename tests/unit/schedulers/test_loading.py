"""Loading a scheduler of one's own: what is taken, the dry run, and the process that holds one."""

import errno
import os
from pathlib import Path

import msgspec
import pytest

from agentd.core.schedulers.custom import digest
from agentd.schedulers import loading
from agentd.schedulers.allowing import forbidden
from agentd.schedulers.libbpf import Libbpf, Map, Refused, _aside
from agentd.schedulers.loading import dry_run, hold, not_taken
from tests.unit.schedulers.custom_fakes import FACTS, OBJECT, Kernel, Library
from tests.unit.schedulers.test_verdicts import VERIFIER


def test_an_object_of_one_scheduler_is_taken() -> None:
    assert not_taken(FACTS) == ""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"programs": {"f": 2}}, "f is of type 2"),
        ({"maps": (*FACTS.maps, Map(name="m", type=1, pin="/sys/fs/bpf/m"))}, "m wants to be pinned"),
        ({"maps": (*FACTS.maps, Map(name="m", type=3))}, "m is of type 3"),
        ({"maps": FACTS.maps[:1]}, "one scheduler"),
        ({"maps": (*FACTS.maps, FACTS.maps[1])}, "one scheduler"),
        ({"maps": (Map(name="fifo_ops", type=26),)}, "one scheduler"),
        ({"structures": ("tcp_congestion_ops",)}, "one scheduler"),
        ({"structures": ()}, "one scheduler"),
    ],
)
def test_what_is_no_scheduler_is_never_loaded(change: dict[str, object], says: str) -> None:
    kernel = Kernel()
    kernel.facts = msgspec.structs.replace(FACTS, **change)
    verdict = dry_run(Library(kernel), OBJECT, "fifo")
    assert not verdict.ok
    assert says in verdict.sentence
    assert kernel.calls == ["open", "close"]


def test_a_dry_run_attaches_nothing_and_leaves_nothing() -> None:
    kernel = Kernel()
    verdict = dry_run(Library(kernel), OBJECT, "fifo")
    assert verdict.ok
    assert kernel.calls == ["open", "load", "close"]
    assert kernel.name == f"custom_fifo_{digest(OBJECT)[:8]}"


def test_the_verifiers_complaint_is_handed_back() -> None:
    kernel = Kernel()
    kernel.refuses["load"] = Refused("the kernel does not take it", VERIFIER, errno.EACCES)
    verdict = dry_run(Library(kernel), OBJECT, "unsafe")
    assert verdict.sentence.startswith("the verifier refuses unsafe_enqueue at unsafe.bpf.c:8: Possibly NULL")
    assert verdict.excerpt
    assert kernel.calls[-1] == "close"


def test_missing_capabilities_are_named() -> None:
    kernel = Kernel()
    log = (
        "libbpf: Error in bpf_object__probe_loading(): Operation not permitted(1). Couldn't load trivial BPF program.\n"
    )
    for said in (log, ""):
        kernel.refuses["load"] = Refused("the kernel does not take it: Operation not permitted", said, errno.EPERM)
        assert "loading needs CAP_BPF and CAP_PERFMON" in dry_run(Library(kernel), OBJECT, "fifo").sentence


def test_a_damaged_object_is_not_even_opened() -> None:
    kernel = Kernel()
    assert dry_run(Library(kernel), OBJECT[:-20], "fifo").sentence.startswith("expected a BPF object")
    assert kernel.calls == []


def test_one_that_is_held_ends_by_wish(capsys: pytest.CaptureFixture[str]) -> None:
    kernel = Kernel()
    kernel.stop_at = 20_000_000
    assert hold(Library(kernel), OBJECT, "fifo", kernel.stopped, kernel.observe) == 0
    assert capsys.readouterr().err == "EXIT: unregistered from user space\n"
    assert kernel.calls == ["open", "load", "attach", "close"]
    assert kernel.seen.state == "disabled"


def test_one_that_the_kernel_ends_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    def course(kernel: Kernel, passed: int) -> None:
        kernel.enable()
        if passed >= 5000:
            kernel.eject(1026, b"runnable task stall", b"cat[12] failed to run for 5.1s")

    kernel = Kernel(course)
    assert hold(Library(kernel), OBJECT, "fifo", kernel.stopped, kernel.observe) == 1
    assert capsys.readouterr().err == "EXIT: runnable task stall (cat[12] failed to run for 5.1s)\n"
    assert kernel.calls[-1] == "close"


def test_one_that_ends_without_a_word_is_noticed_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    kernel = Kernel(lambda kernel, passed: kernel.eject(1024, b"", told=False) if passed >= 3000 else kernel.enable())
    assert hold(Library(kernel), OBJECT, "fifo", kernel.stopped, kernel.observe) == 1
    assert capsys.readouterr().err == "EXIT: the kernel ended it, and it recorded no reason\n"


def test_a_processor_that_goes_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    code = (1 << 48) | (1 << 32)
    kernel = Kernel(lambda kernel, _: kernel.eject(66, b"unregistered from the main kernel", b"cpu 1 going", code))
    assert hold(Library(kernel), OBJECT, "fifo", kernel.stopped, kernel.observe) == 0
    assert capsys.readouterr().err == "EXIT: unregistered from the main kernel (cpu 1 going)\n"


@pytest.mark.parametrize("call", ["open", "load", "attach"])
def test_one_that_cannot_begin_says_why(call: str, capsys: pytest.CaptureFixture[str]) -> None:
    kernel = Kernel()
    kernel.refuses[call] = Refused("the kernel does not begin with it: Device or resource busy", "", errno.EBUSY)
    assert hold(Library(kernel), OBJECT, "fifo", kernel.stopped, kernel.observe) == 1
    assert capsys.readouterr().err == (
        "Error: the kernel does not begin with it: Device or resource busy: another scheduler is on\n"
    )
    assert kernel.calls[-1] == ("close" if call != "open" else "open")


def test_nothing_is_loaded_that_root_did_not_allow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "custom-schedulers"
    assert str(missing) in forbidden(missing)
    (tmp_path / "mine").touch()
    assert (forbidden(tmp_path / "mine") == "") is (os.getuid() == 0)
    monkeypatch.setattr(loading, "forbidden", lambda: forbidden(missing))
    monkeypatch.setattr(loading, "waiting", lambda: None)
    assert loading.main(["fifo", str(tmp_path / "fifo.bpf.o")]) == 1
    assert capsys.readouterr().err.startswith("Error: root has not allowed schedulers of one's own")
    assert loading.main(["Fifo", "x"]) == 2


def test_the_words_of_libbpf_are_kept_and_bounded(capfd: pytest.CaptureFixture[str]) -> None:
    with _aside() as said:
        os.write(2, b"libbpf: no\n")
    assert said.text == "libbpf: no\n"
    with _aside() as said:
        os.write(2, b"first\n" + b"x" * 200_000 + b"\nlast\n")
    assert said.text.startswith("first\n")
    assert said.text.endswith("\nlast\n")
    assert len(said.text) < 80_000
    assert capfd.readouterr().err == ""


def test_a_machine_without_libbpf_is_told() -> None:
    with pytest.raises(Refused, match="install libbpf1"):
        Libbpf("libbpf-that-is-not-there.so.1")
    with pytest.raises(Refused, match="install libbpf1"):
        Libbpf("libc.so.6")
