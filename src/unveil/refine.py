"""From labels a patch to labels a pixel."""

import numpy as np
from jaxtyping import Integer


def nearest(
    labels: Integer[np.ndarray, "t h w"], height: int, width: int
) -> Integer[np.ndarray, "t H W"]:
    """Every pixel takes the label of the patch it lies in: the published upsampling."""
    _, h, w = labels.shape
    down = np.arange(height) * h // height
    across = np.arange(width) * w // width
    return labels[:, down][:, :, across]
