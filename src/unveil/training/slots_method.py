"""How a slot model is trained: its rates and losses."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unveil.slots.model import Seen, SlotModel, new_model
from unveil.training.features_method import FeatureMethod, batch_of
from unveil.training.method import bf16
from unveil.training.sampling import Sample
from unveil.training.slots_losses import reconstruction, slot_contrast, temporal_similarity
from unveil.training.slots_recipe import SlotRecipe

_EPOCHS = 180
"""Parts of a run in each of which slots are merged as often; the epochs of SOLV's code."""


@dataclass(frozen=True)
class SlotMethod(FeatureMethod[SlotModel]):
    """SlotContrast, VideoSAUR, SAVi, STEVE or SOLV, as a recipe says.

    On several processes, slots are contrasted with those of a process's own clips.
    """

    recipe: SlotRecipe
    name: str = "model"

    @property
    def most_gradient(self) -> float | None:
        """Norm above which the gradient of a step is shortened."""
        return self.recipe.most_gradient

    def fresh(self, channels: int, grid: tuple[int, int]) -> SlotModel:
        """A model of the seed's random parameters."""
        return new_model(self.recipe.model, channels, grid, self.recipe.seed)

    def rates(self, step: int) -> tuple[float, float]:
        """A line up to `lr`, times an exponential fall; no weight decay."""
        r = self.recipe
        rise = min(1.0, (step + 1) / max(1.0, r.warm_up * r.steps))
        return r.lr * rise * r.decay ** (step / r.steps), 0.0

    def losses(
        self, module: SlotModel, samples: Sequence[Sample], device: torch.device
    ) -> dict[str, Tensor]:
        """Those that the recipe counts."""
        keys = batch_of(samples, device)
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
        if s.time == "window":
            merged = [
                float(torch.rand((), generator=x.generator)) < merging(x.progress) for x in samples
            ]
            return module(keys, None, samples[0].generator, merged=merged)
        if s.start == "learned":
            return module(keys)
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


def merging(progress: float) -> float:
    """How likely slots that are alike are joined when so much of a run is over, 0 … 1.

    log(e + 1) / log(E) in epoch e of E, as in SOLV's code: never in the first, so that slots have
    to part before they are joined, always in the last.
    """
    return min(1.0, math.log(int(progress * _EPOCHS) + 1) / math.log(_EPOCHS))
