"""A result as exports read it: one frame after the other, never all of them at once.

result = open_result("out/dog").select(objects=[1, 3], every=2)
for labels in result.labels():          # uint8 or uint16 [H, W]
    ...
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from unveil.address import as_path
from unveil.errors import DataError, InputError
from unveil.results.folder import OUTPUT, RUN
from unveil.video.prefetch import ahead, mapped
from unveil.video.source import Video, open_video, span_of

OBJECTS = "objects.json"
ANYTHING = "object"
"""The class of what nobody gave a name."""
_LONG = re.compile(r"[/\\\0:*?\"<>|\r\n\t]+")  # what some system takes amiss in a file's name
_AHEAD = 4  # masks: one by one, threads would spend as long waiting for each other as reading
_HELD = 2 << 20  # pixels that a thread reads at a time, or one frame


Shares = tuple[np.ndarray, Any]
"""Ids [k], and a torch tensor [k, H, W] of about 0 … 1."""


@dataclass(frozen=True)
class Thing:
    """One object: its id, its score in 0 … 1 or None, the name a person gave it or None, its class.

    Where nobody chose a class, it is the name, and `object` where there is none either.
    """

    id: int
    score: float | None = None
    name: str | None = None
    kind: str = ANYTHING

    @property
    def file_name(self) -> str:
        """Its id, and its name without what cannot stand in the name of a file."""
        return f"{self.id} {_LONG.sub('_', self.name or '')[:60]}".strip(" .")


@dataclass(frozen=True)
class Result:
    """The objects of a video, read when they are asked for.

    name: of the video. fps: frames a second of what is read, exact. frame_names: one a frame.
    things: by ascending id. read: labels [H, W] of a frame of the whole result. chosen: which of
    its frames are read. open_frames: the pictures of the whole result from its first frame on; None
    where there are none, and `lacks` says why. open_files: the image files that these are, one
    each; none where they are decoded from something else. sound: the file whose sound goes with it,
    and start: the second in it at which the first frame is shown. first: the number of that in the
    video, where it is known without the rate. stride: every so many frames of it one is in the
    whole result. count_in_source: frames that the video has from the first one on, 0 where that is
    not known. shares: of a frame, by its number and its picture, the ids in it and how much of
    every pixel is each one's; None where only hard masks are known.
    """

    name: str
    fps: Fraction
    height: int
    width: int
    frame_names: tuple[str, ...]
    things: tuple[Thing, ...]
    read: Callable[[int], np.ndarray]
    chosen: range
    open_frames: Callable[[], Iterator[np.ndarray]] | None = None
    open_files: Callable[[], Sequence[Path]] = tuple
    lacks: str = "this result kept no frames"
    sound: Path | None = None
    start: float = 0.0
    first: int | None = None
    stride: int = 1
    count_in_source: Callable[[], int] = int
    shares: Callable[[int, np.ndarray], Shares] | None = None

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def file_name(self) -> str:
        """The name of the video without what cannot stand in the name of a file."""
        return _LONG.sub("_", self.name).strip(" .") or "video"

    @property
    def kinds(self) -> tuple[str, ...]:
        """The classes, in the order of the first object of each."""
        return tuple(dict.fromkeys(thing.kind for thing in self.things)) or (ANYTHING,)

    @property
    def dtype(self) -> np.dtype:
        """What holds every id: uint8, or uint16."""
        return np.dtype(np.uint8 if self._highest <= 255 else np.uint16)

    def labels(self) -> Iterator[np.ndarray]:
        """The ids in every frame, uint8 or uint16 [H, W]; 0 is background.

        Some are read ahead, on as many cores as there are.
        """
        few = max(1, min(_AHEAD, _HELD // (self.height * self.width)))
        parts = (self.chosen[i : i + few] for i in range(0, len(self.chosen), few))
        keep = _only([thing.id for thing in self.things], self.dtype)
        for part in mapped(lambda part: self._read(part, keep), parts):
            yield from part

    def _read(
        self, part: Iterable[int], keep: Callable[[np.ndarray], np.ndarray]
    ) -> list[np.ndarray]:
        """The ids in some frames."""
        every = []
        for index in part:
            labels = self.read(index)
            if labels.shape != (self.height, self.width):
                h, w = labels.shape
                raise DataError(
                    f"the mask of frame {self.frame_names[index]} of {self.name} is {w}x{h}, the "
                    f"result {self.width}x{self.height}: segment the video again"
                )
            every.append(keep(labels))
        return every

    def frames(self) -> Iterator[np.ndarray]:
        """The pictures, uint8 [H, W, 3] RGB, one decoded ahead. Raises InputError without any."""
        return ahead(self._frames())

    def _frames(self) -> Iterator[np.ndarray]:
        if self.open_frames is None:
            raise InputError(f"{self.name} has no pictures to export: {self.lacks}")
        count, wanted = -1, set(self.chosen)
        for count, frame in enumerate(self.open_frames()):
            if count in wanted:
                yield frame
            if count + 1 >= self.chosen.stop:
                return
        self._check_frames(count + 1)

    def files(self) -> list[Path]:
        """The image files that its pictures are; empty where they are no files of their own."""
        files = self.open_files()
        if not files:
            return []
        self._check_frames(len(files))
        return [files[i] for i in self.chosen]

    def _check_frames(self, count: int) -> None:
        """Raise InputError where the video has fewer frames than are wanted of it."""
        if count <= self.chosen[-1]:
            raise InputError(
                f"{self.name} has {self.chosen.stop} masks and its video {count} frames: give "
                "the same video with --source"
            )

    def names(self) -> Iterator[str]:
        """The name of every frame."""
        return (self.frame_names[i] for i in self.chosen)

    def in_source(self) -> Iterator[int]:
        """The number of every frame in its video, from 0; approximate where the rate varies."""
        rate = self.fps * self.chosen.step * self.stride
        first = math.ceil(self.start * rate - 1e-6) if self.first is None else self.first
        return (first + i * self.stride for i in self.chosen)

    def select(
        self,
        objects: Sequence[int] | None = None,
        every: int = 1,
        names: Mapping[int, str] | None = None,
    ) -> "Result":
        """Only some of the objects, every so many frames one, under new names.

        names: id → name; it becomes the class too. Raises InputError for ids that are not there.
        """
        if every < 1:
            raise InputError(f"every: expected at least 1 frame, got {every}")
        there = [thing.id for thing in self.things]
        for id in (*(objects or ()), *(names or ())):
            if id not in there:
                raise InputError(f"no object {id} in {self.name}: it has {_listed(there)}")
        names = names or {}
        things = tuple(
            replace(t, name=names[t.id], kind=names[t.id]) if t.id in names else t
            for t in self.things
            if objects is None or t.id in objects
        )
        chosen = self.chosen[::every]
        return replace(self, things=things, chosen=chosen, fps=self.fps / every)

    @property
    def _highest(self) -> int:
        return max((thing.id for thing in self.things), default=0)


def open_result(folder: str | Path, source: str | Path | None = None) -> Result:
    """The result of a video in the folder that `unveil segment` wrote, with its names and edits.

    source: the video, where it is no longer where it was. Raises DataError where the folder is
    no result.
    """
    folder = as_path(folder)
    run, record = _json(folder, RUN), _json(folder, OBJECTS, hook=_without_masks)
    try:
        about, (video, *_) = run[OUTPUT], record["videos"]
        frame_names = tuple(Path(name).stem for name in video["file_names"])
        kinds = {c["id"]: str(c["name"]) for c in record["categories"]}
        things = [_thing(a, kinds) for a in record["annotations"]]
        result = Result(
            name=str(about["name"]),
            fps=Fraction(about["fps"]),
            height=int(about["height"]),
            width=int(about["width"]),
            frame_names=frame_names,
            things=tuple(sorted(things, key=lambda thing: thing.id)),
            read=lambda i: read_mask(folder / "masks" / f"{frame_names[i]}.png"),
            chosen=range(len(frame_names)),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{folder} is no result that can be exported ({error!r}): segment the video again"
        ) from error
    return with_video(result, run.get("video") or {}, source)


def with_video(
    result: Result, about: Mapping[str, Any], source: str | Path | None = None
) -> Result:
    """The result with the pictures and the sound of its video.

    about: what run.json says of the video. source: where it is now.
    """
    place = source if source is not None else about.get("source")
    result = replace(result, first=about.get("first"), stride=int(about.get("stride") or 1))
    if place is None:
        return replace(result, lacks="it was made of frames in memory; give their video, --source")
    span = span_of(place, about)

    def opened() -> Video:
        try:
            video = open_video(place, **span)
        except InputError as error:
            if source is not None:
                raise
            raise InputError(
                f"the video of {result.name} cannot be read: {error}; say where it is with --source"
            ) from error
        if (video.height, video.width) != (result.height, result.width):
            raise InputError(
                f"{place} is {video.width}x{video.height}, the result of {result.name} "
                f"{result.width}x{result.height}: give the same video with --source"
            )
        return video

    def count() -> int:
        try:
            return len(open_video(place, start=span["start"]).times())
        except InputError:
            return 0

    sound = as_path(place)
    return replace(
        result,
        open_frames=lambda: iter(opened()),
        open_files=lambda: opened().files,
        sound=sound if sound.is_file() else None,
        start=float(span["start"] or 0),
        count_in_source=count,
    )


def read_mask(path: Path) -> np.ndarray:
    """The ids in a mask that Unveil wrote, uint8 or uint16 [H, W]."""
    try:
        with Image.open(path) as image:
            labels = np.array(image)
    except FileNotFoundError:
        raise DataError(f"{path} is missing: segment the video again") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a mask ({error}): segment again") from error
    if labels.ndim != 2:
        raise DataError(f"{path} holds colours, not ids: it is no mask of Unveil")
    return labels if labels.dtype == np.uint8 else labels.astype(np.uint16)


def _only(ids: Sequence[int], dtype: np.dtype) -> Callable[[np.ndarray], np.ndarray]:
    """What takes all other ids out of labels, uint8 or uint16, as `dtype`."""
    table = np.zeros(1 << 16, dtype)
    table[list(ids)] = ids
    of_bytes = table[:256].astype(np.uint8).tobytes()
    low = min(set(range(1, len(ids) + 2)) - set(ids)) - 1  # 1 … low are all kept

    def keep(labels: np.ndarray) -> np.ndarray:
        if labels.max(initial=0) <= low:  # as in most results: a tenth of looking at every pixel
            return labels.astype(dtype, copy=False)
        if labels.dtype != np.uint8:
            return table[labels]
        kept = bytearray(np.ascontiguousarray(labels)).translate(of_bytes)  # a tenth of indexing
        return np.frombuffer(kept, np.uint8).reshape(labels.shape).astype(dtype, copy=False)

    return keep


def _thing(record: Mapping[str, Any], kinds: Mapping[int, str]) -> Thing:
    name = record.get("name") or None
    kind = kinds[record["category_id"]]
    if kind == ANYTHING and name is not None:
        kind = str(name)
    score = record.get("score")
    return Thing(int(record["id"]), None if score is None else float(score), name, kind)


def _without_masks(record: dict[str, Any]) -> dict[str, Any] | None:
    """Run lengths are let go of while the file is read: the masks themselves hold the same."""
    return None if "counts" in record else record


def _json(folder: Path, name: str, hook: Any = None) -> Any:
    path = folder / name
    try:
        return json.loads(path.read_text(encoding="utf-8"), object_hook=hook)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"no result of Unveil at {folder}: there is no {name} in it") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}): segment the video again") from error


def _listed(ids: Sequence[int]) -> str:
    if not ids:
        return "none"
    return ", ".join(map(str, ids[:20])) + (" …" if len(ids) > 20 else "")
