// Elements, made in one call; and the icons.

/**
 * @param {string} tag @param {Record<string, unknown>} [set] properties, on… listeners, aria-…, class
 * @param {...(Node | string | null | undefined | false)} children
 * @returns {HTMLElement}
 */
export function h(tag, set = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(set)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on") && typeof value === "function") {
      node.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
    } else if (name === "style") {
      for (const [key, v] of Object.entries(/** @type {Record<string, string>} */ (value))) node.style.setProperty(key, v);
    } else if (value === true) {
      node.setAttribute(name, "");
    } else if (name === "value") {
      /** @type {HTMLInputElement} */ (node).value = String(value);
    } else {
      node.setAttribute(name, String(value));
    }
  }
  for (const child of children) if (child) node.append(child);
  return node;
}

/** @template {HTMLElement} T @param {string} id @returns {T} */
export function find(id) {
  const node = document.getElementById(id);
  if (!node) throw new Error(`the page has no #${id}`);
  return /** @type {T} */ (node);
}

/** @type {Record<string, string>} */
const PATHS = {
  select: "M5 3l14 8-6 1.8L10 19z",
  promote: "M12 3l2.6 5.6 6 .8-4.4 4.2 1.1 6.1L12 16.8l-5.3 2.9 1.1-6.1L3.4 9.4l6-.8z",
  split: "M12 3v18M8 8l-4 4 4 4M16 8l4 4-4 4",
  brush: "M20 4c-4 1-9 5-11 9l2 2c4-2 8-7 9-11zM8 14c-3 0-3 3-5 5 3 1 7 0 7-3z",
  erase: "M4 16l9-10 7 6-7 8H8zM8 20h13M9 10l7 6",
  attention: "M2 12s4-7 10-7 10 7 10 7-4 7-10 7S2 12 2 12zM12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6z",
  play: "M7 4l13 8-13 8z",
  pause: "M7 4h4v16H7zM14 4h4v16h-4z",
  back: "M17 5l-9 7 9 7zM6 5v14",
  ahead: "M7 5l9 7-9 7zM18 5v14",
  undo: "M9 5L4 10l5 5M4 10h9a6 6 0 0 1 0 12h-2",
  redo: "M15 5l5 5-5 5M20 10h-9a6 6 0 0 0 0 12h2",
  help: "M9 9a3 3 0 1 1 4.5 2.6c-1 .6-1.5 1.2-1.5 2.4M12 18v.5",
  theme: "M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16",
  eye: "M2 12s4-6 10-6 10 6 10 6-4 6-10 6S2 12 2 12zM12 10a2 2 0 1 0 0 4 2 2 0 0 0 0-4z",
  hidden: "M4 4l16 16M2 12s4-6 10-6c2 0 4 .6 5.500 1.500M22 12s-4 6-10 6c-2 0-4-.6-5.500-1.500",
  solo: "M12 5a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM12 9.500a2.500 2.500 0 1 0 0 5 2.500 2.500 0 0 0 0-5z",
  fit: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  close: "M6 6l12 12M18 6L6 18",
};
const FILLED = new Set(["select", "play", "pause", "promote"]);

/** @param {string} name */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("icon");
  if (FILLED.has(name)) svg.classList.add("filled");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}
