"""What each part of the default mode is worth: quality and seconds, one part changed at a time.

    python benchmarks/ablation.py --sequences dog,goat --sizes 336,560

Reads DAVIS sequences (UNVEIL_SHARED, or ../shared beside the repository); the table names those
that were run. Features are computed once a size and never kept on disk.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np
import tyro
from PIL import Image

from unveil.attention.block import Block
from unveil.attention.block_file import load_block
from unveil.attention.objects_file import load_head
from unveil.errors import WeightsError
from unveil.fast import foreground as objectness
from unveil.fast import instances, tree
from unveil.fast.describe import describe, find
from unveil.fast.groups import Grouper, Groups
from unveil.fast.state import Objects, State
from unveil.features.backbone import Backbone
from unveil.metrics import PROTOCOLS, Measured
from unveil.segmentation import refine

ROOT = Path(os.environ.get("UNVEIL_SHARED", Path(__file__).parents[2] / "shared")) / "data/davis"
CHUNK = 16


@dataclass(frozen=True)
class Ablation:
    """Change one part at a time."""

    sequences: str = ""
    """Names, comma-separated; all that are there by default."""
    sizes: str = "336,560,672"
    """Short sides in px: 24x42, 40x71 and 48x85 patches for 480p."""
    variants: str = ""
    """Names, comma-separated; all by default. Known: see VARIANTS."""
    out: Path | None = None
    """A Markdown file to write the table to."""


@dataclass(frozen=True)
class Clip:
    """A sequence and what each protocol takes for true."""

    name: str
    frames: np.ndarray
    truths: dict[str, np.ndarray]


def masks(folder: Path) -> np.ndarray:
    return np.stack([np.array(Image.open(f)) for f in sorted(folder.glob("*.png"))])


def clips(names: list[str]) -> Iterator[Clip]:
    for name in names:
        files = sorted((ROOT / "JPEGImages/480p" / name).glob("*.jpg"))
        frames = np.stack([np.array(Image.open(f).convert("RGB")) for f in files])
        whole = masks(ROOT / "Annotations/480p" / name)
        whole = np.where(whole > 0, 1, 0).astype(np.uint8)
        parts = masks(ROOT / "Annotations_unsupervised/480p" / name)
        yield Clip(name, frames, {"davis2016": whole, "davis2017": parts, "foreground": whole})


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
    constants: Mapping[tuple[ModuleType, str], float] = field(default_factory=dict)
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


def measure(clip: Clip, groups: Groups, variant: Variant, block: Block | None) -> dict:
    start = time.perf_counter()
    with ExitStack() as stack:
        for (module, name), value in variant.constants.items():
            stack.enter_context(mock.patch.object(module, name, value))
        state = describe(variant.groups(groups), block, prototypes=variant.prototypes)
    found = variant.find(state)
    labels = variant.pixels(found, clip.frames)
    seconds = (time.perf_counter() - start) / len(labels)
    records = {
        name: PROTOCOLS[name].score(Measured(labels, truth)) for name, truth in clip.truths.items()
    }
    return {"seconds": seconds, "objects": len(found.scores), **records}


def main(bench: Ablation) -> None:
    names = bench.sequences.split(",") if bench.sequences else None
    names = names or sorted(p.name for p in (ROOT / "JPEGImages/480p").iterdir())
    backbone = Backbone()
    head = load_head(None, backbone.name, backbone.channels)
    try:
        block = load_block(None, backbone.name, backbone.channels)
    except WeightsError:
        block = None
    wanted = [v for v in VARIANTS if not bench.variants or v.name in bench.variants.split(",")]
    lines = [
        f"Sequences: {', '.join(names)}. Backbone {backbone.name}, {backbone.dtype}.",
        "",
        "| size | grid | variant | DAVIS-2016 J&F | DAVIS-2017 J&F | foreground J | objects | "
        "backbone s | grouping s | rest s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines))
    for size in map(int, bench.sizes.split(",")):
        rows: dict[str, list[dict]] = {}
        seconds = np.zeros(3)
        for clip in clips(names):
            grouper = Grouper(head)
            for i in range(0, len(clip.frames), CHUNK):
                frames = clip.frames[i : i + CHUNK]
                times = [time.perf_counter()]
                features = backbone.encode(frames, size)
                times.append(time.perf_counter())
                grouper.add(features, frames)
                times.append(time.perf_counter())
                seconds += (*np.diff(times), len(frames))
            groups = grouper.finish()
            for variant in wanted:
                if variant.block and block is None:
                    continue
                used = block if variant.block else None
                rows.setdefault(variant.name, []).append(measure(clip, groups, variant, used))
        h, w = backbone.grid(*clip.frames.shape[1:3], size)
        for name, records in rows.items():
            mean = {p: PROTOCOLS[p].mean([r[p] for r in records]) for p in clip.truths}
            figures = [
                f"{100 * mean['davis2016']['J&F']:.1f}",
                f"{100 * mean['davis2017']['J&F']:.1f}",
                f"{100 * mean['foreground']['J']:.1f}",
                f"{np.mean([r['objects'] for r in records]):.1f}",
                *(f"{x:.3f}" for x in seconds[:2] / seconds[2]),
                f"{np.mean([r['seconds'] for r in records]):.3f}",
            ]
            lines.append(f"| {size} | {h}x{w} | {name} | {' | '.join(figures)} |")
            print(lines[-1], flush=True)
    if bench.out:
        bench.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Ablation)))
