"""Movies that are made of a result's frames, with the sound of its video."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.video.reformatter import Colorspace, VideoReformatter

from unveil.exports.result import Result
from unveil.exports.sound import Sound
from unveil.files import as_url

_CLOCK = 2**31 - 1  # FFmpeg keeps a rate as two 32-bit integers
_BT709 = {"colorspace": "bt709", "color_primaries": "bt709", "color_trc": "bt709"}


@dataclass(frozen=True)
class Kind:
    """A kind of movie. suffix: of its file. sides: what height and width are multiples of.

    even: a codec that is faster and its options, for even widths.
    """

    suffix: str
    codec: str
    pixels: str
    options: dict[str, str]
    sides: int = 1
    even: tuple[str, dict[str, str]] | None = None


PRORES = Kind(
    ".mov",
    "prores_ks",
    "yuva444p10le",
    {"profile": "4444", "vendor": "apl0", "alpha_bits": "8"},
    even=("prores_aw", {"profile": "4", "vendor": "apl0"}),
)
"""What editors take in: ProRes 4444; colours nearly, opacity of 8 bits exactly as they were. The
two encoders of FFmpeg: the second takes a quarter of the first's time, and even widths alone."""
WEBM = Kind(
    ".webm",
    "libvpx-vp9",
    "yuva420p",
    {
        "crf": "18",
        "b": "0",
        "deadline": "realtime",
        "cpu-used": "6",
        "row-mt": "1",
        "auto-alt-ref": "0",
    },
)
"""What browsers play: VP9; lossy in colours and opacity, colours at half the resolution."""
MP4 = Kind(
    ".mp4", "libx264", "yuv420p", {"preset": "veryfast", "crf": "18", "threads": "1"}, sides=2
)
"""What everything plays: H.264, without opacity; an odd side repeats its last line."""


class Film:
    """Writes frames to a movie as they come; close it, or it cannot be played."""

    def __init__(self, path: Path, kind: Kind, result: Result) -> None:
        options = {"fflags": "+bitexact"}
        if kind.suffix != ".webm":
            options["movflags"] = "faststart"
        format_ = kind.suffix[1:]
        self._movie = av.open(as_url(path), "w", format=format_, options=options)
        rate = result.fps.limit_denominator(_CLOCK // max(1, int(result.fps) + 1))
        even = None if result.width % 2 else kind.even
        codec, options = even or (kind.codec, kind.options)
        stream = self._movie.add_stream(codec, rate=rate, options=options | _BT709)
        self._stream = cast(av.VideoStream, stream)
        self._pad = (-result.height % kind.sides, -result.width % kind.sides)
        self._stream.height = result.height + self._pad[0]
        self._stream.width = result.width + self._pad[1]
        self._stream.pix_fmt = kind.pixels
        self._pixels, self._rate, self._count = kind.pixels, rate, 0
        self._convert = VideoReformatter()
        self._sound = None
        if result.sound is not None:
            seconds = float(len(result) / rate)
            self._sound = Sound(result.sound, result.start, seconds, self._movie, kind.suffix)

    def write(self, frame: np.ndarray) -> None:
        """Append a frame, uint8 [H, W, 3] RGB or [H, W, 4] with opacity."""
        if any(self._pad):
            frame = np.pad(frame, ((0, self._pad[0]), (0, self._pad[1]), (0, 0)), mode="edge")
        layout = "rgba" if frame.shape[2] == 4 else "rgb24"
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), layout)
        picture = self._convert.reformat(
            picture, format=self._pixels, dst_colorspace=Colorspace.ITU709
        )
        if self._pixels == PRORES.pixels:
            _put_opacity(picture, frame[..., 3])
        picture.pts, self._count = self._count, self._count + 1
        if self._sound is not None:
            self._sound.up_to(float(self._count / self._rate))
        self._movie.mux(self._stream.encode(picture))

    def close(self) -> None:
        """Write what the encoder still holds, the rest of the sound, and the index."""
        self._movie.mux(self._stream.encode(None))
        if self._sound is not None:
            self._sound.close()
        self._movie.close()

    def abandon(self) -> None:
        """Let go of the file without completing it."""
        if self._sound is not None:
            self._sound.abandon()
        with suppress(av.FFmpegError, OSError):  # a full disk may be why it is abandoned
            self._movie.close()


def _put_opacity(picture: av.VideoFrame, alpha: np.ndarray) -> None:
    """Opacity [H, W] of 8 bits into a plane of 10: FFmpeg's own rounding is one level too high."""
    plane = picture.planes[3]
    values = np.frombuffer(memoryview(plane), np.uint16).reshape(plane.height, -1)
    values[:, : plane.width] = alpha.astype(np.uint16) << 2 | alpha >> 6


@contextmanager
def filmed(paths: list[Path], kind: Kind, result: Result) -> Iterator[list[Film]]:
    """Movies that are complete when the block ends, and let go of when it fails."""
    films: list[Film] = []
    try:
        for path in paths:
            films.append(Film(path, kind, result))
        yield films
        for film in films:
            film.close()
    except BaseException:
        for film in films:
            film.abandon()
        raise
