"""agentctl's commands about what agentd tells people, against a fake daemon on a real bus."""

import io
import sys
from typing import Any, get_args

import pytest
from click.shell_completion import ShellComplete

from agentctl.commands import cli
from agentctl.notices import commands
from agentd.core import events
from agentd.core.notices.model import State
from agentd.core.quantities import HOUR, MINUTE
from tests.unit.agentctl import fake
from tests.unit.agentctl.fake import NOW, Ctl, FakeDaemon, Refused

EVIL = "\x1b[2Jmallory\u202e"
HARMLESS = "\\x1b[2Jmallory\\u202e"
NOTICES = "org.agentd1.Notices"
SENT: dict[str, Any] = {
    "id": 17,
    "channel": "phone",
    "state": "sent",
    "made": NOW - HOUR,
    "ended": NOW - HOUR + MINUTE,
    "event": "failure",
    "about": "backup",
    "run_id": "backup.3",
    "title": "backup failed: exit code 3",
    "priority": "normal",
    "sort": "trouble",
    "count": 1,
    "attempts": 2,
}
WAITS = {
    **{key: value for key, value in SENT.items() if key not in {"ended", "about", "run_id"}},
    "id": 18,
    "state": "waiting",
    "made": NOW - MINUTE,
    "again_at": NOW + 4 * MINUTE,
    "why": "ntfy.sh does not answer",
}
PHONE = {
    "name": "phone",
    "credential": "ntfy",
    "default": True,
    "waiting": 1,
    "lost": 0,
    "sent": NOW - HOUR,
    "next": NOW + 4 * MINUTE,
    "trouble": "ntfy.sh does not answer",
}
TEAM = {"name": "team", "credential": "discord", "default": False, "waiting": 0, "lost": 0, "trouble": ""}
HEARTBEAT: dict[str, Any] = {
    "kind": "heartbeat",
    "name": "agentd",
    "credential": "agentd-alive",
    "waiting": 0,
    "failed": 0,
    "sent": NOW - MINUTE,
    "trouble": "",
}
PING = {
    **HEARTBEAT,
    "kind": "ping",
    "name": "backup",
    "credential": "backup-check",
    "waiting": 2,
    "failed": 3,
    "next": NOW + 4 * MINUTE,
    "trouble": "hc.example.org does not answer",
}
AT_HALF_PAST = "2026-10-24T23:26:40.000000+02:00"
NOBODY = "agentd tells nobody: no channel is configured; see notices in agentd.yaml(5)\n"


def refusing(error: str, sentence: str) -> Any:
    def refuse(*_: object) -> None:
        raise Refused(f"org.agentd1.Error.{error}", sentence)

    return refuse


@pytest.fixture(autouse=True)
def records(daemon: FakeDaemon) -> None:
    daemon.answers |= {"ListNotices": [WAITS, SENT], "ListChannels": [PHONE, TEAM], "ListPings": []}


def asked(daemon: FakeDaemon, member: str) -> list[tuple[Any, ...]]:
    return [call[1:] for call in daemon.calls if call[0] == member]


# Lists


def test_the_newest_messages_are_listed_below_the_channels_that_need_a_look(daemon: FakeDaemon, ctl: Ctl) -> None:
    trouble, header, waits, sent = ctl("notices").out.splitlines()
    assert trouble == "phone: ntfy.sh does not answer"
    assert header.split() == ["ID", "MADE", "CHANNEL", "STATE", "TITLE", "WHY"]
    assert waits.split()[:5] == ["18", "1min", "ago", "phone", "waiting"]
    assert waits.endswith("ntfy.sh does not answer")
    assert sent.split()[:5] == ["17", "1h", "ago", "phone", "sent"]
    assert sent.endswith("-")
    assert asked(daemon, "ListNotices") == [({"limit": 20},)]


def test_the_messages_as_json_have_all_keys_and_null_for_what_is_missing(daemon: FakeDaemon, ctl: Ctl) -> None:
    waits, sent = ctl("notices", "--json").json
    assert waits["made"] == "2026-10-25T00:25:40.000000+02:00"
    assert (waits["ended"], waits["about"], waits["run_id"]) == (None, None, None)
    assert sent["made"] == AT_HALF_PAST
    assert (sent["why"], sent["again_at"]) == (None, None)
    assert set(waits) == set(sent)
    assert "text" not in sent
    assert ctl("--json", "notices").json == [waits, sent]


def test_a_choice_of_messages_is_asked_of_agentd(daemon: FakeDaemon, ctl: Ctl) -> None:
    ctl("notices", "--channel", "phone", "--state", "waiting", "-n", "5")
    assert asked(daemon, "ListNotices") == [({"channel": "phone", "state": "waiting", "limit": 5},)]
    assert ctl("notices", "--state", "lost").code == 2


def test_where_there_is_nothing_the_next_step_is_said(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["ListNotices"] = []
    assert ctl("notices").out.splitlines()[-1] == "Nothing was told yet: agentctl notices test"
    assert ctl("notices", "--state", "sent").out.splitlines()[-1] == "There is no such message"
    assert ctl("notices", "--json").json == []
    daemon.answers["ListChannels"] = []
    assert ctl("notices") == (0, NOBODY, "")
    assert ctl("notices", "channels") == (0, NOBODY, "")
    assert ctl("notices", "channels", "--json").json == []


def test_messages_of_before_are_shown_though_no_channel_is_left(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["ListChannels"] = []
    assert "backup failed" in ctl("notices").out


def test_the_channels_are_listed_with_what_becomes_of_their_messages(daemon: FakeDaemon, ctl: Ctl) -> None:
    header, phone, team = ctl("notices", "channels").out.splitlines()
    assert header.split() == ["CHANNEL", "CREDENTIAL", "WAITING", "LAST", "SENT", "NEXT", "ATTEMPT", "TROUBLE"]
    assert phone.split()[:6] == ["phone", "(default)", "ntfy", "1", "1h", "ago"]
    assert phone.split()[6:] == ["in", "4min", "ntfy.sh", "does", "not", "answer"]
    assert team.split() == ["team", "discord", "0", "-", "-", "-"]
    first, second = ctl("notices", "channels", "--json").json
    assert first["sent"] == AT_HALF_PAST
    assert (first["name"], first["default"], first["waiting"]) == ("phone", True, 1)
    assert (second["sent"], second["next"], second["trouble"]) == (None, None, "")
    assert (first["kind"], second["kind"]) == ("channel", "channel")


def test_the_checks_that_are_pinged_are_listed_below_the_channels(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["ListPings"] = [HEARTBEAT, PING]
    *_, heartbeat, ping = ctl("notices", "channels").out.splitlines()
    assert heartbeat.split() == ["heartbeat", "of", "agentd", "agentd-alive", "0", "1min", "ago", "-", "-"]
    assert ping.split()[:5] == ["ping", "of", "backup", "backup-check", "2"]
    assert ping.endswith("hc.example.org does not answer")
    *_, heartbeat, ping = ctl("notices", "channels", "--json").json
    assert (heartbeat["kind"], heartbeat["default"], heartbeat["next"]) == ("heartbeat", None, None)
    assert (ping["kind"], ping["name"], ping["credential"], ping["waiting"]) == ("ping", "backup", "backup-check", 2)
    assert set(ping) == {
        "kind", "name", "credential", "default", "waiting", "lost", "sent", "next", "trouble",
    }  # fmt: skip
    daemon.answers["ListChannels"] = []
    assert len(ctl("notices", "channels").out.splitlines()) == 3, "pings need no channel"
    assert ctl("notices").out.splitlines()[0] == "ping of backup: hc.example.org does not answer"


# One message


def test_a_message_is_shown_whole(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["GetNotice"] = {**SENT, "text": "To see its output\n\nthe last lines:\n  disk full"}
    out = ctl("notices", "show", "17").out
    assert asked(daemon, "GetNotice") == [(17,)]
    assert out.splitlines()[0] == "17: backup failed: exit code 3"
    assert "channel  phone" in out
    assert "sent  " in out
    assert "event  failure of backup" in out
    assert "run  backup.3" in out
    assert out.endswith("\n\nTo see its output\n\nthe last lines:\n  disk full\n")
    found = ctl("notices", "show", "17", "--json").json
    assert found["text"] == "To see its output\n\nthe last lines:\n  disk full"
    daemon.answers["GetNotice"] = {**WAITS, "text": ""}
    out = ctl("notices", "show", "18").out
    assert "next  " in out
    assert "why  ntfy.sh does not answer" in out
    assert not out.endswith("\n\n")


def test_a_message_that_is_none_is_told(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["GetNotice"] = refusing("NoSuchNotice", "there is no message 99")
    assert ctl("notices", "show", "99") == (5, "", "agentctl: there is no message 99\n")
    for wrong in ("-1", "x", str(1 << 32)):
        assert ctl("notices", "show", wrong).code == 2


# Dropping


def test_messages_are_dropped_by_their_numbers_or_all(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["Drop"] = 1
    assert ctl("notices", "drop", "17") == (0, "1 message dropped\n", "")
    daemon.answers["Drop"] = 2
    assert ctl("notices", "drop", "17", "18").out == "2 messages dropped\n"
    assert ctl("notices", "drop", "--all", "--json").json == {"dropped": 2}
    assert asked(daemon, "Drop") == [([17],), ([17, 18],), ([],)]


def test_a_person_says_which_messages_are_dropped(daemon: FakeDaemon, ctl: Ctl) -> None:
    for words in ((), ("--all", "17")):
        ended = ctl("notices", "drop", *words)
        assert (ended.code, ended.out) == (2, "")
        assert "either the numbers of messages" in ended.err
    assert asked(daemon, "Drop") == []
    daemon.answers["Drop"] = refusing("NoSuchNotice", "no message 9 waits")
    assert ctl("notices", "drop", "9").code == 5


# A test


def test_a_test_tells_that_its_message_was_sent(daemon: FakeDaemon, ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "_POLL", 0)
    daemon.answers["ListChannels"] = [{**PHONE, "next": 0, "trouble": ""}, TEAM]
    states = ["sent", "waiting", "waiting"]
    daemon.answers |= {"Tell": [21], "GetNotice": lambda _: {**SENT, "id": 21, "state": states.pop()}}
    assert ctl("notices", "test") == (0, "message 21 is sent to phone\n", "")
    assert states == []
    ((run_id, text, options),) = asked(daemon, "Tell")
    assert (run_id, options) == ("", {"title": "agentd: a test", "priority": "high", "to": "phone"})
    assert text
    states.append("sent")
    assert ctl("notices", "test", "team", "--json").json["state"] == "sent"
    assert asked(daemon, "Tell")[-1][2]["to"] == "team"


def test_a_test_that_does_not_get_through_says_why(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers |= {"Tell": [18], "GetNotice": {**WAITS, "state": "failed"}}
    sentence = "agentctl: message 18 to phone did not get through: ntfy.sh does not answer\n"
    assert ctl("notices", "test") == (1, "", sentence)
    ended = ctl("notices", "test", "--json")
    assert (ended.code, ended.json["why"], ended.err) == (1, "ntfy.sh does not answer", sentence)


def test_an_attempt_that_fails_while_agentctl_looks_is_told_with_its_reason(daemon: FakeDaemon, ctl: Ctl) -> None:
    waits = {key: value for key, value in WAITS.items() if key != "why"}

    def channels() -> list[dict[str, Any]]:
        if asked(daemon, "Tell"):  # the attempt fails just before this question
            daemon.answers["GetNotice"] = WAITS
            return [PHONE]
        return [{**PHONE, "next": 0}]

    daemon.answers |= {"Tell": [18], "GetNotice": waits, "ListChannels": channels}
    sentence = "agentctl: message 18 to phone did not get through: ntfy.sh does not answer\n"
    assert ctl("notices", "test") == (1, "", sentence)


def test_a_test_need_not_be_waited_for(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers |= {"Tell": [18], "GetNotice": WAITS, "ListChannels": [{**PHONE, "next": 0}]}
    assert ctl("notices", "test", "--no-wait") == (0, "message 18 waits to be sent to phone\n", "")
    assert ctl("notices", "test", "--no-wait", "--json").json["state"] == "waiting"


def test_a_test_without_a_channel_or_of_one_that_is_none_is_told(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["Tell"] = refusing("NoSuchChannel", 'there is no channel "phon" (did you mean phone?)')
    assert ctl("notices", "test", "phon") == (5, "", 'agentctl: there is no channel "phon" (did you mean phone?)\n')
    daemon.answers["ListChannels"] = []
    assert ctl("notices", "test") == (1, "", f"agentctl: {NOBODY}")


# Telling


def test_a_person_tells_something(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers["Tell"] = [21]
    ended = ctl("tell", "3", "of", "12")
    assert (ended.code, ended.out) == (0, "message 21 is to be sent: agentctl notices shows what becomes of it\n")
    daemon.answers["Tell"] = [21, 22]
    assert ctl("tell", "--title", "T", "--priority", "high", "--to", "phone", "x", "--json").json == {"ids": [21, 22]}
    assert asked(daemon, "Tell") == [
        ("", "3 of 12", {}),
        ("", "x", {"title": "T", "priority": "high", "to": "phone"}),
    ]
    assert ctl("tell").code == 2
    assert ctl("tell", "x", "--priority", "urgent").code == 2


def test_a_run_tells_in_its_own_name_and_prints_nothing(
    daemon: FakeDaemon, ctl: Ctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTD_RUN_ID", "backup.3")
    daemon.answers["Tell"] = [21]
    assert ctl("tell", "x") == (0, "", "")
    assert asked(daemon, "Tell") == [("backup.3", "x", {})]
    assert ctl("tell", "x", "--json").json == {"ids": [21]}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (b"one\ntwo\n", "one\ntwo\n"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"x" * 20_000, "x" * 8192),
        ("ä".encode() * 9000, "ä" * 8192),
    ],
    ids=range(4),
)
def test_a_text_comes_from_the_standard_input(
    daemon: FakeDaemon, ctl: Ctl, monkeypatch: pytest.MonkeyPatch, given: bytes, told: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    daemon.answers["Tell"] = [21]
    assert ctl("tell", "--title", "The disk", "-").code == 0
    assert asked(daemon, "Tell") == [("", told, {"title": "The disk"})]


@pytest.mark.parametrize(
    ("error", "sentence", "code"),
    [
        ("NoSuchChannel", 'there is no channel "x"', 5),
        ("NoSuchRun", "the run x.1 is not under way", 5),
        ("Unsupported", "there is no channel to tell anybody", 1),
        ("InvalidArgument", "the message is empty: expected a text", 1),
    ],
)
def test_what_agentd_refuses_to_tell_is_a_sentence(
    daemon: FakeDaemon, ctl: Ctl, error: str, sentence: str, code: int
) -> None:
    daemon.answers["Tell"] = refusing(error, sentence)
    assert ctl("tell", "x") == (code, "", f"agentctl: {sentence}\n")


# All of them


WORDS = [
    ("notices",),
    ("notices", "channels"),
    ("notices", "show", "1"),
    ("notices", "test"),
    ("notices", "test", "phone"),
    ("notices", "drop", "1"),
    ("tell", "x"),
]


@pytest.mark.parametrize("words", WORDS)
def test_without_an_agentd_that_is_told(ctl: Ctl, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTD_ADDRESS", "unix:path=/nowhere")
    assert ctl(*words).code == 3


@pytest.mark.parametrize("words", WORDS)
def test_an_agentd_that_knows_no_notices_is_told(daemon: FakeDaemon, ctl: Ctl, words: tuple[str, ...]) -> None:
    members = ("ListNotices", "GetNotice", "ListChannels", "ListPings", "Tell", "Drop")
    daemon.answers |= dict.fromkeys(members, lambda *_: fake.unknown(NOTICES))
    ended = ctl(*words)
    assert ended.code == 1
    assert "is of another version than agentctl" in ended.err


def test_nothing_that_others_wrote_steers_the_terminal(daemon: FakeDaemon, ctl: Ctl) -> None:
    message = {**WAITS, **dict.fromkeys(("channel", "title", "why", "event", "about", "run_id", "text"), EVIL)}
    channel = {**PHONE, **dict.fromkeys(("name", "credential", "trouble"), EVIL)}
    daemon.answers |= {"ListNotices": [message], "ListChannels": [channel], "GetNotice": message, "Tell": [1]}
    daemon.answers["ListPings"] = [{**PING, **dict.fromkeys(("kind", "name", "credential", "trouble"), EVIL)}]
    for words in (("notices",), ("notices", "channels"), ("notices", "show", "1"), ("notices", "test", "--no-wait")):
        out = ctl(*words).out
        assert HARMLESS in out, words
        assert "\x1b" not in out, words
        assert "\u202e" not in out, words


def test_a_record_of_which_nothing_is_known_is_shown_all_the_same(daemon: FakeDaemon, ctl: Ctl) -> None:
    daemon.answers |= {"ListNotices": [{}], "ListChannels": [{"name": "x"}], "ListPings": [{}], "GetNotice": {}}
    for words in (("notices",), ("notices", "channels"), ("notices", "show", "1")):
        assert ctl(*words).code == 0
        assert ctl(*words, "--json").code == 0


@pytest.mark.parametrize(
    ("words", "begun", "expected"),
    [
        (["notices"], "", ["channels", "show", "test", "drop"]),
        (["notices", "test"], "", ["phone", "team"]),
        (["notices", "--channel"], "t", ["team"]),
        (["tell", "--to"], "p", ["phone"]),
        (["tell", "--priority"], "", ["low", "normal", "high"]),
    ],
)
def test_commands_and_channels_are_completed(
    daemon: FakeDaemon, words: list[str], begun: str, expected: list[str]
) -> None:
    found = ShellComplete(cli, {}, "agentctl", "_AGENTCTL_COMPLETE").get_completions(words, begun)
    assert [one.value for one in found] == expected


def test_the_words_are_those_of_agentd() -> None:
    assert tuple(events.RANK) == commands.PRIORITIES
    assert get_args(State) == commands.STATES
