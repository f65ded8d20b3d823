"""What the loop has to know of what it trains: a new module, its losses, its file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import nn

from unveil.features.backbone import pick_dtype
from unveil.training.features import ClipFeatures, Windows
from unveil.training.sampling import Sample


@runtime_checkable
class Recipe(Windows, Protocol):
    """What the loop reads of a recipe, a dataclass."""

    @property
    def batch(self) -> int:
        """Clips a step, over all processes together."""

    @property
    def steps(self) -> int:
        """Steps of the optimiser."""

    @property
    def checkpoint_every(self) -> int:
        """Steps between checkpoints."""

    @property
    def keep(self) -> tuple[int, ...]:
        """Steps after which the module is kept as a file of its own; 0 is how it starts."""

    @property
    def try_every(self) -> int:
        """Steps between trials on clips held out."""

    @property
    def validation(self) -> int:
        """Clips held out for those trials."""


M = TypeVar("M", bound=nn.Module)


@runtime_checkable
class Method(Protocol[M]):
    """A module and how it is trained."""

    @property
    def name(self) -> str:
        """Of its file, without `.safetensors`."""

    @property
    def recipe(self) -> Any:
        """What a run does, a `Recipe` and a dataclass."""

    @property
    def most_gradient(self) -> float | None:
        """Norm above which the gradient of a step is shortened; None leaves it."""

    def new(self, clips: Sequence[ClipFeatures]) -> M:
        """The module before its first step."""

    def rates(self, step: int) -> tuple[float, float]:
        """Learning rate and weight decay of a step."""

    def backward(
        self, module: M, samples: Sequence[Sample], device: torch.device
    ) -> dict[str, float]:
        """Add the gradients of some samples of a batch, and return their losses by name.

        Both are of the share that the samples have in the batch, so that sums over processes are
        those of the whole batch.
        """

    def write(
        self, module: M, steps: int, clips: int, held: Sequence[ClipFeatures], path: Path
    ) -> None:
        """The module as a file. held: clips to try it on."""


def bf16(precision: str, device: torch.device) -> bool:
    """Whether products are in bf16: as a recipe says, or where the processor gains from it."""
    if precision == "auto":
        return pick_dtype(device) == torch.bfloat16
    return precision == "bf16"
