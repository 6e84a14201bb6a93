"""The doubts about credentials that agentd has without being told by a courier: it looks at their files from outside,
and never reads what they say."""

from collections.abc import Callable, Sequence

from agentd import log as logging
from agentd.core.notices.settings import Use
from agentd.core.quantities import MINUTE

log = logging.get()


class Doubts:
    """The credentials that cannot be used. `look` returns why, as a sentence, or "". Looks at the start, when
    the settings are others, and when somebody asks a minute or more after the last look: nothing is woken for it."""

    def __init__(self, look: Callable[[str], str], uses: Sequence[Use], now: int) -> None:
        self._look = look
        self._found: dict[str, str] = {}
        self.configure(uses, now)

    def configure(self, uses: Sequence[Use], now: int) -> None:
        """Takes other settings, and looks."""
        self._uses = uses
        self._look_at_all(now)

    def by_setting(self, now: int) -> dict[str, str]:
        """Returns by the setting that names a credential a sentence about that, where it cannot be used."""
        if not 0 <= now - self._looked < MINUTE:
            self._look_at_all(now)
        return self._found

    def _look_at_all(self, now: int) -> None:
        credentials = dict.fromkeys(one.credential for one in self._uses)
        found = {name: self._look(name) for name in credentials}
        before, self._looked = self._found, now
        wrong = [(use, found[use.credential]) for use in self._uses if found[use.credential]]
        self._found = {use.setting: f"nothing gets through to {use.whom}: {why}" for use, why in wrong}
        for setting, text in self._found.items():
            if before.get(setting) != text:
                log.warning(text, id="message")
