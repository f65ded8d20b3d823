"""The block tried on clips that it is not trained on: what its rows look like, in numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unveil.attention import Block, BlockRows, block_rows
from unveil.cluster import paper
from unveil.training.features import ClipFeatures
from unveil.types import Features


@dataclass(frozen=True)
class Trial:
    """Means over clips of one window each.

    clusters: of the published clustering at its tau. entropy: of a row, over that of the uniform
    row, 0 … 1. neighbour_kl, random_kl: median symmetric KL in nats of the rows of two patches
    side by side, and of two patches anywhere in the clip.
    """

    step: int
    clusters: float
    entropy: float
    neighbour_kl: float
    random_kl: float


def try_block(step: int, block: Block, clips: Sequence[ClipFeatures]) -> Trial:
    """Measure the rows of a block on the first window of each clip; every frame is a key frame."""
    numbers = [_try_clip(block, clip) for clip in clips]
    return Trial(step, *(sum(column) / len(numbers) for column in zip(*numbers, strict=True)))


def window_rows(block: Block, clip: ClipFeatures) -> BlockRows:
    """The rows of a clip's first window, without CLS, as at inference."""
    keys = clip.window(0)[:, 1:].float().unflatten(1, clip.grid)
    return block_rows(Features(keys, 1), block, every=1)


def _try_clip(block: Block, clip: ClipFeatures) -> tuple[float, float, float, float]:
    rows = window_rows(block, clip)
    p = rows(0, rows.frames)
    entropy = -(p * p.clamp_min(torch.finfo(p.dtype).tiny).log()).sum(-1).mean() / torch.log(
        torch.tensor(float(p.shape[1]))
    )
    grid = p.unflatten(0, (rows.frames, rows.h, rows.w))
    near = _divergence(grid[:, :, :-1].flatten(0, 2), grid[:, :, 1:].flatten(0, 2))
    shuffled = torch.randperm(len(p), generator=torch.Generator().manual_seed(0))
    far = _divergence(p, p[shuffled])
    clusters = len(paper.merge(rows).centres)
    return clusters, entropy.item(), near.median().item(), far.median().item()


def _divergence(p: Float[Tensor, "n m"], q: Float[Tensor, "n m"]) -> Float[Tensor, " n"]:
    """Symmetric KL in nats, pair by pair."""
    tiny = torch.finfo(p.dtype).tiny
    return ((p - q) * (p.clamp_min(tiny).log() - q.clamp_min(tiny).log())).sum(-1)
