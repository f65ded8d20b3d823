"""The times of a video file's frames: where they begin, how fast they come, how long they last.

A file's clock need not begin at zero, nor tick evenly, and what its header says of it need not
be so; what the packets say is.
"""

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer

from unveil.files import as_url
from unveil.types import as_rate

_SLACK = Fraction(1, 100)  # rates that differ by less are the same rate
_JITTER = 0.002  # seconds; containers that count milliseconds are off by one of them at each end
_REORDERED = 1.0  # seconds; by so much a packet may be stored after one that is shown later
BACK = 0.25  # seconds; by less a clock that is out of order may go back
_DURATION = re.compile(r"(\d+):(\d{1,2}):(\d{1,2}(?:\.\d*)?)")


def origin(stream: av.VideoStream) -> float | None:
    """The time of the first frame in seconds by the file's clock; None where it is not said."""
    return None if stream.start_time is None else float(stream.start_time * tick(stream))


def tick(stream: av.VideoStream | av.AudioStream) -> Fraction:
    """Seconds between two steps of the stream's clock."""
    return stream.time_base or Fraction(1, av.time_base)


def nominal_rate(stream: av.VideoStream) -> Fraction:
    """Frames a second as the header tells it, or as the first frames came."""
    base, mean = stream.base_rate, stream.average_rate
    if base and mean and abs(base - mean) <= _SLACK * mean:
        return Fraction(base)
    return Fraction(mean or base or 24)


def rate_of(stream: av.VideoStream, times: list[float]) -> Fraction:
    """Frames a second of frames at some times: a rate of the header that fits, or their mean."""
    span = times[-1] - times[0] if len(times) > 1 else 0
    if span <= 0:
        return nominal_rate(stream)
    mean = (len(times) - 1) / span
    slack = mean * max(float(_SLACK), _JITTER / span)
    for rate in (nominal_rate(stream), stream.base_rate, stream.average_rate):
        if rate and abs(rate - mean) <= slack:
            return Fraction(rate)
    return as_rate(mean)


def times(
    path: Path,
    index: int,
    start: float | int | None,
    end: float | int | None,
    after: float | int | None = None,
) -> list[float]:
    """When the frames between start and end are shown, in seconds after the first, ascending.

    Reads packets without decoding them. Empty where the file does not tell. after: as start, but
    the file is read from its beginning.
    """
    with av.open(as_url(path), metadata_errors="replace") as container:
        stream = next(s for s in container.streams.video if s.index == index)
        first = origin(stream)
        if first is None:
            return []
        if start:
            try:
                place = max(0.0, start - _REORDERED) + first
                container.seek(int(place / tick(stream)), stream=stream)
            except av.FFmpegError:  # where it stands now is not known
                return times(path, index, None, end, after=start)
        found: list[float] = []
        for time, stored in _moments(container, stream):
            if start and not found and time - first > max(0.0, start - _REORDERED):
                return times(path, index, None, end, after=start)  # it went too far
            if end is not None and stored is not None and stored - first > end + _REORDERED:
                break
            found.append(time - first)
    start = start or after
    found = [t for t in found if t >= (start or 0) - 1e-6 and (end is None or t < end - 1e-6)]
    return sorted(set(found))


def goes_back(path: Path, index: int) -> bool:
    """Whether a file is several recordings one behind the other, each with a clock of its own."""
    with av.open(as_url(path), metadata_errors="replace") as container:
        stream = next(s for s in container.streams.video if s.index == index)
        last, shown, back = None, float("-inf"), False
        for time, stored in _moments(container, stream):
            if stored is not None:
                if last is not None and stored < last - BACK:
                    return True
                last = stored
            back |= time < shown - BACK
            shown = time
    return last is None and back


def _moments(
    container: InputContainer, stream: av.VideoStream
) -> Iterator[tuple[float, float | None]]:
    """When each shown packet is shown and stored, in seconds; None where the latter is not told.

    Matroska does not tell it of the first packets where frames are stored out of order.
    """
    guessed = tells_storing_only(container)
    try:
        for packet in container.demux(stream):
            moment = packet.dts if packet.pts is None or guessed else packet.pts
            hidden = packet.is_discard or (  # a packet of VP8 whose frame is only referred to
                stream.codec_context.name in ("vp8", "libvpx")
                and packet.size
                and not bytes(packet)[0] & 0x10
            )
            if moment is not None and packet.size and not hidden:
                stored = None if packet.dts is None else float(packet.dts * tick(stream))
                yield float(moment * tick(stream)), stored
    except av.FFmpegError:
        return  # decoding tells of it


def tells_storing_only(container: InputContainer) -> bool:
    """Whether a container tells when frames are stored and not when they are shown, as AVI does.

    What libav says there of the latter is a guess.
    """
    return container.format.name == "avi"


def length(container: InputContainer, stream: av.VideoStream) -> tuple[float | None, float | None]:
    """Seconds that a file claims to last, and after how many it has ended however one counts.

    The length of a track is one; that of a container may be counted from the first frame or from
    the zero of its clock, and the shorter is taken for what is claimed.
    """
    if stream.duration:
        whole = float(stream.duration * tick(stream))
        return whole, whole
    tag = next((v for k, v in stream.metadata.items() if k.upper().startswith("DURATION")), "")
    if match := _DURATION.fullmatch(tag.strip()):  # Matroska keeps a length for each track here
        hours, minutes, seconds = match.groups()
        claimed = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    elif container.duration and not container.streams.audio:  # else it may be the sound's length
        claimed = container.duration / av.time_base
    else:
        return None, None
    late = max(0.0, origin(stream) or 0.0)
    return (claimed - late if claimed > late else claimed), claimed
