"""Videos in chunks of a few frames, and of every frame the square in its middle.

So VideoSAUR and what follows it score YouTube-VIS: chunks of six frames, what is left at the end of
a video dropped, and of every frame the largest square in its middle at 224 px. Each chunk is a
video of its own, for who segments it and for who scores it.

Source: https://github.com/martius-lab/videosaur, `split_to_chunks` in data/pipelines.py,
`CenterFullCropVideo` in data/transforms_video.py, configs/videosaur/ytvis.yml
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from unveil.datasets.sequence import Dataset, Sequence
from unveil.errors import DataError

BICUBIC = Image.Resampling.BICUBIC


@dataclass(frozen=True)
class Chunk:
    """Some frames of a video as a sequence of their own; all of it is read to have them.

    first, count: its frames. number: its place in the video, which its name ends on; None where the
    video is one chunk. side: px to which the square in the middle of a frame is scaled; None for
    frames as they are.
    """

    whole: Sequence
    first: int
    count: int
    number: int | None = None
    side: int | None = None

    @property
    def name(self) -> str:
        """That of the video, and the number of the chunk: dog_0, dog_1, …"""
        return self.whole.name if self.number is None else f"{self.whole.name}_{self.number}"

    @property
    def note(self) -> str:
        """What is said of the video."""
        return self.whole.note

    @property
    def video_id(self) -> int | None:
        """None: lists of results number whole videos."""
        return None

    @property
    def origin(self) -> Path:
        """What the annotation of the video comes from."""
        return self.whole.origin

    def frame_names(self) -> tuple[str, ...]:
        """The stems of its frames."""
        return self.within(self.whole.frame_names())

    def frame_files(self) -> tuple[Path, ...]:
        """The files of its pictures; those of the video where several frames share one."""
        files = self.whole.frame_files()
        return self.within(files) if len(files) == len(self.whole.frame_names()) else files

    def frames(self) -> np.ndarray:
        """The pictures, uint8 [T, H, W, 3] RGB; scaled by bicubic interpolation."""
        frames = self.within(self.whole.frames())
        if self.side is None:
            return frames
        size, cut = (self.side, self.side), square(frames, -3)
        return np.stack([np.array(Image.fromarray(x).resize(size, BICUBIC)) for x in cut])

    def truth(self) -> np.ndarray:
        """The labels, uint8 [T, H, W]."""
        return self.labels(self.whole.truth())

    def labels(self, labels: np.ndarray) -> np.ndarray:
        """What the chunk shows of labels [T, H, W] of the video, scaled by the nearest pixel."""
        return self.mask(self.within(labels))

    def mask(self, masks: np.ndarray) -> np.ndarray:
        """What the chunk shows of masks [..., H, W] of its frames."""
        return masks if self.side is None else nearest(square(masks), self.side)

    def within(self, frames: Any) -> Any:
        """Its own of what has one entry a frame of the video."""
        return frames[self.first : self.first + self.count]


def in_chunks(
    dataset: Dataset, count: int | None = None, side: int | None = None
) -> Dataset[Chunk]:
    """A dataset with every video in chunks.

    count: frames of a chunk, what is left at the end of a video dropped; None for one chunk of all
    of it. side: px to which the square in the middle of a frame is scaled; None for frames as they
    are. Raises DataError where either is not positive, no video has as many frames, or a chunk
    would be called like a video.
    """
    for what, value in (("frames of a chunk", count), ("px of a square", side)):
        if value is not None and value < 1:
            raise DataError(f"{what}: expected at least 1, got {value}")
    chunks: list[Chunk] = []
    short = 0
    for whole in dataset.sequences:
        try:
            length = len(whole.frame_names())
        except DataError:  # is raised again when this one is read, and does not end the others
            chunks.append(Chunk(whole, 0, 0, None, side))
            continue
        if count is None:
            chunks.append(Chunk(whole, 0, length, None, side))
            continue
        short += length < count
        chunks += [Chunk(whole, count * i, count, i, side) for i in range(length // count)]
    videos = {whole.name for whole in dataset.sequences}
    for chunk in chunks:
        if chunk.number is not None and chunk.name in videos:
            raise DataError(
                f"{chunk.name} is a video, and chunk {chunk.number} of {chunk.whole.name} would be "
                "called so too: rename one of the two videos"
            )
    said = [dataset.split]
    if count is not None:
        said.append(f"chunks of {count} frames")
        said += [f"{short} videos shorter than that left out"] if short else []
    if side is not None:
        said.append(f"the square in the middle at {side}x{side} px")
    return Dataset(dataset.name, dataset.root, ", ".join(said), tuple(chunks))


def square(frames: np.ndarray, rows: int = -2) -> np.ndarray:
    """The largest square in the middle of frames. rows: their axis of rows, columns the next."""
    height, width = frames.shape[rows], frames.shape[rows + 1]
    side = min(height, width)
    index = [slice(None)] * frames.ndim
    for axis, length in ((rows, height), (rows + 1, width)):
        start = round((length - side) / 2)
        index[axis] = slice(start, start + side)
    return frames[tuple(index)]


def nearest(masks: np.ndarray, side: int) -> np.ndarray:
    """Square masks [..., S, S] at another side, each pixel the one that its middle lies in.

    PyTorch's `nearest-exact`, in single precision like there.
    """
    size = masks.shape[-1]
    middles = (np.arange(side, dtype=np.float32) + np.float32(0.5)) * np.float32(size / side)
    places = np.minimum(middles.astype(int), size - 1)
    return masks[..., places[:, None], places]
