"""What attends to a place that was pressed: one panel a way of looking, a heat a patch.

A panel is a function of the board, of what was pressed and of the frame that is looked at. More
panels are added to `PANELS`; the page shows them side by side, in this order.
"""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from unveil.editing.board import Board
from unveil.editing.edits import Point
from unveil.errors import InputError


@dataclass(frozen=True)
class Panel:
    """One way of looking. heat: board, point, frame → [h, w], 0 … 1."""

    title: str
    about: str
    heat: Callable[[Board, Point, int], Float[np.ndarray, "h w"]]


def looks(board: Board, point: Point, frame: int) -> Float[np.ndarray, "h w"]:
    """How alike the groups of a frame are to the group that was pressed: exp(-d²) of their keys."""
    if board.evidence is None:
        raise InputError("this result has no evidence.npz: segment the video again")
    pressed = board.state.groups[board.patch_at(*point)]
    keys = board.evidence.looks
    ids = board.state.groups[frame]
    apart = keys[ids].astype(np.float32) - keys[pressed].astype(np.float32)
    return np.exp(-np.square(apart).sum(-1))


def block(board: Board, point: Point, frame: int) -> Float[np.ndarray, "h w"]:
    """How surely the patches of a frame are of the thing that was pressed, by the merge tree."""
    pressed = board.state.groups[board.patch_at(*point)]
    leaf = np.where(board.state.leaf >= 0, board.state.leaf, board.state.ground)
    height = _heights(board)[leaf[pressed]]
    return np.clip(1 - height[leaf[board.state.groups[frame]]] / 3, 0, 1).astype(np.float32)


PANELS: Mapping[str, Panel] = {
    "looks": Panel("Looks like it", "keys of the backbone, as alike as their distance says", looks),
    "tree": Panel("Belongs to it", "how low in the merge tree both are one", block),
}


def picture(board: Board, panel: str, point: Point, frame: int) -> bytes:
    """The heat of a panel as a small PNG with one pixel a patch, to be drawn large and smooth."""
    heat = PANELS[panel].heat(board, point, frame)
    out = io.BytesIO()
    Image.fromarray(colour_map()[(np.clip(heat, 0, 1) * 255).astype(np.uint8)]).save(out, "PNG")
    return out.getvalue()


@cache
def colour_map() -> UInt8[np.ndarray, "256 3"]:
    """From night blue over violet and orange to white: darker is less, on any screen."""
    stops = np.array(
        [
            [10, 10, 40],
            [66, 20, 104],
            [147, 38, 103],
            [221, 81, 58],
            [252, 165, 10],
            [252, 255, 214],
        ]
    )
    at = np.linspace(0, len(stops) - 1, 256)
    return np.stack([np.interp(at, range(len(stops)), c) for c in stops.T], 1).astype(np.uint8)


def _heights(board: Board) -> Float[np.ndarray, "l l"]:
    """The height at which every two leaves of the tree are joined."""
    tree = board.state.tree
    m = len(tree) + 1
    out = np.zeros((m, m), np.float32)
    below = {i: [i] for i in range(m)}
    for step, (a, b, height) in enumerate(tree[:, :3]):
        left, right = below.pop(int(a)), below.pop(int(b))
        out[np.ix_(left, right)] = height
        out[np.ix_(right, left)] = height
        below[m + step] = left + right
    return out
