"""Events are counted, not repeated, and nobody drowns in them."""

from __future__ import annotations

from fairway.client.base import Object
from fairway.control.events import BURST, REFILL_SECONDS, REMEMBERED, Tally
from fairway.control.writes import Create, Note, Patch
from fairway.objects.kinds import NODE, POD

SUBJECT: Object = {"metadata": {"name": "web", "namespace": "default", "uid": "u", "resourceVersion": "7"}}


def note(message: str = "Created pod: a", subject: Object = SUBJECT) -> Note:
    return Note(POD, subject, "Normal", "SuccessfulCreate", message)


def test_the_first_note_is_an_event() -> None:
    write = Tally().write(note(), "replicaset-controller", 1.0)
    assert isinstance(write, Create)
    assert write.obj == {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "web.3b9aca00", "namespace": "default"},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": "web",
            "namespace": "default",
            "uid": "u",
            "resourceVersion": "7",
        },
        "reason": "SuccessfulCreate",
        "message": "Created pod: a",
        "type": "Normal",
        "source": {"component": "replicaset-controller"},
        "firstTimestamp": "1970-01-01T00:00:01Z",
        "lastTimestamp": "1970-01-01T00:00:01Z",
        "count": 1,
        "reportingComponent": "replicaset-controller",
        "reportingInstance": "",
    }


def test_repetitions_raise_the_count_until_the_event_is_forgotten() -> None:
    tally = Tally()
    tally.write(note(), "c", 1.0)
    second, third = (tally.write(note(), "c", now) for now in (2.0, 3.0))
    assert isinstance(second, Patch)
    assert isinstance(third, Patch)
    assert (second.name, third.patch) == ("web.3b9aca00", {"count": 3, "lastTimestamp": "1970-01-01T00:00:03Z"})
    tally.forget("web.3b9aca00")
    assert isinstance(tally.write(note(), "c", 4.0), Create)


def test_another_message_source_or_object_is_another_event() -> None:
    tally = Tally()
    reborn = {"metadata": {**SUBJECT["metadata"], "uid": "v"}}
    notes = [(note(), "c"), (note("other"), "c"), (note(), "d"), (note(subject=reborn), "c")]
    assert all(isinstance(tally.write(each, component, 1.0), Create) for each, component in notes)


def test_events_of_nodes_live_in_the_default_namespace() -> None:
    told = Note(NODE, {"metadata": {"name": "a"}}, "Normal", "NodeReady", "")
    write = Tally().write(told, "node-controller", 1.0)
    assert isinstance(write, Create)
    assert write.obj["metadata"]["namespace"] == "default"
    assert "namespace" not in write.obj["involvedObject"]


def test_one_object_cannot_flood() -> None:
    tally = Tally()
    written = [tally.write(note(f"m{number}"), "c", 1.0) for number in range(BURST + 20)]
    assert sum(write is not None for write in written) == BURST
    assert tally.write(note("later"), "c", 1.0 + REFILL_SECONDS) is not None
    assert tally.write(note("too soon"), "c", 1.0 + REFILL_SECONDS) is None


def test_memory_is_bounded() -> None:
    tally = Tally()
    for number in range(REMEMBERED + 10):
        tally.write(note(subject={"metadata": {"name": f"p{number}", "uid": str(number)}}), "c", float(number))
    first = {"metadata": {"name": "p0", "uid": "0"}}
    assert isinstance(tally.write(note(subject=first), "c", 9e6), Create)
