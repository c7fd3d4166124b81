"""Who of the API servers is there."""

from fairway.api.peers import Peer, Roll

ONE, TWO = Peer("10.0.0.10", 6443), Peer("10.0.0.20", 6443)


def test_a_record_that_changes_keeps_its_server_alive() -> None:
    roll = Roll(15.0)
    assert roll.take({ONE: 1, TWO: 1}, 100.0) == set()
    assert roll.take({ONE: 2, TWO: 1}, 110.0) == set()
    assert roll.wait(110.0, 10.0) == 5.0
    assert roll.take({ONE: 2, TWO: 1}, 115.0) == {TWO}
    assert roll.take({ONE: 2}, 116.0) == set()
    assert roll.wait(116.0, 10.0) == 9.0


def test_a_server_that_was_gone_is_new_again() -> None:
    roll = Roll(15.0)
    roll.take({ONE: 1}, 0.0)
    roll.take({}, 10.0)
    assert roll.take({ONE: 1}, 20.0) == set()
    assert roll.wait(20.0, 100.0) == 15.0
