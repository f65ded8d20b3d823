"""Weighted k-means from given centres, a piece of the points at a time."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

ROUNDS = 5
"""Of Lloyd's iteration; the groups hardly move after that."""
PIECE = 1 << 12
"""Points worked on at once, so that what is computed of them is never held for a whole video."""


def lloyd(
    points: Float[Tensor, "n d"],
    centres: Float[Tensor, "m d"],
    weights: Float[Tensor, " n"] | None = None,
    rounds: int = ROUNDS,
    of: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Float[Tensor, "m d"], Int[Tensor, " n"]]:
    """K-means from given centres: the centres, and the nearest one of every point.

    weights: None: all are 1. of: what makes points of what is given; it is asked anew for a piece
    each time, so that points are not held. A centre that wins no point stays where it is.
    """
    if of is not None and len(points) <= PIECE:
        points, of = of(points), None

    def nearest(part: Tensor) -> Tensor:
        return _nearest(part if of is None else of(part), centres)

    for _ in range(rounds):
        labels = in_pieces(nearest, points)
        mass = torch.bincount(labels, weights, len(centres)).to(centres.dtype)
        total = weighted_sums(points, labels, weights, len(centres), of)
        centres = torch.where(mass[:, None] > 0, total / mass.clamp_min(1e-12)[:, None], centres)
    return centres, in_pieces(nearest, points)


def in_pieces(work: Callable[[Tensor], Tensor], points: Float[Tensor, "n d"]) -> Tensor:
    """What work makes of points [n, d], a row of each, a piece at a time.

    All goes to one array: many small ones, each made between large ones that come and go, would
    leave gaps in memory that cannot be used.
    """
    first = work(points[:PIECE])
    out = first.new_empty(len(points), *first.shape[1:])
    out[:PIECE] = first
    for start in range(PIECE, len(points), PIECE):
        part = slice(start, start + PIECE)
        out[part] = work(points[part])
    return out


def weighted_sums(
    points: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    weights: Float[Tensor, " n"] | None,
    count: int,
    of: Callable[[Tensor], Tensor] | None = None,
) -> Float[Tensor, "m d"]:
    """The sum of the points of every label 0 … count-1, each times its weight, in fp32.

    weights, of: as `lloyd` takes them.
    """
    total = torch.zeros(count, points.shape[1], device=points.device)
    for start in range(0, len(points), PIECE):
        part = slice(start, start + PIECE)
        x = points[part] if of is None else of(points[part])
        x = x.to(total) if weights is None else x * weights[part, None]
        total.index_add_(0, labels[part], x)
    return total


def weighted_mean(
    points: Float[Tensor, "n d"], weights: Float[Tensor, " n"]
) -> Float[Tensor, " d"]:
    """The mean of points, in fp32."""
    nought = torch.zeros(len(points), dtype=torch.long, device=points.device)
    return weighted_sums(points, nought, weights, 1)[0] / weights.sum()


def _nearest(points: Tensor, centres: Tensor) -> Tensor:
    score = torch.addmm(centres.square().sum(1) * -0.5, points, centres.T)
    # NumPy's takes a third of the time of torch's.
    return torch.from_numpy(score.numpy().argmax(1)) if score.is_cpu else score.argmax(1)
