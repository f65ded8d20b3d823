// The column beside the picture: what is selected, how finely is cut, what is shown.

import { find, h } from "./dom.js";
import { nameOf } from "./store.js";

/** @import {Store} from "./store.js" */
/** @import {Cluster, Edit, Thing} from "./types.js" */

/**
 * @typedef {object} Doings
 * @property {(edit: Edit) => void} edit
 * @property {(edit: Edit) => void} preview while a slider moves
 * @property {() => void} untry
 * @property {(cluster: Cluster) => void} show
 * @property {(thing: Thing) => void} find go to the first frame that shows it
 * @property {() => void} merge
 * @property {() => void} join
 * @property {() => void} cut
 * @property {() => void} drop
 * @property {() => void} split
 */

export class Side {
  /** @param {Store} store @param {Doings} doings */
  constructor(store, doings) {
    this.store = store;
    this.doings = doings;
    this.chosen = h("section", { class: "card", "aria-label": "Selected object", id: "chosen" });
    this.cut = h("section", { class: "card", "aria-label": "Cut", id: "cut" });
    this.look = h("section", { class: "card", "aria-label": "Picture", id: "look" });
    this.clusters = h("section", { class: "card", "aria-label": "Background", id: "clusters" });
    /** @type {HTMLInputElement | null} a field that is being written in while the scene changed */
    this.late = null;
    /** @type {number | undefined} the object whose card is shown */
    this.last = undefined;
    this.dragging = false; // a slider, which has to stay under the pointer
    const { locked } = store.view.about;
    const why = h("section", { class: "card", "aria-label": "Only to look at" }, h("h2", {}, "Only to look at"), h("p", { class: "faint small" }, locked), h("p", { class: "faint small" }, "It goes to other tools by"), h("code", {}, `unveil export ${store.view.about.folder}`));
    find("side").append(this.chosen, ...(locked ? [this.look, why] : [this.cut, this.clusters, this.look]));
    store.listen((changed) => {
      if (changed.has("scene") || changed.has("selected")) this.#choose();
      if (changed.has("scene") || changed.has("cluster")) this.#list();
      if (changed.has("scene")) this.#cut();
      if (["opacity", "outlines", "clusters", "radius", "carry"].some((k) => changed.has(/** @type {any} */ (k)))) this.#look();
    });
    this.#choose();
    this.#list();
    this.#cut();
    this.#look();
  }

  /** Put the caret into the name of what is selected. */
  name() {
    const field = /** @type {HTMLInputElement | null} */ (document.getElementById("name"));
    field?.focus();
    field?.select();
  }

  #choose() {
    const { store, chosen, doings } = this;
    const things = store.things;
    if (document.activeElement && chosen.contains(document.activeElement) && this.last === things[0]?.id && things.length === 1) {
      const active = /** @type {HTMLInputElement} */ (document.activeElement);
      if (active.type === "range" && this.dragging) return;
      if (active.type === "text") {
        // What somebody is writing must not vanish under the caret: the card is drawn when it is left.
        if (this.late === active) return;
        this.late = active;
        active.addEventListener("blur", () => {
          this.late = null;
          setTimeout(() => this.#choose());
        }, { once: true });
        return;
      }
    }
    this.last = things[0]?.id;
    const { locked } = store.view.about;
    if (!things.length) {
      chosen.replaceChildren(
        h("h2", {}, "Nothing selected"),
        locked ? h("p", { class: "faint" }, "Click a thing in the picture, or a lane below.") :
        h("p", { class: "faint" }, "Click a thing in the picture, or a lane below. A double-click on anything else makes it an object."),
      );
      return;
    }
    if (things.length > 1) {
      fill(chosen,
        h("h2", {}, `${things.length} objects`),
        h("p", { class: "chips" }, ...things.map((t) => h("span", { class: "chip" }, swatch(t), nameOf(t)))),
        !locked && h("div", { class: "row" },
          button("merge", "Merge", "M", "One object from now on", doings.merge, "strong"),
          button("join", "Join in time", "J", "One object that left and came back", doings.join),
          button("drop", "Drop", "Del", "Not objects", doings.drop, "danger")),
      );
      return;
    }
    const [thing] = things;
    const classes = [...new Set(store.view.scene.objects.map((o) => o.class).filter(Boolean))];
    const send = (/** @type {string} */ kind, /** @type {string} */ field) => (/** @type {Event} */ event) => {
      const value = /** @type {HTMLInputElement} */ (event.target).value;
      const was = kind === "rename" ? thing.name : kind === "class" ? thing.class : thing.colour;
      if (value.trim() !== was) doings.edit({ edit: kind, of: thing.id, [field]: value });
    };
    const focus = focused(chosen);
    const frames = thing.seen.reduce((n, [a, b]) => n + b - a, 0);
    const gaps = Math.max(thing.seen.length - 1, 0);
    const facts = [
      fact("Id", String(thing.id)),
      fact("Score", thing.score.toFixed(2)),
      fact("Seen", `${frames} of ${store.view.about.frames} frames${gaps ? `, ${gaps} ${gaps === 1 ? "gap" : "gaps"}` : ""} `,
        h("button", { type: "button", class: "mini text", id: "go-there", title: "To the first frame that shows it", onclick: () => doings.find(thing) }, "go there")),
    ];
    if (locked) {
      chosen.replaceChildren(
        h("div", { class: "title" }, swatch(thing), h("b", { id: "name" }, nameOf(thing))),
        h("dl", { class: "facts" }, ...facts, thing.class && fact("Class", thing.class)));
      return;
    }
    chosen.replaceChildren(
      h("div", { class: "title" },
        h("input", { type: "color", id: "colour", value: thing.colour, "aria-label": "Colour", title: "Colour", onchange: send("colour", "colour") }),
        h("input", { type: "text", id: "name", value: thing.name, placeholder: nameOf(thing), maxlength: 100, "aria-label": "Name", onchange: send("rename", "name"), onkeydown: leave })),
      h("label", { class: "field" }, h("span", {}, "Class"),
        h("input", { type: "text", id: "class", list: "classes", value: thing.class, placeholder: "object", maxlength: 100, onchange: send("class", "class"), onkeydown: leave }),
        h("datalist", { id: "classes" }, ...classes.map((c) => h("option", { value: c })))),
      h("dl", { class: "facts" },
        ...facts,
        fact("Fixed", thing.fixed ? "by hand: sliders leave it alone" : "no, sliders may change it")),
      h("div", { class: "row" },
        button("split", "Split…", "S", "In two, by a click on either side", doings.split, "strong"),
        button("parts", "By parts", "", "In two, as its own tree of parts says", () => doings.edit({ edit: "split", of: thing.id, into: 2 })),
        button("cut-time", "Cut here", "C", "From this frame on it is another", doings.cut),
        button("drop", "Drop", "Del", "Not an object", doings.drop, "danger")),
      this.#slider("own-granularity", "Finer", thing.granularity, "whole", "parts", (v) => ({ edit: "settings", of: thing.id, granularity: v })),
      this.#slider("own-score", "Surer", thing.min_score, "more", "less", (v) => ({ edit: "settings", of: thing.id, min_score: v })),
    );
    focus();
  }

  #cut() {
    const { sliders } = this.store.view.scene;
    if (this.cut.contains(document.activeElement) && this.dragging) return;
    const focus = focused(this.cut);
    this.cut.replaceChildren(
      h("h2", {}, "Whole video"),
      this.#slider("granularity", "Granularity", sliders.granularity ?? 0.5, "one", "parts", (v) => ({ edit: "settings", granularity: v })),
      this.#slider("least-score", "Least score", sliders.min_score, "all", "sure", (v) => ({ edit: "settings", min_score: v })),
      h("p", { class: "faint small" }, "What you fixed by hand stays as it is."),
    );
    focus();
  }

  /**
   * @param {string} id @param {string} text @param {number} value @param {string} low @param {string} high
   * @param {(value: number) => Edit} edit
   */
  #slider(id, text, value, low, high, edit) {
    const out = h("output", { for: id }, value.toFixed(2));
    const range = /** @type {HTMLInputElement} */ (
      h("input", {
        type: "range", id, min: 0, max: 1, step: 0.01, value, "aria-label": text,
        oninput: () => {
          this.dragging = true;
          out.textContent = Number(range.value).toFixed(2);
          this.doings.preview(edit(Number(range.value)));
        },
        onpointerup: () => (this.dragging = false),
        onchange: () => {
          this.dragging = false;
          this.doings.edit(edit(Number(range.value)));
        },
      })
    );
    return h("div", { class: "slider" }, h("span", { class: "text" }, text, out), range, h("span", { class: "ends faint", "aria-hidden": "true" }, h("i", {}, low), h("i", {}, high)));
  }

  #list() {
    const { store, doings } = this;
    const { clusters } = store.view.scene;
    const rows = clusters.slice(0, 40).map((c) =>
      h("li", { class: c.id === store.view.cluster ? "chosen" : "" },
        h("button", {
          type: "button", class: "cluster", "aria-pressed": c.id === store.view.cluster ? "true" : "false",
          onclick: () => doings.show(c), onpointerenter: () => store.set({ cluster: c.id }), onfocus: () => store.set({ cluster: c.id }),
        }, h("i", { class: "bar", style: { width: `${Math.max(6, Math.min(100, 100 * Math.sqrt(c.largest)))}%` } }), h("span", {}, `cluster ${c.id}`), h("span", { class: "faint" }, `${(100 * c.largest).toFixed(0)} %`)),
        h("button", { type: "button", class: "mini text", "aria-label": `Make cluster ${c.id} an object`, title: "Make it an object", onclick: () => doings.edit({ edit: "promote", at: c.at }) }, "+ object")));
    const top = this.clusters.querySelector("ul")?.scrollTop ?? 0;
    const focus = this.clusters.contains(document.activeElement);
    if (focus && this.version === store.view.scene.version) {
      for (const li of this.clusters.querySelectorAll("li")) li.classList.remove("chosen");
      const i = clusters.findIndex((c) => c.id === store.view.cluster);
      this.clusters.querySelectorAll("li")[i]?.classList.add("chosen");
      return;
    }
    this.version = store.view.scene.version;
    this.clusters.replaceChildren(
      h("h2", {}, "Background"),
      clusters.length ? h("ul", {}, ...rows) : h("p", { class: "faint" }, "All of the frame is of objects."),
    );
    const list = this.clusters.querySelector("ul");
    if (list) list.scrollTop = top;
  }

  #look() {
    const { view } = this.store;
    if (this.look.contains(document.activeElement) && this.look.childElementCount) {
      /** @type {HTMLInputElement | null} */ (this.look.querySelector("#outlines"))?.toggleAttribute("checked", view.outlines);
      const outlines = /** @type {HTMLInputElement | null} */ (this.look.querySelector("#outlines"));
      const clusters = /** @type {HTMLInputElement | null} */ (this.look.querySelector("#show-clusters"));
      if (outlines) outlines.checked = view.outlines;
      if (clusters) clusters.checked = view.clusters;
      return;
    }
    const range = (/** @type {string} */ id, /** @type {string} */ text, /** @type {number} */ value, /** @type {number} */ max, /** @type {(v: number) => void} */ set) =>
      h("label", { class: "slider" }, h("span", { class: "text" }, text), h("input", { type: "range", id, min: 0, max, step: 0.005, value, oninput: (/** @type {Event} */ e) => set(Number(/** @type {HTMLInputElement} */ (e.target).value)) }));
    const check = (/** @type {string} */ id, /** @type {string} */ text, /** @type {boolean} */ on, /** @type {(v: boolean) => void} */ set) => {
      const box = /** @type {HTMLInputElement} */ (h("input", { type: "checkbox", id, onchange: () => set(box.checked) }));
      box.checked = on;
      return h("label", { class: "check" }, box, text);
    };
    const { locked } = view.about;
    fill(this.look,
      h("h2", {}, "Picture"),
      range("opacity", "Opacity", view.opacity, 1, (opacity) => this.store.set({ opacity })),
      h("div", { class: "row" },
        check("outlines", "Outlines", view.outlines, (outlines) => this.store.set({ outlines })),
        !locked && check("show-clusters", "Background clusters", view.clusters, (clusters) => this.store.set({ clusters }))),
      !locked && range("radius", "Brush", view.radius, 0.2, (radius) => this.store.set({ radius: Math.max(radius, 0.005) })),
      !locked && check("carry", "Strokes go along with the video", view.carry, (carry) => this.store.set({ carry })),
    );
  }
}

/** @param {HTMLElement} node @param {...(Node | false)} children */
const fill = (node, ...children) => node.replaceChildren(...children.filter((child) => child !== false));

/** What gives the keyboard back to a slider once its card is drawn anew. @param {HTMLElement} card */
function focused(card) {
  const active = document.activeElement;
  const id = active instanceof HTMLInputElement && active.type === "range" && card.contains(active) ? active.id : "";
  return () => id && document.getElementById(id)?.focus();
}

/** @param {KeyboardEvent} event */
function leave(event) {
  if (event.key === "Enter" || event.key === "Escape") /** @type {HTMLElement} */ (event.target).blur();
}

/** @param {Thing} thing */
const swatch = (thing) => h("i", { class: "swatch", style: { background: thing.colour } });

/** @param {string} name @param {(Node | string)[]} value */
const fact = (name, ...value) => h("div", {}, h("dt", {}, name), h("dd", {}, ...value));

/** @param {string} id @param {string} text @param {string} key @param {string} title @param {() => void} act @param {string} [kind] */
const button = (id, text, key, title, act, kind = "") =>
  h("button", { type: "button", id: `do-${id}`, class: kind, title: key ? `${title} (${key})` : title, onclick: act }, text);
