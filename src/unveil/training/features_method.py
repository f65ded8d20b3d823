"""How models that read frozen features are trained: the clips of a batch together."""

import copy
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unveil.slots.layers import KeysModel
from unveil.slots.model import SlotModel
from unveil.slots.model_file import Model, save_model
from unveil.slots.prototypes import PrototypeModel
from unveil.training.features import ClipFeatures
from unveil.training.sampling import Sample, generator
from unveil.training.teacher import Taught
from unveil.training.windows_method import WindowMethod

_LOOKED_AT = 64
"""Clips from whose first windows the mean and the deviation of the keys are taken."""
M = TypeVar("M", SlotModel, PrototypeModel, Taught)


class FeatureMethod(WindowMethod, ABC, Generic[M]):
    """What is the same of all: a method says which model, at what rates, and its losses."""

    recipe: Any
    """A `FeatureRecipe`, with the `weights` of its losses."""
    name: str

    @abstractmethod
    def fresh(self, channels: int, grid: tuple[int, int]) -> M:
        """A model of the seed's random parameters; torch's own numbers stay as they are."""

    @abstractmethod
    def losses(
        self, module: M, samples: Sequence[Sample], device: torch.device
    ) -> dict[str, Tensor]:
        """The losses of clips, all together."""

    @torch.no_grad()
    def new(self, clips: Sequence[ClipFeatures]) -> M:
        """A model before its first step, its mean and scale those of the clips' keys."""
        keys = torch.cat([keys_of(c, 0).flatten(0, 2) for c in clips[:_LOOKED_AT]]).float()
        module, mean = self.fresh(keys.shape[-1], clips[0].grid), keys.mean(0)
        scale = (keys - mean).square().mean().sqrt().clamp_min(1e-6)
        for model in module.modules():
            if isinstance(model, KeysModel):
                model.mean.copy_(mean)
                model.scale.copy_(scale)
        return module

    def backward(
        self, module: M, samples: Sequence[Sample], device: torch.device
    ) -> dict[str, float]:
        """Add the gradients of clips, all together."""
        weights = self.recipe.weights
        if not samples:
            return dict.fromkeys(weights, 0.0)
        losses = self.losses(module, samples, device)
        share = len(samples) / self.recipe.batch
        total = sum(weights[name] * x for name, x in losses.items())
        (share * torch.as_tensor(total)).backward()
        return {name: float(x.detach()) * share for name, x in losses.items()}

    @torch.no_grad()
    def held_losses(self, module: M, held: Sequence[ClipFeatures]) -> dict[str, float]:
        """Mean losses on windows spread evenly over clips that are not trained on.

        A window of each clip together, like the clips of a step; one window is noise.
        """
        still, device = copy.deepcopy(module).eval(), model_of(module).mean.device
        shown = [spread_windows(clip, self.recipe.validation_windows) for clip in held]
        found = []
        for windows in zip(*shown, strict=True):
            samples = [
                Sample(c, i, generator(self.recipe.seed, "held", c.clip.digest, i))
                for c, i in zip(held, windows, strict=True)
            ]
            found.append(self.losses(still, samples, device))
        return {name: sum(float(x[name]) for x in found) / len(found) for name in found[0]}

    def write(
        self, module: M, steps: int, clips: int, held: Sequence[ClipFeatures], path: Path
    ) -> None:
        """The model as a file that `--model` takes; its recipe travels in it."""
        r = self.recipe
        about: dict[str, Any] = {"method": r.method, "backbone": r.backbone, "size": list(r.size)}
        recipe = dataclasses.asdict(r)
        save_model(model_of(module), path, **about, steps=steps, clips=clips, recipe=recipe)


def model_of(module: Model | Taught) -> Model:
    """What is written of a module, and used."""
    return module.student if isinstance(module, Taught) else module


def keys_of(clip: ClipFeatures, window: int) -> Float[Tensor, "t h w c"]:
    """The keys of a window's patches."""
    return clip.window(window)[:, 1:].unflatten(1, clip.grid)


def spread_windows(clip: ClipFeatures, count: int) -> list[int]:
    """So many of a clip's windows, or all, evenly over the order in which they begin."""
    order = sorted(range(clip.count), key=lambda i: clip.frames[i])
    places = np.linspace(0, clip.count - 1, min(count, clip.count)).round().astype(int)
    return [order[place] for place in places]


def batch_of(samples: Sequence[Sample], device: torch.device) -> Float[Tensor, "b t h w c"]:
    """The keys of samples, in fp32."""
    return torch.stack([keys_of(s.features, s.window) for s in samples]).to(device).float()
