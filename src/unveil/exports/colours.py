"""The colours of objects where an edge is soft, without those of what was behind them.

Blur fusion (Forte, "Approximate fast foreground colour estimation", ICIP 2021,
https://github.com/Photoroom/fast-foreground-estimation): the mean colour of the object and that of
what is around it, in windows first wide and then narrow, weighed by opacity; what of the pixel they
do not explain is the object's as far as it is opaque.
"""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from unveil.results.guided import box_mean

NARROW = 2
"""Samples on either side in the narrow window."""
_COARSER = 4  # the wide window is looked at with so many samples in one
_NONE = 1e-3  # mean opacity of a window below which nothing of the object is in it


@torch.inference_mode()
def object_colours(
    frame: UInt8[np.ndarray, "H W 3"], alpha: UInt8[np.ndarray, "H W"], reach: int, step: int = 2
) -> UInt8[np.ndarray, "H W 3"]:
    """The frame with the colours of what `alpha` shows of it, 0 … 255, straight.

    Opaque pixels keep theirs; where nothing is seen, the object's colours go on for `reach` pixels
    at least. step: pixels along a side that are one sample of the means.
    """
    small, level = (
        torch.from_numpy(np.array(Image.fromarray(np.ascontiguousarray(x)).reduce(step))).float()
        for x in (frame, alpha)
    )
    image, part = small.permute(2, 0, 1)[None] / 255, level[None, None] / 255
    front, behind = _wide(image, part, -(-reach // (step * _COARSER)) + 1)
    front = _explained(image, front, behind, part)
    front, behind = _means(front, behind, part, NARROW, front, behind)
    size = (front.shape[3] * step, front.shape[2] * step)
    small = (front[0] * 255).round().to(torch.uint8).permute(1, 2, 0)
    fill = Image.fromarray(small.numpy()).resize(size, Image.Resampling.BILINEAR)
    opaque = Image.fromarray(np.where(alpha == 255, np.uint8(255), np.uint8(0)))
    fill.paste(Image.fromarray(np.ascontiguousarray(frame)), mask=opaque)
    out = np.array(fill)[: alpha.shape[0], : alpha.shape[1]]
    ys, xs = np.nonzero((alpha > 0) & (alpha < 255))
    both = sampled(torch.cat((front, behind), 1), ys, xs, step)
    colours = torch.from_numpy(frame[ys, xs]).T.float() / 255
    part = torch.from_numpy(alpha[ys, xs]).float() / 255
    found = _explained(colours, both[:3], both[3:], part)
    out[ys, xs] = (found.T * 255).round().to(torch.uint8).numpy()
    return out


def sampled(
    planes: Float[Tensor, "1 c h w"], ys: np.ndarray, xs: np.ndarray, step: int
) -> Float[Tensor, "c n"]:
    """Planes of samples, each of step x step pixels, at some pixels, bilinearly."""
    h, w = planes.shape[2:]
    places = [2 * (x + 0.5) / (step * side) - 1 for x, side in ((xs, w), (ys, h))]
    grid = torch.from_numpy(np.stack(places, -1)).float()[None, None]
    return F.grid_sample(planes, grid, padding_mode="border", align_corners=False)[0, :, 0]


def _wide(image: Tensor, part: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Mean colours of the object and of what is behind it in wide windows."""
    planes = torch.cat((image * part, image * (1 - part), part), 1)
    coarse = F.avg_pool2d(planes, _COARSER, ceil_mode=True)
    means = F.interpolate(box_mean(coarse, radius), image.shape[2:], mode="bilinear")
    return _shared(means, image, image)


def _means(
    front: Tensor, behind: Tensor, part: Tensor, radius: int, no_front: Tensor, no_behind: Tensor
) -> tuple[Tensor, Tensor]:
    planes = torch.cat((front * part, behind * (1 - part), part), 1)
    return _shared(box_mean(planes, radius), no_front, no_behind)


def _shared(
    means: Float[Tensor, "1 7 h w"], no_front: Tensor, no_behind: Tensor
) -> tuple[Float[Tensor, "1 3 h w"], Float[Tensor, "1 3 h w"]]:
    """Means divided by what they are the mean of; where there is none of it, the others."""
    front, behind, part = means.split((3, 3, 1), 1)
    left = 1 - part
    return (
        torch.where(part > _NONE, front / part.clamp_min(_NONE), no_front),
        torch.where(left > _NONE, behind / left.clamp_min(_NONE), no_behind),
    )


def _explained(image: Tensor, front: Tensor, behind: Tensor, part: Tensor) -> Tensor:
    """The mean colours of the object, and its share of what they leave open of a pixel's."""
    return (front + part * (image - part * front - (1 - part) * behind)).clamp(0, 1)
