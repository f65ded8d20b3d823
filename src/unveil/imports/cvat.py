"""CVAT for video 1.1: masks and polygons.

Source: https://docs.cvat.ai/docs/other/xml_format
"""

from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from pycocotools import mask as coco

from unveil.errors import DataError
from unveil.exports.cvat import NAME, OBJECT
from unveil.imports.tracks import Layer, Tracks, fitting_ids, painted, said

FILE = "annotations.xml"
_SHAPES = ("mask", "polygon")
_OTHERS = ("box", "polyline", "points", "ellipse", "cuboid", "skeleton")
Whose = tuple[str, int, str]
"""Which object a shape is of: by what it is known, the number of that, and the label of a group."""


@dataclass(frozen=True)
class _Shape:
    """A shape in a frame. z: how far in front. whose: which object it is of, for `_ids`."""

    frame: int
    z: int
    element: dict[str, str]
    whose: Whose


def read_cvat(path: Path, size: tuple[int, int] | None = None) -> Tracks:
    """The masks and polygons of the tracks in a file.

    size: height and width of its frames, for a task made of images, of which CVAT does not say it.
    Which object a mask is of says its attribute `object`, as Unveil writes it. Shapes of a single
    frame, as which CVAT has masks, are one object where they share a group and a label; any other
    track is an object of its own. Where shapes overlap, the higher z_order is in front, else the
    later one. Raises DataError for a file of images, of boxes alone, or one that is not CVAT's.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError, LookupError) as error:
        raise DataError(f"{path} cannot be read as XML ({error}): export it again") from error
    if root.tag != "annotations" or root.find("meta") is None:
        raise DataError(f"{path} is no file of CVAT: export the task as 'CVAT for video 1.1'")
    if root.find("image") is not None:
        raise DataError(f"{path} is of single images: export the task as 'CVAT for video 1.1'")
    h, w = _size(root, path, size)
    warnings: list[str] = []
    shapes, labels, names = _shapes(root, path, warnings)
    first, last, step = _range(root, path, [s.frame for s in shapes])
    ids = _ids(shapes)
    new, dtype = fitting_ids(ids.values(), warnings)
    of_frame: dict[int, list[_Shape]] = defaultdict(list)
    for shape in shapes:
        if shape.frame not in range(first, last + 1, step):
            raise DataError(
                f"{path}: a shape in frame {shape.frame}, the task has {first} … {last} by {step}"
            )
        of_frame[shape.frame].append(shape)
    frames: list[list[Layer]] = [
        [
            (new[ids[s.whose]], partial(_mask, s.element, h, w, path))
            for s in sorted(of_frame[frame], key=lambda s: s.z)
        ]
        for frame in range(first, last + 1, step)
    ]
    about = {new[ids[w]]: said(names.get(w, ""), labels[w]) for w in ids}
    name = root.findtext("meta/task/name") or root.findtext("meta/job/name") or path.parent.name
    return Tracks(
        "CVAT",
        name,
        tuple(f"{i:05d}" for i in range(len(frames))),
        h,
        w,
        lambda: painted(frames, (h, w), dtype, warnings),
        about=about,
        first=first,
        step=step,
        warnings=warnings,
    )


def _shapes(
    root: ElementTree.Element, path: Path, warnings: list[str]
) -> tuple[list[_Shape], dict[Whose, str], dict[Whose, str]]:
    """All that is to be seen, and of each object its label and name."""
    shapes: list[_Shape] = []
    labels: dict[Whose, str] = {}
    names: dict[Whose, str] = {}
    others = 0
    for number, track in enumerate(root.iter("track")):
        seen = [element for element in track if element.get("outside") != "1"]
        others += sum(element.tag in _OTHERS for element in seen)
        drawn = [element for element in seen if element.tag in _SHAPES]
        label, group = track.get("label", ""), track.get("group_id") or "0"
        joined = group != "0" and len(drawn) == 1
        for element in drawn:
            said = {a.get("name"): (a.text or "").strip() for a in element.iter("attribute")}
            whose: Whose = ("track", number, "")
            if said.get(OBJECT, "").isdecimal():
                whose = ("object", int(said[OBJECT]), "")
            elif joined:
                whose = ("group", _whole(track, "group_id", path), label)
            z = _whole(element, "z_order", path) if element.get("z_order") else 0
            kept = {**element.attrib, "tag": element.tag}
            shapes.append(_Shape(_whole(element, "frame", path), z, kept, whose))
            labels.setdefault(whose, label)
            names.setdefault(whose, said.get(NAME, ""))
    if not shapes and others:
        raise DataError(
            f"{path} holds {others} boxes or other shapes, and no mask or polygon: a result is of "
            "masks"
        )
    if others:
        warnings.append(f"{others} boxes or other shapes are no masks, and are left out here")
    return shapes, labels, names


def _ids(shapes: list[_Shape]) -> dict[Whose, int]:
    """Objects keep their numbers; groups and tracks without one get those that are free."""
    whose = list(dict.fromkeys(s.whose for s in shapes))
    ids = {w: w[1] for w in whose if w[0] == "object"}
    taken, free = set(ids.values()), 1
    for w in whose:
        if w not in ids:
            while free in taken:
                free += 1
            ids[w] = free
            taken.add(free)
    return ids


def _range(root: ElementTree.Element, path: Path, seen: list[int]) -> tuple[int, int, int]:
    """The first and last frame of the task, and how many of the video lie between two."""
    task = root.find("meta/task")
    task = root.find("meta/job") if task is None else task
    if task is None:
        raise DataError(f"{path} is of no task, or of several: export one task")
    rule = (task.findtext("frame_filter") or "").replace(" ", "")
    step = rule.removeprefix("step=")
    first, last = task.findtext("start_frame") or "0", task.findtext("stop_frame")
    try:
        start = int(first)
        by = max(1, int(step or 1))
        size = int(task.findtext("size") or 0)
        end = int(last) if last else max([*seen, start + (size - 1) * by])
    except ValueError as error:
        raise DataError(f"{path}: the task's frames are no numbers ({error})") from error
    if end < start:
        raise DataError(f"{path}: the task has no frames ({start} … {end})")
    return start, end, by


def _size(root: ElementTree.Element, path: Path, known: tuple[int, int] | None) -> tuple[int, int]:
    if root.find("meta//original_size") is None and known is not None:
        return known
    h, w = (_side(root, path, side) for side in ("height", "width"))
    return h, w


def _side(root: ElementTree.Element, path: Path, side: str) -> int:
    text = next((e.text for e in root.iterfind(f"meta//original_size/{side}")), None)
    if text is None or not text.strip().isdecimal() or int(text) < 1:
        raise DataError(
            f"{path} does not say the {side} of the video (original_size), as CVAT does not of a "
            "task made of images: give the video, or the folder of the images, with --video"
        )
    return int(text)


def _whole(element: ElementTree.Element, name: str, path: Path) -> int:
    try:
        return int(element.get(name, ""))
    except ValueError:
        got = repr(element.get(name))
        raise DataError(f"{path}: {element.tag}: {name}: expected a whole number, got {got}") from (
            None
        )


def _mask(element: dict[str, str], h: int, w: int, path: Path) -> np.ndarray:
    """The pixels of a mask or of a polygon, which is filled as COCO fills it."""
    try:
        if element["tag"] == "polygon":
            points = np.array([p.split(",") for p in element["points"].split(";")], float)
            if points.shape[0] < 3 or points.shape[1] != 2 or not np.isfinite(points).all():
                raise ValueError("expected three points or more, x,y;x,y;x,y;…")
            filled = coco.frPyObjects([points.ravel().tolist()], h, w)
            return coco.decode(coco.merge(filled)).astype(bool)
        left, top, width, height = (int(element[k]) for k in ("left", "top", "width", "height"))
        runs = np.array([int(n) for n in element["rle"].split(",")])
        fits = 0 <= left <= w - width and 0 <= top <= h - height
        if not fits or (runs < 0).any() or runs.sum() != width * height:
            raise ValueError(f"{width}x{height} at {left},{top}, runs of {runs.sum()} pixels")
    except (KeyError, ValueError) as error:
        frame = element.get("frame")
        raise DataError(
            f"{path}: the {element['tag']} in frame {frame} does not fit {w}x{h} ({error})"
        ) from error
    mask = np.zeros((h, w), bool)
    inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
    mask[top : top + height, left : left + width] = inside
    return mask
