"""The spatio-temporal block and the rows of its attention.

A row is one token's attention over the keys of a few frames: a distribution that says where in
the video its object is. Rows are made on demand, some frames at a time; the full matrix of all
tokens over all keys never exists.

Source: Ding et al., "Betrayed by Attention", arXiv 2311.17893, sections 3.2 and 3.4.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unveil.errors import WeightsError

HEADS = 8


class SelfAttention(nn.Module):
    """Multi-head self-attention without a bias on q, k and v; parameters only, see `Block`."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.proj = nn.Linear(channels, channels)


class Mlp(nn.Module):
    """Linear, GELU, dropout, linear, dropout; four times as wide inside."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens [..., C] to tokens [..., C]."""
        return self.dropout(self.fc2(self.dropout(F.gelu(self.fc1(x)))))


class Block(nn.Module):
    """One pre-norm transformer block over the tokens of all frames together.

    No positional encoding and no class token of its own. channels: C of the backbone, a multiple
    of heads. dropout, attention_dropout: while training only. centred: it reads keys less their
    mean, see `centre`; as published it does not.
    """

    def __init__(
        self,
        channels: int,
        heads: int = HEADS,
        dropout: float = 0.1,
        attention_dropout: float = 0.4,
        centred: bool = False,
    ) -> None:
        super().__init__()
        if channels % heads:
            raise WeightsError(f"a block of {channels} channels cannot have {heads} heads")
        self.channels, self.attention_dropout, self.centred = channels, attention_dropout, centred
        self.norm1 = nn.LayerNorm(channels)
        self.attention = SelfAttention(channels, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, dropout)
        self.dropout = nn.Dropout(dropout)

    @property
    def heads(self) -> int:
        """Number of attention heads."""
        return self.attention.heads

    def centre(
        self, keys: Float[Tensor, "*n c"], mean: Float[Tensor, " c"] | None = None
    ) -> Float[Tensor, "*n c"]:
        """Keys as a centred block reads them, less their mean; as they are for any other.

        One vector added to all keys changes no attention in the backbone, for the softmax takes it
        away again; so training leaves it arbitrary, and where it is large it is all that norm1
        sees. mean: over all patches of the video, where keys are only some of them.
        """
        if not self.centred:
            return keys
        return keys - (keys.flatten(0, -2).mean(0) if mean is None else mean)

    def queries_keys(
        self, x: Float[Tensor, "*n c"]
    ) -> tuple[Float[Tensor, "*n a d"], Float[Tensor, "*n a d"]]:
        """Queries and keys a head [..., A, D] of tokens [..., C]: all that inference needs."""
        x = self.norm1(x)
        c = self.channels
        q, k = F.linear(x, self.attention.qkv.weight[: 2 * c]).chunk(2, dim=-1)
        return q.unflatten(-1, (self.heads, -1)), k.unflatten(-1, (self.heads, -1))

    def forward(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
        """Output tokens; attention is fused and never materialised."""
        q, k, v = self.attention.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).unbind(-3)
        p = self.attention_dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), dropout_p=p
        )
        x = x + self.dropout(self.attention.proj(mixed.transpose(1, 2).flatten(2)))
        return x + self.mlp(self.norm2(x))


def random_block(
    channels: int,
    heads: int = HEADS,
    dropout: float = 0.1,
    attention_dropout: float = 0.4,
    centred: bool = False,
    seed: int = 0,
) -> Block:
    """A block as published before its first step, its weights drawn from the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Block(channels, heads, dropout, attention_dropout, centred)
