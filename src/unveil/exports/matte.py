"""How much of every pixel is an object's: masks with soft edges, for cutting pictures out.

Where a pass over the video told how much of a pixel is each object's (`Result.shares`), the edge is
as wide as that is unsure. Where nothing but hard masks is kept (the published method, masks of
others, what was painted by hand), a guided filter lets the mask follow the colours of the frame.
Either way an edge is soft within BAND of where the mask ends, and nowhere else, and opacity is over
127 in the pixels of the mask and in no other.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from scipy import ndimage
from torch import Tensor

from unveil.exports.colours import sampled
from unveil.results.guided import LEAST, fitted, guided_fits

BAND = 6
"""Pixels on either side of a mask's border within which it may be soft, in a frame of 480 lines."""
WIDTH = 0.5
"""Of the share of a pixel, over which the object goes from nothing to all."""
RADIUS = 3
"""Of the guided filter that softens hard masks, in pixels of a frame of 480 lines."""
EPSILON = 1e-4
"""Variance of colour (0 … 1) below which the guided filter takes a window for flat."""
HALF = 0.503
"""Opacity that no pixel of the mask is under, and what is left over where one is not of it."""
LINES = 480
_BLOCK = 16


@torch.inference_mode()
def matte(
    mask: Bool[np.ndarray, "H W"],
    frame: UInt8[np.ndarray, "H W 3"],
    shares: Float[Tensor, "k H W"] | None = None,
    inside: Bool[np.ndarray, " k"] | None = None,
) -> UInt8[np.ndarray, "H W"]:
    """The opacity 0 … 255 of what a mask holds.

    shares: how much of a pixel is each object's of the frame, about 0 … 1; inside: which of them
    the mask is of. Where these do not say what the mask says (a brush stroke), the guided filter
    is asked instead. Only the pixels near a border are looked at.
    """
    alpha = np.where(mask, np.uint8(255), np.uint8(0))
    if mask.all() or not mask.any():
        return alpha
    scale = max(mask.shape) * 9 / 16 / LINES
    band, radius = (max(1, round(x * scale)) for x in (BAND, RADIUS))
    border = spread(mask, band) & spread(~mask, band)
    at = np.stack(np.nonzero(border))
    seen = torch.from_numpy(mask[*at])
    sure, unsaid = torch.zeros(at.shape[1]), np.ones(at.shape[1], bool)
    if shares is not None and inside is not None:
        sure = _margin(shares[:, *at], torch.from_numpy(inside))
        unsaid = ((sure > 0) != seen).numpy()
    if unsaid.any():
        border[*at] = unsaid
        followed = np.zeros(mask.shape, np.float32)
        for box in regions(border, 2 * radius):
            _follow(followed[box], frame[box], mask[box], border[box], radius)
        sure[unsaid] = torch.from_numpy(followed[border]) - 0.5
    level = (sure / WIDTH + 0.5).clamp(0, 1)
    level = torch.where(seen, level.clamp_min(HALF), level.clamp_max(1 - HALF))
    alpha[*at] = (level * 255).round().to(torch.uint8).numpy()
    return alpha


def spread(mask: Bool[np.ndarray, "H W"], reach: int) -> Bool[np.ndarray, "H W"]:
    """All pixels that are so many rows and columns, or fewer, from one of the mask."""
    side = 2 * reach + 1
    for _ in range(2):
        mask, width = np.pad(mask, ((reach, reach), (0, 0))), 1
        while width < side:
            step = min(width, side - width)
            mask, width = mask[:-step] | mask[step:], width + step
        mask = mask.T
    return mask


def box_of(mask: Bool[np.ndarray, "H W"], pad: int = 0) -> tuple[slice, slice]:
    """Rows and columns of a mask that is not empty, and of so many pixels around it."""
    sides = []
    for length, line in zip(mask.shape, (mask.any(1), mask.any(0)), strict=True):
        there = np.flatnonzero(line)
        sides.append(slice(max(0, int(there[0]) - pad), min(length, int(there[-1]) + pad + 1)))
    return sides[0], sides[1]


def regions(mask: Bool[np.ndarray, "H W"], pad: int) -> list[tuple[slice, slice]]:
    """Boxes apart from each other that together hold the mask and so many pixels around it.

    What is worked on is less than one box of all.
    """
    height, width = mask.shape
    rows, columns = (np.arange(0, side, _BLOCK) for side in mask.shape)
    coarse = np.logical_or.reduceat(np.logical_or.reduceat(mask, rows, 0), columns, 1)
    coarse = spread(coarse, -(-pad // _BLOCK))
    while True:
        boxes = ndimage.find_objects(ndimage.label(coarse)[0])
        filled = np.zeros_like(coarse)
        for box in boxes:
            filled[box] = True
        if np.array_equal(filled, coarse):
            break
        coarse = filled  # boxes that meet become one
    return [
        (
            slice(y.start * _BLOCK, min(height, y.stop * _BLOCK)),
            slice(x.start * _BLOCK, min(width, x.stop * _BLOCK)),
        )
        for y, x in boxes
    ]


def _margin(shares: Float[Tensor, "k n"], inside: Bool[Tensor, " k"]) -> Float[Tensor, " n"]:
    """By how much a pixel is of the objects inside: above 0 where the hard masks give it to them.

    Against the background it is the sum of all shares over LEAST that counts, against the objects
    that are not inside the larger share.
    """
    if not inside.any():
        return shares.new_full(shares.shape[1:], -1)
    against_ground = shares.sum(0) - LEAST
    if inside.all():
        return against_ground
    against_others = shares[inside].amax(0) - shares[~inside].amax(0)
    return torch.minimum(against_ground, against_others)


def _follow(
    out: Float[np.ndarray, "h w"],
    frame: UInt8[np.ndarray, "h w 3"],
    mask: Bool[np.ndarray, "h w"],
    where: Bool[np.ndarray, "h w"],
    radius: int,
) -> None:
    """Put the mask, once it has followed the colours, into `out` at some pixels.

    The filter's fits are made where `step` x `step` pixels are one, so that a window is about five
    wide (Fast Guided Filter, arXiv 1505.00996); the pixels themselves keep their own colours.
    """
    step = (radius + 1) // 2
    hard = np.where(mask, np.uint8(255), np.uint8(0))
    guide, level = (
        torch.from_numpy(np.array(Image.fromarray(np.ascontiguousarray(x)).reduce(step))) / 255
        for x in (frame, hard)
    )
    guide = guide.permute(2, 0, 1)[None]
    fits = guided_fits(guide, level[None, None], max(1, round(radius / step)), EPSILON)
    ys, xs = np.nonzero(where)
    colours = torch.from_numpy(frame[ys, xs]).T / 255
    out[ys, xs] = fitted(sampled(fits, ys, xs, step)[None], colours)[0].numpy()
