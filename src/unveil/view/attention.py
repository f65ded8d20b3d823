"""What a place that was pressed attends to: one panel a way of looking, a heat a patch.

The mean keys of groups that lie beside the state stand for those of their patches: so a press is
answered for the whole video at once, without a backbone. Where a result has none (it was made
before they were kept), likeness by the evidence, and the merge tree, say less.
"""

import io
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from unveil.attention.block import Block, random_block
from unveil.attention.block_file import load_block
from unveil.attention.maps import heads_of
from unveil.editing.board import Board
from unveil.editing.edits import Point
from unveil.errors import InputError, WeightsError
from unveil.results.heat import BRIGHTEST, heat
from unveil.types import Features

Maps = Float[np.ndarray, "a g"]
"""The attention of every group: the mean over heads, then head by head."""


@dataclass(frozen=True)
class Panel:
    """One way of looking. maps: of the group that was pressed. heads: how many it has."""

    title: str
    about: str
    maps: Callable[[int], Maps]
    heads: int = 0


class Attention:
    """The panels of one result, and what they make of the last press.

    run: what its run.json says. Memory: of one press, 80 bytes a group.
    """

    def __init__(self, board: Board, run: Mapping[str, Any]) -> None:
        self._board, self._settings = board, run["settings"]
        self._lock = threading.Lock()
        self._panels: dict[str, Panel] | None = None
        self._pressed: tuple[int, dict[str, Maps]] = (-1, {})
        self.lacks = ""

    def panels(self) -> Mapping[str, Panel]:
        """By name, in the order of the figure; `lacks` says in words what is missing."""
        with self._lock:
            if self._panels is None:
                self._panels = self._with_keys() if self._has_keys else self._without_keys()
            return self._panels

    def picture(self, panel: str, point: Point, frame: int, head: int | None = None) -> bytes:
        """The heat of a frame as a small PNG with one pixel a patch, to be drawn large and smooth.

        head: counted from 0; the mean of all by default. One scale for all frames of a press.
        Raises KeyError for a panel, and InputError for a frame or a head, that is not there.
        """
        board = self._board
        asked = self.panels()[panel]
        if head is not None and not 0 <= head < max(asked.heads, 1):
            raise InputError(f"no head {head}: there are {asked.heads}, counted from 0")
        board.patch_at(frame, 0.0, 0.0)
        pressed = int(board.state.groups[board.patch_at(*point)])
        with self._lock:
            if self._pressed[0] != pressed:
                self._pressed = (pressed, {})
            maps = self._pressed[1]
            if panel not in maps:
                maps[panel] = asked.maps(pressed)
            values = maps[panel][0 if head is None or not asked.heads else head + 1]
        high = float(np.quantile(values, BRIGHTEST))
        colours = heat(values[board.state.groups[frame]], float(values.min()), high)
        out = io.BytesIO()
        Image.fromarray(colours).save(out, "PNG")
        return out.getvalue()

    @property
    def _has_keys(self) -> bool:
        return self._board.evidence is not None and self._board.evidence.keys is not None

    def _with_keys(self) -> dict[str, Panel]:
        """Backbone, class token, a block before and after its training."""
        found = {
            "cosine": Panel("backbone", "the cosine of its keys", self._of()),
            "class": Panel(
                "class token", "the backbone's own, of each frame by itself", self._saliency
            ),
        }
        path, name = self._settings.get("block"), self._settings.get("backbone", "")
        channels = self._keys()["key"].shape[1]
        try:
            block = load_block(Path(path) if path else None, name, channels).eval()
        except WeightsError as error:
            self.lacks = f"No block to show beside the backbone: {error}."
            return found
        first = random_block(channels, block.heads, centred=block.centred).eval()
        about = "mean over heads, or head by head"
        return {
            **found,
            "untrained": Panel("untrained block", about, self._of(first), block.heads),
            "trained": Panel("trained block", about, self._of(block), block.heads),
        }

    def _without_keys(self) -> dict[str, Panel]:
        self.lacks = "This result kept no keys: segment the video again for the whole figure."
        tree = Panel("belongs to it", "how low in the merge tree both are one", self._joined)
        if self._board.evidence is None:
            return {"tree": tree}
        looks = Panel("looks like it", "keys, as alike as their distance says", self._alike)
        return {"looks": looks, "tree": tree}

    def _keys(self) -> np.ndarray:
        evidence = self._board.evidence
        if evidence is None or evidence.keys is None:
            raise InputError(self.lacks)
        return evidence.keys

    def _of(self, block: Block | None = None) -> Callable[[int], Maps]:
        def maps(pressed: int) -> Maps:
            keys = torch.from_numpy(np.ascontiguousarray(self._keys()["key"]))
            patches = torch.from_numpy(self._board.state.patches).clamp_min(1)
            features = Features(keys[None, None], 1)
            heads = heads_of(features, (0, 0, pressed), block, patches[None, None].float())
            heads = heads[:, 0, 0]
            return torch.cat((heads.mean(0, keepdim=True), heads)).numpy()

        return maps

    def _saliency(self, pressed: int) -> Maps:
        return self._keys()["saliency"].astype(np.float32)[None]

    def _alike(self, pressed: int) -> Maps:
        if self._board.evidence is None:
            raise InputError(self.lacks)
        looks = self._board.evidence.looks
        apart = looks.astype(np.float32) - looks[pressed].astype(np.float32)
        return np.exp(-np.square(apart).sum(-1))[None]

    def _joined(self, pressed: int) -> Maps:
        state = self._board.state
        leaf = np.where(state.leaf >= 0, state.leaf, state.ground)
        height = _heights(state.tree, int(leaf[pressed]))
        return np.clip(1 - height[leaf] / 3, 0, 1)[None]


def _heights(tree: Float[np.ndarray, "e 4"], leaf: int) -> Float[np.ndarray, " l"]:
    """The height at which every leaf of a tree is joined with one of them."""
    m = len(tree) + 1
    out = np.zeros(m, np.float32)
    below = {i: [i] for i in range(m)}
    for step, (a, b, height) in enumerate(tree[:, :3]):
        left, right = below.pop(int(a)), below.pop(int(b))
        for mine, others in ((left, right), (right, left)):
            if leaf in mine:
                out[others] = height
        below[m + step] = left + right
    return out
