// Who holds which load-balancer address.

import { fill, h } from "./dom.js";
import { get } from "./net.js";
import { listen, sorted } from "./store.js";
import { t } from "./words.js";

export function balancers() {
  const shown = h("div", { class: "table-box" });
  // Looked at again when a Service of this type has changed.
  let seen = null;
  const now = () => JSON.stringify(sorted("services").filter((each) => each.type === "LoadBalancer"));
  const stop = listen(() => { if (seen !== now()) look(); });

  async function look() {
    seen = now();
    try {
      fill(shown, table(await get("api/balancers")));
    } catch (error) {
      fill(shown, h("p", { class: "trouble", role: "alert" }, error.message));
    }
  }
  look();
  const element = h("section", { class: "view", "aria-label": t("balancers") },
    h("div", { class: "toolbar" }, h("button", { type: "button", class: "toggle", onclick: look }, t("refresh"))), shown);
  return { element, leave: stop };
}

function table(told) {
  return [
    h("p", { class: "muted" }, told.settings),
    told.pools.length > 0 && h("table", {},
      h("caption", {}, t("pools")),
      h("tbody", {}, told.pools.map((pool) => h("tr", {}, h("th", { scope: "row" }, pool.pool), h("td", { class: "mono" }, pool.addresses.join(", ")),
        h("td", {}, pool.refused || t("poolUse", { n: pool.held, m: pool.total })))))),
    told.services.length
      ? h("table", {},
        h("caption", {}, t("services")),
        h("thead", {}, h("tr", {}, ["holder", "held", "since", "why"].map((word) => h("th", { scope: "col" }, t(word))))),
        h("tbody", {}, told.services.map((each) => h("tr", {}, h("th", { scope: "row" }, each.service), h("td", { class: "mono" }, each.addresses.join(", ") || "–"),
          h("td", { class: "mono" }, each.since || "–"), h("td", {}, each.why)))))
      : h("p", { class: "muted note" }, t("noBalancers")),
  ];
}
