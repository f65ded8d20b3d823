"""What each `--speed`, and `--precision int8`, costs in quality, on both development sets.

    python benchmarks/modes.py --out out/modes.md
    python benchmarks/modes.py --sequences davis/dog,davis-train/bear --every 5
    python benchmarks/modes.py --precisions fp32,int8 --modes exact,balanced

Reads DAVIS sequences (UNVEIL_SHARED, or ../shared beside the repository). The backbone sees each
frame once in each precision; the modes are then given what it made of their key frames. Cosines are
with the first precision, every frame seen. The whole sequence is segmented, every so many frames of
it are painted at full resolution and scored.
"""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
import tyro
from PIL import Image
from torch.nn import functional as F

from unveil.attention.objects_file import load_head, shipped_head
from unveil.features import weights
from unveil.features.backbone import Backbone
from unveil.features.propagation import PACES, Pace, Propagation
from unveil.metrics import PROTOCOLS, Measured
from unveil.segmentation import refine
from unveil.segmentation.first_pass import FastFinder
from unveil.types import Features

ROOT = Path(os.environ.get("UNVEIL_SHARED", Path(__file__).parents[2] / "shared")) / "data"
SEQUENCES = (
    "davis/bmx-trees,davis/car-shadow,davis/goat,davis/soapbox,davis/blackswan,"
    "davis-train/bear,davis-train/hockey,davis-train/kite-walk,davis-train/motorbike,"
    "davis-train/dance-jump"
)
SCORES = (("davis2016", "J&F"), ("foreground", "J"))
MODES = {**PACES, "every 2nd with flow": Pace(2, flow=True), "every 4th without": Pace(4)}


@dataclass(frozen=True)
class Modes:
    """Score every mode on the same features."""

    sequences: str = SEQUENCES
    """Set and name, comma-separated."""
    every: int = 5
    """Of so many frames one is painted and scored."""
    modes: str = ",".join(MODES)
    """Names, comma-separated."""
    precisions: str = "fp32"
    """fp32, bf16 or int8, comma-separated."""
    features: Path | None = None
    """A folder of SET_NAME.npz with keys and saliency of all frames, instead of the backbone in the
    first precision."""
    out: Path | None = None
    """A Markdown file to write the table to."""


class Recorded(Backbone):
    """Gives out what the backbone made of the frames of one video, and counts what is asked for."""

    def __init__(self, frames: np.ndarray, features: Features) -> None:
        self.device, self.patch, self.features, self.asked = torch.device("cpu"), 14, features, 0
        self._index = {frame.tobytes(): i for i, frame in enumerate(frames)}

    def grid(self, *_: object) -> tuple[int, int]:
        """Patches down and across."""
        return self.features.keys.shape[1], self.features.keys.shape[2]

    def encode(self, frames: np.ndarray, *_: object, **__: object) -> Features:
        """What the backbone made of these frames."""
        at = [self._index[frame.tobytes()] for frame in frames]
        self.asked += len(at)
        return Features(self.features.keys[at], self.patch, self.features.saliency[at])


def read(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Frames and masks of a sequence, 1 where the object is."""
    folder, name = name.split("/")
    frames, masks = (
        [
            np.array(Image.open(f).convert(kind))
            for f in sorted((ROOT / folder / p / name).iterdir())
        ]
        for p, kind in (("JPEGImages/480p", "RGB"), ("Annotations/480p", "L"))
    )
    return np.stack(frames), (np.stack(masks) > 0).astype(np.uint8)


def encoded(name: str, frames: np.ndarray, precision: str, folder: Path | None) -> Features:
    if folder is None:
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        return Backbone(dtype=dtype, int8=precision == "int8").encode(frames)
    with np.load(folder / f"{name.replace('/', '_')}.npz") as known:
        keys, saliency = (torch.from_numpy(known[k]).float() for k in ("keys", "saliency"))
    return Features(keys, 14, saliency)


def measured(bench: Modes) -> Iterator[tuple[str, str, list[float]]]:
    """Sequence, mode, and share of frames seen, cosine of keys, J&F, foreground J, objects."""
    head = load_head(shipped_head(weights.DEFAULT), weights.DEFAULT, 384)
    for name in bench.sequences.split(","):
        frames, truth = read(name)
        first, *others = bench.precisions.split(",")
        exact = encoded(name, frames, first, bench.features)
        in_each = {first: exact} | {p: encoded(name, frames, p, None) for p in others}
        mean = exact.keys.float().mean((0, 1, 2))
        some = slice(2, None, bench.every)
        for precision, mode in product(in_each, bench.modes.split(",")):
            backbone, alike = Recorded(frames, in_each[precision]), []
            finder = FastFinder(head=head)
            chunks = (frames[i : i + 16] for i in range(0, len(frames), 16))
            for seen, features in Propagation(backbone, pace=MODES[mode]).each(chunks):
                true = exact.keys[sum(map(len, alike)) :][: len(seen)].float()
                keys = features.keys.float()
                alike.append(F.cosine_similarity(keys - mean, true - mean, -1).mean((1, 2)))
                finder.add(features, seen)
            found = finder.finish()
            labels = refine.labels(found.ids[some], found.share[some], frames[some])
            pair = Measured(labels, truth[some])
            scores = [100 * PROTOCOLS[p].mean([PROTOCOLS[p].score(pair)])[f] for p, f in SCORES]
            seen_share, cosine = backbone.asked / len(frames), float(torch.cat(alike).mean())
            yield name, f"{mode}, {precision}", [seen_share, cosine, *scores, len(found.scores)]


def table(rows: dict[tuple[str, str], list[float]], bench: Modes) -> str:
    names, modes = bench.sequences.split(","), list(dict.fromkeys(mode for _, mode in rows))
    lines = [
        "| clips | speed | frames seen | cosine of keys | DAVIS-2016 J&F | foreground J | objects |"
    ]
    lines.append("|---|---|---|---|---|---|---|")
    sets = {name.split("/")[0] for name in names}
    for what in (*sorted(sets), "both"):
        for mode in modes:
            of = [
                rows[n, mode]
                for n in names
                if what in ("both", n.split("/")[0]) and (n, mode) in rows
            ]
            if not of:
                continue
            seen, alike, jf, j, count = np.mean(of, 0)
            cells = f"{what}, {len(of)} | {mode} | {seen:.0%} | {alike:.3f} | {jf:.1f} | {j:.1f}"
            lines.append(f"| {cells} | {count:.1f} |")
    return "\n".join([*lines, "", f"Sequences: {', '.join(names)}; one frame in {bench.every}."])


def main(bench: Modes) -> None:
    rows = {}
    for name, mode, figures in measured(bench):
        rows[name, mode] = figures
        print(name, mode, *(f"{x:.3f}" for x in figures), flush=True)
    text = table(rows, bench)
    print(text)
    if bench.out:
        bench.out.parent.mkdir(parents=True, exist_ok=True)
        bench.out.write_text(text + "\n")


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Modes)))
