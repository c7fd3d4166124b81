// A chain as people list it, and what one step of a packet's way means.

import { h, hostPort } from "./dom.js";
import { t } from "./words.js";

// A chain's rules; those that `applied` (numbers) are marked, `current` most of all.
export function listing(found, applied, current) {
  const rows = [];
  let before = 0;
  for (const [number, text] of found.rules) {
    if (number > before + 1) rows.push(gap(number - before - 1));
    rows.push(row(number, text, applied.has(number), number === current));
    before = number;
  }
  if (before < found.total) rows.push(gap(found.total - before));
  return h("div", { class: "listing" },
    h("div", { class: "head mono" }, found.head),
    h("ol", { class: "mono" }, rows));
}

function gap(count) {
  return h("li", { class: "gap" }, t("skipped", { n: count }));
}

function row(number, text, applied, current) {
  return h("li", { class: `${applied ? "applied" : ""} ${current ? "current" : ""}`, "aria-current": current ? "true" : null },
    h("span", { class: "number" }, String(number)), h("code", {}, parts(text)));
}

const PARTS = /((?:-m comment )?--comment (?:"(?:[^"\\]|\\.)*"|\S+)|comment "(?:[^"\\]|\\.)*"|(?:-j|-g) \S+|(?:jump|goto) \S+|(?<![-\w])(?:drop|reject|accept|masquerade)(?![-\w]))/;

// Comments fade, targets stand out.
function parts(text) {
  return text.split(PARTS).map((part, index) => {
    if (index % 2 === 0) return words(part);
    return h("span", { class: part.includes("comment") ? "comment" : "target" }, words(part));
  });
}

// Lines break between words only, never behind the dash of an option.
function words(text) {
  return text.split(/(\s+)/).map((word, index) => (index % 2 || !word ? word : h("span", { class: "word" }, word)));
}

// Everything about one step, as a list of terms.
export function details(step, found) {
  const cause = step.cause;
  const rows = [
    ["hook", step.hook],
    ["table", step.table],
    ["chain", step.chain],
    ["number", step.number ? t("ofRules", { n: step.number, m: Math.max(found?.total ?? 0, step.number) }) : ""],
    ["chance", step.chance ? t("ofThoseHere", { p: step.chance.share }) : ""],
    ["object", cause?.object],
    ["field", cause ? [cause.field, cause.value].filter(Boolean).join(": ") : ""],
    ["because", cause?.why],
    ["otherwise", cause?.remedy],
    ["after", packet(step.packet)],
  ];
  return h("dl", { class: "details" }, rows.filter(([, value]) => value).map(([word, value]) =>
    h("div", {}, h("dt", {}, t(word)), h("dd", { class: MONO.has(word) ? "mono" : null }, value))));
}

const MONO = new Set(["table", "chain", "field", "after", "object"]);

// "TCP 10.244.0.9:40000 -> 10.96.0.1:443, mark 0x4000, out by eth0".
export function packet(state) {
  const words = [`${state.protocol} ${hostPort(state.source || "?", state.sourcePort)} → ${hostPort(state.destination, state.destinationPort)}`];
  if (state.mark) words.push(t("mark", { m: `0x${state.mark.toString(16)}` }));
  if (state.out) words.push(state.via ? `${state.out} → ${state.via}` : state.out);
  return words.join(", ");
}
