"""Sources at their own pace: a camera, an address, or a video file played as it was taken.

with open_live("camera:0") as source:
    for frame in source.frames: ...
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path

import numpy as np

from unveil.errors import InputError
from unveil.video import clock
from unveil.video.container import decode_live
from unveil.video.recording import is_live, opened
from unveil.video.source import Seconds, open_video
from unveil.video.tracks import pick_stream

Timed = Iterator[tuple[float, np.ndarray]]
_FILES = ("http://", "https://")
"""Addresses of files, which come as fast as the network allows."""


@dataclass(frozen=True)
class LiveSource:
    """Frames that come when they come, uint8 [H, W, 3] RGB.

    name: what outputs are called after. fps: frames a second, as announced, of the frames given
    here. height, width: px, after rotation.
    """

    name: str
    fps: Fraction
    height: int
    width: int
    frames: Iterator[np.ndarray]


@contextmanager
def open_live(
    source: str | Path, start: Seconds = None, end: Seconds = None, stride: int = 1
) -> Iterator[LiveSource]:
    """Open a source; what is not live in itself is played at its own pace.

    start, end: seconds after the first frame; frames in between are given. stride: every so many of
    them one. Raises InputError where there is no such source, and for a frame of another size while
    frames are taken.
    """
    if not is_live(source):
        video = open_video(source, start=start, end=end, stride=stride)
        played = paced((i / float(video.fps), frame) for i, frame in enumerate(video))
        yield LiveSource(video.name, video.fps, video.height, video.width, played)
        return
    address = str(source)
    with opened(address) as container:
        stream = pick_stream(container, Path(address))
        fps = clock.nominal_rate(stream)
        timed = _between(decode_live(container, stream), fps, start or 0.0, end)
        first = next(timed, None)
        if first is None:
            raise InputError(f"{address} showed no picture before it ended: try it again")
        height, width, _ = first[1].shape
        taken = islice(chain([first], timed), 0, None, stride)
        is_file = address.lower().startswith(_FILES)
        frames = paced(taken) if is_file else (frame for _, frame in taken)
        yield LiveSource(_name(address), fps / stride, height, width, frames)


def _between(
    timed: Iterator[tuple[float | None, np.ndarray]], fps: Fraction, start: float, end: Seconds
) -> Timed:
    """The frames from start to end, by their own times, or by their number where they have none."""
    for i, (told, frame) in enumerate(timed):
        seconds = i / float(fps) if told is None else told
        if end is not None and seconds >= end:
            return
        if seconds >= start:
            yield seconds, frame


def _name(address: str) -> str:
    """What comes after the last slash, without its ending: `camera-0`, `dog`."""
    stem = address.partition("?")[0].rstrip("/").rpartition("/")[2].partition(".")[0]
    return re.sub(r"\W+", "-", stem).strip("-") or "live"


def paced(
    timed: Timed,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[np.ndarray]:
    """Frames, none before its seconds after the first have gone by."""
    begin = None
    for seconds, frame in timed:
        begin = now() - seconds if begin is None else begin
        if (early := begin + seconds - now()) > 0:
            sleep(early)
        yield frame
