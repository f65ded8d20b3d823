"""Composites with their features, drawn one by one from numbers and kept on disk."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unveil.features.backbone import Backbone
from unveil.training.composites import Composite
from unveil.training.cutouts import CutOut
from unveil.training.features import Store, own_weights, resize
from unveil.training.objects_recipe import ObjectsRecipe
from unveil.training.scenes import draw_scene
from unveil.training.sources import Source, looked_by

VERSION = 1


@dataclass(frozen=True)
class CompositeFeatures:
    """What the head is trained on: the keys of a composite, and its truth; see `Composite`.

    own: how many of the things, the first ones, were in the background already.
    """

    number: int
    keys: Float[Tensor, "t h w c"]
    shares: Float[Tensor, "k t h w"]
    unsure: Float[Tensor, "t h w"]
    own: int


def composite_features(
    number: int,
    sources: Sequence[Source],
    recipe: ObjectsRecipe,
    store: Store,
    backbone: Callable[[], Backbone],
) -> CompositeFeatures:
    """The composite of a number: the same for the same clips, recipe and number."""
    names = ("backbone", "size", "frames", "gap", "place", "sizes", "moving", "seed")
    about = {
        "what": "composite",
        "version": VERSION,
        "number": number,
        "clips": [s.clip.digest for s in sources],
        "scenes": asdict(recipe.scenes),
        **own_weights(recipe.backbone),
        **looked_by(recipe),
        **{n: getattr(recipe, n) for n in names},
    }
    found = store.get(about, lambda: _encoded(number, sources, recipe, backbone()))
    own = int(found.pop("own"))
    return CompositeFeatures(number, **{name: x.float() for name, x in found.items()}, own=own)


def draw_composite(
    number: int, sources: Sequence[Source], recipe: ObjectsRecipe, patch: int
) -> Composite:
    """The composite of a number, before its features. Every clip is drawn as often as any other."""
    rng = np.random.default_rng([recipe.seed, number])
    behind = sources[int(rng.integers(len(sources)))]
    length = len(behind.frames)
    start = int(rng.integers(max(1, length - recipe.moving + 1)))
    frames = slice(start, min(start + recipe.moving, length))
    own, unsure = behind.known(frames)
    height, width = _whole_patches(behind, recipe.sizes[rng.integers(len(recipe.sizes))], patch)
    pixels = behind.frames[frames]
    background = torch.stack([resize(x, height, width) for x in pixels]).permute(0, 2, 3, 1)
    own, unsure = (_resized(x, height, width) for x in (own, unsure))
    pool = evenly([s.cut_outs() for s in sources if s is not behind], rng)
    return draw_scene(
        np.ascontiguousarray(background.numpy()), own, unsure, pool, recipe.scenes, patch, rng
    )


def evenly(clips: Sequence[Sequence[CutOut]], rng: np.random.Generator) -> list[CutOut]:
    """A pool in which every clip that has cut-outs has as many: as many as the richest has."""
    most = max((len(cuts) for cuts in clips), default=0)
    pool = []
    for cuts in clips:
        if cuts:
            extra = rng.integers(len(cuts), size=most - len(cuts))
            pool += [*cuts, *(cuts[i] for i in extra)]
    return pool


def _whole_patches(source: Source, size: int, patch: int) -> tuple[int, int]:
    height, width = source.frames.shape[1:3]
    scale = min(1.0, size / min(height, width))
    return tuple(max(1, round(side * scale / patch)) * patch for side in (height, width))


def _resized(
    masks: Float[np.ndarray, "*n H W"], height: int, width: int
) -> Float[np.ndarray, "*n H1 W1"]:
    *n, old, across = masks.shape
    x = torch.from_numpy(masks).reshape(1, -1, old, across)
    if not x.shape[1]:
        return np.zeros((*n, height, width), np.float32)
    x = torch.nn.functional.interpolate(x, (height, width), mode="bilinear", antialias=True)
    return x.reshape(*n, height, width).numpy()


def _encoded(
    number: int, sources: Sequence[Source], recipe: ObjectsRecipe, backbone: Backbone
) -> dict[str, Tensor]:
    composite = draw_composite(number, sources, recipe, backbone.patch)
    size = composite.frames.shape[1:3]
    keys = backbone.encode(composite.frames, size, batch=1).keys.cpu().half()
    return {
        "keys": keys,
        "own": torch.tensor(composite.own),
        "shares": torch.from_numpy(composite.shares).half(),
        "unsure": torch.from_numpy(composite.unsure).half(),
    }
