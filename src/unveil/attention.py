"""The spatio-temporal block and the rows of its attention.

A row is one token's attention over the keys of a few frames: a distribution that says where in
the video its object is. Rows are made on demand, some frames at a time; the full matrix of all
tokens over all keys never exists.

Source: Ding et al., "Betrayed by Attention", arXiv 2311.17893, sections 3.2 and 3.4.
"""

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unveil.errors import WeightsError
from unveil.types import Features

HEADS = 8
KEY_EVERY = 10
"""Every tenth frame is a key frame in the published inference."""
TEMPERATURE = 0.1
"""Of the cosine rows: the softmax of cosine similarity over this."""
TAU_SHARE = 0.15
"""Calibrated tau as a share of the block's scale, the median symmetric KL of the rows of random
pairs of patches on held-out clips (`calibrated_tau`)."""
_FORMAT = "unveil-block-1"


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


def save_block(
    block: Block, path: Path, dtype: torch.dtype = torch.float32, **metadata: Any
) -> None:
    """Write a block as safetensors; metadata (at least `backbone`) travels in its header.

    dtype: of the file. fp16 halves it and changes rows by less than a thousandth; loading gives
    fp32.
    """
    from safetensors.torch import save_file

    own = {"channels": block.channels, "heads": block.heads, "centred": block.centred}
    about = {**metadata, "format": _FORMAT, **own}
    partial = path.with_name(f".{path.name}.partial")
    state = {k: v.detach().cpu().to(dtype).contiguous() for k, v in block.state_dict().items()}
    save_file(state, partial, metadata={"unveil": json.dumps(about, sort_keys=True)})
    partial.replace(path)


def load_block(path: Path | None, backbone: str, channels: int) -> Block:
    """Read a block trained for a backbone; the one shipped for it when path is None.

    Raises WeightsError when there is none, when it was trained for another backbone, or when a
    tensor is missing, surplus or of another shape.
    """
    from safetensors import SafetensorError, safe_open

    path = shipped_block(backbone) if path is None else Path(path)
    about = block_metadata(path)
    try:
        with safe_open(path, "pt") as file:
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a block that Unveil wrote: {error}") from error
    if about.get("backbone") != backbone:
        raise WeightsError(
            f"{path} was trained for backbone {about.get('backbone')!r}, not {backbone!r}; train "
            "one for it with 'unveil train', or use '--attention cosine', which needs none"
        )
    block = Block(channels, about["heads"], centred=about.get("centred", False))
    try:
        block.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(
            f"{path} does not fit a block of {channels} channels: {error}"
        ) from error
    return block.eval().requires_grad_(False)


def block_metadata(path: Path) -> dict[str, Any]:
    """What a block file says of itself: format, channels, heads, centred, backbone, steps, scale,
    recipe.

    Raises WeightsError when there is no such file, or it is not a block of this version.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise WeightsError(f"no block file {path}; train one with 'unveil train'")
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("unveil", "{}"))
    except (SafetensorError, json.JSONDecodeError) as error:
        raise WeightsError(f"{path} is not a block that Unveil wrote: {error}") from error
    if about.get("format") != _FORMAT:
        raise WeightsError(f"{path} is not a block of this version of Unveil (no {_FORMAT} header)")
    return about


def calibrated_tau(path: Path) -> float:
    """The tau in nats that goes with a block, instead of the published 1.0 for all of them.

    Rows grow sharper as training goes on and all distances with them, so a fixed tau cuts ever
    finer. This one grows with the block's own scale. Raises WeightsError for a file without one.
    """
    scale = block_metadata(path).get("scale")
    if scale is None:
        raise WeightsError(f"{path} holds no scale of its rows; give tau yourself")
    return tau_of_scale(scale)


def tau_of_scale(scale: float, share: float = TAU_SHARE) -> float:
    """The calibrated tau of a block whose rows of random pairs lie `scale` nats apart.

    share: of that scale; another than the calibrated one is for comparisons.
    """
    return max(share * scale, torch.finfo(torch.float32).tiny)


def shipped_block(backbone: str) -> Path:
    """The block in the package for a backbone. Raises WeightsError where there is none."""
    file = Path(str(resources.files("unveil"))) / "blocks" / f"{backbone}.safetensors"
    if not file.is_file():
        raise WeightsError(
            f"no block was trained for backbone {backbone!r}; train one with 'unveil train', pass "
            "'--block PATH', or use '--attention cosine', which needs none"
        )
    return file


@runtime_checkable
class Rows(Protocol):
    """Attention rows of a video, made on demand: [frames · h · w, M], each summing to 1."""

    frames: int
    h: int
    w: int

    def __call__(self, start: int, stop: int) -> Float[Tensor, "n m"]:
        """The rows of the tokens of frames start … stop - 1, fp32."""
        ...


@dataclass(frozen=True)
class BlockRows:
    """Rows of the trained block: softmax over the keys a head, then the mean over heads.

    q: [T, h, w, A, D] queries. k: [M, A, D] keys of the key frames.
    Peak memory of a call: two fp32 matrices of (frames asked for)·h·w x M.
    """

    q: Float[Tensor, "t h w a d"]
    k: Float[Tensor, "m a d"]

    @property
    def frames(self) -> int:
        """Number of frames."""
        return self.q.shape[0]

    @property
    def h(self) -> int:
        """Patches down."""
        return self.q.shape[1]

    @property
    def w(self) -> int:
        """Patches across."""
        return self.q.shape[2]

    def __call__(self, start: int, stop: int) -> Float[Tensor, "n m"]:
        """The rows of the tokens of frames start … stop - 1, fp32."""
        q = self.q[start:stop].flatten(0, 2)
        n, a, d = q.shape
        rows = q.new_zeros(n, len(self.k), dtype=torch.float32)
        for head in range(a):
            logits = (q[:, head] * d**-0.5) @ self.k[:, head].T
            rows += logits.float().softmax(-1)
        return rows.div_(a)


@dataclass(frozen=True)
class CosineRows:
    """Rows without any training: softmax of cosine similarity over a temperature.

    unit: [T, h, w, C] centred keys of length 1. k: [M, C] those of the key frames.
    """

    unit: Float[Tensor, "t h w c"]
    k: Float[Tensor, "m c"]
    temperature: float = TEMPERATURE

    @property
    def frames(self) -> int:
        """Number of frames."""
        return self.unit.shape[0]

    @property
    def h(self) -> int:
        """Patches down."""
        return self.unit.shape[1]

    @property
    def w(self) -> int:
        """Patches across."""
        return self.unit.shape[2]

    def __call__(self, start: int, stop: int) -> Float[Tensor, "n m"]:
        """The rows of the tokens of frames start … stop - 1, fp32."""
        logits = self.unit[start:stop].flatten(0, 2) @ self.k.T
        return (logits.float() / self.temperature).softmax(-1)


def key_frames(frames: int, every: int = KEY_EVERY) -> list[int]:
    """Indices of the key frames: 0, every, 2·every, …; at least one.

    The published code takes floor(frames / every) of them: none below `every` frames, where it
    crashes. For frames ≥ every the choice is the same.
    """
    return [i * every for i in range(max(1, frames // every))]


@torch.inference_mode()
def block_rows(features: Features, block: Block, every: int = KEY_EVERY) -> BlockRows:
    """Rows of the trained block over the patches of every `every`-th frame."""
    keys = features.keys.float()
    q, k = block.to(keys.device).queries_keys(block.centre(keys))
    return BlockRows(q, k[key_frames(len(keys), every)].flatten(0, 2))


@torch.inference_mode()
def cosine_rows(
    features: Features, every: int = KEY_EVERY, temperature: float = TEMPERATURE
) -> CosineRows:
    """Rows of cosine similarity of the keys, centred on their mean over the whole video."""
    keys = features.keys.float()
    unit = F.normalize(keys - keys.mean((0, 1, 2)), dim=-1)
    return CosineRows(unit, unit[key_frames(len(keys), every)].flatten(0, 2), temperature)
