"""The pings: checks outside, as of healthchecks.io, hear when the runs of jobs begin and end. Their silence is what
alarms, so a ping knows no quiet hours, and of what an outage held up the newest is what counts."""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from agentd.core.jobs.events import wrong
from agentd.core.jobs.model import Notified, Run, RunChanged
from agentd.core.jobs.settings import Job
from agentd.core.notices import words
from agentd.core.notices.beats import Beats, shifted
from agentd.core.notices.model import (
    PART,
    Check,
    CheckForgotten,
    CheckSaved,
    Outcome,
    Ping,
    Pinged,
    PingForgotten,
    PingSaved,
    PingsWanted,
    Says,
)
from agentd.core.notices.settings import NoticeSettings
from agentd.core.part import Decided, Effect
from agentd.core.quantities import DAY, HOUR, MINUTE

MOST = 100
"""The most pings that wait for a check."""
_BATCH = 20
"""The most pings that one courier gets."""
_AGAIN, _MOST_AGAIN, _MOST_AFTER = MINUTE, HOUR, DAY
"""Microseconds before the second attempt, before any at most (doubled with each), and that a server may ask for."""


_HIGHEST = 255
"""The highest exit status that there is."""


class _Line:
    """The pings that wait for a check, in order, and those of them that a courier has."""

    def __init__(self, check: Check) -> None:
        self.check = check
        self.waiting: dict[int, Ping] = {}
        self.flight: set[int] = set()
        self.busy = False
        self.told = False
        """Whether the courier has told anything yet."""

    def free(self) -> list[Ping]:
        """Returns the pings that no courier has."""
        return [ping for ping in self.waiting.values() if ping.id not in self.flight]


class Pings:
    """The pings of jobs by their checks, and the heartbeat. Effects go to `effects`."""

    def __init__(self, pings: Sequence[Ping], checks: Sequence[Check], now: int, effects: list[Effect]) -> None:
        self.beats = Beats(effects)
        self._effects = effects
        self._jobs: dict[str, str] = {}
        """The credentials of the checks by the jobs that ping them."""
        self._keep = 0
        self._draining = False
        self._lines = {one.credential: _Line(_taken_up(one, now)) for one in checks}
        for ping in sorted(pings, key=lambda one: (one.made, one.id)):
            line = self._lines.setdefault(ping.credential, _Line(Check(credential=ping.credential)))
            line.waiting[ping.id] = replace(ping, made=min(ping.made, now))

    def configure(self, settings: NoticeSettings, jobs: Mapping[str, Job], now: int) -> None:
        """Takes other settings: what waits for a check that its job does not ping any more is dropped."""
        self._keep = settings.keep
        self._jobs = {name: job.ping.credential for name, job in jobs.items() if job.ping is not None}
        before = dict(self._lines)
        if self.beats.check is not None:
            before[self.beats.check.credential] = _Line(self.beats.check)
        for credential, line in self._lines.items():
            gone = [one for one in line.waiting.values() if self._jobs.get(one.job) != credential]
            self._drop(line, gone, "its job does not ping that check any more", now)
        wanted = sorted(set(self._jobs.values()))
        self._lines = {name: before.get(name) or _Line(Check(credential=name)) for name in wanted}
        heart = settings.heartbeat
        known = before.get(heart.credential) if heart is not None else None
        self.beats.configure(heart, known.check if known is not None else None, now)
        kept = {*wanted, *([heart.credential] if heart is not None else [])}
        self._effects += [CheckForgotten(name) for name in before if name not in kept]

    # What happens

    def heard(self, effects: Sequence[Effect], now: int) -> None:
        """Pings for the runs that begin and end."""
        if not self._jobs:
            return
        final = {one.run.run_id for one in effects if isinstance(one, Notified) and one.event in {"success", "failure"}}
        for effect in effects:
            if isinstance(effect, RunChanged) and (credential := self._jobs.get(effect.run.job)) is not None:
                ping = _ping(effect, credential, effect.run.run_id in final, now)
                if ping is not None:
                    self._put(self._lines[credential], ping, now)
        self.hand_out(now)

    def _put(self, line: _Line, ping: Ping, now: int) -> None:
        if ping.id in line.waiting:
            return
        line.waiting[ping.id] = ping
        self._effects.append(PingSaved(ping))
        if line.check.failed:
            self._supersede(line, now)
        if len(line.waiting) > MOST:
            self._drop(line, line.free()[:1], f"more than {MOST} wait", now)

    def _supersede(self, line: _Line, now: int) -> None:
        """Drops what a newer end of the same job makes meaningless: the pings of runs that had ended before. What only
        goes to the log of a check makes nothing meaningless."""
        order = list(line.waiting.values())
        ends = {ping.run_id: place for place, ping in enumerate(order) if ping.ends}
        newest = {ping.job: place for place, ping in enumerate(order) if ping.ends and ping.says != "log"}
        old = [one for one in line.free() if one.run_id in ends and ends[one.run_id] < newest.get(one.job, 0)]
        self._drop(line, old, "a newer run has ended", now)

    # Going out

    def hand_out(self, now: int) -> None:
        """Gives couriers what may go."""
        for credential, line in self._lines.items():
            if self._draining or line.busy or not line.waiting or line.check.again_at > now:
                continue
            batch = tuple(line.waiting.values())[:_BATCH]
            line.busy, line.told, line.flight = True, False, {one.id for one in batch}
            self._effects.append(PingsWanted(credential, batch))

    def wakeup(self) -> int | None:
        """Returns when the next ping may go, or the next beat is due; None while there is nothing to do."""
        if self._draining:
            return None
        wanted = [line.check.again_at for line in self._lines.values() if line.waiting and not line.busy]
        return min((when for when in (*wanted, self.beats.wakeup()) if when is not None), default=None)

    def tick(self, now: int) -> None:
        """Sends what is due."""
        self.beats.tick(now)
        self.hand_out(now)

    def delivered(self, credential: str, ping_id: int, outcome: Outcome, now: int) -> None:
        """Takes note of what became of a ping that a courier had."""
        line = self._lines.get(credential)
        if line is None or ping_id not in line.flight:
            return
        line.told = True
        line.flight.discard(ping_id)
        if outcome.became == "again":
            self._fail(line, replace(outcome, after=min(outcome.after, _MOST_AFTER)), now)
        elif outcome.became == "refused":
            why = outcome.why or "the server refused the ping"
            self._save(line, replace(line.check, failed=line.check.failed + 1, why=why))
            self._drop(line, [line.waiting[ping_id]], why, now)
        else:
            self._save(line, replace(line.check, sent=now, failed=0, again_at=0, why="", mend=False))
            del line.waiting[ping_id]
            self._effects.append(PingForgotten(ping_id))

    def courier_ended(self, credential: str, why: str, now: int) -> None:
        """Takes note that a courier is no more; `why` is a sentence where it did not do its work."""
        line = self._lines.get(credential)
        if line is None or not line.busy:
            return
        left, line.busy, line.flight = bool(line.flight), False, set()
        if left and (why or not line.told) and line.check.again_at <= now:
            self._fail(line, Outcome("again", why or "the courier ended without a word"), now)
        if line.check.again_at > now:
            self._supersede(line, now)
            old = [one for one in line.waiting.values() if one.made + self._keep <= now]
            self._drop(line, old, f"not delivered for too long (notices.keep): {line.check.why}", now)
        self.hand_out(now)

    def _fail(self, line: _Line, outcome: Outcome, now: int) -> None:
        failed, pause = line.check.failed, max(outcome.after, min(_MOST_AGAIN, _AGAIN << min(line.check.failed, 10)))
        failure = {"failed": failed + 1, "why": outcome.why, "mend": outcome.mend}
        self._save(line, replace(line.check, again_at=now + pause, **failure))

    # The rest

    def listed(self) -> list[Pinged]:
        """Returns the checks: that of the heartbeat, and those of jobs, ordered by the jobs' names."""
        found = [Pinged("heartbeat", "agentd", self.beats.check)] if self.beats.check is not None else []
        for name, credential in sorted(self._jobs.items()):
            line = self._lines[credential]
            found.append(Pinged("ping", name, line.check, sum(one.job == name for one in line.waiting.values())))
        return found

    def hold(self, trouble: str) -> None:
        """Takes note that nothing can be stored, and why, or with "" that everything can be again."""
        self.beats.hold(bool(trouble) or self._draining)

    def drain(self) -> None:
        """Sends nothing from here on: what waits is stored for the next agentd."""
        self._draining = True
        self.beats.hold(True)

    def clock_stepped(self, delta: int) -> None:
        """Moves along with the wall clock: what counts is the time that went by."""
        self.beats.clock_stepped(delta)
        for line in self._lines.values():
            line.check = shifted(line.check, delta)
            line.waiting = {key: replace(one, made=one.made + delta) for key, one in line.waiting.items()}
        self.save_all()

    def save_all(self) -> None:
        """Wants everything stored once more."""
        self.beats.save_all()
        for line in self._lines.values():
            self._effects += [CheckSaved(line.check), *map(PingSaved, line.waiting.values())]

    def _save(self, line: _Line, check: Check) -> None:
        line.check = check
        self._effects.append(CheckSaved(check))

    def _drop(self, line: _Line, pings: Sequence[Ping], why: str, now: int) -> None:
        for ping in pings:
            del line.waiting[ping.id]
            line.flight.discard(ping.id)
            self._effects.append(PingForgotten(ping.id))
            told = f"the ping to {ping.credential} ({ping.says}): {why}"
            self._effects.append(Decided(now, PART, "drop", ping.job, told, ping.run_id))


def _ping(changed: RunChanged, credential: str, final: bool, now: int) -> Ping | None:
    """Returns what a check is told of a run; None: nothing. After an end that is not `final` another attempt comes."""
    said = _begins(changed.run) if changed.event == "started" else None
    if changed.event == "finished" and changed.run.result != "cancelled":  # that one never began
        said = _ends(changed.run, final)
    if said is None:
        return None
    run, (says, text) = changed.run, said
    return Ping(
        id=2 * run.seq + (says != "start"),
        credential=credential,
        job=run.job,
        run_id=run.run_id,
        says=says,
        text=words.body(f"{run.run_id} {text}"),
        made=now,
    )


def _begins(run: Run) -> tuple[Says, str]:
    return "start", f"started, attempt {run.attempt}" if run.attempt > 1 else "started"


def _ends(run: Run, final: bool) -> tuple[Says, str]:
    """Returns what a check is told of an end. A run that was stopped neither failed nor did its work: the log of the
    check has it, and the check alarms where no other run comes in time."""
    reason = f"\n{run.reason}" if run.reason else ""
    if run.result == "success":
        return "success", "succeeded"
    if run.result == "stopped":
        return "log", f"was stopped{reason}"
    if not final:
        return "log", f"failed: {wrong(run)}; another attempt follows{reason}"
    code = run.exit_code if run.result == "exit-code" else None
    return code if code is not None and 0 < code <= _HIGHEST else "fail", f"failed: {wrong(run)}{reason}"


def _taken_up(check: Check, now: int) -> Check:
    """Returns a check as it was stored; it does not lie ahead of a clock that was set back meanwhile."""
    return replace(
        check, sent=min(check.sent, now), beat=min(check.beat, now), again_at=min(check.again_at, now + _MOST_AGAIN)
    )
