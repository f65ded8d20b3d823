"""What edits are played on: the groups of a state frame by frame, and its automatic cuts.

A group may lie in several places at once (two heads that look alike); each is a piece of it, for a
person who clicks on one means that one. A cell is one piece in one frame. Cells are laid out as
[T, L]: the pieces of frame t are numbered from `first[t]` on, and L is the most that a frame's
numbers spread.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from jaxtyping import Integer
from scipy.sparse.csgraph import connected_components

from unveil.errors import InputError
from unveil.fast.describe import of_groups
from unveil.fast.evidence import Evidence
from unveil.fast.state import Ranked, State
from unveil.settings import check_cut

_ON = 0.5  # share of a group's patches that have to lie on those that it is to go on from
_APART = 0.2
"""Share of a group's patches that have to hang together to be a piece of their own."""
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
        t, self.height, self.width = state.groups.shape
        self.frames = t
        self.blocks = _blocks(state.groups)
        self.pieces, self.group_of = _pieces(state.groups)
        flat = self.pieces.reshape(t, -1)
        self.first = flat.min(1).astype(np.int64)
        self.cells = int((flat.max(1) - self.first).max()) + 1
        self.of_patch: Integer[np.ndarray, "t h w"] = self.pieces - self.first[
            :, None, None
        ].astype(self.pieces.dtype)
        count = np.zeros((t, self.cells), np.int64)
        for i, cell in enumerate(self.of_patch.reshape(t, -1)):
            count[i] = np.bincount(cell, minlength=self.cells)
        self.patches: Integer[np.ndarray, "t l"] = count
        self.piece: Integer[np.ndarray, "t l"] = np.minimum(
            self.first[:, None] + np.arange(self.cells), len(self.group_of) - 1
        )
        self.group: Integer[np.ndarray, "t l"] = self.group_of[self.piece]
        self._cuts: OrderedDict[tuple, Ranked] = OrderedDict()

    def block_with(self, piece: int) -> int:
        """The stretch that a piece lies in."""
        return int(np.searchsorted(self._block_first, piece, side="right")) - 1

    @cached_property
    def _block_first(self) -> Integer[np.ndarray, " b"]:
        return np.array([self.first[b.start : b.stop].min() for b in self.blocks])

    def followed(self, pieces: Integer[np.ndarray, " n"]) -> Integer[np.ndarray, " m"]:
        """Pieces of one block with those that go on where they end, ahead and back.

        A piece of the next block goes on where it lies for the most part on the patches of those
        before it, in the frames where the blocks meet; so it goes from block to block.
        """
        found = set(pieces.tolist())
        if not found:
            return pieces
        start = self.block_with(min(found))
        for step in (1, -1):
            here, block = found & set(pieces.tolist()), start + step
            while here and 0 <= block < len(self.blocks):
                before, now = self.blocks[block - step], self.blocks[block]
                edge, meets = (before[-1], now[0]) if step > 0 else (before[0], now[-1])
                on = np.isin(self.pieces[edge], list(here))
                ids, frame = np.unique(self.pieces[meets], return_inverse=True)
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


def _blocks(groups: Integer[np.ndarray, "t h w"]) -> list[range]:
    """Stretches of frames that were grouped together, in their order."""
    top, starts = -1, []
    for i, frame in enumerate(groups):
        if int(frame.min()) > top:
            starts.append(i)
        top = max(top, int(frame.max()))
    return [range(a, b) for a, b in zip(starts, [*starts[1:], len(groups)], strict=True)]


def _pieces(
    groups: Integer[np.ndarray, "t h w"],
) -> tuple[Integer[np.ndarray, "t h w"], Integer[np.ndarray, " p"]]:
    """The connected piece of its group that every patch is of, and the group of every piece.

    Patches are connected beside each other in a frame, and in one place from frame to frame. A
    piece has at least a fifth of its group; what is smaller goes with the largest. Pieces are
    numbered in the order in which they are first seen, so those of a block follow each other.
    """
    t, h, w = groups.shape
    number = np.arange(t * h * w, dtype=np.int32).reshape(t, h, w)
    pairs = []
    for a, b in (
        (np.s_[1:], np.s_[:-1]),
        (np.s_[:, 1:], np.s_[:, :-1]),
        (np.s_[:, :, 1:], np.s_[:, :, :-1]),
    ):
        same = groups[a] == groups[b]  # never of two blocks: these share no group
        pairs.append((number[a][same], number[b][same]))
    rows, columns = (np.concatenate(ends) for ends in zip(*pairs, strict=True))
    links = sp.coo_array((np.ones(len(rows), bool), (rows, columns)), (t * h * w, t * h * w))
    _, piece = connected_components(links.tocsr(), directed=False)
    flat = groups.ravel()
    of = np.zeros(int(piece.max()) + 1, flat.dtype)
    of[piece] = flat
    size = np.bincount(piece)
    whole = np.bincount(flat)
    # What is too small to stand alone stays with the largest of its group.
    order = np.lexsort((size, of))
    last = np.append(of[order][1:] != of[order][:-1], True)
    main = np.zeros(len(whole), np.int64)
    main[of[order][last]] = order[last]
    stands = (size >= _APART * whole[of]) | (main[of] == np.arange(len(of)))
    piece = np.where(stands, np.arange(len(of)), main[of])[piece]
    _, first, piece = np.unique(piece, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int32)
    rank[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
    return rank[piece].reshape(t, h, w), flat[np.sort(first)]
