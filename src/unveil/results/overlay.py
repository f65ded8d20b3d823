"""Objects painted over frames, each in its colour, with a line where two labels meet."""

from functools import cache

import numpy as np
from PIL import Image

from unveil.errors import InputError
from unveil.results.palette import colour_index, vivid_palette

Colours = tuple[tuple[int, tuple[int, int, int]], ...]
"""Ids and their red, green and blue, 0 … 255."""
_LINE = 255  # the palette entry that lines between labels are painted with
_LINE_STRENGTH = 0.85  # opacity of those lines


def paint(
    frame: np.ndarray,
    labels: np.ndarray,
    alpha: float = 0.5,
    background: float = 1.0,
    colours: Colours = (),
) -> np.ndarray:
    """One frame with its objects painted over it, uint8 [H, W, 3].

    Args:
        frame: uint8 [H, W, 3] RGB.
        labels: uint8 or uint16 [H, W], 0 is background.
        alpha: opacity of the objects, 0 … 1.
        background: brightness left to the background, 0 … 1.
        colours: of objects that shall not have the palette's.
    """
    if frame.shape[:2] != labels.shape:
        raise InputError(f"labels {list(labels.shape)} do not fit a frame {list(frame.shape)}")
    if not (0 <= alpha <= 1 and 0 <= background <= 1):
        raise InputError(
            f"alpha and background: expected numbers in 0 … 1, got {alpha} and {background}"
        )
    index = index_with_lines(labels)
    strength, painted = tables(alpha, background, colours)
    paper = Image.fromarray(index)
    paper.putpalette(painted.tobytes())
    mask = Image.fromarray(index).point(strength.tolist())
    photo = Image.fromarray(np.ascontiguousarray(frame))
    return np.array(Image.composite(paper.convert("RGB"), photo, mask))


def index_with_lines(labels: np.ndarray) -> np.ndarray:
    """The palette entry every pixel is painted with, uint8 [H, W]: its object's, or the line's."""
    index = colour_index(labels).copy()
    index[boundary(labels)] = _LINE
    return index


def boundary(labels: np.ndarray) -> np.ndarray:
    """The pixels of the lines around objects, bool [H, W].

    A line lies on the background, so that thin objects keep all their pixels; between two objects
    it lies on the right or lower one.
    """
    object_ = labels != 0
    edge = np.zeros(labels.shape, bool)
    edge[:, 1:] = (labels[:, 1:] != labels[:, :-1]) & object_[:, :-1]
    edge[1:] |= (labels[1:] != labels[:-1]) & object_[:-1]
    edge[:, :-1] |= object_[:, 1:] > object_[:, :-1]
    edge[:-1] |= object_[1:] > object_[:-1]
    return edge


@cache
def tables(alpha: float, background: float, own: Colours = ()) -> tuple[np.ndarray, np.ndarray]:
    """For each palette entry its opacity, 0 … 255 [256], and its colour, uint8 [256, 3].

    own: colours of objects that shall not have the palette's.
    """
    strength = np.full(256, round(255 * alpha))
    strength[0] = round(255 * (1 - background))
    strength[_LINE] = round(255 * max(alpha, _LINE_STRENGTH)) if alpha else 0
    colours = vivid_palette().copy()
    for id, colour in own:
        colours[colour_index(np.array([id], np.uint16))[0]] = colour
    colours[_LINE] = 255
    return strength, colours


def overlay(frames: np.ndarray, labels: np.ndarray, alpha: float = 0.5) -> np.ndarray:
    """Frames uint8 [T, H, W, 3] with their labels [T, H, W] painted over them at opacity alpha."""
    if len(frames) != len(labels):
        raise InputError(f"expected as many labels as frames, got {len(labels)} and {len(frames)}")
    painted = np.empty_like(frames)
    for i, (frame, image) in enumerate(zip(frames, labels, strict=True)):
        painted[i] = paint(frame, image, alpha)
    return painted
