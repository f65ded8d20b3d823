"""The trainings behind docs/table.md: runs of `unveil train`, which go on where they stopped."""

from pathlib import Path

from results import rendered
from unveil.cli import main

RECIPES = Path(__file__).resolve().parent.parent / "configs" / "processor"
"""Recipes with batches, rates, steps and windows for a processor."""
RENDERED = {"slotcontrast": 2000, "videosaur": 2000, "savi": 1000, "solv": 600}
"""Recipes that are trained on rendered clips too, and for how many steps."""
RENDERED_CLIPS, RENDERED_SEED, RENDERED_WINDOWS = 60, 1, 16
"""How many those are, the seed they are drawn with, which is not that of the clips that are scored,
and windows of each."""


def train_on_videos(videos: Path, runs: Path) -> list[Path]:
    """Models of every recipe, trained on a folder of videos."""
    recipes = sorted(RECIPES.glob("*.toml"))
    return [train([str(videos)], recipe, runs / "real" / recipe.stem) for recipe in recipes]


def train_on_rendered(runs: Path) -> list[Path]:
    """Models of the recipes of RENDERED, trained on rendered clips."""
    clips = rendered(runs / "rendered-clips", RENDERED_CLIPS, RENDERED_SEED)
    how = f"--dataset davis2017 --split val --windows {RENDERED_WINDOWS} --steps".split()
    return [
        train([str(clips), *how, str(steps)], RECIPES / f"{name}.toml", runs / "rendered" / name)
        for name, steps in RENDERED.items()
    ]


def train(line: list[str], recipe: Path, out: Path) -> Path:
    """The model of a run, which begins, goes on, or has ended. Raises SystemExit where it fails."""
    model = out / "model.safetensors"
    line = ["train", *line, "--recipe", str(recipe), "--out", str(out)]
    if not model.is_file() and main(line):
        raise SystemExit(f"the training of {out} ended with an error")
    return model
