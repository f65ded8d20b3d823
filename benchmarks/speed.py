"""Seconds a stage and peak memory of the fast and the published clustering, in one run.

    python benchmarks/speed.py --out out/speed          # speed.json, speed.md, speed.png

Frames are rendered by the synthetic benchmark. Each measurement runs in a process of its own, so
that its peak memory is its own. The published clustering is quadratic in the frames: it is run up
to `--paper-frames` and its seconds at 80 frames are extrapolated, and marked so, unless run.
"""

import json
import multiprocessing
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

HEIGHT, WIDTH, CHUNK = 480, 854, 16
GRIDS = ((24, 42), (40, 60))


@dataclass(frozen=True)
class Speed:
    """Time both modes over frames and patches."""

    fast_frames: str = "20,80,320"
    """Frames for the fast mode, comma-separated."""
    paper_frames: str = "5,10,20"
    """Frames for the published clustering."""
    out: Path = Path("out/speed")
    """Folder for speed.json, speed.md and speed.png."""


def rendered(frames: int) -> np.ndarray:
    """Ten rendered frames, to and fro, so that long videos cost no rendering."""
    from unveil.datasets.synthetic import render

    clip = render(seed=0, frames=10, height=HEIGHT, width=WIDTH, objects=3)
    there = clip.frames
    return np.concatenate((there, there[::-1]))[np.arange(frames) % 20]


def measure(mode: str, frames: int, h: int, w: int) -> dict[str, Any]:
    import torch

    from unveil import attention, refine
    from unveil.backbone import Backbone
    from unveil.cluster import fast, paper
    from unveil.cluster.micro import Grouper
    from unveil.types import Features

    backbone = Backbone()
    size = (h * backbone.patch, w * backbone.patch)
    seconds: dict[str, float] = {}
    video = rendered(min(frames, 20))
    backbone.encode(video[:4], size)  # the first pass pays for what the others find ready

    def timed(stage: str, start: float) -> None:
        seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start

    def chunks():
        for i in range(0, frames, CHUNK):
            part = video[np.arange(i, min(frames, i + CHUNK)) % 20]
            start = time.perf_counter()
            features = backbone.encode(part, size)
            timed("backbone", start)
            yield part, features

    if mode == "paper":
        parts = [f for _, f in chunks()]
        features = Features(torch.cat([p.keys for p in parts]), backbone.patch)
        start = time.perf_counter()
        paper.merge(attention.cosine_rows(features))
        timed("clustering", start)
    else:
        grouper = Grouper()
        for part, features in chunks():
            start = time.perf_counter()
            grouper.add(features, part)
            timed("clustering", start)
        start = time.perf_counter()
        found = fast.find(fast.describe(grouper.finish()))
        timed("clustering", start)
        for i in range(0, frames, CHUNK):
            part = video[np.arange(i, min(frames, i + CHUNK)) % 20]
            start = time.perf_counter()
            refine.sharpen(found.ids[i : i + CHUNK], part)
            timed("refine", start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    shape = {"mode": mode, "frames": frames, "grid": [h, w]}
    return {**shape, "seconds": seconds, "peak_mb": round(peak)}


def draw(results: list[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for mode in ("fast", "paper"):
        for h, w in GRIDS:
            rows = [r for r in results if r["mode"] == mode and r["grid"] == [h, w]]
            frames = [r["frames"] for r in rows]
            style = {"marker": "o", "label": f"{mode}, {h}x{w}"}
            axes[0].loglog(frames, [r["seconds"]["clustering"] for r in rows], **style)
            axes[1].loglog(frames, [r["peak_mb"] for r in rows], **style)
    axes[0].set(xlabel="frames", ylabel="seconds for attention and clustering")
    axes[1].set(xlabel="frames", ylabel="peak memory of the process, MB")
    axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=120)


def table(results: list[dict[str, Any]]) -> str:
    lines = ["| mode | grid | frames | backbone s | clustering s | refine s | peak MB |"]
    lines.append("|---|---|---|---|---|---|---|")
    for r in results:
        s = r["seconds"]
        cells = [f"{s[k]:.2f}" if k in s else "" for k in ("backbone", "clustering", "refine")]
        h, w = r["grid"]
        lines.append(
            f"| {r['mode']} | {h}x{w} | {r['frames']} | {' | '.join(cells)} | {r['peak_mb']} |"
        )
    lines.append("")
    for h, w in GRIDS:
        of = {
            mode: {
                r["frames"]: r["seconds"]["clustering"]
                for r in results
                if r["mode"] == mode and r["grid"] == [h, w]
            }
            for mode in ("fast", "paper")
        }
        if 80 not in of["fast"] or not of["paper"]:
            continue
        last = max(of["paper"])
        paper, how = of["paper"].get(80), "measured"
        if paper is None:
            # Quadratic, as its cost model says; the last measurement is the closest.
            paper, how = of["paper"][last] * (80 / last) ** 2, f"extrapolated from {last} frames"
        ratio = paper / of["fast"][80]
        lines.append(f"{h}x{w}, 80 frames: paper {paper:.0f} s ({how}), {ratio:.0f} times fast.")
    return "\n".join(lines) + "\n"


def main(bench: Speed) -> None:
    bench.out.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    results = []
    for mode, counts in (("fast", bench.fast_frames), ("paper", bench.paper_frames)):
        for grid in GRIDS:
            for frames in map(int, counts.split(",")):
                with context.Pool(1) as pool:
                    results.append(pool.apply(measure, (mode, frames, *grid)))
                print(json.dumps(results[-1]), flush=True)
    (bench.out / "speed.json").write_text(json.dumps(results, indent=1) + "\n")
    (bench.out / "speed.md").write_text(table(results))
    draw(results, bench.out / "speed.png")
    print(table(results))


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Speed)))
