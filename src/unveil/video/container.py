"""Video files: the frames of an mp4, mov, avi, webm, mkv, ts or gif, upright and in order."""

import logging
from collections import deque
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
from unveil.files import as_url
from unveil.video import clock, gif, hdr
from unveil.video.tracks import pick_stream

log = logging.getLogger(__name__)
_TICK = 1e-6  # seconds; timestamps are rounded to the container's clock, so compare with slack
_UNEVEN = 1.5  # longest gap between frames over the shortest, above which the rate is variable
_UNEVEN_SECONDS = 0.002  # … but containers that count milliseconds jitter by one of them
_GAP = 4  # times the mean gap, above which one between two frames is worth a word
_MARKED = "the container marks a packet as broken"
_FRAMES_SHORT = 2  # containers announce up to so many frames more than they hold

Orient = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Probe:
    """What a video file says of itself, checked by decoding its first frame.

    height, width: px, after rotation, of the range's first frame. fps: frames a second: the nominal
    rate where the frames of the range keep to it, else their mean rate, so that playing them takes
    as long as it took. announced: frames the file claims to hold, or None. seconds: its length.
    limit: seconds after its first frame at which it certainly has ended, or None.
    """

    height: int
    width: int
    fps: Fraction
    announced: int | None
    seconds: float | None
    limit: float | None


def probe(path: Path, start: float | int | None = None, end: float | int | None = None) -> Probe:
    """Open a video file, decode its first frame and that at start, and read the times of those
    between start and end.

    Raises InputError where there is none.
    """
    with _opened(path) as container:
        stream = pick_stream(container, path)
        frame = next(_decoded(container, stream, []), None)
        if frame is None:
            raise InputError(f"{path} holds no frame that can be decoded: is it empty or damaged?")
        h, w, _ = _upright(frame)(np.empty((frame.height, frame.width, 0))).shape
        times = clock.times(path, stream.index, start, end)
        fps = clock.rate_of(stream, times)
        seconds, limit = clock.length(container, stream)
        if seconds and times and times[-1] > seconds + _FRAMES_SHORT / fps:
            seconds = limit = None  # what the header claims is not so
        if limit is not None and (start or 0) >= limit and clock.goes_back(path, stream.index):
            limit = None
        if start and (limit is None or start < limit):
            at = next(decode(path, start, end, 1, lambda _: None), None)
            h, w = (h, w) if at is None else at.shape[:2]  # it may change on the way there
        count = stream.frames or None
        if seconds:  # an edit list may hide frames
            count = min(count or 1 << 62, max(1, round(seconds * fps)))
        return Probe(h, w, fps, count, seconds, limit)


def times(
    path: Path, start: float | int | None = None, end: float | int | None = None
) -> list[float]:
    """When the frames between start and end are shown, as `decode` counts seconds, ascending.

    Nothing is decoded. Empty where the file does not tell, or its clock goes back.
    """
    with _opened(path) as container:
        index = pick_stream(container, path).index
    return [] if clock.goes_back(path, index) else clock.times(path, index, start, end)


def decode(
    path: Path,
    start: float | int | None,
    end: float | int | None,
    stride: int,
    warn: Callable[[str], None],
    seek: bool = True,
) -> Iterator[np.ndarray]:
    """Every stride-th frame stored between start and end, in seconds, as uint8 [H, W, 3] RGB.

    Seconds count from the first frame, whatever the file's clock shows there. Frames are taken as
    they are stored, none repeated or dropped to even out a variable rate; HDR is tone-mapped.
    Damage ends or thins the frames and is told to warn. With seek, frames before start are
    skipped without decoding where the container allows it; the result is the same. An AVI with
    frames stored out of order does not: when each is shown follows from how many come before it.
    """
    damage: list[str] = []
    loss: str | None = None
    with _opened(path) as container:
        stream = pick_stream(container, path, warn)
        fps, origin = clock.nominal_rate(stream), clock.origin(stream)
        begin = start or 0.0
        counted = clock.tells_storing_only(container) and stream.codec_context.has_b_frames
        sought = begin > 0 and seek and not counted
        again = sought and not _seek(container, stream, begin + (origin or 0))
        orient, size, convert = None, None, VideoReformatter()
        seen, taken, corrupt, joined = 0, 0, 0, False
        reached, gaps, last = 0.0, [], None
        for frame in () if again else _decoded(container, stream, damage):
            if origin is None:
                origin = frame.time or 0.0
            if sought and seen == 0 and not _is_before(frame, begin + origin):
                again = True  # it went too far
                break
            time = seen / float(fps) if frame.time is None else frame.time - origin
            if last is not None and time < last - clock.BACK:
                if sought:
                    again = True  # where it went to is in one of several recordings
                    break
                origin, time = origin - (last - time) - 1 / fps, last + float(1 / fps)
                joined = True
            seen += 1
            reached = max(reached, time + _shown(frame, fps))
            if last is not None and time > last:
                gaps.append(time - last)
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
            if taken == 0:
                _tell_colours_and_shape(frame, stream, path, warn)
            corrupt += bool(frame.is_corrupt)
            if taken % stride == 0:
                yield orient(_rgb(frame, convert))
            taken += 1
        else:
            if joined or corrupt:  # which is why, or is told by itself
                damage = [why for why in damage if why != _MARKED]
            if sought and not taken:
                again = True  # it landed behind the last frames, or where none can be decoded
            elif loss := _loss(container, stream, path, None if sought else seen, reached, damage):
                warn(loss)
            elif end is not None and end > reached + 1 / fps:
                warn(f"{path.name} ends at {reached:.2f} s, before the end asked for, {end:g} s")
    if joined:
        warn(
            f"{path.name} holds several recordings one behind the other: its clock goes back, and "
            "seconds are counted on"
        )
    if again:
        yield from decode(path, start, end, stride, warn, seek=False)
        return
    if corrupt:
        warn(
            f"{path.name} is damaged: the decoder marks {corrupt} of {taken} frames as corrupt; "
            "they are used as they came out, so look at the masks there with care"
        )
    if not (damage or loss) and (uneven := _unevenness(gaps)):
        warn(uneven(path.name))


def decode_live(
    container: InputContainer, stream: av.VideoStream
) -> Iterator[tuple[float | None, np.ndarray]]:
    """The frames of what is open already and has no end or beginning: upright, uint8 RGB [H, W, 3].

    Each with its seconds after the first, None where they are not told. What breaks off, ends.
    """
    stream.thread_type = "SLICE"  # threads that each decode a frame hold back as many frames
    origin, orient, convert = None, None, VideoReformatter()
    for frame in _decoded(container, stream, []):
        if origin is None:
            origin = frame.time
        orient = orient or _upright(frame)
        time = None if frame.time is None or origin is None else frame.time - origin
        yield time, orient(_rgb(frame, convert))


def _unevenness(gaps: list[float]) -> Callable[[str], str] | None:
    """What to say of the seconds between frames where they differ; None where they are even."""
    if not gaps or max(gaps) <= _UNEVEN * min(gaps) or max(gaps) - min(gaps) <= _UNEVEN_SECONDS:
        return None
    mean, longest = sum(gaps) / len(gaps), max(gaps)
    still = f", and the longest gap between two frames, {longest:.2f} s, is closed up" * (
        longest > _GAP * mean
    )
    return lambda name: (
        f"{name} has a variable frame rate: every stored frame is used, and pictures move at "
        f"the mean rate, {1 / mean:.3f} frames a second{still}"
    )


def _is_before(frame: av.VideoFrame, time: float) -> bool:
    """Whether decoding may go on to a time from here: a whole key frame that is not after it."""
    sound = frame.time is not None and frame.key_frame and not frame.is_corrupt
    return bool(sound and frame.time <= time + _TICK)


def _rgb(frame: av.VideoFrame, convert: VideoReformatter) -> np.ndarray:
    if hdr.is_hdr(frame):
        return hdr.tone_mapped(frame, convert)
    return convert.reformat(frame, format="rgb24").to_ndarray()


def _tell_colours_and_shape(
    frame: av.VideoFrame, stream: av.VideoStream, path: Path, warn: Callable[[str], None]
) -> None:
    if hdr.is_hdr(frame):
        kind = "PQ" if frame.color_trc == hdr.PQ else "HLG"
        warn(f"{path.name} is HDR ({kind}): its frames are tone-mapped to the range of a screen")
    shape = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    if shape and shape != 1:
        warn(
            f"{path.name} has pixels of {shape.numerator}:{shape.denominator}: frames and masks "
            f"are {frame.width}x{frame.height} as stored, a player shows them "
            f"{round(frame.width * shape)}x{frame.height}"
        )


def _loss(
    container: InputContainer,
    stream: av.VideoStream,
    path: Path,
    seen: int | None,
    reached: float,
    damage: list[str],
) -> str | None:
    """How much of a file was decoded, where that is less than it announced; else None.

    seen: frames decoded, None where decoding did not begin at the beginning.
    """
    fps, announced = clock.nominal_rate(stream), stream.frames
    seconds, _ = clock.length(container, stream)
    signs = [(seconds - reached) * fps > _FRAMES_SHORT] if seconds else []
    if announced and seen is not None:
        signs.append(announced - seen > _FRAMES_SHORT)
    cut = container.format.name == "gif" and not gif.is_complete(path.read_bytes())
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
        container = av.open(as_url(path), metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as e:
        if isinstance(e, PermissionError):
            raise InputError(f"{path} cannot be read: permission denied") from e
        raise InputError(
            f"{path} is not a video that can be read: it is another kind of file, empty, or cut "
            f"off before its index was written ({_reason(e)})"
        ) from e
    with container:
        yield container


def _decoded(
    container: InputContainer, stream: av.VideoStream, damage: list[str]
) -> Iterator[av.VideoFrame]:
    """All frames that decode; packets that are cut off or broken are left out and noted."""
    moments = _Moments() if clock.tells_storing_only(container) else None
    for packet in _whole(_packets(container, stream, damage), damage):
        if moments is not None:
            moments.put(packet)
        try:
            frames = packet.decode()
        except av.FFmpegError as e:
            damage.append(_reason(e))
            continue
        for frame in frames:
            moment = None if moments is None else moments.take()
            if moment is not None and stream.codec_context.has_b_frames:
                frame.pts = moment  # else it has that of its own packet
            yield frame


class _Moments:
    """When the frames of an AVI are shown: the n-th frame at the time of the n-th packet.

    At each frame as many packets wait as at the first; where more do, nothing came out of some.
    """

    def __init__(self) -> None:
        self._stored: deque[int] = deque()
        self._waiting = 0

    def put(self, packet: av.Packet) -> None:
        """Note a packet that is about to be decoded."""
        if packet.size and packet.dts is not None:
            packet.pts = packet.dts
            self._stored.append(packet.dts)

    def take(self) -> int | None:
        """The time of the next frame by the stream's clock; None where it is not told."""
        self._waiting = self._waiting or len(self._stored)
        while len(self._stored) > self._waiting:
            self._stored.popleft()
        return self._stored.popleft() if self._stored else None


def _packets(
    container: InputContainer, stream: av.VideoStream, damage: list[str]
) -> Iterator[av.Packet]:
    """All packets that can be read, an empty one at the end of the file."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as e:
            damage.append(_reason(e))
            return
        if packet is None:
            return
        yield packet


def _whole(packets: Iterable[av.Packet], damage: list[str]) -> Iterator[av.Packet]:
    """All packets but a last one that is cut off, which is noted.

    One that the container marks before others is noted too. It may be whole: where transport
    streams are joined, one of the last of each is marked.
    """
    marked = None
    for packet in packets:
        if marked is not None and packet.size:
            damage.append(_MARKED)
            yield marked
            marked = None
        if packet.is_corrupt and packet.size:
            marked = packet
        else:
            yield packet
    if marked is not None:
        damage.append("a packet is cut off")


def _seek(container: InputContainer, stream: av.VideoStream, seconds: float) -> bool:
    """Go to a key frame before a time. False: it cannot, and where it stands now is not known."""
    try:
        container.seek(int(seconds / clock.tick(stream)), stream=stream)
    except av.FFmpegError as e:
        log.debug("%s cannot seek (%s): decoding from the beginning", container.name, _reason(e))
        return False
    return True


def _shown(frame: av.VideoFrame, fps: Fraction) -> float:
    """Seconds that a frame is shown for."""
    if frame.duration and frame.time_base:
        return float(frame.duration * frame.time_base)
    return float(1 / fps)


def _upright(frame: av.VideoFrame) -> Orient:
    """How to turn frames as the display matrix says: rotations by 90 degrees and mirrorings.

    The matrix sends a stored pixel (x, y) to (a x + c y, b x + d y), up to a shift.
    """
    try:
        sides: Iterable[Any] = list(frame.side_data)
    except ValueError:  # beside something that PyAV has no name for, as the EXIF of a JPEG
        turns = round(frame.rotation / 90)
        return lambda x: np.rot90(x, turns)
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
