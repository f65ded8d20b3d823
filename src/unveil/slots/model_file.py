"""A model of `unveil.slots` as a file, which says of itself what it is: method, backbone, size,
settings.
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
from unveil.slots.smtc import SmtcModel, SmtcSettings

Model = SlotModel | PrototypeModel | SmtcModel
_FORMAT = "unveil-slots-1"
_KINDS: dict[str, tuple[type[Model], type[Any]]] = {
    "slots": (SlotModel, SlotSettings),
    "prototypes": (PrototypeModel, PrototypeSettings),
    "smtc": (SmtcModel, SmtcSettings),
}


def save_model(
    model: Model,
    path: Path,
    dtype: torch.dtype = torch.float32,
    **metadata: Any,
) -> None:
    """Write a model as safetensors; metadata (at least `method`, `backbone` and `size`, height and
    width in px) travels in its header.
    """
    shape = {"channels": model.channels, "grid": list(model.grid)}
    kind = next(name for name, (made, _) in _KINDS.items() if isinstance(model, made))
    settings = dataclasses.asdict(model.settings)
    about = {**metadata, **shape, "kind": kind, "model": settings, "format": _FORMAT}
    write_module(model, path, dtype, about)


def load_model(path: Path, channels: int | None = None) -> Model:
    """Read a model. channels: of the backbone, which have to be the model's.

    Raises WeightsError when there is no such file, when it is none of this version, or when a
    tensor is missing, surplus or of another shape.
    """
    about = model_metadata(path)
    if channels is not None and channels != about["channels"]:
        raise WeightsError(
            f"{path} reads keys of {about['channels']} channels, the backbone has {channels}"
        )
    h, w = about["grid"]
    shape = about["channels"], (h, w)
    # Files of 0.3.0 do not say their kind: all were of slots.
    kind = about.get("kind", "slots")
    if kind not in _KINDS:
        raise WeightsError(f"{path} is of another version of Unveil: a model of kind {kind!r}")
    made, settings = _KINDS[kind]
    values: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in about["model"].items()
    }
    try:
        model = made(settings(**values), *shape)
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
