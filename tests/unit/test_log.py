"""Every event that is logged with an id has a MESSAGE_ID for it."""

import ast
from pathlib import Path

from agentd.log import MESSAGE_IDS

ROOT = Path(__file__).parents[2]
LEVELS = {"debug", "info", "warning", "error", "critical"}


def ids(source: str) -> set[str]:
    """The ids that a source's calls of the logger name."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    logging = [call for call in calls if LEVELS & {n.attr for n in ast.walk(call.func) if isinstance(n, ast.Attribute)}]
    values = [keyword.value for call in logging for keyword in call.keywords if keyword.arg == "id"]
    return {
        constant.value
        for value in values
        for constant in ast.walk(value)
        if isinstance(constant, ast.Constant) and isinstance(constant.value, str)
    }


def test_every_id_that_is_logged_has_a_message_id() -> None:
    found = {file.name: ids(file.read_text()) for file in (ROOT / "agentd").rglob("*.py")}
    assert {name: unknown for name, named in found.items() if (unknown := named - MESSAGE_IDS.keys())} == {}
    assert len(set.union(*found.values())) > 8, "the calls of the logger were not found"


def test_message_ids_are_128_bits_each_and_all_different() -> None:
    assert len({int(text, 16) for text in MESSAGE_IDS.values()}) == len(MESSAGE_IDS)
    assert {len(text) for text in MESSAGE_IDS.values()} == {32}
