"""A ViT of the DINOv2 design, up to the keys of its last block, without importing transformers.

transformers has the same model, and the tests hold this one to it, bit for bit in fp32. But to
import it takes twice as long as torch itself, before a first frame is seen; and here the grid of
positions is an argument, so that other libraries can take the model over for any size of frame.

Equations: Dosovitskiy et al., arXiv 2010.11929; LayerScale, Touvron et al., arXiv 2103.17239.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

_NAMES = {
    "embeddings.cls_token": "cls",
    "embeddings.position_embeddings": "table",
    "embeddings.patch_embeddings.projection": "patches",
    "encoder.layer": "blocks",
    "attention.attention.query": "q",
    "attention.attention.key": "k",
    "attention.attention.value": "v",
    "attention.output.dense": "out",
    "layer_scale1.lambda1": "scale1",
    "layer_scale2.lambda1": "scale2",
    "mlp.fc": "fc",
}
"""What transformers calls in its files what has a shorter name here."""
_UNUSED = "embeddings.mask_token"  # of training only, and not in every file
_FIXED = {
    "model_type": "dinov2",
    "num_channels": 3,
    "hidden_act": "gelu",
    "qkv_bias": True,
    "use_swiglu_ffn": False,
}
"""What a configuration has to say of what is not told apart here, where it says anything."""


class Block(nn.Module):
    """Attention and MLP, each after a norm and before a scale a channel."""

    def __init__(self, width: int, heads: int, inner: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = (nn.LayerNorm(width, eps=eps) for _ in range(2))
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)
        self.scale1, self.scale2 = (nn.Parameter(torch.ones(width)) for _ in range(2))

    def forward(self, x: Float[Tensor, "t n c"]) -> Float[Tensor, "t n c"]:
        """The tokens after this block."""
        y = self.norm1(x)
        q, k, v = (self._by_head(project(y)) for project in (self.q, self.k, self.v))
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.out(y) * self.scale1
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x)))) * self.scale2

    def _by_head(self, x: Float[Tensor, "t n c"]) -> Float[Tensor, "t heads n d"]:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Dinov2(nn.Module):
    """The model of one configuration of transformers, with no weights of its own yet.

    prefix: tokens before those of the patches, CLS alone. by_scale: see `interpolated`.
    """

    def __init__(self, config: Mapping[str, Any], by_scale: bool = False) -> None:
        super().__init__()
        self.by_scale = by_scale
        self.patch: int = config["patch_size"]
        self.channels = width = int(config["hidden_size"])
        self.heads: int = config["num_attention_heads"]
        self.prefix = 1
        side = config["image_size"] // self.patch
        inner, eps = int(width * config.get("mlp_ratio", 4)), config.get("layer_norm_eps", 1e-6)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.table = nn.Parameter(torch.zeros(1, 1 + side * side, width))
        self.patches = nn.Conv2d(3, width, self.patch, stride=self.patch)
        layers = range(config["num_hidden_layers"])
        self.blocks = nn.ModuleList(Block(width, self.heads, inner, eps) for _ in layers)
        self.layernorm = nn.LayerNorm(width, eps=eps)

    def forward(
        self, pixels: Float[Tensor, "t 3 H1 W1"]
    ) -> tuple[Float[Tensor, "t n c"], Float[Tensor, "t c"]]:
        """Keys of all tokens, CLS first, and the query of CLS, in the last block's attention."""
        h, w = (side // self.patch for side in pixels.shape[-2:])
        return self.at(pixels, interpolated(self.table, h, w, self.by_scale))

    def at(
        self, pixels: Float[Tensor, "t 3 H1 W1"], positions: Float[Tensor, "1 n c"]
    ) -> tuple[Float[Tensor, "t n c"], Float[Tensor, "t c"]]:
        """The same, with the positions of CLS and of the patches given."""
        last: Any = self.blocks[-1]
        x = last.norm1(self._before_last(pixels, positions))
        return last.k(x), last.q(x[:, 0])

    def with_output(
        self, pixels: Float[Tensor, "t 3 H1 W1"]
    ) -> tuple[Float[Tensor, "t n c"], Float[Tensor, "t c"]]:
        """Keys of all tokens, CLS first, and the output of CLS: after the last block and norm."""
        h, w = (side // self.patch for side in pixels.shape[-2:])
        last: Any = self.blocks[-1]
        x = self._before_last(pixels, interpolated(self.table, h, w, self.by_scale))
        return last.k(last.norm1(x)), self.layernorm(last(x)[:, 0])

    def _before_last(self, pixels: Tensor, positions: Tensor) -> Tensor:
        x = self.patches(pixels).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls.expand(x.shape[0], -1, -1), x), 1) + positions
        for block in self.blocks[:-1]:
            x = block(x)
        return x


def interpolated(
    table: Float[Tensor, "1 m c"], h: int, w: int, by_scale: bool = False
) -> Float[Tensor, "1 n c"]:
    """Learned positions of CLS and of a square of patches, for h x w patches; bicubic, in fp32.

    by_scale: by a factor of scale, a tenth of a patch on top of the grid. So the first DINO's code
    has it, and the released code of the method with it: samples are taken where that factor says,
    not where a grid of exactly h x w would have them.
    """
    side = round((table.shape[1] - 1) ** 0.5)
    if (h, w) == (side, side):
        return table
    to: dict[str, Any] = {"size": (h, w)}
    if by_scale:
        to = {"scale_factor": [(n + 0.1) / side for n in (h, w)]}
    square = table[:, 1:].float().unflatten(1, (side, side)).permute(0, 3, 1, 2)
    patches = F.interpolate(square, mode="bicubic", **to).flatten(2).transpose(1, 2)
    return torch.cat((table[:, :1], patches.to(table.dtype)), 1)


def load(folder: Path, by_scale: bool = False) -> Dinov2 | None:
    """The model in a folder of weights; None where it is another, or its file does not fit.

    What is wrong then is for transformers to say.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if any(config.get(name, value) != value for name, value in _FIXED.items()):
            return None
        with torch.device("meta"):  # nothing is drawn that is overwritten at once
            model = Dinov2(config, by_scale)
        state = {_short(k): v for k, v in load_file(folder / "model.safetensors").items()}
        state.pop(_short(_UNUSED), None)
        model.load_state_dict(state, assign=True)
    except (
        OSError,
        ValueError,
        TypeError,
        LookupError,
        ArithmeticError,
        RuntimeError,
        SafetensorError,
    ):
        return None
    return model.eval().requires_grad_(False)


def _short(name: str) -> str:
    for long, short in _NAMES.items():
        name = name.replace(long, short)
    return name
