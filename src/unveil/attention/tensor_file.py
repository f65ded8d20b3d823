"""A trained module as one file of tensors, with what is known of it in the file's header."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unveil.errors import WeightsError
from unveil.files import written_whole


def write_module(
    module: nn.Module, path: Path, dtype: torch.dtype, about: Mapping[str, Any]
) -> None:
    """Write a module's tensors as safetensors. about: what JSON can hold, at least `format`."""
    from safetensors.torch import save_file

    state = {k: v.detach().cpu().to(dtype).contiguous() for k, v in module.state_dict().items()}
    with written_whole(Path(path)) as partial:
        save_file(state, partial, metadata={"unveil": json.dumps(about, sort_keys=True)})


def read_about(path: Path, kind: str, format: str) -> dict[str, Any]:
    """What the header of a file says. kind: what messages call it. format: what it has to be.

    Raises WeightsError where the file is of another kind or version.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("unveil", "{}"))
    except (SafetensorError, json.JSONDecodeError) as error:
        raise WeightsError(f"{path} is not a {kind} that Unveil wrote: {error}") from error
    if about.get("format") != format:
        raise WeightsError(f"{path} is not a {kind} of this version of Unveil (no {format} header)")
    return about


def check_backbone(about: Mapping[str, Any], path: Path, backbone: str, otherwise: str) -> None:
    """Raise WeightsError where a file is for another backbone. otherwise: what to do then."""
    if about.get("backbone") != backbone:
        raise WeightsError(
            f"{path} was trained for backbone {about.get('backbone')!r}, not {backbone!r}; "
            f"{otherwise}"
        )


def fill_module(module: nn.Module, path: Path, kind: str, what: str) -> None:
    """Give a module the tensors of a file, in fp32, and freeze it. what: that the module is.

    Raises WeightsError where a tensor is missing, surplus or of another shape.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a {kind} that Unveil wrote: {error}") from error
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{path} does not fit a {what}: {error}") from error
    module.eval().requires_grad_(False)
