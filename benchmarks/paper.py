"""The published clustering on whole DAVIS sequences: how good, how many clusters, how long.

    python benchmarks/paper.py --out published.md
    python benchmarks/paper.py --out calibrated.md --tau calibrated

Reads UNVEIL_SHARED, or ../shared beside the repository. Each takes a quarter of an hour on one
core: the clustering is quadratic in the frames. J and F are those of the one cluster that fits
best, DAVIS-2016 protocol.
"""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tyro

from unveil.datasets import open_dataset
from unveil.metrics import PROTOCOLS, Measured
from unveil.segmentation.segmenter import Segmenter
from unveil.settings import Settings
from unveil.types import Clip

ROOT = Path(os.environ.get("UNVEIL_SHARED", Path(__file__).parents[2] / "shared")) / "data/davis"


@dataclass(frozen=True)
class Paper:
    """Run `--mode paper` on every sequence and write a table as it grows."""

    sequences: str = ""
    """Names, comma-separated; all that are there by default."""
    out: Path | None = None
    """A Markdown file to write the table to."""
    settings: Settings = field(default_factory=lambda: Settings(mode="paper"))
    """How to segment."""


def main(bench: Paper) -> None:
    segmenter = Segmenter(bench.settings)
    s, backbone = segmenter.settings.plain(), segmenter.backbone
    lines = [
        f"`--mode {s['mode']} --attention {s['attention']} --size {s['size']} "
        f"--tau {s['tau']:.3g}`, {backbone.name} in "
        f"{str(backbone.dtype).removeprefix('torch.')}, {os.cpu_count()} cores. J and F of the "
        "cluster that fits best, DAVIS-2016 protocol.",
        "",
        "| sequence | frames | J | F | clusters | backbone s | clustering s |",
        "|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines))
    dataset, rows = open_dataset("davis2016", ROOT), []
    if bench.sequences:
        dataset = dataset.select(bench.sequences.split(","))
    for sequence in dataset.sequences:
        found = segmenter(Clip(sequence.frames(), name=sequence.name))
        score = PROTOCOLS["davis2016"].score(Measured(found.labels, sequence.truth()))["values"]
        spent = (found.run["seconds"][stage] for stage in ("backbone", "clustering"))
        quality = (100 * score[name] for name in ("J", "F"))
        rows.append((len(found.labels), *quality, len(found), *spent))
        lines.append(_line(sequence.name, rows[-1]))
        print(lines[-1], flush=True)
    lines.append(_line("mean", tuple(np.mean(rows, axis=0))))
    print(lines[-1])
    if bench.out:
        bench.out.write_text("\n".join(lines) + "\n")


def _line(name: str, row: tuple[float, ...]) -> str:
    t, j, f, clusters, backbone, clustering = row
    cells = (f"{t:.0f}", f"{j:.1f}", f"{f:.1f}", f"{clusters:.1f}".removesuffix(".0"))
    return f"| {name} | {' | '.join(cells)} | {backbone:.1f} | {clustering:.1f} |"


if __name__ == "__main__":
    style = (tyro.conf.OmitArgPrefixes, tyro.conf.HelptextFromCommentsOff)
    sys.exit(main(tyro.cli(Paper, config=style)))
