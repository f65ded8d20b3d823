"""How SMTC is trained: its rates, its teacher and its losses."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unveil.slots.smtc import Described, SmtcModel, new_smtc
from unveil.training import smtc_losses as losses
from unveil.training.features_method import FeatureMethod, batch_of
from unveil.training.method import bf16
from unveil.training.sampling import Sample, cosine
from unveil.training.smtc_recipe import SmtcRecipe
from unveil.training.teacher import Taught

_LAST = 0.1
"""Learning rate after the last step, in that of the first."""


@dataclass(frozen=True)
class SmtcMethod(FeatureMethod[Taught]):
    """SMTC on frozen features.

    Not as published: student and teacher see the same augmentation of a window, for it is of the
    cached features; there each has its own. On several processes, instances are counted among a
    process's own clips.
    """

    recipe: SmtcRecipe
    name: str = "model"
    most_gradient: float | None = None

    def fresh(self, channels: int, grid: tuple[int, int]) -> Taught:
        """A model of the seed's random parameters, and a teacher that says the same."""
        return Taught(new_smtc(self.recipe.model, channels, grid, self.recipe.seed))

    def rates(self, step: int) -> tuple[float, float]:
        """Learning rate and weight decay of a step."""
        r = self.recipe
        return cosine(r.lr, _LAST * r.lr, step, r.steps), r.weight_decay

    def backward(
        self, module: Taught, samples: Sequence[Sample], device: torch.device
    ) -> dict[str, float]:
        """Let the teacher follow the step before, then add the gradients of clips."""
        module.follow(self.recipe.momentum)
        return super().backward(module, samples, device)

    def losses(
        self, module: Taught, samples: Sequence[Sample], device: torch.device
    ) -> dict[str, Tensor]:
        """Those that the recipe counts."""
        keys, s = batch_of(samples, device), self.recipe.losses
        t, draw = keys.shape[1], module.student.draw
        # Each clip's own numbers, so that what it draws does not depend on its place in the batch.
        noise = torch.stack([draw(2, t, generator=sample.generator) for sample in samples], 1)
        with torch.autocast(
            device.type, torch.bfloat16, enabled=bf16(self.recipe.precision, device)
        ):
            seen = self._see(module.student, keys, noise[0])
            with torch.no_grad():
                taught = self._see(module.teacher, keys, noise[1])
        found, features = {}, module.student.standard(keys)
        if s.correspondence:
            how = s.epsilon, s.iterations
            found["correspondence"] = losses.correspondence(
                seen.logits.float(), taught.logits.float(), features, *how
            )
        if s.separation:
            found["separation"] = losses.separation(seen.logits.float())
        if s.instances:
            found["instances"] = losses.instances(seen, taught, s)
        return found

    def _see(self, model: SmtcModel, keys: Tensor, noise: Tensor) -> Described:
        """The frame before a window's first is its last, as in the code."""
        return model(keys, keys[:, -1], noise)
