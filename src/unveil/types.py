"""The values that the stages hand to each other.

Axis letters are the same everywhere: t frames, s key frames, h w, n tokens, m keys or
prototypes, c channels, k clusters. Capital H W are pixels, small h w are patches.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from unveil.errors import InputError


def _require(condition: bool, what: str, expected: str, got: object) -> None:
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
        _require(
            f.ndim == 4 and f.shape[-1] == 3 and f.dtype == np.uint8,
            "frames",
            "uint8 [T, H, W, 3]",
            shape,
        )
        _require(len(f) > 0, "frames", "at least one frame", shape)
        _require(self.fps > 0, "fps", "a positive number", self.fps)
        if not self.frame_names:
            object.__setattr__(self, "frame_names", tuple(f"{i:05d}" for i in range(len(f))))
        _require(
            len(self.frame_names) == len(f), "frame_names", f"{len(f)} names", self.frame_names
        )

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


@dataclass(frozen=True)
class Object:
    """One object of a segmentation: its id, its score in 0 … 1, its masks bool [T, H, W]."""

    id: int
    score: float
    masks: np.ndarray


@dataclass(frozen=True)
class Segmentation:
    """The objects of a video, one label a pixel.

    labels: uint8 or uint16 [T, H, W]; 0 is background, any other number an object's id, the same
    in every frame. scores: id → score in 0 … 1. frames: uint8 [T, H, W, 3] the labels belong to,
    for pictures; None where they were not kept. run: settings, versions and seconds a stage.
    state: what `recut` needs, an `unveil.cluster.fast.State`; None where there is none.
    """

    labels: np.ndarray
    scores: Mapping[int, float]
    fps: Fraction = Fraction(24)
    name: str = "video"
    frame_names: tuple[str, ...] = ()
    frames: np.ndarray | None = None
    run: Mapping[str, Any] = field(default_factory=dict)
    state: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        x = self.labels
        shape = f"{x.dtype} {list(x.shape)}"
        _require(
            x.ndim == 3 and x.dtype in (np.uint8, np.uint16),
            "labels",
            "uint8 or uint16 [T, H, W]",
            shape,
        )
        if not self.frame_names:
            object.__setattr__(self, "frame_names", tuple(f"{i:05d}" for i in range(len(x))))
        _require(
            len(self.frame_names) == len(x), "frame_names", f"{len(x)} names", self.frame_names
        )

    @property
    def ids(self) -> tuple[int, ...]:
        """The ids of all objects, ascending; never 0."""
        return tuple(sorted(self.scores))

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Object]:
        return (Object(i, self.scores[i], self.masks(i)) for i in self.ids)

    def masks(self, id: int) -> np.ndarray:
        """The masks of one object, bool [T, H, W]. Raises InputError for an id it does not have."""
        if id not in self.scores:
            raise InputError(f"no object {id}: this segmentation has {list(self.ids)}")
        return self.labels == id

    def save(self, out: str | Path) -> Path:
        """Write masks, pictures, objects.json, state.npz and run.json; return the folder."""
        from unveil.export import save  # an upward call: export is built on this value

        return save(self, out)

    def recut(
        self,
        objects: int | None = None,
        granularity: float | None = None,
        keep_background: bool = False,
    ) -> "Segmentation":
        """The same video cut into other objects, without computing its features again.

        Arguments as in `unveil.Settings`. Raises InputError where they contradict, and where this
        segmentation kept no merge tree or no frames.
        """
        from unveil.recut import recut_segmentation

        return recut_segmentation(self, objects, granularity, keep_background)

    def overlay(self, alpha: float = 0.5) -> np.ndarray:
        """The frames with the objects painted over them, uint8 [T, H, W, 3]."""
        from unveil.export import overlay

        if self.frames is None:
            raise InputError("this segmentation kept no frames to paint on")
        return overlay(self.frames, self.labels, alpha)
