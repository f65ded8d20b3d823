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
 * Paint labels: for each id its pixel.
 * @param {Uint16Array} labels @param {Uint32Array} out @param {Uint32Array} inside by id
 */
export function paint(labels, out, inside) {
  const n = labels.length;
  for (let i = 0; i < n; i++) out[i] = inside[labels[i]];
}

/**
 * The outline of every id, in pixels of the frame: marching squares, so that a line goes through
 * the middle between two pixels, and slants where it steps. There is none along the frame's border.
 * @param {Uint16Array} labels @param {number} width @returns {Map<number, Path2D>}
 */
export function outlines(labels, width) {
  /** @type {Map<number, Path2D>} */
  const paths = new Map();
  const height = labels.length / width;
  for (let y = 0; y + 1 < height; y++) {
    for (let x = 0, i = y * width; x + 1 < width; x++, i++) {
      const a = labels[i];
      const b = labels[i + 1];
      const c = labels[i + width + 1];
      const d = labels[i + width];
      if (a === b && b === c && c === d) continue;
      const mx = x + 1;
      const my = y + 1;
      for (const id of new Set([a, b, c, d])) {
        if (!id) continue;
        let path = paths.get(id);
        if (!path) paths.set(id, (path = new Path2D()));
        // Where it ends between two pixels: above, to the right, below, to the left of the corner.
        const ends = [];
        if ((a === id) !== (b === id)) ends.push(mx, my - 0.5);
        if ((b === id) !== (c === id)) ends.push(mx + 0.5, my);
        if ((c === id) !== (d === id)) ends.push(mx, my + 0.5);
        if ((d === id) !== (a === id)) ends.push(mx - 0.5, my);
        for (let k = 0; k < ends.length; k += 4) {
          path.moveTo(ends[k], ends[k + 1]);
          path.lineTo(ends[k + 2], ends[k + 3]);
        }
      }
    }
  }
  return paths;
}
