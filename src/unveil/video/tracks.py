"""Which of several streams in a file is the video: not the cover, whatever the flags say."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition

from unveil.errors import InputError
from unveil.files import as_url

_LOOK = 600  # packets that are read to see which streams move
_STILL = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails
_MOVES = 4  # a stream with so many times fewer packets than another is a slide show


def pick_stream(
    container: InputContainer, path: Path, warn: Callable[[str], None] | None = None
) -> av.VideoStream:
    """The stream of a file that holds its video.

    Covers and thumbnails are left out, by their flag or because they do not move; of several
    videos the largest is taken, then the one that is marked as default, then the first, and warn
    is told. Raises InputError where there is none that can be decoded.
    """
    streams = [s for s in container.streams.video if not s.disposition & _STILL]
    if not streams:
        what = "only sound" if container.streams.audio else "no video stream"
        raise InputError(f"{path} holds {what}: give a file with pictures in it")
    known = [s for s in streams if s.codec_context is not None]
    if not known:
        raise InputError(f"{path}: no decoder for its video stream; convert it to H.264 first")
    if len(known) > 1:
        known = _moving(known, path)
    best = min(known, key=lambda s: (-s.width * s.height, not _is_default(s), s.index))
    if len(known) > 1 and warn:
        others = ", ".join(f"{s.width}x{s.height}" for s in known if s is not best)
        warn(
            f"{path.name} holds {len(known)} videos: stream {best.index}, {best.width}x"
            f"{best.height}, is used, not {others}; take another out of the file to segment it"
        )
    best.thread_type = "AUTO"
    return best


def _moving(streams: list[av.VideoStream], path: Path) -> list[av.VideoStream]:
    """The streams that have about as many pictures as the one with most."""
    packets: Counter[int] = Counter()
    with av.open(as_url(path), metadata_errors="replace") as container:
        same = [container.streams[s.index] for s in streams]
        try:
            for _, packet in zip(range(_LOOK), container.demux(same), strict=False):
                packets[packet.stream.index] += bool(packet.size)
        except av.FFmpegError:
            pass  # what was read so far has to do
    most = max(packets.values(), default=0)
    return [s for s in streams if packets[s.index] * _MOVES >= most]


def _is_default(stream: av.VideoStream) -> bool:
    return bool(stream.disposition & Disposition.default)
