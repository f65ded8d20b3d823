"""How far `--live` keeps up with a source: frames labelled and dropped, delay, CPU and memory.

    python benchmarks/live.py --precisions int8,bf16
    python benchmarks/live.py --sequence dog --seconds 60 --fps 25

A DAVIS sequence (UNVEIL_SHARED, or ../shared beside the repository) goes to and fro at its pace, as
a camera would, into a folder of results: decoding is left out, everything else is there. Each
precision runs in a process of its own. The first seconds are slower than those after, for the
window of the stream has yet to fill; they count.
"""

import itertools
import multiprocessing
import sys
import tempfile
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from objects_head import Place
from sizes import chosen
from speed import machine
from unveil import Segmenter
from unveil.timing import peak_memory_mb
from unveil.video.live import Live
from unveil.video.live_source import LiveSource, Timed, paced
from unveil.video.source import read_clip


@dataclass(frozen=True)
class Lively:
    """Label a source that does not wait."""

    sequence: str = "dog"
    """Its name."""
    fps: int = 25
    """Frames a second of the source."""
    seconds: float = 60.0
    """How long it goes on."""
    speed: str = "fast"
    """exact, balanced or fast."""
    precisions: str = "bf16,int8"
    """Comma-separated."""


def to_and_fro(pictures: np.ndarray, fps: int, seconds: float) -> Timed:
    """Frames, and when each is there, in seconds."""
    there_and_back = itertools.cycle((*pictures, *pictures[-2:0:-1]))
    for i, frame in zip(range(round(seconds * fps)), there_and_back, strict=False):
        yield i / fps, frame


def measured(bench: Lively, place: Place, precision: str) -> dict[str, Any]:
    """What one precision makes of the source."""
    pictures = read_clip(place.source).frames
    segmenter = Segmenter(speed=bench.speed, precision=precision)
    for _ in segmenter.stream(Live(iter(pictures[:24]), room=24)):  # what is made only once
        pass
    frames = paced(to_and_fro(pictures, bench.fps, bench.seconds))
    _, height, width, _ = pictures.shape
    source = LiveSource(place.name, Fraction(bench.fps), height, width, frames)
    live = Live(source.frames)
    with tempfile.TemporaryDirectory() as folder:
        start, cpu = time.perf_counter(), time.process_time()
        done = segmenter.segment_live(live, source, Path(folder) / "out")
        took, spent = time.perf_counter() - start, time.process_time() - cpu
    return {
        "speed, precision": f"{bench.speed}, {precision}",
        "frames that came": live.came,
        "labelled": f"{done.frames} ({100 * done.frames / live.came:.0f} %)",
        "a second": f"{done.frames / took:.1f}",
        "delay, s": f"{done.delays.mean:.2f}",
        "at most": f"{done.delays.most:.2f}",
        "CPU ms a frame": f"{1000 * spent / done.frames:.0f}",
        "peak MB": peak_memory_mb(),
    }


def main(bench: Lively) -> int:
    place, *_ = chosen(bench.sequence)
    rows = []
    for precision in bench.precisions.split(","):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rows.append(pool.apply(measured, (bench, place, precision)))
        print(rows[-1], flush=True)
    print(f"\n{bench.sequence}, {bench.fps} frames a second. {machine()}\n")
    print(f"| {' | '.join(rows[0])} |\n|{'---|' * len(rows[0])}")
    for row in rows:
        print(f"| {' | '.join(map(str, row.values()))} |")
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Lively)))
