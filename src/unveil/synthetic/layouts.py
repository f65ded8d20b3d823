"""Write annotated clips in the layouts of the datasets, so that every reader can be exercised."""

import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from unveil.datasets.example import encode_example
from unveil.datasets.tfrecord import write_records
from unveil.errors import DataError
from unveil.results import coco as objects
from unveil.results.palette import davis_palette

_QUALITY = 95  # of JPEG frames
_SHARDS = 2  # of a TFRecord dataset, so that reading several is exercised


@dataclass(frozen=True)
class Annotated:
    """A clip to write: frames uint8 [T, H, W, 3], labels uint8 [T, H, W]."""

    name: str
    frames: np.ndarray
    labels: np.ndarray


def write_layout(layout: str, out: Path, clips: Iterable[Annotated]) -> None:
    """Write clips under out; see LAYOUTS for the names."""
    if layout not in LAYOUTS:
        raise DataError(f"no layout {layout!r}; there are {', '.join(LAYOUTS)}")
    LAYOUTS[layout](out, clips)


def _davis(out: Path, clips: Iterable[Annotated]) -> None:
    names = []
    for clip in clips:
        names.append(clip.name)
        _frames(out / "JPEGImages/480p" / clip.name, clip.frames)
        write_masks(out / "Annotations_unsupervised/480p" / clip.name, clip.labels)
        single = np.where(clip.labels > 0, np.uint8(255), np.uint8(0))
        folder = out / "Annotations/480p" / clip.name
        folder.mkdir(parents=True)
        for t, mask in enumerate(single):
            Image.fromarray(mask).save(folder / f"{t:05d}.png")
    for year in ("2016", "2017"):
        (out / "ImageSets" / year).mkdir(parents=True)
        (out / "ImageSets" / year / "val.txt").write_text("".join(f"{n}\n" for n in names))


def _ytvis(out: Path, clips: Iterable[Annotated]) -> None:
    videos: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, clip in enumerate(clips, 1):
        _frames(out / "train/JPEGImages" / clip.name, clip.frames)
        t, h, w = clip.labels.shape
        masks: dict[int, dict[int, objects.Mask]] = {}
        for i, image in enumerate(clip.labels):
            for id, mask in objects.encode(image).items():
                masks.setdefault(id, {})[i] = mask
        said, found = objects.youtube_vis(
            masks,
            dict.fromkeys(masks, 1.0),
            name=clip.name,
            fps=Fraction(6),
            height=h,
            width=w,
            frame_names=[f"{i:05d}" for i in range(t)],
            pictures=clip.name + "/{}.jpg",
        )
        videos += [{**video, "id": number} for video in said["videos"]]
        for annotation in found:
            del annotation["score"]
            place = {"id": len(annotations) + 1, "video_id": number}
            annotations.append({**annotation, **place})
    content = {
        "info": {"description": "synthetic clips of Unveil"},
        "categories": [{"id": 1, "name": "object", "supercategory": "object"}],
        "videos": videos,
        "annotations": annotations,
    }
    (out / "train.json").write_text(json.dumps(content, separators=(",", ":")))


def _movi(out: Path, clips: Iterable[Annotated]) -> None:
    records = [_example(clip) for clip in clips]
    h, w = records[0][1]
    folder = out / "movi_e" / f"{h}x{w}" / "1.0.0"
    folder.mkdir(parents=True)
    share = -(-len(records) // _SHARDS)
    shards = -(-len(records) // share)  # none of them empty
    for shard in range(shards):
        mine = [data for data, _ in records[shard * share : (shard + 1) * share]]
        name = f"movi_e-validation.tfrecord-{shard:05d}-of-{shards:05d}"
        write_records(folder / name, mine)


def _example(clip: Annotated) -> tuple[bytes, tuple[int, int]]:
    t, h, w = clip.labels.shape
    features = {
        "metadata/video_name": [clip.name.encode()],
        "metadata/num_frames": [t],
        "metadata/height": [h],
        "metadata/width": [w],
        "metadata/num_instances": [int(clip.labels.max())],
        "video": [_png(frame) for frame in clip.frames],
        "segmentations": [_png(mask) for mask in clip.labels],
    }
    return encode_example(features), (h, w)


def _folder(out: Path, clips: Iterable[Annotated]) -> None:
    for clip in clips:
        _frames(out / "frames" / clip.name, clip.frames)
        write_masks(out / "masks" / clip.name, clip.labels)


def write_masks(folder: Path, labels: np.ndarray) -> None:
    """Labels uint8 [T, H, W] as palette PNGs 00000.png, 00001.png, …"""
    folder.mkdir(parents=True)
    for t, mask in enumerate(labels):
        image = Image.fromarray(mask)
        image.putpalette(davis_palette().tobytes())
        image.save(folder / f"{t:05d}.png")


def _frames(folder: Path, frames: np.ndarray) -> None:
    folder.mkdir(parents=True)
    for t, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{t:05d}.jpg", quality=_QUALITY)


def _png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


LAYOUTS: dict[str, Callable[[Path, Iterable[Annotated]], None]] = {
    "davis2017": _davis,
    "davis2016": _davis,
    "ytvis2019": _ytvis,
    "ytvis2021": _ytvis,
    "movi": _movi,
    "folder": _folder,
}
"""Names of the layouts; both years of DAVIS share their folders, as the official ones do."""
