"""Some frames of every clip, and what Unveil itself finds in them: where cut-outs come from."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from unveil.attention.objects_file import head_metadata, load_head, shipped_head
from unveil.errors import InputError, WeightsError
from unveil.fast.describe import describe, find
from unveil.fast.groups import Grouper
from unveil.features.backbone import Backbone
from unveil.segmentation import refine
from unveil.training.clips import TrainingClip, count_frames, read_frames
from unveil.training.cutouts import CutOut, cut_out, one_piece
from unveil.training.features import Store, own_weights, resize
from unveil.training.objects_recipe import ObjectsRecipe

VERSION = 1
DOUBTFUL = 0.12
"""Probability of being of something found, from which a patch is not known to be scenery."""


@dataclass(frozen=True)
class Source:
    """A few frames of a clip as the backbone sees them, whole patches a side.

    labels: of pixels, what was found; 0 nothing. likely: of patches, 0 … 1, that they are of
    something found.
    """

    clip: TrainingClip
    frames: UInt8[np.ndarray, "t H W 3"]
    labels: UInt8[np.ndarray, "t H W"]
    likely: Float[np.ndarray, "t h w"]

    def cut_outs(self) -> list[CutOut]:
        """What is surely one thing in it."""
        return cut_out(self.frames, self.labels, self.clip.digest)

    def known(self, frames: slice) -> tuple[np.ndarray, np.ndarray]:
        """Masks 0 … 1 of its own things [k, t, H, W], and where more may be [t, H, W]."""
        labels = self.labels[frames]
        ids = [i for i in np.unique(self.labels[self.labels > 0]).tolist() if self._whole(i)]
        own = np.stack([labels == i for i in ids]) if ids else np.zeros((0, *labels.shape))
        side = labels.shape[1] // self.likely.shape[1]
        doubt = (self.likely[frames] > DOUBTFUL).repeat(side, 1).repeat(side, 2)
        unsure = (doubt | (labels > 0)) & ~own.any(0)
        return own.astype(np.float32), unsure.astype(np.float32)

    def _whole(self, id: int) -> bool:
        return all(one_piece(frame == id) is not None for frame in self.labels)


def read_source(
    clip: TrainingClip, recipe: ObjectsRecipe, store: Store, backbone: Callable[[], Backbone]
) -> Source:
    """A clip's source, from the store or computed. Raises InputError where it cannot be read."""
    names = ("backbone", "size", "frames", "gap", "place")
    parts = {n: getattr(recipe, n) for n in names}
    about = {
        "what": "source",
        "version": VERSION,
        "clip": clip.digest,
        **parts,
        **own_weights(recipe.backbone),
        **looked_by(recipe),
    }
    found = store.get(about, lambda: _look(clip, recipe, backbone()))
    frames, labels, likely = (found[n].numpy() for n in ("frames", "labels", "likely"))
    return Source(clip, frames, labels, likely.astype(np.float32))


def looked_by(recipe: ObjectsRecipe) -> dict[str, str]:
    """The digest of the head that finds things, for keys of a cache; nothing where there is none.

    Raises WeightsError where there is no such file.
    """
    path = _head_file(recipe)
    if path is None:
        return {}
    head_metadata(path)
    return {"head": hashlib.sha256(path.read_bytes()).hexdigest()}


def _head_file(recipe: ObjectsRecipe) -> Path | None:
    if recipe.head != "shipped":
        return Path(recipe.head) if recipe.head else None
    path = shipped_head(recipe.backbone)
    if path is None:
        raise WeightsError(
            f"no head is shipped for {recipe.backbone}: train one, and name its file"
        )
    return path


def choose_frames(length: int, count: int, gap: int, place: float) -> list[int]:
    """Indices of so many frames of a clip, a gap apart, from a share of its length on.

    A clip too short for them gives fewer; one too short for the gap, nearer ones.
    """
    gap = min(gap, max(1, (length - 1) // max(1, count - 1)))
    count = min(count, 1 + (length - 1) // gap)
    start = min(int(place * length), length - 1 - gap * (count - 1))
    return [start + gap * i for i in range(count)]


def _look(clip: TrainingClip, recipe: ObjectsRecipe, backbone: Backbone) -> dict[str, Tensor]:
    length = count_frames(clip)
    if not length:
        raise InputError(f"{clip.name} has no frames")
    chosen = choose_frames(length, recipe.frames, recipe.gap, recipe.place)
    read = read_frames(clip, chosen)
    frames = np.stack([read[i] for i in chosen])
    _, height, width, _ = frames.shape
    h, w = backbone.grid(height, width, recipe.size)
    side = backbone.patch
    resized = torch.stack([resize(frame, h * side, w * side) for frame in frames])
    small = resized.permute(0, 2, 3, 1).contiguous().numpy()
    path = _head_file(recipe)
    head = None if path is None else load_head(path, recipe.backbone, backbone.channels)
    grouper = Grouper(head if head is None else head.to(backbone.device))
    grouper.add(backbone.encode(small, (h * side, w * side), batch=1), small)
    state = describe(grouper.finish())
    found = find(state)
    labels = refine.sharpen(found.near, found.share, small)
    likely = state.share[state.groups].astype(np.float16)
    arrays = {"frames": small, "labels": labels.astype(np.uint8), "likely": likely}
    return {name: torch.from_numpy(np.ascontiguousarray(x)) for name, x in arrays.items()}
