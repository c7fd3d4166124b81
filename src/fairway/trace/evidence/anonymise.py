"""Dumps without what tells whose they are: addresses, names and comments replaced, structure and answers kept.

Works on text, so that pieces of dumps, listings and texts of different programs are all served; several texts of one
node are given the same pseudonyms.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fairway.node import Network
from fairway.ruleset.nft_parse_json import parse_json
from fairway.ruleset.nft_print import text as listed
from fairway.ruleset.nft_words import ParseError
from fairway.trace.evidence.pseudonyms import Pseudonyms
from fairway.trace.evidence.texts import Kind, Text

_V4 = r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.]*\w)"
_V6 = r"(?<![\w:.])(?=[0-9a-fA-F:]*:[0-9a-fA-F:]*:)[0-9a-fA-F:]{2,39}(?:\.\d+){0,3}(?![\w:])"
_RANGE = re.compile(rf"(?P<first>{_V4}|{_V6})-(?P<last>{_V4}|{_V6})")
_ADDRESS = re.compile(rf"{_RANGE.pattern}|(?P<address>{_V4}|{_V6})(?:/(?P<length>\d{{1,3}})(?![\d.]))?")
_PLACE = re.compile(rf"\[?(?:{_V4}|{_V6})\]?(?:[:/]\d+)?")
_OWN_TABLES = re.compile(r"^table \S+ (?:fairway|kube-proxy) \{.*?^\}", re.MULTILINE | re.DOTALL)
_MAC = re.compile(r"(?<![\w:])(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}(?![\w:])")
_COMMENTS = re.compile(
    r"(?P<before>--comment\s+|\bcomment\s+|--(?:log|nflog)-prefix\s+|\blog prefix\s+|--string\s+)"
    r'"(?P<quoted>(?:[^"\\]|\\.)*)"'
    r"|(?P<word>--comment\s+)(?P<bare>[^\s\"]+)|(?P<open>/\* )(?P<listed>.*?)(?P<close> \*/)"
)
_HASHED = re.compile(r"\bKUBE-(?P<kind>SVC|SVL|SEP|EXT|FW|XLB)-(?P<hash>[A-Z2-7]{16})\b")
_OF_NFT = re.compile(
    r"\b(?P<kind>service|endpoint|external|firewall|affinity)-(?P<hash>[A-Z2-7]{8})-(?P<rest>[a-z0-9][\w./:-]*)"
)
_DEVICE = re.compile(r"(?<![\w-])(?P<kind>veth|cali|br-|lxc|azv|eni|tap)(?P<rest>[0-9a-f]{4,12})(?![\w-])")
_DECLARED = (
    re.compile(r"^:(\S+) \S+ \[", re.MULTILINE),
    re.compile(r"^Chain (\S+) \(", re.MULTILINE),
    re.compile(r"(?:^|\s)-[ANjg] (\S+)", re.MULTILINE),
    re.compile(r"--(?:name|match-set|add-set|del-set) (\S+)"),
    re.compile(r"^\s*(?:chain|set|map|flowtable|counter|quota|limit) (\S+) \{", re.MULTILINE),
    re.compile(r"\b(?:jump|goto) ([^\s;,}]+)"),
    re.compile(r"^table \S+ (\S+) \{", re.MULTILINE),
    re.compile(r"^(?:create (?=\S+ (?:hash|bitmap|list):)|Name: )(\S+)", re.MULTILINE),
    re.compile(r"\b(?:lookup|link-netns) (\S+)"),
)
_KNOWN = re.compile(
    r"KUBE-[A-Z-]+|DOCKER[A-Z0-9-]*|FLANNEL-[A-Z]+|CNI-[A-Z-]+|ufw6?-[a-z-]+|cali-[A-Za-z-]+|CILIUM_\w+"
    r"|(PRE|POST)ROUTING_\w+|(INPUT|OUTPUT|FORWARD)_\w+|kube-proxy|fairway|DEFAULT|raw|mangle"
)
"""Names that programs give, which tell nothing. Names of capitals or small letters alone are looked up in `_COMMON`."""

_COMMON = re.compile(
    r"PREROUTING|INPUT|FORWARD|OUTPUT|POSTROUTING|ACCEPT|DROP|REJECT|RETURN|N?F?QUEUE|[DS]NAT|MASQUERADE|REDIRECT|CT|MARK"
    r"|CONNMARK|N?F?LOG|NOTRACK|TCPMSS|SET|TRACE|TPROXY|NETMAP|CLASSIFY|DSCP|DOCKER|DEFAULT|accept|drop|reject|return|filter"
    r"|nat|mangle|raw|security|prerouting|input|forward|output|postrouting|firewalld|main|local|default"
)
_LANGUAGE = re.compile(
    r"accept|add|all|and|at|burst|bytes|chain|comment|constant|continue|counter|ct|daddr|day|delete|dport|drop"
    r"|dscp|dstnat|dynamic|element|elements|established|ether|expires|fib|flags|for|from|goto|group|hash|hook|hour"
    r"|icmp|icmpv6|if|iif|iifname|in|inc|inet|interval|invalid|ip|ip6|jhash|jump|l4proto|len|length|level|limit"
    r"|log|map|mark|masquerade|meta|mod|new|nexthdr|nfproto|notrack|numgen|of|offset|oif|oifname|on|or|original"
    r"|over|packet|packets|persistent|policy|prefix|priority|proto|protocol|queue|quota|random|rate|redirect"
    r"|related|reject|reply|reset|return|saddr|sctp|second|seed|set|size|skuid|sport|state|status|syn|table|tcp|th"
    r"|timeout|to|type|typeof|udp|unreachable|untracked|update|via|vmap|with"
    r"|bitmap|bitmask|bucketsize|bytes|counters|create|family|forceadd|hashsize|iface|inet6|initval|list|mac|markmask"
    r"|maxelem|net|netmask|nomatch|packets|physdev|port|range|skbinfo|skbmark|skbprio|skbqueue|Header|Members|Name"
    r"|Number|References|Revision|Size|Type|entries|memory"
)
"""Words of nftables' and ipset's languages: what is called so keeps its name, or the rest would be no rules any
more."""

_WORDS = re.compile(
    r"kubernetes|services?|portals|nodeports;?|node|ports?|note:|this|must|be|the|last|rule|in|chain|cluster|ip|external|->"
    r"|loadbalancer|load|balancer|has|no|endpoints?|local|firewall|rules|forwarding|conntrack|postrouting|requiring|snat|lb"
    r"|traffic|masquerade|route|for|destinations?|pods?|of|to|from|via|is|not|;|and|health|check|externally-visible|flanneld"
    r"|masq|forward|block|incoming|localnet|connections|destined|an|source|ranges|dst|svc|address|or|a|by|with|packets?"
)
"""Words of proxies' comments."""

_SERVICE = re.compile(
    r"(?P<namespace>[a-z0-9][-a-z0-9]*)/(?P<service>[a-z0-9][-a-z0-9.]*)(?P<colon>:?)(?P<port>[a-z0-9][-a-z0-9]*)?"
)
_NAME = r"[\w./-]"


@dataclass(slots=True)
class Anonymiser:
    """What replaces what, for all texts of one node."""

    pseudonyms: Pseudonyms
    names: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, texts: Iterable[str], key: bytes) -> Anonymiser:
        """Look at all texts before any of them is written: names are recognised where they are declared."""
        texts = list(texts)
        pseudonyms = Pseudonyms(key, [network for text in texts for network in _ordered(text)])
        foreign = [_OWN_TABLES.sub("", text) for text in texts]  # what proxies call their own sets tells nothing
        found = {name.strip('"') for text in foreign for pattern in _DECLARED for name in pattern.findall(text)}
        strange = sorted(name for name in found if not _is_known(name))
        return cls(pseudonyms, {name: pseudonyms.name("name", name) for name in strange})

    def text(self, text: str) -> str:
        """A text with everything replaced."""
        text = _COMMENTS.sub(self._commented, text)
        text = _HASHED.sub(lambda m: f"KUBE-{m['kind']}-{self.pseudonyms.letters(m['hash'], 16).upper()}", text)
        text = _OF_NFT.sub(self._chain_of_nft, text)
        text = _DEVICE.sub(lambda m: m["kind"] + self._hexadecimal(m[0], len(m["rest"])), text)
        text = _MAC.sub(lambda m: "02:" + ":".join(re.findall("..", self._hexadecimal(m[0].lower(), 10))), text)
        if self.names:
            listed = "|".join(re.escape(name) for name in sorted(self.names, key=len, reverse=True))
            text = re.sub(rf"(?<!{_NAME})(?:{listed})(?!{_NAME})", lambda m: self.names[m[0]], text)
        return self._addresses(text)

    def address(self, text: str) -> str:
        """The pseudonym of one address."""
        return self.pseudonyms.address(text)

    def _hexadecimal(self, text: str, length: int) -> str:
        return self.pseudonyms.letters(text, 52).encode().hex()[1::2][:length]

    def _addresses(self, text: str) -> str:
        return _ADDRESS.sub(lambda m: self._range(m) if m["first"] else self._address(m), text)

    def _range(self, match: re.Match[str]) -> str:
        """A range that is a network becomes the pseudonym's, first to last; others keep their order (`_ordered`)."""
        whole = _network_of(match)
        try:
            if whole is None:
                return f"{self.address(match['first'])}-{self.address(match['last'])}"
        except ValueError:
            return match[0]
        other = self.pseudonyms.network(whole)
        return f"{other[0]}-{other[-1]}"

    def _address(self, match: re.Match[str]) -> str:
        said = match["address"]
        try:
            made = self.address(said)
            length = match["length"]
            if length is None:
                return made
            network = ipaddress.ip_network(f"{said}/{length}", strict=False)
        except ValueError:
            return match[0]
        whole = network.network_address == ipaddress.ip_address(said)
        return str(self.pseudonyms.network(network)) if whole else f"{made}/{length}"

    def _commented(self, match: re.Match[str]) -> str:
        if match["quoted"] is not None:
            return f'{match["before"]}"{self.comment(match["quoted"])}"'
        if match["bare"] is not None:
            return match["word"] + self.comment(match["bare"])
        return match["open"] + self.comment(match["listed"]) + match["close"]

    def comment(self, comment: str) -> str:
        """The words that proxies use stay, Services get other names, all others become words that say nothing."""
        return " ".join(self._word(word) for word in comment.split(" "))

    def _word(self, word: str) -> str:
        if not word or _WORDS.fullmatch(word.lower()) or _PLACE.fullmatch(word):
            return word  # addresses are replaced with all others
        bare = word.strip("\"'();,")
        named = _SERVICE.fullmatch(bare)
        if named is None:
            return self.pseudonyms.name("word", word)
        return word.replace(bare, self._service(named["namespace"], named["service"], named["colon"], named["port"]))

    def _service(self, namespace: str, service: str, colon: str = "", port: str | None = None) -> str:
        made = f"{self.pseudonyms.name('ns', namespace)}/{self.pseudonyms.name('svc', service)}{colon}"
        return made + (self.pseudonyms.name("port", port) if port else "")

    def _chain_of_nft(self, match: re.Match[str]) -> str:
        """kube-proxy's chains in nftables: `service-HASH-namespace/name/protocol/port__address/port`."""
        service, mark, endpoint = match["rest"].partition("__")
        namespace, name, *more = [*service.split("/"), "", ""][:4]
        made = "/".join(part for part in (self._service(namespace, name), *more) if part)
        letters = self.pseudonyms.letters(match["hash"], 8).upper()
        place = self._addresses(endpoint.replace("/", " ")).replace(" ", "/") if mark else ""
        return f"{match['kind']}-{letters}-{made}{mark}{place}"


def _is_known(name: str) -> bool:
    if _LANGUAGE.fullmatch(name):
        return True
    if name.isalpha() and (name.isupper() or name.islower()):
        return bool(_COMMON.fullmatch(name))
    return bool(_KNOWN.fullmatch(name) or _HASHED.fullmatch(name) or _OF_NFT.fullmatch(name))


def _ordered(text: str) -> Iterator[Network]:
    """The smallest networks around ranges that are none themselves."""
    for match in _RANGE.finditer(text):
        try:
            ends = ipaddress.ip_address(match["first"]), ipaddress.ip_address(match["last"])
        except ValueError:
            continue
        if ends[0].version == ends[1].version and _network_of(match) is None:
            common = ends[0].max_prefixlen - (int(ends[0]) ^ int(ends[1])).bit_length()
            yield ipaddress.ip_network(f"{ends[0]}/{common}", strict=False)


def _network_of(match: re.Match[str]) -> Network | None:
    """The network that a range of addresses is; None when it is none."""
    try:
        first, last = ipaddress.ip_address(match["first"]), ipaddress.ip_address(match["last"])
        length = first.max_prefixlen - (int(first) ^ int(last)).bit_length()
        network = ipaddress.ip_network(f"{first}/{length}", strict=False)
    except ValueError:
        return None
    return network if (network[0], network[-1]) == (first, last) else None


def anonymise(texts: Iterable[Text], key: bytes) -> list[str]:
    """The texts with the same things replaced by the same others. Raises EvidenceError for JSON that is not nft's."""
    texts = list(texts)
    anonymiser = Anonymiser.of([_looked_at(text) for text in texts], key)
    return [_anonymous(text, anonymiser) for text in texts]


def _anonymous(text: Text, anonymiser: Anonymiser) -> str:
    if text.kind is not Kind.NFT_JSON:
        return anonymiser.text(_told(text))
    made = json.dumps(_value(json.loads(text.content), "", anonymiser), ensure_ascii=False)
    return f"{made}\n"


def _looked_at(text: Text) -> str:
    """Where names and ranges are looked for; JSON is said as nft would list it."""
    if text.kind is not Kind.NFT_JSON:
        return _told(text)
    try:
        return listed(parse_json(text.content).tables.values())
    except ParseError as error:
        raise text.error(error.reason, error.line) from None


def _value(value: Any, key: str, anonymiser: Anonymiser) -> Any:
    """A value of JSON with everything replaced; networks and ranges are objects there."""
    if isinstance(value, str):
        return anonymiser.comment(value) if key in _SAID else anonymiser.text(value)
    if isinstance(value, list):
        return [_value(each, key, anonymiser) for each in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"prefix"} and isinstance(prefix := value["prefix"], dict):
        address, _, length = anonymiser.text(f"{prefix.get('addr')}/{prefix.get('len')}").partition("/")
        return {"prefix": {"addr": address, "len": int(length)}}
    if value.keys() == {"range"} and all(isinstance(end, str) and _ADDRESS.fullmatch(end) for end in value["range"]):
        return {"range": anonymiser.text("-".join(value["range"])).split("-")}
    return {name: _value(each, name, anonymiser) for name, each in value.items()}


_SAID = ("comment", "prefix")
"""Keys under which people's words stand."""


def _told(text: Text) -> str:
    """What of a text is told at all: of settings those of the network, as others hold the host's name."""
    if text.kind is not Kind.SETTINGS:
        return text.content
    return "".join(line for line in text.content.splitlines(keepends=True) if line.lstrip().startswith("net"))
