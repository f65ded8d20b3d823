"""What training is worth: rows with none, a random block, and a run's block as it went on.

    python benchmarks/trained_rows.py runs/default --out table.md

Published clustering on DAVIS sequences (UNVEIL_SHARED, or ../shared beside the repository) at the
default size, at the published tau and at the calibrated one, cosine rows and the last block at
`--shares` more; then the run's own trials. That clustering is quadratic, so clips are short: of
each sequence the first `--frames` frames and the last, every `--stride`-th, every third of them a
key frame.
"""

import copy
import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import tyro
from PIL import Image
from scipy.stats import rankdata
from torch.nn import functional as F

from unveil.attention.block import Block
from unveil.attention.block_file import TAU_SHARE, block_metadata, load_block, tau_of_scale
from unveil.attention.divergence import symmetric_kl
from unveil.attention.rows import Rows, block_rows, cosine_rows
from unveil.errors import UnveilError
from unveil.features.backbone import Backbone
from unveil.paper.clustering import merge
from unveil.segmentation import refine
from unveil.settings import SIZE, TAU
from unveil.training.monitor import read_log
from unveil.training.trial import random_kl
from unveil.types import Features

ROOT = Path(os.environ.get("UNVEIL_SHARED", Path(__file__).parents[2] / "shared")) / "data/davis"
KEY_EVERY = 3
QUERIES = 150
"""Patches of the foreground, a clip, whose rows are compared with all others."""
INSIDE, OUTSIDE = 0.5, 0.05
"""Share of the truth above which a patch is of the foreground, and below which it is not."""
HEAD = (
    "| rows | tau | J of the best cluster | ahead of cosine | clusters | stable | AUC | scale |\n"
    "|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class TrainedRows:
    """Hold a run's blocks against rows without training."""

    run: tyro.conf.Positional[Path]
    """The folder of a run of `unveil train`."""
    sequences: str = ""
    """Names, comma-separated; all that are there by default."""
    frames: int = 6
    """Frames a clip; two clips a sequence, from its start and its end."""
    stride: int = 4
    """Of the frames, fewer where a sequence is too short."""
    sharpen: str = "2"
    """Factors, comma-separated: the last block with all its logits so many times as large, which
    is what ever more training does to rows."""
    shares: str = "0.2,0.12,0.08"
    """Comma-separated: other shares of the scale as tau, for cosine rows and the last block."""
    out: Path | None = None
    """A Markdown file to write the table to."""


@dataclass(frozen=True)
class Clip:
    """Features of a few frames and the whole foreground's mask in each."""

    features: Features
    truth: np.ndarray


@dataclass(frozen=True)
class Variant:
    """A name, a block (None: cosine rows), and the scale in the block's file (None: no file).

    shares: of the scale, tried as tau beside the published tau and the calibrated one.
    """

    name: str
    block: Block | None = None
    scale: float | None = None
    shares: tuple[float, ...] = ()

    def rows(self, features: Features) -> Rows:
        """Rows of a clip, every third frame a key frame."""
        if self.block is None:
            return cosine_rows(features, KEY_EVERY)
        return block_rows(features, self.block, KEY_EVERY)


def read(name: str, backbone: Backbone, count: int, stride: int) -> list[Clip]:
    """The clips at the start and at the end of a sequence."""
    files = sorted((ROOT / "JPEGImages/480p" / name).glob("*.jpg"))
    stride = max(1, min(stride, (len(files) - 1) // max(1, count - 1)))
    first, last = files[::stride][:count], files[::-1][::stride][:count][::-1]
    return [make_clip(name, some, backbone) for some in (first, last)]


def make_clip(name: str, files: list[Path], backbone: Backbone) -> Clip:
    masks = [ROOT / "Annotations/480p" / name / f"{f.stem}.png" for f in files]
    frames = np.stack([np.array(Image.open(f).convert("RGB")) for f in files])
    truth = np.stack([np.array(Image.open(m)) > 0 for m in masks])
    return Clip(backbone.encode(frames, SIZE), truth)


def variants(
    run: Path, backbone: Backbone, sharpen: list[float], shares: tuple[float, ...]
) -> list[Variant]:
    torch.manual_seed(0)
    random = Block(backbone.channels, centred=True).eval()
    found = [Variant("cosine", shares=shares), Variant("block, random", random)]
    files = [*run.glob("block-*.safetensors"), run / "block.safetensors"]
    for file in sorted(files, key=lambda f: block_metadata(f)["steps"]):
        about = block_metadata(file)
        block = load_block(file, backbone.name, backbone.channels)
        found.append(Variant(f"block, {about['steps']} steps", block, about["scale"]))
    found[-1] = replace(found[-1], shares=shares)
    for factor in sharpen:
        sharper = copy.deepcopy(block)
        sharper.attention.qkv.weight[: block.channels] *= factor
        found.append(Variant(f"the last, logits x {factor:g}", sharper))
    return found


def measure(rows: Rows, truth: np.ndarray, tau: float) -> tuple[float, int, float]:
    """J of the best cluster, clusters, share of tokens whose centre stays from frame to frame."""
    clusters = merge(rows, tau)
    ids = clusters.labels.numpy()
    _, h, w = truth.shape
    labels = refine.nearest(ids, h, w)
    areas = [np.bincount(f.ravel(), minlength=len(clusters.centres)) for f in labels]
    inside = [
        np.bincount(f[t], minlength=len(clusters.centres))
        for f, t in zip(labels, truth, strict=True)
    ]
    both = np.stack(inside)
    union = np.stack(areas) + truth.sum((1, 2))[:, None] - both
    best = (both / np.maximum(union, 1)).mean(0).max()
    return float(best), len(clusters.centres), float((ids[1:] == ids[:-1]).mean())


def auc(rows: Rows, truth: np.ndarray) -> float:
    """How often a patch of the foreground has a row closer to a query's than one of the rest has.

    Queries are patches of the foreground; patches that are neither are left out.
    """
    share = F.interpolate(torch.from_numpy(truth).float()[:, None], (rows.h, rows.w), mode="area")
    inside, outside = (share > INSIDE).flatten(), (share < OUTSIDE).flatten()
    p = rows(0, rows.frames)
    queries = inside.nonzero().flatten()
    chosen = torch.randperm(len(queries), generator=torch.Generator().manual_seed(0))[:QUERIES]
    distances = symmetric_kl(p[queries[chosen]], p[inside | outside]).numpy()
    ranks = rankdata(distances, axis=1)[:, inside[inside | outside].numpy()]
    n, m = ranks.shape[1], int(outside.sum())
    return float(1 - (ranks.sum(1) - n * (n + 1) / 2).mean() / (n * m))


def trials(run: Path) -> list[str]:
    """What the run's own trials on held-out clips found, as a table."""
    head = "| step | scale, nats | clusters, tau 1.0 | clusters, calibrated | entropy |"
    return [head, "|---|---|---|---|---|"] + [
        f"| {r['step']:,} | {r['random_kl']:.2f} | {r['clusters']:.2f} "
        f"| {r['clusters_calibrated']:.2f} | {r['entropy']:.3f} |"
        for r in read_log(run)
        if r["kind"] == "trial"
    ]


def main(bench: TrainedRows) -> None:
    backbone = Backbone()
    names = bench.sequences.split(",") if bench.sequences else None
    names = names or sorted(p.name for p in (ROOT / "JPEGImages/480p").iterdir())
    sharpen = [float(factor) for factor in bench.sharpen.split(",") if factor]
    shares = tuple(float(share) for share in bench.shares.split(",") if share)
    start = time.perf_counter()
    clips = [c for name in names for c in read(name, backbone, bench.frames, bench.stride)]
    lines = [
        f"{len(names)} DAVIS sequences ({', '.join(names)}), the first {bench.frames} frames of "
        f"each and the last {bench.frames}, at stride {bench.stride}, size {SIZE}, "
        f"backbone {backbone.name}. Tau calibrated: {TAU_SHARE} of the scale; without a "
        "block file, of the clip's own. Ahead: mean over clips of the difference of J to cosine "
        "rows at their best tau here, and its standard error.",
        "",
        HEAD,
    ]
    print("\n".join(lines), flush=True)
    best = np.zeros(len(clips))  # J of cosine rows, which come first
    for variant in variants(bench.run, backbone, sharpen, shares):
        rows = [variant.rows(clip.features) for clip in clips]
        scales = [variant.scale or random_kl(r(0, r.frames)) for r in rows]
        order = np.mean([auc(r, clip.truth) for r, clip in zip(rows, clips, strict=True)])
        for share in (None, TAU_SHARE, *variant.shares):
            results = [
                measure(r, clip.truth, TAU if share is None else tau_of_scale(scale, share))
                for r, clip, scale in zip(rows, clips, scales, strict=True)
            ]
            each = np.array(results)[:, 0]
            j, k, stable = np.mean(results, 0)
            if variant.block is None:
                best = max(best, each, key=np.mean)
                ahead = ""
            else:
                error = (each - best).std(ddof=1) / len(clips) ** 0.5
                ahead = f"{(each - best).mean():+.3f} ± {error:.3f}"
            shown = {None: "1.0", TAU_SHARE: "calibrated"}.get(share, f"{share} scale")
            lines.append(
                f"| {variant.name} | {shown} | {j:.3f} | {ahead} | {k:.1f} | {stable:.3f} "
                f"| {order:.3f} | {np.mean(scales):.2f} |"
            )
            print(lines[-1], flush=True)
    lines += ["", *trials(bench.run)]
    lines += ["", f"{time.perf_counter() - start:.0f} s in all, {torch.get_num_threads()} threads."]
    if bench.out:
        bench.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    try:
        main(tyro.cli(TrainedRows))
    except UnveilError as error:
        sys.exit(str(error))
