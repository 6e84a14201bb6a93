"""Where a ping goes: the address of a check, with how it ended and the run."""

import pytest

from agentd.notices.pinging import address

URL = "https://hc.example.org/uuid"


@pytest.mark.parametrize(
    ("url", "ping", "run", "where"),
    [
        (URL, "success", "", URL),
        (f"{URL}/", "fail", "", f"{URL}/fail"),
        (URL, 0, "", f"{URL}/0"),
        (URL, 255, "a-1", f"{URL}/255?rid=a-1"),
        (f"{URL}?create=1#x", "start", "a-1", f"{URL}/start?create=1&rid=a-1"),
        ("https://hc.example.org", "log", "", "https://hc.example.org/log"),
        ("ntfy://topic", "log", "", None),
        ("https://", "log", "", None),
        ("https://host:port/", "log", "", None),
        ("https://[", "log", "", None),
    ],
)
def test_the_address_of_a_ping(url: str, ping: str | int, run: str, where: str | None) -> None:
    assert address(url, ping, run) == where


@pytest.mark.parametrize(("ping", "run"), [("stop", ""), ("", ""), (256, ""), (-1, ""), ("log", "a b"), ("log", "a\n")])
def test_a_ping_that_there_is_not_is_refused(ping: str | int, run: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        address(URL, ping, run)
