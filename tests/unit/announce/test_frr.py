"""What FRR is told: the whole, and what changes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.announce.frr import FrrError, Neighbour, Speaker, changes, configuration

SPEAKER = Speaker(
    64512,
    "10.0.0.11",
    (Neighbour("10.0.0.2", 64513), Neighbour("fd00:a::2", 64513, hold=3, hops=2, bfd=True)),
    ("10.0.0.201", "10.0.0.200", "fd00:a::200"),
)

WHOLE = """\
bgp as-path access-list FAIRWAY-OUT seq 5 permit ^$
route-map FAIRWAY permit 10
exit
route-map FAIRWAY-IN deny 10
exit
route-map FAIRWAY-OUT permit 10
 match as-path FAIRWAY-OUT
exit
router bgp 64512
 bgp router-id 10.0.0.11
 no bgp default ipv4-unicast
 no bgp network import-check
 neighbor 10.0.0.2 remote-as 64513
 neighbor 10.0.0.2 timers 3 9
 neighbor 10.0.0.2 timers connect 2
 neighbor fd00:a::2 remote-as 64513
 neighbor fd00:a::2 bfd
 neighbor fd00:a::2 ebgp-multihop 2
 neighbor fd00:a::2 timers 1 3
 neighbor fd00:a::2 timers connect 2
 address-family ipv4 unicast
  network 10.0.0.200/32 route-map FAIRWAY
  network 10.0.0.201/32 route-map FAIRWAY
  neighbor 10.0.0.2 activate
  neighbor 10.0.0.2 route-map FAIRWAY-IN in
  neighbor 10.0.0.2 route-map FAIRWAY-OUT out
 exit-address-family
 address-family ipv6 unicast
  network fd00:a::200/128 route-map FAIRWAY
  neighbor fd00:a::2 activate
  neighbor fd00:a::2 route-map FAIRWAY-IN in
  neighbor fd00:a::2 route-map FAIRWAY-OUT out
 exit-address-family
exit
"""

OPERATORS = """\
frr version 8.4.4
frr defaults traditional
hostname router
service integrated-vtysh-config
!
router bgp 64512
 neighbor 192.0.2.9 remote-as 65000
 neighbor 10.0.0.2 password secret
 !
 address-family ipv4 unicast
  network 198.51.100.0/24
  neighbor 192.0.2.9 route-map THEIRS out
 exit-address-family
exit
!
route-map THEIRS permit 10
exit
!
end
"""


class Bgpd:
    """As much of bgpd as it takes to be told things: lines by the place they stand at."""

    def __init__(self, running: str = "") -> None:
        self.places: dict[tuple[str, ...], list[str]] = {}
        self.hear(running)

    def hear(self, text: str) -> None:
        place: list[str] = []
        for line in text.splitlines():
            word = line.strip()
            if word in ("exit", "exit-address-family"):
                place.pop()
            elif word.startswith("no router bgp "):
                self.places = {where: lines for where, lines in self.places.items() if where[:1] != (word[3:],)}
            elif word.startswith(("router ", "route-map ", "address-family ")):
                place.append(word)
                self.places.setdefault(tuple(place), [])
            elif word not in ("", "!", "end") and not word.startswith(("frr ", "hostname ", "service ")):
                self._hear(tuple(place), word)

    def _hear(self, place: tuple[str, ...], word: str) -> None:
        verb, _, rest = word.partition(" ")
        if verb != "no" or rest.startswith("bgp "):
            lines = self.places.setdefault(place, [])
            kind = word.rpartition(" ")[0] if " remote-as " in word else word
            lines[:] = [each for each in lines if not each.startswith(kind)] + [word]
        elif rest.startswith("neighbor ") and len(rest.split()) == 2:
            for lines in self.places.values():
                lines[:] = [each for each in lines if not each.startswith(f"{rest} ")]
        else:
            self.places[place].remove(rest)  # what is not there cannot be taken back: bgpd refuses

    def running(self) -> str:
        told: list[str] = []
        for place in sorted(self.places):
            if len(place) < 2:
                told += [*place, *(f"{' ' * len(place)}{line}" for line in self.places[place])]
                for inner in sorted(self.places):
                    if place and inner[: len(place)] == place and inner != place:
                        told += [" !", f" {inner[1]}", *(f"  {line}" for line in self.places[inner])]
                        told.append(" exit-address-family")
                told += ["exit", "!"] if place else []
        return "\n".join([*told, "end", ""])


def test_the_whole_configuration() -> None:
    assert configuration(SPEAKER) == WHOLE


def test_what_stands_is_left_alone() -> None:
    bgpd = Bgpd(configuration(SPEAKER))
    assert changes(bgpd.running(), SPEAKER) == ""
    assert changes(bgpd.running(), replace(SPEAKER, addresses=tuple(reversed(SPEAKER.addresses)))) == ""


def test_an_address_that_leaves_is_taken_back_at_its_place() -> None:
    told = changes(Bgpd(configuration(SPEAKER)).running(), replace(SPEAKER, addresses=("10.0.0.200",)))
    assert told.partition("bgp as-path")[0].splitlines() == [
        "router bgp 64512",
        " address-family ipv4 unicast",
        "  no network 10.0.0.201/32 route-map FAIRWAY",
        " exit-address-family",
        " address-family ipv6 unicast",
        "  no network fd00:a::200/128 route-map FAIRWAY",
        " exit-address-family",
        "exit",
    ]


def test_what_an_operator_configured_stays() -> None:
    bgpd = Bgpd(OPERATORS)
    before = {place: list(lines) for place, lines in bgpd.places.items()}
    bgpd.hear(changes(bgpd.running(), SPEAKER))
    bgpd.hear(changes(bgpd.running(), replace(SPEAKER, addresses=(), neighbours=SPEAKER.neighbours[:1])))
    for place, lines in before.items():
        assert set(lines) <= set(bgpd.places[place])


def test_the_system_of_an_operator_is_not_taken_down() -> None:
    with pytest.raises(FrrError, match=r"bgpd is AS 64512 to 192.0.2.9, 10.0.0.2: make that the settings' localAS"):
        changes(Bgpd(OPERATORS).running(), replace(SPEAKER, asn=65001))


addresses = st.lists(
    st.sampled_from(["10.0.0.200", "10.0.0.201", "192.0.2.1", "fd00:a::200", "fd00:a::201"]), unique=True
)
neighbours = st.lists(
    st.builds(
        Neighbour,
        st.sampled_from(["10.0.0.2", "10.0.0.3", "fd00:a::2"]),
        st.sampled_from([64513, 64514]),
        st.sampled_from([3, 9]),
        st.sampled_from([1, 2]),
        st.booleans(),
    ),
    unique_by=lambda each: each.address,
)
speakers = st.builds(
    Speaker, st.sampled_from([64512, 65001]), st.just("10.0.0.11"), neighbours.map(tuple), addresses.map(tuple)
)


@given(st.lists(speakers, min_size=1, max_size=4))
def test_after_any_history_just_the_last_is_said(history: list[Speaker]) -> None:
    bgpd = Bgpd()
    for speaker in history:
        bgpd.hear(changes(bgpd.running(), speaker))
        said = {where: sorted(lines) for where, lines in bgpd.places.items() if lines}
        assert said == {w: sorted(lines) for w, lines in Bgpd(configuration(speaker)).places.items() if lines}
        assert changes(bgpd.running(), speaker) == ""
