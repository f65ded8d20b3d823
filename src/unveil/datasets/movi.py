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
from unveil.datasets.records import Source
from unveil.datasets.run_lengths import NOTHING, Said
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

    def frame_files(self) -> tuple[Path, ...]:
        """The shard, which holds pictures and masks."""
        return (self.shard,)

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
            raise self._fault("the record", "a tf.train.Example", Said(error)) from error
        for name in ("video", "segmentations"):
            pictures = features.get(name)
            if not pictures or not isinstance(pictures[0], bytes):
                raise self._fault(f"feature {name!r}", "a list of PNG files", pictures or NOTHING)
        frames, masks = len(features["video"]), len(features["segmentations"])
        if frames != masks:
            raise self._fault(
                "feature 'segmentations'", f"{frames} masks, one a frame", Said(masks)
            )
        return features

    def _fault(self, what: str, expected: str, got: object) -> DataError:
        return _source(self.shard).fault(f"video {self.name}", what, expected, got)

    def _decode(self, features: dict[str, list], name: str) -> np.ndarray:
        try:
            pictures = [Image.open(io.BytesIO(png)) for png in features[name]]
            rgb = name == "video"
            stack = np.stack([np.array(p.convert("RGB") if rgb else p) for p in pictures])
        except (OSError, SyntaxError, ValueError) as error:
            expected = "pictures that can be read, of one size"
            raise self._fault(f"feature {name!r}", expected, Said(error)) from error
        if name == "segmentations" and (stack.ndim != 3 or stack.dtype.kind != "u"):
            about = Said(f"{stack.dtype} {list(stack.shape[1:])}")
            raise self._fault(f"feature {name!r}", "masks [H, W] of whole ids", about)
        return stack


def open_movi(
    root: Path, variant: str | None = None, split: str | None = None
) -> Dataset[MoviSequence]:
    """The videos of one split, validation by default. variant: a … e, or the only one at root."""
    split = split or "validation"
    shards = _shards(root, variant, split)
    name = shards[0].name.split("-")[0]
    sequences: list[MoviSequence] = []
    for shard in shards:
        places = index_records(shard)
        if not places:  # the names of all that follow would shift
            size = Said(f"none, {shard.stat().st_size} bytes")
            raise _source(shard).fault("the shard", "what it holds", "a record or more", size)
        for offset, length in places:
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
    kinds = sorted({(str(p.parent), m[1]) for p in found if (m := _SHARD.fullmatch(p.name))})
    if len(kinds) > 1:
        raise DataError(
            f"several copies of MOVi under {root} ({', '.join(k[0] for k in kinds)}): "
            "make --root point at one, or name the variant (movi-e)"
        )
    _check_complete(found)
    return found


def _source(shard: Path) -> Source:
    return Source(shard, f"get the file again from {WHERE}")


def _check_complete(shards: Iterable[Path]) -> None:
    marks = [m for p in shards if (m := _SHARD.fullmatch(p.name))]
    counts = sorted({m[4] for m in marks})
    if len(counts) > 1:
        raise DataError(
            f"{marks[0][1]}-{marks[0][2]} is there in {' and in '.join(counts)} shards: keep one "
            f"of the two, or get it again from {WHERE}"
        )
    count, there = int(marks[0][4]), {int(m[3]) for m in marks}
    lost = sorted(set(range(count)) - there)
    if lost:
        raise DataError(
            f"{marks[0][1]}-{marks[0][2]} has {len(there)} of {count} shards, first missing "
            f"{lost[0]:05d}: get the rest from {WHERE}"
        )
