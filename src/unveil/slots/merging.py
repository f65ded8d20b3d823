"""Slots that say the same, joined: the merging of SOLV (Aydemir et al., arXiv 2310.06907)."""

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.cluster.hierarchy import fcluster, linkage
from torch import Tensor
from torch.nn import functional as F


def alike(slots: Float[Tensor, "k d"], threshold: float) -> Int[Tensor, " k"]:
    """The group of every slot, 0 … , in the order in which groups first appear.

    Complete linkage on 1 - cosine similarity, cut where the two furthest of a group are more than
    `threshold` apart (SOLV: 0.12). Where fewer than three groups are left nothing is joined, as in
    SOLV's code: two regions are no segmentation.
    """
    k = len(slots)
    if k < 2:
        return torch.zeros(k, dtype=torch.long)
    with torch.no_grad():
        x = F.normalize(slots.double(), dim=-1)
        near = (1 - x @ x.T).clamp_min(0).cpu().numpy()
    tree = linkage(near[np.triu_indices(k, 1)], "complete")
    # SciPy joins at the threshold as well, scikit-learn (which SOLV uses) only below it.
    groups = fcluster(tree, np.nextafter(threshold, 0), "distance")
    _, first, place = np.unique(groups, return_index=True, return_inverse=True)
    if len(first) < 3:
        return torch.arange(k)
    rank = np.argsort(np.argsort(first))
    return torch.from_numpy(rank[place])


def joined(x: Float[Tensor, "k c"], groups: Int[Tensor, " k"], mean: bool) -> Float[Tensor, "g c"]:
    """Sums, or means, of the rows of each group."""
    member = F.one_hot(groups.to(x.device)).to(x).T
    return member @ x / member.sum(1, keepdim=True) if mean else member @ x
