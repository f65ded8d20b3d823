"""The guided filter (He et al., 2010): masks that follow the colours of their picture."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def guided_filter(
    guide: Float[Tensor, "1 3 H W"], masks: Float[Tensor, "1 k H W"], radius: int, epsilon: float
) -> Float[Tensor, "1 k H W"]:
    """Every mask as a locally linear function of the guide's colours.

    In each window of side 2·radius + 1 the mask is fitted by a·colour + b with a penalty epsilon
    on a; a pixel takes the mean of all fits whose windows hold it.
    """
    mean = _box(guide, radius)
    pairs = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    products = torch.cat([guide[:, i : i + 1] * guide[:, j : j + 1] for i, j in pairs], 1)
    second = _box(products, radius)[0]
    rr, rg, rb, gg, gb, bb = (
        second[n] - mean[0, i] * mean[0, j] + (epsilon if i == j else 0)
        for n, (i, j) in enumerate(pairs)
    )
    # The inverse of the symmetric 3x3 covariance, written out: one for all masks.
    inverse = torch.stack(
        [
            gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg,
            rb * gb - rg * bb, rr * bb - rb * rb, rb * rg - rr * gb,
            rg * gb - rb * gg, rb * rg - rr * gb, rr * gg - rg * rg,
        ]
    ).unflatten(0, (3, 3))  # fmt: skip
    determinant = rr * inverse[0, 0] + rg * inverse[0, 1] + rb * inverse[0, 2]
    out = []
    for mask in masks[0].split(1):
        level = _box(mask[None], radius)
        covariance = (_box(guide * mask, radius) - mean * level)[0]
        slope = (inverse * covariance).sum(1) / determinant
        offset = level[0] - (slope * mean[0]).sum(0, keepdim=True)
        fit = _box(torch.cat((slope, offset))[None], radius)[0]
        out.append((fit[:3] * guide[0]).sum(0) + fit[3])
    return torch.stack(out)[None]


def _box(x: Tensor, radius: int) -> Tensor:
    """Mean over a square window, the borders repeated."""
    side = 2 * radius + 1
    x = F.pad(x, (radius,) * 4, mode="replicate")
    return F.avg_pool2d(F.avg_pool2d(x, (side, 1), 1), (1, side), 1)
