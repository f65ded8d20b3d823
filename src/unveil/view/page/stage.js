// The canvas: a frame, its masks over it, and what a pointer does there.

import * as ask from "./ask.js";
import { Cache } from "./cache.js";
import { find } from "./dom.js";
import { outlines, paint, pixel, unroll } from "./runs.js";
import { nameOf } from "./store.js";

/** @import {Edit, Point} from "./types.js" */
/** @import {Store} from "./store.js" */

const CLUSTER = "#c8ccd8";
const AHEAD = 6; // frames asked for before they are due
const HINTS = /** @type {Record<string, string>} */ ({ select: " · double-click makes it an object", promote: " · click makes it an object" });
const TRACED = 4; // labels whose outlines are kept
const MOST = 16; // times that a frame is enlarged

/**
 * @typedef {object} Hands what the stage tells of a pointer
 * @property {(id: number, more: boolean) => void} select
 * @property {(at: Point) => void} promote
 * @property {(at: Point, id: number) => void} side
 * @property {(edit: Edit) => void} stroke
 * @property {(at: Point) => void} press
 * @property {(why: string) => void} fail
 * @property {() => void} stale the scene is no longer that of the server
 */

/** @typedef {{of: number, frame: number, add: boolean, radius: number, carry: boolean, points: [number, number][]}} Stroke */

export class Stage {
  /** @param {Store} store @param {Hands} hands */
  constructor(store, hands) {
    const { width, height } = store.view.about;
    this.store = store;
    this.hands = hands;
    this.cache = new Cache(width * height);
    /** @type {HTMLCanvasElement} */
    this.canvas = find("canvas");
    this.tip = find("tip");
    this.cover = new OffscreenCanvas(width, height);
    this.image = new ImageData(width, height);
    this.words = new Uint32Array(this.image.data.buffer);
    /** @type {ImageBitmap | null} */
    this.picture = null;
    /** @type {Uint16Array | null} */
    this.labels = null;
    /** @type {Uint16Array | null} labels as an edit that is not made yet would have them */
    this.trial = null;
    /** @type {Uint16Array | null} */
    this.clusters = null;
    /** @type {Map<number, string>} of the objects that the labels are of */
    this.colours = new Map();
    /** @type {Map<Uint16Array, Map<number, Path2D>>} */
    this.traced = new Map();
    this.hovered = 0;
    this.zoom = 1;
    this.pan = { x: 0, y: 0 };
    /** @type {Stroke | null} that is being painted, as all was when it began */
    this.stroke = null;
    /** @type {{x: number, y: number} | null} */
    this.pointer = null;
    /** @type {{at: Point, side: number}[]} */
    this.marks = [];
    this.shown = -1;
    this.version = -1; // of the scene whose labels are on the canvas
    this.abort = new AbortController();
    this.waiting = 0;
    this.drawing = false;
    this.loading = Promise.resolve();
    this.#listen();
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    store.listen((changed) => {
      const { version } = store.view.scene;
      if (changed.has("frame") || (changed.has("scene") && version !== this.version)) this.loading = this.load();
      else if (changed.has("clusters")) void this.loadClusters();
      if (changed.has("tool")) this.stroke = null;
      if (changed.has("scene") || changed.has("tool")) this.tip.hidden = true;
      this.draw();
    });
  }

  /** Bring the frame that is looked at onto the canvas. */
  async load() {
    const { frame, scene, playing } = this.store.view;
    const asked = ++this.waiting;
    this.trial = null;
    this.abort.abort();
    try {
      const [picture, labels] = await this.cache.both(scene.version, frame);
      if (asked !== this.waiting) return;
      this.picture = picture;
      this.labels = labels;
      this.colours = new Map(scene.objects.map((o) => [o.id, o.colour]));
      this.clusters = null;
      this.shown = frame;
      this.version = scene.version;
      this.draw();
      if (!playing) void this.loadClusters();
    } catch (error) {
      if (asked === this.waiting) this.#lost(error);
    }
  }

  /** Say what could not be fetched, and play no further. @param {unknown} error */
  #lost(error) {
    this.store.set({ playing: false });
    if (error instanceof ask.Refused && error.status === 410) this.hands.stale();
    else this.hands.fail(error instanceof Error ? error.message : String(error));
  }

  /** Once what was asked for last is on the canvas. */
  settled() {
    return this.loading;
  }

  /** Bring the clusters of the frame, which take a moment, once it stands still. */
  async loadClusters() {
    const { frame, scene, playing } = this.store.view;
    this.abort.abort();
    if (playing) return;
    this.abort = new AbortController();
    const { signal } = this.abort;
    await new Promise((done) => setTimeout(done, 60));
    if (signal.aborted) return;
    try {
      const words = await ask.clusters(scene.version, frame, signal);
      if (signal.aborted) return;
      this.clusters = unroll(words, this.image.width * this.image.height);
      this.canvas.dataset.clusters = String(frame);
      this.draw();
    } catch {
      // another frame was asked for meanwhile
    }
  }

  /** Ask for the frames that come next. */
  ahead() {
    const { frame, scene, about } = this.store.view;
    for (let i = 1; i <= AHEAD; i++) {
      const next = (frame + i) % about.frames;
      this.cache.both(scene.version, next).catch((error) => {
        const { playing, scene: now } = this.store.view;
        if (i === 1 && playing && scene.version === now.version) this.#lost(error);
      });
    }
  }

  /** Show what an edit would make of this frame. @param {Edit} edit */
  async try(edit) {
    const { frame, scene } = this.store.view;
    const words = await ask.preview(edit, frame);
    if (frame !== this.store.view.frame || scene !== this.store.view.scene) return;
    this.trial = unroll(words, this.image.width * this.image.height);
    this.canvas.dataset.tried = String(frame);
    this.draw();
  }

  untry() {
    this.trial = null;
    this.draw();
  }

  fit() {
    this.zoom = 1;
    this.pan = { x: 0, y: 0 };
    this.draw();
  }

  /** @param {number} factor @param {{x: number, y: number}} [about] CSS px on the canvas that stays put */
  magnify(factor, about) {
    const { clientWidth, clientHeight } = this.canvas;
    const at = about ?? { x: clientWidth / 2, y: clientHeight / 2 };
    const before = this.#place();
    const zoom = Math.min(Math.max(this.zoom * factor, 1), MOST);
    const x = (at.x - before.x) / before.scale;
    const y = (at.y - before.y) / before.scale;
    this.zoom = zoom;
    if (zoom === 1) this.pan = { x: 0, y: 0 };
    const after = this.#place();
    this.pan.x += at.x - (after.x + x * after.scale);
    this.pan.y += at.y - (after.y + y * after.scale);
    if (zoom === 1) this.pan = { x: 0, y: 0 };
    this.draw();
  }

  draw() {
    if (this.drawing) return;
    this.drawing = true;
    requestAnimationFrame(() => {
      this.drawing = false;
      this.#draw();
    });
  }

  /** Where the frame lies on the canvas, in CSS px. */
  #place() {
    const { width, height } = this.store.view.about;
    const { clientWidth: w, clientHeight: hh } = this.canvas;
    const scale = Math.min(w / width, hh / height) * this.zoom;
    return { scale, x: (w - width * scale) / 2 + this.pan.x, y: (hh - height * scale) / 2 + this.pan.y };
  }

  #draw() {
    const { canvas } = this;
    const ratio = window.devicePixelRatio || 1;
    const w = Math.round(canvas.clientWidth * ratio);
    const hh = Math.round(canvas.clientHeight * ratio);
    if (canvas.width !== w || canvas.height !== hh) {
      canvas.width = w;
      canvas.height = hh;
    }
    const c = canvas.getContext("2d");
    if (!c) return;
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.clearRect(0, 0, w, hh);
    if (!this.picture || !this.labels) return;
    const place = this.#place();
    const { about, opacity } = this.store.view;
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.translate(place.x, place.y);
    c.scale(place.scale, place.scale);
    c.imageSmoothingEnabled = place.scale < 3;
    c.imageSmoothingQuality = "high";
    c.drawImage(this.picture, 0, 0, about.width, about.height);
    if (opacity > 0 || this.store.view.outlines) this.#cover(c, place.scale);
    this.#overlay(c, place.scale);
    if (canvas.dataset.frame === undefined) performance.mark("picture");
    canvas.dataset.frame = String(this.shown);
    canvas.dataset.version = String(this.store.view.scene.version);
    canvas.dataset.painted = String(this.version);
  }

  /** The masks. @param {CanvasRenderingContext2D} c @param {number} scale */
  #cover(c, scale) {
    const { store, words } = this;
    const { width, height } = store.view.about;
    const labels = this.trial ?? /** @type {Uint16Array} */ (this.labels);
    const { opacity, outlines: outlined, scene, selected, clusters, cluster } = store.view;
    const inside = new Uint32Array(4096);
    /** @type {[Path2D, string, boolean][]} */
    const lines = [];
    const some = selected.length > 0;
    // Until its labels are here, what a scene no longer has keeps the colour it had.
    const colours = new Map([...this.colours, ...scene.objects.map((o) => /** @type {[number, string]} */ ([o.id, o.colour]))]);
    const paths = outlined ? this.#outlines(labels) : new Map();
    for (let id = 1; id < 4096; id++) {
      if (!store.visible(id)) continue;
      const colour = colours.get(id) ?? (this.trial ? fresh(id) : null);
      if (!colour) continue;
      const chosen = selected.includes(id) || id === this.hovered;
      const strength = chosen ? Math.min(1, opacity + 0.15) : some ? opacity * 0.6 : opacity;
      inside[id] = pixel(colour, strength);
      const path = paths.get(id);
      if (path) lines.push([path, chosen ? "#fff" : colour, chosen]);
    }
    paint(labels, words, inside);
    if (this.clusters && (clusters || cluster !== null)) {
      const faint = new Uint32Array(4096);
      const around = this.#outlines(this.clusters);
      for (const { id } of scene.clusters) {
        const chosen = id === cluster;
        if (!clusters && !chosen) continue;
        faint[id] = pixel(CLUSTER, chosen ? 0.38 : 0.1);
        const path = around.get(id);
        if (path) lines.push([path, chosen ? "#fff" : "rgb(200 204 216 / .5)", chosen]);
      }
      const under = new Uint32Array(words.length);
      paint(this.clusters, under, faint);
      for (let i = 0; i < words.length; i++) if (!words[i]) words[i] = under[i];
    }
    const cover = /** @type {OffscreenCanvasRenderingContext2D} */ (this.cover.getContext("2d"));
    cover.putImageData(this.image, 0, 0);
    c.drawImage(this.cover, 0, 0, width, height);
    for (const [path, colour, chosen] of lines.sort((a, b) => Number(a[2]) - Number(b[2]))) {
      if (chosen) stroke(c, path, "rgb(0 0 0 / .5)", 4 / scale);
      stroke(c, path, colour, (chosen ? 2 : 1.6) / scale);
    }
  }

  /** The outlines of labels, traced once. @param {Uint16Array} labels */
  #outlines(labels) {
    let known = this.traced.get(labels);
    if (!known) {
      known = outlines(labels, this.store.view.about.width);
      this.traced.set(labels, known);
      for (const old of this.traced.keys()) {
        if (this.traced.size <= TRACED) break;
        this.traced.delete(old);
      }
    }
    return known;
  }

  /** Brush, points of a split, what was pressed. @param {CanvasRenderingContext2D} c @param {number} scale */
  #overlay(c, scale) {
    const { about, radius, tool, frame, pressed } = this.store.view;
    const { width, height } = about;
    const r = radius * height;
    if (this.stroke?.frame === this.shown) {
      const { add, points } = this.stroke;
      c.strokeStyle = add ? "rgb(255 255 255 / .6)" : "rgb(20 20 24 / .65)";
      c.lineWidth = 2 * this.stroke.radius * height;
      c.lineCap = c.lineJoin = "round";
      c.beginPath();
      for (const [x, y] of points) c.lineTo(x * width, y * height);
      if (points.length === 1) c.lineTo(points[0][0] * width + 0.01, points[0][1] * height);
      c.stroke();
    }
    if (this.pointer && (tool === "brush" || tool === "erase")) {
      for (const [colour, wide] of /** @type {[string, number][]} */ ([["rgb(0 0 0 / .7)", 3], ["#fff", 1.4]])) {
        c.strokeStyle = colour;
        c.lineWidth = wide / scale;
        c.setLineDash(tool === "erase" ? [6 / scale, 4 / scale] : []);
        c.beginPath();
        c.arc(this.pointer.x, this.pointer.y, r, 0, 2 * Math.PI);
        c.stroke();
      }
      c.setLineDash([]);
    }
    for (const { at, side } of this.marks) if (at[0] === frame) dot(c, at[1] * width, at[2] * height, scale, side + 1);
    if (pressed && pressed[0] === frame) dot(c, pressed[1] * width, pressed[2] * height, scale, null);
  }

  /** What lies under a pointer. @param {PointerEvent | WheelEvent | MouseEvent} event */
  under(event) {
    const box = this.canvas.getBoundingClientRect();
    const place = this.#place();
    const { width, height } = this.store.view.about;
    const x = (event.clientX - box.left - place.x) / place.scale;
    const y = (event.clientY - box.top - place.y) / place.scale;
    const inside = x >= 0 && y >= 0 && x < width && y < height;
    const i = Math.floor(y) * width + Math.floor(x);
    const id = inside && this.labels ? this.labels[i] : 0;
    const cluster = inside && !id && this.clusters ? this.clusters[i] : 0;
    /** @type {Point} */
    const at = [this.shown, clamp(x / width), clamp(y / height)];
    return { x, y, inside, id: this.store.visible(id) ? id : 0, cluster, at };
  }

  #listen() {
    const { canvas, store, hands } = this;
    let panning = false;
    let last = { x: 0, y: 0 };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.focus({ preventScroll: true });
      const { tool, radius, carry } = store.view;
      const found = this.under(event);
      if (event.button === 1 || event.button === 2 || (event.button === 0 && event.shiftKey && !found.inside)) {
        panning = true;
      } else if (event.button === 0 && (tool === "brush" || tool === "erase") && found.inside) {
        if (!store.things.length) return hands.fail("Select the object first, then paint.");
        const [frame, x, y] = found.at;
        this.stroke = { of: store.things[0].id, frame, add: tool === "brush", radius, carry, points: [[x, y]] };
        store.set({ playing: false, frame });
      } else return;
      last = { x: event.clientX, y: event.clientY };
      canvas.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    canvas.addEventListener("pointermove", (event) => {
      const found = this.under(event);
      this.pointer = { x: found.x, y: found.y };
      if (panning) {
        this.pan.x += event.clientX - last.x;
        this.pan.y += event.clientY - last.y;
        last = { x: event.clientX, y: event.clientY };
      } else if (this.stroke) {
        const { points } = this.stroke;
        const [x, y] = points[points.length - 1];
        if (Math.hypot(found.at[1] - x, found.at[2] - y) > 0.004) points.push([found.at[1], found.at[2]]);
      } else this.#hover(event, found);
      this.draw();
    });
    canvas.addEventListener("pointerup", () => {
      panning = false;
      const said = this.stroke;
      this.stroke = null;
      if (said) hands.stroke({ edit: "brush", ...said, points: said.points.slice(0, 2000) });
    });
    canvas.addEventListener("pointercancel", () => {
      panning = false;
      this.stroke = null;
      this.draw();
    });
    canvas.addEventListener("pointerleave", () => {
      this.pointer = null;
      this.tip.hidden = true;
      this.hovered = 0;
      this.draw();
    });
    canvas.addEventListener("click", (event) => {
      const found = this.under(event);
      const { tool } = store.view;
      if (!found.inside || tool === "brush" || tool === "erase") return;
      if (tool === "attention") hands.press(found.at);
      else if (tool === "promote") hands.promote(found.at);
      else if (tool === "split") hands.side(found.at, found.id);
      else {
        hands.select(found.id, event.shiftKey || event.ctrlKey || event.metaKey);
        store.set({ cluster: found.cluster || null });
      }
    });
    canvas.addEventListener("dblclick", (event) => {
      const found = this.under(event);
      if (found.inside && store.view.tool === "select" && !found.id) hands.promote(found.at);
    });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        const box = canvas.getBoundingClientRect();
        this.magnify(Math.exp(-event.deltaY / 300), { x: event.clientX - box.left, y: event.clientY - box.top });
      },
      { passive: false },
    );
  }

  /** @param {PointerEvent} event @param {ReturnType<Stage["under"]>} found */
  #hover(event, found) {
    const { store, tip } = this;
    this.hovered = found.id;
    const thing = store.thing(found.id);
    const cluster = store.view.scene.clusters.find((c) => c.id === found.cluster);
    const paints = ["brush", "erase", "split"].includes(store.view.tool);
    if (!store.view.playing && store.view.tool === "promote") store.set({ cluster: found.id ? null : found.cluster || null });
    if (!found.inside || (!thing && !cluster) || store.view.playing || paints) {
      tip.hidden = true;
      return;
    }
    const area = (/** @type {import("./types.js").Presence} */ p) =>
      `${((100 * p.largest * level(p.areas, this.shown)) / 255).toFixed(1)} % of the frame`;
    const unnamed = thing && !thing.name ? "" : thing ? `id ${thing.id} · ` : "";
    tip.textContent = "";
    const strong = document.createElement("b");
    strong.textContent = thing ? nameOf(thing) : "background";
    const rest = document.createElement("span");
    rest.textContent = thing
      ? `${unnamed}${thing.class ? `${thing.class} · ` : ""}score ${thing.score.toFixed(2)} · ${area(thing)}`
      : cluster
        ? `${area(cluster)}${HINTS[store.view.tool] ?? ""}`
        : "";
    tip.append(strong, rest);
    tip.hidden = false;
    const box = this.canvas.getBoundingClientRect();
    const x = Math.min(event.clientX - box.left + 16, box.width - tip.offsetWidth - 8);
    const y = Math.min(event.clientY - box.top + 18, box.height - tip.offsetHeight - 8);
    tip.style.transform = `translate(${x}px, ${y}px)`;
  }
}

/** @param {number} x */
const clamp = (x) => Math.round(Math.min(Math.max(x, 0), 1) * 1e5) / 1e5;

/** @param {CanvasRenderingContext2D} c @param {Path2D} path @param {string} colour @param {number} width */
function stroke(c, path, colour, width) {
  c.strokeStyle = colour;
  c.lineWidth = width;
  c.lineCap = "round";
  c.stroke(path);
}

/** The colour of an object that an edit would make. @param {number} id */
const fresh = (id) => ["#ffffff", "#ffd166", "#06d6a0", "#ef476f", "#118ab2"][id % 5];

/** @type {Map<string, Uint8Array>} */
const decoded = new Map();

/** One value of a series of bytes in base64. @param {string} text */
export function series(text) {
  let bytes = decoded.get(text);
  if (!bytes) {
    if (decoded.size > 400) decoded.clear();
    bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    decoded.set(text, bytes);
  }
  return bytes;
}

/** @param {string} text @param {number} i */
const level = (text, i) => series(text)[i] ?? 0;

/**
 * @param {CanvasRenderingContext2D} c @param {number} x @param {number} y @param {number} scale
 * @param {number | null} text
 */
function dot(c, x, y, scale, text) {
  const r = (text === null ? 7 : 11) / scale;
  c.beginPath();
  c.arc(x, y, r, 0, 2 * Math.PI);
  c.fillStyle = text === 2 ? "#ffb454" : text === null ? "#ff7a45" : "#58c4ff";
  c.fill();
  c.lineWidth = 2 / scale;
  c.strokeStyle = "#fff";
  c.stroke();
  if (text !== null) {
    c.fillStyle = "#101218";
    c.font = `700 ${13 / scale}px system-ui, sans-serif`;
    c.textAlign = "center";
    c.textBaseline = "middle";
    c.fillText(String(text), x, y + 0.5 / scale);
  }
}
