"""Which names a client asks, in which order, and where it stops."""

from __future__ import annotations

import pytest

from fairway.dns.errors import BadName
from fairway.dns.walk import Candidate, Library, Reply, Settings, Walk, candidates, walk

POD = Settings(("10.96.0.10",), ("default.svc.cluster.local", "svc.cluster.local", "cluster.local"), 5)


def asked(written: str, settings: Settings = POD, library: Library = "glibc") -> list[str]:
    return [each.name for each in candidates(written, settings, library)]


def walked(written: str, answers: dict[str, Reply], library: Library = "glibc") -> Walk:
    def ask(candidate: Candidate, type: str) -> Reply:
        return answers.get(f"{candidate.name} {type}", answers.get(candidate.name, Reply("NXDOMAIN")))

    return walk(written, POD, ask, library=library)


def names_of(walk: Walk) -> list[str]:
    return [step.candidate.name for step in walk.steps]


def test_a_name_with_fewer_dots_than_ndots_goes_through_the_search_list_first() -> None:
    assert asked("web.shop") == [
        "web.shop.default.svc.cluster.local.",
        "web.shop.svc.cluster.local.",
        "web.shop.cluster.local.",
        "web.shop.",
    ]


def test_a_name_with_ndots_dots_is_asked_as_written_first() -> None:
    assert asked("a.b.c.d.e.f")[:2] == ["a.b.c.d.e.f.", "a.b.c.d.e.f.default.svc.cluster.local."]
    assert asked("a.b.c.d.e.f", library="musl") == ["a.b.c.d.e.f."]


@pytest.mark.parametrize("library", ["glibc", "musl"])
def test_a_final_dot_keeps_the_search_list_out(library: Library) -> None:
    assert asked("web.shop.", library=library) == ["web.shop."]


def test_candidates_that_are_too_long_to_be_names_are_left_out() -> None:
    label = "a" * 60
    assert asked(
        f"{label}.{label}.{label}.{label}", Settings(searches=("x.y", "default.svc.cluster.local"), ndots=5)
    ) == [
        f"{label}.{label}.{label}.{label}.x.y.",
        f"{label}.{label}.{label}.{label}.",
    ]


@pytest.mark.parametrize("written", ["", ".", "a..b", "a" * 64, "täg"])
def test_what_is_no_name_is_refused(written: str) -> None:
    with pytest.raises(BadName, match="is no domain name"):
        candidates(written, POD)


def test_the_walk_ends_with_the_first_answer_and_knows_what_was_left() -> None:
    found = walked("web.shop", {"web.shop.svc.cluster.local. A": Reply("NOERROR", ("...",))})
    assert names_of(found) == ["web.shop.default.svc.cluster.local.", "web.shop.svc.cluster.local."]
    assert [each.name for each in found.unasked] == ["web.shop.cluster.local.", "web.shop."]
    assert found.found is not None
    assert (len(found.steps), found.queries) == (2, 4)


def test_an_answer_of_one_type_is_enough() -> None:
    found = walked("web", {"web.default.svc.cluster.local. AAAA": Reply("NOERROR", ("...",))})
    assert names_of(found) == ["web.default.svc.cluster.local."]


@pytest.mark.parametrize(
    ("first", "library", "steps"),
    [
        ("NXDOMAIN", "glibc", 4),
        ("NXDOMAIN", "musl", 4),
        ("NOERROR", "glibc", 4),
        ("NOERROR", "musl", 1),
        ("SERVFAIL", "glibc", 4),
        ("SERVFAIL", "musl", 1),
        ("REFUSED", "musl", 1),
    ],
)
def test_what_an_empty_answer_means_is_the_librarys_affair(first: str, library: Library, steps: int) -> None:
    found = walked("web.shop", {"web.shop.default.svc.cluster.local.": Reply(first)}, library)
    assert len(found.steps) == steps


def test_glibc_gives_the_search_list_up_when_refused_and_asks_as_written() -> None:
    found = walked("web.shop", {"web.shop.default.svc.cluster.local.": Reply("REFUSED")})
    assert names_of(found) == ["web.shop.default.svc.cluster.local.", "web.shop."]


def test_an_alias_to_what_does_not_exist_is_no_answer() -> None:
    dangling = Reply("NXDOMAIN", ("web.shop.default.svc.cluster.local. 5 IN CNAME gone.cluster.local.",))
    found = walked("web.shop", {"web.shop.default.svc.cluster.local.": dangling})
    assert (found.found, len(found.steps)) == (None, 4)
