// Elements, written short.

const SVG = "http://www.w3.org/2000/svg";

// An element with attributes, listeners (onclick ...) and children; null and false are no children.
export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

// The same for SVG.
export function s(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// Puts children in the place of those there are.
export function fill(element, ...children) {
  element.replaceChildren(...children.flat(3).filter((child) => child !== null && child !== false));
  return element;
}

// Makes `wanted` the children of an element; those that are there in this order already are not touched, so that they
// keep focus, selection and scrolling.
export function patch(element, wanted) {
  const kept = new Set(wanted);
  for (const child of [...element.children]) if (!kept.has(child)) child.remove();
  wanted.forEach((child, index) => {
    if (element.children[index] !== child) element.insertBefore(child, element.children[index] ?? null);
  });
}

// A number that no other element has in its id.
let last = 0;
export function fresh(prefix) {
  last += 1;
  return `${prefix}-${last}`;
}

// Arrow keys (and Home, End) move the focus among the elements that match within `root`.
export function arrows(root, selector, { also = () => {}, sideways = false } = {}) {
  root.addEventListener("keydown", (event) => {
    const all = [...root.querySelectorAll(selector)].filter((each) => !each.disabled && each.checkVisibility());
    const at = all.indexOf(document.activeElement);
    if (at < 0) return;
    const steps = sideways ? { ArrowLeft: -1, ArrowRight: 1 } : { ArrowUp: -1, ArrowDown: 1 };
    const next = { Home: 0, End: all.length - 1 }[event.key] ?? at + (steps[event.key] ?? 0);
    if (next === at || !all[next]) return;
    event.preventDefault();
    all[next].focus();
    also(all[next]);
  });
}

// Says something to those who listen to the page.
export function announce(text) {
  document.getElementById("live").textContent = text;
}

// An address and its port.
export function hostPort(address, port) {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}
