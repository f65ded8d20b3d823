"""The trainings behind docs/table.md: runs of `unveil train`, which go on where they stopped."""

import tomllib
from pathlib import Path

from results import rendered
from unveil.cli import main
from unveil.evaluate.cache import digest

RECIPES = Path(__file__).resolve().parent.parent / "configs" / "processor"
"""Recipes with batches, rates, steps and windows for a processor."""
LONG = ("savi", "slotcontrast", "solv", "videosaur")
"""Recipes that take half an hour to hours: on videos they are trained once, all else with every
seed."""
SEEDS = 3
"""Seeds of a training, from 0 on."""
RENDERED = {"slotcontrast": 2000, "videosaur": 2000, "savi": 1000, "solv": 600}
"""Recipes that are trained on rendered clips too, and for how many steps."""
RENDERED_CLIPS, RENDERED_SEED, RENDERED_WINDOWS = 60, 1, 16
"""How many those are, the seed they are drawn with, which is not that of the clips that are scored,
and windows of each."""


def train_on_videos(videos: Path, runs: Path) -> list[Path]:
    """Models of every recipe, trained on a folder of videos."""
    recipes = sorted(RECIPES.glob("*.toml"))
    return [
        model
        for recipe in recipes
        for model in train(
            [str(videos)], recipe, runs / "real", 1 if recipe.stem in LONG else SEEDS
        )
    ]


def train_on_rendered(runs: Path) -> list[Path]:
    """Models of the recipes of RENDERED, trained on rendered clips."""
    clips = rendered(runs / "rendered-clips", RENDERED_CLIPS, RENDERED_SEED)
    how = f"--dataset davis2017 --split val --windows {RENDERED_WINDOWS} --steps".split()
    return [
        model
        for name, steps in RENDERED.items()
        for model in train(
            [str(clips), *how, str(steps)], RECIPES / f"{name}.toml", runs / "rendered", SEEDS
        )
    ]


def train(line: list[str], recipe: Path, runs: Path, seeds: int) -> list[Path]:
    """The models of runs with seeds 0, 1 and so on, which begin, go on, or have ended; by another
    recipe, or another line, they are other runs. Raises SystemExit where one fails.
    """
    models, asked = [], digest(tomllib.loads(recipe.read_text()), line)[:8]
    for seed in range(seeds):
        out = runs / f"{recipe.stem}-{asked}-seed{seed}"
        models.append(out / "model.safetensors")
        how = ["--recipe", str(recipe), "--seed", str(seed), "--out", str(out)]
        if not models[-1].is_file() and main(["train", *line, *how]):
            raise SystemExit(f"the training of {out} ended with an error")
    return models
