"""Several cores as one: news travels up, a core that fails is shut off, and the others go on."""

from collections.abc import Callable, Sequence
from functools import partial

import pytest

from agentd.core.part import Core, Effect, Sampled
from agentd.core.parts import Parts


class Said(Effect, frozen=True):
    who: str
    what: int


class Measured(Sampled, frozen=True):
    who: str


class Talker(Core):
    """A core that notes what it is asked, answers what `answers` says, and fails where it is told to. A core of which
    nothing else is said is always due."""

    def __init__(
        self, name: str, answers: Callable[[Effect], Effect | None] = lambda _: None, due: int | None = 0
    ) -> None:
        self.name, self.due, self.answers = name, due, answers
        self.asked: list[str] = []
        self.fails = ""
        self.wants: list[Effect] = []

    def _note(self, what: str) -> None:
        self.asked.append(what)
        if what == self.fails:
            raise ZeroDivisionError(what)

    def tick(self, now: int) -> None:
        self._note("tick")
        self.wants.append(Said(self.name, now))

    def wakeup(self) -> int | None:
        self._note("wakeup")
        return self.due

    def effects(self) -> list[Effect]:
        self._note("effects")
        taken, self.wants = self.wants, []
        return taken

    def heard(self, effects: Sequence[Effect], now: int) -> None:
        self._note("heard")
        self.wants += [answer for effect in effects if (answer := self.answers(effect)) is not None]

    def clock_stepped(self, delta: int, now: int) -> None:
        self._note("clock_stepped")

    def drain(self) -> None:
        self._note("drain")

    def save_all(self) -> None:
        self._note("save_all")


def together(*talkers: Talker) -> tuple[Parts, list[str]]:
    failed: list[str] = []
    parts = Parts(
        {talker.name: talker for talker in talkers},
        lambda name, error: failed.append(f"{name}: {type(error).__name__}"),
    )
    return parts, failed


def test_effects_come_in_the_order_of_parts_and_everybody_hears_all() -> None:
    first = Talker("first")
    second = Talker("second", lambda effect: Said("second", 99) if effect == Said("first", 5) else None)
    parts, failed = together(first, second)
    parts.tick(5)
    assert parts.effects(5) == [Said("first", 5), Said("second", 5), Said("second", 99)]
    assert parts.effects(5) == []
    assert failed == []


def test_nobody_hears_samples() -> None:
    heard: list[Effect] = []
    first, second = Talker("first"), Talker("second", heard.append)
    parts, _ = together(first, second)
    first.wants += [Measured("first"), Said("first", 1), Measured("first")]
    assert parts.effects(5) == [Measured("first"), Said("first", 1), Measured("first")]
    assert heard == [Said("first", 1)]


def test_the_first_wakeup_counts() -> None:
    parts, _ = together(Talker("a", due=7), Talker("b", due=None), Talker("c", due=3))
    assert parts.wakeup() == 3
    assert together(Talker("a", due=None))[0].wakeup() is None


def test_a_core_is_ticked_once_it_is_due() -> None:
    soon, late, never = Talker("soon", due=3), Talker("late", due=7), Talker("never", due=None)
    parts, _ = together(soon, late, never)
    parts.tick(3)
    assert parts.effects(3) == [Said("soon", 3)]
    parts.tick(7)
    assert parts.effects(7) == [Said("soon", 7), Said("late", 7)]


def test_what_a_core_wants_by_now_counts_and_not_what_it_wanted_before() -> None:
    talker = Talker("a", due=7)
    parts, _ = together(talker)
    assert parts.wakeup() == 7
    talker.due = 2
    parts.tick(2)
    assert parts.effects(2) == [Said("a", 2)]


def test_who_wants_looks_and_samples_alone_has_the_others_asked_nothing() -> None:
    first, due, last = Talker("first", due=7), Talker("due", due=3), Talker("last", due=9)
    parts, _ = together(first, due, last)
    assert parts.due(1) == ["first", "due", "last"]  # nobody was asked yet
    assert parts.wakeup() == 3
    first.asked.clear()
    last.asked.clear()
    assert parts.due(3) == ["due"]
    parts.tick(2, of=["due"])
    assert due.wants == []
    due.wants.append(Measured("due"))
    assert parts.effects(3, of=["due"]) == [Measured("due")]
    due.due = 8
    assert parts.wakeup(of=["due"]) == 7
    assert first.asked == last.asked == []


def test_news_of_one_part_have_all_asked() -> None:
    first, second = Talker("first"), Talker("second")
    parts, _ = together(first, second)
    first.wants += [Measured("first"), Said("first", 1)]
    second.answers = lambda effect: Said("second", 2) if effect == Said("first", 1) else None
    assert parts.effects(5, of=["first"]) == [Measured("first"), Said("first", 1), Said("second", 2)]
    second.wants.append(Said("second", 3))
    assert parts.effects(5, of=["first"]) == [Said("second", 3)]  # where it wants nothing, another may


def test_a_part_that_is_gone_is_due_no_more() -> None:
    parts, _ = together(Talker("gone", due=3), Talker("late", due=7))
    assert parts.wakeup() == 3
    parts.gone("gone", 1)
    assert (parts.due(5), parts.wakeup()) == ([], 7)
    parts.tick(9, of=["gone", "late"])
    assert parts.effects(9) == [Said("late", 9)]


def heard(parts: Parts) -> None:
    parts.tick(1)
    parts.effects(1)


ASKED: dict[str, Callable[[Parts], object]] = {
    "tick": partial(Parts.tick, now=1),
    "wakeup": Parts.wakeup,
    "effects": partial(Parts.effects, now=1),
    "heard": heard,
    "clock_stepped": partial(Parts.clock_stepped, delta=1, now=1),
    "drain": Parts.drain,
    "save_all": Parts.save_all,
}


@pytest.mark.parametrize("where", ASKED)
def test_a_core_that_raises_is_asked_nothing_more_and_the_others_go_on(where: str) -> None:
    bad, good = Talker("bad"), Talker("good")
    bad.fails = where
    parts, failed = together(bad, good)
    ASKED[where](parts)
    assert failed == ["bad: ZeroDivisionError"]
    assert where in good.asked
    bad.asked.clear()
    good.asked.clear()
    for ask in ASKED.values():
        ask(parts)
    assert bad.asked == []
    assert set(good.asked) == set(ASKED)
    assert failed == ["bad: ZeroDivisionError"]


def test_parts_that_answer_each_other_without_end_do_not_hang_the_loop() -> None:
    ping = Talker("ping", lambda effect: Said("ping", 0) if effect == Said("pong", 0) else None)
    pong = Talker("pong", lambda effect: Said("pong", 0) if effect == Said("ping", 0) else None)
    quiet = Talker("quiet")
    parts, failed = together(quiet, ping, pong)
    ping.wants.append(Said("ping", 0))
    quiet.answers = lambda effect: Said("quiet", len(quiet.asked)) if effect == Said("pong", 0) else None
    taken = parts.effects(1)
    assert failed in (["ping: RecursionError"], ["pong: RecursionError"])
    quiet.answers = lambda _: None
    taken += parts.effects(2)
    # What the others wanted meanwhile is not lost.
    assert len([effect for effect in taken if effect.who == "quiet"]) == taken.count(Said("pong", 0))  # type: ignore[attr-defined]
    quiet.wants.append(Said("quiet", 1))
    assert Said("quiet", 1) in parts.effects(2)


def test_the_others_learn_which_part_is_gone() -> None:
    bad, good = Talker("bad"), Talker("good")
    parts, _ = together(bad, good)
    gone: list[tuple[str, int]] = []
    good.gone = lambda part, now: gone.append((part, now))  # type: ignore[method-assign]
    parts.gone("bad", 7)
    parts.tick(8)
    assert (gone, bad.asked) == ([("bad", 7)], [])
