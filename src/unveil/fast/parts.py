"""The parts of objects and of the background: the leaves of the tree that a video is cut by.

A part of an object is what one prototype has of it; a part of the background is a prototype.
"""

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float, Integer

from unveil.attention.divergence import symmetric_kl
from unveil.fast.state import WHOLE

GROUND = 3.0
"""Height at which objects and background merge."""
MAX_PARTS = 256
"""Parts of objects that can be told apart, the largest ones."""
_CLEAR = 1e-6
"""Of a band of heights, kept free at either end, so that no height lies on the border of two."""


def parts(
    object_: np.ndarray, member: np.ndarray, counts: np.ndarray
) -> tuple[Integer[np.ndarray, " g"], Integer[np.ndarray, "p 2"]]:
    """The part of every group, -1 outside, and the object and prototype of every part.

    object_: [G], -1 outside. member: [G], the prototypes. counts: [G], patches. Beyond `MAX_PARTS`
    the small ones fall to the largest of their object.
    """
    part = np.full(len(object_), -1)
    inside = object_ >= 0
    if not inside.any():
        return part, np.zeros((0, 2), int)
    pairs = np.stack((object_, member), 1)[inside]
    of, label = np.unique(pairs, axis=0, return_inverse=True)
    mass = np.bincount(label, counts[inside])
    order = np.argsort(-mass, kind="stable")
    _, largest = np.unique(of[order, 0], return_index=True)
    largest = order[largest]  # of every object
    kept = np.union1d(order[: max(MAX_PARTS - len(largest), 0)], largest)
    into = largest[of[:, 0]]
    into[kept] = kept
    part[inside] = np.searchsorted(kept, into[label])
    return part, of[kept]


def distances(
    rows: Float[torch.Tensor, "l m"], owner: Integer[np.ndarray, " l"]
) -> Float[np.ndarray, "l l"]:
    """Symmetric KL of the parts' rows, on the scale that `fast.State` gives the heights.

    owner: the object of every part, -1 for the background's. Distances within objects, within the
    background and between objects are each a share of the largest of their kind. Those between
    objects lie above `WHOLE` even where two objects look exactly alike.
    """
    d = symmetric_kl(rows, rows).double().clamp_min(0).cpu().numpy()
    ground = owner < 0
    same = owner[:, None] == owner
    scaled = np.full_like(d, GROUND)
    kinds = (
        (same & ~ground, 0.0),
        (same & ground, 0.0),
        (~same & ~ground & ~ground[:, None], WHOLE + _CLEAR),
    )
    for kind, base in kinds:
        top = max(d[kind].max(initial=0.0), 1e-12) * (1 + 2 * _CLEAR)
        scaled[kind] = base + d[kind] / top
    return scaled


def spread(part: Integer[np.ndarray, " g"], touching: sp.csr_array) -> Integer[np.ndarray, " g"]:
    """The part of every group, with those outside given the part that they hold to most.

    touching: [G, G] contacts. -1 where a group touches none.
    """
    inside = part >= 0
    if not inside.any():
        return part
    k = int(part.max()) + 1
    onto = sp.coo_array(
        (np.ones(inside.sum()), (np.flatnonzero(inside), part[inside])), shape=(len(part), k)
    )
    held = (touching @ onto.tocsr()).tocsr()
    best = np.full(len(part), -1)
    strongest = held.max(axis=1).toarray().ravel()
    edges = held.tocoo()
    at_best = edges.data == strongest[edges.row]
    best[edges.row[at_best]] = edges.col[at_best]
    return np.where(inside, part, best)
