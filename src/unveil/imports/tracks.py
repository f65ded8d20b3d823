"""The objects of a video as another tool wrote them, read one frame after the other."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from unveil.errors import DataError
from unveil.results.coco import About

DEEPEST = 65535
"""The highest id that a mask has room for."""
Layer = tuple[int, Callable[[], np.ndarray]]
"""An object in a frame: its id, and what makes its mask, bool [H, W]."""


@dataclass(frozen=True)
class Tracks:
    """Who is where in a video.

    form: of the file, in words. name: of the video. frame_names: one a frame. read: the labels,
    uint8 or uint16 [H, W], frame by frame. scores, about: of the ids that the file says them of.
    fps: of these frames; None where the file does not say. pictures: a folder of the frames, where
    there is one beside. first, step: which frames of its video these are; first is None where the
    file does not say. warnings: what was lost; filled while frames are read.
    """

    form: str
    name: str
    frame_names: tuple[str, ...]
    height: int
    width: int
    read: Callable[[], Iterator[np.ndarray]]
    scores: Mapping[int, float] = field(default_factory=dict)
    about: Mapping[int, About] = field(default_factory=dict)
    fps: Fraction | None = None
    pictures: Path | None = None
    first: int | None = None
    step: int = 1
    warnings: list[str] = field(default_factory=list)


def painted(
    frames: Iterable[Sequence[Layer]],
    size: tuple[int, int],
    dtype: np.dtype,
    warnings: list[str],
) -> Iterator[np.ndarray]:
    """Masks as labels [H, W]; where they overlap the later one is seen, and a warning says so."""
    covered = 0
    for layers in frames:
        labels = np.zeros(size, dtype)
        for id, mask in layers:
            inside = mask()
            covered += int(np.count_nonzero(labels[inside]))
            labels[inside] = id
        yield labels
    if covered:
        warnings.append(
            f"{covered} pixels lie in two objects at once, and are of the one in front here"
        )


def fitting_ids(ids: Iterable[int], warnings: list[str]) -> tuple[dict[int, int], np.dtype]:
    """The id that each one gets, the same where a mask has room for all; and what holds them."""
    there = sorted(set(ids))
    if not there or (there[0] >= 1 and there[-1] <= DEEPEST):
        new = {id: id for id in there}
    else:
        if len(there) > DEEPEST:
            raise DataError(f"{len(there)} objects: a result has room for {DEEPEST}")
        new = {id: i for i, id in enumerate(there, 1)}
        warnings.append(
            f"ids {there[0]} … {there[-1]} do not fit into masks, which hold 1 … {DEEPEST}: "
            f"they are 1 … {len(there)} now, in their order"
        )
    highest = max(new.values(), default=0)
    return new, np.dtype(np.uint8 if highest <= 255 else np.uint16)


def said(name: str, kind: str) -> About:
    """What a file says of an object; `object` is no class."""
    return About(name, "" if kind == "object" else kind)
