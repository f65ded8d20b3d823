"""One clip's losses by a plain transcription: the whole attention of all heads, materialised.

Every intermediate of the equations exists at its full size, as in the released code: attention
[heads, N, N], its sorted order, the gathered tokens and rows. This is what the shipped step is
tested against and timed against.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from unveil.attention.block import Block
from unveil.training.losses import LossSettings


def plain_losses(
    block: Block, features: Tensor, settings: LossSettings, positions: Tensor
) -> tuple[Tensor, Tensor]:
    """Semantic and motion loss of features [t, 1 + n, c]; block.training decides on dropout."""
    t, n1, _ = features.shape
    n = n1 - 1
    x = features.flatten(0, 1)
    drop = F.dropout if block.training else lambda x, p: x

    q, k, v = block.attention.qkv(block.norm1(x)).unflatten(-1, (3, block.heads, -1)).unbind(1)
    q, k, v = (y.transpose(0, 1) for y in (q, k, v))
    attention = (q @ k.transpose(1, 2) * q.shape[-1] ** -0.5).softmax(-1)
    attention = drop(attention, block.attention_dropout)
    y = x + block.dropout(block.attention.proj((attention @ v).transpose(0, 1).flatten(1)))
    z = y + block.mlp(block.norm2(y))

    z = z.unflatten(0, (t, n1))[:, 1:]  # [t, n, c]
    rows = attention.mean(0).unflatten(0, (t, n1))[:, 1:]  # [t, n, t·n1]
    rows = rows.unflatten(2, (t, n1))[..., 1:]  # [t, n, t, n]
    order = rows.argsort(dim=-1, descending=True)[:, positions]  # [t, p, t, n]
    a, b, c, d = settings.counts(n)

    pool = z[None, None].expand(t, len(positions), -1, -1, -1)
    index = order[..., None].expand(*order.shape, z.shape[-1])
    near, far = pool.gather(3, index[:, :, :, :a]), pool.gather(3, index[:, :, :, -b:])
    query = F.normalize(z[:, positions], dim=-1)
    pull = torch.einsum("sptkc,spc->sptk", F.normalize(near, dim=-1), query)
    push = torch.einsum("sptkc,spc->sptk", F.normalize(far, dim=-1), query)
    semantic = F.relu(settings.positive_margin - pull).mean()
    semantic = semantic + F.relu(push - settings.negative_margin).mean()

    frames = torch.arange(t)
    flat = rows.flatten(2)  # [t, n, m]
    own = order[frames, :, frames]  # [t, p, n]
    pool = flat[:, None].expand(-1, len(positions), -1, -1)
    index = own[..., None].expand(*own.shape, flat.shape[-1])
    near = (F.normalize(pool.gather(2, index[:, :, :c]), p=1, dim=-1) + 1e-10).log()
    far = (F.normalize(pool.gather(2, index[:, :, -d:]), p=1, dim=-1) + 1e-10).log()
    query = F.normalize(flat[:, positions].detach(), p=1, dim=-1)
    weight = (query * (query + 1e-10).log()).sum(-1).softmax(-1)
    near = torch.einsum("tpkm,tpm->tpk", near, query)
    far = torch.einsum("tpkm,tpm->tpk", far, query)
    hinge = F.relu(far[..., None, :] - near[..., :, None] + settings.motion_margin)
    return semantic, torch.einsum("tp,tpab->tab", weight, hinge).mean()
