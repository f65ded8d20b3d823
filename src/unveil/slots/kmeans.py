"""K-means of keys, nothing trained: the floor of every table of slot methods.

Rows of the cosine similarity of keys are as near as the keys' directions are, so the keys, less
their mean over the video and of length 1, are clustered themselves: all frames together, so that
a cluster is the same one in all of them. Begun by k-means++ (Arthur and Vassilvitskii, 2007).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from unveil.errors import InputError
from unveil.fast.kmeans import lloyd

ROUNDS = 50
TRIES = 4
"""Beginnings; the one whose keys are nearest to their centres counts."""


def cluster_keys(keys: Float[Tensor, "t h w c"], count: int, seed: int = 0) -> Int[Tensor, "t h w"]:
    """The cluster of every patch, 0 … count-1, the largest first.

    Peak memory: one copy of the keys in fp32. Raises InputError where there are fewer patches than
    clusters.
    """
    t, h, w, _ = keys.shape
    x = keys.flatten(0, 2).float()
    if len(x) < count:
        raise InputError(f"{count} clusters of {len(x)} patches: give fewer objects or more frames")
    x = F.normalize(x - x.mean(0), dim=1)
    generator = torch.Generator().manual_seed(seed)
    ones, best, found = x.new_ones(len(x)), -torch.inf, torch.zeros(0)
    for _ in range(TRIES):
        centres, labels = lloyd(x, begin(x, count, generator), ones, ROUNDS)
        # Of points of length 1 the squared distances are 1 - 2 x·c + |c|².
        near = float((2 * (x * centres[labels]).sum(1) - centres.square().sum(1)[labels]).sum())
        if near > best:
            best, found = near, labels
    order = torch.bincount(found, minlength=count).argsort(descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(count, device=order.device)
    return rank[found].view(t, h, w)


def begin(x: Float[Tensor, "n c"], count: int, generator: torch.Generator) -> Float[Tensor, "k c"]:
    """Centres to begin with: each drawn by its squared distance to the nearest before it."""
    chosen = [int(torch.randint(len(x), (1,), generator=generator))]
    far = (x - x[chosen[0]]).square().sum(1)
    while len(chosen) < count:
        # Floats of many points add up roughly: the last is where the sum ends.
        place = float(torch.rand((), generator=generator, dtype=torch.float64) * far.double().sum())
        found = torch.searchsorted(far.double().cumsum(0), place)
        chosen.append(min(int(found), len(x) - 1))
        far = torch.minimum(far, (x - x[chosen[-1]]).square().sum(1))
    return x[chosen]
