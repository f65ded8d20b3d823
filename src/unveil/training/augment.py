"""Augmentation: one draw a window, the same for all its frames.

*photometric*, as published for the block: grayscale with probability .2, colour jitter .4/.4/.4/.1
with probability .8, Gaussian blur with probability .5; nothing moves a pixel to another patch.
*released*, as the released code of the block has it: the same draws, but grayscale comes first,
then the jitter, then the blur, and the blur's strength is drawn once a run.
*flip*, as published for the slot methods (VideoSAUR, SlotContrast): mirrored with probability .5.

What is drawn is drawn here; the pixels are changed by kornia, as in the released code.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import UInt8
from torch import Tensor

GRAYSCALE = 0.2
JITTER = 0.8
BLUR = 0.5
FLIP = 0.5
STRENGTH = (0.4, 0.4, 0.4, 0.1)
"""Of brightness, contrast, saturation (factors 1 ± s) and hue (turns ± s)."""
SIGMA = (0.1, 2.0)
"""Of the blur, px of the frame as the backbone sees it."""


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
            x = _gray(x)
        for what in self.order:
            x = _adjust(x, what, self.hue if what == 3 else self.factors[what])
        if self.gray and not self.gray_first:
            x = _gray(x)
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
    """Brightness, contrast, saturation (0, 1, 2) by a factor, or hue (3) by turns; 0 … 1."""
    if by == (0 if what == 3 else 1):
        return x
    from kornia import enhance  # of the extra, and recipes name augmentations without it

    if what == 0:
        return enhance.adjust_brightness_accumulative(x, by)
    if what == 1:
        return enhance.adjust_contrast_with_mean_subtraction(x, by)
    if what == 2:
        return enhance.adjust_saturation_with_gray_subtraction(x, by)
    return enhance.adjust_hue(x, by * 2 * math.pi)


def _gray(x: Tensor) -> Tensor:
    from kornia.color import rgb_to_grayscale

    return rgb_to_grayscale(x).expand_as(x)


def _blur(x: Tensor, sigma: float) -> Tensor:
    from kornia.filters import gaussian_blur2d

    side = 2 * max(1, round(3 * sigma)) + 1
    return gaussian_blur2d(x, (side, side), (sigma, sigma), border_type="replicate")
