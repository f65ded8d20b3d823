// What attends to the place that was pressed: a panel each way of looking, over time as one plays.

import * as ask from "./ask.js";
import { find, h } from "./dom.js";

/** @import {Store} from "./store.js" */

export class Attention {
  /** @param {Store} store */
  constructor(store) {
    this.store = store;
    this.room = find("panels");
    /** @type {Map<string, HTMLCanvasElement>} */
    this.canvases = new Map();
    this.asked = 0;
    store.listen((changed) => {
      if (changed.has("pressed")) this.#make();
      if (changed.has("pressed") || changed.has("frame")) void this.#load();
    });
  }

  #make() {
    const { pressed, about } = this.store.view;
    this.room.hidden = !pressed;
    if (!pressed) return;
    this.canvases.clear();
    const [rows, columns] = about.grid;
    const figures = about.panels.map((panel) => {
      const canvas = /** @type {HTMLCanvasElement} */ (h("canvas", { width: columns * 8, height: rows * 8, role: "img", "aria-label": `${panel.title}: ${panel.about}` }));
      this.canvases.set(panel.name, canvas);
      return h("figure", { title: panel.about }, canvas, h("figcaption", {}, panel.title));
    });
    this.room.replaceChildren(
      h("header", {}, h("b", {}, "Attention"), h("span", { class: "faint" }, `to the patch pressed in frame ${pressed[0]}`),
        h("button", { type: "button", class: "mini", "aria-label": "Close attention", onclick: () => this.store.set({ pressed: null }) }, "✕")),
      h("div", { class: "figures" }, ...figures),
    );
  }

  async #load() {
    const { pressed, frame } = this.store.view;
    if (!pressed) return;
    const asked = ++this.asked;
    await Promise.all(
      [...this.canvases].map(async ([name, canvas]) => {
        try {
          const heat = await ask.heat(name, frame, pressed);
          if (asked !== this.asked) return;
          const c = canvas.getContext("2d");
          if (!c) return;
          c.imageSmoothingEnabled = true;
          c.imageSmoothingQuality = "high";
          c.drawImage(heat, 0, 0, canvas.width, canvas.height);
          canvas.dataset.frame = String(frame);
        } catch (error) {
          const caption = canvas.nextElementSibling;
          if (caption) caption.textContent = error instanceof Error ? error.message : String(error);
        }
      }),
    );
  }
}
