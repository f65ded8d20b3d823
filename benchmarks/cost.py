"""What a frame costs, over the length of a video and over the patches that it is looked at in.

    python benchmarks/cost.py --out docs/images/cost.png

CPU seconds, of all threads. Whole runs of `segment_to`, from an mp4 file to the finished folder,
with a backbone that gives out what it made of rendered frames of 854x480: so they measure
everything else. The backbone is timed alone on the same frames. Each measurement runs in a process
of its own, so that its peak memory is its own; what of it lies in no file is looked at ten times a
second (Linux alone says).
"""

import json
import multiprocessing
import sys
import tempfile
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import tyro

from speed import HEIGHT, WIDTH, machine, own_memory, rendered
from unveil.features.backbone import Backbone
from unveil.types import Features

matplotlib.use("agg")


@dataclass(frozen=True)
class Cost:
    """Time what a frame costs, and draw it."""

    frames: str = "25,100,400"
    """Lengths of videos, comma-separated, at the default size."""
    sizes: str = "168,336,504"
    """Short sides that the backbone sees, in px, comma-separated."""
    length: int = 16
    """Frames of the videos that sizes are compared on."""
    int8: bool = False
    """Time the backbone in int8 too."""
    out: Path = Path("out/cost.png")
    """The plot; the figures are printed."""


class Replayed(Backbone):
    """Gives out the features of frames that it has seen, in a circle, and takes no time."""

    def __init__(self, backbone: Backbone, features: Features) -> None:
        self.__dict__.update(backbone.__dict__)
        self.features, self.at = features, 0

    def encode(
        self, frames: np.ndarray, *_: object, on_frames: Any = None, **__: object
    ) -> Features:
        """The features of as many frames as are given."""
        now = np.arange(self.at, self.at + len(frames)) % len(self.features.keys)
        self.at += len(frames)
        if on_frames is not None:
            on_frames(len(frames))
        return Features(self.features.keys[now], self.patch, self.features.saliency[now])


def measured(frames: int, size: int, int8: bool) -> dict[str, Any]:
    """CPU seconds a frame: of the backbone, and of everything else in a video of so many frames."""
    from unveil.results.movie import Movie
    from unveil.segmentation.segmenter import Segmenter
    from unveil.timing import peak_memory_mb

    segmenter, video = Segmenter(size=size), rendered()
    few = video[:: 2 if size <= 336 else 5]
    about: dict[str, Any] = {"frames": frames, "size": size}
    features, about["backbone"] = timed(segmenter.backbone, few, size)
    if int8:
        _, about["backbone_int8"] = timed(Backbone(int8=True), few, size)
    about["patches"] = int(np.prod(features.keys.shape[1:3]))
    segmenter.backbone = Replayed(segmenter.backbone, features)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        movie = Movie(path, Fraction(24), HEIGHT, WIDTH)
        for i in range(frames):
            movie.write(few[i % len(few)], np.zeros((HEIGHT, WIDTH), np.uint8))
        movie.close()
        start = time.process_time()
        with own_memory() as peak:
            segmenter.segment_to(path, Path(folder) / "out")
        about["rest"] = (time.process_time() - start) / frames
    return {**about, "peak_mb": peak_memory_mb(), "peak_own_mb": peak[0]}


def timed(backbone: Backbone, frames: np.ndarray, size: int) -> tuple[Features, float]:
    """What the backbone makes of frames, and its CPU seconds a frame."""
    backbone.encode(frames[:1], size)
    start = time.process_time()
    features = backbone.encode(frames, size)
    return features, (time.process_time() - start) / len(frames)


def draw(rows: list[dict[str, Any]], bench: Cost) -> None:
    from matplotlib import pyplot as plt

    long = [r for r in rows if r["of"] == "frames"]
    fine = [r for r in rows if r["of"] == "sizes"]
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    for axes, rs, x in ((left, long, "frames"), (right, fine, "patches")):
        at = [r[x] for r in rs]
        for key, name in (("backbone", "backbone"), ("backbone_int8", "backbone, int8")):
            if all(key in r for r in rs):
                axes.plot(at, [r[key] for r in rs], "o-", label=name)
        axes.plot(at, [r["rest"] for r in rs], "s-", label="everything else")
        axes.set(xlabel=x, ylabel="CPU s a frame", xticks=at, xscale="log")
        axes.set_xticks(at, map(str, at))
        axes.minorticks_off()
        axes.set_ylim(0, 1.1 * max(r["backbone"] for r in rs))
        axes.legend(frameon=False)
    at = [r["frames"] for r in long]
    middle.plot(at, [r["peak_mb"] for r in long], "o-", color="tab:grey")
    middle.set(xlabel="frames", ylabel="peak memory, MB", xscale="log")
    middle.set_xticks(at, map(str, at))
    middle.minorticks_off()
    middle.set_ylim(0, 1.1 * max(r["peak_mb"] for r in long))
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(bench.out, dpi=110)


def main(bench: Cost) -> None:
    bench.out.parent.mkdir(parents=True, exist_ok=True)
    jobs = [("frames", int(n), 336) for n in bench.frames.split(",")]
    jobs += [("sizes", bench.length, int(size)) for size in bench.sizes.split(",")]
    context, rows = multiprocessing.get_context("spawn"), []
    for of, frames, size in jobs:
        with context.Pool(1) as pool:
            rows.append({"of": of, **pool.apply(measured, (frames, size, bench.int8))})
        print(json.dumps(rows[-1]), flush=True)
    draw(rows, bench)
    print(machine())


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Cost)))
