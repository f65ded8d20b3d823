"""COCO with track ids, and YouTube-VIS.

Sources: https://cocodataset.org/#format-data, https://youtube-vos.org/dataset/vis
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pycocotools import mask as coco

from unveil.datasets import records
from unveil.datasets.run_lengths import NOTHING, checked_run_lengths
from unveil.errors import DataError
from unveil.imports.davis import only
from unveil.imports.tracks import Layer, Tracks, fitting_ids, painted, said
from unveil.results.coco import About
from unveil.text import read_json

FILES = ("annotations.json", "train.json", "objects.json")
"""What the file is called in a folder that Unveil, or YouTube-VIS, wrote."""
_TRACK_IDS = ("track_id", "instance_id")
_ORDER = ("frame_id", "frame_index")


def read_coco(path: Path, name: str | None = None) -> Tracks:
    """The tracks of one video in a file. name: of the video, where there are several.

    Objects keep their track ids (YouTube-VIS: the ids of their annotations). Where masks overlap,
    the higher score is in front, and else the later one of the file. Raises DataError for a
    file without tracks, and for records that are not as they should be.
    """
    content = read_json(path)
    source = records.Source(path, "write the file again")
    if not isinstance(content, dict) or not isinstance(content.get("annotations"), list):
        raise DataError(f"{path} holds no annotations: give a file of COCO or YouTube-VIS")
    annotations = content["annotations"]
    first = annotations[0] if annotations else None
    whole = "images" not in content or (isinstance(first, dict) and "segmentations" in first)
    read = _youtube_vis if whole else _coco
    return read(path, source, content, name)


def _youtube_vis(
    path: Path, source: records.Source, content: dict[str, Any], name: str | None
) -> Tracks:
    videos = records.read_videos(source, content)
    titles = [str(v.record.fields.get("name") or v.name) for v in videos]
    video = videos[titles.index(only(titles, name, path))]
    tracks = [x for x in records.read_tracks(source, content, ids=True) if x.video_id == video.id]
    warnings: list[str] = []
    new, dtype = fitting_ids((x.id for x in tracks if x.id is not None), warnings)
    tracks.sort(key=lambda x: -1 if x.score is None else x.score)
    frames: list[list[Layer]] = [[] for _ in video.file_names]
    kinds = _kinds(source, content)
    about, scores = {}, {}
    for track in tracks:
        assert track.id is not None
        id = new[track.id]
        about[id] = _about(track.record, kinds)
        if track.score is not None:
            scores[id] = track.score
        for frame, rle in track.checked(video.shape):
            frames[frame].append((id, partial(_mask, rle)))
    first = PurePosixPath(video.file_names[0]).parent
    places = [path.parent / path.stem / "JPEGImages" / first, path.parent / first]
    return Tracks(
        "YouTube-VIS",
        titles[videos.index(video)] or path.stem,
        tuple(PurePosixPath(file).stem for file in video.file_names),
        video.height,
        video.width,
        _reader(frames, (video.height, video.width), dtype, warnings),
        scores,
        about,
        _rate(video.record.fields),
        next((p for p in places if p.is_dir()), None),
        warnings=warnings,
    )


def _coco(path: Path, source: records.Source, content: dict[str, Any], name: str | None) -> Tracks:
    every_image = records.read_records(source, content["images"], "images")
    records.no_two_alike([(image, "id", image.whole("id")) for image in every_image])
    title, images, rate = _video(path, source, content, every_image, name)
    if not images:
        raise DataError(f"{path} has no images: there is nothing to import")
    at = {image.whole("id"): i for i, image in enumerate(images)}
    h, w = images[0].whole("height", 1), images[0].whole("width", 1)
    for image in images:
        if (image.whole("height"), image.whole("width")) != (h, w):
            raise image.fault("height, width", f"{h}, {w} as the first", image.get("height"))
    every = records.read_records(source, content["annotations"], "annotations")
    known = {image.whole("id") for image in every_image}
    for record in every:
        if record.whole("image_id") not in known:
            raise record.fault("image_id", "the id of an image", record.get("image_id"))
    mine = [a for a in every if a.whole("image_id") in at]
    given = [_track_id(a) for a in mine]
    warnings: list[str] = []
    new, dtype = fitting_ids(given, warnings)
    kinds = _kinds(source, content)
    about: dict[int, About] = {}
    of_object: dict[int, list[float]] = defaultdict(list)
    layers: list[list[tuple[float, Layer]]] = [[] for _ in images]
    for record, track in zip(mine, given, strict=True):
        id = new[track]
        about.setdefault(id, _about(record, kinds))
        score = record.number("score") if "score" in record.fields else None
        if score is not None:
            of_object[id].append(score)
        rle = checked_run_lengths(record.get("segmentation"), h, w, "segmentation", record.fault)
        if rle is not None:
            layer = (id, partial(_mask, rle))
            layers[at[record.whole("image_id")]].append((-1 if score is None else score, layer))
    frames = [[layer for _, layer in sorted(part, key=lambda x: x[0])] for part in layers]
    names = [PurePosixPath(str(image.get("file_name"))) for image in images]
    places = [path.parent / "images" / names[0].parent, path.parent / names[0].parent]
    return Tracks(
        "COCO",
        title,
        tuple(file.stem for file in names),
        h,
        w,
        _reader(frames, (h, w), dtype, warnings),
        {id: float(np.mean(scores)) for id, scores in of_object.items()},
        about,
        rate,
        next((p for p in places if (p / names[0].name).is_file()), None),
        warnings=warnings,
    )


def _video(
    path: Path,
    source: records.Source,
    content: dict[str, Any],
    images: list[records.Record],
    name: str | None,
) -> tuple[str, list[records.Record], Fraction | None]:
    """The name, the images in order and the rate of the video that is meant."""
    title, rate = path.stem if path.name not in FILES else path.parent.name, None
    if content.get("videos"):
        videos = records.read_records(source, content["videos"], "videos")
        titles = [str(v.fields.get("name") or v.whole("id")) for v in videos]
        title = only(titles, name, path)
        video = videos[titles.index(title)]
        images = [image for image in images if image.get("video_id") == video.whole("id")]
        rate = _rate(video.fields)
    order = next((o for o in _ORDER if images and o in images[0].fields), None)
    if order is not None:
        images = sorted(images, key=lambda image: image.whole(order))
    return title, images, rate


def _track_id(record: records.Record) -> int:
    for field in _TRACK_IDS:
        if field in record.fields:
            return record.whole(field)
    expected = "the id of its track; COCO of single pictures says not who is who"
    raise record.fault(_TRACK_IDS[0], expected, NOTHING)


def _about(record: records.Record, kinds: Mapping[Any, str]) -> About:
    kind = kinds.get(_category(record, "category_id"), "")
    return said(str(record.fields.get("name") or ""), kind)


def _kinds(source: records.Source, content: dict[str, Any]) -> dict[Any, str]:
    every = records.read_records(source, content.get("categories") or [], "categories")
    return {_category(c, "id"): str(c.fields.get("name") or "") for c in every}


def _category(record: records.Record, field: str) -> Any:
    """The id of a category: a number, or text."""
    value = record.get(field)
    if isinstance(value, list | dict):
        raise record.fault(field, "the id of a category", value)
    return value


def _rate(fields: Mapping[str, Any]) -> Fraction | None:
    """The frames a second that a record of a video says."""
    try:
        rate = Fraction(str(fields["fps"]))
    except (KeyError, ValueError, ZeroDivisionError):
        return None
    return rate if rate > 0 else None


def _reader(
    frames: list[list[Layer]], size: tuple[int, int], dtype: np.dtype, warnings: list[str]
) -> Callable[[], Iterator[np.ndarray]]:
    return lambda: painted(frames, size, dtype, warnings)


def _mask(rle: dict[str, Any]) -> np.ndarray:
    return coco.decode(rle).astype(bool)
