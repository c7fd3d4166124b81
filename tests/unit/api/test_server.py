"""What the server hands out by chance."""

from __future__ import annotations

import uuid

from fairway.api.server import UIDS_AT_ONCE, _Uids


def test_uids_are_random_uuids_and_never_the_same() -> None:
    uids = _Uids()
    made = [uids() for _ in range(3 * UIDS_AT_ONCE)]
    assert len(set(made)) == len(made)
    assert all(str(found := uuid.UUID(text)) == text and found.version == 4 for text in made)
    assert {uuid.UUID(text).variant for text in made} == {uuid.RFC_4122}
    assert len({text[19] for text in made}) == 4
