"""What agentd tells of channels before anything is to be sent there: credentials that cannot be used, and the check."""

import asyncio
import importlib.machinery
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentd.__main__ import main
from agentd.core.jobs.settings import Job, PingSettings
from agentd.core.notices.settings import Channel, Heartbeat, NoticeSettings, Use, uses
from agentd.core.quantities import MINUTE, SECOND
from agentd.notices.checks import checks
from agentd.notices.courier import _poster
from agentd.notices.doubts import Doubts
from agentd.part import CheckFailed, CheckSkipped
from agentd.peers.packages import missing_for
from tests.unit.notices.person import NOW

SETTINGS = NoticeSettings(
    channels={
        "phone": Channel(name="phone", credential="ntfy"),
        "again": Channel(name="again", credential="ntfy"),
        "team": Channel(name="team", credential="discord"),
    }
)


class Files:
    """The credentials that cannot be used, and which were looked at."""

    def __init__(self, **wrong: str) -> None:
        self.wrong, self.looked = wrong, list[str]()

    def look(self, name: str) -> str:
        self.looked.append(name)
        return self.wrong.get(name, "")


CHANNELS = uses(SETTINGS, {})
PINGS = uses(
    NoticeSettings(heartbeat=Heartbeat(credential="alive")),
    {
        "backup": Job(name="backup", run=("x",), ping=PingSettings(credential="check")),
        "feed": Job(name="feed", run=("x",)),
    },
)


def test_settings_say_where_each_credential_is_named_and_what_for() -> None:
    assert [(one.setting, one.credential, one.ping) for one in [*CHANNELS, *PINGS]] == [
        ("notices.channels.phone", "ntfy", False),
        ("notices.channels.again", "ntfy", False),
        ("notices.channels.team", "discord", False),
        ("notices.heartbeat", "alive", True),
        ("jobs.backup.ping", "check", True),
    ]


def test_each_use_is_told_whose_credential_cannot_be_used() -> None:
    files = Files(discord="there is none", alive="it is empty", check="it is empty")
    doubts = Doubts(files.look, CHANNELS + PINGS, NOW)
    assert doubts.by_setting(NOW) == {
        "notices.channels.team": "nothing gets through to the channel team: there is none",
        "notices.heartbeat": "nothing gets through to the check of the heartbeat: it is empty",
        "jobs.backup.ping": "nothing gets through to the check of backup: it is empty",
    }


def test_files_are_looked_at_again_only_when_somebody_asks_a_minute_later_or_the_clock_was_set_back() -> None:
    files = Files(discord="there is none")
    doubts = Doubts(files.look, CHANNELS, NOW)
    files.wrong, files.looked = {}, []
    assert doubts.by_setting(NOW + MINUTE - 1) != {}
    assert files.looked == []
    assert doubts.by_setting(NOW + MINUTE) == {}
    assert files.looked == ["ntfy", "discord"]
    files.wrong = {"discord": "others may open it"}
    assert doubts.by_setting(NOW + MINUTE + SECOND) == {}
    assert list(doubts.by_setting(NOW)) == ["notices.channels.team"]


def test_other_settings_are_looked_at_at_once() -> None:
    doubts = Doubts(Files(discord="there is none").look, CHANNELS, NOW)
    doubts.configure([], NOW + SECOND)
    assert doubts.by_setting(NOW + SECOND) == {}
    doubts.configure(CHANNELS, NOW + SECOND)
    assert list(doubts.by_setting(NOW + SECOND)) == ["notices.channels.team"]


# What is not installed


def without(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has Python find no such package."""
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "agentd.notices.posting", raising=False)
    find = importlib.machinery.PathFinder.find_spec

    def find_others(name: str, *more: Any) -> Any:
        return None if name.partition(".")[0] == package else find(name, *more)

    monkeypatch.setattr(importlib.machinery.PathFinder, "find_spec", find_others)


def test_channels_without_apprise_are_told_before_a_message_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sentence = "nothing gets through to any channel: apprise is not installed (apt install apprise)"
    config = tmp_path / "agentd.yaml"
    config.write_text("timezone: UTC\nnotices: {channels: {phone: {credential: ntfy}}}\n")
    assert main(["--check", str(config)]) == 0
    assert sentence not in capsys.readouterr().out
    without("apprise", monkeypatch)
    assert main(["--check", str(config)]) == 0
    assert f"warning: notices.channels: {sentence}\n" in capsys.readouterr().out
    assert missing_for(["phone"]) == sentence
    assert missing_for([]) == ""


def test_a_courier_without_apprise_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    without("apprise", monkeypatch)
    letter: Any = None
    verdict = _poster("ntfy://topic", [])(letter)
    assert (verdict.why, verdict.mend) == ("apprise is not installed (apt install apprise)", True)


# The check of the self-test


def looked(named: list[Use], try_out: Callable[[str], str]) -> str:
    async def courier(credential: str, ping: bool) -> str:
        assert ping == (credential in {"alive", "check"})
        return try_out(credential)

    (check,) = checks(lambda: named, courier)
    assert check.name == "notices"

    async def look() -> str:
        return await check.look()

    return asyncio.run(look())


def test_the_check_asks_a_courier_once_for_each_credential() -> None:
    files = Files()
    assert looked(CHANNELS + PINGS, files.look) == (
        "couriers can use their credentials (the channel phone, the channel again, the channel team, the check of the "
        "heartbeat, the check of backup); nothing was sent"
    )
    assert files.looked == ["ntfy", "discord", "alive", "check"]


def test_the_check_names_the_channels_that_nothing_reaches() -> None:
    with pytest.raises(CheckFailed) as failed:
        looked(CHANNELS, Files(ntfy="there is none", discord="apprise is not installed").look)
    assert str(failed.value) == (
        "nothing can be sent to the channel phone, the channel again: there is none; nothing can be sent to the "
        "channel team: apprise is not installed"
    )


def test_a_folder_that_cannot_be_written_fails_the_check_with_its_name() -> None:
    def fails(_: str) -> str:
        raise PermissionError(13, "Permission denied", "/run/agentd-courier/.ntfy.part")

    with pytest.raises(CheckFailed, match=r"channel again: /run/agentd-courier/\.ntfy\.part: Permission denied"):
        looked(CHANNELS, fails)


def test_without_a_channel_there_is_nothing_to_check() -> None:
    with pytest.raises(CheckSkipped, match="neither a channel nor a check is configured"):
        looked([], Files().look)
