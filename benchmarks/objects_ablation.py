"""What each part of the objects' head's training is worth, on real sequences it never saw.

    python benchmarks/objects_ablation.py CLIPS --variants "default,40 composites,80 composites"

Trains a head for each variant, all with the same seed and steps, and prints the tables of
`benchmarks/objects_head.py` with the first variant as the one that others are compared with.
Features are cached: what changes the number of composites or the head alone costs no backbone, what
changes a scene computes its composites anew.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import tyro
from lightning_fabric import Fabric

from objects_head import ObjectsHeads
from objects_head import run as compare
from unveil.errors import UnveilError
from unveil.training.features import Cache, default_cache
from unveil.training.loop import train
from unveil.training.objects_method import HeadMethod
from unveil.training.objects_monitor import HeadMonitor
from unveil.training.objects_recipe import ObjectsRecipe
from unveil.training.recipe import read_recipe

VARIANTS: dict[str, dict] = {
    "default": {},
    "30 composites": {"composites": 40},
    "75 composites": {"composites": 85},
    "250 steps": {"steps": 250},
    "three layers": {"layers": 3},
    "one frame": {"moving": 1},
    "full size only": {"sizes": (336,)},
    "no kind twice": {"scenes": {"same": 0.0}},
    "nothing touching": {"scenes": {"touching": 0.0}},
    "no shadows": {"scenes": {"shadows": 0.0}},
    "hard edges": {"scenes": {"feather": 0.0}},
    "colours as they are": {"scenes": {"match": 0.0, "jitter": 0.0}},
    "nothing behind": {"scenes": {"behind": 0.0}},
}


@dataclass(frozen=True)
class ObjectsAblation:
    """Train variants of the head, and hold them against real sequences."""

    clips: tyro.conf.Positional[Path]
    """The folder of training clips."""
    variants: str = "default,30 composites,75 composites,250 steps"
    """Comma-separated: names of VARIANTS in the script."""
    recipe: Path = Path("configs/objects.toml")
    steps: int | None = None
    """Instead of the recipe's, for all variants that do not change it."""
    stride: int = 8
    """Of the frames of the sequences."""
    features: Path = Path("runs/features")
    """Where the features of the sequences are kept."""
    runs: Path = Path("runs/objects-ablation")
    """Where the runs lie; those that are there are not trained again."""
    out: Path | None = None
    """A Markdown file to write the tables to."""


def show(what: str, done: int, total: int | None, words: str) -> None:
    """Say now and then how far a run is."""
    if done % 10 == 0 or done == total:
        print(f"{what} {done} of {total} {words}", file=sys.stderr, flush=True)


def variant(recipe: ObjectsRecipe, changes: dict) -> ObjectsRecipe:
    changes = dict(changes)
    if "scenes" in changes:
        changes["scenes"] = replace(recipe.scenes, **changes["scenes"])
    return replace(recipe, **changes)


def main() -> int:
    args = tyro.cli(ObjectsAblation)
    recipe = read_recipe(args.recipe, ObjectsRecipe)
    if args.steps is not None:
        recipe = replace(recipe, steps=args.steps)
    cache = Cache(default_cache(), 10**11)
    heads = []
    try:
        for name in args.variants.split(","):
            if name not in VARIANTS:
                raise UnveilError(f"no variant {name!r}; known: {', '.join(VARIANTS)}")
            out = args.runs / name.replace(" ", "-")
            head = out / "head.safetensors"
            if not head.is_file():
                method = HeadMethod(variant(recipe, VARIANTS[name]))
                monitor = HeadMonitor(out, method, show)
                print(f"{name}:", file=sys.stderr)
                train(args.clips, method, out, Fabric(accelerator="cpu", devices=1), cache, monitor)
                monitor.close()
            heads.append(head)
        return compare(
            ObjectsHeads(tuple(heads), args.stride, features=args.features, out=args.out)
        )
    except UnveilError as error:
        print(f"objects_ablation.py: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
