"""The guided filter (He et al., 2010): masks that follow the colours of their picture.

kornia's `guided_blur`, borders replicated, gives the same, as the tests hold; it takes three times
as long and hides the fits, of which films at full size are made.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

LEAST = 0.52
"""Sum of the objects' shares from which a pixel is an object's: a little over half, for patches
that hold some of an object look more like it than it fills them."""


def guided_fits(
    guide: Float[Tensor, "1 3 H W"], masks: Float[Tensor, "1 k H W"], radius: int, epsilon: float
) -> Float[Tensor, "k 4 H W"]:
    """Every mask as a locally linear function of the guide's colours: a (3 values) and b.

    In each window of side 2·radius + 1 the mask is fitted by a·colour + b with a penalty epsilon
    on a; a pixel takes the mean of all fits whose windows hold it. Smooth, so that fits of a small
    guide serve a larger one of the same picture too (Fast Guided Filter, arXiv 1505.00996).
    """
    mean = box_mean(guide, radius)
    pairs = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    products = torch.cat([guide[:, i : i + 1] * guide[:, j : j + 1] for i, j in pairs], 1)
    second = box_mean(products, radius)[0]
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
        level = box_mean(mask[None], radius)
        covariance = (box_mean(guide * mask, radius) - mean * level)[0]
        slope = (inverse * covariance).sum(1) / determinant
        offset = level[0] - (slope * mean[0]).sum(0, keepdim=True)
        out.append(box_mean(torch.cat((slope, offset))[None], radius)[0])
    return torch.stack(out) if out else guide.new_zeros(0, 4, *guide.shape[2:])


def fitted(fits: Float[Tensor, "k 4 *s"], colours: Float[Tensor, "3 *s"]) -> Float[Tensor, "k *s"]:
    """What fits make of the colours at the same places: the filtered masks."""
    return (fits[:, :3] * colours).sum(1) + fits[:, 3]


def box_mean(x: Float[Tensor, "1 c H W"], radius: int) -> Float[Tensor, "1 c H W"]:
    """Mean over a square window of side 2·radius + 1, the borders repeated.

    Sums of 1, 2, 4, … values make the sum of a window: a tenth of the time of `avg_pool2d`.
    """
    side = 2 * radius + 1
    x = F.pad(x, (radius,) * 4, mode="replicate")
    return _sums(_sums(x, side, -2), side, -1) / side**2


def _sums(x: Tensor, side: int, dim: int) -> Tensor:
    """Sums of so many neighbours, without the places where some of them are missing."""
    length = x.shape[dim] - side + 1
    total, done, width = None, 0, 1  # x holds sums of `width` values
    while True:
        if side & width:
            part = x.narrow(dim, done, length)
            total, done = part if total is None else total + part, done + width
        if total is not None and done == side:
            return total
        kept = x.shape[dim] - width
        x, width = x.narrow(dim, 0, kept) + x.narrow(dim, width, kept), 2 * width
