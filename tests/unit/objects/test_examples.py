"""The manifests in `examples/`: each is read, completed and accepted."""

from pathlib import Path

import pytest

from fairway.objects import admit, codec, convert
from fairway.objects.kinds import by_kind

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_accepted(path: Path) -> None:
    for obj in codec.decode_all(path.read_bytes()):
        kind = by_kind(obj["apiVersion"], obj["kind"])
        assert kind is not None
        assert codec.check(kind, obj, api_version=obj["apiVersion"]) == codec.Checked()

        stored = codec.prune(kind, convert.to_storage(kind, obj, obj["apiVersion"]))
        stored["metadata"]["namespace"] = "default"
        stored = admit.prepare_create(kind, admit.default(kind, stored))

        assert admit.validate_create(kind, stored) == []
        assert stored["apiVersion"] == kind.api_version
        assert codec.decode(codec.encode(stored)) == stored
        again = codec.decode(codec.encode(stored))
        assert admit.prepare_update(kind, admit.default(kind, again), stored) == stored
        assert admit.validate_update(kind, again, stored) == []


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 4
