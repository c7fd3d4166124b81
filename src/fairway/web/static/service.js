// A Service opened on the map: its facts, and its rules as a graph with shares, from where the user says.

import { fill, fresh, h, hostPort } from "./dom.js";
import { graph } from "./graph.js";
import { listing } from "./listing.js";
import { post } from "./net.js";
import { about, sorted } from "./store.js";
import { spoken, t } from "./words.js";

const OUTSIDE = "203.0.113.9"; // an address for documentation (RFC 5737): nobody's

const SETTLING = 1500; // milliseconds in which a proxy has heard of a change

// What was chosen last, for when the same Service is drawn anew.
const chosen = { service: "", to: "", from: "" };

export function rulesOf(service, { ontrace }) {
  const again = chosen.service === service.key;
  if (!again) Object.assign(chosen, { service: service.key, to: "", from: "" });
  const targets = destinations(service);
  const sources = origins();
  const shown = h("div", { class: "rules-graph" });
  const pick = (label, options, key) => {
    const name = fresh("pick");
    const select = h("select", { id: name, onchange: () => { chosen[key] = options[select.value].label; ask(); } },
      options.map((each, index) => h("option", { value: index }, each.label)));
    select.value = Math.max(0, options.findIndex((each) => each.label === chosen[key]));
    return { select, element: h("div", { class: "field" }, h("label", { for: name }, label), select) };
  };
  const to = pick(t("seenTo"), targets, "to");
  const from = pick(t("seenFrom"), sources, "from");

  async function ask() {
    const target = targets[to.select.value];
    const question = { ...sources[from.select.value].question, destination: target.value, protocol: target.protocol, language: spoken() };
    shown.setAttribute("aria-busy", "true");
    try {
      const told = await post("api/trace", question);
      fill(shown, told.parts.map((part, index) => rules(part, told.parts.length > 1 ? index : -1)));
    } catch (error) {
      fill(shown, h("p", { class: "trouble", role: "alert" }, error.message));
    }
    shown.removeAttribute("aria-busy");
  }

  const wrong = h("ul", { class: "findings", "aria-label": t("findings") });
  async function examine() {
    const { findings } = await post("api/findings", { service: service.key });
    fill(wrong, findings.map((each) => finding(each)));
  }
  examine().catch(() => fill(wrong));

  const follow = () => ontrace({ destination: targets[0]?.follow ?? service.key, protocol: targets[0]?.protocol ?? "TCP" });
  const panel = h("div", { class: "opened" },
    wrong, facts(service),
    targets.length > 0 && h("div", { class: "asks" }, h("h3", {}, t("rulesOf")), from.element, to.element,
      h("button", { type: "button", class: "primary", onclick: follow }, t("follow"))),
    shown);
  if (targets.length) ask();
  if (targets.length && again) setTimeout(() => { if (panel.isConnected) ask(); }, SETTLING);
  return panel;
}

// What the doctor says: in English, as its words are also codes.
function finding(each) {
  return h("li", { class: `finding ${each.severity}` },
    h("strong", {}, each.message),
    each.field && h("span", { class: "mono muted" }, each.field),
    each.evidence.map((line) => h("span", { class: "mono" }, line)),
    each.command && h("code", { class: "command" }, each.command));
}

function facts(service) {
  const rows = [
    [t("addresses"), service.addresses.map((each) => `${each.value} (${t(WORDS[each.kind])})`).join(", ")],
    [t("ports"), service.ports.map((port) => `${port.name ? `${port.name} ` : ""}${port.port}/${port.protocol} → ${port.target}${port.nodePort ? `, ${t("nodePort")} ${port.nodePort}` : ""}`).join("; ")],
    [t("selector"), service.selector],
    [t("policies"), [service.external && `externalTrafficPolicy: ${service.external}`, service.internal && `internalTrafficPolicy: ${service.internal}`, service.affinity !== "None" && t("affinity")].filter(Boolean).join(", ")],
  ];
  return h("dl", { class: "details" }, rows.filter(([, value]) => value).map(([name, value]) =>
    h("div", {}, h("dt", {}, name), h("dd", { class: "mono" }, value))));
}

const WORDS = { cluster: "clusterAddress", balancer: "balancer", external: "external" };

// Every address and port the Service has, as a destination.
function destinations(service) {
  const found = [];
  const node = sorted("nodes")[0];
  for (const port of service.ports) {
    const { protocol } = port;
    for (const each of service.addresses) {
      const value = hostPort(each.value, port.port);
      found.push({ value, protocol, follow: each.kind === "cluster" ? `${service.key}:${port.port}` : value, label: `${t(WORDS[each.kind])} ${value}/${protocol}` });
    }
    if (port.nodePort && node?.addresses.length) {
      const value = hostPort(node.addresses[0], port.nodePort);
      found.push({ value, protocol, follow: value, label: `${t("nodePort")} ${value}/${protocol}` });
    }
  }
  return found;
}

// A process of each node, and somebody outside.
function origins() {
  const nodes = sorted("nodes").map((node) => ({ label: node.key, question: { source: node.key, node: node.key } }));
  const outside = about.reads === "lab"
    ? { label: t("outsideClient"), question: { source: "client" } }
    : { label: `${t("somewhere")} ${OUTSIDE}`, question: { source: OUTSIDE, node: nodes[0]?.label ?? "" } };
  return [...nodes, outside];
}

// One node's rules: the graph, and the chain that was chosen in it.
function rules(part, index) {
  const chain = h("div", { class: "chosen-chain" });
  const applied = new Map();
  for (const step of part.steps.filter((each) => !each.at)) {
    const place = `${step.table} ${step.chain}`;
    applied.set(place, (applied.get(place) ?? new Set()).add(step.number));
  }
  const onchain = (stop) => {
    const place = `${stop.table} ${stop.chain}`;
    const found = part.chains[0][place];
    if (found) fill(chain, listing(found, applied.get(place) ?? new Set(), 0));
  };
  return h("div", {},
    index >= 0 && h("h4", {}, t(index ? "thenOn" : "onNodeNamed", { n: part.node })),
    h("p", { class: "why" }, part.why), graph(part.ways, { onchain }), chain);
}
