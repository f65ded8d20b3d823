"""One training step's losses for one clip, at the cost of what they read and little more.

The losses read: the attention rows of the queries (8 a frame; no gradient flows through them),
the rows of the candidates that the queries choose in their own frame (with gradient), and the
output tokens of the queries and of what they choose in all frames. So rows are explicit for
queries and candidates only, output tokens are computed only where they are read, and all attention
goes in pieces (`rows`).

Dropout of attention: published, one mask for the whole matrix, [heads, tokens, tokens]. Here the
explicit rows draw masks of their own, and the fused part draws one mask a head and *key*, shared
by all its rows: softmax(q·k) (mask ⊙ v) / keep. Each output token's distribution is the published
one; what differs is only that neighbours see the same mask. With dropout off, losses and
gradients equal those of the plain transcription (tests/test_training_step.py).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from unveil.attention import Block
from unveil.losses import (
    LossSettings,
    draw_queries,
    extremes,
    log_rows,
    log_similarity,
    motion_consistency,
    semantic_consistency,
)
from unveil.training.rows import attend, head_mean_rows


@dataclass(frozen=True)
class Losses:
    """The losses of a clip; their sum is what is minimised."""

    semantic: Float[Tensor, ""]
    motion: Float[Tensor, ""]

    @property
    def total(self) -> Float[Tensor, ""]:
        """Semantic plus motion."""
        return self.semantic + self.motion


def clip_losses(
    block: Block,
    features: Float[Tensor, "t n1 c"],
    settings: LossSettings,
    generator: torch.Generator,
    positions: Int[Tensor, " p"] | None = None,
) -> Losses:
    """Semantic and motion consistency of one clip.

    features: keys of T frames, n1 = 1 + n, CLS first. generator: CPU; draws the query positions
    (unless given) and all dropout, so that a clip's losses depend on nothing else that runs.
    Peak memory: a few matrices of candidates x tokens, about a third of all tokens squared.
    """
    t, n1, _ = features.shape
    n = n1 - 1
    if positions is None:
        positions = draw_queries(n, settings.queries, generator)
    positions = positions.to(features.device)
    draw = _Draw(generator, features.device, block.training)

    x = features.flatten(0, 1)
    q, k, v = project(block, x)
    where = (torch.arange(t, device=x.device)[:, None] * n1 + 1 + positions).flatten()
    with torch.no_grad():
        rows = head_mean_rows(q[where], k, *draw.mask((len(where), t * n1), block))
        rows = _without_cls(rows, t)  # [t·p, t, n]

    read = _read_by_semantic(rows, positions, settings).flatten().nonzero()[:, 0]
    given = read + read // n + 1  # with the CLS tokens
    outputs = output_tokens(block, x[given], q[given], k, v, draw)
    outputs = _at_least_fp32(outputs)
    tokens = outputs.new_zeros(t * n, outputs.shape[1]).index_copy(0, read, outputs)
    tokens = tokens.unflatten(0, (t, n))
    queries = tokens[:, positions].flatten(0, 1)
    # Differences of a hundredth of a nat matter in the losses: never in bf16.
    with torch.autocast(features.device.type, enabled=False):
        semantic = semantic_consistency(rows, queries, tokens, settings)
        motion = _motion(block, q, k, rows, settings, draw)
    return Losses(semantic, motion)


def project(block: Block, x: Float[Tensor, "n c"]) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values [n, heads, d] of tokens."""
    return block.attention.qkv(block.norm1(x)).unflatten(-1, (3, block.heads, -1)).unbind(1)


def output_tokens(
    block: Block, x: Tensor, q: Tensor, k: Tensor, v: Tensor, draw: "_Draw"
) -> Float[Tensor, "r c"]:
    """Output tokens of some tokens x with queries q, attention in pieces."""
    v = draw.dropout(v, block.attention_dropout, (v.shape[0], v.shape[1], 1))
    mixed = attend(q, k, v).flatten(1)
    p = block.dropout.p
    x = x + draw.dropout(block.attention.proj(mixed), p)
    hidden = draw.dropout(F.gelu(block.mlp.fc1(block.norm2(x))), p)
    return x + draw.dropout(block.mlp.fc2(hidden), p)


def _read_by_semantic(
    rows: Float[Tensor, "q t n"], positions: Int[Tensor, " p"], settings: LossSettings
) -> Bool[Tensor, "t n"]:
    """Which output tokens the semantic loss reads: about half of them on real clips."""
    _, t, n = rows.shape
    positives, negatives, _, _ = settings.counts(n)
    read = torch.zeros(t, n, dtype=torch.bool, device=rows.device)
    read[:, positions] = True
    for chosen in extremes(rows, positives, negatives):
        read.scatter_(1, chosen.transpose(0, 1).flatten(1), True)
    return read


def _motion(
    block: Block, q: Tensor, k: Tensor, rows: Tensor, settings: LossSettings, draw: "_Draw"
) -> Float[Tensor, ""]:
    _, t, n = rows.shape
    frames = torch.arange(t, device=rows.device)
    own = rows.unflatten(0, (t, -1))[frames, :, frames]  # [t, p, n]: each in its own frame
    _, _, high, low = settings.counts(n)
    high, low = extremes(own, high, low)

    chosen = torch.zeros(t, n, dtype=torch.bool, device=rows.device)
    chosen.scatter_(1, high.flatten(1), True).scatter_(1, low.flatten(1), True)
    where = chosen.flatten().nonzero()[:, 0]  # each candidate once, also if several chose it
    tokens = where + where // n + 1  # skip the CLS tokens
    candidates = head_mean_rows(q[tokens], k, *draw.mask((len(where), t * (n + 1)), block))
    queries = rows.flatten(1).unflatten(0, (t, -1))
    every = log_similarity(queries.flatten(0, 1), log_rows(_without_cls(candidates, t).flatten(1)))

    slot = torch.full((t * n,), 0, device=rows.device)
    slot[where] = torch.arange(len(where), device=rows.device)
    every = every.unflatten(0, (t, -1))
    pick = slot.unflatten(0, (t, n))
    positives = every.gather(-1, pick.gather(1, high.flatten(1)).unflatten(1, high.shape[1:]))
    negatives = every.gather(-1, pick.gather(1, low.flatten(1)).unflatten(1, low.shape[1:]))
    return motion_consistency(queries, positives, negatives, settings)


def _at_least_fp32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _without_cls(rows: Float[Tensor, "r m1"], t: int) -> Float[Tensor, "r t n"]:
    return rows.unflatten(1, (t, -1))[:, :, 1:]


@dataclass(frozen=True)
class _Draw:
    """Dropout masks from a generator of the step's own; none unless training."""

    generator: torch.Generator
    device: torch.device
    training: bool

    def keep(self, shape: tuple[int, ...], p: float) -> tuple[Tensor, float]:
        """False with probability p, rounded to 1/256, and 1 / (1 - p): a random byte an entry."""
        count = math.prod(shape)
        words = torch.empty((count + 7) // 8, dtype=torch.int64)
        words.random_(-(2**63), None, generator=self.generator)
        cut = round(p * 256)
        kept = words.view(torch.uint8)[:count].view(shape) >= cut
        return kept.to(self.device), 256 / (256 - cut)

    def mask(self, shape: tuple[int, int], block: Block) -> tuple[Tensor | None, float]:
        """What dropout leaves of the attention of some rows, one mask a head, and the factor."""
        if not self.training or not block.attention_dropout:
            return None, 1.0
        return self.keep((block.heads, *shape), block.attention_dropout)

    def dropout(self, x: Tensor, p: float, shape: tuple[int, ...] | None = None) -> Tensor:
        """X with entries dropped; shape: of the mask, broadcast against x."""
        if not self.training or not p:
            return x
        kept, factor = self.keep(shape or tuple(x.shape), p)
        return x * kept.to(x.dtype).mul_(factor)
