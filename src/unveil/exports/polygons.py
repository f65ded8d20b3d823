"""The outline of a mask as one closed polygon, holes and separate parts joined to it by bridges.

Vertices are centres of pixels on the rim of the mask, as OpenCV's `findContours` gives them, so
that filling the polygon in its way (rim included, holes by the even-odd rule) gives the mask back
to the pixel. Text forms that hold one polygon an object have no better way to say "hole" or "part":
from the outline a bridge leads there and the same way back. A bridge within the mask costs
nothing; one between separate parts is filled as a line, a pixel wide.
"""

import numpy as np
from scipy.spatial import cKDTree

# Edges of a pixel, in the direction that keeps the pixel to the right: top, right, bottom, left.
_STEP = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)])  # down, right: from corner to corner
_START = np.array([(0, 0), (0, 1), (1, 1), (1, 0)])  # the corner that an edge begins at


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """The closed outlines of a mask bool [H, W], each int [N, 2] as x, y in pixels.

    The rims of parts and of holes, in no order; pixels that touch at a corner are one part.
    Vertices in the middle of a straight run are left out.
    """
    mask = np.asarray(mask, bool)
    padded = np.pad(mask, 1)
    edges = [
        ~padded[:-2, 1:-1],  # above
        ~padded[1:-1, 2:],  # to the right
        ~padded[2:, 1:-1],  # below
        ~padded[1:-1, :-2],  # to the left
    ]
    found = [np.flatnonzero(mask & open_) for open_ in edges]
    pixel = np.stack(np.divmod(np.concatenate(found), mask.shape[1] or 1), axis=1)
    kind = np.repeat(np.arange(len(_STEP)), [len(pixels) for pixels in found])
    if not len(pixel):
        return []
    following = _following(pixel, kind, mask.shape[1] + 1).tolist()
    rims, seen = [], bytearray(len(following))
    for first in range(len(following)):
        if seen[first]:
            continue
        rim, edge = [], first
        while not seen[edge]:
            seen[edge] = 1
            rim.append(edge)
            edge = following[edge]
        rims.append(_simple(pixel[rim][:, ::-1]))
    return rims


def outline(mask: np.ndarray) -> np.ndarray:
    """One closed polygon of a mask bool [H, W], int [N, 2] as x, y; [0, 2] for an empty mask."""
    rings = outlines(mask)
    if not rings:
        return np.zeros((0, 2), int)
    rings.sort(key=len)
    whole = rings.pop()
    while rings:
        tree = cKDTree(whole)
        near = [tree.query(ring) for ring in rings]
        nearest = min(range(len(rings)), key=lambda i: near[i][0].min())
        ring, (far, at) = rings.pop(nearest), near[nearest]
        mine = int(far.argmin())
        here = int(at[mine])
        turned = np.concatenate((ring[mine:], ring[: mine + 1]))
        whole = np.concatenate((whole[: here + 1], turned, whole[here:]))
    return whole


def _following(pixel: np.ndarray, kind: np.ndarray, width: int) -> np.ndarray:
    """For every edge the edge that goes on where it ends.

    Two edges begin at a corner where pixels touch; the one that turns left there joins them.
    """
    start = pixel + _START[kind]
    end = start + _STEP[kind]
    key, goal = (p[:, 0] * width + p[:, 1] for p in (start, end))
    order = np.lexsort((kind, key))
    at = np.searchsorted(key[order], goal)
    one = order[at]
    next_ = np.minimum(at + 1, len(order) - 1)
    other = order[next_]
    two = (key[other] == goal) & (next_ != at)
    left = two & ((kind[other] - kind) % 4 == 3)
    return np.where(left, other, one)


def _simple(ring: np.ndarray) -> np.ndarray:
    """A ring without repeated vertices and those in the middle of a straight run."""
    turns = (ring != np.roll(ring, 1, axis=0)).any(1)
    ring = ring[turns] if turns.any() else ring[:1]
    if len(ring) < 3:
        return ring
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    return ring[(before != after).any(1)]
