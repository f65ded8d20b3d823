"""A source that does not wait: frames as they come, the newest ones where work falls behind.

    live = Live(camera)
    for frames, labels in Segmenter(speed="fast").stream(live):
        show(frames, labels)
        print(f"{live.delay(len(frames)):.1f} s late, {live.dropped} frames dropped")

Rule: `room` frames may wait, eight by default, a block of `unveil.segmentation.stream`. When one
more comes, the oldest that waits is dropped. So whoever is slower than the source works on blocks
of frames that follow each other, with gaps between the blocks; motion is looked for inside a block.
While the source goes on, a block is late by the time in which two of them come and its own work;
where stages work side by side, as those of `Segmenter.stream` do, each counts as the slowest.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from threading import Condition, Thread

import numpy as np

from unveil.checks import require

ROOM = 8
"""Frames that may wait."""


@dataclass(frozen=True)
class Shown:
    """Frames of which something is shown now.

    numbers: of each, counted in the source, from 0. delay: seconds since the first of them came.
    """

    numbers: tuple[int, ...]
    delay: float


class Live:
    """Reads frames in a thread of its own, and hands them out in order, without those it dropped.

    frames: single frames, uint8 [H, W, 3], that come when they come; their memory may be used again
    at once. room: frames that may wait, at least 1. now: the clock, in seconds.

    came, dropped: frames so far. What the source raises is raised here. Memory: `room` frames,
    and a time for each frame handed out whose `delay` nobody asked for. Raises InputError for no
    room.
    """

    def __init__(
        self,
        frames: Iterable[np.ndarray],
        room: int = ROOM,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        require(room >= 1, "room", "at least 1 frame", room)
        self.came = self.dropped = 0
        self._source, self._room, self._now = frames, room, now
        self._waiting: deque[tuple[int, float, np.ndarray]] = deque()
        self._out: deque[tuple[int, float]] = deque()
        self._change = Condition()
        self._ended = self._left = False
        self._fault: BaseException | None = None

    def __iter__(self) -> Iterator[np.ndarray]:
        """The frames, until the source ends; the thread ends with the iteration."""
        Thread(target=self._read, name="unveil-live", daemon=True).start()
        try:
            while (frame := self.take()) is not None:
                yield frame
        finally:
            self._left = True

    def put(self, frame: np.ndarray) -> None:
        """A frame has come."""
        with self._change:
            if len(self._waiting) == self._room:
                self._waiting.popleft()
                self.dropped += 1
            self._waiting.append((self.came, self._now(), frame.copy()))
            self.came += 1
            self._change.notify()

    def take(self) -> np.ndarray | None:
        """The oldest frame that waits, or the next to come; None once the source has ended."""
        with self._change:
            self._change.wait_for(lambda: self._waiting or self._ended)
            if not self._waiting:
                if self._fault is not None:
                    raise self._fault
                return None
            number, came, frame = self._waiting.popleft()
            self._out.append((number, came))
            return frame

    def end(self) -> None:
        """Take no more of the source; what waits is still handed out."""
        with self._change:
            self._left = self._ended = True
            self._change.notify()

    def delay(self, frames: int) -> float:
        """Seconds since the first of the next frames to be shown came; to be asked once for each.

        frames: how many are shown now, in the order in which they were handed out.
        """
        return self.shown(frames).delay

    def shown(self, frames: int) -> Shown:
        """Which frames the next ones to be shown are, and their delay; in the place of `delay`."""
        require(0 < frames <= len(self._out), "frames", f"1 … {len(self._out)} shown", frames)
        numbers, times = zip(*(self._out.popleft() for _ in range(frames)), strict=True)
        return Shown(numbers, self._now() - times[0])

    def _read(self) -> None:
        try:
            for frame in self._source:
                if self._left:
                    return
                self.put(frame)
        except BaseException as fault:  # it belongs to whoever takes the frames
            self._fault = fault
        finally:
            with self._change:
                self._ended = True
                self._change.notify()
