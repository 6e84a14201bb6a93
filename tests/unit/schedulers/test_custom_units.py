"""The units and files around the verification of schedulers fit the code that they run."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from agentd.core.schedulers.objects import END_SECTION, END_SIZE
from agentd.core.schedulers.sources import NAME, check

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("unit", ["agentd-verify@.service", "agentd-scx-try@.service"])
def test_a_unit_runs_a_program_that_there_is(unit: str) -> None:
    text = (ROOT / "units" / unit).read_text()
    (line,) = re.findall("^ExecStart=(.*)$", text, re.MULTILINE)
    python, *flags, _, module, name, handed, folder = shlex.split(line)
    assert (python, flags, name) == ("/usr/bin/python3", ["-I", "-B"], "%i")
    assert callable(import_module(module).main)
    assert handed.startswith("/run/agentd/verify/%i.bpf.")
    assert f"RuntimeDirectory={folder.removeprefix('/run/')}\n" in text


def test_agentd_may_start_them_for_names_of_schedulers_alone() -> None:
    rules = (ROOT / "units/agentd.rules").read_text()
    assert rf"/^agentd-(verify|scx-try)@{NAME.pattern}\.service$/" in rules


def test_only_what_loads_has_capabilities() -> None:
    for unit in ("agentd-verify@.service", "agentd-vmlinux.service"):
        assert "\nCapabilityBoundingSet=\n" in (ROOT / "units" / unit).read_text()
        assert "AmbientCapabilities" not in (ROOT / "units" / unit).read_text()
    text = (ROOT / "units/agentd-scx-try@.service").read_text()
    assert set(re.findall("CAP_[A-Z_]+", text)) == {"CAP_BPF", "CAP_PERFMON"}


def test_the_header_records_an_end_as_it_is_read() -> None:
    header = (ROOT / "agentd/schedulers/scx.h").read_text()
    (record,) = re.findall(r"struct agentd_end \{(.*?)\};", header, re.DOTALL)
    sizes = {"s32": 4, "u32": 4, "s64": 8, "char": 1}
    members = re.findall(r"(\w+) \w+(?:\[(\d+)\])?;", record)
    assert sum(sizes[kind] * int(count or 1) for kind, count in members) == END_SIZE
    assert f'SEC("{END_SECTION}")' in header


def test_the_example_in_the_header_is_a_scheduler() -> None:
    header = (ROOT / "agentd/schedulers/scx.h").read_text()
    example = re.findall(r"^ \*\t(.*)$", header, re.MULTILINE)
    assert len(example) > 10
    assert check("\n".join(example)) == ()
