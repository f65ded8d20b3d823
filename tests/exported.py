"""Clips whose masks are known, for the tests of exports."""

from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from unveil.results.writer import Writer

NTSC = Fraction(30000, 1001)
NAMES = {1: "dog", 2: 'a "left" dancer 💃', 3: "either/or, it's"}


def scene(t: int = 6, h: int = 61, w: int = 83) -> tuple[np.ndarray, np.ndarray]:
    """Frames of noise and labels: 1 moves and has holes, 2 leaves and returns, 3 is one pixel."""
    labels = np.zeros((t, h, w), np.uint8)
    for i in range(t):
        y, x = np.mgrid[:h, :w]
        labels[i][(y - 20) ** 2 + (x - 22 - 2 * i) ** 2 < 15**2] = 1
        labels[i][(y - 20) ** 2 + (x - 16 - 2 * i) ** 2 < 4**2] = 0
        labels[i, 24:27, 27 + 2 * i : 33 + 2 * i] = 0
        if i not in (2, 3):
            labels[i, 40 + i :, 50 : 71 - i] = 2  # to the border of the frame
        labels[i, 50, 3 + i] = 3
    frames = np.random.default_rng(0).integers(0, 255, (t, h, w, 3), np.uint8)
    return frames, labels


def many(t: int = 3, h: int = 60, w: int = 95, count: int = 300) -> np.ndarray:
    """Labels with so many ids, 4x4 px each, some with a hole."""
    labels = np.zeros((t, h, w), np.uint16)
    for i in range(t):
        for id in range(1, count + 1):
            row, column = divmod(id - 1, 23)
            y, x = 4 * row, 4 * column + i
            labels[i, y : y + 4, x : x + 4] = id
            if id % 3 == 0:
                labels[i, y + 1, x + 1] = 0
    return labels


def write_result(
    out: Path,
    labels: np.ndarray,
    frames: np.ndarray | None = None,
    scores: dict[int, float] | None = None,
    names: tuple[str, ...] = (),
    run: dict | None = None,
    fps: Fraction = NTSC,
) -> Path:
    """A result folder; where there are frames, their video is a folder of PNGs beside it."""
    t, h, w = labels.shape
    names = names or tuple(f"{i:05d}" for i in range(t))
    ids = [i for i in np.unique(labels).tolist() if i]
    if frames is not None and run is None:
        source = out.with_name(f"{out.name}-frames")
        source.mkdir(parents=True)
        for name, frame in zip(names, frames, strict=True):
            Image.fromarray(frame).save(source / f"{name}.png")
        run = {"video": {"source": str(source)}}
    with Writer(out, name=out.name, fps=fps, height=h, width=w) as writer:
        writer.write(None, labels, names)
        writer.finish(scores or {i: round(1 / (1 + i), 3) for i in ids}, run or {})
    return out
