"""The sound of a video, put into a movie that is made of its pictures."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
from av.container import OutputContainer

from unveil.files import as_url
from unveil.video import clock

log = logging.getLogger(__name__)

CODECS: dict[str, tuple[tuple[str, ...], str]] = {
    ".mov": (("aac", "mp3", "alac", "ac3", "eac3", "pcm_"), "pcm_s16le"),
    ".mp4": (("aac", "mp3", "alac", "ac3", "eac3"), "aac"),
    ".webm": (("opus", "vorbis"), "libopus"),
}
"""Suffix → what its players play as it is, and what anything else is encoded to."""
_RATE = 48_000  # Hz, the only one that every encoder above takes
_LATE = 1.0  # seconds after `start` within which the first frame is looked for


class Sound:
    """Copies packets from a source into a movie; what its container cannot hold is encoded anew.

    source: the file; one without sound is silent. start: the second, counted from its first frame,
    at which the movie begins. seconds: of the movie. Packets stay whole: of the one that spans the
    beginning nothing is heard, the last may outlast the pictures by a packet (some 20 ms). The
    sound is at its place to the tick of the container's clock.

        sound = Sound(Path("dog.mp4"), start, seconds, movie, ".mov")
        sound.up_to(1.5)        # as the pictures come
        sound.close()
    """

    def __init__(
        self, source: Path, start: float, seconds: float, movie: OutputContainer, suffix: str
    ) -> None:
        self._movie, self._seconds, self._cut = movie, seconds, start > 0
        self._file = av.open(as_url(source), metadata_errors="replace")
        streams = [s for s in self._file.streams.audio if s.codec_context is not None]
        if len(streams) < len(self._file.streams.audio):
            log.warning("%s has sound that no decoder is there for: it is left out", source)
        self._packets: Iterator[tuple[float, av.Packet]] = iter(())
        self._next: tuple[float, av.Packet] | None = None
        if not streams:
            return
        self._stream = streams[0]
        takes, other = CODECS[suffix]
        self._encoder: Any = None
        self._resampler: Any = None
        if self._stream.codec_context.name.startswith(takes):
            self._out: Any = movie.add_stream_from_template(self._stream)
        else:
            stereo = "mono" if self._stream.codec_context.channels == 1 else "stereo"
            self._out = self._encoder = movie.add_stream(other, rate=_RATE, layout=stereo)
            self._resampler = av.AudioResampler(self._encoder.format, stereo, _RATE)
        self._zero = self._begin(source, start)
        self._packets = self._read()
        self._next = next(self._packets, None)

    def up_to(self, seconds: float) -> None:
        """Put all sound before a moment of the movie into it."""
        while self._next is not None and self._next[0] < seconds:
            self._movie.mux(self._next[1])
            self._next = next(self._packets, None)

    def close(self) -> None:
        """Put what is left into the movie and let go of the source."""
        self.up_to(float("inf"))
        self.abandon()

    def abandon(self) -> None:
        """Let go of the source."""
        with suppress(av.FFmpegError, OSError):
            self._file.close()

    def _begin(self, source: Path, start: float) -> float:
        """The time of the movie's first frame by the file's clock, in seconds."""
        videos = [s for s in self._file.streams.video if s.codec_context is not None]
        zero = (clock.origin(videos[0]) if videos else None) or 0.0
        if not start or not videos:
            return zero
        shown = clock.times(source, videos[0].index, start, start + _LATE)
        with suppress(av.FFmpegError):  # it is read from its beginning then
            self._file.seek(int((zero + max(0.0, start - 1)) * av.time_base))
        return zero + (shown[0] if shown else start)

    def _read(self) -> Iterator[tuple[float, av.Packet]]:
        """The packets of the movie, each with its time in it."""
        if self._encoder is None:
            yield from self._copied()
        else:
            yield from self._encoded()

    def _copied(self) -> Iterator[tuple[float, av.Packet]]:
        for packet in self._file.demux(self._stream):
            if packet.pts is None or not packet.size:
                continue
            tick = float(clock.tick(self._stream))
            time = packet.pts * tick - self._zero
            if time >= self._seconds:
                return
            if time < 0 and self._cut:
                continue
            shift = round(self._zero / tick)
            packet.pts -= shift
            packet.dts = packet.pts
            packet.stream = self._out
            yield time, packet

    def _encoded(self) -> Iterator[tuple[float, av.Packet]]:
        last = 0.0
        for frame in self._file.decode(self._stream):
            time = (frame.time or 0.0) - self._zero
            if time >= self._seconds:
                break
            if time < 0:
                continue
            frame.pts = round(time / float(frame.time_base or 1))
            for part in self._resampler.resample(frame):
                for packet in self._encoder.encode(part):
                    yield (last := time), packet
        for part in self._resampler.resample(None):
            for packet in self._encoder.encode(part):
                yield last, packet
        for packet in self._encoder.encode(None):
            yield last, packet
