"""An objects' head as a file: written, read, and the one that is shipped."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from unveil.attention.objects_head import ObjectsHead
from unveil.errors import WeightsError
from unveil.files import written_whole

_FORMAT = "unveil-objects-1"


def save_head(
    head: ObjectsHead, path: Path, dtype: torch.dtype = torch.float32, **metadata: Any
) -> None:
    """Write a head as safetensors; metadata (at least `backbone`) travels in its header.

    dtype: of the file; fp16 halves it. Loading gives fp32.
    """
    from safetensors.torch import save_file

    about = {**metadata, "format": _FORMAT, "head": head.shape}
    state = {k: v.detach().cpu().to(dtype).contiguous() for k, v in head.state_dict().items()}
    with written_whole(Path(path)) as partial:
        save_file(state, partial, metadata={"unveil": json.dumps(about, sort_keys=True)})


def load_head(path: Path | None, backbone: str, channels: int) -> ObjectsHead:
    """Read a head trained for a backbone; the one shipped for it when path is None.

    Raises WeightsError when there is none, when it was trained for another backbone, or when a
    tensor is missing, surplus or of another shape.
    """
    from safetensors import SafetensorError, safe_open

    path = shipped_head(backbone) if path is None else Path(path)
    about = head_metadata(path)
    if about.get("backbone") != backbone:
        raise WeightsError(
            f"{path} was trained for backbone {about.get('backbone')!r}, not {backbone!r}; train "
            "one for it with 'unveil train --recipe configs/objects.toml'"
        )
    try:
        with safe_open(path, "pt") as file:
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a head that Unveil wrote: {error}") from error
    shape = about["head"]
    if shape["channels"] != channels:
        raise WeightsError(
            f"{path} reads keys of {shape['channels']} channels, the backbone has {channels}"
        )
    head = ObjectsHead(**shape)
    try:
        head.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{path} does not fit a head of {shape}: {error}") from error
    return head.eval().requires_grad_(False)


def head_metadata(path: Path) -> dict[str, Any]:
    """What a head's file says of itself: format, head, backbone, steps, clips, recipe.

    Raises WeightsError when there is no such file, or it is not a head of this version.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise WeightsError(
            f"no objects' head {path}; train one with 'unveil train --recipe configs/objects.toml'"
        )
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("unveil", "{}"))
    except (SafetensorError, json.JSONDecodeError) as error:
        raise WeightsError(f"{path} is not a head that Unveil wrote: {error}") from error
    if about.get("format") != _FORMAT:
        raise WeightsError(f"{path} is not a head of this version of Unveil (no {_FORMAT} header)")
    return about


def shipped_head(backbone: str) -> Path:
    """The head in the package for a backbone. Raises WeightsError where there is none."""
    file = Path(str(resources.files("unveil"))) / "blocks" / f"{backbone}-objects.safetensors"
    if not file.is_file():
        raise WeightsError(
            f"no objects' head was trained for backbone {backbone!r}; train one with 'unveil train "
            "--recipe configs/objects.toml'"
        )
    return file
