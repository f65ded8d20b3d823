"""What training a slot model does, as one value that a TOML file can hold."""

from dataclasses import dataclass, field
from typing import ClassVar

from unveil.checks import check_fields
from unveil.errors import TrainingError
from unveil.features import weights
from unveil.slots.settings import SlotSettings
from unveil.training.recipe import AnyRecipe, check_held_out, check_positive
from unveil.training.slots_losses import SlotLossSettings


@dataclass(frozen=True)
class FeatureRecipe(AnyRecipe):
    """What recipes of all models that read frozen features say; the defaults are VideoSAUR's on
    YouTube-VIS where not said.
    """

    method: str = "videosaur"
    """What the model is called; nothing depends on it."""
    backbone: str = weights.DEFAULT
    """A name of `unveil weights list`, a hub id or a local folder."""
    size: tuple[int, int] = (224, 224)
    """Height and width in px to which every frame is squeezed, here and when the model is used.
    VideoSAUR and SlotContrast crop squares instead; SOLV squeezes to 336x504."""
    frames: int = 4
    """Frames a window; 2 around + 1 for a model that reads windows."""
    windows: int = 16
    """Windows a clip whose features are computed and cached."""
    augment: str = "flip"
    """Of a window: flip, mirrored half the time, or photometric."""
    seed: int = 0
    """Of everything that is drawn."""
    batch: int = 64
    """Clips a step, over all processes together."""
    steps: int = 100_000
    """Steps of the optimiser."""
    lr: float = 2e-4
    """Highest learning rate; VideoSAUR: 1e-4 for each 32 clips of a batch."""
    precision: str = "auto"
    """fp32, bf16, or auto: bf16 where the processor gains from it."""
    checkpoint_every: int = 1000
    """Steps between checkpoints."""
    keep: tuple[int, ...] = ()
    """Steps after which the model is kept as a file of its own; 0 is how it starts."""
    try_every: int = 1000
    """Steps between trials of the model on validation clips."""
    validation: int = 4
    """Clips held out for those trials; never trained on."""
    validation_windows: int = 8
    """Windows of each of those clips that a trial sees, evenly over it."""

    @property
    def min_gap(self) -> int:
        """Smallest step from a frame of a window to the next."""
        return 1

    @property
    def class_token(self) -> str:
        """Its key is left out again."""
        return "key"

    def __post_init__(self) -> None:
        check_fields(self, "recipe: ", TrainingError)
        counts = ("windows", "batch", "steps", "checkpoint_every", "try_every")
        check_positive(self, *counts, "validation_windows", "lr")
        check_held_out(self)
        if min(self.size) <= 0:
            raise TrainingError(f"recipe: size is [height, width] in px, got {self.size}")
        if self.augment not in ("flip", "photometric"):
            raise TrainingError(f"recipe: augment is flip or photometric, got {self.augment!r}")
        if self.precision not in ("auto", "fp32", "bf16"):
            raise TrainingError(f"recipe: precision is fp32, bf16 or auto, got {self.precision!r}")
        if self.frames < 2:
            raise TrainingError(f"recipe: a window needs at least 2 frames, got {self.frames}")


@dataclass(frozen=True)
class SlotRecipe(FeatureRecipe):
    """A recipe of a slot method."""

    trains: ClassVar[str] = "slots"
    warm_up: float = 0.025
    """Share of the steps in which the learning rate rises to it."""
    decay: float = 0.5
    """Factor by which it has fallen after the last step, exponentially."""
    most_gradient: float = 0.05
    """Norm to which the gradient of a step is shortened: slot models need it."""
    model: SlotSettings = field(default_factory=SlotSettings)
    """The shape of the model."""
    losses: SlotLossSettings = field(default_factory=SlotLossSettings)
    """What it is trained to say."""

    @property
    def max_gap(self) -> int:
        """Slot methods want consecutive frames."""
        return 1

    @property
    def weights(self) -> dict[str, float]:
        """Of the losses, by name."""
        return self.losses.weights

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "decay", "most_gradient")
        m, losses = self.model, self.losses
        if m.time == "window" and self.frames != 2 * m.around + 1:
            raise TrainingError(
                f"recipe: a model that reads {m.around} frames on either side is trained on "
                f"frames = {2 * m.around + 1} a window, got {self.frames}"
            )
        if bool(losses.similarity) != m.similarity:
            raise TrainingError(
                "recipe: model.similarity and the weight of losses.similarity go together: set "
                "both or neither"
            )
        if m.time == "window" and (losses.similarity or losses.contrast):
            raise TrainingError(
                "recipe: a model that reads windows sees one frame: it can be trained for "
                "reconstruction only"
            )
