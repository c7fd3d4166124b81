// A text field that offers what could be written in it (the ARIA pattern "combobox with list autocomplete").

import { fresh, fill, h } from "./dom.js";

const SHOWN = 60;

// `choices()` gives [{group, value, hint}]; any other text may be written as well.
export function combo({ label, hint, value = "", choices, oninput = () => {} }) {
  const name = fresh("combo");
  const list = h("div", { id: `${name}-list`, class: "choices", role: "listbox", "aria-label": label, hidden: true });
  const field = h("input", {
    id: name, value, placeholder: hint, role: "combobox", autocomplete: "off", spellcheck: "false", autocapitalize: "off",
    "aria-expanded": "false", "aria-controls": list.id, "aria-autocomplete": "list", class: "mono",
  });
  let at = -1;
  let shown = [];

  function close() {
    list.hidden = true;
    at = -1;
    field.setAttribute("aria-expanded", "false");
    field.removeAttribute("aria-activedescendant");
  }

  function open(all) {
    const wanted = all ? [] : field.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = choices().filter((each) => wanted.every((word) => `${each.value} ${each.hint}`.toLowerCase().includes(word)));
    const groups = Map.groupBy(fits.slice(0, SHOWN), (each) => each.group);
    shown = [...groups.values()].flat();
    fill(list, grouped(groups, name, choose));
    list.hidden = fits.length === 0;
    at = -1;
    field.setAttribute("aria-expanded", String(!list.hidden));
    field.removeAttribute("aria-activedescendant");
  }

  function choose(chosen) {
    field.value = chosen.value;
    close();
    oninput(chosen.value, chosen);
  }

  function move(by) {
    if (list.hidden) open(true);
    const options = [...list.querySelectorAll("[role=option]")];
    if (!options.length) return;
    at = (at + by + options.length) % options.length;
    options.forEach((option, index) => option.setAttribute("aria-selected", String(index === at)));
    field.setAttribute("aria-activedescendant", options[at].id);
    options[at].scrollIntoView({ block: "nearest" });
  }

  field.addEventListener("input", () => { open(false); oninput(field.value); });
  field.addEventListener("mousedown", () => { if (list.hidden) open(true); else close(); });
  field.addEventListener("blur", close);
  field.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      move(event.key === "ArrowDown" ? 1 : -1);
    } else if (event.key === "Enter" && at >= 0) {
      event.preventDefault();
      choose(shown[at]);
    } else if (event.key === "Escape" && !list.hidden) {
      event.stopPropagation();
      close();
    }
  });
  const element = h("div", { class: "field combo" }, h("label", { for: name }, label), field, list);
  return { element, field };
}

function grouped(groups, name, choose) {
  let number = 0;
  return [...groups].map(([group, members]) => h("div", { role: "group", "aria-label": group },
    h("div", { class: "group", "aria-hidden": "true" }, group),
    members.map((each) => {
      number += 1;
      const option = h("div", { role: "option", id: `${name}-${number}`, class: "choice", "aria-selected": "false" },
        h("span", { class: "mono" }, each.value), h("span", { class: "muted" }, each.hint));
      // Before the field loses the focus and closes the list.
      option.addEventListener("mousedown", (event) => { event.preventDefault(); choose(each); });
      return option;
    })));
}
