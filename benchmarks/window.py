"""What the window of a stream is worth: scores with more or less memory, or prototypes.

    python benchmarks/window.py --windows 32x256,16x128
    python benchmarks/window.py --windows 32x256,16x128 --sequences dog,camel --precision bf16

Sequences of both development sets (UNVEIL_SHARED, or ../shared beside the repository), their first
frames to and fro until the memory is full, go through `Segmenter.stream`'s stages. The second half
is scored as `sizes.py` scores, and held against the first window as there. CPU seconds a frame are
those of all but decoding and the backbone, whose features are kept as by `sizes.py`.
"""

import itertools
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import tyro

from objects_head import Place
from replay import Kept, read
from sizes import CHUNK, NAMES, Sizes, Way, chosen, features, opening, scores, table
from speed import machine
from unveil.attention.objects_file import load_head
from unveil.attention.objects_head import told
from unveil.features.backbone import Backbone
from unveil.features.propagation import PACES, Propagation
from unveil.features.weights import DEFAULT
from unveil.segmentation import refine
from unveil.segmentation.stream import Stream


@dataclass(frozen=True)
class Windows:
    """Score a stream with several windows."""

    windows: str = "32x256,16x128"
    """Blocks that are remembered, and prototypes of a cut; comma-separated."""
    sequences: str = NAMES
    """Names, comma-separated; or all."""
    speed: str = "fast"
    """exact, balanced or fast."""
    precision: str = "int8"
    """fp32, bf16 or int8."""
    frames: int = 96
    """The first so many frames of each sequence …"""
    length: int = 256
    """… to and fro, until there are so many."""
    features: Path = Path("runs/features-by-size")
    """Where the features are kept."""


def main(bench: Windows) -> int:
    torch.set_num_threads(1)
    places = chosen(bench.sequences)
    loaded: dict[str, Backbone] = {}
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in bench.windows.split(",")}
    for place, (name, row) in itertools.product(places, rows.items()):
        row.append(figures(bench, place, name, loaded))
        print(place.name, name, row[-1], flush=True)
    print(f"\n{table(places, rows)}\n\n{bench.speed}, {bench.precision}; {machine()}")
    return 0


def figures(
    bench: Windows, place: Place, window: str, loaded: dict[str, Backbone]
) -> dict[str, float]:
    """The scores of one sequence with one window, and CPU seconds a frame."""
    sizes = Sizes(frames=bench.frames, features=bench.features)
    way = Way(336, bench.speed, bench.precision)
    frames, (kept, found) = opening(place, bench.frames), features(sizes, place, way, loaded)
    there = np.arange(len(frames))
    order = np.resize(np.concatenate((there, there[-2:0:-1])), bench.length)
    seen = Kept(frames, *read(kept))
    start = time.process_time()
    labels = stream(seen, way, window, frames[order])
    found["rest s"] = (time.process_time() - start) / len(order)
    half = -(-len(order) // 2)
    return found | scores(place, labels[half:], order[half:])


def stream(seen: Kept, way: Way, window: str, frames: np.ndarray) -> np.ndarray:
    """Labels [T, H, W] of frames [T, H, W, 3]."""
    memory, prototypes = map(int, window.split("x"))
    head = load_head(None, DEFAULT, seen.keys.shape[-1])
    cut = Stream(head=head, memory=memory, prototypes=prototypes)
    encoder = Propagation(seen, way.size, PACES[way.speed], partial(told, head))
    decided = []
    for some, known in encoder.each(frames[i : i + CHUNK] for i in range(0, len(frames), CHUNK)):
        decided += cut.add(known, some)
    decided += cut.flush()
    return np.concatenate([refine.sharpen(*x.patches, x.frames) for x in decided])


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Windows)))
