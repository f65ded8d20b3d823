"""Say whether slot models know their clips by heart, and whether it is the clips or the windows.

    python benchmarks/by_heart.py VIDEOS --models runs/few/model-*.safetensors --windows 48

The error of a model's reconstruction (of keys of variance 1) on windows that it was trained on, on
others of the same clips that share no frame with those, and on the clips held out. The models were
trained on VIDEOS with the same seed and at least FEW windows a clip; features of `--windows` a clip
are computed where the cache has none.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import tyro

from results import machine
from unveil.features.backbone import Backbone
from unveil.slots.model import SlotModel
from unveil.slots.model_file import load_model, model_metadata
from unveil.training.clips import find_clips
from unveil.training.features import Cache, ClipFeatures, default_cache
from unveil.training.recipe import change
from unveil.training.sampling import Sample, generator, hold_out
from unveil.training.slots_method import SlotMethod
from unveil.training.slots_recipe import SlotRecipe

FEW = 4
"""Windows a clip that all models were trained on: the first are the same, however many."""
Shown = Sequence[tuple[ClipFeatures, int]]


def main(
    videos: tyro.conf.Positional[Path],
    models: tuple[Path, ...],
    windows: int = 48,
    each: int = 2,
    cache: Path | None = None,
    device: str = "cpu",
) -> None:
    """Print a table, a model a line.

    Args:
        videos: What the models were trained on.
        models: Files that `unveil train` wrote, of slot methods that reconstruct.
        windows: Windows a clip to choose from, as `--windows` of `unveil train`.
        each: Windows shown of each clip trained on; of one held out six times as many.
        cache: Where features are kept, beside the weights if not given.
        device: Where models run.
    """
    recipes = [recipe_of(model) for model in models]
    wanted = replace(recipes[0], windows=windows)
    kept, backbones = Cache(cache or default_cache(), sys.maxsize), list[Backbone]()

    def backbone() -> Backbone:
        if not backbones:
            backbones.append(Backbone(wanted.backbone, device))
        return backbones[0]

    found = [kept.get(clip, wanted, backbone) for clip in find_clips(videos)]
    train, held = hold_out(found, wanted.validation, wanted.seed)
    first = [(clip, window) for clip in train for window in spread(range(FEW), each)]
    rest = [(clip, window) for clip in train for window in spread(others(clip), each)]
    aside = [(clip, window) for clip in held for window in spread(range(windows), 6 * each)]
    apart = len({clip.clip.digest for clip, _ in rest})
    print(f"{len(train)} clips trained on, {apart} with windows apart, {len(held)} held out;")
    print(f"{machine()}; torch {torch.__version__}\n")
    print(f"| model | windows | steps | first {FEW} windows | other windows | clips held out |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for file, recipe in zip(models, recipes, strict=True):
        module = cast(SlotModel, load_model(file)).to(device).eval()
        cells = [f"{error(module, recipe, some):.3f}" for some in (first, rest, aside)]
        steps = str(model_metadata(file)["steps"])
        print("| " + " | ".join((recipe.method, str(recipe.windows), steps, *cells)) + " |")


def recipe_of(model: Path) -> SlotRecipe:
    """The recipe that travels in a model's file."""
    return cast(SlotRecipe, change(SlotRecipe(), model_metadata(model)["recipe"], str(model)))


def others(clip: ClipFeatures) -> list[int]:
    """Windows that share no frame with the first few."""
    known = {frame for window in clip.frames[:FEW] for frame in window}
    return [i for i, window in enumerate(clip.frames) if known.isdisjoint(window)]


def spread(choices: Sequence[Any], count: int) -> list[Any]:
    """So many of some things, or all, evenly over them."""
    places = np.linspace(0, len(choices) - 1, min(count, len(choices))).round().astype(int)
    return [choices[i] for i in places]


@torch.no_grad()
def error(module: SlotModel, recipe: SlotRecipe, shown: Shown) -> float:
    """The mean error of the reconstruction; each window on its own."""
    method, device = SlotMethod(recipe), module.mean.device
    found = []
    for clip, window in shown:
        sample = Sample(clip, window, generator(recipe.seed, "shown", clip.clip.digest, window))
        found.append(float(method.losses(module, [sample], device)["reconstruction"]))
    return float(np.mean(found)) if found else float("nan")


if __name__ == "__main__":
    tyro.cli(main)
