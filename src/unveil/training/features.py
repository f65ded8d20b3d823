"""Frozen features of augmented windows, computed once and kept on disk.

What is cached: for each clip a fixed number of windows, each with its own frames and its own
augmentation, both drawn from the seed and the clip's content. What is drawn anew in each step:
the clip, which of its windows, the query positions and all dropout. The paper draws frames and
augmentation anew each time as well; more windows come closer to that.

A file holds one clip, and of what its windows show each picture once: consecutive frames, mirrored
or not, are soon all there, and more windows cost no more. It appears whole (written beside, then
renamed) under a lock of its own, so that interrupted and concurrent runs neither break nor repeat
work. Its name is a digest of everything that its content depends on; a cache of another version is
thus never read. What goes when there is too much is never what a living run reads (`lease`).
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from filelock import FileLock, Timeout
from jaxtyping import Float, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from unveil.errors import TrainingError
from unveil.features import weights
from unveil.features.backbone import Backbone, Size
from unveil.files import written_whole
from unveil.training.augment import Augmentation
from unveil.training.clips import TrainingClip, Window, count_frames, draw_windows, read_frames
from unveil.training.lease import Lease, leased

log = logging.getLogger(__name__)
VERSION = 1
_SUFFIX = ".windows.safetensors"


@runtime_checkable
class Windows(Protocol):
    """What a recipe says of the windows of a clip; all that their features depend on."""

    @property
    def backbone(self) -> str:
        """A name of `unveil weights list`, a hub id or a local folder."""

    @property
    def size(self) -> Size:
        """Short side of a frame in px, or height and width."""

    @property
    def frames(self) -> int:
        """Frames a window."""

    @property
    def min_gap(self) -> int:
        """Smallest step between neighbouring frames."""

    @property
    def max_gap(self) -> int:
        """Largest step between neighbouring frames."""

    @property
    def windows(self) -> int:
        """Windows a clip."""

    @property
    def seed(self) -> int:
        """Of what is drawn."""

    @property
    def augment(self) -> str:
        """A name of `augment.AUGMENTATIONS`."""

    @property
    def class_token(self) -> str:
        """What of it joins the patches of a frame: its key, or its output."""


@dataclass(frozen=True)
class ClipFeatures:
    """The features of one clip's windows in a file, read where they are needed.

    grid: patches down and across. frames: indices of the frames of each window. rows: their places
    in the file; none in files of before 0.7.0, which hold window after window.
    """

    clip: TrainingClip
    file: Path
    grid: tuple[int, int]
    frames: tuple[tuple[int, ...], ...]
    rows: tuple[tuple[int, ...], ...] = ()

    @property
    def count(self) -> int:
        """Number of windows."""
        return len(self.frames)

    def window(self, index: int) -> Float[Tensor, "t n c"]:
        """Features [T, 1 + h·w, C] of one window, CLS first; the file is mapped, not read."""
        with safe_open(self.file, "pt") as file:
            keys = file.get_slice("keys")
            if not self.rows:
                return keys[index : index + 1][0]
            return torch.cat([keys[row : row + 1] for row in self.rows[index]])


@dataclass(frozen=True)
class Cache:
    """A folder of features with a limit on its size in bytes."""

    folder: Path
    limit: int

    def get(
        self, clip: TrainingClip, recipe: Windows, backbone: Callable[[], Backbone]
    ) -> ClipFeatures:
        """The features of a clip's windows: from the folder, or computed and put there.

        backbone: called only when something has to be computed. Raises InputError when the clip
        cannot be read or is shorter than a window, TrainingError when the disk is full.
        """
        file = self.file(clip, recipe)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{file}.lock"):
                found = _open(clip, file)
                if found is None:
                    _write(clip, recipe, backbone(), file)
                    found = _open(clip, file)
                self.lease.add(file)
        except OSError as error:
            raise cannot_keep(self.folder, error) from error
        if found is None:
            raise TrainingError(f"{file} was written and cannot be read: remove it and try again")
        os.utime(file)
        return found

    def file(self, clip: TrainingClip, recipe: Windows) -> Path:
        """Where the features of a clip's windows are, or would be."""
        return self.folder / f"{_key(clip, recipe)}{_SUFFIX}"

    @cached_property
    def lease(self) -> Lease:
        """The files that this cache gave, which no run removes while it is there."""
        return Lease(self.folder)

    def evict(self) -> int:
        """Remove what was used longest ago until the limit holds; how many files went.

        What living runs read stays, whichever process runs them; if that alone exceeds the limit, a
        warning is logged.
        """
        files = sorted(self.folder.glob("*.safetensors"), key=lambda p: p.stat().st_mtime)
        sizes = {file: file.stat().st_size for file in files}
        total, gone = sum(sizes.values()), 0
        for file in files:
            if total <= self.limit:
                break
            if _remove_unread(file):
                total -= sizes[file]
                gone += 1
        if total > self.limit:
            log.warning(
                "what is in use keeps %.1f GB in %s, above the limit of %.1f GB",
                total / 1e9,
                self.folder,
                self.limit / 1e9,
            )
        return gone


def _remove_unread(file: Path) -> bool:
    """Remove a file that no living run reads; whether it went.

    Under the file's lock, so that no run comes to read it meanwhile. The lock's own file stays:
    others may wait for it.
    """
    try:
        with FileLock(f"{file}.lock", blocking=False):
            if file.name in leased(file.parent):
                return False
            file.unlink(missing_ok=True)
            return True
    except Timeout:
        return False


@dataclass(frozen=True)
class Store:
    """Tensors that are computed once, each set in a file named by all that it depends on."""

    folder: Path

    @cached_property
    def lease(self) -> Lease:
        """The files that this store gave, which no run removes while it is there."""
        return Lease(self.folder)

    def get(
        self, about: dict[str, Any], make: Callable[[], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """What `make` gives, from the folder where it is there; about: what it depends on, JSON.

        Raises TrainingError when the disk is full, and whatever `make` raises.
        """
        name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]
        file = self.folder / f"{name}.{about['what']}.safetensors"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{file}.lock"):
                found = _read(file)
                if found is None:
                    found = make()
                    with written_whole(file) as partial:
                        save_file(found, partial)
                self.lease.add(file)
            os.utime(file)
        except (OSError, SafetensorError) as error:
            raise cannot_keep(self.folder, error) from error
        return found


def _read(file: Path) -> dict[str, Tensor] | None:
    """The tensors of a file; None where there is none or it is damaged."""
    if not file.is_file():
        return None
    try:
        return load_file(file)
    except SafetensorError as error:
        log.warning("%s is damaged (%s); it is computed again", file, error)
        return None


def cannot_keep(folder: Path, error: Exception) -> TrainingError:
    """What to say where features cannot be written."""
    reason = getattr(error, "strerror", None) or error
    return TrainingError(
        f"cannot keep features in {folder}: {reason}; free some space or choose another folder "
        "with --cache"
    )


def default_cache() -> Path:
    """Where features are kept unless told otherwise: beside the weights."""
    return weights.home() / "features"


_USUAL = {"augment": "photometric", "min_gap": 1, "class_token": "key"}
"""What caches of before there was another do not name."""


def own_weights(backbone: str) -> dict[str, str]:
    """What keys of a cache say of a backbone beside its name: the digest of weights in a folder of
    one's own, which may hold others tomorrow; nothing of others. Errors as `weights.pull`.
    """
    digest = weights.folder_digest(backbone)
    return {} if digest is None else {"weights": digest}


def _key(clip: TrainingClip, recipe: Windows) -> str:
    parts = {
        "version": VERSION,
        "backbone": recipe.backbone,
        "clip": clip.digest,
        **own_weights(recipe.backbone),
        **{k: getattr(recipe, k) for k in ("size", "frames", "max_gap", "windows", "seed")},
    }
    for name, usual in _USUAL.items():
        if getattr(recipe, name) != usual:
            parts[name] = getattr(recipe, name)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _open(clip: TrainingClip, file: Path) -> ClipFeatures | None:
    """What a file holds; None where there is none or it is damaged."""
    if not file.is_file():
        return None
    try:
        with safe_open(file, "pt") as opened:
            about = json.loads(opened.metadata()["unveil"])
            *shape, tokens, _ = opened.get_slice("keys").get_shape()
        windows, rows = (tuple(map(tuple, about.get(name, ()))) for name in ("frames", "rows"))
        h, w = about["grid"]
        held = len(windows), len(windows[0])
        if rows:
            fits = (len(rows), len(rows[0])) == held and shape == [1 + max(map(max, rows))]
        else:
            fits = shape == [*held]
        if not fits or tokens != 1 + h * w:
            raise ValueError(f"{shape} pictures of {tokens} tokens for {held[0]} windows")
        return ClipFeatures(clip, file, (h, w), windows, rows)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        log.warning("%s is damaged (%s); its features are computed again", file, error)
        return None


def _write(clip: TrainingClip, recipe: Windows, backbone: Backbone, file: Path) -> None:
    length = count_frames(clip)
    drawn = recipe.frames, recipe.max_gap, recipe.windows, recipe.seed, recipe.augment
    windows = draw_windows(clip, length, *drawn, min_gap=recipe.min_gap)
    keys, rows, grid = encode_windows(clip, windows, recipe.size, backbone, recipe.class_token)
    frames = [window.frames for window in windows]
    about = {"grid": grid, "frames": frames, "rows": rows, "clip": clip.name, "version": VERSION}
    try:
        with written_whole(file) as partial:
            save_file({"keys": keys}, partial, metadata={"unveil": json.dumps(about)})
    except SafetensorError as error:  # how safetensors reports a full disk
        raise OSError(str(error)) from error


def encode_windows(
    clip: TrainingClip,
    windows: Sequence[Window],
    size: Size,
    backbone: Backbone,
    class_token: str = "key",
) -> tuple[Float[Tensor, "m n c"], list[list[int]], tuple[int, int]]:
    """Features of what windows show, each augmented in its own way; the rows of each window in
    them, and the grid of patches.

    A frame that several windows show augmented alike goes through the backbone once: many windows
    of a short clip cost little more than few. Frames are held at the backbone's size only.
    """

    def small(frame: UInt8[np.ndarray, "H W 3"]) -> UInt8[Tensor, "3 H1 W1"]:
        height, width, _ = frame.shape
        h, w = backbone.grid(height, width, size)
        return resize(frame, h * backbone.patch, w * backbone.patch)

    frames = read_frames(clip, [i for window in windows for i in window.frames], small)
    h, w = (side // backbone.patch for side in next(iter(frames.values())).shape[1:])
    keys: list[Float[Tensor, "t n c"]] = []
    seen: dict[tuple[int, Augmentation], int] = {}
    for window in windows:
        change = window.augmentation
        new = [i for i in window.frames if (i, change) not in seen]
        if not new:
            continue
        pixels = change(torch.stack([frames[i] for i in new])).permute(0, 2, 3, 1)
        pixels = backbone.prepare(pixels.contiguous().numpy(), h, w)
        keys.append(backbone.encode_with_cls(pixels, class_token).cpu())
        seen.update(((i, change), row) for row, i in enumerate(new, len(seen)))
    rows = [[seen[i, window.augmentation] for i in window.frames] for window in windows]
    return torch.cat(keys), rows, (h, w)


def resize(frame: UInt8[np.ndarray, "H W 3"], height: int, width: int) -> UInt8[Tensor, "3 H1 W1"]:
    """A frame at another size, bilinear, antialiased."""
    x = torch.from_numpy(frame).permute(2, 0, 1)[None]
    x = torch.nn.functional.interpolate(x, (height, width), mode="bilinear", antialias=True)
    return x[0]
