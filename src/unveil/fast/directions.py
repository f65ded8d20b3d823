"""The directions that points mostly lie in, so that distances between them cost less.

k-means of a few thousand keys of 384 channels is a matrix product for the most part; in 64
directions it takes a sixth of that, and finds groups as tight.
"""

import torch
from jaxtyping import Float
from torch import Tensor

MOST = 64
"""Directions that the distances between keys are told in."""
_ASKED = 2048  # points, about, evenly spaced among all


def main_directions(points: Float[Tensor, "n d"], count: int = MOST) -> Float[Tensor, "d k"]:
    """An orthonormal basis that holds nearly as much of the points' squares as so many can.

    Randomised subspace iteration of one round (Halko, Martinsson and Tropp, arXiv 0909.4061,
    algorithm 4.4), from a fixed seed: deterministic. All directions where there are no more than
    count. Cost: two products of some two thousand of the points with the basis.
    """
    d = points.shape[1]
    if d <= count:
        return torch.eye(d, dtype=points.dtype, device=points.device)
    some = evenly(points)
    start = torch.randn(d, count, generator=torch.Generator().manual_seed(0)).to(points)
    return torch.linalg.qr(some.T @ (some @ start))[0]


def evenly(points: Float[Tensor, "n d"]) -> Float[Tensor, "m d"]:
    """Some two thousand of the points, evenly spaced, or all where there are fewer."""
    return points[:: max(1, len(points) // _ASKED)]
