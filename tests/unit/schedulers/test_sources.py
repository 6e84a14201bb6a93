"""The checks of a source before it is compiled."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from agentd.core.schedulers.sources import LARGEST, MOST_FINDINGS, Unusable, check, is_name, read
from agentd.core.schedulers.tokens import Source
from tests.unit.schedulers.custom_fakes import FIFO


def faults(text: str) -> list[tuple[int, int, str]]:
    return [(one.line, one.column, one.sentence) for one in check(text)]


def after(text: str) -> list[str]:
    """The findings in a good scheduler that this text is added to."""
    return [sentence for _, _, sentence in faults(FIFO + text)]


def test_a_good_scheduler_has_no_finding() -> None:
    assert faults(FIFO) == []


def test_comments_and_texts_are_no_code() -> None:
    assert (
        after('/* asm("x"); SEC("kprobe/x") \n#include "/etc/shadow"\n*/\n// asm\nchar *t = "asm SEC(\\"kprobe\\")";\n')
        == []
    )


@pytest.mark.parametrize(
    "line",
    [
        '#include "/etc/shadow"',
        "#include </etc/shadow>",
        "#include <linux/bpf.h>",
        '#include "../scx.h"',
        "#include HEADER",
        '  #  include /* vmlinux.h */ "/etc/shadow"',
        '#inc\\\nlude "/etc/shadow"',
        '#include_next "scx.h"',
        '#import "scx.h"',
        '#embed "/etc/shadow"',
        '# 1 "/etc/shadow"',
        '#pragma include_alias("scx.h", "/etc/shadow")',
        '%:include "/etc/shadow"',
        '??=include "/etc/shadow"',
        '// a comment\r#include "/etc/shadow"',
        '// a comment \\\f\n/*\n#include "/etc/shadow"\n// */',
        '#warning /*\n#include "/etc/shadow"\n// */',
        '#if 0\n#error /*\n#endif\n#include "/etc/shadow"\n// */',
        '#if __has_include(</*>)\n#include "/etc/shadow"\n#endif',
    ],
)
def test_no_other_file_is_read(line: str) -> None:
    assert after(f"{line}\n") != []


@pytest.mark.parametrize("header", ['"vmlinux.h"', "<bpf/bpf_core_read.h>", "<scx.h>", '"bpf/bpf_helpers.h"'])
def test_headers_that_are_there_are_taken(header: str) -> None:
    assert after(f"#include {header}\n") == []


@pytest.mark.parametrize("word", ["asm", "__asm__", "__asm", "as\\\nm", "a\\  \r\nsm"])
def test_assembler_is_refused(word: str) -> None:
    assert "assembler is not taken" in after(f'{word} volatile(".incbin \\"/etc/shadow\\"");\n')[0]


@pytest.mark.parametrize(
    "section",
    ["kprobe/vfs_read", "tp/sched/sched_switch", "xdp", "fentry/x", "iter/task", ".struct_ops", "maps", "lsm/x"],
)
def test_programs_of_another_type_are_refused(section: str) -> None:
    (sentence,) = after(f'SEC("{section}") int f(void *c) {{ return 0; }}\n')
    assert sentence.startswith(f'SEC("{section}") is not taken')


@pytest.mark.parametrize("section", [".maps", ".data.mine", ".rodata", ".bss", "struct_ops.s/fifo_init", "struct_ops"])
def test_sections_of_a_scheduler_are_taken(section: str) -> None:
    assert after(f'int x SEC("{section}");\n') == []


@pytest.mark.parametrize("text", ["SEC(KIND)", 'SEC("a" "b")', '__attribute__((section("kprobe/x")))', "__declspec(x)"])
def test_a_section_is_a_plain_text(text: str) -> None:
    assert after(f"{text} int x;\n") != []


def test_macros_of_the_header_are_not_redefined() -> None:
    assert "SEC means what scx.h says" in after("#define SEC(x)\n")
    assert after("#undef SCX_OPS\n") == ["SCX_OPS means what scx.h says"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('char *x = R"(/*)";', "raw strings are not taken"),
        ("/* no end", "this comment has no end"),
        ("char x = 'a;", "expected the text or character that begins with ' to end in its line"),
        ('char *x = "a;', 'expected the text or character that begins with " to end in its line'),
        ("int x\x00;", "a control character is not taken"),
        ("int \\u0061sm;", "\\ does not belong here"),
        ("int größe;", "'\\xf6\\xdf' does not belong outside of comments and texts"),
        ("/* \u202e */", "an unseen character is not taken"),
    ],
)
def test_what_c_can_be_read_as_in_two_ways_is_refused(text: str, says: str) -> None:
    assert says in after(f"{text}\n")


def test_a_finding_has_its_place_in_the_text_as_it_was_written() -> None:
    text = FIFO + "int x; \\\n  /* a\nb */ asm(1);\n"
    line = FIFO.count("\n") + 3
    assert [one[:2] for one in faults(text)] == [(line, 6)]


@pytest.mark.parametrize(
    ("without", "says"),
    [
        ('#include "scx.h"\n', 'expected #include "scx.h"'),
        ('\t.name = "fifo"', "expected .name"),
        ("\t.timeout_ms = 5000,\n", "expected .timeout_ms"),
        ("\t.exit = (void *)fifo_exit,\n", "expected .exit"),
        ("\t.enqueue = (void *)fifo_enqueue,\n", "expected .enqueue, or .select_cpu and .dispatch"),
        ("\trecord_end(ei);\n", "expected the function of .exit to call record_end()"),
    ],
)
def test_what_a_scheduler_needs_is_missed(without: str, says: str) -> None:
    assert without in FIFO
    (sentence,) = [one for _, _, one in faults(FIFO.replace(without, ""))]
    assert sentence.startswith(says)


def test_select_cpu_and_dispatch_do_in_place_of_enqueue() -> None:
    both = FIFO.replace(".enqueue = (void *)fifo_enqueue", ".select_cpu = (void *)a, .dispatch = (void *)b")
    assert faults(both) == []


def test_a_definition_may_be_written_out() -> None:
    written = FIFO.replace("SCX_OPS(fifo_ops,", 'SEC(".struct_ops.link") struct sched_ext_ops fifo_ops = {')
    assert faults(written.replace('"fifo");', '"fifo" };')) == []


def test_one_scheduler_is_in_a_source() -> None:
    assert faults('#include "scx.h"\n')[0][2].startswith("expected a scheduler")
    assert after('SCX_OPS(other_ops, .name = "x");\n') == [
        "expected one scheduler in a source, but this is another one"
    ]


def test_a_source_with_many_faults_has_the_first_of_them() -> None:
    found = faults("asm();\n" * 1000)
    assert [line for line, _, _ in found] == list(range(1, MOST_FINDINGS + 1))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"x" * (LARGEST + 1), "at most 60 KiB"),
        (b"int x;\n\xff\n", "line 2 has other bytes"),
        (b" \n", "nothing in it"),
    ],
)
def test_what_is_no_source_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(Unusable, match=says):
        read(data)


@pytest.mark.parametrize("name", ["a", "fifo", "a23456789_12345"])
def test_names(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize("name", ["", "A", "1a", "_a", "a-b", "a/b", "../a", "a\n", "a234567890123456", "größe", "a b"])
def test_no_names(name: str) -> None:
    assert not is_name(name)


PIECES = st.sampled_from(
    [
        *(
            "/*",
            "*/",
            "//",
            '"',
            "'",
            "\\",
            "\n",
            "\r",
            " ",
            "\x00",
            "%:",
            "??/",
            "R",
            "é",
            "0x1.p+",
            "asm",
            "#",
            "#include ",
        ),
        *("<", ">", ")", "{", "}", ",", "SEC(", "SCX_OPS(", ".exit = ", "BPF_STRUCT_OPS(", "record_end("),
        "struct sched_ext_ops a = {",
    ]
)
TEXTS = st.one_of(st.text(max_size=200), st.lists(PIECES, max_size=60).map("".join))


@given(TEXTS)
def test_any_text_has_findings_within_it_and_no_more_than_agreed(text: str) -> None:
    found = check(text)
    lines = text.split("\n")
    assert len(found) <= MOST_FINDINGS
    for one in found:
        assert 1 <= one.line <= len(lines)
        assert 1 <= one.column <= len(lines[one.line - 1]) + 1
        assert one.sentence.strip()


@given(TEXTS)
def test_tokens_are_the_text_but_for_splices_and_comments(text: str) -> None:
    last = -1
    for token in Source(text).tokens:
        assert token.start > last
        last = token.start
        assert text[token.start] == token.text[0] or text[token.start] == "\\"  # a splice that a token begins in


@given(TEXTS)
def test_no_text_hides_an_include_in_a_later_line(text: str) -> None:
    assume(not text.rstrip(" \t\r").endswith("\\"))  # then the line goes on, and a # in it is none of a directive
    assert check(f'{FIFO}\n{text}\n#include "/etc/shadow"\n') != ()
