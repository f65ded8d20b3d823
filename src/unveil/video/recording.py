"""Sources that cannot be gone over twice, recorded to a file first: cameras, RTSP, HTTP.

    if is_live("camera:0"):
        record("camera:0", Path("desk.mkv"), end=10)

A video is passed over twice, and looked at again by the viewer, by `recut` and by exports, which a
camera cannot be. So its packets are copied to a Matroska file as they come, sound too: nothing is
encoded anew, memory is flat, and what is there when it ends is there for good. Only raw pictures,
as many cameras give them, are encoded, without loss: they would fill 18 MB a second at 640x480.
"""

import logging
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import av
from av.container import InputContainer, OutputContainer

from unveil.errors import InputError
from unveil.files import as_url, output_errors, written_whole
from unveil.progress import Progress, silent

log = logging.getLogger(__name__)

SCHEMES = ("http", "https", "rtsp", "rtsps", "rtmp", "srt", "udp")
_CAMERA = re.compile(r"camera:(.+)")
_URL = re.compile(r"[a-z][a-z0-9+.-]+:/+", re.IGNORECASE)  # of one letter are disks
_SYSTEMS = {"linux": ("video4linux2,v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}")}
_RAW = frozenset({"rawvideo", "wrapped_avframe"})
_TIMEOUT = (15.0, 15.0)  # seconds to open a source, and to wait for its next packet


def is_live(source: object) -> bool:
    """Whether a source is a camera or an address on a network, not a path."""
    return isinstance(source, str) and bool(_CAMERA.fullmatch(source) or _URL.match(source))


def record(source: str, out: Path, end: float | None = None, report: Progress = silent) -> Path:
    """Copy a live source to a Matroska file until it ends, `end` seconds are there, or Ctrl-C.

    report: told the seconds that are there. The file appears whole or not at all; after Ctrl-C it
    is whole too. Raises InputError for a source that cannot be opened or shows nothing,
    OutputError where the file cannot be written.
    """
    with output_errors(out), opened(source) as live:
        out.parent.mkdir(parents=True, exist_ok=True)
        with (
            written_whole(out) as partial,
            av.open(as_url(partial), "w", format="matroska") as file,
        ):
            seconds = _copy(source, live, file, end, report)
            if not seconds:
                raise InputError(f"{source} showed no picture before it ended: try it again")
    return out


def _copy(
    source: str,
    live: InputContainer,
    file: OutputContainer,
    end: float | None,
    report: Progress,
) -> float:
    """The seconds of pictures that were copied."""
    videos = [s for s in live.streams.video if s.codec_context is not None]
    if not videos:
        raise InputError(f"{source} holds no video that can be decoded: give another address")
    sounds = [s for s in live.streams.audio if s.codec_context is not None]
    chosen: list[Any] = [videos[0], *sounds[:1]]
    raw = _Raw(videos[0], file) if videos[0].codec_context.name in _RAW else None
    out = {s.index: file.add_stream_from_template(s) for s in (sounds[:1] if raw else chosen)}
    first: float | None = None
    seconds = 0.0
    last: dict[int, int] = {}
    try:
        for packet in _packets(source, live, chosen):
            moment = packet.pts if packet.dts is None else packet.dts
            if moment is None or not packet.size or packet.time_base is None:
                continue
            pictures = packet.stream.index == videos[0].index
            if first is None:  # the middle of a group of pictures decodes to rubbish
                if not (pictures and (raw or packet.is_keyframe)):
                    continue
                first = float(moment * packet.time_base)
            at = float(moment * packet.time_base) - first
            if end is not None and at >= end:
                break
            if at < 0 or moment <= last.get(packet.stream.index, moment - 1):
                continue  # a clock that goes back, as of a stream that was cut
            last[packet.stream.index] = moment
            shift = round(first / packet.time_base)
            packet.dts = moment - shift
            packet.pts = packet.dts if packet.pts is None else packet.pts - shift
            if pictures:
                seconds = at + float((packet.duration or 1) * packet.time_base)
                report("recording, seconds", int(seconds), None if end is None else int(end))
            if pictures and raw:
                raw.add(packet)
                continue
            packet.stream = out[packet.stream.index]
            file.mux(packet)
    except KeyboardInterrupt as stop:
        if type(stop) is not KeyboardInterrupt:  # SIGTERM ends all
            raise
        log.warning("recording of %s ended after %.1f s; Ctrl-C again ends all", source, seconds)
    if raw and seconds:
        raw.close()
    return seconds


class _Raw:
    """Pictures that no codec packed, put into a file as H.264 without loss."""

    def __init__(self, stream: Any, file: OutputContainer) -> None:
        self._file, self._source = file, stream
        rate = stream.average_rate or stream.guessed_rate or 30
        options = {"preset": "ultrafast", "qp": "0", "g": "30"}
        self._stream: Any = file.add_stream("libx264", rate=rate, options=options)
        context = stream.codec_context
        self._stream.height, self._stream.width = context.height, context.width
        self._stream.pix_fmt = _planes(context)
        self._stream.codec_context.time_base = stream.time_base

    def add(self, packet: av.Packet) -> None:
        for frame in self._source.decode(packet):
            picture = frame.reformat(format=self._stream.pix_fmt)
            picture.pts, picture.time_base = packet.pts, packet.time_base
            self._file.mux(self._stream.encode(picture))

    def close(self) -> None:
        self._file.mux(self._stream.encode(None))


def _planes(context: Any) -> str:
    """The planes of H.264 that hold what the pictures hold: as much colour, in any size."""
    _, *colours = context.format.components
    if any(c.width != context.width for c in colours) and context.width % 2 == 0:
        lines = {c.height for c in colours}
        if lines == {context.height}:
            return "yuv422p"
        if context.height % 2 == 0:
            return "yuv420p"
    return "yuv444p"


def _packets(source: str, live: InputContainer, streams: list[Any]) -> Iterator[av.Packet]:
    """The packets of a source; where it breaks off, what came before is what there is."""
    came = False
    try:
        for packet in live.demux(streams):
            came = True
            yield packet
    except (av.FFmpegError, OSError) as error:
        if not came:
            raise _unreachable(source, error) from error
        log.warning("%s broke off: %s; what came before is used", source, _reason(error))


@contextmanager
def opened(source: str) -> Iterator[InputContainer]:
    """A live source, open. Raises InputError where it cannot be."""
    camera, began = _CAMERA.fullmatch(source), time.monotonic()
    try:
        live = _camera(camera[1]) if camera else _address(source)
    except (av.FFmpegError, OSError, ValueError) as error:
        waited = time.monotonic() - began >= _TIMEOUT[0]
        raise _unreachable(source, TimeoutError("no answer") if waited else error) from error
    try:
        yield live
    finally:
        with suppress(av.FFmpegError, OSError):
            live.close()


def _camera(which: str) -> InputContainer:
    if sys.platform == "win32":
        number = {"video_device_number": which} if which.isdecimal() else {}
        names = [d.name for d in av.enumerate_input_devices("dshow")]
        name = names[int(which)] if number and int(which) < len(names) else which
        return av.open(f"video={name}", format="dshow", timeout=_TIMEOUT)
    driver, place = _SYSTEMS.get(sys.platform, _SYSTEMS["linux"])
    path = place.format(which) if which.isdecimal() else which
    return av.open(path, format=driver, timeout=_TIMEOUT)


def _address(source: str) -> InputContainer:
    scheme = source.partition(":")[0].lower()
    if scheme not in SCHEMES or not urlsplit(source).hostname:
        raise InputError(
            f"{source} is no address that can be read: expected {', '.join(SCHEMES[:3])}://host/…, "
            "camera:0, or a path"
        )
    options = {"rtsp_transport": "tcp"} if scheme.startswith("rtsp") else {}
    return av.open(source, timeout=_TIMEOUT, options=options, metadata_errors="replace")


def _unreachable(source: str, error: Exception) -> InputError:
    if _CAMERA.fullmatch(source):
        return InputError(
            f"{source} cannot be opened ({_reason(error)}): is it plugged in, and does no other "
            "program hold it? camera:0 is the first, camera:1 the second"
        )
    return InputError(
        f"{source} cannot be read ({_reason(error)}): check the address, and that it leads to a "
        "video"
    )


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
