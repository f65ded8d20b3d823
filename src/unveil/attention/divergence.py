"""The symmetric Kullback-Leibler divergence of attention rows, all pairs at once.

Source: Ding et al., "Betrayed by Attention", arXiv 2311.17893, section 3.4. An entry that
underflowed to 0 has no logarithm: 0 · log 0 counts as 0, and log 0 as that of the smallest normal
number.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def symmetric_kl(p: Float[Tensor, "a m"], q: Float[Tensor, "b m"]) -> Float[Tensor, "a b"]:
    """KL(p‖q) + KL(q‖p) in nats of every distribution of p with every one of q."""
    log_p, log_q = log(p), log(q)
    distances = (p * log_p).sum(-1)[:, None] + (q * log_q).sum(-1)
    return distances.addmm_(p, log_q.T, alpha=-1).addmm_(log_p, q.T, alpha=-1)


def log(p: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """The natural logarithm, that of the smallest normal number for 0."""
    return p.clamp_min(torch.finfo(p.dtype).tiny).log_()
