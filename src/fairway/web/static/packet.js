// The question (which packet), and its answer: ends with shares, the way to each, the chains as a graph, notes.

import { combo } from "./combo.js";
import { announce, arrows, fill, fresh, h, hostPort } from "./dom.js";
import { graph } from "./graph.js";
import { listing } from "./listing.js";
import { post } from "./net.js";
import { path } from "./path.js";
import { about, cluster, listen, sorted } from "./store.js";
import { spoken, t } from "./words.js";

const asked = { source: "", destination: "", protocol: "TCP", family: "", ground: null, node: "", namespace: "default", sourcePort: "", inInterface: "" };

// Puts words into the form, for whoever asks from elsewhere.
export function prepare(words) {
  Object.assign(asked, words);
}

export function packet({ files, remember }) {
  const grounds = h("div", { class: "field" });
  const nodes = h("div", { class: "field" });
  const answer = h("div", { class: "answer" }, h("p", { class: "hint" }, t("askHint")));
  const from = combo({ label: t("from"), hint: t("fromHint"), value: asked.source, choices: sources, oninput: (text) => { asked.source = text; } });
  const to = combo({ label: t("to"), hint: t("toHint"), value: asked.destination, choices: destinations, oninput: aim });
  const protocol = select("protocol", ["TCP", "UDP", "SCTP"].map((each) => [each, each]), "protocol");
  const stale = h("p", { class: "stale", role: "status", hidden: true }, t("stale"),
    h("button", { type: "button", class: "quiet", onclick: () => ask() }, t("again")));
  let known = null;
  const go = h("button", { type: "submit", class: "primary" }, t("go"));
  const form = h("form", { class: "question", onsubmit: (event) => { event.preventDefault(); ask(); } },
    from.element, to.element, protocol,
    select("family", [["", t("anyFamily")], ["IPv4", "IPv4"], ["IPv6", "IPv6"]], "family"),
    go,
    h("details", { class: "more" }, h("summary", {}, t("moreOptions")),
      h("div", { class: "more-fields" }, grounds, nodes, text("namespace", "namespace"), text("sourcePort", "sourcePort", "number"), text("inInterface", "inInterface"))),
    files);

  // A Service that is written in full knows its protocol.
  function aim(said, chosen = null) {
    asked.destination = said;
    const found = chosen ?? destinations().find((each) => each.value === said);
    if (found?.protocol) {
      asked.protocol = found.protocol;
      protocol.querySelector("select").value = found.protocol;
    }
  }

  async function ask() {
    if (!asked.source || !asked.destination) return (asked.source ? to : from).field.focus();
    const question = { ...asked, ground: ground(), sourcePort: Number(asked.sourcePort) || 0, language: spoken() };
    remember(asked);
    go.disabled = true;
    go.textContent = t("going");
    known = meant();
    stale.hidden = true;
    try {
      const told = await post("api/trace", question);
      fill(answer, told.parts.map((part, index) => story(part, told.parts.length > 1 ? index : -1)));
      announce(told.parts.map((part) => part.why).join(" "));
    } catch (error) {
      fill(answer, h("p", { class: "trouble", role: "alert" }, error.message));
    }
    go.disabled = false;
    go.textContent = t("go");
    return undefined;
  }

  let offered = "";
  function choices() {
    const known = [[about.reads ? "" : null, t("ofCluster")], ...about.grounds.map((each) => [each.id, each.files.map((file) => file.name).join(", ")])]
      .filter(([id]) => id !== null);
    const names = ground() ? about.grounds.find((each) => each.id === ground())?.nodes ?? [] : about.reads === "computed" ? sorted("nodes").map((each) => each.key) : [];
    const offer = JSON.stringify([known, names, ground()]);
    if (offer === offered) return;
    offered = offer;
    fill(grounds, known.length > 1 && labelled(t("by"), known, ground(), (value) => { asked.ground = value; choices(); }));
    fill(nodes, names.length > 0 && labelled(t("onWhichNode"), [["", t("anyNode")], ...names.map((each) => [each, each])], asked.node, (value) => { asked.node = value; }));
  }

  // What the address asks is asked once the cluster is known.
  let waiting = Boolean(asked.source && asked.destination);
  function begin() {
    choices();
    stale.hidden = !known || known === meant();
    if (waiting && (cluster.synced || !about.reads || ground())) {
      waiting = false;
      ask();
    }
  }
  const stop = listen(begin);
  begin();
  return {
    element: h("section", { class: "view", "aria-label": t("packet") }, form, stale, answer),
    leave: stop,
    focus: () => (asked.source ? to : from).field.focus(),
  };
}

// The Service that the packet is sent to, as it is now.
function meant() {
  if (ground()) return null;
  const host = asked.destination.replace(/:[^:]*$/, "").replace(/^\[|\]$/g, "");
  return cluster.services.get(host.includes("/") ? host : `${asked.namespace || "default"}/${host}`)
    ?? [...cluster.services.values()].find((each) => each.addresses.some((address) => address.value === host)) ?? null;
}

// The files that were dropped last, unless the user chose.
function ground() {
  if (asked.ground !== null && (asked.ground === "" ? about.reads : about.grounds.some((each) => each.id === asked.ground))) return asked.ground;
  return about.reads ? "" : about.grounds.at(-1)?.id ?? "";
}

// Goes by these files from now on.
export function goBy(id) {
  asked.ground = id;
}

function labelled(label, options, value, onpick) {
  const name = fresh("select");
  const field = h("select", { id: name, onchange: () => onpick(field.value) }, options.map(([key, said]) => h("option", { value: key }, said)));
  field.value = value;
  return [h("label", { for: name }, label), field];
}

function select(label, options, key) {
  return h("div", { class: "field" }, labelled(t(label), options, asked[key], (value) => { asked[key] = value; }));
}

function text(label, key, type = "text") {
  const name = fresh("text");
  const field = h("input", { id: name, type, value: asked[key], min: 1, max: 65535, spellcheck: "false", oninput: () => { asked[key] = field.value; } });
  return h("div", { class: "field" }, h("label", { for: name }, t(label)), field);
}

function sources() {
  const given = ground();
  if (given) {
    const found = about.grounds.find((each) => each.id === given)?.sources ?? [];
    return found.map((each) => ({ ...each, group: t("groupRules"), hint: each.value === "node" ? t("thatNode") : each.hint }));
  }
  const outside = about.reads === "lab" ? [{ group: t("groupOutside"), value: "client", hint: t("outsideClient") }]
    : [{ group: t("groupOutside"), value: "203.0.113.9", hint: t("somewhere") }];
  return [
    ...sorted("pods").filter((pod) => pod.addresses.length).map((pod) => ({ group: t("groupPods"), value: pod.key, hint: `${pod.addresses[0]} · ${pod.node}` })),
    ...sorted("nodes").map((node) => ({ group: t("groupNodes"), value: node.key, hint: node.addresses.join(", ") })),
    ...outside,
  ];
}

function destinations() {
  const given = ground();
  if (given) {
    const found = about.grounds.find((each) => each.id === given)?.destinations ?? [];
    return found.map((each) => ({ ...each, group: t("groupServices") }));
  }
  const found = [];
  for (const service of sorted("services")) {
    for (const port of service.ports) {
      const { protocol } = port;
      const addresses = service.addresses.map((each) => each.value).join(", ");
      found.push({ group: t("groupServices"), value: `${service.key}:${port.port}`, hint: `${addresses} ${protocol}`, protocol });
      for (const each of service.addresses.filter((address) => address.kind !== "cluster")) {
        found.push({ group: t("addresses"), value: hostPort(each.value, port.port), hint: `${service.key} ${protocol}`, protocol });
      }
      if (port.nodePort) {
        const nodes = sorted("nodes").filter((node) => node.addresses.length);
        found.push(...nodes.map((node) => ({ group: t("nodePort"), value: `${node.key}:${port.nodePort}`, hint: `${service.key} ${protocol}`, protocol })));
      }
    }
  }
  return found;
}

// What one node did with the packet.
function story(part, index) {
  const way = h("div", {});
  const picture = h("div", {});
  const chain = h("div", { class: "chosen-chain" });
  const ends = h("div", { class: "ends", role: "group", "aria-label": t("becomes") });

  function onchain(stop) {
    const found = part.chains[0][`${stop.table} ${stop.chain}`];
    if (found) fill(chain, listing(found, applied(part, stop), 0));
  }

  function choose(number) {
    for (const each of ends.children) each.setAttribute("aria-pressed", String(each.branches?.includes(number)));
    fill(way, path(part, number));
    fill(picture, graph(part.ways, { onchain, branch: number }));
  }

  for (const outcome of part.outcomes) {
    const button = end(outcome, () => choose(outcome.branches[0]));
    button.branches = outcome.branches;
    ends.append(button);
  }
  arrows(ends, "button", { also: (button) => button.click() });
  const element = h("section", { class: "story" },
    index >= 0 && h("h2", { class: "on-node" }, t(index ? "thenOn" : "onNodeNamed", { n: part.node || t("thisNode") })),
    h("div", { class: "verdict" }, h("h2", {}, t("becomes")), h("p", { class: "title mono" }, part.title), ends,
      part.untold > 0 && h("p", { class: "muted" }, t("untold", { n: part.untold })),
      h("p", { class: "why" }, part.why)),
    way,
    part.ways.stops.some((stop) => stop.kind === "chain") && h("div", { class: "chains" }, h("h3", {}, t("rulesGraph")), h("p", { class: "muted" }, t("graphHint")), picture, chain),
    part.notes.length > 0 && h("details", { class: "notes", open: true }, h("summary", {}, t("bear")), h("ul", {}, part.notes.map((note) => h("li", {}, note)))));
  if (part.branches.length) choose(0);
  return element;
}

function applied(part, stop) {
  return new Set(part.steps.filter((step) => !step.at && step.table === stop.table && step.chain === stop.chain).map((step) => step.number));
}

function end(outcome, onclick) {
  const bar = h("span", { class: "bar", "aria-hidden": "true" }, h("span", {}));
  bar.firstChild.style.width = `${Math.max(outcome.part * 100, 1)}%`;
  return h("button", { type: "button", class: `outcome to-${outcome.verdict}`, "aria-pressed": "false", onclick, disabled: !outcome.branches.length },
    h("span", { class: "part" }, bar, h("span", { class: "share" }, outcome.share)),
    h("strong", { class: "what" }, outcome.end),
    h("span", { class: "muted how" }, outcome.leaves && `${outcome.leaves}; ${t("seen", { a: outcome.seen })}`),
    outcome.masqueraded && h("span", { class: "tag" }, t("masqueraded")));
}
