"""What the loop has to know of what it trains: its data, a new module, its losses, its file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from lightning_fabric import Fabric
from torch import nn

from unveil.batch.workers import Workers
from unveil.features.backbone import pick_dtype
from unveil.training.clips import TrainingClip
from unveil.training.features import Cache
from unveil.training.watcher import Watcher


@runtime_checkable
class Recipe(Protocol):
    """What the loop reads of a recipe, a dataclass."""

    @property
    def batch(self) -> int:
        """Items a step, over all processes together."""

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
        """Steps between trials on what is held out."""


@dataclass(frozen=True)
class Data:
    """What a run is trained on and tried on: items of a method's own kind.

    clips: digests of the clips that the first are of, so that a changed folder is noticed. told:
    what the log says of them.
    """

    train: list[Any]
    held: list[Any]
    clips: list[str]
    told: dict[str, Any]


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

    def prepare(
        self,
        videos: Path | Sequence[TrainingClip],
        fabric: Fabric,
        cache: Cache,
        watcher: Watcher,
        workers: Workers,
    ) -> Data:
        """What is trained on, from the cache or computed; what cannot be used is skipped and said.

        Raises TrainingError where nothing is left.
        """

    def draw(self, items: Sequence[Any], step: int) -> Sequence[Any]:
        """The samples of a step, each of which says what it is of as text.

        The same on any number of processes and after any interruption.
        """

    def new(self, items: Sequence[Any]) -> M:
        """The module before its first step."""

    def rates(self, step: int) -> tuple[float, float]:
        """Learning rate and weight decay of a step."""

    def backward(self, module: M, samples: Sequence[Any], device: torch.device) -> dict[str, float]:
        """Add the gradients of some samples of a batch, and return their losses by name.

        Both are of the share that the samples have in the batch, so that sums over processes are
        those of the whole batch.
        """

    def write(self, module: M, steps: int, clips: int, held: Sequence[Any], path: Path) -> None:
        """The module as a file. clips: that it was trained on. held: items to try it on."""


def bf16(precision: str, device: torch.device) -> bool:
    """Whether products are in bf16: as a recipe says, or where the processor gains from it."""
    if precision == "auto":
        return pick_dtype(device) == torch.bfloat16
    return precision == "bf16"
