"""A mirror knows of our own writes before the watch does, and ends where the server is, however late the watch."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from fairway.client.base import Listing, Object, WatchEvent
from fairway.control.mirror import Anchors, Mirror
from fairway.objects.kinds import POD


def pod(name: str, revision: int, uid: str = "", **labels: str) -> Object:
    metadata = {"name": name, "namespace": "d", "uid": uid or name, "resourceVersion": str(revision), "labels": labels}
    return {"metadata": metadata}


class Told:
    """A mirror with the watch in our hands, and a record of what it tells."""

    def __init__(self) -> None:
        self.mirror = Mirror(POD)
        self.changes: list[tuple[str, str]] = []
        self.mirror.listen(lambda change: self.changes.append((change.kind, change.key[1])))
        self.list(1)

    def list(self, revision: int, *objects: Object) -> None:
        raw = [msgspec.json.encode(each) for each in objects]
        self.mirror.observe(self.mirror.cache.replace(Listing(raw, str(revision))))

    def event(self, kind: str, obj: Object) -> None:
        change = self.mirror.cache.apply(WatchEvent(kind, msgspec.json.encode(obj)))
        if change is not None:
            self.mirror.observe([change])

    @property
    def names(self) -> list[str]:
        return sorted(name for _, name in self.mirror.items)


def test_a_creation_counts_at_once_and_is_told_once() -> None:
    stage = Told()
    stage.mirror.wrote(pod("a", 5))
    assert stage.names == ["a"]
    stage.event("ADDED", pod("a", 5))
    assert (stage.names, stage.changes[0]) == (["a"], ("added", "a"))
    assert [kind for kind, _ in stage.changes].count("added") == 1


def test_the_watch_telling_older_states_does_not_undo_a_write() -> None:
    stage = Told()
    stage.event("ADDED", pod("a", 5))
    stage.mirror.wrote(pod("a", 9, "a", step="ours"))
    stage.event("MODIFIED", pod("a", 7, "a", step="older"))
    assert stage.mirror.items["d", "a"]["metadata"]["labels"] == {"step": "ours"}
    stage.event("MODIFIED", pod("a", 12, "a", step="newer"))
    assert stage.mirror.items["d", "a"]["metadata"]["labels"] == {"step": "newer"}


def test_a_deletion_counts_at_once_and_late_events_do_not_revive() -> None:
    stage = Told()
    stage.event("ADDED", pod("a", 5))
    stage.mirror.removed(("d", "a"), "a")
    assert stage.names == []
    stage.event("MODIFIED", pod("a", 6))
    assert stage.names == []
    stage.event("DELETED", pod("a", 8))
    stage.event("ADDED", pod("a", 9, "another"))
    assert stage.names == ["a"]


def test_an_answer_older_than_the_watch_is_ignored() -> None:
    stage = Told()
    stage.event("ADDED", pod("a", 5))
    stage.event("DELETED", pod("a", 8))
    stage.mirror.wrote(pod("a", 5))
    assert stage.names == []


def test_what_came_and_went_while_the_watch_was_away_is_gone() -> None:
    stage = Told()
    stage.mirror.wrote(pod("a", 5))
    stage.list(9, pod("b", 6))
    assert stage.names == ["b"]


def test_a_listing_older_than_our_creation_does_not_remove_it() -> None:
    stage = Told()
    stage.mirror.wrote(pod("a", 12))
    stage.list(9, pod("b", 6))
    assert stage.names == ["a", "b"]


def test_without_numbers_nothing_is_anticipated() -> None:
    stage = Told()
    strange = pod("a", 5)
    strange["metadata"]["resourceVersion"] = "x5"
    stage.mirror.wrote(strange)
    assert stage.names == []


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans(), st.booleans()), max_size=25), st.data())
def test_mirror_and_indexes_end_where_the_server_is(writes: list[tuple[str, bool, bool]], data: st.DataObject) -> None:
    """`writes` are (name, delete?, by us?) done to a server whose events reach us whenever `data` pleases."""
    stage = Told()
    index = stage.mirror.index(lambda obj: [obj["metadata"]["labels"]["version"]])
    state: dict[str, Object] = {}
    late: list[tuple[str, Object]] = []
    for number, (name, delete, ours) in enumerate(writes):
        revision = number + 2
        if delete and name in state:
            gone = state.pop(name)
            late.append(("DELETED", {"metadata": {**gone["metadata"], "resourceVersion": str(revision)}}))
            if ours:
                stage.mirror.removed(("d", name), gone["metadata"]["uid"])
        elif not delete:
            uid = state[name]["metadata"]["uid"] if name in state else f"{name}{number}"
            late.append(("MODIFIED" if name in state else "ADDED", pod(name, revision, uid, version=str(revision))))
            state[name] = late[-1][1]
            if ours:
                stage.mirror.wrote(state[name])
                assert stage.mirror.items["d", name] == state[name]
        for _ in range(data.draw(st.integers(0, len(late)))):
            stage.event(*late.pop(0))
    for each in late:
        stage.event(*each)
    assert {key[1]: obj for key, obj in stage.mirror.items.items()} == state
    for obj in state.values():
        assert list(index.get(obj["metadata"]["labels"]["version"])) == [("d", obj["metadata"]["name"])]
    assert sum(index.count(str(revision)) for revision in range(len(writes) + 2)) == len(state)


PAIRS = st.dictionaries(st.sampled_from("xyz"), st.sampled_from("12"), max_size=3)


@given(st.dictionaries(st.sampled_from("abcdef"), PAIRS), st.dictionaries(st.sampled_from("abc"), PAIRS), PAIRS)
def test_anchors_miss_no_selector_that_matches(
    first: dict[str, dict[str, str]], then: dict[str, dict[str, str]], labels: dict[str, str]
) -> None:
    anchors = Anchors()
    for selectors in (first, then):
        for name, pairs in selectors.items():
            anchors.put(("d", name), pairs)
    present = {**first, **then}
    matching = {("d", name) for name, pairs in present.items() if pairs.items() <= labels.items()}
    found = anchors.candidates("d", labels)
    assert matching <= set(found)
    assert len(found) == len(set(found))
    for name in present:
        anchors.put(("d", name), None)
    assert anchors.candidates("d", labels) == []
