"""The verification as a whole: its steps, what is kept, and what is handed to units and comes back."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from agentd.core.schedulers.custom import (
    STEPS,
    Compiled,
    Described,
    Metadata,
    Report,
    Step,
    Tried,
    digest,
    not_here,
    own_name,
    scheduler,
)
from agentd.core.schedulers.sources import LARGEST
from agentd.schedulers.keeping import MOST, Damaged, Kept
from agentd.schedulers.verification import Verifier
from agentd.schedulers.verifying import ByUnits
from tests.unit.schedulers.custom_fakes import FIFO, OBJECT

KERNEL = "7.2.12+deb14-cloud-amd64"
SOURCE = FIFO.encode()
COMPILED = Compiled(
    source=digest(SOURCE),
    compiler="clang version 19.1.7",
    steps=tuple(Step(name=name, state="ok", seconds=0.5) for name in ("source", "compile", "object")),
    object=digest(OBJECT),
)
TRIED = Tried(object=digest(OBJECT), steps=tuple(Step(name=name, state="ok") for name in ("load", "trial")))
BAD = Step(name="compile", state="failed", sentence="fifo.bpf.c:1:1: no\x1b[2J", excerpt=("a\x07b",))


class Units:
    """The units of a machine: what they leave, and what they were started with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.compiled: Compiled | bytes = COMPILED
        self.made = OBJECT
        self.tried: Tried | bytes = TRIED
        self.says = ""
        self.started: list[tuple[str, bytes]] = []
        for name in ("handed", "compiled", "tried"):
            (folder / name).mkdir()

    def tools(self) -> ByUnits:
        return ByUnits(self.start, self.folder / "handed", self.folder / "compiled", self.folder / "tried")

    async def start(self, unit: str) -> str:
        (handed,) = (self.folder / "handed").iterdir()
        self.started.append((unit, handed.read_bytes()))
        if unit.startswith("agentd-verify@"):
            (self.folder / "compiled/object.bpf.o").write_bytes(self.made)
            self._leave("compiled", self.compiled)
        else:
            self._leave("tried", self.tried)
        return self.says

    def _leave(self, folder: str, report: Compiled | Tried | bytes) -> None:
        data = report if isinstance(report, bytes) else msgspec.json.encode(report)
        (self.folder / folder / "report.json").write_bytes(data)


@pytest.fixture
def units(tmp_path: Path) -> Units:
    return Units(tmp_path)


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "state/custom")


def verified(
    units: Units,
    kept: Kept,
    name: str = "fifo",
    source: bytes = SOURCE,
    described: Described = Described(),  # noqa: B008
) -> Report:
    verifier = Verifier(units.tools(), kept, KERNEL, lambda: 1_000_000)
    report = asyncio.run(verifier.verify(name, source, described))
    assert [step.name for step in report.steps] == list(STEPS)
    assert list((units.folder / "handed").iterdir()) == []
    return report


def outcome(report: Report) -> list[str]:
    return [step.state for step in report.steps]


def test_a_good_scheduler_is_verified_kept_and_listed(units: Units, kept: Kept) -> None:
    told = Described(summary="first in, first out", algorithm="fifo", use_cases=("tests",), limits=("one queue",))
    report = verified(units, kept, described=told)
    assert report.ok
    assert report.sentence == f"custom:fifo is verified on {KERNEL}"
    assert units.started == [("agentd-verify@fifo.service", SOURCE), ("agentd-scx-try@fifo.service", OBJECT)]
    listed, wrong = kept.listed()
    assert wrong == ()
    found = scheduler(listed["fifo"], str(kept.path("fifo")))
    assert (found.name, found.language, found.summary) == ("custom:fifo", "bpf", "first in, first out")
    assert found.ops == f"custom_fifo_{digest(OBJECT)[:8]}"
    assert found.timeout == 5_000_000
    assert (kept.source("fifo"), kept.object("fifo")) == (SOURCE, OBJECT)
    assert listed["fifo"].compiler == "clang version 19.1.7"
    assert listed["fifo"].steps == (*COMPILED.steps, *TRIED.steps)


def test_a_source_that_does_not_compile_leaves_the_verified_one_as_it_is(units: Units, kept: Kept) -> None:
    assert verified(units, kept).ok
    other = SOURCE + b"int x\n"
    units.compiled = Compiled(source=digest(other), steps=(COMPILED.steps[0], BAD))
    report = verified(units, kept, source=other)
    assert not report.ok
    assert outcome(report) == ["ok", "failed", "skipped", "skipped", "skipped", "skipped"]
    assert report.sentence == "custom:fifo is not verified: compile: fifo.bpf.c:1:1: no [2J"
    assert report.steps[1].excerpt == ("a b",)
    assert kept.source("fifo") == SOURCE


@pytest.mark.parametrize("at", ["load", "trial"])
def test_one_that_fails_in_the_kernel_is_not_kept(units: Units, kept: Kept, at: str) -> None:
    good = (Step(name="load", state="ok"),) if at == "trial" else ()
    bad = Step(name=at, state="failed", sentence="the kernel ended it at once: runtime error")
    units.tried = Tried(object=digest(OBJECT), steps=(*good, bad))
    report = verified(units, kept)
    assert report.sentence == f"custom:fifo is not verified: {at}: the kernel ended it at once: runtime error"
    assert kept.names() == ()


@pytest.mark.parametrize(
    ("name", "source", "says"),
    [
        ("../fifo", SOURCE, "expected a name"),
        ("", SOURCE, "expected a name"),
        ("fifo", b"x" * (LARGEST + 1), "at most 60 KiB"),
    ],
)
def test_what_is_no_scheduler_starts_no_unit(units: Units, kept: Kept, name: str, source: bytes, says: str) -> None:
    report = verified(units, kept, name, source)
    assert outcome(report) == ["failed", *["skipped"] * 5]
    assert says in report.steps[0].sentence
    assert units.started == []


@pytest.mark.parametrize(
    "told", [Described(summary="x" * 3000), Described(use_cases=("x",) * 30), Described(limits=("a\x1b[2J",))]
)
def test_words_of_an_author_are_bounded(units: Units, kept: Kept, told: Described) -> None:
    assert outcome(verified(units, kept, described=told))[0] == "failed"
    assert units.started == []


def test_a_unit_that_fails_is_told(units: Units, kept: Kept) -> None:
    units.says = "agentd-verify@fifo.service is timeout"
    report = verified(units, kept)
    assert "compile: agentd-verify@fifo.service is timeout; see: journalctl" in report.sentence
    assert kept.names() == ()


def _left(file: str, change: Callable[[Path], object]) -> Callable[[Units], None]:
    def does(units: Units) -> None:
        start = units.start

        async def started(unit: str) -> str:
            said = await start(unit)
            change(units.folder / file)
            return said

        units.start = started  # type: ignore[method-assign]

    return does


def _link(file: Path) -> None:
    elsewhere = file.parents[1] / "elsewhere"
    elsewhere.write_bytes(b"{}")
    file.unlink(missing_ok=True)
    file.symlink_to(elsewhere)


@pytest.mark.parametrize(
    ("does", "at"),
    [
        (_left("compiled/report.json", lambda file: file.write_bytes(b"{")), "compile"),
        (_left("compiled/report.json", lambda file: file.write_bytes(b"[" * 100_000)), "compile"),
        (_left("compiled/report.json", lambda file: file.write_bytes(b" " * 300_000)), "compile"),
        (_left("compiled/report.json", lambda file: file.unlink()), "compile"),
        (_left("compiled/report.json", _link), "compile"),
        (_left("compiled/object.bpf.o", _link), "compile"),
        (_left("compiled/object.bpf.o", lambda file: file.write_bytes(b"another")), "compile"),
        (_left("tried/report.json", _link), "load"),
    ],
)
def test_what_comes_back_is_not_trusted(units: Units, kept: Kept, does: Callable[[Units], None], at: str) -> None:
    does(units)
    report = verified(units, kept)
    assert [step.name for step in report.steps if step.state == "failed"] == [at]
    assert kept.names() == ()


def test_reports_of_something_else_are_refused(units: Units, kept: Kept) -> None:
    units.compiled = msgspec.structs.replace(COMPILED, source=digest(b"other"))
    assert "the report is of another source" in verified(units, kept).sentence
    units.compiled = COMPILED
    units.tried = msgspec.structs.replace(TRIED, object=digest(b"other"))
    assert "the report is of another object" in verified(units, kept).sentence
    units.tried = Tried(object=digest(OBJECT))
    assert "not all the steps" in verified(units, kept).sentence
    units.compiled = msgspec.structs.replace(COMPILED, steps=COMPILED.steps[:2])
    assert "not all the steps" in verified(units, kept).sentence
    assert kept.names() == ()


def test_a_folder_that_cannot_be_written_is_told(units: Units, kept: Kept) -> None:
    (units.folder / "state").write_text("no folder")
    report = verified(units, kept)
    assert outcome(report)[-1] == "failed"
    assert "cannot be written" in report.steps[-1].sentence


def test_verifications_wait_for_each_other(units: Units, kept: Kept) -> None:
    async def both() -> list[Report]:
        verifier = Verifier(units.tools(), kept, KERNEL, lambda: 0)
        return await asyncio.gather(*(verifier.verify(name, SOURCE) for name in ("one", "two", "three")))

    assert all(report.ok for report in asyncio.run(both()))
    assert [unit.partition("@")[2] for unit, _ in units.started] == [
        f"{name}.service" for name in ("one", "one", "two", "two", "three", "three")
    ]
    assert kept.names() == ("one", "three", "two")


# What is kept


METADATA = Metadata(
    name="fifo", source=digest(SOURCE), object=digest(OBJECT), kernel=KERNEL, compiler="clang", verified=1
)


def test_what_does_not_fit_together_is_told_and_not_used(kept: Kept) -> None:
    kept.put(METADATA, SOURCE, OBJECT)
    (kept.path("fifo").parent / "object.bpf.o").write_bytes(b"another")
    with pytest.raises(Damaged, match="not what was verified"):
        kept.object("fifo")
    for data in (b"{", b"[" * 100_000, json.dumps({"name": "fifo"}).encode(), msgspec.json.encode(METADATA)[:-1]):
        kept.path("fifo").write_bytes(data)
        listed, wrong = kept.listed()
        assert listed == {}
        assert len(wrong) == 1
        assert "verify custom:fifo again" in wrong[0]
    kept.path("fifo").write_bytes(msgspec.json.encode(msgspec.structs.replace(METADATA, name="other")))
    with pytest.raises(Damaged, match="of another scheduler"):
        kept.read("fifo")


def test_one_that_is_removed_is_gone(kept: Kept) -> None:
    kept.put(METADATA, SOURCE, OBJECT)
    assert not kept.remove("..")
    assert not kept.remove("other")
    assert kept.remove("fifo")
    assert kept.listed() == ({}, ())


def test_no_more_are_kept_than_agreed(kept: Kept) -> None:
    for number in range(MOST):
        kept.put(msgspec.structs.replace(METADATA, name=f"n{number}"), SOURCE, OBJECT)
    with pytest.raises(Damaged, match="remove one"):
        kept.put(METADATA, SOURCE, OBJECT)
    kept.put(msgspec.structs.replace(METADATA, name="n5"), SOURCE, OBJECT)


def test_an_object_is_handed_out_for_the_kernel_that_it_was_verified_on(kept: Kept, tmp_path: Path) -> None:
    kept.put(METADATA, SOURCE, OBJECT)
    file = kept.hand_out("fifo", KERNEL, tmp_path)
    assert file == tmp_path / "custom:fifo.bpf.o"
    assert file.read_bytes() == OBJECT
    with pytest.raises(Damaged, match="verify it again"):
        kept.hand_out("fifo", "7.3.0", tmp_path)
    with pytest.raises(Damaged, match="cannot be read"):
        kept.hand_out("other", KERNEL, tmp_path)
    assert not_here(METADATA, KERNEL) == ""


def test_names_with_their_prefix() -> None:
    assert own_name("custom:fifo") == "fifo"
    for name in ("fifo", "custom:", "custom:../fifo", "custom:custom:fifo", "scx_bpfland"):
        assert own_name(name) == ""
