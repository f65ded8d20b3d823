"""A slot model, or one of prototypes, as a file, which says of itself what it is: method, backbone,
size, settings.
"""

import dataclasses
from pathlib import Path
from typing import Any

import torch

from unveil.attention.tensor_file import fill_module, read_about, write_module
from unveil.errors import WeightsError
from unveil.slots.model import SlotModel
from unveil.slots.prototypes import PrototypeModel, PrototypeSettings
from unveil.slots.settings import SlotSettings

_FORMAT = "unveil-slots-1"


def save_model(
    model: SlotModel | PrototypeModel,
    path: Path,
    dtype: torch.dtype = torch.float32,
    **metadata: Any,
) -> None:
    """Write a model as safetensors; metadata (at least `method`, `backbone` and `size`, height and
    width in px) travels in its header.
    """
    shape = {"channels": model.channels, "grid": list(model.grid)}
    kind = "slots" if isinstance(model, SlotModel) else "prototypes"
    settings = dataclasses.asdict(model.settings)
    about = {**metadata, **shape, "kind": kind, "model": settings, "format": _FORMAT}
    write_module(model, path, dtype, about)


def load_model(path: Path, channels: int | None = None) -> SlotModel | PrototypeModel:
    """Read a model. channels: of the backbone, which have to be the model's.

    Raises WeightsError when there is no such file, when it is none of this version, or when a
    tensor is missing, surplus or of another shape.
    """
    about = model_metadata(path)
    if channels is not None and channels != about["channels"]:
        raise WeightsError(
            f"{path} reads keys of {about['channels']} channels, the backbone has {channels}"
        )
    model: SlotModel | PrototypeModel
    h, w = about["grid"]
    shape = about["channels"], (h, w)
    values: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in about["model"].items()
    }
    try:
        # Files of 0.3.0 do not say their kind: all were of slots.
        if about.get("kind", "slots") == "slots":
            model = SlotModel(SlotSettings(**values), *shape)
        else:
            model = PrototypeModel(PrototypeSettings(**values), *shape)
    except TypeError as error:
        raise WeightsError(f"{path} is of another version of Unveil: {error}") from error
    fill_module(model, path, "slot model", f"{about['method']} of {about['model']}")
    return model


def model_metadata(path: Path) -> dict[str, Any]:
    """What a model's file says of itself: method, backbone, size, channels, grid, kind, model,
    steps, clips, recipe.

    Raises WeightsError when there is no such file, or it is not a slot model of this version.
    """
    if not Path(path).is_file():
        raise WeightsError(
            f"no model {path}; train one with 'unveil train --recipe configs/slotcontrast.toml'"
        )
    return read_about(Path(path), "slot model", _FORMAT)
