"""Measures that look at pixels as a clustering: adjusted Rand index, mIoU, best overlap.

Source: Hubert and Arabie, "Comparing partitions", 1985; Greff et al., arXiv 1903.00450, for the
foreground; Kipf et al., arXiv 2111.12594, for videos.
"""

import numpy as np
from jaxtyping import Float, Integer
from scipy.optimize import linear_sum_assignment

from unveil.metrics.overlap import Measured


def rand_index(counts: Integer[np.ndarray, "a b"]) -> float:
    """The adjusted Rand index of two clusterings whose shared pixels are counts [A, B].

    1 where they are the same, 0 where they agree as by chance. Two clusterings that both keep all
    pixels together are the same.
    """
    counts = counts.astype(float)
    total = counts.sum()
    same = _pairs(counts).sum()
    rows, columns = _pairs(counts.sum(1)).sum(), _pairs(counts.sum(0)).sum()
    by_chance = rows * columns / (total * (total - 1) / 2) if total > 1 else 0.0
    most = (rows + columns) / 2
    return 1.0 if most == by_chance else float((same - by_chance) / (most - by_chance))


def fg_ari(m: Measured) -> tuple[float, list[float | None]]:
    """FG-ARI of the video and of every frame, over the pixels of true objects only.

    What is predicted as background is one more cluster. A frame without objects has None.
    """
    over = m.joint[:, :, 1:]
    frames = [rand_index(c) if c.sum() else None for c in over]
    return rand_index(over.sum(0)), frames


def matched_fg_ari(m: Measured) -> list[float | None]:
    """FG-ARI of every frame after proposals without a match in the video became background.

    Matched as `video_miou` matches, so that at most one proposal an object is left: parts of an
    object cost nothing more than what they leave uncovered. A frame without objects has None.

    Source: Aydemir et al., "Self-supervised Object-Centric Learning for Videos", arXiv 2310.06907,
    and its released evaluation.
    """
    _, proposals, _ = _video_match(m)
    over = m.joint[:, :, 1:]
    without = np.ones(over.shape[1], bool)
    without[proposals + 1] = False  # row 0 is what is predicted as background already
    merged = np.concatenate((over[:, without].sum(1, keepdims=True), over[:, ~without]), axis=1)
    return [rand_index(c) if c.sum() else None for c in merged]


def video_miou(m: Measured) -> Float[np.ndarray, "o"]:
    """IoU of every object with its match [O]: Hungarian a video on the mean IoU of its frames.

    The mean is over the frames where proposal or object has a pixel.
    """
    iou, proposals, objects = _video_match(m)
    best = np.zeros(len(m.objects))
    best[objects] = iou[proposals, objects]
    return best


def best_overlap(m: Measured) -> Float[np.ndarray, "o"]:
    """The highest volume IoU of each object with any proposal [O]; proposals may serve twice."""
    return m.volume_iou.max(0, initial=0)


def slot_overlap(m: Measured) -> tuple[np.ndarray, list[float | None]]:
    """The highest IoU of each object with any cluster, what is predicted as background being one.

    Of volumes [O], and of every frame its mean over the objects that it shows, None where it shows
    none. Without a predicted background the first is `best_overlap`.

    Source: VideoIoU and ImageIoU with overlap in the code of Zadaianchuk et al., "Object-Centric
    Learning for Real-World Videos by Predicting Temporal Feature Similarities", arXiv 2306.04829.
    """
    inter, areas = m.joint[:, :, 1:], (m.joint.sum(2), m.joint.sum(1)[:, 1:])
    union = areas[0][:, :, None] + areas[1][:, None] - inter
    volume = inter.sum(0) / np.maximum(union.sum(0), 1)
    pairs = zip((inter / np.maximum(union, 1)).max(1), m.present, strict=True)
    frames = [float(x[seen].mean()) if seen.any() else None for x, seen in pairs]
    return volume.max(0), frames


def _video_match(m: Measured) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean IoU of a video's frames [P, O], and the places of matched proposals and objects."""
    somewhere = m.union > 0
    total = np.where(somewhere, m.j, 0).sum(0)
    iou = total / np.maximum(somewhere.sum(0), 1)
    return iou, *linear_sum_assignment(-iou)


def _pairs(n: np.ndarray) -> np.ndarray:
    return n * (n - 1) / 2
