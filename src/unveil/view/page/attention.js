// What a place that was pressed attends to: a panel each way of looking, over time as one plays.

import * as ask from "./ask.js";
import { find, h } from "./dom.js";

/** @import {Store} from "./store.js" */
/** @import {Panel} from "./types.js" */

export class Attention {
  /** @param {Store} store */
  constructor(store) {
    this.store = store;
    this.room = find("panels");
    /** @type {Map<Panel, HTMLCanvasElement>} */
    this.canvases = new Map();
    /** @type {Promise<{panels: Panel[], lacks: string}> | null} */
    this.panels = null;
    /** @type {number | null} the head that is shown, the mean of all otherwise */
    this.head = null;
    this.busy = false;
    this.again = false;
    store.listen((changed) => {
      if (changed.has("pressed")) void this.#make().then(() => this.#load(), (error) => this.#say(error));
      else if (changed.has("frame")) void this.#load();
    });
  }

  async #make() {
    const { pressed } = this.store.view;
    this.room.hidden = !pressed;
    if (!pressed) return;
    this.panels ??= ask.panels();
    this.panels.catch(() => (this.panels = null));
    const { panels, lacks } = await this.panels;
    if (pressed !== this.store.view.pressed) return;
    this.canvases.clear();
    const [rows, columns] = this.store.view.about.grid;
    const figures = panels.map((panel) => {
      const canvas = /** @type {HTMLCanvasElement} */ (h("canvas", { width: columns * 8, height: rows * 8, role: "img", "aria-label": `${panel.title}: ${panel.about}` }));
      this.canvases.set(panel, canvas);
      return h("figure", { title: panel.about }, canvas, h("figcaption", {}, panel.title));
    });
    const heads = Math.max(0, ...panels.map((panel) => panel.heads));
    this.room.replaceChildren(
      h("header", {}, h("b", {}, "Attention"), h("span", { class: "faint" }, `of the patch pressed in frame ${pressed[0]}`),
        h("button", { type: "button", class: "mini", "aria-label": "Close attention", title: "Close (Esc)", onclick: () => this.store.set({ pressed: null }) }, "✕")),
      h("div", { class: "figures" }, ...figures),
      ...(heads ? [this.#heads(heads)] : []),
      ...(lacks ? [h("p", { class: "faint small" }, lacks)] : []),
    );
  }

  /** The choice of a head. @param {number} count */
  #heads(count) {
    const buttons = [null, ...Array(count).keys()].map((head) =>
      h("button", {
        type: "button", class: "mini text", "aria-pressed": head === this.head ? "true" : "false",
        "aria-label": head === null ? "Mean over heads" : `Head ${head + 1}`,
        onclick: (/** @type {Event} */ event) => {
          this.head = head;
          for (const b of buttons) b.setAttribute("aria-pressed", b === event.currentTarget ? "true" : "false");
          void this.#load();
        },
      }, head === null ? "mean" : String(head + 1)));
    return h("div", { class: "heads", role: "group", "aria-label": "Heads of the blocks" }, h("span", { class: "faint small", "aria-hidden": "true" }, "heads"), ...buttons);
  }

  /** One frame after the other: while it plays, those that cannot be followed are left out. */
  async #load() {
    if (this.busy) {
      this.again = true;
      return;
    }
    this.busy = true;
    do {
      this.again = false;
      const { pressed, frame } = this.store.view;
      if (!pressed) break;
      await Promise.all([...this.canvases].map(([panel, canvas]) => this.#draw(panel, canvas, pressed, frame)));
    } while (this.again);
    this.busy = false;
  }

  /** @param {Panel} panel @param {HTMLCanvasElement} canvas @param {[number, number, number]} pressed @param {number} frame */
  async #draw(panel, canvas, pressed, frame) {
    try {
      const heat = await ask.heat(panel.name, frame, pressed, panel.heads ? this.head : null);
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
  }

  /** @param {unknown} error */
  #say(error) {
    this.room.replaceChildren(h("p", {}, error instanceof Error ? error.message : String(error)));
  }
}
