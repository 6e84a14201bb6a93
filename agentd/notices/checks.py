"""The check of the self-test that is about notices: whether couriers could deliver, as they themselves say."""

from collections.abc import Awaitable, Callable
from functools import partial

from agentd.core.notices.settings import NoticeSettings
from agentd.part import Check, CheckFailed, CheckSkipped

_LIMIT = 120.0  # seconds; a courier that is at work with a credential is waited for
TryOut = Callable[[str], Awaitable[str]]


def checks(settings: Callable[[], NoticeSettings], try_out: TryOut) -> list[Check]:
    """Returns the checks of notices. `try_out` has a courier look whether it could use a credential, without sending
    anything, and returns why not, as a sentence, or ""; it raises OSError."""
    return [
        Check(
            name="notices",
            look=partial(deliverable, settings, try_out),
            remedy="mend what is named (CREDENTIALS in agentd(8)), then try the channel: agentctl notices test CHANNEL",
            limit=_LIMIT,
        )
    ]


async def deliverable(settings: Callable[[], NoticeSettings], try_out: TryOut) -> str:
    """Has a courier look at the credential of each channel. Raises CheckFailed, CheckSkipped."""
    channels = settings().channels.values()
    if not channels:
        raise CheckSkipped("no channel is configured (notices.channels in agentd.yaml(5))")
    wrong = []
    for credential in dict.fromkeys(one.credential for one in channels):
        try:
            why = await try_out(credential)
        except OSError as error:
            why = f"{error.filename or 'the courier'}: {error.strerror or error}"
        if why:
            named = ", ".join(one.name for one in channels if one.credential == credential)
            wrong.append(f"nothing can be sent to {named}: {why}")
    if wrong:
        raise CheckFailed("; ".join(wrong))
    return (
        f"couriers can use the credential of each channel ({', '.join(one.name for one in channels)}); nothing was sent"
    )
