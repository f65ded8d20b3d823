"""Attention rows with gradients, a few at a time: neither direction ever holds all heads at once.

A row is the mean over heads of softmax(q·k / √d), dropout applied to each head's softmax. Forward
keeps nothing but its inputs; backward computes each head's softmax again, in pieces that fit the
processor's cache, which is both faster and many times smaller than autograd's record of it.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

PIECE = 1 << 18
"""Entries of a head's rows computed together: 1 MB in fp32."""


def head_mean_rows(
    q: Float[Tensor, "r a d"],
    k: Float[Tensor, "m a d"],
    keep: Bool[Tensor, "a r m"] | None = None,
    factor: float = 1.0,
) -> Float[Tensor, "r m"]:
    """Rows of queries over keys, at least fp32.

    keep: the entries of each head's softmax that dropout leaves, multiplied by factor.
    Peak memory: twice r x m beside `keep`, forward and backward.
    """
    return _HeadMeanRows.apply(q, k, keep, factor)


class _HeadMeanRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, keep, factor):
        ctx.save_for_backward(q, k, keep)
        ctx.factor = factor
        wide = torch.promote_types(q.dtype, torch.float32)
        with torch.autocast(q.device.type, enabled=False):
            q, k = _by_head(q, wide), _by_head(k, wide)
            rows = q.new_zeros(q.shape[1], k.shape[1])
            for part in _parts(rows):
                for head in range(len(q)):
                    p = _softmax(q[head, part], k[head])
                    if keep is not None:
                        p.mul_(keep[head, part])
                    rows[part] += p
            return rows.mul_(factor / len(q))

    @staticmethod
    def backward(ctx, grad):
        q, k, keep = ctx.saved_tensors
        narrow = q.dtype
        with torch.autocast(q.device.type, enabled=False):
            q, k = _by_head(q, grad.dtype), _by_head(k, grad.dtype)
            grad = grad * (ctx.factor / len(q))
            grad_q, grad_k = torch.empty_like(q), torch.zeros_like(k)
            for part in _parts(grad):
                for head in range(len(q)):
                    p = _softmax(q[head, part], k[head])
                    g = grad[part] if keep is None else grad[part] * keep[head, part]
                    inner = (p * g).sum(-1, keepdim=True)
                    g = (g - inner).mul_(p)
                    torch.mm(g, k[head], out=grad_q[head, part])
                    grad_k[head].addmm_(g.T, q[head, part])
            scale = q.shape[-1] ** -0.5
            grad_q, grad_k = (x.mul_(scale).transpose(0, 1).to(narrow) for x in (grad_q, grad_k))
        return grad_q, grad_k, None, None


def _by_head(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.transpose(0, 1).to(dtype).contiguous()


def _parts(rows: Tensor) -> list[slice]:
    r, m = rows.shape
    size = max(1, PIECE // m)
    return [slice(i, min(i + size, r)) for i in range(0, r, size)]


def _softmax(q: Tensor, k: Tensor) -> Tensor:
    logits = q @ k.T
    logits *= q.shape[-1] ** -0.5
    return torch.softmax(logits, -1, out=logits)
