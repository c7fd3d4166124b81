"""From any rules to any rules: what is written, in which order, and what holds in between."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.dataplane.adopt import NOTHING, Held, adopt, is_ours, target
from fairway.dataplane.apply import plan, settled
from fairway.dataplane.iptables import render_tables
from fairway.desired.build import build
from fairway.desired.model import Desired
from fairway.desired.options import ProxyOptions
from fairway.kernel.fake.netfilter import FakeNetfilter
from fairway.packet import Family
from fairway.ruleset.iptables import parse
from tests.unit.desired.objects import OPTIONS, endpoint, endpoint_slice, node, service

FOREIGN = """\
*nat
:CNI-HOSTPORT - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT
-A CNI-HOSTPORT -p tcp -m tcp --dport 8443 -j DNAT --to-destination 10.244.0.77:8443
-A POSTROUTING -s 10.244.0.0/16 -j MASQUERADE
COMMIT
*filter
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A DOCKER-USER -j RETURN
COMMIT
"""


def state(*specs: tuple[str, int, dict[str, object]], options: ProxyOptions = OPTIONS) -> Desired:
    """(name, number of endpoints, spec) of each Service; the address follows from the name."""
    services = [service(name, f"10.96.1.{ord(name[0])}", **spec) for name, _, spec in specs]
    slices = [
        endpoint_slice(name, *(endpoint(f"10.244.{n % 2}.{n + 1}", on="node-" + "ab"[n % 2]) for n in range(count)))
        for name, count, _ in specs
    ]
    return build(services, slices, node(), options)


def tables(desired: Desired) -> dict[str, dict[str, tuple[str, ...]]]:
    return {t: dict(chains) for t, chains in render_tables(desired, Family.IPV4).items()}


def apply(netfilter: FakeNetfilter, desired: Desired, held: Held | None = None, piece: int = 4000) -> list[str]:
    held = adopt(parse(netfilter.save(Family.IPV4))) if held is None else held
    texts = plan(held, tables(desired), piece)
    for text in texts:
        netfilter.restore(Family.IPV4, text)
    return texts


def ours(netfilter: FakeNetfilter) -> dict[str, dict[str, tuple[str, ...]]]:
    return {
        table: {name: rules for name, rules in chains.items() if rules or name.startswith("KUBE-")}
        for table, chains in adopt(parse(netfilter.save(Family.IPV4))).tables.items()
    }


def foreign(netfilter: FakeNetfilter) -> list[str]:
    """Every line that is not ours, in order."""
    lines = []
    for table in parse(netfilter.save(Family.IPV4)).tables.values():
        for chain in table.chains.values():
            if not is_ours(table.name, chain.name):
                lines += [f"{table.name} {chain.name} {rule}" for rule in chain.rules if "KUBE-" not in target(rule)]
    return lines


def test_one_endpoint_changed_is_one_small_transaction() -> None:
    netfilter = FakeNetfilter()
    many = [(name, 3, {}) for name in "abcdefgh"]
    before = [line for text in apply(netfilter, state(*many)) for line in text.splitlines() if "default/h" in line]

    (text,) = apply(netfilter, state(*many[:-1], ("h", 2, {})))

    service, kept = "KUBE-SVC-AKCNXESFO23S6LSZ", ("10.244.0.1", "10.244.1.2")
    first, gone, last = (line.split()[1] for line in before if "DNAT" in line)
    cluster_ip = '-m comment --comment "default/h cluster IP" -m tcp --dport 80'
    share = "-m statistic --mode random --probability 0.50000000000"
    assert text.splitlines() == [
        "*nat",
        f":{service} - [0:0]",
        f":{gone} - [0:0]",
        f"-A {service} ! -s 10.244.0.0/16 -d 10.96.1.104/32 -p tcp {cluster_ip} -j KUBE-MARK-MASQ",
        f'-A {service} -m comment --comment "default/h -> {kept[0]}:8080" {share} -j {first}',
        f'-A {service} -m comment --comment "default/h -> {kept[1]}:8080" -j {last}',
        f"-X {gone}",
        "COMMIT",
    ]


def test_a_new_service_touches_no_other_and_dispatches_by_one_inserted_rule() -> None:
    netfilter = FakeNetfilter()
    many = [(name, 1, {}) for name in "abcdefgh"]
    apply(netfilter, state(*many))

    (text,) = apply(netfilter, state(*many, ("c2", 1, {})))

    assert [line for line in text.splitlines() if "KUBE-SERVICES" in line and line[0] in ":-"] == [
        '-I KUBE-SERVICES 4 -d 10.96.1.99/32 -p tcp -m comment --comment "default/c2 cluster IP" -m tcp --dport 80 '
        "-j KUBE-SVC-Q2LNQ2ZAB3JN3FYF"
    ]
    assert "default/c " not in text


def test_refusals_stand_before_the_translation_goes_and_go_after_it_has_come() -> None:
    netfilter = FakeNetfilter()
    apply(netfilter, state(("a", 0, {}), ("b", 1, {})))

    texts = apply(netfilter, state(("a", 1, {}), ("b", 0, {})))

    assert [text.split("\n", 1)[0] for text in texts] == ["*filter", "*nat", "*filter"]
    refused = [[name for name in "ab" if f'"default/{name} has no endpoints"' in text] for text in texts]
    assert refused == [["a", "b"], [], ["b"]]


def test_a_first_load_comes_in_pieces_and_is_jumped_to_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairway.dataplane.apply._LAID_RULES", 8)
    netfilter = FakeNetfilter()
    desired = state(*((name, 5, {}) for name in "abcdefghijklmnop"))

    texts = [text for text in apply(netfilter, desired, piece=20) if text.startswith("*nat")]

    assert len(texts) > 10
    assert max(text.count("\n") for text in texts) <= 24
    chains = [n for n, text in enumerate(texts) if "-A KUBE-S" in text.replace("-A KUBE-SERVICES", "")]
    dispatch = [n for n, text in enumerate(texts) if "-A KUBE-SERVICES" in text]
    assert len(dispatch) > 1
    assert chains[-1] <= dispatch[0]
    assert [n for n, text in enumerate(texts) if "-I PREROUTING" in text] == [len(texts) - 1]


def test_foreign_rules_that_jump_to_ours_keep_the_chain_alive_but_empty() -> None:
    netfilter = FakeNetfilter()
    apply(netfilter, state(("a", 1, {})))
    chain = next(name for name in ours(netfilter)["nat"] if name.startswith("KUBE-SVC-"))
    netfilter.restore(Family.IPV4, f"*nat\n:MINE - [0:0]\n-A MINE -j {chain}\nCOMMIT\n")

    apply(netfilter, state())

    assert ours(netfilter)["nat"][chain] == ()
    assert apply(netfilter, state()) == []


def test_a_jump_of_an_older_proxy_is_replaced_not_doubled() -> None:
    netfilter = FakeNetfilter()
    old = '-m comment --comment "kubernetes service portals" -j KUBE-SERVICES'
    netfilter.restore(
        Family.IPV4,
        f"*filter\n:KUBE-SERVICES - [0:0]\n-A INPUT -j ACCEPT\n-A FORWARD {old}\n-A FORWARD -j ACCEPT\nCOMMIT\n",
    )

    apply(netfilter, state())

    forward = parse(netfilter.save(Family.IPV4)).tables["filter"].chains["FORWARD"].rules
    assert [target(rule) for rule in forward] == [
        "KUBE-PROXY-FIREWALL",
        "KUBE-FORWARD",
        "KUBE-SERVICES",
        "KUBE-EXTERNAL-SERVICES",
        "ACCEPT",
    ]


def test_jumps_in_their_order_stay_where_they_are() -> None:
    """A CNI's rule inserted before ours since is its owner's affair; fighting over the first place helps nobody."""
    netfilter = FakeNetfilter()
    apply(netfilter, state())
    netfilter.restore(Family.IPV4, "*nat\n-I PREROUTING 1 -p udp -j ACCEPT\nCOMMIT\n")

    assert apply(netfilter, state()) == []


def test_the_kubelet_s_rules_in_the_shared_chain_stay() -> None:
    netfilter = FakeNetfilter()
    kubelet = "-s 192.0.2.1/32 -j DROP"
    netfilter.restore(Family.IPV4, f"*filter\n:KUBE-FIREWALL - [0:0]\n-A KUBE-FIREWALL {kubelet}\nCOMMIT\n")
    guarded = ProxyOptions(localhost_nodeports=True)

    apply(netfilter, state(options=guarded))
    apply(netfilter, state(options=ProxyOptions()))

    rules = ours(netfilter)["filter"]["KUBE-FIREWALL"]
    assert rules[0] == kubelet
    assert len(rules) == 2


@pytest.mark.parametrize(
    ("rule", "jump"),
    [
        ("-j KUBE-SERVICES", "KUBE-SERVICES"),
        ('-m comment --comment "default/web-j takes it" -j KUBE-SVC-X', "KUBE-SVC-X"),
        ('-m comment --comment "other traffic to default/web-j will be dropped"', ""),
        ("-p tcp -g ELSEWHERE", "ELSEWHERE"),
    ],
)
def test_what_a_rule_jumps_to(rule: str, jump: str) -> None:
    assert target(rule) == jump


def specs(name: str) -> list[dict[str, object]]:
    """Kinds of Services, each with addresses and a node port of its own."""
    number = ord(name[0])
    vip = {"loadBalancer": {"ingress": [{"ip": f"203.0.113.{number}"}]}}
    ports = [{"port": 80, "nodePort": 30000 + number}]
    return [
        {},
        {"sessionAffinity": "ClientIP"},
        {"internalTrafficPolicy": "Local"},
        {"type": "NodePort", "ports": ports},
        {"type": "NodePort", "ports": ports, "externalTrafficPolicy": "Local"},
        {"type": "LoadBalancer", "status": vip},
        {"type": "LoadBalancer", "status": vip, "loadBalancerSourceRanges": ["10.0.0.0/8"]},
        {"externalIPs": [f"198.51.100.{number}"]},
        {"type": "NodePort", "ports": ports, "internalTrafficPolicy": "Local"},
    ]


states = st.builds(
    lambda chosen, masquerade_all: state(
        *((name, count, specs(name)[kind]) for name, (count, kind) in chosen.items()),
        options=ProxyOptions(cluster_cidrs=("10.244.0.0/16",), masquerade_all=masquerade_all),
    ),
    st.dictionaries(
        st.sampled_from(["a", "b", "c", "d2", "e"]), st.tuples(st.integers(0, 4), st.integers(0, 8)), max_size=5
    ),
    st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(states, states, st.sampled_from([1, 7, 4000]))
def test_any_state_leads_to_any_other(before: Desired, after: Desired, piece: int) -> None:
    netfilter = FakeNetfilter()
    netfilter.restore(Family.IPV4, FOREIGN)
    others = foreign(netfilter)
    apply(netfilter, before, piece=piece)

    apply(netfilter, after, piece=piece)

    fresh = FakeNetfilter()
    apply(fresh, after)
    assert ours(netfilter) == ours(fresh)
    assert foreign(netfilter) == others
    assert apply(netfilter, after) == []


@settings(max_examples=150, deadline=None)
@given(states, states)
def test_what_is_remembered_is_what_the_kernel_holds(before: Desired, after: Desired) -> None:
    netfilter = FakeNetfilter()
    held = NOTHING
    for desired in (before, after, before):
        apply(netfilter, desired, held)
        held = settled(held, tables(desired))
        found = adopt(parse(netfilter.save(Family.IPV4)))
        assert {t: {c: r for c, r in chains.items() if r} for t, chains in found.tables.items()} == {
            t: {c: r for c, r in chains.items() if r} for t, chains in held.tables.items() if t in found.tables
        }


def endpoints_of(netfilter: FakeNetfilter) -> dict[str, set[str]]:
    """Destination (as the dispatch rule matches it) -> where its packets can be translated to."""
    nat = parse(netfilter.save(Family.IPV4)).tables["nat"]
    return {
        rule.partition(" -m comment")[0] + rule.rpartition("--dport")[2].partition(" -j")[0]: set(
            _translations(nat.chains, target(rule))
        )
        for chain in ("KUBE-SERVICES", "KUBE-NODEPORTS")
        if chain in nat.chains
        for rule in nat.chains[chain].rules
        if target(rule).startswith("KUBE-") and "--dport" in rule
    }


def _translations(chains: dict[str, object], name: str) -> Iterator[str]:
    for rule in getattr(chains[name], "rules"):  # noqa: B009
        if target(rule) == "DNAT":
            yield rule.rpartition(" ")[2]
        elif target(rule) in chains:
            yield from _translations(chains, target(rule))


@settings(max_examples=150, deadline=None)
@given(states, states)
def test_a_service_that_stays_never_loses_its_endpoints_on_the_way(before: Desired, after: Desired) -> None:
    """After every single transaction, each destination that is served before and after leads to endpoints of the one
    state or of the other, never to a mixture and never to nothing. Dangling jumps the kernel refuses anyway."""
    netfilter, goal = FakeNetfilter(), FakeNetfilter()
    apply(goal, after)
    apply(netfilter, before)
    old, new = endpoints_of(netfilter), endpoints_of(goal)
    held = adopt(parse(netfilter.save(Family.IPV4)))

    for text in plan(held, tables(after), piece=1):
        netfilter.restore(Family.IPV4, text)
        now = endpoints_of(netfilter)
        for destination in old.keys() & new.keys():
            if old[destination] and new[destination]:
                assert now.get(destination) in (old[destination], new[destination])
