"""How a prediction overlaps the ground truth: all that protocols read, computed when asked for."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from unveil.errors import DataError
from unveil.metrics.boundary import boundaries, f_matrix, tolerance

VOID = 255
"""The label of pixels that count for nothing, in the ground truth of DAVIS."""

Track = Iterable[tuple[int, np.ndarray]]
"""One proposal as it was given: frames it is in, each with its mask, bool [H, W]."""


@dataclass(frozen=True, eq=False)
class Measured:
    """A prediction and the ground truth it is held against.

    labels: integers [T, H, W], 0 background. truth: integers [T, H, W], 0 background, 255 void:
    pixels that count for nothing. scores: id → how sure the method is; empty where it does not
    say. tracks: id → proposal, where proposals were given that overlap, of which labels show only
    the uppermost; what allows for overlap looks at these. Raises DataError where shapes differ,
    labels are no integers from 0 on, or there is no object.
    """

    labels: np.ndarray
    truth: np.ndarray
    scores: Mapping[int, float] = field(default_factory=dict)
    tracks: Mapping[int, Track] | None = None

    def __post_init__(self) -> None:
        for what, x in (("labels", self.labels), ("truth", self.truth)):
            if x.ndim != 3 or x.dtype.kind not in "iu":
                raise DataError(
                    f"{what}: expected whole numbers [T, H, W], got {x.dtype} {list(x.shape)}"
                )
            if x.size and x.min() < 0:
                raise DataError(
                    f"{what}: {x.min()} is no id: expected 0 for the background, numbers from 1 on "
                    f"for the rest, {VOID} for void in the ground truth"
                )
        if self.labels.shape != self.truth.shape:
            raise DataError(
                f"labels {list(self.labels.shape)} do not fit a ground truth of "
                f"{list(self.truth.shape)}"
            )
        if len(self.objects) == 0:
            raise DataError("a ground truth without an object cannot be scored against")

    @cached_property
    def ids(self) -> np.ndarray:
        """The ids of all proposals [P], ascending, without 0; void pixels count too."""
        return _ids(self.labels)

    @cached_property
    def objects(self) -> np.ndarray:
        """The ids of all true objects [O], ascending, without 0 and void."""
        ids = _ids(self.truth)
        return ids[ids != VOID]

    @cached_property
    def joint(self) -> np.ndarray:
        """Pixels by frame, predicted and true label, int64 [T, P + 1, O + 1].

        Row and column 0 are the background; void pixels are left out.
        """
        p, o = len(self.ids) + 1, len(self.objects) + 1
        counts = np.zeros((len(self.labels), p, o), np.int64)
        for i, (mine, theirs, void) in enumerate(self._frames()):
            pixels = mine.astype(np.intp) * o + theirs
            if void is not None:
                pixels = pixels[~void]
            counts[i] = np.bincount(pixels.ravel(), minlength=p * o).reshape(p, o)
        return counts

    @cached_property
    def inter(self) -> np.ndarray:
        """Pixels shared by proposal and object, int64 [T, P, O]."""
        return self.joint[:, 1:, 1:]

    @cached_property
    def union(self) -> np.ndarray:
        """Pixels of proposal or object, int64 [T, P, O]."""
        areas = self.joint.sum(2)[:, 1:, None], self.joint.sum(1)[:, None, 1:]
        return areas[0] + areas[1] - self.inter

    @cached_property
    def j(self) -> np.ndarray:
        """The Jaccard index by frame, proposal and object, float64 [T, P, O]; 1 for two empties."""
        return np.divide(
            self.inter, self.union, out=np.ones(self.inter.shape), where=self.union > 0
        )

    @property
    def f(self) -> np.ndarray:
        """The boundary measure by frame, proposal and object, float64 [T, P, O]."""
        return self._boundaries[0]

    @property
    def edged(self) -> np.ndarray:
        """Whether an object has a boundary in a frame, bool [T, O]: not where it fills it."""
        return self._boundaries[1]

    @cached_property
    def _boundaries(self) -> tuple[np.ndarray, np.ndarray]:
        t, h, w = self.labels.shape
        p, o, reach = len(self.ids), len(self.objects), tolerance(h, w)
        f, edged = np.empty((t, p, o)), np.empty((t, o), bool)
        for i, (mine, theirs, _) in enumerate(self._frames()):
            edges = boundaries(theirs, o, reach)
            f[i] = f_matrix(boundaries(mine, p, reach), edges)
            edged[i] = [len(edge.pixels) > 0 for edge in edges]
        return f, edged

    @cached_property
    def present(self) -> np.ndarray:
        """Whether an object has a pixel in a frame, bool [T, O]."""
        return self.joint.sum(1)[:, 1:] > 0

    @cached_property
    def volume_iou(self) -> np.ndarray:
        """Shared pixels of all frames over their union, float64 [P, O]."""
        union = self.union.sum(0)
        return np.divide(self.inter.sum(0), union, out=np.zeros(union.shape), where=union > 0)

    @cached_property
    def overlapping(self) -> tuple[np.ndarray, np.ndarray]:
        """The ids [N] of all proposals as they were given, and their volume IoU, [N, O]."""
        if self.tracks is None:
            return self.ids, self.volume_iou
        o = len(self.objects)
        table = _table(self.objects, VOID)
        table[VOID] = o + 1  # a column of its own, which is left out
        inter = np.zeros((len(self.tracks), o + 2), np.int64)
        for row, track in enumerate(self.tracks.values()):
            for frame, mask in track:
                inter[row] += np.bincount(table[self.truth[frame][mask]], minlength=o + 2)
        inter = inter[:, : o + 1]
        union = inter.sum(1)[:, None] + self.joint.sum((0, 1))[1:] - inter[:, 1:]
        iou = np.divide(inter[:, 1:], union, out=np.zeros(union.shape), where=union > 0)
        return np.array(list(self.tracks), np.int64), iou

    def foreground(self) -> "Measured":
        """The same with all proposals as one, and all objects as one."""
        truth = np.where((self.truth != 0) & (self.truth != VOID), 1, self.truth)
        return Measured((self.labels != 0).astype(np.uint8), truth)

    def _frames(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
        """For every frame the places of its labels among ids and objects, both [H, W], from 1.

        0 is what is neither; void pixels are 0 in both, and where they are comes third.
        """
        mine, theirs = _table(self.ids), _table(self.objects, VOID)
        for labels, truth in zip(self.labels, self.truth, strict=True):
            void = truth == VOID
            rows, columns = mine[labels], theirs[truth]
            if not void.any():
                yield rows, columns, None
                continue
            rows[void] = 0
            yield rows, columns, void


def _ids(labels: np.ndarray) -> np.ndarray:
    """All labels but 0, ascending; only where labels change along a row is looked at."""
    if labels.size == 0 or labels.dtype not in (np.uint8, np.uint16):
        ids = np.unique(labels)
        return ids[ids != 0].astype(np.int64)
    seen = np.zeros(np.iinfo(labels.dtype).max + 1, bool)
    for frame in labels:
        flat = frame.ravel()
        seen[flat[0]] = True
        seen[flat[1:][flat[1:] != flat[:-1]]] = True
    seen[0] = False
    return np.flatnonzero(seen)


def _table(ids: np.ndarray, *others: int) -> np.ndarray:
    """Label → place among ids, from 1, as an array to look labels up in; 0 for any other."""
    highest = max([0, *ids.tolist(), *others])
    table = np.zeros(highest + 1, np.uint8 if len(ids) < 256 else np.uint16)
    table[ids] = np.arange(1, len(ids) + 1)
    return table
