"""Where objects are in a frame and how large: boxes, areas and centres, without their masks."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt


@dataclass(frozen=True)
class Extent:
    """One object in one frame.

    box: x, y, w, h in px. area: pixels. centre: mean x and y of them, in px; a pixel's own is
    at 0.5.
    """

    box: tuple[int, int, int, int]
    area: int
    centre: tuple[float, float]


def extents(labels: UInt[np.ndarray, "H W"]) -> dict[int, Extent]:
    """The extent of every id but 0 that occurs in labels, by ascending id.

    From the runs of equal pixels in the rows: one pass over the pixels, whatever the number of ids.
    """
    h, w = labels.shape
    flat = labels.ravel()
    begins = np.empty(h * w, bool)
    begins[1:] = flat[1:] != flat[:-1]
    begins[::w] = True  # a run ends with its row
    starts = np.flatnonzero(begins)
    lengths = np.diff(starts, append=h * w)
    values = flat[starts]
    mine = values != 0
    starts, lengths = starts[mine], lengths[mine]
    ids, of = np.unique(values[mine], return_inverse=True)
    top, left = np.divmod(starts, w)
    count = len(ids)
    x0, y0 = np.full(count, w), np.full(count, h)
    x1, y1 = np.zeros(count, int), np.zeros(count, int)
    np.minimum.at(x0, of, left)
    np.maximum.at(x1, of, left + lengths)
    np.minimum.at(y0, of, top)
    np.maximum.at(y1, of, top + 1)
    area = np.bincount(of, lengths, count)
    # The sum of the columns of a run from a to b is (a + b) (b - a + 1) / 2; all are whole.
    across = np.bincount(of, lengths * (2 * (left - x0[of]) + lengths - 1), count) / 2
    down = np.bincount(of, lengths * (top - y0[of]), count)
    x, y = x0 + across / area + 0.5, y0 + down / area + 0.5
    boxes = np.stack((x0, y0, x1 - x0, y1 - y0), 1).tolist()
    centres = np.stack((x, y), 1).tolist()
    every = zip(ids.tolist(), boxes, area.astype(int).tolist(), centres, strict=True)
    return {id: Extent(tuple(box), pixels, tuple(centre)) for id, box, pixels, centre in every}
