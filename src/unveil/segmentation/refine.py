"""From labels a patch to labels a pixel.

`nearest` is the published way, `upsample` that of the slot methods. `sharpen` lets masks follow the
image in three steps. First its colours speak (Rother et al., "GrabCut", 2004, one round, with
histograms): how much of a patch is an object's is the prior, the colours of the object and of what
surrounds it in this frame are the evidence. Then neighbours that look alike ask to be of one object
(a conditional random field, by mean field). Then a guided filter (He et al., "Guided Image
Filtering", 2010) explains the outcome, in windows a little less than two patches wide, as a linear
function of the colours there, so that masks snap to edges and stay smooth where there are none. All
of it is worked out at a few samples a patch; the functions are smooth, and are asked for the
colours of many more ("Fast Guided Filter", arXiv 1505.00996).

docs/fast.md has what each step is worth (`benchmarks/edges.py`).
"""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer, UInt8
from torch import Tensor
from torch.nn import functional as F

from unveil.results.guided import LEAST, box_mean, fitted, guided_fits

FINER = 4
"""Colours are asked, and the filter fitted, at so many samples a patch along each side."""
FINEST = 15
"""What was fitted is asked for the colours of so many samples a patch, if the frame has as many."""
RADIUS = 3
"""Of the filter's windows, in samples: together 7, not quite two patches."""
EPSILON = 3e-5
"""Variance of colour (0 … 1) below which a window counts as flat."""
BINS = 40
"""Of each colour channel, in the histograms of an object and of what surrounds it."""
AROUND = 12
"""Samples around the objects of a frame that count as their surroundings: three patches."""
UNSURE = 0.02
"""What a prior is never nearer to 0 than: colours can overrule every patch."""
NEIGHBOURS = tuple((y, x) for y in range(3) for x in range(-2, 3) if (y, x) > (0, 0))
"""Samples that ask to be of one object: half of 5x5 around one, the other half mirrored."""
ALIKE = 0.05
"""Deviation of colour up to which neighbours count as alike."""
BOND = 8.0
"""Nats by which neighbours that all look the same, and all are of an object, speak for it."""
ROUNDS = 3
"""Of asking the neighbours."""

Box = tuple[slice, slice]


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
    itself, so the answer does not depend on how many come at once. Cost: 20 ms a frame of 854x480
    with an object of a third of it, on one core. Peak memory: six fp32 masks as large as a box
    around all objects, for each of them.
    """
    return np.stack([_sharpen(*each, epsilon) for each in zip(near, share, frames, strict=True)])


def _sharpen(near: np.ndarray, share: np.ndarray, frame: np.ndarray, epsilon: float) -> np.ndarray:
    ids, soft, box = _boxed(near, share, frame, epsilon)
    labels = np.zeros(frame.shape[:2], near.dtype)
    if len(ids):
        # The filter is linear and keeps constants: what the objects leave of 1 is the background's.
        held, most = (soft.sum(0) > LEAST).numpy(), soft[0].numpy()
        labels[box] = np.where(held, ids[0], 0)
        for id, mine in zip(ids[1:], soft[1:].numpy(), strict=True):
            labels[box][held & (mine > most)] = id
            most = np.maximum(most, mine)
    return labels


def shares(
    near: Integer[np.ndarray, "h w"],
    share: Float[np.ndarray, "h w"],
    frame: UInt8[np.ndarray, "H W 3"],
    epsilon: float = EPSILON,
) -> tuple[Integer[np.ndarray, " k"], Float[Tensor, "k H W"]]:
    """The ids in a frame, ascending, and how much of every pixel is each one's, about 0 … 1.

    Arguments as `sharpen` takes them, which gives a pixel to the largest share where their sum is
    over LEAST.
    """
    ids, soft, box = _boxed(near, share, frame, epsilon)
    whole = soft.new_zeros(len(ids), *frame.shape[:2])
    whole[:, *box] = soft
    return ids, whole


@torch.inference_mode()
def _boxed(
    near: np.ndarray, share: np.ndarray, frame: np.ndarray, epsilon: float
) -> tuple[np.ndarray, Tensor, Box]:
    """What `shares` returns, within a box of pixels outside of which all shares are 0."""
    full = height, width = frame.shape[:2]
    h, w = near.shape
    ids = np.unique(near[(near != 0) & (share > 0)])
    everywhere = slice(0, height), slice(0, width)
    if len(ids) == 0 or (len(ids) == 1 and (share * (near != 0) >= 1).all()):
        return ids, torch.ones(len(ids), height, width), everywhere
    size, finest = ((min(h * n, height), min(w * n, width)) for n in (FINER, FINEST))
    image = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None]
    guide, colours = (_scaled(image, n) for n in (size, finest))
    coarse = np.where(near == ids[:, None, None], share, 0).astype(np.float32)
    masks = F.interpolate(torch.from_numpy(coarse)[None], size, mode="bilinear")
    # Colours are asked so near to objects, the filter reaches on from there; then all is 0.
    reach = AROUND + 2 * RADIUS + 1
    there = masks[0].sum(0) > 0.5
    part = _grown(there.any(1), reach), _grown(there.any(0), reach)
    guide, masks = guide[:, :, *part].float() / 255, masks[:, :, *part]
    masks = by_neighbours(guide, by_colour(guide, masks))
    fits, part = _enlarged(guided_fits(guide, masks, RADIUS, epsilon), part, size, finest)
    return ids, *_enlarged(fitted(fits, colours[0, :, *part].float() / 255), part, finest, full)


def _scaled(image: UInt8[Tensor, "1 3 H W"], size: tuple[int, int]) -> UInt8[Tensor, "1 3 h w"]:
    return F.interpolate(image, size, mode="bilinear", antialias=True)


def _grown(there: Bool[Tensor, " n"], reach: int) -> slice:
    """From the first to the last place that there is, and so many beyond either."""
    at = there.nonzero()[:, 0].tolist() or [0]
    return slice(max(at[0] - reach, 0), at[-1] + 1 + reach)


def _enlarged(
    x: Float[Tensor, "*c p q"], part: Box, size: tuple[int, int], larger: tuple[int, int]
) -> tuple[Float[Tensor, "*c P Q"], Box]:
    """What a part of `size` samples says of a larger size, linearly in between, and of which."""
    down, across = part
    x, xs = _finer(x.mT.contiguous(), across, _between(size[1], larger[1]))
    x, ys = _finer(x.mT.contiguous(), down, _between(size[0], larger[0]))
    return x, (ys, xs)


def _finer(
    x: Float[Tensor, "*c p q"], part: slice, at: Float[Tensor, " n"]
) -> tuple[Float[Tensor, "*c P q"], slice]:
    """Finer rows. at: where they lie among all, not the part's alone.

    Rows are taken from memory as they lie there; columns would take three times as long.
    """
    at, last = at - part.start, x.shape[-2] - 1
    used = _grown((at >= 0) & (at <= last), 0)
    low = at[used].long()
    high = (low + 1).clamp_max(last)
    weight = (at[used] - low)[:, None]
    return torch.lerp(x.index_select(-2, low), x.index_select(-2, high), weight), used


@lru_cache(8)
def _between(count: int, finer: int) -> Float[Tensor, " n"]:
    """Where each of `finer` samples lies among `count` as long together."""
    return F.interpolate(torch.arange(float(count))[None, None], finer, mode="linear")[0, 0]


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
    mass = mass.unflatten(1, (BINS, BINS, BINS))
    for dim in (1, 2, 3):  # neighbouring colours are as good as the same
        mass = _with_next(mass, dim)
    mass = mass.flatten(1)
    likely = mass / mass.sum(1, keepdim=True).clamp_min(1e-6) + 1e-5
    posterior = prior * likely[:, colour].view_as(prior)
    return (posterior / posterior.sum(0) * close)[None, :-1]


def _with_next(x: Tensor, dim: int) -> Tensor:
    """Every value and the two beside it along one side, added up."""
    out = x.clone()
    n = x.shape[dim] - 1
    out.narrow(dim, 1, n).add_(x.narrow(dim, 0, n))
    out.narrow(dim, 0, n).add_(x.narrow(dim, 1, n))
    return out


def by_neighbours(
    guide: Float[Tensor, "1 3 H W"], shares: Float[Tensor, "1 k H W"]
) -> Float[Tensor, "1 k H W"]:
    """The shares as neighbours that look alike correct them: a conditional random field.

    guide: colours, 0 … 1. shares: of each object, 0 … 1, their sum too; where all are 0 they stay.
    Mean field (Krähenbühl & Koltun, "Efficient Inference in Fully Connected CRFs", NIPS 2011, of
    which this takes the colour-dependent kernel, and only neighbours within half a patch).
    """
    height, width = guide.shape[2:]
    share = first = shares[0]
    total = first.sum(0)
    alone = torch.cat((first, 1 - total[None])).clamp_min(1e-4).log()
    pairs, together = [], torch.zeros_like(total)
    for y, x in NEIGHBOURS:
        one = slice(0, height - y), slice(max(-x, 0), width - max(x, 0))
        other = slice(y, height), slice(max(x, 0), width + min(x, 0))
        change = (guide[0, :, *one] - guide[0, :, *other]).square().sum(0)
        bond = BOND / (2 * len(NEIGHBOURS)) * torch.exp(-change / (2 * ALIKE**2))
        pairs.append((one, other, bond))
        together[one] += bond
        together[other] += bond
    for _ in range(ROUNDS):
        said = alone.clone()
        for one, other, bond in pairs:
            said[:-1, *one].addcmul_(bond, share[:, *other])
            said[:-1, *other].addcmul_(bond, share[:, *one])
        # Neighbours' shares add up to 1: what they do not say for objects they say against all.
        said[-1] += together - (said - alone)[:-1].sum(0)
        share = torch.where(total > 0, said.softmax(0)[:-1], first)
    return share[None]
