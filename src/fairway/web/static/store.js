// What the page knows: what is looked at, the cluster as it is now, and who wants to hear of changes.

import { follow, get } from "./net.js";

export const about = { name: "", reads: "", node: "", version: "", grounds: [] };
export const cluster = { services: new Map(), pods: new Map(), nodes: new Map(), synced: false, trouble: "", live: false };

const listeners = new Set();

// Calls `listener` after every change; returns how to stop that.
export function listen(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function changed() {
  for (const listener of [...listeners]) listener();
}

export async function load() {
  Object.assign(about, await get("api/about"));
}

// Adds files that the server has read.
export function add(ground) {
  about.grounds = [...about.grounds.filter((each) => each.id !== ground.id), ground];
  changed();
}

export async function watch() {
  await follow("api/stream", take, () => {
    cluster.live = false;
    changed();
  });
}

function take(event, value) {
  for (const kind of ["services", "pods", "nodes"]) {
    if (event === "whole") cluster[kind].clear();
    for (const row of value[kind]) cluster[kind].set(row.key, row);
    for (const key of value.gone?.[kind] ?? []) cluster[kind].delete(key);
  }
  Object.assign(cluster, { synced: value.synced, trouble: value.trouble, live: true });
  changed();
}

// Rows in the order of their names.
export function sorted(kind) {
  return [...cluster[kind].values()].sort((a, b) => (a.key < b.key ? -1 : 1));
}
