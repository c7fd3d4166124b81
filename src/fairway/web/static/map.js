// The map: Services, their endpoints, and the nodes these are on, with a line from each to the next.

import { arrows, fill, h, hostPort, patch, s } from "./dom.js";
import { rulesOf } from "./service.js";
import { about, cluster, listen, sorted } from "./store.js";
import { t } from "./words.js";

const SHOWN = 60;
const FEW = 6;
const LINES = 400;

// What the user chose; it outlives changes of the cluster and of the language.
const chosen = { filter: "", trouble: false, service: "", pointed: "", wide: new Set() };

export function map({ ontrace }) {
  const field = h("input", {
    type: "search", id: "filter", value: chosen.filter, placeholder: t("filterHint"), spellcheck: "false",
    oninput: () => { chosen.filter = field.value; redraw(); },
  });
  const count = h("span", { class: "muted", role: "status" });
  const trouble = h("button", { type: "button", class: "toggle", "aria-pressed": String(chosen.trouble), onclick: () => {
    chosen.trouble = !chosen.trouble;
    trouble.setAttribute("aria-pressed", String(chosen.trouble));
    redraw();
  } }, t("showTrouble"));
  const rows = h("div", { class: "rows" });
  const nodes = h("aside", { class: "nodes", "aria-label": t("nodes") });
  const lines = s("svg", { class: "lines", "aria-hidden": "true" });
  const body = h("div", { class: "map" }, lines, rows, nodes);
  const element = h("section", { class: "view", "aria-label": t("map") },
    h("div", { class: "toolbar" }, h("label", { for: "filter", class: "unseen" }, t("filter")), field, trouble, count), body);

  let panel = null;
  let panelOf = null;
  function details(service) {
    if (panelOf !== service) {
      panel = rulesOf(service, { ontrace });
      panelOf = service;
    }
    return panel;
  }

  // A row is made anew when something about its Service, or how it is shown, has changed.
  const made = new Map();
  function kept(service) {
    const open = chosen.service === service.key;
    const how = `${open} ${chosen.wide.has(service.key)}`;
    const before = made.get(service.key);
    if (before?.service !== service || before.how !== how) {
      made.set(service.key, { service, how, element: row(service, details, redraw) });
    }
    return made.get(service.key).element;
  }

  function pick(node) {
    chosen.filter = field.value = field.value === node ? "" : node;
    redraw();
  }

  const head = heads();
  const remark = h("p", { class: "muted note" });
  const nodesHead = h("h2", { class: "column-head" }, t("nodes"));
  const boxes = new Map();

  function redraw() {
    const focus = document.activeElement?.dataset?.key;
    const fits = sorted("services").filter(fit);
    count.textContent = t("countServices", { n: fits.length, m: cluster.services.size });
    remark.textContent = fits.length > SHOWN ? t("more", { n: fits.length - SHOWN }) : fits.length ? "" : empty();
    patch(rows, [head, ...fits.slice(0, SHOWN).map(kept), remark]);
    patch(nodes, [nodesHead, ...homes(boxes, pick)]);
    for (const key of made.keys()) if (!cluster.services.has(key)) made.delete(key);
    if (focus && document.activeElement?.dataset?.key !== focus) rows.querySelector(`[data-key="${CSS.escape(focus)}"]`)?.focus();
    drawSoon();
  }

  let waiting = false;
  function drawSoon() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(lines, body); });
  }

  arrows(rows, ".service > button");
  for (const [event, on] of [["mouseover", true], ["focusin", true], ["mouseleave", false], ["focusout", false]]) {
    rows.addEventListener(event, (happened) => {
      const key = on ? happened.target.closest("[data-service]")?.dataset.service ?? "" : "";
      if (key !== chosen.pointed) { chosen.pointed = key; drawSoon(); }
    });
  }
  const stop = [listen(redraw)];
  const watcher = new ResizeObserver(drawSoon);
  watcher.observe(body);
  addEventListener("scroll", drawSoon, { passive: true });
  stop.push(() => watcher.disconnect(), () => removeEventListener("scroll", drawSoon));
  redraw();
  return { element, leave: () => stop.forEach((each) => each()) };
}

function empty() {
  if (!cluster.synced) return t("waiting");
  return cluster.services.size ? t("nothingFits") : t("noServices");
}

function fit(service) {
  if (chosen.trouble && (service.state === "ready" || service.state === "alias")) return false;
  const words = chosen.filter.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return true;
  const text = [service.key, service.type, service.alias, service.selector, ...service.addresses.map((each) => each.value),
    ...service.ports.map((port) => `${port.port}/${port.protocol} ${port.name} ${port.nodePort || ""}`),
    ...service.endpoints.map((each) => `${each.address} ${each.pod} ${each.node}`)].join(" ").toLowerCase();
  return words.every((word) => text.includes(word));
}

function heads() {
  return h("div", { class: "heads", "aria-hidden": "true" },
    h("h2", { class: "column-head" }, t("services")), h("h2", { class: "column-head" }, t("endpoints")));
}

function row(service, details, redraw) {
  const open = chosen.service === service.key;
  const toggle = () => { chosen.service = open ? "" : service.key; redraw(); };
  const [namespace, name] = service.key.split("/");
  const element = h("article", { class: `row${open ? " open" : ""}` },
    h("div", { class: "service" },
      h("button", { type: "button", class: "card", "aria-expanded": String(open), onclick: toggle },
        h("span", { class: "title" }, h("span", { class: "muted" }, `${namespace}/`), h("strong", {}, name)),
        state(service),
        h("span", { class: "facts" }, h("span", { class: "tag" }, service.type), facts(service)))),
    endpoints(service, redraw),
    open && details(service));
  element.dataset.service = service.key;
  element.querySelector(".card").dataset.key = service.key;
  return element;
}

function state(service) {
  const words = { ready: t("ready"), some: t("some", { n: service.ready, m: service.total }), none: t("none"), alias: t("alias") };
  return h("span", { class: `state ${service.state}` }, words[service.state]);
}

function facts(service) {
  if (service.alias) return h("span", { class: "mono" }, `→ ${service.alias}`);
  const ports = service.ports.map((port) => `${port.port}/${port.protocol}${port.nodePort ? ` · ${port.nodePort}` : ""}`);
  return [
    ...service.addresses.map((each) => h("span", { class: `mono ${each.kind}` }, each.value)),
    h("span", { class: "mono muted" }, ports.join(", ")),
  ];
}

function endpoints(service, redraw) {
  const wide = chosen.wide.has(service.key);
  const shown = wide ? service.endpoints : service.endpoints.slice(0, FEW);
  const rest = service.total - shown.length;
  const spread = () => { chosen.wide[wide ? "delete" : "add"](service.key); redraw(); };
  return h("ul", { class: "endpoints", "aria-label": t("endpoints") },
    shown.map((each) => endpoint(each)),
    !service.total && !service.alias && h("li", { class: "muted" }, t("noEndpoints")),
    (rest > 0 || wide) && h("li", { class: "plain" }, h("button", { type: "button", class: "quiet", onclick: spread },
      wide ? t("fewer") : t("moreEndpoints", { n: rest }))));
}

function endpoint(each) {
  const words = { ready: t("ready"), serving: t("serving"), unready: t("unready") };
  const item = h("li", { class: `endpoint ${each.state}`, title: words[each.state] },
    h("span", { class: "dot", role: "img", "aria-label": words[each.state] }),
    h("span", { class: "mono" }, each.ports.length ? hostPort(each.address, each.ports.join(",")) : each.address),
    each.pod && h("span", { class: "muted pod" }, each.pod.split("/")[1]),
    each.node && h("span", { class: "muted home" }, each.node));
  item.dataset.node = each.node;
  return item;
}

// The nodes' boxes; one that says the same as before is the same.
function homes(boxes, onpick) {
  const counts = new Map();
  for (const service of cluster.services.values()) {
    for (const each of service.endpoints) counts.set(each.node, (counts.get(each.node) ?? 0) + 1);
  }
  return sorted("nodes").map((node) => {
    const count = counts.get(node.key) ?? 0;
    const before = boxes.get(node.key);
    if (before?.node !== node || before.count !== count) boxes.set(node.key, { node, count, element: nodeBox(node, count, onpick) });
    return boxes.get(node.key).element;
  });
}

function nodeBox(node, count, onpick) {
  const box = h("button", { type: "button", class: "node", title: t("filterBy", { n: node.key }), onclick: () => onpick(node.key) },
    h("span", { class: "title" }, h("strong", {}, node.key),
      h("span", { class: `state ${node.ready ? "ready" : "none"}` }, node.ready ? t("nodeReady") : t("nodeUnready"))),
    h("span", { class: "mono muted" }, node.addresses.join(", ")),
    h("span", { class: "muted" }, [t(count === 1 ? "onNodeOne" : "onNode", { n: count }), node.zone].filter(Boolean).join(" · ")));
  box.dataset.name = node.key;
  return box;
}

// Lines between what is on the screen; those of the Service pointed at stand out.
function draw(lines, body) {
  fill(lines);
  if (getComputedStyle(lines).display === "none") return;
  const frame = body.getBoundingClientRect();
  lines.setAttribute("width", frame.width);
  lines.setAttribute("height", frame.height);
  const nodes = new Map([...body.querySelectorAll(".node")].map((box) => [box.dataset.name, box.getBoundingClientRect()]));
  let drawn = 0;
  for (const row of body.querySelectorAll(".row")) {
    const place = row.getBoundingClientRect();
    if (place.bottom < 0 || place.top > innerHeight || drawn > LINES) continue;
    const strong = [chosen.pointed, chosen.service].includes(row.dataset.service) ? "strong" : "";
    const card = row.querySelector(".card").getBoundingClientRect();
    for (const end of row.querySelectorAll(".endpoints > .endpoint")) {
      const to = end.getBoundingClientRect();
      lines.append(curve(card.right, card.top + Math.min(card.height / 2, 34), to.left, middle(to), frame, strong));
      const node = nodes.get(end.dataset.node);
      if (node) lines.append(curve(to.right + 4, middle(to), node.left, middle(node), frame, strong));
      drawn += 2;
    }
  }
}

function middle(box) {
  return box.top + box.height / 2;
}

function curve(x1, y1, x2, y2, frame, strong) {
  const bend = (x1 + x2) / 2 - frame.left;
  const [a, b] = [y1 - frame.top, y2 - frame.top];
  return s("path", { d: `M${x1 - frame.left} ${a} C${bend} ${a} ${bend} ${b} ${x2 - frame.left} ${b}`, class: strong });
}

// The page without a cluster.
export function vacant(files) {
  return h("section", { class: "view vacant" },
    h("h1", {}, about.grounds.length ? t("files") : t("noCluster")), h("p", {}, t("noClusterHint")),
    h("ul", { class: "commands" }, COMMANDS.map((each) => h("li", {}, h("code", {}, each)))), files);
}

const COMMANDS = ["fairway collect", "iptables-save", "iptables -t nat -L -v -n", "nft list ruleset", "nft -j list ruleset", "ip addr",
  "ip route show table all", "kubectl get svc,endpointslices,pods,nodes -A -o json"];
