"""Attention with gradients, in pieces: neither direction ever holds more than a few rows at once.

Forward keeps its inputs and its result; backward computes the softmax again, in pieces that fit
the processor's cache. That is many times smaller than autograd's record of it, and on a CPU faster,
also than torch's fused attention. Products are in the inputs' dtype, softmax and sums in fp32 at
least.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

PIECE = 1 << 19
"""Entries of a head's rows computed together: 2 MB in fp32."""


def head_mean_rows(
    q: Float[Tensor, "r a d"],
    k: Float[Tensor, "m a d"],
    keep: Bool[Tensor, "a r m"] | None = None,
    factor: float = 1.0,
) -> Float[Tensor, "r m"]:
    """Mean over heads of softmax(q·k / √d), at least fp32.

    keep: the entries of each head's softmax that dropout leaves, multiplied by factor.
    Peak memory: twice r x m beside `keep`, forward and backward.
    """
    return _HeadMeanRows.apply(q, k, keep, factor)


def attend(
    q: Float[Tensor, "r a d"], k: Float[Tensor, "m a d"], v: Float[Tensor, "m a d"]
) -> Float[Tensor, "r a d"]:
    """Attention as everybody knows it: softmax(q·k / √d) v for each head."""
    return _Attend.apply(q, k, v)


class _HeadMeanRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, keep, factor):
        ctx.save_for_backward(q, k, keep)
        ctx.factor = factor
        with torch.autocast(q.device.type, enabled=False):
            q, k = _by_head(q), _by_head(k)
            rows = q.new_zeros(q.shape[1], k.shape[1], dtype=_wide(q))
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
        with torch.autocast(q.device.type, enabled=False):
            q, k = _by_head(q), _by_head(k)
            grad = grad * (ctx.factor / len(q))
            grad_q, grad_k = _zeros(q), _zeros(k)
            for part in _parts(grad):
                for head in range(len(q)):
                    p = _softmax(q[head, part], k[head])
                    g = grad[part] if keep is None else grad[part] * keep[head, part]
                    inner = (p * g).sum(-1, keepdim=True)
                    g = (g - inner).mul_(p).to(q.dtype)
                    grad_q[head, part] = (g @ k[head]).to(grad_q.dtype)
                    grad_k[head] += g.T @ q[head, part]
            return _unscaled(grad_q, q), _unscaled(grad_k, k), None, None


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v):
        with torch.autocast(q.device.type, enabled=False):
            heads = _by_head(q), _by_head(k), _by_head(v)
            out = torch.empty_like(heads[0])
            for part in _parts(q, len(k)):
                for head, (hq, hk, hv) in enumerate(zip(*heads, strict=True)):
                    out[head, part] = _softmax(hq[part], hk).to(q.dtype) @ hv
        ctx.save_for_backward(*heads, out)
        return out.transpose(0, 1)

    @staticmethod
    def backward(ctx, grad):
        q, k, v, out = ctx.saved_tensors
        with torch.autocast(q.device.type, enabled=False):
            grad = _by_head(grad).to(q.dtype)
            inner = (grad.to(_wide(q)) * out).sum(-1, keepdim=True)
            grad_q, grad_k, grad_v = _zeros(q), _zeros(k), _zeros(v)
            for part in _parts(q[0], k.shape[1]):
                for head in range(len(q)):
                    p = _softmax(q[head, part], k[head])
                    grad_v[head] += p.to(q.dtype).T @ grad[head, part]
                    g = (grad[head, part] @ v[head].T).to(p.dtype)
                    g = g.sub_(inner[head, part]).mul_(p).to(q.dtype)
                    grad_q[head, part] = (g @ k[head]).to(grad_q.dtype)
                    grad_k[head] += g.T @ q[head, part]
            return _unscaled(grad_q, q), _unscaled(grad_k, k), grad_v.transpose(0, 1).to(v.dtype)


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _by_head(x: Tensor) -> Tensor:
    return x.transpose(0, 1).contiguous()


def _zeros(x: Tensor) -> Tensor:
    return torch.zeros_like(x, dtype=_wide(x))


def _parts(x: Tensor, keys: int | None = None) -> list[slice]:
    """Pieces of the rows of x; all at once on an accelerator, which has no cache to fit."""
    size = max(1, PIECE // (keys or x.shape[1])) if x.device.type == "cpu" else len(x)
    return [slice(i, min(i + size, len(x))) for i in range(0, len(x), size)]


def _softmax(q: Tensor, k: Tensor) -> Tensor:
    logits = (q @ k.T).to(_wide(q)).mul_(q.shape[-1] ** -0.5)
    return torch.softmax(logits, -1, out=logits)


def _unscaled(grad: Tensor, x: Tensor) -> Tensor:
    """The gradient by head as one by token, with the factor that logits carry."""
    return grad.mul_(x.shape[-1] ** -0.5).transpose(0, 1).to(x.dtype)
