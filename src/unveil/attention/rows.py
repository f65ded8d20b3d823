"""Rows of attention, made on demand, some frames at a time.

A row is one token's attention over the keys of a few frames: a distribution that says where in
the video its object is. The full matrix of all tokens over all keys never exists.

Source: Ding et al., "Betrayed by Attention", arXiv 2311.17893, section 3.4.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from unveil.attention.block import Block
from unveil.settings import KEY_EVERY
from unveil.types import Features

TEMPERATURE = 0.1
"""Of the cosine rows: the softmax of cosine similarity over this."""


_PIECE = 64  # rows worked on at once, so that they stay in the processor's cache
_BOUNDED = 60.0
"""Logits below this need no maximum taken away: their exponentials are normal fp32 numbers."""


@runtime_checkable
class Rows(Protocol):
    """Attention rows of a video, made anew at each call: [frames · h · w, M], each summing to 1."""

    @property
    def frames(self) -> int:
        """Number of frames."""
        ...

    @property
    def h(self) -> int:
        """Patches down."""
        ...

    @property
    def w(self) -> int:
        """Patches across."""
        ...

    def __call__(self, start: int, stop: int) -> Float[Tensor, "n m"]:
        """The rows of the tokens of frames start … stop - 1, fp32."""
        ...

    def some(self, tokens: Int[Tensor, " n"]) -> Float[Tensor, "n m"]:
        """The rows of some tokens, numbered over all frames, fp32."""
        ...


@dataclass(frozen=True)
class BlockRows:
    """Rows of the trained block: softmax over the keys a head, then the mean over heads.

    q: [T, h, w, A, D] queries. k: [M, A, D] keys of the key frames.
    Peak memory of a call: one fp32 matrix of the tokens asked for x M, and the keys once more.
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
        return self._of(self.q[start:stop].flatten(0, 2))

    def some(self, tokens: Int[Tensor, " n"]) -> Float[Tensor, "n m"]:
        """The rows of some tokens, numbered over all frames, fp32."""
        return self._of(self.q.flatten(0, 2)[tokens.to(self.q.device)])

    def _of(self, q: Float[Tensor, "n a d"]) -> Float[Tensor, "n m"]:
        n, a, d = q.shape
        q = (q * d**-0.5).unbind(1)
        k = [head.T.contiguous() for head in self.k.unbind(1)]
        bounded = all(_largest(x, y) < _BOUNDED for x, y in zip(q, k, strict=True))
        rows = q[0].new_zeros(n, len(self.k), dtype=torch.float32)
        for i in range(0, n, _PIECE):
            some = rows[i : i + _PIECE]
            for x, y in zip(q, k, strict=True):
                logits = (x[i : i + _PIECE] @ y).float()
                if not bounded:
                    logits -= logits.amax(1, keepdim=True)
                weights = logits.exp_()
                some.addcmul_(weights, 1 / (a * weights.sum(1, keepdim=True)))
        return rows


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
        return self._of(self.unit[start:stop].flatten(0, 2))

    def some(self, tokens: Int[Tensor, " n"]) -> Float[Tensor, "n m"]:
        """The rows of some tokens, numbered over all frames, fp32."""
        return self._of(self.unit.flatten(0, 2)[tokens.to(self.unit.device)])

    def _of(self, unit: Float[Tensor, "n c"]) -> Float[Tensor, "n m"]:
        logits = unit @ self.k.T
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


def _largest(q: Float[Tensor, "n d"], k: Float[Tensor, "d m"]) -> float:
    """No product of a query and a key is larger (Cauchy and Schwarz)."""
    return float(q.float().norm(dim=1).max() * k.float().norm(dim=0).max())
