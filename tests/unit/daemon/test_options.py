"""A plain command line is read without argparse, and means the same."""

import pytest

from agentd.__main__ import _of_service, _parser


@pytest.mark.parametrize(
    "line",
    [
        "--system",
        "--standalone",
        "--standalone --config my.yaml --state-dir /tmp/try",
        "--config my.yaml --standalone --config other.yaml",
        "--system --standalone",
    ],
)
def test_a_plain_command_line_means_what_argparse_says(line: str) -> None:
    assert vars(_of_service(line.split())) == vars(_parser().parse_args(line.split()))


@pytest.mark.parametrize(
    "words",
    [
        [], ["--config", "x"], ["--check"], ["--standalone", "--log-level", "debug"], ["--standalone", "--config"],
        ["--standalone", "--config", "--system"], ["--standalone", "--config", ""], ["--standalone", "--config=x"],
        ["--system", "--help"], ["--system", "more"], ["--sys"], ["--standalone", "--state_dir", "x"],
    ],
)  # fmt: skip
def test_everything_else_is_left_to_argparse(words: list[str]) -> None:
    assert _of_service(words) is None
