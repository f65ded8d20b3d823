"""What a training run does, as one value that a TOML file can hold."""

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from unveil.attention.block import HEADS
from unveil.checks import check, check_fields
from unveil.errors import TrainingError, WeightsError
from unveil.features import weights
from unveil.features.backbone import Size
from unveil.training.losses import LossSettings

# The paper's candidates are fewer and more extreme: those of a centred block have what the losses
# ask of them within a hundred steps, and it learns little more (docs/training.md).
_LOSSES = LossSettings(
    semantic_positives=150, semantic_negatives=800, motion_positives=100, motion_negatives=800
)


class AnyRecipe:
    """A recipe of any kind: a dataclass that needs no arguments."""

    trains: ClassVar[str]
    """What a file of its kind says that it trains."""


R = TypeVar("R", bound=AnyRecipe)


@dataclass(frozen=True)
class Recipe(AnyRecipe):
    """A recipe of training; the defaults are those of the shipped block where not the paper's."""

    trains: ClassVar[str] = "block"
    backbone: str = weights.DEFAULT
    """A name of `unveil weights list`, a hub id or a local folder."""
    heads: int = HEADS
    """Heads of the block; the channels are the backbone's and must be a multiple."""
    size: Size = 224
    """Short side of a frame in px, the aspect kept; or height and width that it is squeezed to."""
    frames: int = 3
    """Frames a window."""
    min_gap: int = 1
    """Smallest step between neighbouring frames of a window; each is drawn from this …"""
    max_gap: int = 4
    """… to this, the largest."""
    augment: str = "photometric"
    """How windows are augmented: as published; released, as the released code orders it."""
    class_token: str = "key"
    """What of the class token joins the patches of a frame: its key; output, as released."""
    windows: int = 16
    """Augmented windows a clip whose features are computed and cached."""
    seed: int = 0
    """Of everything that is drawn."""
    start: str = "tied"
    """random, as published, or tied: keys are projected like queries at first (`start`)."""
    centred: bool = True
    """The block reads keys less their mean over the video (`Block.centre`); as published, not."""
    sharpness: float = 1.0
    """At a tied start: factor of the random weights of queries and keys each."""
    batch: int = 2
    """Clips a step, over all processes together."""
    steps: int = 2500
    """Steps of the optimiser."""
    lr: float = 1e-4
    """Learning rate at the start. The paper's 1e-5 is meant for 60,000 steps of 8 clips."""
    final_lr: float = 1e-6
    """Learning rate at the end of the cosine."""
    weight_decay: float = 0.04
    """Weight decay at the start; never on biases and norms."""
    final_weight_decay: float = 0.1
    """Weight decay at the end of the cosine."""
    dropout: float = 0.1
    """Of the block's outputs and its MLP."""
    attention_dropout: float = 0.4
    """Of attention probabilities."""
    precision: str = "auto"
    """fp32, bf16, or auto: bf16 where the processor gains from it."""
    checkpoint_every: int = 250
    """Steps between checkpoints."""
    keep: tuple[int, ...] = (0, 500, 2000)
    """Steps after which the block is kept as a file of its own; 0 is how it starts."""
    try_every: int = 500
    """Steps between trials of the block on validation clips."""
    validation: int = 4
    """Clips held out for those trials; never trained on."""
    losses: LossSettings = _LOSSES
    """Constants of the losses."""

    def __post_init__(self) -> None:
        check_fields(self, "recipe: ", TrainingError)
        sides = self.size if isinstance(self.size, tuple) else (self.size,)
        if min(sides) <= 0:
            raise TrainingError(f"recipe: size must be positive, got {self.size}")
        whole = ("heads", "min_gap", "max_gap", "windows", "batch", "steps", "checkpoint_every")
        check_positive(self, *whole, "try_every", "lr", "sharpness")
        check_held_out(self)
        if self.min_gap > self.max_gap:
            raise TrainingError(
                f"recipe: min_gap must not exceed max_gap, got {self.min_gap} and {self.max_gap}"
            )
        choices = {"augment": ("photometric", "released"), "class_token": ("key", "output")}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise TrainingError(
                    f"recipe: {name} is {' or '.join(known)}, got {getattr(self, name)!r}"
                )
        if self.frames < 2:
            raise TrainingError(f"recipe: a window needs at least 2 frames, got {self.frames}")
        if self.start not in ("random", "tied"):
            raise TrainingError(f"recipe: start is random or tied, got {self.start!r}")
        if self.precision not in ("auto", "fp32", "bf16"):
            raise TrainingError(f"recipe: precision is fp32, bf16 or auto, got {self.precision!r}")
        for name in ("dropout", "attention_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise TrainingError(f"recipe: {name} must lie in 0 … 1, got {getattr(self, name)}")


def read_recipe(path: Path, kind: type[R]) -> R:
    """Read a recipe of a kind from TOML: its defaults, changed where the file says so.

    Raises TrainingError for anything that is not a recipe of that kind.
    """
    table = read_table(path)
    if table.pop("trains", Recipe.trains) != kind.trains:
        raise TrainingError(f'{path}: what is wanted here says trains = "{kind.trains}"')
    return change(kind(), table, str(path))


def what_is_trained(path: Path) -> str:
    """What a recipe's file says that it trains: `block` where it says nothing, objects, slots,
    prototypes, smtc.
    """
    trains = read_table(path).get("trains", Recipe.trains)
    if trains not in (known := ("block", "objects", "slots", "prototypes", "smtc")):
        raise TrainingError(f"{path}: trains is one of {', '.join(known)}, got {trains!r}")
    return trains


def check_positive(recipe: Any, *names: str) -> None:
    """Raise TrainingError for the first of some fields of a recipe, or of a part of one, that is
    not above 0.
    """
    for name in names:
        if not getattr(recipe, name) > 0:
            raise TrainingError(f"recipe: {name} must be positive, got {getattr(recipe, name)}")


def check_held_out(recipe: Any) -> None:
    """Raise TrainingError where a recipe's `validation` is no number of clips."""
    if recipe.validation < 0:
        raise TrainingError(f"recipe: validation is 0 or more clips, got {recipe.validation}")


def read_table(path: Path) -> dict[str, Any]:
    """What a TOML file holds. Raises TrainingError where there is none, or it is not TOML."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"cannot read the recipe {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path} is not TOML: {error}") from error


def change(start: Any, table: dict[str, Any], where: str) -> Any:
    """A recipe, or a part of one, with the values of a table, and of the tables of its parts.

    All at once, for some values go with others only. where: said in messages. Raises TrainingError
    for unknown names and values that do not fit.
    """
    check(where, table, dict, TrainingError)
    known = {f.name: getattr(start, f.name) for f in dataclasses.fields(start)}
    if unknown := sorted(set(table) - set(known)):
        raise TrainingError(f"{where}: no such entry {unknown[0]!r}; known: {sorted(known)}")
    values = {
        name: change(known[name], value, f"{where}, [{name}]")
        if dataclasses.is_dataclass(known[name])
        else (tuple(value) if isinstance(value, list) else value)
        for name, value in table.items()
    }
    try:
        return dataclasses.replace(start, **values)
    except (TrainingError, WeightsError) as error:
        raise TrainingError(f"{where}: {error}") from None
    except TypeError as error:
        raise TrainingError(f"{where}: a value that cannot be: {error}") from error
