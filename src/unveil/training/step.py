"""One training step's losses for one clip, at the cost of what they read and little more.

The losses read: the attention rows of the queries (8 a frame; no gradient flows through them),
the rows of the candidates that the queries choose in their own frame (with gradient), and the
output tokens of the queries and of what they choose in all frames. So output tokens are computed
only where they are read, rows are explicit for queries and candidates only, both come from the
same softmax, and all attention goes in pieces (`rows`).

Dropout: published, each entry of a matrix on its own. Here the rows of a matrix are windows of one
tape of random factors, `STRIDE` entries further on from row to row (for attention, [heads, tokens,
tokens], a tape a head). So the entries of a row are independent, over all heads, and so are those
of a column, as published; what differs is only that entry j + STRIDE of a row and entry j of the
next are one draw. The output tokens' attention draws less: one mask a head and *key*, shared by
all of them, softmax(q·k) (mask ⊙ v) / keep. Each one's distribution is still the published one.
With dropout off, losses and gradients equal the plain transcription's (tests/test_losses.py).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from unveil.attention.block import Block
from unveil.training.losses import (
    LossSettings,
    draw_queries,
    extremes,
    motion_consistency,
    semantic_consistency,
)
from unveil.training.rows import attend, head_mean_rows, ranked, rounded

STRIDE = 61
"""Entries of the tape between the windows of one row and the next."""


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
    Peak memory: little more than one matrix of candidates x tokens and the activations of the MLP.
    """
    t, n1, _ = features.shape
    n = n1 - 1
    if positions is None:
        positions = draw_queries(n, settings.queries, generator)
    positions = positions.to(features.device)
    draw = _Draw(generator, features.device, block.training)

    # Patches first, so that rows over them are the first columns of rows over all tokens.
    patches = features[:, 1:].flatten(0, 1)
    x = block.centre(torch.cat([patches, features[:, 0]]), patches.mean(0))
    q, k, v = project(block, x)
    first = n * torch.arange(t, device=x.device)[:, None]
    queries = (first + positions).flatten()
    rows = head_mean_rows(q[queries], k, draw.attention(block, len(queries), t * n))
    by_frame = rows.unflatten(1, (t, n))

    near, far = (y + first[..., None] for y in _own_extremes(by_frame, settings))  # [t, p, a]
    candidates = _chosen(t * n, near, far)
    read = _chosen(t * n, queries) | _read_by_semantic(by_frame, settings)
    # Each token once, also if several queries chose it: candidates first, and a few too many.
    e, r = rounded(candidates), rounded(candidates | read)
    read = ranked(2 * candidates.byte() + read.byte(), r)
    factors = draw.attention(block, e, t * n)
    mask = draw.factors((1, v[..., 0].numel()), block.attention_dropout, v.dtype)
    v = v * mask.view(*v.shape[:2], 1)
    mixed, every = attend(q[read], k, v, factors, rows)
    outputs = output_tokens(block, x[read], mixed, draw)
    tokens = outputs.new_zeros(t * n, outputs.shape[1]).index_copy(0, read, outputs)

    # Differences of a hundredth of a nat matter in the losses: never in bf16.
    with torch.autocast(features.device.type, enabled=False):
        semantic = semantic_consistency(
            by_frame, tokens[queries], tokens.unflatten(0, (t, n)), settings
        )
        slot = torch.zeros(t * n, dtype=torch.long, device=x.device)
        slot[read] = torch.arange(r, device=x.device)
        every = every.unflatten(0, (t, -1))
        positives, negatives = every.gather(-1, slot[near]), every.gather(-1, slot[far])
        motion = motion_consistency(rows.unflatten(0, (t, -1)), positives, negatives, settings)
    return Losses(semantic, motion)


def project(block: Block, x: Float[Tensor, "n c"]) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values [n, heads, d] of tokens through which no gradient flows.

    What norm1 learned is moved into the projection, whose backward then needs no gradient of x.
    """
    norm, w = block.norm1, block.attention.qkv.weight
    x = F.layer_norm(x, norm.normalized_shape, eps=norm.eps)
    qkv = F.linear(x, w * norm.weight, (w * norm.bias).sum(-1))
    return qkv.unflatten(-1, (3, block.heads, -1)).unbind(1)


def output_tokens(
    block: Block, x: Float[Tensor, "r c"], mixed: Float[Tensor, "r a d"], draw: "_Draw"
) -> Float[Tensor, "r c"]:
    """Output tokens of tokens x, what attention mixed for them given."""
    p = block.dropout.p
    x = x + draw.dropout(block.attention.proj(mixed.flatten(1)), p)
    hidden = draw.dropout(F.gelu(block.mlp.fc1(block.norm2(x))), p)
    x = x + draw.dropout(block.mlp.fc2(hidden), p)
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _own_extremes(
    rows: Float[Tensor, "q t n"], settings: LossSettings
) -> tuple[Int[Tensor, "t p a"], Int[Tensor, "t p b"]]:
    """What each query attends to most and least in its own frame."""
    t, n = rows.shape[1:]
    frames = torch.arange(t, device=rows.device)
    return extremes(rows.unflatten(0, (t, -1))[frames, :, frames], *settings.counts(n)[2:])


def _read_by_semantic(rows: Float[Tensor, "q t n"], settings: LossSettings) -> Bool[Tensor, " m"]:
    """Which output tokens the semantic loss reads beside those of the queries."""
    t, n = rows.shape[1:]
    first = n * torch.arange(t, device=rows.device)[:, None]
    return _chosen(t * n, *(y + first for y in extremes(rows, *settings.counts(n)[:2])))


def _chosen(tokens: int, *indices: Int[Tensor, "*_"]) -> Bool[Tensor, " m"]:
    """True for the tokens that some index names."""
    chosen = torch.zeros(tokens, dtype=torch.bool, device=indices[0].device)
    for index in indices:
        chosen[index.flatten()] = True
    return chosen


@dataclass(frozen=True)
class _Draw:
    """Factors of dropout from a generator of the step's own; ones unless training."""

    generator: torch.Generator
    device: torch.device
    training: bool

    def factors(self, shape: tuple[int, ...], p: float, dtype: torch.dtype) -> Tensor:
        """[..., r, n]: 0 with probability p, rounded to 1/256, else 1 / (1 - p).

        Rows are windows of a tape a leading index, so the tape is all that is drawn and held.
        """
        if not self.training or not p:
            return torch.ones((), dtype=dtype, device=self.device).expand(shape)
        *lead, r, n = shape
        tape = (*lead, (r - 1) * STRIDE + n)
        words = torch.empty((math.prod(tape) + 7) // 8, dtype=torch.int64)
        words.random_(-(2**63), None, generator=self.generator)
        cut = round(p * 256)
        kept = words.view(torch.uint8)[: math.prod(tape)].view(tape) >= cut
        factors = kept.to(self.device, dtype).mul_(256 / (256 - cut))
        return factors.unfold(-1, n, STRIDE)

    def attention(self, block: Block, r: int, n: int) -> Float[Tensor, "a r n"]:
        """Factors of r rows of attention over n keys, at least fp32."""
        dtype = torch.promote_types(block.norm1.weight.dtype, torch.float32)
        return self.factors((block.heads, r, n), block.attention_dropout, dtype)

    def dropout(self, x: Tensor, p: float) -> Tensor:
        """X [r, n] with entries dropped, in place."""
        return x.mul_(self.factors(tuple(x.shape), p, x.dtype))
