"""MOVi-A to MOVi-E as TensorFlow Datasets writes them, read without TensorFlow.

    movi_e/256x256/1.0.0/movi_e-validation.tfrecord-00000-of-00010 …

A record is one video: `video` and `segmentations` are lists of PNG files, one a frame. Sequences
are called by their place in the split: 00000, 00001, …

Source: https://github.com/google-research/kubric/tree/main/challenges/movi
"""

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from unveil.datasets.example import decode_example
from unveil.datasets.masks import as_truth
from unveil.datasets.sequence import Dataset, Finding
from unveil.datasets.tfrecord import index_records, read_record
from unveil.errors import DataError

WHERE = "gs://kubric-public/tfds (movi_e/256x256/1.0.0, the validation shards)"
VARIANTS = ("a", "b", "c", "d", "e")
_SHARD = re.compile(r"(movi_[a-e])-(\w+)\.tfrecord-(\d{5})-of-(\d{5})")
_FEATURES = ("video", "segmentations", "metadata/num_frames")


@dataclass(frozen=True)
class MoviSequence:
    """One video: a record of a shard, by the offset and length of its data in bytes."""

    name: str
    shard: Path
    offset: int
    length: int
    note: str = ""
    video_id: None = None

    @property
    def origin(self) -> Path:
        """The shard it is in."""
        return self.shard

    def frame_names(self) -> tuple[str, ...]:
        """Numbers; the record has to be read for them."""
        return tuple(f"{i:05d}" for i in range(len(self._read()["segmentations"])))

    def frames(self) -> np.ndarray:
        """The pictures, uint8 [T, H, W, 3] RGB."""
        return self._decode(self._read(), "video")

    def truth(self) -> np.ndarray:
        """The labels, uint8 [T, H, W]; 0 is what MOVi calls background."""
        return as_truth(self._decode(self._read(), "segmentations"), self.shard)

    def _read(self) -> dict[str, list]:
        data = read_record(self.shard, self.offset, self.length)
        try:
            features = decode_example(data, _FEATURES)
        except DataError as error:
            raise DataError(f"{self.shard}: video {self.name}: {error}") from error
        for name in ("video", "segmentations"):
            if not features.get(name):
                raise DataError(f"{self.shard}: video {self.name} has no feature {name!r}")
        if len(features["video"]) != len(features["segmentations"]):
            raise DataError(
                f"{self.shard}: video {self.name} has {len(features['video'])} frames and "
                f"{len(features['segmentations'])} masks"
            )
        return features

    def _decode(self, features: dict[str, list], name: str) -> np.ndarray:
        try:
            pictures = [Image.open(io.BytesIO(png)) for png in features[name]]
            if name == "video":
                pictures = [p.convert("RGB") for p in pictures]
            return np.stack([np.array(p) for p in pictures])
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(
                f"{self.shard}: a picture in {name!r} of video {self.name} cannot be read ({error})"
            ) from error


def open_movi(root: Path, variant: str | None = None, split: str | None = None) -> Dataset:
    """The videos of one split, validation by default. variant: a … e, or the only one at root."""
    split = split or "validation"
    shards = _shards(root, variant, split)
    name = shards[0].name.split("-")[0]
    sequences = []
    for shard in shards:
        for offset, length in index_records(shard):
            sequences.append(MoviSequence(f"{len(sequences):05d}", shard, offset, length))
    return Dataset(
        name.replace("_", "-"), root, f"{split} in {len(shards)} shards", tuple(sequences)
    )


def check_movi(root: Path, variant: str | None = None, split: str | None = None) -> list[Finding]:
    """What of MOVi is at root."""
    try:
        dataset = open_movi(root, variant, split)
    except DataError as error:
        return [Finding("shards", root, False, str(error))]
    found = f"{dataset.name}: {len(dataset.sequences)} videos, {dataset.split}"
    return [Finding(found, dataset.sequences[0].shard.parent, True)]


def _shards(root: Path, variant: str | None, split: str) -> list[Path]:
    wanted = f"movi_{variant}" if variant else None
    found = [
        path
        for path in sorted(root.rglob("movi_*.tfrecord-*"))
        if (m := _SHARD.fullmatch(path.name)) and m[2] == split and wanted in (None, m[1])
    ]
    name = wanted or "movi_?"
    if not found:
        raise DataError(f"no {name}-{split}.tfrecord-* under {root}: get it from {WHERE}")
    kinds = sorted({(str(p.parent), _SHARD.fullmatch(p.name)[1]) for p in found})
    if len(kinds) > 1:
        raise DataError(
            f"several copies of MOVi under {root} ({', '.join(k[0] for k in kinds)}): "
            "make --root point at one, or name the variant (movi-e)"
        )
    _check_complete(found)
    return found


def _check_complete(shards: Iterable[Path]) -> None:
    marks = [_SHARD.fullmatch(p.name) for p in shards]
    count, there = int(marks[0][4]), {int(m[3]) for m in marks}
    lost = sorted(set(range(count)) - there)
    if lost:
        raise DataError(
            f"{marks[0][1]}-{marks[0][2]} has {len(there)} of {count} shards, first missing "
            f"{lost[0]:05d}: get the rest from {WHERE}"
        )
