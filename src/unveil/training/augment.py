"""Augmentation: one draw a window, the same for all its frames.

*photometric*, as published for the block: grayscale with probability .2, colour jitter .4/.4/.4/.1
with probability .8, Gaussian blur with probability .5; nothing moves a pixel to another patch.
*released*, as the released code of the block has it: the same draws, but grayscale comes first,
then the jitter, then the blur, and the blur's strength is drawn once a run.
*flip*, as published for the slot methods (VideoSAUR, SlotContrast): mirrored with probability .5.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn import functional as F

GRAYSCALE = 0.2
JITTER = 0.8
BLUR = 0.5
FLIP = 0.5
STRENGTH = (0.4, 0.4, 0.4, 0.1)
"""Of brightness, contrast, saturation (factors 1 ± s) and hue (turns ± s)."""
SIGMA = (0.1, 2.0)
"""Of the blur, px of the frame as the backbone sees it."""
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Augmentation:
    """One draw. factors: brightness, contrast, saturation; hue in turns; gray_first: before these
    and not after; sigma 0 = no blur; flip: left and right change places.
    """

    factors: tuple[float, float, float] = (1.0, 1.0, 1.0)
    hue: float = 0.0
    order: tuple[int, ...] = (0, 1, 2, 3)
    gray: bool = False
    sigma: float = 0.0
    flip: bool = False
    gray_first: bool = False

    def __call__(self, frames: UInt8[Tensor, "t 3 H W"]) -> UInt8[Tensor, "t 3 H W"]:
        """The frames changed the same way; each on its own, so chunks do not matter."""
        x = frames.float() / 255
        if self.gray and self.gray_first:
            x = _gray(x).expand_as(x)
        for what in self.order:
            x = _adjust(x, what, self.hue if what == 3 else self.factors[what])
        if self.gray and not self.gray_first:
            x = _gray(x).expand_as(x)
        if self.sigma:
            x = _blur(x, self.sigma)
        if self.flip:
            x = x.flip(-1)
        return (x * 255).round().clamp(0, 255).to(torch.uint8)


def draw(generator: torch.Generator, run: torch.Generator) -> Augmentation:
    """Draw a photometric augmentation with the published probabilities.

    run: the same for all windows of a run; nothing of this one comes from it.
    """
    u = torch.rand(8, generator=generator, dtype=torch.float64).tolist()
    order = tuple(torch.randperm(4, generator=generator).tolist())
    factors, hue = (1.0, 1.0, 1.0), 0.0
    if u[0] < JITTER:
        factors = tuple(1 + s * (2 * v - 1) for s, v in zip(STRENGTH[:3], u[1:4], strict=True))
        hue = STRENGTH[3] * (2 * u[4] - 1)
    sigma = SIGMA[0] + (SIGMA[1] - SIGMA[0]) * u[7] if u[6] < BLUR else 0.0
    return Augmentation(factors, hue, order, u[5] < GRAYSCALE, sigma)


def draw_released(generator: torch.Generator, run: torch.Generator) -> Augmentation:
    """The same as the released code orders it, with the strength of the blur that the run draws."""
    drawn = draw(generator, run)
    once = float(torch.rand((), generator=run, dtype=torch.float64))
    sigma = SIGMA[0] + (SIGMA[1] - SIGMA[0]) * once if drawn.sigma else 0.0
    return replace(drawn, gray_first=True, sigma=sigma)


def draw_flip(generator: torch.Generator, run: torch.Generator) -> Augmentation:
    """Draw whether a window is mirrored."""
    return Augmentation(flip=bool(torch.rand((), generator=generator) < FLIP))


AUGMENTATIONS: dict[str, Callable[[torch.Generator, torch.Generator], Augmentation]] = {
    "photometric": draw,
    "released": draw_released,
    "flip": draw_flip,
}
"""What a recipe can ask for."""


def _adjust(x: Tensor, what: int, by: float) -> Tensor:
    if what == 3:
        return _turn_hue(x, by) if by else x
    if by == 1:
        return x
    if what == 0:
        return (x * by).clamp(0, 1)
    base = _gray(x).mean((1, 2, 3), keepdim=True) if what == 1 else _gray(x)
    return (base + by * (x - base)).clamp(0, 1)


def _gray(x: Tensor) -> Tensor:
    return (x * x.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)


def _turn_hue(x: Tensor, turns: float) -> Tensor:
    """Turn the hue of RGB in 0 … 1, by way of HSV, value and saturation kept."""
    top, which = x.max(1)
    chroma = top - x.amin(1)
    safe = chroma.clamp_min(1e-8)
    r, g, b = x.unbind(1)
    sector = torch.stack([(g - b) / safe, (b - r) / safe + 2, (r - g) / safe + 4], 1)
    hue = sector.gather(1, which[:, None])[:, 0] + 6 * turns
    channels = []
    for peak in (0, 2, 4):  # of red, green and blue, in sixths of a turn
        distance = ((hue - peak + 3) % 6 - 3).abs()
        channels.append(top - chroma * (distance - 1).clamp(0, 1))
    return torch.stack(channels, 1)


def _blur(x: Tensor, sigma: float) -> Tensor:
    radius = max(1, round(3 * sigma))
    grid = torch.arange(-radius, radius + 1, dtype=x.dtype)
    kernel = torch.exp(-0.5 * (grid / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(3, 1, -1)
    x = F.conv2d(F.pad(x, (radius, radius, 0, 0), "replicate"), kernel[:, :, None], groups=3)
    return F.conv2d(F.pad(x, (0, 0, radius, radius), "replicate"), kernel[..., None], groups=3)
