"""From labels a patch to labels a pixel.

`nearest` is the published way, `upsample` that of the slot methods. `sharpen` lets masks follow the
image in two steps. First its colours speak (Rother et al., "GrabCut", 2004, one round, with
histograms): how much of a patch is an object's is the prior, the colours of the object and of what
surrounds it in this frame are the evidence. Then a guided filter (He et al., "Guided Image
Filtering", 2010; colour guide, and worked at low resolution as in "Fast Guided Filter", arXiv
1505.00996) explains the outcome, in windows a little wider than a patch, as a linear function of
the colours there, so that masks snap to edges and stay smooth where there are none.

Given perfect shares of patches on a 24x42 grid, ten development sequences, one object each: the
filter alone J 0.85 F 0.86, with colours 0.86 and 0.88; given groups labelled perfectly, 0.79 and
0.77, with colours 0.82 and 0.81; as the default finds them (docs/fast.md), 0.76 and 0.70, with
colours 0.77 and 0.74. Repeating the filter or widening its windows costs thin parts and F.
"""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer, UInt8
from torch import Tensor
from torch.nn import functional as F

from unveil.results.guided import box_mean, guided_filter

FINER = 5
"""Filtered at so many samples a patch along each side."""
RADIUS = 4
"""Of the windows, in samples: together 9, not quite two patches."""
EPSILON = 1e-4
"""Variance of colour (0 … 1) below which a window counts as flat."""
BINS = 20
"""Of each colour channel, in the histograms of an object and of what surrounds it."""
AROUND = 10
"""Samples around the objects of a frame that count as their surroundings: two patches."""
UNSURE = 0.02
"""What a prior is never nearer to 0 than: colours can overrule every patch."""
MOST = 0.55
"""Share of a pixel from which it is an object's: a little over half, for patches that hold some of
an object look more like it than it fills them."""


def nearest(
    labels: Integer[np.ndarray, "t h w"], height: int, width: int
) -> Integer[np.ndarray, "t H W"]:
    """Every pixel takes the label of the patch it lies in: the published upsampling."""
    _, h, w = labels.shape
    down = np.arange(height) * h // height
    across = np.arange(width) * w // width
    return labels[:, down][:, :, across]


def upsample(
    masks: Float[np.ndarray, "t k h w"], height: int, width: int
) -> UInt8[np.ndarray, "t H W"]:
    """Every pixel takes the id 1 … K of the mask that is highest there, upsampled bilinearly: how
    slot methods are evaluated (SAVi, VideoSAUR, SlotContrast, SOLV).
    """
    return np.concatenate([_highest(frame, height, width) for frame in masks])


def _highest(masks: np.ndarray, height: int, width: int) -> np.ndarray:
    x = torch.from_numpy(masks.astype(np.float32))[None]
    x = F.interpolate(x, (height, width), mode="bilinear")
    # NumPy's is five times as fast as torch's along the first axis.
    return (1 + x.numpy().argmax(1)).astype(np.uint8)


def labels(
    ids: np.ndarray,
    share: np.ndarray | None,
    frames: np.ndarray,
    masks: np.ndarray | None = None,
) -> np.ndarray:
    """Labels of pixels [t, H, W] of what a pass found: `upsample` where it has masks, `sharpen`
    where patches have a share, else `nearest`.
    """
    _, height, width, _ = frames.shape
    if masks is not None:
        return upsample(masks, height, width)
    if share is None:
        return nearest(ids, height, width)
    return sharpen(ids, share, frames)


def sharpen(
    near: Integer[np.ndarray, "t h w"],
    share: Float[np.ndarray, "t h w"],
    frames: UInt8[np.ndarray, "t H W 3"],
    epsilon: float = EPSILON,
) -> Integer[np.ndarray, "t H W"]:
    """Labels of pixels that follow the edges of the frames; 0 is background.

    near: the id of the object that a patch is of or next to, 0 where none is. share: 0 … 1, how
    much of the patch is that object's. epsilon: > 0, smaller follows weaker edges. Each frame for
    itself, so the answer does not depend on how many come at once. Cost: 10 ms a frame of 854x480
    with an object of a third of it, on one core. Peak memory: two fp32 masks as large as a box
    around all objects, for each of them.
    """
    return np.stack([_sharpen(*each, epsilon) for each in zip(near, share, frames, strict=True)])


def _sharpen(near: np.ndarray, share: np.ndarray, frame: np.ndarray, epsilon: float) -> np.ndarray:
    ids, soft, box = _boxed(near, share, frame, epsilon)
    labels = np.zeros(frame.shape[:2], near.dtype)
    if len(ids):
        # The filter is linear and keeps constants: what the objects leave of 1 is the background's.
        held = (soft.sum(0) > MOST).numpy()
        labels[box] = np.where(held, ids[soft.numpy().argmax(0)], 0)
    return labels


def shares(
    near: Integer[np.ndarray, "h w"],
    share: Float[np.ndarray, "h w"],
    frame: UInt8[np.ndarray, "H W 3"],
    epsilon: float = EPSILON,
) -> tuple[Integer[np.ndarray, " k"], Float[Tensor, "k H W"]]:
    """The ids in a frame, ascending, and how much of every pixel is each one's, about 0 … 1.

    Arguments as `sharpen` takes them, which gives a pixel to the largest share where their sum is
    over MOST.
    """
    ids, soft, box = _boxed(near, share, frame, epsilon)
    whole = soft.new_zeros(len(ids), *frame.shape[:2])
    whole[:, *box] = soft
    return ids, whole


@torch.inference_mode()
def _boxed(
    near: np.ndarray, share: np.ndarray, frame: np.ndarray, epsilon: float
) -> tuple[np.ndarray, Tensor, tuple[slice, slice]]:
    """What `shares` returns, within a box of pixels outside of which all shares are 0."""
    full = height, width = frame.shape[:2]
    h, w = near.shape
    ids = np.unique(near[(near != 0) & (share > 0)])
    everywhere = slice(0, height), slice(0, width)
    if len(ids) == 0 or (len(ids) == 1 and (share * (near != 0) >= 1).all()):
        return ids, torch.ones(len(ids), height, width), everywhere
    size = (min(h * FINER, height), min(w * FINER, width))
    image = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None]
    guide = F.interpolate(image, size, mode="bilinear", antialias=True).float() / 255
    coarse = np.where(near == ids[:, None, None], share, 0).astype(np.float32)
    masks = F.interpolate(torch.from_numpy(coarse)[None], size, mode="bilinear")
    # Colours are asked so near to objects, the filter reaches on from there; then all is 0.
    reach = AROUND + 2 * RADIUS + 1
    part = [_grown(masks[0].sum(0).gt(0.5).any(dim), reach) for dim in (1, 0)]
    guide, masks = (x[:, :, *part] for x in (guide, masks))
    soft = guided_filter(guide, by_colour(guide, masks), RADIUS, epsilon)[0]
    (down, ys), (across, xs) = (_finer(*x) for x in zip(part, size, full, strict=True))
    return ids, down.T @ (soft @ across), (ys, xs)


def _grown(there: Bool[Tensor, " n"], reach: int) -> slice:
    """From the first to the last place that there is, and so many beyond either."""
    at = there.nonzero()[:, 0].tolist() or [0]
    return slice(max(at[0] - reach, 0), at[-1] + 1 + reach)


def _finer(part: slice, count: int, finer: int) -> tuple[Float[Tensor, "p q"], slice]:
    """What a part of `count` samples says of `finer` ones, linearly in between, and of which."""
    weights = _between(count, finer)[part]
    used = _grown(weights.any(0), 0)
    return weights[:, used], used


@lru_cache(8)
def _between(count: int, finer: int) -> Float[Tensor, "p q"]:
    """How much of each of `count` samples is in each of `finer` ones, linearly in between."""
    return F.interpolate(torch.eye(count)[None], finer, mode="linear")[0]


def by_colour(
    guide: Float[Tensor, "1 3 H W"], masks: Float[Tensor, "1 k H W"]
) -> Float[Tensor, "1 k H W"]:
    """The masks as the colours of the frame correct them: Bayes' rule, sample by sample.

    guide: colours, 0 … 1. masks: of each object, 0 … 1, their sum too: the prior. Likelihood is the
    share of a colour in the object's histogram, or the surroundings', each sample counting as much
    as the prior says. 0 away from all objects.
    """
    any_ = masks.sum(1, keepdim=True)
    prior = torch.cat((masks, 1 - any_), 1)[0].clamp_min(UNSURE)
    close = (box_mean((any_ > 0.5).float(), AROUND)[0] > 0).float()
    r, g, b = (guide[0] * BINS).long().clamp_max(BINS - 1).flatten(1)
    colour = (r * BINS + g) * BINS + b
    mass = prior.new_zeros(len(prior), BINS**3)
    mass.index_add_(1, colour, (prior * close).flatten(1))
    # Neighbouring colours are as good as the same.
    mass = F.avg_pool3d(mass.unflatten(1, (BINS, BINS, BINS)), 3, 1, 1).flatten(1)
    likely = mass / mass.sum(1, keepdim=True).clamp_min(1e-6) + 1e-5
    posterior = prior * likely[:, colour].view_as(prior)
    return (posterior / posterior.sum(0) * close)[None, :-1]
