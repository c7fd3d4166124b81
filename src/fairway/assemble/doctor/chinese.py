"""What the doctor says, in Chinese: patterns of its English sentences. Places take what stands there as it is, or in
Chinese where it is one of the patterns itself."""

from __future__ import annotations

import functools
import re

PATTERNS: tuple[tuple[str, str], ...] = (
    # how findings are laid out
    ("{where}: nothing found.", "{where}：一切正常。"),
    ("{where}: {counts}.", "{where}：{counts}。"),
    ("The cluster's objects, and the kernels of {n}", "集群的对象，以及 {n} 的内核"),
    ("{number} error", "{number} 个错误"),
    ("{number} errors", "{number} 个错误"),
    ("{number} warning", "{number} 个警告"),
    ("{number} warnings", "{number} 个警告"),
    ("{number} note", "{number} 个提示"),
    ("{number} notes", "{number} 个提示"),
    ("ERROR", "错误"),
    ("WARNING", "警告"),
    ("NOTE", "提示"),
    ("see: {command}", "查看：{command}"),
    # rules
    ("a rule that is not of the proxy decides first: {x}", "并非代理的规则先作了决定：{x}"),
    (
        "no rule leads to an endpoint: the packet goes on to the Service's own address",
        "没有规则通往端点：数据包继续前往 Service 自己的地址",
    ),
    ("the packet is {verdict} though there are endpoints ({x})", "明明有端点，数据包却{verdict}（{x}）"),
    ("the packet is {verdict} though there are endpoints", "明明有端点，数据包却{verdict}"),
    ("nobody should serve it, and the rules still lead to {x}", "不应再有人提供服务，而规则仍通往 {x}"),
    ("the rules do not lead to {x}", "规则没有通往 {x}"),
    ("the rules lead to {x} as well", "规则还通往 {x}"),
    ("the endpoints do not share as they should: {x}", "端点的份额不对：{x}"),
    ("{e} gets {a}, not {b}", "{e} 得到 {a}，应为 {b}"),
    (
        "the client's address is hidden where it should be seen: its answers may not come back, or policies be "
        "deceived",
        "客户端的地址本应可见却被隐藏：回复可能回不来，或策略受骗",
    ),
    (
        "the client's address is seen where it should be hidden: its answers may not come back, or policies be "
        "deceived",
        "客户端的地址本应隐藏却可见：回复可能回不来，或策略受骗",
    ),
    ("it should be {verdict} and is {x}", "应为{verdict}，实为{x}"),
    ("the rules claim {place}, which no Service has (any more)", "规则占有 {place}，而（已）没有 Service 拥有它"),
    (
        "of {n} packets to Services nobody can tell what the rules do: they hold what is not followed",
        "有 {n} 个发往 Service 的数据包无法得知规则如何处理：规则中有不支持的内容",
    ),
    ("{verdict} or {other}", "{verdict}或{other}"),
    ("endpoint", "到达端点"),
    ("dropped", "被丢弃"),
    ("rejected", "被拒绝"),
    ("untranslated", "原样放行"),
    ("unknown", "去向不明"),
    # kernels
    (
        "the node forwards no packets: no pod of it reaches anything beyond the node",
        "节点不转发：它的 Pod 到不了节点之外",
    ),
    (
        "bridged packets do not meet the rules: a pod that is led to another of its node gets no answer",
        "桥接的数据包不经过规则：被引向同节点另一 Pod 的 Pod 得不到回复",
    ),
    (
        "neighbours' packets to 127.0.0.1 are let in, and a rule drops them (CVE-2020-8558)",
        "邻居发往 127.0.0.1 的数据包被放进来，随后由规则丢弃（CVE-2020-8558）",
    ),
    (
        "neighbours reach what listens on 127.0.0.1: no rule guards it (CVE-2020-8558)",
        "邻居能访问监听在 127.0.0.1 上的程序：没有规则防护（CVE-2020-8558）",
    ),
    (
        "{d} refuses packets whose answer would leave by another device: replies of Services may",
        "{d} 拒绝那些回复会从另一设备离开的数据包：Service 的回复可能如此",
    ),
    (
        "the table of connections is nearly full ({a} of {b}): new connections will be dropped",
        "连接表快满了（{b} 中的 {a}）：新连接将被丢弃",
    ),
    (
        "a rule of {owner} stands before those of Services: what it translates is no Service's",
        "{owner} 的规则排在 Service 的规则之前：它转换的不再属于 Service",
    ),
    (
        "iptables rules are held twice, by the old kernel interface and by nf_tables: packets meet both",
        "iptables 规则有两份，一份在旧内核接口，一份在 nf_tables：数据包两者都会遇到",
    ),
    (
        "rules of more than one proxy stand side by side: one of them is left over, and may be behind",
        "不止一个代理的规则并存：其中一个是遗留的，可能已经过时",
    ),
    ("somebody else", "其他程序"),
    ("the CNI port mapping", "CNI 端口映射"),
    # connections
    (
        "connections to {service} that lead nowhere good: {n}, since {why}",
        "有 {n} 条到 {service} 的连接走错了路：{why}",
    ),
    ("it was never translated, and there are endpoints now", "它从未被转换，而现在有了端点"),
    ("no Service claims its destination", "没有 Service 拥有它的目的地址"),
    ("the Service does not have that endpoint", "该 Service 没有那个端点"),
    # what the proxy was told
    ("what the node's proxy was told is read from {where}", "节点代理的设置读自 {where}"),
    (
        "what the proxy was told cannot be read, and is taken to be the default: {why}",
        "代理的设置无法读取，按默认值处理：{why}",
    ),
    (
        "the proxy is told to work in mode {mode}, whose rules are not examined as such",
        "代理被设为 {mode} 模式，不按该模式检查规则",
    ),
    (
        "the table of connections holds {a}, and the proxy was told to see to {b}",
        "连接表容量为 {a}，而代理被要求保证 {b}",
    ),
    # objects
    (
        "it has no selector and no EndpointSlice with endpoints: nobody serves it",
        "没有选择器，也没有带端点的 EndpointSlice：无人提供服务",
    ),
    ("its selector {l} matches no pod that still runs", "它的选择器 {l} 没有匹配任何仍在运行的 Pod"),
    ("its selector {l} matches no pod", "它的选择器 {l} 没有匹配任何 Pod"),
    ("none of its {n} pods serves", "它的 {n} 个 Pod 都不提供服务"),
    ("none of its pods has a container port named {p} ({t})", "它的 Pod 都没有名为 {p} 的容器端口（{t}）"),
    ("{n} of its pods do not have a container port named {p} ({t})", "它的 {n} 个 Pod 没有名为 {p} 的容器端口（{t}）"),
    (
        "pods and processes on {n} get no answer: no endpoint there, and internalTrafficPolicy is Local",
        "{n} 上的 Pod 和进程得不到回复：那里没有端点，而 internalTrafficPolicy 是 Local",
    ),
    (
        "what arrives from outside at {n} is dropped: no endpoint there, and externalTrafficPolicy is Local; load "
        "balancers that ask the health check port know",
        "从外部到达 {n} 的会被丢弃：那里没有端点，而 externalTrafficPolicy 是 Local；"
        "询问健康检查端口的负载均衡器知道这一点",
    ),
    (
        "what arrives from outside at {n} is dropped: no endpoint there, and externalTrafficPolicy is Local",
        "从外部到达 {n} 的会被丢弃：那里没有端点，而 externalTrafficPolicy 是 Local",
    ),
    (
        "trafficDistribution is {w}, and traffic goes everywhere: {why}",
        "trafficDistribution 是 {w}，而流量去往各处：{why}",
    ),
    ("nodes without the label {l}: {n}", "没有标签 {l} 的节点：{n}"),
    ("no endpoint has a hint", "没有端点带提示"),
    (
        "topology hints are ignored everywhere: {a} of {b} ready endpoints have none",
        "拓扑提示在各处都被忽略：{b} 个就绪端点中有 {a} 个没有提示",
    ),
    ("topology hints do not count on {n}: {why}", "拓扑提示在 {n} 上不起作用：{why}"),
    ("its zone {z} has no endpoint", "它所在的区域 {z} 没有端点"),
    ("it has no label {l}", "它没有标签 {l}"),
    (
        "it claims {a}: nodes that program it lead what is sent there to its endpoints (CVE-2020-8554)",
        "它占有 {a}：编程该地址的节点会把发往那里的引向它的端点（CVE-2020-8554）",
    ),
    ("it claims {a}, which is that of {who}", "它占有 {a}，而那是 {who} 的地址"),
    (
        "it and {others} claim {a} port {p}: a sender reaches only one of them",
        "它与 {others} 都占有 {a} 的端口 {p}：一个发送者只会到达其中之一",
    ),
    ("{slice} belongs to a Service {s} that is not there", "{slice} 属于不存在的 Service {s}"),
    (
        "{slice} points to {a}, which no endpoint may have: proxies pass it over",
        "{slice} 指向 {a}，端点不得使用该地址：代理会略过它",
    ),
    (
        "{slice} points to {a}, which is pod {p} of another namespace (CVE-2021-25740)",
        "{slice} 指向 {a}，那是另一命名空间的 Pod {p}（CVE-2021-25740）",
    ),
    (
        "{slice} points to {a} as pod {p}, and no pod has that address",
        "{slice} 指向 {a}，说是 Pod {p}，而没有 Pod 拥有该地址",
    ),
    ("{slice} points to {a}, the address of node {n}", "{slice} 指向 {a}，即节点 {n} 的地址"),
    ("{slice} points out of the cluster, to {a}", "{slice} 指向集群之外的 {a}"),
    (
        "namespace {n} collides with the search path: its Services answer for names that end in {e} when pods ask for "
        "{c} without the final dot (CVE-2022-2835)",
        "命名空间 {n} 与搜索路径冲突：Pod 不带末尾的点询问 {c} 时，"
        "以 {e} 结尾的名称会由它的 Service 应答（CVE-2022-2835）",
    ),
    ("`{command}` could not be read: {why}.", "无法读取 `{command}`：{why}。"),
    ("{subject} ({protocol}): {message}", "{subject}（{protocol}）：{message}"),
    ("{subject}: {message}", "{subject}：{message}"),
)
"""In the order they are tried; the two last are how most findings begin."""

_PLACE = re.compile(r"\{(\w+)\}")
_VERDICT = "dropped|rejected|untranslated|unknown|endpoint"
_HOLES = {
    "subject": r"[-a-z0-9]+/[-a-z0-9.:]*[-a-z0-9]",
    "protocol": "TCP|UDP|SCTP",
    "number": r"\d+",
    "verdict": rf"(?:{_VERDICT})(?: or (?:{_VERDICT}))*",
    "other": _VERDICT,
}


@functools.cache
def _compiled() -> list[tuple[re.Pattern[str], str]]:
    found = []
    for english, said in PATTERNS:
        parts = _PLACE.split(english)
        places = (f"(?P<{p}>{_HOLES.get(p, '.+?')})" if n % 2 else re.escape(p) for n, p in enumerate(parts))
        found.append((re.compile("".join(places) + r"\Z", re.DOTALL), said))
    return found


def translate(text: str) -> str:
    """The text in Chinese; as it is where no pattern knows it."""
    for pattern, said in _compiled():
        found = pattern.match(text)
        if found is not None:
            return said.format_map({name: translate(value) for name, value in found.groupdict().items()})
    return text


def known(text: str) -> bool:
    """Whether a pattern knows the text, and what it says of its subject."""
    for pattern, _ in _compiled():
        found = pattern.match(text)
        if found is not None:
            message = found.groupdict().get("message")
            return message is None or known(message)
    return False
