"""Single frames of a video in any order, decoded when they are asked for.

    frames = Frames("dog.mp4", count=90)
    frames[61]                                # uint8 [H, W, 3] RGB, as `open_video` counts them

A file is sought by the times of its packets, read once without decoding. Where these do not count
as many frames as a whole pass did (a damaged file), frames are decoded from the beginning instead:
slower, and the same.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8

from unveil.address import as_path
from unveil.errors import InputError
from unveil.files import as_url
from unveil.video import clock, container
from unveil.video.source import open_video
from unveil.video.tracks import pick_stream

_KEPT = 96 << 20  # bytes of frames in memory
_FEW = 4  # frames kept however large they are
_ON = 48  # frames ahead that are decoded rather than sought


class Frames:
    """The frames of a source one by one, those looked at last kept for a while.

    source, start, end, stride: as `open_video` takes them. count: how many frames a pass over them
    gave. Memory does not grow with the frames looked at. Safe to use from several threads. Raises
    InputError where there is no such source.
    """

    def __init__(
        self,
        source: str | Path,
        count: int,
        start: float | int | None = None,
        end: float | int | None = None,
        stride: int = 1,
    ) -> None:
        self.video = open_video(source, start=start, end=end, stride=stride)
        self.count = count
        self._path = as_path(source)
        self._span = (start, end, stride)
        size = 3 * self.video.height * self.video.width
        self._room = max(_FEW, _KEPT // size)
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()
        self._times: list[float] | None = None
        if self.video.pick is None:
            self._times = _times(self._path, start, end, stride)
            if len(self._times) != count:
                self._times = None
        self._running: Iterator[np.ndarray] = iter(())
        self._next = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> UInt8[np.ndarray, "H W 3"]:
        """One frame. Raises InputError for one that the video does not have (any more)."""
        if not 0 <= index < self.count:
            raise InputError(f"there is no frame {index}: the video has {self.count}")
        with self._lock:
            if index in self._kept:
                self._kept.move_to_end(index)
            elif self.video.pick is not None:
                self._keep(index, self.video.pick(index))
            else:
                self._go_to(index)
            return self._kept[index]

    def _go_to(self, index: int) -> None:
        if not self._next <= index < self._next + _ON:
            self._next, self._running = self._opened_at(index)
        for frame in islice(self._running, index - self._next + 1):
            self._keep(self._next, np.ascontiguousarray(frame))
            self._next += 1
        if index not in self._kept:
            self._next = self.count
            raise InputError(f"frame {index} of {self._path} can no longer be read: did it change?")

    def _opened_at(self, index: int) -> tuple[int, Iterator[np.ndarray]]:
        if self._times is None:
            return 0, iter(self.video)
        _, end, stride = self._span
        return index, container.decode(self._path, self._times[index], end, stride, lambda _: None)

    def _keep(self, index: int, frame: np.ndarray) -> None:
        self._kept[index] = frame
        while len(self._kept) > self._room:
            self._kept.popitem(last=False)


def _times(
    path: Path, start: float | int | None, end: float | int | None, stride: int
) -> list[float]:
    """When the frames of a file are shown, in seconds, as `container.decode` counts them."""
    try:
        with av.open(as_url(path), metadata_errors="replace") as file:
            index = pick_stream(file, path).index
    except (av.FFmpegError, OSError):
        return []
    return clock.times(path, index, start, end)[::stride]
