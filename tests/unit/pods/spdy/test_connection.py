"""The accepting side of SPDY as a talk: what a client sends, what that means, what it is answered."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fairway.pods.spdy import connection as spdy
from fairway.pods.spdy.connection import Broken, Connection, Event, Finished, Opened, Received
from fairway.pods.spdy.errors import Violation
from fairway.pods.spdy.frames import (
    Data,
    Decoder,
    Encoder,
    Frame,
    GoAway,
    MoreHeaders,
    Ping,
    RstStream,
    Settings,
    Status,
    SynReply,
    SynStream,
    WindowUpdate,
)


class Talk:
    """A client's frames and the connection's answers."""

    def __init__(self) -> None:
        self.connection = Connection()
        self._encoder, self._decoder = Encoder(), Decoder()

    def says(self, *frames: Frame) -> list[Event]:
        return self.connection.receive(b"".join(self._encoder.encode(frame) for frame in frames))

    def hears(self) -> list[Frame]:
        sent = bytes(self.connection.outgoing)
        self.connection.outgoing.clear()
        return self._decoder.feed(sent)


def test_a_stream_from_its_beginning_to_its_end() -> None:
    talk = Talk()
    assert talk.says(SynStream(1, (("streamtype", "stdin"),))) == [Opened(1, (("streamtype", "stdin"),))]
    assert talk.hears() == [SynReply(1)]
    assert talk.says(Data(1, b"hello"), Data(1, b"", fin=True)) == [Received(1, b"hello"), Finished(1)]
    talk.connection.send(1, b"there")
    talk.connection.finish(1)
    talk.connection.send(1, b"too late")
    assert talk.hears() == [Data(1, b"there"), Data(1, b"", fin=True)]
    assert talk.says(Data(1, b"after its end")) == []


def test_streams_can_begin_half_closed() -> None:
    talk = Talk()
    assert talk.says(SynStream(1, fin=True), SynStream(3, unidirectional=True)) == [
        Opened(1, ()),
        Finished(1),
        Opened(3, ()),
    ]
    assert talk.hears() == [SynReply(1)]
    talk.connection.send(3, b"not to be heard")
    assert talk.hears() == []
    assert talk.says(MoreHeaders(3, (("more", "1"),), fin=True)) == [Finished(3)]


def test_who_takes_grants_as_much() -> None:
    talk = Talk()
    talk.says(SynStream(1), Data(1, b"12345"))
    talk.connection.taken(1, 5)
    assert talk.hears() == [SynReply(1), WindowUpdate(1, 5), WindowUpdate(0, 5)]
    talk.connection.finish(1)
    talk.says(Data(1, b"67", fin=True))
    talk.connection.taken(1, 2)
    assert talk.hears()[1:] == [WindowUpdate(0, 2)], "a stream that is over needs no window; the connection does"


def test_pings_of_the_client_come_back() -> None:
    talk = Talk()
    assert talk.says(Ping(1), Ping(2), Ping(0xFFFFFFFF), Settings(((0, 7, 1),)), WindowUpdate(0, 5)) == []
    assert talk.hears() == [Ping(1), Ping(0xFFFFFFFF)]


def test_streams_are_given_up_by_either_side() -> None:
    talk = Talk()
    talk.says(SynStream(1), SynStream(3))
    talk.hears()
    assert talk.says(RstStream(1, Status.CANCEL), RstStream(1, Status.CANCEL)) == [Broken(1)]
    talk.connection.reset(3)
    talk.connection.reset(3)
    assert talk.hears() == [RstStream(3, Status.CANCEL)]
    assert talk.says(Data(3, b"sent before it was known")) == []
    assert talk.hears() == [WindowUpdate(0, 24)]


def test_what_was_never_opened_is_no_stream() -> None:
    talk = Talk()
    assert talk.says(Data(1, b"?"), RstStream(5, 1), MoreHeaders(7, fin=True)) == []
    assert talk.hears() == [WindowUpdate(0, 1), RstStream(1, Status.INVALID_STREAM)]


def test_a_client_that_said_it_had_finished_has() -> None:
    talk = Talk()
    talk.says(SynStream(1, fin=True))
    assert talk.says(Data(1, b"but")) == [Broken(1)]
    assert talk.hears()[-1] == RstStream(1, Status.STREAM_ALREADY_CLOSED)


@pytest.mark.parametrize("numbers", [(2,), (0,), (5, 5), (5, 3)])
def test_numbers_of_streams_are_odd_and_rise(numbers: tuple[int, ...]) -> None:
    talk = Talk()
    with pytest.raises(Violation, match="cannot be opened"):
        talk.says(*(SynStream(number) for number in numbers))
    assert isinstance(talk.hears()[-1], GoAway)


def test_a_number_that_was_refused_is_used_up() -> None:
    talk = Talk()
    talk.says(Data(1, b"early"))
    assert talk.hears()[-1] == RstStream(1, Status.INVALID_STREAM)
    with pytest.raises(Violation, match="cannot be opened"):
        talk.says(SynStream(1))


def test_there_is_an_end_of_streams() -> None:
    talk = Talk()
    last = 2 * spdy.MAX_STREAMS + 1
    events = talk.says(*(SynStream(number) for number in range(1, last + 1, 2)))
    assert len(events) == spdy.MAX_STREAMS
    assert talk.hears()[-1] == RstStream(last, Status.REFUSED_STREAM)
    talk.says(RstStream(1, Status.CANCEL))
    assert talk.says(SynStream(last + 2)) == [Opened(last + 2, ())]


def test_long_data_goes_in_pieces() -> None:
    talk = Talk()
    talk.says(SynStream(1))
    talk.hears()
    talk.connection.send(1, b"x" * (2 * spdy.PIECE + 1))
    assert [len(frame.data) for frame in talk.hears() if isinstance(frame, Data)] == [spdy.PIECE, spdy.PIECE, 1]


STREAMS = st.integers(0, 9)
FRAMES: st.SearchStrategy[Frame] = st.one_of(
    st.builds(SynStream, STREAMS, st.just(()), st.booleans(), st.booleans()),
    st.builds(Data, STREAMS, st.binary(max_size=3), st.booleans()),
    st.builds(RstStream, STREAMS, st.integers(0, 12)),
    st.builds(MoreHeaders, STREAMS, st.just(()), st.booleans()),
)
DEEDS = st.tuples(st.sampled_from(["send", "finish", "reset"]), STREAMS)


@given(st.lists(st.one_of(FRAMES, DEEDS), max_size=30))
@example([Data(1, b""), SynStream(1), ("send", 1)])
def test_events_of_a_stream_come_in_order_whatever_happens(steps: list[Frame | tuple[str, int]]) -> None:
    talk, state, silent = Talk(), dict[int, str](), set[int]()
    for step in steps:
        if isinstance(step, tuple):
            deed, number = step
            getattr(talk.connection, deed)(number, *([b"x"] if deed == "send" else []))
            if deed == "reset" and number in state:
                state[number] = "over"
        else:
            try:
                events = talk.says(step)
            except Violation:
                return
            for event in events:
                before = state.get(event.stream)
                assert before == {Opened: None, Received: "open", Finished: "open"}.get(type(event), before)
                assert before != "over"
                state[event.stream] = {Finished: "half", Broken: "over"}.get(type(event), "open")
        for frame in talk.hears():
            if isinstance(frame, Data):
                assert frame.stream not in silent, "nothing is said after the end"
                silent |= {frame.stream} if frame.fin else set()
            elif isinstance(frame, RstStream):
                silent.add(frame.stream)
