"""Where one shot ends and the next begins.

Two frames running are of two shots where both their colours and what the backbone sees in them are
others. Neither is enough alone: a flash or a fast exposure changes all colours and no thing, and in
a frame of little detail the keys of the whole frame may turn over at once.

By `benchmarks/shots.py`: colours of 1,798 neighbouring frames of the 26 development sequences,
which have no cut, differ by at most 0.18, keys by at most 0.25 in 99 of 100 and by 0.9 in one; over
600 cuts, the last frame of one sequence and the first of another, by at least 0.27 and 0.29. Shots
that fade into each other are one shot here, and so are two views in nearly the same colours.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

COLOURS = 0.22
"""Share of a frame that must have other colours after a cut."""
LOOKS = 0.27
"""How much less than 1 the cosine of a patch's key with those it stands near in the frame before is
then, in the mean."""
LEAST = 4
"""Frames of a shot at least: what flickers is no series of shots."""
_BINS = 8  # levels of each colour


def colours(small: UInt8[Tensor, "t 3 H1 W1"]) -> Float[Tensor, "t 512"]:
    """How the samples of each frame are spread over eight levels of each colour; rows sum to 1."""
    levels = (small // (256 // _BINS)).long()
    code = ((levels[:, 0] * _BINS + levels[:, 1]) * _BINS + levels[:, 2]).flatten(1)
    ones = torch.ones_like(code, dtype=torch.float32)
    spread = ones.new_zeros(len(code), _BINS**3).scatter_add_(1, code, ones)
    return spread / max(code.shape[1], 1)


@torch.inference_mode()
def cut_between(
    before: tuple[Float[Tensor, "h w c"], Float[Tensor, " b"]],
    after: tuple[Float[Tensor, "h w c"], Float[Tensor, " b"]],
) -> bool:
    """Whether two frames running, each its keys and `colours`, are of two shots."""
    if (before[1] - after[1]).abs().sum() / 2 < COLOURS:
        return False
    return estranged(before[0], after[0]) >= LOOKS


def estranged(before: Float[Tensor, "h w c"], after: Float[Tensor, "h w c"]) -> float:
    """1 less the mean cosine of a patch with the likest of the nine where it stood, 0 … 2."""
    h, w, c = after.shape
    both = torch.stack((before, after)).float()
    was, now = F.normalize(both - both.mean((0, 1, 2)), dim=-1)
    near = F.unfold(was.permute(2, 0, 1)[None], 3, padding=1).view(c, 9, h * w)
    return 1 - float(torch.einsum("nc,cjn->jn", now.reshape(h * w, c), near).amax(0).mean())
