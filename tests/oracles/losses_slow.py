"""The losses as loops over queries, frames and candidates, written from the equations.

Ding et al., arXiv 2311.17893, section 3.3: nothing is vectorised beyond one vector, so that each
line can be held against the paper. Autograd goes through all of it.
"""

import torch
from torch import Tensor


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum() / (a.norm().clamp_min(1e-12) * b.norm().clamp_min(1e-12))


def zero_or(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.zeros_like(x))


def by_attention(row: Tensor) -> list[int]:
    """Patches of one frame, highest attention first."""
    return sorted(range(len(row)), key=lambda i: -row[i].item())


def semantic(rows, queries, tokens, positives, negatives, high=0.9, low=0.1) -> Tensor:
    """rows [q, t, n], queries [q, c], tokens [t, n, c]."""
    pull, push = [], []
    for q in range(len(queries)):
        for t in range(len(tokens)):
            order = by_attention(rows[q, t])
            for i in order[:positives]:
                pull.append(zero_or(high - cosine(tokens[t, i], queries[q])))
            for i in order[-negatives:]:
                push.append(zero_or(cosine(tokens[t, i], queries[q]) - low))
    return sum(pull) / len(pull) + sum(push) / len(push)


def motion(query_rows, candidate_rows, own, positives, negatives, margin=1.0) -> Tensor:
    """query_rows [t, p, m], candidate_rows [t, n, m] of all patches, own [t, p, n]."""
    frames, queries, _ = query_rows.shape
    total = 0
    for t in range(frames):
        focus = []
        for p in range(queries):
            q = distribution(query_rows[t, p].detach())
            focus.append((q * (q + 1e-10).log()).sum())
        weights = torch.stack(focus).exp() / torch.stack(focus).exp().sum()
        for p in range(queries):
            q = distribution(query_rows[t, p].detach())
            order = by_attention(own[t, p])
            for i in order[:positives]:
                for j in order[-negatives:]:
                    near = (q * (distribution(candidate_rows[t, i]) + 1e-10).log()).sum()
                    far = (q * (distribution(candidate_rows[t, j]) + 1e-10).log()).sum()
                    total = total + weights[p] * zero_or(far - near + margin)
    return total / (frames * positives * negatives)


def distribution(row: Tensor) -> Tensor:
    return row / row.abs().sum()
