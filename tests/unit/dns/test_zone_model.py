"""Objects come and go at random; the zone must answer as a plain reading of the specification does.

The model writes the whole zone file of a state down, record by record, and looks names up in it: slow and evident.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.dns.zone import Zone
from tests.unit.dns.cluster import Object, answer, endpoints, external, host, namespace, pod, put, service

REVERSE = ("10.96.0.0/12", "10.244.0.0/16", "fd00::/16")
NAMESPACES = ("a", "b")
SERVICES = ("x", "y")
ADDRESSES = ("10.96.0.1", "10.244.0.1", "10.244.7.2", "192.0.2.9", "fd00::1", "fd00::2")
HOSTS = ("h", "10-244-0-1", "")
PORTS = ("http:80/TCP", "dns:53/UDP", "81/TCP")

Records = dict[str, dict[str, set[str]]]
"""The zone file: what each name holds, by type, as text."""


def services() -> st.SearchStrategy[Object]:
    where = st.tuples(st.sampled_from(SERVICES), st.sampled_from(NAMESPACES))
    ports = st.lists(st.sampled_from(PORTS), unique=True)
    ips = st.sampled_from([("None",), ("10.96.0.1",), ("fd00::1", "10.96.0.1")])
    targets = st.sampled_from(["www.example.com", "x.a.svc.cluster.local", "y.b.svc.cluster.local"])
    return st.one_of(
        st.builds(lambda at, ip, held, early: service(*at, *ip, ports=held, publishNotReadyAddresses=early),
                  where, ips, ports, st.booleans()),
        st.builds(lambda at, target: external(at[0], target, at[1]), where, targets),
    )  # fmt: skip


def slices() -> st.SearchStrategy[Object]:
    address = st.lists(st.sampled_from(ADDRESSES), max_size=2)
    endpoint = st.builds(
        lambda at, name, ready: host(name, *at, ready=ready), address, st.sampled_from(HOSTS), st.booleans()
    )
    return st.builds(
        lambda of, many, name, space, ports: endpoints(of, *many, name=name, namespace=space, ports=ports),
        st.sampled_from(SERVICES),
        st.lists(endpoint, max_size=3),
        st.sampled_from(("s", "t")),
        st.sampled_from(NAMESPACES),
        st.lists(st.sampled_from(PORTS), unique=True),
    )


def pods() -> st.SearchStrategy[Object]:
    phase = st.sampled_from(("Running", "Succeeded"))
    return st.builds(pod, st.sampled_from(("p", "q")), st.sampled_from(ADDRESSES), st.sampled_from(NAMESPACES), phase)


Event = tuple[str, Object]
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(("set", "set", "delete")),
        st.one_of(services(), slices(), pods(), st.sampled_from(NAMESPACES).map(namespace)),
    ),
    max_size=12,
)


def kind(each: Object) -> str:
    if "addressType" in each:
        return "slice"
    return "pod" if "status" in each else "service" if "spec" in each else "namespace"


def play(zone: Zone, events: list[Event], ask_between: bool) -> dict[tuple[str, str, str], Object]:
    """Feed the events and return what is there at the end. Asking between them makes the zone read what it would
    otherwise leave for later."""
    state: dict[tuple[str, str, str], Object] = {}
    for verb, each in events:
        key = (kind(each), each["metadata"].get("namespace", ""), each["metadata"]["name"])
        if verb == "set":
            state[key] = each
            put(zone, each)
        else:
            state.pop(key, None)
            getattr(zone, f"delete_{key[0]}")(*key[1:])
        if ask_between:
            answer(zone, "1.0.244.10.in-addr.arpa PTR")
            answer(zone, "x.a.svc.cluster.local A")
    return state


def write_down(state: dict[tuple[str, str, str], Object]) -> Records:
    """All records of the specification for a state. Names that exist without records hold nothing."""
    records: Records = {}
    for name in ("cluster.local", "svc.cluster.local", "pod.cluster.local", *apexes()):
        records[name] = {}
    for (what, space, name), each in state.items():
        if what == "namespace":
            records.setdefault(f"{name}.svc.cluster.local", {})
            records.setdefault(f"{name}.pod.cluster.local", {})
        elif what == "service":
            records.setdefault(f"{space}.svc.cluster.local", {})
            records.setdefault(f"{space}.pod.cluster.local", {})
            pieces = [
                piece
                for (other, in_space, _), piece in state.items()
                if (other, in_space) == ("slice", space)
                and piece["metadata"]["labels"]["kubernetes.io/service-name"] == name
            ]
            write_service(records, each["spec"], f"{name}.{space}.svc.cluster.local", pieces)
        elif what == "pod" and each["status"]["phase"] == "Running":
            ip = each["status"]["podIP"]
            add(records, f"{dash(ip)}.{space}.pod.cluster.local", family(ip), ip)
    return records


def write_service(records: Records, spec: Object, name: str, pieces: list[Object]) -> None:
    if spec.get("type") == "ExternalName":
        add(records, name, "CNAME", spec["externalName"] + ".")
    elif spec["clusterIP"] == "None":
        for piece in pieces:
            for endpoint in piece["endpoints"]:
                if endpoint["conditions"]["ready"] or spec["publishNotReadyAddresses"]:
                    write_endpoint(records, name, endpoint, piece["ports"])
    else:
        for ip in spec["clusterIPs"]:
            add(records, name, family(ip), ip)
            add(records, ip_address(ip).reverse_pointer, "PTR", name + ".")
        for port in spec["ports"]:
            write_port(records, name, port, name)


def write_endpoint(records: Records, name: str, endpoint: Object, ports: list[Object]) -> None:
    for ip in endpoint["addresses"]:
        own = f"{endpoint['hostname'] or dash(ip)}.{name}"
        add(records, name, family(ip), ip)
        add(records, own, family(ip), ip)
        add(records, ip_address(ip).reverse_pointer, "PTR", own + ".")
        for port in ports:
            write_port(records, name, port, own)


def write_port(records: Records, name: str, port: Object, target: str) -> None:
    if port["name"]:
        owner = f"_{port['name']}._{port['protocol'].lower()}.{name}"
        add(records, owner, "SRV", f"0 100 {port['port']} {target}.")


def add(records: Records, name: str, type: str, text: str) -> None:
    records.setdefault(name, {}).setdefault(type, set()).add(text)


def family(ip: str) -> str:
    return "A" if ip_address(ip).version == 4 else "AAAA"


def dash(ip: str) -> str:
    return ip.replace(".", "-").replace(":", "-")


def apexes() -> list[str]:
    return ["244.10.in-addr.arpa", "0.0.d.f.ip6.arpa", *(f"{octet}.10.in-addr.arpa" for octet in range(96, 112))]


def expected(records: Records, name: str, type: str) -> tuple[str, set[str]]:
    """The rcode and the answer section's data for a question, read from the zone file."""
    found: set[str] = set()
    for _ in range(8):
        if not ours(records, name):
            return ("NOERROR", found) if found else ("REFUSED", set())
        held = records.get(name)
        if held is None:
            below = any(each.endswith("." + name) for each in records)
            return ("NOERROR" if below else "NXDOMAIN"), found
        if "CNAME" not in held or type == "CNAME":
            return "NOERROR", found | held.get(type, set())
        (target,) = held["CNAME"]
        found |= {target}
        name = target.removesuffix(".")
    return "SERVFAIL", set()


def ours(records: Records, name: str) -> bool:
    zones = ("cluster.local", *apexes())
    return any(name == each or name.endswith("." + each) for each in zones) or "PTR" in records.get(name, {})


def universe() -> list[str]:
    """Every name a state can have, their parents, and some that no state has."""
    below = [*HOSTS[:2], "10-244-7-2", "fd00--1", "_tcp", "_udp", "_http._tcp", "_dns._udp", "_x._tcp"]
    spaces = [*NAMESPACES, "none"]
    own = [f"{name}.{space}.svc" for space in spaces for name in (*SERVICES, "z")]
    every = ["", "svc", "pod", "other", *own, *(f"{part}.{name}" for name in own for part in below)]
    every += [f"{space}.{part}" for space in spaces for part in ("svc", "pod")]
    every += [f"{dash(ip)}.{space}.pod" for ip in ADDRESSES for space in spaces]
    names = [f"{each}.cluster.local".lstrip(".") for each in every]
    for ip in ADDRESSES:
        labels = ip_address(ip).reverse_pointer.split(".")
        names += [".".join(labels[start:]) for start in range(len(labels) - 1)]
    return [*names, "www.example.com", "local"]


UNIVERSE = universe()


@given(EVENTS, st.booleans())
@settings(max_examples=150, deadline=None)
def test_every_answer_is_what_a_plain_reading_of_the_specification_says(events: list[Event], ask_between: bool) -> None:
    zone = Zone(reverse=REVERSE)
    records = write_down(play(zone, events, ask_between))
    for name in UNIVERSE:
        for type in ("A", "AAAA", "SRV", "PTR", "CNAME"):
            got = answer(zone, f"{name} {type}")
            said = (got.rcode.name, {str(each.data) for each in got.answer})
            assert said == expected(records, name, type), f"{name} {type}"


@given(EVENTS, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_a_zone_kept_by_events_is_the_zone_built_anew(events: list[Event], chance: Any) -> None:
    kept = Zone(reverse=REVERSE)
    objects = list(play(kept, events, ask_between=True).values())
    chance.shuffle(objects)
    anew = put(Zone(reverse=REVERSE), *objects)
    for name in UNIVERSE:
        for type in ("A", "AAAA", "SRV", "PTR", "ANY"):
            assert answer(kept, f"{name} {type}") == answer(anew, f"{name} {type}"), f"{name} {type}"
