"""Records of others, checked field by field before they are believed.

The layout is that of YouTube-VIS, for ground truths and predictions alike: videos, and annotations
whose `segmentations` hold a mask a frame, as COCO writes masks. Whatever is wrong is one DataError
of one form:

    FILE: RECORD: FIELD: expected …, got …; what to do

Source: https://cocodataset.org/#format-data; https://youtube-vos.org/dataset/vis
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pycocotools import mask as coco

from unveil.datasets.run_lengths import NOTHING, Said, checked_run_lengths, is_number
from unveil.errors import DataError

_LONGEST = 60  # characters of what came instead


@dataclass(frozen=True)
class Source:
    """A file of records. do: what to do where one of them is wrong."""

    file: Path
    do: str

    def fault(self, record: str, what: str, expected: str, got: object) -> DataError:
        """The error that says what is wrong with a field of a record; to be raised."""
        said = got if isinstance(got, Said) else repr(got)
        said = said if len(said) <= _LONGEST else f"{said[:_LONGEST]} …"
        where = f"{self.file}: {record}: {what}"
        return DataError(f"{where}: expected {expected}, got {said}; {self.do}")


@dataclass(frozen=True)
class Record:
    """One object of a JSON file, and what messages call it."""

    source: Source
    name: str
    fields: Mapping[str, Any] = field(repr=False)

    def fault(self, what: str, expected: str, got: object) -> DataError:
        """The error about one of its fields; to be raised."""
        return self.source.fault(self.name, what, expected, got)

    def get(self, name: str) -> Any:
        """A field as it stands in the file."""
        return self.fields.get(name, NOTHING)

    def whole(self, name: str, least: int | None = None) -> int:
        """A field that holds a whole number; text that looks like one is none."""
        value = self.get(name)
        expected = "a whole number" if least is None else f"a whole number from {least}"
        if type(value) is not int or (least is not None and value < least):
            raise self.fault(name, expected, value)
        return value

    def number(self, name: str) -> float:
        """A field that holds a finite number."""
        value = self.get(name)
        if not is_number(value):
            raise self.fault(name, "a finite number", value)
        return float(value)

    def listed(self, name: str) -> list[Any]:
        """A field that holds a list."""
        value = self.get(name)
        if not isinstance(value, list):
            raise self.fault(name, "a list", value)
        return value


@dataclass(frozen=True)
class Video:
    """A video of a file: its number, its size in px, and the names of its frames."""

    record: Record
    id: int
    height: int
    width: int
    file_names: tuple[str, ...]

    @property
    def name(self) -> str:
        """The folder of its frames; what the record calls it where they lie in none."""
        folder = str(PurePosixPath(self.file_names[0]).parent)
        return str(self.record.fields.get("name", "")) if folder == "." else folder

    @property
    def shape(self) -> tuple[int, int, int]:
        """Frames, height and width."""
        return len(self.file_names), self.height, self.width


@dataclass(frozen=True)
class Track:
    """One object of a video. id, score: None where the file does not say."""

    record: Record
    video_id: int
    id: int | None
    score: float | None

    def masks(self, shape: tuple[int, int, int]) -> Iterator[tuple[int, np.ndarray]]:
        """The frames it is in, each with its mask, bool [H, W]; shape: [T, H, W] of the video."""
        for frame, rle in self.checked(shape):
            yield frame, coco.decode(rle).astype(bool)

    def checked(self, shape: tuple[int, int, int]) -> Iterator[tuple[int, dict[str, Any]]]:
        """The frames it is in, each with run lengths that are known to fill it, not yet decoded.

        Raises DataError unless there is one segmentation a frame, null where it is absent.
        """
        t, h, w = shape
        segmentations = self.record.listed("segmentations")
        if len(segmentations) != t:
            raise self.record.fault(
                "segmentations", f"{t}, one a frame, null where absent", Said(len(segmentations))
            )
        for frame, segmentation in enumerate(segmentations):
            what = f"segmentations[{frame}]"
            rle = checked_run_lengths(segmentation, h, w, what, self.record.fault)
            if rle is not None:
                yield frame, rle


def read_records(source: Source, content: Any, name: str) -> list[Record]:
    """The records in a list. name: what the list is called in the file; messages count from 0."""
    if not isinstance(content, list):
        raise source.fault("the file", name, "a list of records", content)
    for i, item in enumerate(content):
        if not isinstance(item, dict):
            raise source.fault(f"{name}[{i}]", "the record", "an object with fields", item)
    return [
        Record(source, f"{name}[{i}]" + (f" (id {item['id']!r})" if "id" in item else ""), item)
        for i, item in enumerate(content)
    ]


def read_videos(source: Source, content: Any) -> list[Video]:
    """The videos of a file, by `videos`. Raises DataError where two share an id or a name."""
    videos = [_video(r) for r in read_records(source, _part(source, content, "videos"), "videos")]
    no_two_alike([(v.record, "id", v.id) for v in videos])
    no_two_alike([(v.record, "file_names", v.name) for v in videos])
    return videos


def read_tracks(source: Source, content: Any, *, ids: bool) -> list[Track]:
    """The annotations of a file, by `annotations`, or of a bare list of results.

    ids: whether each must have an id of its own.
    """
    part = content if isinstance(content, list) else _part(source, content, "annotations")
    name = "results" if isinstance(content, list) else "annotations"
    tracks = [_track(r, ids) for r in read_records(source, part, name)]
    if ids:
        no_two_alike([(x.record, "id", x.id) for x in tracks])
    without = [x for x in tracks if x.score is None]
    if 0 < len(without) < len(tracks):
        raise without[0].record.fault("score", "a number, as the others have one", NOTHING)
    return tracks


def _part(source: Source, content: Any, name: str) -> Any:
    if not isinstance(content, dict):
        raise source.fault("the file", "what it holds", "an object with videos", content)
    return content.get(name, NOTHING)


def _video(record: Record) -> Video:
    names = record.listed("file_names")
    if not names:
        raise record.fault("file_names", "at least one frame", names)
    for i, name in enumerate(names):
        path = PurePosixPath(name) if isinstance(name, str) else None
        if path is None or path.is_absolute() or ".." in path.parts or not path.name:
            raise record.fault(f"file_names[{i}]", "FOLDER/FRAME.jpg", name)
    stems = [PurePosixPath(name).stem for name in names]
    no_two_alike([(record, f"file_names[{i}]", stem) for i, stem in enumerate(stems)])
    return Video(
        record,
        record.whole("id"),
        record.whole("height", 1),
        record.whole("width", 1),
        tuple(names),
    )


def _track(record: Record, ids: bool) -> Track:
    return Track(
        record,
        record.whole("video_id"),
        record.whole("id") if ids else None,
        record.number("score") if "score" in record.fields else None,
    )


def no_two_alike(fields: Sequence[tuple[Record, str, object]]) -> None:
    """Raise DataError where two records hold the same in a field that tells them apart."""
    seen: dict[object, Record] = {}
    for record, name, value in fields:
        if value in seen:
            other = Said(f"{value!r} again, as in {seen[value].name}")
            raise record.fault(name, "what no other has", other)
        seen[value] = record
