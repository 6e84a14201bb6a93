"""The compilation of a source, by a clang that a script plays."""

import base64
import os
import stat
import sys
import time
from pathlib import Path

import msgspec
import pytest

from agentd.core.schedulers.custom import Compiled, digest
from agentd.core.schedulers.sources import LARGEST
from agentd.schedulers import compiling
from agentd.schedulers.compiling import Cannot, Tools, compile_source, find_clang
from tests.unit.schedulers.custom_fakes import FIFO, OBJECT

MAKES = f"echo {base64.b64encode(OBJECT).decode()} | base64 -d >fifo.bpf.o\n"


def clang(folder: Path, does: str, version: str = "Debian clang version 19.1.7 (3+b1)") -> Path:
    """A clang that does this with a source."""
    script = folder / "clang"
    script.write_text(f'#!/bin/sh\n[ "$1" = --version ] && {{ echo "{version}"; exit; }}\n{does}')
    script.chmod(0o755)
    return script


def tools(folder: Path, does: str = MAKES, **more: object) -> Tools:
    vmlinux = folder / "vmlinux.h"
    vmlinux.write_text("struct sched_ext_ops {\n};\n")
    (folder / "bpf").mkdir(exist_ok=True)
    bounds = {"clang": clang(folder, does), "vmlinux": vmlinux, "libbpf": folder / "bpf", **more}
    return Tools(**bounds)  # type: ignore[arg-type]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def outcome(compiled: Compiled) -> list[tuple[str, str]]:
    return [(step.name, step.state) for step in compiled.steps]


def test_a_source_becomes_an_object(tmp_path: Path, work: Path) -> None:
    compiled, made = compile_source("fifo", FIFO.encode(), tools(tmp_path), work)
    assert outcome(compiled) == [("source", "ok"), ("compile", "ok"), ("object", "ok")]
    assert made == OBJECT
    assert compiled.object == digest(OBJECT)
    assert compiled.source == digest(FIFO.encode())
    assert compiled.compiler == "clang version 19.1.7"


def test_the_compiler_sees_its_headers_and_an_environment_of_its_own(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CPATH", "/somewhere")
    does = 'echo "$CPATH" "$@" >&2; head -1 scx.h vmlinux.h fifo.bpf.c >&2; ls -d bpf >&2\n' + MAKES
    compiled, _ = compile_source("fifo", FIFO.encode(), tools(tmp_path, does), work)
    said = " ".join(compiled.steps[1].excerpt)
    assert "/somewhere" not in said
    for word in ("-nostdinc", "-fms-extensions", "-target bpf", "struct sched_ext_ops", "SPDX", "First in", "bpf"):
        assert word in said
    assert str(work) not in said


def test_findings_end_it_before_the_compiler(tmp_path: Path, work: Path) -> None:
    source = FIFO + 'SEC("kprobe/x") int f(void) { return 0; }\n'
    compiled, made = compile_source("fifo", source.encode(), tools(tmp_path, "touch ../began\n"), work)
    assert outcome(compiled) == [("source", "failed")]
    assert compiled.steps[0].sentence.startswith('fifo.bpf.c:19:1: SEC("kprobe/x") is not taken')
    assert made == b""
    assert not (tmp_path / "began").exists()


def test_diagnostics_are_handed_back_readable(tmp_path: Path, work: Path) -> None:
    does = 'echo "$PWD/fifo.bpf.c:9:10: error: no such thing" >&2; exit 1\n'
    compiled, made = compile_source("fifo", FIFO.encode(), tools(tmp_path, does), work)
    step = compiled.steps[-1]
    assert (step.name, step.state, step.sentence) == ("compile", "failed", "fifo.bpf.c:9:10: no such thing")
    assert step.excerpt == ("fifo.bpf.c:9:10: error: no such thing",)
    assert made == b""


def test_an_object_with_a_program_of_another_type_is_refused(tmp_path: Path, work: Path) -> None:
    bad = OBJECT.replace(b"struct_ops/fifo_enqueue", b"kprobe/fifo_enqueue\0\0\0\0")
    does = f"echo {base64.b64encode(bad).decode()} | base64 -d >fifo.bpf.o\n"
    compiled, made = compile_source("fifo", FIFO.encode(), tools(tmp_path, does), work)
    assert outcome(compiled)[-1] == ("object", "failed")
    assert (made, compiled.object) == (b"", "")


def gone(pid: int) -> bool:
    """Whether a process is no more; one that its parent has yet to wait for counts as gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize("quiet", ["", "exec >&- 2>&-; "])
def test_a_compiler_that_never_ends_is_ended_with_all_that_it_started(tmp_path: Path, work: Path, quiet: str) -> None:
    does = f"{quiet}sleep 600 & echo $! >../child; wait\n"
    compiled, _ = compile_source("fifo", FIFO.encode(), tools(tmp_path, does, seconds=1.0), work)
    assert compiled.steps[-1].sentence == "clang was not done in time, and was ended"
    child = int((tmp_path / "child").read_text())
    until = time.monotonic() + 10
    while not gone(child) and time.monotonic() < until:
        time.sleep(0.01)
    assert gone(child)


def test_a_compiler_that_computes_for_ever_is_ended(tmp_path: Path, work: Path) -> None:
    compiled, _ = compile_source("fifo", FIFO.encode(), tools(tmp_path, "while :; do :; done\n", seconds=1.0), work)
    assert "ended" in compiled.steps[-1].sentence
    assert compiled.steps[-1].state == "failed"


def test_a_compiler_gets_no_more_memory_than_agreed(tmp_path: Path, work: Path) -> None:
    does = f'exec {sys.executable} -c \'x = bytearray(1 << 30); open("../got", "w")\' 2>&1\n'
    compiled, _ = compile_source("fifo", FIFO.encode(), tools(tmp_path, does, memory=256 << 20), work)
    assert "MemoryError" in " ".join(compiled.steps[-1].excerpt)
    assert not (tmp_path / "got").exists()


def test_a_compiler_writes_no_more_than_agreed(tmp_path: Path, work: Path) -> None:
    does = "head -c 3000000 /dev/zero >fifo.bpf.o\n"
    compiled, _ = compile_source("fifo", FIFO.encode(), tools(tmp_path, does, file=1 << 20), work)
    assert compiled.steps[-1].state == "failed"
    assert (work / "fifo.bpf.o").stat().st_size == 1 << 20


def test_a_compiler_that_says_ten_megabytes_is_heard_no_longer(tmp_path: Path, work: Path) -> None:
    does = "yes 'x.bpf.c:1:1: error: no' | head -c 10000000\n"
    compiled, _ = compile_source("fifo", FIFO.encode(), tools(tmp_path, does), work)
    step = compiled.steps[-1]
    assert step.sentence == "clang said more than 1024 KiB, and was ended"
    assert len(step.excerpt) == 40


def test_an_object_that_is_a_link_or_too_large_is_not_taken(tmp_path: Path, work: Path) -> None:
    for does in ("ln -sf fifo.bpf.c fifo.bpf.o\n", "head -c 5000000 /dev/zero >fifo.bpf.o\n", "mkfifo fifo.bpf.o\n"):
        for old in work.iterdir():
            old.unlink()
        compiled, made = compile_source("fifo", FIFO.encode(), tools(tmp_path, does), work)
        assert compiled.steps[-1].sentence.startswith("clang made no object that can be read")
        assert made == b""


def test_what_is_missing_is_named(tmp_path: Path, work: Path) -> None:
    whole = tools(tmp_path)
    without = [
        (msgspec.structs.replace(whole, vmlinux=tmp_path / "no.h"), "install bpftool"),
        (msgspec.structs.replace(whole, libbpf=tmp_path / "no"), "install libbpf-dev"),
        (msgspec.structs.replace(whole, clang=tmp_path / "no"), "does not say which version"),
    ]
    for some, says in without:
        compiled, _ = compile_source("fifo", FIFO.encode(), some, work)
        assert says in compiled.steps[-1].sentence
        assert compiled.steps[-1].name == "compile"


def test_a_kernel_without_sched_ext_is_told(tmp_path: Path, work: Path) -> None:
    some = tools(tmp_path)
    some.vmlinux.write_text("struct task_struct {\n};\n")
    compiled, _ = compile_source("fifo", FIFO.encode(), some, work)
    assert compiled.steps[-1].sentence.startswith("this kernel has no sched_ext")


def test_an_old_compiler_is_refused(tmp_path: Path, work: Path) -> None:
    some = tools(tmp_path)
    clang(tmp_path, MAKES, version="Debian clang version 14.0.6")
    compiled, _ = compile_source("fifo", FIFO.encode(), some, work)
    assert "expected clang 16 or newer" in compiled.steps[-1].sentence


def test_the_newest_compiler_is_taken(tmp_path: Path) -> None:
    with pytest.raises(Cannot, match="install clang"):
        find_clang(tmp_path)
    for name in ("clang", "clang-cpp-19", "clang-format"):
        (tmp_path / name).touch()
    assert find_clang(tmp_path).name == "clang"
    for name in ("clang-9", "clang-19"):
        (tmp_path / name).touch()
    assert find_clang(tmp_path).name == "clang-19"


def test_the_program_leaves_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some = tools(tmp_path)
    monkeypatch.setattr(compiling, "find_clang", lambda: some.clang)
    monkeypatch.setattr(compiling, "Tools", lambda clang: msgspec.structs.replace(some, clang=clang))
    (tmp_path / "source").write_text(FIFO)
    assert compiling.main(["fifo", str(tmp_path / "source"), str(tmp_path)]) == 0
    report = msgspec.json.decode((tmp_path / "report.json").read_bytes(), type=Compiled)
    assert report.object == digest((tmp_path / "object.bpf.o").read_bytes())
    assert stat.S_IMODE((tmp_path / "report.json").stat().st_mode) == 0o644
    (tmp_path / "source").write_bytes(b"x" * (LARGEST + 1))
    assert compiling.main(["fifo", str(tmp_path / "source"), str(tmp_path)]) == 0
    report = msgspec.json.decode((tmp_path / "report.json").read_bytes(), type=Compiled)
    assert "at most 60 KiB" in report.steps[0].sentence
    assert not (tmp_path / "object.bpf.o").exists()


def test_a_report_of_another_time_does_not_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "report.json").write_text("{}")
    assert compiling.main(["fifo", str(tmp_path / "missing"), str(tmp_path)]) == 1
    assert not (tmp_path / "report.json").exists()
    assert capsys.readouterr().err == f"{tmp_path}/missing: {os.strerror(2)}\n"
    assert compiling.main(["../fifo", "x", "y"]) == 2
