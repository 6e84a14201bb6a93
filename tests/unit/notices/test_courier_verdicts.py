"""What an answer makes of a message: the table of statuses, waits within bounds, pages that only look like success."""

import ssl
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.notices.verdicts import (
    LONGEST_WAIT,
    MEND,
    SENT,
    Answer,
    Verdict,
    judged,
    of_answer,
    of_failure,
    retry_after,
    shown,
)

NOW = 1_800_000_000_000_000


@given(
    status=st.integers(100, 999), retry=st.text(max_size=40), host=st.text(max_size=40), kind=st.text(max_size=20),
    start=st.binary(max_size=60),
)  # fmt: skip
def test_any_answer_makes_a_verdict_whose_sentence_is_our_own(
    status: int, retry: str, host: str, kind: str, start: bytes
) -> None:
    verdict = of_answer(Answer(host, status, {"retry-after": retry, "content-type": kind}, start), NOW)
    assert (verdict.became == "sent") == (200 <= status < 300 and not verdict.page)
    assert (verdict.became == "refused") == (status in {400, 413, 422})
    assert bool(verdict.why) == (verdict.became != "sent")
    assert 0 <= verdict.after <= LONGEST_WAIT
    if status in {401, 403, 404}:
        assert verdict.after == MEND


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", 0), ("30", 30), ("1.5", 1.5), ("86400", LONGEST_WAIT), ("9" * 12, LONGEST_WAIT), ("-5", 0), ("nan", 0),
        ("soon", 0), (formatdate(NOW / 1e6 + 90, usegmt=True), 90), (formatdate(NOW / 1e6 - 90, usegmt=True), 0),
        (formatdate(NOW / 1e6 + 1e7, usegmt=True), LONGEST_WAIT),
    ],
)  # fmt: skip
def test_a_server_may_ask_for_a_wait_of_an_hour_at_most(text: str, seconds: float) -> None:
    assert retry_after(text, NOW) == seconds


@pytest.mark.parametrize(
    ("kind", "start", "is_page"),
    [
        ("text/html", b"ok", False),  # Slack
        ("text/html; charset=utf-8", b"\n<!-- x --><html lang=de>", True),
        ("text/plain", b"<!DOCTYPE HTML>", True),
        ("application/json", b'{"message": "<html>"}', False),
        ("", b"", False),
    ],
)
def test_a_page_for_people_is_no_success(kind: str, start: bytes, is_page: bool) -> None:
    assert of_answer(Answer("example.org", 200, {"content-type": kind}, start), NOW).page == is_page


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("ntfy.example.org", "ntfy.example.org"), ("localhost", "localhost"), ("192.0.2.7", "192.0.2.7"),
        ("[2001:db8::1]", "2001:db8::1"), ("2001:db8::1", "2001:db8::1"), ("t0k3n", "the server"), ("", "the server"),
        ("user:pass@example.org", "the server"), ("a.b/c", "the server"), ("a.b\n", "the server"),
    ],
)  # fmt: skip
def test_a_sentence_names_a_host_only_where_it_looks_like_one(host: str, name: str) -> None:
    assert shown(host) == name


def test_the_words_of_an_error_are_not_those_of_a_sentence() -> None:
    inner = ssl.SSLCertVerificationError("secret")
    inner.verify_code = 10
    outer = OSError("https://secret")
    outer.__cause__ = inner
    inner.__context__ = outer  # in a circle
    assert of_failure(outer, "example.org").why == "example.org has a certificate that has expired"
    assert of_failure(ValueError("secret"), "example.org").why == (
        "example.org closed the connection before its answer was whole"
    )


LATER, PAGE = Verdict("again", "later"), Verdict("again", "page", page=True)


@pytest.mark.parametrize(
    ("delivered", "seen", "verdict"),
    [
        (True, [SENT], SENT),
        (True, [], SENT),
        (True, [LATER, SENT], SENT),  # a question on the way
        (True, [PAGE], PAGE),
        (False, [SENT, LATER], LATER),
        (None, [LATER, PAGE], PAGE),
    ],
)
def test_apprise_is_believed_but_for_a_page(delivered: bool | None, seen: list[Verdict], verdict: Verdict) -> None:
    assert judged(delivered, seen) == verdict


@pytest.mark.parametrize("seen", [[], [SENT]])
def test_a_no_without_a_reason_wants_a_look_at_the_credential(seen: list[Verdict]) -> None:
    verdict = judged(False, seen)
    assert (verdict.became, verdict.after) == ("again", MEND)
    assert "credential" in verdict.why
