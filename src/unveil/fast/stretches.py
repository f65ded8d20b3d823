"""A long video looked at in stretches: the groups of each in a file, and together as those of one.

    grouper = StretchGrouper(lead=LEAD)               # where a stretch is looked at
    for features, frames in seen:
        grouper.add(features, frames)
        write(grouper.pop())
    counted_through([read_groups(p) for p in paths])  # where the video is described

Blocks end with every eighth frame and with every shot, so where stretches begin at a multiple of a
block's frames the groups are those of the video in one piece.
"""

import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from itertools import count, takewhile
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from unveil.attention.objects_head import ObjectsHead
from unveil.fast.groups import BLOCK, Grouper, Groups
from unveil.files import output_errors, written_whole
from unveil.types import Features

LEAD = BLOCK
"""Frames before a stretch that are looked at with it: whether a shot ends where it begins, and what
is carried from frame to frame, shows in them. A whole number of blocks."""
_NAMES = [field.name for field in fields(Groups)]
_COUNTED = ("block", "shot")


@dataclass
class StretchGrouper:
    """A `Grouper` of a stretch: what it gives leaves out the first `lead` frames taken."""

    head: ObjectsHead | None = None
    lead: int = 0
    _grouper: Grouper = field(init=False, repr=False)
    _first: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_COUNTED, 0), repr=False)

    def __post_init__(self) -> None:
        self._grouper = Grouper(self.head)

    def add(self, features: Features, frames: UInt8[np.ndarray, "t H W 3"]) -> None:
        """Take the features of the next frames, and the frames."""
        before = min(self.lead, len(frames))
        if before:
            self._grouper.add(_part(features, slice(before)), frames[:before])
            self.lead -= before
            blocks = self._grouper.pop(flush=not self.lead)
            if blocks:
                last = blocks[-1]
                self._first = {"block": int(last.block[0]) + 1, "shot": int(last.shot[0])}
        if before < len(frames):
            self._grouper.add(_part(features, slice(before, None)), frames[before:])

    def pop(self, flush: bool = False) -> list[Groups]:
        """As `Grouper.pop`, counted from the stretch."""
        return [_moved(block, self._first, -1) for block in self._grouper.pop(flush)]


def _part(features: Features, part: slice) -> Features:
    rest = (None if x is None else x[part] for x in (features.saliency, features.objects))
    return Features(features.keys[part], features.patch, *rest)


def _moved(block: Groups, by: dict[str, int], sign: int = 1) -> Groups:
    return replace(block, **{name: getattr(block, name) + sign * by[name] for name in _COUNTED})


def write_groups(path: Path, blocks: Iterable[Groups]) -> int:
    """Write blocks as they come, one .npz for all; returns how many frames they have.

    Raises OutputError where that cannot be written.
    """
    frames = 0
    with written_whole(path) as partial, output_errors(path), zipfile.ZipFile(partial, "w") as file:
        for i, block in enumerate(blocks):
            for name in _NAMES:
                value = getattr(block, name)
                if value is not None:
                    with file.open(f"{i}/{name}.npy", "w", force_zip64=True) as entry:
                        np.lib.format.write_array(entry, np.asarray(value), allow_pickle=False)
            frames += len(block.ids)
    return frames


def read_groups(path: Path) -> Iterator[Groups]:
    """The blocks that `write_groups` wrote, one at a time."""
    with np.load(path, allow_pickle=False) as file:
        there = set(file.files)
        for i in takewhile(lambda i: f"{i}/ids" in there, count()):
            kept = {name: file[f"{i}/{name}"] for name in _NAMES if f"{i}/{name}" in there}
            ids = kept.pop("ids")
            yield Groups(ids, **{name: torch.from_numpy(value) for name, value in kept.items()})


def counted_through(stretches: Iterable[Iterable[Groups]]) -> Iterator[Groups]:
    """The blocks of one stretch after the other, blocks and shots counted from the first.

    In each they count from 0, the shot from 1 where one begins with the stretch.
    """
    first = dict.fromkeys(_COUNTED, 0)
    for stretch in stretches:
        last = first
        for block in stretch:
            moved = _moved(block, first)
            last = {name: int(getattr(moved, name).max()) for name in _COUNTED}
            yield moved
        # A block is never shared by two stretches, a shot may be.
        first = last | {"block": last["block"] + 1}
