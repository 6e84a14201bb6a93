"""The check of the self-test that is about notices: whether couriers could deliver, as they themselves say."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from agentd.core.notices.settings import Use
from agentd.part import Check, CheckFailed, CheckSkipped

_LIMIT = 120.0  # seconds; a courier that is at work with a credential is waited for
TryOut = Callable[[str, bool], Awaitable[str]]


def checks(uses: Callable[[], Sequence[Use]], try_out: TryOut) -> list[Check]:
    """Returns the checks of notices. `try_out` has a courier look whether it could use a credential, for a ping or for
    messages, without sending anything, and returns why not, as a sentence, or "". Raises OSError."""
    return [
        Check(
            name="notices",
            look=partial(deliverable, uses, try_out),
            remedy="mend what is named (CREDENTIALS in agentd(8)), then try the channel: agentctl notices test CHANNEL",
            limit=_LIMIT,
        )
    ]


async def deliverable(uses: Callable[[], Sequence[Use]], try_out: TryOut) -> str:
    """Has a courier look at each credential. Raises CheckFailed, CheckSkipped."""
    by_credential: dict[tuple[str, bool], list[str]] = {}
    for use in uses():
        by_credential.setdefault((use.credential, use.ping), []).append(use.whom)
    if not by_credential:
        raise CheckSkipped("neither a channel nor a check is configured (notices in agentd.yaml(5))")
    wrong = []
    for (credential, ping), whom in by_credential.items():
        try:
            why = await try_out(credential, ping)
        except OSError as error:
            why = f"{error.filename or 'the courier'}: {error.strerror or error}"
        if why:
            wrong.append(f"nothing can be sent to {', '.join(whom)}: {why}")
    if wrong:
        raise CheckFailed("; ".join(wrong))
    everybody = ", ".join(one for whom in by_credential.values() for one in whom)
    return f"couriers can use their credentials ({everybody}); nothing was sent"
