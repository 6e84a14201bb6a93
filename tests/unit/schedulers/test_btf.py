"""The kernel's description of its types, read as far as the arguments of a function."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.schedulers import btf
from tests.unit.schedulers.btf_files import blob, kernel, prototype

REAL = Path("/sys/kernel/btf/vmlinux")


@pytest.mark.parametrize("arguments", [0, 2, 3, 12])
def test_the_arguments_of_a_function_are_counted_behind_types_of_every_kind(arguments: int) -> None:
    assert btf.arguments(kernel(arguments), "scx_bpf_create_dsq") == arguments
    assert btf.arguments(kernel(arguments), "scx_bpf_create_dsq_impl") == 3


def test_there_is_no_function_where_the_name_is_another_things() -> None:
    assert btf.arguments(kernel(2), "task_struct") is None
    assert btf.arguments(kernel(2), "create_dsq") is None
    assert btf.arguments(kernel(2), "nothing") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "too short"),
        (blob([], magic=0x9FEB), "does not begin as BTF"),
        (blob([prototype(2)], cut=1), "cut off"),
        (blob([("f", 12, 1, 9, b"")]), "there is no type 9"),
        (blob([("f", 12, 1, 0, b"")]), "there is no type 0"),
        (blob([("f", 12, 1, 1, b"")]), "not that of a function"),
        (blob([("", 31, 0, 0, b""), ("f", 12, 1, 3, b""), prototype(1)]), "a kind that is not known: 31"),
        (blob([("s", 4, 60000, 0, b""), ("f", 12, 1, 3, b""), prototype(1)]), "there is no type 3"),
    ],
)
def test_what_cannot_be_read_is_said(text: bytes, words: str) -> None:
    with pytest.raises(btf.NotBtf, match=words):
        btf.arguments(text, "f")


@given(st.binary(max_size=200), st.integers(0, 900))
def test_damage_is_said_or_does_no_harm(damage: bytes, at: int) -> None:
    text = kernel(2)
    text = text[:at] + damage + text[at + len(damage) :]
    try:
        found = btf.arguments(text, "scx_bpf_create_dsq")
    except btf.NotBtf:
        return
    assert found is None or 0 <= found <= 0xFFFF


def test_a_file_is_read_whole_and_no_more(tmp_path: Path) -> None:
    file = tmp_path / "vmlinux"
    file.write_bytes(kernel(2))
    assert btf.read(file) == kernel(2)
    with pytest.raises(btf.NotBtf, match="larger than it says"):
        btf.read(Path("/dev/zero"))


@pytest.mark.skipif(not REAL.exists(), reason="this kernel does not describe its types")
def test_this_machines_own_kernel_can_be_read() -> None:
    text = btf.read(REAL)
    assert btf.arguments(text, "schedule") == 0
    assert btf.arguments(text, "no_such_function") is None
