"""Seconds of the standard DAVIS-2017 protocol against the toolkit's loops, same masks, same run.

    python benchmarks/metrics.py --json out/metrics.json

The loops are a plain transcription of the official toolkit: J and F of every pair, frame by
frame, both boundaries dilated for every pair. Dilation is OpenCV's where it is installed, as the
toolkit has it, and SciPy's otherwise. Masks are rendered, 480p, with 20 proposals.
"""

import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from scipy.ndimage import binary_dilation
from scipy.optimize import linear_sum_assignment
from skimage.morphology import disk

from unveil.metrics import Measured, davis
from unveil.synthetic.render import render

try:
    import cv2
except ImportError:
    cv2 = None


@dataclass(frozen=True)
class Bench:
    """Time both on the same masks and check that they agree."""

    frames: int = 4
    """Frames of 854x480; both grow linearly with them."""
    objects: int = 3
    """True objects."""
    json: Path | None = None
    """Write the figures to this file."""

    def run(self) -> int:
        """Time, compare, print."""
        labels, truth = masks(self.frames, self.objects)
        start = time.perf_counter()
        ours_j, ours_f, _ = davis.match_sequence(Measured(labels, truth))
        ours = time.perf_counter() - start
        start = time.perf_counter()
        plain_j, plain_f = toolkit(labels, truth)
        plain = time.perf_counter() - start
        apart = float(max(np.abs(ours_j - plain_j).max(), np.abs(ours_f - plain_f).max()))
        figures = {
            "proposals": len(np.unique(labels[labels > 0])),
            "objects": len(np.unique(truth[truth > 0])),
            "frames": self.frames,
            "dilation of the loops": "cv2" if cv2 else "scipy",
            "loops, s a frame": round(plain / self.frames, 4),
            "unveil, s a frame": round(ours / self.frames, 4),
            "times faster": round(plain / ours, 1),
            "largest difference": apart,
        }
        for name, value in figures.items():
            print(f"{name:24} {value}")
        if self.json:
            self.json.parent.mkdir(parents=True, exist_ok=True)
            self.json.write_text(json.dumps(figures, indent=2) + "\n")
        return 0 if apart < 1e-9 else 1


def masks(frames: int, objects: int) -> tuple[np.ndarray, np.ndarray]:
    """Twenty proposals without background, some of which follow the objects; and the truth."""
    truth = render(0, frames, 480, 854, objects=objects, scenario="crowd").labels
    rows, columns = np.mgrid[:480, :854]
    cells = 20 - objects  # objects are proposals too
    grid = objects + 1 + (rows // 96 * 5 + columns // 171) % cells
    shifted = np.roll(truth, 5, axis=2)
    return np.where(shifted > 0, shifted, grid).astype(np.uint8), truth


def toolkit(labels: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """J and F [T, O] as the official toolkit computes them."""
    proposals = [labels == i for i in np.unique(labels) if i]
    objects = [truth == i for i in np.unique(truth) if i not in (0, 255)]
    void = truth == 255
    j, f = np.zeros((2, len(proposals), len(objects), len(labels)))
    for a, proposal in enumerate(proposals):
        for b, obj in enumerate(objects):
            for t in range(len(labels)):
                j[a, b, t] = jaccard(obj[t], proposal[t], void[t])
                f[a, b, t] = boundary_f(obj[t], proposal[t], void[t])
    rows, columns = linear_sum_assignment(-(j.mean(2) + f.mean(2)) / 2)
    order = np.argsort(columns)
    return j[rows[order], columns[order]].T, f[rows[order], columns[order]].T


def jaccard(truth: np.ndarray, mask: np.ndarray, void: np.ndarray) -> float:
    inter = np.sum((mask & truth) & ~void)
    union = np.sum((mask | truth) & ~void)
    return 1.0 if union == 0 else inter / union


def boundary_f(truth: np.ndarray, mask: np.ndarray, void: np.ndarray) -> float:
    radius = math.ceil(0.008 * np.linalg.norm(truth.shape))
    mine, theirs = outline(mask & ~void), outline(truth & ~void)
    my_zone, their_zone = dilated(mine, radius), dilated(theirs, radius)
    n_mine, n_theirs = mine.sum(), theirs.sum()
    if n_mine == 0 or n_theirs == 0:
        return float(n_mine == n_theirs)
    precision = (mine & their_zone).sum() / n_mine
    recall = (theirs & my_zone).sum() / n_theirs
    total = precision + recall
    return 0.0 if total == 0 else 2 * precision * recall / total


def outline(mask: np.ndarray) -> np.ndarray:
    east, south, corner = (np.zeros_like(mask) for _ in range(3))
    east[:, :-1], south[:-1], corner[:-1, :-1] = mask[:, 1:], mask[1:], mask[1:, 1:]
    edge = (mask ^ east) | (mask ^ south) | (mask ^ corner)
    edge[-1] = mask[-1] ^ east[-1]
    edge[:, -1] = mask[:, -1] ^ south[:, -1]
    edge[-1, -1] = False
    return edge


def dilated(picture: np.ndarray, radius: int) -> np.ndarray:
    if cv2 is not None:
        return cv2.dilate(picture.astype(np.uint8), disk(radius).astype(np.uint8)) > 0
    return binary_dilation(picture, disk(radius))


if __name__ == "__main__":
    style = (tyro.conf.OmitArgPrefixes, tyro.conf.HelptextFromCommentsOff)
    sys.exit(tyro.cli(Bench, config=style).run())
