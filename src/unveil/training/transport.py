"""Sinkhorn-Knopp: scores scaled until rows and columns have the sums that they should."""

import torch
from jaxtyping import Float
from torch import Tensor


@torch.no_grad()
def sinkhorn(
    scores: Float[Tensor, "*b n k"],
    epsilon: float,
    iterations: int,
    rows: Float[Tensor, "*b n"] | None = None,
    columns: Float[Tensor, "*b k"] | None = None,
) -> Float[Tensor, "*b n k"]:
    """Assignments of n to k that use all k alike (Cuturi, 2013; for prototypes Caron et al., SwAV,
    arXiv 2006.09882); the plan of an optimal transport where sums are given.

    Q = exp(scores / ε); then, `iterations` times, every column is scaled to n / k, or to its sum in
    `columns`, and every row to 1, or to its own in `rows`. Computed as logarithms, so that no ε is
    too small.
    """
    log = scores / epsilon
    for _ in range(iterations):
        log = log - log.logsumexp(-2, keepdim=True)
        if columns is not None:
            log = log + columns.log()[..., None, :]
        log = log - log.logsumexp(-1, keepdim=True)
        if rows is not None:
            log = log + rows.log()[..., None]
    return log.exp()
