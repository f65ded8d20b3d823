"""What all protocols need to know of one sequence, computed once and only when asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from unveil.errors import DataError
from unveil.metrics.boundary import boundaries, f_matrix

VOID = 255


@dataclass(frozen=True, eq=False)
class Measured:
    """A prediction and the ground truth it is held against.

    labels: integers [T, H, W], 0 background. truth: integers [T, H, W], 0 background, 255 void:
    pixels that count for nothing. scores: id → how sure the method is; empty where it does not
    say. Raises DataError where shapes differ, labels are no integers, or there is no object.
    """

    labels: np.ndarray
    truth: np.ndarray
    scores: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what, x in (("labels", self.labels), ("truth", self.truth)):
            if x.ndim != 3 or x.dtype.kind not in "iu":
                raise DataError(
                    f"{what}: expected whole numbers [T, H, W], got {x.dtype} {list(x.shape)}"
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
        ids = np.unique(self.labels)
        return ids[ids != 0]

    @cached_property
    def objects(self) -> np.ndarray:
        """The ids of all true objects [O], ascending, without 0 and void."""
        ids = np.unique(self.truth)
        return ids[(ids != 0) & (ids != VOID)]

    @cached_property
    def joint(self) -> np.ndarray:
        """Pixels by frame, predicted and true label, int64 [T, P + 1, O + 1].

        Row and column 0 are the background; void pixels are left out.
        """
        p, o = len(self.ids) + 1, len(self.objects) + 1
        mine = np.concatenate(([0], self.ids)).astype(np.int64)
        theirs = np.concatenate(([0], self.objects, [VOID])).astype(np.int64)
        row, column = _places(mine, self.labels), _places(theirs, self.truth)
        counts = [
            np.bincount((row[t] * (o + 1) + column[t]).ravel(), minlength=p * (o + 1))
            for t in range(len(self.labels))
        ]
        return np.stack(counts).reshape(-1, p, o + 1)[:, :, :o]

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

    @cached_property
    def f(self) -> np.ndarray:
        """The boundary measure by frame, proposal and object, float64 [T, P, O]."""
        return np.stack([self._f_of_frame(t) for t in range(len(self.labels))])

    @cached_property
    def present(self) -> np.ndarray:
        """Whether an object has a pixel in a frame, bool [T, O]."""
        return self.joint.sum(1)[:, 1:] > 0

    @cached_property
    def volume_iou(self) -> np.ndarray:
        """Shared pixels of all frames over their union, float64 [P, O]."""
        union = self.union.sum(0)
        return np.divide(self.inter.sum(0), union, out=np.zeros(union.shape), where=union > 0)

    def foreground(self) -> "Measured":
        """The same with all proposals as one, and all objects as one."""
        truth = np.where((self.truth != 0) & (self.truth != VOID), 1, self.truth)
        return Measured((self.labels != 0).astype(np.uint8), truth)

    def _f_of_frame(self, t: int) -> np.ndarray:
        void = self.truth[t] == VOID
        labels, truth = (np.where(void, 0, x[t]) for x in (self.labels, self.truth))
        return f_matrix(boundaries(labels, self.ids), boundaries(truth, self.objects))


def _places(ids: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The place of every label in ids, through a table: one look-up a pixel."""
    table = np.zeros(int(ids.max()) + 1, np.int64)
    table[ids] = np.arange(len(ids))
    return table[labels]
