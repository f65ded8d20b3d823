"""What `Segmenter.stream` costs a frame beside the backbone, as its memory fills.

    python benchmarks/stream.py --out out/stream.md
    python benchmarks/stream.py --sequence davis/dog --frames 400 --features FOLDER

A DAVIS sequence (UNVEIL_SHARED, or ../shared beside the repository) goes to and fro until the
memory is full and beyond. The backbone sees each of its frames once. CPU seconds are
counted, of the stages one by one.
"""

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from objects_head import find_places, read_features
from speed import machine
from unveil.attention.objects_file import load_head, shipped_head
from unveil.fast.groups import BLOCK, Grouper
from unveil.features.weights import DEFAULT
from unveil.segmentation import refine
from unveil.segmentation.stream import Stream
from unveil.types import Features
from unveil.video.source import open_video

STAGES = ("groups", "recut", "edges")


@dataclass(frozen=True)
class Streaming:
    """Time the stages of a stream over its frames."""

    sequence: str = "davis/dog"
    """Set and name."""
    frames: int = 400
    """So many frames, to and fro."""
    memory: str = "16"
    """Blocks of eight frames that are remembered; several, comma-separated, are compared."""
    features: Path = Path("runs/features")
    """Where the features of the sequence are kept."""
    out: Path | None = None
    """A Markdown file to write the table to."""


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    found = work()
    return time.process_time() - start, found


def seconds(bench: Streaming, memory: int) -> dict[str, list[float]]:
    """CPU seconds of every stage, a block each."""
    place = next(p for p in find_places() if f"{p.set}/{p.name}" == bench.sequence)
    pictures = np.concatenate(list(open_video(place.source).chunks(BLOCK)))
    keys, saliency = read_features(place, DEFAULT, bench.features, [])
    features = Features(keys, 14, saliency)
    channels = features.keys.shape[-1]
    head = load_head(shipped_head(DEFAULT), DEFAULT, channels)
    stream, grouper = Stream(head=head, memory=memory), Grouper(head)
    spent: dict[str, list[float]] = defaultdict(list)
    for at in blocks(len(pictures), bench.frames):
        part = Features(features.keys[at], features.patch, features.saliency[at])
        frames = pictures[at]

        def group(part: Features = part, frames: np.ndarray = frames) -> None:
            grouper.add(part, frames)
            grouper.pop()

        def label(part: Features = part, frames: np.ndarray = frames) -> list[Any]:
            return list(stream.add(part, frames))

        alone, _ = timed(group)
        both, labelled = timed(label)
        edges, _ = timed(lambda: [refine.sharpen(*x.patches, x.frames) for x in labelled])  # noqa: B023
        for stage, s in zip(STAGES, (alone, both - alone, edges), strict=True):
            spent[stage].append(s)
    return spent


def blocks(there: int, frames: int) -> Iterator[np.ndarray]:
    """The frames of every whole block, to and fro."""
    to_and_fro = np.concatenate((np.arange(there), np.arange(there)[::-1]))
    for start in range(0, frames - BLOCK + 1, BLOCK):
        yield to_and_fro[np.arange(start, start + BLOCK) % (2 * there)]


def table(bench: Streaming) -> Iterator[str]:
    yield f"| memory, blocks | frames | {' | '.join(STAGES)} | together |"
    yield f"|---|---|{'---|' * (len(STAGES) + 1)}"
    for memory in map(int, bench.memory.split(",")):
        spent = seconds(bench, memory)
        n = len(spent["recut"])
        for start, stop in (
            (n // 8, n // 4),
            (n // 4, n // 2),
            (n // 2, n - n // 8),
            (n - n // 8, n),
        ):
            ms = [1000 * float(np.mean(spent[stage][start:stop])) / BLOCK for stage in STAGES]
            cells = " | ".join(f"{x:.0f}" for x in (*ms, sum(ms)))
            yield f"| {memory} | {start * BLOCK} to {stop * BLOCK} | {cells} |"


def main(bench: Streaming) -> None:
    about = f"{bench.sequence}, CPU ms a frame beside decoding and the backbone. {machine()}"
    text = "\n".join((about, "", *table(bench)))
    print(text)
    if bench.out:
        bench.out.parent.mkdir(parents=True, exist_ok=True)
        bench.out.write_text(text + "\n")


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Streaming)))
