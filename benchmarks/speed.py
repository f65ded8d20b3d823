"""Seconds a stage and peak memory: both clusterings, and the whole of `unveil segment`.

    python benchmarks/speed.py --out out/speed          # speed.json, speed.md, speed.png

Of the clusterings CPU seconds are counted, so that other programs on the machine change little;
of whole runs both. Frames are rendered by the synthetic benchmark at 854x480. Each
measurement runs in a process of its own, so that its peak memory is its own. The published
clustering is quadratic in the frames: its seconds at 80 frames are extrapolated, and marked so,
unless run.
"""

import json
import multiprocessing
import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import tyro

HEIGHT, WIDTH, CHUNK = 480, 854, 16
RENDERED = 20  # frames; longer videos show them to and fro
TARGET = 80  # frames at which the two clusterings are compared


@dataclass(frozen=True)
class Speed:
    """Time both modes over frames and patches, and whole runs over frames."""

    grids: str = "24x42,40x60"
    """Patches down and across, of the clusterings."""
    fast_frames: str = "20,80"
    """Frames for the fast clustering, comma-separated."""
    paper_frames: str = "5,10"
    """Frames for the published clustering."""
    whole_frames: str = "100,200"
    """Frames for whole runs of `unveil segment`; empty for none."""
    whole_speeds: str = "exact"
    """Each `--speed` that whole runs are made at, comma-separated."""
    whole_size: int = 336
    """Short side that the backbone sees in whole runs, in px."""
    out: Path = Path("out/speed")
    """Folder for speed.json, speed.md and speed.png."""


def rendered() -> np.ndarray:
    """Frames that go to and fro, so that long videos cost no rendering."""
    from unveil.synthetic.render import render

    there = render(seed=0, frames=RENDERED // 2, height=HEIGHT, width=WIDTH, objects=3).frames
    return np.concatenate((there, there[::-1]))


def chunks(video: np.ndarray, frames: int) -> Iterator[np.ndarray]:
    for i in range(0, frames, CHUNK):
        yield video[np.arange(i, min(frames, i + CHUNK)) % len(video)]


def clustering(mode: str, frames: int, h: int, w: int) -> dict[str, Any]:
    """One mode from pixels to ids a patch; nothing is decoded, refined or written.

    The backbone sees the rendered frames once; its seconds are scaled to all frames.
    """
    from unveil.features.backbone import Backbone
    from unveil.segmentation.first_pass import FastFinder, PaperFinder
    from unveil.settings import Settings
    from unveil.timing import Clock, peak_memory_mb
    from unveil.types import Features

    backbone, clock, video = Backbone(), Clock(now=time.process_time), rendered()
    size = (h * backbone.patch, w * backbone.patch)
    backbone.encode(video[:4], size)  # the first pass pays for what the others find ready
    with clock("backbone"):
        features = backbone.encode(video, size)
    clock.seconds["backbone"] *= frames / len(video)
    finder = (PaperFinder if mode == "paper" else FastFinder)(Settings(mode=mode))
    for i in range(0, frames, CHUNK):
        of = np.arange(i, min(frames, i + CHUNK)) % len(video)
        part = Features(features.keys[of], features.patch, features.saliency[of])
        with clock("clustering"):
            finder.add(part, video[of])
    with clock("clustering"):
        finder.finish()
    about = {"mode": mode, "frames": frames, "grid": f"{h}x{w}"}
    return {**about, "seconds": clock.seconds, "peak_mb": peak_memory_mb()}


def whole(frames: int, size: int, speed: str) -> dict[str, Any]:
    """`segment_to` from an mp4 file to the finished folder, and the backbone's forward alone."""
    from unveil.results.movie import Movie
    from unveil.segmentation.segmenter import Segmenter

    video, blank = rendered(), np.zeros((HEIGHT, WIDTH), np.uint8)
    segmenter = Segmenter(size=size, speed=speed)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "video.mp4"
        movie = Movie(source, Fraction(24), HEIGHT, WIDTH)
        for part in chunks(video, frames):
            for frame in part:
                movie.write(frame, blank)
        movie.close()
        alone = [forward(segmenter, video, size, frames)]
        start, cpu = time.perf_counter(), time.process_time()
        run = segmenter.segment_to(source, Path(folder) / "out")
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        alone.append(forward(segmenter, video, size, frames))
    backbone = float(np.mean(alone)) * frames  # before and after, for the machine may be shared
    h, w = run["grid"]
    about = {"mode": "whole", "speed": speed, "frames": frames, "grid": f"{h}x{w}", "peak_mb": None}
    about |= {"seconds": {**run["seconds"], "all": seconds}, "cpu": cpu, "cpu backbone": backbone}
    return {**about, "peak_mb": run["peak_memory_mb"]}


def forward(segmenter: Any, video: np.ndarray, size: int, frames: int) -> float:
    """CPU seconds a frame of the backbone, on so many frames, 48 at most, that are in memory."""
    frames = min(frames, 3 * CHUNK)
    segmenter.backbone.encode(video[:4], size)
    start = time.process_time()
    for part in chunks(video, frames):
        segmenter.backbone.encode(part, size)
    return (time.process_time() - start) / frames


def tables(results: list[dict[str, Any]]) -> str:
    """What was measured, as Markdown."""
    lines = ["# Seconds and memory", "", "Written by `benchmarks/speed.py` with:", ""]
    lines += [f"    python benchmarks/speed.py {' '.join(sys.argv[1:])}", "", machine(), ""]
    lines += ["![seconds and memory over frames](speed.png)", ""]
    lines += ["Attention and clustering alone, on frames of 854x480 in memory:", ""]
    lines += ["| mode | grid | frames | backbone CPU s | clustering CPU s | peak MB |"]
    lines.append("|---|---|---|---|---|---|")
    for r in results:
        if r["mode"] != "whole":
            s = r["seconds"]
            cells = (r["mode"], r["grid"], r["frames"], f"{s['backbone']:.2f}")
            cells += (f"{s['clustering']:.2f}", r["peak_mb"])
            lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", *(line for grid in grids_of(results) if (line := compared(results, grid)))]
    runs = [r for r in results if r["mode"] == "whole"]
    if runs:
        stages = ("decode", "backbone", "clustering", "refine", "write", "all")
        lines += ["", "Whole runs, ms a frame. Decoding and writing run beside the others: what is"]
        lines += ["counted is the wait for them. CPU: of all threads, and of the backbone alone on"]
        lines += [
            "frames in memory, before and after. Times: all over the backbone, by the clock in"
        ]
        lines += ["the same run, and by CPU over the backbone alone.", ""]
        heads = " | ".join(stages)
        lines.append(f"| grid | speed | frames | {heads} | CPU | alone | times | peak MB |")
        lines.append(f"|---|---|---|{'---|' * len(stages)}---|---|---|---|")
        for r in runs:
            s, n = r["seconds"], r["frames"]
            spent = (*(s[stage] for stage in stages), r["cpu"], r["cpu backbone"])
            ms = " | ".join(f"{1000 * x / n:.1f}" for x in spent)
            times = f"{s['all'] / s['backbone']:.2f}, {r['cpu'] / r['cpu backbone']:.2f}"
            lines.append(f"| {r['grid']} | {r['speed']} | {n} | {ms} | {times} | {r['peak_mb']} |")
    return "\n".join(lines) + "\n"


def compared(results: list[dict[str, Any]], grid: str) -> str:
    """How much faster the fast clustering is on 80 frames; empty where that was not run."""
    of = {m: dict(seconds_of(results, m, grid)) for m in ("fast", "paper")}
    if TARGET not in of["fast"] or not of["paper"]:
        return ""
    last = max(of["paper"])
    paper, how = of["paper"][last] * (TARGET / last) ** 2, f"extrapolated from {last} frames"
    if last == TARGET:
        how = "measured"
    ratio = paper / of["fast"][TARGET]
    return f"{grid}, {TARGET} frames: paper {paper:.0f} s ({how}), {ratio:.0f} times fast.  "


def seconds_of(results: list[dict[str, Any]], mode: str, grid: str) -> list[tuple[int, float]]:
    rows = (r for r in results if r["mode"] == mode and r["grid"] == grid)
    return [(r["frames"], r["seconds"]["clustering"]) for r in rows]


def grids_of(results: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(r["grid"] for r in results if r["mode"] != "whole"))


@contextmanager
def own_memory() -> Iterator[list[int]]:
    """The most memory, in MB, that was held meanwhile and lies in no file."""
    peak, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            status = Path("/proc/self/status").read_text().split()
            peak[0] = max(peak[0], int(status[status.index("RssAnon:") + 1]) >> 10)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield peak
    finally:
        done.set()
        watching.join()


def tell(figures: Mapping[str, Any], out: Path | None) -> None:
    """Print figures under the machine that made them, and write them where a file is named."""
    text = f"{machine()}\n\n{json.dumps(figures, indent=1)}\n"
    print(text)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text)


def machine() -> str:
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [x.split(":")[1].strip() for x in info.read_text().split("\n") if "model name" in x]
        cpu = names[0] if names else cpu
    threads = os.environ.get("OMP_NUM_THREADS", "as torch chooses")
    load = os.getloadavg()[2]
    return (
        f"{cpu}, {os.cpu_count()} cores, threads of torch: {threads}. Load average of the last 15 "
        f"minutes: {load:.1f}; above 1 the machine was shared, and only ratios mean something."
    )


def draw(results: list[dict[str, Any]], path: Path) -> None:
    """Seconds of both clusterings over the frames, and what whole runs take."""
    from PIL import Image

    from unveil.training.chart import Line, draw_chart

    charts = []
    for grid in grids_of(results):
        lines = [Line(m, seconds_of(results, m, grid)) for m in ("fast", "paper")]
        charts.append((f"CPU s of clustering, {grid}, over frames", lines))
    runs = [r for r in results if r["mode"] == "whole" and r["speed"] == "exact"]
    if runs:
        ms = [(r["frames"], 1000 * r["cpu"] / r["frames"]) for r in runs]
        charts.append(("CPU ms a frame of unveil segment, over frames", [Line("", ms)]))
        peaks = [(r["frames"], r["peak_mb"]) for r in runs]
        charts.append(("peak MB of unveil segment, over frames", [Line("", peaks)]))
    w, h = 520, 240
    sheet = Image.new("RGB", (2 * w, h * -(-len(charts) // 2)), (255, 255, 255))
    for i, (title, lines) in enumerate(charts):
        sheet.paste(draw_chart(title, lines, (w, h)), (i % 2 * w, i // 2 * h))
    sheet.quantize(32).save(path)


def main(bench: Speed) -> None:
    bench.out.mkdir(parents=True, exist_ok=True)
    jobs: list[tuple[Any, tuple[Any, ...]]] = []
    for mode, counts in (("fast", bench.fast_frames), ("paper", bench.paper_frames)):
        for grid in bench.grids.split(","):
            for n in filter(None, counts.split(",")):
                jobs.append((clustering, (mode, int(n), *map(int, grid.split("x")))))
    for n in filter(None, bench.whole_frames.split(",")):
        for speed in bench.whole_speeds.split(","):
            jobs.append((whole, (int(n), bench.whole_size, speed)))
    context, results = multiprocessing.get_context("spawn"), []
    for job, arguments in jobs:
        with context.Pool(1) as pool:
            results.append(pool.apply(job, arguments))
        print(json.dumps(results[-1]), flush=True)
        (bench.out / "speed.json").write_text(json.dumps(results, indent=1) + "\n")
    (bench.out / "speed.md").write_text(tables(results))
    draw(results, bench.out / "speed.png")
    print(tables(results))


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Speed)))
