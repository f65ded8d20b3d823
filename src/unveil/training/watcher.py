"""What a run of training tells while it goes on, and to whom."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class StepRecord:
    """What happened in a step. losses: by name. seconds: of this step, by the clock on the wall;
    cpu_seconds: of this process alone, which tells on a shared machine what it cost.
    """

    step: int
    losses: Mapping[str, float]
    lr: float
    grad_norm: float
    seconds: float
    cpu_seconds: float

    def plain(self) -> dict[str, Any]:
        """One number a name, as a log holds them."""
        names = ("lr", "grad_norm", "seconds", "cpu_seconds")
        rest = {name: getattr(self, name) for name in names}
        return {"step": self.step, **self.losses, **rest}


class Watcher:
    """What a run tells while it goes on; does nothing. `monitor.Monitor` shows and writes it."""

    def prepared(self, what: str, done: int, total: int, name: str) -> None:
        """So many of what training needs are there, or were skipped; name: of the last clip."""

    def skipped(self, name: str, reason: str) -> None:
        """A clip cannot be used."""

    def started(self, step: int, told: Mapping[str, Any]) -> None:
        """Training goes on after so many steps. told: of what, as JSON can hold it."""

    def stepped(self, record: StepRecord) -> None:
        """A step was taken."""

    def tried(self, step: int, module: nn.Module, held: Sequence[Any]) -> None:
        """It is time to try the module on what is held out."""
