"""YOLO: a text file a frame, coordinates as shares of the frame, and data.yaml.

Sources: https://docs.ultralytics.com/datasets/segment/ and .../modes/track/
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from unveil.errors import InputError
from unveil.exports.pictures import write_pictures
from unveil.exports.polygons import outline
from unveil.exports.result import Result
from unveil.progress import Progress
from unveil.results.extents import extents
from unveil.text import writable

WITHIN = 0.25
"""Where in its pixel a vertex lies: readers that cut off and readers that round find the pixel."""
_SHAPE = np.array([(0, 0), (0.2, 0), (0.2, 0.2), (0, 0.2)])  # a polygon of one pixel, within it


def write_yolo(
    result: Result, out: Path, report: Progress, images: bool = True, val: float = 0.2
) -> None:
    """A folder of `data.yaml`, `images/` and `labels/`, polygons split in train and val.

    val: the share of the frames that is kept for validation, 0 … 1: the last ones, since frames
    that are neighbours in time are almost the same picture. images: False writes no pictures.
    """
    if not 0 <= val < 1:
        raise InputError(f"val: expected a share of the frames, 0 to below 1, got {val}")
    count = len(result)
    kept = min(round(val * count), count - 1)
    parts = ["train"] * (count - kept) + ["val"] * kept
    for part in set(parts):
        (out / "labels" / part).mkdir(parents=True)
        if images:
            (out / "images" / part).mkdir(parents=True)
    kinds = _numbers(result)
    stems = [f"{part}/{name}" for part, name in zip(parts, result.names(), strict=True)]
    paths = (out / "images" / f"{stem}.jpg" for stem in stems)
    with write_pictures(result, paths, images) as steps:
        every = zip(stems, result.labels(), steps, strict=images)
        for i, (stem, labels, _) in enumerate(every):
            lines = (
                f"{kinds[id]} " + " ".join(map("{:.7g}".format, polygon.ravel().tolist()))
                for id, polygon in _polygons(labels)
            )
            _write_lines(out / "labels" / f"{stem}.txt", lines)
            report("yolo", i + 1, count)
    kinds_said = (json.dumps(writable(kind), ensure_ascii=False) for kind in result.kinds)
    names = "".join(f"  {i}: {kind}\n" for i, kind in enumerate(kinds_said))
    head = f"train: images/train\nval: images/{'val' if kept else 'train'}\n"
    (out / "data.yaml").write_text(f"{head}names:\n{names}", encoding="utf-8")


def write_yolo_tracks(result: Result, out: Path, report: Progress) -> None:
    """A folder of `labels/`: `class x y width height id` a line, as their tracker saves it."""
    (out / "labels").mkdir(parents=True)
    kinds = _numbers(result)
    size = np.array([result.width, result.height] * 2)
    for i, (name, labels) in enumerate(zip(result.names(), result.labels(), strict=True)):
        lines = []
        for id, mask in extents(labels).items():
            x, y, w, h = mask.box
            share = np.array([x + w / 2, y + h / 2, w, h]) / size
            lines.append(f"{kinds[id]} " + " ".join(f"{v:.7g}" for v in share) + f" {id}")
        _write_lines(out / "labels" / f"{name}.txt", lines)
        report("yolo-tracks", i + 1, len(result))


def _polygons(labels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Every object's outline, as shares of the frame, at least three vertices each."""
    size = np.array(labels.shape[::-1])
    for id, mask in extents(labels).items():
        x, y, w, h = mask.box
        polygon = outline(labels[y : y + h, x : x + w] == id) + np.array((x, y)) + WITHIN
        if len(polygon) < 3:
            polygon = (polygon[:, None] + _SHAPE).reshape(-1, 2)
        yield id, polygon / size


def _numbers(result: Result) -> dict[int, int]:
    places = {kind: i for i, kind in enumerate(result.kinds)}
    return {thing.id: places[thing.kind] for thing in result.things}


def _write_lines(path: Path, lines: Iterator[str] | list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
