"""The objects' head: of a patch, is it of an object; of two patches, are they of the same one?

Two small transformer layers over the frozen keys of one frame, with the place of each patch beside
them. Frames are read each on its own, so chunks change nothing; what it says of two patches holds
within a frame and between neighbouring ones. It is trained on composites, of which both answers are
known without a label (`unveil.training.composites`).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH = 192
LAYERS = 2
HEADS = 6
EMBEDDING = 16
WAVES = 8
"""Frequencies of the sine positions along each axis; the slowest has a period of four frame
heights, each other half that of the one before."""
POOL = 2
"""Keys and values of the head's attention are means over squares of so many patches a side: it
costs a quarter, and says where things are nearly as well."""
CHUNK = 8
"""Frames at a time."""


class Layer(nn.Module):
    """One pre-norm transformer layer whose queries are patches and whose keys are pooled."""

    def __init__(self, width: int, heads: int, pool: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.pool, self.dropout = heads, pool, dropout
        self.norm1 = nn.LayerNorm(width)
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 2 * width)
        self.fc2 = nn.Linear(2 * width, width)

    def forward(self, x: Float[Tensor, "t h w d"]) -> Float[Tensor, "t h w d"]:
        """Map tokens to tokens, frame by frame."""
        t, h, w, _ = x.shape
        y = self.norm1(x)
        small = _pooled(y, self.pool)
        q = self.q(y).view(t, h * w, self.heads, -1).transpose(1, 2)
        k, v = self.kv(small).view(t, small.shape[1], 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(t, h, w, -1)
        x = x + self._drop(self.proj(mixed))
        return x + self._drop(self.fc2(F.gelu(self.fc1(self.norm2(x)))))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class ObjectsHead(nn.Module):
    """Objectness and an embedding of every patch, from the keys of its frame.

    channels: C of the backbone. width, layers, heads, pool, embedding: of the head. dropout: while
    training only.

    >>> head = ObjectsHead(channels=11, width=12, heads=2, embedding=5)
    >>> logits, embedding = head(torch.randn(2, 3, 7, 11))
    >>> logits.shape, embedding.shape
    (torch.Size([2, 3, 7]), torch.Size([2, 3, 7, 5]))
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        channels: int,
        width: int = WIDTH,
        layers: int = LAYERS,
        heads: int = HEADS,
        pool: int = POOL,
        embedding: int = EMBEDDING,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.shape = {
            "channels": channels,
            "width": width,
            "layers": layers,
            "heads": heads,
            "pool": pool,
            "embedding": embedding,
        }
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))
        self.read = nn.Linear(channels, width)
        self.place = nn.Linear(4 * WAVES, width, bias=False)
        self.layers = nn.ModuleList(Layer(width, heads, pool, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.objectness = nn.Linear(width, 1)
        self.embed = nn.Linear(width, embedding)
        self.offset = nn.Parameter(torch.tensor(2.0))

    @property
    def channels(self) -> int:
        """C of the keys it reads."""
        return self.shape["channels"]

    def forward(
        self, keys: Float[Tensor, "t h w c"]
    ) -> tuple[Float[Tensor, "t h w"], Float[Tensor, "t h w e"]]:
        """Log-odds of being of an object, and the embedding of every patch.

        keys: as the backbone gives them. Two patches are of one object with log-odds `affinity`.
        """
        _, h, w, _ = keys.shape
        x = self.read((keys.to(self.mean.dtype) - self.mean) / self.scale)
        x = x + self.place(places(h, w).to(x))
        for layer in self.layers:
            x = layer(x)
        x = self.norm(x)
        return self.objectness(x)[..., 0], self.embed(x)

    def affinity(
        self, a: Float[Tensor, "*#n e"], b: Float[Tensor, "*#n e"]
    ) -> Float[Tensor, "*both"]:
        """Log-odds that patches of embeddings a and b are of one object: offset - |a - b|²."""
        return self.offset - (a - b).square().sum(-1)


def places(h: int, w: int) -> Float[Tensor, "h w p"]:
    """Sines and cosines of where each patch is, from the frame's middle, in frame heights."""
    y = (torch.arange(h) + 0.5) / h - 0.5
    x = ((torch.arange(w) + 0.5) / w - 0.5) * (w / h)
    rates = 2 * math.pi * 0.25 * 2.0 ** torch.arange(WAVES)
    phases = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1)[..., None] * rates
    return torch.cat((phases.sin(), phases.cos()), -1).flatten(2)


@torch.inference_mode()
def look(
    head: ObjectsHead, keys: Float[Tensor, "t h w c"], chunk: int = CHUNK
) -> tuple[Float[Tensor, "t h w"], Float[Tensor, "t h w e"]]:
    """What a head says of many frames, fp32, `chunk` of them at a time."""
    parts = [head(keys[i : i + chunk].to(head.mean)) for i in range(0, len(keys), chunk)]
    logits, embedding = (torch.cat(x).float() for x in zip(*parts, strict=True))
    return logits, embedding


def told(head: ObjectsHead, keys: Float[Tensor, "t h w c"]) -> Float[Tensor, "t h w e"]:
    """What `look` returns as one tensor, the log-odds first: `Features.objects`."""
    logits, embedding = look(head, keys)
    return torch.cat((logits[..., None], embedding), -1)


def _pooled(x: Float[Tensor, "t h w d"], side: int) -> Float[Tensor, "t m d"]:
    """Means over squares of patches; those at the lower and right rim may be smaller."""
    x = F.avg_pool2d(x.permute(0, 3, 1, 2), side, ceil_mode=True, count_include_pad=False)
    return x.flatten(2).transpose(1, 2)
