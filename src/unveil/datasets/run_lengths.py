"""Masks as COCO writes them, checked before pycocotools decodes them: it believes what it is given.

Run lengths count pixels column by column, background first. Those that fill less than the picture
would be decoded to whatever the memory held before.

Source: Lin et al., "Microsoft COCO", arXiv 1405.0312; the mask API of https://cocodataset.org
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from pycocotools import mask as coco

_LONGEST = 7  # characters of a number in compressed run lengths, 35 bits


class Nothing:
    """What a field holds that is not there."""

    def __repr__(self) -> str:
        return "nothing"


NOTHING = Nothing()


class Said(str):
    """What came instead, in words rather than as it stands in the file."""


Fault = Callable[[str, str, object], Exception]
"""Makes the error about a field: what, what was expected, what came."""


def checked_run_lengths(
    value: Any, h: int, w: int, what: str, fault: Fault
) -> dict[str, Any] | None:
    """A segmentation as compressed run lengths that fill h x w px; None where it has no pixel.

    value: run lengths, compressed or not; polygons, which are filled as COCO fills them; null or
    an empty list where the object is absent. what: the field, for messages. Raises what `fault`
    makes of anything else.
    """
    if value is None or value == []:
        return None
    if isinstance(value, list):
        return _filled(value, h, w, what, fault)
    if not isinstance(value, dict):
        raise fault(what, "run lengths, polygons or null", value)
    size, counts = value.get("size", NOTHING), value.get("counts", NOTHING)
    if size != [h, w]:
        raise fault(f"{what}.size", f"{[h, w]} (height, width)", size)
    runs = _whole(counts) if isinstance(counts, list) else _decompressed(counts)
    if runs is None:
        raise fault(f"{what}.counts", "run lengths as COCO writes them", counts)
    if runs.sum() != h * w:
        raise fault(f"{what}.counts", f"a sum of {h * w} ({h} x {w} px)", Said(runs.sum()))
    if isinstance(counts, list):
        return coco.frPyObjects({"size": [h, w], "counts": counts}, h, w)
    return {"size": [h, w], "counts": counts.encode()}


def _filled(polygons: list, h: int, w: int, what: str, fault: Fault) -> dict[str, Any]:
    """Polygons [[x, y, x, y, …], …] in px, filled as COCO fills them, and joined."""
    for i, polygon in enumerate(polygons):
        numbers = isinstance(polygon, list) and all(map(is_number, polygon))
        if not numbers or len(polygon) < 6 or len(polygon) % 2:
            expected = "a polygon of three points or more, [x, y, x, y, x, y, …]"
            raise fault(f"{what}[{i}]", expected, polygon)
    return coco.merge(coco.frPyObjects(polygons, h, w))


def is_number(value: object) -> bool:
    """Whether a JSON value is a number that a float can hold; true and false are none."""
    try:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return math.isfinite(value)
    except OverflowError:
        return False


def _whole(counts: list) -> np.ndarray | None:
    if any(type(n) is not int or not 0 <= n < 1 << 31 for n in counts):
        return None
    return np.array(counts, np.int64)


def _decompressed(counts: Any) -> np.ndarray | None:
    """The run lengths in COCO's compressed form, int64; None for anything else.

    A number is written 5 bits a character from the lowest on, each plus 48, the 6th bit set but
    in its last; from the fourth on, a number is the difference to the last but one.
    """
    if not isinstance(counts, str) or not counts.isascii():
        return None
    codes = np.frombuffer(counts.encode(), np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero((codes & 32) == 0)
    if codes.size == 0 or (codes < 0).any() or (codes > 63).any() or codes[-1] & 32:
        return None
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends + 1 - starts
    if lengths.max() > _LONGEST:
        return None
    place = np.arange(len(codes)) - np.repeat(starts, lengths)
    runs = np.add.reduceat((codes & 31) << (5 * place), starts)
    runs -= np.where(codes[ends] & 16, np.int64(1) << (5 * lengths), 0)
    runs[1::2], runs[2::2] = np.cumsum(runs[1::2]), np.cumsum(runs[2::2])
    return runs if (runs >= 0).all() else None
