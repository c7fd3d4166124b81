"""Reading `nft -j list ruleset`: what it says is put into the words of a plain listing (libnftables-json(5) names each
part after its word) and read as one, so that both mean the same.

nft's JSON says less than its text: from which expressions a set's fields came, and (before 1.1) some statements, of
which it prints nothing that could be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from fairway.ruleset.nft import Ruleset
from fairway.ruleset.nft_parse import parse
from fairway.ruleset.nft_print_rules import quoted
from fairway.ruleset.nft_words import ParseError

MAX_DEPTH = 64
"""Expressions in expressions; nft itself nests about six."""

DEVICES = ("iif", "oif", "iifname", "oifname")
OPERATORS = ("|", "^", "&", "<<", ">>")
VERDICTS = ("accept", "drop", "continue", "return")
NATS = ("dnat", "snat", "masquerade", "redirect")


def parse_json(text: str) -> Ruleset:
    """The tables of a listing in JSON. Raises ParseError for what is none."""
    try:
        said = msgspec.json.decode(text)
        return parse(_Listing(said["nftables"]).text())
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError, IndexError, ValueError, RecursionError) as error:
        if isinstance(error, ParseError):
            raise ParseError(f"read from JSON: {error.reason}") from None
        raise ParseError(f"this is not what `nft -j list ruleset` prints: {error}") from None


class _Listing:
    def __init__(self, said: list[dict[str, Any]]) -> None:
        self.tables: dict[tuple[str, str], dict[str, Any]] = {}
        self.parts: dict[tuple[str, str], list[str]] = {}
        self.chains: dict[tuple[str, str, str], list[str]] = {}
        self.heads: dict[tuple[str, str, str], dict[str, Any]] = {}
        for one in said:
            for word, body in one.items():
                self._take(word, body)

    def _take(self, word: str, body: dict[str, Any]) -> None:
        if word == "table":
            self.tables[body["family"], body["name"]] = body
            self.parts[body["family"], body["name"]] = []
        elif word in ("set", "map"):
            self.parts[body["family"], body["table"]].append(_set(word, body))
        elif word == "chain":
            key = (body["family"], body["table"], body["name"])
            self.heads[key], self.chains[key] = body, []
        elif word == "rule":
            self.chains[body["family"], body["table"], body["chain"]].append(_rule(body))

    def text(self) -> str:
        return "".join(self._table(*key) for key in self.tables)

    def _table(self, family: str, name: str) -> str:
        said = self.tables[family, name]
        lines = [f"table {family} {name} {{"]
        if said.get("comment"):
            lines.append(f"comment {quoted(said['comment'])}")
        if said.get("flags"):
            lines.append(f"flags {','.join(_listed(said['flags']))}")
        lines += self.parts[family, name]
        for key, rules in self.chains.items():
            if key[:2] == (family, name):
                lines += [f"chain {key[2]} {{", *_hook(self.heads[key]), *rules, "}"]
        return "\n".join([*lines, "}\n"])


def _hook(said: Mapping[str, Any]) -> Iterable[str]:
    if said.get("comment"):
        yield f"comment {quoted(said['comment'])}"
    if "hook" in said:
        device = f" device {quoted(_listed(said['dev'])[0])}" if said.get("dev") else ""
        yield f"type {said['type']} hook {said['hook']}{device} priority {said['prio']}"
        yield f"policy {said.get('policy', 'accept')}"


def _listed(given: Any) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def _set(word: str, said: Mapping[str, Any]) -> str:
    lines = [f"{word} {said['name']} {{", f"type {_types(said['type'])}"]
    if "map" in said:
        lines[-1] += f" : {_types(said['map'])}"
    if "size" in said:
        lines.append(f"size {said['size']}")
    if said.get("flags"):
        lines.append(f"flags {','.join(_listed(said['flags']))}")
    if "timeout" in said:
        lines.append(f"timeout {said['timeout']}s")
    if any("counter" in statement for statement in said.get("stmt") or ()):
        lines.append("counter")
    if said.get("comment"):
        lines.append(f"comment {quoted(said['comment'])}")
    if said.get("elem"):
        lines.append(f"elements = {{ {', '.join(_element(one) for one in said['elem'])} }}")
    return "\n".join([*lines, "}"])


def _types(given: Any) -> str:
    return " . ".join(str(one) for one in _listed(given))


def _element(given: Any) -> str:
    key, *data = given if isinstance(given, list) else [given]
    return " : ".join([_key(key), *(_datum(one) for one in data)])


def _key(given: Any) -> str:
    """A key with its counters, times and comment."""
    if not (isinstance(given, dict) and "elem" in given):
        return _spelled(given)
    said = given["elem"]
    words = [_spelled(said["val"])]
    if "counter" in said:
        words.append(f"counter packets {said['counter']['packets']} bytes {said['counter']['bytes']}")
    words += [f"{name} {said[name]}s" for name in ("timeout", "expires") if name in said]
    if "comment" in said:
        words.append(f"comment {quoted(said['comment'])}")
    return " ".join(words)


def _datum(given: Any) -> str:
    if isinstance(given, dict) and (found := _verdict(given)):
        return found
    return _spelled(given)


def _verdict(given: Mapping[str, Any]) -> str:
    (word,) = given
    if word in ("jump", "goto"):
        return f"{word} {given[word]['target']}"
    return word if word in VERDICTS else ""


# Rules.


def _rule(said: Mapping[str, Any]) -> str:
    words = [_statement(statement) for statement in said["expr"]]
    if said.get("comment"):
        words.append(f"comment {quoted(said['comment'])}")
    return f"{' '.join(words)} # handle {said.get('handle', 0)}"


def _statement(given: Mapping[str, Any]) -> str:
    (word,) = given
    said = given[word]
    if found := _verdict(given):
        return found
    if word in NATS:
        return _nat(word, said or {})
    reader = _STATEMENTS.get(word)
    return reader(said) if reader else word


def _match(said: Mapping[str, Any]) -> str:
    left, operator = said["left"], said["op"]
    device = isinstance(left, dict) and left.get("meta", {}).get("key") in DEVICES
    flags = isinstance(left, dict) and left.get("payload", {}).get("field") == "flags"
    right = _spelled(said["right"], device)
    plain = operator == "in" or (operator == "==" and not _needs_equality(left, flags))
    return f"{_spelled(left)} {right}" if plain else f"{_spelled(left)} {operator} {right}"


def _needs_equality(left: Any, flags: bool) -> bool:
    """Whether `==` must be written to mean equality: flags without it ask for any of them."""
    return flags or (isinstance(left, dict) and (left.get("ct", {}).get("key") in ("state", "status") or "&" in left))


def _vmap(said: Mapping[str, Any]) -> str:
    return f"{_spelled(said['key'])} vmap {_map_data(said['data'])}"


def _map_data(data: Any) -> str:
    if isinstance(data, str):
        return data
    return f"{{ {', '.join(f'{_spelled(key)} : {_datum(value)}' for key, value in data['set'])} }}"


def _mangle(said: Mapping[str, Any]) -> str:
    return f"{_spelled(said['key'])} set {_spelled(said['value'])}"


def _nat(word: str, said: Mapping[str, Any]) -> str:
    words = [word, *([said["family"]] if "family" in said else [])]
    address = _spelled(said["addr"]) if "addr" in said else ""
    port = f":{_spelled(said['port'])}" if "port" in said else ""
    plain = address.replace("-", "]-[") if ":" in address and " " not in address else ""
    if address or port:
        words.append(f"to {f'[{plain}]' if plain and port else address}{port}")
    if said.get("flags"):
        words.append(",".join(_listed(said["flags"])))
    return " ".join(words)


def _reject(said: Any) -> str:
    if not said:
        return "reject"
    return " ".join(["reject with", said["type"], *([said["expr"]] if "expr" in said else [])])


def _counter(said: Any) -> str:
    if isinstance(said, dict):
        return f"counter packets {said['packets']} bytes {said['bytes']}"
    return f"counter name {quoted(said)}" if said else "counter"


def _update(said: Mapping[str, Any]) -> str:
    data = f" : {_spelled(said['data'])}" if "data" in said else ""
    return f"{said['op']} {said['set']} {{ {_key(said['elem'])}{data} }}"


def _limit(said: Any) -> str:
    if isinstance(said, str):
        return f"limit name {quoted(said)}"
    over = "over " if said.get("inv") else ""
    return f"limit rate {over}{said['rate']}/{said['per']} burst {said.get('burst', 5)} packets"


def _quota(said: Any) -> str:
    if isinstance(said, str):
        return f"quota name {quoted(said)}"
    return f"quota {'over' if said.get('inv') else 'until'} {said['val']} {said['val_unit']}"


def _log(said: Mapping[str, Any] | None) -> str:
    words = [f"{name} {quoted(value) if name == 'prefix' else value}" for name, value in (said or {}).items()]
    return " ".join(["log", *(word for word in words if not word.startswith("flags"))])


_STATEMENTS: Mapping[str, Callable[[Any], str]] = {
    "match": _match,
    "vmap": _vmap,
    "mangle": _mangle,
    "reject": _reject,
    "counter": _counter,
    "set": _update,
    "map": _update,
    "limit": _limit,
    "quota": _quota,
    "log": _log,
}


# Expressions.


def _spelled(given: Any, device: bool = False, depth: int = 0) -> str:
    """An expression in words. Raises ValueError beyond MAX_DEPTH."""
    if depth > MAX_DEPTH:
        raise ValueError("expressions nested too deeply")
    if isinstance(given, bool):
        return "exists" if given else "missing"
    if isinstance(given, int):
        return str(given)
    if isinstance(given, str):
        return quoted(given) if device and not given.startswith("@") else given
    if isinstance(given, list):
        return ",".join(_spelled(one, device, depth + 1) for one in given)
    (word,) = given
    return _spelled_as(word, given[word], device, depth + 1)


def _spelled_as(word: str, said: Any, device: bool, depth: int) -> str:
    match word:
        case "concat":
            return " . ".join(_spelled(one, device, depth) for one in said)
        case "set":
            return f"{{ {', '.join(_spelled(one, device, depth) for one in _elements(said))} }}"
        case "range":
            return f"{_spelled(said[0])}-{_spelled(said[1])}"
        case "prefix":
            return f"{_spelled(said['addr'])}/{said['len']}"
        case "elem":
            return _spelled(said["val"], device, depth)
        case "payload":
            return f"{said['protocol']} {said['field']}"
        case "meta":
            return f"meta {said['key']}"
        case "ct":
            return " ".join(["ct", *([said["dir"]] if "dir" in said else []), said["key"]])
        case "fib":
            return f"fib {' . '.join(_listed(said['flags']))} {said['result']}"
        case "map":
            return f"{_spelled(said['key'], False, depth)} map {_map_data(said['data'])}"
        case "numgen" | "jhash" | "symhash":
            return _drawn(word, said, depth)
    if word in OPERATORS:
        left, right = said
        return f"{_spelled(left, False, depth)} {word} {_mask(right, depth)}"
    return f"{word} {said['key']}" if isinstance(said, dict) and "key" in said else word


def _elements(said: Any) -> list[Any]:
    return said if isinstance(said, list) else [said]


def _mask(given: Any, depth: int) -> str:
    """The right side of a bit operation."""
    flags = [given] if isinstance(given, str) else given
    if isinstance(flags, list):
        return f"({' | '.join(str(flag) for flag in flags)})"
    composed = isinstance(given, dict) and set(given) & set(OPERATORS)
    text = _spelled(given, False, depth)
    return f"({text})" if composed else text


def _drawn(word: str, said: Mapping[str, Any], depth: int) -> str:
    words = [word]
    if "mode" in said:
        words.append(said["mode"])
    if "expr" in said:
        words.append(_spelled(said["expr"], False, depth))
    words.append(f"mod {said['mod']}")
    words += [f"{name} {said[name]}" for name in ("seed", "offset") if said.get(name)]
    return " ".join(words)
