// What the page shows at the moment. Parts of the page listen, and draw what changed.

/** @import {About, Cluster, Scene, Thing} from "./types.js" */

/**
 * @typedef {object} View
 * @property {About} about
 * @property {Scene} scene
 * @property {number} frame
 * @property {boolean} playing
 * @property {number[]} selected ids, the first one leads
 * @property {number | null} cluster the background cluster that is pointed at or selected
 * @property {Set<number>} hidden
 * @property {number | null} solo
 * @property {number} opacity 0 … 1
 * @property {boolean} outlines
 * @property {boolean} clusters whether background clusters are shown
 * @property {string} tool
 * @property {number} radius of the brush, as a share of the frame's height
 * @property {boolean} carry
 * @property {[number, number, number] | null} pressed
 * @property {boolean} busy
 */

/** @typedef {keyof View} Key */

export class Store {
  /** @param {View} view */
  constructor(view) {
    this.view = view;
    /** @type {((changed: Set<Key>) => void)[]} */
    this.listeners = [];
  }

  /** @param {(changed: Set<Key>) => void} listener */
  listen(listener) {
    this.listeners.push(listener);
  }

  /** @param {Partial<View>} change */
  set(change) {
    const changed = /** @type {Key[]} */ (Object.keys(change)).filter((k) => change[k] !== this.view[k]);
    if (!changed.length) return;
    Object.assign(this.view, change);
    const keys = new Set(changed);
    for (const listener of this.listeners) listener(keys);
  }

  /** @param {number} id @returns {Thing | undefined} */
  thing(id) {
    return this.view.scene.objects.find((o) => o.id === id);
  }

  /** The selected objects that are (still) there. @returns {Thing[]} */
  get things() {
    return /** @type {Thing[]} */ (this.view.selected.map((id) => this.thing(id)).filter(Boolean));
  }

  /** @returns {Cluster | undefined} */
  get cluster() {
    return this.view.scene.clusters.find((c) => c.id === this.view.cluster);
  }

  /** @param {number} id */
  visible(id) {
    const { solo, hidden } = this.view;
    return solo === null ? !hidden.has(id) : solo === id;
  }
}

/** @param {Thing} thing */
export const nameOf = (thing) => thing.name || `object ${thing.id}`;

/** @param {number} frame @param {number} fps */
export function clock(frame, fps) {
  const seconds = frame / fps;
  const whole = Math.floor(seconds / 60);
  return `${whole}:${(seconds - 60 * whole).toFixed(2).padStart(5, "0")}`;
}
