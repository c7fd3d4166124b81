// The page as a whole: its tabs, what is looked at, the language.

import { balancers } from "./balancers.js";
import { arrows, fill, h } from "./dom.js";
import { droppable, opener } from "./drop.js";
import { map, vacant } from "./map.js";
import { admit, Refused } from "./net.js";
import { goBy, packet, prepare } from "./packet.js";
import { about, cluster, listen, load, watch } from "./store.js";
import { spoken, t, turn } from "./words.js";

const content = document.getElementById("content");
const tabs = document.getElementById("tabs");
let shown = null;
let files = null;
let current = "";

// What the address says after `#`: the view, and for a packet the question, so that a reload shows the same.
function wanted() {
  const [name, rest] = location.hash.slice(1).split("?");
  return { name: VIEWS()[name] ? name : Object.keys(VIEWS())[0], words: Object.fromEntries(new URLSearchParams(rest)) };
}

function VIEWS() {
  if (!about.reads) return { packet: "packet" };
  return { map: "map", packet: "packet", balancers: "balancers" };
}

function remember(asked) {
  const words = Object.entries(asked).filter(([key, value]) => value && key !== "ground");
  history.replaceState(null, "", `#packet?${new URLSearchParams(words)}`);
}

function show({ name, focus = false }) {
  shown?.leave();
  current = name;
  fill(tabs, Object.entries(VIEWS()).map(([each, word]) => h("button", {
    type: "button", role: "tab", id: `tab-${each}`, "aria-selected": String(each === name), "aria-controls": "content",
    tabindex: each === name ? "0" : "-1", onclick: () => go(each),
  }, t(word))));
  files = opener(about.grounds, took);
  shown = make(name);
  shown.element.setAttribute("role", "tabpanel");
  shown.element.setAttribute("aria-labelledby", `tab-${name}`);
  fill(content, shown.element);
  if (focus) (shown.focus ?? (() => content.focus()))();
}

function make(name) {
  if (name === "map") return map({ ontrace: (words) => { prepare(words); go("packet", true); } });
  if (name === "balancers") return balancers();
  const made = packet({ files: files.element, remember });
  if (about.reads || about.grounds.length) return made;
  made.leave();
  return { element: vacant(files.element), leave: () => {} };
}

function go(name, focus = false) {
  history.replaceState(null, "", `#${name}`);
  show({ name, focus });
}

function took(ground) {
  goBy(ground.id);
  const destination = ground.destinations[0];
  prepare({ source: ground.sources.at(-1)?.value ?? "", destination: destination?.value ?? "", protocol: destination?.protocol || "TCP" });
  go("packet", true);
}

function place() {
  const how = { lab: "readLab", here: "readHere", computed: "readComputed" }[about.reads];
  const state = !about.reads ? "" : !cluster.live || cluster.trouble ? "away" : cluster.synced ? "live" : "";
  const words = !about.reads ? about.name
    : cluster.trouble ? t("unreachable", { e: cluster.trouble })
      : cluster.synced && !cluster.live ? t("lost") : about.name;
  fill(document.getElementById("looked-at"), words && h("span", { class: `dot ${state}` }), words);
  document.getElementById("looked-at").title = how ? t(how, { n: about.node }) : "";
}

function speak() {
  document.documentElement.lang = spoken();
  const button = document.getElementById("language");
  button.textContent = spoken() === "zh" ? "English" : "中文";
  button.lang = spoken() === "zh" ? "en" : "zh";
  for (const each of document.querySelectorAll("[data-word]")) each.textContent = t(each.dataset.word);
}

async function begin() {
  admit();
  speak();
  try {
    await load();
  } catch (error) {
    const why = error instanceof Refused && error.status === 401 ? t("stranger") : error.message;
    fill(content, h("section", { class: "view vacant" }, h("p", { class: "trouble", role: "alert" }, why)));
    return;
  }
  const { name, words } = wanted();
  prepare(words);
  if (!about.reads && about.grounds.length && !words.source) took(about.grounds.at(-1));
  else show({ name });
  place();
  listen(place);
  arrows(tabs, "[role=tab]", { sideways: true, also: (tab) => { tab.click(); document.getElementById(tab.id).focus(); } });
  document.getElementById("language").addEventListener("click", () => { turn(); speak(); place(); show(wanted()); });
  droppable(took, (message) => {
    if (current !== "packet") go("packet");
    files.failed(message);
  });
  if (about.reads) watch().catch((error) => fill(content, h("p", { class: "trouble", role: "alert" }, error.message)));
}

begin();
