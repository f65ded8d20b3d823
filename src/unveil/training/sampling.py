"""Which clip, which window and which random numbers a step uses: a function of the seed alone.

Nothing here has a state. Sample number i of a run is the same on any number of processes and
after any interruption, so a checkpoint's step is all that has to be remembered.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from unveil.training.features import ClipFeatures


@dataclass(frozen=True)
class Sample:
    """One clip's part in a step: which window of its features, and its own random numbers.

    progress: how much of the run is over, 0 at its first step; 1 for what is not trained on.
    """

    features: ClipFeatures
    window: int
    generator: torch.Generator
    progress: float = 1.0

    def __str__(self) -> str:
        return f"{self.features.clip.name} (window {self.window})"


def draw_batch(recipe: Any, clips: Sequence[ClipFeatures], step: int) -> list[Sample]:
    """The samples of a step of a recipe with a `batch`, `steps` and a `seed`.

    Each clip comes once an epoch, in an order drawn for the epoch.
    """
    samples = []
    for number in range(step * recipe.batch, (step + 1) * recipe.batch):
        epoch, place = divmod(number, len(clips))
        order = torch.randperm(len(clips), generator=generator(recipe.seed, "epoch", epoch))
        own = generator(recipe.seed, "sample", number)
        features = clips[int(order[place])]
        window = int(torch.randint(features.count, (1,), generator=own))
        samples.append(Sample(features, window, own, step / recipe.steps))
    return samples


def hold_out(clips: Sequence[ClipFeatures], count: int, seed: int) -> tuple[list, list]:
    """Clips to train on and clips to try the block on; drawn from the seed and their content."""
    ranked = sorted(clips, key=lambda c: _number(seed, "validation", c.clip.digest))
    held = {c.clip.digest for c in ranked[: min(count, len(clips) - 1)]}
    return (
        [c for c in clips if c.clip.digest not in held],
        [c for c in clips if c.clip.digest in held],
    )


def generator(*parts: object) -> torch.Generator:
    """A CPU generator whose stream depends on the parts alone."""
    return torch.Generator().manual_seed(_number(*parts))


def cosine(start: float, end: float, step: int, steps: int) -> float:
    """A half cosine from start at step 0 to end at the last step."""
    return end + 0.5 * (start - end) * (1 + math.cos(math.pi * step / max(1, steps)))


def _number(*parts: object) -> int:
    text = "/".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little") >> 1
