"""The configurations that we ship and print are sound: the sample, the examples, the man page's."""

import re
from pathlib import Path

import pytest

from agentd.config import files
from agentd.core.config import Config
from agentd.core.events import Kind
from agentd.core.jobs.settings import Job
from agentd.core.jobs.triggers import KINDS
from agentd.core.notices.settings import KINDS_OF_EVENTS
from agentd.log import MESSAGE_IDS

ROOT = Path(__file__).parents[2]


def uncommented(text: str) -> str:
    """The sample with its settings uncommented: lines that begin with "#" and no single space."""
    lines = [line[1:] if re.match(r"#(\w|  )", line) else line for line in text.splitlines()]
    return "\n".join(lines).replace("jobs: {}\n", "")


def test_the_sample_is_sound_as_shipped() -> None:
    assert files.load(ROOT / "config/agentd.yaml").config.jobs == {}


def test_the_sample_is_sound_when_uncommented_and_shows_every_kind_of_trigger(tmp_path: Path) -> None:
    file = tmp_path / "agentd.yaml"
    file.write_text(uncommented((ROOT / "config/agentd.yaml").read_text()))
    jobs = files.load(file).config.jobs.values()
    assert {job.trigger.key for job in jobs} == set(KINDS)


def test_the_sample_shows_windows_by_name(tmp_path: Path) -> None:
    file = tmp_path / "agentd.yaml"
    file.write_text(uncommented((ROOT / "config/agentd.yaml").read_text()))
    policy = files.load(file).config.reboot
    assert list(policy.windows) == ["noon", "first-shift"]
    assert len(policy.all_windows) == 3


def test_the_sample_names_every_setting_of_a_job() -> None:
    sample = (ROOT / "config/agentd.yaml").read_text()
    missing = [
        name
        for name in Job.__struct_fields__
        if name != "name" and not re.search(rf"^#    {name}:", sample, re.MULTILINE)
    ]
    assert missing == []


@pytest.mark.parametrize("setting", [*Job.__struct_fields__[1:], *Config.__struct_fields__, *KINDS])
def test_the_man_page_describes_every_setting(setting: str) -> None:
    page = (ROOT / "units/man/agentd.yaml.5.scd").read_text()
    assert re.search(rf"^\*.*\b{setting}\b.*\*$", page, re.MULTILINE)


@pytest.mark.parametrize("kind", KINDS_OF_EVENTS, ids=lambda kind: kind.name)
def test_the_man_page_lists_every_event_and_says_which_are_told_anyway(kind: Kind) -> None:
    page = (ROOT / "units/man/agentd.yaml.5.scd").read_text()
    title = f"*{kind.name}* +" if kind.told else f"*{kind.name}*"
    found = re.search(rf"^{re.escape(title)}\n\t(.*)\.$", page, re.MULTILINE)
    assert found is not None
    assert re.sub("[*_():]", "", found[1]).lower() == re.sub("[*_():]", "", kind.help).lower()


def test_the_man_pages_example_is_sound(tmp_path: Path) -> None:
    page = (ROOT / "units/man/agentd.yaml.5.scd").read_text()
    example = re.search(r"```\n(.*?)```", page, re.DOTALL)
    assert example is not None
    file = tmp_path / "agentd.yaml"
    file.write_text(example[1])
    assert list(files.load(file).config.jobs) == ["backup", "poll"]


def test_each_other_example_of_the_man_page_is_sound(tmp_path: Path) -> None:
    _, _, examples = (ROOT / "units/man/agentd.yaml.5.scd").read_text().partition("# EXAMPLES")
    file = tmp_path / "agentd.yaml"
    for example in re.findall(r"```\n(.*?)```", examples, re.DOTALL):
        file.write_text(example)
        assert files.load(file).config.jobs


def test_the_man_page_lists_every_message_id() -> None:
    page = (ROOT / "units/man/agentd.8.scd").read_text()
    assert set(re.findall(r"^_([0-9a-f]{32})_$", page, re.MULTILINE)) == set(MESSAGE_IDS.values())


def test_whoever_selects_by_a_field_is_shown_agentd_alone() -> None:
    """Any program can write such fields into the journal; the unit that wrote is journald's own word."""
    for page in (ROOT / "README.md", *(ROOT / "units/man").glob("*.scd")):
        named = re.findall(r"journalctl .*(?:AGENTD\\?_|MESSAGE_ID=).*", page.read_text())
        assert [line for line in named if "-u agentd" not in line] == []
