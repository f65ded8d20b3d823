"""What the default mode knows of a video, small enough to lie beside the results."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Integer

from unveil.fast.arrays import load_arrays, save_arrays

INSIDE = 0.5
"""A patch is of an object from this probability on."""
_FORMAT = 3


@dataclass(frozen=True)
class State:
    """All that is needed to cut a video anew.

    groups: [T, h, w], the group of every patch. share: [G], the probability that it is of an
    object. leaf: [G], the part of an object that it is of or next to, -1 where none is near.
    ground: [G], the part of the background that it is of or would be. tree: [L-1, 4], SciPy linkage
    of all L parts; heights: below 1 within an object or the background, below 2 between objects,
    3 at the top. mass: [L], patches. objects: of the L parts, how many are of objects;
    they come first.
    """

    groups: Integer[np.ndarray, "t h w"]
    share: Float[np.ndarray, " g"]
    leaf: Integer[np.ndarray, " g"]
    ground: Integer[np.ndarray, " g"]
    tree: Float[np.ndarray, "e 4"]
    mass: Float[np.ndarray, " l"]
    objects: int

    @cached_property
    def patches(self) -> Int[np.ndarray, " g"]:
        """The patches of every group."""
        return np.bincount(self.groups.ravel(), minlength=len(self.share))

    @cached_property
    def sights(self) -> tuple[Int[np.ndarray, " s"], Int[np.ndarray, " s"]]:
        """Frame and group of every sight of a group: once for each frame that it is seen in."""
        t = len(self.groups)
        flat = self.groups.reshape(t, -1)
        first = flat.min(1).astype(np.int64)
        spread = int((flat.max(1) - first).max()) + 1
        cells = (flat - first[:, None] + np.arange(t)[:, None] * spread).ravel()
        frame, cell = divmod(np.flatnonzero(np.bincount(cells)), spread)
        return frame, first[frame] + cell

    def save(self, path: Path) -> None:
        """Write as one compressed .npz, under a temporary name first."""
        arrays = {name: getattr(self, name) for name in self.__dataclass_fields__}
        save_arrays(path, _FORMAT, arrays)

    @classmethod
    def load(cls, path: Path) -> "State":
        """Read what `save` wrote. Raises DataError for anything else."""
        arrays = load_arrays(path, _FORMAT, cls.__dataclass_fields__, "not a state")
        objects = int(arrays.pop("objects"))
        return cls(**arrays, objects=objects)


@dataclass(frozen=True)
class Ranked:
    """A cut, a group at a time: the object it is of or next to, 0 where none is, and how much of
    it is that object's, 0 … 1. scores: id → 0 … 1; ids ascend as scores fall.
    """

    near: Integer[np.ndarray, " g"]
    share: Float[np.ndarray, " g"]
    scores: dict[int, float]


@dataclass(frozen=True)
class Objects:
    """The objects of a video on the patch grid.

    near: [T, h, w], the object that a patch is of or next to, 0 where none is. share: [T, h, w],
    0 … 1, how much of the patch is that object's. scores: id → 0 … 1; ids ascend as scores fall.
    ids: [T, h, w], near where it has most of the patch, else 0 = background.
    """

    near: Integer[np.ndarray, "t h w"]
    share: Float[np.ndarray, "t h w"]
    scores: dict[int, float]
    ids: Integer[np.ndarray, "t h w"] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", np.where(self.share > INSIDE, self.near, 0))
