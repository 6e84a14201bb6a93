"""The courier as a program, against real servers: what each answer makes of a message; and no secret is told."""

import contextlib
import re
import socket
import time
from collections.abc import Callable, Iterator
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from random import Random
from typing import Any

import pytest
from aiosmtpd.smtp import AuthResult

from tests.unit.notices import servers
from tests.unit.notices.servers import SECRET, Courier, Mailbox, Respond, Server, answers, certificate, proxy, smtp


@pytest.fixture
def courier(tmp_path: Path) -> Courier:
    return Courier(tmp_path)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Starts servers, which end with the test."""
    running: list[Server] = []

    def start(respond: Respond, **more: Any) -> Server:
        running.append(Server(respond, **more))
        return running[-1]

    yield start
    for server in running:
        server.stop()


def ntfy(server: Server) -> str:
    """A credential for ntfy, with a token and a topic that are secret."""
    return f"ntfy://tk_{SECRET}@127.0.0.1:{server.port}/{SECRET}"


def test_ntfy_gets_title_text_and_priority_of_a_message(courier: Courier, serve: Callable[..., Server]) -> None:
    server = serve(answers(200))
    told = courier.run(
        ntfy(server), {"priority": "high", "body": "*exit* <code> 3 & \x1b[31mred\x1b[0m\x07"}, {"sort": "news"}
    )
    assert (told.code, told.error) == (0, "")
    assert told.lines == [{"id": 17, "became": "sent"}, {"id": 18, "became": "sent"}]
    first, second = (request.json for request in server.asked)
    assert (first["topic"], first["title"], first["message"]) == (SECRET, "backup failed", "*exit* <code> 3 & red")
    assert server.asked[0].headers["x-priority"] == "high"
    assert "x-priority" not in server.asked[1].headers
    assert second["title"] == "backup failed"
    assert server.asked[0].headers["authorization"].endswith(f"tk_{SECRET}")


AGAIN: dict[str, tuple[Respond, str, float]] = {
    "error page": (answers(200, b"<!DOCTYPE html><html>Log in", Content_Type="text/html"), "a page for people", 0),
    "429": (answers(429, Retry_After="41"), "takes no more messages for now", 41),
    "429 for a day": (answers(429, Retry_After="86400"), "takes no more messages for now", 3600),
    "500": (answers(500), "cannot take the message now .status 500.", 0),
    "503": (answers(503, Retry_After="7"), "cannot take the message now .status 503.", 7),
    "redirect": (answers(302, Location=f"http://localhost:1/{SECRET}"), "redirects to another address", 0),
    "moved": (answers(308, Location="/elsewhere"), "redirects to another address", 0),
    "401": (answers(401), "denies access .status 401.: correct the credential", 600),
    "403": (answers(403), "denies access .status 403.: correct the credential", 600),
    "404": (answers(404), "knows no such address .status 404.: correct the credential", 600),
    "closed in the middle": (servers.closes_in_the_middle, "closed the connection before its answer was whole", 0),
    "closed at once": (servers.closes_at_once, "closed the connection before its answer was whole", 0),
}


@pytest.mark.parametrize("way", sorted(AGAIN))
def test_a_message_goes_again_and_those_after_it_wait(courier: Courier, serve: Callable[..., Server], way: str) -> None:
    respond, why, after = AGAIN[way]
    server = serve(respond)
    told = courier.run(ntfy(server), {}, {})
    assert (told.code, told.error) == (0, "")
    assert told.line["became"] == "again"
    assert told.line.get("after", 0) == after
    assert len(server.asked) == 1, "order is kept, and nothing is followed"
    assert re.match(rf"127\.0\.0\.1 .*{why}", told.line["why"])


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_message_that_is_refused_does_not_hold_the_next_one(
    courier: Courier, serve: Callable[..., Server], status: int
) -> None:
    told = courier.run(ntfy(serve(answers(status))), {}, {})
    assert [line["became"] for line in told.lines] == ["refused", "refused"]
    assert told.lines[0]["why"] == f"127.0.0.1 refuses the message (status {status})"


@pytest.mark.parametrize("way", ["never_answers", "never_ends"])
def test_a_server_without_an_end_is_left_and_nothing_outside_shows_the_secret(
    courier: Courier, serve: Callable[..., Server], way: str
) -> None:
    server = serve(getattr(servers, way))
    courier.hand(ntfy(server), {}, {})
    with courier.start("--patience", "2.5") as process:
        while not server.asked:
            time.sleep(0.01)
            assert process.poll() is None
        for name in ("cmdline", "environ"):
            with contextlib.suppress(PermissionError):  # closed to its own user as well
                assert SECRET.encode() not in Path(f"/proc/{process.pid}/{name}").read_bytes()
        out, error = process.communicate(timeout=60)
    assert (process.returncode, out, error) == (0, "", "")
    assert courier.lines() == [{"id": 17, "became": "again", "why": "there was no whole answer within 2.5 s"}]


def test_a_certificate_that_nobody_vouches_for_is_told(
    courier: Courier, serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve(answers(200), tls=certificate(tmp_path, "127.0.0.1"))
    url = ntfy(server).replace("ntfy:", "ntfys:")
    told = courier.run(url)
    assert told.line["why"] == "127.0.0.1 has a certificate that is self-signed"
    assert server.asked == []
    courier.told.unlink()
    courier.more = {"REQUESTS_CA_BUNDLE": str(tmp_path / "cert")}
    assert courier.run(url).line == {"id": 17, "became": "sent"}


def test_a_server_that_is_not_there_or_speaks_no_tls_is_told(courier: Courier, serve: Callable[..., Server]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert courier.run(f"json://localhost:{port}/{SECRET}").line["why"] == "localhost refuses connections"
    courier.told.unlink()
    server = serve(answers(200))
    told = courier.run(f"jsons://{SECRET}:x@localhost:{server.port}/")
    assert told.line["why"] == "localhost does not speak TLS as expected"
    courier.told.unlink()
    assert courier.run(f"json://nowhere.invalid/{SECRET}").line["why"].startswith("nowhere.invalid cannot be found")


def test_discord_gets_a_message_once_and_nobody_is_woken_by_output(
    courier: Courier, serve: Callable[..., Server], tmp_path: Path
) -> None:
    """Sends to discord.com, for which a proxy on this machine answers."""
    discord = serve(answers(204, b""), tls=certificate(tmp_path, "discord.com"))
    with proxy(discord.port) as (port, wanted):
        courier.more = {"HTTPS_PROXY": f"http://127.0.0.1:{port}", "REQUESTS_CA_BUNDLE": str(tmp_path / "cert")}
        body = "begins\n" + "a line of output\n" * 5000 + "@everyone ends"
        told = courier.run(f"discord://{'1' * 18}/{SECRET}", {"body": body})
    assert told.line == {"id": 17, "became": "sent"}
    assert wanted == ["discord.com:443"]
    (request,) = discord.asked
    assert request.path == f"/api/webhooks/{'1' * 18}/{SECRET}"
    text = request.body.decode("unicode_escape" if b"\\u" in request.body else "utf-8")
    assert "backup failed" in text
    assert "begins" in text
    assert text.count("[...]") == 1
    assert " ends" in text
    assert "@everyone" not in text
    assert len(request.json.get("content") or "") <= 2000


# Mail


def test_mail_is_plain_text_that_says_what_the_message_says(courier: Courier) -> None:
    mailbox = Mailbox()
    with smtp(mailbox) as where:
        told = courier.run(f"mailto://{where}", {"body": "1 < 2 & *3*\nzweite Zeile: ü"})
    assert told.line == {"id": 17, "became": "sent"}
    (raw,) = mailbox.mails
    mail = message_from_bytes(raw, policy=default)
    assert mail["subject"] == "backup failed"
    assert [part.get_content_type() for part in mail.walk() if not part.is_multipart()] == ["text/plain"]
    text = mail.get_body(("plain",))
    assert text is not None
    assert text.get_content().split() == ["1", "<", "2", "&", "*3*", "zweite", "Zeile:", "ü"]


@pytest.mark.parametrize(
    ("replies", "became", "why"),
    [
        ({"rcpt": "450 later"}, "again", "127.0.0.1 cannot take the message now (reply 450)"),
        ({"rcpt": f"550 {SECRET}"}, "refused", "127.0.0.1 refuses the recipient (reply 550)"),
        ({"data": "451 later"}, "again", "127.0.0.1 cannot take the message now (reply 451)"),
        ({"data": f"554 {SECRET}"}, "refused", "127.0.0.1 refuses the message (reply 554)"),
        ({"rcpt": "530 who are you"}, "again", "127.0.0.1 denies access (reply 530): correct the credential"),
    ],
)
def test_a_mail_server_that_says_no_for_now_is_asked_again_and_one_for_good_is_not(
    courier: Courier, replies: dict[str, str], became: str, why: str
) -> None:
    with smtp(Mailbox(**replies)) as where:
        told = courier.run(f"mailto://{where}&name={SECRET}")
    assert (told.line["became"], told.line["why"]) == (became, why)


def test_a_password_that_a_mail_server_does_not_take_wants_mending(courier: Courier) -> None:
    result = AuthResult(success=False)
    with smtp(Mailbox(), authenticator=lambda *_: result, auth_require_tls=False) as where:
        told = courier.run(f"mailto://user:{SECRET}@{where}&smtp=127.0.0.1")
    assert told.line["why"] in {
        "127.0.0.1 denies access (reply 535): correct the credential",
        "127.0.0.1 closed the connection at the login: look at the credential",
    }
    assert told.line["after"] == 600


def test_a_password_that_cannot_be_sent_is_told_as_what_it_is(courier: Courier) -> None:
    with smtp(Mailbox(), authenticator=lambda *_: AuthResult(success=True), auth_require_tls=False) as where:
        told = courier.run(f"mailto://user:{SECRET}%C3%BC@{where}&smtp=127.0.0.1")
    assert told.line["why"] == "the password or the user has signs that mail cannot send: correct the credential"
    assert told.line["mend"]


# Pings


def test_a_ping_needs_no_apprise_and_says_how_a_run_ended(courier: Courier, serve: Callable[..., Server]) -> None:
    server = serve(answers(200, b"OK", Content_Type="text/plain"))
    run = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
    pings: list[str | int] = ["start", "success", "fail", "log", 3]
    told = courier.run(
        f"http://127.0.0.1:{server.port}/ping/{SECRET}",
        *({"ping": ping, "run": run, "body": "x" * 200_000 + "last"} for ping in pings),
    )
    assert [line["became"] for line in told.lines] == ["sent"] * 5
    ends = ["/start", "", "/fail", "/log", "/3"]
    assert [request.path for request in server.asked] == [f"/ping/{SECRET}{end}?rid={run}" for end in ends]
    assert all(len(request.body) == 100_000 and request.body.endswith(b"last") for request in server.asked)


@pytest.mark.parametrize(
    ("answer", "became", "why"),
    [
        (answers(200, b"OK (not found)"), "again", "the server knows no such check: correct the credential"),
        (answers(404), "again", "127.0.0.1 knows no such address (status 404): correct the credential"),
        (answers(500), "again", "127.0.0.1 cannot take the message now (status 500)"),
        (servers.closes_at_once, "again", "127.0.0.1 closed the connection before its answer was whole"),
        (
            answers(302, Location="/elsewhere"),
            "again",
            (
                "127.0.0.1 redirects to another address (status 302), which is not followed: correct the URL in the "
                "credential, unless the network asks for a login"
            ),
        ),
    ],
)
def test_a_ping_that_does_not_arrive_goes_again(
    courier: Courier, serve: Callable[..., Server], answer: Respond, became: str, why: str
) -> None:
    told = courier.run(f"http://127.0.0.1:{serve(answer).port}/{SECRET}", {"ping": "fail"}, {"ping": "fail"})
    assert (told.line["became"], told.line["why"]) == (became, why)


def test_a_ping_goes_through_the_proxy_of_the_environment(
    courier: Courier, serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve(answers(200, b"OK"), tls=certificate(tmp_path, "hc.example.org"))
    with proxy(server.port) as (port, wanted):
        courier.more = {"HTTPS_PROXY": f"http://127.0.0.1:{port}", "SSL_CERT_FILE": str(tmp_path / "cert")}
        told = courier.run(f"https://user:{SECRET}@hc.example.org/{SECRET}", {"ping": 3, "run": "a-1"})
    assert (told.line["became"], wanted) == ("sent", ["hc.example.org:443"])
    (request,) = server.asked
    assert request.path == f"/{SECRET}/3?rid=a-1"


def test_a_ping_to_a_proxy_or_server_that_is_not_there_is_told(courier: Courier) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    told = courier.run(f"http://127.0.0.1:{port}/{SECRET}", {"ping": "start"})
    assert told.line["why"] == "127.0.0.1 refuses connections"
    courier.told.unlink()
    told = courier.run(f"https://nowhere.invalid/{SECRET}", {"ping": "start"})
    assert told.line["why"].startswith("nowhere.invalid cannot be found")


# What is handed out


def test_a_url_that_apprise_does_not_know_wants_mending(courier: Courier) -> None:
    told = courier.run(f"nosuch://{SECRET}")
    assert told.line == {
        "id": 17,
        "became": "again",
        "why": "apprise knows no such URL: correct the credential",
        "after": 600.0,
        "mend": True,
    }


def test_a_dry_message_is_not_sent_and_tells_if_it_could_be(courier: Courier, serve: Callable[..., Server]) -> None:
    server = serve(answers(200))
    dry = {"id": 0, "dry": True}
    assert courier.run(ntfy(server), dry).lines == [{"id": 0, "became": "sent"}]
    assert server.asked == []
    courier.told.unlink()
    assert courier.run(f"nosuch://{SECRET}", dry).line["why"] == "apprise knows no such URL: correct the credential"
    courier.told.unlink()
    courier.hand("", dry)
    with courier.start() as process:
        process.communicate(timeout=60)
    assert courier.lines()[0]["why"] == "the credential c is empty: expected a URL"


def test_a_dry_ping_is_not_sent_and_tells_if_it_could_be(courier: Courier, serve: Callable[..., Server]) -> None:
    server = serve(answers(200))
    dry = {"id": 0, "ping": "success", "dry": True}
    assert courier.run(f"http://127.0.0.1:{server.port}/{SECRET}", dry).lines == [{"id": 0, "became": "sent"}]
    assert server.asked == []
    courier.told.unlink()
    why = "the credential is not the URL of a check (https://...): correct it"
    assert courier.run(f"ntfy://{SECRET}", dry).line["why"] == why


def test_a_credential_that_is_not_there_holds_the_messages(courier: Courier) -> None:
    courier.hand("json://localhost")
    courier.credential.unlink()
    with courier.start() as process:
        process.communicate(timeout=60)
    assert process.returncode == 0
    (line,) = courier.lines()
    assert (line["became"], line["after"], line["mend"]) == ("again", 600, True)
    assert line["why"].startswith("there is no credential c: expected agentd.notice.c of systemd")


@pytest.mark.parametrize(
    "text", [None, "", "{", '{"version": 2, "messages": []}', '{"version": 1, "messages": [{"id": "x"}]}']
)
def test_what_agentd_did_not_hand_out_is_told_in_a_sentence(courier: Courier, text: str | None) -> None:
    courier.hand(f"json://localhost/{SECRET}")
    (courier.box / "c.json").unlink() if text is None else (courier.box / "c.json").write_text(text)
    with courier.start() as process:
        out, error = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert error.startswith(str(courier.box / "c.json"))
    assert len(error.splitlines()) == 1


def test_a_link_in_the_place_of_told_is_not_followed(courier: Courier) -> None:
    courier.hand(f"json://localhost/{SECRET}")
    courier.told.symlink_to(courier.home / "elsewhere")
    with courier.start() as process:
        _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert error == f"{courier.told} cannot be written: too many levels of symbolic links\n"
    assert not (courier.home / "elsewhere").exists()


def test_what_was_told_is_received_and_at_most_one_more_a_kill(courier: Courier, serve: Callable[..., Server]) -> None:
    server, random = serve(answers(200)), Random(7)
    courier.hand(ntfy(server), *({"title": f"message {number}"} for number in range(60)))
    kills = 0
    while len(courier.lines()) < 60:
        with courier.start() as process:
            deadline = time.monotonic() + 60
            wanted = len(server.asked) + random.randrange(1, 16)
            while len(server.asked) < wanted and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.0005)
            time.sleep(random.random() * 0.01)
            kills += process.poll() is None
            process.kill()
            process.communicate()
        told = [line["id"] for line in courier.lines()]
        received = [17 + int(request.json["title"].split()[1]) for request in server.asked]
        assert set(told) <= set(received), "nothing is told to be sent that was not"
        assert len(set(told)) == len(told)
        assert len(received) - len(told) <= kills, "one message is repeated a kill at most"
    assert [*dict.fromkeys(received)] == list(range(17, 77)), "in their order"
    assert kills >= 3
