"""Weighted k-means from given centres, a piece of the points at a time."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

ROUNDS = 5
"""Of Lloyd's iteration; the groups hardly move after that."""
PIECE = 1 << 14
"""Points worked on at once, so that what is computed of them is never held for a whole video."""


def lloyd(
    points: Float[Tensor, "n d"],
    centres: Float[Tensor, "m d"],
    weights: Float[Tensor, " n"],
    rounds: int = ROUNDS,
    precision: torch.dtype = torch.float32,
) -> tuple[Float[Tensor, "m d"], Int[Tensor, " n"]]:
    """K-means from given centres: the centres, and the nearest one of every point.

    precision: of the products that tell what is nearest. A centre that wins no point stays where it
    is.
    """
    low = points.to(precision)
    for _ in range(rounds):
        labels = _nearest(low, centres)
        mass = points.new_zeros(len(centres)).index_add_(0, labels, weights)
        total = weighted_sums(points, labels, weights, len(centres))
        centres = torch.where(mass[:, None] > 0, total / mass.clamp_min(1e-12)[:, None], centres)
    return centres, _nearest(low, centres)


def weighted_sums(
    points: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    weights: Float[Tensor, " n"],
    count: int,
) -> Float[Tensor, "m d"]:
    """The sum of the points of every label 0 … count-1, each times its weight."""
    total = points.new_zeros(count, points.shape[1])
    for x, label, weight in zip(*(y.split(PIECE) for y in (points, labels, weights)), strict=True):
        total.index_add_(0, label, x * weight[:, None])
    return total


def _nearest(points: Tensor, centres: Tensor) -> Tensor:
    offset = centres.square().sum(1) * -0.5
    low = centres.to(points.dtype).T
    return torch.cat([(x @ low).float().add_(offset).argmax(1) for x in points.split(PIECE)])
