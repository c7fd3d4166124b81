// One way of a packet, step by step, beside the rule of the step that is chosen.

import { arrows, fill, h, hostPort } from "./dom.js";
import { details, listing } from "./listing.js";
import { t } from "./words.js";

// `part` is what one node did; `number` the branch to show.
export function path(part, number) {
  const branch = part.branches[number];
  const panel = h("aside", { class: "rule", "aria-label": t("rule"), "aria-live": "polite" });
  const way = h("ol", { class: "way", "aria-label": t("way") });
  const applied = marks(part, branch);
  const buttons = new Map();

  function choose(index) {
    for (const [other, button] of buttons) button.setAttribute("aria-current", other === index ? "step" : "false");
    const step = part.steps[index];
    const found = step.chain ? part.chains[step.at][`${step.table} ${step.chain}`] : null;
    fill(panel,
      h("h3", {}, found ? [h("span", { class: "mono" }, `${step.table} ${step.chain}`), step.number > 0 && h("span", { class: "muted" }, `, ${t("ruleOf", { n: step.number, m: Math.max(found.total, step.number) })}`)] : step.hook),
      h("p", { class: "meaning" }, step.meaning),
      found ? listing(found, applied.get(place(step)) ?? new Set(), step.number) : h("p", { class: "muted" }, t("kernel")),
      details(step, found));
    const current = panel.querySelector("li.current");
    if (current) panel.querySelector(".listing").scrollTop = current.offsetTop - 60;
  }

  const told = scenes(part, branch.scenes, part.packet, buttons, choose);
  const first = [...buttons.keys()];
  way.append(...told, end(part, number), ...further(part, branch.journey, buttons, choose));
  arrows(way, "button.step-button", { also: (button) => button.click() });
  if (first.length) choose(first.findLast((each) => worth(part.steps[each])) ?? first[0]);
  return h("div", { class: "path" }, h("div", { class: "way-box" }, h("h3", {}, t("way")), way), panel);
}

// What happened at each hook of one node.
function scenes(part, all, packet, buttons, choose) {
  let before = packet;
  return all.map((scene) => h("li", { class: "scene" }, h("h4", {}, scene.heading), h("ol", {}, scene.parts.map((each) => {
    if (typeof each === "string") return h("li", { class: "idle muted" }, each);
    const step = part.steps[each];
    const button = item(step, before, () => choose(each));
    buttons.set(each, button);
    before = step.packet;
    return h("li", { class: `step event-${step.event.replaceAll(" ", "-")}` }, button);
  }))));
}

// The packet on further nodes, and its answer's way back, each to be opened.
function further(part, journey, buttons, choose) {
  if (!journey) return [];
  const legs = journey.legs.map((leg) => h("li", { class: "leg" }, h("details", { open: !leg.back },
    h("summary", {}, t(leg.back ? "answerOn" : "furtherOn", { n: leg.node || t("thisNode") }), h("span", { class: "mono muted" }, leg.title)),
    h("ol", {}, scenes(part, leg.scenes, leg.packet, buttons, choose)))));
  return [...legs, h("li", { class: `scene end answer-${journey.end}` }, h("h4", {}, journey.meaning))];
}

// Steps that a reader looks for first.
function worth(step) {
  return ["dnat", "reject", "drop"].includes(step.event);
}

// The rules that applied on this branch, by node and chain.
function marks(part, branch) {
  const found = new Map();
  for (const scene of [branch, ...(branch.journey?.legs ?? [])].flatMap((each) => each.scenes)) {
    for (const each of scene.parts) {
      if (typeof each === "string") continue;
      const step = part.steps[each];
      found.set(place(step), (found.get(place(step)) ?? new Set()).add(step.number));
    }
  }
  return found;
}

function place(step) {
  return `${step.at} ${step.table} ${step.chain}`;
}

function item(step, before, onclick) {
  const where = step.chain ? `${step.table} ${step.chain}${step.number ? ` · ${step.number}` : ""}` : "";
  return h("button", { type: "button", class: "step-button", onclick },
    where && h("span", { class: "mono muted place" }, where, step.chance && h("span", { class: "share" }, step.chance.share)),
    h("span", {}, step.meaning),
    changes(before, step.packet).map(([word, from, to]) => h("span", { class: "change mono" },
      h("span", { class: "muted" }, word), h("del", {}, from), " → ", h("ins", {}, to))));
}

function changes(before, after) {
  const found = [];
  const ends = (state, end) => hostPort(state[end] || "?", state[`${end}Port`]);
  for (const [word, end] of [["dst", "destination"], ["src", "source"]]) {
    if (before[end] !== after[end] || before[`${end}Port`] !== after[`${end}Port`]) found.push([word, ends(before, end), ends(after, end)]);
  }
  if (before.mark !== after.mark) found.push(["mark", `0x${before.mark.toString(16)}`, `0x${after.mark.toString(16)}`]);
  return found;
}

function end(part, number) {
  const outcome = part.outcomes.find((each) => each.branches.includes(number));
  if (!outcome) return "";
  return h("li", { class: `scene end to-${outcome.verdict}` }, h("h4", {}, outcome.end),
    outcome.leaves && h("p", { class: "muted" }, `${outcome.leaves}; ${t("seen", { a: outcome.seen })}${outcome.masqueraded ? ` (${t("masqueraded")})` : ""}`));
}
