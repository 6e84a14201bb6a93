"""Compiling the source of a scheduler, by a process for this alone that may do nothing else.

    python3 -I -m agentd.schedulers.compiling NAME SOURCE FOLDER

checks and compiles the file SOURCE, and writes into FOLDER report.json and, where it went well, object.bpf.o. The
status is 0 wherever there is a report.

Headers are those of a folder made for one compilation: scx.h, this kernel's vmlinux.h, and libbpf's.
agentd-vmlinux.service makes vmlinux.h with bpftool, once in a boot.
"""

import os
import platform
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from agentd.core.schedulers import objects, sources, verdicts
from agentd.core.schedulers.custom import Compiled, Step, digest
from agentd.schedulers.files import put, take

SCX = Path(__file__).with_name("scx.h")
FLAGS = (
    *("-g", "-O2", "-Wall", "-std=gnu17", "-fms-extensions", "-Wno-microsoft-anon-tag"),
    *("-target", "bpf", "-mcpu=v3", "--no-default-config", "-nostdinc", "-I."),
    *("-fno-color-diagnostics", "-fno-crash-diagnostics", "-ferror-limit=20", "-fdebug-compilation-dir=."),
)
"""The flags for clang. Without -fms-extensions it drops members of vmlinux.h; the standard is the one that
core/schedulers/tokens.py reads."""
_ARCHITECTURES = {
    "x86_64": "x86",
    "aarch64": "arm64",
    "riscv64": "riscv",
    "s390x": "s390",
    "ppc64le": "powerpc",
    "loongarch64": "loongarch",
}
_OLDEST = 16
_VERSION = re.compile(r"clang version (\d+)\S*")
_HEARD = 1 << 20  # bytes after which a compiler has said enough
_KEPT = 64 << 10


class Tools(Struct, frozen=True, kw_only=True):
    """The tools of a compilation, and its bounds: in seconds, and in bytes of address space and of a file."""

    clang: Path
    vmlinux: Path = Path("/run/agentd-vmlinux/vmlinux.h")
    libbpf: Path = Path("/usr/include/bpf")
    seconds: float = 45.0
    memory: int = 2 << 30
    file: int = 16 << 20


class Cannot(Exception):
    """A step that did not go well, with lines of the compiler."""

    def __init__(self, sentence: str, excerpt: Sequence[str] = ()) -> None:
        super().__init__(sentence)
        self.excerpt = tuple(excerpt)


def find_clang(folder: Path = Path("/usr/bin")) -> Path:
    """Returns the newest clang of a folder; a name without a number counts where there is no other. Raises Cannot."""
    numbered = [(int(path.name[6:]), path) for path in folder.glob("clang-*") if path.name[6:].isdigit()]
    if numbered:
        return max(numbered)[1]
    if (plain := folder / "clang").exists():
        return plain
    raise Cannot(f"there is no clang in {folder}: install clang and libbpf-dev")


def compile_source(name: str, data: bytes, tools: Tools, work: Path) -> tuple[Compiled, bytes]:
    """Checks and compiles a source in the empty folder `work`; returns the report, and the object (b"": none)."""
    steps: list[Step] = []
    compiler, built = "", b""
    began = time.monotonic()
    at = "source"
    try:
        _check(name, data)
        steps.append(_done(at, began, f"{len(data)} bytes, nothing to find fault with"))
        at, began = "compile", time.monotonic()
        compiler = _version(tools, work)
        built, said = _compile(name, data, tools, work)
        steps.append(_done(at, began, f"{compiler} made {len(built)} bytes of it", said))
        at, began = "object", time.monotonic()
        if why := objects.check(built):
            raise Cannot(why)
        steps.append(_done(at, began, "one scheduler, and no program of another type"))
    except Cannot as error:
        seconds = round(time.monotonic() - began, 2)
        steps.append(Step(name=at, state="failed", seconds=seconds, sentence=str(error), excerpt=error.excerpt))
        built = b""
    made = digest(built) if built else ""
    return Compiled(source=digest(data), compiler=compiler, steps=tuple(steps), object=made), built


def _done(name: str, began: float, sentence: str, excerpt: Sequence[str] = ()) -> Step:
    seconds = round(time.monotonic() - began, 2)
    return Step(name=name, state="ok", seconds=seconds, sentence=sentence, excerpt=tuple(excerpt))


def _check(name: str, data: bytes) -> None:
    """Raises Cannot where a source is not to be compiled."""
    try:
        found = sources.check(sources.read(data))
    except sources.Unusable as error:
        raise Cannot(str(error)) from None
    lines = [f"{name}.bpf.c:{one.line}:{one.column}: {one.sentence}" for one in found]
    if lines:
        raise Cannot(lines[0], verdicts.readable("\n".join(lines)))


def _version(tools: Tools, work: Path) -> str:
    status, said = _run([str(tools.clang), "--version"], tools, work)
    found = _VERSION.search(said)
    if status or not found:
        raise Cannot(f"{tools.clang} does not say which version it is", verdicts.readable(said))
    if int(found[1]) < _OLDEST:
        raise Cannot(f"expected clang {_OLDEST} or newer, but {tools.clang} is {found[0]}: older ones cut 64-bit enums")
    return found[0]


def _compile(name: str, data: bytes, tools: Tools, work: Path) -> tuple[bytes, tuple[str, ...]]:
    """Compiles; returns the object and the compiler's warnings. Raises Cannot."""
    architecture = _ARCHITECTURES.get(platform.machine())
    if architecture is None:
        raise Cannot(f"libbpf knows no machine like this one ({platform.machine()})")
    source, made = f"{name}.bpf.c", work / f"{name}.bpf.o"
    try:
        _headers(tools, work)
        (work / source).write_bytes(data)
    except OSError as error:
        raise Cannot(f"{error.filename} cannot be written: {error.strerror}") from None
    define = f"-D__TARGET_ARCH_{architecture}"
    status, said = _run([str(tools.clang), *FLAGS, define, "-c", source, "-o", made.name], tools, work)
    lines = verdicts.readable(said, folder=str(work))
    if status < 0:
        raise Cannot(f"clang was ended by {_signal(-status)}: the source wants more memory or time than it may", lines)
    if status:
        raise Cannot(verdicts.compiled_badly(lines) or f"clang ended with {status} and said nothing", lines)
    try:
        return take(made, objects.LARGEST), lines
    except OSError as error:
        raise Cannot(f"clang made no object that can be read: {error.strerror}", lines) from None


def _headers(tools: Tools, work: Path) -> None:
    """Makes the folder in which clang finds headers, and nothing else. Raises Cannot and OSError."""
    if not tools.vmlinux.is_file():
        raise Cannot(
            f"there is no {tools.vmlinux}: bpftool makes it of this kernel's BTF (install bpftool; what went wrong: "
            "journalctl -u agentd-vmlinux.service)"
        )
    if b"struct sched_ext_ops {" not in tools.vmlinux.read_bytes():
        raise Cannot("this kernel has no sched_ext: its types know no struct sched_ext_ops")
    if not tools.libbpf.is_dir():
        raise Cannot(f"there is no {tools.libbpf}: install libbpf-dev")
    for link, target in (("scx.h", SCX), ("vmlinux.h", tools.vmlinux), ("bpf", tools.libbpf)):
        (work / link).symlink_to(target)


def _run(command: Sequence[str], tools: Tools, work: Path) -> tuple[int, str]:
    """Runs a compiler within its bounds; returns its status and what it said, cut. Raises Cannot."""
    seconds = max(1, int(tools.seconds))
    bounds = (f"--cpu={seconds}", f"--as={tools.memory}", f"--fsize={tools.file}", "--core=0")
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TMPDIR": str(work)}
    try:
        child = subprocess.Popen(
            ["/usr/bin/prlimit", *bounds, "--", *command],
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise Cannot(f"prlimit cannot be run: {error.strerror}") from None
    with child:
        try:
            until = time.monotonic() + tools.seconds
            said = _listen(child, until)
            return child.wait(max(0.1, until - time.monotonic())), said
        except subprocess.TimeoutExpired:
            raise Cannot("clang was not done in time, and was ended") from None
        finally:
            _end(child)


def _listen(child: "subprocess.Popen[bytes]", until: float) -> str:
    """Reads what a child says until it ends. Raises Cannot where it says too much, or for too long."""
    heard, kept = 0, b""
    pipe = child.stdout
    assert pipe is not None  # noqa: S101 - it was asked for
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while selector.select(max(0.0, until - time.monotonic())):
            data = os.read(pipe.fileno(), 65536)
            if not data:
                return kept.decode(errors="replace")
            heard += len(data)
            kept += data[: _KEPT - len(kept)]
            if heard > _HEARD:
                lines = verdicts.readable(kept.decode(errors="replace"))
                raise Cannot(f"clang said more than {_HEARD >> 10} KiB, and was ended", lines)
    raise Cannot("clang was not done in time, and was ended", verdicts.readable(kept.decode(errors="replace")))


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Ends a child with all that it started."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    child.wait()


def _signal(number: int) -> str:
    names: Mapping[int, str] = {one.value: one.name for one in signal.Signals}
    return names.get(number, f"signal {number}")


def main(arguments: list[str]) -> int:
    """Compiles a source; returns the status for the process."""
    if len(arguments) != 3 or not sources.is_name(arguments[0]):
        print("usage: compiling NAME SOURCE FOLDER", file=sys.stderr)
        return 2
    name, source, folder = arguments[0], Path(arguments[1]), Path(arguments[2])
    try:
        for old in ("report.json", "object.bpf.o"):
            (folder / old).unlink(missing_ok=True)  # those of another time are none of this
        data = take(source, sources.LARGEST + 1)  # one that is too large by one gets its sentence
        with tempfile.TemporaryDirectory() as work:
            try:
                compiled, built = compile_source(name, data, Tools(clang=find_clang()), Path(work))
            except Cannot as error:
                failed = Step(name="compile", state="failed", sentence=str(error))
                compiled, built = Compiled(source=digest(data), steps=(failed,)), b""
        if built:
            put(folder / "object.bpf.o", built)
        put(folder / "report.json", msgspec.json.encode(compiled))
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    for step in compiled.steps:
        print(f"{step.name}: {step.state}: {step.sentence}", *step.excerpt, sep="\n  ", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
