"""A part's settings: a field of Config and a line of config.kinds is all that one more part needs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct, inspect

from agentd.config import files
from agentd.config.kinds import PARTS, Settings
from agentd.core.config import Config
from agentd.core.fields import Fault, Parser, by_name
from agentd.core.jobs.settings import Job, faults
from agentd.core.jobs.triggers import After
from tests.unit.config.texts import errors, write, zones

# A toy part: it counts sheep in flocks.

Sheep = Annotated[int, Meta(ge=1, extra={"kind": "sheep"})]


class Flock(Struct, frozen=True, kw_only=True):
    name: str
    sheep: tuple[Sheep, ...] = ()
    shepherd: str = ""


class Counts(Struct, frozen=True, kw_only=True):
    flocks: Annotated[dict[str, Flock], by_name("flock", or_list=True)] = {}
    most: int = 3


class ToyConfig(Config, frozen=True, kw_only=True):
    counts: Counts = Counts()


def sheep(raw: Any) -> int:
    if not isinstance(raw, str) or set(raw) != {"*"}:
        raise ValueError("expected one * for each sheep")
    return len(raw)


def of_counts(whole: Any) -> Iterator[Fault]:
    for name, flock in whole.counts.flocks.items():
        if flock.shepherd not in whole.jobs:
            yield Fault(("counts", "flocks", name, "shepherd"), f'there is no job "{flock.shepherd}"')
        for position, herd in enumerate(flock.sheep):
            if herd > whole.counts.most:
                yield Fault(("counts", "flocks", name, "sheep", position), "has too many sheep")


KINDS: dict[str, Parser] = {"sheep": sheep}
TOY = (*PARTS, Settings(KINDS, faults=of_counts))


def toy(given: Path) -> ToyConfig:
    config = files.load(given, ToyConfig, TOY).config
    assert isinstance(config, ToyConfig)
    return config


def test_one_more_part_has_its_settings_in_the_same_file(file: Path) -> None:
    config = toy(write(file, "jobs: {rex: {run: x}}\ncounts: {flocks: {hill: {sheep: ['**', '*'], shepherd: rex}}}\n"))
    assert config.counts.flocks == {"hill": Flock(name="hill", sheep=(2, 1), shepherd="rex")}
    assert zones(config) == {"rex": config.timezone}  # the other parts have their settings as before


def test_one_more_part_needs_no_settings(file: Path) -> None:
    assert toy(write(file, "jobs: {rex: {run: x}}\n")).counts == Counts()
    assert toy(write(file, "")).counts == Counts()


def test_drop_ins_add_to_the_mappings_by_name_of_one_more_part(file: Path) -> None:
    write(file, "jobs: {rex: {run: x}}\ncounts: {most: 4, flocks: [{sheep: '*', shepherd: rex}]}\n")
    write(file.parent / "conf.d/10.yaml", "counts: {flocks: {hill: {shepherd: rex}, '1': {sheep: '**'}}}\n")
    config = toy(file.parent)
    assert config.counts.most == 4
    assert config.counts.flocks == {
        "1": Flock(name="1", sheep=(2,), shepherd="rex"),
        "hill": Flock(name="hill", shepherd="rex"),
    }


def test_the_errors_and_faults_of_one_more_part_have_their_places(file: Path) -> None:
    write(file, "counts:\n  flocks:\n    hill: {sheep: ['*', x]}\n    dale: {sheeps: 1}\n")
    assert errors(file, ToyConfig, TOY) == [
        f"{file}:3:25: counts.flocks.hill.sheep[1]: expected one * for each sheep",
        f'{file}:4:12: counts.flocks.dale: unknown key "sheeps" (did you mean sheep?)',
    ]
    write(file, "jobs: {rex: {run: x}}\ncounts:\n  flocks:\n    - shepherd: rex\n      sheep:\n        - '*'\n")
    drop_in = write(
        file.parent / "conf.d/10.yaml",
        "counts:\n  flocks:\n    hill:\n      shepherd: max\n      sheep:\n      - '****'\n",
    )
    assert errors(file.parent, ToyConfig, TOY) == [
        f'{drop_in}:4:17: counts.flocks.hill.shepherd: there is no job "max"',
        f"{drop_in}:6:9: counts.flocks.hill.sheep[0]: has too many sheep",
    ]


def test_a_fault_about_a_setting_that_no_file_has_is_told_at_what_holds_it(file: Path) -> None:
    write(file, "counts:\n  flocks:\n    - sheep: '*'\n")
    assert errors(file, ToyConfig, TOY) == [f'{file}:3:7: counts.flocks[0].shepherd: there is no job ""']


def test_no_two_parts_have_a_kind_of_the_same_name() -> None:
    names = [name for part in PARTS for name in part.kinds]
    assert sorted(names) == sorted(set(names))


def test_every_kind_that_a_setting_names_has_a_parser_and_every_parser_a_setting() -> None:
    named: set[str] = set()
    seen: set[type] = set()

    def walk(info: inspect.Type) -> None:
        if isinstance(info, inspect.Metadata):
            kind = (info.extra or {}).get("kind")
            if kind is not None:
                named.add(kind)
                return
            walk(info.type)
        elif isinstance(info, inspect.StructType) and info.cls not in seen:
            seen.add(info.cls)
            for field in info.fields:
                walk(field.type)
        elif isinstance(info, inspect.UnionType):
            for one in info.types:
                walk(one)
        elif isinstance(info, inspect.DictType):
            walk(info.value_type)
        elif isinstance(info, inspect.VarTupleType):
            walk(info.item_type)

    walk(inspect.type_info(Config))
    assert named == {name for part in PARTS for name in part.kinds}


def test_jobs_that_follow_each_other_are_followed_once_each() -> None:
    """Five thousand jobs one after the other and three in a circle; each is looked at once, not once for each other."""
    chain = {f"j{n}": Job(name=f"j{n}", run=("x",), when=After(f"j{n + 1}")) for n in range(5000)}
    chain["j5000"] = Job(name="j5000", run=("x",))
    assert list(faults(chain)) == []
    for name, upstream in (("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")):
        chain[name] = Job(name=name, run=("x",), when=After(upstream))
    assert list(faults(chain)) == [
        Fault(("jobs", "a", "when", "after"), "the jobs go round in a circle: a after b after c after a"),
        Fault(("jobs", "b", "when", "after"), "the jobs go round in a circle: b after c after a after b"),
        Fault(("jobs", "c", "when", "after"), "the jobs go round in a circle: c after a after b after c"),
    ]
