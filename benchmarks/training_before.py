"""Training as it is against a commit before it: CPU seconds of a recipe's features, and of a step.

    python benchmarks/training_before.py --commit cc3012d

Both states run `unveil train` by their default recipe, that of the shipped block, on the same
rendered clips, each in a process of its own, one thread. The features are the difference of a run
of one step with an empty cache and the same with a full one; a step is that of more steps with a
full cache. The old state is read out of git into a temporary folder.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import tyro
from PIL import Image

from paper_before import ROOT, state_of
from speed import HEIGHT, WIDTH, machine
from unveil.synthetic.render import render

TRAIN = "import sys; from unveil.cli import main; sys.exit(main())"


@dataclass(frozen=True)
class Before:
    """Hold training against an earlier commit."""

    commit: str = "cc3012d"
    """Whatever git knows as one."""
    clips: int = 6
    """Rendered clips of 24 frames."""
    steps: int = 40
    """Of which the first is left out."""
    rounds: int = 2
    """How often each state runs; the median counts."""


def write_clips(folder: Path, count: int) -> Path:
    """Clips as folders of frames."""
    for seed in range(count):
        place = folder / f"clip-{seed}"
        place.mkdir(parents=True)
        for i, frame in enumerate(render(seed=seed, height=HEIGHT, width=WIDTH).frames):
            Image.fromarray(frame).save(place / f"{i:05d}.jpg", quality=95)
    return folder


def trained(source: Path, clips: Path, folder: Path, steps: int) -> float:
    """CPU seconds of a training; the cache in the folder is filled, or read."""
    wishes = ["--out", tempfile.mkdtemp(dir=folder), "--cache", str(folder / "cache")]
    wishes += ["--steps", str(steps), "--accelerator", "cpu"]
    command = [sys.executable, "-c", TRAIN, "train", str(clips), *wishes]
    env = os.environ | {"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measured(source: Path, clips: Path, folder: Path, bench: Before) -> tuple[float, float]:
    """CPU seconds of the features of all clips, and of a step."""
    folder.mkdir()
    empty, full = (trained(source, clips, folder, 1) for _ in range(2))
    more = trained(source, clips, folder, bench.steps)
    return empty - full, (more - full) / (bench.steps - 1)


def main(bench: Before) -> None:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        clips = write_clips(place / "clips", bench.clips)
        states = {bench.commit: state_of(bench.commit, place), "now": ROOT / "src"}
        found: dict[str, list[tuple[float, float]]] = {state: [] for state in states}
        for i in range(bench.rounds):
            for state, source in states.items():
                found[state].append(measured(source, clips, place / f"{state}-{i}", bench))
                print(json.dumps({state: found[state][-1]}), flush=True)
    for what, k in (("features", 0), ("a step", 1)):
        then, now = (median(pair[k] for pair in found[state]) for state in states)
        print(f"{what}: {then:.2f} CPU s at {bench.commit}, {now:.2f} now, {then / now:.2f} times")
    print(f"{bench.clips} clips of 24 frames. {machine()}")


if __name__ == "__main__":
    main(tyro.cli(Before))
