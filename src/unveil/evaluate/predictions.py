"""Masks of any method, read from the forms in which methods write them.

For a sequence `dog` under a folder, the first of these that is there:

    dog.npz                  labels [T, H, W], or masks bool [N, T, H, W] with scores [N]
    dog/masks/00000.png …    what `unveil segment` writes; scores from dog/objects.json
    dog/00000.png …          palette, grey or DAVIS-coloured masks
    dog/objects.json         YouTube-VIS records with COCO run lengths
    dog.json                 the same
    results.json             one list for all videos of a YouTube-VIS file, as its server takes it
"""

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np

from unveil.datasets import Chunk, records
from unveil.datasets.masks import image_files, read_stack, unify_binary
from unveil.datasets.run_lengths import NOTHING, Said
from unveil.errors import DataError
from unveil.evaluate import cache
from unveil.metrics.overlap import Track
from unveil.text import read_json

RESULTS = "results.json"
_DEEPEST = np.iinfo(np.uint16).max


class OtherSizeError(DataError):
    """Masks are not of the size of the annotation."""


@dataclass(frozen=True)
class Prediction:
    """What a method says of one sequence.

    labels: uint8 or uint16 [T, H, W], 0 background. scores: id → score, empty where the method
    gives none. origin: the file or folder, for messages. tracks: id → the frames and masks of its
    proposal, where the form allows them to overlap; labels show the one with the highest score.
    """

    labels: np.ndarray
    origin: Path
    scores: Mapping[int, float] = field(default_factory=dict)
    tracks: Mapping[int, Track] | None = None

    def chunk(self, chunk: Chunk) -> "Prediction":
        """What a chunk shows of it, where it is of the video that the chunk is of; proposals that
        it shows nothing of are none of its own.
        """
        tracks = self.tracks
        if tracks is not None:
            shown = {id: _Shown(x, chunk) for id, x in tracks.items()}
            tracks = {id: x for id, x in shown.items() if any(mask.any() for _, mask in x)}
        return replace(self, labels=chunk.labels(self.labels), tracks=tracks)


@dataclass(frozen=True)
class _Shown:
    """What a chunk shows of a proposal, cut each time it is looked at."""

    track: Track
    chunk: Chunk

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        own = range(self.chunk.first, self.chunk.first + self.chunk.count)
        shown = ((frame - own.start, mask) for frame, mask in self.track if frame in own)
        return ((frame, self.chunk.mask(mask)) for frame, mask in shown)


def locate(root: Path, name: str, listed: bool = True) -> Path:
    """The file or folder that holds the masks of a sequence; listed: or a list of results that may.

    Raises DataError where there is none.
    """
    folder = root / name
    if (root / f"{name}.npz").is_file():
        return root / f"{name}.npz"
    for masks in (folder / "masks", folder):
        if image_files(masks):
            return masks
    lists = (root / RESULTS,) if listed else ()
    for file in (folder / "objects.json", root / f"{name}.json", *lists):
        if file.is_file():
            return file
    raise DataError(
        f"no masks of {name} in {root}: looked for {name}.npz, {name}/masks/*.png, {name}/*.png, "
        f"{name}/objects.json, {name}.json and {RESULTS}"
    )


def fingerprint(place: Path) -> str:
    """A digest that changes when the files of a prediction do: their names, sizes and times."""
    files = sorted(p for p in place.iterdir() if p.is_file()) if place.is_dir() else [place]
    scores = place.parent / "objects.json"
    if place.name == "masks" and scores.is_file():
        files.append(scores)
    return cache.of_files(files)


def read_prediction(
    place: Path,
    frame_names: Sequence[str],
    size: tuple[int, int],
    name: str,
    video_id: int | None = None,
) -> Prediction:
    """The masks at a place that `locate` found.

    frame_names: the frames of the sequence, which masks are named after. size: height and width
    that they must have. video_id: of the sequence, by which a list of results names it. Raises
    DataError naming the file that is missing, of another size, holds floating point numbers or
    colours out of the palette.
    """
    if place.suffix == ".npz":
        prediction = _from_npz(place)
    elif place.suffix == ".json":
        shape = (len(frame_names), *size)
        listed = place.name == RESULTS
        prediction = _from_list(place, shape, video_id) if listed else _from_json(place, name)
    else:
        prediction = _from_masks(place, frame_names)
    t, h, w = prediction.labels.shape
    if (h, w) != size:
        raise OtherSizeError(
            f"{prediction.origin}: masks of {name} are {w}x{h}, the ground truth {size[1]}x"
            f"{size[0]}: write them at the size of the annotation"
        )
    if t != len(frame_names):
        raise DataError(
            f"{prediction.origin}: masks for {t} frames of {name}, expected {len(frame_names)}"
        )
    return prediction


def _from_masks(folder: Path, frame_names: Sequence[str]) -> Prediction:
    files = image_files(folder)
    lost = [name for name in frame_names if name not in files]
    if lost:
        raise DataError(
            f"{folder}: {len(lost)} of {len(frame_names)} frames have no mask, first {lost[0]}.png"
        )
    labels = unify_binary(read_stack(files[name] for name in frame_names))
    record = folder.parent / "objects.json"
    scores = _scores(record) if folder.name == "masks" and record.is_file() else {}
    return Prediction(labels, folder, scores)


def _from_npz(path: Path) -> Prediction:
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = {key: content[key] for key in content.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read ({error}): write it with numpy.savez") from error
    if "labels" in arrays:
        return Prediction(_whole(arrays["labels"], path), path, {})
    if "masks" not in arrays:
        raise DataError(
            f"{path}: expected an array `labels` [T, H, W] or `masks` [N, T, H, W], got "
            f"{', '.join(arrays) or 'none'}"
        )
    masks = arrays["masks"]
    if masks.ndim != 4 or masks.dtype not in (np.bool_, np.uint8) or masks.max(initial=0) > 1:
        raise DataError(
            f"{path}: expected `masks` bool [N, T, H, W], got {masks.dtype} {list(masks.shape)}"
        )
    scores = arrays.get("scores", np.ones(len(masks)))
    if scores.shape != (len(masks),):
        raise DataError(
            f"{path}: expected `scores` [{len(masks)}], one a mask, got {list(scores.shape)}"
        )
    if scores.dtype.kind not in "fiu" or not np.isfinite(scores).all():
        raise DataError(f"{path}: expected `scores` as finite numbers, got {scores}")
    masks = masks.astype(bool)
    tracks = {i: tuple(enumerate(layer)) for i, layer in enumerate(masks, 1)}
    ids = dict(zip(tracks, scores.astype(float).tolist(), strict=True))
    labels = _seen(tracks, ids, masks.shape[1:])
    return Prediction(labels, path, ids if "scores" in arrays else {}, tracks)


def _whole(labels: np.ndarray, path: Path) -> np.ndarray:
    about = f"{labels.dtype} {list(labels.shape)}"
    if labels.ndim != 3 or labels.dtype.kind not in "iu":
        raise DataError(f"{path}: expected `labels` as whole numbers [T, H, W], got {about}")
    if labels.size and (labels.min() < 0 or labels.max() > _DEEPEST):
        raise DataError(
            f"{path}: expected ids in 0 … {_DEEPEST}, got {labels.min()} … {labels.max()}"
        )
    return labels.astype(np.uint8 if labels.max(initial=0) <= 255 else np.uint16)


def _seen(
    tracks: Mapping[int, Track], scores: Mapping[int, float], shape: tuple[int, ...]
) -> np.ndarray:
    """Tracks as labels [T, H, W]; where they overlap, the higher score is seen."""
    labels = np.zeros(shape, np.uint8 if len(tracks) <= 255 else np.uint16)
    for id in sorted(tracks, key=lambda id: (scores[id], -id)):
        for frame, mask in tracks[id]:
            labels[frame][mask] = id
    return labels


@dataclass(frozen=True)
class _RunLengths:
    """A track as YouTube-VIS records it, decoded each time it is looked at: it may be long."""

    track: records.Track
    shape: tuple[int, int, int]

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        return self.track.masks(self.shape)


def _from_list(path: Path, shape: tuple[int, int, int], video_id: int | None) -> Prediction:
    """The results of one video in a list of those of all."""
    if video_id is None:
        raise DataError(f"{path} numbers its videos, which only those of YouTube-VIS have")
    return _tracked(_results(path, path.stat().st_mtime_ns).get(video_id, []), shape, path)


@lru_cache(maxsize=1)
def _results(path: Path, changed: int) -> Mapping[int, list[records.Track]]:
    """The tracks of a list by video, read once for all sequences that a process scores."""
    content = read_json(path)
    if not isinstance(content, list):
        expected = "a list of YouTube-VIS results, as its server takes it"
        raise _source(path).fault("the file", "what it holds", expected, content)
    of_video: dict[int, list[records.Track]] = {}
    for track in records.read_tracks(_source(path), content, ids=False):
        of_video.setdefault(track.video_id, []).append(track)
    return of_video


def _from_json(path: Path, name: str) -> Prediction:
    content = read_json(path)
    video = _video(path, records.read_videos(_source(path), content), name)
    tracks = records.read_tracks(_source(path), content, ids=False)
    return _tracked([x for x in tracks if x.video_id == video.id], video.shape, path)


def _tracked(mine: Sequence[records.Track], shape: tuple[int, int, int], path: Path) -> Prediction:
    scores = {i: 1.0 if x.score is None else x.score for i, x in enumerate(mine, 1)}
    tracks = {i: _RunLengths(x, shape) for i, x in enumerate(mine, 1)}
    return Prediction(_seen(tracks, scores, shape), path, scores, tracks)


def _video(path: Path, videos: Sequence[records.Video], name: str) -> records.Video:
    """The video of that name, or the only one."""
    named = [v for v in videos if name in (v.record.get("name"), PurePosixPath(v.name).name)]
    if len(named) > 1 or not (named or len(videos) == 1):
        said = Said(f"{len(named)} of {len(videos)}")
        raise _source(path).fault("videos", "name", f"one video called {name!r}", said)
    return named[0] if named else videos[0]


def _scores(path: Path) -> dict[int, float]:
    """The scores of the objects that masks beside the file show, by id."""
    tracks = records.read_tracks(_source(path), read_json(path), ids=True)
    if tracks and tracks[0].score is None:
        raise tracks[0].record.fault("score", "a finite number", NOTHING)
    return {x.id: x.score for x in tracks if x.id is not None and x.score is not None}


def _source(path: Path) -> records.Source:
    return records.Source(path, "write the file again")
