"""Frames that show nothing: one colour, or a smooth gradient.

A backbone attends to something even in a black frame, and a saliency scaled to a mean of 1 looks
like any other. Whether there is anything to see only the frame itself can tell.
"""

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

ROUNDING = 2.0
"""Of 0 … 255: how far a sample can lie off the line through its neighbours by rounding alone, when
the frame was rounded once and what `motion.samples` made of it again."""


@torch.inference_mode()
def blank(small: UInt8[Tensor, "t 3 H1 W1"]) -> Bool[Tensor, " t"]:
    """Which frames have no edge that rounding to 8 bits could not have made, in any colour.

    small: the frames at some samples a patch, so that averaging took a codec's noise away.
    """
    off = small.new_zeros(len(small), dtype=torch.float32)
    for dim in (2, 3):
        x = small.movedim(dim, -1).float()
        if x.shape[-1] > 2:
            line = (x[..., :-2] + x[..., 2:]) / 2
            off = torch.maximum(off, (x[..., 1:-1] - line).abs().flatten(1).amax(1))
    return off <= ROUNDING
