"""What a replayed session may answer that is not the same: see sessions.py."""

import re
from collections.abc import Iterator
from typing import Any

from tests.compat.wire import PROPERTIES, Step, is_instant

_BY = "taken back by "
_RELOAD = "org.agentd1.Manager.Reload"
_UNTOLD = re.compile(r"reboot\.\S+: ")
"""Changes of settings that 0.1.0 read without telling them: its reload told those of jobs."""
_WHO = re.compile(r"( by \w[\w.-]*| \(by \w[\w.-]*\))\Z")
"""The end of a sentence about what a person wanted: 0.1.0 did not say who."""
_NO_CAUSE = "request"  # in 0.1.0 the cause of whoever named none; now it is the caller's service or user
_TOLD_NOW = "/interface/org.agentd1.Manager/property/StartedUSec/annotations"
"""The one annotation there: 0.1.0 promised that the start never changes, which is wrong once the clock is set."""
CLOSE = 5 * 60_000_000
_SENTENCES = {"note", "reason", "last_skip", "why", "Warnings", "ConfigurationError"}
_MEASURED = {"cpu_usec", "peak_memory"}
_OF_MEMBERS = {_RELOAD: "note", "org.agentd1.Reboot.Clear": "note"}
_OF_SIGNALS = {"org.agentd1.Jobs.Notified": "note", "org.agentd1.Reboot.RebootWithdrawn": "why"}


class Rules:
    """`stored` are the texts in the recorded state, `at` the instant at which it was recorded."""

    def __init__(self, stored: set[str], at: int) -> None:
        self._stored, self._at = stored, at

    def answer(self, wanted: Step, found: Step) -> Iterator[str]:
        """The differences between the recorded step and what was answered to its call."""
        if "error" in wanted or "error" in found:
            if wanted.get("error") != found.get("error"):
                yield f"{wanted.get('error', 'an answer')} was expected, not {found}"
            elif not found["text"].strip() or ("\n" in found["text"] and "InvalidConfig" not in found["error"]):
                yield f"the error has no sentence, or several lines: {found['text']!r}"
            return
        (kind, body), (kind_now, body_now) = wanted["answer"], found["answer"]
        if kind != kind_now:
            yield f"the signature {kind} is now {kind_now}"
        elif wanted["call"].endswith(".Introspect"):
            yield from self.members(body[0], body_now[0], "")
        elif wanted["call"].endswith(".ListDecisions"):
            # A run by hand was no decision yet; those there are now leave less room for others on a page.
            known = [one for one in body_now[0] if one["kind"][1] != "start"]
            room = len(body_now[0]) - len(known)
            yield from self.values(body[0][: len(known)] if room else body[0], known, "[0]")
        elif wanted["call"] == f"{PROPERTIES}.Get":
            name = wanted["body"][1]
            yield from self.values({name: body[0]}, {name: body_now[0]}, "")
        else:
            if wanted["call"] == _RELOAD:
                body_now = [[text for text in body_now[0] if text in body[0] or not _UNTOLD.match(text)]]
            yield from self.values(body, body_now, "", _OF_MEMBERS.get(wanted["call"], ""))

    def signals(self, wanted: list[Step], found: list[Step]) -> Iterator[str]:
        """The differences between recorded signals and those that came."""
        names, names_now = [one["signal"] for one in wanted], [one["signal"] for one in found]
        if names != names_now:
            yield f"the signals {names} are now {names_now}"
            return
        for one, other in zip(wanted, found, strict=True):
            if one["signature"] != other["signature"]:
                yield f"{one['signal']}: the signature {one['signature']} is now {other['signature']}"
            progress = one["signal"].endswith(".Notified") and one["body"][2] == "progress"
            kind = "" if progress else _OF_SIGNALS.get(one["signal"], "")
            *before, last = one["body"]
            *before_now, last_now = other["body"]
            yield from self.values(before, before_now, one["signal"])
            yield from self.values(last, last_now, one["signal"], kind)

    def missing(self, changes: list[Any], among: list[Any]) -> list[str]:
        """The properties that were told as changed, with a value or without, and are not among the others."""

        def names(these: list[Any]) -> set[str]:
            return {
                f"{interface}.{name}{how}"
                for interface, values, invalidated in these
                for how, some in ((" with its value", values), ("", invalidated))
                for name in some
            }

        return sorted(names(changes) - names(among))

    def members(self, wanted: Any, found: Any, where: str) -> Iterator[str]:
        """What introspection told and does not tell any more; more of it is welcome."""
        if isinstance(wanted, dict) and isinstance(found, dict):
            for name in wanted:
                if name in found:
                    yield from self.members(wanted[name], found[name], f"{where}/{name}")
                elif f"{where}/{name}" != _TOLD_NOW:
                    yield f"{where}/{name} is missing"
        elif wanted != found:
            yield f"{where}: {wanted} is now {found}"

    def values(self, wanted: Any, found: Any, where: str, kind: str = "", *, fresh: bool = False) -> Iterator[str]:
        """The differences between two values; `kind` is the key that they have, `fresh` that of a run of the session.

        Mappings are a{sv}: each value is a pair of its signature and itself.
        """
        if isinstance(wanted, dict) and isinstance(found, dict) and "bytes" not in wanted:
            fresh = "started" in wanted and wanted["started"][1] >= self._at
            for name, (signature, value) in wanted.items():
                if name not in found:
                    yield f"{where}.{name} is missing"
                elif name == "next" and value and wanted.get("kind", ["s", ""])[1] in {"cron", "at"}:
                    yield from () if found[name][1] >= self._at else [f"{where}.next is not to come"]
                elif found[name][0] != signature:
                    yield f"{where}.{name}: the type {signature} is now {found[name][0]}"
                else:
                    yield from self.values(value, found[name][1], f"{where}.{name}", name, fresh=fresh)
        elif isinstance(wanted, list) and isinstance(found, list):
            if len(wanted) != len(found):
                yield f"{where}: {len(wanted)} are now {len(found)}: {wanted} {found}"
                return
            for number, (one, other) in enumerate(zip(wanted, found, strict=True)):
                yield from self.values(one, other, f"{where}[{number}]", kind, fresh=fresh)
        elif type(wanted) is not type(found) or not self._same(wanted, found, kind, fresh=fresh):
            yield f"{where}: {wanted!r} is now {found!r}"

    def _same(self, wanted: Any, found: Any, kind: str, *, fresh: bool) -> bool:
        if is_instant(wanted) and wanted >= self._at:
            return bool(abs(found - wanted) <= CLOSE)
        if kind == "Version":
            return re.fullmatch(r"\d+\.\d+\.\d+\S*", found) is not None
        if isinstance(wanted, str) and wanted.startswith(_BY):  # whoever runs the test, not who recorded
            return isinstance(found, str) and found.startswith(_BY) and len(found) > len(_BY)
        if kind in {"cause", "pending_cause"} and wanted == _NO_CAUSE:
            return bool(found == wanted or found.startswith("user ") or found.endswith(".service"))
        if kind in _SENTENCES and wanted and wanted not in self._stored:
            return bool(found.strip())
        if kind in _SENTENCES and isinstance(found, str) and wanted == _WHO.sub("", found):
            return True
        return bool(wanted == found) or (fresh and kind in _MEASURED)
