"""Label Studio: a task a frame with brush masks, or one task with the boxes of a video as tracks.

Sources: https://labelstud.io/guide/task_format, .../tags/brushlabels, .../tags/videorectangle.
Masks are run lengths in bits, of the four equal channels of a picture row by row: 32 bits how many
values, 5 bits how long a value, four times 4 bits how long a run's length may be; then for every
run whether it repeats, which of the four, its length, its value.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np

from unveil.exports.pictures import write_pictures
from unveil.exports.result import Result
from unveil.exports.spool import Spool
from unveil.progress import Progress
from unveil.results.extents import extents
from unveil.text import writable

LOCAL = "/data/local-files/?d="
"""How Label Studio addresses a file below the folder that it serves."""
_SIZES = (3, 4, 8, 16)  # bits of a run's length
_LONGEST = 1 << 16  # values of a run; longer ones are several
_CHANNELS = 4


def write_label_studio(result: Result, out: Path, report: Progress, images: bool = True) -> None:
    """A folder of `tasks.json` to import, `config.xml` for the labelling interface, and `images/`.

    Objects are predictions; a region `object-3` is of object 3 in every frame. images: False
    writes no pictures; their addresses are as if they were there.
    """
    (out / "images").mkdir(parents=True) if images else out.mkdir()
    things = {thing.id: thing for thing in result.things}
    paths = (out / "images" / f"{name}.jpg" for name in result.names())
    with (
        (out / "tasks.json").open("w", encoding="utf-8") as file,
        write_pictures(result, paths, images) as steps,
    ):
        every = zip(result.names(), result.labels(), steps, strict=images)
        for i, (name, labels, _) in enumerate(every):
            regions = []
            for id in extents(labels):
                value = {"format": "rle", "rle": brush(labels == id)}
                region = _region(f"object-{id}", "brush", "brushlabels", "image")
                size = {"original_width": result.width, "original_height": result.height}
                value["brushlabels"] = [things[id].kind]
                said = things[id].name or f"object {id}"
                about = {"image_rotation": 0, "meta": {"text": [said]}, "score": things[id].score}
                regions.append(region | size | {"value": value} | about)
            data = {"image": _address(f"images/{name}.jpg"), "frame": i, "video": result.name}
            _add(file, i, data, regions)
            report("label-studio", i + 1, len(result))
        file.write("]\n")
    _write_config(result, out, '<Image name="image" value="$image"/>', "BrushLabels", "brush")


def write_label_studio_video(result: Result, out: Path, report: Progress) -> None:
    """A folder of `tasks.json` and `config.xml`: one task, a track of boxes an object.

    Frames have the numbers that they have in the video. The task names it by its file, which has
    to lie below the folder that Label Studio serves.
    """
    out.mkdir()
    frames = list(result.in_source())
    rate = float(result.fps * result.chosen.step * result.stride)
    name = result.sound.name if result.sound else f"{result.file_name}.mp4"
    with Spool() as spool, (out / "tasks.json").open("w", encoding="utf-8") as file:
        for i, labels in enumerate(result.labels()):
            for id, mask in extents(labels).items():
                spool.add(id, i, " ".join(map(str, mask.box)))
            report("label-studio-video", i + 1, len(result))
        regions = [
            _region(f"object-{thing.id}", "box", "videorectangle", "video")
            | {
                "value": {
                    "framesCount": frames[-1] + 1,
                    "duration": (frames[-1] + 1) / rate,
                    "sequence": list(_sequence(result, frames, spool.of(thing.id), rate)),
                    "labels": [thing.kind],
                },
                "meta": {"text": [thing.name or f"object {thing.id}"]},
                "score": thing.score,
            }
            for thing in result.things
        ]
        _add(file, 0, {"video": _address(name)}, regions)
        file.write("]\n")
    tags = f'<Video name="video" value="$video" framerate="{rate:g}"/>'
    tags += '\n  <VideoRectangle name="box" toName="video"/>'
    _write_config(result, out, tags, "Labels", "labels")


def brush(mask: np.ndarray) -> list[int]:
    """The run lengths of a mask, bool [H, W], as bytes of Label Studio's brush."""
    flat = mask.ravel()
    starts = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1))
    lengths = np.diff(starts, append=flat.size) * _CHANNELS
    values = np.where(flat[starts], 255, 0)
    pieces = -(-lengths // _LONGEST)
    values = np.repeat(values, pieces)
    rest = lengths - (pieces - 1) * _LONGEST
    lengths = np.full(len(values), _LONGEST)
    lengths[np.cumsum(pieces) - 1] = rest
    which = np.searchsorted([1 << size for size in _SIZES], lengths)
    size = np.array(_SIZES)[which]
    codes = (((1 << 2 | which) << size | (lengths - 1)) << 8) | values
    head = flat.size * _CHANNELS << 21 | 7 << 16
    for i, most in enumerate(_SIZES):
        head |= most - 1 << 4 * (3 - i)
    first = np.array([int(bit) for bit in f"{head:053b}"], np.uint8)
    bits = _bits(codes, size + 11)
    return np.packbits(np.concatenate((first, bits))).tolist()


def _bits(codes: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The lowest bits of every code, as many as its count says, one after the other."""
    every = np.unpackbits(codes.astype(">u4").view(np.uint8)).reshape(-1, 32)
    return every[np.arange(32) >= 32 - counts[:, None]]


def _sequence(
    result: Result, frames: list[int], seen: Iterator[tuple[int, str]], rate: float
) -> Iterator[dict[str, Any]]:
    """The key frames of a track: shares of the frame in percent.

    The last one before the object leaves, and of all, is not enabled: Label Studio shows it, and
    nothing after it up to the next.
    """
    size = np.array([result.width, result.height] * 2)
    before: tuple[int, dict[str, Any]] | None = None
    for i, text in seen:
        if before is not None:
            yield _key(frames[before[0]], before[1], rate, enabled=i == before[0] + 1)
        share = np.array(text.split(), float) / size * 100
        before = i, dict(zip(("x", "y", "width", "height"), share.tolist(), strict=True))
    if before is not None:
        yield _key(frames[before[0]], before[1], rate, enabled=False)


def _key(index: int, box: dict[str, Any], rate: float, enabled: bool) -> dict[str, Any]:
    """A key frame; Label Studio counts frames from 1."""
    return {"frame": index + 1, "time": index / rate, "enabled": enabled, "rotation": 0, **box}


def _address(file: str) -> str:
    """Where Label Studio finds a file; what has a meaning in an address is written out."""
    return LOCAL + quote(os.fsencode(file))


def _region(id: str, tag: str, type_: str, of: str) -> dict[str, Any]:
    return {"id": id, "from_name": tag, "to_name": of, "type": type_, "origin": "prediction"}


def _add(file: Any, index: int, data: dict[str, Any], regions: list[dict[str, Any]]) -> None:
    """Write one task of the list."""
    said = [{k: v for k, v in region.items() if v is not None} for region in regions]
    task = {"data": data, "predictions": [{"model_version": "unveil", "result": said}]}
    text = json.dumps(task, ensure_ascii=False, separators=(",", ":"))
    file.write(("," if index else "[") + "\n" + writable(text))


def _write_config(result: Result, out: Path, tags: str, labels: str, name: str) -> None:
    of = "video" if "<Video " in tags else "image"
    kinds = "".join(f"    <Label value={quoteattr(kind)}/>\n" for kind in result.kinds)
    control = f'<{labels} name="{name}" toName="{of}">\n{kinds}  </{labels}>'
    text = f"<View>\n  {tags}\n  {control}\n</View>\n"
    (out / "config.xml").write_text(writable(text), encoding="utf-8")
