"""A text that is not YAML is refused in agentd's own words, whichever library read it and however that words it."""

from pathlib import Path

import pytest
import yaml

from agentd.config import compose, mistakes, problems
from tests.unit.config.bad_configs import BAD

NOT_YAML = [(case, text, sentences[0]) for case, text, sentences in BAD if ": is not YAML: " in sentences[0]]
LOADERS = {"libyaml": compose._FastLoader, "PyYAML alone": yaml.SafeLoader}
METHODS = ("descend_resolver", "ascend_resolver")


@pytest.fixture(params=LOADERS)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loader that one machine has and another has not."""
    inherited = {name: value for name, value in vars(compose._Loader).items() if name in {"_depth", *METHODS}}
    monkeypatch.setattr(compose, "_Loader", type("_Loader", (LOADERS[request.param],), inherited))


def refusal(file: Path, text: str) -> str:
    file.write_text(text)
    with pytest.raises(problems.Problems) as caught:
        compose.compose(problems.read(file), "FILE")
    return str(caught.value).removeprefix("FILE:")


@pytest.mark.parametrize(("text", "sentence"), [case[1:] for case in NOT_YAML], ids=[case[0] for case in NOT_YAML])
def test_each_loader_is_given_the_same_words(loader: None, tmp_path: Path, text: str, sentence: str) -> None:
    assert refusal(tmp_path / "agentd.yaml", text) == sentence


@pytest.mark.parametrize(("text", "sentence"), [case[1:] for case in NOT_YAML], ids=[case[0] for case in NOT_YAML])
def test_the_words_of_the_library_are_not_looked_at(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, sentence: str
) -> None:
    words: list[str] = []

    def explain(error: yaml.MarkedYAMLError | ValueError, text: str) -> tuple[str, int]:
        if isinstance(error, yaml.MarkedYAMLError):
            words.extend(str(part) for part in (error.context, error.problem, error.note) if part)
            error.context = error.problem = error.note = "words of the next version"
        return original(error, text)

    original = mistakes.explain
    monkeypatch.setattr(mistakes, "explain", explain)
    shown = refusal(tmp_path / "agentd.yaml", text)
    assert shown == sentence
    assert not [part for part in words if part in shown]


def test_a_mark_at_the_beginning_of_the_file_moves_no_place(loader: None, tmp_path: Path) -> None:
    bom = b"\xef\xbb\xbf".decode()
    assert refusal(tmp_path / "agentd.yaml", f"{bom}timezone: %UTC\n").startswith("1:11: is not YAML: ")


def test_an_error_of_a_kind_that_nobody_knows_has_a_sentence_too() -> None:
    error = yaml.MarkedYAMLError(problem="something new", problem_mark=yaml.Mark("", 5, 0, 5, None, 0))
    assert mistakes.explain(error, "a: b c") == ("the text cannot be understood from here on", 5)
