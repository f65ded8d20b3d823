"""DAVIS-2016 and DAVIS-2017 Unsupervised in their official folders.

    JPEGImages/480p/<sequence>/00000.jpg
    Annotations/480p/<sequence>/00000.png                DAVIS-2016: one object
    Annotations_unsupervised/480p/<sequence>/00000.png   DAVIS-2017: ids, 255 void
    ImageSets/2016/val.txt, ImageSets/2017/val.txt

Source: https://davischallenge.org
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unveil.datasets.masks import as_truth, image_files, read_frames, read_stack
from unveil.datasets.sequence import Dataset, Finding
from unveil.errors import DataError
from unveil.text import read_text

WHERE = {
    2016: "https://davischallenge.org/davis2016/code.html (DAVIS 2016, 480p)",
    2017: "https://davischallenge.org/davis2017/code.html (DAVIS 2017, TrainVal, Unsupervised "
    "480p)",
}
_FOLDER = {2016: "Annotations", 2017: "Annotations_unsupervised"}
_RESOLUTION = "480p"


@dataclass(frozen=True)
class DavisSequence:
    """One sequence. single: whatever is marked is the one object (DAVIS-2016)."""

    name: str
    images: Path
    masks: Path
    single: bool
    note: str = ""
    video_id: None = None

    @property
    def origin(self) -> Path:
        """The folder of its masks."""
        return self.masks

    def frame_names(self) -> tuple[str, ...]:
        """The stems of its masks."""
        return tuple(self._mask_files())

    def frames(self) -> np.ndarray:
        """The pictures, uint8 [T, H, W, 3] RGB."""
        return read_frames(self.frame_files())

    def frame_files(self) -> tuple[Path, ...]:
        """Its pictures, whatever they end in; where one is missing, the official name."""
        files = image_files(self.images)
        return tuple(files.get(n, self.images / f"{n}.jpg") for n in self.frame_names())

    def truth(self) -> np.ndarray:
        """The labels, uint8 [T, H, W]."""
        labels = read_stack(self._mask_files().values())
        if self.single:
            labels = (labels != 0).astype(np.uint8)
        return as_truth(labels, self.masks)

    def _mask_files(self) -> dict[str, Path]:
        files = image_files(self.masks)
        if not files:
            raise DataError(f"{self.masks}: a sequence without ground truth, no masks there")
        return files


def open_davis(
    root: Path, year: int, split: str | None = None, names: Iterable[str] | None = None
) -> Dataset[DavisSequence]:
    """The sequences that a list of DAVIS names, 2016 or 2017.

    split: the name of a list, val by default, or dev where that is the only one. names: of these
    only, which need no list then.
    """
    path = _list_file(root, year, split)
    if path is None and (names is None or split is not None):
        tried = ", ".join(map(str, _lists(root, year, split)[:3]))
        raise DataError(
            f"no list of DAVIS sequences: looked for {tried}; --root is the folder that holds "
            f"ImageSets, from {WHERE[year]}; without a list, name the sequences with --sequences"
        )
    listed = _names(path) if path else _with_masks(root, year)
    sequences = [
        DavisSequence(
            name=name,
            images=root / "JPEGImages" / _RESOLUTION / name,
            masks=root / _FOLDER[year] / _RESOLUTION / name,
            single=year == 2016,
        )
        for name in listed
    ]
    about = str(path.relative_to(root)) if path else "no list"
    dataset = Dataset(f"davis{year}", root, about, tuple(sequences))
    return dataset if names is None else dataset.select(names)


def check_davis(root: Path, year: int, split: str | None = None) -> list[Finding]:
    """What of DAVIS is at root."""
    try:
        dataset = open_davis(root, year, split)
    except DataError as error:
        return [Finding("list of sequences", root / "ImageSets", False, f"{error}")]
    listed = Finding(f"list of {len(dataset.sequences)} sequences", root / dataset.split, True)
    return [listed, *(finding for s in dataset.sequences for finding in _check(s, year))]


def _check(s: DavisSequence, year: int) -> Iterator[Finding]:
    try:
        masks, images = image_files(s.masks), image_files(s.images)
    except DataError as error:
        yield Finding(f"{s.name}: files", s.masks, False, str(error))
        return
    if not masks:
        yield Finding(f"{s.name}: masks", s.masks, False, f"get {WHERE[year]}")
    lost = sorted(set(masks) - set(images))
    if lost or not images:
        advice = f"{len(lost)} of {len(masks)} frames missing" if images else "no frames"
        yield Finding(f"{s.name}: frames", s.images, False, f"{advice}; get {WHERE[year]}")
    elif masks:
        yield Finding(f"{s.name}: {len(masks)} frames and masks", s.masks, True)


def _lists(root: Path, year: int, split: str | None) -> list[Path]:
    """Where a list may lie, the usual places first."""
    folder = root / "ImageSets"
    return [
        path
        for name in ([split] if split else ["val", "dev"])
        for path in (
            folder / str(year) / f"{name}.txt",
            folder / _RESOLUTION / f"{name}.txt",
            folder / f"{name}.txt",
        )
    ]


def _list_file(root: Path, year: int, split: str | None) -> Path | None:
    return next((path for path in _lists(root, year, split) if path.is_file()), None)


def _with_masks(root: Path, year: int) -> list[str]:
    """The sequences that have a folder of masks."""
    folder = root / _FOLDER[year] / _RESOLUTION
    if not folder.is_dir():
        raise DataError(f"{folder}: no masks there; get {WHERE[year]}")
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _names(path: Path) -> list[str]:
    """The sequences of a list: names, or the pairs of files that DAVIS-2016 came with."""
    names = []
    for line in read_text(path).splitlines():
        parts = line.split()
        if parts:
            names.append(Path(parts[0]).parent.name if "/" in parts[0] else parts[0])
    return list(dict.fromkeys(names))
