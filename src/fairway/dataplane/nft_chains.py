"""The chains and rules of nftables mode, and with the sets of `nft_layout` the whole table without its elements.

Rules are those of Linux 5.6 and nft 1.0.6 (`numgen` inside a concatenated key, data of maps with a timeout); what they
do is said by `desired.decide`. As text, one rule is too much for the program nft 1.0.6: the one that remembers IPv6
clients. For the key of a map that a rule writes to, and for what it writes, it sets one register of 16 bytes aside; an
IPv6 client and place are 40, an endpoint and its port 20. The kernel takes them.
"""

from __future__ import annotations

from collections.abc import Iterator

from fairway.dataplane.nft_layout import (
    AFFINITY,
    AFFINITY_NODE_PORTS,
    BY_SOURCE,
    COMMENT,
    COUNTED,
    COUNTED_ENDPOINTS,
    COUNTED_NODE_PORTS,
    ENDPOINTS,
    L4PROTO,
    LOCAL_ENDPOINTS,
    MIXED,
    MIXED_NODE_PORTS,
    NODE_PORT,
    NODE_PORT_ENDPOINTS,
    NODE_PORT_LOCAL_ENDPOINTS,
    STICKY,
    STICKY_NODE_PORTS,
    STICKY_SOURCES,
    Shape,
    Words,
    draw,
    sizes,
    table_name,
)
from fairway.desired.model import Settings
from fairway.packet import Family, Protocol, family_of
from fairway.ruleset import nft
from fairway.ruleset.nft import Type
from fairway.ruleset.nft_values import PRIORITIES, literal

_MARK = nft.Meta("mark")
_LOOPBACK = "127.0.0.0/8"
_PROTOCOLS = tuple(literal(Type.PROTOCOL, protocol.number) for protocol in Protocol)
_ORIGINAL_PORT = nft.Ct("proto-dst", "original")
_ANSWERING_PORT = nft.Ct("proto-src", "reply")
_DROP, _RETURN, _REJECT = nft.Verdict("drop"), nft.Verdict("return"), nft.Reject()
_PORTED = nft.Match(L4PROTO, nft.AnonymousSet(_PROTOCOLS))
_NEW = nft.Match(nft.Ct("state"), literal(Type.CT_STATE, "new"), "any")
_UNEXPECTED = nft.Match(nft.Ct("state"), literal(Type.CT_STATE, "invalid,new,untracked"), "any")
_TRANSLATED = nft.Match(nft.Ct("status"), literal(Type.CT_STATUS, "dnat"), "any")
_TO_THE_NODE = nft.Match(nft.Fib(("daddr",), "type"), literal(Type.FIB_TYPE, "local"))
_FROM_THE_NODE = nft.Match(nft.Fib(("saddr",), "type"), literal(Type.FIB_TYPE, "local"))
_BEFORE_FILTERS = PRIORITIES["filter"] - 10
_BEFORE_SOURCE_NAT = PRIORITIES["srcnat"] - 1
_AFTER_DESTINATION_NAT = PRIORITIES["dstnat"] + 10


def layout(family: Family, settings: Settings, shape: Shape = frozenset()) -> nft.Table:
    """The table of one family without its elements."""
    words = Words(family)
    counted = words.counted_sets() if settings.counted else ()
    sets = {made.name: made for made in (*words.fixed_sets(), *counted, *map(words.on_demand, sorted(shape)))}
    chains = {chain.name: chain for chain in _Chains(words, settings, shape).all()}
    name = table_name(family)
    return nft.Table(name.family, name.name, sets, chains, COMMENT)


class _Chains:
    """One family's chains: who may be translated, by which map, who is masqueraded, and what becomes of the rest."""

    def __init__(self, words: Words, settings: Settings, shape: Shape) -> None:
        self._words = words
        self._settings = settings
        self._facts = settings.node(words.family)
        self._shape = shape

    def all(self) -> Iterator[nft.Chain]:
        yield from self._translation()
        yield from self._node_ports()
        yield from self._balancing()
        yield from self._refusals()
        yield from self._hooks()
        if AFFINITY in self._shape or AFFINITY_NODE_PORTS in self._shape:
            yield from self._memory()
        if self._settings.counted:
            yield from self._counting()

    def _translation(self) -> Iterator[nft.Chain]:
        """Where the first packet of a connection is sent. A chain that returns leaves the packet as it is."""
        place = self._words.place
        # ahead and behind: a place that comes to be told by source, or ceases to, is met as one or the other
        by_source = list(self._by_source())
        dispatch = [
            *by_source,
            _rule(_in(place, "cluster-ips"), _goto("cluster-ip")),
            _rule(_in(place, "external"), _jump("external")),
            *by_source,
        ]
        if self._facts.node_ports_on != ():
            dispatch.append(_rule(_in(NODE_PORT, "node-ports"), *self._at_node_ports(), _goto("node-port")))
        yield nft.Chain("services", dispatch)
        yield nft.Chain("cluster-ip", [*self._mark_strangers(), *_twice("balance")])
        yield nft.Chain("external", [self._let_in(), *self._ways("")])
        yield nft.Chain("external-local", [*self._insiders("near", "masqueraded"), *_twice("balance-local")])
        yield from self._hiding("")
        for number in sizes(self._shape, BY_SOURCE):
            yield from self._translation_by_source(f"{BY_SOURCE}-{number}")

    def _by_source(self) -> Iterator[nft.Rule]:
        """Places where it depends on the sender whose endpoints serve."""
        for number in sizes(self._shape, BY_SOURCE):
            name = f"{BY_SOURCE}-{number}"
            yield _rule(_in(self._words.place_and_source, name), _jump(name))

    def _translation_by_source(self, name: str) -> Iterator[nft.Chain]:
        """The same as for all other places, for the senders of one set."""
        prefix = name + "-"
        ways = list(self._ways(prefix))
        if prefix + "cluster-ips" in self._shape:
            ways.insert(0, _rule(_in(self._words.place, prefix + "cluster-ips"), _goto(prefix + "cluster-ip")))
            yield nft.Chain(prefix + "cluster-ip", [*self._mark_strangers(), *_twice(prefix + "balance")])
        yield nft.Chain(name, ways)
        if prefix + "external-local" in self._shape:
            insiders = self._insiders(prefix + "near", prefix + "masqueraded")
            yield nft.Chain(prefix + "external-local", [*insiders, *_twice(prefix + "balance-local")])
        yield from self._hiding(prefix)

    def _hiding(self, prefix: str) -> Iterator[nft.Chain]:
        """Those who keep their address, those who do not, and both."""
        yield nft.Chain(prefix + "near", _twice(prefix + "balance"))
        yield nft.Chain(prefix + "masqueraded", [self._mark(), *_twice(prefix + "balance")])
        if prefix + MIXED in self._shape:
            insiders = self._insiders(prefix + "near", prefix + "masqueraded")
            yield nft.Chain(prefix + MIXED, [*insiders, self._mark(), *_twice(prefix + "balance-local")])

    def _let_in(self) -> nft.Rule:
        """Source ranges of the only Service that claims a place."""
        outside = nft.Match(self._words.place_and_source, nft.SetName("allowed-sources"), "!=")
        return _rule(_in(self._words.place, "guarded"), outside, _RETURN)

    def _ways(self, prefix: str) -> Iterator[nft.Rule]:
        """Who is an insider, and whose address is hidden."""
        place = self._words.place
        if not prefix or prefix + "external-local" in self._shape:
            yield _rule(_in(place, prefix + "external-local"), _goto(prefix + "external-local"))
        if prefix + MIXED in self._shape:
            yield _rule(_in(place, prefix + MIXED), _goto(prefix + MIXED))
        yield _rule(_goto(prefix + "masqueraded"))

    def _insiders(self, pods: str, node: str) -> Iterator[nft.Rule]:
        """Under policy Local, pods and the node itself take the short way to any endpoint."""
        if told := self._pods():
            yield _rule(*told, _goto(pods))
        yield _rule(_FROM_THE_NODE, _goto(node))

    def _node_ports(self) -> Iterator[nft.Chain]:
        rules = [_rule(_in(NODE_PORT, "node-ports-local"), _goto("node-port-local"))]
        if MIXED_NODE_PORTS in self._shape:
            rules.append(_rule(_in(NODE_PORT, MIXED_NODE_PORTS), _goto("node-port-mixed")))
        yield nft.Chain("node-port", [*rules, _rule(_goto("node-port-masqueraded"))])
        insiders = list(self._insiders("node-port-near", "node-port-masqueraded"))
        yield nft.Chain("node-port-local", [*insiders, *_twice("balance-node-port-local")])
        yield nft.Chain("node-port-near", _twice("balance-node-port"))
        yield nft.Chain("node-port-masqueraded", [self._mark(), *_twice("balance-node-port")])
        if MIXED_NODE_PORTS in self._shape:
            rules = [*insiders, self._mark(), *_twice("balance-node-port-local")]
            yield nft.Chain("node-port-mixed", rules)

    def _at_node_ports(self) -> Iterator[nft.Match]:
        """The node's addresses that serve node ports."""
        destination, on = self._words.destination, self._facts.node_ports_on
        if on is not None:
            yield nft.Match(destination, self._words.any_of(on))
            return
        yield _TO_THE_NODE
        if self._words.family is Family.IPV6:
            yield nft.Match(destination, self._words.literal("::1"), "!=")
        elif not self._facts.localhost_node_ports:
            yield nft.Match(destination, self._words.literal(_LOOPBACK), "!=")

    def _balancing(self) -> Iterator[nft.Chain]:
        place = self._words.place
        for prefix in ("", *(f"{BY_SOURCE}-{number}-" for number in sizes(self._shape, BY_SOURCE))):
            yield nft.Chain(prefix + "balance", list(self._balance(place, prefix + ENDPOINTS, AFFINITY)))
            yield nft.Chain(prefix + "balance-local", list(self._balance(place, prefix + LOCAL_ENDPOINTS, AFFINITY)))
        node_ports = self._balance(NODE_PORT, NODE_PORT_ENDPOINTS, AFFINITY_NODE_PORTS)
        yield nft.Chain("balance-node-port", list(node_ports))
        node_ports = self._balance(NODE_PORT, NODE_PORT_LOCAL_ENDPOINTS, AFFINITY_NODE_PORTS)
        yield nft.Chain("balance-node-port-local", list(node_ports))

    def _balance(self, place: nft.Concat, kind: str, affinity: str) -> Iterator[nft.Rule]:
        """Who is remembered goes where it went; others draw. A key that is in no map matches no rule."""
        if affinity in self._shape:
            yield self._translate(nft.Concat((self._words.source, *place.parts)), affinity)
        for number in sizes(self._shape, kind):
            drawn = (draw(number),) if number > 1 else ()
            yield self._translate(nft.Concat((*place.parts, *drawn)), f"{kind}-{number}")

    def _translate(self, key: nft.Concat, name: str) -> nft.Rule:
        found = nft.MapLookup(key, nft.SetName(name))
        return _rule(_PORTED, nft.Nat("dnat", found, family=self._words.ip, address_and_port=True))

    def _refusals(self) -> Iterator[nft.Chain]:
        """What becomes of new connections that nothing has translated."""
        place = self._words.place
        unserved = _in(place, "unserved")
        guard = list(self._guard())
        yield nft.Chain(
            "refuse-delivered",
            [
                _rule(_TRANSLATED, _RETURN),
                _rule(unserved, _jump("refuse-external")),
                _rule(_in(NODE_PORT, "unserved-node-ports"), _TO_THE_NODE, _jump("refuse-node-port")),
            ],
        )
        both = [_rule(unserved, _jump("refuse-internal")), _rule(unserved, _jump("refuse-external"))]
        yield nft.Chain("refuse-forwarded", [_rule(_TRANSLATED, _RETURN), *both, *guard])
        yield nft.Chain("refuse-sent", [_rule(_TRANSLATED, _RETURN), both[0], *guard])
        for side in ("internal", "external"):
            rules = [_rule(_in(place, "guarded"), _DROP), *_refuse(place, side)]
            yield nft.Chain(f"refuse-{side}", rules)
        yield nft.Chain("refuse-node-port", _refuse(NODE_PORT, "node-ports"))
        if self._facts.localhost_node_ports:
            yield nft.Chain("refuse-strangers-of-loopback", [_rule(_TRANSLATED, _RETURN), _rule(_DROP)])

    def _guard(self) -> Iterator[nft.Rule]:
        """Cluster IPs are no addresses of machines: what knocks at another port of one is refused, and one that no
        Service has is silent."""
        cidrs = self._settings.guarded_cidrs
        if cidrs is None:
            return
        destination = self._words.destination
        yield _rule(_in(destination, "live"), _REJECT)
        mine = [cidr for cidr in cidrs if family_of(cidr) is self._words.family]
        if mine:
            yield _rule(nft.Match(destination, self._words.any_of(mine)), _DROP)

    def _hooks(self) -> Iterator[nft.Chain]:
        for hook in ("prerouting", "output"):
            yield nft.Chain(f"nat-{hook}", [_rule(_jump("services"))], nft.Hook("nat", hook, PRIORITIES["dstnat"]))
        yield nft.Chain(
            "nat-postrouting", list(self._masquerade()), nft.Hook("nat", "postrouting", PRIORITIES["srcnat"])
        )
        loopback = list(self._loopback_guard())
        for hook, chain in (("input", "delivered"), ("forward", "forwarded"), ("output", "sent")):
            first = loopback if hook != "forward" else []
            rules = [*first, _rule(_NEW, _jump(f"refuse-{chain}"))]
            yield nft.Chain(f"filter-{hook}", rules, nft.Hook("filter", hook, _BEFORE_FILTERS))

    def _loopback_guard(self) -> Iterator[nft.Rule]:
        """Node ports on loopback need route_localnet, which lets neighbours address 127.0.0.0/8: only what was
        translated may (CVE-2020-8558)."""
        if self._facts.localhost_node_ports:
            loopback = self._words.literal(_LOOPBACK)
            stranger = nft.Match(self._words.source, loopback, "!=")
            inside = nft.Match(self._words.destination, loopback)
            yield _rule(stranger, inside, _UNEXPECTED, _jump("refuse-strangers-of-loopback"))

    def _masquerade(self) -> Iterator[nft.Rule]:
        """The mark is cleared, so that a packet that comes round again (a tunnel) is not translated twice. An endpoint
        that reached itself must not see its own address as the caller's."""
        mark = literal(Type.MARK, self._settings.masquerade_mark)
        masquerade = nft.Nat("masquerade", flags=("fully-random",))
        marked = nft.Match(nft.Bits(_MARK, "&", mark), literal(Type.MARK, 0), "!=")
        yield _rule(marked, nft.Assign(_MARK, nft.Bits(_MARK, "^", mark)), masquerade)
        itself = _in(nft.Concat((self._words.source, self._words.destination)), "hairpin")
        yield _rule(_TRANSLATED, itself, masquerade)

    def _mark(self) -> nft.Rule:
        mark = literal(Type.MARK, self._settings.masquerade_mark)
        return _rule(nft.Assign(_MARK, nft.Bits(_MARK, "|", mark)))

    def _mark_strangers(self) -> Iterator[nft.Rule]:
        """Traffic to a cluster IP that no pod sends gets the node's address, so that replies come back."""
        if self._settings.masquerade_all:
            yield self._mark()
        elif told := self._pods("!="):
            yield _rule(*told, *self._mark().statements)

    def _pods(self, operator: str = "==") -> list[nft.Match]:
        """How a packet of one of the cluster's pods is told; empty when it is not."""
        pods = self._facts.pods
        if pods.source:
            return [nft.Match(self._words.source, self._words.literal(pods.source), operator)]
        if pods.interface.endswith("+"):
            prefix = pods.interface[:-1].encode()
            device = nft.Literal(Type.INTERFACE_NAME, prefix, 8 * len(prefix))
            return [nft.Match(nft.Meta("iifname"), device, operator)]
        if pods.interface:
            return [nft.Match(nft.Meta("iifname"), literal(Type.INTERFACE_NAME, pods.interface), operator)]
        return []

    def _memory(self) -> Iterator[nft.Chain]:
        """Affinity: after the endpoint is chosen and before the source is hidden, who went where is written down."""
        new = _rule(_NEW, _TRANSLATED, _jump("remember"))
        yield nft.Chain("remember", list(self._remember()))
        hook = nft.Hook("filter", "postrouting", _BEFORE_SOURCE_NAT)
        yield nft.Chain("remember-sent", [new], hook)
        # endpoints in the node's own namespace; what came through lo has been seen at postrouting
        elsewhere = nft.Match(nft.Meta("iifname"), literal(Type.INTERFACE_NAME, "lo"), "!=")
        rule = nft.Rule((elsewhere, *new.statements))
        yield nft.Chain("remember-delivered", [rule], nft.Hook("filter", "input", _BEFORE_SOURCE_NAT))

    def _original(self) -> tuple[nft.Concat, nft.Concat]:
        """The place and the node port that a connection was meant for."""
        return nft.Concat((self._words.original, L4PROTO, _ORIGINAL_PORT)), nft.Concat((L4PROTO, _ORIGINAL_PORT))

    def _counting(self) -> Iterator[nft.Chain]:
        """Each packet of a translated connection is met once: as it comes in, or as a process here sends it. The sets
        count."""
        place, node_port = self._original()
        counted = [_rule(protocol, _in(place, COUNTED), _goto("count-endpoint")) for protocol in _EACH_PROTOCOL]
        counted += [
            _rule(protocol, _in(node_port, COUNTED_NODE_PORTS), _goto("count-endpoint")) for protocol in _EACH_PROTOCOL
        ]
        yield nft.Chain("count", counted)
        way = nft.Concat((*place.parts, self._words.answering, _ANSWERING_PORT))
        update = nft.SetUpdate("update", COUNTED_ENDPOINTS, way)
        yield nft.Chain("count-endpoint", [_rule(protocol, update) for protocol in _EACH_PROTOCOL])
        elsewhere = nft.Match(nft.Meta("iifname"), literal(Type.INTERFACE_NAME, "lo"), "!=")
        for hook, matches in (("prerouting", (_TRANSLATED, elsewhere)), ("output", (_TRANSLATED,))):
            rule = _rule(*matches, _jump("count"))
            yield nft.Chain(f"count-{hook}", [rule], nft.Hook("filter", hook, _AFTER_DESTINATION_NAT))

    def _remember(self) -> Iterator[nft.Rule]:
        place, node_port = self._original()
        client = nft.Concat((*place.parts, self._words.source))
        for kind, sticky in ((STICKY, place), (STICKY_SOURCES, client)):
            for seconds in sizes(self._shape, kind):
                yield from self._remember_at(_in(sticky, f"{kind}-{seconds}"), AFFINITY, place, seconds)
        if timeouts := sizes(self._shape, STICKY_NODE_PORTS):
            groups = [_in(client, f"{BY_SOURCE}-{number}") for number in sizes(self._shape, BY_SOURCE)]
            for served in (_in(place, "cluster-ips"), _in(place, "external"), *groups):
                # or a Service's port would pass for a node port
                yield from (_rule(protocol, served, _RETURN) for protocol in _EACH_PROTOCOL)
            for seconds in timeouts:
                sticky_port = _in(node_port, f"{STICKY_NODE_PORTS}-{seconds}")
                yield from self._remember_at(sticky_port, AFFINITY_NODE_PORTS, node_port, seconds)

    def _remember_at(self, sticky: nft.Match, affinity: str, place: nft.Concat, seconds: int) -> Iterator[nft.Rule]:
        client = nft.Concat((self._words.source, *place.parts))
        for protocol, match in zip(Protocol, _EACH_PROTOCOL, strict=True):
            # ports of the original packet have a meaning only where the protocol is known
            endpoint = nft.Concat((self._words.destination, nft.Payload(protocol.lower(), "dport")))
            yield _rule(match, sticky, nft.SetUpdate("update", affinity, client, seconds * 1000, endpoint))


def _rule(*statements: nft.Statement) -> nft.Rule:
    return nft.Rule(statements)


def _jump(chain: str) -> nft.Verdict:
    return nft.Verdict("jump", chain)


def _goto(chain: str) -> nft.Verdict:
    return nft.Verdict("goto", chain)


def _in(key: nft.Expression, name: str) -> nft.Match:
    return nft.Match(key, nft.SetName(name))


def _twice(chain: str) -> list[nft.Rule]:
    """Each lookup sees the elements as they are at that moment. A Service that moves from one map to another between
    two lookups of a packet may be missed by both; the second round then finds it."""
    return [_rule(_jump(chain)), _rule(_jump(chain))]


def _refuse(place: nft.Concat, side: str) -> list[nft.Rule]:
    """Endpoints elsewhere only: no answer, the sender may try another node. None anywhere: an answer at once."""
    return [_rule(_in(place, f"dropped-{side}"), _DROP), _rule(_in(place, f"refused-{side}"), _REJECT)]


_EACH_PROTOCOL = tuple(nft.Match(L4PROTO, protocol) for protocol in _PROTOCOLS)
