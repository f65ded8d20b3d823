"""The protocols of DAVIS, from the J and F of every proposal with every object.

Source: Perazzi et al., CVPR 2016; Caelles et al., "The 2019 DAVIS Challenge on VOS: Unsupervised
Multi-Object Segmentation", arXiv 1905.00737; the official toolkits.
"""

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import linear_sum_assignment

from unveil.errors import DataError
from unveil.metrics.overlap import VOID, Measured

RELEASED_LIMIT = 300
"""Proposals that the released evaluation of "Betrayed by Attention" allows."""
_BINS = 4  # the decay is the first quarter of the frames less the last
_RECALLED = 0.5  # a frame above this is recalled


def match_sequence(
    m: Measured,
) -> tuple[Float[np.ndarray, "t o"], Float[np.ndarray, "t o"], list[int | None]]:
    """One Hungarian match for the whole sequence on (mean J + mean F) / 2.

    Returns J and F [T, O] of the matched pairs, and the id matched to each object. Where there are
    fewer proposals than objects, the rest are matched with empty masks, as in the toolkit.
    """
    j, f = padded(m.j, m.present), padded(m.f, m.edged)
    rows, columns = linear_sum_assignment(-(j.mean(0) + f.mean(0)) / 2)
    order = rows[np.argsort(columns)]
    objects = np.arange(len(order))
    return j[:, order, objects], f[:, order, objects], _named(order, m)


def match_frames(
    m: Measured,
) -> tuple[Float[np.ndarray, "t o"], Float[np.ndarray, "t o"], list[list[int | None]]]:
    """A Hungarian match of its own in every frame, on J + F: what hides id switches.

    Returns J and F [T, O], and the ids by frame.
    """
    j, f = padded(m.j, m.present), padded(m.f, m.edged)
    objects = np.arange(j.shape[2])
    best_j, best_f, ids = [], [], []
    for t in range(len(j)):
        rows, columns = linear_sum_assignment(-(j[t] + f[t]))
        order = rows[np.argsort(columns)]
        best_j.append(j[t, order, objects])
        best_f.append(f[t, order, objects])
        ids.append(_named(order, m))
    return np.stack(best_j), np.stack(best_f), ids


def as_released(m: Measured) -> Measured:
    """What the released code of "Betrayed by Attention" scores of a sequence.

    Its loader drops the last frame and its evaluation copies the mask before it into that place;
    the objects are those with ids up to the highest in the first frame. Raises DataError for a
    single frame, where no object is in the first, and for more than 300 proposals, where that code
    ends.
    """
    if len(m.labels) < 2:
        raise DataError("the released evaluation drops the last frame: needs at least 2 frames")
    first = m.truth[0][m.truth[0] != VOID]
    highest = first.max(initial=0)
    if highest == 0:
        raise DataError("the released evaluation counts the objects of frame 0: there are none")
    truth = np.where((m.truth > highest) & (m.truth != VOID), 0, m.truth)
    released = Measured(np.concatenate((m.labels[:-1], m.labels[-2:-1])), truth)
    if len(released.ids) > RELEASED_LIMIT:
        raise DataError(
            f"{len(released.ids)} proposals: the released evaluation ends above {RELEASED_LIMIT}"
        )
    return released


def statistics(values: Float[np.ndarray, "t"]) -> tuple[float, float, float]:
    """Mean, recall (share of frames above 0.5) and decay of one object's values [T].

    The decay is the mean of the first quarter of the frames less that of the last; quarters share
    their end frames, as in the toolkit.
    """
    ends = (np.round(np.linspace(1, len(values), _BINS + 1) + 1e-10) - 1).astype(int)
    first, last = values[: ends[1] + 1], values[ends[-2] :]
    return (
        float(values.mean()),
        float((values > _RECALLED).mean()),
        float(first.mean() - last.mean()),
    )


def padded(
    values: Float[np.ndarray, "t p o"], something: Bool[np.ndarray, "t o"]
) -> Float[np.ndarray, "t q o"]:
    """J or F [T, P, O] with empty proposals added until there are as many as objects.

    something: where the object has a pixel, for J, or its boundary, for F. Against nothing an empty
    mask scores 1, else 0.
    """
    _, p, o = values.shape
    if p >= o:
        return values
    empty = np.repeat(~something[:, None, :], o - p, axis=1).astype(values.dtype)
    return np.concatenate((values, empty), axis=1)


def _named(order: np.ndarray, m: Measured) -> list[int | None]:
    return [int(m.ids[i]) if i < len(m.ids) else None for i in order]
