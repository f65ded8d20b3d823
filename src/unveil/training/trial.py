"""The block tried on clips that it is not trained on: what its rows look like, in numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unveil.attention.block import Block
from unveil.attention.block_file import tau_of_scale
from unveil.attention.rows import BlockRows, block_rows
from unveil.paper.clustering import merge
from unveil.settings import TAU
from unveil.training.features import ClipFeatures
from unveil.types import Features


@dataclass(frozen=True)
class Trial:
    """Means over clips of one window each.

    clusters: of the published clustering at its tau; clusters_calibrated: at the tau that goes
    with this block (`block_file.calibrated_tau`). entropy: of a row, over that of the uniform row,
    0 … 1. neighbour_kl, random_kl: median symmetric KL in nats of the rows of two patches side by
    side, and of two patches anywhere in the clip.
    """

    step: int
    clusters: float
    clusters_calibrated: float
    entropy: float
    neighbour_kl: float
    random_kl: float


def try_block(step: int, block: Block, clips: Sequence[ClipFeatures]) -> Trial:
    """Measure the rows of a block on the first window of each clip; every frame is a key frame."""
    tau = tau_of_scale(row_scale(block, clips))
    numbers = [_try_clip(block, clip, tau) for clip in clips]
    return Trial(step, *(sum(column) / len(numbers) for column in zip(*numbers, strict=True)))


def row_scale(block: Block, clips: Sequence[ClipFeatures]) -> float:
    """How far apart a block's rows are: `Trial.random_kl`, nats. It grows as training goes on."""
    return sum(random_kl(_whole(window_rows(block, clip))) for clip in clips) / len(clips)


def window_features(clip: ClipFeatures) -> Features:
    """The features of a clip's first window, without CLS, as at inference."""
    return Features(clip.window(0)[:, 1:].float().unflatten(1, clip.grid), 1)


def window_rows(block: Block, clip: ClipFeatures) -> BlockRows:
    """The rows of a clip's first window; every frame is a key frame."""
    return block_rows(window_features(clip), block, every=1)


def _try_clip(block: Block, clip: ClipFeatures, tau: float) -> tuple[float, ...]:
    rows = window_rows(block, clip)
    p = _whole(rows)
    tiny = torch.finfo(p.dtype).tiny
    entropy = -(p * p.clamp_min(tiny).log()).sum(-1).mean().item() / math.log(p.shape[1])
    grid = p.unflatten(0, (rows.frames, rows.h, rows.w))
    near = _divergence(grid[:, :, :-1].flatten(0, 2), grid[:, :, 1:].flatten(0, 2))
    clusters = [float(len(merge(rows, t).centres)) for t in (TAU, tau)]
    return *clusters, entropy, near.median().item(), random_kl(p)


def _whole(rows: BlockRows) -> Float[Tensor, "n m"]:
    return rows(0, rows.frames)


def random_kl(p: Float[Tensor, "n m"]) -> float:
    """Median symmetric KL in nats of rows and others drawn from them."""
    shuffled = torch.randperm(len(p), generator=torch.Generator().manual_seed(0))
    return _divergence(p, p[shuffled]).median().item()


def _divergence(p: Float[Tensor, "n m"], q: Float[Tensor, "n m"]) -> Float[Tensor, " n"]:
    """Symmetric KL in nats, pair by pair."""
    tiny = torch.finfo(p.dtype).tiny
    return ((p - q) * (p.clamp_min(tiny).log() - q.clamp_min(tiny).log())).sum(-1)
