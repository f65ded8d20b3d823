"""YouTube-VIS 2019 and 2021 in their official layout.

    train.json (or train/instances.json)   videos; annotations with run lengths, null where absent
    train/JPEGImages/<video>/00000.jpg

The masks of the official validation videos are not public. The field scores the 300 videos at
entries 600 … 899 of the train file instead; so does this reader, unless told otherwise.

Source: https://youtube-vos.org/dataset/vis
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco

from unveil.datasets.masks import as_truth, read_frames
from unveil.datasets.sequence import Dataset, Finding
from unveil.errors import DataError

WHERE = "https://youtube-vos.org/dataset/vis (train split: train.json and train/JPEGImages)"
ENTRIES = slice(600, 900)  # of the train file: the 300-video split
_FILES = ("train.json", "train/instances.json", "instances_train.json", "annotations/train.json")
_FRAMES = ("train/JPEGImages", "JPEGImages", "train_all_frames/JPEGImages")


@dataclass(frozen=True)
class YtvisSequence:
    """One video of a YouTube-VIS file. video, annotations: its records as the file has them."""

    name: str
    file: Path
    images: Path
    video: Mapping[str, Any] = field(repr=False)
    annotations: tuple[Mapping[str, Any], ...] = field(repr=False)
    note: str = ""

    @property
    def video_id(self) -> int:
        """Its number in the file."""
        return self.video["id"]

    @property
    def origin(self) -> Path:
        """The annotation file."""
        return self.file

    def frame_names(self) -> tuple[str, ...]:
        """The stems of its frames."""
        return tuple(Path(name).stem for name in self.video["file_names"])

    def frames(self) -> np.ndarray:
        """The pictures, uint8 [T, H, W, 3] RGB."""
        return read_frames(self.images / name for name in self.video["file_names"])

    def truth(self) -> np.ndarray:
        """The labels, uint8 [T, H, W]; where masks overlap, the smaller one is seen."""
        t, h, w = len(self.video["file_names"]), self.video["height"], self.video["width"]
        where = f"{self.file}: video {self.name!r}"
        if not self.annotations:
            raise DataError(f"{where}: a sequence without ground truth, no annotation names it")
        if len(self.annotations) >= 255:
            raise DataError(f"{where}: {len(self.annotations)} objects; at most 254 can be used")
        labels = np.zeros((t, h, w), np.uint8)
        tracks = [_decode(a, t, h, w, where) for a in self.annotations]
        sizes = [sum(int(m.sum()) for m in track.values()) for track in tracks]
        for i in sorted(range(len(tracks)), key=lambda i: -sizes[i]):
            for frame, mask in tracks[i].items():
                labels[frame][mask] = i + 1
        return as_truth(labels, self.file)


def open_ytvis(root: Path, year: int, split: str | None = None) -> Dataset:
    """The videos of YouTube-VIS, 2019 or 2021.

    split: `300` for entries 600 … 899 of the train file, `train` for all. By default 300 where
    the file has that many, all where it has fewer.
    """
    if split not in (None, "300", "train"):
        raise DataError(f"no split {split!r} of YouTube-VIS; there are 300 and train")
    file = _file(root)
    content = _load(file)
    videos, every = content["videos"], content["annotations"]
    whole = split == "train" or (split is None and len(videos) < ENTRIES.stop)
    if not whole and len(videos) < ENTRIES.stop:
        raise DataError(f"{file} has {len(videos)} videos, the 300-video split needs 900")
    of_video = defaultdict(list)
    for annotation in every:
        of_video[annotation["video_id"]].append(annotation)
    images = next((root / f for f in _FRAMES if (root / f).is_dir()), root / _FRAMES[0])
    sequences = [
        YtvisSequence(_name(v), file, images, v, tuple(of_video[v["id"]]))
        for v in (videos if whole else videos[ENTRIES])
    ]
    about = f"all {len(videos)} videos" if whole else "entries 600 to 900"
    return Dataset(f"ytvis{year}", root, f"{file.name}, {about}", tuple(sequences))


def check_ytvis(root: Path, year: int, split: str | None = None) -> list[Finding]:
    """What of YouTube-VIS is at root."""
    try:
        dataset = open_ytvis(root, year, split)
    except DataError as error:
        return [Finding("annotations", root, False, f"{error}")]
    s = dataset.sequences
    findings = [Finding(f"annotations: {dataset.split}", s[0].file, True)]
    bare = [x.name for x in s if not x.annotations]
    if bare:
        findings.append(
            Finding(f"{len(bare)} videos without annotations", s[0].file, False, ", ".join(bare))
        )
    lost = [x.name for x in s if not all((x.images / f).is_file() for f in x.video["file_names"])]
    found = f"frames of {len(s) - len(lost)} of {len(s)} videos"
    advice = f"missing: {', '.join(lost[:5])}{' …' if len(lost) > 5 else ''}; get {WHERE}"
    return [*findings, Finding(found, s[0].images, not lost, advice if lost else "")]


def _file(root: Path) -> Path:
    for name in _FILES:
        if (root / name).is_file():
            return root / name
    raise DataError(
        f"no YouTube-VIS annotations at {root}: looked for {', '.join(_FILES)}; {WHERE}"
    )


def _load(file: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(file.read_text())
    except ValueError as error:
        raise DataError(f"{file} is not JSON ({error}): get it again from {WHERE}") from error
    lost = [
        k for k in ("videos", "annotations") if not isinstance(content, dict) or k not in content
    ]
    if lost or content["annotations"] is None:
        raise DataError(
            f"{file} has no {' and '.join(lost or ['annotations'])}: a file of a split whose masks "
            "are not public? Use the train split"
        )
    return content


def _name(video: Mapping[str, Any]) -> str:
    return str(Path(video["file_names"][0]).parent)


def _decode(
    annotation: Mapping[str, Any], t: int, h: int, w: int, where: str
) -> dict[int, np.ndarray]:
    """The masks bool [H, W] of one annotation by frame; absent ones are left out."""
    records = annotation["segmentations"]
    if len(records) != t:
        raise DataError(
            f"{where}: annotation {annotation['id']} has {len(records)} masks for {t} frames"
        )
    masks = {}
    for i, record in enumerate(records):
        if record is None:
            continue
        if list(record["size"]) != [h, w]:
            raise DataError(
                f"{where}: a mask of annotation {annotation['id']} is {record['size']} (height, "
                f"width), the video {[h, w]}"
            )
        if isinstance(record["counts"], list):
            record = coco.frPyObjects(dict(record), h, w)
        masks[i] = coco.decode(dict(record)).astype(bool)
    return masks
