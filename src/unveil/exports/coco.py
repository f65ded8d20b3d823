"""COCO instances and YouTube-VIS, with the pictures that they name.

Sources: https://cocodataset.org/#format-data, https://youtube-vos.org/dataset/vis
"""

import json
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import Any, TextIO

from unveil.exports.pictures import write_pictures
from unveil.exports.result import Result
from unveil.exports.spool import Spool
from unveil.progress import Progress
from unveil.results.coco import Mask, encode


def write_coco(result: Result, out: Path, report: Progress, images: bool = True) -> None:
    """A folder of `annotations.json` and `images/`: one image a frame, run lengths, track ids.

    Every annotation carries the id of its object as `track_id`, every image its place in the
    video as `frame_id`. images: False writes no pictures; their names are as if they were there.
    """
    (out / "images").mkdir(parents=True)
    paths = (out / "images" / f"{name}.jpg" for name in result.names())
    with (
        (out / "annotations.json").open("w", encoding="utf-8") as file,
        write_pictures(result, paths, images) as steps,
    ):
        _head(file, result)
        category = _category_of(result)
        scores = {thing.id: thing for thing in result.things}
        count = 0
        for i, masks in _walk(result, steps, images, "coco", report):
            for id, mask in masks.items():
                count += 1
                record = {
                    "id": count,
                    "image_id": i + 1,
                    "category_id": category[id],
                    "track_id": id,
                    "segmentation": _run_lengths(mask, result),
                    "area": mask.area,
                    "bbox": list(mask.box),
                    "iscrowd": 0,
                }
                if scores[id].score is not None:
                    record["score"] = scores[id].score
                if scores[id].name is not None:
                    record["name"] = scores[id].name
                file.write(("" if count == 1 else ",") + "\n" + _text(record))
        file.write("]}\n")
    if not images:
        (out / "images").rmdir()


def write_youtube_vis(result: Result, out: Path, report: Progress, images: bool = True) -> None:
    """A folder of `train.json` and `train/JPEGImages/`: an annotation an object, null where absent.

    images: False writes no pictures; their names are as if they were there.
    """
    folder = out / "train" / "JPEGImages" / result.file_name
    folder.mkdir(parents=True) if images else out.mkdir(parents=True)
    category = _category_of(result)
    size = {"height": result.height, "width": result.width, "length": len(result)}
    paths = (folder / f"{name}.jpg" for name in result.names())
    with (
        Spool() as spool,
        (out / "train.json").open("w", encoding="utf-8") as file,
        write_pictures(result, paths, images) as steps,
    ):
        for i, masks in _walk(result, steps, images, "ytvis", report):
            for id, mask in masks.items():
                rle = _run_lengths(mask, result)
                spool.add(id, i, "\t".join(map(_text, (rle, mask.area, list(mask.box)))))
        names = [f"{result.file_name}/{name}.jpg" for name in result.names()]
        video = {"id": 1, "name": result.name, "fps": str(result.fps), "file_names": names, **size}
        file.write(f'{{"info":{_text(_info(result))},"videos":[{_text(video)}],\n')
        file.write(f'"categories":{_text(_categories(result))},\n"annotations":[')
        for n, thing in enumerate(result.things):
            record: dict[str, Any] = {
                "id": thing.id,
                "video_id": 1,
                "category_id": category[thing.id],
            } | size
            record |= {"iscrowd": 0, "score": thing.score, "name": thing.name}
            about = _text({k: v for k, v in record.items() if v is not None})
            file.write(("," if n else "") + f"\n{about[:-1]}")
            for key, part in (("segmentations", 0), ("areas", 1), ("bboxes", 2)):
                file.write(f',"{key}":[')
                for i, text in enumerate(_all_frames(spool, thing.id, part, len(result))):
                    file.write(("," if i else "") + text)
                file.write("]")
            file.write("}")
        file.write("]}\n")


def _all_frames(spool: Spool, id: int, part: int, count: int) -> Iterator[str]:
    """One part of what was said of an object, for every frame; null where it is absent."""
    next_ = 0
    for frame, text in spool.of(id):
        yield from repeat("null", frame - next_)
        yield text.split("\t")[part]
        next_ = frame + 1
    yield from repeat("null", count - next_)


def _walk(
    result: Result, steps: Iterator[None], images: bool, stage: str, report: Progress
) -> Iterator[tuple[int, dict[int, Mask]]]:
    """Index and masks of every frame, whose picture is written by then."""
    for i, (labels, _) in enumerate(zip(result.labels(), steps, strict=images)):
        yield i, encode(labels)
        report(stage, i + 1, len(result))


def _head(file: TextIO, result: Result) -> None:
    """All that comes before the annotations."""
    video = {"id": 1, "name": result.name, "fps": str(result.fps)}
    file.write(f'{{"info":{_text(_info(result))},"licenses":[],"videos":[{_text(video)}],\n')
    file.write(f'"categories":{_text(_categories(result))},\n"images":[')
    for i, name in enumerate(result.names()):
        record = {
            "id": i + 1,
            "file_name": f"{name}.jpg",
            "height": result.height,
            "width": result.width,
            "video_id": 1,
            "frame_id": i,
        }
        file.write(("," if i else "") + "\n" + _text(record))
    file.write('],\n"annotations":[')


def _info(result: Result) -> dict[str, Any]:
    return {"description": f"objects that Unveil found in {result.name}"}


def _categories(result: Result) -> list[dict[str, Any]]:
    return [
        {"id": i, "name": kind, "supercategory": "object"} for i, kind in enumerate(result.kinds, 1)
    ]


def _category_of(result: Result) -> dict[int, int]:
    numbers = {kind: i for i, kind in enumerate(result.kinds, 1)}
    return {thing.id: numbers[thing.kind] for thing in result.things}


def _run_lengths(mask: Mask, result: Result) -> dict[str, Any]:
    return {"size": [result.height, result.width], "counts": mask.counts.decode()}


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
