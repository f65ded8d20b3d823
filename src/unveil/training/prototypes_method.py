"""How a model of prototypes is trained: its rates and its loss."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from unveil.slots.prototypes import PrototypeModel, new_prototypes
from unveil.training.features import ClipFeatures
from unveil.training.features_method import FeatureMethod, batch_of
from unveil.training.forwarding import forwarding
from unveil.training.method import bf16
from unveil.training.prototypes_recipe import PrototypeRecipe
from unveil.training.sampling import Sample, cosine


@dataclass(frozen=True)
class PrototypeMethod(FeatureMethod[PrototypeModel]):
    """TimeT's head on frozen features. On several processes, assignments are balanced over a
    process's own clips.
    """

    recipe: PrototypeRecipe
    name: str = "model"
    most_gradient: float | None = None

    def fresh(self, channels: int, grid: tuple[int, int]) -> PrototypeModel:
        """A model of the seed's random parameters."""
        return new_prototypes(self.recipe.model, channels, grid, self.recipe.seed)

    def rates(self, step: int) -> tuple[float, float]:
        """Learning rate and weight decay of a step, each half a cosine."""
        r = self.recipe
        decay = cosine(r.weight_decay, r.final_weight_decay, step, r.steps)
        return cosine(r.lr, 0.0, step, r.steps), decay

    def losses(
        self, module: PrototypeModel, samples: Sequence[Sample], device: torch.device
    ) -> dict[str, Tensor]:
        """The one there is. Prototypes have length 1 before every step, as in TimeT's code."""
        keys, settings = batch_of(samples, device), self.recipe.forwarding
        module.normalise()
        with torch.autocast(
            device.type, torch.bfloat16, enabled=bf16(self.recipe.precision, device)
        ):
            with torch.no_grad():
                first = module(keys[:, :1])[:, 0].float()
            last = module(keys[:, -1:])[:, 0].float()
        of = module.standard(keys), module.grid, module.settings.temperature
        return {"forwarding": forwarding(first, last, *of, settings)}

    def write(
        self,
        module: PrototypeModel,
        steps: int,
        clips: int,
        held: Sequence[ClipFeatures],
        path: Path,
    ) -> None:
        """The model as a file that `--model` takes, its prototypes of length 1."""
        still = copy.deepcopy(module)
        still.normalise()
        super().write(still, steps, clips, held, path)
