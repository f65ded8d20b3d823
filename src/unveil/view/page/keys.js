// The keyboard: what each key does, and the page that lists them.

import { find, h, icon } from "./dom.js";

/** @typedef {{keys: string[], shown: string, about: string, act: () => void}} Binding */
/** @typedef {{title: string, keys: Binding[]}} Group */

/** @param {Group[]} groups */
export function bind(groups) {
  /** @type {Map<string, () => void>} */
  const acts = new Map();
  for (const group of groups) for (const { keys, act } of group.keys) for (const key of keys) acts.set(key, act);
  window.addEventListener("keydown", (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    const writes = target instanceof HTMLInputElement && !["range", "checkbox", "color"].includes(target.type);
    if (writes || document.querySelector("dialog[open]")) return;
    const held = event.ctrlKey || event.metaKey;
    if (event.altKey) return;
    if ((event.key === " " || event.key === "Enter") && target instanceof HTMLButtonElement) return;
    if (target instanceof HTMLInputElement && target.type === "range" && event.key.startsWith("Arrow")) return;
    const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const plain = event.key.length === 1 && /[^a-zA-Z ]/.test(event.key);
    const act = acts.get(`${held ? "Ctrl+" : ""}${event.shiftKey && !plain ? "Shift+" : ""}${name}`);
    if (!act) return;
    event.preventDefault();
    act();
  });
}

/** @param {Group[]} groups */
export function explain(groups) {
  const dialog = /** @type {HTMLDialogElement} */ (find("keys"));
  dialog.replaceChildren(
    h("header", {}, h("h2", { id: "keys-title" }, "Keyboard"), h("form", { method: "dialog" }, h("button", { class: "quiet", "aria-label": "Close", title: "Close (Esc)" }, icon("close")))),
    h("div", { class: "groups" },
      ...groups.map((group) =>
        h("section", {}, h("h3", {}, group.title),
          h("dl", {}, ...group.keys.map((k) => h("div", {}, h("dt", {}, ...k.shown.split(" ").map((part) => h("kbd", {}, part))), h("dd", {}, k.about))))))),
    h("p", { class: "faint" }, "Wheel: zoom. Right or middle button: move the picture. Shift-click: select several."),
  );
  dialog.showModal();
}
