"""The videos of a folder, and the windows of a few frames drawn from them."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unveil.address import as_path
from unveil.errors import InputError, TrainingError, said_of
from unveil.training.augment import AUGMENTATIONS, Augmentation
from unveil.types import Clip
from unveil.video.listing import VIDEOS, entries, images_in, is_video
from unveil.video.source import Video, open_video

log = logging.getLogger(__name__)
_BLOCK = 1 << 20
Skip = Callable[[str, str], None]
"""Told the name of a clip that cannot be used, and why."""


@dataclass(frozen=True)
class TrainingClip:
    """A video file or a folder of frames, known by what it holds.

    digest: SHA-256, hex. read: gives all frames, uint8 [T, H, W, 3], of a clip that is neither,
    such as a record of a shard; path then says where it is from.
    """

    path: Path
    digest: str
    read: Callable[[], np.ndarray] | None = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.path.name

    def open(self) -> Video:
        """Its frames. Raises InputError where they cannot be read."""
        return open_video(self.path if self.read is None else Clip(self.read(), name=self.name))


@dataclass(frozen=True)
class Window:
    """Indices of the frames of a window, ascending, and what is done to all of them."""

    frames: tuple[int, ...]
    augmentation: Augmentation


def _warn(name: str, reason: str) -> None:
    log.warning("%s is skipped: %s", name, reason)


def find_clips(folder: Path, skip: Skip = _warn) -> list[TrainingClip]:
    """Every video and every folder of frames in a folder, by name; one of equal ones.

    skip: told of those that cannot be read. Raises TrainingError when there is no such folder, or
    nothing in it to train on.
    """
    folder = as_path(folder)
    if not folder.is_dir():
        raise TrainingError(f"no folder {folder}: give a folder of videos or of frame folders")
    paths = [p for p in entries(folder) if _is_clip(p, skip)]
    if not paths and images_in(folder):
        paths = [folder]
    if not paths:
        raise TrainingError(
            f"no videos and no folders of frames in {folder}; a clip ends in one of "
            f"{', '.join(sorted(VIDEOS))}, or is a folder of images"
        )
    clips: dict[str, TrainingClip] = {}
    for path in paths:
        try:
            clip = TrainingClip(path, _digest(path))
        except (OSError, InputError) as error:
            skip(path.name, said_of(error))
            continue
        first = clips.setdefault(clip.digest, clip)
        if first is not clip:
            log.warning("%s holds the same as %s; used once", clip.name, first.name)
    return list(clips.values())


def count_frames(clip: TrainingClip) -> int:
    """Frames that decode, by decoding them. Raises InputError where there are none."""
    return sum(len(chunk) for chunk in clip.open().chunks(16))


def draw_windows(
    clip: TrainingClip,
    length: int,
    frames: int,
    max_gap: int,
    count: int,
    seed: int,
    augment: str = "photometric",
    min_gap: int = 1,
) -> list[Window]:
    """Windows of a clip, the same for the same content and seed, wherever the file lies.

    length: frames of the clip. frames: of a window. min_gap, max_gap: smallest and largest step
    between two of them, less where the clip is too short for it. augment: a name of
    `augment.AUGMENTATIONS`. Raises InputError for a clip shorter than a window.
    """
    if length < frames:
        raise InputError(f"{clip.name} has {length} frames, fewer than a window of {frames}")
    longest = min(max_gap, (length - 1) // (frames - 1))
    least = min(min_gap, longest)
    generator = torch.Generator().manual_seed(_seed(seed, clip.digest, "windows"))
    windows = []
    for _ in range(count):
        gaps = torch.randint(least, longest + 1, (frames - 1,), generator=generator).tolist()
        start = torch.randint(length - sum(gaps), (1,), generator=generator).item()
        indices = [start + sum(gaps[:i]) for i in range(frames)]
        run = torch.Generator().manual_seed(_seed(seed, "run"))
        windows.append(Window(tuple(indices), AUGMENTATIONS[augment](generator, run)))
    return windows


def read_frames(
    clip: TrainingClip,
    indices: Sequence[int],
    change: Callable[[np.ndarray], Any] = lambda frame: frame,
) -> dict[int, Any]:
    """Some frames of a clip, uint8 [H, W, 3], by index; in one pass that ends at the last.

    change: what is kept of each, such as the frame at a smaller size.
    """
    wanted, found = set(indices), {}
    for i, frame in enumerate(clip.open()):
        if i in wanted:
            found[i] = change(frame)
        if len(found) == len(wanted):
            return found
    raise InputError(f"{clip.name} changed while it was being read: frame {max(wanted)} is gone")


def _seed(*parts: object) -> int:
    text = "/".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little") >> 1


def _is_clip(path: Path, skip: Skip) -> bool:
    try:
        return bool(images_in(path)) if path.is_dir() else is_video(path)
    except (OSError, InputError) as error:
        skip(path.name, said_of(error))
        return False


def _digest(path: Path) -> str:
    """SHA-256 of a file, or of the names and bytes of a folder's images."""
    digest = hashlib.sha256()
    files = [path] if path.is_file() else images_in(path)
    for file in files:
        if path.is_dir():
            digest.update(file.name.encode() + b"\0")
        with file.open("rb") as f:
            while block := f.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()
