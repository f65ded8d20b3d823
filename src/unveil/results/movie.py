"""A movie of painted frames, H.264 in mp4, at the exact rate of its source."""

from contextlib import suppress
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Colorspace, VideoReformatter

from unveil.files import as_url
from unveil.results.overlay import Colours, index_with_lines, tables

# One thread: x264's bytes depend on how many threads it has, and results must not. The preset
# takes 2.5 ms for a frame of 854x480; `superfast` takes 7 ms and saves a third of the file.
_X264 = {"preset": "ultrafast", "crf": "22", "threads": "1"}
_BT601 = {"colorspace": "smpte170m", "color_primaries": "smpte170m", "color_trc": "smpte170m"}
_MOST = 16384  # px a side that x264 takes
_CLOCK = 2**31 - 1  # FFmpeg keeps a rate as two 32-bit integers


class Movie:
    """Paints frames and writes them to an mp4 file as they come; close it, or it cannot be played.

    It paints as `paint` does, but on the planes that the encoder wants: half the bytes, a third
    of the time. Every player's H.264 has even sides, so an odd side repeats its last line; of
    frames that are too large for it every second (third, …) pixel is shown.
    """

    def __init__(
        self,
        path: Path,
        fps: Fraction,
        height: int,
        width: int,
        alpha: float = 0.5,
        colours: Colours = (),
    ) -> None:
        self._container = av.open(
            as_url(path), "w", format="mp4", options={"movflags": "faststart"}
        )
        rate = fps.limit_denominator(_CLOCK // max(1, int(fps) + 1))
        self._stream = self._container.add_stream("libx264", rate=rate, options=_X264 | _BT601)
        self._each = -(-max(height, width) // _MOST)
        height, width = -(-height // self._each), -(-width // self._each)
        self._odd = (height % 2, width % 2)
        self._stream.height, self._stream.width = height + self._odd[0], width + self._odd[1]
        self._stream.pix_fmt = "yuv420p"
        self._convert = VideoReformatter()
        self._kept, self._paint = _plane_tables(alpha, colours)
        self._count = 0

    def write(self, frame: np.ndarray, labels: np.ndarray, at: int | None = None) -> None:
        """Append a frame, uint8 [H, W, 3] RGB, under its labels, uint8 or uint16 [H, W].

        at: frames of the source before it, where some were dropped; what is shown then stays.
        """
        if self._each > 1:
            frame, labels = (x[:: self._each, :: self._each] for x in (frame, labels))
        index = index_with_lines(labels)
        if any(self._odd):
            sides = (0, self._odd[0]), (0, self._odd[1])
            frame = np.pad(frame, (*sides, (0, 0)), mode="edge")
            index = np.pad(index, sides, mode="edge")
        picture = self._yuv(np.ascontiguousarray(frame))
        painted = index != 0
        down, across = (_even_span(np.flatnonzero(painted.any(axis))) for axis in (1, 0))
        index = index[down, across]
        half = np.ascontiguousarray(index[::2, ::2])
        for plane, ids, paint in zip(picture.planes, (index, half, half), self._paint, strict=True):
            pixels = np.frombuffer(memoryview(plane), np.uint8).reshape(
                plane.height, plane.line_size
            )
            step = 1 if ids is index else 2
            pixels = pixels[down.start // step :, across.start // step :]
            pixels = pixels[: ids.shape[0], : ids.shape[1]]
            mixed = np.take(self._kept, ids, mode="clip")  # any id is in range; clip is faster
            mixed *= pixels
            mixed += np.take(paint, ids, mode="clip")
            mixed >>= 8
            pixels[...] = mixed
        picture.pts = self._count if at is None else at
        self._count = picture.pts + 1
        self._container.mux(self._stream.encode(picture))

    def close(self) -> None:
        """Write what the encoder still holds and the index."""
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def abandon(self) -> None:
        """Let go of the file without completing it."""
        with suppress(av.FFmpegError, OSError):  # a full disk may be why it is abandoned
            self._container.close()

    def _yuv(self, frame: np.ndarray) -> av.VideoFrame:
        rgb = av.VideoFrame.from_ndarray(frame, "rgb24")
        return self._convert.reformat(rgb, format="yuv420p", dst_colorspace=Colorspace.ITU601)


def _even_span(at: np.ndarray) -> slice:
    """From the first to the last of some places, in steps of two."""
    return slice(at[0] // 2 * 2, at[-1] // 2 * 2 + 2) if len(at) else slice(0, 0)


@cache
def _plane_tables(alpha: float, own: Colours) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """For each palette entry, in 256ths: what a pixel keeps, and what Y, U and V gain."""
    strength, colours = tables(alpha, 1.0, own)
    added = np.round(strength * (256 / 255)).astype(np.uint16)
    swatches = np.repeat(np.repeat(colours[None], 2, axis=1), 2, axis=0)  # 2x2 px a colour
    rgb = av.VideoFrame.from_ndarray(swatches, "rgb24")
    yuv = (
        VideoReformatter()
        .reformat(rgb, format="yuv444p", dst_colorspace=Colorspace.ITU601)
        .to_ndarray()
    )
    return 256 - added, tuple(plane[0, ::2] * added for plane in yuv)
