"""Objects where others look at them: layers of napari, detections of supervision, rerun.

Sources: https://napari.org/stable/guides/layers.html, https://supervision.roboflow.com,
https://rerun.io/docs
"""

import io
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from unveil.errors import OutputError
from unveil.exports.extra import need
from unveil.exports.pictures import QUALITY
from unveil.exports.result import Result
from unveil.progress import Progress
from unveil.results.extents import extents
from unveil.results.palette import colour_index, vivid_palette
from unveil.text import writable

Layer = tuple[Any, dict[str, Any], str]
"""What napari makes a layer of: data, arguments, kind."""

_ROOM = 1 << 16  # bytes, more than rerun writes before the first frame
_FLUSHED = 64  # frames after which a write that failed is noticed


def napari_layers(result: Result) -> list[Layer]:
    """The pictures, where there are any, and the labels, as layers of napari; napari is not needed.

    The labels have `features`, a row an id from 0: its name, class and score.
    """
    layers: list[Layer] = []
    if result.open_frames is not None:
        frames = np.stack(list(result.frames()))
        layers.append((frames, {"name": result.name, "rgb": True}, "image"))
    labels = np.stack(list(result.labels()))
    things = {thing.id: thing for thing in result.things}
    ids = [0, *things]
    about = {
        "index": ids,
        "name": [things[id].name or "" if id else "background" for id in ids],
        "class": [things[id].kind if id else "" for id in ids],
        "score": [_score(things[id].score) if id else np.nan for id in ids],
    }
    metadata = {"fps": str(result.fps), "frame_names": list(result.names())}
    said = {"name": f"{result.name}: objects", "features": about, "metadata": metadata}
    layers.append((labels, said, "labels"))
    return layers


def detections(result: Result) -> Iterator[Any]:
    """A `supervision.Detections` a frame: boxes, masks, scores, classes, and ids as tracker ids.

    Raises OutputError where supervision is not installed.
    """
    supervision = need("supervision", "supervision")
    things = {thing.id: thing for thing in result.things}
    number = {kind: i for i, kind in enumerate(result.kinds)}
    for labels in result.labels():
        masks = extents(labels)
        if not masks:
            yield supervision.Detections.empty()
            continue
        ids = np.array(list(masks))
        boxes = np.array([mask.box for mask in masks.values()], float)
        kinds = [things[id].kind for id in masks]
        scores = np.array([_score(things[id].score, 1.0) for id in masks])
        yield supervision.Detections(
            xyxy=np.concatenate((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), axis=1),
            mask=labels[None] == ids[:, None, None],
            confidence=scores,
            class_id=np.array([number[kind] for kind in kinds]),
            tracker_id=ids,
            data={"class_name": np.array(kinds)},
        )


def write_rerun(result: Result, out: Path, report: Progress, images: bool = True) -> None:
    """A recording for rerun's viewer: pictures, labels, boxes and areas on two timelines.

    images: False leaves the pictures out.
    """
    rerun = need("rerun", "rerun")
    _check_room(out)
    recording = rerun.RecordingStream("unveil", recording_id=writable(result.file_name))
    try:
        recording.save(str(out))
        _record(rerun, recording, result, report, images)
        recording.flush()
    except RuntimeError as error:  # all that rerun says of a write that failed
        _check_room(out)
        raise OutputError(f"rerun could not write {out}: {error}") from error
    finally:
        recording.disconnect()


def _check_room(out: Path) -> None:
    """Raise OSError where no more can be written: with a full disk rerun may wait for ever."""
    with out.open("ab") as file:
        file.write(bytes(_ROOM))


def _record(rerun: Any, recording: Any, result: Result, report: Progress, images: bool) -> None:
    """Log every frame, and who is who."""
    names = [
        (thing.id, writable(thing.name or f"{thing.kind} {thing.id}")) for thing in result.things
    ]
    classes = [rerun.AnnotationInfo(id=id, label=name, color=_colour(id)) for id, name in names]
    recording.log("video", rerun.AnnotationContext(classes), static=True)
    frames = result.frames() if images else repeat(None)
    every = zip(result.chosen, result.labels(), frames, strict=images)
    for i, (index, labels, frame) in enumerate(every):
        recording.set_time("frame", sequence=index)
        recording.set_time("time", duration=float(i / result.fps))
        if frame is not None:
            data = io.BytesIO()
            Image.fromarray(frame).save(data, "JPEG", quality=QUALITY)
            picture = rerun.EncodedImage(contents=data.getvalue(), media_type="image/jpeg")
            recording.log("video/frame", picture)
        recording.log("video/objects", rerun.SegmentationImage(labels, opacity=0.5))
        masks = extents(labels)
        boxes = np.array([mask.box for mask in masks.values()], float).reshape(-1, 4)
        recording.log(
            "video/boxes",
            rerun.Boxes2D(array=boxes, array_format=rerun.Box2DFormat.XYWH, class_ids=list(masks)),
        )
        for thing in result.things:
            area = masks[thing.id].area if thing.id in masks else 0
            recording.log(f"area/{thing.id}", rerun.Scalars(area))
        if i % _FLUSHED == 0:
            recording.flush()
        report("rerun", i + 1, len(result))


def _score(score: float | None, otherwise: float = np.nan) -> float:
    return otherwise if score is None else score


def _colour(id: int) -> list[int]:
    return vivid_palette()[colour_index(np.array([id], np.uint16))[0]].tolist()
