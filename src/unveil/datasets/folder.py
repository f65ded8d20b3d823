"""Frames and masks in two plain folders, one sequence or several.

    frames/<sequence>/00000.jpg   or   frames/00000.jpg   or   frames/<sequence>.mp4
    masks/<sequence>/00000.png         masks/00000.png         masks/<sequence>/00000.png

Masks hold ids, 255 is void; masks that hold only 0 and 255 show one object. Masks are named
after the frames; those of a video file after the frames' numbers. Their natural order is that of
time: 2 comes before 10.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unveil.datasets.masks import as_truth, image_files, read_frames, read_stack, unify_binary
from unveil.datasets.sequence import Dataset, Finding
from unveil.errors import DataError, UnveilError
from unveil.video.listing import in_order, videos_in


@dataclass(frozen=True)
class FolderSequence:
    """One sequence. images: a folder of frames, or a video file."""

    name: str
    images: Path
    masks: Path
    note: str = ""
    video_id: None = None

    @property
    def origin(self) -> Path:
        """The folder of its masks."""
        return self.masks

    def frame_names(self) -> tuple[str, ...]:
        """The stems of its masks."""
        names = tuple(image_files(self.masks))
        if not names:
            raise DataError(f"{self.masks}: a sequence without ground truth, no masks there")
        return names

    def frames(self) -> np.ndarray:
        """The pictures, uint8 [T, H, W, 3] RGB."""
        names = self.frame_names()
        if not self.images.is_dir():
            return self._decode(len(names))
        lost = [name for name in names if name not in image_files(self.images)]
        if lost:
            raise DataError(
                f"{self.images}: {len(lost)} of {len(names)} masks have no frame, first {lost[0]}"
            )
        return read_frames(self.frame_files())

    def frame_files(self) -> tuple[Path, ...]:
        """Its pictures, or its video file."""
        if not self.images.is_dir():
            return (self.images,)
        files = image_files(self.images)
        return tuple(files.get(name, self.images / name) for name in self.frame_names())

    def truth(self) -> np.ndarray:
        """The labels, uint8 [T, H, W]."""
        self.frame_names()  # says what is missing
        labels = read_stack(image_files(self.masks).values())
        return as_truth(unify_binary(labels), self.masks)

    def _decode(self, count: int) -> np.ndarray:
        from unveil.video.source import read_clip  # brings torch, which masks alone do not need

        try:
            frames = read_clip(self.images).frames
        except UnveilError as error:
            raise DataError(f"{self.images}: {error}") from error
        if len(frames) != count:
            raise DataError(f"{self.images} has {len(frames)} frames, {self.masks} {count} masks")
        return frames


def open_folder(
    root: Path, frames: str | Path | None = None, masks: str | Path | None = None
) -> Dataset[FolderSequence]:
    """The sequences of a pair of folders.

    frames, masks: relative to root; `frames` and `masks` by default.
    """
    images, truth = root / (frames or "frames"), root / (masks or "masks")
    if not truth.is_dir():
        raise DataError(f"no folder of masks at {truth}: name it with --masks")
    if not images.exists():
        raise DataError(f"no frames at {images}: name their folder or video with --frames")
    if image_files(truth):
        sequences = [FolderSequence(images.stem if frames else root.resolve().name, images, truth)]
    else:
        folders = [p for p in truth.iterdir() if p.is_dir() and not p.name.startswith(".")]
        videos = {v.stem: v for v in videos_in(images)} if images.is_dir() else {}
        sequences = [
            FolderSequence(p.name, _frames_of(images / p.name, videos), p)
            for p in in_order(folders)
        ]
    return Dataset("folder", root, f"{truth.name}, {len(sequences)} sequences", tuple(sequences))


def check_folder(
    root: Path, frames: str | Path | None = None, masks: str | Path | None = None
) -> list[Finding]:
    """What is in a pair of folders."""
    try:
        dataset = open_folder(root, frames, masks)
    except DataError as error:
        return [Finding("pair of folders", root, False, str(error))]
    findings = []
    for s in dataset.sequences:
        try:
            names, there = image_files(s.masks), image_files(s.images)
        except DataError as error:
            findings.append(Finding(f"{s.name}: files", s.masks, False, str(error)))
            continue
        lost = [] if s.images.is_file() else sorted(set(names) - set(there))
        what = f"{s.name}: {len(names)} masks"
        advice = f"{len(lost)} have no frame in {s.images}" if lost else ""
        findings.append(Finding(what, s.masks, bool(names) and not lost, advice))
    return findings


def _frames_of(folder: Path, videos: Mapping[str, Path]) -> Path:
    """The folder of a sequence's pictures, or the video that is called like it."""
    return folder if folder.is_dir() else videos.get(folder.name, folder)
