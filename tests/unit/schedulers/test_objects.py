"""The check of a compiled scheduler."""

from hypothesis import given
from hypothesis import strategies as st

from agentd.core.schedulers.objects import LARGEST, check
from tests.unit.schedulers.custom_fakes import CODE, OBJECT, PARTS, elf


def with_parts(*more: tuple[str, int, int, bytes], without: str = "") -> bytes:
    return elf([*(part for part in PARTS if part[0] != without), *more])


def test_an_object_of_one_scheduler_is_taken() -> None:
    assert check(OBJECT) == ""
    assert check(with_parts(("struct_ops.s/fifo_init", 1, CODE, bytes(8)), (".bss", 8, 3, b""))) == ""


def test_programs_of_another_type_are_refused_whatever_the_source_called_them() -> None:
    for name in ("kprobe/x", "xdp", "struct_opsx", "?kprobe/x", "iter/task"):
        assert check(with_parts((name, 1, CODE, bytes(8)))).endswith(f"one of the section {name}")


def test_a_scheduler_without_a_link_is_refused() -> None:
    for name in (".struct_ops", "?.struct_ops"):
        assert "one without stays when its process ends" in check(with_parts((name, 1, 3, bytes(8))))


def test_what_a_scheduler_needs_is_missed() -> None:
    assert "one scheduler" in check(with_parts(without=".struct_ops.link"))
    assert "record of the end" in check(with_parts(without=".data.ended"))
    assert "record of the end" in check(with_parts((".data.ended", 1, 3, bytes(8)), without=".data.ended"))
    assert "license GPL" in check(with_parts(without="license"))
    assert "license GPL" in check(with_parts(("license", 1, 3, b"MIT\0"), without="license"))


def test_constants_that_a_skeleton_should_have_filled_in_are_refused() -> None:
    assert "zero until a program fills them in" in check(elf(PARTS, symbols=b"\0x\0__SCX_DSQ_GLOBAL\0"))
    assert check(elf(PARTS, symbols=b"\0my__SCX_\0")) == ""
    assert check(elf(PARTS, link=99)).startswith("expected a BPF object")


def test_what_is_no_bpf_object_is_refused() -> None:
    assert "has 4194305 bytes" in check(bytes(LARGEST + 1))
    for data in (b"", b"\x7fELF", b"\x7fELF\x02\x01" + bytes(100), elf(PARTS, machine=62), OBJECT[:-30], bytes(64)):
        assert check(data).startswith("expected a BPF object")


@given(st.binary(max_size=300), st.integers(0, len(OBJECT)), st.integers(0, 300))
def test_no_damage_makes_the_check_fail(data: bytes, at: int, length: int) -> None:
    for damaged in (data, b"\x7fELF\x02\x01" + data, OBJECT[:at] + data + OBJECT[at + length :]):
        assert isinstance(check(damaged), str)
