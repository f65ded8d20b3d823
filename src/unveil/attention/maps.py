"""One patch's attention over the patches of all frames: for a figure, or a press."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from unveil.attention.block import Block
from unveil.attention.rows import TEMPERATURE
from unveil.errors import InputError
from unveil.types import Features

_PIECE = 8192  # tokens worked on at once


@torch.inference_mode()
def attention_of(
    features: Features,
    at: tuple[int, int, int],
    block: Block | None = None,
    head: int | None = None,
    patches: Float[Tensor, "t h w"] | None = None,
) -> Float[Tensor, "t h w"]:
    """The attention of one patch over the patches of all frames; it sums to 1.

    at: frame, row and column of the patch. block: whose attention it is; without one it is the
    backbone's own, the softmax of the cosine similarity of centred keys (`CosineRows`). head: of
    the block, counted from 0; the mean over heads by default. patches: how many each token stands
    for, where it is a group of them; the answer is that of one of them, so that the sum of both
    multiplied is 1.

    Memory: some thousand keys. Raises InputError for a patch or a head that is not there.
    """
    if block is None and head is not None:
        raise InputError(f"head {head}: the cosine of keys has no heads, only a block has")
    if block is not None and head is not None and not 0 <= head < block.heads:
        raise InputError(f"no head {head}: the block has {block.heads}, counted from 0")
    maps = heads_of(features, at, block, patches)
    return maps.mean(0) if head is None else maps[head]


@torch.inference_mode()
def heads_of(
    features: Features,
    at: tuple[int, int, int],
    block: Block | None = None,
    patches: Float[Tensor, "t h w"] | None = None,
) -> Float[Tensor, "a t h w"]:
    """`attention_of` for every head; of the backbone's own, which has no heads, one alone.

    The query is taken to the keys rather than each key projected: q·(W x) = (Wᵀq)·x, which costs a
    hundredth where there is one query.
    """
    t, h, w, c = features.keys.shape
    f, y, x = at
    if not (0 <= f < t and 0 <= y < h and 0 <= x < w):
        raise InputError(f"no patch {at}: there are {t} frames of {h}x{w} patches, counted from 0")
    keys = features.keys.reshape(-1, c)
    weight = None if patches is None else patches.reshape(-1, 1).float()
    mean = _mean(keys, weight)

    def read(tokens: Tensor) -> Tensor:
        if block is None:
            return F.normalize(tokens.float() - mean, dim=-1)
        return block.norm1(block.centre(tokens.float(), mean))

    here = (f * h + y) * w + x
    query = read(keys[here : here + 1])[0]
    if block is None:
        query = query[None] / TEMPERATURE
    else:
        project, of_keys = block.to(keys.device).attention.qkv.weight[: 2 * c].chunk(2)
        q = (project @ query).unflatten(0, (block.heads, -1))
        query = torch.einsum("ad,adc->ac", q * q.shape[-1] ** -0.5, of_keys.unflatten(0, q.shape))
    logits = torch.cat([read(some) @ query.T for some in keys.split(_PIECE)])
    if weight is not None:
        logits += weight.log()
    rows = logits.softmax(0)
    return (rows if weight is None else rows / weight).T.unflatten(1, (t, h, w))


def _mean(keys: Float[Tensor, "n c"], weight: Float[Tensor, "n 1"] | None) -> Float[Tensor, " c"]:
    """The mean key, each counting as many times as it stands for patches."""
    n, c = keys.shape
    total = torch.zeros(c, device=keys.device)
    for i in range(0, n, _PIECE):
        some = keys[i : i + _PIECE].float()
        total += (some if weight is None else some * weight[i : i + _PIECE]).sum(0)
    return total / (n if weight is None else weight.sum())
