"""Tracks of others become the folder of a result.

import_result("annotations.xml", "out/dog", video="dog.mp4")
"""

from collections.abc import Iterator
from fractions import Fraction
from importlib.metadata import version
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from unveil.address import as_path
from unveil.errors import DataError, InputError
from unveil.imports.coco import FILES, read_coco
from unveil.imports.cvat import FILE, read_cvat
from unveil.imports.davis import is_davis, read_davis
from unveil.imports.tracks import Tracks
from unveil.progress import Progress, silent
from unveil.results.folder import RUN, check_out
from unveil.results.writer import Writer
from unveil.video.listing import images_in
from unveil.video.source import IMAGE_FPS, Video, open_video, start_of

IMPORTED = "imported"
"""The entry of run.json that says where a result comes from."""
_CHUNK = 16  # frames at a time
_SLACK = 0.01  # by which a rate may be rounded and still be that rate


def read_tracks(
    source: str | Path, name: str | None = None, size: tuple[int, int] | None = None
) -> Tracks:
    """The tracks in a file or folder of DAVIS masks, COCO, YouTube-VIS or CVAT.

    name: of the video, where there are several. size: its height and width, for a file that does
    not say them. Raises DataError for anything else.
    """
    place = as_path(source).absolute()  # the video may be called after a folder above
    if not place.exists():
        raise DataError(f"no such file or folder: {source}")
    if place.is_dir():
        if (place / RUN).is_file():
            raise DataError(f"{place} is a result of Unveil already: there is nothing to import")
        inside = next((place / f for f in (FILE, *FILES) if (place / f).is_file()), None)
        if inside is None:
            if not is_davis(place):
                raise DataError(
                    f"{place} holds no masks, and none of {', '.join((FILE, *FILES))}: give a "
                    "folder of PNGs, or a file of COCO, YouTube-VIS or CVAT"
                )
            return read_davis(place, name)
        place = inside
    if place.suffix.lower() == ".xml":
        return read_cvat(place, size)
    if place.suffix.lower() == ".json":
        return read_coco(place, name)
    raise DataError(f"{place} is no .xml of CVAT, .json of COCO or YouTube-VIS, or folder of masks")


def import_result(
    source: str | Path,
    out: str | Path,
    *,
    video: str | Path | None = None,
    name: str | None = None,
    on_progress: Progress | None = None,
) -> Path:
    """Write the folder of a result: masks, objects.json, run.json; pictures where there are any.

    Args:
        source: as `read_tracks` takes it.
        out: the folder; it appears whole or not at all.
        video: the video that the tracks are of; by default pictures that lie beside them.
        name: of the video, where there are several.

    Ids, names and classes are kept; an object of which the file gives no score has 1. Raises
    DataError for what cannot be read, InputError for a video that is another one, OutputError
    where `out` cannot be written.
    """
    report = on_progress or silent
    check_out(out)
    place = None if video is None else as_path(video).absolute()
    film = None if place is None else open_video(place)
    tracks = read_tracks(source, name, None if film is None else (film.height, film.width))
    span: dict[str, Any] = {"start": None, "end": None, "stride": tracks.step}
    if place is None and (place := _pictures(tracks)) is not None:
        film = open_video(place)
    if place is not None and film is not None:
        film, span = _chosen(place, film, tracks)
    fps = tracks.fps or (IMAGE_FPS if film is None else film.fps)
    frames = repeat(None) if film is None else _frames(film, tracks)
    size: dict[str, Any] = {"height": tracks.height, "width": tracks.width}
    scores: dict[int, float] = {}
    with Writer(out, name=tracks.name, fps=fps, about=dict(tracks.about), **size) as writer:
        total, part = len(tracks.frame_names), []
        for i, (labels, frame) in enumerate(zip(tracks.read(), frames, strict=film is not None)):
            part.append((labels, frame))
            if len(part) == _CHUNK or i + 1 == total:
                done = i + 1 - len(part)
                for id in np.unique(np.stack([labels for labels, _ in part])).tolist():
                    scores[id] = min(max(tracks.scores.get(id, 1.0), 0.0), 1.0)
                pictures = None if film is None else np.stack([f for _, f in part if f is not None])
                names = tracks.frame_names[done : i + 1]
                writer.write(pictures, np.stack([labels for labels, _ in part]), names)
                part = []
                report("importing", i + 1, total)
        scores.pop(0, None)
        return writer.finish(scores, _run(source, tracks, place, fps, size | span))


def _run(
    source: str | Path,
    tracks: Tracks,
    place: Path | None,
    fps: Fraction,
    shape: dict[str, Any],
) -> dict[str, Any]:
    """What run.json says. shape: the size of the frames, and which of the video they are."""
    return {
        "unveil": version("unveil"),
        IMPORTED: {"from": str(as_path(source).absolute()), "form": tracks.form},
        "video": {
            "source": None if place is None else str(place),
            "name": tracks.name,
            "frames": len(tracks.frame_names),
            "fps": str(fps),
            "first": tracks.first,
            **shape,
        },
        "warnings": list(tracks.warnings),
    }


def _pictures(tracks: Tracks) -> Path | None:
    """The folder beside the tracks, where it holds a picture for every frame and no other."""
    folder = tracks.pictures
    if folder is None or not folder.is_dir():
        return None
    there = tuple(path.stem for path in images_in(folder))
    return folder.absolute() if there == tracks.frame_names else None


def _chosen(place: Path, video: Video, tracks: Tracks) -> tuple[Video, dict[str, Any]]:
    """The frames of a video that the tracks are of, and which these are."""
    start = start_of(video, tracks.first) if tracks.first else None
    stride = tracks.step if tracks.first is not None else _stride(video, tracks)
    span: dict[str, Any] = {"start": start, "end": None, "stride": stride}
    if stride > tracks.step and not video.files:
        tracks.warnings.append(
            f"{place.name} has {stride} times as many frames a second as the masks: one of "
            f"{stride} is taken"
        )
    if start is not None or stride > 1:
        video = open_video(place, **span)
    if (video.height, video.width) != (tracks.height, tracks.width):
        raise InputError(
            f"{place} is {video.width}x{video.height}, the masks of {tracks.name} "
            f"{tracks.width}x{tracks.height}: give the video that they are of"
        )
    return video, span


def _stride(video: Video, tracks: Tracks) -> int:
    """Every how many frames of a video one has a mask, where the names of its files or the rates of
    both tell it; else 1.
    """
    if video.files:  # which have no rate
        place = {file.stem: i for i, file in enumerate(video.files)}
        found = [place.get(name, -1) for name in tracks.frame_names]
        step = found[1] if len(found) > 1 else 1
        return step if step > 0 and found == [step * i for i in range(len(found))] else 1
    if tracks.fps is None:
        return 1
    stride = max(1, round(video.fps / tracks.fps))
    fits = abs(video.fps / tracks.fps / stride - 1) <= _SLACK
    enough = (len(tracks.frame_names) - 1) * stride < len(video.times())
    return stride if fits and enough else 1


def _frames(film: Video, tracks: Tracks) -> Iterator[np.ndarray]:
    """As many pictures as there are masks. Raises InputError where there are fewer.

    Where there are more and nobody says which ones the masks are of, a warning tells of it.
    """
    count = len(tracks.frame_names)
    i = -1
    for i, frame in enumerate(film):
        if i < count:
            yield frame
            continue
        if tracks.first is None:
            tracks.warnings.append(
                f"the video {film.name} has more frames than there are masks, which are taken as "
                f"of its first {count}"
            )
        return
    if i + 1 == count:
        return
    raise InputError(
        f"{film.name} has {i + 1} frames, {tracks.name} {count} masks: give the video that they "
        "are of"
    )
