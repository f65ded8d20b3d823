"""What edits are played on: the groups of a state frame by frame, and its automatic cuts.

A cell is one group in one frame. Cells are laid out as [T, L]: the groups of frame t are numbered
from `first[t]` on, and L is the most that a frame's numbers spread.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Integer

from unveil.errors import InputError
from unveil.fast.describe import of_groups
from unveil.fast.evidence import Evidence
from unveil.fast.state import Ranked, State
from unveil.settings import check_cut

_ON = 0.5  # share of a group's patches that have to lie on those that it is to go on from
_CUTS = 16  # kept, for a slider that goes to and fro


@dataclass(frozen=True)
class Sliders:
    """The wishes about the whole video, as `fast.describe.find` takes them."""

    objects: int | None = None
    granularity: float | None = None
    keep_background: bool = False
    min_score: float | None = None

    def __post_init__(self) -> None:
        check_cut(self.objects, self.granularity, self.min_score)

    def moved(
        self,
        objects: int | None = None,
        granularity: float | None = None,
        keep_background: bool | None = None,
        min_score: float | None = None,
    ) -> "Sliders":
        """These with some moved; a number of objects and a granularity replace each other."""
        moved: dict[str, Any] = {
            "objects": objects,
            "granularity": granularity,
            "keep_background": keep_background,
            "min_score": min_score,
        }
        said = {name: value for name, value in moved.items() if value is not None}
        if "objects" in said:
            said["granularity"] = None
        elif "granularity" in said:
            said["objects"] = None
        return replace(self, **said)


class Board:
    """The state of a video, and what follows from it alone.

    state: of the video. evidence: between its groups; without it nothing can be split by clicks.
    Memory: linear in the frames, 1 kB each and the state.
    """

    def __init__(self, state: State, evidence: Evidence | None = None) -> None:
        self.state, self.evidence = state, evidence
        groups = state.groups
        t, self.height, self.width = groups.shape
        self.frames = t
        flat = groups.reshape(t, -1)
        self.first = flat.min(1).astype(np.int64)
        self.cells = int((flat.max(1) - self.first).max()) + 1
        self.of_patch: Integer[np.ndarray, "t h w"] = groups - self.first[:, None, None].astype(
            groups.dtype
        )
        count = np.zeros((t, self.cells), np.int64)
        for i, cell in enumerate(self.of_patch.reshape(t, -1)):
            count[i] = np.bincount(cell, minlength=self.cells)
        self.patches: Integer[np.ndarray, "t l"] = count
        last = len(state.share) - 1
        self.group: Integer[np.ndarray, "t l"] = np.minimum(
            self.first[:, None] + np.arange(self.cells), last
        )
        self._cuts: OrderedDict[tuple, Ranked] = OrderedDict()

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return len(self.state.share)

    @cached_property
    def blocks(self) -> list[range]:
        """Stretches of frames that were grouped together, in their order."""
        top, starts = -1, []
        for i, frame in enumerate(self.state.groups):
            if self.first[i] > top:
                starts.append(i)
            top = max(top, int(frame.max()))
        return [range(a, b) for a, b in zip(starts, [*starts[1:], self.frames], strict=True)]

    def block_of(self, frame: int) -> int:
        """The stretch that a frame lies in."""
        return int(np.searchsorted([b.start for b in self.blocks], frame, side="right")) - 1

    def block_with(self, group: int) -> int:
        """The stretch that a group lies in."""
        return int(np.searchsorted(self._block_first, group, side="right")) - 1

    @cached_property
    def _block_first(self) -> Integer[np.ndarray, " b"]:
        return np.array([self.first[b.start : b.stop].min() for b in self.blocks])

    def followed(self, groups: Integer[np.ndarray, " n"]) -> Integer[np.ndarray, " m"]:
        """Groups of one block with those that go on where they end, ahead and back.

        A group of the next block goes on where it lies for the most part on the patches of those
        before it, in the frames where the blocks meet; so it goes from block to block.
        """
        found = set(groups.tolist())
        if not found:
            return groups
        start = self.block_with(min(found))
        for step in (1, -1):
            here, block = found & set(groups.tolist()), start + step
            while here and 0 <= block < len(self.blocks):
                before, now = self.blocks[block - step], self.blocks[block]
                edge, meets = (before[-1], now[0]) if step > 0 else (before[0], now[-1])
                on = np.isin(self.state.groups[edge], list(here))
                ids, frame = np.unique(self.state.groups[meets], return_inverse=True)
                held = np.bincount(frame.ravel(), on.ravel(), minlength=len(ids))
                all_ = np.bincount(frame.ravel(), minlength=len(ids))
                here = set(ids[held > _ON * all_].tolist())
                found |= here
                block += step
        return np.array(sorted(found), np.int64)

    def automatic(self, sliders: Sliders) -> Ranked:
        """The objects by some wishes."""
        s = sliders
        return self._cut(s.objects, s.granularity, s.keep_background, s.min_score)

    def clusters(self, granularity: float | None = None) -> Ranked:
        """Every cluster, the background's too, with the ids that all cuts give them."""
        return self._cut(None, granularity, True, None)

    def patch_at(self, frame: int, x: float, y: float) -> tuple[int, int, int]:
        """Frame, row and column of the patch at a point. Raises InputError beyond the video."""
        if frame >= self.frames:
            raise InputError(f"there is no frame {frame}: the video has {self.frames}")
        row = min(int(y * self.height), self.height - 1)
        return frame, row, min(int(x * self.width), self.width - 1)

    def _cut(self, *wishes: Any) -> Ranked:
        if wishes not in self._cuts:
            self._cuts[wishes] = of_groups(self.state, *wishes)
            if len(self._cuts) > _CUTS:
                self._cuts.popitem(last=False)
        self._cuts.move_to_end(wishes)
        return self._cuts[wishes]
