"""Rules of nf_tables as netlink attributes: each statement reads registers that expressions have loaded."""

from __future__ import annotations

from fairway.kernel.linux import nft_numbers as n
from fairway.kernel.linux.netlink import attribute, be32, be64, nested, text, u8
from fairway.kernel.linux.nft_loads import (
    SECOND,
    Loads,
    in_network_order,
    is_prefix,
    padded,
    prefix_mask,
    register_number,
    room_of,
)
from fairway.kernel.linux.nft_sets import Unsayable, counter, verdict_data
from fairway.kernel.linux.nft_userdata import commented
from fairway.ruleset.nft import (
    AnonymousMap,
    AnonymousSet,
    Assign,
    Concat,
    Counter,
    Ct,
    Expression,
    Literal,
    Match,
    Meta,
    Nat,
    Other,
    Payload,
    Range,
    Reject,
    Rule,
    SetName,
    SetUpdate,
    Statement,
    Type,
    Verdict,
    VerdictMap,
)

_EXPRESSIONS, _USERDATA = 4, 7
_TCP = 6
_NAT_KINDS = {"snat": 0, "dnat": 1}
_TRANSLATORS = {"masquerade": ("masq", 2, 1), "redirect": ("redir", 1, 3)}  # name, attributes of port and of flags


class RuleEncoder(Loads):
    """One rule on its way."""

    def encode(self, rule: Rule) -> bytes:
        """The attributes of the rule behind the names of table and chain. Raises Unsayable."""
        for statement in rule.statements:
            self._statement(statement)
        userdata = attribute(_USERDATA, commented(rule.comment)) if rule.comment else b""
        return nested(_EXPRESSIONS, *self._code) + userdata

    # Statements.

    def _statement(self, statement: Statement) -> None:
        match statement:
            case Match():
                self._match(statement)
            case Verdict():
                self._verdict(statement)
            case VerdictMap(key, map_):
                self._look_up_verdict(key, map_)
            case Assign(target, value):
                self._assign(target, value)
            case Nat():
                self._translate(statement)
            case Reject(with_):
                self._reject(with_)
            case Counter(packets, bytes_):
                self._code.append(nested(1, counter(packets, bytes_)))
            case SetUpdate():
                self._update(statement)
            case Other(words):
                self._other(words)

    def _verdict(self, verdict: Verdict) -> None:
        if verdict.code == "queue":
            self._emit("queue")
            return
        self._emit("immediate", be32(1, n.VERDICT_REGISTER), nested(2, verdict_data(verdict)))

    def _look_up_verdict(self, key: Expression, map_: SetName | AnonymousMap) -> None:
        self._load(key, 0)
        name, identity = self._set(key, map_)
        self._lookup(name, identity, be32(3, n.VERDICT_REGISTER))

    def _assign(self, target: Meta | Ct | Payload, value: Expression) -> None:
        if isinstance(value, Literal):
            self._immediate(0, self._constant(value, target))
        else:
            self._load(value, 0)
        source = register_number(0)
        match target:
            case Meta(key) if key in n.META:
                self._emit("meta", be32(2, n.META[key]), be32(3, source))
            case Ct(key, "") if key in n.CT:
                self._emit("ct", be32(2, n.CT[key]), be32(4, source))
            case _:
                raise Unsayable(f"setting {target}")

    def _reject(self, with_: str) -> None:
        spelled = with_ or n.REJECT_DEFAULT.get(self.family, "icmpx port-unreachable")
        if spelled not in n.REJECT_WITH:
            raise Unsayable(f"`reject with {with_}`")
        if spelled == "tcp reset":
            self._need_transport(_TCP)
        kind, code = n.REJECT_WITH[spelled]
        self._emit("reject", be32(1, kind), u8(2, code))

    def _other(self, words: str) -> None:
        if words == "notrack":
            self._code.append(nested(1, text(1, "notrack")))
        elif words == "meta nftrace set 1":
            self._immediate(0, b"\1")
            self._emit("meta", be32(2, n.META["nftrace"]), be32(3, register_number(0)))
        else:
            raise Unsayable(f"`{words}`")

    def _update(self, update: SetUpdate) -> None:
        size = self._load(update.key, 0)
        parts = [text(1, update.set), be32(3, n.SET_OPERATIONS[update.operation]), be32(4, register_number(0))]
        if update.data is not None:
            register = _beside(size, room_of(update.data))
            self._load(update.data, register)
            parts.append(be32(5, register_number(register)))
        if update.timeout_ms:
            parts.append(be64(6, update.timeout_ms))
        self._emit("dynset", *parts)

    # Matches.

    def _match(self, match_: Match) -> None:
        left, right, operator = match_.left, match_.right, match_.operator
        if isinstance(right, (SetName, AnonymousSet)):
            self._load(left, 0)
            name, identity = self._set(left, right)
            self._lookup(name, identity, be32(5, int(operator == "!=")))
        elif isinstance(right, Range):
            self._match_range(left, right, operator)
        elif operator == "any":
            self._match_bits(left, right)
        elif isinstance(right, Concat):
            self._load(left, 0)
            self._compare(0, operator, self._side_by_side(left, right))
        elif isinstance(right, Literal) and is_prefix(right):
            self._match_prefix(left, right, operator)
        else:
            self._match_value(left, right, operator)
        self._note(match_)

    def _side_by_side(self, left: Expression, right: Concat) -> bytes:
        if not isinstance(left, Concat) or len(left.parts) != len(right.parts):
            raise Unsayable(f"{left} compared with {len(right.parts)} values")
        return b"".join(padded(self._constant(two, one)) for one, two in zip(left.parts, right.parts, strict=True))

    def _match_value(self, left: Expression, right: Expression, operator: str) -> None:
        self._load(left, 0)
        value = self._constant(right, left)
        if operator not in ("==", "!="):
            value = self._to_network_order(left, value)
        self._compare(0, operator, value)

    def _match_range(self, left: Expression, right: Range, operator: str) -> None:
        self._load(left, 0)
        low, high = self._constant(right.low, left), self._constant(right.high, left)
        low, high = self._to_network_order(left, low), in_network_order(left, high)
        if operator == "!=":
            ends = nested(3, attribute(1, low)), nested(4, attribute(1, high))
            self._emit("range", be32(1, register_number(0)), be32(2, 1), *ends)
            return
        self._compare(0, ">=", low)
        self._compare(0, "<=", high)

    def _match_bits(self, left: Expression, right: Expression) -> None:
        """Whether any of the bits is set."""
        self._load(left, 0)
        wanted = self._constant(right, left)
        self._mask(0, wanted, bytes(len(wanted)))
        self._compare(0, "!=", bytes(len(wanted)))

    def _match_prefix(self, left: Expression, right: Literal, operator: str) -> None:
        """Whole bytes are compared alone, where they can be loaded alone."""
        bits = right.prefix_bits or 0
        value, count = right.value, bits // 8
        if right.type is Type.INTERFACE_NAME:
            self._load(left, 0)
            self._compare(0, operator, value[:count])
            return
        if bits % 8 == 0 and count and isinstance(left, Payload):
            self._load_payload(left, 0, count)
            self._compare(0, operator, value[:count])
            return
        self._load(left, 0)
        mask = prefix_mask(bits, len(value))
        self._mask(0, mask, bytes(len(value)))
        self._compare(0, operator, bytes(a & b for a, b in zip(value, mask, strict=True)))

    def _to_network_order(self, left: Expression, value: bytes) -> bytes:
        """Numbers of the machine's order are compared by size in network order: turn the register, and the value."""
        turned = in_network_order(left, value)
        if turned is not value:
            at = register_number(0)
            self._emit("byteorder", be32(1, at), be32(2, at), be32(3, 1), be32(4, len(value)), be32(5, len(value)))
        return turned

    def _note(self, match_: Match) -> None:
        match match_:
            case Match(Meta("l4proto") | Payload("ip", "protocol"), Literal(_, value, None), "=="):
                self._transport = value[0]
            case Match(Meta("nfproto"), Literal(_, value, None), "=="):
                self._network = {2: "ip", 10: "ip6"}.get(value[0], "")

    # Translations.

    def _translate(self, nat: Nat) -> None:
        flags = sum(n.NAT_FLAGS[flag] for flag in nat.flags)
        if nat.kind in _TRANSLATORS:
            name, port_attribute, flags_attribute = _TRANSLATORS[nat.kind]
            parts = self._operand(nat.port, 0, port_attribute) if nat.port is not None else []
            self._emit(name, *parts, be32(flags_attribute, flags) if flags else b"")
            return
        family = nat.family or self.family
        if family not in ("ip", "ip6"):
            raise Unsayable(f"{nat.kind} in the family {family} without `ip to` or `ip6 to`")
        parts = [be32(1, _NAT_KINDS[nat.kind]), be32(2, n.FAMILIES[family])]
        for expression in (nat.address, nat.port):
            if expression is not None:
                self._need(expression)
        if nat.address is not None:
            parts += self._operand(nat.address, 0, 3)
        if nat.address_and_port:
            port = be32(5, register_number(1 if family == "ip" else SECOND))
            parts.append(port)
        elif nat.port is not None:
            parts += self._operand(nat.port, SECOND if nat.address is not None else 0, 5)
        self._emit("nat", *parts, be32(7, flags) if flags else b"")

    def _operand(self, expression: Expression, register: int, kind: int) -> list[bytes]:
        """Load an address or a port, or both ends of a range of them; the attributes that say where."""
        if isinstance(expression, Range):
            beside = register + SECOND
            self._immediate(register, self._constant(expression.low))
            self._immediate(beside, self._constant(expression.high))
            return [be32(kind, register_number(register)), be32(kind + 1, register_number(beside))]
        self._load(expression, register)
        return [be32(kind, register_number(register))]


def _beside(size: int, more: int) -> int:
    """The register for `more` bytes beside the first `size`: where nft puts it, on a register of 16 bytes, unless the
    registers end there (two IPv6 addresses and ports, then a third; nft 1.0.6 cannot write such a rule at all)."""
    aligned = (size + 15) // 16 * SECOND
    return aligned if aligned + more // 4 <= n.REGISTERS else size // 4
