"""What users ask for and nobody reports: id switches and boundaries that flicker."""

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import linear_sum_assignment

from unveil.metrics.overlap import Measured

_SEEN = 0.5  # IoU from which a proposal counts as following an object in a frame


def id_switches(m: Measured) -> int:
    """How often an object is followed by another proposal than when it was last followed.

    Followed: matched in that frame (Hungarian on IoU) with an IoU of at least 0.5. Frames where
    nothing follows it in between do not count, so that a lost object may be found again.
    """
    last: dict[int, int] = {}
    switches = 0
    for t in range(len(m.labels)):
        iou = np.where(m.present[t], m.j[t], 0)
        for row, column in zip(*linear_sum_assignment(-iou), strict=True):
            if iou[row, column] >= _SEEN:
                switches += last.get(column, row) != row
                last[column] = row
    return int(switches)


def flicker(f: Float[np.ndarray, "t o"], present: Bool[np.ndarray, "t o"]) -> float | None:
    """Mean change of the boundary measure between neighbouring frames; lower is steadier.

    f, present: [T, O] of the matched pairs. An object's own motion does not count, for both
    frames are held against their own ground truth. None where no object is seen twice in a row.
    """
    both = present[1:] & present[:-1]
    return float(np.abs(np.diff(f, axis=0))[both].mean()) if both.any() else None
