// Frames and labels that are here already, and those on their way; the oldest are let go of.

import * as ask from "./ask.js";
import { unroll } from "./runs.js";

const PICTURES = 48;
const MASKS = 64;

/** @template V */
class Kept {
  /** @param {number} room @param {(key: string) => Promise<V>} fetch */
  constructor(room, fetch) {
    this.room = room;
    this.fetch = fetch;
    /** @type {Map<string, V>} */
    this.here = new Map();
    /** @type {Map<string, Promise<V>>} */
    this.coming = new Map();
  }

  /** @param {string} key @returns {Promise<V>} */
  async get(key) {
    const here = this.here.get(key);
    if (here !== undefined) {
      this.here.delete(key);
      this.here.set(key, here);
      return here;
    }
    let coming = this.coming.get(key);
    if (!coming) {
      coming = this.fetch(key).finally(() => this.coming.delete(key));
      this.coming.set(key, coming);
      coming.then((value) => this.put(key, value), () => {});
    }
    return coming;
  }

  /** @param {string} key @param {V} value */
  put(key, value) {
    this.here.set(key, value);
    for (const old of this.here.keys()) {
      if (this.here.size <= this.room) break;
      this.here.delete(old);
    }
  }
}

export class Cache {
  /** @param {number} size pixels of a frame */
  constructor(size) {
    this.size = size;
    // None is closed when it is let go of: it may be on the canvas, or wait for its mask.
    /** @type {Kept<ImageBitmap>} */
    this.pictures = new Kept(PICTURES, (key) => ask.picture(Number(key)));
    /** @type {Kept<Uint16Array<ArrayBuffer>>} */
    this.masks = new Kept(MASKS, async (key) => {
      const [version, frame] = key.split("/").map(Number);
      return unroll(await ask.mask(version, frame), size);
    });
  }

  /** @param {number} version @param {number} frame @returns {Promise<[ImageBitmap, Uint16Array]>} */
  both(version, frame) {
    return Promise.all([this.pictures.get(String(frame)), this.masks.get(`${version}/${frame}`)]);
  }

  /** Keep a mask that came by itself. @param {number} version @param {number} frame @param {Uint32Array} words */
  take(version, frame, words) {
    this.masks.put(`${version}/${frame}`, unroll(words, this.size));
  }

  /** What is here of a frame, at once. @param {number} version @param {number} frame */
  now(version, frame) {
    const picture = this.pictures.here.get(String(frame));
    const labels = this.masks.here.get(`${version}/${frame}`);
    return picture && labels ? { picture, labels } : null;
  }
}
