"""What training an objects' head does, as one value that a TOML file can hold."""

from dataclasses import dataclass, field
from typing import ClassVar

from unveil.checks import check_fields
from unveil.errors import TrainingError
from unveil.features import weights
from unveil.settings import SIZE
from unveil.training.recipe import AnyRecipe, check_positive
from unveil.training.scenes import SceneSettings


@dataclass(frozen=True)
class ObjectsRecipe(AnyRecipe):
    """A recipe for the objects' head; the defaults are those of the shipped one."""

    trains: ClassVar[str] = "objects"
    backbone: str = weights.DEFAULT
    """A name of `unveil weights list`, a hub id or a local folder."""
    size: int = SIZE
    """Short side of a clip's frames in px."""
    head: str = ""
    """What finds things in the clips beside the cues that need no training: a file that this wrote
    before, for one more round of self-training, or `shipped`; by default nothing does."""
    frames: int = 3
    """Frames of each clip that are looked through for things."""
    gap: int = 3
    """Frames from one of them to the next; less in clips too short for it."""
    place: float = 0.4
    """Where in a clip they begin, as a share of its length."""
    composites: int = 160
    """Composites, over all rounds together, those held out among them."""
    sizes: tuple[int, ...] = (336, 336, 252, 224)
    """Short sides of composites in px, drawn evenly: smaller ones cost less and show things at
    other scales."""
    moving: int = 2
    """Frames a composite."""
    seed: int = 0
    """Of everything that is drawn."""
    width: int = 192
    """Of the head's tokens."""
    layers: int = 2
    """Of the head."""
    embedding: int = 16
    """Numbers that say which object a patch is of."""
    dropout: float = 0.1
    """Of the head's layers."""
    pairs: int = 160
    """Patches drawn from a composite whose pairs are compared."""
    batch: int = 2
    """Composites a step."""
    steps: int = 500
    """Steps of the optimiser."""
    lr: float = 1e-3
    """Learning rate after the warm-up."""
    warm_up: int = 40
    """Steps until the learning rate is reached; then it falls to nothing along a cosine."""
    weight_decay: float = 0.05
    """Never on biases and norms."""
    checkpoint_every: int = 50
    """Steps between checkpoints."""
    validation: int = 10
    """Composites held out to watch the training; never trained on."""
    scenes: SceneSettings = field(default_factory=SceneSettings)
    """How composites are drawn."""

    @property
    def try_every(self) -> int:
        """Steps between trials on composites held out."""
        return self.checkpoint_every

    @property
    def keep(self) -> tuple[int, ...]:
        """No step's head is kept as a file of its own."""
        return ()

    def __post_init__(self) -> None:
        check_fields(self, "recipe: ", TrainingError)
        whole = ("size", "frames", "gap", "composites", "moving", "width", "layers", "embedding")
        check_positive(self, *whole, "pairs", "batch", "steps", "lr", "checkpoint_every")
        if not self.sizes or min(self.sizes) <= 0:
            raise TrainingError(f"recipe: sizes must be px above 0, got {list(self.sizes)}")
        if not 0 <= self.place <= 1:
            raise TrainingError(f"recipe: place must lie in 0 … 1, got {self.place}")
        if not 0 <= self.validation < self.composites:
            raise TrainingError(
                f"recipe: validation must leave some of {self.composites} composites to train on, "
                f"got {self.validation}"
            )
