"""The doubts about credentials that agentd has without being told by a courier: it looks at their files from outside,
and never reads what they say."""

from collections.abc import Callable

from agentd import log as logging
from agentd.core.notices.settings import NoticeSettings
from agentd.core.quantities import MINUTE

log = logging.get()


class Doubts:
    """The channels whose credentials cannot be used. `look` returns why, as a sentence, or "". Looks at the start, when
    the settings are others, and when somebody asks a minute or more after the last look: nothing is woken for it."""

    def __init__(self, look: Callable[[str], str], settings: NoticeSettings, now: int) -> None:
        self._look = look
        self._found: dict[str, str] = {}
        self.configure(settings, now)

    def configure(self, settings: NoticeSettings, now: int) -> None:
        """Takes other settings, and looks."""
        self._credentials = {name: channel.credential for name, channel in settings.channels.items()}
        self._look_at_all(now)

    def of_channels(self, now: int) -> dict[str, str]:
        """Returns by channel a sentence about its credential, where that cannot be used."""
        if not 0 <= now - self._looked < MINUTE:
            self._look_at_all(now)
        return self._found

    def _look_at_all(self, now: int) -> None:
        found = {name: self._look(credential) for name, credential in self._credentials.items()}
        before, self._looked = self._found, now
        self._found = {name: f"the channel {name} tells nobody: {why}" for name, why in found.items() if why}
        for name, text in self._found.items():
            if before.get(name) != text:
                log.warning(text, id="credential", channel=name)
