"""The frames of a video as JPEG files, for tools that want a picture beside every annotation."""

from pathlib import Path

import numpy as np
from PIL import Image

QUALITY = 95
"""Of JPEG: artefacts that no eye finds."""


def write_picture(frame: np.ndarray, path: Path) -> None:
    """Write a frame, uint8 [H, W, 3] RGB."""
    Image.fromarray(frame).save(path, quality=QUALITY)
