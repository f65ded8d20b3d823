// A lane an object: where it is seen and how large; the playhead, and the buttons that move it.

import { find, h, icon } from "./dom.js";
import { series } from "./stage.js";
import { clock, nameOf } from "./store.js";

/** @import {Store} from "./store.js" */
/** @import {Thing} from "./types.js" */

const EDGE = 10; // px beside the first and the last frame
const TICK = 58; // px that a time in the ruler needs

/**
 * @typedef {object} Moves
 * @property {(frame: number) => void} seek
 * @property {(by: number) => void} step
 * @property {() => void} play
 * @property {(id: number, more: boolean) => void} select
 */

export class Timeline {
  /** @param {Store} store @param {Moves} moves */
  constructor(store, moves) {
    this.store = store;
    this.moves = moves;
    this.lanes = find("lanes");
    const { about } = store.view;
    this.play = h("button", { type: "button", class: "round", id: "play", onclick: moves.play });
    this.slider = /** @type {HTMLInputElement} */ (
      h("input", {
        type: "range", id: "scrub", min: 0, max: about.frames - 1, value: 0, "aria-label": "Frame",
        oninput: () => moves.seek(Number(this.slider.value)),
      })
    );
    this.now = h("output", { id: "now", "aria-live": "off" });
    find("transport").append(
      h("button", { type: "button", class: "quiet", id: "step-back", "aria-label": "One frame back", title: "One frame back (←)", onclick: () => moves.step(-1) }, icon("back")),
      this.play,
      h("button", { type: "button", class: "quiet", id: "step-ahead", "aria-label": "One frame ahead", title: "One frame ahead (→)", onclick: () => moves.step(1) }, icon("ahead")),
      this.now,
      this.slider,
    );
    this.head = h("div", { class: "head", "aria-hidden": "true" });
    new ResizeObserver(() => this.draw()).observe(this.lanes);
    store.listen((changed) => {
      if (["scene", "selected", "hidden", "solo"].some((k) => changed.has(/** @type {any} */ (k)))) this.draw();
      this.move();
    });
    this.draw();
    this.move();
  }

  move() {
    const { frame, about, playing } = this.store.view;
    this.slider.value = String(frame);
    this.slider.setAttribute("aria-valuetext", `frame ${frame} of ${about.frames}`);
    this.now.textContent = `${clock(frame, about.fps)}  ·  ${frame} / ${about.frames - 1}`;
    this.play.replaceChildren(icon(playing ? "pause" : "play"));
    this.play.setAttribute("aria-label", playing ? "Pause" : "Play");
    this.play.title = playing ? "Pause (Space)" : "Play (Space)";
    const track = this.lanes.querySelector(".track");
    if (track instanceof HTMLElement) {
      const width = track.clientWidth - 2 * EDGE;
      const x = EDGE + (width * (frame + 0.5)) / about.frames;
      this.head.style.transform = `translateX(${track.offsetLeft + x}px)`;
    }
  }

  draw() {
    const { scene } = this.store.view;
    const focus = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.key : undefined;
    const rows = scene.objects.map((thing) => this.#lane(thing));
    this.lanes.replaceChildren(this.#ruler(), ...rows, this.head);
    if (!rows.length) this.lanes.append(h("p", { class: "faint empty" }, "No object yet: double-click a thing in the picture to make it one."));
    for (const canvas of this.lanes.querySelectorAll("canvas")) this.#paint(canvas);
    if (focus) this.lanes.querySelector(`[data-key="${focus}"]`)?.dispatchEvent(new Event("focus"));
    if (focus) /** @type {HTMLElement | null} */ (this.lanes.querySelector(`[data-key="${focus}"]`))?.focus();
    this.move();
  }

  /** How wide the lanes' tracks are, in px; as wide as all, before there are any. */
  #wide() {
    return (this.lanes.querySelector(".track") ?? this.lanes).clientWidth;
  }

  #ruler() {
    const { about } = this.store.view;
    const ticks = h("div", { class: "track ruler", "aria-hidden": "true" });
    const seconds = about.frames / about.fps;
    const most = Math.min(12, Math.max(2, this.#wide() / TICK));
    const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600].find((s) => seconds / s <= most) ?? 1200;
    for (let s = 0; s < seconds; s += step) {
      ticks.append(h("span", { style: { left: `calc(${EDGE}px + (100% - ${2 * EDGE}px) * ${s / seconds})` } }, step < 1 ? `${s.toFixed(1)}s` : `${Math.floor(s / 60)}:${String(Math.round(s % 60)).padStart(2, "0")}`));
    }
    this.#seekOn(ticks);
    return h("div", { class: "lane rule" }, h("span", { class: "faint label" }, "Objects"), ticks);
  }

  /** @param {Thing} thing */
  #lane(thing) {
    const { store } = this;
    const { selected, solo } = store.view;
    const chosen = selected.includes(thing.id);
    const toggle = (/** @type {number} */ id) => {
      const hidden = new Set(store.view.hidden);
      if (!hidden.delete(id)) hidden.add(id);
      store.set({ hidden, solo: null });
    };
    const seen = store.visible(thing.id);
    const label = h(
      "div",
      { class: "label" },
      h("button", {
        type: "button", class: "name", "data-key": `name-${thing.id}`, "aria-pressed": chosen ? "true" : "false",
        title: `${nameOf(thing)}, id ${thing.id}, score ${thing.score.toFixed(2)}${thing.fixed ? ", fixed by hand" : ""}`,
        onclick: (/** @type {MouseEvent} */ e) => this.moves.select(thing.id, e.shiftKey || e.ctrlKey || e.metaKey),
      },
        h("i", { class: thing.fixed ? "swatch fixed" : "swatch", style: { background: thing.colour } }),
        h("span", { class: "text" }, nameOf(thing)),
        thing.class ? h("span", { class: "tag" }, thing.class) : null,
        h("span", { class: "faint score" }, thing.score.toFixed(2))),
      h("button", { type: "button", class: "mini", "data-key": `solo-${thing.id}`, "aria-pressed": solo === thing.id ? "true" : "false", "aria-label": `Only ${nameOf(thing)}`, title: "Only this one (O)", onclick: () => store.set({ solo: solo === thing.id ? null : thing.id }) }, icon("solo")),
      h("button", { type: "button", class: "mini", "data-key": `eye-${thing.id}`, "aria-pressed": seen ? "false" : "true", "aria-label": `Hide ${nameOf(thing)}`, title: "Hide or show (H)", onclick: () => toggle(thing.id) }, icon(seen ? "eye" : "hidden")),
    );
    const track = h("div", { class: "track" }, h("canvas", { "data-id": thing.id, "aria-hidden": "true" }));
    this.#seekOn(track);
    return h("div", { class: `lane${chosen ? " chosen" : ""}${seen ? "" : " off"}`, role: "listitem", "data-id": thing.id }, label, track);
  }

  /** @param {HTMLElement} track */
  #seekOn(track) {
    const to = (/** @type {PointerEvent} */ event) => {
      const box = track.getBoundingClientRect();
      const { frames } = this.store.view.about;
      const share = (event.clientX - box.left - EDGE) / (box.width - 2 * EDGE);
      this.moves.seek(Math.min(Math.max(Math.floor(share * frames), 0), frames - 1));
    };
    track.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      to(event);
      const row = track.parentElement?.dataset.id;
      const move = (/** @type {PointerEvent} */ e) => to(e);
      const up = () => {
        window.removeEventListener("pointermove", move);
        window.removeEventListener("pointerup", up);
        if (row) this.moves.select(Number(row), event.shiftKey);
      };
      window.addEventListener("pointermove", move);
      window.addEventListener("pointerup", up);
    });
  }

  /** @param {HTMLCanvasElement} canvas */
  #paint(canvas) {
    const thing = this.store.thing(Number(canvas.dataset.id));
    if (!thing) return;
    const { frames, shots } = this.store.view.about;
    const ratio = window.devicePixelRatio || 1;
    const w = canvas.clientWidth;
    const hh = canvas.clientHeight;
    canvas.width = Math.max(1, Math.round(w * ratio));
    canvas.height = Math.max(1, Math.round(hh * ratio));
    const c = canvas.getContext("2d");
    if (!c) return;
    c.scale(ratio, ratio);
    const x = (/** @type {number} */ f) => EDGE + ((w - 2 * EDGE) * f) / frames;
    c.fillStyle = thing.colour;
    c.globalAlpha = 0.24;
    for (const [a, b] of thing.seen) {
      c.beginPath();
      c.roundRect(x(a), 3, Math.max(x(b) - x(a), 2), hh - 6, 4);
      c.fill();
    }
    c.globalAlpha = 1;
    const areas = series(thing.areas);
    const middle = hh / 2;
    const tall = (hh - 10) / 2;
    for (const [a, b] of thing.seen) {
      c.beginPath();
      const step = Math.max(1, Math.floor((b - a) / 600));
      const at = (/** @type {number} */ f) => 1 + (tall - 1) * Math.sqrt(areas[Math.min(f, frames - 1)] / 255);
      c.moveTo(x(a), middle - at(a));
      for (let f = a; f < b; f += step) c.lineTo(x(f + 0.5), middle - at(f));
      c.lineTo(Math.max(x(b), x(a) + 2), middle - at(b - 1));
      c.lineTo(Math.max(x(b), x(a) + 2), middle + at(b - 1));
      for (let f = b - 1; f >= a; f -= step) c.lineTo(x(f + 0.5), middle + at(f));
      c.lineTo(x(a), middle + at(a));
      c.closePath();
      c.fill();
    }
    c.fillStyle = "rgb(128 128 140 / .8)";
    for (const shot of shots) if (shot > 0) c.fillRect(x(shot) - 0.5, 0, 1, hh);
  }
}
