"""What training SMTC does, as one value that a TOML file can hold."""

from dataclasses import dataclass, field
from typing import ClassVar

from unveil.errors import TrainingError
from unveil.slots.smtc import SmtcSettings
from unveil.training.slots_recipe import FeatureRecipe
from unveil.training.smtc_losses import SmtcLossSettings


@dataclass(frozen=True)
class SmtcRecipe(FeatureRecipe):
    """A recipe of SMTC on frozen features; the defaults are those of its code where not said."""

    trains: ClassVar[str] = "smtc"
    method: str = "smtc on features"
    """What the model is called; nothing depends on it."""
    gap: int = 4
    """Step from a frame of a window to the next; less in clips too short for it."""
    batch: int = 128
    """Clips a step, over all processes together."""
    steps: int = 30_000
    """Steps of the optimiser."""
    lr: float = 2e-5
    """Highest learning rate, at the first step; half a cosine from there to a tenth."""
    weight_decay: float = 0.1
    """Never on biases and norms."""
    momentum: float = 0.999
    """Share of itself that the teacher keeps in a step."""
    model: SmtcSettings = field(default_factory=SmtcSettings)
    """The shape of the model."""
    losses: SmtcLossSettings = field(default_factory=SmtcLossSettings)
    """What it is trained to say."""

    @property
    def min_gap(self) -> int:
        """The step is not drawn."""
        return self.gap

    @property
    def max_gap(self) -> int:
        """The step is not drawn."""
        return self.gap

    @property
    def weights(self) -> dict[str, float]:
        """Of the losses, by name."""
        return self.losses.weights

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gap < 1:
            raise TrainingError(f"recipe: gap must be at least 1, got {self.gap}")
        if not 0 <= self.momentum < 1:
            raise TrainingError(f"recipe: momentum must lie in 0 … 1, got {self.momentum}")
