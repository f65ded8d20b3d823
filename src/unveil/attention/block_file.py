"""A trained block as a file: written, read, and the tau that goes with it."""

from importlib import resources
from pathlib import Path
from typing import Any

import torch

from unveil.attention.block import Block
from unveil.attention.tensor_file import check_backbone, fill_module, read_about, write_module
from unveil.errors import WeightsError

TAU_SHARE = 0.15
"""Calibrated tau as a share of the block's scale, the median symmetric KL of the rows of random
pairs of patches on held-out clips (`calibrated_tau`)."""
_FORMAT = "unveil-block-1"


def save_block(
    block: Block, path: Path, dtype: torch.dtype = torch.float32, **metadata: Any
) -> None:
    """Write a block as safetensors; metadata (at least `backbone`) travels in its header.

    dtype: of the file. fp16 halves it and changes rows by less than a thousandth; loading gives
    fp32.
    """
    own = {"channels": block.channels, "heads": block.heads, "centred": block.centred}
    write_module(block, path, dtype, {**metadata, "format": _FORMAT, **own})


def load_block(path: Path | None, backbone: str, channels: int) -> Block:
    """Read a block trained for a backbone; the one shipped for it when path is None.

    Raises WeightsError when there is none, when it was trained for another backbone, or when a
    tensor is missing, surplus or of another shape.
    """
    path = shipped_block(backbone) if path is None else Path(path)
    about = check_block(path, backbone)
    block = Block(channels, about["heads"], centred=about.get("centred", False))
    fill_module(block, path, "block", f"block of {channels} channels")
    return block


def check_block(path: Path, backbone: str) -> dict[str, Any]:
    """What a block says of itself. Raises WeightsError where it is for another backbone."""
    about = block_metadata(path)
    otherwise = (
        "train one for it with 'unveil train', or use '--attention cosine', which needs none"
    )
    check_backbone(about, path, backbone, otherwise)
    return about


def block_metadata(path: Path) -> dict[str, Any]:
    """What a block file says of itself: format, channels, heads, centred, backbone, steps, scale,
    recipe.

    Raises WeightsError when there is no such file, or it is not a block of this version.
    """
    if not Path(path).is_file():
        raise WeightsError(f"no block file {path}; train one with 'unveil train'")
    return read_about(path, "block", _FORMAT)


def calibrated_tau(path: Path) -> float:
    """The tau in nats that goes with a block, instead of the published 1.0 for all of them.

    Rows grow sharper as training goes on and all distances with them, so a fixed tau cuts ever
    finer. This one grows with the block's own scale. Raises WeightsError for a file without one.
    """
    scale = block_metadata(path).get("scale")
    if scale is None:
        raise WeightsError(f"{path} holds no scale of its rows; give tau yourself")
    return tau_of_scale(scale)


def tau_of_scale(scale: float, share: float = TAU_SHARE) -> float:
    """The calibrated tau of a block whose rows of random pairs lie `scale` nats apart.

    share: of that scale; another than the calibrated one is for comparisons.
    """
    return max(share * scale, torch.finfo(torch.float32).tiny)


def shipped_block(backbone: str) -> Path:
    """The block in the package for a backbone. Raises WeightsError where there is none."""
    file = Path(str(resources.files("unveil"))) / "blocks" / f"{backbone}.safetensors"
    if not file.is_file():
        raise WeightsError(
            f"no block was trained for backbone {backbone!r}; train one with 'unveil train', pass "
            "'--block PATH', or use '--attention cosine', which needs none"
        )
    return file
