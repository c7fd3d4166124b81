"""The sentences of notes and paragraphs in Chinese: one table, from the English pattern to the Chinese one.

The tracer speaks English; what it said is taken apart by the patterns and said again. Names, addresses and rules stay
as they are. A sentence that no pattern knows stays English: `missing` names such, and a test that there are none.
"""
# ruff: noqa: E501  (a row of a table is one line)

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

SENTENCES: tuple[tuple[str, str], ...] = (
    ("{a}, the first packet of a connection, in by {d} on {n}", "{a}：连接的首个数据包，从 {n} 的 {d} 进入"),
    ("{a}, the first packet of a connection, from a process of {n}", "{a}：连接的首个数据包，由 {n} 上的进程发出"),
    ("{a}, a packet of a connection that is known, in by {d} on {n}", "{a}：已知连接的数据包，从 {n} 的 {d} 进入"),
    (
        "{a}, a packet of a connection that is known, from a process of {n}",
        "{a}：已知连接的数据包，由 {n} 上的进程发出",
    ),
    ("Branches {n} go the way of branch {m}, to another endpoint.", "分支 {n} 与分支 {m} 走法相同，只是端点不同。"),
    ("Branch {n} goes the way of branch {m}, to another endpoint.", "分支 {n} 与分支 {m} 走法相同，只是端点不同。"),
    ("Branch {n}, {share}", "分支 {n}，{share}"),
    ("Here chance decides:", "此处由概率决定："),
    ("From here on, nobody can tell which:", "从这里起，走哪一条无从得知："),
    ("What becomes of it", "结局"),
    ("To bear in mind", "注意"),
    ("Routing:", "路由："),
    ("Certain, whatever the unknown may be: {x}.", "无论未知的部分如何，可以确定的是：{x}。"),
    ("{t} {c}: nothing there for this packet.", "{t} {c}：其中没有与此包相关的规则。"),
    ("PREROUTING: the packet has come in by {d}", "PREROUTING：数据包从 {d} 进入"),
    ("OUTPUT goes on, with the new destination", "OUTPUT 继续，目的地址已是新的"),
    ("OUTPUT: a process of {n} sends the packet", "OUTPUT：{n} 上的进程发出数据包"),
    ("INPUT: the packet is for {n} itself", "INPUT：数据包是给 {n} 自己的"),
    ("FORWARD: {n} passes it on from {d}", "FORWARD：{n} 转发来自 {d} 的数据包"),
    ("FORWARD: {n} passes it on", "FORWARD：{n} 转发数据包"),
    ("POSTROUTING: the packet leaves by {d}", "POSTROUTING：数据包从 {d} 离开"),
    ("POSTROUTING: the packet leaves", "POSTROUTING：数据包离开"),
    ("On to {c}: {p}.", "转到 {c}：{p}。"),
    ("On to {c}.", "转到 {c}。"),
    ("But only {x}.", "但仅当{x}。"),
    ("To be masqueraded, because {x}.", "将做地址伪装，因为{x}。"),
    ("The destination becomes {a}, as the connection says.", "按连接的记录，目的地址变为 {a}。"),
    ("The destination becomes {a}.", "目的地址变为 {a}。"),
    ("The source becomes {a}, as the connection says.", "按连接的记录，源地址变为 {a}。"),
    ("The source becomes {a}, the address of {d}: the mark asked for it.", "源地址变为 {d} 的地址 {a}：标记要求如此。"),
    ("The source becomes {a}: the mark asked for it.", "源地址变为 {a}：标记要求如此。"),
    ("The source becomes {a}, the address of {d}.", "源地址变为 {d} 的地址 {a}。"),
    ("The source becomes {a}.", "源地址变为 {a}。"),
    ("Refused: the sender gets {x}.", "被拒绝：发送方收到 {x}。"),
    ("The packet now bears {m}.", "数据包现在带有{m}。"),
    ("Dropped; nobody is told.", "被丢弃，谁也不通知。"),
    ("Dropped by the kernel: {x}.", "被内核丢弃：{x}。"),
    ("Dropped: {x}.", "被丢弃：{x}。"),
    ("The end of the chain; its policy is {p}.", "链到头了；其默认策略是 {p}。"),
    ("Accepted: this table is done with it.", "接受：此表不再处理它。"),
    ("Belongs to no connection from here on: nat will not see it.", "从此不属于任何连接：nat 不再看到它。"),
    ("Counted, and on to the next rule.", "计数，继续下一条规则。"),
    ("Passed over: {x}.", "略过：{x}。"),
    ("Not marked: {x}.", "不做标记：{x}。"),
    ("Here it does not apply, which nobody can tell: {x}.", "设想它在此不适用，而这无从得知：{x}。"),
    ("The trail ends: {x}.", "线索到此为止：{x}。"),
    ("Nothing more in this chain: back to {c}.", "此链再无内容：回到 {c}。"),
    ("The kernel knows it as {x}: the nat tables are not asked.", "内核认得它是{x}：不再询问 nat 表。"),
    ("Nothing set the mark {m}, so the source stays {a}.", "没有打上标记 {m}，因此源地址仍是 {a}。"),
    ("Back to the chain before.", "回到上一条链。"),
    ("{a} is an address of {n}: it stays here.", "{a} 是 {n} 的地址：数据包留在这里。"),
    (
        "No route leads to {a}: the sender is told that the network is unreachable.",
        "没有通往 {a} 的路由：发送方得知网络不可达。",
    ),
    ("The route to {a} is a blackhole ({r}): it vanishes.", "通往 {a} 的路由是黑洞（{r}）：数据包消失。"),
    ("The route to {a} refuses it ({r}).", "通往 {a} 的路由拒绝它（{r}）。"),
    ("Which way leads to {a} is not known here.", "哪条路通往 {a}，此处不得而知。"),
    ("{a} lies beyond {d}: over the overlay to {v} ({r}).", "{a} 在 {d} 之后：经覆盖网络到 {v}（{r}）。"),
    ("{a} lies beyond {d}: by the next hop to {v} ({r}).", "{a} 在 {d} 之后：下一跳是 {v}（{r}）。"),
    ("{a} is on {d}: a pod on this node ({r}).", "{a} 在 {d} 上：本节点的 Pod（{r}）。"),
    ("{a} is on {d} ({r}).", "{a} 在 {d} 上（{r}）。"),
    (
        "Of the packets that get here it takes {p} (the rule prints {q}).",
        "到达这里的数据包中它取 {p}（规则中写作 {q}）。",
    ),
    (
        "Of the packets that get here it takes {p} (one packet in so many; which one cannot be told).",
        "到达这里的数据包中它取 {p}（按比例抽取，是哪一个无从得知）。",
    ),
    ("By {verbatim}.", "由 {verbatim} 决定。"),
    # what was missing or assumed
    (
        "The rules hold no filter table: what it rejects or drops is not seen here.",
        "规则中没有 filter 表：它拒绝或丢弃什么，这里看不到。",
    ),
    (
        "The rules may not show all of chain {c}: a Service that they leave out is not seen.",
        "规则可能没有给出链 {c} 的全部：其中缺少的 Service 看不到。",
    ),
    (
        "A rule changes {s} as packets pass; taken is what sets held when saved.",
        "有规则会在数据包经过时改变 {s}；这里按保存时的集合内容计算。",
    ),
    ("The rules do not show all of chain {c}; it is assumed {x}.", "规则没有给出链 {c} 的全部；假定{x}。"),
    (
        "Chain {c} of table {t} is missing: what it does to the packet is not known.",
        "缺少表 {t} 的链 {c}：它如何处理数据包不得而知。",
    ),
    (
        "The rules do show endpoints of {s}, though not what leads to them: {e}.",
        "规则中确有 {s} 的端点，但没有通往它们的部分：{e}。",
    ),
    (
        "The node's {f} routes are not known: the packet is taken to leave it.",
        "节点的 {f} 路由未知：假定数据包离开该节点。",
    ),
    ("No rules of {f} were given.", "没有给出 {f} 的规则。"),
    (
        "Policy {r} also asks for `{x}`, which is not followed: it is left out.",
        "策略路由 {r} 还要求 `{x}`，此处不支持：忽略该条。",
    ),
    (
        "Policy {r}: the routes of table {t} were not given (`ip route show table all`).",
        "策略路由 {r}：没有给出路由表 {t}（`ip route show table all`）。",
    ),
    (
        "Nobody looked at {n}: these are the rules its proxy should write in iptables mode, worked out from the "
        "cluster's objects. Pods are taken to be {p}, and nodes to reach each other's directly.",
        "没有读取 {n}：这些是根据集群对象推算、其代理在 iptables 模式下应写的规则。假定 Pod 网段是 {p}，且节点之间直接路由。",
    ),
    ("The route to {a} has several next hops; the first is taken.", "通往 {a} 的路由有多个下一跳；取第一个。"),
    (
        "The node's addresses were not given (`ip addr`); judging by its rules, it has {a}. Other addresses are taken "
        "not to be its own.",
        "没有给出节点的地址（`ip addr`）；从规则看，它有 {a}。其他地址都当作不是它的。",
    ),
    (
        "That the packet comes in by {d} is assumed, as {x}; --in-interface says otherwise.",
        "数据包从 {d} 进入是假定的，因为{x}；可用 --in-interface 另行指定。",
    ),
    ("That {s} is {a} is what the rules' comments say.", "{s} 即 {a}，这是规则的注释所说。"),
    (
        "Connections of this client to this place that the kernel knows already: {n}, from port {p}; they go where they "
        "began to go. --source-port follows one of them.",
        "内核已有 {n} 条从该客户端到此处的连接，源端口 {p}；它们仍走原来的路。可用 --source-port 跟踪其中一条。",
    ),
    (
        "net.bridge.bridge-nf-call-iptables is 0: {e} is on the same bridge as the client and answers it directly, "
        "untranslated; the client does not know that address and refuses the answer.",
        "net.bridge.bridge-nf-call-iptables 为 0：{e} 与客户端在同一网桥上，直接回复而不经转换；客户端不认得该地址，会拒绝回复。",
    ),
    ("The Service has no {p} port {n}; its ports are {x}.", "该 Service 没有 {p} 端口 {n}；它的端口是 {x}。"),
    ("Ask with --protocol {p}.", "请用 --protocol {p}。"),
    (
        "The Service is headless: no rule is about it, its name gives the endpoints' own addresses ({a}). This is the "
        "way to the first of them.",
        "该 Service 是 headless：没有针对它的规则，其名称直接给出端点自己的地址（{a}）。这里是到第一个的路。",
    ),
    (
        "The outside client is no part of the cluster: it has none of its rules; ClusterIPs lead nowhere.",
        "外部客户端不属于集群，没有集群的规则；ClusterIP 对它无处可去。",
    ),
    ("`{c}` could not be read: {x}.", "无法读取 `{c}`：{x}。"),
    ("{f} is missing from the bundle: {x}.", "包中缺少 {f}：{x}。"),
    # the answer
    ("Further on: {packet}, {way}", "继续：{packet}，{way}"),
    ("The answer: {packet}, {way}", "回复：{packet}，{way}"),
    ("The client sees the answer come from {a}, where it had asked.", "客户端看到回复来自 {a}，正是它访问的地址。"),
    (
        "The client sees the answer come from {a}, where it never asked, and refuses it: {x}.",
        "客户端看到回复来自 {a}，而它从未访问该地址，因此拒绝：{x}。",
    ),
    (
        "The client sees the answer come from {a}, where it never asked, and refuses it:",
        "客户端看到回复来自 {a}，而它从未访问该地址，因此拒绝：",
    ),
    ("The answer does not reach the client: {x}.", "回复到不了客户端：{x}。"),
    ("The answer does not reach the client:", "回复到不了客户端："),
    ("Whether the answer reaches the client cannot be told: {x}.", "回复能否到达客户端无从得知：{x}。"),
    ("Whether the answer reaches the client cannot be told:", "回复能否到达客户端无从得知："),
    # the paragraph
    ("The packet from {a} to {there} {end} ({s} of the packets).", "从 {a} 到 {there} 的数据包{end}（占 {s}）。"),
    ("The packet from {a} to {there} {end}.", "从 {a} 到 {there} 的数据包{end}。"),
    ("Or it {end} ({s} of the packets).", "或者{end}（占 {s}）。"),
    ("Or it {end}.", "或者{end}。"),
    ("That is because {clause} ({cause}).", "这是因为{clause}（{cause}）。"),
    ("That is because {clause} ({about}).", "这是因为{clause}（{about}）。"),
    ("That is because {x}.", "这是因为{x}。"),
    ("It is sent there by {verbatim}.", "送往那里是由于 {verbatim}。"),
    ("It is sent there for {verbatim}: {x}.", "送往那里是为了 {verbatim}：{x}。"),
    ("It is sent there for {verbatim}.", "送往那里是为了 {verbatim}。"),
    ("The receiver sees its own source {a}.", "接收方看到它自己的源地址 {a}。"),
    ("The receiver sees the source {a}, masqueraded because {x}.", "接收方看到的源地址是 {a}，经过伪装，因为{x}。"),
    ("The receiver sees the source {a}, {x}.", "接收方看到的源地址是 {a}，{x}。"),
    ("The receiver sees {a}, masqueraded because {x}.", "接收方看到的是{a}，经过伪装，因为{x}。"),
    ("The receiver sees {a}, {x}.", "接收方看到的是{a}，{x}。"),
    ("It would be otherwise if {x}.", "要改变结果：{x}。"),
    (
        "A hash of the packet decides in some rule: equal shares stand for what is fixed per connection.",
        "某条规则按数据包的哈希决定：相等的份额代表每条连接各自固定的结果。",
    ),
    ("{subject}: {verbatim}.", "{subject}：{verbatim}。"),
    ("{subject}.", "{subject}。"),
)
"""Whole sentences, headings and notes, in the order they are tried. The two last are what comments of rules say."""

PHRASES: tuple[tuple[str, str], ...] = (
    ("{a} (the outside client)", "{a}（外部客户端）"),
    ("{a} (the client behind the router)", "{a}（路由器后的客户端）"),
    ("Routing", "路由"),
    ("always", "总是"),
    ("maybe", "可能"),
    ("maybe {x}", "可能 {x}"),
    ("always {x}", "总是{x}"),
    ("{share} {x}", "{share} {x}"),
    ("a node", "某节点"),
    ("the node", "该节点"),
    ("this node", "本节点"),
    ("no mark", "空标记"),
    ("mark {m}", "标记 {m}"),
    ("its source {a} is a pod's, in {n}", "源地址 {a} 属于 Pod 网段 {n}"),
    ("its source {a} is not the endpoint itself", "源地址 {a} 不是该端点自己"),
    ("its source {a} is outside {n}", "源地址 {a} 不在 {n} 之内"),
    ("it came in by {d}, as pods' packets do", "它从 {d} 进入，与 Pod 的数据包一样"),
    ("its source {a} is no address of this node", "源地址 {a} 不是本节点的地址"),
    ("its source {a} is an address of this node", "源地址 {a} 是本节点的地址"),
    ("the endpoint calls itself and must not see its own address", "端点在访问自己，不能看到自己的地址"),
    ("it is from {n}", "它来自 {n}"),
    ("it did not come in by {d}", "它不是从 {d} 进入的"),
    ("everything that comes this way is", "走这条路的都要如此"),
    ("taken as a new client: not in list {l} in the last {s} seconds", "视为新客户端：最近 {s} 秒内不在列表 {l} 中"),
    ("taken as a new client: not in list {l}", "视为新客户端：不在列表 {l} 中"),
    ("not in list {l} in the last {s} seconds", "最近 {s} 秒内不在列表 {l} 中"),
    ("not in list {l}", "不在列表 {l} 中"),
    ("how often list {l} has seen {a} is not known", "列表 {l} 见过 {a} 多少次，不得而知"),
    ("`{x}` depends on what the rules do not hold", "`{x}` 取决于规则之外的东西"),
    ("what set {s} holds was not given (`ipset save` prints it)", "没有给出集合 {s} 的内容（`ipset save` 可打印）"),
    ("set {s} is not understood: its type {x}", "看不懂集合 {s}：类型 {x}"),
    ("set {s} is not understood: its option {x}", "看不懂集合 {s}：选项 {x}"),
    ("set {s} is not understood: that its type is missing", "看不懂集合 {s}：缺少类型"),
    ("set {s} has elements that contradict each other", "集合 {s} 的元素互相矛盾"),
    ("set {s} lists a set of sets, which no kernel does", "集合 {s} 列出了集合的集合，没有内核会这样"),
    ("rules on its way change set {s}", "途中的规则会改变集合 {s}"),
    ("how often packets met set {s} is not known", "数据包遇到集合 {s} 多少次，不得而知"),
    ("the packet's hardware addresses are not known", "数据包的硬件地址未知"),
    ("whether {d} is a bridge is not known (`ip addr` tells)", "{d} 是否为网桥不得而知（`ip addr` 可说明）"),
    (
        "whether {d} hands the packet on or the node routes it is not known",
        "数据包由 {d} 直接转交还是由节点路由，不得而知",
    ),
    ("by which port of {d} the packet goes is not known", "数据包经 {d} 的哪个端口，不得而知"),
    ("`{x}` is not understood", "看不懂 `{x}`"),
    ("`{x}` may hold or not", "`{x}` 成立与否不定"),
    ("`{x}` hands it to a program", "`{x}` 把它交给程序处理"),
    ("the ingoing device is not known", "入口设备未知"),
    ("the outgoing device is not known", "出口设备未知"),
    ("a device that is not known", "设备未知"),
    ("the outgoing device", "出口设备"),
    ("the source after masquerading is not known", "伪装后的源地址未知"),
    ("the node's own {f} addresses are not known", "节点自己的 {f} 地址未知"),
    ("if it applies: {x}", "它适用时：{x}"),
    ("the rules at hand lack chain {c}", "手头的规则缺少链 {c}"),
    ("the rules at hand lack set {c}", "手头的规则缺少集合 {c}"),
    ("the keys of set {c} are not understood", "看不懂集合 {c} 的键"),
    ("the packet's `{x}` is not known", "数据包的 `{x}` 未知"),
    ("the connection's `{x}` is not known", "连接的 `{x}` 未知"),
    ("`{x}` is not known", "`{x}` 未知"),
    ("stopped after {n} rules", "尝试 {n} 条规则后停止"),
    ("stopped after {n} steps", "走过 {n} 步后停止"),
    ("stopped after {n} branches", "分出 {n} 条分支后停止"),
    ("the kernel picks one address of {x}", "内核从 {x} 中选一个地址"),
    ("the kernel picks one port of {x}", "内核从 {x} 中选一个端口"),
    ("REDIRECT to the address of {d}, which is not known", "REDIRECT 到 {d} 的地址，而该地址未知"),
    ("the address of {d}, not known here", "{d} 的地址（此处未知）"),
    ("the node's address (not known here)", "节点的地址（此处未知）"),
    ("no route leads to {a}", "没有通往 {a} 的路由"),
    ("the route to {a} is `{r}`", "通往 {a} 的路由是 `{r}`"),
    ("this node forwards nothing: ip_forward is 0", "本节点不转发：ip_forward 为 0"),
    ("rp_filter is {m} for {d} and no route leads back to {a}", "{d} 的 rp_filter 为 {m}，而没有回到 {a} 的路由"),
    (
        "rp_filter is 1 for {d}, but the way back to {a} is by {e} ({r})",
        "{d} 的 rp_filter 为 1，而回到 {a} 的路经由 {e}（{r}）",
    ),
    (
        "the {w} {a} is a loopback address, {d} is not the loopback device and {s} is 0",
        "{w} {a} 是环回地址，{d} 不是环回设备，且 {s} 为 0",
    ),
    ("the {w} {a} is a loopback address, {d} is not the loopback device", "{w} {a} 是环回地址，{d} 不是环回设备"),
    ("source", "源地址"),
    ("destination", "目的地址"),
    ("a packet of a connection, {x}", "已有连接的数据包，{x}"),
    ("an answer of a connection, {x}", "已有连接的回复，{x}"),
    ("{x}, {s} s left", "{x}，还剩 {s} 秒"),
    ("answered", "已有回复"),
    ("not answered yet", "尚无回复"),
    ("rule {n} of {c} does not apply", "{c} 的规则 {n} 不适用"),
    ("rule {n} of {c} says so", "{c} 的规则 {n} 如此规定"),
    ("translated by rule {n} of {c}", "由 {c} 的规则 {n} 转换"),
    ("as its connection began", "与连接开始时一样"),
    ("the policy of {c} is {p}", "{c} 的默认策略是 {p}"),
    # chains
    ("every Service address is looked up here", "在此查找所有 Service 地址"),
    ("refuses node ports and external addresses that nobody serves", "拒绝无人服务的节点端口和外部地址"),
    ("node ports", "节点端口"),
    ("marks the packet: on its way out its source will become the node's", "打标记：离开时源地址将变为节点的地址"),
    ("marks the packet to be dropped", "打上丢弃标记"),
    ("masquerades what was marked", "对打过标记的做地址伪装"),
    ("lets forwarded Service traffic through", "放行转发的 Service 流量"),
    ("guards loopback addresses, and drops what was marked to be dropped", "保护环回地址，并丢弃打了丢弃标记的"),
    ("drops what loadBalancerSourceRanges do not let in", "丢弃 loadBalancerSourceRanges 不允许的"),
    ("load-balancer addresses", "负载均衡地址"),
    ("all endpoints of a Service port", "某 Service 端口的所有端点"),
    ("the endpoints on this node", "本节点上的端点"),
    ("the endpoints on this node (the name until Kubernetes 1.23)", "本节点上的端点（Kubernetes 1.23 之前的名称）"),
    ("one endpoint", "一个端点"),
    ("a Service port's external addresses", "某 Service 端口的外部地址"),
    ("that it sends every packet to {c}", "它把所有数据包送往 {c}"),
    ("that it sends packets for the node's own addresses to {c}", "它把发往节点自己地址的数据包送往 {c}"),
    ("that it masquerades packets with the mark {m}", "它对带标记 {m} 的数据包做地址伪装"),
    ("that it sets the mark {m}", "它打上标记 {m}"),
    ("the rules count it among the pods", "规则把它算作 Pod"),
    ("it is taken to be no pod", "它被当作不是 Pod"),
    # ends
    ("reaches one of {n} endpoints, {x} and {m} more", "到达 {n} 个端点之一：{x} 以及另外 {m} 个"),
    ("reaches one of {n} endpoints, {x}", "到达 {n} 个端点之一：{x}"),
    ("reaches {x}", "到达 {x}"),
    ("goes on unchanged, as no Service claims it, to {x}", "没有 Service 认领，原样前往 {x}"),
    ("is refused; the sender is told at once", "被拒绝，发送方立即得知"),
    ("vanishes; the sender waits until it gives up", "消失，发送方一直等到放弃"),
    ("is lost from sight; the rules at hand do not say", "失去踪迹，手头的规则没有说"),
    ("{x} on this node itself", "{x}，就在本节点"),
    ("{x} on {n} itself", "{x}，就在 {n} 上"),
    ("{x} by a device not known here", "{x}，出口设备未知"),
    ("{x} by {d} via {v}", "{x}，经 {d}，下一跳 {v}"),
    ("{x} by {d}", "{x}，经 {d}"),
    ("the server sees {a}, masqueraded", "服务端看到 {a}（已伪装）"),
    ("the server sees {a}", "服务端看到 {a}"),
    ("nothing", "无"),
    # the answer
    ("in by {d} on {n}", "从 {d} 进入 {n}"),
    ("from a process of {n}", "由 {n} 上的进程发出"),
    ("{n} does not let the packet through", "{n} 不放行数据包"),
    ("{n} does not let the answer through", "{n} 不放行回复"),
    ("what {n} does with the packet is left to chance", "{n} 如何处理数据包由概率决定"),
    ("nobody can tell whether the node lets the answer through", "节点是否放行回复无从得知"),
    ("the packet goes over more than {n} nodes", "数据包经过的节点超过 {n} 个"),
    ("the answer goes over more than {n} nodes", "回复经过的节点超过 {n} 个"),
    ("it is sent to {a}, who never asked", "它被送往 {a}，而那里从未请求"),
    (
        "the answer does not come by {n}, which alone knows what was translated",
        "回复不经过 {n}，而只有它知道转换了什么",
    ),
    ("nothing gives the answer back the address that was asked", "没有谁把被访问的地址还给回复"),
    (
        "the node at {v} sends the answer to {a} by its own routes, not by {n}",
        "{v} 处的节点按自己的路由把回复送往 {a}，不经过 {n}",
    ),
    (
        "client and endpoint are on the bridge {d}, and {s} is 0",
        "客户端与端点在网桥 {d} 上，且 {s} 为 0",
    ),
    # causes
    (
        "{p}: Local on {s} has no ready endpoint on {n} (they are on {m})",
        "{s} 的 {p}: Local 在 {n} 上没有就绪的端点（它们在 {m}）",
    ),
    ("a ready pod of it ran on {n}, or {f} were Cluster", "让它的一个就绪 Pod 运行在 {n} 上，或把 {f} 设为 Cluster"),
    ("none of the {n} endpoints of {s} is ready", "{s} 的 {n} 个端点都未就绪"),
    ("one of its pods became ready ({x})", "让它的某个 Pod 就绪（{x}）"),
    ("the selector of {s} ({l}) matches no pod", "{s} 的选择器（{l}）没有匹配任何 Pod"),
    ("a pod with {l} were ready", "让一个带 {l} 的 Pod 就绪"),
    ("{s} has no selector, and nobody wrote an EndpointSlice for it", "{s} 没有选择器，也没有人为它写 EndpointSlice"),
    ("an EndpointSlice were written for it, or a selector set", "为它写一个 EndpointSlice，或设置选择器"),
    ("no pod of {s} has a container port named {p}", "{s} 的 Pod 没有名为 {p} 的容器端口"),
    ("a container named a port {p}, or {f} were a number", "让容器有名为 {p} 的端口，或把 {f} 改为数字"),
    ("it lets in {r} alone", "它只允许 {r}"),
    ("the source's address were added to {f} of {s}", "把源地址加入 {s} 的 {f}"),
    ("{s} has that address but no {p} port {n}", "{s} 有此地址，但没有 {p} 端口 {n}"),
    ("one of its ports were asked ({x})", "改访问它的端口之一（{x}）"),
    ("the rules were written when it had no endpoint", "写规则时它还没有端点"),
    ("{s} remembers its clients, and {a} is one of that endpoint's", "{s} 记住客户端，而 {a} 属于该端点"),
    ("it had not come for {n} seconds, or the endpoint went", "它已有 {n} 秒没有来过，或该端点不在了"),
    ("{x}; {y}", "{x}；{y}"),
    ("{x} or {y}", "{x} 或 {y}"),
    ("{x} and {y}", "{x} 和 {y}"),
    ("by a device not known here", "经未知的设备"),
    ("by {d} via {v}", "经 {d}，下一跳 {v}"),
    ("by {d}", "经 {d}"),
    ("on {n} itself", "就在 {n} 上"),
    ("Pod {p} is a ready endpoint of it", "Pod {p} 是它的就绪端点"),
    ("Pod {p} serves it until it has ended", "Pod {p} 在终止之前继续为它服务"),
)
"""Parts of sentences, tried in this order on what a place of a pattern holds."""

_PLACE = re.compile(r"\{(\w+)\}")
_NAME = r"[-a-z0-9]+/[-a-z0-9]+(?::[-a-z0-9]+)?"
_HOLES = {
    "subject": _NAME,
    "about": rf"{_NAME}(?: \([^)]*\))?",
    "cause": r"(?:Service|EndpointSlice) \S+, [^()]*",
    "clause": r".+",
    "there": r"\w+ \S+",
    "share": r"\d+/\d+",
}
"""What may stand at places of these names; anything at others."""

_VERBATIM = ("subject", "about", "cause", "there", "share", "verbatim")
"""Places whose words are said as they are."""
_END_WITHIN = re.compile(r"\. [A-Z]")


def _compiled(pattern: str, end: str) -> re.Pattern[str]:
    parts = _PLACE.split(pattern)
    places = (f"(?P<{p}>{_HOLES.get(p, '.+?')})" if n % 2 else re.escape(p) for n, p in enumerate(parts))
    return re.compile("".join(places) + end, re.DOTALL)


@functools.cache
def _sentences() -> list[tuple[re.Pattern[str], str]]:
    return [(_compiled(english, r"(?: |\Z)" if english[-1] in ".:" else r"\Z"), said) for english, said in SENTENCES]


@functools.cache
def _phrases() -> list[tuple[re.Pattern[str], str]]:
    return [(_compiled(english, r"\Z"), said) for english, said in PHRASES]


def translate(text: str) -> str:
    """The text in Chinese, as far as the tables go."""
    return "".join(said for said, _ in _parts(text))


def missing(text: str) -> list[str]:
    """What of the text no pattern knows."""
    return [said for said, known in _parts(text) if not known]


def _parts(text: str) -> Iterator[tuple[str, bool]]:
    """The text sentence by sentence, and whether each was known. A text without a full stop may be a phrase."""
    while text:
        for pattern, said in _sentences():
            found = pattern.match(text)
            if found is not None and _one(found):
                yield _said(said, found), True
                text = text[found.end() :]
                break
        else:
            phrase = _phrase(text)
            yield phrase, phrase != text
            return


def _one(found: re.Match[str]) -> bool:
    """Whether no place of a pattern has swallowed the end of a sentence."""
    return not any(_END_WITHIN.search(value) for value in found.groupdict().values())


def _said(pattern: str, found: re.Match[str]) -> str:
    return pattern.format_map({k: v if k in _VERBATIM else _phrase(v) for k, v in found.groupdict().items()})


def _phrase(text: str) -> str:
    for pattern, said in _phrases():
        found = pattern.match(text)
        if found is not None and _one(found):
            return _said(said, found)
    return text
