"""The values that the stages hand to each other.

Axis letters are the same everywhere: t frames, s key frames, h w, n tokens, m keys or
prototypes, c channels, k clusters. Capital H W are pixels, small h w are patches.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from unveil.errors import InputError


def require(condition: bool, what: str, expected: str, got: object) -> None:
    """Raise InputError, saying what was expected and what came, unless the condition holds."""
    if not condition:
        raise InputError(f"{what}: expected {expected}, got {got}")


@dataclass(frozen=True)
class Clip:
    """The frames of a video, decoded and upright.

    frames: uint8 [T, H, W, 3], RGB. fps: frames a second, exact. name: what outputs are called
    after. frame_names: one stem a frame (`00000`, …), after which masks are named.
    """

    frames: np.ndarray
    fps: Fraction = Fraction(24)
    name: str = "video"
    frame_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        f = self.frames
        shape = f"{f.dtype} {list(f.shape)}"
        require(
            f.ndim == 4 and f.shape[-1] == 3 and f.dtype == np.uint8,
            "frames",
            "uint8 [T, H, W, 3]",
            shape,
        )
        require(len(f) > 0, "frames", "at least one frame", shape)
        require(self.fps > 0, "fps", "a positive number", self.fps)
        if not self.frame_names:
            object.__setattr__(self, "frame_names", tuple(f"{i:05d}" for i in range(len(f))))
        require(len(self.frame_names) == len(f), "frame_names", f"{len(f)} names", self.frame_names)

    def __len__(self) -> int:
        return len(self.frames)


@dataclass(frozen=True)
class Features:
    """What the backbone says of every patch.

    keys: [T, h, w, C], the last block's attention keys, heads concatenated, before any
    normalisation. patch: side of a patch in pixels of the resized frame. saliency: [T, h, w],
    attention of the CLS token to each patch in the last block, head mean, or None.
    """

    keys: Float[Tensor, "t h w c"]
    patch: int
    saliency: Float[Tensor, "t h w"] | None = None


@dataclass(frozen=True)
class Clusters:
    """A partition of all patches of a video.

    labels: [T, h, w], 0 … K-1. centres: [K, M], one distribution a cluster.
    """

    labels: Int[Tensor, "t h w"]
    centres: Float[Tensor, "k m"]
