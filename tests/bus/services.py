"""Services of all kinds that bring messages: a phone by ntfy, a webhook of Discord, a mailbox; and what each took."""

import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from email import message_from_bytes
from email.policy import default
from typing import Any

from tests.bus.harness import Agentd
from tests.bus.phone import SECRET, Phone, put_credential
from tests.unit.notices.servers import Handler, Mailbox, Server, answers, by_proxy, certificate, proxy, smtp

_WEBHOOK = "1" * 18
_LATE = 0.3
"""The seconds between taking a message and saying so: whoever is killed then cannot know."""


class Services:
    """The services, to which the credentials `ntfy`, `discord` and `mail` lead."""

    def __init__(self, phone: Phone, discord: Server, mailbox: Mailbox) -> None:
        self._phone, self._discord, self._mailbox = phone, discord, mailbox

    def told(self) -> dict[str, list[str]]:
        """By service the beginnings of what it took, in order: the title, and of Discord what comes with it."""
        mails = (message_from_bytes(raw, policy=default) for raw in self._mailbox.mails)
        return {
            "ntfy": self._phone.titles(),
            "discord": [_said(request.json) for request in self._discord.asked],
            "mail": [str(mail["subject"]) for mail in mails],
        }


def _late(handler: Handler) -> None:
    time.sleep(_LATE)
    answers(204, b"")(handler)


class _LateMailbox(Mailbox):
    """A mailbox that says late what it took."""

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        """Keeps a mail."""
        reply = await super().handle_DATA(server, session, envelope)
        await asyncio.sleep(_LATE)
        return reply


def _said(webhook: dict[str, object]) -> str:
    """What a message to Discord says, without the names of its fields."""
    texts = re.findall(r"'(?:content|title|description)': [\"'](.*?)[\"'][,}]", str(webhook))
    return " ".join(text for text in texts if text)


@contextmanager
def services(agentd: Agentd) -> Iterator[Services]:
    """Starts the services, for an agentd that is not yet started."""
    folder = agentd.folder / "tls"
    folder.mkdir()
    mailbox, phone = _LateMailbox(), Phone()
    phone.late = _LATE
    discord = Server(_late, tls=certificate(folder, "discord.com"))
    with ExitStack() as running:
        running.callback(phone.down)
        running.callback(discord.stop)
        port, _ = running.enter_context(proxy(discord.port))
        where = running.enter_context(smtp(mailbox))
        phone.credential(agentd, "ntfy")
        put_credential(agentd, "discord", f"discord://{_WEBHOOK}/{SECRET}\n")
        put_credential(agentd, "mail", f"mailto://{where}\n")
        agentd.environment |= by_proxy(port) | {"REQUESTS_CA_BUNDLE": str(folder / "cert")}
        yield Services(phone, discord, mailbox)
