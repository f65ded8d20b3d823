"""One long video in stretches against the same in one piece: ids, time, memory of a process.

    python benchmarks/stretches.py --frames 20000 --stretches 8 --processes 2 --out out/stretches.md

The video and the keys are those of `memory.py`: rendered, small frames, and a fixed projection of a
patch's colours in place of hours of a backbone; its noise is drawn from each frame, so that one has
the same keys wherever it is looked at. IDF1 is TrackEval's (Ristani et al. 2016): an object of a
frame is a detection, two are the same thing from half of their union on, and ids are matched once
for the whole video.
"""

import os
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from scipy.optimize import linear_sum_assignment

from memory import PATCH, Projected, film
from speed import tell
from unveil.batch.job import Job, Limits, Outcome
from unveil.batch.processes import Processes
from unveil.batch.stretches import Look, looked_at
from unveil.features.weights import DEFAULT
from unveil.progress import Progress
from unveil.segmentation.segmenter import Segmenter
from unveil.settings import Settings
from unveil.timing import peak_memory_mb
from unveil.types import Features


@dataclass(frozen=True)
class Stretches:
    """Segment a long video of small frames in one piece and in stretches."""

    frames: int = 20000
    """So many, to and fro."""
    grid: str = "8x14"
    """Patches down and across, of 14 px of the frame."""
    stretches: int = 8
    """Parts that are looked at by themselves."""
    processes: int = 2
    """So many at once, of one thread each."""
    out: Path | None = None
    """A Markdown file to write the figures to."""


class Steady(Projected):
    """The keys of a frame whatever was seen before it."""

    def encode(self, frames: np.ndarray, *_: object, **__: object) -> Features:
        """Features [t, h, w, 384] of frames [t, H, W, 3]."""
        parts = []
        for frame in frames:
            self._draw.manual_seed(zlib.crc32(frame.tobytes()))
            parts.append(super().encode(frame[None]))
        keys, saliency = (torch.cat([getattr(p, n) for p in parts]) for n in ("keys", "saliency"))
        return Features(keys, PATCH, saliency)


@dataclass
class SteadyLook(Look):
    """The real work with those keys; what a process took is written beside the result."""

    peaks: Path = field(default=Path(), kw_only=True)

    def do(self, job: Job, report: Progress) -> Outcome:
        """Look at one stretch."""
        outcome = super().do(job, report)
        (self.peaks / f"{os.getpid()}.peak").write_text(str(peak_memory_mb()))
        return outcome

    def segmenter(self, report: Progress) -> Segmenter:
        """The model, its keys replaced."""
        segmenter = super().segmenter(report)
        segmenter.backbone.encode = steady(self.settings).encode
        return segmenter


def steady(settings: Settings) -> Steady:
    height, width = settings.size
    return Steady(height // PATCH, width // PATCH)


def cpu_seconds() -> float:
    """CPU time of this process, and of those that it started and that have ended."""
    return sum(os.times()[:4])


def masks(folder: Path) -> Iterator[np.ndarray]:
    """The labels of a result, frame by frame."""
    from PIL import Image

    for path in sorted((folder / "masks").glob("*.png")):
        yield np.asarray(Image.open(path))


def idf1(one: Iterator[np.ndarray], other: Iterator[np.ndarray], ids: int = 256) -> float:
    """Of two labellings, 0 being no object: 2 IDTP / (detections of one and of the other)."""
    same, detections = np.zeros((ids, ids), int), 0
    for a, b in zip(one, other, strict=True):
        both = np.bincount(a.ravel().astype(int) * ids + b.ravel(), minlength=ids * ids)
        both = both.reshape(ids, ids)
        sizes = both.sum(1)[:, None], both.sum(0)[None]
        same[1:, 1:] += (both / np.maximum(sizes[0] + sizes[1] - both, 1) >= 0.5)[1:, 1:]
        detections += sum(np.count_nonzero(size.ravel()[1:]) for size in sizes)
    return 2 * same[linear_sum_assignment(-same)].sum() / max(detections, 1)


def measure(bench: Stretches) -> dict[str, Any]:
    """IDF1, seconds of looking at the frames and of the whole, MB of a process."""
    h, w = map(int, bench.grid.split("x"))
    settings = Settings(size=(h * PATCH, w * PATCH))
    torch.set_num_threads(1)
    segmenter = Segmenter(settings)
    segmenter.backbone.encode = steady(settings).encode
    with tempfile.TemporaryDirectory() as folder:
        video, peaks = Path(folder) / "video.mp4", Path(folder)
        film(video, bench.frames, *settings.size)
        began, spent = time.monotonic(), cpu_seconds()
        one = segmenter.segment_to(video, Path(folder) / "one")
        whole, cpu = time.monotonic() - began, [cpu_seconds() - spent]

        def work(out: Path, settings: Settings, threads: int | None) -> SteadyLook:
            return SteadyLook(out, settings, threads=threads, peaks=peaks)

        def hire(count: int, work: Any, limits: Limits, logs: Path) -> Processes:
            return Processes(min(count, bench.processes), work, limits, logs)

        began, spent = time.monotonic(), cpu_seconds()
        with looked_at(
            str(video),
            Path(folder) / "parts",
            settings,
            Limits(),
            at_once=bench.stretches,
            threads=1,
            work=work,
            hire=hire,
        ) as groups:
            looking = time.monotonic() - began
            cpu.append(cpu_seconds() - spent)
            segmenter.segment_to(video, Path(folder) / "parts", groups=groups)
        again = time.monotonic() - began
        cpu.append(cpu_seconds() - spent - cpu[1])
        found = {
            "frames": bench.frames,
            "stretches": bench.stretches,
            "processes": bench.processes,
            "weights": DEFAULT,
            "objects": one["objects"],
            "IDF1": round(idf1(*(masks(Path(folder) / name) for name in ("one", "parts"))), 4),
            "one piece, s": {name: round(took, 1) for name, took in one["seconds"].items()},
            "one piece in all, s": round(whole, 1),
            "in stretches: looking, s": round(looking, 1),
            "in stretches in all, s": round(again, 1),
            "CPU s: one piece, looking, the rest": [round(x, 1) for x in cpu],
            "a process at most, MB": max(int(p.read_text()) for p in peaks.glob("*.peak")),
            "load": [round(x, 1) for x in os.getloadavg()],
        }
    return found


def main(bench: Stretches) -> None:
    tell(measure(bench), bench.out)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Stretches)))
