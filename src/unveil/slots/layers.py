"""What models of keys are built of beside attention: their standard form, multilayer perceptrons,
transformer layers.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


class KeysModel(nn.Module):
    """What reads the keys of frames, less their mean and divided by their deviation over the clips
    that it was trained on. Keys have C channels on a grid of h x w patches.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, channels: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.channels, self.grid = channels, grid
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(()))

    def standard(self, keys: Float[Tensor, "b t h w c"]) -> Float[Tensor, "b t n c"]:
        """Keys in standard form."""
        return ((keys.to(self.mean.dtype) - self.mean) / self.scale).flatten(2, 3)


def perceptron(inner: int, hidden: Sequence[int], outer: int) -> nn.Sequential:
    """Linear layers with ReLU between them, biases zero at first."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inner, width), nn.ReLU()]
        inner = width
    layers.append(nn.Linear(inner, outer))
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


def projection(channels: int, hidden: int, width: int) -> nn.Sequential:
    """Keys to what slots attend to: layer norm, then a hidden layer (VideoSAUR: 2 x channels)."""
    return nn.Sequential(nn.LayerNorm(channels), *perceptron(channels, [hidden], width))


class TransformerLayer(nn.Module):
    """One pre-norm transformer layer: attention, then a ReLU layer of four times the width.

    x + Attention(LN(x), m, m), then x + MLP(LN(x)); m is LN(x) itself, or what `memory` holds. No
    dropout. VideoSAUR (arXiv 2306.04829) predicts slots with one such layer, and its mixer reads
    slots with three; its code multiplies logits by the root of the head's width, here they are
    divided by it, as in Vaswani et al.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = perceptron(width, [4 * width], width)

    def forward(
        self, x: Float[Tensor, "b n d"], memory: Float[Tensor, "b m d"] | None = None
    ) -> Float[Tensor, "b n d"]:
        """Map tokens to tokens."""
        y = self.norm1(x)
        m = y if memory is None else memory
        x = x + self.attention(y, m, m, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))
