"""Cut-outs: what was found in a clip, as things that can be pasted into another."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Integer, UInt8
from scipy import ndimage

SMALLEST, LARGEST = 0.004, 0.5
"""Of the frame's area: what is smaller is a speck, what is larger is more likely the scene."""
WHOLE = 0.8
"""Share of an id's pixels that its largest connected piece must hold for it to be one thing."""
FILLED = 0.25
"""Share of its box that a thing fills at least; less is a net or a frame around something."""
TOUCHES = 0.25
"""Share of a side of its box, lying on the frame's edge, from which the frame cut it there."""
SIDES = ("top", "left", "bottom", "right")


@dataclass(frozen=True)
class CutOut:
    """One thing in some frames of a clip, cut to a box that holds it in all of them.

    pixels: RGB. mask: the thing. sides: where the edge of its frame cut through it, in the order of
    `SIDES`; such a thing can only be pasted at such an edge again. frame: (H, W) it was cut
    from, px. source: the clip's digest.
    """

    pixels: UInt8[np.ndarray, "t H W 3"]
    mask: Bool[np.ndarray, "t H W"]
    sides: tuple[bool, bool, bool, bool]
    frame: tuple[int, int]
    source: str

    @property
    def area(self) -> float:
        """Its pixels as a share of its frame's, the mean over its frames."""
        return float(self.mask.sum() / len(self.mask) / (self.frame[0] * self.frame[1]))


def cut_out(
    frames: UInt8[np.ndarray, "t H W 3"], labels: Integer[np.ndarray, "t H W"], source: str
) -> list[CutOut]:
    """Every id that is surely one thing in all frames that show it, as a cut-out.

    labels: 0 is background. An id is kept for the frames in which it is one connected piece of a
    sensible size (`SMALLEST` …); of these, the longest run of frames in a row.
    """
    found = []
    for id in np.unique(labels[labels > 0]):
        pieces = [one_piece(frame == id) for frame in labels]
        start, stop = _longest(np.array([p is not None for p in pieces]))
        if start == stop:
            continue
        mask = np.stack([p for p in pieces[start:stop] if p is not None])
        rows, columns = np.where(mask.any((0, 2)))[0], np.where(mask.any((0, 1)))[0]
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        inside = (slice(None), *box)
        pixels = frames[start:stop][inside].copy()
        sides = cut_sides(mask, box)
        found.append(CutOut(pixels, mask[inside].copy(), sides, labels.shape[1:], source))
    return found


def one_piece(mask: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"] | None:
    """The largest connected piece of a mask with its holes filled; None if that is no one thing."""
    names, count = ndimage.label(mask)
    if count == 0:
        return None
    sizes = np.bincount(names.ravel())[1:]
    piece = ndimage.binary_fill_holes(names == 1 + sizes.argmax())
    if sizes.max() < WHOLE * sizes.sum() or not SMALLEST <= piece.mean() <= LARGEST:
        return None
    rows, columns = np.where(piece.any(1))[0], np.where(piece.any(0))[0]
    box = (rows[-1] + 1 - rows[0]) * (columns[-1] + 1 - columns[0])
    return piece if piece.sum() >= FILLED * box else None


def cut_sides(
    mask: Bool[np.ndarray, "t H W"], box: tuple[slice, slice]
) -> tuple[bool, bool, bool, bool]:
    """At which edges of the frame a thing is cut off, in any frame; the order is `SIDES`."""
    height, width = (int(side.stop - side.start) for side in box)

    def cut(edge: np.ndarray, length: int) -> bool:
        return bool(edge.sum(1).max() > TOUCHES * length)

    return (
        cut(mask[:, 0], width),
        cut(mask[:, :, 0], height),
        cut(mask[:, -1], width),
        cut(mask[:, :, -1], height),
    )


def _longest(good: Bool[np.ndarray, " t"]) -> tuple[int, int]:
    """Start and stop of the longest run of True; (0, 0) where there is none."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], good.astype(np.int8), [0]))))
    runs = edges.reshape(-1, 2)
    start, stop = max(runs.tolist(), key=lambda r: r[1] - r[0], default=(0, 0))
    return start, stop
