"""Video in: files, image folders, arrays and tensors, all as chunks of upright RGB frames.

    video = open_video("dog.mp4", stride=2)
    for frames in video.chunks(16):     # uint8 [t, H, W, 3], t <= 16
        ...

A Video holds no frames. It can be passed over as often as is needed, in flat memory.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from torch import Tensor

from unveil.address import as_path, plain_place
from unveil.checks import Within, check
from unveil.errors import InputError
from unveil.text import sayable
from unveil.types import Clip
from unveil.video import container, images
from unveil.video.recording import is_live

IMAGE_FPS = Fraction(24)  # the rate of sources that have none: images, arrays, tensors
_TICK = 1e-6  # seconds by which a frame may be shown before a start and still is in the range

Source = str | Path | np.ndarray | Tensor | Clip
Seconds = Annotated[float | int, Within(0, unit="s")] | None
Stride = Annotated[int, Within(1, unit="frame")]
Warn = Callable[[str], None]


class Video:
    """Frames that are read when they are asked for, and again each time.

    name: what outputs are called after. fps: frames a second of the frames that chunks yields,
    exact: the source's rate over the stride; the mean rate where it varies. height, width: px,
    after rotation; pixels are taken as square. estimate: how many frames to expect, or None.
    warnings: what the caller should tell, such as how much of a damaged file could be used; filled
    by the first pass. pick: reads the frame of an index by itself; None where a file has to be
    decoded up to it. times: when the frames in range are shown, in seconds and whatever the stride;
    empty where a file does not tell. files: the image file of every frame; empty where frames are
    no files of their own.
    """

    def __init__(
        self,
        read: Callable[[Warn], Iterator[np.ndarray]],
        *,
        name: str,
        fps: Fraction,
        height: int,
        width: int,
        estimate: int | None = None,
        frame_names: tuple[str, ...] | None = None,
        empty: str = "no frames",
        pick: Callable[[int], np.ndarray] | None = None,
        times: Callable[[], list[float]] = list,
        files: Sequence[Path] = (),
    ) -> None:
        self.name, self.fps, self.height, self.width = sayable(name), fps, height, width
        self.estimate = estimate
        self.warnings: list[str] = []
        self._read, self._names, self._empty = read, frame_names, empty
        self.pick, self.times, self.files = pick, times, tuple(files)
        self._count: int | None = None

    def __repr__(self) -> str:
        about = "?" if self.estimate is None else self.estimate
        return f"Video({self.name!r}, {self.width}x{self.height}, {self.fps} fps, ~{about} frames)"

    def __iter__(self) -> Iterator[np.ndarray]:
        """The frames one by one, uint8 [H, W, 3] RGB. Raises InputError where there are none."""
        count = 0
        for frame in self._read(self._warn):
            count += 1
            yield frame
        if count == 0:
            raise InputError(self._empty)
        if self._count not in (None, count):
            raise InputError(
                f"{self.name} gave {self._count} frames at first and {count} now: it changed while "
                "it was being read; run again when it is complete"
            )
        self._count = count

    def chunks(self, size: int) -> Iterator[np.ndarray]:
        """All frames as uint8 [t, H, W, 3] RGB with t <= size, each chunk an array of its own."""
        if size < 1:
            raise InputError(f"chunk size: expected at least 1 frame, got {size}")
        chunk, t = None, 0
        for frame in self:
            if chunk is None:
                chunk, t = np.empty((size, self.height, self.width, 3), np.uint8), 0
            chunk[t] = frame
            t += 1
            if t == size:
                yield chunk
                chunk = None
        if chunk is not None:
            yield chunk[:t]

    def frame_name(self, index: int) -> str:
        """The name of one frame that chunks yields: the image's stem, or its number."""
        return f"{index:05d}" if self._names is None else self._names[index]

    @property
    def frame_names(self) -> tuple[str, ...]:
        """The names of all frames, known for a video file once a pass has reached its end."""
        if self._names is not None:
            return self._names
        if self._count is None:
            raise RuntimeError(f"{self!r} has to be read to its end before its frames have names")
        return tuple(f"{i:05d}" for i in range(self._count))

    def _warn(self, message: str) -> None:
        if message not in self.warnings:
            self.warnings.append(message)


def open_video(
    source: Source, *, start: Seconds = None, end: Seconds = None, stride: int = 1
) -> Video:
    """Open anything that holds frames, without reading more than its first one.

    Args:
        source: a video file (mp4, mov, avi, webm, mkv, gif, …), a folder of images, a glob
            pattern, uint8 frames as array [T, H, W, 3] or tensor [T, H, W, 3] or [T, 3, H, W],
            or a Clip.
        start, end: seconds; frames shown at start <= time < end are used. Sources without times
            run at 24 frames a second.
        stride: use every stride-th frame of those.

    Raises:
        InputError: there is no such source, no frame in it or in that range, or it cannot be
            read. What shows only while decoding is raised by the pass over the frames.
    """
    start, end, stride = _checked(start, end, stride)
    if isinstance(source, Clip):
        return _of_frames(
            source.frames, source.name, source.fps, source.frame_names, start, end, stride
        )
    if isinstance(source, np.ndarray | Tensor):
        return _of_frames(_array(source), "video", IMAGE_FPS, None, start, end, stride)
    if not isinstance(source, str | Path):
        raise InputError(
            f"cannot read frames from {type(source).__name__}: give a path, a pattern, a uint8 "
            "array or tensor, or a Clip"
        )
    if not str(source):
        raise InputError("the path of the video is empty: give a file, a folder or a pattern")
    source = plain_place(source) if isinstance(source, str) else source
    if is_live(source):
        raise InputError(
            f"{source} is no file: segment it alone with `unveil segment`, or record it first with "
            "unveil.video.recording.record"
        )
    path = as_path(source)
    try:
        files = images.find_images(path)
        if files is not None:
            return _of_images(path, files, start, end, stride)
        if not path.exists():
            raise InputError(f"no such file or folder: {path}")
        if not path.is_file():
            raise InputError(f"{path} is a pipe or a device: save it as a file, and give that")
    except PermissionError as e:
        raise InputError(f"{path} cannot be read: permission denied") from e
    return _of_file(path, start, end, stride)


def start_of(video: Video, frame: int) -> float:
    """The seconds by which `open_video` starts with a frame of the whole video, from 1 on.

    They are those of an even rate, unless the times of the file have another frame there.
    """
    even, times = float(frame / video.fps), video.times()
    if frame >= len(times) or times[frame - 1] < even - _TICK <= times[frame]:
        return even
    return times[frame]


def span_of(place: str | Path, about: Mapping[str, Any]) -> dict[str, Any]:
    """The start, end and stride of a result in its video, as `open_video` takes them.

    about: what run.json says of the video. Where that has only the number of the first frame, as
    of tracks that were imported without their video, the video is asked when it is shown.
    """
    start, first = about.get("start"), about.get("first")
    if start is None and first:
        start = start_of(open_video(place), first)
    return {"start": start, "end": about.get("end"), "stride": about.get("stride") or 1}


def read_clip(
    source: Source, *, start: Seconds = None, end: Seconds = None, stride: int = 1
) -> Clip:
    """All frames of a source in memory; arguments and errors are those of open_video."""
    video = open_video(source, start=start, end=end, stride=stride)
    frames = np.concatenate(list(video.chunks(64)))
    return Clip(frames, video.fps, video.name, video.frame_names)


def _checked(start: Seconds, end: Seconds, stride: int) -> tuple[Seconds, Seconds, int]:
    start, end = check("start", start, Seconds), check("end", end, Seconds)
    if end is not None and end <= (start or 0):
        raise InputError(f"the range is empty: start is {start or 0:g} s and end is {end:g} s")
    return start, end, check("stride", stride, Stride)


def _of_file(path: Path, start: Seconds, end: Seconds, stride: int) -> Video:
    info = container.probe(path, start, end)
    length = "" if info.seconds is None else f", which is {info.seconds:.2f} s long"
    if info.limit is not None and (start or 0) >= info.limit:
        raise InputError(f"start, {start:g} s, lies beyond the end of {path}{length}")
    estimate = info.announced
    if estimate is not None:
        estimate = max(1, len(_within(estimate, info.fps, start, end)[::stride]))
    return Video(
        lambda warn: container.decode(path, start, end, stride, warn),
        name=path.stem,
        fps=info.fps / stride,
        height=info.height,
        width=info.width,
        estimate=estimate,
        empty=f"no frame of {path}{length} could be decoded {_between(start, end)}: choose another "
        "range",
        times=lambda: container.times(path, start, end),
    )


def _of_images(path: Path, files: list[Path], start: Seconds, end: Seconds, stride: int) -> Video:
    if len(files) == 1 and (inside := images.look_into(files[0])).count > 1:
        return _of_pages(files[0], inside, start, end, stride)
    chosen = _select(len(files), IMAGE_FPS, start, end, stride, str(path))
    count, files = len(files), [files[i] for i in chosen]
    h, w = images.check_images(files)
    images.check_single(files)
    depth = images.depth_of(files)
    folder = path if path.is_dir() else files[0].parent

    def read(warn: Warn) -> Iterator[np.ndarray]:
        _tell_depth(path, depth, warn)
        return (images.read_image(file, depth or 16) for file in files)

    return Video(
        read,
        name=path.stem if path.is_file() else folder.resolve().name or "video",
        fps=IMAGE_FPS / stride,
        height=h,
        width=w,
        estimate=len(files),
        frame_names=tuple(p.stem for p in files),
        pick=lambda i: images.read_image(files[i], depth or 16),
        times=lambda: _even_times(count, IMAGE_FPS, start, end),
        files=files,
    )


def _of_pages(
    path: Path, inside: images.Pictures, start: Seconds, end: Seconds, stride: int
) -> Video:
    """One file of many pictures: an animation, or pages."""
    fps = inside.fps or IMAGE_FPS
    chosen = _select(inside.count, fps, start, end, stride, str(path))
    h, w = images.check_images([path])
    depth = images.depth_of([path])

    def read(warn: Warn) -> Iterator[np.ndarray]:
        _tell_depth(path, depth, warn)
        if not inside.even:
            warn(
                f"{path.name} has a variable frame rate: every picture is used, and they move at "
                f"the mean rate, {float(fps):.3f} frames a second"
            )
        pages = enumerate(images.read_pictures(path, depth or 16))
        return (page for i, page in pages if i in chosen)

    return Video(
        read,
        name=path.stem,
        fps=fps / stride,
        height=h,
        width=w,
        estimate=len(chosen),
        pick=lambda i: images.read_image(path, depth or 16, chosen[i]),
        times=lambda: _even_times(inside.count, fps, start, end),
    )


def _tell_depth(path: Path, depth: int | None, warn: Warn) -> None:
    if depth is not None and depth not in (8, 16):
        warn(f"{path} holds pixels of {depth} bits; the highest 8 of them are used")


def _of_frames(
    frames: np.ndarray,
    name: str,
    fps: Fraction,
    names: tuple[str, ...] | None,
    start: Seconds,
    end: Seconds,
    stride: int,
) -> Video:
    chosen = _select(len(frames), fps, start, end, stride, f"the {len(frames)} frames given")
    _, h, w, _ = frames.shape
    return Video(
        lambda warn: (frames[i] for i in chosen),
        name=name,
        fps=fps / stride,
        height=h,
        width=w,
        estimate=len(chosen),
        frame_names=tuple(names[i] if names else f"{j:05d}" for j, i in enumerate(chosen)),
        times=lambda: _even_times(len(frames), fps, start, end),
    )


def _select(
    count: int, fps: Fraction, start: Seconds, end: Seconds, stride: int, what: str
) -> range:
    chosen = _within(count, fps, start, end)[::stride]
    if start is not None and start >= count / fps:
        raise InputError(
            f"start, {start:g} s, lies beyond the end of {what}, {float(count / fps):.2f} s at "
            f"{float(fps):g} frames a second"
        )
    if not chosen:
        raise InputError(f"no frame of {what} {_between(start, end)}: choose another range")
    return chosen


def _within(count: int, fps: Fraction, start: Seconds, end: Seconds) -> range:
    """The frames with start <= index / fps < end."""
    slack = 1e-6  # a time that was rounded to print it still means its frame
    first = 0 if start is None else math.ceil(start * fps - slack)
    last = count if end is None else min(count, math.ceil(end * fps - slack))
    return range(first, last)


def _even_times(count: int, fps: Fraction, start: Seconds, end: Seconds) -> list[float]:
    return [float(i / fps) for i in _within(count, fps, start, end)]


def _between(start: Seconds, end: Seconds) -> str:
    return f"between {start or 0:g} s and " + ("its end" if end is None else f"{end:g} s")


def _array(frames: np.ndarray | Tensor) -> np.ndarray:
    """Frames as uint8 [T, H, W, 3] NumPy array; a view where the input allows."""
    kind = "array" if isinstance(frames, np.ndarray) else "tensor"
    shape = list(frames.shape)
    if isinstance(frames, Tensor):
        if frames.ndim == 4 and shape[-1] != 3 and shape[1] == 3:
            frames = frames.permute(0, 2, 3, 1)
        frames = frames.detach().cpu().numpy()
    got = f"{frames.dtype} {shape}"
    layout = "[T, H, W, 3]" if kind == "array" else "[T, H, W, 3] or [T, 3, H, W]"
    if frames.dtype != np.uint8:
        how = "(x * 255).round()" if frames.dtype.kind == "f" else "x"
        to = f"{how}.astype('uint8')" if kind == "array" else f"{how}.to(torch.uint8)"
        scale = (
            " if its values are 0 … 1" if frames.dtype.kind == "f" else " if its values are 0 … 255"
        )
        raise InputError(f"{kind}: expected uint8 {layout}, got {got}; pass {to}{scale}")
    if frames.ndim != 4 or frames.shape[-1] != 3:
        how = ""
        if frames.ndim == 3 and frames.shape[-1] == 3:
            how = "; pass x[None] for a single frame"
        elif frames.ndim == 4 and frames.shape[1] == 3:
            how = "; pass x.transpose(0, 2, 3, 1)"
        raise InputError(f"{kind}: expected uint8 {layout}, got {got}{how}")
    if not frames.size:
        raise InputError(f"{kind}: expected at least one frame and one pixel, got {got}")
    return frames
