// Files dropped on the page, or chosen: read by our own server, and nowhere else.

import { announce, fill, h } from "./dom.js";
import { send } from "./net.js";
import { add } from "./store.js";
import { t } from "./words.js";

// Takes what is dropped anywhere; `ontake(ground)` once the server has read it.
export function droppable(ontake, onfail) {
  const veil = document.getElementById("drop");
  let within = 0;
  const files = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => { if (files(event)) { within += 1; veil.hidden = false; } });
  addEventListener("dragleave", (event) => { if (files(event)) { within -= 1; veil.hidden = within > 0 ? false : true; } });
  addEventListener("dragover", (event) => { if (files(event)) event.preventDefault(); });
  addEventListener("drop", (event) => {
    if (!files(event)) return;
    event.preventDefault();
    within = 0;
    veil.hidden = true;
    take([...event.dataTransfer.files], ontake, onfail);
  });
}

export async function take(files, ontake, onfail) {
  if (!files.length) return;
  const names = files.map((file) => file.name).join(", ");
  announce(t("reading", { n: names }));
  try {
    const ground = await send(files);
    add(ground);
    announce(t("took", { n: names }));
    ontake(ground);
  } catch (error) {
    onfail(error.message);
  }
}

// A button that opens files, and what has been read so far.
export function opener(grounds, ontake) {
  const input = h("input", { type: "file", multiple: true, class: "unseen", id: "files", onchange: () => take([...input.files], ontake, failed) });
  const trouble = h("p", { class: "trouble", role: "alert", hidden: true });
  function failed(message) {
    trouble.hidden = false;
    fill(trouble, message);
  }
  const element = h("div", { class: "opener" }, input,
    h("label", { for: "files", class: "toggle" }, t("openFiles")),
    grounds.map((ground) => h("span", { class: "ground" }, ground.files.map((file) => h("span", {}, h("strong", {}, file.name), " ", h("span", { class: "muted" }, file.what))))),
    trouble);
  return { element, failed };
}
