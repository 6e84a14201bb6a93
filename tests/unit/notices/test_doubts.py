"""What agentd tells of channels before anything is to be sent there: credentials that cannot be used, and the check."""

import asyncio
from collections.abc import Callable

import pytest

from agentd.core.notices.settings import Channel, NoticeSettings, credentials
from agentd.core.quantities import MINUTE, SECOND
from agentd.notices.checks import checks
from agentd.notices.doubts import Doubts
from agentd.part import CheckFailed, CheckSkipped
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


def test_settings_say_where_each_credential_is_named() -> None:
    assert list(credentials(SETTINGS)) == [
        ("notices.channels.phone", "ntfy"), ("notices.channels.again", "ntfy"), ("notices.channels.team", "discord"),
    ]  # fmt: skip


def test_each_channel_is_told_whose_credential_cannot_be_used() -> None:
    doubts = Doubts(Files(discord="there is none").look, SETTINGS, NOW)
    assert doubts.of_channels(NOW) == {"team": "the channel team tells nobody: there is none"}


def test_files_are_looked_at_again_only_when_somebody_asks_a_minute_later_or_the_clock_was_set_back() -> None:
    files = Files(discord="there is none")
    doubts = Doubts(files.look, SETTINGS, NOW)
    files.wrong, files.looked = {}, []
    assert doubts.of_channels(NOW + MINUTE - 1) != {}
    assert files.looked == []
    assert doubts.of_channels(NOW + MINUTE) == {}
    assert len(files.looked) == 3
    files.wrong = {"discord": "others may open it"}
    assert doubts.of_channels(NOW + MINUTE + SECOND) == {}
    assert list(doubts.of_channels(NOW)) == ["team"]


def test_other_settings_are_looked_at_at_once() -> None:
    doubts = Doubts(Files(discord="there is none").look, SETTINGS, NOW)
    doubts.configure(NoticeSettings(), NOW + SECOND)
    assert doubts.of_channels(NOW + SECOND) == {}
    doubts.configure(SETTINGS, NOW + SECOND)
    assert list(doubts.of_channels(NOW + SECOND)) == ["team"]


# The check of the self-test


def looked(settings: NoticeSettings, try_out: Callable[[str], str]) -> str:
    async def courier(credential: str) -> str:
        return try_out(credential)

    (check,) = checks(lambda: settings, courier)
    assert check.name == "notices"

    async def look() -> str:
        return await check.look()

    return asyncio.run(look())


def test_the_check_asks_a_courier_once_for_each_credential() -> None:
    files = Files()
    assert looked(SETTINGS, files.look) == (
        "couriers can use the credential of each channel (phone, again, team); nothing was sent"
    )
    assert files.looked == ["ntfy", "discord"]


def test_the_check_names_the_channels_that_nothing_reaches() -> None:
    with pytest.raises(CheckFailed) as failed:
        looked(SETTINGS, Files(ntfy="there is none", discord="apprise is not installed").look)
    assert str(failed.value) == (
        "nothing can be sent to phone, again: there is none; nothing can be sent to team: apprise is not installed"
    )


def test_a_folder_that_cannot_be_written_fails_the_check_with_its_name() -> None:
    def fails(_: str) -> str:
        raise PermissionError(13, "Permission denied", "/run/agentd-courier/.ntfy.part")

    with pytest.raises(CheckFailed, match=r"phone, again: /run/agentd-courier/\.ntfy\.part: Permission denied"):
        looked(SETTINGS, fails)


def test_without_a_channel_there_is_nothing_to_check() -> None:
    with pytest.raises(CheckSkipped, match="no channel is configured"):
        looked(NoticeSettings(), Files().look)
