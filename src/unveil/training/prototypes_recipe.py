"""What training a model of prototypes does, as one value that a TOML file can hold."""

from dataclasses import dataclass, field
from typing import ClassVar

from unveil.errors import TrainingError
from unveil.slots.prototypes import PrototypeSettings
from unveil.training.forwarding import ForwardingSettings
from unveil.training.slots_recipe import FeatureRecipe


@dataclass(frozen=True)
class PrototypeRecipe(FeatureRecipe):
    """A recipe of TimeT's head on frozen features; the defaults are those of its code where not
    said.
    """

    trains: ClassVar[str] = "prototypes"
    method: str = "timet head on features"
    """What the model is called; nothing depends on it."""
    max_gap: int = 30
    """Largest step from a frame of a window to the next, drawn from 1 on; the code draws the
    frames of a window from all of a clip."""
    batch: int = 128
    """Clips a step, over all processes together; their first frames share the prototypes."""
    lr: float = 1e-4
    """Highest learning rate, at the first step; half a cosine from there to 0."""
    weight_decay: float = 0.04
    """At the start; never on biases."""
    final_weight_decay: float = 0.4
    """At the end, half a cosine away."""
    model: PrototypeSettings = field(default_factory=PrototypeSettings)
    """The shape of the model."""
    forwarding: ForwardingSettings = field(default_factory=ForwardingSettings)
    """Constants of its loss."""

    @property
    def weights(self) -> dict[str, float]:
        """Of the losses, by name."""
        return {"forwarding": 1.0}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_gap < 1:
            raise TrainingError(f"recipe: max_gap must be at least 1, got {self.max_gap}")
