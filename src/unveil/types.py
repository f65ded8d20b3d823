"""The values that the stages hand to each other.

Axis letters are the same everywhere: t frames, s key frames, h w, n tokens, m keys or
prototypes, c channels, k clusters. Capital H W are pixels, small h w are patches.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from unveil.checks import Within, check, require

_FINEST = 1001  # denominator of a rate given as a float: 29.97 and 23.976 mean what they say


def as_rate(fps: float) -> Fraction:
    """The rate that a float means, > 0; below one a second, the seconds between two frames."""
    if fps < 1:
        return 1 / (1 / Fraction(fps)).limit_denominator(_FINEST)
    return Fraction(fps).limit_denominator(_FINEST)


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
        require(f.size > 0, "frames", "at least one frame and one pixel", shape)
        if not isinstance(self.fps, Fraction):
            fps = check("fps", self.fps, Annotated[float, Within(0, above=True)])
            object.__setattr__(self, "fps", as_rate(fps))
        require(self.fps > 0, "fps", "a number of more than 0", self.fps)
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
    attention of the CLS token to each patch in the last block, head mean, or None. objects:
    [T, h, w, 1 + e], what an objects' head says of each patch, its log-odds and embedding; None
    where nobody has asked it yet.
    """

    keys: Float[Tensor, "t h w c"]
    patch: int
    saliency: Float[Tensor, "t h w"] | None = None
    objects: Float[Tensor, "t h w e"] | None = None


@dataclass(frozen=True)
class Clusters:
    """A partition of all patches of a video.

    labels: [T, h, w], 0 … K-1. centres: [K, M], one distribution a cluster.
    """

    labels: Int[Tensor, "t h w"]
    centres: Float[Tensor, "k m"]
