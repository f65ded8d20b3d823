"""Class-agnostic video average precision in the way of YouTube-VIS.

Source: Yang et al., "Video Instance Segmentation", arXiv 1905.04804, section 4; COCO's evaluation.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

THRESHOLDS = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0, 1, 101)
_MOST = 100  # proposals a video that count for AP
_FEW = 10  # proposals a video that count for AR10


@dataclass(frozen=True)
class Detections:
    """Proposals of one video: scores [P], and volume IoU with its objects [P, O]."""

    scores: Float[np.ndarray, "p"]
    iou: Float[np.ndarray, "p o"]


def average_precision(videos: list[Detections]) -> tuple[float, float, float]:
    """AP50, AP over IoU 0.50 … 0.95, and AR10, over all videos."""
    objects = sum(v.iou.shape[1] for v in videos)
    matches = [_matches(v, _MOST) for v in videos]
    scores = np.concatenate([s for s, _ in matches])
    hits = np.concatenate([h for _, h in matches], axis=1)
    order = np.argsort(-scores, kind="stable")
    precision = np.array([_area(row[order], objects) for row in hits])
    few = np.concatenate([_matches(v, _FEW)[1] for v in videos], axis=1)
    recall = few.sum(1) / max(objects, 1)
    return float(precision[0]), float(precision.mean()), float(recall.mean())


def _matches(video: Detections, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the best proposals [D], and which of them hit an object, bool [10, D].

    From the highest score down, each takes the free object it overlaps most.
    """
    order = np.argsort(-video.scores, kind="stable")[:most]
    hits = np.zeros((len(THRESHOLDS), len(order)), bool)
    for k, threshold in enumerate(THRESHOLDS):
        iou = video.iou[order].copy()
        for d in range(len(order)):
            # The last of equals is taken, and a hair below the threshold passes, as in COCO's.
            best = iou.shape[1] - 1 - int(iou[d, ::-1].argmax()) if iou.shape[1] else -1
            if best >= 0 and iou[d, best] >= min(threshold, 1 - 1e-10):
                hits[k, d] = True
                iou[:, best] = -1
    return video.scores[order], hits


def _area(hits: np.ndarray, objects: int) -> float:
    """The area under precision over recall at 101 recalls; hits by falling score."""
    if objects == 0 or len(hits) == 0:
        return 0.0
    true = np.cumsum(hits)
    recall, precision = true / objects, true / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, _RECALLS, side="left")
    return float(np.where(at < len(hits), precision[at.clip(max=len(hits) - 1)], 0).mean())
