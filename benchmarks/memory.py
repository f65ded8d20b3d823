"""The most memory that a long video takes, from file to finished result.

    python benchmarks/memory.py --frames 20000 --out out/memory.md

A video of small frames is rendered, three things that move to and fro, and segmented by
`segment_to` on a small grid of patches. The backbone is loaded and not run: keys are a fixed random
projection of a patch's colours with noise, so that hours of it are left out and nothing else is.
"""

import sys
import tempfile
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch.nn import functional as F

from speed import own_memory, tell
from unveil.attention.objects_file import load_head, shipped_head
from unveil.features.weights import DEFAULT
from unveil.results.movie import Movie
from unveil.segmentation.first_pass import FastFinder
from unveil.segmentation.segmenter import Segmenter
from unveil.synthetic.render import render
from unveil.timing import peak_memory_mb
from unveil.types import Features

PATCH = 14
RENDERED = 400
NOISE = 0.05


@dataclass(frozen=True)
class Memory:
    """Segment a long video of small frames, and say the most memory it took."""

    frames: int = 20000
    """So many, to and fro."""
    grid: str = "8x14"
    """Patches down and across, of 14 px of the frame; 12x21 have nearly as many groups in eight
    frames, 252, as the default grid."""
    looking: bool = False
    """Look and cluster only, at frames in memory: nothing is decoded, painted or written."""
    out: Path | None = None
    """A Markdown file to write the figures to."""


class Projected:
    """Keys of 384 channels from the colours of patches: alike where colours are."""

    def __init__(self, h: int, w: int) -> None:
        self._grid = h, w
        self._draw = torch.Generator().manual_seed(0)
        self._onto = torch.randn(12, 384, generator=self._draw)

    def encode(self, frames: np.ndarray, *_: object, **__: object) -> Features:
        """Features [t, h, w, 384] of frames [t, H, W, 3]."""
        x = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
        h, w = self._grid
        x = F.interpolate(x, (2 * h, 2 * w), mode="area")
        parts = F.pixel_unshuffle(x - 0.5, 2).permute(0, 2, 3, 1)
        keys = parts @ self._onto
        keys += NOISE * torch.randn(keys.shape, generator=self._draw)
        saliency = torch.full(keys.shape[:3], 1 / (h * w))
        return Features(keys, PATCH, saliency)


def film(path: Path, frames: int, height: int, width: int) -> None:
    """Write the video."""
    count = min(RENDERED, frames)
    shown = render(seed=3, frames=count, height=height, width=width, objects=3).frames
    blank = np.zeros((height, width), np.uint8)
    movie = Movie(path, Fraction(24), height, width)
    for i in range(frames):
        there, back = divmod(i, len(shown))
        movie.write(shown[-1 - back if there % 2 else back], blank)
    movie.close()


def measure(bench: Memory) -> dict[str, Any]:
    """Frames, objects, seconds a stage and MB."""
    h, w = map(int, bench.grid.split("x"))
    size = (h * PATCH, w * PATCH)
    segmenter = Segmenter(size=size)
    segmenter.backbone.encode = Projected(h, w).encode
    with tempfile.TemporaryDirectory() as folder:
        film(Path(folder) / "video.mp4", bench.frames, *size)
        before, cpu = peak_memory_mb(), time.process_time()
        with own_memory() as own:
            run = segmenter.segment_to(Path(folder) / "video.mp4", Path(folder) / "out")
        size = sum(f.stat().st_size for f in Path(folder, "out").rglob("*")) / (1 << 20)
    about = {"frames": bench.frames, "objects": run["objects"], "grid": run["grid"]}
    about |= {"CPU s": round(time.process_time() - cpu), "before, MB": before}
    peaks = {"peak MB": run["peak_memory_mb"], "of it in no file": own[0]}
    return {**about, **peaks, "result MB": round(size)}


def look(bench: Memory) -> dict[str, Any]:
    """The same of `FastFinder` alone."""
    h, w = map(int, bench.grid.split("x"))
    backbone, finder = (
        Projected(h, w),
        FastFinder(head=load_head(shipped_head(DEFAULT), DEFAULT, 384)),
    )
    count = min(RENDERED, bench.frames)
    shown = render(seed=3, frames=count, height=h * PATCH, width=w * PATCH, objects=3).frames
    before, cpu = peak_memory_mb(), time.process_time()
    for start in range(0, bench.frames, 16):
        at = np.arange(start, min(start + 16, bench.frames)) % (2 * count)
        frames = shown[np.minimum(at, 2 * count - 1 - at)]
        finder.add(backbone.encode(frames), frames)
    passed = peak_memory_mb()
    found = finder.finish()
    about = {"frames": bench.frames, "objects": len(found.scores), "grid": bench.grid}
    about |= {"CPU s": round(time.process_time() - cpu), "before, MB": before}
    return {**about, "after the frames, MB": passed, "peak MB": peak_memory_mb()}


def main(bench: Memory) -> None:
    tell(look(bench) if bench.looking else measure(bench), bench.out)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Memory)))
