"""Objects as records: masks as COCO run lengths, in the layout of YouTube-VIS."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from pycocotools import mask as coco

_OBJECT = "object"  # the class of what nobody gave another


@dataclass(frozen=True)
class Mask:
    """One object in one frame: compressed run lengths, area in px, box (x, y, w, h) in px."""

    counts: bytes
    area: int
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class About:
    """What a person said of an object: a name, a class, a colour #rrggbb; empty where nothing."""

    name: str = ""
    class_: str = ""
    colour: str | None = None


def encode(labels: np.ndarray) -> dict[int, Mask]:
    """The mask of every id but 0 that occurs in labels [H, W].

    All ids are found in one pass over the pixels, column by column as COCO counts them, so the
    cost hardly depends on how many there are.
    """
    h, w = labels.shape
    column_major = labels.T.ravel()
    starts = np.flatnonzero(column_major[1:] != column_major[:-1]) + 1
    starts = np.concatenate(([0], starts))
    ends = np.append(starts[1:], h * w)
    values = column_major[starts]
    masks = {}
    for id in np.unique(values).tolist():
        if id == 0:
            continue
        mine = values == id
        first, last = starts[mine], ends[mine]
        counts = np.diff(np.stack((first, last), axis=1).ravel(), prepend=0, append=h * w)
        counts = counts[:-1] if last[-1] == h * w else counts
        rle = coco.frPyObjects({"size": [h, w], "counts": counts.tolist()}, h, w)
        x, y, width, height = (int(side) for side in coco.toBbox(rle))
        area = int((last - first).sum())
        masks[id] = Mask(rle["counts"], area, (x, y, width, height))
    return masks


def decode(segmentation: Mapping[str, Any]) -> np.ndarray:
    """The mask bool [H, W] of one COCO record: size, and counts as text or bytes."""
    return coco.decode(dict(segmentation)).astype(bool)


def youtube_vis(
    masks: Mapping[int, Mapping[int, Mask]],
    scores: Mapping[int, float],
    *,
    name: str,
    fps: Fraction,
    height: int,
    width: int,
    frame_names: Sequence[str],
    about: Mapping[int, About] | None = None,
    pictures: str = "masks/{}.png",
) -> tuple[dict[str, Any], Iterator[dict[str, Any]]]:
    """All objects of one video in the layout of a YouTube-VIS annotation file: what it says beside
    annotations, and these.

    masks: id → frame index → mask; a frame where an object is absent becomes null. scores: id →
    0 … 1. An object without a pixel is left out. about: names, classes and colours given by hand;
    objects without a class are of the category `object`. pictures: the file of a frame by its name;
    those of a result are its masks, for a video has no others. Annotations come one object at a
    time, so that not all need be held.
    """
    about = about or {}
    classes = sorted({a.class_ for id, a in about.items() if id in masks} - {"", _OBJECT})
    category = {"": 1, _OBJECT: 1} | {name: i for i, name in enumerate(classes, 2)}
    t = len(frame_names)
    size = {"height": height, "width": width, "length": t}
    video = {
        "id": 1,
        "name": name,
        "fps": str(fps),
        "file_names": [pictures.format(frame) for frame in frame_names],
        **size,
    }
    categories = [
        {"id": i, "name": name, "supercategory": _OBJECT}
        for i, name in enumerate([_OBJECT, *classes], 1)
    ]

    def annotation(id: int) -> dict[str, Any]:
        of_frame = masks[id]
        frames = [of_frame.get(i) for i in range(t)]
        return {
            "id": id,
            "video_id": 1,
            "category_id": category[about.get(id, About()).class_],
            "iscrowd": 0,
            "score": round(float(scores[id]), 6),
            "segmentations": [
                m and {"size": [height, width], "counts": m.counts.decode()} for m in frames
            ],
            "areas": [m and m.area for m in frames],
            "bboxes": [m and list(m.box) for m in frames],
            **_said(about.get(id, About())),
            **size,
        }

    return {"videos": [video], "categories": categories}, map(annotation, sorted(masks))


def _said(about: About) -> dict[str, str]:
    """The fields of an annotation that only a person fills."""
    said = {"name": about.name, "color": about.colour}
    return {field: value for field, value in said.items() if value}
