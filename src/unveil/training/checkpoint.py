"""Everything that a run needs to go on, in one file that appears whole or not at all."""

import dataclasses
import io
import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from unveil.errors import TrainingError
from unveil.files import written_whole

NAME = "checkpoint.pt"
_FORMAT = "unveil-checkpoint-2"
_TOLD = 5
"""Differences of two recipes that a message names."""


@dataclass(frozen=True)
class Checkpoint:
    """A run after some steps.

    Random numbers have no state to keep: each sample's are drawn from the seed and its number
    (`sampling`), and the learning rate follows from the step. clips: digests of the clips that
    are trained on, so that a changed folder is noticed.
    """

    step: int
    recipe: dict[str, Any]
    clips: list[str]
    module: dict[str, Any]
    optimiser: dict[str, Any]


def save_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Write it beside the old one, then put it in its place. Raises TrainingError if it cannot."""
    buffer = io.BytesIO()
    torch.save({"format": _FORMAT, **dataclasses.asdict(checkpoint)}, buffer)
    try:
        with written_whole(folder / NAME) as partial, partial.open("wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise TrainingError(
            f"cannot write the checkpoint of step {checkpoint.step} to {folder}: "
            f"{error.strerror}; the one before it is kept, free some space and run again"
        ) from error


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The checkpoint of a run's folder, None where there is none.

    Raises TrainingError where the file is not a checkpoint of this version.
    """
    file = folder / NAME
    if not file.is_file():
        return None
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise TrainingError(f"{file} cannot be read: {error}; remove it to start anew") from error
    if not isinstance(state, dict) or state.pop("format", None) != _FORMAT:
        raise TrainingError(
            f"{file} was made by another version of Unveil (no {_FORMAT}); choose another --out"
        )
    return Checkpoint(**state)


def check_fits(checkpoint: Checkpoint, recipe: Any, clips: list[str], folder: Path) -> None:
    """Raise TrainingError unless a run can go on with this recipe, a dataclass, and these clips.

    A run of an earlier version lacks the settings that came after it. It did what their defaults
    say, so those are no difference.
    """
    if changed := _differences(checkpoint.recipe, recipe, type(recipe)):
        more = f"; and {len(changed) - _TOLD} more" if len(changed) > _TOLD else ""
        raise TrainingError(
            f"the run in {folder} was started with another recipe: "
            f"{'; '.join(changed[:_TOLD])}{more}. Set that back to go on, or choose another --out "
            "to start anew"
        )
    if clips != checkpoint.clips:
        raise TrainingError(
            f"the run in {folder} was started on {len(checkpoint.clips)} clips, the folder now "
            f"gives {len(clips)}, not the same ones; restore them, or choose another --out"
        )


def _differences(before: dict[str, Any], now: Any, default: Any, part: str = "") -> list[str]:
    """What of a recipe, or a part of one, is not as it was: name, value then, value now.

    default: an instance with the defaults, or the class whose fields have them.
    """
    said, known = [], dataclasses.fields(now)
    for f in known:
        name, value = part + f.name, getattr(now, f.name)
        usual = _default(f) if isinstance(default, type) else getattr(default, f.name)
        if f.name not in before:
            if value != usual:
                said.append(f"{name} is {value!r}, and the run did what is now {usual!r}")
        elif dataclasses.is_dataclass(value):
            said += _differences(before[f.name], value, usual, f"{name}.")
        elif value != before[f.name]:
            said.append(f"{name} was {before[f.name]!r}, is {value!r}")
    gone = sorted(set(before) - {f.name for f in known})
    return said + [f"{part}{k} was {before[k]!r}, which this recipe does not have" for k in gone]


def _default(f: dataclasses.Field[Any]) -> Any:
    """What a field of a recipe is where nothing is said."""
    return f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
