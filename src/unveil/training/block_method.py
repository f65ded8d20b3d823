"""How the block is trained: clip by clip, so that clips may differ in shape."""

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from unveil.attention.block import Block
from unveil.attention.block_file import save_block
from unveil.errors import TrainingError, said_of
from unveil.training.features import ClipFeatures
from unveil.training.method import bf16
from unveil.training.recipe import Recipe
from unveil.training.sampling import Sample, cosine
from unveil.training.start import new_block
from unveil.training.step import Losses, clip_losses
from unveil.training.trial import row_scale
from unveil.training.windows_method import WindowMethod


@dataclass(frozen=True)
class BlockMethod(WindowMethod):
    """The published training of the spatio-temporal block (`step`)."""

    recipe: Recipe
    name: str = "block"
    most_gradient: float | None = None

    def new(self, clips: Sequence[ClipFeatures]) -> Block:
        """The block before its first step."""
        return new_block(self.recipe, clips[0])

    def rates(self, step: int) -> tuple[float, float]:
        """Learning rate and weight decay of a step, each half a cosine."""
        r = self.recipe
        rate = cosine(r.lr, r.final_lr, step, r.steps)
        return rate, cosine(r.weight_decay, r.final_weight_decay, step, r.steps)

    def backward(
        self, module: Block, samples: Sequence[Sample], device: torch.device
    ) -> dict[str, float]:
        """Add the gradients of clips, one after the other."""
        sums = {"semantic": 0.0, "motion": 0.0}
        for sample in samples:
            try:
                losses = self._backward(module, sample, device)
            except Exception as error:
                raise TrainingError(f"{sample}: {said_of(error)}") from error
            for name in sums:
                sums[name] += float(getattr(losses, name).detach()) / self.recipe.batch
        return sums

    def _backward(self, module: Block, sample: Sample, device: torch.device) -> Losses:
        features = sample.features.window(sample.window).to(device).float()
        with torch.autocast(
            device.type, torch.bfloat16, enabled=bf16(self.recipe.precision, device)
        ):
            losses = clip_losses(module, features, self.recipe.losses, sample.generator)
        (losses.total / self.recipe.batch).backward()
        return losses

    def write(
        self, module: Block, steps: int, clips: int, held: Sequence[ClipFeatures], path: Path
    ) -> None:
        """The block as a file that `--block` takes; its recipe and scale travel in it."""
        still = copy.deepcopy(module).cpu().eval()
        about: dict[str, Any] = {
            "backbone": self.recipe.backbone,
            "steps": steps,
            "clips": clips,
            "scale": row_scale(still, held),
            "recipe": dataclasses.asdict(self.recipe),
        }
        save_block(still, path, **about)
