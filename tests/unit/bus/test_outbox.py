"""The line of messages to the bus: who floods waits, and everybody else keeps the order."""

from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from agentd.bus.outbox import AHEAD, Outbox

PEERS = st.sampled_from([":1.1", ":1.2", ":1.3", ""])


def test_somebody_else_passes_whoever_has_much_to_come() -> None:
    outbox = Outbox()
    for number in range(20):
        outbox.put(number.to_bytes(8000, "big"), "flood", None)
    taken = [outbox.take()[0] for _ in range(4)]
    outbox.put(b"first", "other", None)
    outbox.put(b"second", "other", None)
    passed = [outbox.take()[0] for _ in range(len(outbox))]
    before = passed[: passed.index(b"second")]
    assert sum(map(len, before)) <= AHEAD + len(b"first")
    flood = [*taken, *(data for data in passed if len(data) == 8000)]
    assert [int.from_bytes(data, "big") for data in flood] == list(range(20))


def test_the_more_who_flood_the_more_is_ahead_but_not_all_that_they_have() -> None:
    outbox = Outbox()
    for number in range(50):
        for peer in "abc":
            outbox.put(bytes(50_000), peer, None)
            assert len(outbox) == number * 3 + "abc".index(peer) + 1
    taken = [outbox.take()[0] for _ in range(30)]
    outbox.put(b"me", "other", None)
    while (data := outbox.take()[0]) != b"me":
        taken.append(data)
    assert len(taken) <= 33


@given(st.lists(st.tuples(PEERS, st.integers(1, 40_000), st.integers(0, 3)), max_size=60))
def test_messages_of_a_peer_keep_their_order_and_none_is_lost(sent: list[tuple[str, int, int]]) -> None:
    outbox, told = Outbox(), list[int]()

    def take() -> None:
        _, done = outbox.take()
        assert done is not None
        done()

    for number, (to, size, takes) in enumerate(sent):
        outbox.put(bytes(size), to, partial(told.append, number))
        for _ in range(min(takes, len(outbox))):
            take()
    while outbox:
        take()
    assert sorted(told) == list(range(len(sent)))
    for peer in {to for to, _, _ in sent}:
        assert [number for number in told if sent[number][0] == peer] == [
            number for number, (to, _, _) in enumerate(sent) if to == peer
        ]


@given(st.lists(st.tuples(PEERS, st.integers(1, 250), st.booleans()), max_size=60))
def test_a_little_goes_in_the_order_in_which_it_was_written(sent: list[tuple[str, int, bool]]) -> None:
    outbox, taken = Outbox(), list[int]()
    sizes = [size for _, size, _ in sent]
    assert sum(sizes) < AHEAD
    for number, (to, size, takes) in enumerate(sent):
        outbox.put(number.to_bytes(2, "big") + bytes(size), to, None)
        if takes:
            taken.append(int.from_bytes(outbox.take()[0][:2], "big"))
    while outbox:
        taken.append(int.from_bytes(outbox.take()[0][:2], "big"))
    assert taken == list(range(len(sent)))
