"""`unveil data check` and `unveil data make`."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

Layout = Literal["davis2016", "davis2017", "ytvis2019", "ytvis2021", "movi", "folder"]


@dataclass(frozen=True)
class Check:
    """Say what of a dataset is there, what is missing, and where to get it."""

    name: tyro.conf.Positional[str]
    """davis2016, davis2017, ytvis2019, ytvis2021, movi, movi-a … movi-e, or folder."""
    root: Path
    """The folder it lies in, in its official layout."""
    split: str | None = None
    """One of its lists; by default the one that the field scores."""
    frames: Path | None = None
    """Of a plain folder: its frames, relative to the root (folder of images, or a video)."""
    masks: Path | None = None
    """Of a plain folder: its masks, relative to the root."""

    def run(self) -> int:
        """Print one line a finding; 1 where something is missing."""
        from unveil.datasets import check_dataset

        findings = check_dataset(
            self.name, self.root, split=self.split, frames=self.frames, masks=self.masks
        )
        for f in findings:
            print(f"{'ok     ' if f.ok else 'MISSING'}  {f.what}  ({f.path})")
            if f.advice:
                print(f"         {f.advice}")
        missing = sum(not f.ok for f in findings)
        if missing:
            print(f"{self.name}: {missing} of {len(findings)} checks failed", file=sys.stderr)
        return 1 if missing else 0


@dataclass(frozen=True)
class Make:
    """Render the synthetic benchmark: clips with exact masks, in the layout of a dataset."""

    out: Path
    """The folder that is made."""
    layout: Layout = "davis2017"
    """Whose layout; the two DAVIS share theirs."""
    sequences: int = 10
    """How many clips; five scenarios take turns."""
    frames: int = 24
    """Frames a clip."""
    size: tuple[int, int] = (192, 320)
    """Height and width in px."""
    seed: int = 0
    """Same seed, same clips."""

    def run(self) -> int:
        """Render, write, and say how to score on it."""
        from unveil.cli.progress import progress
        from unveil.synthetic.benchmark import make_benchmark

        height, width = self.size
        with progress(self.layout) as show:
            make_benchmark(
                self.out,
                self.layout,
                sequences=self.sequences,
                frames=self.frames,
                height=height,
                width=width,
                seed=self.seed,
                on_progress=lambda done, total: show("rendering", done, total),
            )
        print(f"{self.out}: {self.sequences} clips of {self.frames} frames, {width}x{height}")
        print(f"score on it with: unveil evaluate {self.layout} --root {self.out} --out results")
        return 0


@dataclass(frozen=True)
class Data:
    """Datasets: check what is there, make a synthetic one."""

    command: (
        Annotated[Check, tyro.conf.subcommand("check")]
        | Annotated[Make, tyro.conf.subcommand("make")]
    )

    def run(self) -> int:
        """Run the command."""
        return self.command.run()
