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
    const found = step.chain ? part.chains[`${step.table} ${step.chain}`] : null;
    fill(panel,
      h("h3", {}, found ? [h("span", { class: "mono" }, `${step.table} ${step.chain}`), step.number > 0 && h("span", { class: "muted" }, `, ${t("ruleOf", { n: step.number, m: Math.max(found.total, step.number) })}`)] : step.hook),
      h("p", { class: "meaning" }, step.meaning),
      found ? listing(found, applied.get(`${step.table} ${step.chain}`) ?? new Set(), step.number) : h("p", { class: "muted" }, t("kernel")),
      details(step, found));
    const current = panel.querySelector("li.current");
    if (current) panel.querySelector(".listing").scrollTop = current.offsetTop - 60;
  }

  let before = part.packet;
  let first = null;
  for (const scene of branch.scenes) {
    const steps = scene.parts.map((each) => {
      if (typeof each === "string") return h("li", { class: "idle muted" }, each);
      const step = part.steps[each];
      const button = item(step, before, () => choose(each));
      buttons.set(each, button);
      first ??= each;
      if (worth(step)) first = worth(part.steps[first]) ? first : each;
      before = step.packet;
      return h("li", { class: `step event-${step.event.replaceAll(" ", "-")}` }, button);
    });
    way.append(h("li", { class: "scene" }, h("h4", {}, scene.heading), h("ol", {}, steps)));
  }
  way.append(end(part, number));
  arrows(way, "button.step-button", { also: (button) => button.click() });
  if (first !== null) choose(first);
  return h("div", { class: "path" }, h("div", { class: "way-box" }, h("h3", {}, t("way")), way), panel);
}

// Steps that a reader looks for first.
function worth(step) {
  return ["dnat", "reject", "drop"].includes(step.event);
}

// The rules that applied on this branch, by chain.
function marks(part, branch) {
  const found = new Map();
  for (const scene of branch.scenes) {
    for (const each of scene.parts) {
      if (typeof each === "string") continue;
      const step = part.steps[each];
      const place = `${step.table} ${step.chain}`;
      found.set(place, (found.get(place) ?? new Set()).add(step.number));
    }
  }
  return found;
}

function item(step, before, onclick) {
  const place = step.chain ? `${step.table} ${step.chain}${step.number ? ` · ${step.number}` : ""}` : "";
  return h("button", { type: "button", class: "step-button", onclick },
    place && h("span", { class: "mono muted place" }, place, step.chance && h("span", { class: "share" }, step.chance.share)),
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
