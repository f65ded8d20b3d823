"""CVAT for video 1.1: a mask an object and frame, as CVAT itself exports them, or tracks of boxes.

Source: https://docs.cvat.ai/docs/other/xml_format. CVAT has no tracks of masks: of a track of masks
its importer keeps the first and drops the others. A mask is therefore a track of one frame, and
says in its attributes which object it is of.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from unveil.exports.result import Result, Thing
from unveil.exports.spool import Spool
from unveil.progress import Progress
from unveil.results.extents import extents

OBJECT, NAME = "object", "name"
"""The attributes that say of a mask which object it is of, and what a person called that."""
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_cvat(result: Result, out: Path, report: Progress) -> None:
    """A folder of `annotations.xml`, to upload to a task, and `labels.json`, to make it with.

    Frames have the numbers that they have in the video; masks are run lengths row by row within
    their box, background first.
    """
    out.mkdir()
    things = {thing.id: thing for thing in result.things}
    every = zip(result.in_source(), result.labels(), strict=True)
    with (out / "annotations.xml").open("w", encoding="utf-8") as file:
        last = _head(file, result)
        step = _step(result)
        count = 0
        for i, (frame, labels) in enumerate(every):
            for id, mask in extents(labels).items():
                x, y, w, h = mask.box
                runs = row_runs(labels[y : y + h, x : x + w] == id)
                _open_track(file, count, things[id])
                where = {"rle": ", ".join(map(str, runs)), "left": x, "top": y}
                _shape(file, "mask", frame, {**where, "width": w, "height": h}, things[id])
                if frame < last:  # gone in the next one, where another track has its mask
                    gone = {"rle": "1", "left": x, "top": y, "width": 1, "height": 1}
                    _shape(file, "mask", frame + step, gone, things[id], outside=True)
                file.write("  </track>\n")
                count += 1
            report("cvat", i + 1, len(result))
        file.write("</annotations>\n")
    _write_labels(result, out / "labels.json")


def write_cvat_boxes(result: Result, out: Path, report: Progress) -> None:
    """The same folder with the boxes alone: a track an object, a key frame wherever it is seen.

    What is still seen in the last frame leaves in the one after it, if the video has one: CVAT
    would keep its box to the end of the task.
    """
    out.mkdir()
    frames = list(result.in_source())
    if (result.chosen[-1] + result.chosen.step) * result.stride < result.count_in_source():
        frames.append(frames[-1] + _step(result))
    with Spool() as spool, (out / "annotations.xml").open("w", encoding="utf-8") as file:
        for i, labels in enumerate(result.labels()):
            for id, mask in extents(labels).items():
                spool.add(id, i, " ".join(map(str, mask.box)))
            report("cvat-boxes", i + 1, len(result))
        _head(file, result)
        for count, thing in enumerate(result.things):
            seen = spool.of(thing.id)
            _track_of_boxes(file, count, thing, frames, seen)
        file.write("</annotations>\n")
    _write_labels(result, out / "labels.json")


def _track_of_boxes(
    file: TextIO, count: int, thing: Thing, frames: list[int], seen: Iterator[tuple[int, str]]
) -> None:
    """A box a frame; where the object leaves, its last box says so. Nothing if it is never seen.

    frames: their numbers, and that of the one after them where the video goes on.
    """
    before: tuple[int, dict[str, object]] | None = None
    for i, text in seen:
        x, y, w, h = map(int, text.split())
        corners: dict[str, object] = {"xtl": x, "ytl": y, "xbr": x + w, "ybr": y + h}
        if before is None:
            _open_track(file, count, thing)
        elif i > before[0] + 1:
            _shape(file, "box", frames[before[0] + 1], before[1], thing, outside=True)
        _shape(file, "box", frames[i], corners, thing)
        before = i, corners
    if before is not None:
        if before[0] + 1 < len(frames):
            _shape(file, "box", frames[before[0] + 1], before[1], thing, outside=True)
        file.write("  </track>\n")


def row_runs(mask: np.ndarray) -> list[int]:
    """The run lengths of a mask [h, w] row by row; the first is of background, and may be 0."""
    flat = mask.ravel()
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]) + 1, flat.size)
    runs = np.diff(ends, prepend=0).tolist()
    return [0, *runs] if flat[0] else runs


def _head(file: TextIO, result: Result) -> int:
    """All that comes before the tracks; returns the number of the last frame."""
    frames = list(result.in_source())
    labels = "".join(
        f"        <label>\n          <name>{_text(kind)}</name>\n          <type>any</type>\n"
        f"          <attributes>\n{_attribute(OBJECT)}{_attribute(NAME)}"
        "          </attributes>\n        </label>\n"
        for kind in result.kinds
    )
    file.write(
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
        f"  <meta>\n    <task>\n      <name>{_text(result.name)}</name>\n"
        f"      <size>{len(frames)}</size>\n      <mode>interpolation</mode>\n"
        f"      <start_frame>{frames[0]}</start_frame>\n      <stop_frame>{frames[-1]}</stop_frame>"
        f"\n      <frame_filter>step={_step(result)}</frame_filter>\n      <labels>\n{labels}"
        f"      </labels>\n      <original_size>\n        <width>{result.width}</width>\n"
        f"        <height>{result.height}</height>\n      </original_size>\n"
        "    </task>\n  </meta>\n"
    )
    return frames[-1]


def _open_track(file: TextIO, number: int, thing: Thing) -> None:
    file.write(
        f'  <track id="{number}" label={_quoted(thing.kind)} source="auto" group_id="{thing.id}">\n'
    )


def _shape(
    file: TextIO,
    kind: str,
    frame: int,
    where: dict[str, object],
    thing: Thing,
    outside: bool = False,
) -> None:
    flags = f'keyframe="1" outside="{int(outside)}" occluded="0"'
    places = " ".join(f'{name}="{value}"' for name, value in where.items())
    file.write(
        f'    <{kind} frame="{frame}" {flags} {places} z_order="0">\n'
        f'      <attribute name="{OBJECT}">{thing.id}</attribute>\n'
        f'      <attribute name="{NAME}">{_text(thing.name or "")}</attribute>\n    </{kind}>\n'
    )


def _attribute(name: str) -> str:
    return (
        f"            <attribute>\n              <name>{name}</name>\n"
        "              <mutable>False</mutable>\n              <input_type>text</input_type>\n"
        "              <default_value></default_value>\n              <values></values>\n"
        "            </attribute>\n"
    )


def _write_labels(result: Result, path: Path) -> None:
    """What is pasted as the raw labels of a new task, so that nothing of the tracks is lost."""
    empty = {"mutable": False, "input_type": "text", "default_value": "", "values": [""]}
    attributes = [{"name": name, **empty} for name in (OBJECT, NAME)]
    kinds = map(_clean, result.kinds)  # as the tracks have them, or CVAT would not know theirs
    labels = [{"name": kind, "type": "any", "attributes": attributes} for kind in kinds]
    path.write_text(json.dumps(labels, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _step(result: Result) -> int:
    return result.stride * result.chosen.step


def _text(value: str) -> str:
    return escape(_clean(value))


def _quoted(value: str) -> str:
    return quoteattr(_clean(value))


def _clean(value: str) -> str:
    """The same without what XML has no way to write."""
    return _NOT_XML.sub("\ufffd", value)
