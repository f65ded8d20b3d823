"""How a slot model is trained: the clips of a batch together."""

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unveil.slots.model import Seen, SlotModel, new_model
from unveil.slots.model_file import save_model
from unveil.training.features import ClipFeatures
from unveil.training.method import bf16
from unveil.training.sampling import Sample, generator
from unveil.training.slots_losses import reconstruction, slot_contrast, temporal_similarity
from unveil.training.slots_recipe import SlotRecipe

_LOOKED_AT = 64
"""Clips from whose first windows the mean and the deviation of the keys are taken."""


@dataclass(frozen=True)
class SlotMethod:
    """SlotContrast, VideoSAUR, SAVi, STEVE or SOLV, as a recipe says.

    On several processes, slots are contrasted with those of a process's own clips.
    """

    recipe: SlotRecipe
    name: str = "model"

    @property
    def most_gradient(self) -> float | None:
        """Norm above which the gradient of a step is shortened."""
        return self.recipe.most_gradient

    @torch.no_grad()
    def new(self, clips: Sequence[ClipFeatures]) -> SlotModel:
        """A model before its first step, its mean and scale those of the clips' keys."""
        keys = torch.cat([_keys(c, 0).flatten(0, 2) for c in clips[:_LOOKED_AT]]).float()
        model = new_model(self.recipe.model, keys.shape[-1], clips[0].grid, self.recipe.seed)
        model.mean.copy_(keys.mean(0))
        model.scale.copy_((keys - model.mean).square().mean().sqrt().clamp_min(1e-6))
        return model

    def rates(self, step: int) -> tuple[float, float]:
        """A line up to `lr`, times an exponential fall; no weight decay."""
        r = self.recipe
        rise = min(1.0, (step + 1) / max(1.0, r.warm_up * r.steps))
        return r.lr * rise * r.decay ** (step / r.steps), 0.0

    def backward(
        self, module: SlotModel, samples: Sequence[Sample], device: torch.device
    ) -> dict[str, float]:
        """Add the gradients of clips, all together."""
        if not samples:
            return dict.fromkeys(self.recipe.losses.names, 0.0)
        losses = self._losses(module, samples, device)
        share = len(samples) / self.recipe.batch
        total = sum(getattr(self.recipe.losses, name) * x for name, x in losses.items())
        (share * torch.as_tensor(total)).backward()
        return {name: float(x.detach()) * share for name, x in losses.items()}

    @torch.no_grad()
    def held_losses(self, module: SlotModel, held: Sequence[ClipFeatures]) -> dict[str, float]:
        """Mean losses on the first windows of clips that are not trained on."""
        still = copy.deepcopy(module).eval()
        samples = [Sample(c, 0, generator(self.recipe.seed, "held", c.clip.digest)) for c in held]
        losses = self._losses(still, samples, module.mean.device)
        return {name: float(x) for name, x in losses.items()}

    def write(
        self, module: SlotModel, steps: int, clips: int, held: Sequence[ClipFeatures], path: Path
    ) -> None:
        """The model as a file that `--model` takes; its recipe travels in it."""
        r = self.recipe
        about: dict[str, Any] = {"method": r.method, "backbone": r.backbone, "size": list(r.size)}
        recipe = dataclasses.asdict(r)
        save_model(module, path, **about, steps=steps, clips=clips, recipe=recipe)

    def _losses(
        self, module: SlotModel, samples: Sequence[Sample], device: torch.device
    ) -> dict[str, Tensor]:
        keys = torch.stack([_keys(s.features, s.window) for s in samples]).to(device).float()
        # Dropout draws from torch's own numbers: seeded here, and given back as they were.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(samples[0].generator.initial_seed())
            with torch.autocast(
                device.type, torch.bfloat16, enabled=bf16(self.recipe.precision, device)
            ):
                seen = self._see(module, keys, samples)
        return self._compare(module, keys, seen)

    def _see(self, module: SlotModel, keys: Tensor, samples: Sequence[Sample]) -> Seen:
        s = module.settings
        if s.time == "window" or s.start == "learned":
            return module(keys, None, samples[0].generator)
        # Each clip's own numbers, so that its slots do not depend on its place in the batch.
        begun = torch.cat([module.begin(1, sample.generator) for sample in samples])
        return module(keys, begun, begins=True)

    def _compare(
        self, module: SlotModel, keys: Float[Tensor, "b t h w c"], seen: Seen
    ) -> dict[str, Tensor]:
        losses, c, found = self.recipe.losses, module.channels, {}
        features, outputs = module.standard(keys), seen.outputs.float()
        if module.settings.time == "window":
            around = module.settings.around
            features = features[:, around : around + 1]
        if losses.reconstruction:
            found["reconstruction"] = reconstruction(outputs[..., :c], features)
        if losses.similarity:
            found["similarity"] = temporal_similarity(
                outputs[:, :-1, :, c:], features, losses.similarity_temperature
            )
        if losses.contrast:
            found["contrast"] = slot_contrast(seen.slots.float(), losses.contrast_temperature)
        return found


def _keys(clip: ClipFeatures, window: int) -> Float[Tensor, "t h w c"]:
    """The keys of a window's patches."""
    return clip.window(window)[:, 1:].unflatten(1, clip.grid)
