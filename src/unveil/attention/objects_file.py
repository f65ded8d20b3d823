"""An objects' head as a file: written, read, and the one that is shipped."""

from importlib import resources
from pathlib import Path
from typing import Any

import torch

from unveil.attention.objects_head import ObjectsHead
from unveil.attention.tensor_file import check_backbone, fill_module, read_about, write_module
from unveil.errors import WeightsError

_FORMAT = "unveil-objects-1"


def save_head(
    head: ObjectsHead, path: Path, dtype: torch.dtype = torch.float32, **metadata: Any
) -> None:
    """Write a head as safetensors; metadata (at least `backbone`) travels in its header.

    dtype: of the file; fp16 halves it. Loading gives fp32.
    """
    write_module(head, path, dtype, {**metadata, "format": _FORMAT, "head": head.shape})


def load_head(path: Path | None, backbone: str, channels: int) -> ObjectsHead:
    """Read a head trained for a backbone; the one shipped for it when path is None.

    Raises WeightsError when there is none, when it was trained for another backbone, or when a
    tensor is missing, surplus or of another shape.
    """
    path = shipped_head(backbone) if path is None else Path(path)
    if path is None:
        raise WeightsError(
            f"no objects' head was trained for backbone {backbone!r}; train one with 'unveil train "
            "--recipe configs/objects.toml'"
        )
    shape = check_head(path, backbone)["head"]
    if shape["channels"] != channels:
        raise WeightsError(
            f"{path} reads keys of {shape['channels']} channels, the backbone has {channels}"
        )
    head = ObjectsHead(**shape)
    fill_module(head, path, "head", f"head of {shape}")
    return head


def check_head(path: Path, backbone: str) -> dict[str, Any]:
    """What a head says of itself. Raises WeightsError where it is for another backbone."""
    about = head_metadata(path)
    otherwise = "train one for it with 'unveil train --recipe configs/objects.toml'"
    check_backbone(about, path, backbone, otherwise)
    return about


def head_metadata(path: Path) -> dict[str, Any]:
    """What a head's file says of itself: format, head, backbone, steps, clips, recipe.

    Raises WeightsError when there is no such file, or it is not a head of this version.
    """
    if not Path(path).is_file():
        raise WeightsError(
            f"no objects' head {path}; train one with 'unveil train --recipe configs/objects.toml'"
        )
    return read_about(path, "head", _FORMAT)


def shipped_head(backbone: str) -> Path | None:
    """The head in the package for a backbone; None where there is none."""
    file = Path(str(resources.files("unveil"))) / "blocks" / f"{backbone}-objects.safetensors"
    return file if file.is_file() else None
