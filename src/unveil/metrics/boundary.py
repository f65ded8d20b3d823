"""Boundaries of masks, and how well two of them agree: the F of DAVIS.

Source: Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object
Segmentation", CVPR 2016, section 5; the official toolkits of 2016 and 2017.
"""

from dataclasses import dataclass
from functools import cached_property
from math import ceil, hypot, isqrt

import numpy as np
from jaxtyping import Bool, Float, Integer
from scipy import ndimage

TOLERANCE = 0.008
"""How far apart two boundaries may lie and still match, as a share of the picture's diagonal."""

Box = tuple[slice, slice]


def tolerance(height: int, width: int) -> int:
    """How far apart two boundaries may lie in px: ceil(0.008 · diagonal)."""
    return ceil(TOLERANCE * hypot(height, width))


@dataclass(frozen=True)
class Boundary:
    """The boundary pixels of one mask in one frame.

    pixels: their places in the flattened picture, ascending. shape: of the picture. reach: px
    within which a pixel of another boundary matches.
    """

    pixels: np.ndarray
    shape: tuple[int, int]
    reach: int

    @cached_property
    def box(self) -> Box:
        """The smallest box around all pixels within reach."""
        h, w = self.shape
        rows, columns = np.divmod(self.pixels, w)
        return (
            slice(max(0, int(rows[0]) - self.reach), min(h, int(rows[-1]) + self.reach + 1)),
            slice(
                max(0, int(columns.min()) - self.reach),
                min(w, int(columns.max()) + self.reach + 1),
            ),
        )

    @cached_property
    def zone(self) -> np.ndarray:
        """The pixels within reach, bool, over the box."""
        _, w = self.shape
        y, x = self.box[0].start, self.box[1].start
        picture = np.zeros((self.box[0].stop - y, self.box[1].stop - x), bool)
        rows, columns = np.divmod(self.pixels, w)
        picture[rows - y, columns - x] = True
        return dilate(picture, self.reach)


def boundaries(places: Integer[np.ndarray, "h w"], count: int, reach: int) -> list[Boundary]:
    """The boundaries of masks 1 … count in places [H, W]; without pixels where one is not there.

    A pixel lies on the boundary where the mask differs between it and its right, lower or lower
    right neighbour; outside the picture the mask goes on as at its edge.
    """
    h, w = places.shape
    # Cropped to where masks are: the rest of the picture costs nothing from here on.
    top, bottom, left, right = _extent(places)
    if count == 0 or top == bottom:
        return [Boundary(np.empty(0, np.intp), (h, w), reach) for _ in range(count)]
    top, left = max(0, top - 1), max(0, left - 1)
    crop = places[top : bottom + 1, left : right + 1].astype(np.int32)
    padded = np.pad(crop, ((0, 1), (0, 1)), mode="edge")
    found = []
    for i, box in enumerate(ndimage.find_objects(crop, max_label=count), 1):
        if box is None:
            found.append(Boundary(np.empty(0, np.intp), (h, w), reach))
            continue
        y, x = max(0, box[0].start - 1), max(0, box[1].start - 1)
        mask = padded[y : box[0].stop + 1, x : box[1].stop + 1] == i
        here = mask[:-1, :-1]
        edge = (here ^ mask[:-1, 1:]) | (here ^ mask[1:, :-1]) | (here ^ mask[1:, 1:])
        rows, columns = np.divmod(np.flatnonzero(edge), edge.shape[1])
        found.append(Boundary((rows + y + top) * w + columns + x + left, (h, w), reach))
    return found


def _extent(places: np.ndarray) -> tuple[int, int, int, int]:
    """The rows and columns from … to that hold all masks; empty where there are none."""
    rows = np.flatnonzero(places.any(1))
    if len(rows) == 0:
        return 0, 0, 0, 0
    columns = np.flatnonzero(places[rows[0] : rows[-1] + 1].any(0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def matched(pixels: Integer[np.ndarray, "n"], zone_of: Boundary) -> Bool[np.ndarray, "n"]:
    """Which pixels [N] of a flattened picture lie within reach of a boundary, bool [N]."""
    if len(zone_of.pixels) == 0:
        return np.zeros(len(pixels), bool)
    _, w = zone_of.shape
    rows, columns = np.divmod(pixels, w)
    rows_in, columns_in = zone_of.box
    inside = (
        (rows >= rows_in.start)
        & (rows < rows_in.stop)
        & (columns >= columns_in.start)
        & (columns < columns_in.stop)
    )
    hit = np.zeros(len(pixels), bool)
    if not inside.any():  # far apart: the zone, which is what costs, is never drawn
        return hit
    hit[inside] = zone_of.zone[rows[inside] - rows_in.start, columns[inside] - columns_in.start]
    return hit


def f_matrix(proposals: list[Boundary], objects: list[Boundary]) -> Float[np.ndarray, "p o"]:
    """The F of every proposal with every object in one frame, float64 [P, O].

    F is the harmonic mean of precision (pixels of the proposal's boundary near the object's) and
    recall (the other way). Where one of the two has no boundary, its own share is 1 and the
    other's 0, so F is 0; where neither has one, F is 1.
    """
    precision = _shares(proposals, objects)
    recall = _shares(objects, proposals).T
    total = precision + recall
    return np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)


def _shares(mine: list[Boundary], others: list[Boundary]) -> np.ndarray:
    """The share of my boundary's pixels near the other's, [mine, others]."""
    counts = np.array([len(b.pixels) for b in mine], np.intp)
    shares = np.zeros((len(mine), len(others)))
    empty = counts == 0
    pixels = np.concatenate([b.pixels for b in mine]) if len(mine) else np.empty(0, np.intp)
    owner = np.repeat(np.arange(len(mine)), counts)
    for j, other in enumerate(others):
        hits = np.bincount(owner[matched(pixels, other)], minlength=len(mine))
        np.divide(hits, counts, out=shares[:, j], where=~empty)
        shares[empty, j] = 1.0
    return shares


def dilate(picture: Bool[np.ndarray, "h w"], radius: int) -> Bool[np.ndarray, "h w"]:
    """The pixels within radius px of a pixel that is set, bool [H, W]: dilation by a disk.

    The disk is taken row by row: widening by one px at a time gives all its rows' widths, so the
    cost grows with the radius, not with its square.
    """
    h, w = picture.shape
    offsets_of: dict[int, list[int]] = {}
    for dy in range(-radius, radius + 1):
        offsets_of.setdefault(isqrt(radius * radius - dy * dy), []).append(dy)
    wide, out = picture.copy(), np.zeros_like(picture)
    for half in range(radius + 1):
        if 0 < half < w:
            wide[:, half:] |= picture[:, : w - half]
            wide[:, : w - half] |= picture[:, half:]
        for dy in offsets_of.get(half, ()):
            if abs(dy) < h:
                out[max(0, dy) : h + min(0, dy)] |= wide[max(0, -dy) : h - max(0, dy)]
    return out
