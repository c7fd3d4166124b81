"""One node's part, move by move: what it says, what it answers for, and when it gives up."""

from __future__ import annotations

import pytest

from fairway.announce.bulletin import Bulletin, Claim
from fairway.announce.election import Wish
from fairway.announce.member import DEFAULT, Member, Timing, Turn

V4 = "10.0.0.200"
REACH = ("10.0.0.0/24",)
ALL = frozenset({"node-a", "node-b"})


class Alone:
    """A member whose writes and looks succeed at once, on a clock that is set by hand."""

    def __init__(self, *choices: frozenset[str]) -> None:
        self.now = 100.0
        self.member = Member("node-a", "host", DEFAULT, self.now)
        self.member.reach(REACH, ("02:00:00:00:00:0a",))
        self.wish(*(choices or (ALL,)))

    def wish(self, *choices: frozenset[str]) -> None:
        self.member.wish({V4: Wish(V4, ("default/web",), choices)} if choices else {})

    def turn(self, seconds: float = 0.0) -> Turn:
        """Let time pass and do what is to be done, with a server that answers in no time."""
        self.now += seconds
        turn = self.member.plan(self.now)
        if turn.bulletin is not None:
            self.member.wrote(turn.bulletin, self.now, self.now)
        if self.member.should_look(self.now):
            looked = self.member.looked(self.now, "2026-01-01T00:00:00Z")
            return Turn(turn.cease, turn.bulletin, looked.begin)
        return turn

    def other(self, *claims: str, held: bool = True, term: int = 5, lapse: float = 1.2, version: str = "1") -> None:
        """Another node is seen to say so."""
        said = {address: Claim(term, held=held) for address in claims}
        macs = ("02:00:00:00:00:0b",)
        self.member.saw(Bulletin("node-b", "host", said, REACH, macs, lapse), version, self.now)

    def announcing(self) -> Alone:
        """Until it announces the address."""
        self.turn()
        assert self.turn(DEFAULT.settle).begin == {V4: False}
        assert self.member.answers(V4, self.now)
        return self


def test_a_node_looks_around_before_it_claims() -> None:
    node = Alone()
    first = node.turn()
    assert first.bulletin is not None and not first.bulletin.claims and first.bulletin.lapse == DEFAULT.idle_lapse
    second = node.turn(DEFAULT.settle)
    assert second.bulletin is not None and not second.bulletin.claims[V4].held and second.begin == {V4: False}
    third = node.turn()
    assert third.bulletin is not None and third.bulletin.claims[V4] == Claim(
        1, "2026-01-01T00:00:00Z", "nobody announced it", True
    )


def test_it_renews_in_time_and_says_nothing_else() -> None:
    node = Alone().announcing()
    node.turn()
    assert node.turn(DEFAULT.renew / 2).bulletin is None
    assert node.turn(DEFAULT.renew / 2).bulletin is not None


def test_a_node_that_may_announce_nothing_says_nothing() -> None:
    assert Alone(frozenset({"node-b"})).turn().bulletin is None
    node = Alone()
    node.member.reach(("192.0.2.0/24",), ())
    assert node.turn(1.0) == Turn()


def test_what_another_claims_is_left_to_it_while_it_lives() -> None:
    node = Alone()
    node.turn()
    node.other(V4)
    assert not node.turn(DEFAULT.lapse - 0.1).begin
    node.member.beat(node.now)
    taken = node.turn(0.2)
    assert taken.begin == {V4: True}  # it probes first
    assert node.member.mine[V4].term == 6
    assert node.member.mine[V4].why == "the Lease of node-b, which announced it, ended"


def test_what_another_gives_up_is_taken_at_once() -> None:
    node = Alone()
    node.turn()
    node.other(V4)
    node.turn(0.5)
    node.other(version="2")
    assert node.turn(DEFAULT.patience).begin == {V4: False}
    assert node.member.mine[V4].why == "node-b gave it up"


def test_without_the_server_it_goes_on_until_it_hears_another() -> None:
    node = Alone().announcing()
    node.member.lost()
    for _ in range(20):
        node.now += 0.1
        node.member.beat(node.now)
    assert node.member.alone == (V4,) and node.member.answers(V4, node.now)
    assert not node.member.is_entitled(V4, node.now)
    node.other()
    assert (
        node.member.heard(V4, "02:00:00:00:00:cc", claimed=False, now=node.now) == Turn()
    )  # a host that looks for an address
    assert node.member.heard(V4, "02:00:00:00:00:0b", claimed=False, now=node.now).cease == (V4,)
    assert not node.member.answers(V4, node.now)


def test_while_it_has_the_server_it_heeds_nobody_on_the_segment() -> None:
    node = Alone().announcing()
    assert node.member.heard(V4, "02:00:00:00:00:0b", claimed=True, now=node.now) == Turn()


def test_after_a_sleep_it_answers_nothing_and_begins_anew() -> None:
    node = Alone().announcing()
    node.now += 10.0
    assert not node.member.answers(V4, node.now)  # before it has done anything
    assert node.member.beat(node.now).cease == (V4,)
    assert not node.member.looked(node.now, "").begin  # what it wrote before counts no more
    assert node.turn().begin == {V4: False}


def test_who_wakes_from_a_nap_hears_first_what_was_said() -> None:
    node = Alone().announcing()
    node.now += DEFAULT.hold + 0.05  # not long enough to know nothing any more
    assert node.member.heard(V4, "02:00:00:00:00:0b", claimed=True, now=node.now).cease == (V4,)
    assert not node.member.answers(V4, node.now)


def test_an_answer_that_comes_too_late_counts_from_when_it_was_sent() -> None:
    node = Alone().announcing()
    said = node.member.plan(node.now).bulletin
    sent = node.now
    for _ in range(12):
        node.now += 0.1
        node.member.beat(node.now)
    assert said is not None
    node.member.wrote(said, sent, node.now)
    assert not node.member.is_entitled(V4, node.now)


def test_a_younger_right_wins() -> None:
    node = Alone().announcing()
    node.other(V4, held=False, term=9)
    assert not node.turn().cease
    node.other(V4, held=True, term=9, version="2")
    assert node.turn().cease == (V4,)


def test_it_hands_over_when_the_other_asks_and_not_before() -> None:
    node = Alone().announcing()
    node.other(lapse=25.0)
    node.wish(frozenset({"node-b"}))
    assert not node.turn().cease and node.member.answers(V4, node.now)
    node.other(V4, held=False, term=2, version="2")
    assert node.turn().cease == (V4,)


def test_what_nobody_wants_any_more_is_given_up_at_once() -> None:
    node = Alone().announcing()
    node.wish()
    turn = node.turn()
    assert turn.cease == (V4,) and turn.bulletin is not None and not turn.bulletin.claims
    assert not node.member.busy


def test_a_lease_that_was_removed_counts_until_its_time_is_over() -> None:
    node = Alone()
    node.turn()
    node.other(V4)
    node.now += 0.5
    node.member.missed("node-b", node.now)
    assert not node.turn(DEFAULT.lapse - 0.1).begin
    assert node.turn(0.2).begin


def test_its_last_word_is_that_it_leaves() -> None:
    node = Alone().announcing()
    turn = node.member.quit()
    assert turn.cease == (V4,) and turn.bulletin is not None and turn.bulletin.leaving
    assert not Alone().member.quit().bulletin  # who has said nothing needs to take nothing back


def test_times_that_leave_no_room_are_refused() -> None:
    with pytest.raises(ValueError, match="no room"):
        Timing(hold=1.1)
    with pytest.raises(ValueError, match="between"):
        Timing.of(0.5)
    assert Timing.of(4.0).renew == 1.0
