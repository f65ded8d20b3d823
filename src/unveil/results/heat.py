"""Attention as pictures: colours for its values, and a ring round the patch that was asked."""

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

MARK = (255, 60, 60)
"""Colour of the ring."""
BRIGHTEST = 0.995
"""Share of the values below the lightest colour, so that one patch does not darken all others."""


def heat(
    values: Float[np.ndarray, "*n h w"], low: float, high: float
) -> UInt8[np.ndarray, "*n h w 3"]:
    """Values as colours, from dark at `low` to light at `high`."""
    from matplotlib import colormaps  # takes long to import: only where it is drawn with

    share = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    return colormaps["inferno"](share, bytes=True)[..., :3]


def heat_maps(attention: Float[np.ndarray, "t h w"]) -> UInt8[np.ndarray, "t h w 3"]:
    """A patch's attention over frames as colours, all on one scale: from its own lowest up."""
    return heat(attention, float(attention.min()), float(np.quantile(attention, BRIGHTEST)))


def mark(picture: Image.Image, patch: tuple[int, int], grid: tuple[int, int]) -> None:
    """Draw a ring round a patch (row, column) of a grid (rows, columns) that spans the picture."""
    (row, column), (h, w) = patch, grid
    x, y = (column + 0.5) * picture.width / w, (row + 0.5) * picture.height / h
    r = max(5.0, 0.75 * picture.width / w, picture.width / 40)
    draw = ImageDraw.Draw(picture)
    for wider, colour in ((2, "white"), (0, MARK)):  # seen on red and on white alike
        s = r + wider
        draw.ellipse((x - s, y - s, x + s, y + s), outline=colour, width=3)
