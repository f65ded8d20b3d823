"""The losses that train the spatio-temporal block, as pure functions.

Source: Ding et al., "Betrayed by Attention", arXiv 2311.17893, section 3.3, and the released
code. They read the attention rows of a few query tokens, the block's output tokens, and the rows
of the candidates that the queries choose; nothing here needs the full matrix of all rows.

Symbols: t frames of n patches each, p queries a frame, m = t·n patches of the clip. A row is a
distribution over the m patches of the clip.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from unveil.checks import check_fields
from unveil.errors import TrainingError

REFERENCE_PATCHES = 24 * 48
"""Patches a frame for which the published counts of candidates were chosen."""
TINY = 1e-12
"""Nothing is divided by less, as in `F.normalize`."""
FLOOR = 1e-10
"""Added to a probability before its logarithm, as in the released code."""


@dataclass(frozen=True)
class LossSettings:
    """Constants of the losses, the paper's by default; counts are for `REFERENCE_PATCHES`."""

    queries: int = 8
    """Query positions a frame; the same positions in all frames of a clip."""
    semantic_positives: int = 30
    """Patches of a frame with the query's highest attention."""
    semantic_negatives: int = 200
    """Patches of a frame with the query's lowest attention."""
    positive_margin: float = 0.9
    """Cosine similarity above which a positive costs nothing."""
    negative_margin: float = 0.1
    """Cosine similarity below which a negative costs nothing."""
    motion_positives: int = 10
    """As semantic_positives, in the query's own frame, for the motion loss."""
    motion_negatives: int = 50
    """As semantic_negatives, in the query's own frame, for the motion loss."""
    motion_margin: float = 1.0
    """Nats by which a positive's row must be closer to the query's than a negative's."""

    def __post_init__(self) -> None:
        check_fields(self, error=TrainingError)

    def counts(self, patches: int) -> tuple[int, int, int, int]:
        """Positives and negatives of both losses, scaled to a frame of so many patches."""

        def scaled(count: int) -> int:
            return max(1, round(count * patches / REFERENCE_PATCHES))

        return (
            scaled(self.semantic_positives),
            scaled(self.semantic_negatives),
            scaled(self.motion_positives),
            scaled(self.motion_negatives),
        )


def draw_queries(patches: int, count: int, generator: torch.Generator) -> Int[Tensor, " p"]:
    """Positions of the queries in a frame of so many patches, without repetition."""
    return torch.randperm(patches, generator=generator)[:count]


def extremes(
    rows: Float[Tensor, "*q n"], positives: int, negatives: int
) -> tuple[Int[Tensor, "*q a"], Int[Tensor, "*q b"]]:
    """Indices of the highest and of the lowest entries of each row; only their sets matter."""
    with torch.no_grad():
        high = rows.topk(positives, dim=-1).indices
        low = rows.topk(negatives, dim=-1, largest=False).indices
    return high, low


def semantic_consistency(
    rows: Float[Tensor, "q t n"],
    queries: Float[Tensor, "q c"],
    tokens: Float[Tensor, "t n c"],
    settings: LossSettings,
) -> Float[Tensor, ""]:
    """Mean over positives of max(0, .9 - s) plus mean over negatives of max(0, s - .1).

    rows: attention of each query to the patches of each frame; only their order is read.
    queries: output tokens of the queries. tokens: output tokens of all patches. s is the cosine
    similarity of two output tokens.
    """
    positives, negatives, _, _ = settings.counts(tokens.shape[1])
    high, low = extremes(rows, positives, negatives)
    similarity = torch.einsum("qc,tnc->qtn", F.normalize(queries, dim=-1), tokens)
    similarity = similarity / tokens.norm(dim=-1).clamp_min(TINY)
    pull = F.relu(settings.positive_margin - similarity.gather(-1, high)).mean()
    return pull + F.relu(similarity.gather(-1, low) - settings.negative_margin).mean()


def motion_consistency(
    queries: Float[Tensor, "t p m"],
    positives: Float[Tensor, "t p a"],
    negatives: Float[Tensor, "t p b"],
    settings: LossSettings,
) -> Float[Tensor, ""]:
    """Hinge over all pairs of a positive and a negative, queries weighted by their focus.

    queries: attention rows, no gradient flows into them. positives, negatives: Σ q·log c of each
    query with its candidates (`training.rows`). A query weighs the softmax, over the queries of
    its frame, of its negative entropy Σ q·log q.
    """
    with torch.no_grad():
        q = F.normalize(queries, p=1, dim=-1)
        weight = (q * (q + FLOOR).log()).sum(-1).softmax(-1)
    hinge = F.relu(negatives[..., None, :] - positives[..., :, None] + settings.motion_margin)
    # The released code averages over clips, frames and pairs, and sums over weighted queries.
    return torch.einsum("tp,tpab->tab", weight, hinge).mean()
