"""What each detail of the released code is worth: as released, with one undone at a time.

    python benchmarks/released.py

On the first frames of the DAVIS sequences at hand (UNVEIL_SHARED, or ../shared beside the
repository), with the shipped block, by the released protocol. A sequence that was scored is not
scored again; the table is of those that every line has. fp32 is no line of its own: where the
processor does not compute in bf16, both are the same.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from results import machine
from unveil import Clip, Segmenter
from unveil.datasets import open_dataset
from unveil.evaluate import cache
from unveil.metrics import PROTOCOLS, Measured
from unveil.settings import RELEASED, SIZE, Settings

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("UNVEIL_SHARED", ROOT.parent / "shared"))
SCORED_BY = ("features", "paper", "attention", "segmentation", "metrics", "blocks")
PROTOCOL = "davis2017-released"
LINES: dict[str, dict[str, Any]] = {
    "as released": {},
    "input: short side 336, aspect kept": {"size": SIZE},
    "colours: those of the backbone": {"normalisation": "model"},
    "positions: to the size of the grid": {"positions": "size"},
    "last frame: its own masks": {"last_frame": "own"},
    "none of these: paper mode by default": {
        "size": SIZE,
        "normalisation": "model",
        "positions": "size",
        "last_frame": "own",
    },
}


@dataclass(frozen=True)
class Released:
    """Score every line on every sequence and print the table."""

    frames: int = 30
    """Of each sequence, the first so many."""
    sequences: str = ""
    """Names, comma-separated; all that are there by default."""
    work: Path = ROOT / "out" / "released"
    """Where scores are kept between runs."""

    def run(self) -> int:
        """Score what is not scored yet, then tell."""
        dataset = open_dataset("davis2017", SHARED / "data" / "davis")
        if self.sequences:
            dataset = dataset.select(self.sequences.split(","))
        rows = {}
        for sequence in dataset.sequences:
            frames, truth = sequence.frames()[: self.frames], sequence.truth()[: self.frames]
            rows[sequence.name] = {
                line: self.score(sequence.name, frames, truth, changed)
                for line, changed in LINES.items()
            }
            print("\n".join(self.table(rows)), flush=True)
        return 0

    def score(
        self, name: str, frames: np.ndarray, truth: np.ndarray, changed: dict[str, Any]
    ) -> dict[str, Any]:
        """The record of one sequence with some details changed, and how many clusters."""
        settings = Settings(mode="paper", **{**RELEASED, **changed})
        key = cache.digest(cache.code_digest(*SCORED_BY), settings.plain(), name, self.frames)
        file = self.work / f"{key}.json"
        record = cache.load(file, key)
        if record is None:
            found = Segmenter(settings)(Clip(frames, name=name))
            scored = PROTOCOLS[PROTOCOL].score(Measured(found.labels, truth, found.scores))
            record = {"scored": scored, "clusters": len(found)}
            cache.store(file, key, record)
        return record

    def table(self, rows: dict[str, dict[str, Any]]) -> list[str]:
        """J&F of every line, and its difference from the first with a standard error."""
        figure = {
            line: np.array([self._figure(row[line]) for row in rows.values()]) for line in LINES
        }
        lines = [
            f"First {self.frames} frames of {', '.join(rows)}; {machine()}.",
            "",
            "| as released, but | J&F | difference | clusters |",
            "| --- | ---: | ---: | ---: |",
        ]
        for line, values in figure.items():
            off = values - figure["as released"]
            error = f" ± {off.std(ddof=1) / len(off) ** 0.5:.1f}" if len(off) > 1 else ""
            told = "" if line == "as released" else f"{off.mean():+.1f}{error}"
            clusters = np.mean([row[line]["clusters"] for row in rows.values()])
            lines.append(f"| {line} | {values.mean():.1f} | {told} | {clusters:.0f} |")
        return lines

    @staticmethod
    def _figure(record: dict[str, Any]) -> float:
        return 100 * PROTOCOLS[PROTOCOL].mean([record["scored"]])["J&F"]


if __name__ == "__main__":
    style = (tyro.conf.OmitArgPrefixes, tyro.conf.HelptextFromCommentsOff)
    sys.exit(tyro.cli(Released, config=style).run())
