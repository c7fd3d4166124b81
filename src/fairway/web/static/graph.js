// The chains a packet is led through, from left to right, with the share of the packets on each line. On narrow screens
// the boxes stand below each other, and each says its own share.

import { h, s, fill } from "./dom.js";
import { t } from "./words.js";

const NEAR = 7;

// `ways` as the server tells them; `onchain(place)` when a chain is chosen; `branch` is the way that is followed.
export function graph(ways, { onchain = null, branch = null } = {}) {
  const groups = gather(ways);
  const lines = s("svg", { class: "lines", "aria-hidden": "true" });
  const columns = [];
  for (const group of groups) {
    group.box = box(group, ways, onchain, branch);
    (columns[group.depth] ??= []).push(group);
  }
  const inner = h("div", { class: "columns" }, lines,
    columns.map((column) => h("div", { class: "column" }, column.map((group) => group.box))));
  const element = h("div", { class: "graph", role: "group", tabindex: "0", "aria-label": t("rulesGraph") }, inner);
  new ResizeObserver(() => draw(lines, inner, groups, branch)).observe(inner);
  return element;
}

// Stops that follow each other with nothing between them are one box.
function gather(ways) {
  const into = ways.stops.map(() => []);
  const out = ways.stops.map(() => []);
  for (const line of ways.lines) {
    out[line.from].push(line);
    into[line.to].push(line);
  }
  const home = new Map();
  const groups = [];
  ways.stops.forEach((_, stop) => {
    const before = into[stop].length === 1 ? into[stop][0].from : -1;
    const joins = before > 0 && out[before].length === 1 && home.has(before);
    const group = joins ? home.get(before) : { stops: [], into: [], depth: 0 };
    if (!joins) groups.push(group);
    group.stops.push(stop);
    home.set(stop, group);
  });
  for (const line of ways.lines) {
    const [start, end] = [home.get(line.from), home.get(line.to)];
    if (start !== end) end.into.push({ ...line, start });
  }
  deepen(groups);
  return groups;
}

// Each group stands behind all that lead to it. Bounded, should lines ever lead in a circle.
function deepen(groups) {
  for (let round = 0; round < groups.length; round += 1) {
    let moved = false;
    for (const group of groups) {
      const depth = Math.max(0, ...group.into.map((line) => line.start.depth + 1));
      if (depth > group.depth && depth < groups.length) {
        group.depth = depth;
        moved = true;
      }
    }
    if (!moved) return;
  }
}

function box(group, ways, onchain, branch) {
  const taken = branch === null || group.stops[0] === 0 || group.into.some((line) => line.branches.includes(branch));
  const share = group.into.filter((line) => line.part < 1 || !line.certain).map((line) => line.share).join(" + ");
  return h("div", { class: `box${taken ? "" : " aside"}` },
    share && h("span", { class: "share" }, share),
    group.stops.map((stop) => segment(ways.stops[stop], onchain)));
}

function segment(stop, onchain) {
  if (stop.kind === "packet") return h("div", { class: "segment begin" }, t("start"));
  if (stop.kind === "end") {
    return h("div", { class: `segment end to-${stop.verdict}` },
      h("span", { class: stop.endpoint ? "mono" : "" }, stop.endpoint || stop.end),
      stop.pod && h("span", { class: "muted" }, stop.pod),
      stop.masqueraded && h("span", { class: "tag" }, t("masqueraded")));
  }
  const inside = [
    h("span", { class: "mono name" }, stop.chain),
    h("span", { class: "muted" }, stop.service || stop.purpose || `${stop.hook === stop.chain ? "" : `${stop.hook} `}${stop.table}`),
  ];
  if (!onchain) return h("div", { class: "segment" }, inside);
  return h("button", { type: "button", class: "segment", onclick: () => onchain(stop) }, inside);
}

function draw(lines, inner, groups, branch) {
  fill(lines);
  const frame = inner.getBoundingClientRect();
  if (getComputedStyle(lines).display === "none") return;
  lines.setAttribute("width", inner.scrollWidth);
  lines.setAttribute("height", inner.scrollHeight);
  for (const group of groups) {
    const to = group.box.getBoundingClientRect();
    group.into.forEach((line, index) => {
      const from = line.start.box.getBoundingClientRect();
      const x1 = from.right - frame.left;
      const x2 = to.left - frame.left - NEAR;
      const y1 = from.top + from.height / 2 - frame.top;
      const y2 = to.top - frame.top + (to.height * (index + 1)) / (group.into.length + 1);
      const bend = (x1 + x2) / 2;
      const aside = branch !== null && !line.branches.includes(branch);
      lines.append(
        s("path", { d: `M${x1} ${y1} C${bend} ${y1} ${bend} ${y2} ${x2} ${y2}`, class: aside ? "aside" : "" }),
        s("path", { d: `M${x2 - 1} ${y2 - 4} l${NEAR} 4 l${-NEAR} 4 z`, class: `head ${aside ? "aside" : ""}` }),
        line.part < 1 || !line.certain ? s("text", { x: x2 - 6, y: y2 - 6, "text-anchor": "end" }, line.share) : "");
    });
  }
}
