"""Strokes of a brush: which patches and which pixels they cover."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Integer
from PIL import Image, ImageDraw

_FINE = 8  # samples along a side of a patch


@dataclass(frozen=True)
class Stroke:
    """Pixels of a frame that are given to an object, or taken from it.

    points: x and y along it, as shares of width and height. radius: as a share of the height.
    """

    frame: int
    id: int
    add: bool
    points: tuple[tuple[float, float], ...]
    radius: float

    def pixels(self, height: int, width: int) -> Bool[np.ndarray, "H W"]:
        """The pixels that it covers."""
        canvas = Image.new("1", (width, height))
        draw, r = ImageDraw.Draw(canvas), self.radius * height
        way = [(x * width, y * height) for x, y in self.points]
        for x, y in way:
            draw.ellipse((x - r, y - r, x + r, y + r), fill=1)
        for (ax, ay), (bx, by) in pairwise(way):
            # A thick line as a polygon: Pillow's own has a width of whole pixels and odd ends.
            dx, dy = bx - ax, by - ay
            length = max((dx * dx + dy * dy) ** 0.5, 1e-9)
            nx, ny = -dy / length * r, dx / length * r
            side = [(ax + nx, ay + ny), (bx + nx, by + ny), (bx - nx, by - ny), (ax - nx, ay - ny)]
            draw.polygon(side, fill=1)
        return np.array(canvas, bool)

    def patches(self, h: int, w: int) -> Float[np.ndarray, "h w"]:
        """How much of every patch it covers, 0 … 1."""
        fine = self.pixels(h * _FINE, w * _FINE).reshape(h, _FINE, w, _FINE)
        return fine.mean((1, 3))


def draw(
    labels: Integer[np.ndarray, "H W"], strokes: tuple[Stroke, ...]
) -> Integer[np.ndarray, "H W"]:
    """Labels of one frame with its strokes over them, one after the other."""
    if not strokes:
        return labels
    labels = labels.copy()
    for stroke in strokes:
        covered = stroke.pixels(*labels.shape)
        if stroke.add:
            labels[covered] = stroke.id
        else:
            labels[covered & (labels == stroke.id)] = 0
    return labels
