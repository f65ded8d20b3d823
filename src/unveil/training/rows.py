"""Attention with gradients, in pieces: neither direction ever holds more than a few rows at once.

Forward keeps its inputs and its results; backward computes the exponentials again, in pieces that
fit the processor's cache. That is many times smaller than autograd's record of it, and on a CPU
faster, also than torch's fused attention: each entry is written once by a product, in the inputs'
dtype, and then changed in place as few times as can be. Sums are in fp32 at least.
"""

import math

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn import functional as F

from unveil.training.losses import FLOOR, TINY

PIECE = 1 << 21
"""Bytes of a head's rows computed together."""
MULTIPLE = 64
"""Of how many rows to compute: oneDNN compiles and keeps a kernel for each number it meets."""
SAFE = 60.0
"""Logits up to here are no danger to exp, nor to the sum of a row, in bf16 and fp32."""


def head_mean_rows(
    q: Float[Tensor, "r a d"], k: Float[Tensor, "m a d"], factors: Float[Tensor, "a r n"]
) -> Float[Tensor, "r n"]:
    """Rows of a few queries over the first n keys, mean over heads of factors ⊙ softmax(q·k / √d).

    In the factors' dtype, and without gradient; the factors are dropout's.
    """
    with torch.no_grad(), torch.autocast(q.device.type, enabled=False):
        logits = q.transpose(0, 1) @ k.permute(1, 2, 0)
        p = (logits.to(factors.dtype) * q.shape[-1] ** -0.5).softmax(-1)
        return (p[..., : factors.shape[2]] * factors).mean(0)


def attend(
    q: Float[Tensor, "r a d"],
    k: Float[Tensor, "m a d"],
    v: Float[Tensor, "m a d"],
    factors: Float[Tensor, "a e n"],
    queries: Float[Tensor, "p n"],
) -> tuple[Float[Tensor, "r a d"], Float[Tensor, "p e"]]:
    """Attention as everybody knows it, softmax(q·k / √d) v, and how similar its rows are to others.

    Similarities are Σ q·log c, of each of the queries with each c of the first e rows as
    `head_mean_rows` has them, both made to sum to 1 over the first n keys. As in the released
    code, a small constant is added to c (`FLOOR`). Gradient flows to q, k and v alone.
    """
    return _Attend.apply(q, k, v, factors, F.normalize(queries, p=1, dim=-1))


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, factors, queries):
        with torch.autocast(q.device.type, enabled=False):
            k, v = (x.transpose(0, 1).contiguous() for x in (k, v))
            e, n = factors.shape[1:]
            shift = _reach(q, k) > SAFE
            out, rows = torch.empty_like(q), factors.new_zeros(e, n)
            similarity = rows.new_empty(len(queries), e)
            total = rows.new_empty(*q.shape[:2], 1)
            explicit, others = _parts(k, 0, e), _parts(k, e, len(q))
            buffer = _buffer(explicit, rows)
            for part in explicit + others:
                for head in range(len(k)):
                    p = _exp(q[part, head], k[head], shift)
                    total[part, head] = p.sum(-1, keepdim=True)
                    out[part, head] = (p @ v[head]) / total[part, head]
                    if part.stop <= e:
                        mine = buffer[: len(p)].copy_(p[:, :n]).div_(total[part, head])
                        rows[part].addcmul_(mine, factors[head, part])
                if part.stop <= e:
                    mine = torch.div(rows[part], _sums(rows[part]), out=mine)
                    similarity[:, part] = queries @ mine.add_(FLOOR).log_().T
        ctx.save_for_backward(q, k, v, factors, queries, out, total, rows)
        ctx.shift = shift
        return out, similarity

    @staticmethod
    def backward(ctx, grad, grad_similarity):
        q, k, v, factors, queries, out, total, rows = ctx.saved_tensors
        with torch.autocast(q.device.type, enabled=False):
            e, n = factors.shape[1:]
            scale, wide = q.shape[-1] ** -0.5, total.dtype
            grad = grad.to(q.dtype)
            grad_q = torch.zeros_like(q)
            grad_k, grad_v = (torch.zeros_like(x, dtype=wide) for x in (k, v))
            values = F.pad(v, (0, 2), value=-1.0).transpose(1, 2)
            # Many tokens have met all their margins late in training: nothing flows from them.
            flows = grad[e:].flatten(1).any(1)
            others = e + ranked(flows.byte(), rounded(flows))
            explicit, others = _parts(k, 0, e), [others[x] for x in _parts(k, 0, len(others))]
            buffer = _buffer(explicit, rows)
            for part in explicit + others:
                own = (x[part].transpose(0, 1) for x in (q, grad, out, total))
                own_q, own_grad, own_out, sums = own
                inner = (own_grad * own_out.to(wide)).sum(-1, keepdim=True)
                # What divides p to make a row sum to 1 divides the other sides of its products.
                over_q, over_grad = ((x / sums).to(q.dtype) for x in (own_q, own_grad))
                if isinstance(part, slice):
                    grad_rows = _log_backward(grad_similarity[:, part].T @ queries, rows[part])
                for head in range(len(k)):
                    p = _exp(own_q[head], k[head], ctx.shift)
                    grad_v[head] += p.T @ over_grad[head]
                    g, less = torch.empty_like(p), inner[head]
                    if isinstance(part, slice):
                        g[:, n:] = 0
                        mine = buffer[: len(p)]
                        g[:, :n] = torch.mul(factors[head, part], grad_rows, out=mine)
                        less = less + (g * p).sum(-1, keepdim=True) / sums[head]
                    # The softmax's backward is p ⊙ (g - Σ p·g). Two more columns of the product
                    # that gives g subtract the sum, so that no bits are lost when g is rounded.
                    high = less.to(q.dtype)
                    left = torch.cat([own_grad[head], high, (less - high).to(q.dtype)], -1)
                    g.addmm_(left, values[head], beta=int(isinstance(part, slice))).mul_(p)
                    grad_q[part, head] = (g @ k[head] * (scale / sums[head])).to(q.dtype)
                    grad_k[head] += g.T @ over_q[head]
            grad_k, grad_v = (x.transpose(0, 1).to(q.dtype) for x in (grad_k.mul_(scale), grad_v))
            return grad_q, grad_k, grad_v, None, None


def rounded(chosen: Bool[Tensor, " m"]) -> int:
    """How many are chosen, rounded up to a multiple of `MULTIPLE` where there are as many."""
    return min(len(chosen), -(-int(chosen.sum()) // MULTIPLE) * MULTIPLE)


def ranked(rank: UInt8[Tensor, " m"], count: int) -> Int[Tensor, " c"]:
    """Indices of the `count` highest, the highest first and equal ones in order."""
    return rank.argsort(descending=True, stable=True)[:count]


def _log_backward(grad: Float[Tensor, "r n"], rows: Float[Tensor, "r n"]) -> Float[Tensor, "r n"]:
    """The gradient of log(c + FLOOR), c = rows made to sum to 1, as one of rows; in place."""
    sums = _sums(rows)
    c = rows / sums
    grad /= c + FLOOR
    return grad.sub_(c.mul_(grad).sum(-1, keepdim=True)).div_(sums)


def _sums(rows: Float[Tensor, "r n"]) -> Float[Tensor, "r 1"]:
    """What to divide rows by; a row that dropout left nothing of stays 0."""
    return rows.sum(-1, keepdim=True).clamp_min(TINY)


def _parts(k: Float[Tensor, "*_ m d"], start: int, stop: int) -> list[slice]:
    """Pieces of some rows over keys k; all at once on an accelerator, which has no cache to fit."""
    size = PIECE // (k.shape[-2] * k.element_size()) if k.device.type == "cpu" else stop
    return [slice(i, min(i + max(1, size), stop)) for i in range(start, stop, max(1, size))]


def _buffer(parts: list[slice], rows: Float[Tensor, "r n"]) -> Float[Tensor, "p n"]:
    """For any of these pieces of rows: new memory is what costs most, a page at a time."""
    return rows.new_empty(max((x.stop - x.start for x in parts), default=0), rows.shape[1])


def _reach(q: Float[Tensor, "*_ d"], k: Float[Tensor, "*_ d"]) -> float:
    """What no logit exceeds, by Cauchy and Schwarz."""
    lengths = [x.norm(dim=-1).max().float() for x in (q, k)]
    return (lengths[0] * lengths[1]).item() * q.shape[-1] ** -0.5


def _exp(q: Float[Tensor, "r d"], k: Float[Tensor, "m d"], shift: bool) -> Float[Tensor, "r m"]:
    """exp(q·k / √d), each row divided by its largest if shift."""
    scale = q.shape[-1] ** -0.5 / math.log(2)
    x = torch.addmm(q.new_empty(()), q, k.T, beta=0, alpha=scale)
    if shift:
        x -= x.amax(-1, keepdim=True)
    return x.exp2_()
