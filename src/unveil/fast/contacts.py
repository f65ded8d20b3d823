"""Which groups touch, in space and in time, and how alike they are where they do.

The graph of a video: nodes are its groups, edges join groups of which two patches are neighbours,
side by side in a frame or at one place in two frames running. Foreground (`objectness`) and single
objects (`fast.instances`) are found on it.
"""

from dataclasses import dataclass
from functools import cached_property, reduce
from operator import add

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float, Integer

from unveil.fast.groups import Groups

SOFTNESS = 0.2
"""Neighbours whose cosine is lower by this much hold together e times less."""
STRANGE = 0.05
"""Neighbours less alike than this (at a cosine of 0.4) do not hold together at all."""
_STRETCH = 128  # frames counted at once; more would only cost memory
_EDGES = 1 << 14  # compared at once, for the same reason


@dataclass(frozen=True)
class Contacts:
    """How firmly groups hold together: symmetric sparse [G, G], pairs of patches times likeness.

    space: within frames. time: from one frame to the next.
    """

    space: sp.csr_array
    time: sp.csr_array

    @cached_property
    def all(self) -> sp.csr_array:
        """Both together."""
        return (self.space + self.time).tocsr()


def contacts(groups: Groups, softness: float = SOFTNESS) -> Contacts:
    """The contacts of all groups; softness as `scaled_keys` takes it.

    Cost: linear in the patches. Peak memory: 128 frames' patch pairs, the edges, and the keys.
    """
    g = len(groups)
    keys = scaled_keys(groups, softness)

    def weigh(counts: sp.csr_array) -> sp.csr_array:
        edges = counts.tocoo()
        likeness = np.empty(len(edges.data), keys.dtype)
        for start in range(0, len(likeness), _EDGES):
            part = slice(start, start + _EDGES)
            apart = keys[edges.row[part]] - keys[edges.col[part]]
            likeness[part] = np.exp(-np.square(apart).sum(1))
        edges.data = np.where(likeness < STRANGE, 0, edges.data * likeness)
        edges.eliminate_zeros()
        return edges.tocsr()

    space, time = [], []
    for start in range(0, len(groups.ids), _STRETCH):
        ids = groups.ids[start : start + _STRETCH]
        across = groups.ids[start : start + _STRETCH + 1]
        space.append(_count(ids[:, 1:], ids[:, :-1], g) + _count(ids[..., 1:], ids[..., :-1], g))
        time.append(_count(across[1:], across[:-1], g))
    return Contacts(*(weigh(reduce(add, part)) for part in (space, time)))


def scaled_keys(groups: Groups, softness: float = SOFTNESS) -> Float[np.ndarray, "g c"]:
    """Mean keys on a scale on which the likeness of two is exp(-d²), d their distance.

    d² is the squared distance of keys over 2 · softness · v, v the mean squared distance of the
    video's keys from their mean. For centred keys of equal length it is (1 - cosine) / softness.
    """
    share = groups.counts / groups.counts.sum()
    centred = groups.keys - share @ groups.keys
    spread = max(float(share @ torch.linalg.vector_norm(centred, dim=1).square()), 1e-12)
    return centred.div_((2 * softness * spread) ** 0.5).cpu().numpy()


def _count(
    a: Integer[np.ndarray, "t h w"], b: Integer[np.ndarray, "t h w"], g: int
) -> sp.csr_array:
    """How often different groups stand at the same place of two arrays, both ways round."""
    differ = a != b
    a, b = a[differ], b[differ]
    ones = np.ones(len(a), np.float32)
    counts = sp.coo_array((ones, (a, b)), shape=(g, g)).tocsr()
    return (counts + counts.T).tocsr()
