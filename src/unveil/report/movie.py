"""A movie of painted frames, H.264 in mp4, at the exact rate of its source."""

from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

# One thread: x264's bytes depend on how many threads it has, and results must not.
_X264 = {"preset": "superfast", "crf": "20", "threads": "1"}
_BT601 = {"colorspace": "smpte170m", "color_primaries": "smpte170m", "color_trc": "smpte170m"}
_CLOCK = 2**31 - 1  # FFmpeg keeps a rate as two 32-bit integers


class Movie:
    """Writes frames to an mp4 file as they come; close it, or the file cannot be played.

    H.264 as every player takes it has even sides: an odd side repeats its last line.
    """

    def __init__(self, path: Path, fps: Fraction, height: int, width: int) -> None:
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "faststart"})
        rate = fps.limit_denominator(_CLOCK // max(1, int(fps) + 1))
        self._stream = self._container.add_stream("libx264", rate=rate, options=_X264 | _BT601)
        self._odd = (height % 2, width % 2)
        self._stream.height, self._stream.width = height + self._odd[0], width + self._odd[1]
        self._stream.pix_fmt = "yuv420p"
        self._convert = VideoReformatter()
        self._count = 0

    def write(self, picture: np.ndarray) -> None:
        """Append one frame, uint8 [H, W, 3] RGB."""
        if any(self._odd):
            picture = np.pad(picture, ((0, self._odd[0]), (0, self._odd[1]), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(picture, "rgb24")
        frame = self._convert.reformat(frame, format="yuv420p", dst_colorspace="itu601")
        frame.pts, self._count = self._count, self._count + 1
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Write what the encoder still holds and the index."""
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def abandon(self) -> None:
        """Let go of the file without completing it."""
        with suppress(av.FFmpegError, OSError):  # a full disk may be why it is abandoned
            self._container.close()
