"""SOLV's evaluation as plain loops: one match a video, the rest background, FG-ARI a frame."""

from itertools import permutations

import numpy as np
from sklearn.metrics import adjusted_rand_score


def mean_iou(mask: np.ndarray, truth: np.ndarray) -> float:
    """The mean IoU over the frames where one of the two has a pixel."""
    values = []
    for a, b in zip(mask, truth, strict=True):
        union = (a | b).sum()
        if union:
            values.append((a & b).sum() / union)
    return float(np.mean(values))


def evaluate(labels: np.ndarray, truth: np.ndarray) -> tuple[list[float], list[float | None]]:
    """The IoU of every object with its match, and the FG-ARI of every frame.

    The match is the best of all there are, tried one by one: few proposals and objects only.
    """
    proposals, objects = (sorted({int(i) for i in np.unique(x)} - {0}) for x in (labels, truth))
    iou = {
        (p, o): mean_iou(labels == p, truth == o) if p else 0.0
        for p in (0, *proposals)
        for o in objects
    }
    free = [*proposals, *[0] * len(objects)]  # 0: no proposal for this object
    best = max(
        permutations(free, len(objects)),
        key=lambda match: sum(iou[pair] for pair in zip(match, objects, strict=True)),
    )
    kept = np.where(np.isin(labels, [p for p in best if p]), labels, 0)
    scores: list[float | None] = []
    for mask, true in zip(kept, truth, strict=True):
        inside = true > 0
        scores.append(adjusted_rand_score(true[inside], mask[inside]) if inside.any() else None)
    return [iou[pair] for pair in zip(best, objects, strict=True)], scores
