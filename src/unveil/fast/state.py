"""What the default mode knows of a video, small enough to lie beside the results."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

from unveil.fast.arrays import load_arrays, save_arrays
from unveil.fast.tree import cut_below, seniority

INSIDE = 0.5
"""A patch is of an object from this probability on."""
WHOLE = 1.0
"""Height of the tree below which all merges are within one object, above which between objects."""
GROUND_SPLIT = 0.4
"""Height at which the background is cut, where nobody says."""
_FORMAT, _BEFORE_SHOTS = 4, 3
_STRETCH = 128  # frames counted at once; more would only cost memory


@dataclass(frozen=True)
class State:
    """All that is needed to cut a video anew.

    groups: [T, h, w], the group of every patch. share: [G], the probability that it is of an
    object. leaf: [G], the part of an object that it is of or next to, -1 where none is near.
    ground: [G], the part of the background that it is of or would be. tree: [L-1, 4], SciPy linkage
    of all L parts; heights: below 1 within an object or the background, below 2 between objects,
    3 at the top. mass: [L], patches. objects: of the L parts, how many are of objects;
    they come first. shots: the first frame of every shot.
    """

    groups: Integer[np.ndarray, "t h w"]
    share: Float[np.ndarray, " g"]
    leaf: Integer[np.ndarray, " g"]
    ground: Integer[np.ndarray, " g"]
    tree: Float[np.ndarray, "e 4"]
    mass: Float[np.ndarray, " l"]
    objects: int
    shots: Int[np.ndarray, " s"] = field(default_factory=lambda: np.zeros(1, int))

    @cached_property
    def patches(self) -> Int[np.ndarray, " g"]:
        """The patches of every group."""
        return np.bincount(self.groups.ravel(), minlength=len(self.share))

    @cached_property
    def sights(self) -> tuple[Int[np.ndarray, " s"], Int[np.ndarray, " s"]]:
        """Frame and group of every sight of a group: once for each frame that it is seen in."""
        found = []
        for start in range(0, len(self.groups), _STRETCH):
            part = self.groups[start : start + _STRETCH]
            flat = part.reshape(len(part), -1)
            first = flat.min(1).astype(np.int64)
            spread = int((flat.max(1) - first).max()) + 1
            cells = (flat - first[:, None] + np.arange(len(part))[:, None] * spread).ravel()
            frame, cell = divmod(np.flatnonzero(np.bincount(cells)), spread)
            found.append((frame + start, first[frame] + cell))
        frame, group = (np.concatenate(x) for x in zip(*found, strict=True))
        return frame, group

    @cached_property
    def front(self) -> Bool[np.ndarray, " l"]:
        """The parts of objects."""
        return np.arange(len(self.mass)) < self.objects

    @cached_property
    def part(self) -> Int[np.ndarray, " g"]:
        """The part that every group is of, an object's or the background's."""
        return np.where(self.share > INSIDE, self.leaf, self.ground)

    def scores(self, piece: Integer[np.ndarray, " l"]) -> Float[np.ndarray, " k"]:
        """The score of every piece 1 … K of a cut, -1 where it has no patch; 0 stands for no piece.

        It is the mean probability of the piece's patches to be of an object, times the root of the
        share of frames that show it.
        """
        k, t = int(piece.max(initial=0)) + 1, len(self.groups)
        of_group = piece[self.part]
        mass = np.bincount(of_group, self.patches, minlength=k)
        likely = np.bincount(of_group, self.patches * self.share, minlength=k)
        frame, group = self.sights
        seen = np.zeros(k, int)  # frames that show a piece
        for start in range(0, t, _STRETCH):
            some = slice(*np.searchsorted(frame, (start, start + _STRETCH)))
            place = (frame[some] - start) * k + of_group[group[some]]
            seen += (np.bincount(place, minlength=_STRETCH * k).reshape(-1, k) > 0).sum(0)
        score = likely / np.maximum(mass, 1) * np.sqrt(seen / t)
        return np.where(mass > 0, score.round(4), -1)[1:]

    @cached_property
    def names(self) -> Int[np.ndarray, " l"]:
        """The id of every part; the id of a piece of whatever cut is the least of its parts' ids.

        Whole objects come first, the best first, then the clusters of the background; then what
        they are cut into, by the height at which it parts. So an object keeps its id from cut to
        cut, the larger side keeps it where it is parted, and a union has that of the best in it.
        """
        rank = np.zeros(len(self.mass), int)
        before = 0
        for kept, height in ((self.front, WHOLE), (~self.front, GROUND_SPLIT)):
            piece = cut_below(self.tree, kept, height)
            score = self.scores(piece)
            place = np.empty(len(score), int)
            place[np.argsort(-score, kind="stable")] = np.arange(len(score))
            rank[kept] = before + place[piece[kept] - 1]
            before += len(score)
        return seniority(self.tree, self.mass, rank) + 1

    def save(self, path: Path) -> None:
        """Write as one compressed .npz, under a temporary name first."""
        arrays = {name: getattr(self, name) for name in self.__dataclass_fields__}
        save_arrays(path, _FORMAT, arrays)

    @classmethod
    def load(cls, path: Path) -> "State":
        """Read what `save` wrote. Raises DataError for anything else."""
        names = set(cls.__dataclass_fields__)
        formats = {_FORMAT: names, _BEFORE_SHOTS: names - {"shots"}}
        arrays = load_arrays(path, formats, "not a state")
        objects = int(arrays.pop("objects"))
        return cls(**arrays, objects=objects)


@dataclass(frozen=True)
class Ranked:
    """A cut, a group at a time: the object it is of or next to, 0 where none is, and how much of
    it is that object's, 0 … 1. scores: id → 0 … 1; ids may have gaps, see `State.names`.
    """

    near: Integer[np.ndarray, " g"]
    share: Float[np.ndarray, " g"]
    scores: dict[int, float]


@dataclass(frozen=True)
class OfPatches:
    """What every patch has from its group, [T, h, w], looked up a few frames at a time.

    groups: [T, h, w], the group of every patch. of_group: [G].
    """

    groups: Integer[np.ndarray, "t h w"]
    of_group: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """Frames, patches down and across."""
        return self.groups.shape

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, frames: int | slice) -> np.ndarray:
        return self.of_group[self.groups[frames]]


@dataclass(frozen=True)
class Objects:
    """The objects of a video on the patch grid.

    near: [T, h, w], the object that a patch is of or next to, 0 where none is. share: [T, h, w],
    0 … 1, how much of the patch is that object's. scores: id → 0 … 1; ids may have gaps.
    ids: [T, h, w], near where it has most of the patch, else 0 = background.
    """

    near: Integer[np.ndarray, "t h w"]
    share: Float[np.ndarray, "t h w"]
    scores: dict[int, float]
    ids: Integer[np.ndarray, "t h w"] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", np.where(self.share > INSIDE, self.near, 0))
