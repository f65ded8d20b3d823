// Labels of a frame: run lengths in, pixels out.

/**
 * Labels one a pixel, from words of 32 bits: the id in the upper 12, the length below.
 * @param {Uint32Array} words @param {number} size
 */
export function unroll(words, size) {
  const labels = new Uint16Array(size);
  let at = 0;
  for (const word of words) {
    const length = word & 0xfffff;
    const id = word >>> 20;
    if (id) labels.fill(id, at, at + length);
    at += length;
  }
  return labels;
}

/** @param {string} colour #rrggbb @param {number} alpha 0 … 1, as a pixel of an ImageData */
export function pixel(colour, alpha) {
  const rgb = Number.parseInt(colour.slice(1), 16);
  const bgr = ((rgb & 0xff) << 16) | (rgb & 0xff00) | (rgb >>> 16);
  return ((Math.round(alpha * 255) << 24) | bgr) >>> 0;
}

/**
 * Paint labels: for each id the pixel inside, and the one where the id ends.
 * @param {Uint16Array} labels @param {number} width @param {Uint32Array} out
 * @param {Uint32Array} inside @param {Uint32Array} edge by id
 */
export function paint(labels, width, out, inside, edge) {
  const n = labels.length;
  for (let i = 0; i < n; i++) {
    const id = labels[i];
    if (id === 0) {
      out[i] = 0;
      continue;
    }
    const ends =
      labels[i + 1] !== id || labels[i - 1] !== id || labels[i + width] !== id || labels[i - width] !== id;
    out[i] = ends ? edge[id] : inside[id];
  }
}
