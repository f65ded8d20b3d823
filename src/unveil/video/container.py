"""Video files: decode the frames of an mp4, mov, avi, webm, mkv or gif, upright and in order."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import VideoReformatter

from unveil.errors import InputError

log = logging.getLogger(__name__)
SUFFIXES = frozenset(
    f".{x}" for x in ("mp4", "m4v", "mov", "avi", "webm", "mkv", "gif", "mpg", "mpeg", "ts", "3gp")
)
_TICK = 1e-6  # seconds; timestamps are rounded to the container's clock, so compare with slack
_RATE_SLACK = Fraction(1, 100)  # a nominal and a mean rate that differ by less are the same rate
_UNEVEN = 1.5  # longest gap between frames over the shortest, above which the rate is variable
_UNEVEN_SECONDS = 0.002  # … but containers that count milliseconds jitter by one of them
_FRAMES_SHORT = 2  # containers announce up to so many frames more than they hold

Orient = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Probe:
    """What a video file says of itself, checked by decoding its first frame.

    height, width: px, after rotation. fps: the nominal rate where the frames keep to it, else
    their mean rate. announced: frames the file claims to hold, or None. seconds: its length.
    """

    height: int
    width: int
    fps: Fraction
    announced: int | None
    seconds: float | None


def probe(path: Path) -> Probe:
    """Open a video file and decode one frame. Raises InputError where there is none."""
    with _opened(path) as container:
        stream = _video_stream(container, path)
        frame = next(_decoded(container, stream, []), None)
        if frame is None:
            raise InputError(f"{path} holds no frame that can be decoded: is it empty or damaged?")
        h, w, _ = _upright(frame)(np.empty((frame.height, frame.width, 0))).shape
        fps = _rate(stream)
        seconds = _seconds(container)
        count = stream.frames or (round(seconds * fps) if seconds else None)
        return Probe(h, w, fps, count, seconds)


def decode(
    path: Path,
    start: float | int | None,
    end: float | int | None,
    stride: int,
    warn: Callable[[str], None],
    seek: bool = True,
) -> Iterator[np.ndarray]:
    """Every stride-th frame stored between start and end, in seconds, as uint8 [H, W, 3] RGB.

    Frames are taken as they are stored, none repeated or dropped to even out a variable rate.
    Damage ends or thins the frames and is told to warn. With seek, frames before start are
    skipped without decoding where the container allows it; the result is the same.
    """
    damage: list[str] = []
    loss = None
    with _opened(path) as container:
        stream = _video_stream(container, path)
        fps, origin = _rate(stream), float((stream.start_time or 0) * _tick(stream))
        begin = start or 0.0
        sought = begin > 0 and seek and _seek(container, stream, begin + origin)
        orient, size, convert = None, None, VideoReformatter()
        seen = taken = 0
        reached, last = 0.0, None
        gaps: list[float] = []
        for frame in _decoded(container, stream, damage):
            if sought and seen == 0 and (frame.time is None or frame.time - origin > begin + _TICK):
                yield from decode(path, start, end, stride, warn, seek=False)  # it went too far
                return
            time = seen / float(fps) if frame.time is None else frame.time - origin
            seen += 1
            reached = max(reached, time + _shown(frame, fps))
            if last is not None and time > last:
                gaps = [min([*gaps, time - last]), max([*gaps, time - last])]
            last = time
            if start and time < start - _TICK:
                continue
            if end is not None and time >= end - _TICK:
                break
            if size not in (None, (frame.height, frame.width)):
                raise InputError(
                    f"{path} changes its frame size from {size[1]}x{size[0]} to "
                    f"{frame.width}x{frame.height} at {time:.2f} s: cut it there with --start and "
                    "--end, or scale it to one size"
                )
            size = (frame.height, frame.width)
            orient = orient or _upright(frame)
            if taken % stride == 0:
                yield orient(convert.reformat(frame, format="rgb24").to_ndarray())
            taken += 1
        else:
            if loss := _loss(container, path, None if sought else seen, reached, damage):
                warn(loss)
            elif end is not None and end > reached + 1 / fps:
                warn(f"{path.name} ends at {reached:.2f} s, before the end asked for, {end:g} s")
    uneven = gaps and gaps[1] > _UNEVEN * gaps[0] and gaps[1] - gaps[0] > _UNEVEN_SECONDS
    if uneven and not (damage or loss):
        warn(
            f"{path.name} has a variable frame rate: every stored frame is used, and pictures "
            f"move at the mean rate, {float(fps):.3f} frames a second"
        )


def _loss(
    container: InputContainer, path: Path, seen: int | None, reached: float, damage: list[str]
) -> str | None:
    """How much of a file was decoded, where that is less than it announced; else None.

    seen: frames decoded, None where decoding did not begin at the beginning.
    """
    stream = container.streams.video[0]
    fps, seconds, announced = _rate(stream), _seconds(container), stream.frames
    signs = [(seconds - reached) * fps > _FRAMES_SHORT] if seconds else []
    if announced and seen is not None:
        signs.append(announced - seen > _FRAMES_SHORT)
    cut = path.suffix.lower() == ".gif" and not path.read_bytes().rstrip(b"\0").endswith(b";")
    if not (damage or cut or (signs and all(signs))):
        return None
    count = announced or (round(seconds * fps) if seconds else 0)
    if seen is None:
        what = f"frames up to {reached:.2f} s"
    else:
        what = f"{seen} frames" + (f" of about {count}" if count > seen else "")
    why = f" ({damage[0]})" if damage else ""
    return f"{path.name} is truncated or damaged: {what} could be decoded{why}; using those"


@contextmanager
def _opened(path: Path) -> Iterator[InputContainer]:
    try:
        container = av.open(str(path), metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as e:
        if isinstance(e, PermissionError):
            raise InputError(f"{path} cannot be read: permission denied") from e
        raise InputError(
            f"{path} is not a video that can be read: it is another kind of file, empty, or cut "
            f"off before its index was written ({_reason(e)})"
        ) from e
    with container:
        yield container


def _video_stream(container: InputContainer, path: Path) -> av.VideoStream:
    covers = av.stream.Disposition.attached_pic
    streams = [s for s in container.streams.video if not s.disposition & covers]
    if not streams:
        what = "only sound" if container.streams.audio else "no video stream"
        raise InputError(f"{path} holds {what}: give a file with pictures in it")
    if streams[0].codec_context is None:
        raise InputError(f"{path}: no decoder for its video stream; convert it to H.264 first")
    streams[0].thread_type = "AUTO"
    return streams[0]


def _decoded(
    container: InputContainer, stream: av.VideoStream, damage: list[str]
) -> Iterator[av.VideoFrame]:
    """All frames that decode; packets that are cut off or broken are left out and noted."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as e:
            damage.append(_reason(e))
            return
        if packet is None:
            return
        if packet.is_corrupt and packet.size:
            damage.append("a packet is cut off")
            continue
        try:
            frames = packet.decode()
        except av.FFmpegError as e:
            damage.append(_reason(e))
            continue
        yield from frames


def _seek(container: InputContainer, stream: av.VideoStream, seconds: float) -> bool:
    """Go to a key frame before a time; stay at the beginning where the file cannot seek."""
    try:
        container.seek(int(seconds / _tick(stream)), stream=stream)
    except av.FFmpegError as e:
        log.debug("%s cannot seek (%s): decoding from the beginning", container.name, _reason(e))
        return False
    return True


def _tick(stream: av.VideoStream) -> Fraction:
    """Seconds between two steps of the stream's clock."""
    return stream.time_base or Fraction(1, av.time_base)


def _shown(frame: av.VideoFrame, fps: Fraction) -> float:
    """Seconds that a frame is shown for."""
    if frame.duration and frame.time_base:
        return float(frame.duration * frame.time_base)
    return float(1 / fps)


def _rate(stream: av.VideoStream) -> Fraction:
    nominal, mean = stream.base_rate, stream.average_rate
    if nominal and mean and abs(nominal - mean) <= _RATE_SLACK * mean:
        return Fraction(nominal)
    return Fraction(mean or nominal or 24)


def _seconds(container: InputContainer) -> float | None:
    stream = container.streams.video[0]
    if stream.duration:
        return float(stream.duration * _tick(stream))
    if tag := stream.metadata.get("DURATION"):  # Matroska keeps a length for each track here
        hours, minutes, seconds = tag.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    if container.duration and not container.streams.audio:  # else it may be the sound's length
        return container.duration / av.time_base
    return None


def _upright(frame: av.VideoFrame) -> Orient:
    """How to turn frames as the display matrix says: rotations by 90 degrees and mirrorings.

    The matrix sends a stored pixel (x, y) to (a x + c y, b x + d y), up to a shift.
    """
    sides: Iterable[Any] = frame.side_data
    side = next((s for s in sides if s.type == SideData.DISPLAYMATRIX), None)
    if side is None:
        return lambda x: x
    a, b, _, c, d = np.frombuffer(bytes(side), np.int32)[:5].tolist()
    swap = abs(b) + abs(c) > abs(a) + abs(d)
    right_to_left, bottom_to_top = (c < 0, b < 0) if swap else (a < 0, d < 0)

    def orient(x: np.ndarray) -> np.ndarray:
        x = x.swapaxes(0, 1) if swap else x
        return x[:: -1 if bottom_to_top else 1, :: -1 if right_to_left else 1]

    return orient


def _reason(e: BaseException) -> str:
    return getattr(e, "strerror", None) or str(e) or type(e).__name__
